//! Leaves of the manifest: text and numbers that become types which cannot be wrong.
//!
//! A leaf written as a TOML string implements [`Text`] and gets its decoder from there.

mod address;
mod duration;
mod host;
mod http;
mod name;
mod path;
mod size;

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place, suggestion};

pub use address::Address;
pub use duration::format_duration;
pub(crate) use duration::{OrNone, Time};
pub use host::{HostPattern, InvalidHost};
pub(crate) use http::{HeaderField, HeaderText, MethodName, Origin};
pub use name::{
    ComponentName, DirectoryName, InvalidName, ListenerName, MiddlewareName, RouteName, SecretName, StoreName,
    TenantName,
};
pub(crate) use path::FilePath;
pub use size::format_size;
pub(crate) use size::{Bytes, Count};

/// Factors of the units in which the sections write their ranges: bytes, and milliseconds.
pub(crate) mod units {
    pub(crate) use super::duration::{DAY, HOUR};
    pub(crate) use super::size::{GIB, KIB, MIB};
}

/// What is wrong with a text, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Completes "`key` in [section] ...": `is empty`.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) fix: String,
}

impl Fault {
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into() }
    }
}

/// A leaf written as a string.
pub(crate) trait Text: Sized {
    /// What the reference calls it, with an article and an example: `a duration, such as "10s"`.
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

impl<T: Decode> Decode for Vec<Spanned<T>> {
    fn decode(value: &Spanned<DeValue<'_>>, place: &Place, context: &mut Context) -> Option<Self> {
        let element = place.element();
        match value.get_ref() {
            DeValue::Array(items) => {
                let decode = |item: &Spanned<DeValue<'_>>| {
                    // Tables of a list are sections of their own; other elements are named by the list's key.
                    let place = if item.get_ref().is_table() { &element } else { place };
                    T::decode(item, place, context).map(|decoded| Spanned::new(item.span(), decoded))
                };
                // Every element is looked at, and the list counts as failed when one of them is.
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
}

/// A table whose keys are names: `[component.NAME]`, or values by their key.
#[derive(Clone, Debug)]
pub(crate) struct Table<K, V> {
    /// The entries that decoded, in the order of the file.
    pub(crate) entries: Vec<(Spanned<K>, Spanned<V>)>,
    /// The keys of all entries, so that one that did not decode is not missed as well.
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
        // In the order of the file, whatever the parser's map does.
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

/// Any value, or one of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyOr<T> {
    /// `["*"]`.
    Any,
    /// These.
    List(Vec<T>),
}

/// Refuses a text that is none of a few words.
pub(crate) fn choose<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, Fault> {
    if let Some((_, chosen)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*chosen);
    }
    let names = || choices.iter().map(|(name, _)| *name);
    let fix = match suggestion(text, names()) {
        Some(close) => format!("did you mean \"{close}\"?"),
        None => format!("write {}", names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ")),
    };
    Err(Fault::new(format!("is \"{text}\""), fix))
}

/// Declares an enum whose values are words of the manifest.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident { $($(#[$value_meta:meta])* $value:ident = $text:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $name { $($(#[$value_meta])* $value,)* }

        impl $name {
            /// The word that the manifest has for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$value => $text,)* }
            }
        }

        impl $crate::scalar::Text for $name {
            const KIND: &'static str = choice!(@kind $($text)*);

            fn parse(text: &str) -> Result<Self, $crate::scalar::Fault> {
                $crate::scalar::choose(text, &[$(($text, Self::$value)),*])
            }

            fn text_schema() -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($text),*] })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
    (@kind $first:literal $($text:literal)*) => { concat!("`\"", $first, "\"`" $(, " or `\"", $text, "\"`")*) };
}
pub(crate) use choice;
