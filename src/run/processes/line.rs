//! What a run and the processes of its shards tell each other: a JSON object a line. The first line that a process reads is its
//! [`Job`]; orders follow. Keys and values of `--set` go this way and not as arguments, which everybody on the machine can read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::result::file;

/// What a process is to do.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The scenario's file.
    pub scenario: PathBuf,
    /// Texts of `--set path=value`.
    pub sets: Vec<String>,
    /// The run's seed.
    pub seed: u64,
    /// The run's id.
    pub run_id: String,
    /// Which shard.
    pub index: u32,
    /// Of how many, each in a process of its own on this machine.
    pub count: u32,
    /// Generator threads; `None` for its part of the cores.
    pub threads: Option<usize>,
    /// Whether loading other machines is confirmed.
    pub yes: bool,
    /// Whether messages are reconciled one by one; `None` for the usual.
    pub reconcile: Option<bool>,
    /// The folder for its result, which is there.
    pub folder: PathBuf,
    /// What the run read from its standard input, if a key was to come from there.
    pub key: Option<String>,
}

/// What a process is told after its job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToShard {
    /// Zero of the run clock, on the monotonic clock that both share.
    Start(u64),
    /// Stop starting, and wait for open answers.
    Interrupt,
    /// The same, because a threshold with this text was crossed for long enough.
    Abort(String),
    /// End at once.
    Leave,
}

/// What a process tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromShard {
    /// Everything is prepared.
    Ready,
    /// What happened in the second that ended at `second` of the run clock.
    Second {
        /// The second, from 1.
        second: u64,
        /// What happened.
        interval: file::Interval,
    },
    /// The result is written.
    Done,
    /// There is none.
    Failed {
        /// Why.
        text: String,
        /// The exit code that says so.
        code: u8,
    },
}

/// As a line, with its end.
pub(super) fn to_line(message: &impl Serialize) -> String {
    // Plain data always becomes JSON; a line that means nothing would be told by whoever reads it.
    serde_json::to_string(message).unwrap_or_default() + "\n"
}
