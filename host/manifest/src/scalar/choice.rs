//! Leaves that are one of a few words, `true` and `false` included.

use roadrunner_values::{Choice, ForwardedField, H2c, PathRule};
use schemars::{Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::text::Fault;
use crate::decode::{Context, Decode, Place, suggestion};
use crate::section::Sets;

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
        $crate::scalar::choice::word!($name);
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

        impl $crate::section::Sets<Self> for $name {
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
