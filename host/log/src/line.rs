//! One line of the log, for people or in JSON, written field by field.

use std::fmt::{self, Write as _};
use std::time::SystemTime;

use tracing::Level;

use crate::clock;
use crate::escape::{Escaper, Style};

/// The most bytes of one field, including escapes.
pub const MAX_FIELD: usize = 16 << 10;

/// The format of lines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// For people, with colours on a terminal.
    Human {
        /// Whether to use colours.
        colours: bool,
    },
    /// An object on each line.
    Json,
}

/// A line that is being written.
#[derive(Debug)]
pub struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
    target: &'a str,
    /// The next field of a human-readable line needs a space before it.
    is_begun: bool,
}

impl<'a> Line<'a> {
    /// Begins a line for this part of the host.
    pub(crate) fn new(out: &'a mut Vec<u8>, format: Format, level: Level, target: &'a str, now: SystemTime) -> Self {
        let mut line = Self { out, format, target, is_begun: false };
        match format {
            Format::Json => {
                line.put(b"{\"timestamp\":\"");
                clock::write(line.out, now);
                line.put(b"\",\"level\":\"");
                line.put(level.as_str().as_bytes());
                line.put(b"\"");
            }
            Format::Human { .. } => {
                line.paint(DIM, |out| clock::write(out, now));
                line.put(b" ");
                line.paint(colour(level), |out| out.extend_from_slice(padded(level)));
                line.put(b" ");
                line.paint(DIM, |out| out.extend_from_slice(target.as_bytes()));
                line.paint(DIM, |out| out.push(b':'));
                line.put(b" ");
            }
        }
        line
    }

    /// Writes the message of the line.
    pub fn message(&mut self, value: impl fmt::Display) {
        match self.format {
            Format::Json => self.display("message", value),
            Format::Human { .. } => {
                self.pad();
                self.plain(&value);
            }
        }
    }

    /// Writes a field with text of any origin, between quotes.
    pub fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.quoted(&value);
    }

    /// Writes a field with a value that needs no quotes.
    pub fn display(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        match self.format {
            Format::Json => self.quoted(&value),
            Format::Human { .. } => self.plain(&value),
        }
    }

    /// Writes a field with a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        self.put(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Writes a field that is a number or a truth value in JSON, too.
    pub(crate) fn literal(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        let _ = std::io::Write::write_fmt(self.out, format_args!("{value}"));
    }

    /// The number of bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.out.len()
    }

    pub(crate) fn end(self) {
        if self.format == Format::Json {
            self.out.extend_from_slice(b",\"target\":\"");
            self.out.extend_from_slice(self.target.as_bytes());
            self.out.extend_from_slice(b"\"}");
        }
        self.out.push(b'\n');
    }

    /// Writes a value, between quotes if it could be taken for several fields.
    fn plain(&mut self, value: &dyn fmt::Display) {
        let start = self.out.len();
        self.escaped(Style::Plain, value);
        if self.out[start..].contains(&b'=') {
            self.out.truncate(start);
            self.quoted(value);
        }
    }

    fn quoted(&mut self, value: &dyn fmt::Display) {
        self.put(b"\"");
        self.escaped(if self.format == Format::Json { Style::Json } else { Style::Quotes }, value);
        self.put(b"\"");
    }

    /// Writes a value with escapes. A value that is cut cannot be written any further, and says so itself.
    fn escaped(&mut self, style: Style, value: &dyn fmt::Display) {
        let mut escaper = Escaper::new(self.out, style, MAX_FIELD);
        let _ = write!(escaper, "{value}");
        escaper.end();
    }

    fn name(&mut self, name: &str) {
        match self.format {
            Format::Json => {
                self.put(b",\"");
                self.put(name.as_bytes());
                self.put(b"\":");
            }
            Format::Human { .. } => {
                self.pad();
                self.paint(ITALIC, |out| out.extend_from_slice(name.as_bytes()));
                self.paint(DIM, |out| out.push(b'='));
            }
        }
    }

    fn pad(&mut self) {
        if std::mem::replace(&mut self.is_begun, true) {
            self.put(b" ");
        }
    }

    fn paint(&mut self, colour: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let colours = matches!(self.format, Format::Human { colours: true });
        if colours {
            self.put(colour);
        }
        write(self.out);
        if colours {
            self.put(b"\x1b[0m");
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
}

const DIM: &[u8] = b"\x1b[2m";
const ITALIC: &[u8] = b"\x1b[3m";

fn colour(level: Level) -> &'static [u8] {
    match level {
        Level::ERROR => b"\x1b[31m",
        Level::WARN => b"\x1b[33m",
        Level::INFO => b"\x1b[32m",
        Level::DEBUG => b"\x1b[34m",
        Level::TRACE => b"\x1b[35m",
    }
}

fn padded(level: Level) -> &'static [u8] {
    match level {
        Level::ERROR => b"ERROR",
        Level::WARN => b" WARN",
        Level::INFO => b" INFO",
        Level::DEBUG => b"DEBUG",
        Level::TRACE => b"TRACE",
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn line(format: Format) -> String {
        let mut out = Vec::new();
        let now = UNIX_EPOCH + Duration::from_secs(971_186_136);
        let mut line = Line::new(&mut out, format, Level::WARN, "guest", now);
        line.message("first\u{1b}\n\"second\"");
        line.text("uri", "/\"\\ status=200");
        line.display("route", "/*rest");
        line.number("status", 404);
        line.literal("delta", -1);
        line.end();
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_line_for_people() {
        assert_eq!(
            line(Format::Human { colours: false }),
            "2000-10-10T13:55:36.000000Z  WARN guest: first\\u{1b}\\n\"second\" uri=\"/\\\"\\\\ status=200\" \
             route=/*rest status=404 delta=-1\n"
        );
    }

    #[test]
    fn what_could_be_taken_for_fields_is_quoted() {
        let mut out = Vec::new();
        let mut line = Line::new(&mut out, Format::Human { colours: false }, Level::INFO, "guest", UNIX_EPOCH);
        line.message("ready \"request\"=0");
        line.display("error", "no file status=200");
        line.display("route", "/*rest");
        line.end();
        assert_eq!(
            String::from_utf8_lossy(&out["1970-01-01T00:00:00.000000Z ".len()..]),
            " INFO guest: \"ready \\\"request\\\"=0\" error=\"no file status=200\" route=/*rest\n"
        );
    }

    #[test]
    fn colours_are_the_hosts_alone() {
        let line = line(Format::Human { colours: true });
        let start = "\u{1b}[2m2000-10-10T13:55:36.000000Z\u{1b}[0m \u{1b}[33m WARN\u{1b}[0m \
                     \u{1b}[2mguest\u{1b}[0m\u{1b}[2m:\u{1b}[0m first\\u{1b}\\n";
        assert!(line.starts_with(start), "{line:?}");
        assert!(line.contains(" \u{1b}[3mstatus\u{1b}[0m\u{1b}[2m=\u{1b}[0m404"), "{line:?}");
    }

    #[test]
    fn a_line_in_json() {
        assert_eq!(
            line(Format::Json),
            "{\"timestamp\":\"2000-10-10T13:55:36.000000Z\",\"level\":\"WARN\",\
             \"message\":\"first\\u001b\\n\\\"second\\\"\",\"uri\":\"/\\\"\\\\ status=200\",\"route\":\"/*rest\",\
             \"status\":404,\"delta\":-1,\"target\":\"guest\"}\n"
        );
    }

    #[test]
    fn a_field_is_bounded() {
        for format in [Format::Json, Format::Human { colours: false }] {
            let mut out = Vec::new();
            let mut line = Line::new(&mut out, format, Level::INFO, "x", UNIX_EPOCH);
            line.text("text", &"\u{202e}".repeat(1 << 20));
            line.end();
            assert!(out.len() < MAX_FIELD + 200, "{}", out.len());
        }
    }
}
