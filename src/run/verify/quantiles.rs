//! Quantiles of a result against the sorted measurements that it was made of.

use std::time::Duration;

use super::quantile;
use super::trial::Trial;
use crate::device::world::EndedMessage;
use crate::record::{Durations, Latency};
use crate::report::verification::{Check, Claim, Relation, Unit};
use crate::step::{Outcome, StepKind, View};

const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

/// A bucket is as wide as 0.1 % of what it holds, and at least a microsecond.
const BUCKET: f64 = 0.001;

/// Worst distance over runs, fleets, views and quantiles, in widths of a bucket.
pub(super) fn claim(trials: &[Trial]) -> Claim {
    let (mut worst, mut compared) = (0.0f64, 0);
    for trial in trials {
        for (index, population) in trial.record.populations.iter().enumerate() {
            let step = population.step(StepKind::Send);
            for view in [View::Response, View::Service, View::Waiting] {
                let raw = measured(trial, index, view);
                if step.view(view).count() != raw.len() as u64 {
                    worst = f64::INFINITY;
                }
                for q in QUANTILES {
                    if let Some(distance) = distance(step.view(view), &raw, q) {
                        worst = worst.max(distance);
                        compared += 1;
                    }
                }
            }
        }
    }
    let what = "the worst of them is off by, in widths of a bucket";
    Claim::new(Check::Quantiles, what, Unit::Count, worst, (Relation::AtMost, 1.0)).noting(format!(
        "{compared} figures of {} runs: p50, p90, p99, p99.9 and max of response, service and waiting",
        trials.len()
    ))
}

/// What the histogram of that view was made of, in order.
fn measured(trial: &Trial, population: usize, view: View) -> Vec<Duration> {
    let from = trial.epoch + Duration::from_nanos(trial.result.facts.sends_from_ns);
    let counts = |fate: &&EndedMessage| {
        fate.population == population
            && fate.observation.due >= from
            && fate.observation.outcome == Outcome::Acknowledged
    };
    let mut raw: Vec<_> = trial.fates.iter().filter(counts).map(|fate| fate.observation.span(view)).collect();
    raw.sort_unstable();
    raw
}

/// How far the histogram's quantile is from the exact one, in widths of a bucket; `None` if there is none.
fn distance(reported: &Durations, raw: &[Duration], q: f64) -> Option<f64> {
    let exact = quantile(raw, q)?.as_secs_f64();
    let Latency::Within(shown) = reported.quantile(q, 0)? else { return Some(f64::INFINITY) };
    Some((shown.as_secs_f64() - exact).abs() / (exact * BUCKET).max(1e-6))
}
