//! A generator that stands still: its run has to be void, and the service may not be blamed.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::suspend::suspend;
use super::trial::{load, told};
use super::{Maker, VerifyError, freeze};
use crate::record::Latency;
use crate::report::verification::{Check, Claim, Relation, Trial, Unit};
use crate::result;
use crate::step::StepKind;
use crate::time::{Clock, block_until};

const NAME: &str = "stopped";

/// How long the generator's process is stopped.
const STOP: Duration = Duration::from_secs(1);

/// What takes longer was held up by that.
const LONG: Duration = Duration::from_millis(500);

/// How long the run may take, and a little more.
const PATIENCE: Duration = Duration::from_secs(40);

/// A run of its own process, for the process that measures cannot stop itself and go on measuring.
struct Generator(Child);

impl Drop for Generator {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

pub(super) fn make(maker: &mut Maker<'_>, seed: u64) -> Result<(Vec<Claim>, Trial), VerifyError> {
    let scenario = maker.write(NAME, &freeze::scenario(seed, NAME))?;
    let plan = load(&scenario)?.plan;
    let mut progress = (maker.options.begin)(NAME, &plan);
    let runs = Runs::new(maker.directory.join("stopped-runs"));
    let code = stop_and_wait(&maker.options.program, &scenario, &runs);
    progress.done();
    let code = code?;
    let folder = runs.newest().ok_or_else(|| VerifyError::Stopped("left no folder".to_owned()))?;
    let result = result::read(&folder)?;
    let record = result.record().map_err(|damage| VerifyError::Unreadable(damage.to_string()))?;
    let total = record.total();
    let send = total.step(StepKind::Send);
    let late = send.lateness.longer_than(LONG);
    let blamed = send.service.longer_than(LONG);
    let due = freeze::RATE * (STOP - LONG).as_secs_f64();
    // Those that were under way when it was stopped are as late, for their answers lay there unread: as many as arrive in the
    // time that nine of ten take, and two more for chance.
    let usual = match send.service.quantile(0.9, 0) {
        Some(Latency::Within(usual)) => usual,
        _ => Duration::ZERO,
    };
    let under_way = 2.0 + freeze::RATE * usual.as_secs_f64();
    let gap = result.facts.generator.noise.as_ref().and_then(|noise| noise.max_ns).unwrap_or(0);
    let judgement = result.judgement.as_ref();
    let reasons = judgement.map(|judgement| judgement.reasons.as_slice()).unwrap_or_default();
    let said = reasons.iter().find(|reason| reason.contains("`send`")).or(reasons.first());
    let said = said.map_or("It said nothing.".to_owned(), |reason| format!("It said: {reason}"));
    let claims = vec![
        Claim::new(
            Check::Stopped,
            "exit code of the run: void",
            Unit::Count,
            f64::from(code),
            (Relation::Equals, 97.0),
        )
        .noting(said),
        Claim::new(
            Check::Stopped,
            "messages that were begun 500 ms late or later",
            Unit::Count,
            late as f64,
            (Relation::AtLeast, (due * 0.9).floor()),
        )
        .noting(format!("{due:.0} were due in the first half of the stop")),
        Claim::new(
            Check::Stopped,
            "of them, service times of 500 ms or more",
            Unit::Share,
            blamed as f64 / (late as f64).max(1.0),
            (Relation::AtMost, under_way / (late as f64).max(1.0)),
        ),
        Claim::new(
            Check::Stopped,
            "the longest gap that the noise floor saw",
            Unit::Seconds,
            gap as f64 / 1e9,
            (Relation::AtLeast, STOP.as_secs_f64() * 0.95),
        ),
    ];
    let mut told = told(NAME, &result);
    // On purpose: it is no fault of this machine.
    told.void.clear();
    Ok((claims, told))
}

/// Starts the run, stops it for a while when it is two seconds old, and gives its exit code.
fn stop_and_wait(program: &Path, scenario: &Path, runs: &Runs) -> Result<i32, VerifyError> {
    let failed = |what: String| VerifyError::Stopped(what);
    let mut command = Command::new(program);
    command.arg("run").arg(scenario).arg("--output").arg(&runs.folder).args(["--no-progress", "--quiet"]);
    // Nothing of ours may change what it does.
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().map_err(|error| failed(format!("did not start: {error}")))?;
    let mut generator = Generator(child);
    let clock = Clock::machine();
    let give_up = clock.now() + PATIENCE;
    let mut is_stopped = false;
    loop {
        match generator.0.try_wait() {
            // An interrupt typed at the terminal reaches both of us.
            Ok(Some(status)) if status.code() == Some(130) => return Err(VerifyError::Interrupted),
            Ok(Some(status)) if is_stopped => {
                return status.code().ok_or_else(|| failed("ended by a signal".to_owned()));
            }
            Ok(Some(status)) => return Err(failed(format!("ended before it was two seconds old: {status}"))),
            Ok(None) if clock.now() >= give_up => {
                return Err(failed(format!("did not end within {PATIENCE:?}")));
            }
            Ok(None) => {}
            Err(error) => return Err(failed(format!("cannot be waited for: {error}"))),
        }
        if !is_stopped && seconds_told(runs) >= 2 {
            // Between two seconds of the run clock, so that neither is cut in its middle.
            let at = clock.now() + Duration::from_millis(300);
            suspend(generator.0.id(), at, STOP).map_err(VerifyError::Suspend)?;
            is_stopped = true;
        }
        block_until(clock.now() + Duration::from_millis(20));
    }
}

/// Seconds of the run clock that its timeline has so far.
fn seconds_told(runs: &Runs) -> usize {
    let Some(folder) = runs.newest() else { return 0 };
    let text = std::fs::read_to_string(folder.join("timeline.csv")).unwrap_or_default();
    text.lines().count().saturating_sub(1)
}

/// A folder with runs, of which some may be from before.
struct Runs {
    folder: PathBuf,
    before: HashSet<OsString>,
}

impl Runs {
    fn new(folder: PathBuf) -> Self {
        let before = names(&folder).collect();
        Self { folder, before }
    }

    /// The run that was made since.
    fn newest(&self) -> Option<PathBuf> {
        let mut new = names(&self.folder).filter(|name| !self.before.contains(name));
        new.next().map(|name| self.folder.join(name))
    }
}

/// What is in a folder; nothing if it is not there.
fn names(folder: &Path) -> impl Iterator<Item = OsString> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.file_name())
}
