//! Leaves of the manifest: text and numbers that become types which cannot be wrong.
//!
//! A leaf that is written as a TOML string implements [`Text`] and gets its decoder from there.

mod address;
mod duration;
mod host;
mod http;
mod name;
mod path;
mod size;

use roadrunner_values::{Choice, ForwardedField, H2c, PathRule};
use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place, Sets, suggestion};
use crate::document;

pub use address::Address;
pub use duration::format_duration;
pub(crate) use duration::{OrNone, Time};
pub use host::{HostPattern, InvalidHost};
pub(crate) use http::{HeaderField, HeaderText, MethodName, Origin};
pub use name::InvalidName;
pub(crate) use name::{Name, check_name, name};
pub(crate) use path::FilePath;
pub use size::format_size;
pub(crate) use size::{Bytes, Count};

/// Factors of the units in which the sections write their ranges: bytes, and milliseconds.
pub(crate) mod units {
    pub(crate) use super::duration::{DAY, HOUR};
    pub(crate) use super::size::{GIB, KIB, MIB};
}

/// A fault of a text whose place is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Completes "`key` in [section] ...": `is empty`.
    pub(crate) what: String,
    /// The text to write instead.
    pub(crate) fix: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// A leaf written as a string.
pub(crate) trait Text: Sized {
    /// The name of the type in the reference, with an article and an example: `a duration, such as "10s"`.
    const KIND: &'static str;

    fn parse(text: &str) -> Result<Self, Fault>;

    /// More than `type: string` for the schema.
    fn text_schema() -> Schema {
        json_schema!({ "type": "string" })
    }
}

impl<T: Text> Decode for T {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let Some(text) = value.get_ref().as_str() else {
            context.wrong_type(value, place, T::KIND);
            return None;
        };
        T::parse(text).map_err(|fault| context.report(value.span(), format!("{place} {}", fault.what), fault.fix)).ok()
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        T::text_schema()
    }

    fn kind() -> String {
        T::KIND.to_owned()
    }
}

impl Decode for bool {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let decoded = value.get_ref().as_bool();
        if decoded.is_none() {
            context.wrong_type(value, place, "`true` or `false`, without quotes");
        }
        decoded
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }

    fn kind() -> String {
        "`true` or `false`".to_owned()
    }
}

impl Sets<bool> for bool {
    fn get(&self) -> bool {
        *self
    }

    fn written(value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

impl<T: Decode> Decode for Vec<Spanned<T>> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let element = place.element();
        match value.get_ref() {
            DeValue::Array(items) => {
                let decode = |item: &Spanned<DeValue<'_>>| {
                    // A table in a list is a section of its own; other elements are named by the list's key.
                    let place = if item.get_ref().is_table() { &element } else { place };
                    T::decode(item, place, context).map(|decoded| Spanned::new(item.span(), decoded))
                };
                // Every element is decoded, and the list counts as failed if one of them fails.
                let decoded: Vec<Option<Spanned<T>>> = items.iter().map(decode).collect();
                decoded.into_iter().collect()
            }
            DeValue::Table(_) => {
                let section = place.section();
                context.report(
                    value.span(),
                    format!("[{section}] is one section, where a list of them is expected"),
                    format!("write [[{section}]]"),
                );
                None
            }
            _ => {
                context.wrong_type(value, place, &format!("{}, in brackets", Self::kind()));
                None
            }
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "items": T::schema(generator) })
    }

    fn kind() -> String {
        match T::kind() {
            kind if kind == "a section" => "a list of sections".to_owned(),
            kind => format!("a list; each element is {kind}"),
        }
    }

    fn tables(tables: &mut Vec<document::Table>) {
        T::tables(tables);
    }
}

/// A table whose keys are names: `[component.NAME]`, or values by their key.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    /// The entries that decoded, in the order of the file.
    pub(crate) entries: Vec<(Spanned<K>, Spanned<V>)>,
    /// The keys of all entries, including those that did not decode, which are not missing.
    pub(crate) names: Vec<String>,
}

impl<K: Text, V: Decode> Decode for Table<K, V> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let table = context.table(value, place)?;
        let inside = place.enter();
        let mut entries = Vec::with_capacity(table.len());
        for (key, value) in table.iter() {
            let name: &str = key.get_ref();
            let place = inside.key(name);
            let parsed = K::parse(name).map_err(|fault| {
                context.report(key.span(), format!("the name `{name}` in {inside} {}", fault.what), fault.fix)
            });
            let decoded = V::decode(value, &place, context);
            if let (Ok(parsed), Some(decoded)) = (parsed, decoded) {
                entries.push((Spanned::new(key.span(), parsed), Spanned::new(value.span(), decoded)));
            }
        }
        // The parser's map may have another order than the file.
        entries.sort_by_key(|(key, _)| key.span().start);
        Some(Self { entries, names: table.keys().map(|key| key.get_ref().to_string()).collect() })
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": V::schema(generator) })
    }

    fn kind() -> String {
        match V::kind() {
            kind if kind == "a section" => "sections by name".to_owned(),
            kind => format!("a table; each value is {kind}"),
        }
    }

    fn tables(tables: &mut Vec<document::Table>) {
        V::tables(tables);
    }
}

/// Any text without control characters, for the values of `config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlainText(pub(crate) String);

impl Text for PlainText {
    const KIND: &'static str = "a string";

    fn parse(text: &str) -> Result<Self, Fault> {
        Ok(Self(text.to_owned()))
    }
}

/// The key of a configuration value: any text that is not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigKey(pub(crate) String);

impl Text for ConfigKey {
    const KIND: &'static str = "a key";

    fn parse(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Err(Fault::new("is empty", "give it a name"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Reads a text that is one of a few words.
pub(crate) fn choose<T: Choice>(text: &str) -> Result<T, Fault> {
    if let Some(chosen) = T::ALL.iter().find(|choice| choice.word() == text) {
        return Ok(*chosen);
    }
    let words = || T::ALL.iter().map(|choice| choice.word());
    let fix = match suggestion(text, words()) {
        Some(close) => format!("did you mean \"{close}\"?"),
        None => format!("write {}", words().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" or ")),
    };
    Err(Fault::new(format!("is \"{text}\""), fix))
}

/// Declares an enum whose values are words of the manifest.
macro_rules! choice {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($body:tt)* }) => {
        roadrunner_values::choice! { $(#[$meta])* $vis enum $name { $($body)* } }
        $crate::scalar::word!($name);
    };
}
pub(crate) use choice;

/// Makes a choice a value of the manifest.
macro_rules! word {
    ($name:ident) => {
        impl $crate::scalar::Text for $name {
            const KIND: &'static str = <Self as roadrunner_values::Choice>::LISTED;

            fn parse(text: &str) -> Result<Self, $crate::scalar::Fault> {
                $crate::scalar::choose(text)
            }

            fn text_schema() -> schemars::Schema {
                let words = <Self as roadrunner_values::Choice>::ALL.iter().map(|choice| choice.as_str());
                schemars::json_schema!({ "enum": words.collect::<Vec<_>>() })
            }
        }

        impl $crate::decode::Sets<Self> for $name {
            fn get(&self) -> Self {
                *self
            }

            fn written(value: &Self) -> Option<String> {
                Some(format!("\"{value}\""))
            }
        }
    };
}
pub(crate) use word;

word!(ForwardedField);
word!(H2c);
word!(PathRule);
