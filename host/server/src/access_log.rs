//! Lines of the access log: fields like any other log line, or the NCSA common log format.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version};
use http_body::Body as _;
use roadrunner_account::{Digest, Meter, RequestId};
use roadrunner_grpc::Code;
use roadrunner_log::{self as log, Owner};
use roadrunner_manifest::AccessLogFormat;
use roadrunner_wire::{Address, Connection, RequestBody, ResponseBody};
use time::OffsetDateTime;
use tracing::Level;

use crate::answer::Refused;

/// The most bytes of a target that are logged.
const MAX_TARGET: usize = 2 << 10;

/// The most bytes of a method that are logged.
const MAX_METHOD: usize = 32;

/// The labels of a route in the access log.
#[derive(Clone)]
pub(crate) struct Labels {
    /// The pattern of the route.
    pub(crate) route: Arc<str>,
    /// The tenant that the route belongs to; none for the host itself.
    pub(crate) tenant: Option<Arc<str>>,
    /// The component that answers the route, by name and digest; none for files.
    pub(crate) component: Option<(Arc<str>, Arc<str>)>,
}

/// The facts about a request before it is answered; only kept when the log is on.
pub(crate) struct Line {
    format: AccessLogFormat,
    /// The request's id; none when no route took the request.
    id: Option<RequestId>,
    connection: Arc<Connection>,
    /// The client, after trusted forwarding.
    peer: Address,
    method: Method,
    target: String,
    version: Version,
    /// The labels of the route; none when no route took the request.
    labels: Option<Labels>,
}

/// The way in which the request was answered.
pub(crate) struct End {
    pub(crate) status: u16,
    /// The code of a call of gRPC.
    pub(crate) grpc: Option<Code>,
    pub(crate) bytes: u64,
    /// Streams and datagrams of a WebTransport session.
    pub(crate) traffic: Option<(u64, u64)>,
    pub(crate) outcome: &'static str,
    pub(crate) elapsed: Duration,
}

impl End {
    /// The end of a request with a whole response, which is the host's.
    pub(crate) fn of(
        response: &Response<ResponseBody>,
        is_call: bool,
        outcome: &'static str,
        elapsed: Duration,
    ) -> Self {
        let bytes = response.body().size_hint().exact().unwrap_or(0);
        let grpc = is_call.then(|| Refused::code_of(response)).flatten();
        Self { status: response.status().as_u16(), grpc, bytes, traffic: None, outcome, elapsed }
    }
}

impl Line {
    pub(crate) fn new(
        format: AccessLogFormat,
        id: Option<RequestId>,
        connection: &Arc<Connection>,
        peer: &Address,
        request: &Request<RequestBody>,
        labels: Option<Labels>,
    ) -> Self {
        Self {
            format,
            id,
            connection: connection.clone(),
            peer: peer.clone(),
            method: request.method().clone(),
            target: target(request.uri()),
            version: request.version(),
            labels,
        }
    }

    pub(crate) fn write(&self, end: &End, meter: Option<&Meter>) {
        match self.format {
            AccessLogFormat::Common => {
                roadrunner_log::raw(self.owner(), self.common(end, SystemTime::now()).as_bytes());
            }
            AccessLogFormat::Fields if tracing::enabled!(target: "access", Level::INFO) => {
                roadrunner_log::line(Level::INFO, "access", self.owner(), |line| self.fields(line, end, meter));
            }
            AccessLogFormat::Fields => {}
        }
    }

    /// The method, cut at a length that no known method reaches.
    fn method(&self) -> &str {
        let method = self.method.as_str();
        method.get(..MAX_METHOD).unwrap_or(method)
    }

    fn owner(&self) -> Owner<'_> {
        self.labels.as_ref().and_then(|labels| labels.tenant.as_deref()).map_or(Owner::Untenanted, Owner::Tenant)
    }

    /// Writes the fields by hand, since an event takes several times as long.
    fn fields(&self, line: &mut log::Line<'_>, end: &End, meter: Option<&Meter>) {
        if let Some(id) = &self.id {
            line.display("request", id);
        }
        match &self.peer {
            Address::Ip(address) => line.display("peer", address),
            // The client has chosen the path of its socket.
            unix => line.text("peer", &unix.to_string()),
        }
        line.text("protocol", self.connection.protocol.as_str());
        line.display("method", self.method());
        line.text("uri", &self.target);
        if let Some(Labels { route, tenant, component }) = &self.labels {
            line.display("route", route);
            if let Some(tenant) = tenant {
                line.text("tenant", tenant);
            }
            if let Some((name, digest)) = component {
                line.text("component", name);
                line.text("digest", digest);
            }
        }
        if let Some(meter) = meter {
            line.number("instance", meter.id);
        }
        line.number("status", end.status.into());
        if let Some(code) = end.grpc {
            line.number("grpc_status", code.number().into());
        }
        line.number("bytes", end.bytes);
        line.text("outcome", end.outcome);
        // Without a route, nothing more is known.
        if self.labels.is_none() {
            return;
        }
        line.text("shape", meter.map_or("none", |meter| meter.shape().label()));
        if let Some((streams, datagrams)) = end.traffic {
            line.number("streams", streams);
            line.number("datagrams", datagrams);
        }
        line.number("microseconds", end.elapsed.as_micros() as u64);
        line.number("cpu_microseconds", meter.map_or(0, |meter| meter.cpu().as_micros() as u64));
        line.number("peak_memory", meter.map_or(0, Meter::peak_memory));
        line.number("host_calls", meter.map_or(0, Meter::host_calls));
    }

    /// `host ident authuser [date] "request" status bytes`; the host never knows the second and third field.
    fn common(&self, end: &End, now: SystemTime) -> String {
        let mut line = match &self.peer {
            Address::Ip(address) => address.ip().to_string(),
            Address::Unix(_) => "unix".to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = write!(line, " - - [{}] \"{} ", date(now), self.method());
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

/// The first twelve characters of a digest: enough to distinguish the versions of a component.
pub(crate) fn short(digest: Digest) -> String {
    let mut text = digest.to_string();
    text.truncate(12);
    text
}

/// The path and query, which targets have in every protocol. A long target is cut, and marked as cut.
fn target(uri: &Uri) -> String {
    let target = uri.path_and_query().map_or(uri.path(), PathAndQuery::as_str);
    match target.len().checked_sub(MAX_TARGET) {
        None | Some(0) => target.to_owned(),
        Some(_) => {
            let kept = &target[..target.floor_char_boundary(MAX_TARGET)];
            format!("{kept}... ({} more bytes)", target.len() - kept.len())
        }
    }
}

/// Writes a target, with hexadecimal numbers for characters that would end the quotes or the line.
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
    fn a_long_target_is_cut() {
        let long = format!("/{}", "x".repeat(60_000));
        let uri = Uri::try_from(long.as_str()).expect("a target");
        assert_eq!(target(&uri), format!("{}... (57953 more bytes)", &long[..2048]));
        let uri = Uri::try_from(&long[..2048]).expect("a target");
        assert_eq!(target(&uri), long[..2048]);
    }

    #[test]
    fn a_target_cannot_end_its_quotes() {
        let mut line = String::new();
        escape("/a\"b\\c\u{7f}d", &mut line);
        assert_eq!(line, "/a\\x22b\\x5cc\\x7fd");
    }
}
