//! TOML values -> typed sections, collecting every problem instead of stopping at the first.
//!
//! [`Decode`] is implemented by leaves (a size, a name, a list) and by sections, which the [`section!`] macro writes
//! from one declaration: the struct, its decoder that refuses unknown keys, its JSON Schema and its rows in the
//! reference. A value that fails is reported to the [`Context`] and decoded as absent, so that decoding goes on.

use std::fmt;
use std::ops::Range;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;

/// A value read from a manifest.
pub(crate) trait Decode: Sized {
    /// Reads a value. `None` means that at least one problem was reported.
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self>;

    /// The JSON Schema of the values that are accepted.
    fn schema(generator: &mut SchemaGenerator) -> Schema;

    /// What the reference calls this type.
    fn kind() -> String;
}

/// An optional key, with the place of its value.
pub(crate) type Field<T> = Option<Spanned<T>>;

/// One key of a section, for the schema and the reference.
pub(crate) struct Key {
    pub(crate) name: String,
    /// Its doc comment, lines joined.
    pub(crate) doc: String,
    /// The default as it would be written in the file.
    pub(crate) default: Option<&'static str>,
    pub(crate) required: bool,
    pub(crate) kind: String,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether the default is a value that the key accepts.
    #[cfg(test)]
    pub(crate) default_decodes: fn(&str) -> bool,
}

/// A struct written by [`section!`].
pub(crate) trait Section {
    fn doc() -> String;
    fn keys() -> Vec<Key>;
}

/// Where a value stands, as messages name it: `` `memory` in [component.api.limits] ``.
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

    /// What stands in the brackets of the header.
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

    /// A value of the wrong TOML type.
    pub(crate) fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, place: &Place, expected: &str) {
        let found = type_name(value.get_ref());
        self.report(value.span(), format!("{place} is {found}"), format!("write {expected}"));
    }

    /// The table of a section.
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

    /// A key that the section does not have.
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

    /// A key that must be there and is not.
    pub(crate) fn missing_key(&mut self, span: Range<usize>, name: &str, kind: &str, place: &Place) {
        self.report(span, format!("{place} has no `{name}`"), format!("add `{name} = ...`, {kind}"));
    }
}

/// The name closest to what was written, if it is close enough to be a slip.
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

/// Whether a key of the file is the one that this Rust field stands for: `host-call-bytes` is `host_call_bytes`.
pub(crate) fn is_key(name: &str, field: &str) -> bool {
    name.len() == field.len() && name.bytes().zip(field.bytes()).all(|(n, f)| n == if f == b'_' { b'-' } else { f })
}

/// The doc lines of a declaration as one text: the leading space of each goes, paragraphs stay.
pub(crate) fn doc_text(lines: &[&str]) -> String {
    let mut text = String::new();
    for line in lines {
        let line = line.strip_prefix(' ').unwrap_or(line);
        if line.is_empty() {
            text.push_str("\n\n");
        } else {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push(' ');
            }
            text.push_str(line);
        }
    }
    text
}

/// The schema of a section, from its keys.
pub(crate) fn section_schema<S: Section>(generator: &mut SchemaGenerator) -> Schema {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for key in S::keys() {
        let mut schema = (key.schema)(generator);
        schema.insert("description".to_owned(), key.doc.into());
        if let Some(default) = key.default {
            schema.insert("default".to_owned(), default_value(default));
        }
        if key.required {
            required.push(key.name.clone());
        }
        properties.insert(key.name, schema.to_value());
    }
    let mut schema = json_schema!({ "type": "object", "properties": properties, "additionalProperties": false });
    schema.insert("description".to_owned(), S::doc().into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}

/// A default, written as TOML, as the JSON value that an editor inserts.
pub(crate) fn default_value(toml: &str) -> serde_json::Value {
    fn json(value: &DeValue<'_>) -> serde_json::Value {
        match value {
            DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
            DeValue::Boolean(value) => (*value).into(),
            DeValue::Integer(value) => value.as_str().parse::<u64>().map_or(serde_json::Value::Null, Into::into),
            DeValue::String(value) => value.as_ref().into(),
            DeValue::Datetime(_) | DeValue::Float(_) | DeValue::Table(_) => serde_json::Value::Null,
        }
    }
    DeValue::parse(toml).map_or(serde_json::Value::Null, |value| json(value.get_ref()))
}

/// Reads a default that stands in the declaration of its key.
pub(crate) fn decode_default<T: Decode>(toml: &str) -> T {
    try_default(toml).expect("a test decodes the default of every key")
}

pub(crate) fn try_default<T: Decode>(toml: &str) -> Option<T> {
    T::decode(&DeValue::parse(toml).ok()?, &Place::root().key("default"), &mut Context::default())
}

/// Declares a section of the manifest:
/// ```text
/// section! {
///     /// What the section is for.
///     pub(crate) struct LimitsSection {
///         /// What the key is for.
///         memory: MemoryLimit = "\"128MiB\"";   // a default, as TOML
///         file: FilePath [required];
///         kind as "type": Kind;                 // a key that is no Rust name
///     }
/// }
/// ```
/// Field names become keys with `-` for `_`. The struct has a [`Field`] for each key and `span` for its own place; a
/// key with a default also has a function of its name that returns the value or the default.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $key_doc:literal])*
                $field:ident $(as $rename:literal)? : $type:ty $(= $default:literal)? $([$required:ident])?;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default)]
        $vis struct $name {
            /// Where the section stands.
            #[allow(dead_code, reason = "written for every section, used by some")]
            pub(crate) span: std::ops::Range<usize>,
            /// Keys that are there and did not decode. They have been reported.
            #[allow(dead_code, reason = "written for every section, used by some")]
            pub(crate) failed: Vec<String>,
            $(
                $(#[doc = $key_doc])*
                pub(crate) $field: $crate::decode::Field<$type>,
            )*
        }

        impl $name {
            $($crate::decode::section! { @getter $field: $type $(= $default)? })*
        }

        impl $crate::decode::Section for $name {
            fn doc() -> String {
                $crate::decode::doc_text(&[$($doc),*])
            }

            fn keys() -> Vec<$crate::decode::Key> {
                vec![$($crate::decode::Key {
                    name: $crate::decode::section!(@name $field $($rename)?),
                    doc: $crate::decode::doc_text(&[$($key_doc),*]),
                    default: $crate::decode::section!(@default $($default)?),
                    required: $crate::decode::section!(@required $($required)?),
                    kind: <$type as $crate::decode::Decode>::kind(),
                    schema: <$type as $crate::decode::Decode>::schema,
                    #[cfg(test)]
                    default_decodes: |toml| $crate::decode::try_default::<$type>(toml).is_some(),
                }),*]
            }
        }

        impl $crate::decode::Decode for $name {
            fn decode(
                value: &toml::Spanned<toml::de::DeValue<'_>>,
                place: &$crate::decode::Place,
                context: &mut $crate::decode::Context,
            ) -> Option<Self> {
                let table = context.table(value, place)?;
                let place = place.enter();
                let mut section = Self { span: value.span(), ..Self::default() };
                for (key, value) in table.iter() {
                    let name: &str = key.get_ref();
                    $(
                        if $crate::decode::section!(@is name $field $($rename)?) {
                            section.$field = <$type as $crate::decode::Decode>::decode(value, &place.key(name), context)
                                .map(|decoded| toml::Spanned::new(value.span(), decoded));
                            if section.$field.is_none() {
                                section.failed.push(name.to_owned());
                            }
                            continue;
                        }
                    )*
                    let known: Vec<String> =
                        <Self as $crate::decode::Section>::keys().into_iter().map(|key| key.name).collect();
                    context.unknown_key(key, &place, &known);
                }
                for key in <Self as $crate::decode::Section>::keys() {
                    if key.required && !table.contains_key(key.name.as_str()) {
                        context.missing_key(value.span(), &key.name, &key.kind, &place);
                    }
                }
                Some(section)
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }

            fn kind() -> String {
                "a section".to_owned()
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).trim_end_matches("Section").into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::decode::section_schema::<Self>(generator)
            }
        }
    };
    (@getter $field:ident: $type:ty) => {};
    (@getter $field:ident: $type:ty = $default:literal) => {
        /// The value, or the default.
        #[allow(dead_code, reason = "written for every section, used by some")]
        pub(crate) fn $field(&self) -> $type {
            match &self.$field {
                Some(value) => value.get_ref().clone(),
                None => $crate::decode::decode_default($default),
            }
        }
    };
    (@name $field:ident) => { stringify!($field).replace('_', "-") };
    (@name $field:ident $rename:literal) => { $rename.to_owned() };
    (@is $name:ident $field:ident) => { $crate::decode::is_key($name, stringify!($field)) };
    (@is $name:ident $field:ident $rename:literal) => { $name == $rename };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
    (@required) => { false };
    (@required required) => { true };
}
pub(crate) use section;
