//! When devices start.

use std::sync::Arc;
use std::time::Duration;

use crate::rng::{self, Purpose, Stream};
use crate::units::Rate;

/// The shape of a population's starts.
///
/// Where a start can be computed from the device's number it is, so that no rounding piles up; instants that are drawn
/// come from one stream of the population, which every thread and shard walks alike.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// Evenly: device n at n / rate.
    Rate(Rate),
    /// From one rate to another, linearly over a time; then at the second rate.
    Ramp {
        /// Starts per second at the beginning.
        from: Rate,
        /// Starts per second from `over` on.
        to: Rate,
        /// How long the change takes; above 0.
        over: Duration,
    },
    /// From one rate to another in steps; then at the second rate.
    Staircase {
        /// Starts per second on the first stair.
        from: Rate,
        /// Starts per second on the last, which has no end.
        to: Rate,
        /// By how much the rate of a stair differs from the one before, towards `to`; above 0.
        step: Rate,
        /// How long each stair lasts; above 0.
        every: Duration,
    },
    /// As independent devices come: gaps are exponential.
    Poisson(Rate),
    /// All at once.
    Burst {
        /// When, on the run clock.
        at: Duration,
    },
    /// At given instants.
    Trace(Trace),
}

/// Instants on the run clock, ascending, in nanoseconds: 8 bytes are held for each device.
#[derive(Clone, PartialEq)]
pub struct Trace(Arc<Vec<u64>>);

impl Trace {
    /// Keeps `instants`; `None` if they are not in ascending order.
    pub fn new(instants: Vec<u64>) -> Option<Self> {
        // Kept as they came: to copy them would take the memory twice.
        instants.is_sorted().then(|| Self(Arc::new(instants)))
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trace({} instants, the last at {:?} ns)", self.0.len(), self.0.last())
    }
}

/// The starts of one population: its shape, how many devices, and where the chance comes from.
#[derive(Debug, Clone, Copy)]
pub struct Starts<'a> {
    /// The shape.
    pub arrival: &'a Arrival,
    /// How many devices.
    pub count: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Name of the population.
    pub population: &'a str,
}

/// The instants of a population, in the order of its devices.
#[derive(Debug, Clone)]
pub struct Instants<'a> {
    arrival: &'a Arrival,
    count: u64,
    next: u64,
    /// For drawn instants: the last one and the stream of the gaps.
    drawn: (u64, Stream),
}

/// Up to so many drawn instants are looked at one by one when a question is about all of them; beyond, the answer is
/// the expected value, which at that size is as good (one in a thousand off). A scenario may ask for each of 100 fleets.
const WALKED: u64 = 1_000_000;

impl<'a> Starts<'a> {
    /// Each device's start on the run clock; never decreasing.
    pub fn instants(self) -> Instants<'a> {
        Instants {
            arrival: self.arrival,
            count: self.count,
            next: 0,
            drawn: (0, rng::stream(self.seed, self.population, 0, Purpose::Arrival)),
        }
    }

    /// The starts of about `size` devices, spread evenly over all, in order; expected instants for more drawn ones than are
    /// walked.
    pub fn sample(self, size: u64) -> Box<dyn Iterator<Item = Duration> + 'a> {
        let step = usize::try_from((self.count / size.max(1)).max(1)).unwrap_or(usize::MAX);
        match self.arrival {
            Arrival::Poisson(_) if self.count > WALKED => {
                Box::new((0..self.count).step_by(step).map(|n| self.arrival.computed(n)))
            }
            _ => Box::new(self.instants().step_by(step)),
        }
    }

    /// How many devices have started by `at`, that instant included.
    pub fn started_by(self, at: Duration) -> u64 {
        if let Arrival::Poisson(rate) = self.arrival {
            if self.count > WALKED {
                return ((at.as_secs_f64() * rate.per_second()) as u64).min(self.count);
            }
            return self.instants().take_while(|due| *due <= at).count() as u64;
        }
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.arrival.computed(middle) <= at { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// When the last device starts; the expected instant for more drawn ones than are walked.
    pub fn last(self) -> Duration {
        let last = self.count.saturating_sub(1);
        match self.arrival {
            Arrival::Poisson(rate) if self.count > WALKED => nanos(self.count as f64 / rate.per_second()),
            Arrival::Poisson(_) => self.instants().last().unwrap_or_default(),
            computed => computed.computed(last),
        }
    }

    /// The most devices that start within a window of length `window`, both its ends included, none later than `end`.
    pub fn most_within(self, window: Duration, end: Option<Duration>) -> u64 {
        let count = end.map_or(self.count, |end| self.started_by(end));
        let all = Self { count, ..self };
        if count == 0 {
            return 0;
        }
        match self.arrival {
            Arrival::Poisson(rate) if count > WALKED => {
                ((window.as_secs_f64() * rate.per_second()) as u64).clamp(1, count)
            }
            Arrival::Poisson(_) | Arrival::Trace(_) => {
                // Two walks, the second `window` behind the first.
                let (mut first, mut most) = (all.instants().enumerate().peekable(), 0);
                for (last, due) in all.instants().enumerate() {
                    while first.next_if(|(_, start)| due - *start > window).is_some() {}
                    let from = first.peek().map_or(last, |(from, _)| *from);
                    most = most.max(last - from + 1);
                }
                most as u64
            }
            // All others are steepest at their beginning or at their end, so those two windows are looked at.
            _ => {
                let tick = Duration::from_nanos(1);
                let before = self.arrival.computed(count - 1).checked_sub(window.saturating_add(tick));
                let at_end = count - before.map_or(0, |before| all.started_by(before));
                all.started_by(window).max(at_end)
            }
        }
    }
}

impl Iterator for Instants<'_> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.nth(0)
    }

    /// Cheap for computed instants; drawn ones are walked, as the draws of one device shift all that follow.
    fn nth(&mut self, skipped: usize) -> Option<Duration> {
        let n = self.next.checked_add(skipped as u64).filter(|n| *n < self.count);
        let Some(n) = n else {
            self.next = self.count;
            return None;
        };
        let Arrival::Poisson(rate) = self.arrival else {
            self.next = n + 1;
            return Some(self.arrival.computed(n));
        };
        let (at, gaps) = &mut self.drawn;
        while self.next <= n {
            *at = at.saturating_add((gaps.exponential() / rate.per_second() * 1e9).round() as u64);
            self.next += 1;
        }
        Some(Duration::from_nanos(*at))
    }
}

impl Arrival {
    /// When device `n` (from 0) starts, for shapes that are computed; the expected instant for drawn ones.
    fn computed(&self, n: u64) -> Duration {
        let number = n as f64;
        nanos(match self {
            Self::Rate(rate) | Self::Poisson(rate) => number / rate.per_second(),
            Self::Ramp { from, to, over } => {
                let (from, to, over) = (from.per_second(), to.per_second(), over.as_secs_f64());
                let during = (from + to) / 2.0 * over;
                if number >= during {
                    over + (number - during) / to
                } else {
                    // Solves from·t + (to−from)/(2·over)·t² = n in the form that stays exact when from ≈ to.
                    let slope = (to - from) / over;
                    2.0 * number / (from + (from * from + 2.0 * slope * number).max(0.0).sqrt())
                }
            }
            Self::Staircase { from, to, step, every } => {
                staircase(number, from.per_second(), to.per_second(), step.per_second(), every.as_secs_f64())
            }
            Self::Burst { at } => return *at,
            Self::Trace(Trace(instants)) => {
                let last = instants.len().saturating_sub(1);
                let at = usize::try_from(n).unwrap_or(last).min(last);
                return Duration::from_nanos(instants.get(at).copied().unwrap_or_default());
            }
        })
    }
}

/// When number `n` starts on a staircase of rates, in seconds.
fn staircase(n: f64, from: f64, to: f64, step: f64, every: f64) -> f64 {
    let signed = if to < from { -step } else { step };
    let stairs = ((to - from).abs() / step).ceil() as u64;
    // Starts before stair i: every × (i·from + step·i(i−1)/2).
    let before = |i: u64| every * (i as f64 * from + signed * (i as f64 * (i as f64 - 1.0) / 2.0));
    let (mut low, mut high) = (0, stairs);
    while low < high {
        let middle = high - (high - low) / 2;
        if before(middle) <= n { low = middle } else { high = middle - 1 }
    }
    let rate = if low == stairs { to } else { from + signed * low as f64 };
    low as f64 * every + (n - before(low)) / rate
}

/// Whole nanoseconds; a start beyond the longest duration is never reached anyway.
fn nanos(seconds: f64) -> Duration {
    Duration::from_nanos((seconds * 1e9).round().min(u64::MAX as f64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(per_second: f64) -> Rate {
        Rate::new(per_second).expect("a legal rate")
    }

    fn starts(arrival: &Arrival, count: u64) -> Starts<'_> {
        Starts { arrival, count, seed: 7, population: "sensors" }
    }

    #[test]
    fn the_ramp_of_the_design_starts_its_4000th_device_at_91_7_s() {
        let ramp = Arrival::Ramp { from: rate(10.0), to: rate(60.0), over: Duration::from_secs(60) };
        let instants: Vec<Duration> = starts(&ramp, 4_000).instants().collect();
        assert_eq!(instants.len(), 4_000);
        assert_eq!((instants[0], instants[2_100]), (Duration::ZERO, Duration::from_secs(60)));
        assert_eq!(starts(&ramp, 4_000).last().as_millis(), 91_650);
    }

    #[test]
    fn a_rate_starts_exactly_its_number_of_devices_in_each_second() {
        let arrival = Arrival::Rate(rate(100.0));
        assert_eq!(starts(&arrival, 101).last(), Duration::from_secs(1));
        assert_eq!(starts(&arrival, 360_001).last(), Duration::from_secs(3_600));
        assert_eq!(starts(&arrival, 30).last(), Duration::from_millis(290));
        let within = |second: u64| {
            let from = Duration::from_secs(second);
            starts(&arrival, 1_000)
                .instants()
                .filter(|due| (from..from + Duration::from_secs(1)).contains(due))
                .count()
        };
        assert!((0..10).all(|second| within(second) == 100));
    }

    #[test]
    fn a_staircase_climbs_stair_by_stair_and_ends_when_its_area_says() {
        let stairs = Arrival::Staircase {
            from: rate(10.0),
            to: rate(30.0),
            step: rate(10.0),
            every: Duration::from_secs(60),
        };
        // 600 in the first minute, 1,200 in the second, then 30 a second.
        let at = |n: usize| starts(&stairs, 10_000).instants().nth(n).expect("a device");
        assert_eq!((at(0), at(599)), (Duration::ZERO, Duration::from_millis(59_900)));
        assert_eq!((at(600), at(1_800)), (Duration::from_secs(60), Duration::from_secs(120)));
        assert_eq!(at(1_800 + 300), Duration::from_secs(130));
        let down = Arrival::Staircase {
            from: rate(30.0),
            to: rate(5.0),
            step: rate(20.0),
            every: Duration::from_secs(10),
        };
        // 30/s, 10/s, and 5/s from 20 s on.
        let at = |n: usize| starts(&down, 1_000).instants().nth(n).expect("a device");
        assert_eq!(
            (at(300), at(400), at(405)),
            (Duration::from_secs(10), Duration::from_secs(20), Duration::from_secs(21))
        );
    }

    #[test]
    fn the_gaps_of_poisson_starts_are_exponential() {
        let poisson = Arrival::Poisson(rate(100.0));
        let instants: Vec<Duration> = starts(&poisson, 100_000).instants().collect();
        let mut gaps: Vec<f64> =
            instants.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 100.0).collect();
        gaps.sort_by(f64::total_cmp);
        // Kolmogorov-Smirnov against 1 − e^−x; 1.95 / √n is the bound that one sample in a thousand passes.
        let n = gaps.len() as f64;
        let distance = gaps
            .iter()
            .enumerate()
            .map(|(i, gap)| ((1.0 - (-gap).exp()) - i as f64 / n).abs())
            .fold(0.0, f64::max);
        assert!(distance < 1.95 / n.sqrt(), "{distance}");
        assert_ne!(starts(&poisson, 5).last(), Starts { seed: 8, ..starts(&poisson, 5) }.last());
        assert_eq!(starts(&poisson, 5).last(), instants[4]);
    }

    #[test]
    fn the_busiest_window_is_found_wherever_it_is() {
        let most = |arrival: &Arrival, window: u64, count| {
            starts(arrival, count).most_within(Duration::from_secs(window), None)
        };
        let up = Arrival::Ramp { from: rate(10.0), to: rate(60.0), over: Duration::from_secs(60) };
        assert_eq!(most(&up, 10, 4_000), 601);
        let down = Arrival::Ramp { from: rate(60.0), to: rate(10.0), over: Duration::from_secs(60) };
        assert!(most(&down, 1, 4_000) >= 60);
        assert_eq!(most(&Arrival::Burst { at: Duration::ZERO }, 0, 500), 500);
        let steady = Arrival::Rate(rate(100.0));
        assert_eq!(starts(&steady, 1_000).most_within(Duration::MAX, Some(Duration::from_secs(5))), 501);
        let seconds = |list: &[u64]| list.iter().map(|s| s * 1_000_000_000).collect::<Vec<u64>>();
        let trace = Arrival::Trace(Trace::new(seconds(&[0, 1, 50, 51, 52, 53, 90])).expect("ascending"));
        assert_eq!((most(&trace, 3, 7), most(&trace, 0, 7), most(&trace, 1_000, 7)), (4, 1, 7));
        let poisson = Arrival::Poisson(rate(100.0));
        assert!((100..150).contains(&most(&poisson, 1, 10_000)));
    }

    #[test]
    fn instants_that_go_back_in_time_are_no_trace() {
        assert_eq!(Trace::new(vec![1, 3, 2]), None);
        let trace = Arrival::Trace(Trace::new(vec![1, 1, 5]).expect("ascending"));
        let instants: Vec<u128> = starts(&trace, 3).instants().map(|due| due.as_nanos()).collect();
        assert_eq!(instants, [1, 1, 5]);
        assert_eq!(starts(&trace, 3).started_by(Duration::from_nanos(1)), 2);
    }

    fn shapes() -> impl Strategy<Value = Arrival> {
        let rates = || (0.1f64..1e4).prop_map(rate);
        let spans = || (1u64..600_000).prop_map(Duration::from_millis);
        prop_oneof![
            rates().prop_map(Arrival::Rate),
            (rates(), rates(), spans()).prop_map(|(from, to, over)| Arrival::Ramp { from, to, over }),
            (rates(), rates(), rates(), spans()).prop_map(|(from, to, step, every)| Arrival::Staircase {
                from,
                to,
                step,
                every
            }),
            rates().prop_map(Arrival::Poisson),
            spans().prop_map(|at| Arrival::Burst { at }),
            prop::collection::vec(0u64..1_000_000_000_000, 300).prop_map(|mut instants| {
                instants.sort_unstable();
                Arrival::Trace(Trace::new(instants).expect("sorted"))
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_shape_starts_each_device_once_in_order_and_ends_with_the_last(arrival in shapes(), count in 1u64..300) {
            let starts = starts(&arrival, count);
            let instants: Vec<Duration> = starts.instants().collect();
            prop_assert_eq!(instants.len() as u64, count);
            prop_assert!(instants.is_sorted());
            prop_assert_eq!(instants.last().copied(), Some(starts.last()));
            prop_assert_eq!(starts.started_by(starts.last()), count);
            let (middle, window) = (instants[instants.len() / 2], instants[instants.len() - 1] / 3);
            prop_assert_eq!(starts.started_by(middle), instants.iter().filter(|due| **due <= middle).count() as u64);
            let most = instants.iter().map(|from| instants.iter().filter(|due| **due >= *from && **due - *from <= window).count()).max();
            // Rounding to nanoseconds may put one more into a window that is not looked at.
            let (most, found) = (most.unwrap_or(0) as u64, starts.most_within(window, None));
            prop_assert!(found == most || found + 1 == most, "{} of {}", found, most);
        }

        #[test]
        fn shards_see_the_same_instants(arrival in shapes(), count in 1u64..300, shards in 1usize..9) {
            let whole: Vec<Duration> = starts(&arrival, count).instants().collect();
            let mut together = vec![None; whole.len()];
            for shard in 0..shards {
                let own = starts(&arrival, count).instants().skip(shard).step_by(shards);
                for (due, slot) in own.zip(together.iter_mut().skip(shard).step_by(shards)) {
                    *slot = Some(due);
                }
            }
            prop_assert_eq!(together, whole.into_iter().map(Some).collect::<Vec<_>>());
        }

        #[test]
        fn a_ramp_starts_as_many_devices_as_the_area_under_it(from in 0.1f64..1e3, to in 0.1f64..1e3, over in 1u64..600, at in 0.0f64..1.0) {
            let ramp = Arrival::Ramp { from: rate(from), to: rate(to), over: Duration::from_secs(over) };
            let (over, at) = (over as f64, at * over as f64);
            let area = from * at + (to - from) / (2.0 * over) * at * at;
            let n = area.floor() as u64;
            prop_assert!(ramp.computed(n).as_secs_f64() <= at + 1e-6);
            prop_assert!(ramp.computed(n + 1).as_secs_f64() >= at - 1e-6);
        }

        #[test]
        fn a_staircase_starts_as_many_devices_as_the_area_under_it(from in 1u32..500, to in 1u32..500, step in 1u32..200, every in 1u64..100, stairs in 1u64..20) {
            let arrival = Arrival::Staircase {
                from: rate(f64::from(from)), to: rate(f64::from(to)), step: rate(f64::from(step)), every: Duration::from_secs(every),
            };
            let mut area = 0u64;
            let mut current = i64::from(from);
            for _ in 0..stairs {
                area += current as u64 * every;
                let (to, step) = (i64::from(to), i64::from(step));
                current = if current < to { (current + step).min(to) } else { (current - step).max(to) };
            }
            // All numbers are whole, so the end is exact.
            prop_assert_eq!(arrival.computed(area), Duration::from_secs(every * stairs));
        }
    }
}
