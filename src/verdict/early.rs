//! Thresholds that end a run before its time.
//!
//! Once a second, what has ended so far is held against them. A threshold ends the run when it has been crossed for its
//! `abort_after` without a break: early failures that later successes outweigh do not. Latencies are those of the
//! intervals, which are exact to 1 %; the verdict at the end is by the exact figures.

use std::time::Duration;

use super::count_of;
use crate::plan::threshold::{Ending, Metric, Statistic, Threshold};
use crate::record::{Buckets, Interval, IntervalPopulation, IntervalStep};
use crate::step::StepKind;

/// The thresholds of a run that may end it early, and what they have seen.
#[derive(Debug)]
pub struct Early {
    watched: Vec<Watched>,
    /// Everything since the run began, and what belongs to sends only from the end of the warm-up on.
    seen: Interval,
    warm_up: Duration,
}

#[derive(Debug)]
struct Watched {
    threshold: Threshold,
    patience: Duration,
    /// The second at whose end it was first seen crossed, in the present stretch.
    since: Option<u64>,
}

impl Early {
    /// Watches those of `thresholds` that have an `abort_after`.
    ///
    /// * `warm_up`: sends due earlier are not looked at
    pub fn new(thresholds: &[Threshold], warm_up: Duration) -> Self {
        let watched = thresholds.iter().filter_map(|threshold| {
            let patience = threshold.abort_after?;
            Some(Watched { threshold: threshold.clone(), patience, since: None })
        });
        Self { watched: watched.collect(), seen: Interval::default(), warm_up }
    }

    /// Takes the interval that ended at `second` of the run clock. Gives the text of a threshold that ends the run.
    pub fn second(&mut self, second: u64, interval: &Interval) -> Option<String> {
        if self.watched.is_empty() {
            return None;
        }
        let mut interval = interval.clone();
        if Duration::from_secs(second.saturating_sub(1)) < self.warm_up {
            for population in &mut interval.populations {
                population.steps[StepKind::Send.index()] = IntervalStep::default();
            }
        }
        self.seen.merge(&interval);
        let total = self.seen.total();
        for watched in &mut self.watched {
            let of = match watched.threshold.population {
                None => Some(&total),
                Some(index) => self.seen.populations.get(index),
            };
            let value = of.map_or(f64::NAN, |of| observe(watched.threshold.metric, of, second, self.warm_up));
            // Without samples nothing is crossed yet.
            if value.is_nan() || watched.threshold.comparison.holds(value, watched.threshold.limit) {
                watched.since = None;
                continue;
            }
            let since = *watched.since.get_or_insert(second);
            if Duration::from_secs(second - since) >= watched.patience {
                return Some(watched.threshold.text.clone());
            }
        }
        None
    }
}

/// The value of a metric over what has ended: a step that is still open is neither a success nor a failure.
fn observe(metric: Metric, of: &IntervalPopulation, second: u64, warm_up: Duration) -> f64 {
    let kinds = |kind: Option<StepKind>| {
        StepKind::ALL
            .iter()
            .filter(move |known| kind.is_none_or(|kind| kind == **known))
            .map(|kind| of.step(*kind))
    };
    let count = |kind, ending| kinds(kind).map(|step| ended_so(step, ending)).sum::<u64>() as f64;
    match metric {
        Metric::Latency(kind, _, statistic) => {
            let step = of.step(kind);
            statistic_of(&step.response, step.counts.ended().saturating_sub(step.counts.written), statistic)
        }
        // Intervals have none; a scenario that asks for it is refused.
        Metric::Milestone(..) => f64::NAN,
        Metric::Share(kind, ending) => {
            let ended = kinds(kind).map(|step| step.counts.ended()).sum::<u64>();
            if ended == 0 { f64::NAN } else { count(kind, ending) / ended as f64 }
        }
        Metric::Count(kind, ending) => count(kind, ending),
        Metric::Rate(kind, ending) => {
            let from = if kind == StepKind::Send { warm_up.as_secs_f64() } else { 0.0 };
            let span = second as f64 - from;
            if span <= 0.0 { f64::NAN } else { count(Some(kind), ending) / span }
        }
    }
}

fn ended_so(step: &IntervalStep, ending: Ending) -> u64 {
    match ending {
        Ending::Unsuccessful => step.counts.ended().saturating_sub(step.counts.succeeded()),
        other => count_of(&step.counts, other),
    }
}

fn statistic_of(response: &Buckets, total: u64, statistic: Statistic) -> f64 {
    let seconds = |latency: Option<Duration>| latency.map_or(f64::INFINITY, |latency| latency.as_secs_f64());
    let total = total.max(response.count());
    if total == 0 {
        return f64::NAN;
    }
    match statistic {
        Statistic::Quantile(q) => {
            seconds(response.at_rank(((q * total as f64).ceil() as u64).clamp(1, total)))
        }
        Statistic::Max => seconds(response.at_rank(total)),
        Statistic::Min => response.at_rank(1).map_or(f64::NAN, |latency| latency.as_secs_f64()),
        Statistic::Mean => response.mean().map_or(f64::NAN, |latency| latency.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::threshold::Comparison;
    use crate::record::{Recorder, Settings};
    use crate::step::{Class, Failure, Observation, Outcome, View};
    use crate::time::Instant;

    const FAILED: Metric = Metric::Share(None, Ending::Unsuccessful);

    fn threshold(metric: Metric, comparison: Comparison, limit: f64, abort_after: u64) -> Threshold {
        let abort_after = Some(Duration::from_secs(abort_after));
        Threshold { text: "as written".to_owned(), metric, population: None, comparison, limit, abort_after }
    }

    /// A second in which so many sends were acknowledged after 20 ms, failed, and became due without an outcome.
    fn second(acknowledged: u64, failed: u64, open: u64) -> Interval {
        let epoch = Instant::from_nanos(1);
        let mut recorder = Recorder::new(1, Settings { epoch, sends_from: Duration::ZERO });
        let refused = Failure::new(Class::ServerError, "503");
        for n in 0..acknowledged + failed + open {
            recorder.due(0, StepKind::Send);
            let outcome = if n < acknowledged {
                Outcome::Acknowledged
            } else if n < acknowledged + failed {
                Outcome::Failed(Class::ServerError)
            } else {
                continue;
            };
            let finished = epoch + Duration::from_millis(20);
            let o = Observation {
                kind: StepKind::Send,
                due: epoch,
                ready: epoch,
                started: epoch,
                finished,
                outcome,
            };
            recorder.step(0, &o, matches!(outcome, Outcome::Failed(_)).then_some(&refused));
        }
        recorder.take_interval()
    }

    fn ends_at(early: &mut Early, seconds: &[Interval]) -> Option<u64> {
        seconds.iter().zip(1..).find_map(|(interval, second)| early.second(second, interval).map(|_| second))
    }

    #[test]
    fn a_threshold_ends_the_run_when_it_was_crossed_for_long_enough_without_a_break() {
        let watch =
            |patience| Early::new(&[threshold(FAILED, Comparison::Below, 0.05, patience)], Duration::ZERO);
        let bad = || second(90, 10, 5);
        assert_eq!(
            ends_at(&mut watch(0), &[second(100, 0, 0), second(100, 0, 0), second(0, 20, 0)]),
            Some(3)
        );
        assert_eq!(ends_at(&mut watch(3), &[bad(), bad(), bad(), bad(), bad()]), Some(4));
        // Good seconds outweigh the bad ones before the patience is at its end.
        assert_eq!(
            ends_at(
                &mut watch(3),
                &[bad(), bad(), second(1_000, 0, 0), second(100, 0, 0), second(100, 0, 0)]
            ),
            None
        );
    }

    #[test]
    fn open_steps_and_seconds_without_samples_cross_nothing() {
        let mut early = Early::new(
            &[
                threshold(FAILED, Comparison::Equal, 0.0, 0),
                threshold(
                    Metric::Latency(StepKind::Send, View::Response, Statistic::Quantile(0.99)),
                    Comparison::Below,
                    0.1,
                    0,
                ),
                threshold(Metric::Count(None, Ending::Unsuccessful), Comparison::AtMost, 0.0, 0),
            ],
            Duration::ZERO,
        );
        assert_eq!(ends_at(&mut early, &[second(0, 0, 50), second(10, 0, 0), Interval::default()]), None);
    }

    #[test]
    fn latencies_count_failures_as_slower_than_any_limit() {
        let p99 = Metric::Latency(StepKind::Send, View::Response, Statistic::Quantile(0.99));
        let watch = |limit| Early::new(&[threshold(p99, Comparison::Below, limit, 0)], Duration::ZERO);
        assert_eq!(ends_at(&mut watch(0.1), &[second(100, 1, 0)]), None);
        assert_eq!(ends_at(&mut watch(0.1), &[second(100, 2, 0)]), Some(1));
        assert_eq!(ends_at(&mut watch(0.01), &[second(100, 0, 0)]), Some(1));
    }

    #[test]
    fn sends_of_the_warm_up_are_not_looked_at() {
        let watched = [threshold(FAILED, Comparison::Equal, 0.0, 0)];
        let mut early = Early::new(&watched, Duration::from_secs(2));
        assert_eq!(
            ends_at(&mut early, &[second(0, 9, 0), second(0, 9, 0), second(9, 0, 0), second(8, 1, 0)]),
            Some(4)
        );
    }

    #[test]
    fn thresholds_without_abort_after_end_nothing() {
        let plain = Threshold { abort_after: None, ..threshold(FAILED, Comparison::Equal, 0.0, 0) };
        assert_eq!(ends_at(&mut Early::new(&[plain], Duration::ZERO), &[second(0, 9, 0)]), None);
    }
}
