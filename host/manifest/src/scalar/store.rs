//! Where secrets and stores are, when that is no path.

use schemars::{Schema, json_schema};

use super::{Fault, Text};

/// The name of a variable of the environment; none for what is no name. It is judged where the section is known: a report
/// shows the line that it points to, and who writes the secret itself here must not find it in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable(pub(crate) Option<String>);

impl Text for Variable {
    const KIND: &'static str = "the name of an environment variable";

    fn parse(text: &str) -> Result<Self, Fault> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.is_empty() || !text.chars().all(is_name) || text.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Self(None));
        }
        Ok(Self(Some(text.to_owned())))
    }

    fn text_schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" })
    }
}

/// The URL of a Redis server; none for one with a password, since manifests are read by more people than secrets are.
/// That is judged where the section is known, as with [`Variable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisUrl(pub(crate) Option<String>);

impl Text for RedisUrl {
    const KIND: &'static str = "the URL of a Redis server, such as \"redis://127.0.0.1:6379\"";

    fn parse(text: &str) -> Result<Self, Fault> {
        let example = "write it as \"redis://HOST:PORT\", \"rediss://HOST:PORT/DATABASE\" or \"redis+unix:///PATH\"";
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| Fault::new("is not the URL of a Redis server", example))?;
        let rest = rest.split('#').next().unwrap_or_default();
        let is_socket = match scheme {
            "redis" | "rediss" => false,
            "redis+unix" => true,
            _ => return Err(Fault::new(format!("has the scheme \"{scheme}\""), example)),
        };
        let (authority, after) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') || after.contains("pass=") {
            return Ok(Self(None));
        }
        let names_a_server = if is_socket { after.len() > 1 } else { !authority.is_empty() };
        if !names_a_server || text.contains('#') || text.contains(char::is_whitespace) {
            return Err(Fault::new("is not the URL of a Redis server", example));
        }
        Ok(Self(Some(text.to_owned())))
    }

    fn text_schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(rediss?|redis\\+unix)://",
            "examples": ["redis://127.0.0.1:6379", "rediss://redis.example.com/1", "redis+unix:///run/redis/redis.sock"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for good in [
            "redis://127.0.0.1:6379",
            "rediss://user@redis.example.com/1",
            "redis+unix:///run/redis.sock",
            "redis://[::1]",
        ] {
            assert!(RedisUrl::parse(good).is_ok(), "{good}");
        }
        for wrong in
            ["", "127.0.0.1:6379", "http://a", "redis://", "redis+unix://", "redis://a b", "redis://a#insecure"]
        {
            assert!(RedisUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_is_not_kept() {
        for wrong in ["redis://user:hunter2@a", "redis://:hunter2@a/1", "redis+unix:///run/a?pass=hunter2"] {
            assert_eq!(RedisUrl::parse(wrong), Ok(RedisUrl(None)), "{wrong}");
        }
        assert_eq!(Variable::parse("hunter-2"), Ok(Variable(None)));
    }
}
