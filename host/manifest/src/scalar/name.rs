//! Names: what sections are called and how they are referred to.

use std::fmt;

use schemars::{Schema, json_schema};

use super::{Fault, Text};

/// The longest name, in bytes. Names become metric labels and log fields.
const MAX_NAME: usize = 64;

/// Declares a kind of name, so that one kind cannot stand where another belongs.
macro_rules! names {
    ($($(#[doc = $doc:literal])* $name:ident, $kind:literal;)*) => {$(
        $(#[doc = $doc])*
        ///
        /// 1 to 64 of `a`-`z`, `0`-`9`, `-` and `_`, the first a letter or a digit.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks a name. The error says what is wrong with it.
            pub fn new(name: &str) -> Result<Self, InvalidName> {
                match check_name(name) {
                    Ok(()) => Ok(Self(name.to_owned())),
                    Err(fault) => Err(InvalidName { name: name.to_owned(), what: fault.what, fix: fault.fix }),
                }
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Text for $name {
            const KIND: &'static str = $kind;

            fn parse(text: &str) -> Result<Self, Fault> {
                check_name(text).map(|()| Self(text.to_owned()))
            }

            fn text_schema() -> Schema {
                json_schema!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$" })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    /// The name of a component: `demo` in `[component.demo]`.
    ComponentName, "the name of a component";
    /// The name under which a directory is granted and a sendfile response refers to it.
    DirectoryName, "the name of a directory";
    /// The name of a listener, in logs and metrics.
    ListenerName, "a name";
    /// The name of a middleware: `security` in `[middleware.security]`.
    MiddlewareName, "the name of a middleware";
    /// The name of a route, for reverse URLs, logs and metrics.
    RouteName, "a name";
    /// The name under which a secret is granted and a guest asks for it.
    SecretName, "the name of a secret";
    /// The name under which a store is granted and a guest opens it.
    StoreName, "the name of a store";
    /// The name of a tenant: `acme` in `[tenant.acme]`.
    TenantName, "the name of a tenant";
}

/// A text that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name `{name}` {what}: {fix}")]
pub struct InvalidName {
    name: String,
    what: String,
    fix: String,
}

fn check_name(name: &str) -> Result<(), Fault> {
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
    use super::*;

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
