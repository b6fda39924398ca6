//! The host's part of a guest's `wasi:http/types`, in addition to the engine's: the way out, if it is granted, and the
//! amount that a body written by the guest may hold.
//!
//! Without a grant every outgoing request is answered with `HTTP-request-denied`. The way out itself is an
//! [`Outbound`], which the server provides: this crate knows no sockets.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use roadrunner_account::{Meter, admits};
use roadrunner_log::{MAX_QUOTED, escaped};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

/// The most bytes that a piece of an outgoing body holds; two pieces can wait for the sender.
const CHUNK: usize = 64 << 10;

/// The same for an instance that has no memory left to account for it.
const LEAST_CHUNK: usize = 1 << 10;

/// Pieces of an outgoing body that can wait.
const CHUNKS: usize = 2;

/// The most bytes that the fields of one message, or one `fields` handle, hold.
const MAX_FIELDS_BYTES: usize = 64 << 10;

/// Drives a connection of an outgoing request for as long as it is polled.
pub type OutboundDriver = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// The pending answer to an outgoing request.
pub type OutboundAnswer = Box<dyn Future<Output = Result<(Response<WasiBody>, OutboundDriver), Error>> + Send>;

/// The way out for a component's requests. It decides which requests are allowed, and logs and counts those that are
/// not.
pub trait Outbound: Send + Sync + fmt::Debug {
    /// Sends a request on behalf of the instance with this account. The guest's own timeouts can only be shorter than
    /// the host's.
    fn send(&self, meter: Arc<Meter>, request: Request<WasiBody>, options: RequestOptions) -> OutboundAnswer;
}

/// The state of one instance for `wasi:http`.
pub(crate) struct Http {
    pub(crate) context: WasiHttpCtx,
    pub(crate) hooks: Hooks,
}

impl Http {
    pub(crate) fn new(outbound: Option<Arc<dyn Outbound>>, meter: &Arc<Meter>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS_BYTES);
        Self {
            context,
            hooks: Hooks { outbound, meter: meter.clone(), left: 0, owed: 0, chunk: CHUNK, has_made_body: false },
        }
    }
}

pub(crate) struct Hooks {
    outbound: Option<Arc<dyn Outbound>>,
    pub(crate) meter: Arc<Meter>,
    /// Bytes of the memory limit that are left.
    pub(crate) left: u64,
    /// Bytes that bodies can hold, and that are not yet charged.
    pub(crate) owed: u64,
    chunk: usize,
    /// Whether a body of WASI 0.3 was made whose pieces come out of the store.
    pub(crate) has_made_body: bool,
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> OutboundAnswer {
        match &self.outbound {
            Some(outbound) => outbound.send(self.meter.clone(), request, options.unwrap_or_default()),
            None => {
                let (subject, origin) = (&self.meter.subject, request.uri());
                let authority = escaped(origin.authority().map_or("", |authority| authority.as_str()), MAX_QUOTED);
                if admits(&self.meter, &authority) {
                    tracing::warn!(
                        request = %subject.request,
                        tenant = subject.tenant.as_ref().map(|tenant| &*tenant.name),
                        component = %subject.component,
                        scheme = origin.scheme_str().map(|scheme| escaped(scheme, MAX_QUOTED)),
                        authority,
                        rule = "outbound",
                        "an outgoing request was refused: the component is granted none"
                    );
                }
                Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
            }
        }
    }

    /// The engine asks this for each body that the guest makes, before the size of its pieces.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        self.chunk = self.next_chunk();
        // The engine adds one of its own.
        CHUNKS - 1
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        self.chunk
    }

    /// The engine asks this once for each body that the guest makes, but not for a body that it passes on. One piece
    /// can wait, and a second piece for its place.
    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        self.has_made_body = true;
        self.next_chunk()
    }
}

impl Hooks {
    /// The most bytes that a piece of the next body holds.
    fn next_chunk(&mut self) -> usize {
        let most = (CHUNK * CHUNKS) as u64;
        if most > self.left {
            return LEAST_CHUNK;
        }
        self.left -= most;
        self.owed += most;
        CHUNK
    }
}
