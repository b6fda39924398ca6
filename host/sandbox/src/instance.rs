//! One instance: started for one request, called as its response's shape asks, and dropped.
//!
//! Every call into the guest goes through [`guarded`], which accounts for its CPU time, stops it at its deadline and
//! lets an operator kill it. Dropping a future of this module, or the [`Instance`], ends the guest wherever it is.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use roadrunner_account::{Failure, Meter, Outcome, Permit, Registration};
use wasmtime::Store;
use wasmtime::component::Resource;

use crate::binding::Binding;
use crate::bindings::roadrunner::handler::types;
use crate::call::guarded;
use crate::component::Component;
use crate::guest::event::Event;
use crate::guest::request::{Body, Request};
use crate::guest::response::Response;
use crate::native::{Guest, load_handler};
use crate::parking::{Idle, Parking};
use crate::shape;
use crate::state::State;

/// A live instance. Its places in the gates are free again when it is dropped, and not before.
pub struct Instance {
    // Fields are dropped in this order: the guest first, its permit last.
    pub(crate) guest: Guest,
    pub(crate) binding: Arc<Binding>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) registration: Registration,
    pub(crate) permit: Permit,
}

/// The part of a request's body that a guest has left.
#[derive(Debug)]
pub enum LeftBody {
    /// The request has no body.
    None,
    /// The guest has the body.
    Taken,
    /// The whole body is left.
    Whole(Body),
}

impl Binding {
    /// Starts an instance of this binding and lets it answer a request.
    pub async fn respond(
        self: &Arc<Self>,
        meter: Arc<Meter>,
        permit: Permit,
        request: Request,
    ) -> Result<(Instance, Response), Failure> {
        let registration = self.component.sandbox.accounts().instances.insert(meter.clone());
        meter.start_budget(self.grants.limits.cpu);
        let deadline = Instant::now() + self.grants.limits.deadline;
        let (guest, answer) = match self.parking.as_deref().and_then(Parking::take) {
            Some(Idle::Native(mut guest)) => {
                self.wake(&mut guest.store, guest.first.as_ref(), &meter)?;
                guest.answered += 1;
                let request = lend(&mut guest.store, request)?;
                self.answer_again(guest, &meter, deadline, request).await?
            }
            // All idle guests of a binding are of one kind.
            Some(Idle::Standard(_)) | None => {
                let mut store = self.store(&meter)?;
                let request = lend(&mut store, request)?;
                self.answer_first(store, &meter, deadline, request).await?
            }
        };
        let response = Response::check(answer, self.bounds(&meter))?;
        let instance = Instance { guest, binding: self.clone(), meter, registration, permit };
        shape::check(&instance, &response)?;
        Ok((instance, response))
    }

    /// Answers in a fresh instance.
    async fn answer_first(
        &self,
        mut store: Store<State>,
        meter: &Meter,
        deadline: Instant,
        request: Resource<Request>,
    ) -> Result<(Guest, types::Response), Failure> {
        let result = {
            let call = pin!(async {
                let (instance, first) = self.make(&mut store).await?;
                let handler = load_handler(&self.component, &mut store, &instance)?;
                let response = handler.call_handle(&mut store, request).await?;
                Ok((instance, handler, first, response))
            });
            guarded(meter, self.turns(), Some(deadline), call).await
        };
        match result {
            Ok(Ok((instance, handler, first, response))) => {
                Ok((Guest { first, ..Guest::new(store, instance, handler) }, response))
            }
            Ok(Err(error)) => Err(self.classify(&store, &error)),
            Err(outcome) => Err(outcome.into()),
        }
    }

    /// Answers in an instance that has answered before.
    async fn answer_again(
        &self,
        mut guest: Guest,
        meter: &Meter,
        deadline: Instant,
        request: Resource<Request>,
    ) -> Result<(Guest, types::Response), Failure> {
        let result = {
            let call = pin!(async {
                if let Some(first) = &guest.first {
                    first.restore_globals(&mut guest.store).await?;
                }
                guest.handler.call_handle(&mut guest.store, request).await
            });
            guarded(meter, self.turns(), Some(deadline), call).await
        };
        match result {
            Ok(Ok(response)) => Ok((guest, response)),
            Ok(Err(error)) => Err(self.classify(&guest.store, &error)),
            Err(outcome) => Err(outcome.into()),
        }
    }
}

impl Instance {
    /// Ends an instance that has answered in full: drops it, or parks it for the next request.
    pub fn finish(self) {
        let Self { guest, binding, meter, .. } = self;
        binding.park(&meter, Idle::Native(guest));
    }

    /// Turns the running instance into a held one; it then counts against `held` and no longer against `instances`.
    pub fn hold(&mut self) -> Result<(), Outcome> {
        self.binding.gates.hold(&mut self.permit)
    }

    /// Polls for the next message or timer.
    pub fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match &mut self.guest.store.data_mut().held.events {
            Some(session) => session.poll_event(context),
            None => Poll::Pending,
        }
    }

    /// Takes the part of the request's body that the guest has left.
    pub fn take_body(&mut self) -> LeftBody {
        let lent = &mut self.guest.store.data_mut().held.exchange;
        match lent.body.take() {
            Some(body) => LeftBody::Whole(body),
            None if lent.is_taken => LeftBody::Taken,
            None => LeftBody::None,
        }
    }

    /// The instance's account.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The binding that the instance was started for.
    pub fn binding(&self) -> &Arc<Binding> {
        &self.binding
    }

    /// Makes a call with a CPU budget of its own.
    pub(crate) async fn callback<T>(
        &mut self,
        budget: Duration,
        deadline: Option<Instant>,
        call: impl AsyncFnOnce(&mut Guest, &Component) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        self.meter.start_budget(budget);
        self.guest.store.set_epoch_deadline(1);
        self.call(deadline, call).await
    }

    /// Makes a call that uses up the budget of the call before.
    pub(crate) async fn call<T>(
        &mut self,
        deadline: Option<Instant>,
        call: impl AsyncFnOnce(&mut Guest, &Component) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        let result = {
            let call = pin!(call(&mut self.guest, &self.binding.component));
            guarded(&self.meter, self.binding.turns(), deadline, call).await?
        };
        result.map_err(|error| self.binding.classify(&self.guest.store, &error))
    }
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("meter", &self.meter).finish_non_exhaustive()
    }
}

/// Puts the request where the guest finds it: its head as a handle, its body in the state.
fn lend(store: &mut Store<State>, mut request: Request) -> Result<Resource<Request>, Failure> {
    if let Some(body) = request.body.take() {
        store.data_mut().held.exchange.body = Some(body);
    }
    store.data_mut().core.table.push(request).map_err(|_| Outcome::HandlesExceeded.into())
}
