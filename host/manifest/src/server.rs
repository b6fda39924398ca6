//! The program as a whole.

use std::path::PathBuf;
use std::time::Duration;

use crate::decode::section;
use crate::manifest::ManifestSection;
use crate::resolve::{Resolver, value};
use crate::scalar::units::HOUR;
use crate::scalar::{Count, FilePath, Time, choice};

/// `[server]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How long a shutdown waits for requests and sessions.
    pub drain: Duration,
    /// How long it serves on before, without being ready.
    pub drain_delay: Duration,
    /// Threads that serve requests; none for one a CPU.
    pub workers: Option<u32>,
    /// Where compiled components are kept; none for the user's cache folder.
    pub cache_dir: Option<PathBuf>,
    /// The form of log lines.
    pub log: LogFormat,
    /// Whether every request leaves a line in the log.
    pub access_log: bool,
    /// The form of that line.
    pub access_log_format: AccessLogFormat,
    /// Whether components of WASI 0.3 are served.
    pub wasi_03: bool,
    /// What becomes of a path that a URL parser would change.
    pub path: PathRule,
    /// Whether a change of the manifest's file is looked for.
    pub watch: bool,
}

section! {
    /// The program as a whole.
    pub(crate) struct ServerSection {
        /// How long a shutdown waits for requests and sessions to finish before it cuts them.
        drain: Time<0, { HOUR }> = "\"10s\"";
        /// How long a shutdown serves on before it begins, while `/ready` says no: as long as a load balancer takes to
        /// notice.
        drain_delay: Time<0, { HOUR }> = "\"0ms\"";
        /// Threads that serve requests. Without it, one for each CPU that the process may use.
        workers: Count<1, 1024>;
        /// Where compiled components are kept. Without it, `roadrunner` in the user's cache folder. Must be
        /// writable by nobody else: what is found there is run as native code.
        cache_dir: FilePath;
        /// How log lines and the access log are written to standard error.
        log: LogFormat = "\"human\"";
        /// Whether every request leaves a line in the log when it is over.
        access_log: bool = "true";
        /// The form of that line: `fields`, like other log lines, or `common`, the NCSA common log format as it is.
        access_log_format: AccessLogFormat = "\"fields\"";
        /// Whether components of `wasi:http/service` 0.3 are served. They run on an engine of their own, with a pool of
        /// as many instances as `instances` in [limits] says. Its support for WASI 0.3 is called experimental by those
        /// who make it. Without it, such a component is refused.
        wasi_03: bool = "false";
        /// What becomes of a request whose path a URL parser would change: one with `.` or `..` as a segment, also written
        /// with `%2e`, with `\`, or with `//` at its beginning. `"strict"`: 400. `"as-sent"`: it is passed on as it is;
        /// a guest that parses URLs then sees another path than the routes, and what protects one path does not protect
        /// the other.
        path: PathRule = "\"strict\"";
        /// Whether the host looks every second whether this file, or that of a component, has changed, and then does
        /// what `roadrunner reload` does.
        watch: bool = "false";
    }
}

choice! {
    /// What becomes of a path that a URL parser would change.
    pub enum PathRule {
        /// It is passed on.
        AsSent = "as-sent",
        /// 400.
        Strict = "strict",
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
        /// Fields, in the form that `log` says.
        Fields = "fields",
        /// The NCSA common log format.
        Common = "common",
    }
}

impl Resolver<'_> {
    pub(crate) fn server(&self, section: &ManifestSection) -> Server {
        let server = value(&section.server).cloned().unwrap_or_default();
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
