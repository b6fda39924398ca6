//! Turns events of `tracing` into lines.

use std::fmt;
use std::ops::Range;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::line::Line;
use crate::queue::Owner;
use crate::writer::{Log, with_buffer};

/// The filter if the environment sets none. The messages of DNS and NATS servers do not concern the operator, and an
/// operation that fails because of them is logged.
const DEFAULT_FILTER: &str = "info,async_nats=off,hickory_net=off,hickory_resolver=off";

/// Filters that hold whatever the environment says: these libraries log the statements and parameters of guests.
const NEVER: [&str; 2] = ["postgres_protocol=off", "tokio_postgres=off"];

/// Turns all events of the process into lines, as far as `RUST_LOG` allows them.
pub(crate) fn listen(log: &Log) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let filter = NEVER.iter().fold(filter, |filter, never| filter.add_directive(never.parse().expect("a directive")));
    // An existing listener, in a test, stays.
    let _ = tracing_subscriber::registry().with(filter).with(log.clone()).try_init();
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let normal = event.normalized_metadata();
        let metadata = normal.as_ref().unwrap_or_else(|| event.metadata());
        with_buffer(|buffer| {
            let now = std::time::SystemTime::now();
            let line = Line::new(buffer, self.format(), *metadata.level(), metadata.target(), now);
            let mut fields = Fields { line, tenant: None, has_component: false };
            event.record(&mut fields);
            let Fields { line, tenant, has_component } = fields;
            line.end();
            let tenant = tenant.and_then(|range| std::str::from_utf8(buffer.get(range)?).ok());
            let owner = match tenant {
                Some(tenant) => Owner::Tenant(tenant),
                None if has_component => Owner::Untenanted,
                None => Owner::Host,
            };
            self.raw(owner, buffer);
        });
    }
}

struct Fields<'a> {
    line: Line<'a>,
    /// The range of the tenant's name in the line. Such names need no escapes.
    tenant: Option<Range<usize>>,
    has_component: bool,
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.line.literal(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.line.literal(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if !is_metadata(field.name()) {
            self.line.number(field.name(), value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.line.literal(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.line.message(value),
            name if is_metadata(name) => {}
            name => {
                self.line.text(name, value);
                self.note(name, value);
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.line.message(format_args!("{value:?}")),
            name if is_metadata(name) => {}
            name => {
                self.line.display(name, format_args!("{value:?}"));
                self.has_component |= name == "component";
            }
        }
    }
}

impl Fields<'_> {
    fn note(&mut self, name: &str, value: &str) {
        match name {
            "tenant" => {
                // Its quote follows it.
                let end = self.line.len() - 1;
                self.tenant = Some(end.saturating_sub(value.len())..end);
            }
            "component" => self.has_component = true,
            _ => {}
        }
    }
}

/// Whether a field gives the origin of a record of the `log` crate, which its target gives as well.
fn is_metadata(field: &str) -> bool {
    field.starts_with("log.")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;
    use crate::line::Format;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            self.0.lock().write(text)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let to = Log::to(format, kept.clone()).expect("a thread");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(to.clone()), log);
        assert!(to.flush(Duration::from_secs(10)));
        let text = kept.0.lock().clone();
        String::from_utf8(text).expect("text")
    }

    fn events() {
        let error = io::Error::other("it\nfailed");
        tracing::info!(target: "one", tenant = Some("shop"), none = None::<&str>, flag = true, "message {}", 1);
        tracing::warn!(target: "two", %error, negative = -1, "a\u{202e}b");
    }

    #[test]
    fn events_for_people() {
        let text = logged(Format::Human { colours: false }, events);
        let lines: Vec<_> = text.lines().map(|line| &line["2000-10-10T13:55:36.000000Z ".len()..]).collect();
        assert_eq!(
            lines,
            [" INFO one: message 1 tenant=\"shop\" flag=true", " WARN two: a\\u{202e}b error=it\\nfailed negative=-1"]
        );
    }

    #[test]
    fn events_in_json() {
        let text = logged(Format::Json, events);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        assert_eq!((&lines[0]["tenant"], &lines[0]["flag"]), (&"shop".into(), &true.into()), "{text}");
        assert_eq!((&lines[0]["message"], &lines[0]["target"]), (&"message 1".into(), &"one".into()), "{text}");
        assert_eq!((&lines[1]["error"], &lines[1]["negative"]), (&"it\nfailed".into(), &(-1).into()), "{text}");
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn a_line_is_on_the_account_of_its_tenant() {
        let to = Log::to(Format::Json, Kept::default()).expect("a thread");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(to.clone()), events);
        let known: Vec<_> = to.dropped().queue_full.into_iter().filter_map(|(tenant, _)| tenant).collect();
        assert_eq!(known, ["shop"]);
    }
}
