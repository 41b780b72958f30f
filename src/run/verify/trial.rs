//! One run that is made for a verification: what became of each message, and what the emulator stamped.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Maker, VerifyError};
use crate::device::world::EndedMessage;
use crate::emulator::channel::Stamp;
use crate::record::Record;
use crate::report::verification;
use crate::result::file::{Ended, RunResult, Verdict};
use crate::run::{self, Starting};
use crate::scenario;
use crate::step::Outcome;
use crate::time::Instant;

/// A run with every single measurement of it.
pub(super) struct Trial {
    /// Name of its scenario.
    pub(super) name: &'static str,
    /// What is kept of it.
    pub(super) result: RunResult,
    /// Its histograms.
    pub(super) record: Record,
    /// What became of each message, in the order of their ends on each thread.
    pub(super) fates: Vec<EndedMessage>,
    /// The emulator's stamps by device and number of the message.
    pub(super) stamps: HashMap<(String, u64), Vec<Residence>>,
    /// Stamps that name no message of ours.
    pub(super) strangers: u64,
    /// Zero of the run clock.
    pub(super) epoch: Instant,
}

/// How long a message was with the emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Residence {
    /// Its request had come: over HTTPS the head of it.
    pub(super) arrived: Instant,
    /// Its answer was about to be written.
    pub(super) answered: Instant,
}

impl Residence {
    pub(super) fn time(&self) -> Duration {
        self.answered.since(self.arrived)
    }
}

/// A message that was acknowledged, and its stamp.
pub(super) struct Pair {
    pub(super) fate: EndedMessage,
    pub(super) residence: Residence,
}

impl Trial {
    /// Makes the run that `text` describes. Devices have to be called after their fleet: `id = "mqtt-{n}"` in `[fleet.mqtt]`.
    ///
    /// * `starting`: told that devices are about to start
    pub(super) fn make(
        maker: &mut Maker<'_>,
        name: &'static str,
        text: &str,
        starting: &dyn Fn(&Starting),
    ) -> Result<Self, VerifyError> {
        let path = maker.write(name, text)?;
        let plan = load(&path)?;
        let mut progress = (maker.options.begin)(name, &plan.plan);
        let fates = Arc::new(Mutex::new(Vec::new()));
        let epoch = Mutex::new(None);
        let taken = Arc::clone(&fates);
        let options = run::Options {
            program: maker.options.program.clone(),
            threads: None,
            yes: false,
            output: maker.directory.clone(),
            environment: &|_| None,
            stamps: true,
            reconcile: Some(true),
            values_sha256: run::values_sha256(&plan.resolved),
            start: run::coordinate::Start::Now,
            processes: 1,
            witness: Some(Arc::new(move |fate: &EndedMessage| {
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(*fate);
            })),
            starting: Some(&|start: &Starting| {
                *epoch.lock().unwrap_or_else(PoisonError::into_inner) = Some(start.epoch);
                starting(start);
            }),
        };
        let finished = run::execute(plan.plan, &plan.text, &options, progress.as_mut())?;
        let run::Finished { result, stamps: stamped, .. } = finished;
        if result.facts.ended == Ended::Interrupted {
            return Err(VerifyError::Interrupted);
        }
        let record = result.record().map_err(|damage| VerifyError::Unreadable(damage.to_string()))?;
        let mut stamps: HashMap<_, Vec<Residence>> = HashMap::with_capacity(stamped.len());
        let mut strangers = 0;
        for Stamp { device_id, message_id, arrived, answered } in stamped {
            match message_id.rsplit_once('-').and_then(|(_, sequence)| sequence.parse().ok()) {
                Some(sequence) => {
                    stamps.entry((device_id, sequence)).or_default().push(Residence { arrived, answered });
                }
                None => strangers += 1,
            }
        }
        let fates = std::mem::take(&mut *fates.lock().unwrap_or_else(PoisonError::into_inner));
        let epoch = epoch.into_inner().unwrap_or_else(PoisonError::into_inner);
        let epoch =
            epoch.ok_or_else(|| VerifyError::Unreadable("the run told nobody when it began".to_owned()))?;
        Ok(Self { name, result, record, fates, stamps, strangers, epoch })
    }

    /// Name of the fleet that a message came from.
    pub(super) fn fleet(&self, fate: &EndedMessage) -> &str {
        &self.result.facts.populations[fate.population].name
    }

    /// The stamps of a message.
    pub(super) fn stamps_of(&self, fate: &EndedMessage) -> &[Residence] {
        let device = format!("{}-{}", self.fleet(fate), fate.device);
        self.stamps.get(&(device, fate.sequence)).map_or(&[], Vec::as_slice)
    }

    /// Messages of a fleet that were due after the warm-up and acknowledged, with their stamp. One that has none, or several,
    /// is a matter for the books.
    pub(super) fn pairs(&self, fleet: &str) -> Vec<Pair> {
        let from = self.epoch + Duration::from_nanos(self.result.facts.sends_from_ns);
        let wanted = self.fates.iter().filter(|fate| {
            self.fleet(fate) == fleet
                && fate.observation.due >= from
                && fate.observation.outcome == Outcome::Acknowledged
        });
        let joined = wanted.filter_map(|fate| match self.stamps_of(fate) {
            [residence] => Some(Pair { fate: *fate, residence: *residence }),
            _ => None,
        });
        joined.collect()
    }

    /// Whether its figures mean nothing.
    pub(super) fn is_void(&self) -> bool {
        self.result.judgement.as_ref().is_some_and(|judgement| judgement.verdict == Verdict::Void)
    }

    /// The noise floor while it went on: median and 99th percentile, in seconds; zero if not measured.
    pub(super) fn floor(&self) -> (f64, f64) {
        let noise = self.result.facts.generator.noise.as_ref();
        let seconds = |nanos: Option<u64>| nanos.unwrap_or(0) as f64 / 1e9;
        (seconds(noise.and_then(|noise| noise.p50_ns)), seconds(noise.and_then(|noise| noise.p99_ns)))
    }

    /// What is told of it.
    pub(super) fn facts(&self) -> verification::Trial {
        told(self.name, &self.result)
    }
}

/// What is told of a run that was made for a verification.
pub(super) fn told(name: &str, result: &RunResult) -> verification::Trial {
    let noise = result.facts.generator.noise.as_ref();
    let judgement = result.judgement.as_ref().filter(|judgement| judgement.verdict == Verdict::Void);
    verification::Trial {
        name: name.to_owned(),
        duration_ns: result.facts.duration_ns,
        messages: result.headline.messages_due,
        noise_p50_ns: noise.and_then(|noise| noise.p50_ns),
        noise_p99_ns: noise.and_then(|noise| noise.p99_ns),
        void: judgement.map(|judgement| judgement.reasons.clone()).unwrap_or_default(),
    }
}

/// Reads a scenario that this program wrote itself.
pub(super) fn load(path: &Path) -> Result<scenario::Loaded, VerifyError> {
    scenario::load(path, &scenario::Options::default(), &|_| None)
        .map_err(|diagnostics| VerifyError::Scenario(diagnostics.render(false, Some(100))))
}
