//! The call of `wasi:http/handler` 0.3: a request in, a response out, and tasks of the guest that go on after it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use roadrunner_account::{Failure, Meter, Outcome};
use tokio::sync::oneshot;
use wasmtime::component::Accessor;
use wasmtime_wasi_http::p3::Request as GuestRequest;
use wasmtime_wasi_http::p3::bindings::Service;
use wasmtime_wasi_http::{Error, FieldMap, WasiHttpView as _};

use super::members::{Answer, Given};
use super::returned::{Callee, Returned};
use super::{Call, Incoming, unfinished};
use crate::binding::Binding;
use crate::call::guarded;
use crate::component::Handler;
use crate::guest::request::Request;
use crate::state::State;

pub(super) type Guest = Service;

/// The time limit for moving the rest of a body without a task of the guest. All data to move is there already.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the guest until it has returned and none of its tasks is left. `sent` resolves when its response was sent.
pub(super) async fn run(mut call: Call, request: Request, sent: oneshot::Receiver<()>) -> Result<Returned, Failure> {
    let request = lower(call.store.data_mut(), request);
    let result = {
        let Call { binding, meter, store, callee, answer, .. } = &mut call;
        let Handler::Service(handler) = &binding.component.handler else { return Err(Outcome::Unsupported.into()) };
        let handling = pin!(async {
            let guest = match callee.take() {
                Some(Callee::Service(guest)) => guest,
                _ => {
                    let instance = binding.component.pre.instantiate_async(&mut *store).await?;
                    Box::new(handler.load(&mut *store, &instance)?)
                }
            };
            let handled = store.run_concurrent(async |accessor| {
                let response = self::answer(accessor, &guest, request, sent).await?;
                *answer.lock() = Some(response);
                poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
                wasmtime::error::Ok(())
            });
            handled.await??;
            Ok(guest)
        });
        guarded(meter, binding.turns(), None, handling).await
    };
    match result {
        Ok(Ok(guest)) => Ok(call.returned(Callee::Service(guest))),
        Ok(Err(error)) => Err(call.binding.classify(&call.store, &error)),
        Err(outcome) => Err(outcome.into()),
    }
}

/// Calls the guest, and turns its response into one of the host's.
pub(super) async fn answer(
    accessor: &Accessor<State>,
    guest: &Guest,
    request: GuestRequest,
    sent: oneshot::Receiver<()>,
) -> wasmtime::Result<Answer> {
    match guest.handle(accessor, request).await? {
        Ok(response) => {
            let sent = async { sent.await.map_err(|_| Error::ConnectionTerminated) };
            accessor.with(|mut access| {
                access.get().take_made_body();
                let response = response.into_http(&mut access, sent)?;
                let is_passed_on = !access.get().take_made_body();
                Ok(Ok(Given { response, is_passed_on }))
            })
        }
        Err(code) => Ok(Err(format!("{code:?}"))),
    }
}

/// Moves the remaining data in the store of a guest that has returned, such as trailer fields that come from the
/// request to a body of the guest's own. The instance is returned when `over` tells that nobody waits for the data any
/// more.
pub(super) async fn linger(
    mut returned: Returned,
    binding: Arc<Binding>,
    meter: Arc<Meter>,
    over: oneshot::Receiver<()>,
) -> Result<Returned, Failure> {
    let moved = {
        let moving = pin!(returned.store.run_concurrent(async |_| tokio::time::timeout(LINGER, over).await));
        guarded(&meter, binding.turns(), None, moving).await
    };
    match moved {
        Ok(Ok(Ok(_))) => Ok(returned),
        Ok(Ok(Err(_))) => Err(unfinished()),
        Ok(Err(error)) => Err(binding.classify(&returned.store, &error)),
        Err(outcome) => Err(outcome.into()),
    }
}

/// Converts the request for the guest. Its authority is the one that the host has routed by, and no other.
pub(super) fn lower(state: &mut State, request: Request) -> GuestRequest {
    let Request { head, scheme, authority, body, .. } = request;
    let scheme = if scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP };
    let headers = FieldMap::new_immutable(state.http().hooks, head.headers);
    let (request, _) = GuestRequest::new(
        head.method,
        Some(scheme),
        Authority::try_from(authority).ok(),
        head.uri.path_and_query().cloned(),
        headers,
        None,
        Incoming(body),
    );
    request
}
