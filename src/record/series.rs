//! What happened when: counters and response times by interval of the run clock.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::counts::Counts;
use super::durations::{INTERVAL_DIGITS, with_digits};
use crate::step::StepKind;

/// Response times of an interval at 2 digits, as a list of the buckets that hold any.
///
/// A whole histogram has 26 KB and an interval fills a few hundred bytes of it; a run has up to 512 intervals for each
/// population and kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Buckets(Vec<(u64, u64)>);

impl Buckets {
    /// The filled buckets of `histogram`: the highest value of each, in microseconds, and its count.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self(histogram.iter_recorded().map(|b| (b.value_iterated_to(), b.count_at_value())).collect())
    }

    /// The histogram that these are the buckets of; `None` if they are empty.
    pub fn to_histogram(&self) -> Option<Histogram<u64>> {
        if self.0.is_empty() {
            return None;
        }
        let mut histogram = with_digits(INTERVAL_DIGITS);
        self.0.iter().for_each(|(value, count)| histogram.saturating_record_n(*value, *count));
        Some(histogram)
    }

    /// Durations in all buckets.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The duration of quantile `q` (0 ..= 1) of those held, to two digits; `None` if there are none.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        self.at_rank(((q * self.count() as f64).ceil() as u64).max(1))
    }

    /// The value of the given rank in ascending order, from 1; `None` if there are fewer.
    pub fn at_rank(&self, rank: u64) -> Option<Duration> {
        let mut seen = 0u64;
        let (value, _) = self.0.iter().find(|(_, count)| {
            seen = seen.saturating_add(*count);
            seen >= rank
        })?;
        Some(Duration::from_micros(*value))
    }

    /// Mean, exact to the width of a bucket; `None` if it holds nothing.
    pub fn mean(&self) -> Option<Duration> {
        let sum: f64 = self.0.iter().map(|(value, count)| *value as f64 * *count as f64).sum();
        (self.count() > 0).then(|| Duration::from_nanos((sum / self.count() as f64 * 1e3) as u64))
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (value, count) in &other.0 {
            match self.0.binary_search_by_key(value, |(value, _)| *value) {
                Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(*count),
                Err(at) => self.0.insert(at, (*value, *count)),
            }
        }
    }
}

/// Steps of one kind in an interval. A due step counts in the interval where it became due, an outcome where it was
/// recorded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntervalStep {
    /// How they ended, warm-up included.
    pub counts: Counts,
    /// Response times of the acknowledged ones, warm-up included.
    pub response: Buckets,
    /// The largest lateness.
    pub lateness_max: Duration,
}

impl IntervalStep {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        self.response.merge(&other.response);
        self.lateness_max = self.lateness_max.max(other.lateness_max);
    }
}

/// One population in an interval.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IntervalPopulation {
    /// By [`StepKind::index`].
    pub steps: [IntervalStep; StepKind::COUNT],
    /// Devices that started.
    pub started: u64,
    /// Devices that have nothing left to do.
    pub finished: u64,
    /// Devices connected to their hub at its end less those at its beginning.
    pub connected_change: i64,
}

impl IntervalPopulation {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.steps.iter_mut().zip(&other.steps).for_each(|(to, from)| to.merge(from));
        self.started = self.started.saturating_add(other.started);
        self.finished = self.finished.saturating_add(other.finished);
        self.connected_change = self.connected_change.saturating_add(other.connected_change);
    }

    /// Steps of that kind.
    pub fn step(&self, kind: StepKind) -> &IntervalStep {
        &self.steps[kind.index()]
    }
}

/// What happened in a span of time. Adding the intervals of several threads, or of neighbouring spans, is the same
/// operation: levels (devices connected) are kept as changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Interval {
    /// By index of the population in the plan.
    pub populations: Vec<IntervalPopulation>,
}

impl Interval {
    /// An interval in which nothing happened.
    pub fn new(populations: usize) -> Self {
        Self { populations: vec![IntervalPopulation::default(); populations] }
    }

    /// Adds all of `other`, which may be of another thread or of a later time.
    pub fn merge(&mut self, other: &Self) {
        if self.populations.len() < other.populations.len() {
            self.populations.resize_with(other.populations.len(), IntervalPopulation::default);
        }
        self.populations.iter_mut().zip(&other.populations).for_each(|(to, from)| to.merge(from));
    }

    /// All populations together.
    pub fn total(&self) -> IntervalPopulation {
        let mut total = IntervalPopulation::default();
        self.populations.iter().for_each(|population| total.merge(population));
        total
    }
}

/// A run as a list of intervals: one second each, and when a run has more than [`Series::MAX`] of them, neighbours are
/// folded into one. No total is lost by that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    width_s: u64,
    intervals: Vec<Interval>,
}

impl Default for Series {
    fn default() -> Self {
        Self { width_s: 1, intervals: Vec::new() }
    }
}

impl Series {
    /// The most intervals a run is told in.
    pub const MAX: usize = 512;

    /// Adds what happened in the second that begins `second` seconds after the run clock's zero, on any thread.
    pub fn add(&mut self, second: u64, interval: &Interval) {
        while second / self.width_s >= Self::MAX as u64 {
            self.fold();
        }
        let at = (second / self.width_s) as usize;
        if self.intervals.len() <= at {
            self.intervals.resize_with(at + 1, Interval::default);
        }
        self.intervals[at].merge(interval);
    }

    /// Adds all of `other`, second by second; the result is as coarse as the coarser of both.
    pub fn merge(&mut self, other: &Self) {
        while self.width_s < other.width_s {
            self.fold();
        }
        for (at, interval) in other.intervals.iter().enumerate() {
            self.add((at as u64).saturating_mul(other.width_s), interval);
        }
    }

    /// Puts together what was kept apart in a file.
    ///
    /// * `width_s`: a power of two
    /// * `intervals`: at most [`Self::MAX`]
    pub fn from_parts(width_s: u64, intervals: Vec<Interval>) -> Self {
        Self { width_s: width_s.max(1), intervals }
    }

    /// Length of every interval: a power of two seconds.
    pub fn width(&self) -> Duration {
        Duration::from_secs(self.width_s)
    }

    /// The intervals in order of time, the first beginning at the run clock's zero.
    pub fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// The whole run as one interval.
    pub fn total(&self) -> Interval {
        let mut total = Interval::default();
        self.intervals.iter().for_each(|interval| total.merge(interval));
        total
    }

    /// Makes every interval twice as long.
    pub(crate) fn fold(&mut self) {
        let mut folded = Vec::with_capacity(self.intervals.len().div_ceil(2));
        let mut old = std::mem::take(&mut self.intervals).into_iter();
        while let Some(mut first) = old.next() {
            if let Some(second) = old.next() {
                first.merge(&second);
            }
            folded.push(first);
        }
        self.intervals = folded;
        self.width_s = self.width_s.saturating_mul(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval(due: u64, response_us: u64, connected_change: i64) -> Interval {
        let mut interval = Interval::new(1);
        let mut histogram = with_digits(INTERVAL_DIGITS);
        histogram.saturating_record(response_us);
        let population = &mut interval.populations[0];
        population.connected_change = connected_change;
        population.steps[0].counts.due = due;
        population.steps[0].response = Buckets::of(&histogram);
        interval
    }

    #[test]
    fn a_run_of_a_week_has_no_more_intervals_than_one_of_eight_minutes() {
        let mut series = Series::default();
        for second in [0, 511, 512, 604_799] {
            series.add(second, &interval(1, 10, 0));
        }
        assert!(series.intervals().len() <= Series::MAX);
        assert_eq!(series.width(), Duration::from_secs(2_048));
        assert_eq!(series.total().total().step(StepKind::Register).counts.due, 4);
    }

    #[test]
    fn buckets_become_the_histogram_they_came_from() {
        let mut histogram = with_digits(INTERVAL_DIGITS);
        for value in [0, 1, 300, 70_000, 3_600_000_000] {
            histogram.saturating_record_n(value, 1 + value % 7);
        }
        let buckets = Buckets::of(&histogram);
        let again = buckets.to_histogram().expect("it holds something");
        assert_eq!((Buckets::of(&again), again.len()), (buckets, histogram.len()));
    }

    proptest! {
        #[test]
        fn folding_preserves_every_total_and_the_order_of_adding_is_free(
            events in prop::collection::vec((0u64..5_000, 0u64..100, 0u64..10_000_000, -5i64..5), 0..60),
            split in 0usize..60,
        ) {
            let mut series = Series::default();
            let mut expected = Interval::default();
            for (second, due, us, change) in &events {
                let interval = interval(*due, *us, *change);
                series.add(*second, &interval);
                expected.merge(&interval);
            }
            prop_assert_eq!(series.total(), expected);
            prop_assert!(series.intervals().len() <= Series::MAX);

            let split = split.min(events.len());
            let mut parts = [Series::default(), Series::default()];
            for (index, (second, due, us, change)) in events.iter().enumerate().rev() {
                parts[usize::from(index < split)].add(*second, &interval(*due, *us, *change));
            }
            let [mut left, right] = parts;
            left.merge(&right);
            prop_assert_eq!(left, series);
        }
    }
}
