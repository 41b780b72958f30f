//! Durations seen: a histogram for quantiles, and exact moments beside it.
//!
//! A histogram rounds to its buckets, so its own minimum, maximum and mean are bucket edges. The moments are exact,
//! which makes merging exact as well: shards merged give what one recorder would have given.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Shortest duration that a histogram tells apart from zero, in its unit: 1 µs.
pub const LOW_US: u64 = 1;

/// Longest duration that a histogram holds, in microseconds: 1 h. Longer ones are counted in
/// [`Moments::overflow`] and land in the last bucket.
pub const HIGH_US: u64 = 3_600_000_000;

/// Significant digits of the histograms of a whole run: a bucket is at most 0.1 % wide.
pub const DIGITS: u8 = 3;

/// Significant digits of the histograms of an interval.
pub const INTERVAL_DIGITS: u8 = 2;

/// What is known exactly about a number of durations. In nanoseconds, whatever their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moments {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub sum: u128,
    /// The sum of their squares, in ns². Holds 10^13 durations of an hour; saturates beyond.
    pub sum_of_squares: u128,
    /// The shortest; `u64::MAX` if there is none.
    pub min: u64,
    /// The longest; 0 if there is none.
    pub max: u64,
    /// How many are longer than [`HIGH_US`].
    pub overflow: u64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, sum: 0, sum_of_squares: 0, min: u64::MAX, max: 0, overflow: 0 }
    }
}

impl Moments {
    fn record(&mut self, nanos: u64) {
        let wide = u128::from(nanos);
        self.count += 1;
        self.sum += wide;
        self.sum_of_squares = self.sum_of_squares.saturating_add(wide * wide);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
        self.overflow += u64::from(nanos > HIGH_US * 1_000);
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.sum_of_squares = self.sum_of_squares.saturating_add(other.sum_of_squares);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.overflow = self.overflow.saturating_add(other.overflow);
    }
}

/// A latency read off for all steps that were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Latency {
    /// That long.
    Within(Duration),
    /// Slower than any limit: so many steps have no latency that this rank falls among them.
    Beyond,
}

/// Durations of one sort: histogram of 1 µs to 1 h at 3 digits (188 KB, allocated with the first one) and moments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durations {
    histogram: Option<Box<Histogram<u64>>>,
    moments: Moments,
}

impl Durations {
    /// Takes one more. About 20 ns; allocates the first time only.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.moments.record(nanos);
        self.histogram.get_or_insert_with(empty).saturating_record(to_us(nanos));
    }

    /// Adds all of `other`. Exact, and in any order.
    pub fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
        let Some(theirs) = &other.histogram else { return };
        match &mut self.histogram {
            Some(ours) => ours.add(theirs.as_ref()).expect("all histograms here have the same bounds"),
            None => self.histogram = Some(theirs.clone()),
        }
    }

    /// Puts together what was kept apart in a file.
    ///
    /// # Errors
    /// What is inconsistent: other bounds than these histograms have, or moments of another number of durations.
    pub fn from_parts(histogram: Option<Histogram<u64>>, moments: Moments) -> Result<Self, &'static str> {
        let (held, bounds) = match &histogram {
            Some(h) => (h.len(), (h.low(), h.high(), h.sigfig())),
            None => (0, (LOW_US, HIGH_US, DIGITS)),
        };
        if bounds != (LOW_US, HIGH_US, DIGITS) {
            return Err("the histogram has other bounds than 1 µs to 1 h at 3 digits");
        }
        if held != moments.count {
            return Err("the histogram's buckets do not add up to its count");
        }
        if moments.count > 0 && (moments.min > moments.max || moments.overflow > moments.count) {
            return Err("minimum, maximum and overflow contradict each other");
        }
        let product = |nanos: u64| u128::from(nanos).saturating_mul(u128::from(moments.count));
        if moments.count == 0 && moments != Moments::default()
            || moments.count > 0 && !(product(moments.min)..=product(moments.max)).contains(&moments.sum)
        {
            return Err("the sum does not lie between count × minimum and count × maximum");
        }
        if let Some(histogram) = histogram.as_ref().filter(|_| held > 0) {
            fits(histogram, &moments)?;
        }
        Ok(Self { histogram: histogram.filter(|_| held > 0).map(Box::new), moments })
    }

    /// The histogram, in microseconds; `None` before the first duration.
    pub fn histogram(&self) -> Option<&Histogram<u64>> {
        self.histogram.as_deref()
    }

    /// What is known exactly.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.moments.count
    }

    /// The shortest, exact.
    pub fn min(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.moments.min))
    }

    /// The longest, exact.
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then(|| Duration::from_nanos(self.moments.max))
    }

    /// The mean, exact to the nanosecond.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.moments.sum.checked_div(u128::from(self.count()))?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// The spread around the mean (of these durations, not of a population they were drawn from).
    pub fn standard_deviation(&self) -> Option<Duration> {
        let count = u128::from(self.count());
        if count == 0 {
            return None;
        }
        // n·Σx² − (Σx)² is exact where it fits; a constant therefore has no spread at all.
        let exact = self.moments.sum_of_squares.checked_mul(count).zip(self.moments.sum.checked_pow(2));
        let variance = match exact {
            Some((left, right)) => left.saturating_sub(right) as f64 / (count as f64).powi(2),
            None => {
                let mean = self.moments.sum as f64 / count as f64;
                (self.moments.sum_of_squares as f64 / count as f64 - mean * mean).max(0.0)
            }
        };
        Some(Duration::from_nanos(variance.sqrt().round() as u64))
    }

    /// The duration of that rank, the shortest having rank 1; `None` outside 1 ..= [`Self::count`].
    ///
    /// Off by less than 0.1 % or 1 µs, never outside of [`Self::min`] ..= [`Self::max`].
    pub fn at_rank(&self, rank: u64) -> Option<Duration> {
        let histogram = self.histogram()?;
        if rank == 0 || rank > self.count() {
            return None;
        }
        // Of what overflowed only the longest is known.
        if rank > self.count() - self.moments.overflow || rank == self.count() {
            return self.max();
        }
        let mut seen = 0;
        let bucket = histogram.iter_recorded().find(|bucket| {
            seen += bucket.count_at_value();
            seen >= rank
        })?;
        let nanos = bucket.value_iterated_to().saturating_mul(1_000);
        Some(Duration::from_nanos(nanos.clamp(self.moments.min, self.moments.max)))
    }

    /// The latency that the fraction `q` of `total` steps stays within, when these durations are those of the steps
    /// that succeeded and the others took longer than any limit. `None` if there were no steps.
    ///
    /// * `q`: 0 ..= 1; 1 is the largest
    /// * `total`: all steps that were due; taken as [`Self::count`] if it is smaller
    pub fn quantile(&self, q: f64, total: u64) -> Option<Latency> {
        let total = total.max(self.count());
        if total == 0 {
            return None;
        }
        Some(self.at_rank(rank(q, total)).map_or(Latency::Beyond, Latency::Within))
    }

    /// How many durations are longer than `limit`, to the width of a bucket.
    pub fn longer_than(&self, limit: Duration) -> u64 {
        let Some(histogram) = self.histogram() else { return 0 };
        let limit = to_us(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
        histogram
            .iter_recorded()
            .filter(|bucket| histogram.lowest_equivalent(bucket.value_iterated_to()) > limit)
            .map(|bucket| bucket.count_at_value())
            .sum()
    }
}

/// Whether the moments can be those of the durations in the buckets.
fn fits(histogram: &Histogram<u64>, moments: &Moments) -> Result<(), &'static str> {
    let bucket = |nanos: u64| histogram.lowest_equivalent(to_us(nanos).min(HIGH_US));
    let lowest_of = |us: u64| histogram.lowest_equivalent(us.min(HIGH_US));
    if bucket(moments.min) != lowest_of(histogram.min()) || bucket(moments.max) != lowest_of(histogram.max())
    {
        return Err("minimum or maximum is in no bucket of the histogram");
    }
    if (moments.overflow > 0) != (moments.max > HIGH_US * 1_000) {
        return Err("overflow and maximum contradict each other");
    }
    // How small and how large the sums can be.
    let (mut least, mut most) = ((0u128, 0u128), (0u128, 0u128));
    for recorded in histogram.iter_recorded() {
        let count = u128::from(recorded.count_at_value());
        let us = recorded.value_iterated_to();
        let low = u128::from(histogram.lowest_equivalent(us).saturating_mul(1_000).saturating_sub(500));
        let high = u128::from(us.saturating_mul(1_000).saturating_add(500));
        let add = |sum: &mut u128, value: u128| *sum = sum.saturating_add(value.saturating_mul(count));
        add(&mut least.0, low);
        add(&mut least.1, low.saturating_mul(low));
        add(&mut most.0, high);
        add(&mut most.1, high.saturating_mul(high));
    }
    // Of what overflowed the length is not known.
    let open = moments.overflow > 0;
    let within = |value: u128, least: u128, most: u128| value >= least && (open || value <= most);
    if within(moments.sum, least.0, most.0) && within(moments.sum_of_squares, least.1, most.1) {
        Ok(())
    } else {
        Err("the sums are not those of the durations in the histogram")
    }
}

/// Whether `total` steps are enough for their `q` quantile to say something: p99 needs 100, p99.9 needs 1,000.
pub fn enough_for(q: f64, total: u64) -> bool {
    // The tolerance is for 1 − 0.99, which is a little more than 0.01.
    total > 0 && total as f64 * (1.0 - q) >= 1.0 - 1e-6
}

/// The rank of quantile `q` among `total`: ceil(q × total), within 1 ..= total.
fn rank(q: f64, total: u64) -> u64 {
    let exact = q * total as f64;
    // 0.07 × 100 is 7.000000000000001, and its rank is 7.
    let nearest = exact.round();
    let rank = if (exact - nearest).abs() <= nearest * 1e-12 { nearest } else { exact.ceil() };
    (rank as u64).clamp(1, total)
}

/// A histogram for a whole run.
fn empty() -> Box<Histogram<u64>> {
    Box::new(with_digits(DIGITS))
}

/// A histogram of 1 µs to 1 h with `digits` significant digits: [`DIGITS`] or [`INTERVAL_DIGITS`].
pub(crate) fn with_digits(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(LOW_US, HIGH_US, digits).expect("the bounds are constants and legal")
}

/// To the nearest microsecond.
pub(crate) fn to_us(nanos: u64) -> u64 {
    nanos.saturating_add(500) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(nanos: &[u64]) -> Durations {
        let mut durations = Durations::default();
        nanos.iter().for_each(|n| durations.record(Duration::from_nanos(*n)));
        durations
    }

    #[test]
    fn ranks_are_not_moved_by_rounding_of_fractions() {
        for (q, total, expected) in
            [(0.99, 100, 99), (0.999, 1_000, 999), (0.07, 100, 7), (0.5, 3, 2), (0.0, 5, 1), (1.0, 5, 5)]
        {
            assert_eq!(rank(q, total), expected, "{q} of {total}");
        }
        assert!(enough_for(0.99, 100) && !enough_for(0.99, 99));
        assert!(enough_for(0.999, 1_000) && !enough_for(0.999, 999));
        assert!(!enough_for(0.5, 1) && enough_for(0.5, 2));
    }

    #[test]
    fn steps_without_latency_are_slower_than_any_limit() {
        let answered = of(&[1_000_000; 98]);
        assert_eq!(answered.quantile(0.98, 100), Some(Latency::Within(Duration::from_millis(1))));
        assert_eq!(answered.quantile(0.99, 100), Some(Latency::Beyond));
        assert_eq!(answered.quantile(1.0, 100), Some(Latency::Beyond));
        assert_eq!(Durations::default().quantile(0.5, 0), None);
        assert_eq!(Durations::default().quantile(0.5, 7), Some(Latency::Beyond));
    }

    #[test]
    fn a_duration_beyond_the_histogram_is_counted_and_keeps_its_length() {
        let long = of(&[1_000, 7_200_000_000_000]);
        assert_eq!(long.moments().overflow, 1);
        assert_eq!(long.max(), Some(Duration::from_secs(7_200)));
        assert_eq!(long.quantile(1.0, 2), Some(Latency::Within(Duration::from_secs(7_200))));
    }

    #[test]
    fn a_constant_has_no_spread_and_its_quantiles_are_exact() {
        let constant = of(&[1_234_567; 1_000]);
        assert_eq!(constant.standard_deviation(), Some(Duration::ZERO));
        assert_eq!(constant.mean(), Some(Duration::from_nanos(1_234_567)));
        assert_eq!(constant.quantile(0.5, 0), Some(Latency::Within(Duration::from_nanos(1_234_567))));
    }

    #[test]
    fn parts_that_contradict_each_other_are_refused() {
        let good = of(&[5_000, 9_000]);
        let histogram = || good.histogram().cloned();
        assert_eq!(Durations::from_parts(histogram(), *good.moments()).as_ref(), Ok(&good));
        let wrong = |change: fn(&mut Moments)| {
            let mut moments = *good.moments();
            change(&mut moments);
            Durations::from_parts(histogram(), moments).is_err()
        };
        assert!(wrong(|m| m.count = 3));
        assert!(wrong(|m| m.sum = 1));
        assert!(wrong(|m| m.min = 10_000));
        assert!(wrong(|m| m.overflow = 3));
        assert!(wrong(|m| m.max += 1_000));
        assert!(wrong(|m| m.min -= 1_000));
        assert!(wrong(|m| m.sum += 2_000));
        assert!(wrong(|m| m.sum_of_squares *= 2));
        assert!(wrong(|m| m.overflow = 1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_quantile_is_within_a_bucket_of_the_sorted_raw_sample(
            mut nanos in prop::collection::vec(0u64..3_600_000_000_000, 1..200),
            scale in 1u64..1_000_000,
            lost in 0u64..20,
            q in 0.0f64..=1.0,
        ) {
            nanos.iter_mut().for_each(|n| *n /= scale);
            let durations = of(&nanos);
            nanos.sort_unstable();
            let total = nanos.len() as u64 + lost;
            let rank = ((q * total as f64).ceil() as usize).max(1);
            match durations.quantile(q, total) {
                Some(Latency::Within(found)) => {
                    let raw = nanos[rank - 1] as f64;
                    let found = found.as_nanos() as f64;
                    prop_assert!((found - raw).abs() <= (raw * 0.001).max(1_000.0), "{found} for {raw}");
                }
                Some(Latency::Beyond) => prop_assert!(rank > nanos.len()),
                None => prop_assert!(false, "there were steps"),
            }
        }

        #[test]
        fn parts_of_whatever_was_recorded_fit_each_other(
            nanos in prop::collection::vec((0u64..8_000_000_000_000, 0u32..44), 0..60),
        ) {
            let durations = of(&nanos.iter().map(|(nanos, shift)| nanos >> shift).collect::<Vec<_>>());
            let again = Durations::from_parts(durations.histogram().cloned(), *durations.moments());
            prop_assert_eq!(again, Ok(durations));
        }

        #[test]
        fn counting_above_a_limit_agrees_with_the_raw_samples(
            micros in prop::collection::vec(0u64..2_000, 0..100), limit in 0u64..2_000,
        ) {
            // Below 2048 µs a bucket is one microsecond wide.
            let durations = of(&micros.iter().map(|us| us * 1_000).collect::<Vec<_>>());
            let expected = micros.iter().filter(|us| **us > limit).count() as u64;
            prop_assert_eq!(durations.longer_than(Duration::from_micros(limit)), expected);
        }
    }
}
