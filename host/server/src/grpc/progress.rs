//! The status of a call, from its head to its trailer fields.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use roadrunner_account::Outcome;
use roadrunner_grpc::{Code, Protocol, Status, status_of};
use roadrunner_wire::{Abort, ResponseBody};

use super::call::Call;
use crate::answer::Refused;

/// A call on its way to its status.
#[derive(Debug)]
pub(crate) struct Progress {
    protocol: Protocol,
    /// The time at which the caller gives up.
    pub(crate) deadline: Option<Instant>,
    /// Whether the answer is in the protocol, too.
    is_answered: bool,
    /// The code that the answer has named so far.
    code: Option<Code>,
}

impl Progress {
    pub(crate) fn of(call: &Call) -> Self {
        Self { protocol: call.protocol.clone(), deadline: call.deadline, is_answered: false, code: None }
    }

    /// Reads the head of the answer.
    pub(crate) fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.is_answered = Protocol::of(headers).is_some();
        self.code = status_of(headers).or_else(|| (!self.is_answered).then(|| guessed(status)));
    }

    /// Reads the trailer fields of the answer.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.code = status_of(trailers).or(self.code);
    }

    /// Reads the head of a whole answer, whose trailer fields were read before.
    pub(crate) fn whole(&mut self, response: &Response<ResponseBody>) {
        let trailers = self.code;
        self.head(response.status(), response.headers());
        self.code = Refused::code_of(response).or(trailers).or(self.code);
    }

    /// The code of a call that ended with this outcome; none where only its caller can read it, in a body of gRPC-Web.
    /// A call of gRPC without a status has failed for its caller.
    pub(crate) fn code(&self, outcome: Outcome) -> Option<Code> {
        match outcome {
            Outcome::Ok if self.protocol.is_grpc() => Some(self.code.unwrap_or(Code::Unknown)),
            Outcome::Ok => self.code,
            outcome => Some(outcome.row().grpc),
        }
    }

    /// The last frame of an answer that ends early: its status.
    ///
    /// # Errors
    /// [`Abort`] if the answer is in no protocol that has a status.
    pub(crate) fn cut(&self, outcome: Outcome) -> Result<Frame<Bytes>, Abort> {
        if self.is_answered { Ok(last_frame(&self.protocol, outcome)) } else { Err(Abort) }
    }
}

/// The frame with the status of an outcome.
pub(super) fn last_frame(protocol: &Protocol, outcome: Outcome) -> Frame<Bytes> {
    let row = outcome.row();
    let status = Status::new(row.grpc, row.message);
    status.in_body(protocol).map_or_else(|| Frame::trailers(status.trailers()), Frame::data)
}

/// The code that a caller makes of an answer without one. Success needs a status.
fn guessed(status: StatusCode) -> Code {
    match Code::of_http(status) {
        Code::Ok => Code::Unknown,
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request, header};
    use roadrunner_wire::RequestBody;

    use super::*;

    fn progress(content_type: &'static str) -> Progress {
        let request = Request::post("/a.B/C").header(header::CONTENT_TYPE, content_type);
        Progress::of(&Call::of(&request.body(RequestBody::empty()).expect("a request")).expect("a call"))
    }

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_last_status_counts() {
        let mut call = progress("application/grpc");
        assert_eq!(call.code(Outcome::Ok), Some(Code::Unknown));
        call.head(StatusCode::OK, &fields(&[("content-type", "application/grpc")]));
        assert_eq!(call.code(Outcome::Ok), Some(Code::Unknown), "no status has come");
        call.trailers(&fields(&[("grpc-status", "5")]));
        assert_eq!(call.code(Outcome::Ok), Some(Code::NotFound));
        assert_eq!(call.code(Outcome::Trapped), Some(Code::Internal), "the outcome is the host's");
    }

    #[test]
    fn a_plain_answer_has_the_code_that_callers_make_of_it() {
        for (status, code) in [(200, Code::Unknown), (404, Code::Unimplemented), (503, Code::Unavailable)] {
            let mut call = progress("application/grpc");
            call.head(StatusCode::from_u16(status).expect("a status"), &fields(&[("content-type", "text/plain")]));
            assert_eq!(call.code(Outcome::Ok), Some(code));
            assert_eq!(call.cut(Outcome::Trapped).err(), Some(Abort));
        }
    }

    #[test]
    fn a_cut_answer_ends_with_a_status() {
        let mut call = progress("application/grpc");
        call.head(StatusCode::OK, &fields(&[("content-type", "application/grpc")]));
        let trailers = call.cut(Outcome::Trapped).expect("a frame").into_trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "13");
        let mut call = progress("application/grpc-web");
        call.head(StatusCode::OK, &fields(&[("content-type", "application/grpc-web")]));
        assert_eq!(call.code(Outcome::Ok), None, "it is in the body");
        let data = call.cut(Outcome::DeadlineExceeded).expect("a frame").into_data().expect("data");
        assert!(data.starts_with(b"\x80\0\0\0") && data.ends_with(b"\r\n"));
    }
}
