//! The program as a whole.

use std::path::PathBuf;
use std::time::Duration;

use roadrunner_values::PathRule;

use crate::decode::Field;
use crate::resolver::{Resolver, value};
use crate::scalar::units::HOUR;
use crate::scalar::{Count, FilePath, Time, choice};
use crate::section::section;

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The longest wait of a shutdown for requests and sessions.
    pub drain: Duration,
    /// How long to keep serving after readiness turns off, before the drain starts.
    pub drain_delay: Duration,
    /// Threads that serve requests; `None` for one for each CPU.
    pub workers: Option<u32>,
    /// The directory of compiled code; `None` for the user's cache folder.
    pub cache_dir: Option<PathBuf>,
    /// The form of log lines.
    pub log: LogFormat,
    /// Whether every request writes a line to the log.
    pub access_log: bool,
    /// The form of that line.
    pub access_log_format: AccessLogFormat,
    /// Whether components of WASI 0.3 are served.
    pub wasi_03: bool,
    /// The rule for paths that a URL parser would change.
    pub path: PathRule,
    /// Whether to look for changes of the manifest's file.
    pub watch: bool,
}

section! {
    /// The program as a whole.
    #[title = "`[server]`"]
    pub(crate) struct ServerSection {
        /// The longest wait of a shutdown for requests and sessions to finish. Then it cuts them.
        drain: Time<0, { HOUR }> = "\"10s\"";
        /// How long to keep serving after `/ready` turns to "no", before the shutdown starts: the time that a load
        /// balancer takes to notice.
        drain_delay: Time<0, { HOUR }> = "\"0ms\"";
        /// Threads that serve requests. Without it, one for each CPU of this process.
        workers: Count<1, 1024>;
        /// The directory of compiled code. Without it, `roadrunner` in the user's cache folder. It must be writable by
        /// its owner only: its contents run as native code.
        cache_dir: FilePath;
        /// The form of log lines and of the access log on standard error.
        log: LogFormat = "\"human\"";
        /// Whether every request writes a line to the log when it is over.
        access_log: bool = "true";
        /// The form of that line: `fields`, like other log lines, or `common`, the unchanged NCSA common log format.
        access_log_format: AccessLogFormat = "\"fields\"";
        /// Whether components of `wasi:http/service` 0.3 are served. They run on a separate engine, with its own pool
        /// of `instances` in `[limits]`. The engine's authors call its support for WASI 0.3 experimental. Without it,
        /// such a component is refused.
        wasi_03: bool = "false";
        /// The rule for a request path that a URL parser would change: a path with `.` or `..` as a segment, also
        /// written with `%2e`, with `\`, or with `//` at its beginning. `"strict"`: the request is answered with 400.
        /// `"as-sent"`: the path is passed on unchanged; a guest that parses URLs then sees another path than the
        /// routes, and a rule for one path does not protect the other.
        path: PathRule [default];
        /// Whether to look every second for changes of this file, and of the files of components, and to reload after a
        /// change, as `roadrunner reload` does.
        watch: bool = "false";
    }
}

choice! {
    /// The form of log lines.
    pub enum LogFormat {
        /// For a person at a terminal.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}

choice! {
    /// The form of a line of the access log.
    pub enum AccessLogFormat {
        /// Fields, in the form of `log`.
        Fields = "fields",
        /// The NCSA common log format.
        Common = "common",
    }
}

impl Resolver<'_> {
    pub(crate) fn server(&self, section: &Field<ServerSection>) -> Server {
        let server = value(section).cloned().unwrap_or_default();
        Server {
            drain: server.drain().get(),
            drain_delay: server.drain_delay().get(),
            workers: value(&server.workers).map(|count| count.get()),
            cache_dir: value(&server.cache_dir).map(|path| path.resolve(&self.folder)),
            log: server.log(),
            access_log: server.access_log(),
            access_log_format: server.access_log_format(),
            wasi_03: server.wasi_03(),
            path: server.path(),
            watch: server.watch(),
        }
    }
}
