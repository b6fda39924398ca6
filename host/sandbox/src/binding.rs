//! A component bound to a route: the state shared by all instances that are started for it.

use std::sync::Arc;

use roadrunner_account::{Failure, Gates, Meter, Outcome, Subject, Turns};
use wasmtime::{Store, UpdateDeadline};

use crate::call::classify;
use crate::component::Component;
use crate::guest::core::Stop;
use crate::guest::response::Bounds;
use crate::parking::Parking;
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
