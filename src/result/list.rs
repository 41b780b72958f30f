//! What the runs below a folder were, told from the heads of their results.
//!
//! A head is read without its histograms and is not checked against them: good enough to find a run, and for nothing else.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::{Figure, Verdict};
use super::store::{FILE_NAME, StoreError, open, parse_as};

/// One folder of a run.
#[derive(Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What was run, or why that cannot be told.
    pub head: Result<Head, Unlisted>,
}

/// Why a folder is listed without figures.
#[derive(Debug, thiserror::Error)]
pub enum Unlisted {
    /// No `result.json` in it.
    #[error("no {FILE_NAME} in it: the run is still going on, or did not end")]
    Unfinished,
    /// The result cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a list shows of a run. Field names are those of `muster list --json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Head {
    /// Name of the scenario.
    pub scenario: String,
    /// When it started, RFC 3339, UTC.
    pub started: String,
    /// How it came out; absent if it was never judged.
    pub verdict: Option<Verdict>,
    /// Devices assigned to a hub.
    pub devices_assigned: u64,
    /// Messages acknowledged or written.
    pub messages_acknowledged: u64,
    /// p99 of the time to assigned; absent for too few.
    pub time_to_assigned_p99_ns: Option<Figure>,
    /// p99 of the response time of sends; absent for too few.
    pub send_response_p99_ns: Option<Figure>,
}

/// The runs in `root`, newest first; folders that tell no start come last, by name.
///
/// # Errors
/// When `root` cannot be read. One that is not there holds no runs.
pub fn list(root: &Path) -> io::Result<Vec<Entry>> {
    let folders = match fs::read_dir(root) {
        Ok(folders) => folders,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for folder in folders {
        let path = folder?.path();
        // Files beside the folders are none of ours.
        if path.is_dir() {
            let head = if path.join(FILE_NAME).symlink_metadata().is_ok() {
                head(&path).map_err(Unlisted::Store)
            } else {
                Err(Unlisted::Unfinished)
            };
            entries.push(Entry { path, head });
        }
    }
    // RFC 3339 in UTC sorts like time.
    let started = |entry: &Entry| entry.head.as_ref().ok().map(|head| head.started.clone());
    entries.sort_by(|a, b| started(b).cmp(&started(a)).then_with(|| a.path.cmp(&b.path)));
    Ok(entries)
}

fn head(path: &Path) -> Result<Head, StoreError> {
    let (path, file) = open(path)?;
    let stored: Stored = parse_as(&path, file)?;
    let step = stored.total.steps.iter().find(|step| step.kind == "send");
    let milestone = stored.total.milestones.iter().find(|milestone| milestone.name == "time_to_assigned");
    Ok(Head {
        scenario: stored.facts.scenario,
        started: stored.facts.started,
        verdict: stored.judgement.map(|judgement| judgement.verdict),
        devices_assigned: stored.headline.assigned,
        messages_acknowledged: stored.headline.messages,
        time_to_assigned_p99_ns: milestone.and_then(|milestone| milestone.took.quantiles.p99),
        send_response_p99_ns: step.and_then(|step| step.response.quantiles.p99),
    })
}

/// The part of [`super::RunResult`] that a list needs.
#[derive(Deserialize)]
struct Stored {
    facts: StoredFacts,
    judgement: Option<StoredJudgement>,
    headline: StoredHeadline,
    total: StoredTotal,
}

#[derive(Deserialize)]
struct StoredFacts {
    scenario: String,
    started: String,
}

#[derive(Deserialize)]
struct StoredJudgement {
    verdict: Verdict,
}

#[derive(Deserialize)]
struct StoredHeadline {
    assigned: u64,
    messages: u64,
}

#[derive(Deserialize)]
struct StoredTotal {
    steps: Vec<StoredStep>,
    milestones: Vec<StoredMilestone>,
}

#[derive(Deserialize)]
struct StoredStep {
    kind: String,
    response: StoredTiming,
}

#[derive(Deserialize)]
struct StoredMilestone {
    name: String,
    took: StoredTiming,
}

#[derive(Deserialize)]
struct StoredTiming {
    quantiles: StoredQuantiles,
}

#[derive(Deserialize)]
struct StoredQuantiles {
    p99: Option<Figure>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples::{Story, result};
    use crate::result::write;

    #[test]
    fn runs_are_listed_newest_first_and_a_damaged_one_says_why() {
        let root = tempfile::tempdir().expect("a folder");
        for (name, started) in [("a", "2026-01-30T12:00:00Z"), ("b", "2026-01-31T12:00:00Z")] {
            fs::create_dir(root.path().join(name)).expect("a folder");
            let mut result = result(Story::Healthy);
            result.facts.started = started.to_owned();
            write(&root.path().join(name), &result).expect("it is writable");
        }
        for name in ["c", "d"] {
            fs::create_dir(root.path().join(name)).expect("a folder");
        }
        let whole = fs::read(root.path().join("a").join(FILE_NAME)).expect("it was written");
        fs::write(root.path().join("d").join(FILE_NAME), &whole[..whole.len() - 9]).expect("writable");
        fs::write(root.path().join("note.txt"), "mine").expect("writable");

        let entries = list(root.path()).expect("it is readable");
        let names: Vec<_> = entries.iter().filter_map(|e| e.path.file_name()?.to_str()).collect();
        assert_eq!(names, ["b", "a", "c", "d"]);
        let newest = entries[0].head.as_ref().expect("it is whole");
        let stored = result(Story::Healthy);
        assert_eq!((newest.devices_assigned, newest.messages_acknowledged), (1_020, 5_100));
        assert_eq!(newest.send_response_p99_ns, stored.total.steps[2].response.quantiles.p99);
        assert_eq!(newest.time_to_assigned_p99_ns, stored.total.milestones[0].took.quantiles.p99);
        let why = |at: usize| entries[at].head.as_ref().expect_err("it is not").to_string();
        assert!(why(2).contains("did not end"), "{}", why(2));
        assert!(why(3).contains("cut short"), "{}", why(3));
        assert!(list(&root.path().join("nowhere")).expect("none").is_empty());
    }
}
