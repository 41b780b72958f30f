//! What the services let in, and when: a rate with its burst and its queue, the polls of one device, a hub's messages of
//! a day. Pure: whoever asks says what time it is, and carries the verdict out.
//!
//! ```text
//!   requests ──▶ burst allowance ──▶ queue, left at the limit's rate ──▶ full: refused
//!                 Verdict::Now        Verdict::At(slot)                   Verdict::Refused
//! ```
//!
//! The limits are published ([`Tier`], [`crate::azure::limits`]); the size of bursts and queues is not. The constants below
//! are ours, each with its reason. All worker threads share one limit, in one atomic word each: no lock is taken, and a
//! hub without a limit is asked nothing.
//!
//! Source of the hub's order of events, with an S1 at 200 sends/s as its example:
//! <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling#traffic-shaping>

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::azure::limits::{
    DPS_POLL_WINDOW_SECONDS, DPS_POLLS_PER_WINDOW, HubSize, METHOD_METER_BYTES, Tier,
};
use crate::time::{Instant, UnixTime};
use crate::units::Rate;

/// DPS admits at once what its limit admits in this time, and refuses beyond; how the minute of the published figure is
/// divided is unpublished. Longer than the 3 s of its usual `Retry-After`, so that a fleet that returns when it was told
/// to finds the whole rate and not the rest of a bucket that ran over; short against the minute, so that no minute sees
/// much more than the limit.
pub const DPS_BURST: Duration = Duration::from_secs(10);

/// A hub takes at once the messages that its limit admits in this time. The published example, twice the limit, is
/// served without delay "for the first minute or two": a minute's worth, used up at one limit's surplus, lasts a minute.
pub const SEND_BURST: Duration = Duration::from_secs(60);

/// A hub takes at once the connections that its limit admits in this time. Azure's own arithmetic for large fleets
/// (100,000 devices at 100/s: 1,000 s) leaves no room for a minute's worth; what is ours here changes it by a hundredth.
///
/// Source: <https://learn.microsoft.com/azure/iot-dps/concepts-deploy-at-scale>
pub const CONNECTION_BURST: Duration = Duration::from_secs(10);

/// Requests wait in a hub's queue for at most this long, that is, the queue holds what the limit admits in this time. The
/// real size is unpublished. The hub's errors say "wait 10 seconds and try again": who does finds the queue of then
/// empty; and no SDK gives up a request that soon.
pub const LONGEST_QUEUE: Duration = Duration::from_secs(10);

/// What is admitted at once of all that goes both ways, and of calls of the registry: what the limit admits in this time.
/// Its real size is unpublished. There is no queue behind it: these requests have an answer, and 429 is one.
pub const TWO_WAY_BURST: Duration = Duration::from_secs(10);

/// What becomes of a request that wants in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Admitted.
    Now,
    /// Admitted to the queue: to be carried out then.
    At(Instant),
    /// Not admitted, and charged to no limit.
    Refused(Excess),
}

/// The limit that a refused request would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excess {
    /// The rate, for so long that its queue is full.
    Rate,
    /// The messages of this UTC day.
    Quota,
}

/// Requests that have a limit of their own, besides connections and telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Read of a twin.
    TwinRead,
    /// Update of a twin, by its device or a service.
    TwinUpdate,
    /// Direct method, or a device's answer to one.
    Method,
    /// Message to a device.
    SendDeviceBound,
    /// A device's question for one, over HTTPS.
    ReceiveDeviceBound,
    /// Call of the registry of devices.
    Registry,
}

impl Traffic {
    const COUNT: usize = 6;
}

/// Why such a request is not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Excess(Excess),
    /// The tier has no such thing.
    Tier,
}

/// What a limited hub has decided so far. Of a batch every message counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// New connections that had to wait in the queue.
    pub connections_held: u64,
    /// New connections refused because the queue was full.
    pub connections_refused: u64,
    /// Messages that had to wait in the queue.
    pub messages_held: u64,
    /// Messages refused because the queue was full.
    pub messages_refused: u64,
    /// Messages refused because the day's quota was used up.
    pub over_quota: u64,
    /// What the admitted messages count as, by the meter of the tier; over all days. Twins, methods and messages from the
    /// cloud are among them.
    pub metered: u64,
    /// Twins not read because too many were.
    #[serde(default)]
    pub twin_reads_refused: u64,
    /// Twins not updated because too many were.
    #[serde(default)]
    pub twin_updates_refused: u64,
    /// Methods not sent, or answers not taken, because there were too many.
    #[serde(default)]
    pub methods_refused: u64,
    /// Messages from the cloud not taken, or not given out over HTTPS, because there were too many.
    #[serde(default)]
    pub c2d_refused: u64,
    /// Calls of the registry not answered because there were too many.
    #[serde(default)]
    pub registry_refused: u64,
}

/// The limits of one hub.
#[derive(Debug)]
pub(super) struct HubThrottle {
    tier: Tier,
    connections: Gate,
    sends: Gate,
    /// In the order of [`Traffic`].
    others: [Gate; Traffic::COUNT],
    others_refused: [AtomicU64; Traffic::COUNT],
    quota: Quota,
    connections_held: AtomicU64,
    connections_refused: AtomicU64,
    messages_held: AtomicU64,
    messages_refused: AtomicU64,
    over_quota: AtomicU64,
    metered: AtomicU64,
}

impl HubThrottle {
    pub(super) fn new(size: HubSize) -> Self {
        let HubSize { tier, units } = size;
        let others = [
            tier.twin_reads_per_second(units),
            tier.twin_updates_per_second(units),
            tier.methods_per_second(units),
            tier.devicebound_per_minute(units) / 60.0,
            tier.devicebound_receives_per_minute(units) / 60.0,
            tier.devicebound_per_minute(units) / 60.0,
        ];
        Self {
            tier,
            others: others.map(|per_second| Gate::new(per_second, TWO_WAY_BURST, Duration::ZERO)),
            others_refused: Default::default(),
            connections: Gate::new(tier.connects_per_second(units), CONNECTION_BURST, LONGEST_QUEUE),
            sends: Gate::new(tier.sends_per_second(units), SEND_BURST, LONGEST_QUEUE),
            quota: Quota { a_day: tier.messages_per_day(units), used: AtomicU64::new(0) },
            connections_held: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            messages_held: AtomicU64::new(0),
            messages_refused: AtomicU64::new(0),
            over_quota: AtomicU64::new(0),
            metered: AtomicU64::new(0),
        }
    }

    /// Whether a device may open a connection.
    pub(super) fn admit_connection(&self, now: Instant) -> Verdict {
        let verdict = Verdict::of_slot(now, self.connections.admit(now, 1));
        match verdict {
            Verdict::Now => {}
            Verdict::At(_) => count(&self.connections_held, 1),
            Verdict::Refused(_) => count(&self.connections_refused, 1),
        }
        verdict
    }

    /// Whether a device may send messages of these sizes (body and properties) in one request: all of them or none.
    ///
    /// The quota is asked first: once it is used up the hub refuses whatever the rate. A message that has to wait is
    /// charged to the day in which it came, and stays charged should its sender leave meanwhile.
    pub(super) fn admit_messages(
        &self,
        now: Instant,
        wall: UnixTime,
        sizes: impl IntoIterator<Item = u64>,
    ) -> Verdict {
        let (mut messages, mut metered) = (0, 0u64);
        for size in sizes {
            messages += 1;
            metered += self.tier.metered(size);
        }
        let over_quota = || {
            count(&self.over_quota, messages);
            Verdict::Refused(Excess::Quota)
        };
        if !self.quota.has_room(wall, metered) {
            return over_quota();
        }
        let verdict = Verdict::of_slot(now, self.sends.admit(now, messages));
        if let Verdict::Refused(_) = verdict {
            count(&self.messages_refused, messages);
            return verdict;
        }
        // Another thread may have taken the last of it since. The slot that is lost then is nobody's any more.
        if !self.quota.charge(wall, metered) {
            return over_quota();
        }
        count(&self.metered, metered);
        if let Verdict::At(_) = verdict {
            count(&self.messages_held, messages);
        }
        verdict
    }

    /// Whether a request of another kind may be carried out: now, or not at all.
    ///
    /// * `size`: of body and properties
    pub(super) fn admit(
        &self,
        traffic: Traffic,
        now: Instant,
        wall: UnixTime,
        size: u64,
    ) -> Result<(), Refused> {
        let is_registry = traffic == Traffic::Registry;
        if !is_registry && !self.tier.is_two_way() {
            return Err(Refused::Tier);
        }
        let metered = if is_registry { 0 } else { self.tier.metered(size) };
        if !self.quota.has_room(wall, metered) {
            count(&self.over_quota, 1);
            return Err(Refused::Excess(Excess::Quota));
        }
        let weight = if traffic == Traffic::Method { size.div_ceil(METHOD_METER_BYTES).max(1) } else { 1 };
        if self.others[traffic as usize].admit(now, weight).is_none() {
            count(&self.others_refused[traffic as usize], 1);
            return Err(Refused::Excess(Excess::Rate));
        }
        if !self.quota.charge(wall, metered) {
            count(&self.over_quota, 1);
            return Err(Refused::Excess(Excess::Quota));
        }
        count(&self.metered, metered);
        Ok(())
    }

    pub(super) fn tally(&self) -> Tally {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused = |traffic: Traffic| value(&self.others_refused[traffic as usize]);
        Tally {
            connections_held: value(&self.connections_held),
            connections_refused: value(&self.connections_refused),
            messages_held: value(&self.messages_held),
            messages_refused: value(&self.messages_refused),
            over_quota: value(&self.over_quota),
            metered: value(&self.metered),
            twin_reads_refused: refused(Traffic::TwinRead),
            twin_updates_refused: refused(Traffic::TwinUpdate),
            methods_refused: refused(Traffic::Method),
            c2d_refused: refused(Traffic::SendDeviceBound) + refused(Traffic::ReceiveDeviceBound),
            registry_refused: refused(Traffic::Registry),
        }
    }
}

/// The registrations of one DPS.
#[derive(Debug)]
pub(super) struct DpsThrottle(Gate);

impl DpsThrottle {
    pub(super) fn new(registrations: Rate) -> Self {
        Self(Gate::new(registrations.per_second(), DPS_BURST, Duration::ZERO))
    }

    /// Whether a device may register now. DPS has no queue, and a refused registration takes nothing from the limit.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.0.admit(now, 1).is_some()
    }
}

/// The polls of one device that were let in: at most [`DPS_POLLS_PER_WINDOW`] in any [`DPS_POLL_WINDOW_SECONDS`].
#[derive(Debug, Default)]
pub(super) struct PollWindow {
    /// The last that were admitted, in a ring.
    admitted: [Option<Instant>; DPS_POLLS_PER_WINDOW as usize],
    oldest: usize,
}

impl PollWindow {
    /// Lets a poll in.
    ///
    /// # Errors
    /// When the next one will be, if this one cannot be let in.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Instant> {
        let oldest = &mut self.admitted[self.oldest];
        if let Some(oldest) = oldest {
            let room = *oldest + Duration::from_secs(DPS_POLL_WINDOW_SECONDS);
            if now < room {
                return Err(room);
            }
        }
        *oldest = Some(now);
        self.oldest = (self.oldest + 1) % self.admitted.len();
        Ok(())
    }
}

impl Verdict {
    fn of_slot(now: Instant, slot: Option<Instant>) -> Self {
        match slot {
            None => Self::Refused(Excess::Rate),
            Some(slot) if slot <= now => Self::Now,
            Some(slot) => Self::At(slot),
        }
    }
}

/// A rate with an allowance for bursts and a queue: the generic cell rate algorithm, whose whole state is one instant.
///
/// The allowance is a bucket that fills at the rate. `full_at` is when it will be full if nothing else comes: a request
/// moves it on by one interval, and fits at the first instant from which a full bucket is no further away than the
/// bucket's whole size.
#[derive(Debug)]
struct Gate {
    /// Nanoseconds between two requests at the limit.
    interval: u64,
    /// Nanoseconds in which the empty bucket fills.
    burst: u64,
    /// The longest wait in nanoseconds.
    queue: u64,
    full_at: AtomicU64,
}

impl Gate {
    fn new(per_second: f64, burst: Duration, queue: Duration) -> Self {
        let nanos = |duration: Duration| duration.as_nanos() as u64;
        // To the nearest nanosecond, which is off by 3 in 100,000 at the highest limit there is, 60,000/s.
        let interval = ((1e9 / per_second).round() as u64).max(1);
        // However low the rate, one request at a time gets in.
        Self { interval, burst: nanos(burst).max(interval), queue: nanos(queue), full_at: AtomicU64::new(0) }
    }

    /// When a request that counts as `weight` is served, now or later; `None` if the queue has no room for it.
    fn admit(&self, now: Instant, weight: u64) -> Option<Instant> {
        let now = now.nanos();
        let cost = self.interval.saturating_mul(weight);
        let slot = |full_at: u64| full_at.saturating_sub(self.burst).max(now);
        let next = |full_at: u64| full_at.max(now).saturating_add(cost);
        let before = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let full_at = next(full_at);
            (slot(full_at) <= now.saturating_add(self.queue)).then_some(full_at)
        });
        before.ok().map(|before| Instant::from_nanos(slot(next(before))))
    }
}

/// Metered messages of the current UTC day.
#[derive(Debug)]
struct Quota {
    a_day: u64,
    /// The day since 1970 in the upper bits, what it has used in the lower: together, so that a new day begins with
    /// nothing used for every thread at once.
    used: AtomicU64,
}

impl Quota {
    /// Room for 17 million million; the largest hub takes three thousand million a day.
    const USED_BITS: u32 = 44;

    fn has_room(&self, wall: UnixTime, metered: u64) -> bool {
        self.after(self.used.load(Ordering::Relaxed), wall, metered).is_some()
    }

    /// `false`, and nothing is charged, if the rest of the day's quota is less.
    fn charge(&self, wall: UnixTime, metered: u64) -> bool {
        let after = |state| self.after(state, wall, metered);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).is_ok()
    }

    /// The state with `metered` more, if that fits.
    fn after(&self, state: u64, wall: UnixTime, metered: u64) -> Option<u64> {
        let (known, used) = (state >> Self::USED_BITS, state & ((1 << Self::USED_BITS) - 1));
        // A wall clock that is set back does not give a day's quota twice.
        let day = known.max(wall.seconds() / 86_400);
        let used = if day == known { used } else { 0 } + metered;
        (used <= self.a_day).then_some(day << Self::USED_BITS | used)
    }
}

fn count(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

#[cfg(test)]
#[path = "throttle_tests.rs"]
mod tests;
