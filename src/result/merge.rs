//! Results of shards become one: counts, moments and histograms are added, which is exact, and intervals are laid over each
//! other on the run clock.
//!
//! Shards are of one run when scenario, values, seed, run, populations, thresholds and program are the same; anything else is
//! refused, with the file and the difference. One record is held besides the sum, however many shards there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::decode::Damage;
use super::file::{Ended, Facts, Judgement, Merged, RunResult, ShardPart};
use crate::plan::Shard;
use crate::record::{Record, Series};
use crate::text::Untrusted;

mod facts;
mod spread;

pub(super) use spread::refresh;
pub use spread::{DIFFERS_FROM_SHARDS, DIFFERS_OFF, DIFFERS_SIGMAS};

/// Why results do not become one.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Nothing to merge.
    #[error("no result was named; name the results of all shards of a run")]
    Nothing,
    /// Not split.
    #[error("{path}: is a whole run and no shard of one; merge the results of runs with --shard", path = path.display())]
    Whole {
        /// The file.
        path: PathBuf,
    },
    /// A result of merging.
    #[error("{path}: was merged already; name the results of the shards themselves", path = path.display())]
    Merged {
        /// The file.
        path: PathBuf,
    },
    /// Of another run.
    #[error(
        "{path} and {other} are not shards of one run: {what} differs ({theirs} and {ours})",
        path = path.display(), other = other.display()
    )]
    Differs {
        /// The file that differs.
        path: PathBuf,
        /// From which.
        other: PathBuf,
        /// In what.
        what: &'static str,
        /// What it has, escaped.
        theirs: String,
        /// What the other has, escaped.
        ours: String,
    },
    /// The same devices twice.
    #[error("{path} and {other} are both shard {shard}: its devices would count twice; name each shard once",
        path = path.display(), other = other.display())]
    Twice {
        /// The second file.
        path: PathBuf,
        /// The first.
        other: PathBuf,
        /// The shard.
        shard: Shard,
    },
    /// Some are not there.
    #[error("{} of {count} are missing; name their results as well, or add --allow-missing to see what there is", shards(.missing))]
    Missing {
        /// Their indices.
        missing: Vec<u32>,
        /// How many there should be.
        count: u32,
    },
    /// A result contradicts itself.
    #[error("{path}: is damaged: {source}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: Damage,
    },
}

/// `shard 3`, `shards 1, 4 and 7`, for people.
pub fn shards(indices: &[u32]) -> String {
    match indices {
        [] => "no shard".to_owned(),
        [one] => format!("shard {one}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(u32::to_string).collect();
            format!("shards {} and {last}", first.join(", "))
        }
    }
}

/// Adds results of shards, one after another.
#[derive(Debug, Default)]
pub struct Merger {
    sum: Option<(Record, Series)>,
    /// By index of the shard.
    taken: BTreeMap<u32, Taken>,
}

/// What is kept of one shard's result.
#[derive(Debug)]
struct Taken {
    path: PathBuf,
    count: u32,
    facts: Facts,
    part: ShardPart,
    judgement: Option<Judgement>,
}

/// What came of merging, not judged yet.
#[derive(Debug)]
pub struct Combined {
    /// The books of all shards.
    pub record: Record,
    /// What happened when, on the run clock.
    pub series: Series,
    /// What is known of all shards together.
    pub facts: Facts,
    /// The shards; their spread is worked out when the result is built.
    pub merged: Merged,
    /// How each shard ended and was judged, by index.
    pub parts: Vec<(u32, Ended, Option<Judgement>)>,
}

impl Merger {
    /// Adds the result at `path`. The order of calls changes nothing.
    ///
    /// # Errors
    /// [`MergeError`] if it is no shard of the same run, or there already.
    pub fn add(&mut self, path: &Path, result: &RunResult) -> Result<(), MergeError> {
        let here = || path.to_owned();
        if result.merged.is_some() {
            return Err(MergeError::Merged { path: here() });
        }
        let stated = result.facts.shard.ok_or_else(|| MergeError::Whole { path: here() })?;
        if let Some(other) = self.taken.values().next() {
            same_run(path, &result.facts, other)?;
        }
        let damaged = |source| MergeError::Damaged { path: here(), source };
        if let Some(other) = self.taken.get(&stated.index) {
            return Err(MergeError::Twice {
                path: here(),
                other: other.path.clone(),
                shard: Shard::new(stated.index.into(), stated.count.into()).unwrap_or(Shard::WHOLE),
            });
        }
        let record = result.record().map_err(damaged)?;
        let series = result.series().map_err(damaged)?;
        let part = spread::part(stated.index, result, &record.total());
        match &mut self.sum {
            None => self.sum = Some((record, series)),
            Some((sum, whole)) => {
                // Populations and warm-up were compared above.
                let _ = sum.merge(&record);
                whole.merge(&series);
            }
        }
        let taken = Taken {
            path: here(),
            count: stated.count,
            facts: result.facts.clone(),
            part,
            judgement: result.judgement.clone(),
        };
        self.taken.insert(stated.index, taken);
        Ok(())
    }

    /// All that was added, as one.
    ///
    /// * `allow_missing`: whether shards may be missing
    ///
    /// # Errors
    /// [`MergeError::Missing`] if they may not and are, [`MergeError::Nothing`] if there is none at all.
    pub fn finish(self, allow_missing: bool) -> Result<Combined, MergeError> {
        let Some((record, series)) = self.sum else { return Err(MergeError::Nothing) };
        let count = self.taken.values().next().map_or(0, |taken| taken.count);
        let missing: Vec<u32> = (0..count).filter(|index| !self.taken.contains_key(index)).collect();
        if !missing.is_empty() && !allow_missing {
            return Err(MergeError::Missing { missing, count });
        }
        let all: Vec<&Facts> = self.taken.values().map(|taken| &taken.facts).collect();
        let (facts, offsets) = facts::together(&all);
        let mut shards = Vec::with_capacity(self.taken.len());
        let mut parts = Vec::with_capacity(self.taken.len());
        for ((index, taken), offset_ns) in self.taken.into_iter().zip(&offsets.each_ns) {
            shards.push(ShardPart { offset_ns: *offset_ns, ..taken.part });
            parts.push((index, taken.facts.ended, taken.judgement));
        }
        let offset_ns = offsets.each_ns.iter().copied().max().unwrap_or(0);
        let merged = Merged { count, missing, offset_ns, offset_by: offsets.by, shards, spread: Vec::new() };
        Ok(Combined { record, series, facts, merged, parts })
    }
}

impl RunResult {
    /// Adds what it was put together from, and works out how its figures spread over shards.
    pub fn set_merged(&mut self, mut merged: Merged) {
        merged.spread = spread::spread(&merged.shards, &self.total);
        self.merged = Some(merged);
    }
}

/// Refuses a result that is of another run than one that was taken.
fn same_run(path: &Path, facts: &Facts, other: &Taken) -> Result<(), MergeError> {
    let known = &other.facts;
    let populations = |facts: &Facts| {
        let named = facts.populations.iter().map(|population| {
            let way = [&population.provision, &population.connect];
            let way = way.map(|protocol| protocol.as_deref().unwrap_or("none")).join(" and ");
            format!("{} × {} over {way}", population.name, population.count)
        });
        named.collect::<Vec<_>>().join(", ")
    };
    let shards = |facts: &Facts| facts.shard.map_or_else(String::new, |shard| shard.count.to_string());
    let compared: [(&'static str, String, String); 12] = [
        ("the scenario", facts.scenario.clone(), known.scenario.clone()),
        ("the text of the scenario", facts.scenario_sha256.clone(), known.scenario_sha256.clone()),
        ("the seed", facts.seed.to_string(), known.seed.to_string()),
        ("the number of shards, which overlap then,", shards(facts), shards(known)),
        ("the id of the run", facts.run_id.clone(), known.run_id.clone()),
        ("what the fleets are", populations(facts), populations(known)),
        ("the end of the warm-up in ns", facts.sends_from_ns.to_string(), known.sends_from_ns.to_string()),
        ("what the thresholds are", facts.thresholds.join(", "), known.thresholds.join(", ")),
        ("where the load went", facts.target.clone(), known.target.clone()),
        (
            "a value (--set or a variable); the hash of all",
            facts.values_sha256.clone(),
            known.values_sha256.clone(),
        ),
        ("the version of muster", facts.muster_version.clone(), known.muster_version.clone()),
        ("the number of fleets", facts.populations.len().to_string(), known.populations.len().to_string()),
    ];
    match compared.into_iter().find(|(_, theirs, ours)| theirs != ours) {
        None => Ok(()),
        Some((what, theirs, ours)) => {
            let safe = |text: &str| {
                let short: String = text.chars().take(200).collect();
                Untrusted::new(&short).terminal()
            };
            Err(MergeError::Differs {
                path: path.to_owned(),
                other: other.path.clone(),
                what,
                theirs: safe(&theirs),
                ours: safe(&ours),
            })
        }
    }
}

/// What is said more than once is said once, in the order of the shards.
fn once(sentences: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    sentences.filter(|sentence| seen.insert(sentence.clone())).collect()
}

#[cfg(test)]
mod tests;
