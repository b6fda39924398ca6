//! The live instances of the host, for introspection and for killing them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::meter::Meter;

const SHARDS: usize = 16;

/// All instances that exist now, and all sessions that hibernate. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Instances(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shards: [Shard; SHARDS],
    /// The time at which idle sessions were last asked to make room.
    pressed: Mutex<Option<Instant>>,
}

/// Accounts by id, with the number of times that each is listed.
type Shard = Mutex<HashMap<u64, (Arc<Meter>, u32)>>;

impl Instances {
    /// All accounts, oldest first.
    pub fn list(&self) -> Vec<Arc<Meter>> {
        let mut meters: Vec<_> = self
            .0
            .shards
            .iter()
            .flat_map(|shard| shard.lock().values().map(|(meter, _)| meter.clone()).collect::<Vec<_>>())
            .collect();
        meters.sort_by_key(|meter| meter.id);
        meters
    }

    /// The number of accounts.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.0.shards.iter().all(|shard| shard.lock().is_empty())
    }

    /// Ends one instance; false when no instance has this id.
    pub fn kill(&self, id: u64) -> bool {
        let meter = self.shard(id).lock().get(&id).map(|(meter, _)| meter.clone());
        meter.is_some_and(|meter| {
            meter.kill();
            true
        })
    }

    /// Wakes the drivers of all sessions that could make room, at most once in `every` over all callers.
    pub fn press(&self, every: Duration) {
        let now = Instant::now();
        {
            let mut pressed = self.0.pressed.lock();
            if pressed.is_some_and(|last| now < last + every) {
                return;
            }
            *pressed = Some(now);
        }
        for shard in &self.0.shards {
            let awake: Vec<_> =
                shard.lock().values().map(|(meter, _)| meter.clone()).filter(|meter| !meter.is_hibernating()).collect();
            awake.iter().for_each(|meter| meter.wake());
        }
    }

    /// Lists an account while the registration exists.
    pub fn insert(&self, meter: Arc<Meter>) -> Registration {
        let id = meter.id;
        self.shard(id).lock().entry(id).or_insert((meter, 0)).1 += 1;
        Registration { registry: self.clone(), id }
    }

    fn shard(&self, id: u64) -> &Shard {
        &self.0.shards[id as usize % SHARDS]
    }
}

/// A registration that keeps an instance, or the rest of its request, listed while it exists.
#[derive(Debug)]
pub struct Registration {
    registry: Instances,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Entry::Occupied(mut listed) = self.registry.shard(self.id).lock().entry(self.id) {
            listed.get_mut().1 -= 1;
            if listed.get().1 == 0 {
                listed.remove();
            }
        }
    }
}
