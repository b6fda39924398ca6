//! What a user sees when a manifest is wrong: every problem with file, line, column, key and the way out of it.
//!
//! A [`Diagnostic`] is a message, the place it is about, and a fix that is printed under that place. A
//! [`ManifestError`] is all of them for one file, in the order of the file, rendered as
//! ```text
//! roadrunner.toml:12:1: unknown key `memroy` in [component.api.limits]
//!    12 | memroy = "64MiB"
//!       | ^^^^^^ did you mean `memory`?
//! ```
//! Not covered: colour is two ANSI attributes, chosen by the caller, who knows whether a terminal reads it.

use std::fmt::{self, Write as _};
use std::ops::Range;

/// One problem of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The message, which names the key and its section.
    pub message: String,
    /// The bytes of the manifest that the message is about. An empty range marks a position.
    pub span: Range<usize>,
    /// The fix, printed next to the mark.
    pub fix: String,
    /// A second place that explains the first, such as the earlier of two routes in conflict.
    pub related: Option<(Range<usize>, String)>,
}

impl Diagnostic {
    /// A problem at one place.
    pub fn new(span: Range<usize>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { message: message.into(), span, fix: fix.into(), related: None }
    }

    /// Adds the place that explains this one.
    #[must_use]
    pub fn with_related(mut self, span: Range<usize>, note: impl Into<String>) -> Self {
        self.related = Some((span, note.into()));
        self
    }
}

/// The style of printed errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// ANSI colours, for a terminal.
    Coloured,
    /// Text only.
    #[default]
    Plain,
}

/// All problems of one manifest. `Display` renders them without colours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    file: String,
    text: String,
    diagnostics: Vec<Diagnostic>,
    /// The number of problems that were left out.
    more: usize,
}

/// The number of problems to keep of one file: nobody reads more, and finding lines takes time.
const MAX_DIAGNOSTICS: usize = 100;

impl ManifestError {
    /// Collects the problems of one file. `file` is the name to print; the spans index `text`.
    pub fn new(file: impl Into<String>, text: impl Into<String>, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|diagnostic| (diagnostic.span.start, diagnostic.span.end));
        diagnostics.dedup();
        let more = diagnostics.len().saturating_sub(MAX_DIAGNOSTICS);
        diagnostics.truncate(MAX_DIAGNOSTICS);
        Self { file: file.into(), text: text.into(), diagnostics, more }
    }

    /// The problems, in the order of the file: the first hundred. Errors of this crate have at least one.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The whole report, ending in a newline.
    pub fn render(&self, style: Style) -> String {
        let mut out = String::new();
        for (index, diagnostic) in self.diagnostics.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            self.render_one(diagnostic, style, &mut out);
        }
        if self.more > 0 {
            let _ = writeln!(out, "\n{}: {} more problems", self.file, self.more);
        }
        out
    }

    fn render_one(&self, diagnostic: &Diagnostic, style: Style, out: &mut String) {
        let (bold, mark, note, reset) = match style {
            Style::Coloured => ("\x1b[1m", "\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"),
            Style::Plain => ("", "", "", ""),
        };
        let place = Place::find(&self.text, &diagnostic.span);
        let message = printable(&diagnostic.message);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{bold}{}:{}:{}: {message}{reset}", self.file, place.line, place.column);
        place.render('^', mark, reset, &diagnostic.fix, out);
        if let Some((span, text)) = &diagnostic.related {
            Place::find(&self.text, span).render('-', note, reset, text, out);
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(Style::Plain).trim_end())
    }
}

impl std::error::Error for ManifestError {}

/// A span in a reader's terms: lines and columns from 1, columns in characters.
struct Place<'t> {
    line: usize,
    column: usize,
    text: &'t str,
    /// Characters marked, at least one.
    width: usize,
}

impl<'t> Place<'t> {
    fn find(text: &'t str, span: &Range<usize>) -> Self {
        let start = floor_char_boundary(text, span.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = &text[line_start..];
        let line = line.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let line_end = line_start + line.len();
        let end = floor_char_boundary(text, span.end).clamp(start.min(line_end), line_end);
        Self {
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: line,
            width: text[start.min(end)..end].chars().count().max(1),
        }
    }

    fn render(&self, mark: char, colour: &str, reset: &str, note: &str, out: &mut String) {
        // A very long line is cut around the mark.
        let from = if self.column > MAX_COLUMNS { self.column - MAX_COLUMNS / 2 } else { 1 };
        let shown: String = self.text.chars().skip(from - 1).take(MAX_COLUMNS).collect();
        let shown = printable(&shown);
        // The padding keeps tabs, so that the mark stands under its text whatever their width.
        let padding: String =
            shown.chars().take(self.column - from).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let missing = (self.column - from).saturating_sub(shown.chars().count());
        let width = self.width.min(MAX_COLUMNS + from - self.column.min(MAX_COLUMNS + from - 1));
        let marks = mark.to_string().repeat(width);
        let note = printable(note);
        let _ = writeln!(out, "{:>5} | {}", self.line, shown.trim_end());
        let _ = writeln!(out, "      | {padding}{}{colour}{marks} {note}{reset}", " ".repeat(missing));
    }
}

/// The widest piece of a line that is shown.
const MAX_COLUMNS: usize = 120;

/// Replaces control characters: the contents of a file must not drive the terminal that shows it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str, span: Range<usize>) -> String {
        ManifestError::new("m.toml", text, vec![Diagnostic::new(span, "wrong", "fix it")]).to_string()
    }

    #[test]
    fn marks_the_span_under_tabs_and_wide_text() {
        assert_eq!(render("a\n\tkéy = 1\n", 3..7), "m.toml:2:2: wrong\n    2 | \tkéy = 1\n      | \t^^^ fix it");
    }

    #[test]
    fn a_position_past_the_end_is_shown_at_the_end() {
        assert_eq!(render("a = 1", 50..60), "m.toml:1:6: wrong\n    1 | a = 1\n      |      ^ fix it");
        assert_eq!(render("", 0..0), "m.toml:1:1: wrong\n    1 |\n      | ^ fix it".replace("|\n", "| \n"));
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark_and_control_characters_are_replaced() {
        let text = format!("{}\x1b[31mkey", "x".repeat(500));
        let shown = render(&text, 505..508);
        assert!(shown.lines().all(|line| line.chars().count() < 150), "{shown}");
        assert!(!shown.contains('\x1b'));
    }

    #[test]
    fn a_span_over_several_lines_marks_the_first() {
        assert_eq!(render("ab\ncd\n", 1..5), "m.toml:1:2: wrong\n    1 | ab\n      |  ^ fix it");
    }
}
