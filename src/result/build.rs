//! From what was recorded to what is kept, with every figure that a report shows.

use std::collections::BTreeMap;
use std::time::Duration;

use super::file::{
    Beyond, Counts, Example, Exchange, FORMAT, Facts, Failure, FailureGroup, Figure, Headline, Interval,
    IntervalPopulation, IntervalStep, Measured, Milestone, Pace, Phase, Population, Quantiles, RunResult,
    Step, Timeline, Timing, VERSION,
};
use super::histogram::encode;
use crate::plan::Shard;
use crate::record;
use crate::record::durations::enough_for;
use crate::record::{Durations, Failures, Latency, PopulationRecord, Record, Series, StepRecord};
use crate::step;
use crate::step::{Cause, Class, Owner, Party, Reason, StepKind, View};

/// The most entries (population, kind, interval) that a timeline is stored with: beyond, its intervals become longer. As many
/// as eight populations of three kinds have in 512 intervals; a reader takes no more than a certain amount of memory.
const MAX_ENTRIES: usize = 12_288;

/// Devices connected at once from which on memory says something of each: with fewer, it is the histograms'.
const ENOUGH_DEVICES: u64 = 500;

impl Pace {
    /// What is kept of the pace of a run; `None` if no send was due.
    pub fn of(recorded: &record::Pace) -> Option<Self> {
        let worst = recorded.worst()?;
        Some(Self {
            width_s: worst.width.as_secs(),
            windows: recorded.windows().filter(|placed| placed.window.due > 0).count() as u64,
            worst_from_s: worst.from.as_secs(),
            worst_due: worst.window.due,
            worst_begun: worst.window.begun,
            worst_error: worst.window.error(),
        })
    }

    /// What was in the worst window.
    pub fn worst(&self) -> record::Window {
        record::Window { due: self.worst_due, begun: self.worst_begun }
    }
}

/// A TCP connection that took so long had its SYN repeated: by RFC 6298 that happens after 1 s. A histogram counts to 0.1 %, and
/// no round trip takes so long.
const SYN_REPEATED_FROM: Duration = Duration::from_millis(998);

/// The result of a run, not yet judged.
///
/// * `record`: of all threads, merged
/// * `series`: of all threads
/// * `facts`: what else is known; its populations are those of `record`, in the same order
pub fn build(record: &Record, series: &Series, facts: Facts) -> RunResult {
    let mut series = std::borrow::Cow::Borrowed(series);
    while entries(&series) > MAX_ENTRIES && series.intervals().len() > 1 {
        series.to_mut().fold();
    }
    let total = record.total();
    let populations = facts
        .populations
        .iter()
        .zip(&record.populations)
        .map(|(population, recorded)| Population {
            name: population.name.clone(),
            measured: measured(recorded, &facts, true),
        })
        .collect();
    RunResult {
        format: FORMAT.to_owned(),
        version: VERSION,
        judgement: None,
        headline: headline(&total, &facts),
        total: measured(&total, &facts, false),
        failures: failure_groups(&total),
        populations,
        timeline: Timeline {
            width_s: series.width().as_secs(),
            intervals: series.intervals().iter().map(interval).collect(),
        },
        merged: None,
        facts,
        checksum: String::new(),
    }
}

fn entries(series: &Series) -> usize {
    let populations = series.intervals().iter().flat_map(|interval| &interval.populations);
    populations.flat_map(|population| &population.steps).filter(|step| !is_blank(&step.counts)).count()
}

/// Figures of the whole run, from all populations together.
pub(super) fn headline(total: &PopulationRecord, facts: &Facts) -> Headline {
    let generator = &facts.generator;
    let send = total.step(StepKind::Send);
    let mut lateness = Durations::default();
    total.steps.iter().for_each(|step| lateness.merge(&step.lateness));
    let grown = generator.peak_rss_bytes.checked_sub(generator.base_rss_bytes);
    Headline {
        devices: planned(facts),
        assigned: total.step(StepKind::Register).all.acknowledged,
        messages_due: send.all.due,
        messages: send.all.succeeded(),
        cpu_per_message_ns: generator.cpu_ns.checked_div(send.all.succeeded()),
        memory_per_device_bytes: grown
            .filter(|_| generator.base_rss_bytes > 0 && generator.peak_connected >= ENOUGH_DEVICES)
            .and_then(|grown| grown.checked_div(generator.peak_connected)),
        syn_repeated: total
            .phases
            .iter()
            .map(|phases| phases[step::Phase::Tcp.index()].longer_than(SYN_REPEATED_FROM))
            .fold(0, u64::saturating_add),
        lateness: quantiles(&lateness, lateness.count()),
        unaccounted: total.steps.iter().fold(0i64, |sum, step| {
            // Two kinds must not cancel each other out.
            if sum == 0 { step.all.unaccounted() } else { sum }
        }),
    }
}

/// Devices that were planned here.
fn planned(facts: &Facts) -> u64 {
    let part = facts.shard.and_then(|shard| Shard::new(shard.index.into(), shard.count.into()).ok());
    let part = part.unwrap_or(Shard::WHOLE);
    facts.populations.iter().fold(0, |sum, population| sum.saturating_add(part.of(population.count)))
}

/// What was recorded of one population, or of all; histograms only where they are not a sum of others.
pub(super) fn measured(recorded: &PopulationRecord, facts: &Facts, histograms: bool) -> Measured {
    let timing = |durations: &Durations, total: u64| timing(durations, total, histograms);
    Measured {
        started: recorded.devices.started,
        connected: recorded.devices.connected,
        finished: recorded.devices.finished,
        bytes_sent: recorded.bytes_sent,
        steps: StepKind::ALL
            .iter()
            .filter(|kind| !is_blank(&recorded.step(**kind).all))
            .map(|kind| step(*kind, recorded.step(*kind), facts, histograms))
            .collect(),
        milestones: step::Milestone::ALL
            .iter()
            .zip(&recorded.milestones)
            .filter(|(_, seen)| seen.due > 0 || seen.took.count() > 0)
            .map(|(milestone, seen)| Milestone {
                name: milestone.name().to_owned(),
                due: seen.due,
                took: timing(&seen.took, seen.due),
            })
            .collect(),
        exchanges: step::Exchange::ALL
            .iter()
            .zip(&recorded.exchanges)
            .filter(|(_, seen)| seen.failed > 0 || seen.took.count() > 0)
            .map(|(exchange, seen)| Exchange {
                name: exchange.name().to_owned(),
                took: timing(&seen.took, 0),
                failed: seen.failed,
            })
            .collect(),
        phases: Party::ALL
            .iter()
            .flat_map(|party| step::Phase::ALL.iter().map(move |phase| (party, phase)))
            .map(|(party, phase)| (party, phase, &recorded.phases[party.index()][phase.index()]))
            .filter(|(_, _, took)| took.count() > 0)
            .map(|(party, phase, took)| Phase {
                party: party.name().to_owned(),
                phase: phase.name().to_owned(),
                took: timing(took, 0),
            })
            .collect(),
        poll_wait: (recorded.poll_wait.count() > 0).then(|| timing(&recorded.poll_wait, 0)),
    }
}

fn step(kind: StepKind, recorded: &StepRecord, facts: &Facts, histograms: bool) -> Step {
    let warm_up = if kind == StepKind::Send { facts.sends_from_ns } else { 0 };
    let span = Duration::from_nanos(facts.duration_ns.saturating_sub(warm_up)).as_secs_f64();
    let view = |view| timing(recorded.view(view), recorded.total_of(view), histograms);
    Step {
        kind: kind.name().to_owned(),
        all: counts(&recorded.all),
        measured: counts(&recorded.measured),
        failed: recorded.all.failed_total(),
        unknown: recorded.all.unknown_total(),
        not_sent: recorded.all.not_sent_total(),
        retried_throttled: recorded.all.retried[Class::Throttled.index()],
        unaccounted: recorded.all.unaccounted(),
        rate_per_s: (span > 0.0).then(|| recorded.measured.succeeded() as f64 / span),
        response: view(View::Response),
        service: view(View::Service),
        waiting: view(View::Waiting),
        lateness: view(View::Lateness),
        failures: failures(&recorded.failures, &recorded.all.failed),
        retried: failures(&recorded.retried, &recorded.all.retried),
    }
}

fn is_blank(counts: &record::Counts) -> bool {
    counts.due == 0 && counts.ended() == 0 && counts.retried_total() == 0
}

fn counts(recorded: &record::Counts) -> Counts {
    fn named(names: impl Iterator<Item = &'static str>, counts: &[u64]) -> BTreeMap<String, u64> {
        let occurred = names.zip(counts).filter(|(_, count)| **count > 0);
        occurred.map(|(name, count)| (name.to_owned(), *count)).collect()
    }
    let classes = || Class::ALL.iter().map(|class| class.name());
    Counts {
        due: recorded.due,
        acknowledged: recorded.acknowledged,
        written: recorded.written,
        failed: named(classes(), &recorded.failed),
        unknown: named(Cause::ALL.iter().map(|cause| cause.name()), &recorded.unknown),
        not_sent: named(Reason::ALL.iter().map(|reason| reason.name()), &recorded.not_sent),
        retried: named(classes(), &recorded.retried),
    }
}

fn timing(durations: &Durations, total: u64, histograms: bool) -> Timing {
    let moments = durations.moments();
    let nanos = |duration: Option<Duration>| duration.map(|d| d.as_nanos() as u64);
    Timing {
        count: moments.count,
        sum_ns: moments.sum.to_string(),
        sum_squares_ns2: moments.sum_of_squares.to_string(),
        min_ns: nanos(durations.min()),
        max_ns: nanos(durations.max()),
        overflow: moments.overflow,
        mean_ns: nanos(durations.mean()),
        standard_deviation_ns: nanos(durations.standard_deviation()),
        quantiles: quantiles(durations, total),
        histogram: durations.histogram().filter(|_| histograms).map(encode),
    }
}

fn quantiles(durations: &Durations, total: u64) -> Quantiles {
    let total = total.max(durations.count());
    let figure = |q| figure_of(durations, q, total);
    let shown = |q| figure(q).filter(|_| enough_for(q, total));
    Quantiles {
        of: total,
        p50: shown(0.5),
        p90: shown(0.9),
        p99: shown(0.99),
        p999: shown(0.999),
        max: figure(1.0),
    }
}

/// The latency at quantile `q` of `total`.
pub(super) fn figure_of(durations: &Durations, q: f64, total: u64) -> Option<Figure> {
    durations.quantile(q, total).map(|latency| match latency {
        Latency::Within(duration) => Figure::Nanos(duration.as_nanos() as u64),
        Latency::Beyond => Figure::Beyond(Beyond::Beyond),
    })
}

fn failures(seen: &Failures, counts: &[u64; Class::COUNT]) -> Vec<Failure> {
    let nanos = |duration: Duration| duration.as_nanos() as u64;
    Class::ALL
        .iter()
        .filter_map(|class| seen.of(*class).map(|sightings| (class, sightings)))
        .map(|(class, sightings)| Failure {
            class: class.name().to_owned(),
            count: counts[class.index()],
            first_ns: nanos(sightings.first),
            last_ns: nanos(sightings.last),
            examples: examples(&sightings.examples),
        })
        .collect()
}

fn examples(seen: &[record::Example]) -> Vec<Example> {
    let kept = seen.iter();
    kept.map(|e| Example { at_ns: e.at.as_nanos() as u64, detail: e.detail.terminal() }).collect()
}

/// Failures of all kinds of steps by owner and class, the most frequent first within an owner.
pub(super) fn failure_groups(total: &PopulationRecord) -> Vec<FailureGroup> {
    let mut groups = Vec::new();
    for owner in Owner::ALL {
        let classes = Class::ALL.iter().filter(|class| class.owner() == *owner);
        let mut of_owner: Vec<_> = classes.filter_map(|class| failure_group(total, *class)).collect();
        of_owner.sort_by_key(|group| std::cmp::Reverse((group.count, group.retried)));
        groups.extend(of_owner);
    }
    groups
}

fn failure_group(total: &PopulationRecord, class: Class) -> Option<FailureGroup> {
    let mut seen = Failures::default();
    let (mut count, mut retried, mut steps) = (0u64, 0u64, Vec::new());
    for (kind, step) in StepKind::ALL.iter().zip(&total.steps) {
        let here = (step.all.failed_with(class), step.all.retried[class.index()]);
        if here == (0, 0) {
            continue;
        }
        count = count.saturating_add(here.0);
        retried = retried.saturating_add(here.1);
        steps.push(kind.name().to_owned());
        seen.merge(&step.failures);
        seen.merge(&step.retried);
    }
    let sightings = seen.of(class)?;
    Some(FailureGroup {
        owner: class.owner().name().to_owned(),
        class: class.name().to_owned(),
        count,
        retried,
        steps,
        first_ns: sightings.first.as_nanos() as u64,
        last_ns: sightings.last.as_nanos() as u64,
        examples: examples(&sightings.examples),
        remedy: class.remedy().to_owned(),
    })
}

/// What is kept of an interval.
pub(crate) fn interval(recorded: &record::Interval) -> Interval {
    let populations = recorded.populations.iter().map(|population| IntervalPopulation {
        started: population.started,
        finished: population.finished,
        connected_change: population.connected_change,
        steps: StepKind::ALL
            .iter()
            .zip(&population.steps)
            .filter(|(_, step)| !is_blank(&step.counts))
            .map(|(kind, step)| IntervalStep {
                kind: kind.name().to_owned(),
                counts: counts(&step.counts),
                lateness_max_ns: step.lateness_max.as_nanos() as u64,
                histogram: step.response.to_histogram().as_ref().map(encode),
            })
            .collect(),
    });
    Interval { populations: populations.collect() }
}
