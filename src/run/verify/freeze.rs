//! A service that stands still: what was due meanwhile has to show it.

use std::cell::RefCell;
use std::thread::JoinHandle;
use std::time::Duration;

use super::suspend::suspend;
use super::trial::Trial;
use super::{Maker, VerifyError};
use crate::report::verification::{Check, Claim, Relation, Unit};
use crate::run::Starting;
use crate::step::{Outcome, View};
use crate::time::Instant;

/// Messages per second.
pub(super) const RATE: f64 = 200.0;

/// How long the emulator's process is stopped.
const STOP: Duration = Duration::from_secs(2);

/// When, on the run clock.
const AT: Duration = Duration::from_secs(3);

/// How far counts may be from what they have to be. Catching up takes a moment, which makes the tail heavier: at this rate by a
/// per cent or two, and up to half of the stop (engineering.md, section 7).
const BAND: f64 = 0.05;

/// 100 devices that send 200 messages a second together.
pub(super) fn scenario(seed: u64, name: &str) -> String {
    format!(
        "# Question  Does everything that was due while a process stood still show it?\n\
         # Healthy   of a stop of S seconds, rate x (S - x) answers take x or longer.\n\
         version = 1\nseed = {seed}\nduration = \"7s\"\ndrain = \"5s\"\n\n\
         [emulator.dps]\nretry_after = \"none\"\nassign = \"0s\"\n\n[measure]\nsends_from = \"2s\"\n\n\
         [fleet.{name}]\ncount = 100\nid = \"{name}-{{n}}\"\nstart.rate = \"100/s\"\n\
         [fleet.{name}.telemetry]\nevery = \"500ms\"\nbytes = \"300 B\"\n"
    )
}

type Stopping = JoinHandle<std::io::Result<(Instant, Instant)>>;

pub(super) fn make(maker: &mut Maker<'_>, seed: u64) -> Result<(Trial, Vec<Claim>), VerifyError> {
    let stopping: RefCell<Option<Stopping>> = RefCell::new(None);
    let starting = |start: &Starting| {
        let Starting { epoch, emulator } = *start;
        *stopping.borrow_mut() =
            emulator.map(|pid| std::thread::spawn(move || suspend(pid, epoch + AT, STOP)));
    };
    let made = Trial::make(maker, "freeze", &scenario(seed, "freeze"), &starting);
    let nobody = || std::io::Error::other("nobody stopped it");
    let stopped =
        stopping.into_inner().and_then(|thread| thread.join().ok()).unwrap_or_else(|| Err(nobody()));
    let trial = made?;
    let (from, until) = stopped.map_err(VerifyError::Suspend)?;
    let span = until.since(from).as_secs_f64();
    let mut claims = Vec::new();
    for part in [8.0, 4.0, 2.0] {
        let limit = span / part;
        let took = trial.fates.iter().filter(|fate| {
            fate.observation.outcome == Outcome::Acknowledged
                && fate.observation.span(View::Response).as_secs_f64() >= limit
        });
        let (took, expected) = (took.count(), RATE * (span - limit));
        let claim = Claim::new(
            Check::Freeze,
            format!("answers that took {:.0} ms or longer are off by", limit * 1e3),
            Unit::Share,
            (took as f64 - expected).abs() / expected,
            (Relation::AtMost, BAND),
        );
        claims.push(claim.noting(format!("{took} did, {expected:.0} had to")).unless(trial.is_void()));
    }
    let lost = trial.fates.iter().filter(|fate| fate.observation.outcome != Outcome::Acknowledged).count();
    claims.push(Claim::new(
        Check::Freeze,
        "messages that were not acknowledged in the end",
        Unit::Count,
        lost as f64,
        (Relation::Equals, 0.0),
    ));
    Ok((trial, claims))
}
