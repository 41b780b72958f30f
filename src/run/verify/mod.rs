//! `muster verify`: proves the measuring on the machine where it runs, against the emulator's own stamps.
//!
//! Each check needs runs, and a run serves several checks. Every message of those runs is kept, on both sides, and joined by
//! device and number, so that a claim is held against single measurements and not against another histogram. The runs are made
//! exactly as `muster run` makes them.
//!
//! A claim that fails in a run that is void by the usual rules is not held against the program: the machine was too busy or
//! too noisy to say. One that holds all the same, holds.

use std::path::{Path, PathBuf};

use crate::plan::Plan;
use crate::report::verification::{Check, Verification};
use crate::result::store::StoreError;
use crate::run::RunError;
use crate::run::coordinate::Progress;

mod books;
mod delays;
mod freeze;
mod paired;
mod quantiles;
mod schedule;
mod stopped;
mod suspend;
mod trial;

use trial::Trial;

/// How to verify.
pub struct Options<'a> {
    /// This program, for the emulator's process and for the run that is stopped.
    pub program: PathBuf,
    /// The checks to make; each once, in any order.
    pub checks: Vec<Check>,
    /// The seed of all runs.
    pub seed: u64,
    /// Where the runs are kept; `None` keeps them no longer than needed.
    pub keep: Option<PathBuf>,
    /// Told of each run before it begins, by name; gives who is told how it goes.
    pub begin: &'a mut dyn FnMut(&str, &Plan) -> Box<dyn Progress>,
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A run could not be made.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No folder for the runs.
    #[error("cannot write {path}: {source}; name a folder with --output")]
    Folder {
        /// The folder, or a scenario in it.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The run that is stopped on purpose did not start, or did not end.
    #[error("the run that is to be stopped {0}")]
    Stopped(String),
    /// A process could not be stopped.
    #[error(
        "cannot stop a process of our own: {0}; some sandboxes forbid that: leave the check out with --only"
    )]
    Suspend(std::io::Error),
    /// What a run left cannot be read; a bug.
    #[error("a run left a result that cannot be read: {0}; this is a bug in muster")]
    Unreadable(String),
    /// The result of the run that is stopped cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A scenario of our own is refused; a bug.
    #[error("a scenario of the verification is refused; this is a bug in muster:\n{0}")]
    Scenario(String),
    /// Somebody wants it to end.
    #[error("interrupted; nothing was verified")]
    Interrupted,
}

/// What makes the runs.
struct Maker<'a> {
    options: Options<'a>,
    directory: PathBuf,
}

impl Maker<'_> {
    /// Writes a scenario beside the runs, so that it can be run again by hand.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf, VerifyError> {
        let path = self.directory.join(format!("{name}.toml"));
        std::fs::write(&path, text).map_err(|source| unwritable(&path, source))?;
        Ok(path)
    }
}

fn unwritable(path: &Path, source: std::io::Error) -> VerifyError {
    VerifyError::Folder { path: path.display().to_string(), source }
}

/// Makes the runs that the checks need, and holds every claim against them.
///
/// # Errors
/// [`VerifyError`] when a run cannot be made. That claims do not hold is no error.
pub fn verify(options: Options<'_>) -> Result<Verification, VerifyError> {
    // Gone with the last of its runs, unless they are to be kept.
    let temporary;
    let directory = match &options.keep {
        Some(folder) => {
            std::fs::create_dir_all(folder).map_err(|source| unwritable(folder, source))?;
            folder.clone()
        }
        None => {
            let builder = tempfile::Builder::new().prefix("muster-verify-").tempdir();
            temporary = builder.map_err(|source| unwritable(&std::env::temp_dir(), source))?;
            temporary.path().to_owned()
        }
    };
    let (seed, checks) = (options.seed, options.checks.clone());
    let wants = |wanted: &[Check]| wanted.iter().any(|check| checks.contains(check));
    let mut maker = Maker { options, directory };
    let (mut claims, mut runs, mut trials) = (Vec::new(), Vec::new(), Vec::new());

    // Without a timing of their own, quantiles and books are content with the first of them.
    if wants(&[Check::Paired, Check::Schedule, Check::Quantiles, Check::Books]) {
        let mqtt = Trial::make(&mut maker, "mqtt", &paired::mqtt(seed), &|_| {})?;
        if wants(&[Check::Paired]) {
            claims.extend(paired::claims(&mqtt, "mqtt", "MQTT"));
        }
        if wants(&[Check::Schedule]) {
            claims.extend(schedule::claims(&mqtt));
        }
        trials.push(mqtt);
    }
    if wants(&[Check::Paired]) {
        for (name, protocol) in [("https", "HTTPS"), ("mqtt-ws", "MQTT in a WebSocket")] {
            let trial = Trial::make(&mut maker, name, &paired::plain(seed, name), &|_| {})?;
            claims.extend(paired::claims(&trial, name, protocol));
            trials.push(trial);
        }
    }
    if wants(&[Check::Freeze]) {
        let (trial, found) = freeze::make(&mut maker, seed)?;
        claims.extend(found);
        trials.push(trial);
    }
    if wants(&[Check::Delays]) {
        let trial = Trial::make(&mut maker, "delays", &delays::scenario(seed), &|_| {})?;
        claims.extend(delays::claims(&trial));
        trials.push(trial);
    }
    runs.extend(trials.iter().map(Trial::facts));
    if wants(&[Check::Quantiles]) {
        claims.push(quantiles::claim(&trials));
    }
    if wants(&[Check::Books]) {
        claims.extend(books::claims(&trials));
    }
    drop(trials);
    if wants(&[Check::Stopped]) {
        let (found, told) = stopped::make(&mut maker, seed)?;
        claims.extend(found);
        runs.push(told);
    }
    Ok(Verification::new(seed, claims, runs))
}

/// The value of that quantile of sorted values: the smallest that a share of `q` does not exceed.
fn quantile<T: Copy>(sorted: &[T], q: f64) -> Option<T> {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_a_value_that_was_measured() {
        let values: Vec<u32> = (1..=200).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| quantile(&values, q)), [1, 100, 198, 200].map(Some));
        assert_eq!(quantile(&[0u32; 0], 0.5), None);
    }
}
