//! The live instances of the host, for introspection and for killing one.

use std::collections::HashMap;
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

type Shard = Mutex<HashMap<u64, Arc<Meter>>>;

impl Registry {
    /// All of them, oldest first.
    pub fn list(&self) -> Vec<Arc<Meter>> {
        let mut meters: Vec<_> =
            self.0.shards.iter().flat_map(|shard| shard.lock().values().cloned().collect::<Vec<_>>()).collect();
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
        let meter = self.shard(id).lock().get(&id).cloned();
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
            let awake: Vec<_> = shard.lock().values().filter(|meter| !meter.is_hibernating()).cloned().collect();
            awake.iter().for_each(|meter| meter.wake());
        }
    }

    pub(crate) fn insert(&self, meter: Arc<Meter>) -> Registration {
        self.shard(meter.id).lock().insert(meter.id, meter.clone());
        Registration { registry: self.clone(), id: meter.id }
    }

    fn shard(&self, id: u64) -> &Shard {
        &self.0.shards[id as usize % SHARDS]
    }
}

/// Keeps an instance listed for as long as it exists.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Registry,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.shard(self.id).lock().remove(&self.id);
    }
}
