//! A guest's request body: read whole in mode `auto`, or left on the wire.
//!
//! Bytes that are read before there is an instance are charged to the request all the same, piece by piece as they
//! come. A length that the client announces costs nothing: no memory is charged or allocated before the bytes arrive.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt as _;
use roadrunner_account::{Charge, Gathered, Meter, Outcome};
use roadrunner_manifest::BodyMode;
use roadrunner_sandbox as sandbox;
use roadrunner_wire::BodyError;

/// The reason why a request never reached an instance.
pub(crate) enum BodyRefusal {
    Body(sandbox::BodyError),
    /// There is no room for the body.
    NoRoom(Outcome),
}

/// Prepares a body of at most `limit` bytes for the guest; none where there is none.
pub(crate) async fn body_for(
    mode: BodyMode,
    limit: u64,
    body: impl Body<Data = Bytes, Error = sandbox::BodyError> + Send + Unpin + 'static,
    head: &http::request::Parts,
    meter: &Arc<Meter>,
) -> Result<Option<sandbox::Body>, BodyRefusal> {
    if body.is_end_stream() {
        return Ok(None);
    }
    if mode == BodyMode::Manual {
        return Ok(Some(sandbox::Body::stream(Box::pin(body))));
    }
    let declared = body.size_hint().exact().or_else(|| {
        let length = head.headers.get(http::header::CONTENT_LENGTH);
        length.and_then(|value| value.to_str().ok()).and_then(|value| value.parse().ok())
    });
    if declared.is_some_and(|length| length > limit) {
        return Err(BodyRefusal::Body(sandbox::BodyError::TooLarge(limit)));
    }
    let most = usize::try_from(declared.unwrap_or(limit)).unwrap_or(usize::MAX);
    Box::pin(read_whole(body, limit, most, head_size(head), meter)).await.map(Some)
}

async fn read_whole(
    mut body: impl Body<Data = Bytes, Error = sandbox::BodyError> + Unpin,
    limit: u64,
    most: usize,
    head: u64,
    meter: &Arc<Meter>,
) -> Result<sandbox::Body, BodyRefusal> {
    let mut first = Bytes::new();
    // The host holds the head until the body has arrived.
    let mut all = Gathered::new(meter.clone(), head).map_err(BodyRefusal::NoRoom)?;
    let mut trailers = None;
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        match frame.map_err(BodyRefusal::Body)?.into_data() {
            Ok(data) => {
                total += data.len() as u64;
                if total > limit {
                    return Err(BodyRefusal::Body(sandbox::BodyError::TooLarge(limit)));
                }
                if first.is_empty() {
                    first = data;
                    continue;
                }
                if all.is_empty() {
                    all.push(&first, most).map_err(BodyRefusal::NoRoom)?;
                }
                all.push(&data, most).map_err(BodyRefusal::NoRoom)?;
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    if !all.is_empty() {
        let (whole, charge) = all.finish();
        return Ok(sandbox::Body::whole(whole, Some(charge), trailers));
    }
    drop(all);
    let charge = Charge::take(meter.clone(), first.len() as u64).map_err(BodyRefusal::NoRoom)?;
    Ok(sandbox::Body::whole(first, Some(charge), trailers))
}

/// The approximate size of a request's head.
fn head_size(head: &http::request::Parts) -> u64 {
    let fields = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    (fields.sum::<usize>() + target) as u64
}

pub(crate) fn body_error(error: BodyError) -> sandbox::BodyError {
    match error {
        BodyError::TimedOut(_) => sandbox::BodyError::Timeout,
        BodyError::Malformed(reason) => sandbox::BodyError::Malformed(reason),
        BodyError::Closed | BodyError::ConnectionLost | BodyError::Reset => sandbox::BodyError::Closed,
    }
}
