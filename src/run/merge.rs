//! Results of shards become one result, judged by the scenario's thresholds.

use std::path::{Path, PathBuf};

use crate::result::file::RunResult;
use crate::result::files::Growing;
use crate::result::merge::{MergeError, Merger};
use crate::result::{self, store};
use crate::scenario;
use crate::text::Untrusted;
use crate::time::UnixTime;
use crate::verdict;

/// Why there is no merged result.
#[derive(Debug, thiserror::Error)]
pub enum MergeRunError {
    /// A result cannot be read, or the merged one not be written.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// They are not the shards of one run.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A threshold of a newer version.
    #[error("{path}: `{text}` is no threshold that this version knows; use the version that wrote it", path = path.display())]
    Threshold {
        /// A file that has it.
        path: PathBuf,
        /// The threshold, escaped.
        text: String,
    },
}

/// Reads the results of shards and puts them together. One is in memory at a time, besides the sum.
///
/// * `paths`: files or folders of runs, in any order
/// * `allow_missing`: whether shards may be missing, which makes the merged result void
///
/// # Errors
/// [`MergeRunError`] names the file that is in the way, and the difference.
pub fn merge(paths: &[PathBuf], allow_missing: bool) -> Result<RunResult, MergeRunError> {
    let mut merger = Merger::default();
    for path in paths {
        let result = result::read(path)?;
        merger.add(path, &result)?;
    }
    let combined = merger.finish(allow_missing)?;
    let facts = combined.facts;
    let fleets: Vec<&str> = facts.populations.iter().map(|population| population.name.as_str()).collect();
    let thresholds = scenario::thresholds_from(&facts.thresholds, &fleets);
    let thresholds = thresholds.map_err(|text| MergeRunError::Threshold {
        path: paths.first().cloned().unwrap_or_default(),
        text: Untrusted::new(text).terminal(),
    })?;
    let judgement = verdict::judge_merged(
        &combined.record,
        &facts,
        &thresholds,
        &combined.parts,
        &combined.merged.missing,
    );
    let mut result = result::build(&combined.record, &combined.series, facts);
    result.set_merged(combined.merged);
    result.judgement = Some(judgement);
    Ok(result)
}

/// Makes a folder for a merged result and writes it there, as a run does; the timeline has a row for each interval that the
/// result has.
///
/// # Errors
/// [`store::StoreError`] when something cannot be written.
pub fn keep(output: &Path, result: &RunResult) -> Result<PathBuf, store::StoreError> {
    let started = UnixTime::parse_rfc3339(&result.facts.started).unwrap_or(UnixTime::from_nanos(0));
    let folder = store::create_directory(output, &result.facts.scenario, started)?;
    let mut files = Growing::create(&folder, started)?;
    // It was built just now, of what could be read.
    if let Ok(series) = result.series() {
        let width_s = series.width().as_secs();
        for (at, interval) in series.intervals().iter().enumerate() {
            files.span((at as u64 + 1) * width_s, width_s, interval);
        }
    }
    files.finish()?;
    super::keep(&folder, result)?;
    Ok(folder)
}
