//! A map behind many small locks, so that worker threads rarely meet and a lock is held only briefly.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by name.
pub(super) struct Sharded<V> {
    shards: Box<[Shard<V>]>,
}

/// On a cache line of its own, so that taking one lock does not slow its neighbour's.
#[repr(align(64))]
struct Shard<V>(Mutex<HashMap<Box<str>, V>>);

impl<V> Sharded<V> {
    /// What `read` makes of `most` values, in no order. Never holds two locks.
    pub(super) fn collect<R>(&self, most: usize, read: impl Fn(&str, &V) -> R) -> Vec<R> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(shard.iter().take(most - all.len()).map(|(key, value)| read(key, value)));
        }
        all
    }

    /// Shows `each` all values, in no order. Never holds two locks.
    pub(super) fn each(&self, mut each: impl FnMut(&str, &V)) {
        for shard in &self.shards {
            let shard = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
            shard.iter().for_each(|(key, value)| each(key, value));
        }
    }

    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard(Mutex::default())).collect() }
    }

    /// The part of the map in which `key` is, or belongs.
    pub(super) fn lock(&self, key: &str) -> MutexGuard<'_, HashMap<Box<str>, V>> {
        let shard = &self.shards[(hash(key) % SHARDS as u64) as usize];
        // A panic elsewhere must not stop the service; every change made under a lock is complete in itself.
        shard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// FNV-1a, folded: spreads names over shards. The maps inside use a keyed hash, so that nobody can choose collisions.
fn hash(key: &str) -> u64 {
    let full = key.bytes().fold(0xcbf2_9ce4_8422_2325, |state: u64, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    full ^ (full >> 32)
}

const SHARDS: usize = 64;
