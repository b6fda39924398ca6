//! The live instances of the host, for introspection and for killing one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::meter::Meter;

const SHARDS: usize = 16;

/// Every instance that exists now, and every session that hibernates. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shards: [Shard; SHARDS],
    /// When idle sessions were last asked to make room.
    pressed: Mutex<Option<Instant>>,
}

/// By id, with how often each is listed.
type Shard = Mutex<HashMap<u64, (Arc<Meter>, u32)>>;

impl Registry {
    /// All of them, oldest first.
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

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.shards.iter().all(|shard| shard.lock().is_empty())
    }

    /// Ends one instance; false when there is none of this id.
    pub fn kill(&self, id: u64) -> bool {
        let meter = self.shard(id).lock().get(&id).map(|(meter, _)| meter.clone());
        meter.is_some_and(|meter| {
            meter.kill();
            true
        })
    }

    /// Wakes the drivers of all sessions that could make room, once in `every`, whoever asks.
    pub(crate) fn press(&self, every: Duration) {
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

    pub(crate) fn insert(&self, meter: Arc<Meter>) -> Registration {
        let id = meter.id;
        self.shard(id).lock().entry(id).or_insert((meter, 0)).1 += 1;
        Registration { registry: self.clone(), id }
    }

    fn shard(&self, id: u64) -> &Shard {
        &self.0.shards[id as usize % SHARDS]
    }
}

/// Keeps an instance, or what is left of its request, listed for as long as it exists.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Registry,
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
