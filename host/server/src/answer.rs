//! The answers that the host makes in the place of a guest or a file: a reason becomes a status, a line of text and the
//! fields that go with them.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use roadrunner_account::Outcome;
use roadrunner_grpc::Code;
use roadrunner_websocket::handshake::Refusal;
use roadrunner_wire::ResponseBody;

/// The time after which a client should try again when the host has no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The reason why a request gets no answer of its route's target.
#[derive(Debug)]
pub(crate) enum Reason {
    /// The path is not valid.
    BadPath,
    /// The timeout of a call of gRPC is not valid.
    BadTimeout(&'static str),
    /// The request's body came too slowly.
    BodyTooSlow,
    /// A file cannot be sent.
    File(StatusCode),
    /// The page of this origin may not open a session of this kind.
    ForeignOrigin(&'static str),
    /// The handshake of a WebSocket is not valid.
    Handshake(Refusal),
    /// The route has other methods, which the field lists.
    MethodNotAllowed(HeaderValue),
    /// The request's handshake, or the lack of it, does not fit the answer of the guest.
    Mismatch(&'static str),
    /// No route has this host and this path.
    NotFound,
    /// The route takes calls of gRPC alone, and the content type is another.
    NotGrpc,
    /// The request ended before a head was sent.
    Outcome(Outcome),
    /// Too many requests came; the next may come after this time.
    TooSoon(Outcome, Duration),
    /// The route needs a name and a password, as the field says.
    Unauthorized(HeaderValue),
    /// The extended CONNECT names a protocol that the host does not speak.
    UnknownProtocol,
    /// The guest has a WebSocket, and the request asks for none.
    UpgradeRequired,
}

impl From<Outcome> for Reason {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

/// An extension of the host's own answers: the code that they have for a call of gRPC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused(pub(crate) Code);

impl Refused {
    /// The code of an answer; none for a guest's.
    pub(crate) fn code_of(response: &Response<ResponseBody>) -> Option<Code> {
        response.extensions().get().map(|Self(code)| *code)
    }
}

/// Answers with a status, a line of text and the fields that the reason asks for. For a call of gRPC, the answer is
/// [given its form](crate::grpc::shaped) when it leaves.
pub(crate) fn refuse(reason: impl Into<Reason>) -> Response<ResponseBody> {
    let reason = reason.into();
    let (status, text) = reason.status_and_text();
    let mut response = plain(status, &text);
    response.extensions_mut().insert(Refused(reason.code(status)));
    let headers = response.headers_mut();
    match reason {
        Reason::Handshake(refusal) => headers.extend(refusal.headers()),
        Reason::MethodNotAllowed(allow) => {
            headers.insert(header::ALLOW, allow);
        }
        Reason::Outcome(outcome) if is_for_lack_of_room(outcome) => {
            headers.insert(header::RETRY_AFTER, seconds(RETRY_AFTER));
        }
        Reason::TooSoon(_, wait) => {
            headers.insert(header::RETRY_AFTER, seconds(wait));
        }
        Reason::Unauthorized(challenge) => {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        // RFC 9110, 15.5.22: the answer names the protocol that is required.
        Reason::UpgradeRequired => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        _ => {}
    }
    response
}

impl Reason {
    /// The code for a call of gRPC, where the answer's status is this one.
    fn code(&self, status: StatusCode) -> Code {
        match self {
            Self::Outcome(outcome) | Self::TooSoon(outcome, _) => outcome.row().grpc,
            // The guest answers with a session, and a call is none.
            Self::Handshake(_) | Self::Mismatch(_) | Self::UpgradeRequired => Outcome::HandshakeMismatch.row().grpc,
            _ => Code::of_http(status),
        }
    }

    fn status_and_text(&self) -> (StatusCode, Cow<'_, str>) {
        match self {
            Self::BadPath => (StatusCode::BAD_REQUEST, "the path is not valid".into()),
            Self::BadTimeout(reason) => (StatusCode::BAD_REQUEST, (*reason).into()),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "the request body came too slowly".into()),
            Self::File(status) => (*status, status.canonical_reason().unwrap_or("failed").into()),
            Self::ForeignOrigin(session) => {
                (StatusCode::FORBIDDEN, format!("this origin may not open a {session} here").into())
            }
            Self::Handshake(refusal) => (refusal.status(), refusal.to_string().into()),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method not allowed".into()),
            Self::Mismatch(reason) => (StatusCode::BAD_REQUEST, (*reason).into()),
            Self::NotFound => (StatusCode::NOT_FOUND, "not found".into()),
            Self::NotGrpc => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is gRPC, and the content type is not".into()),
            Self::Outcome(outcome) | Self::TooSoon(outcome, _) => {
                let row = outcome.row();
                (StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), row.message.into())
            }
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "a name and a password are needed".into()),
            Self::UnknownProtocol => (StatusCode::NOT_IMPLEMENTED, "this :protocol is not served".into()),
            Self::UpgradeRequired => {
                (StatusCode::UPGRADE_REQUIRED, "this is a WebSocket, which needs Upgrade and Connection".into())
            }
        }
    }
}

fn is_for_lack_of_room(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::BuffersExceeded | Outcome::HeldExceeded | Outcome::Overloaded | Outcome::TenantCpuExceeded
    )
}

/// The time to wait before a retry (RFC 9110, 10.2.3), in whole seconds, rounded up.
fn seconds(wait: Duration) -> HeaderValue {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    HeaderValue::from(seconds.max(1))
}

/// A short text, with a line end.
pub(crate) fn plain(status: StatusCode, text: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::full(format!("{text}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
