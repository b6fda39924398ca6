//! Server-sent events (WHATWG HTML, section 9.2).
//!
//! Framing is safe: foreign text cannot start a new field or event. Data is split at CR, LF and CRLF into `data` lines,
//! which the client joins again; names and ids that do not fit on one line are refused.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::response::{Event, EventLoop, IntoResponse, Next, Response, Writer};

/// A held response that sends server-sent events, as `text/event-stream`.
///
/// ```no_run
/// # use std::time::Duration;
/// # use roadrunner_guest::{Event, Next, Sse, timers};
/// timers::every(Duration::from_secs(1));
/// let mut ticks = 0;
/// Sse::new(move |event, out| {
///     if let Event::Timer(_) = event {
///         ticks += 1;
///         out.data(ticks.to_string())?;
///     }
///     Ok(Next::Continue)
/// });
/// ```
#[derive(Debug)]
pub struct Sse {
    response: Response,
}

impl Sse {
    /// Makes a response whose events a closure sends; it is called for each event of the session.
    pub fn new(mut session: impl FnMut(Event, &SseWriter<'_>) -> Result<Next> + 'static) -> Self {
        let session = EventLoop::new(move |event, out| session(event, &SseWriter { out }));
        let response =
            session.header("content-type", "text/event-stream").header("cache-control", "no-cache").into_response();
        Self { response }
    }
}

crate::response::head_setters!(Sse, response);

impl IntoResponse for Sse {
    fn into_response(self) -> Response {
        self.response
    }
}

/// Sends server-sent events. Each call is one chunk, which is sent at once and waits while the client does not read.
#[derive(Debug)]
pub struct SseWriter<'a> {
    out: &'a Writer<'a>,
}

impl SseWriter<'_> {
    /// Sends an event.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client is gone, [`Error::Refused`] for a name or an id that cannot be framed.
    pub fn send(&self, event: &SseEvent) -> Result<()> {
        self.out.write(event.to_text()?)
    }

    /// Sends an event with data only.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client is gone.
    pub fn data(&self, data: impl AsRef<str>) -> Result<()> {
        let mut text = String::new();
        push_lines(&mut text, "data: ", data.as_ref());
        text.push('\n');
        self.out.write(text)
    }

    /// Sends a comment, which clients ignore and which shows proxies that the stream is alive.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client is gone.
    pub fn comment(&self, text: impl AsRef<str>) -> Result<()> {
        self.out.write(comment(text.as_ref()))
    }

    /// Tells the client how long to wait before it connects again, in whole milliseconds.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client is gone.
    pub fn retry(&self, wait: Duration) -> Result<()> {
        self.out.write(retry(wait))
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SseEvent {
    name: Option<String>,
    data: String,
    id: Option<String>,
}

impl SseEvent {
    /// Makes an event with this data, which may have many lines.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// Sets the event's type; the default for clients is `message`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the id that the client sends as `last-event-id` when it connects again.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The event in its form on the wire.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name with a line break, or an id with a line break or U+0000, which a client would cut
    /// off or ignore.
    pub fn to_text(&self) -> Result<String> {
        let mut text = String::with_capacity(self.data.len() + 32);
        if let Some(name) = &self.name {
            push_field(&mut text, "event", name, &['\r', '\n'])?;
        }
        if let Some(id) = &self.id {
            push_field(&mut text, "id", id, &['\r', '\n', '\0'])?;
        }
        push_lines(&mut text, "data: ", &self.data);
        text.push('\n');
        Ok(text)
    }
}

/// A comment in its form on the wire.
pub fn comment(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + 4);
    push_lines(&mut lines, ": ", text);
    lines.push('\n');
    lines
}

/// A reconnection time in its form on the wire.
pub fn retry(wait: Duration) -> String {
    format!("retry: {}\n\n", wait.as_millis())
}

fn push_field(text: &mut String, field: &str, value: &str, forbidden: &[char]) -> Result<()> {
    if value.contains(forbidden) {
        return Err(Error::Refused(format!("the {field} of a server-sent event cannot contain {forbidden:?}")));
    }
    text.push_str(field);
    text.push_str(": ");
    text.push_str(value);
    text.push('\n');
    Ok(())
}

/// Writes a prefix and a line for each line of `value`, and at least one line.
fn push_lines(text: &mut String, prefix: &str, value: &str) {
    let mut rest = value;
    loop {
        text.push_str(prefix);
        let Some(end) = rest.find(['\r', '\n']) else {
            text.push_str(rest);
            text.push('\n');
            return;
        };
        text.push_str(&rest[..end]);
        text.push('\n');
        let skipped = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + skipped..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_fields_in_front_of_its_data() {
        let event = SseEvent::new("hi").name("greeting").id("7");
        assert_eq!(event.to_text().unwrap(), "event: greeting\nid: 7\ndata: hi\n\n");
    }

    #[test]
    fn data_is_split_at_every_kind_of_line_break() {
        let text = SseEvent::new("a\nb\rc\r\nd\n").to_text().unwrap();
        assert_eq!(text, "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    }

    #[test]
    fn data_cannot_start_a_field_or_an_event() {
        let text = SseEvent::new("x\n\nevent: fake\rid: 9").to_text().unwrap();
        assert_eq!(text, "data: x\ndata: \ndata: event: fake\ndata: id: 9\n\n");
    }

    #[test]
    fn empty_data_is_an_event() {
        assert_eq!(SseEvent::new("").to_text().unwrap(), "data: \n\n");
    }

    #[test]
    fn names_and_ids_with_breaks_are_refused() {
        for bad in ["a\nb", "a\rb", "\n"] {
            assert!(matches!(SseEvent::new("x").name(bad).to_text(), Err(Error::Refused(_))), "{bad:?}");
            assert!(matches!(SseEvent::new("x").id(bad).to_text(), Err(Error::Refused(_))), "{bad:?}");
        }
        assert!(matches!(SseEvent::new("x").id("a\0").to_text(), Err(Error::Refused(_))));
    }

    #[test]
    fn comments_stay_comments() {
        assert_eq!(comment("one\ndata: two\r\n"), ": one\n: data: two\n: \n\n");
    }

    #[test]
    fn retry_is_in_milliseconds() {
        assert_eq!(retry(Duration::from_secs(3)), "retry: 3000\n\n");
    }
}
