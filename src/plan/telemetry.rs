//! When messages are due.

use std::sync::Arc;
use std::time::Duration;

use crate::device::hub::{Qos, Resend};
use crate::payload::Payloads;
use crate::rng::{self, Purpose};
use crate::units::Rate;

/// What the devices of a population send, and when.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// When messages are due.
    pub rhythm: Arc<Rhythm>,
    /// Messages per device; `None`: until the run ends.
    pub messages: Option<u64>,
    /// How the hub confirms messages.
    pub qos: Qos,
    /// What becomes of messages that were not confirmed when their connection ended.
    pub resend: Resend,
    /// MQTT, for a broker that is no IoT Hub: the topic that devices send to, in which `{id}` stands for their id. `None`
    /// for the hub's own.
    pub topic: Option<String>,
    /// Messages of one device that may await their acknowledgement at once; at least 1.
    pub in_flight: u32,
    /// Messages of one device that may wait for their turn; one more is not sent (queue full).
    pub queue: u32,
    /// What a message holds.
    pub payload: Payloads,
}

/// When the messages of one device are due, counted from when it was first connected: on a grid, on change, or both.
#[derive(Debug, Clone, PartialEq)]
pub struct Rhythm {
    /// Times between two messages on the grid, taken in turn; one of zero sends everything at once. Empty for devices that
    /// send on change only.
    pub every: Vec<Duration>,
    /// Each message on the grid is moved by up to this, either way; at most half of the shortest time between two.
    pub jitter: Duration,
    /// When the grid begins.
    pub offset: Offset,
    /// Messages that a change in the device's world brings about, besides the grid.
    pub on_change: Option<OnChange>,
}

/// When a device's grid begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// Drawn for each device, so that a fleet's messages are spread evenly from the start.
    Drawn,
    /// So long after the device was first connected: devices that connect together send together.
    Fixed(Duration),
}

/// Bursts of messages at instants that nobody foresees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnChange {
    /// Mean time from the end of one burst to the next; exponential, as independent events are. Above 0.
    pub every: Duration,
    /// Messages of a burst; at least 1.
    pub messages: u32,
    /// Time between two messages of a burst.
    pub gap: Duration,
}

impl Rhythm {
    /// The interval of one device when `count` devices together send at `fleet_rate`.
    pub fn interval_of_fleet_rate(fleet_rate: Rate, count: u64) -> Duration {
        Duration::from_nanos((count as f64 / fleet_rate.per_second() * 1e9).round() as u64)
    }

    /// Whether all messages are due at one instant.
    pub fn is_at_once(&self) -> bool {
        self.every.first().is_some_and(Duration::is_zero)
    }

    /// Messages per second of one device, in the long run; infinite if all are due at once.
    pub fn per_second(&self) -> f64 {
        let cycle: Duration = self.every.iter().sum();
        let grid = if self.every.is_empty() { 0.0 } else { self.every.len() as f64 / cycle.as_secs_f64() };
        grid + self.on_change.map_or(0.0, |change| {
            let burst = change.gap * change.messages.saturating_sub(1);
            f64::from(change.messages) / (change.every + burst).as_secs_f64()
        })
    }

    /// Expected time from a device's first message to its last of `messages`; zero if all are due at once.
    pub fn span(&self, messages: u64) -> Duration {
        let seconds = messages.saturating_sub(1) as f64 / self.per_second();
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The longest time between two messages that is certain to come up; without a grid there is none.
    pub fn longest_gap(&self) -> Duration {
        self.every.iter().max().copied().unwrap_or(Duration::MAX)
    }

    /// The due instants of device `n` of `population`, never decreasing and without end.
    pub fn instants(self: &Arc<Self>, seed: u64, population: &str, n: u64) -> Instants {
        let draws = |purpose| rng::stream(seed, population, n, purpose).bits();
        let grid = (!self.every.is_empty()).then(|| {
            let cycle = self.every.iter().map(|every| nanos(*every)).fold(0, u64::saturating_add);
            let drawn = match self.offset {
                Offset::Fixed(offset) => Ok(nanos(offset)),
                Offset::Drawn => Err(rng::stream(seed, population, n, Purpose::TelemetryOffset).below(cycle)),
            };
            Grid::new(&self.every, cycle, drawn)
        });
        let mut instants = Instants {
            grid: grid.unwrap_or(Grid { cycle: 0, origin: 0, next: 0 }),
            jitter_seed: draws(Purpose::TelemetryJitter),
            next_on_grid: None,
            change_seed: draws(Purpose::TelemetryChange),
            burst: 0,
            in_burst: 0,
            next_on_change: None,
            rhythm: Arc::clone(self),
        };
        instants.next_on_grid = instants.on_grid();
        instants.next_on_change = instants.rhythm.on_change.map(|change| instants.gap(change));
        instants
    }
}

/// The due instants of one device's messages; see [`Rhythm::instants`].
#[derive(Debug, Clone)]
pub struct Instants {
    rhythm: Arc<Rhythm>,
    grid: Grid,
    jitter_seed: u64,
    next_on_grid: Option<u64>,
    change_seed: u64,
    burst: u64,
    in_burst: u32,
    next_on_change: Option<u64>,
}

/// Grid instants, computed from their number, so that a long run ends when its schedule says.
#[derive(Debug, Clone)]
struct Grid {
    /// Nanoseconds of one round of the times between messages.
    cycle: u64,
    /// Added to the sum of all times before an instant; wraps below zero where the first round has begun before the device.
    origin: u64,
    /// Number of the next instant, from the beginning of the first round.
    next: u64,
}

impl Grid {
    /// * `offset`: `Ok` of the first instant itself, or `Err` of a phase in [0, cycle): the grid goes on as if it had begun
    ///   long before, so that a fleet sends as much in its first minute as in any other
    fn new(every: &[Duration], cycle: u64, offset: Result<u64, u64>) -> Self {
        let phase = match offset {
            Ok(first) => return Self { cycle, origin: first, next: 0 },
            Err(phase) => phase,
        };
        let mut before = 0u64;
        for (position, every) in every.iter().enumerate() {
            if let Some(beyond) = (before + phase).checked_sub(cycle)
                && cycle > 0
            {
                // This is the first instant of the round that is not over yet.
                return Self { cycle, origin: beyond.wrapping_sub(before), next: position as u64 };
            }
            before = before.saturating_add(nanos(*every));
        }
        Self { cycle, origin: phase, next: 0 }
    }

    fn due(&self, every: &[Duration]) -> u64 {
        let length = every.len() as u64;
        let before: u64 = every[..(self.next % length) as usize].iter().map(|every| nanos(*every)).sum();
        let rounds = self.cycle.saturating_mul(self.next / length);
        let sum = rounds.saturating_add(before);
        if self.origin > i64::MAX as u64 {
            sum.wrapping_add(self.origin)
        } else {
            sum.saturating_add(self.origin)
        }
    }
}

impl Instants {
    /// When the next message on the grid is due, moved by its jitter.
    fn on_grid(&self) -> Option<u64> {
        if self.rhythm.every.is_empty() {
            return None;
        }
        let due = self.grid.due(&self.rhythm.every);
        let jitter = nanos(self.rhythm.jitter);
        if jitter == 0 {
            return Some(due);
        }
        let mut draws = rng::stream(self.jitter_seed, "", self.grid.next, Purpose::TelemetryJitter);
        Some(due.saturating_add(draws.below(2 * jitter + 1)).saturating_sub(jitter))
    }

    /// Time until the next burst begins.
    fn gap(&self, change: OnChange) -> u64 {
        let mut draws = rng::stream(self.change_seed, "", self.burst, Purpose::TelemetryChange);
        (draws.exponential() * change.every.as_secs_f64() * 1e9) as u64
    }
}

impl Iterator for Instants {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = match (self.next_on_grid, self.next_on_change, self.rhythm.on_change) {
            (grid, Some(due), Some(change)) if grid.is_none_or(|grid| due < grid) => {
                self.in_burst += 1;
                let after = if self.in_burst < change.messages {
                    nanos(change.gap)
                } else {
                    self.in_burst = 0;
                    self.burst += 1;
                    self.gap(change)
                };
                self.next_on_change = Some(due.saturating_add(after));
                due
            }
            (Some(due), ..) => {
                self.grid.next += 1;
                self.next_on_grid = self.on_grid();
                due
            }
            _ => return None,
        };
        Some(Duration::from_nanos(due))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn every(times: &[u64]) -> Rhythm {
        Rhythm {
            every: times.iter().map(|millis| Duration::from_millis(*millis)).collect(),
            jitter: Duration::ZERO,
            offset: Offset::Drawn,
            on_change: None,
        }
    }

    fn millis(rhythm: Rhythm, n: u64, count: usize) -> Vec<u128> {
        Arc::new(rhythm).instants(7, "sensors", n).take(count).map(|due| due.as_millis()).collect()
    }

    #[test]
    fn a_rate_of_the_fleet_is_another_way_to_write_the_interval() {
        let rate = "50/s".parse().expect("a rate");
        assert_eq!(Rhythm::interval_of_fleet_rate(rate, 200), Duration::from_secs(4));
    }

    #[test]
    fn an_interval_of_zero_makes_every_message_due_at_once() {
        assert_eq!(millis(every(&[0]), 3, 10), [0; 10]);
        assert!(every(&[0]).is_at_once() && every(&[0]).per_second().is_infinite());
        assert_eq!(every(&[0]).span(10), Duration::ZERO);
    }

    #[test]
    fn a_list_of_times_is_taken_in_turn_from_a_fixed_offset() {
        let rhythm = Rhythm { offset: Offset::Fixed(Duration::from_secs(5)), ..every(&[10, 10, 40]) };
        assert_eq!(millis(rhythm, 0, 7), [5_000, 5_010, 5_020, 5_060, 5_070, 5_080, 5_120]);
    }

    #[test]
    fn a_fleet_sends_as_much_in_its_first_round_as_in_any_other() {
        let rhythm = Arc::new(every(&[100, 200, 700]));
        let mut rounds = [0u32; 5];
        let mut halves = [0u32; 2];
        for n in 0..2_000 {
            for due in rhythm
                .instants(7, "sensors", n)
                .map(|due| due.as_millis() as usize)
                .take_while(|due| *due < 5_000)
            {
                rounds[due / 1_000] += 1;
                if due < 1_000 {
                    halves[due / 500] += 1;
                }
            }
        }
        assert_eq!(rounds, [6_000; 5]);
        assert!(halves[0].abs_diff(halves[1]) < 300, "{halves:?}");
    }

    #[test]
    fn bursts_come_at_exponential_gaps_with_their_messages_close_together() {
        let change =
            OnChange { every: Duration::from_secs(10), messages: 3, gap: Duration::from_millis(200) };
        let rhythm = Rhythm { on_change: Some(change), ..every(&[]) };
        assert!((rhythm.per_second() - 3.0 / 10.4).abs() < 1e-12);
        let instants = millis(rhythm, 0, 30_000);
        for burst in instants.chunks(3) {
            assert_eq!((burst[1] - burst[0], burst[2] - burst[1]), (200, 200));
        }
        let gaps: Vec<u128> =
            instants.chunks(3).zip(instants.chunks(3).skip(1)).map(|(a, b)| b[0] - a[2]).collect();
        let mean = gaps.iter().sum::<u128>() as f64 / gaps.len() as f64;
        assert!((mean - 10_000.0).abs() < 400.0, "{mean}");
        let beyond = gaps.iter().filter(|gap| **gap > 10_000).count() as f64 / gaps.len() as f64;
        assert!((beyond - (-1.0f64).exp()).abs() < 0.02, "{beyond}");
    }

    #[test]
    fn a_grid_and_bursts_are_merged_in_order() {
        let change = OnChange { every: Duration::from_secs(1), messages: 2, gap: Duration::from_millis(300) };
        let both = Rhythm { on_change: Some(change), ..every(&[500]) };
        let (grid, bursts) = (every(&[500]), Rhythm { on_change: Some(change), ..every(&[]) });
        let mut separate = [millis(grid, 4, 400), millis(bursts, 4, 400)].concat();
        separate.sort_unstable();
        assert_eq!(millis(both, 4, 300), separate[..300]);
    }

    proptest! {
        #[test]
        fn messages_stay_on_their_grid_and_in_order(seed: u64, n in 0u64..1_000_000, times in prop::collection::vec(2u64..100_000, 1..5), fixed: bool) {
            let plain = Rhythm { offset: if fixed { Offset::Fixed(Duration::from_secs(1)) } else { Offset::Drawn }, ..every(&times) };
            let jitter = plain.every.iter().min().copied().unwrap_or_default() / 2;
            let moved = Rhythm { jitter, ..plain.clone() };
            let cycle: Duration = plain.every.iter().sum();
            let nominal: Vec<Duration> = Arc::new(plain).instants(seed, "sensors", n).take(20).collect();
            let due: Vec<Duration> = Arc::new(moved).instants(seed, "sensors", n).take(20).collect();
            if !fixed {
                prop_assert!(nominal[0] < cycle);
            }
            for (at, next) in nominal.iter().zip(nominal.iter().skip(times.len())) {
                prop_assert_eq!(*at + cycle, *next);
            }
            for (due, nominal) in due.iter().zip(&nominal) {
                prop_assert!(*due <= *nominal + jitter && *due + jitter >= *nominal);
            }
            prop_assert!(due.is_sorted() && nominal.is_sorted());
        }

        #[test]
        fn no_times_make_the_instants_panic_or_go_back(every in prop::collection::vec(0u64..=31_622_400_000_000_000, 0..4), offset in 0u64..=31_622_400_000_000_000, change in prop::option::of((1u64..1_000_000_000_000, 1u32..9, 0u64..1_000_000_000)), seed: u64) {
            let rhythm = Rhythm {
                every: every.into_iter().map(Duration::from_nanos).collect(),
                jitter: Duration::ZERO,
                offset: if offset % 2 == 0 { Offset::Drawn } else { Offset::Fixed(Duration::from_nanos(offset)) },
                on_change: change.map(|(every, messages, gap)| OnChange { every: Duration::from_nanos(every), messages, gap: Duration::from_nanos(gap) }),
            };
            let instants: Vec<Duration> = Arc::new(rhythm).instants(seed, "x", 0).take(1_000).collect();
            prop_assert!(instants.is_sorted());
        }
    }
}
