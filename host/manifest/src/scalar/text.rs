//! Leaves that are written as strings.

use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use crate::decode::{Context, Decode, Place};

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
