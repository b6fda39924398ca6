//! The shape sendfile, and static routes: the host reads the file, and no instance exists any more.

use std::sync::Arc;

use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt as _;
use roadrunner_account::{Charge, Failure, Holder, Outcome};
use roadrunner_files::{ByteRange, Directory, FileBody, FileError, Options, RequestView, try_respond};
use roadrunner_log::Quoted;
use roadrunner_manifest::Files;
use roadrunner_sandbox::Head;
use roadrunner_wire::{Abort, Connection, RequestBody, ResponseBody};

use super::facts::RequestFacts;
use crate::answer::{Reason, refuse};
use crate::buffers::Held;
use crate::context::Context;
use crate::record::{Record, Recorded};
use crate::serving::{Guest, Serving, StaticFiles};

/// Sends the file that a guest named in its `sendfile` answer.
#[expect(clippy::too_many_arguments, reason = "one call site; they are the fields of the shape")]
pub(super) async fn send(
    serving: &Serving,
    guest: &Guest,
    head: Head,
    directory: &str,
    path: &str,
    range: Option<(u64, Option<u64>)>,
    facts: &RequestFacts,
    connection: &Connection,
    record: Record,
) -> Response<ResponseBody> {
    let Some(granted) = guest.directories.get(directory) else {
        let detail = format!(
            "the directory {} is not granted to this component; \
             add it to `directories` under [component.{}]",
            Quoted::text(directory),
            guest.component
        );
        return record.failed(Failure::new(Outcome::InvalidResponse, detail));
    };
    let range = range.map(|(start, length)| ByteRange { start, length });
    let options = Options::for_guest(head.status, head.headers, range);
    let holder = serving.holder(guest.binding.gates.tenant(), connection);
    respond(
        serving,
        granted,
        path,
        &RequestView { method: &facts.method, headers: &facts.conditions },
        options,
        holder,
        record,
    )
    .await
}

/// Serves a static route. The path comes from the client.
pub(crate) async fn serve(
    serving: &Serving,
    files: &StaticFiles,
    context: &Context,
    request: &Request<RequestBody>,
    record: Record,
) -> Response<ResponseBody> {
    let path = match &files.settings.files {
        Files::One(path) => path.as_str(),
        Files::Captured => context.params.last().map_or("", |(_, value)| value.as_str()),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return record.done(refuse(Reason::MethodNotAllowed(HeaderValue::from_static("GET, HEAD"))));
    }
    let mut options = Options::for_route();
    options.index = files.settings.index.as_deref();
    options.siblings = files.settings.precompressed;
    if let Some(value) = &files.settings.cache_control {
        options.headers.insert(header::CACHE_CONTROL, value.clone());
    }
    let holder = serving.holder(serving.routes[context.route].tenant.as_ref(), &context.connection);
    let view = RequestView { method: request.method(), headers: request.headers() };
    respond(serving, &files.directory, path, &view, options, holder, record).await
}

async fn respond(
    serving: &Serving,
    directory: &Directory,
    path: &str,
    request: &RequestView<'_>,
    options: Options<'_>,
    holder: Holder,
    mut record: Record,
) -> Response<ResponseBody> {
    match try_respond(directory, &serving.host.files, path, request, options).await {
        Ok(response) => {
            record.head(response.status(), response.headers());
            response.map(|body| body_of(body, holder, record))
        }
        Err(error) => {
            if matches!(error, FileError::Io { .. }) {
                record.warn(&Quoted::display(&error));
            }
            record.done(refuse(Reason::File(error.status())))
        }
    }
}

fn body_of(body: FileBody, holder: Holder, record: Record) -> ResponseBody {
    let is_whole = body.is_whole();
    let body = body.map_err(|error| {
        tracing::warn!("{}", Quoted::display(&error));
        Abort
    });
    if is_whole {
        return ResponseBody::new(Recorded::new(body, record));
    }
    let holder = Arc::new(holder);
    ResponseBody::new(Recorded::new(Held::new(body, Charge::none(holder.clone()), holder), record))
}
