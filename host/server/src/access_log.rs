//! Lines of the access log: fields like any other log line, or the NCSA common log format.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, Request, Response, Uri, Version};
use http_body::Body as _;
use roadrunner_manifest::AccessLogFormat;
use roadrunner_sandbox::{Digest, Meter, RequestId};
use roadrunner_wire::{Address, Connection, RequestBody, ResponseBody};
use time::OffsetDateTime;

use crate::app::{Context, Inner, Target};

/// What is known of a request before it is answered; only kept when the log is on.
pub(crate) struct Line {
    pub(crate) format: AccessLogFormat,
    /// None when no route took the request.
    pub(crate) id: Option<RequestId>,
    pub(crate) connection: Arc<Connection>,
    /// After trusted forwarding.
    pub(crate) peer: Address,
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) version: Version,
    /// None when no route took the request.
    pub(crate) route: Option<Arc<str>>,
    /// Whom the route belongs to; none for the host itself.
    pub(crate) tenant: Option<Arc<str>>,
    /// What answers the route, by its name and its digest; none for files.
    pub(crate) component: Option<(Arc<str>, Arc<str>)>,
}

/// How it was answered.
pub(crate) struct End {
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    /// Streams and datagrams of a WebTransport session.
    pub(crate) traffic: Option<(u64, u64)>,
    pub(crate) outcome: &'static str,
    pub(crate) elapsed: Duration,
}

impl End {
    /// Of a response that is whole.
    pub(crate) fn of(response: &Response<ResponseBody>, outcome: &'static str, elapsed: Duration) -> Self {
        let bytes = response.body().size_hint().exact().unwrap_or(0);
        Self { status: response.status().as_u16(), bytes, traffic: None, outcome, elapsed }
    }
}

impl Line {
    /// None when the log is off.
    pub(crate) fn of(app: &Inner, context: &Context, request: &Request<RequestBody>) -> Option<Box<Self>> {
        let format = app.access_log?;
        let route = &app.routes[context.route];
        Some(Box::new(Self {
            format,
            id: Some(context.id.clone()),
            connection: context.connection.clone(),
            peer: context.peer.clone(),
            method: request.method().clone(),
            target: target(request.uri()),
            version: request.version(),
            route: Some(route.pattern.clone()),
            tenant: route.tenant.as_ref().map(|tenant| tenant.name.clone()),
            component: match &route.target {
                Target::Guest(guest) => Some((guest.component.clone(), guest.digest.clone())),
                Target::Static(_) => None,
            },
        }))
    }

    pub(crate) fn write(&self, end: &End, meter: Option<&Meter>) {
        match (self.format, &self.id, &self.route) {
            (AccessLogFormat::Common, ..) => {
                let line = self.common(end, SystemTime::now());
                // In one piece, so that lines of other threads stay whole. Nobody is there to be told of a failure.
                let _ = std::io::stderr().write_all(line.as_bytes());
            }
            (AccessLogFormat::Fields, Some(id), Some(route)) => tracing::info!(
                target: "access",
                request = %id,
                peer = %self.peer,
                protocol = self.connection.protocol.as_str(),
                method = %self.method,
                uri = self.target,
                route = %route,
                tenant = self.tenant.as_deref(),
                component = self.component.as_ref().map(|(name, _)| &**name),
                digest = self.component.as_ref().map(|(_, digest)| &**digest),
                instance = meter.map(|meter| meter.id),
                status = end.status,
                bytes = end.bytes,
                outcome = end.outcome,
                shape = meter.map_or("none", |meter| meter.shape().label()),
                streams = end.traffic.map(|(streams, _)| streams),
                datagrams = end.traffic.map(|(_, datagrams)| datagrams),
                microseconds = end.elapsed.as_micros() as u64,
                cpu_microseconds = meter.map_or(0, |meter| meter.cpu().as_micros() as u64),
                peak_memory = meter.map_or(0, Meter::peak_memory),
                host_calls = meter.map_or(0, Meter::host_calls),
            ),
            (AccessLogFormat::Fields, ..) => tracing::info!(
                target: "access",
                peer = %self.peer,
                protocol = self.connection.protocol.as_str(),
                method = %self.method,
                uri = self.target,
                status = end.status,
                bytes = end.bytes,
                outcome = end.outcome,
            ),
        }
    }

    /// `host ident authuser [date] "request" status bytes`; the host never knows the second and the third.
    fn common(&self, end: &End, now: SystemTime) -> String {
        let mut line = match &self.peer {
            Address::Ip(address) => address.ip().to_string(),
            Address::Unix(_) => "unix".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, " - - [{}] \"{} ", date(now), self.method);
        escape(&self.target, &mut line);
        let _ = write!(line, " {:?}\" {} ", self.version, end.status);
        match end.bytes {
            0 => line.push('-'),
            bytes => {
                let _ = write!(line, "{bytes}");
            }
        }
        line.push('\n');
        line
    }
}

/// The first twelve characters of a digest: enough to tell the versions of a component apart.
pub(crate) fn short(digest: Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(12);
    text
}

/// Path and query: what every protocol has of a target.
pub(crate) fn target(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| uri.path().to_owned(), ToString::to_string)
}

/// What would end the quotes or the line is written in hexadecimal.
fn escape(target: &str, line: &mut String) {
    for byte in target.bytes() {
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                let _ = write!(line, "\\x{byte:02x}");
            }
            _ => line.push(char::from(byte)),
        }
    }
}

/// `10/Oct/2000:13:55:36 +0000`.
fn date(now: SystemTime) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let now = OffsetDateTime::from(now);
    let (day, month, year) = (now.day(), MONTHS[now.month() as usize - 1], now.year());
    format!("{day:02}/{month}/{year}:{:02}:{:02}:{:02} +0000", now.hour(), now.minute(), now.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_common_log_format() {
        for (seconds, text) in [
            (0, "01/Jan/1970:00:00:00 +0000"),
            (971_186_136, "10/Oct/2000:13:55:36 +0000"),
            (951_782_400, "29/Feb/2000:00:00:00 +0000"),
            (1_709_251_199, "29/Feb/2024:23:59:59 +0000"),
            (4_102_444_800, "01/Jan/2100:00:00:00 +0000"),
        ] {
            assert_eq!(date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn a_target_cannot_end_its_quotes() {
        let mut line = String::new();
        escape("/a\"b\\c\u{7f}d", &mut line);
        assert_eq!(line, "/a\\x22b\\x5cc\\x7fd");
    }
}
