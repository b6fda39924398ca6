//! The head of a response: the request's conditions and ranges, the caller's head and the file's stamp in; status,
//! header fields and the range of bytes out. Pure.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderValue, LAST_MODIFIED, RANGE, VARY,
};
use http::{Method, StatusCode};

use crate::conditions::{self, EntityTag, Validators, Verdict};
use crate::encoding::Encoding;
use crate::range::{self, Selection};
use crate::request::{Options, RequestView};
use crate::stamp::Stamp;

/// The file that was chosen, as far as a head depends on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen<'a> {
    /// The name that gives the media type: that of the plain file, whichever sibling is sent.
    pub(crate) name: &'a str,
    pub(crate) stamp: Stamp,
    pub(crate) encoding: Option<Encoding>,
    /// Whether another `Accept-Encoding` could have chosen another file.
    pub(crate) negotiated: bool,
}

/// A response without its body.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The bytes of the file to send; empty for none, as for HEAD.
    pub(crate) span: Range<u64>,
}

/// Decides the answer. `options.headers` override the fields derived from the file.
pub(crate) fn plan(request: &RequestView<'_>, options: &Options<'_>, chosen: &Chosen<'_>, now: SystemTime) -> Plan {
    let size = chosen.stamp.size;
    let mut headers = options.headers.clone();
    headers.remove(CONTENT_LENGTH);

    let Some(slice) = options.range.map_or(Some(0..size), |range| range.within(size)) else {
        return unsatisfiable(headers, size);
    };
    if chosen.negotiated {
        add_vary(&mut headers);
    }
    match options.status {
        StatusCode::OK => answer(request, options, chosen, headers, slice, now),
        // No content follows these (RFC 9110, 15.3.5, 15.3.6, 15.4.5).
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            Plan { status: options.status, headers, span: 0..0 }
        }
        StatusCode::PARTIAL_CONTENT if options.range.is_some() => {
            if slice.is_empty() {
                return unsatisfiable(headers, size);
            }
            // 15.3.7: the validators are those of the whole file.
            describe(&mut headers, chosen);
            add_validators(&mut headers, chosen, None, now);
            set_content_range(&mut headers, &slice, size);
            content(request, StatusCode::PARTIAL_CONTENT, headers, slice)
        }
        status => {
            describe(&mut headers, chosen);
            content(request, status, headers, slice)
        }
    }
}

/// Answers a 200, after the request's conditions and range are applied.
fn answer(
    request: &RequestView<'_>,
    options: &Options<'_>,
    chosen: &Chosen<'_>,
    mut headers: HeaderMap,
    slice: Range<u64>,
    now: SystemTime,
) -> Plan {
    headers.remove(CONTENT_RANGE);
    describe(&mut headers, chosen);
    // Validators and ranges apply to the target resource; the answer to another method does not represent it.
    if !matches!(*request.method, Method::GET | Method::HEAD) {
        return content(request, StatusCode::OK, headers, slice);
    }

    let part = options.range.map(|_| (slice.start, slice.end));
    add_validators(&mut headers, chosen, part, now);
    if options.range.is_none() && !headers.contains_key(ACCEPT_RANGES) {
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }

    let tag = headers.get(ETAG).cloned();
    let validators = Validators {
        tag: tag.as_ref().and_then(|tag| EntityTag::parse(tag.as_bytes())),
        modified: headers.get(LAST_MODIFIED).and_then(|date| conditions::parse_date(date.as_bytes())),
        now,
    };
    match conditions::evaluate(request.headers, &validators) {
        Verdict::Failed => {
            drop_representation(&mut headers);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
            return Plan { status: StatusCode::PRECONDITION_FAILED, headers, span: 0..0 };
        }
        Verdict::NotModified => {
            drop_representation(&mut headers);
            // 15.4.5: Last-Modified only without an ETag.
            if headers.contains_key(ETAG) {
                headers.remove(LAST_MODIFIED);
            }
            return Plan { status: StatusCode::NOT_MODIFIED, headers, span: 0..0 };
        }
        Verdict::Proceed => {}
    }

    // 14.2: only GET has ranges. A guest that sends `accept-ranges: none` wants none (14.3).
    let ranges = request.method == Method::GET
        && options.range.is_none()
        && headers.get(ACCEPT_RANGES).is_some_and(|unit| unit.as_bytes().eq_ignore_ascii_case(b"bytes"));
    let mut wanted = request.headers.get_all(RANGE).iter();
    let selection = match (wanted.next(), wanted.next()) {
        (Some(value), None) if ranges && conditions::range_applies(request.headers, &validators) => {
            range::select(value.as_bytes(), chosen.stamp.size)
        }
        _ => Selection::Whole,
    };
    match selection {
        Selection::Part(span) => {
            set_content_range(&mut headers, &span, chosen.stamp.size);
            content(request, StatusCode::PARTIAL_CONTENT, headers, span)
        }
        Selection::Unsatisfiable => unsatisfiable(headers, chosen.stamp.size),
        Selection::Whole => content(request, StatusCode::OK, headers, slice),
    }
}

fn content(request: &RequestView<'_>, status: StatusCode, mut headers: HeaderMap, span: Range<u64>) -> Plan {
    headers.insert(CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    let span = if request.method == Method::HEAD { 0..0 } else { span };
    Plan { status, headers, span }
}

/// Answers 416 with the actual size (15.5.17).
fn unsatisfiable(mut headers: HeaderMap, size: u64) -> Plan {
    drop_representation(&mut headers);
    headers.insert(CONTENT_RANGE, value(format!("bytes */{size}")));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
    Plan { status: StatusCode::RANGE_NOT_SATISFIABLE, headers, span: 0..0 }
}

/// Removes fields that describe content that is not sent.
fn drop_representation(headers: &mut HeaderMap) {
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE] {
        headers.remove(name);
    }
}

/// Sets media type and coding.
fn describe(headers: &mut HeaderMap, chosen: &Chosen<'_>) {
    if !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, media_type(chosen.name));
    }
    if let Some(encoding) = chosen.encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.token()));
    }
}

fn add_validators(headers: &mut HeaderMap, chosen: &Chosen<'_>, part: Option<(u64, u64)>, now: SystemTime) {
    if !headers.contains_key(ETAG) {
        headers.insert(ETAG, value(chosen.stamp.entity_tag(chosen.encoding, part, now)));
    }
    if !headers.contains_key(LAST_MODIFIED)
        && let Some(seconds) = chosen.stamp.last_modified(now)
    {
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        headers.insert(LAST_MODIFIED, value(date));
    }
}

fn set_content_range(headers: &mut HeaderMap, span: &Range<u64>, size: u64) {
    headers.insert(CONTENT_RANGE, value(format!("bytes {}-{}/{size}", span.start, span.end - 1)));
}

/// Adds the negotiated field to `Vary` (12.5.5). The caller's members stay.
pub(crate) fn add_vary(headers: &mut HeaderMap) {
    let named = headers.get_all(VARY).iter().any(|value| {
        let mut members = value.as_bytes().split(|byte| *byte == b',').map(|member| member.trim_ascii());
        members.any(|member| member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding"))
    });
    if !named {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The media type by extension. Text is labelled UTF-8, as text files are; JSON and XML state their encoding
/// themselves.
fn media_type(name: &str) -> HeaderValue {
    match mime_guess::from_path(name).first_raw() {
        // RFC 9239, 6: the only current name of JavaScript.
        Some("application/javascript") => HeaderValue::from_static("text/javascript; charset=utf-8"),
        Some(text) if text.starts_with("text/") => value(format!("{text}; charset=utf-8")),
        Some(other) => HeaderValue::from_static(other),
        None => HeaderValue::from_static("application/octet-stream"),
    }
}

fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("made of printable ASCII here")
}
