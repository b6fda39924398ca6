//! Secrets: where they are, and who is granted which.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{Schema, json_schema};
use toml::Spanned;

use crate::component::ComponentSection;
use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::{Resolver, entries, list, value};
use crate::scalar::{Fault, FilePath, SecretName, Text};

/// `[secret]`: where one is. What it is stands in no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A variable of the host's environment.
    Environment(String),
    /// A file.
    File(PathBuf),
}

section! {
    /// A secret: bytes that only the components see that it is granted to. It is read when the host starts and when the
    /// manifest is loaded again. Exactly one of the keys says where it is.
    pub(crate) struct SecretSection {
        /// A file of at most 64 KiB. It belongs to the user of the host or to root, its group may read it and not write
        /// it, and others may do neither. A line break at the end of a text is not part of the secret.
        file: FilePath;
        /// A variable of the host's environment.
        env: Variable;
    }
}

impl Resolver<'_> {
    pub(crate) fn secrets(&mut self, section: &ManifestSection) -> BTreeMap<SecretName, Secret> {
        self.secret_names = value(&section.secret).map(|table| table.names.clone()).unwrap_or_default();
        let mut secrets = BTreeMap::new();
        for (name, secret) in entries(&section.secret) {
            let place = match (&secret.file, &secret.env) {
                (Some(file), None) => Secret::File(file.get_ref().resolve(&self.folder)),
                (None, Some(variable)) => match &variable.get_ref().0 {
                    Some(variable) => Secret::Environment(variable.clone()),
                    None => {
                        self.context.report(
                            name.span(),
                            format!(
                                "`env` of the secret `{}` is not the name of an environment variable",
                                name.get_ref()
                            ),
                            "write a name such as \"API_TOKEN\": letters, digits and `_`",
                        );
                        continue;
                    }
                },
                (file, _) => {
                    let both = file.is_some();
                    let count = if both { "two places" } else { "no place" };
                    self.context.report(
                        name.span(),
                        format!("secret `{}` has {count}", name.get_ref()),
                        "write either `file` or `env`",
                    );
                    continue;
                }
            };
            secrets.insert(name.get_ref().clone(), place);
        }
        secrets
    }

    /// The secrets of a component that exist in the manifest.
    pub(crate) fn granted_secrets(&mut self, component: &ComponentSection) -> Vec<SecretName> {
        let mut granted: Vec<SecretName> = Vec::new();
        for name in list(&component.secrets) {
            if granted.contains(name.get_ref()) {
                let what = format!("secret `{}` is granted twice", name.get_ref());
                self.context.report(name.span(), what, "remove one");
            } else if self.known_secret(name) {
                granted.push(name.get_ref().clone());
            }
        }
        granted
    }

    pub(crate) fn known_secret(&mut self, name: &Spanned<SecretName>) -> bool {
        let known = self.secret_names.iter().any(|known| known == name.get_ref().as_str());
        if !known {
            let names: Vec<&str> = self.secret_names.iter().map(String::as_str).collect();
            self.context.unknown_name(name.span(), "secret", name.get_ref().as_str(), &names);
        }
        known
    }
}

/// The name of a variable of the environment; none for what is no name. It is judged where the section is known: a report
/// shows the line that it points to, and who writes the secret itself here must not find it in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable(pub(crate) Option<String>);

impl Text for Variable {
    const KIND: &'static str = "the name of an environment variable";

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.is_empty() || !text.chars().all(is_name) || text.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Self(None));
        }
        Ok(Self(Some(text.to_owned())))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_the_place_of_a_name_is_not_kept() {
        assert_eq!(Variable::parse("hunter-2"), Ok(Variable(None)));
    }
}
