//! The environment of a guest: names and values.

use schemars::{Schema, json_schema};

use super::{Fault, Text};

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
}
