//! The facts that every check of a section needs: the manifest's folder, the declared names, the problems so far.
//!
//! Features add their checks in files of their own. Each takes the sections that it checks, and the values that others
//! have checked before.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use roadrunner_values::Values;
use toml::Spanned;

use crate::decode::{Context, Field, listed, suggestion};
use crate::scalar::{FilePath, Name, Table};
use crate::section::Holds;

/// The state that all checks share.
pub(crate) struct Resolver<'c> {
    /// The manifest's folder.
    pub(crate) folder: PathBuf,
    pub(crate) files: Files,
    /// Whether components may run without the file that the manifest names: from deployed or kept versions.
    pub(crate) deploys: bool,
    pub(crate) context: &'c mut Context,
    /// The names that sections declare, by kind of section, including sections with problems.
    declared: BTreeMap<&'static str, Vec<String>>,
}

impl<'c> Resolver<'c> {
    pub(crate) fn new(folder: PathBuf, files: Files, deploys: bool, context: &'c mut Context) -> Self {
        Self { folder, files, deploys, context, declared: BTreeMap::new() }
    }

    /// Adds the names of a kind of section.
    pub(crate) fn declare<N: Name, S>(&mut self, sections: &Field<Table<N, S>>) {
        let names = value(sections).map(|table| table.names.clone());
        self.declared.insert(N::DECLARES, names.unwrap_or_default());
    }
}

impl Resolver<'_> {
    /// Whether a section declares this name. A name without a section is reported.
    pub(crate) fn is_declared<N: Name>(&mut self, name: &Spanned<N>) -> bool {
        let (what, text) = (N::DECLARES, name.get_ref().text());
        let declared = self.declared.get(what).map_or(&[][..], Vec::as_slice);
        if declared.iter().any(|known| known == text) {
            return true;
        }
        let known = || declared.iter().map(String::as_str);
        let fix = match suggestion(text, known()) {
            Some(close) => format!("did you mean \"{close}\"?"),
            None if declared.is_empty() => format!("declare it: [{what}.{text}]"),
            None => format!("declare it, [{what}.{text}], or use one of {}", listed(known())),
        };
        self.context.report(name.span(), format!("there is no {what} `{text}`"), fix);
        false
    }

    /// The names of a list that can be granted, each once.
    pub(crate) fn granted<N: Name>(
        &mut self,
        names: &Field<Vec<Spanned<N>>>,
        can_be_granted: impl Fn(&mut Self, &Spanned<N>) -> bool,
    ) -> Vec<N> {
        let mut granted: Vec<N> = Vec::new();
        for name in list(names) {
            if granted.contains(name.get_ref()) {
                let message = format!("{} `{}` is granted twice", N::DECLARES, name.get_ref().text());
                self.context.report(name.span(), message, "remove one");
            } else if can_be_granted(self, name) {
                granted.push(name.get_ref().clone());
            }
        }
        granted
    }

    /// The path of a key, relative to the manifest's folder. `None` if the key is absent or did not decode.
    pub(crate) fn path(&mut self, field: &Option<Spanned<FilePath>>, kind: FileKind) -> Option<PathBuf> {
        let field = field.as_ref()?;
        let path = field.get_ref().resolve(&self.folder);
        if self.files == Files::Checked {
            let fix = match (std::fs::metadata(&path), kind) {
                (Ok(found), FileKind::Directory) if !found.is_dir() => Some("it is not a directory".to_owned()),
                (Ok(found), FileKind::Component | FileKind::File) if found.is_dir() => {
                    Some("it is a directory".to_owned())
                }
                (Ok(_), _) => None,
                (Err(error), FileKind::Component) if self.deploys && error.kind() == ErrorKind::NotFound => None,
                (Err(error), _) if error.kind() == ErrorKind::NotFound => Some(match kind {
                    FileKind::Component => "build it, or correct the path".to_owned(),
                    FileKind::Directory => "make it, or correct the path".to_owned(),
                    FileKind::File => "correct the path".to_owned(),
                }),
                (Err(error), _) => Some(error.to_string()),
            };
            if let Some(fix) = fix {
                self.context.report(field.span(), format!("there is no {} {}", kind.word(), path.display()), fix);
            }
        }
        Some(path)
    }
}

/// Whether to check that the files of a manifest exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    Checked,
    Unchecked,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum FileKind {
    Component,
    Directory,
    File,
}

impl FileKind {
    fn word(self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Directory => "directory",
            Self::File => "file",
        }
    }
}

/// The value of a key that is present and decoded.
pub(crate) fn value<T>(field: &Option<Spanned<T>>) -> Option<&T> {
    field.as_ref().map(Spanned::get_ref)
}

/// The plain values of a section that may be missing.
pub(crate) fn values<S: Holds<V>, V: Values>(field: &Field<S>) -> V {
    value(field).map(Holds::values).unwrap_or_default()
}

/// The elements of a list that may be missing.
pub(crate) fn list<T>(field: &Option<Spanned<Vec<T>>>) -> &[T] {
    value(field).map_or(&[], Vec::as_slice)
}

/// The entries of a table that may be missing.
pub(crate) fn entries<K, V>(field: &Option<Spanned<Table<K, V>>>) -> impl Iterator<Item = (&Spanned<K>, &V)> {
    value(field).map_or(&[][..], |table| table.entries.as_slice()).iter().map(|(key, value)| (key, value.get_ref()))
}
