//! From what is kept back to what was recorded, refusing what contradicts itself.
//!
//! A file may be damaged or hostile. Every histogram is read within bounds, one population at a time, and must add up
//! to its count; figures that a report shows are worked out again from it and not believed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::build::{failure_groups, headline, measured};
use super::file::{self, RunResult};
use super::histogram::{Budget, HistogramError, decode};
use super::merge;
use crate::plan::Shard;
use crate::record::durations::{DIGITS, INTERVAL_DIGITS};
use crate::record::{
    Buckets, Counts, Devices, Durations, Example, Failures, Interval, IntervalPopulation, MilestoneRecord,
    Moments, PopulationRecord, Record, Series, StepRecord,
};
use crate::step::{Cause, Class, Exchange, Milestone, Party, Phase, Reason, StepKind};
use crate::text::Untrusted;

/// What is wrong with the contents of a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A histogram that cannot be read.
    #[error("the histogram of {of}: {source}")]
    Histogram {
        /// Of what it is.
        of: String,
        /// What is wrong with it.
        source: HistogramError,
    },
    /// Figures that contradict each other.
    #[error("{of}: {what}")]
    Inconsistent {
        /// What they are about.
        of: String,
        /// What the contradiction is.
        what: &'static str,
    },
    /// A name that this version does not know, or one that occurs twice.
    #[error("`{name}` is {what}; was the result written by a newer version?")]
    Name {
        /// The name, escaped.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl RunResult {
    /// What was recorded: the reverse of [`super::build()`], but for the examples, whose text stays escaped.
    ///
    /// Takes about 6 MB for each population.
    ///
    /// # Errors
    /// [`Damage`] if the histograms cannot be read or contradict the counts.
    pub fn record(&self) -> Result<Record, Damage> {
        let mut record = Record::new(0, Duration::from_nanos(self.facts.sends_from_ns));
        let budget = Budget::new(Budget::FILE);
        for population in &self.populations {
            record.populations.push(restore(&population.measured, &population.name, &budget)?);
        }
        Ok(record)
    }

    /// The intervals that were recorded.
    ///
    /// # Errors
    /// [`Damage`] if the histograms cannot be read, or the intervals are not as [`Series`] makes them.
    pub fn series(&self) -> Result<Series, Damage> {
        let mut intervals = Vec::with_capacity(self.timeline.intervals.len());
        self.each_interval(|interval| intervals.push(interval.clone()))?;
        Ok(Series::from_parts(self.timeline.width_s, intervals))
    }

    /// Checks everything, and works out again what follows from the rest.
    pub(super) fn refresh(&mut self) -> Result<(), Damage> {
        let inconsistent = |what| Damage::Inconsistent { of: "populations".to_owned(), what };
        if self.populations.len() != self.facts.populations.len() {
            return Err(inconsistent("there are not as many as were planned"));
        }
        let budget = Budget::new(Budget::FILE);
        let mut total = PopulationRecord::default();
        let mut books = Vec::new();
        for (population, planned) in self.populations.iter_mut().zip(&self.facts.populations) {
            if population.name != planned.name {
                return Err(inconsistent("they are not those that were planned"));
            }
            let restored = restore(&population.measured, &population.name, &budget)?;
            total.merge(&restored);
            books.push(Books::of(&restored, self.facts.sends_from_ns)?);
            population.measured = measured(&restored, &self.facts, true);
        }
        if let Some(found) = self.facts.ledger.as_ref().and_then(|ledger| ledger.messages.as_ref()) {
            let all = [&found.lost, &found.phantom, &found.counted_twice];
            if !all.iter().all(|messages| messages.is_consistent()) {
                let of = "the messages that were reconciled".to_owned();
                return Err(Damage::Inconsistent {
                    of,
                    what: "there are not as many examples as there should be",
                });
            }
        }
        if let Some(pace) = &mut self.facts.pace {
            // As long as in a run that the timeline can tell of.
            if !(1..=1 << 32).contains(&pace.width_s) {
                return Err(Damage::Inconsistent {
                    of: "the pace".to_owned(),
                    what: "its windows have an impossible length",
                });
            }
            pace.worst_error = pace.worst().error();
        }
        if let Some(shard) = self.facts.shard
            && Shard::new(shard.index.into(), shard.count.into()).is_err()
        {
            return Err(Damage::Inconsistent {
                of: "the shard".to_owned(),
                what: "there can be no such one",
            });
        }
        self.headline = headline(&total, &self.facts);
        self.total = measured(&total, &self.facts, false);
        if let Some(merged) = &mut self.merged {
            merge::refresh(merged, &self.total)?;
        }
        self.failures = failure_groups(&total);
        let mut told = Interval::new(books.len());
        self.each_interval(|interval| told.merge(interval))?;
        let pairs = books.iter().zip(&told.populations).zip(&self.populations);
        match pairs.into_iter().find(|((books, told), _)| !books.agree(told)) {
            None => Ok(()),
            Some((_, population)) => Err(Damage::Inconsistent {
                of: format!("`{}`", Untrusted::new(&population.name).terminal()),
                what: "the timeline does not add up to the counts of the run",
            }),
        }
    }

    fn each_interval(&self, mut then: impl FnMut(&Interval)) -> Result<(), Damage> {
        let timeline = &self.timeline;
        let inconsistent = |what| Damage::Inconsistent { of: "the timeline".to_owned(), what };
        if timeline.intervals.len() > Series::MAX {
            return Err(inconsistent("it has more than 512 intervals"));
        }
        if !timeline.width_s.is_power_of_two() || timeline.width_s > 1 << 32 {
            return Err(inconsistent("its width is not a power of two seconds"));
        }
        let budget = Budget::new(Budget::FILE);
        for stored in &timeline.intervals {
            if stored.populations.len() > self.populations.len() {
                return Err(inconsistent("an interval has more populations than the run"));
            }
            then(&restore_whole_interval(stored, &budget)?);
        }
        Ok(())
    }
}

/// What the timeline of a population must add up to. Every count is written down twice, so that one that was changed
/// does not become a figure.
struct Books {
    steps: [Counts; StepKind::COUNT],
    devices: Devices,
}

impl Books {
    fn of(record: &PopulationRecord, sends_from_ns: u64) -> Result<Self, Damage> {
        for (kind, step) in StepKind::ALL.iter().zip(&record.steps) {
            // Only sends have a warm-up, and only steps that ended are measured.
            let ended = Counts { due: step.all.ended(), retried: step.measured.retried, ..step.all.clone() };
            if (*kind != StepKind::Send || sends_from_ns == 0) && step.measured != ended {
                let of = format!("`{}`", kind.name());
                return Err(Damage::Inconsistent {
                    of,
                    what: "not every step was measured, without a warm-up",
                });
            }
        }
        Ok(Self { steps: record.steps.each_ref().map(|step| step.all.clone()), devices: record.devices })
    }

    fn agree(&self, told: &IntervalPopulation) -> bool {
        let devices =
            Devices { started: told.started, connected: told.connected_change, finished: told.finished };
        self.devices == devices && self.steps.iter().zip(&told.steps).all(|(all, step)| *all == step.counts)
    }
}

/// The reverse of what [`super::build::interval`] makes, for an interval that comes by itself.
///
/// # Errors
/// [`Damage`] if its histograms cannot be read.
pub(crate) fn restore_single(stored: &file::Interval) -> Result<Interval, Damage> {
    restore_whole_interval(stored, &Budget::new(Budget::FILE))
}

fn restore_whole_interval(stored: &file::Interval, budget: &Budget) -> Result<Interval, Damage> {
    let mut interval = Interval::new(stored.populations.len());
    for (population, stored) in interval.populations.iter_mut().zip(&stored.populations) {
        restore_interval(population, stored, budget)?;
    }
    Ok(interval)
}

fn restore_interval(
    population: &mut IntervalPopulation,
    stored: &file::IntervalPopulation,
    budget: &Budget,
) -> Result<(), Damage> {
    population.started = stored.started;
    population.finished = stored.finished;
    population.connected_change = stored.connected_change;
    let mut seen = Once::default();
    for step in &stored.steps {
        let kind = seen.value(&step.kind, StepKind::from_name(&step.kind))?;
        let of = || format!("`{}` in the timeline", kind.name());
        let restored = &mut population.steps[kind.index()];
        restored.counts = counts(&step.counts)?;
        restored.lateness_max = Duration::from_nanos(step.lateness_max_ns);
        if let Some(text) = &step.histogram {
            let histogram = decode(text, INTERVAL_DIGITS, budget)
                .map_err(|source| Damage::Histogram { of: of(), source })?;
            restored.response = Buckets::of(&histogram);
        }
        if restored.response.count() != restored.counts.acknowledged {
            let what = "the histogram's buckets do not add up to its count";
            return Err(Damage::Inconsistent { of: of(), what });
        }
    }
    Ok(())
}

pub(super) fn restore(
    stored: &file::Measured,
    population: &str,
    budget: &Budget,
) -> Result<PopulationRecord, Damage> {
    let of = |what: &str| format!("`{what}` of `{}`", Untrusted::new(population).terminal());
    let mut restored = PopulationRecord::default();
    restored.devices.started = stored.started;
    restored.devices.connected = stored.connected;
    restored.devices.finished = stored.finished;
    restored.bytes_sent = stored.bytes_sent;
    let mut seen = Once::default();
    for step in &stored.steps {
        let kind = seen.value(&step.kind, StepKind::from_name(&step.kind))?;
        restored.steps[kind.index()] = restore_step(step, &of(kind.name()), budget)?;
    }
    for milestone in &stored.milestones {
        let name = seen.value(&milestone.name, Milestone::from_name(&milestone.name))?;
        let place = &mut restored.milestones[name.index()];
        place.due = milestone.due;
        place.took = durations(&milestone.took, budget, || of(name.name()))?;
    }
    for exchange in &stored.exchanges {
        let name = seen.value(&exchange.name, Exchange::from_name(&exchange.name))?;
        let place = &mut restored.exchanges[name.index()];
        place.failed = exchange.failed;
        place.took = durations(&exchange.took, budget, || of(name.name()))?;
    }
    for phase in &stored.phases {
        let name = format!("{}.{}", phase.party, phase.phase);
        let both = Party::from_name(&phase.party).zip(Phase::from_name(&phase.phase));
        let (party, phase_name) = seen.value(&name, both)?;
        restored.phases[party.index()][phase_name.index()] = durations(&phase.took, budget, || of(&name))?;
    }
    // A device is due to reach each milestone once.
    let due = |seen: &MilestoneRecord| (seen.took.count()..=restored.devices.started).contains(&seen.due);
    if !restored.milestones.iter().all(|seen| seen.due == 0 && seen.took.count() == 0 || due(seen)) {
        let what = "more devices reached it than were due, or more were due than started";
        return Err(Damage::Inconsistent { of: of("a milestone"), what });
    }
    if let Some(timing) = &stored.poll_wait {
        restored.poll_wait = durations(timing, budget, || of("poll_wait"))?;
    }
    Ok(restored)
}

fn restore_step(step: &file::Step, of: &str, budget: &Budget) -> Result<StepRecord, Damage> {
    let timing = |timing, view: &str| durations(timing, budget, || format!("{view} of {of}"));
    let restored = StepRecord {
        all: counts(&step.all)?,
        measured: counts(&step.measured)?,
        response: timing(&step.response, "response")?,
        service: timing(&step.service, "service")?,
        waiting: timing(&step.waiting, "waiting")?,
        lateness: timing(&step.lateness, "lateness")?,
        failures: failures(&step.failures)?,
        retried: failures(&step.retried)?,
    };
    let inconsistent = |what| Err(Damage::Inconsistent { of: of.to_owned(), what });
    for durations in [&restored.response, &restored.service, &restored.waiting] {
        if durations.count() != restored.measured.acknowledged {
            return inconsistent("not every acknowledged step has its durations");
        }
    }
    if restored.measured.due > restored.all.due.max(restored.all.ended()) {
        return inconsistent("more steps were measured than were due");
    }
    Ok(restored)
}

fn counts(stored: &file::Counts) -> Result<Counts, Damage> {
    fn fill(
        to: &mut [u64],
        from: &BTreeMap<String, u64>,
        index: impl Fn(&str) -> Option<usize>,
    ) -> Result<(), Damage> {
        for (name, count) in from {
            let place = index(name).and_then(|at| to.get_mut(at)).ok_or_else(|| unknown(name))?;
            *place = *count;
        }
        Ok(())
    }
    let class = |name: &str| Class::from_name(name).map(Class::index);
    let mut restored = Counts {
        due: stored.due,
        acknowledged: stored.acknowledged,
        written: stored.written,
        ..Counts::default()
    };
    fill(&mut restored.failed, &stored.failed, class)?;
    fill(&mut restored.unknown, &stored.unknown, |name| Cause::from_name(name).map(Cause::index))?;
    fill(&mut restored.not_sent, &stored.not_sent, |name| Reason::from_name(name).map(Reason::index))?;
    fill(&mut restored.retried, &stored.retried, class)?;
    Ok(restored)
}

fn failures(stored: &[file::Failure]) -> Result<Failures, Damage> {
    let mut restored = Failures::default();
    let mut seen = Once::default();
    for failure in stored {
        let class = seen.value(&failure.class, Class::from_name(&failure.class))?;
        let examples: Vec<_> = failure
            .examples
            .iter()
            .map(|e| Example { at: Duration::from_nanos(e.at_ns), detail: Untrusted::new(&e.detail) })
            .collect();
        let nanos = Duration::from_nanos;
        restored.restore(class, nanos(failure.first_ns), nanos(failure.last_ns), &examples);
    }
    Ok(restored)
}

fn durations(timing: &file::Timing, budget: &Budget, of: impl Fn() -> String) -> Result<Durations, Damage> {
    let histogram = match &timing.histogram {
        Some(text) => {
            Some(decode(text, DIGITS, budget).map_err(|source| Damage::Histogram { of: of(), source })?)
        }
        None => None,
    };
    let inconsistent = |what| Damage::Inconsistent { of: of(), what };
    let digits = |text: &str| text.parse().map_err(|_| inconsistent("a sum is not a number"));
    let moments = Moments {
        count: timing.count,
        sum: digits(&timing.sum_ns)?,
        sum_of_squares: digits(&timing.sum_squares_ns2)?,
        min: timing.min_ns.unwrap_or(u64::MAX),
        max: timing.max_ns.unwrap_or(0),
        overflow: timing.overflow,
    };
    Durations::from_parts(histogram, moments).map_err(inconsistent)
}

fn unknown(name: &str) -> Damage {
    Damage::Name { name: Untrusted::new(name).terminal(), what: "not a name of this version" }
}

/// Refuses a name that occurs twice: the second would silently replace the first.
#[derive(Default)]
struct Once(std::collections::BTreeSet<String>);

impl Once {
    fn value<T>(&mut self, name: &str, value: Option<T>) -> Result<T, Damage> {
        let value = value.ok_or_else(|| unknown(name))?;
        if !self.0.insert(name.to_owned()) {
            let what = "there twice";
            return Err(Damage::Name { name: Untrusted::new(name).terminal(), what });
        }
        Ok(value)
    }
}
