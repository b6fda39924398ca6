//! Grants through WASI: directories and an environment.

use std::collections::BTreeMap;

use schemars::{Schema, json_schema};
use toml::Spanned;

use crate::decode::Field;
use crate::directory::{Directories, DirectoryName};
use crate::resolver::{Resolver, entries, list, value};
use crate::scalar::{Fault, Table, Text, choice};
use crate::secret::SecretName;
use crate::section::section;
use crate::tenant::TenantName;

/// A directory that guests of a component have open from their start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preopen {
    /// The directory.
    pub directory: DirectoryName,
    /// The absolute path that guests see. No two of a component are the same.
    pub path: String,
    /// Whether guests can change its contents.
    pub is_writable: bool,
}

section! {
    /// A directory that guests of a component have open from their start. Guests can open files below it only: nothing
    /// outside can be reached, links included.
    #[title = "`preopens` of a component"]
    pub(crate) struct PreopenSection {
        /// The directory. It is opened when the manifest is loaded.
        directory: DirectoryName [required];
        /// The absolute path that guests see. Without it, `/` and the name of the directory.
        path: GuestPath;
        /// Whether guests can only read its contents, or change them too.
        mode: PreopenMode = "\"read\"";
    }
}

choice! {
    /// The access of guests to a directory.
    pub enum PreopenMode {
        /// List it, and read files.
        Read = "read",
        /// Also write, make, rename and remove files, directories and links.
        Write = "write",
    }
}

impl Resolver<'_> {
    /// The preopens of a component whose directories exist in the manifest.
    pub(crate) fn preopens(
        &mut self,
        sections: &Field<Vec<Spanned<PreopenSection>>>,
        directories: &Directories,
        tenant: Option<&TenantName>,
    ) -> Vec<Preopen> {
        let mut preopens: Vec<Preopen> = Vec::new();
        for section in list(sections) {
            let section = section.get_ref();
            let Some(name) = &section.directory else { continue };
            if !self.known_directory(name, directories, tenant) || !section.failed.is_empty() {
                continue;
            }
            let directory = name.get_ref().clone();
            let path = value(&section.path).map_or_else(|| format!("/{directory}"), |path| path.0.clone());
            if preopens.iter().any(|known| known.path == path) {
                self.context.report(
                    section.span.clone(),
                    format!("two directories are at `{path}`"),
                    "give one of them another `path`",
                );
                continue;
            }
            preopens.push(Preopen { directory, path, is_writable: section.mode() == PreopenMode::Write });
        }
        preopens
    }

    /// The environment of a component: its values, and the secrets that are values.
    pub(crate) fn environment(
        &mut self,
        plain: &Field<Table<EnvironmentName, EnvironmentText>>,
        secret: &Field<Table<EnvironmentName, SecretName>>,
    ) -> (BTreeMap<String, String>, BTreeMap<String, SecretName>) {
        let of_secret = secret;
        let plain: BTreeMap<_, _> =
            entries(plain).map(|(name, text)| (name.get_ref().0.clone(), text.0.clone())).collect();
        let mut secret = BTreeMap::new();
        for (name, of) in entries(of_secret) {
            let (span, name) = (name.span(), name.get_ref().0.clone());
            if plain.contains_key(&name) {
                self.context.report(
                    span,
                    format!("`{name}` is in `environment` and in `secret-environment`"),
                    "remove one of the two",
                );
            } else if self.is_declared(&Spanned::new(span, of.clone())) {
                secret.insert(name, of.clone());
            }
        }
        (plain, secret)
    }
}

/// The name of a variable: letters, digits and `_`, the first no digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvironmentName(pub(crate) String);

impl Text for EnvironmentName {
    const KIND: &'static str = "the name of an environment variable";

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.is_empty() || !text.chars().all(is_name) || text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(Fault::new(
                "is not the name of an environment variable",
                "write letters, digits and `_`, such as API_URL",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })
    }
}

/// The value of a variable: any text without a NUL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvironmentText(pub(crate) String);

impl Text for EnvironmentText {
    const KIND: &'static str = "a string";

    fn parse(text: &str) -> Result<Self, Fault> {
        match text.contains('\0') {
            true => Err(Fault::new("contains a NUL", "remove it: the environment cannot hold one")),
            false => Ok(Self(text.to_owned())),
        }
    }
}

/// The path of a directory as guests see it: absolute, and without segments that mean another directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestPath(pub(crate) String);

impl Text for GuestPath {
    const KIND: &'static str = "an absolute path, such as \"/images\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write an absolute path without `.`, `..` and a `/` at the end, such as \"/images\"";
        let Some(below) = text.strip_prefix('/') else { return Err(Fault::new("is not an absolute path", example)) };
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
        if !below.is_empty() && !below.split('/').all(is_plain) {
            return Err(Fault::new(format!("is {text:?}"), example));
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_checked() {
        for good in ["A", "_", "api_URL2"] {
            assert!(EnvironmentName::parse(good).is_ok(), "{good}");
        }
        for wrong in ["", "2A", "A-B", "A=B", "A B", "\u{e9}", "A\0"] {
            assert!(EnvironmentName::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(EnvironmentText::parse("a=b\nc").is_ok());
        assert!(EnvironmentText::parse("a\0b").is_err());
    }

    #[test]
    fn guests_see_directories_at_plain_paths() {
        for good in ["/", "/images", "/var/lib/a b"] {
            assert!(GuestPath::parse(good).is_ok(), "{good}");
        }
        for wrong in ["", "images", "./images", "/images/", "//images", "/a/../b", "/.", "/a\0"] {
            assert!(GuestPath::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
