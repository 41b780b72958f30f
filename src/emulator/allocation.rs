//! Which hub a registration gets.

use super::config::{Allocation, Hub};
use crate::rng::{self, Purpose, Stream};

/// The linked hubs as allocation sees them.
pub(super) struct Allocator {
    hubs: Vec<Candidate>,
}

struct Candidate {
    name: String,
    weight: u32,
}

/// An [`Allocation`] with its hub looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Hashed,
    Weighted,
    /// `None`: the named hub is not linked, so that every assignment fails (400208), as with the real service.
    Static(Option<usize>),
}

impl Allocator {
    pub(super) fn new(hubs: &[Hub]) -> Self {
        let candidate = |hub: &Hub| Candidate { name: hub.name.clone(), weight: hub.weight };
        Self { hubs: hubs.iter().map(candidate).collect() }
    }

    pub(super) fn policy(&self, allocation: &Allocation) -> Policy {
        match allocation {
            Allocation::Hashed => Policy::Hashed,
            Allocation::Weighted => Policy::Weighted,
            Allocation::Static(name) => Policy::Static(self.hubs.iter().position(|hub| hub.name == *name)),
        }
    }

    /// The hub for `registration_id` (in lower case), as an index; `None` if there is none to choose.
    ///
    /// * `draws`: the stream of this registration attempt; only [`Policy::Weighted`] draws from it
    pub(super) fn choose(&self, policy: Policy, registration_id: &str, draws: &mut Stream) -> Option<usize> {
        match policy {
            Policy::Hashed => self.hashed(registration_id),
            Policy::Weighted => self.weighted(draws),
            Policy::Static(hub) => hub,
        }
    }

    /// Rendezvous hashing: every hub throws dice of its own for the device, and the best throw wins. A hub that is
    /// added or removed moves only its own devices, and neither seed nor order of the hubs matters.
    fn hashed(&self, registration_id: &str) -> Option<usize> {
        let throw = |(index, hub): (usize, &Candidate)| {
            if hub.weight == 0 {
                return None;
            }
            let name = rng::stream(0, &hub.name, 0, Purpose::Assignment).bits();
            let mut dice = rng::stream(0, registration_id, name, Purpose::Assignment);
            // The earliest of exponential arrivals with rates in proportion to the weights.
            Some((dice.exponential() / f64::from(hub.weight), index))
        };
        let throws = self.hubs.iter().enumerate().filter_map(throw);
        throws.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, index)| index)
    }

    fn weighted(&self, draws: &mut Stream) -> Option<usize> {
        let total = self.hubs.iter().map(|hub| u64::from(hub.weight)).sum();
        let mut ticket = draws.below(total);
        self.hubs.iter().position(|hub| {
            let weight = u64::from(hub.weight);
            let wins = ticket < weight;
            ticket = ticket.saturating_sub(weight);
            wins
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(name: &str, weight: u32) -> Hub {
        Hub { weight, ..Hub::new(name, format!("{name}.azure-devices.localhost")) }
    }

    fn shares(allocator: &Allocator, policy: Policy) -> [usize; 2] {
        let mut counts = [0; 2];
        for n in 0..10_000 {
            let id = format!("device-{n}");
            let mut draws = rng::stream(7, &id, 1, Purpose::Assignment);
            counts[allocator.choose(policy, &id, &mut draws).expect("a hub")] += 1;
        }
        counts
    }

    #[test]
    fn hubs_get_devices_in_proportion_to_their_weights() {
        let allocator = Allocator::new(&[hub("north", 3), hub("south", 1)]);
        for policy in [Policy::Hashed, Policy::Weighted] {
            let [north, _] = shares(&allocator, policy);
            assert!((7_300..7_700).contains(&north), "{policy:?}: {north} of 10000 devices in north");
        }
    }

    #[test]
    fn hashed_allocation_keeps_a_device_where_it_is_when_the_order_of_hubs_changes() {
        let one = Allocator::new(&[hub("north", 3), hub("south", 1)]);
        let other = Allocator::new(&[hub("south", 1), hub("north", 3)]);
        for n in 0..100 {
            assert_eq!(one.hashed(&format!("d{n}")), other.hashed(&format!("d{n}")).map(|index| 1 - index));
        }
    }

    #[test]
    fn a_static_hub_that_is_not_linked_is_no_hub() {
        let allocator = Allocator::new(&[hub("north", 1)]);
        let mut draws = rng::stream(7, "d", 1, Purpose::Assignment);
        let known = allocator.policy(&Allocation::Static("north".to_owned()));
        assert_eq!(allocator.choose(known, "d", &mut draws), Some(0));
        let unknown = allocator.policy(&Allocation::Static("west".to_owned()));
        assert_eq!(allocator.choose(unknown, "d", &mut draws), None);
    }
}
