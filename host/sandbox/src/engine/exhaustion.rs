//! Counts of the engine's pools that were found empty.
//!
//! Gates admit no more than the pools have room for, so this does not happen for the engine's own. The kernel's maps of
//! memory are such a pool, too: `vm.max_map_count` may be less than the caps need. The request that finds a pool empty is `overloaded`. It is counted for the component whose instances have most of the places,
//! and not for the unlucky component.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use roadrunner_account::{Failure, Instances, Outcome};

/// The shortest time between two log lines.
const EVERY: Duration = Duration::from_secs(1);

/// A component, and the tenant that it belongs to.
type Holder = (Option<Arc<str>>, Arc<str>);

/// Counts of empty pools, by the component that had most of the pool.
#[derive(Debug, Default)]
pub struct Exhaustion(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_holder: BTreeMap<Holder, u64>,
    told: Option<Instant>,
}

impl Exhaustion {
    /// The component, its tenant, and its count.
    pub fn counts(&self) -> Vec<(Arc<str>, Option<Arc<str>>, u64)> {
        let counts = self.0.lock();
        counts
            .by_holder
            .iter()
            .map(|((tenant, component), count)| (component.clone(), tenant.clone(), *count))
            .collect()
    }

    /// The failure of a request that finds a pool empty.
    pub(crate) fn found(&self, error: &dyn Display, registry: &Instances) -> Failure {
        let mut places = BTreeMap::<Holder, u64>::new();
        for meter in registry.list().iter().filter(|meter| !meter.is_hibernating()) {
            let tenant = meter.subject.tenant.as_ref().map(|tenant| tenant.name.clone());
            *places.entry((tenant, meter.subject.component.clone())).or_default() += u64::from(meter.places);
        }
        if let Some((holder, most)) = places.into_iter().max_by_key(|(_, places)| *places) {
            self.count(holder, most, error);
        }
        Outcome::Overloaded.into()
    }

    fn count(&self, holder: Holder, places: u64, error: &dyn Display) {
        let mut counts = self.0.lock();
        let now = Instant::now();
        if counts.told.is_none_or(|told| now >= told + EVERY) {
            counts.told = Some(now);
            let (tenant, component) = &holder;
            tracing::warn!(
                tenant = tenant.as_deref(),
                %component,
                places,
                "a pool is empty ({error}); this component has most of the places"
            );
        }
        *counts.by_holder.entry(holder).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use roadrunner_account::{Buffers, Digest, Meter, Peer, RequestId, Subject, Tenant};
    use roadrunner_values::Quota;
    use wasmtime::{
        Config, Engine, Instance, InstanceAllocationStrategy, Module, PoolConcurrencyLimitError,
        PoolingAllocationConfig, Store,
    };

    use super::*;

    /// The engine's error when a pool of one core instance is empty.
    fn empty() -> wasmtime::Error {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(1).total_memories(1).total_tables(1).total_stacks(1);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("an engine");
        let module = Module::new(&engine, wat::parse_str("(module)").expect("a module")).expect("a module");
        let mut store = Store::new(&engine, ());
        Instance::new(&mut store, &module, &[]).expect("there is one");
        Instance::new(&mut store, &module, &[]).expect_err("there is one, and no more")
    }

    #[test]
    fn it_is_counted_for_who_has_most_of_the_places() {
        let registry = Instances::default();
        let tenant = Tenant::new("greedy", Quota::default());
        let started = |id, tenant: Option<&Arc<Tenant>>, component: &str, places| {
            let subject = Subject {
                request: RequestId::Made(0, id),
                tenant: tenant.cloned(),
                component: component.into(),
                digest: Digest::of(b""),
                route: "/".into(),
                peer: Peer::Local,
                connection: Arc::default(),
            };
            registry.insert(Arc::new(Meter::new(id, subject, places, Buffers::new(1 << 40), u64::MAX, 0)))
        };
        let _live = [
            started(1, None, "many", 1),
            started(2, None, "many", 1),
            started(3, None, "many", 1),
            started(4, Some(&tenant), "wide", 4),
        ];
        let error = empty();
        let error = error.downcast_ref::<PoolConcurrencyLimitError>().expect("an error of the pool");
        let exhaustion = Exhaustion::default();
        for _ in 0..2 {
            let failure = exhaustion.found(error, &registry);
            // Without a detail, the log says nothing about the unlucky request.
            assert_eq!((failure.outcome, failure.detail.as_str()), (Outcome::Overloaded, ""));
        }
        assert_eq!(exhaustion.counts(), [("wide".into(), Some("greedy".into()), 2)]);
    }
}
