//! A component bound to a route: the state shared by all instances that are started for it.

use std::sync::Arc;

use roadrunner_account::{Failure, Gates, Meter, Outcome, Subject, Turns};
use wasmtime::component::Instance;
use wasmtime::{Store, UpdateDeadline};

use crate::call::classify;
use crate::component::Component;
use crate::guest::core::Stop;
use crate::guest::response::Bounds;
use crate::parking::{Idle, Parking};
use crate::restore::First;
use crate::standard::members::Shared;
use crate::state::{Grants, State};

/// A component bound to a route: the state shared by all instances started for it.
#[derive(Debug)]
pub struct Binding {
    /// The component that runs.
    pub component: Arc<Component>,
    /// The limits of each instance, and what it may use.
    pub grants: Arc<Grants>,
    /// The caps on the number of instances.
    pub gates: Gates,
    /// The instances that wait for their next request; none where every request gets a fresh instance.
    pub parking: Option<Arc<Parking>>,
    /// Instances that answer several requests at once; none where each instance answers one request at a time.
    pub shared: Option<Shared>,
}

/// Entries that one call of a WASI 0.3 guest takes in the engine's table of tasks, streams and futures, at most.
const CALL_HANDLES: usize = 64;

impl Binding {
    /// Creates the account for a request, and for the instance that is to answer it.
    pub fn meter(&self, subject: Subject) -> Arc<Meter> {
        let sandbox = &self.component.sandbox;
        let (id, places) = (sandbox.next_instance(), self.component.places);
        let limits = &self.grants.limits;
        Arc::new(Meter::new(id, subject, places, sandbox.accounts().buffers.clone(), limits.memory, limits.log_bytes))
    }

    pub(crate) fn bounds<'a>(&self, meter: &'a Arc<Meter>) -> Bounds<'a> {
        Bounds { meter, head: self.grants.limits.response_head }
    }

    /// Classifies an error of the engine.
    pub(crate) fn classify(&self, store: &Store<State>, error: &wasmtime::Error) -> Failure {
        classify(&self.component.sandbox, store, error)
    }

    /// Gives a parked instance to another request.
    pub(crate) fn wake(
        &self,
        store: &mut Store<State>,
        first: Option<&First>,
        meter: &Arc<Meter>,
    ) -> Result<(), Outcome> {
        match first {
            Some(first) => *store.data_mut() = State::restored(&self.grants, meter, first.charged())?,
            None => store.data_mut().start_over(meter),
        }
        store.set_epoch_deadline(1);
        Ok(())
    }

    /// Makes an instance, with its first state; none where it is not to be restored.
    pub(crate) async fn make(&self, store: &mut Store<State>) -> wasmtime::Result<(Instance, Option<First>)> {
        let component = &self.component;
        let calls = store.data().core.meter.host_calls();
        let made = component.pre.instantiate_async(&mut *store).await?;
        // A guest whose start calls the host may see something else at its next start.
        let is_alone = store.data().core.meter.host_calls() == calls;
        let restores = is_alone && self.parking.as_ref().is_some_and(|parking| parking.restores());
        let Some(exports) = component.restore.as_ref().filter(|_| restores) else { return Ok((made, None)) };
        let first = First::of(store, &made, exports, component.image.get()).await?;
        if let Some(first) = &first {
            component.image.get_or_init(|| first.image().clone());
        }
        Ok((made, first))
    }

    /// Parks an instance whose response was sent whole: as it is where its component is reused, otherwise restored.
    /// Drops it where it has to be.
    pub(crate) fn park(&self, meter: &Meter, mut idle: Idle) {
        let Some(parking) = &self.parking else { return };
        let (store, first) = idle.parts();
        if store.data().core.memory.denied().is_some() || meter.is_killed() {
            return;
        }
        store.data().end_lines();
        if !parking.restores() {
            store.data_mut().rest();
            return parking.put(idle, 0);
        }
        let Some(first) = first else { return };
        let Some(written) = meter.short_work(|| first.restore(store)) else { return };
        // The old state goes, and with it all that the request has left.
        let meter = store.data().core.meter.clone();
        *store.data_mut() = State::new(self.grants.clone(), meter);
        parking.put(idle, written);
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.component.sandbox.accounts().turns
    }

    /// Creates the store of a new instance. Fails where slots of its engine may hold data of another instance.
    pub(crate) fn store(&self, meter: &Arc<Meter>) -> Result<Store<State>, Failure> {
        if !self.component.may_start() {
            return Err(Outcome::Overloaded.into());
        }
        let mut store = Store::new(self.component.pre.engine(), State::new(self.grants.clone(), meter.clone()));
        store.limiter(|state| &mut state.core.memory);
        store.set_hostcall_fuel(self.grants.limits.host_call_bytes);
        store.set_max_component_handles(self.grants.limits.handles);
        if let Some(table) = store.concurrent_resource_table() {
            // Tasks, streams and futures of a guest of WASI 0.3; a call takes a few on its own.
            table.set_max_capacity(self.grants.limits.handles.saturating_add(CALL_HANDLES));
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| {
            let meter = &context.data().core.meter;
            if meter.is_killed() {
                return Err(Stop(Outcome::Killed).into());
            }
            if meter.interrupt() {
                return Err(Stop(Outcome::CpuExceeded).into());
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        Ok(store)
    }
}
