//! The part of the format that is about shards.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Figure, Verdict};

/// Which part of a run's devices: device n of each population belongs to shard n mod count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

/// What is known of the clock that the run clock went by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunClock {
    /// The same for processes that share a monotonic clock: a hash of the machine's boot. Empty if unknown.
    pub boot: String,
    /// The run clock's zero on that monotonic clock.
    pub zero_ns: u64,
}

/// How a result was put together from those of shards. Figures of single shards are as their own results had them; nothing
/// else in this file repeats them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merged {
    /// How many shards the run was split into.
    pub count: u32,
    /// Those whose results are not in here.
    pub missing: Vec<u32>,
    /// How far apart the shards' run clocks began.
    pub offset_ns: u64,
    /// What that is known from.
    pub offset_by: OffsetBy,
    /// Those that are in here, by index.
    pub shards: Vec<ShardPart>,
    /// The merged figures with their spread over shards: worked out from the rest.
    pub spread: Vec<Spread>,
}

/// From which clock the distance of two run clocks is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OffsetBy {
    /// All shards ran on one machine and share its monotonic clock: exact.
    MonotonicClock,
    /// Their machines' wall clocks: as good as those were set.
    WallClocks,
}

/// One shard of a merged result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShardPart {
    /// Which.
    pub index: u32,
    /// How it came out by itself; absent if it was not judged.
    pub verdict: Option<Verdict>,
    /// Wall time of its run clock's zero, RFC 3339, UTC.
    pub started: String,
    /// By how much later than the first shard's its run clock began.
    pub offset_ns: u64,
    /// What its run clock showed when its last step had ended.
    pub duration_ns: u64,
    /// Its devices that started.
    pub devices: u64,
    /// Its messages acknowledged or written.
    pub messages: u64,
    /// Its lateness at p99, over steps of every kind.
    pub lateness_p99: Option<Figure>,
    /// Response times of its steps, and its milestones.
    pub figures: Vec<ShardFigure>,
}

/// A latency of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShardFigure {
    /// A kind of step (its response time), or a milestone.
    pub kind: String,
    /// How many were due.
    pub of: u64,
    /// The median; absent with too few.
    pub p50: Option<Estimate>,
    /// 99 %; absent with too few.
    pub p99: Option<Estimate>,
}

/// A quantile with the range that chance leaves it in: if steps were independent draws, the true quantile lies outside in one case
/// of 16,000 (four standard deviations of the binomial distribution of its rank).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// What was measured.
    pub value: Figure,
    /// The lower end of the range.
    pub low: Figure,
    /// The upper end of the range.
    pub high: Figure,
}

/// A merged latency, and how it spreads over shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// A kind of step (its response time), or a milestone.
    pub kind: String,
    /// The median.
    pub p50: SpreadFigure,
    /// 99 %.
    pub p99: SpreadFigure,
}

/// See [`Spread`]. Absent figures: too few samples.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpreadFigure {
    /// Of all shards together.
    pub merged: Option<Figure>,
    /// The smallest of a shard.
    pub least: Option<Figure>,
    /// The largest of a shard.
    pub most: Option<Figure>,
    /// Shards that differ, where there are three or more: the merged figure lies outside the range that chance leaves theirs,
    /// and theirs is off by more than a tenth.
    pub differ: Vec<u32>,
}
