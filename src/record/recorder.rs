//! Takes down what one thread's devices do.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::durations::{self, INTERVAL_DIGITS};
use super::{Buckets, DeviceMessages, Interval, Record};
use crate::step::{Exchange, Failure, Milestone, Observation, Outcome, Party, Phase, Reason, StepKind, View};
use crate::time::Instant;

/// What a recorder needs to know about its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Zero of the run clock.
    pub epoch: Instant,
    /// Sends due earlier on the run clock are warm-up: in the books, not in the histograms.
    pub sends_from: Duration,
}

/// Takes down what one thread's devices do.
///
/// A due step costs two calls: [`Recorder::due`] when it becomes due, [`Recorder::step`] when it has ended. Neither
/// allocates once every histogram in use exists (and for a failure, once its text was seen).
#[derive(Debug)]
pub struct Recorder {
    epoch: Instant,
    record: Record,
    /// What happened since the last [`Self::take_interval`].
    interval: Interval,
    /// Response times of that interval, by population and kind; kept allocated from one interval to the next.
    responses: Vec<[Option<Box<Histogram<u64>>>; StepKind::COUNT]>,
}

impl Recorder {
    /// A recorder for devices of `populations` populations.
    pub fn new(populations: usize, settings: Settings) -> Self {
        Self {
            epoch: settings.epoch,
            record: Record::new(populations, settings.sends_from),
            interval: Interval::new(populations),
            responses: (0..populations).map(|_| Default::default()).collect(),
        }
    }

    /// A step has become due. Exactly one [`Self::step`] must follow for it.
    pub fn due(&mut self, population: usize, kind: StepKind) {
        self.record.populations[population].steps[kind.index()].all.due += 1;
        self.interval.populations[population].steps[kind.index()].counts.due += 1;
    }

    /// A step has ended, as `o` says; `failure` tells more if it failed.
    ///
    /// Lateness is taken of every step that our code got to, whatever its outcome. `o.ready` of a step whose device
    /// was disconnected when it became due is the instant our code *noticed* that it was due; of a step that our code
    /// never got to (the device had stopped, or the run was over) it equals `o.finished`, and no lateness is taken.
    pub fn step(&mut self, population: usize, o: &Observation, failure: Option<&Failure>) {
        let interval = &mut self.interval.populations[population].steps[o.kind.index()];
        let step = &mut self.record.populations[population].steps[o.kind.index()];

        step.all.outcome(o.outcome);
        interval.counts.outcome(o.outcome);
        if let Outcome::Failed(class) = o.outcome {
            let at = o.finished.since(self.epoch);
            match failure.filter(|failure| failure.class == class) {
                Some(failure) => step.failures.seen(at, failure),
                None => step.failures.seen_class(at, class),
            }
        }
        let response = o.span(View::Response);
        if o.outcome == Outcome::Acknowledged {
            let us = durations::to_us(u64::try_from(response.as_nanos()).unwrap_or(u64::MAX));
            self.responses[population][o.kind.index()]
                .get_or_insert_with(|| Box::new(durations::with_digits(INTERVAL_DIGITS)))
                .saturating_record(us);
        }
        let had_its_turn = o.ready < o.finished
            || !matches!(
                o.outcome,
                Outcome::NotSent(Reason::DeviceStopped | Reason::RunEnded | Reason::Interrupted)
            );
        let lateness = o.span(View::Lateness);
        if had_its_turn {
            interval.lateness_max = interval.lateness_max.max(lateness);
        }

        if o.kind == StepKind::Send && o.due.since(self.epoch) < self.record.sends_from {
            return;
        }
        step.measured.due += 1;
        step.measured.outcome(o.outcome);
        if had_its_turn {
            step.lateness.record(lateness);
            if o.kind == StepKind::Send {
                self.record.pace.send(o.due.since(self.epoch), o.ready.since(self.epoch));
            }
        }
        if o.outcome == Outcome::Acknowledged {
            step.response.record(response);
            step.service.record(o.span(View::Service));
            step.waiting.record(o.span(View::Waiting));
        }
    }

    /// An attempt inside a step failed at `at` and is made again (a 429, then a retry): counted by class, not an
    /// outcome.
    pub fn failed_attempt(&mut self, population: usize, kind: StepKind, failure: &Failure, at: Instant) {
        let class = failure.class.index();
        let step = &mut self.record.populations[population].steps[kind.index()];
        step.all.retried[class] += 1;
        step.retried.seen(at.since(self.epoch), failure);
        self.interval.populations[population].steps[kind.index()].counts.retried[class] += 1;
    }

    /// A request got its answer after `took`; `ok` if the answer was the one hoped for. Only the time of those is kept.
    pub fn exchange(&mut self, population: usize, exchange: Exchange, took: Duration, ok: bool) {
        let seen = &mut self.record.populations[population].exchanges[exchange.index()];
        if ok {
            seen.took.record(took);
        } else {
            seen.failed += 1;
        }
    }

    /// A phase of opening a connection to `party` succeeded after `took`.
    pub fn phase(&mut self, population: usize, party: Party, phase: Phase, took: Duration) {
        self.record.populations[population].phases[party.index()][phase.index()].record(took);
    }

    /// A device waited that long between two polls of DPS: neither ours nor an exchange.
    pub fn poll_wait(&mut self, population: usize, waited: Duration) {
        self.record.populations[population].poll_wait.record(waited);
    }

    /// A device is due to reach a milestone.
    pub fn milestone_due(&mut self, population: usize, milestone: Milestone) {
        self.record.populations[population].milestones[milestone.index()].due += 1;
    }

    /// A device has reached it, `took` after that was due.
    pub fn milestone(&mut self, population: usize, milestone: Milestone, took: Duration) {
        self.record.populations[population].milestones[milestone.index()].took.record(took);
    }

    /// A device has started.
    pub fn device_started(&mut self, population: usize) {
        self.record.populations[population].devices.started += 1;
        self.interval.populations[population].started += 1;
    }

    /// A device is connected to its hub and usable.
    pub fn device_connected(&mut self, population: usize) {
        self.record.populations[population].devices.connected += 1;
        self.interval.populations[population].connected_change += 1;
    }

    /// A connected device no longer is.
    pub fn device_disconnected(&mut self, population: usize) {
        self.record.populations[population].devices.connected -= 1;
        self.interval.populations[population].connected_change -= 1;
    }

    /// A device has nothing left to do.
    pub fn device_finished(&mut self, population: usize) {
        self.record.populations[population].devices.finished += 1;
        self.interval.populations[population].finished += 1;
    }

    /// Bytes of message bodies handed to connections.
    pub fn bytes_sent(&mut self, population: usize, bytes: u64) {
        self.record.populations[population].bytes_sent += bytes;
    }

    /// What became of each message of a device that has nothing left to do.
    pub fn messages(&mut self, device: DeviceMessages) {
        self.record.messages.add(device);
    }

    /// Everything since the last call, for progress and for a [`Series`](super::Series). Small, and cheap enough for once a second.
    pub fn take_interval(&mut self) -> Interval {
        let fresh = Interval::new(self.interval.populations.len());
        let mut taken = std::mem::replace(&mut self.interval, fresh);
        for (population, responses) in taken.populations.iter_mut().zip(&mut self.responses) {
            for (step, response) in population.steps.iter_mut().zip(responses) {
                if let Some(histogram) = response.as_deref_mut().filter(|h| !h.is_empty()) {
                    step.response = Buckets::of(histogram);
                    histogram.reset();
                }
            }
        }
        taken
    }

    /// What was seen in the whole run.
    pub fn finish(mut self) -> Record {
        self.record.messages.sort();
        self.record
    }
}
