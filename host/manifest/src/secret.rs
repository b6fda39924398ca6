//! Secrets: their places, and the components that are granted them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::{Schema, json_schema};

use crate::decode::Field;
use crate::resolver::{Resolver, entries};
use crate::scalar::{Fault, FilePath, Table, Text, name};
use crate::section::section;

/// The place of a secret, from `[secret]`. The secret itself stands in no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A variable of the host's environment.
    Environment(String),
    /// A file.
    File(PathBuf),
}

name! {
    /// The name under which a secret is granted and a guest asks for it.
    pub struct SecretName = "secret";
}

section! {
    /// A secret: bytes for the components that are granted it, and for no others. It is read when the host starts and
    /// when the manifest is reloaded. Exactly one of the keys names its place.
    #[title = "`[secret.NAME]`"]
    pub(crate) struct SecretSection {
        /// A file of at most 64 KiB. The host's user or root owns it, its group may only read it, and others may do
        /// neither. A line break at the end of a text is not part of the secret.
        file: FilePath;
        /// A variable of the host's environment.
        env: Variable;
    }
}

impl Resolver<'_> {
    pub(crate) fn secrets(
        &mut self,
        section: &Field<Table<SecretName, SecretSection>>,
    ) -> BTreeMap<SecretName, Secret> {
        let mut secrets = BTreeMap::new();
        for (name, secret) in entries(section) {
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
}

/// The name of an environment variable; `None` for a text that is no such name. The section reports it: a report shows
/// the line that it points to, and a secret that was written here by mistake must not reach a log.
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
