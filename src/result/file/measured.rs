//! The part of the format that holds what was recorded.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was recorded of a population, or of all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Devices that started.
    pub started: u64,
    /// Devices connected when the run ended.
    pub connected: i64,
    /// Devices that had nothing left to do.
    pub finished: u64,
    /// Bytes of message bodies handed to connections.
    pub bytes_sent: u64,
    /// Steps by kind; kinds that never occurred are absent.
    pub steps: Vec<Step>,
    /// Milestones that any device was due to reach.
    pub milestones: Vec<Milestone>,
    /// Exchanges that occurred.
    pub exchanges: Vec<Exchange>,
    /// Phases of opening connections that occurred.
    pub phases: Vec<Phase>,
    /// Waiting between polls of DPS; absent if there was none.
    pub poll_wait: Option<Timing>,
}

/// One population.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// Name of the fleet.
    pub name: String,
    /// What was recorded of it.
    pub measured: Measured,
}

/// Steps of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `register`, `connect`, `send` …
    pub kind: String,
    /// The books: every step that was due.
    pub all: Counts,
    /// Those that the timings are about: without sends of the warm-up.
    pub measured: Counts,
    /// Failed, whatever the class.
    pub failed: u64,
    /// Sent, and no answer came.
    pub unknown: u64,
    /// Never sent.
    pub not_sent: u64,
    /// Attempts that were throttled and made again.
    pub retried_throttled: u64,
    /// Due less all outcomes; not 0 only by a fault of this program.
    pub unaccounted: i64,
    /// Measured steps that succeeded, for each second of the run clock that was measured.
    pub rate_per_s: Option<f64>,
    /// From due to finished.
    pub response: Timing,
    /// From started to finished.
    pub service: Timing,
    /// From ready to started.
    pub waiting: Timing,
    /// From due to ready, of every step that our code got to.
    pub lateness: Timing,
    /// What ended steps, by class.
    pub failures: Vec<Failure>,
    /// What was tried again, by class.
    pub retried: Vec<Failure>,
}

/// How steps ended. Classes, causes and reasons that never occurred are absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Became due.
    pub due: u64,
    /// Confirmed by the service.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub acknowledged: u64,
    /// Handed over where no confirmation exists.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub written: u64,
    /// Failed, by class.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, u64>,
    /// Unknown, by cause.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, u64>,
    /// Never sent, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub not_sent: BTreeMap<String, u64>,
    /// Failed attempts that were made again, by class; no outcomes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retried: BTreeMap<String, u64>,
}

/// Durations of one sort: exact moments, quantiles, histogram.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// How many there are.
    pub count: u64,
    /// Their exact sum, as digits.
    #[schemars(regex(pattern = "^[0-9]{1,39}$"))]
    pub sum_ns: String,
    /// The exact sum of their squares, as digits.
    #[schemars(regex(pattern = "^[0-9]{1,39}$"))]
    pub sum_squares_ns2: String,
    /// The shortest.
    pub min_ns: Option<u64>,
    /// The longest.
    pub max_ns: Option<u64>,
    /// How many are longer than the histogram's one hour.
    pub overflow: u64,
    /// Their mean.
    pub mean_ns: Option<u64>,
    /// Their standard deviation.
    pub standard_deviation_ns: Option<u64>,
    /// Over all that were due, those without a duration counting as slower than any limit.
    pub quantiles: Quantiles,
    /// HdrHistogram V2, deflated, base64; microseconds, 1 to 3,600,000,000, 3 digits. Absent in totals and when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
}

/// Quantiles over all that were due. Absent where there are too few for the figure to mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// How many were due.
    pub of: u64,
    /// The median.
    pub p50: Option<Figure>,
    /// 90 %.
    pub p90: Option<Figure>,
    /// 99 %.
    pub p99: Option<Figure>,
    /// 99.9 %.
    pub p999: Option<Figure>,
    /// The largest.
    pub max: Option<Figure>,
}

/// A latency over all that were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Figure {
    /// Nanoseconds.
    Nanos(u64),
    /// Falls among those that have no latency.
    Beyond(Beyond),
}

/// See [`Figure::Beyond`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Beyond {
    /// Slower than any limit.
    Beyond,
}

/// One milestone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Milestone {
    /// `time_to_assigned` …
    pub name: String,
    /// Devices due to reach it.
    pub due: u64,
    /// How long it took those that did.
    pub took: Timing,
}

/// Exchanges of one sort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// `dps.put` …
    pub name: String,
    /// From request to answer, of those that worked.
    pub took: Timing,
    /// How many did not work.
    pub failed: u64,
}

/// One phase of opening connections to one party.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// `dps` or `hub`.
    pub party: String,
    /// `dns`, `tcp`, `tls` …
    pub phase: String,
    /// Of those that worked.
    pub took: Timing,
}

/// Failures of one class among steps of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Class.
    pub class: String,
    /// How many.
    pub count: u64,
    /// The first, on the run clock.
    pub first_ns: u64,
    /// The last, on the run clock.
    pub last_ns: u64,
    /// What a few of them looked like, safe for a terminal.
    pub examples: Vec<Example>,
}

/// What one failure looked like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// When, on the run clock.
    pub at_ns: u64,
    /// What was said, with everything escaped that a terminal would obey.
    pub detail: String,
}

/// Failures of one class in the whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureGroup {
    /// Whose they are.
    pub owner: String,
    /// Class.
    pub class: String,
    /// Steps that ended so.
    pub count: u64,
    /// Attempts that failed so and were made again.
    pub retried: u64,
    /// The kinds of steps it happened to.
    pub steps: Vec<String>,
    /// The first, on the run clock.
    pub first_ns: u64,
    /// The last, on the run clock.
    pub last_ns: u64,
    /// What a few of them looked like, safe for a terminal.
    pub examples: Vec<Example>,
    /// What a reader can do about it, as a half-sentence.
    pub remedy: String,
}

/// What happened when.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// Length of every interval.
    pub width_s: u64,
    /// Intervals in order of time, the first beginning at the run clock's zero; at most 512.
    pub intervals: Vec<Interval>,
}

/// One interval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// By population, in the order of the plan.
    pub populations: Vec<IntervalPopulation>,
}

/// One population in an interval.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntervalPopulation {
    /// Devices that started.
    pub started: u64,
    /// Devices that had nothing left to do.
    pub finished: u64,
    /// Devices connected at its end less those at its beginning.
    pub connected_change: i64,
    /// Steps by kind; kinds without any are absent.
    pub steps: Vec<IntervalStep>,
}

/// Steps of one kind in an interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntervalStep {
    /// `register`, `connect`, `send` …
    pub kind: String,
    /// Steps that became due, and outcomes recorded, in it.
    pub counts: Counts,
    /// The largest lateness.
    pub lateness_max_ns: u64,
    /// Response times: as [`Timing::histogram`], at 2 digits. Absent when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub histogram: Option<String>,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
