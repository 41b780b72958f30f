//! What a device waits for.

use super::two_way::Errands;
use super::world::{Profile, World};
use crate::time::{Due, Instant};

/// Does what errands need while there is no hub.
pub(super) async fn tend(errands: &mut Option<Box<Errands>>, world: &World, profile: &Profile) {
    match errands {
        Some(errands) => errands.tend(world, profile).await,
        None => std::future::pending().await,
    }
}

/// As [`until`], with a wait that is kept from one look to the next.
pub(super) async fn wait_for(world: &World, kept: &mut Option<(Instant, Due)>, at: Option<Instant>) {
    let Some(at) = at else { return std::future::pending().await };
    if kept.as_ref().is_none_or(|(known, _)| *known != at) {
        *kept = Some((at, world.agenda.until(at)));
    }
    if let Some((_, wait)) = kept {
        wait.await;
    }
    *kept = None;
}

/// Waits until `at`; for ever if there is no such instant.
pub(super) async fn until(world: &World, at: Option<Instant>) {
    match at {
        Some(at) => world.agenda.until(at).await,
        None => std::future::pending().await,
    }
}
