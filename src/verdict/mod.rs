//! What to make of a run: pass, threshold crossed, void, interrupted.
//!
//! The order matters. Books that do not add up come first, because nothing else can be believed then. An interrupted run
//! is called that whatever else is true of it. A run whose generator did not keep its schedule is *void* and never
//! green, even if every threshold holds: its figures are about this machine and not about the service.

mod early;
mod void;

use std::time::Duration;

pub use early::Early;
pub use void::{LATE_FLOOR, LATE_SHARE, LATE_SHARE_OF_MEDIAN, LATE_STEPS, RATE_ERROR};

use crate::plan::threshold::{Ending, Metric, Statistic, Threshold};
use crate::record::durations::enough_for;
use crate::record::{Durations, Latency, PopulationRecord, Record};
use crate::result::file::{Ended, Facts, Judgement, ThresholdOutcome, Verdict};
use crate::result::merge::shards;
use crate::step::{Class, StepKind};
use crate::text::Untrusted;
use crate::units::{show_count, show_duration};

/// Exit code of a run that passed.
pub const EXIT_PASS: u8 = 0;

/// Exit code when the tool itself failed.
pub const EXIT_FAILED: u8 = 1;

/// Exit code when the generator missed its own schedule, or this machine ran out of something.
pub const EXIT_VOID: u8 = 97;

/// Exit code of a regression against the baseline.
pub const EXIT_REGRESSION: u8 = 98;

/// Exit code when a threshold was crossed.
pub const EXIT_THRESHOLD: u8 = 99;

/// Exit code of an interrupted run, whose results are written and marked.
pub const EXIT_INTERRUPTED: u8 = 130;

impl Verdict {
    /// With what the program ends.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass | Self::Part => EXIT_PASS,
            Self::Threshold => EXIT_THRESHOLD,
            Self::Void => EXIT_VOID,
            Self::Interrupted => EXIT_INTERRUPTED,
            Self::Broken => EXIT_FAILED,
        }
    }
}

impl Judgement {
    /// The tool failed in a way that the books do not show: whatever else is true, this comes first.
    pub fn spoil(&mut self, reason: String) {
        self.verdict = Verdict::Broken;
        self.exit_code = EXIT_FAILED;
        self.reasons.insert(0, reason);
    }
}

/// Judges a run by its thresholds (in the order given), its schedule and its books.
pub fn judge(record: &Record, facts: &Facts, thresholds: &[Threshold]) -> Judgement {
    if let Some(shard) = facts.shard {
        // What a part of the devices did says nothing about a share or a quantile of all.
        let mut judgement = weigh(record, facts, &[], void::reasons(&record.total(), facts));
        if judgement.verdict == Verdict::Pass {
            judgement.verdict = Verdict::Part;
        }
        judgement.reasons.push(format!(
            "Shard {} of {} (counted from 0): thresholds are judged when it is merged with the others.",
            shard.index, shard.count
        ));
        return judgement;
    }
    let void = void::reasons(&record.total(), facts);
    weigh(record, facts, thresholds, void)
}

/// Judges what was merged of shards. Each of them was held against its own schedule, and one that is void makes all void; so
/// does one that is missing, for the load was another than the scenario's.
///
/// * `parts`: index, end and judgement of each shard
/// * `missing`: indices of those that are not there
pub fn judge_merged(
    record: &Record,
    facts: &Facts,
    thresholds: &[Threshold],
    parts: &[(u32, Ended, Option<Judgement>)],
    missing: &[u32],
) -> Judgement {
    let of = |verdict| {
        parts.iter().filter(move |(.., judged)| judged.as_ref().is_some_and(|j| j.verdict == verdict))
    };
    let told = |(index, _, judged): &(u32, Ended, Option<Judgement>)| {
        let mut reason = judged.as_ref().and_then(|judged| judged.reasons.first()).map_or("", String::as_str);
        // What would be cut off in its middle does without its last sentence, which is advice.
        if reason.chars().count() > Untrusted::MAX_CHARS - 20 {
            reason = reason.rsplit_once(". ").map_or(reason, |(reason, _)| reason);
        }
        format!("Shard {index}: {reason}")
    };
    let mut void: Vec<String> = Vec::new();
    if !missing.is_empty() {
        void.push(format!(
            "{} missing: the load was not what the scenario says.",
            match missing {
                [one] => format!("Shard {one} is"),
                several => format!("{} shards ({}) are", several.len(), shards(several)),
            }
        ));
    }
    void.extend(of(Verdict::Void).map(told));
    let mut judgement = weigh(record, facts, thresholds, void);
    let interrupted: Vec<u32> =
        parts.iter().filter(|(_, ended, _)| *ended == Ended::Interrupted).map(|(index, ..)| *index).collect();
    if !interrupted.is_empty() && interrupted.len() < parts.len() {
        judgement.reasons.push(format!("Interrupted: {}.", shards(&interrupted)));
    }
    // The books of all may add up where those of two do not.
    let broken: Vec<String> = of(Verdict::Broken).map(told).collect();
    if judgement.verdict != Verdict::Broken {
        broken.into_iter().rev().for_each(|reason| judgement.spoil(reason));
    }
    judgement
}

/// The judgement, with the reasons to call it void given.
fn weigh(record: &Record, facts: &Facts, thresholds: &[Threshold], void: Vec<String>) -> Judgement {
    let total = record.total();
    let outcomes: Vec<_> = thresholds
        .iter()
        .map(|threshold| {
            let of = threshold.population.map_or(Some(&total), |at| record.populations.get(at));
            outcome(threshold, of, facts)
        })
        .collect();

    let broken = broken_books(record, facts);
    let mut interrupted = Vec::new();
    if facts.ended == Ended::Interrupted {
        let after = show_duration(Duration::from_nanos(facts.duration_ns));
        interrupted
            .push(format!("Interrupted after {after}: the figures are about what was done until then."));
    }
    let mut crossed = Vec::new();
    if facts.ended == Ended::Aborted {
        crossed.push("Stopped early, because a threshold with `abort_after` was crossed.".to_owned());
    }
    match outcomes.iter().filter(|outcome| !outcome.holds).count() {
        0 => {}
        1 => crossed.push("1 threshold was crossed.".to_owned()),
        several => crossed.push(format!("{several} thresholds were crossed.")),
    }

    let found = [
        (Verdict::Broken, broken),
        (Verdict::Interrupted, interrupted),
        (Verdict::Void, void),
        (Verdict::Threshold, crossed),
    ];
    let verdict =
        found.iter().find(|(_, reasons)| !reasons.is_empty()).map_or(Verdict::Pass, |(verdict, _)| *verdict);
    Judgement {
        verdict,
        exit_code: verdict.exit_code(),
        reasons: found.into_iter().flat_map(|(_, reasons)| reasons).collect(),
        thresholds: outcomes,
    }
}

fn broken_books(record: &Record, facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    for (population, planned) in record.populations.iter().zip(&facts.populations) {
        for (kind, step) in StepKind::ALL.iter().zip(&population.steps) {
            let missing = step.all.unaccounted();
            if missing != 0 {
                let (what, count) = if missing > 0 {
                    ("due steps have no outcome", missing.unsigned_abs())
                } else {
                    ("outcomes have no due step", missing.unsigned_abs())
                };
                reasons.push(format!(
                    "The books do not add up: {} {what} (`{}` of `{}`). This is a fault of muster; please report it.",
                    show_count(count),
                    kind.name(),
                    planned.name,
                ));
            }
        }
    }
    if let Some(ledger) = &facts.ledger {
        reasons.extend(ledger.differences.iter().map(|difference| {
            format!(
                "The emulator counted otherwise: {difference}. This is a fault of muster; please report it."
            )
        }));
    }
    reasons
}

fn outcome(threshold: &Threshold, of: Option<&PopulationRecord>, facts: &Facts) -> ThresholdOutcome {
    let (value, note) = of.map_or((f64::NAN, None), |of| observe(threshold.metric, of, facts));
    ThresholdOutcome {
        text: threshold.text.clone(),
        observed: show(threshold.metric, value),
        value: value.is_finite().then_some(value),
        holds: threshold.comparison.holds(value, threshold.limit),
        note,
    }
}

/// The value of `metric` in seconds, as a fraction, count or rate: infinite beyond every limit, NaN without samples.
fn observe(metric: Metric, of: &PopulationRecord, facts: &Facts) -> (f64, Option<String>) {
    match metric {
        Metric::Latency(kind, view, statistic) => {
            let step = of.step(kind);
            statistic_of(step.view(view), step.total_of(view), statistic)
        }
        Metric::Milestone(milestone, statistic) => {
            let seen = &of.milestones[milestone.index()];
            statistic_of(&seen.took, seen.due, statistic)
        }
        Metric::Share(kind, ending) => {
            let due = ended(of, kind, Ending::Due);
            (if due == 0 { f64::NAN } else { ended(of, kind, ending) as f64 / due as f64 }, None)
        }
        Metric::Count(kind, ending) => (ended(of, kind, ending) as f64, None),
        Metric::Rate(kind, ending) => {
            let warm_up = if kind == StepKind::Send { facts.sends_from_ns } else { 0 };
            let span = Duration::from_nanos(facts.duration_ns.saturating_sub(warm_up)).as_secs_f64();
            let count = count_of(&of.step(kind).measured, ending);
            (if span > 0.0 { count as f64 / span } else { f64::NAN }, None)
        }
    }
}

fn statistic_of(durations: &Durations, total: u64, statistic: Statistic) -> (f64, Option<String>) {
    let seconds = |duration: Option<Duration>| duration.map_or(f64::NAN, |d| d.as_secs_f64());
    let quantile = |q| match durations.quantile(q, total) {
        Some(Latency::Within(duration)) => duration.as_secs_f64(),
        Some(Latency::Beyond) => f64::INFINITY,
        None => f64::NAN,
    };
    match statistic {
        Statistic::Min => (seconds(durations.min()), None),
        Statistic::Mean => (seconds(durations.mean()), None),
        Statistic::Max => (quantile(1.0), None),
        Statistic::Quantile(q) => {
            // Too few to tell: the rank rounds up to a larger value, so what holds would hold with more as well.
            let few = total > 0 && !enough_for(q, total);
            (quantile(q), few.then(|| format!("of only {}", show_count(total))))
        }
    }
}

fn ended(of: &PopulationRecord, kind: Option<StepKind>, ending: Ending) -> u64 {
    let wanted = StepKind::ALL.iter().filter(|k| kind.is_none_or(|kind| kind == **k));
    wanted.map(|kind| count_of(&of.step(*kind).all, ending)).fold(0, u64::saturating_add)
}

fn count_of(counts: &crate::record::Counts, ending: Ending) -> u64 {
    match ending {
        Ending::Due => counts.due,
        Ending::Succeeded => counts.succeeded(),
        Ending::Unsuccessful => counts.due.saturating_sub(counts.succeeded()),
        Ending::Throttled => counts.failed_with(Class::Throttled),
        Ending::Unknown => counts.unknown_total(),
        Ending::NotSent => counts.not_sent_total(),
    }
}

fn show(metric: Metric, value: f64) -> String {
    if value.is_nan() {
        return "no samples".to_owned();
    }
    if value.is_infinite() {
        return "> deadline".to_owned();
    }
    match metric {
        Metric::Latency(..) | Metric::Milestone(..) => show_duration(Duration::from_secs_f64(value)),
        Metric::Share(..) => percent(value),
        Metric::Count(..) => show_count(value as u64),
        Metric::Rate(..) => format!("{value:.1}/s"),
    }
}

/// A share for people: two decimals, and never `0 %` of what is not nothing.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if share > 0.0 && percent < 0.01 {
        return "< 0.01 %".to_owned();
    }
    let text = format!("{percent:.2}");
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::threshold::Comparison;
    use crate::record::{Recorder, Settings};
    use crate::result::samples;
    use crate::step::{Failure, Observation, Outcome, View};
    use crate::time::Instant;

    fn threshold(metric: Metric, comparison: Comparison, limit: f64) -> Threshold {
        Threshold {
            text: "as written".to_owned(),
            metric,
            population: None,
            comparison,
            limit,
            abort_after: None,
        }
    }

    /// Sends, each with its lateness and service time in milliseconds and its outcome.
    fn record(steps: &[(u64, u64, Outcome)]) -> Record {
        let epoch = Instant::from_nanos(1);
        let mut recorder = Recorder::new(2, Settings { epoch, sends_from: Duration::ZERO });
        for (late, service, outcome) in steps {
            let ready = epoch + Duration::from_millis(*late);
            let o = Observation {
                kind: StepKind::Send,
                due: epoch,
                ready,
                started: ready,
                finished: ready + Duration::from_millis(*service),
                outcome: *outcome,
            };
            recorder.due(0, StepKind::Send);
            let failure = match outcome {
                Outcome::Failed(class) => Some(Failure::new(*class, "it failed")),
                _ => None,
            };
            recorder.step(0, &o, failure.as_ref());
        }
        recorder.finish()
    }

    const OK: Outcome = Outcome::Acknowledged;
    const P99: Metric = Metric::Latency(StepKind::Send, View::Response, Statistic::Quantile(0.99));
    const FAILED: Metric = Metric::Share(None, Ending::Unsuccessful);

    #[test]
    fn thresholds_are_over_all_due_steps_and_one_failure_in_fifty_is_beyond_p99() {
        let mut steps = vec![(0, 20, OK); 98];
        steps.extend([(0, 1, Outcome::Failed(Class::Throttled)); 2]);
        let below = [
            threshold(P99, Comparison::Below, 1e9),
            threshold(FAILED, Comparison::AtMost, 0.02),
            threshold(Metric::Count(None, Ending::Throttled), Comparison::Equal, 2.0),
            threshold(Metric::Rate(StepKind::Send, Ending::Succeeded), Comparison::AtLeast, 9.8),
        ];
        let judgement = judge(&record(&steps), &samples::facts(), &below);
        let seen: Vec<_> = judgement.thresholds.iter().map(|t| (t.observed.as_str(), t.holds)).collect();
        assert_eq!(seen, [("> deadline", false), ("2 %", true), ("2", true), ("9.8/s", true)]);
        assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Threshold, 99));
    }

    #[test]
    fn a_threshold_without_samples_fails() {
        for metric in [P99, FAILED] {
            let judgement =
                judge(&record(&[]), &samples::facts(), &[threshold(metric, Comparison::AtMost, 1e9)]);
            assert!(!judgement.thresholds[0].holds);
            assert_eq!(judgement.thresholds[0].observed, "no samples");
        }
        let mut elsewhere = threshold(P99, Comparison::Below, 1.0);
        elsewhere.population = Some(1);
        assert!(!judge(&record(&[(0, 1, OK)]), &samples::facts(), &[elsewhere]).thresholds[0].holds);
    }

    #[test]
    fn few_samples_are_held_against_the_limit_by_their_largest_and_say_so() {
        let judgement = judge(
            &record(&[(0, 10, OK), (0, 30, OK)]),
            &samples::facts(),
            &[threshold(P99, Comparison::Below, 0.025)],
        );
        let seen = &judgement.thresholds[0];
        assert_eq!((seen.observed.as_str(), seen.holds), ("30.0 ms", false));
        assert_eq!(seen.note.as_deref(), Some("of only 2"));
    }

    #[test]
    fn a_late_generator_makes_the_run_void_even_if_every_threshold_holds() {
        let mut steps = vec![(0, 20, OK); 98];
        steps.extend([(15, 20, OK), (15, 20, Outcome::Failed(Class::Reset))]);
        let judgement =
            judge(&record(&steps), &samples::facts(), &[threshold(FAILED, Comparison::Below, 0.5)]);
        assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Void, 97));
        assert!(judgement.reasons[0].contains("2 % of `send` began more than 10.0 ms"), "{judgement:?}");
        // One in a hundred is not more than 1 %.
        steps[99] = (0, 20, OK);
        assert_eq!(judge(&record(&steps), &samples::facts(), &[]).verdict, Verdict::Pass);
    }

    #[test]
    fn lateness_is_measured_by_a_tenth_of_a_slow_kinds_median() {
        let steps = vec![(15, 1_000, OK); 100];
        assert_eq!(judge(&record(&steps), &samples::facts(), &[]).verdict, Verdict::Pass);
    }

    #[test]
    fn a_shortage_of_this_machine_makes_the_run_void() {
        let steps = [(0, 1, OK), (0, 1, Outcome::Failed(Class::DescriptorsExhausted))];
        let judgement = judge(&record(&steps), &samples::facts(), &[]);
        assert_eq!(judgement.verdict, Verdict::Void);
        assert!(judgement.reasons[0].contains("ulimit -n"), "{judgement:?}");
    }

    #[test]
    fn an_interrupted_run_says_so_and_shows_the_rest() {
        let facts = Facts { ended: Ended::Interrupted, ..samples::facts() };
        let steps = vec![(50, 20, OK); 10];
        let judgement = judge(&record(&steps), &facts, &[threshold(FAILED, Comparison::Equal, 0.0)]);
        assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Interrupted, 130));
        assert_eq!(judgement.reasons.len(), 2);
        assert!(judgement.thresholds[0].holds);
    }

    #[test]
    fn books_that_do_not_add_up_are_a_fault_of_the_program() {
        let mut recorder =
            Recorder::new(1, Settings { epoch: Instant::from_nanos(0), sends_from: Duration::ZERO });
        recorder.due(0, StepKind::Connect);
        let judgement = judge(&recorder.finish(), &samples::facts(), &[]);
        assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Broken, 1));
        assert!(judgement.reasons[0].contains("1 due steps have no outcome"), "{judgement:?}");
    }
}
