//! The environment that WASI guests see, with secrets in it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use roadrunner_manifest as manifest;
use roadrunner_sandbox::Secret;

use super::provider::{Granted, Grantee, Opening, Provider};

/// The environments, by component.
pub(crate) struct Environment(BTreeMap<String, Vec<(String, String)>>);

impl Provider for Environment {
    fn open(opening: &Opening<'_>, _: Option<&Self>) -> Result<Self> {
        let components = opening.manifest.components.iter();
        let read = components.map(|(name, settings)| Ok((name.to_string(), environment(settings, opening.secrets)?)));
        Ok(Self(read.collect::<Result<_>>()?))
    }

    fn grant(&self, component: Grantee<'_>, granted: &mut Granted) {
        granted.grants.environment = self.0.get(component.name.as_str()).cloned().unwrap_or_default();
    }
}

/// The environment of a component.
fn environment(component: &manifest::Component, secrets: &BTreeMap<String, Secret>) -> Result<Vec<(String, String)>> {
    let plain = component.environment.iter().map(|(name, value)| Ok((name.clone(), value.clone())));
    let secret = component.secret_environment.iter().map(|(name, secret)| {
        let text = secrets.get(secret.as_str()).and_then(|secret| std::str::from_utf8(secret.expose()).ok());
        let text = text.filter(|text| !text.contains('\0'));
        let text =
            text.with_context(|| format!("the secret {secret} is no text, which {name} in an environment is"))?;
        Ok((name.clone(), text.to_owned()))
    });
    plain.chain(secret).collect()
}
