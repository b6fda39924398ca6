//! Sections of the manifest, each declared once.
//!
//! The [`section!`] macro writes a section from one declaration: the struct, its decoder that refuses unknown keys, its
//! JSON Schema and its rows in the reference.

use roadrunner_values::Values;
use schemars::{Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place};
use crate::keys::{Key, Table, add_table};

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

/// An optional key of this type, without a default.
pub(crate) fn key<T: Decode>(name: String) -> Key {
    Key {
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

/// Adds a section, and then the sections that its keys hold, unless it is present already.
pub(crate) fn add<S: Section>(tables: &mut Vec<Table>) {
    add_table(tables, Table { title: S::TITLE.to_owned(), doc: S::doc(), keys: S::keys() });
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
            impl $crate::section::Holds<$values> for $name {
                fn apply(&self, values: &mut $values) {
                    $(if let Some(key) = &self.$held {
                        values.$held = $crate::section::Sets::get(key.get_ref());
                    })*
                }
            }
        )*

        impl $name {
            $($crate::section::section! { @getter $field: $type $(= $default)? $([$($mark)*])? })*
        }

        impl $crate::section::Section for $name {
            const TITLE: &'static str = concat!("" $(, $title)?);

            fn doc() -> String {
                $crate::section::doc_text(&[$($doc),*])
            }

            fn keys() -> Vec<$crate::keys::Key> {
                let keys: [Vec<$crate::keys::Key>; _] = [
                    $({
                        let defaults = <$values>::default();
                        let absent = $crate::section::section!(@absent $($absent)?);
                        vec![$($crate::keys::Key {
                            default: match absent {
                                None => $crate::section::written::<$held_type, _>(&defaults.$held),
                                Some(_) => None,
                            },
                            doc: $crate::section::doc_of::<$values>(stringify!($held)),
                            absent,
                            #[cfg(test)]
                            accepts: |toml| $crate::section::means::<$held_type, _>(toml, &<$values>::default().$held),
                            ..$crate::section::key::<$held_type>($crate::section::section!(@name $held))
                        }),*]
                    },)*
                    vec![$($crate::keys::Key {
                        default: $crate::section::section!(@default $type $(= $default)? $([$($mark)*])?),
                        doc: $crate::section::doc_text(&[$($key_doc),*]),
                        required: $crate::section::section!(@required $([$($mark)*])?),
                        ..$crate::section::key::<$type>($crate::section::section!(@name $field $($rename)?))
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
                    $($($crate::section::section! { @decode section $held $held_type, name value place context })*)*
                    $($crate::section::section! { @decode section $field $type, name value place context $($rename)? })*
                    let known: Vec<String> =
                        <Self as $crate::section::Section>::keys().into_iter().map(|key| key.name).collect();
                    context.unknown_key(key, &place, &known);
                }
                for key in <Self as $crate::section::Section>::keys() {
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

            fn tables(tables: &mut Vec<$crate::keys::Table>) {
                $crate::section::add::<Self>(tables);
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).trim_end_matches("Section").into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::section::section_schema::<Self>(generator)
            }
        }
    };
    (
        @decode $section:ident $field:ident $type:ty,
        $name:ident $value:ident $place:ident $context:ident $($rename:literal)?
    ) => {
        if $crate::section::section!(@is $name $field $($rename)?) {
            let decoded = <$type as $crate::decode::Decode>::decode($value, &$place.key($name), $context);
            $section.$field = decoded.map(|decoded| toml::Spanned::new($value.span(), decoded));
            if $section.$field.is_none() {
                $section.failed.push($name.to_owned());
            }
            continue;
        }
    };
    (@getter $field:ident: $type:ty = $default:literal) => {
        $crate::section::section! { @get $field: $type, $crate::section::decode_default($default) }
    };
    (@getter $field:ident: $type:ty [default]) => {
        $crate::section::section! { @get $field: $type, <$type>::default() }
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
    (@is $name:ident $field:ident) => { $crate::section::is_key($name, stringify!($field)) };
    (@is $name:ident $field:ident $rename:literal) => { $name == $rename };
    (@absent) => { None };
    (@absent $absent:literal) => { Some($absent) };
    (@default $type:ty = $default:literal) => { Some($default.to_owned()) };
    (@default $type:ty [default]) => { $crate::section::written::<$type, $type>(&<$type>::default()) };
    (@default $type:ty $([required])?) => { None };
    (@required [required]) => { true };
    (@required $([default])?) => { false };
}
pub(crate) use section;
