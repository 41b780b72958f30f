//! How long a hub takes over a message.

use super::{HubDevice, Service, Verdict};
use crate::emulator::config;
use crate::rng::{Distribution, Purpose, stream};
use crate::time::Instant;

impl Service {
    /// What becomes of a message when the hub takes its time over it: it is confirmed that much later.
    ///
    /// * `arrived`: with the device it names the message, so that in simulated time the order in which messages of different
    ///   devices come changes nothing; messages of a device that were read at one instant have one draw
    /// * `admitted`: what the hub's limits say of it
    pub fn delayed(&self, device: &HubDevice, arrived: Instant, now: Instant, admitted: Verdict) -> Verdict {
        const NONE: Distribution = Distribution::Constant(0.0);
        let delay = self.hubs.get(device.hub).map_or(NONE, |hub| hub.delay);
        let from = match admitted {
            _ if delay == NONE => return admitted,
            Verdict::Refused(_) => return admitted,
            Verdict::Now => now,
            Verdict::At(slot) => slot,
        };
        let mut chance = stream(self.seed, &device.device_id, arrived.nanos(), Purpose::Service);
        Verdict::At(from + delay.draw_duration(&mut chance, config::Hub::MAX_DELAY))
    }
}
