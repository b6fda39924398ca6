//! A host for tests on the machine's own target: it answers a handler's calls from values that the test has set, and
//! keeps the handler's output for the test. Each thread has its own host, as each test has a thread.
//!
//! Not covered: limits, time, other sessions. A timer fires when the test says so.

#![allow(missing_docs)]

pub mod bindings;
pub mod sql;
pub mod store;
pub mod types;

use std::cell::RefCell;
use std::collections::BTreeMap;

/// The input and output of one thread's handlers.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub config: BTreeMap<String, String>,
    pub databases: BTreeMap<String, sql::Answers>,
    pub lines: Vec<(crate::log::Level, String)>,
    #[cfg(feature = "client")]
    pub origins: BTreeMap<String, Origin>,
    pub published: Vec<(String, Vec<u8>)>,
    pub routes: BTreeMap<String, String>,
    pub secrets: BTreeMap<String, Vec<u8>>,
    pub stores: store::Stores,
    pub subscriptions: Vec<String>,
    /// The id, the milliseconds, and whether it repeats.
    pub timers: Vec<(u64, u64, bool)>,
    pub last_timer: u64,
}

/// The answers of another server.
#[cfg(feature = "client")]
#[derive(Clone)]
pub(crate) struct Origin(pub std::rc::Rc<Answers>);

#[cfg(feature = "client")]
type Answers = dyn Fn(http::Request<Vec<u8>>) -> http::Response<Vec<u8>>;

#[cfg(feature = "client")]
impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::default();
}

/// Reads or changes this thread's host.
pub(crate) fn with_host<T>(run: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with_borrow_mut(run)
}

pub mod bus {
    use super::types::Error;
    use super::with_host;

    pub fn subscribe(topic: &str) -> Result<(), Error> {
        with_host(|host| {
            if !host.subscriptions.iter().any(|known| known == topic) {
                host.subscriptions.push(topic.to_owned());
            }
        });
        Ok(())
    }

    pub fn unsubscribe(topic: &str) {
        with_host(|host| host.subscriptions.retain(|known| known != topic));
    }

    /// The only session may be a subscriber.
    pub fn publish(topic: &str, payload: &[u8]) -> Result<u32, Error> {
        with_host(|host| {
            host.published.push((topic.to_owned(), payload.to_owned()));
            Ok(u32::from(host.subscriptions.iter().any(|known| known == topic)))
        })
    }
}

pub mod config {
    use super::with_host;

    pub fn get(key: &str) -> Option<String> {
        with_host(|host| host.config.get(key).cloned())
    }

    pub fn entries() -> Vec<(String, String)> {
        with_host(|host| host.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

pub mod log {
    use super::with_host;

    #[derive(Clone, Copy, Debug)]
    pub enum Level {
        Trace,
        Debug,
        Info,
        Warn,
        Error,
    }

    pub fn log(level: Level, message: &str) {
        let level = match level {
            Level::Trace => crate::log::Level::Trace,
            Level::Debug => crate::log::Level::Debug,
            Level::Info => crate::log::Level::Info,
            Level::Warn => crate::log::Level::Warn,
            Level::Error => crate::log::Level::Error,
        };
        with_host(|host| host.lines.push((level, message.to_owned())));
    }
}

pub mod routes {
    use super::types::Error;
    use super::with_host;

    /// Fills in `:name` and `*name`; a wildcard keeps its slashes.
    pub fn url_for(name: &str, params: &[(String, String)]) -> Result<String, Error> {
        let pattern = with_host(|host| host.routes.get(name).cloned());
        let Some(pattern) = pattern else { return Err(Error::Refused(format!("no route is named `{name}`"))) };
        let mut unused: Vec<&str> = params.iter().map(|(name, _)| name.as_str()).collect();
        let mut segments = Vec::new();
        for segment in pattern.split('/') {
            let (kept, Some(name)) = (
                if segment.starts_with('*') { "/" } else { "" },
                segment.strip_prefix(':').or_else(|| segment.strip_prefix('*')),
            ) else {
                segments.push(segment.to_owned());
                continue;
            };
            let Some((_, value)) = params.iter().find(|(param, _)| param == name) else {
                return Err(Error::Refused(format!("the parameter `{name}` is missing")));
            };
            unused.retain(|param| *param != name);
            segments.push(encode(value, kept));
        }
        match unused.first() {
            Some(extra) => Err(Error::Refused(format!("the route has no parameter `{extra}`"))),
            None => Ok(segments.join("/")),
        }
    }

    /// Encodes all but the unreserved characters (RFC 3986, 2.3).
    fn encode(value: &str, kept: &str) -> String {
        let mut text = String::new();
        for byte in value.bytes() {
            let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte);
            if plain {
                text.push(char::from(byte));
            } else {
                text += &format!("%{byte:02X}");
            }
        }
        text
    }
}

pub mod secrets {
    use super::with_host;

    pub fn get(name: &str) -> Option<Vec<u8>> {
        with_host(|host| host.secrets.get(name).cloned())
    }
}

pub mod timers {
    use super::with_host;

    pub fn after(ms: u64) -> u64 {
        add(ms, false)
    }

    pub fn every(ms: u64) -> u64 {
        add(ms, true)
    }

    pub fn cancel(id: u64) {
        with_host(|host| host.timers.retain(|(known, ..)| *known != id));
    }

    fn add(ms: u64, repeats: bool) -> u64 {
        with_host(|host| {
            host.last_timer += 1;
            host.timers.push((host.last_timer, ms, repeats));
            host.last_timer
        })
    }
}
