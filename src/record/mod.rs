//! What was seen, in constant memory however long the run: histograms, counters and intervals; and what became of each
//! message, in constant memory for each device.
//!
//! Every thread has a [`Recorder`] of its own, so nothing here locks or is shared. At the end each becomes a
//! [`Record`], and records merge exactly: in any order, to what one recorder would have seen. Populations are known by
//! their index in the plan and by nothing else. No I/O and no clock in here.

use std::time::Duration;

use crate::step::{Exchange, Milestone, Party, Phase, StepKind, View};

pub mod counts;
pub mod durations;
pub mod marks;
pub mod messages;
mod pace;
mod recorder;
pub mod series;

pub use counts::{Counts, Example, Failures, Sightings};
pub use durations::{Durations, Latency, Moments};
pub use marks::Marks;
pub use messages::{DeviceMessages, Messages};
pub use pace::{Pace, Placed, Window};
pub use recorder::{Recorder, Settings};
pub use series::{Buckets, Interval, IntervalPopulation, IntervalStep, Series};

/// Steps of one kind in one population.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StepRecord {
    /// The books: every step.
    pub all: Counts,
    /// Steps that the histograms are about: all but sends of the warm-up.
    pub measured: Counts,
    /// Response time of the acknowledged.
    pub response: Durations,
    /// Service time of the acknowledged.
    pub service: Durations,
    /// Waiting of the acknowledged.
    pub waiting: Durations,
    /// Lateness of every measured step that our code got to, whatever its outcome.
    pub lateness: Durations,
    /// What failures looked like that ended a step.
    pub failures: Failures,
    /// What failures looked like that were tried again.
    pub retried: Failures,
}

impl StepRecord {
    /// The durations of that view.
    pub fn view(&self, view: View) -> &Durations {
        match view {
            View::Response => &self.response,
            View::Service => &self.service,
            View::Waiting => &self.waiting,
            View::Lateness => &self.lateness,
        }
    }

    /// How many steps a quantile of that view is over. A step that was written has no response to speak of and counts
    /// neither as fast nor as slow; lateness is over every step that our code got to.
    pub fn total_of(&self, view: View) -> u64 {
        match view {
            View::Lateness => self.lateness.count(),
            View::Response | View::Service | View::Waiting => {
                self.measured.due.saturating_sub(self.measured.written)
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.all.merge(&other.all);
        self.measured.merge(&other.measured);
        self.response.merge(&other.response);
        self.service.merge(&other.service);
        self.waiting.merge(&other.waiting);
        self.lateness.merge(&other.lateness);
        self.failures.merge(&other.failures);
        self.retried.merge(&other.retried);
    }
}

/// Exchanges of one sort.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExchangeRecord {
    /// Time from request to answer of those that worked.
    pub took: Durations,
    /// How many did not.
    pub failed: u64,
}

/// One milestone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MilestoneRecord {
    /// Devices that are due to reach it.
    pub due: u64,
    /// Time of those that did.
    pub took: Durations,
}

/// Where the devices of a population are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Devices {
    /// Started so far.
    pub started: u64,
    /// Connected to their hub now.
    pub connected: i64,
    /// With nothing left to do.
    pub finished: u64,
}

/// One population, or all together ([`Record::total`]).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PopulationRecord {
    /// By [`StepKind::index`].
    pub steps: [StepRecord; StepKind::COUNT],
    /// By [`Exchange::index`].
    pub exchanges: [ExchangeRecord; Exchange::COUNT],
    /// By [`Party::index`] and [`Phase::index`].
    pub phases: [[Durations; Phase::COUNT]; Party::COUNT],
    /// By [`Milestone::index`].
    pub milestones: [MilestoneRecord; Milestone::COUNT],
    /// Waiting between polls of DPS.
    pub poll_wait: Durations,
    /// Where the devices are.
    pub devices: Devices,
    /// Bytes of message bodies handed to connections.
    pub bytes_sent: u64,
}

impl PopulationRecord {
    /// Steps of that kind.
    pub fn step(&self, kind: StepKind) -> &StepRecord {
        &self.steps[kind.index()]
    }

    /// Adds all of `other`. Exact, and in any order.
    pub fn merge(&mut self, other: &Self) {
        self.steps.iter_mut().zip(&other.steps).for_each(|(to, from)| to.merge(from));
        for (to, from) in self.exchanges.iter_mut().zip(&other.exchanges) {
            to.took.merge(&from.took);
            to.failed = to.failed.saturating_add(from.failed);
        }
        for (to, from) in self.phases.iter_mut().flatten().zip(other.phases.iter().flatten()) {
            to.merge(from);
        }
        for (to, from) in self.milestones.iter_mut().zip(&other.milestones) {
            to.due = to.due.saturating_add(from.due);
            to.took.merge(&from.took);
        }
        self.poll_wait.merge(&other.poll_wait);
        self.devices.started = self.devices.started.saturating_add(other.devices.started);
        self.devices.connected = self.devices.connected.saturating_add(other.devices.connected);
        self.devices.finished = self.devices.finished.saturating_add(other.devices.finished);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
    }
}

/// Records of different plans cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// One knows more populations than the other.
    #[error("one part has {ours} populations and the other {theirs}; merge parts of the same scenario")]
    Populations {
        /// Populations of the record merged into.
        ours: usize,
        /// Populations of the other.
        theirs: usize,
    },
    /// Their warm-ups differ.
    #[error(
        "one part measures sends from {ours:?} on and the other from {theirs:?}; merge parts of the same scenario"
    )]
    SendsFrom {
        /// Warm-up of the record merged into.
        ours: Duration,
        /// Warm-up of the other.
        theirs: Duration,
    },
}

/// What was seen in a run, or in one thread's or shard's part of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// End of the warm-up of sends, on the run clock.
    pub sends_from: Duration,
    /// When sends were due and begun, all populations together. A stored result keeps the worst window of it.
    pub pace: Pace,
    /// By index of the population in the plan.
    pub populations: Vec<PopulationRecord>,
    /// What became of each message; nothing unless somebody asked. A stored result does not keep it.
    pub messages: Messages,
}

impl Record {
    /// Nothing seen yet.
    pub fn new(populations: usize, sends_from: Duration) -> Self {
        Self {
            sends_from,
            pace: Pace::default(),
            populations: (0..populations).map(|_| PopulationRecord::default()).collect(),
            messages: Messages::default(),
        }
    }

    /// Adds all of `other`. Exact; order and grouping do not matter.
    ///
    /// # Errors
    /// [`MergeError`] if `other` is of another plan; nothing is added then.
    pub fn merge(&mut self, other: &Self) -> Result<(), MergeError> {
        let (ours, theirs) = (self.populations.len(), other.populations.len());
        if ours != theirs {
            return Err(MergeError::Populations { ours, theirs });
        }
        if self.sends_from != other.sends_from {
            return Err(MergeError::SendsFrom { ours: self.sends_from, theirs: other.sends_from });
        }
        self.pace.merge(&other.pace);
        self.messages.merge(&other.messages);
        self.populations.iter_mut().zip(&other.populations).for_each(|(to, from)| to.merge(from));
        Ok(())
    }

    /// All populations together.
    pub fn total(&self) -> PopulationRecord {
        let mut total = PopulationRecord::default();
        self.populations.iter().for_each(|population| total.merge(population));
        total
    }
}

#[cfg(test)]
mod tests;
