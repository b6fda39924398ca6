//! An instance of a standard component between two calls.

use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::exports::wasi::http::incoming_handler;
use wasmtime_wasi_http::p3::bindings::Service;

use crate::restore::First;
use crate::state::State;

/// An instance that has returned, and can be called again.
pub(crate) struct Returned {
    pub(crate) store: Store<State>,
    pub(super) callee: Callee,
    /// The first state, to which the instance can be put back; none where it cannot.
    pub(crate) first: Option<First>,
    /// The number of requests answered so far.
    pub(crate) answered: u32,
}

/// The export of one instance that is called with a request.
pub(crate) enum Callee {
    Proxy(incoming_handler::Guest),
    Service(Box<Service>),
}
