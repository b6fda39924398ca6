//! TOML values -> typed sections. All problems are collected, and not only the first.
//!
//! [`Decode`] is implemented by leaves (a size, a name, a list) and by sections. The [`section!`] macro writes a
//! section from one declaration: the struct, its decoder that refuses unknown keys, its JSON Schema and its rows in the
//! reference. A value that fails is reported to the [`Context`] and decoded as absent, so that decoding continues.

use std::fmt;
use std::ops::Range;

use roadrunner_values::Values;
use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;
use crate::document::Table;

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

/// One key of a section, for the schema and the reference.
pub(crate) struct Key {
    pub(crate) name: String,
    /// Its doc comment, lines joined.
    pub(crate) doc: String,
    /// The default as it would be written in the file.
    pub(crate) default: Option<String>,
    /// The reference's word in the place of a default.
    pub(crate) absent: Option<&'static str>,
    pub(crate) required: bool,
    pub(crate) kind: String,
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(crate) tables: fn(&mut Vec<Table>),
    /// Whether a default is a value that the key accepts, and means the default.
    #[cfg(test)]
    pub(crate) accepts: fn(&str) -> bool,
}

impl Key {
    /// An optional key of this type, without a default.
    pub(crate) fn new<T: Decode>(name: String) -> Self {
        Self {
            name,
            doc: String::new(),
            default: None,
            absent: None,
            required: false,
            kind: T::kind(),
            schema: T::schema,
            tables: T::tables,
            #[cfg(test)]
            accepts: |toml| try_default::<T>(toml).is_some(),
        }
    }
}

/// A struct written by [`section!`].
pub(crate) trait Section {
    /// The title in the reference; empty for a section whose title depends on its type.
    const TITLE: &'static str;

    fn doc() -> String;
    fn keys() -> Vec<Key>;
}

/// A type of key that sets a plain value.
pub(crate) trait Sets<V> {
    /// The plain value.
    fn get(&self) -> V;

    /// How a plain value is written in the file; `None` for a value that means the absence of the key.
    fn written(value: &V) -> Option<String>;
}

/// How a plain value is written as a key of type `T`.
pub(crate) fn written<T: Sets<V>, V>(value: &V) -> Option<String> {
    T::written(value)
}

/// Whether a text of the file is read as a key of type `T` with this plain value.
#[cfg(test)]
pub(crate) fn means<T: Decode + Sets<V>, V: PartialEq>(toml: &str, value: &V) -> bool {
    try_default::<T>(toml).is_some_and(|key| key.get() == *value)
}

/// A section with keys that are fields of a struct of plain values.
pub(crate) trait Holds<V: Values> {
    /// Replaces the fields whose keys are present.
    fn apply(&self, values: &mut V);

    /// The values, with the defaults of keys that are absent.
    fn values(&self) -> V {
        let mut values = V::default();
        self.apply(&mut values);
        values
    }
}

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

/// Whether a key of the file has this Rust field: `host-call-bytes` is `host_call_bytes`.
pub(crate) fn is_key(name: &str, field: &str) -> bool {
    name.len() == field.len() && name.bytes().zip(field.bytes()).all(|(n, f)| n == if f == b'_' { b'-' } else { f })
}

/// The doc lines of a declaration as one text. Each line loses its leading space; paragraphs stay.
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

/// The documentation of a field of a struct of plain values as one text.
pub(crate) fn doc_of<V: Values>(field: &str) -> String {
    doc_text(V::doc(field))
}

/// The schema of a section, from its keys.
pub(crate) fn section_schema<S: Section>(generator: &mut SchemaGenerator) -> Schema {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for key in S::keys() {
        let mut schema = (key.schema)(generator);
        schema.insert("description".to_owned(), key.doc.into());
        if let Some(default) = key.default {
            schema.insert("default".to_owned(), default_value(&default));
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

/// Reads a default from the declaration of its key.
pub(crate) fn decode_default<T: Decode>(toml: &str) -> T {
    try_default(toml).expect("a test decodes the default of every key")
}

pub(crate) fn try_default<T: Decode>(toml: &str) -> Option<T> {
    T::decode(&DeValue::parse(toml).ok()?, &Place::root().key("default"), &mut Context::default())
}

/// Declares a section of the manifest:
/// ```text
/// section! {
///     /// The purpose of the section.
///     #[title = "`limits` of a component"]
///     pub(crate) struct LimitsSection {
///         ..Limits {                            // keys that are fields of a struct of values: documentation and
///             memory: Bytes<0, { GIB }>;        // default are the field's
///         }
///         ..Caps or "no cap" {                  // the same without defaults, and the reference's word for absence
///             held: Count<0, 1000>;
///         }
///         /// The purpose of the key.
///         log: LogFormat = "\"human\"";         // a default, as TOML
///         path: PathRule [default];             // the default of the type
///         file: FilePath [required];
///         kind as "type": Kind;                 // a key that is no Rust name
///     }
/// }
/// ```
/// Field names become keys with `-` for `_`. The struct has a [`Field`] for each key and `span` for its own place. For
/// each struct of values it implements [`Holds`]. A key of its own with a default also has a function of its name that
/// returns the value or the default.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $(#[title = $title:literal])?
        $vis:vis struct $name:ident {
            $(..$values:ident $(or $absent:literal)? { $($held:ident : $held_type:ty;)* })*
            $(
                $(#[doc = $key_doc:literal])*
                $field:ident $(as $rename:literal)? : $type:ty $(= $default:literal)? $([$($mark:tt)*])?;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default)]
        $vis struct $name {
            /// The place of the section.
            #[allow(dead_code, reason = "written for every section, used by some")]
            pub(crate) span: std::ops::Range<usize>,
            /// Keys that are present and did not decode. They have been reported.
            #[allow(dead_code, reason = "written for every section, used by some")]
            pub(crate) failed: Vec<String>,
            $($(pub(crate) $held: $crate::decode::Field<$held_type>,)*)*
            $(
                $(#[doc = $key_doc])*
                pub(crate) $field: $crate::decode::Field<$type>,
            )*
        }

        $(
            impl $crate::decode::Holds<$values> for $name {
                fn apply(&self, values: &mut $values) {
                    $(if let Some(key) = &self.$held {
                        values.$held = $crate::decode::Sets::get(key.get_ref());
                    })*
                }
            }
        )*

        impl $name {
            $($crate::decode::section! { @getter $field: $type $(= $default)? $([$($mark)*])? })*
        }

        impl $crate::decode::Section for $name {
            const TITLE: &'static str = concat!("" $(, $title)?);

            fn doc() -> String {
                $crate::decode::doc_text(&[$($doc),*])
            }

            fn keys() -> Vec<$crate::decode::Key> {
                let keys: [Vec<$crate::decode::Key>; _] = [
                    $({
                        let defaults = <$values>::default();
                        let absent = $crate::decode::section!(@absent $($absent)?);
                        vec![$($crate::decode::Key {
                            default: match absent {
                                None => $crate::decode::written::<$held_type, _>(&defaults.$held),
                                Some(_) => None,
                            },
                            doc: $crate::decode::doc_of::<$values>(stringify!($held)),
                            absent,
                            #[cfg(test)]
                            accepts: |toml| $crate::decode::means::<$held_type, _>(toml, &<$values>::default().$held),
                            ..$crate::decode::Key::new::<$held_type>($crate::decode::section!(@name $held))
                        }),*]
                    },)*
                    vec![$($crate::decode::Key {
                        default: $crate::decode::section!(@default $type $(= $default)? $([$($mark)*])?),
                        doc: $crate::decode::doc_text(&[$($key_doc),*]),
                        required: $crate::decode::section!(@required $([$($mark)*])?),
                        ..$crate::decode::Key::new::<$type>($crate::decode::section!(@name $field $($rename)?))
                    }),*],
                ];
                keys.into_iter().flatten().collect()
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
                    $($($crate::decode::section! { @decode section $held $held_type, name value place context })*)*
                    $($crate::decode::section! { @decode section $field $type, name value place context $($rename)? })*
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

            fn tables(tables: &mut Vec<$crate::document::Table>) {
                $crate::document::add::<Self>(tables);
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
    (
        @decode $section:ident $field:ident $type:ty,
        $name:ident $value:ident $place:ident $context:ident $($rename:literal)?
    ) => {
        if $crate::decode::section!(@is $name $field $($rename)?) {
            let decoded = <$type as $crate::decode::Decode>::decode($value, &$place.key($name), $context);
            $section.$field = decoded.map(|decoded| toml::Spanned::new($value.span(), decoded));
            if $section.$field.is_none() {
                $section.failed.push($name.to_owned());
            }
            continue;
        }
    };
    (@getter $field:ident: $type:ty = $default:literal) => {
        $crate::decode::section! { @get $field: $type, $crate::decode::decode_default($default) }
    };
    (@getter $field:ident: $type:ty [default]) => {
        $crate::decode::section! { @get $field: $type, <$type>::default() }
    };
    (@getter $field:ident: $type:ty $([required])?) => {};
    (@get $field:ident: $type:ty, $default:expr) => {
        /// The value, or the default.
        #[allow(dead_code, reason = "written for every section, used by some")]
        pub(crate) fn $field(&self) -> $type {
            match &self.$field {
                Some(value) => value.get_ref().clone(),
                None => $default,
            }
        }
    };
    (@name $field:ident) => { stringify!($field).replace('_', "-") };
    (@name $field:ident $rename:literal) => { $rename.to_owned() };
    (@is $name:ident $field:ident) => { $crate::decode::is_key($name, stringify!($field)) };
    (@is $name:ident $field:ident $rename:literal) => { $name == $rename };
    (@absent) => { None };
    (@absent $absent:literal) => { Some($absent) };
    (@default $type:ty = $default:literal) => { Some($default.to_owned()) };
    (@default $type:ty [default]) => { $crate::decode::written::<$type, $type>(&<$type>::default()) };
    (@default $type:ty $([required])?) => { None };
    (@required [required]) => { true };
    (@required $([default])?) => { false };
}
pub(crate) use section;
