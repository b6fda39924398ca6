//! The first words of a statement, which tell whether the pool can bear it.
//!
//! A statement of the extended protocol is one command, and its first word says which. Commands that begin and end
//! transactions would not be noticed by the owner of the connection; prepared statements, subscriptions and the like
//! belong to a session, and a guest has none; `COPY` would change the protocol.

/// What is known of a command before it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Any that is not named below.
    Plain,
    /// It is never taken.
    Refused(&'static str),
    /// It goes back to a savepoint, or makes or forgets one.
    Savepoint {
        /// Whether it brings a failed transaction back to life.
        goes_back: bool,
    },
}

/// The commands that are never taken.
const REFUSED: [&str; 12] = [
    "abort",
    "begin",
    "commit",
    "copy",
    "deallocate",
    "discard",
    "end",
    "execute",
    "listen",
    "prepare",
    "start",
    "unlisten",
];

impl Command {
    pub(crate) fn of(statement: &str) -> Self {
        let mut rest = statement;
        let mut next = || -> &str {
            let (word, after) = word(rest);
            rest = after;
            word
        };
        let first = next();
        let is = |word: &str, wanted: &str| word.eq_ignore_ascii_case(wanted);
        if let Some(refused) = REFUSED.iter().find(|refused| is(first, refused)) {
            return Self::Refused(refused);
        }
        if is(first, "savepoint") || is(first, "release") {
            return Self::Savepoint { goes_back: false };
        }
        if is(first, "rollback") {
            let second = next();
            let to = if is(second, "work") || is(second, "transaction") { next() } else { second };
            return if is(to, "to") { Self::Savepoint { goes_back: true } } else { Self::Refused("rollback") };
        }
        Self::Plain
    }
}

/// The first word, and what follows it. Before it may be white space, comments, and semicolons of empty commands.
fn word(text: &str) -> (&str, &str) {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || matches!(c, ';' | '\u{b}'));
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest);
        } else {
            break;
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    rest.split_at(end)
}

/// What follows a comment, which may contain others.
fn after_comment(text: &str) -> &str {
    let (mut depth, mut rest) = (0_usize, text);
    loop {
        if let Some(after) = rest.strip_prefix("/*") {
            depth += 1;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = after;
            if depth == 0 {
                return rest;
            }
        } else {
            let mut characters = rest.chars();
            if characters.next().is_none() {
                return "";
            }
            rest = characters.as_str();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_known_by_their_first_words() {
        for (statement, command) in [
            ("select 1", Command::Plain),
            ("", Command::Plain),
            ("-- commit", Command::Plain),
            ("(select 1)", Command::Plain),
            ("beginning", Command::Plain),
            ("  \n\tBeGin", Command::Refused("begin")),
            ("-- a comment\ncommit", Command::Refused("commit")),
            ("--x\rcommit", Command::Refused("commit")),
            (";; commit", Command::Refused("commit")),
            ("/* /* nested */ still */COPY a TO STDOUT", Command::Refused("copy")),
            ("/* open copy", Command::Plain),
            ("/**/--\n/* é */end", Command::Refused("end")),
            ("commit;", Command::Refused("commit")),
            ("prepare/**/transaction 'a'", Command::Refused("prepare")),
            ("rollback", Command::Refused("rollback")),
            ("rollback work", Command::Refused("rollback")),
            ("ROLLBACK/**/WORK to savepoint a", Command::Savepoint { goes_back: true }),
            ("rollback to a", Command::Savepoint { goes_back: true }),
            ("rollback and chain", Command::Refused("rollback")),
            ("savepoint a", Command::Savepoint { goes_back: false }),
            ("release savepoint a", Command::Savepoint { goes_back: false }),
        ] {
            assert_eq!(Command::of(statement), command, "{statement}");
        }
    }
}
