//! The books: every due step, by how it ended, and what was seen of the failures.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::step::{Cause, Class, Failure, Outcome, Reason};
use crate::text::Untrusted;

/// How the steps of one kind ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Steps that became due.
    pub due: u64,
    /// Confirmed by the service.
    pub acknowledged: u64,
    /// Handed over where no confirmation exists.
    pub written: u64,
    /// Failed, by [`Class::index`].
    pub failed: [u64; Class::COUNT],
    /// Unknown, by [`Cause::index`].
    pub unknown: [u64; Cause::COUNT],
    /// Never sent, by [`Reason::index`].
    pub not_sent: [u64; Reason::COUNT],
    /// Attempts that failed and were made again, by [`Class::index`]: not outcomes, they do not end a step.
    pub retried: [u64; Class::COUNT],
}

impl Counts {
    /// Enters the one outcome of a step.
    pub fn outcome(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Acknowledged => &mut self.acknowledged,
            Outcome::Written => &mut self.written,
            Outcome::Failed(class) => &mut self.failed[class.index()],
            Outcome::Unknown(cause) => &mut self.unknown[cause.index()],
            Outcome::NotSent(reason) => &mut self.not_sent[reason.index()],
        } += 1;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        let add = |to: &mut u64, from: &u64| *to = to.saturating_add(*from);
        add(&mut self.due, &other.due);
        add(&mut self.acknowledged, &other.acknowledged);
        add(&mut self.written, &other.written);
        self.failed.iter_mut().zip(&other.failed).for_each(|(to, from)| add(to, from));
        self.unknown.iter_mut().zip(&other.unknown).for_each(|(to, from)| add(to, from));
        self.not_sent.iter_mut().zip(&other.not_sent).for_each(|(to, from)| add(to, from));
        self.retried.iter_mut().zip(&other.retried).for_each(|(to, from)| add(to, from));
    }

    /// Failed with that class.
    pub fn failed_with(&self, class: Class) -> u64 {
        self.failed[class.index()]
    }

    /// Failed, whatever the class.
    pub fn failed_total(&self) -> u64 {
        total(&self.failed)
    }

    /// Sent, and no answer came.
    pub fn unknown_total(&self) -> u64 {
        total(&self.unknown)
    }

    /// Due, and never sent.
    pub fn not_sent_total(&self) -> u64 {
        total(&self.not_sent)
    }

    /// Failed attempts that were made again.
    pub fn retried_total(&self) -> u64 {
        total(&self.retried)
    }

    /// Acknowledged or written.
    pub fn succeeded(&self) -> u64 {
        self.acknowledged.saturating_add(self.written)
    }

    /// Steps whose outcome is known to these books.
    pub fn ended(&self) -> u64 {
        total(&[self.succeeded(), self.failed_total(), self.unknown_total(), self.not_sent_total()])
    }

    /// Due steps without an outcome, or outcomes without a due step (negative). Zero when a run is over.
    pub fn unaccounted(&self) -> i64 {
        i64::try_from(i128::from(self.due) - i128::from(self.ended())).unwrap_or(i64::MAX)
    }
}

fn total(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

/// What one failure looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// When it was first seen, on the run clock.
    pub at: Duration,
    /// What the service or the operating system said.
    pub detail: Untrusted,
}

/// When failures of one class were seen, and what they looked like. Constant memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sightings {
    /// The first, on the run clock.
    pub first: Duration,
    /// The last, on the run clock.
    pub last: Duration,
    /// The earliest details that differ, at most [`Sightings::EXAMPLES`], in order of time.
    pub examples: Vec<Example>,
}

impl Sightings {
    /// Examples kept of a class.
    pub const EXAMPLES: usize = 3;

    fn new(at: Duration) -> Self {
        Self { first: at, last: at, examples: Vec::new() }
    }

    fn seen(&mut self, at: Duration, detail: &Untrusted) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        // Keeping the earliest of the different details is what makes merging exact: whatever belongs to the earliest
        // three of all is among the earliest three where it was seen first.
        if let Some(known) = self.examples.iter().position(|example| example.detail == *detail) {
            if self.examples[known].at <= at {
                return;
            }
            self.examples.remove(known);
        }
        let place = self.examples.partition_point(|example| (example.at, &example.detail) < (at, detail));
        if place < Self::EXAMPLES {
            self.examples.insert(place, Example { at, detail: detail.clone() });
            self.examples.truncate(Self::EXAMPLES);
        }
    }
}

/// Failures by class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failures(BTreeMap<Class, Sightings>);

impl Failures {
    /// Enters one failure. Allocates only for a class or a detail that is new.
    pub fn seen(&mut self, at: Duration, failure: &Failure) {
        self.0.entry(failure.class).or_insert_with(|| Sightings::new(at)).seen(at, &failure.detail);
    }

    /// Enters one failure of which nothing but its class is known.
    pub fn seen_class(&mut self, at: Duration, class: Class) {
        let sightings = self.0.entry(class).or_insert_with(|| Sightings::new(at));
        sightings.first = sightings.first.min(at);
        sightings.last = sightings.last.max(at);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (class, theirs) in &other.0 {
            let ours = self.0.entry(*class).or_insert_with(|| Sightings::new(theirs.first));
            ours.first = ours.first.min(theirs.first);
            ours.last = ours.last.max(theirs.last);
            theirs.examples.iter().for_each(|example| ours.seen(example.at, &example.detail));
        }
    }

    /// Puts back what was kept in a file; examples beyond [`Sightings::EXAMPLES`] are dropped.
    pub fn restore(&mut self, class: Class, first: Duration, last: Duration, examples: &[Example]) {
        let sightings = self.0.entry(class).or_insert_with(|| Sightings::new(first));
        sightings.first = sightings.first.min(first);
        sightings.last = sightings.last.max(last);
        examples.iter().for_each(|example| sightings.seen(example.at, &example.detail));
    }

    /// What was seen of `class`.
    pub fn of(&self, class: Class) -> Option<&Sightings> {
        self.0.get(&class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_details_are_one_example_and_the_earliest_three_are_kept() {
        let mut failures = Failures::default();
        for (second, detail) in [(5, "e"), (1, "a"), (2, "a"), (4, "d"), (3, "c"), (9, "a"), (6, "f")] {
            failures.seen(Duration::from_secs(second), &Failure::new(Class::Reset, detail));
        }
        let seen = failures.of(Class::Reset).expect("it was seen");
        let kept: Vec<_> = seen.examples.iter().map(|e| (e.at.as_secs(), e.detail.raw())).collect();
        assert_eq!(kept, [(1, "a"), (3, "c"), (4, "d")]);
        assert_eq!((seen.first.as_secs(), seen.last.as_secs()), (1, 9));
    }

    #[test]
    fn a_step_without_an_outcome_is_missed_by_the_books() {
        let mut counts = Counts { due: 3, ..Counts::default() };
        counts.outcome(Outcome::Acknowledged);
        counts.outcome(Outcome::Failed(Class::Throttled));
        assert_eq!(counts.unaccounted(), 1);
        counts.outcome(Outcome::NotSent(Reason::QueueFull));
        assert_eq!(counts.unaccounted(), 0);
        counts.outcome(Outcome::Unknown(Cause::RunEnded));
        assert_eq!(counts.unaccounted(), -1);
    }
}
