//! The names of sections, by which other sections refer to them.

use super::{Fault, Text};

/// The longest name, in bytes. Names become metric labels and log fields.
const MAX_NAME: usize = 64;

/// A name of a section, as in `[store.NAME]`, or in its `name`.
pub(crate) trait Name: Text + Clone + PartialEq {
    /// The kind of section that declares it: `store`.
    const DECLARES: &'static str;

    fn text(&self) -> &str;
}

/// Declares a kind of name, so that one kind cannot stand where another belongs.
macro_rules! name {
    ($(#[doc = $doc:literal])* pub struct $name:ident = $declares:literal;) => {
        $(#[doc = $doc])*
        ///
        /// 1 to 64 of `a`-`z`, `0`-`9`, `-` and `_`, the first a letter or a digit.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks a name. The error says what is wrong with it.
            pub fn new(name: &str) -> Result<Self, $crate::scalar::InvalidName> {
                $crate::scalar::check_name(name).map_err(|fault| $crate::scalar::InvalidName::new(name, fault))?;
                Ok(Self(name.to_owned()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $crate::scalar::Name for $name {
            const DECLARES: &'static str = $declares;

            fn text(&self) -> &str {
                &self.0
            }
        }

        impl $crate::scalar::Text for $name {
            const KIND: &'static str = concat!("the name of a ", $declares);

            fn parse(text: &str) -> Result<Self, $crate::scalar::Fault> {
                $crate::scalar::check_name(text).map(|()| Self(text.to_owned()))
            }

            fn text_schema() -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" })
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}
pub(crate) use name;

/// A text that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name `{name}` {what}: {fix}")]
pub struct InvalidName {
    name: String,
    what: String,
    fix: String,
}

impl InvalidName {
    pub(crate) fn new(name: &str, fault: Fault) -> Self {
        Self { name: name.to_owned(), what: fault.what, fix: fault.fix }
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), Fault> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() {
        return Err(Fault::new("is empty", "write a name"));
    }
    if name.len() > MAX_NAME {
        return Err(Fault::new("is too long", format!("write at most {MAX_NAME} characters")));
    }
    if name.starts_with(['-', '_']) {
        return Err(Fault::new(format!("starts with `{}`", &name[..1]), "start with a letter or a digit"));
    }
    let Some(wrong) = name.chars().find(|c| !allowed(*c)) else { return Ok(()) };
    let close = name.to_lowercase().replace([' ', '.', '/'], "-");
    let fix = if close.chars().all(allowed) && !close.starts_with('-') {
        format!("did you mean \"{close}\"?")
    } else {
        "use a-z, 0-9, `-` and `_`".to_owned()
    };
    Err(Fault::new(format!("contains `{wrong}`"), fix))
}

#[cfg(test)]
mod tests {
    use crate::component::ComponentName;

    #[test]
    fn names_are_checked() {
        for good in ["a", "users-show", "0_x", &"a".repeat(64)] {
            assert!(ComponentName::new(good).is_ok(), "{good}");
        }
        for wrong in ["", "-a", "_a", "A", "a b", "ä", "a.b", &"a".repeat(65)] {
            assert!(ComponentName::new(wrong).is_err(), "{wrong}");
        }
    }
}
