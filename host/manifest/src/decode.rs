//! TOML values -> typed sections. All problems are collected, and not only the first.
//!
//! [`Decode`] is implemented by leaves (a size, a name, a list) and by sections. A value that fails is reported to the
//! [`Context`] and decoded as absent, so that decoding continues.

use std::fmt;
use std::ops::Range;

use schemars::{Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;
use crate::keys::Table;

/// A value read from a manifest.
pub(crate) trait Decode: Sized {
    /// Reads a value. `None` means that at least one problem was reported.
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self>;

    /// The JSON Schema of the accepted values.
    fn schema(generator: &mut SchemaGenerator) -> Schema;

    /// The name of the type in the reference.
    fn kind() -> String;

    /// Adds the sections inside such a value to the reference. A leaf has none.
    fn tables(_: &mut Vec<Table>) {}
}

/// An optional key, with the place of its value.
pub(crate) type Field<T> = Option<Spanned<T>>;

/// The place of a value, as messages name it: `` `memory` in [component.api.limits] ``.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    section: String,
    array: bool,
    key: Option<String>,
}

impl Place {
    pub(crate) fn root() -> Self {
        Self { section: String::new(), array: false, key: None }
    }

    /// A key of this place. A key of a key makes the outer one a section.
    pub(crate) fn key(&self, name: &str) -> Self {
        Self { key: Some(name.to_owned()), ..self.enter() }
    }

    /// This place as a section.
    pub(crate) fn enter(&self) -> Self {
        match &self.key {
            None => self.clone(),
            Some(key) => Self { section: self.path(key), array: false, key: None },
        }
    }

    /// This place as one table of an array of tables.
    pub(crate) fn element(&self) -> Self {
        Self { array: true, ..self.enter() }
    }

    /// The text in the brackets of the header.
    pub(crate) fn section(&self) -> String {
        self.key.as_ref().map_or_else(|| self.section.clone(), |key| self.path(key))
    }

    fn path(&self, key: &str) -> String {
        if self.section.is_empty() { key.to_owned() } else { format!("{}.{key}", self.section) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            write!(f, "`{key}`")?;
            if self.section.is_empty() {
                return f.write_str(" at the top level");
            }
            f.write_str(" in ")?;
        }
        match (self.section.as_str(), self.array) {
            ("", _) => f.write_str("the top level"),
            (section, true) => write!(f, "[[{section}]]"),
            (section, false) => write!(f, "[{section}]"),
        }
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) problems: Vec<Diagnostic>,
}

impl Context {
    pub(crate) fn report(&mut self, span: Range<usize>, message: impl Into<String>, fix: impl Into<String>) {
        self.problems.push(Diagnostic::new(span, message, fix));
    }

    /// Reports a value of the wrong TOML type.
    pub(crate) fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, place: &Place, expected: &str) {
        let found = type_name(value.get_ref());
        self.report(value.span(), format!("{place} is {found}"), format!("write {expected}"));
    }

    /// Returns the table of a section, or reports that the value is none.
    pub(crate) fn table<'v, 't>(&mut self, value: &'v Spanned<DeValue<'t>>, place: &Place) -> Option<&'v DeTable<'t>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            DeValue::Array(array) if array.iter().any(|item| item.get_ref().is_table()) => {
                let section = place.section();
                let span = array.first().map_or_else(|| value.span(), Spanned::span);
                self.report(
                    span,
                    format!("[[{section}]] is a list of sections"),
                    format!("there is only one: write [{section}]"),
                );
                None
            }
            _ => {
                self.wrong_type(value, place, &format!("a section, [{}]", place.section()));
                None
            }
        }
    }

    /// Reports a key that the section does not have.
    pub(crate) fn unknown_key(&mut self, key: &Spanned<impl AsRef<str>>, place: &Place, known: &[String]) {
        let name = key.get_ref().as_ref();
        let message = match place.section().as_str() {
            "" => format!("unknown section `{name}`"),
            _ => format!("unknown key `{name}` in {place}"),
        };
        let fix = match suggestion(name, known.iter().map(String::as_str)) {
            Some(close) => format!("did you mean `{close}`?"),
            None if known.is_empty() => "remove it: there are no keys here".to_owned(),
            None => format!("remove it, or use one of {}", listed(known.iter().map(String::as_str))),
        };
        self.report(key.span(), message, fix);
    }

    /// Reports the absence of a required key.
    pub(crate) fn missing_key(&mut self, span: Range<usize>, name: &str, kind: &str, place: &Place) {
        self.report(span, format!("{place} has no `{name}`"), format!("add `{name} = ...`, {kind}"));
    }
}

/// The name closest to the written one, if it is close enough to be a slip.
pub(crate) fn suggestion<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let folded = name.to_lowercase().replace('_', "-");
    known
        .map(|candidate| (strsim::damerau_levenshtein(&folded, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().min(folded.len()) / 3 + 1 && *distance < 4)
        .filter(|(distance, candidate)| *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A TOML type with its article.
pub(crate) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "a list",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Float(_) => "a fraction",
        DeValue::Integer(_) => "an integer",
        DeValue::String(_) => "a string",
        DeValue::Table(_) => "a table",
    }
}
