//! The call of `wasi:http/incoming-handler` 0.2: a handle on the request, and a slot for the response.

use std::pin::pin;
use std::sync::Arc;

use http::header::{HOST, HeaderValue};
use http::uri;
use parking_lot::Mutex;
use roadrunner_account::{Failure, Outcome};
use wasmtime::Store;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::members::{Answer, Given};
use super::returned::{Callee, Returned};
use super::{Call, Incoming};
use crate::call::guarded;
use crate::component::Handler;
use crate::guest::request::Request;
use crate::state::State;

/// Runs the guest to its end. Returns its store, which still holds everything that the guest has not dropped.
pub(super) async fn run(mut call: Call, request: Request) -> Result<Returned, Failure> {
    let (request, out) = lend(&mut call.store, request, call.answer.clone())?;
    let result = {
        let Call { binding, meter, store, callee, first, .. } = &mut call;
        let Handler::Standard(handler) = &binding.component.handler else { return Err(Outcome::Unsupported.into()) };
        let handling = pin!(async {
            let guest = match callee.take() {
                Some(Callee::Proxy(guest)) => {
                    if let Some(first) = first {
                        first.restore_globals(store).await?;
                    }
                    guest
                }
                _ => {
                    let (instance, made) = binding.make(store).await?;
                    *first = made;
                    handler.load(&mut *store, &instance)?
                }
            };
            guest.call_handle(&mut *store, request, out).await?;
            Ok(guest)
        });
        guarded(meter, binding.turns(), None, handling).await
    };
    match result {
        Ok(Ok(guest)) => Ok(call.returned(Callee::Proxy(guest))),
        Ok(Err(error)) => Err(call.binding.classify(&call.store, &error)),
        Err(outcome) => Err(outcome.into()),
    }
}

/// Puts the request and the slot for the response where the guest finds them.
fn lend(
    store: &mut Store<State>,
    request: Request,
    answer: Arc<Mutex<Option<Answer>>>,
) -> Result<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), Failure> {
    let Request { mut head, scheme, authority, body, .. } = request;
    // The guest sees only the authority that the host has routed by.
    if let Ok(authority) = HeaderValue::from_str(&authority) {
        head.headers.insert(HOST, authority);
    }
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
    head.uri = path.into();
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let request = http::Request::from_parts(head, Incoming(body));
    let mut http = store.data_mut().http();
    let handles = |_| Failure::from(Outcome::HandlesExceeded);
    let request = http.new_incoming_request(scheme, request).map_err(handles)?;
    let given = |response| Given { response, is_passed_on: false };
    let set = move |result: Result<_, _>| *answer.lock() = Some(result.map(given).map_err(|code| format!("{code:?}")));
    let out = http.new_response_outparam_from_callback(set).map_err(handles)?;
    Ok((request, out))
}
