//! The stored form of a result: `result.json`, format [`FORMAT`], version [`VERSION`].
//!
//! These types are the format and nothing else: the engine's own types may be renamed without breaking last month's
//! baseline. Times are whole nanoseconds (`_ns`), counts whole numbers; a number that may pass 2^64 is a string of
//! digits. Figures that reports show are in here too, worked out when the result is built and again when it is read.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod measured;
mod merged;
mod messages;

pub use measured::*;
pub use merged::*;
pub use messages::*;

/// What [`RunResult::format`] says.
pub const FORMAT: &str = "muster-result";

/// The version of the format that this program writes. Version 3 knows shards and what was merged of them.
pub const VERSION: u32 = 3;

/// The earliest version that this program reads.
pub const OLDEST_VERSION: u32 = 2;

/// Everything that is kept of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "muster result")]
pub struct RunResult {
    /// Always `muster-result`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// What was run, where, and what it took.
    pub facts: Facts,
    /// How it came out; absent until it was judged.
    pub judgement: Option<Judgement>,
    /// Figures of the whole run.
    pub headline: Headline,
    /// All populations together, without histograms.
    pub total: Measured,
    /// What failed, all populations together, by owner and class.
    pub failures: Vec<FailureGroup>,
    /// Each population.
    pub populations: Vec<Population>,
    /// What happened when.
    pub timeline: Timeline,
    /// The shards that it was put together from; absent for a run that was not split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged: Option<Merged>,
    /// SHA-256 of every byte of the file before this text, in 64 lower-case hexadecimal digits; empty until it is stored.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    pub checksum: String,
}

/// What a run knows besides what was recorded. No secret belongs in here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Name of the scenario.
    pub scenario: String,
    /// SHA-256 of its text, lower-case hexadecimal.
    pub scenario_sha256: String,
    /// SHA-256 of every key that held and its value, in the same digits; empty in results of earlier programs.
    #[serde(default)]
    pub values_sha256: String,
    /// The seed that all chance came from.
    pub seed: u64,
    /// Distinguishes runs of one scenario.
    pub run_id: String,
    /// Which part of the devices this is about; absent for a whole run.
    #[serde(default)]
    pub shard: Option<Shard>,
    /// What is known of the clock that the run clock went by; absent in results of earlier programs.
    #[serde(default)]
    pub clock: Option<RunClock>,
    /// The scenario's thresholds as it writes them: those of a shard are judged when it is merged with the others.
    #[serde(default)]
    pub thresholds: Vec<String>,
    /// Version of the program.
    pub muster_version: String,
    /// Wall time of the run clock's zero, RFC 3339, UTC.
    pub started: String,
    /// What the run clock showed when the last step had ended.
    pub duration_ns: u64,
    /// End of the warm-up of sends, on the run clock.
    pub sends_from_ns: u64,
    /// Threads that carried devices.
    pub threads: u32,
    /// Where the load went: `emulator`, or the host's name.
    pub target: String,
    /// How the run ended.
    pub ended: Ended,
    /// The machine that generated the load.
    pub machine: Machine,
    /// The populations, in the order of the plan.
    pub populations: Vec<PopulationFacts>,
    /// What the generator used.
    pub generator: Generator,
    /// How well the generator kept the rate of sends; absent if no send was due, and in results of earlier programs.
    #[serde(default)]
    pub pace: Option<Pace>,
    /// What the emulator counted; absent for other targets.
    pub ledger: Option<Ledger>,
    /// Sentences for the reader, such as what stays behind at a real service.
    pub notes: Vec<String>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// As planned.
    Completed,
    /// By a signal.
    Interrupted,
    /// By a threshold with `abort_after`.
    Aborted,
}

/// The machine that generated the load. Its name is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Model of the processor; empty if unknown.
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: u32,
    /// Memory; 0 if unknown.
    pub memory_bytes: u64,
    /// Operating system.
    pub os: String,
    /// Its version.
    pub kernel: String,
}

/// One population as planned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PopulationFacts {
    /// Name of the fleet.
    pub name: String,
    /// Number of devices.
    pub count: u64,
    /// Protocol of registering; absent without DPS.
    pub provision: Option<String>,
    /// Protocol towards the hub; absent for devices that only register.
    pub connect: Option<String>,
}

/// What the generator used. The emulator's share is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generator {
    /// CPU time, user and system.
    pub cpu_ns: u64,
    /// Largest resident memory; 0 if unknown.
    pub peak_rss_bytes: u64,
    /// Resident memory before the first device started; 0 if unknown.
    pub base_rss_bytes: u64,
    /// Most devices connected at once.
    pub peak_connected: u64,
    /// Most descriptors open at once; 0 if unknown.
    pub descriptors: u64,
    /// Descriptors that the process may open; 0 if unknown.
    pub descriptor_limit: u64,
    /// The 99th percentile of [`Noise`], which earlier programs look for here; absent if not measured.
    pub noise_floor_p99_ns: Option<u64>,
    /// SYN and SYN-ACK segments that were repeated while the run went on, by anybody in this machine's (or container's) network,
    /// the emulator included; absent if unknown, and in results of earlier programs.
    #[serde(default)]
    pub syn_retransmissions: Option<u64>,
    /// The noise floor; absent if not measured, and in results of earlier programs.
    #[serde(default)]
    pub noise: Option<Noise>,
}

/// The noise floor: how late the machine woke a thread that had nothing else to do, beside the load and as long as it. Wakes
/// are due at even distances whatever happened to the one before, so that their lateness is that of steps at an even rate
/// in a generator that costs nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Wakes that were due.
    pub wakes: u64,
    /// Time from one to the next.
    pub period_ns: u64,
    /// Median lateness; absent with fewer than 2 wakes.
    pub p50_ns: Option<u64>,
    /// Its 99th percentile; absent with fewer than 100 wakes.
    pub p99_ns: Option<u64>,
    /// The largest.
    pub max_ns: Option<u64>,
    /// Wakes that were later than 1 ms.
    pub over_1ms: u64,
    /// Wakes that were later than 10 ms.
    pub over_10ms: u64,
    /// Wakes that were later than 100 ms.
    pub over_100ms: u64,
    /// Wakes that were later than 1 s.
    pub over_1s: u64,
    /// What measuring it cost: CPU time of that thread. It is part of the generator's.
    pub cpu_ns: u64,
}

/// How well the generator kept the rate of sends: the worst of all windows of equal length, aligned on the run clock, after
/// the warm-up. A send counts in a later window than it was due in if our code got to it there, more than 10 ms late; what the
/// service holds up does not count.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Length of a window: 10 s, unless the run is longer than a week.
    pub width_s: u64,
    /// Windows in which sends were due.
    pub windows: u64,
    /// Where the worst begins, on the run clock.
    pub worst_from_s: u64,
    /// Sends due in it.
    pub worst_due: u64,
    /// Sends that the generator got to in it.
    pub worst_begun: u64,
    /// By what fraction of those due it is off.
    pub worst_error: f64,
}

/// What the emulator counted on its side.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// Its totals by name.
    pub totals: BTreeMap<String, u64>,
    /// What both sides counted alike, for example `5,000 messages accepted`.
    pub agreed: Vec<String>,
    /// A sentence for each total that contradicts ours, and for each kind of messages that were not reconciled; empty when both
    /// agree.
    pub differences: Vec<String>,
    /// What came of reconciling message by message; absent if only totals were compared, and in results of earlier programs.
    #[serde(default)]
    pub messages: Option<Messages>,
}

/// How a run came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// With what the program ends.
    pub exit_code: u8,
    /// Why, in sentences; empty for a pass.
    pub reasons: Vec<String>,
    /// Each threshold of the scenario, in its order.
    pub thresholds: Vec<ThresholdOutcome>,
}

/// How a run came out, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every threshold holds, and the generator kept its schedule.
    Pass,
    /// A shard in which nothing went wrong: whether thresholds hold, the merged result tells.
    Part,
    /// A threshold was crossed.
    Threshold,
    /// The generator did not keep its schedule, or this machine ran out of something: the numbers mean nothing.
    Void,
    /// Stopped before its end; the numbers are about what was done until then.
    Interrupted,
    /// The books do not add up: a fault of this program.
    Broken,
}

/// One threshold, held against the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThresholdOutcome {
    /// As the scenario writes it.
    pub text: String,
    /// What was observed, for people: `3.21 s`, `> deadline`, `0.5 %`, `no samples`.
    pub observed: String,
    /// The same as a number: seconds, a fraction, a count or a rate. Absent if there were no samples or the value is
    /// beyond every limit.
    pub value: Option<f64>,
    /// Whether it holds.
    pub holds: bool,
    /// What else to know about it.
    pub note: Option<String>,
}

/// Figures of the whole run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Headline {
    /// Devices planned.
    pub devices: u64,
    /// Devices assigned to a hub.
    pub assigned: u64,
    /// Messages due.
    pub messages_due: u64,
    /// Messages acknowledged or written.
    pub messages: u64,
    /// CPU time of the generator for each acknowledged message, everything included.
    pub cpu_per_message_ns: Option<u64>,
    /// Resident memory above that of no device, for each device connected at the peak.
    pub memory_per_device_bytes: Option<u64>,
    /// Connections whose TCP phase took a second or more: their SYN was lost and repeated, which takes 1 s the first time, and
    /// then 2 s, 4 s …
    #[serde(default)]
    pub syn_repeated: u64,
    /// Lateness over steps of every kind, failed ones included.
    pub lateness: Quantiles,
    /// Due steps without an outcome (or the reverse, if negative); not 0 only by a fault of this program.
    pub unaccounted: i64,
}
