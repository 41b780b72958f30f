//! When a run is void: its figures are about this machine and not about the service.
//!
//! Each reason says what it was that took the time, the generator's work or the machine, and what to do about it. The noise
//! floor tells them apart: it is what a generator that costs nothing would have been late by.

use std::time::Duration;

use super::percent;
use crate::record::{Latency, Pace, PopulationRecord, StepRecord};
use crate::result::file::{self, Facts, Noise};
use crate::step::{Class, Owner, StepKind};
use crate::units::{show_count, show_duration};

/// Share of a kind's steps that may be late before the run is void.
pub const LATE_SHARE: f64 = 0.01;

/// Late steps of a kind that a run may always have less than. One hiccup of the machine in a run of ten messages is no reason
/// to throw the run away, and a generator that cannot keep up is late more often than that.
pub const LATE_STEPS: u64 = 2;

/// A step is late from here on, whatever the response time …
pub const LATE_FLOOR: Duration = Duration::from_millis(10);

/// … or, if that is more, from this share of the kind's median response time on.
pub const LATE_SHARE_OF_MEDIAN: f64 = 0.1;

/// Share of the sends due in a window that the generator may be off by because of itself. A hundredth of 10 s is 100 ms, which
/// no series of ordinary gaps adds up to.
pub const RATE_ERROR: f64 = 0.01;

/// What to do about a generator that has too much to do.
const LESS_WORK: &str =
    "Put fewer devices in one process, leave it more of this machine's cores, or run a shard elsewhere.";

/// What to do about a machine that takes the time away.
const QUIETER_MACHINE: &str = "Use a quieter machine, or one whose cores nobody shares.";

/// Why a run is void; empty if it is not.
pub(super) fn reasons(total: &PopulationRecord, facts: &Facts) -> Vec<String> {
    let noise = facts.generator.noise.as_ref();
    let steps = StepKind::ALL.iter().zip(&total.steps);
    let late = steps.filter_map(|(kind, step)| lateness(*kind, step, noise));
    let machine = Class::ALL.iter().filter(|class| class.owner() == Owner::Machine);
    let exhausted = machine.filter_map(|class| {
        let counted = |step: &StepRecord| step.all.failed_with(*class) + step.all.retried[class.index()];
        let times: u64 = total.steps.iter().map(counted).fold(0, u64::saturating_add);
        (times > 0).then(|| {
            format!(
                "This machine was {} ({} times), so the figures are not the service's: {}.",
                class.name(),
                show_count(times),
                class.remedy()
            )
        })
    });
    let rate = facts.pace.as_ref().and_then(|pace| rate(pace, noise));
    late.chain(rate).chain(exhausted).collect()
}

/// Why the lateness of a kind makes the run void, if it does.
fn lateness(kind: StepKind, step: &StepRecord, noise: Option<&Noise>) -> Option<String> {
    let limit = match step.response.quantile(0.5, 0) {
        Some(Latency::Within(median)) => LATE_FLOOR.max(median.mul_f64(LATE_SHARE_OF_MEDIAN)),
        Some(Latency::Beyond) | None => LATE_FLOOR,
    };
    let late = step.lateness.longer_than(limit);
    let share = late as f64 / step.lateness.count() as f64;
    if late < LATE_STEPS || share <= LATE_SHARE {
        return None;
    }
    let what = format!(
        "{} of `{}` began more than {} after they were due (the worst {})",
        percent(share),
        kind.name(),
        show_duration(limit),
        show_duration(step.lateness.max().unwrap_or_default()),
    );
    let Some((noise, away)) = noise.zip(noise.and_then(|noise| away(noise, limit))) else {
        return Some(format!("The generator was late: {what}. {LESS_WORK}"));
    };
    let worst = show_duration(Duration::from_nanos(noise.max_ns.unwrap_or(0)));
    // What is left when the machine's share is taken away would not have made the run void; or it is less than that, which
    // says little more, for steps are not due as evenly over the run as the idle thread's wakes.
    let left = (share - away).max(0.0);
    Some(if left <= LATE_SHARE || left <= away {
        let most = if left <= LATE_SHARE { "" } else { "most of " };
        format!(
            "This machine took {most}the time away: {what}, and {} of the wakes of an idle thread beside them were as late (the \
             worst {worst}). {QUIETER_MACHINE}",
            percent(away)
        )
    } else {
        let machine = match away {
            0.0 => "this machine was never away for as long".to_owned(),
            away => format!("this machine was away as long at only {} of all instants", percent(away)),
        };
        format!("The generator had too much to do: {what}, and {machine} (at most {worst}). {LESS_WORK}")
    })
}

/// Why the rate of sends makes the run void, if it does.
fn rate(pace: &file::Pace, noise: Option<&Noise>) -> Option<String> {
    let worst = pace.worst();
    if worst.off() < Pace::TELLS_FROM || worst.error() <= RATE_ERROR {
        return None;
    }
    let until = pace.worst_from_s.saturating_add(pace.width_s);
    let direction = if worst.begun < worst.due { "too few" } else { "too many, left over from before" };
    let what = format!(
        "between {} s and {until} s it got to {} sends where {} were due ({} {direction}), and not because of the service",
        pace.worst_from_s,
        show_count(worst.begun),
        show_count(worst.due),
        percent(worst.error()),
    );
    // To push so many over the edge of a window takes a gap of this length, if they are even; the machine's own is known.
    let gap = Duration::from_secs(pace.width_s).mul_f64(worst.error().min(1.0));
    let away = noise.and_then(|noise| noise.max_ns).map(Duration::from_nanos);
    let remedy = match away {
        Some(away) if away >= gap => {
            format!("This machine was away for {} at a time. {QUIETER_MACHINE}", show_duration(away))
        }
        _ => LESS_WORK.to_owned(),
    };
    Some(format!("The generator did not keep the rate: {what}. {remedy}"))
}

/// The share of instants at which the machine was away for longer than `limit`. Counts are kept for a few lengths; of those
/// the next longer one is taken, so that a doubt is not to the generator's favour. `None` without wakes.
fn away(noise: &Noise, limit: Duration) -> Option<f64> {
    let rungs = [
        (Duration::from_millis(10), noise.over_10ms),
        (Duration::from_millis(100), noise.over_100ms),
        (Duration::from_secs(1), noise.over_1s),
    ];
    let over = rungs.iter().find(|(length, _)| *length >= limit).map_or(0, |(_, over)| *over);
    (noise.wakes > 0).then(|| over as f64 / noise.wakes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Recorder, Settings};
    use crate::result::samples;
    use crate::step::{Observation, Outcome};
    use crate::time::Instant;

    /// 1,000 sends, of which so many were 15 ms late, with a service time in milliseconds.
    fn sends(late: u64, service: u64) -> PopulationRecord {
        let epoch = Instant::from_nanos(1);
        let mut recorder = Recorder::new(1, Settings { epoch, sends_from: Duration::ZERO });
        for n in 0..1_000 {
            let due = epoch + Duration::from_millis(n * 10);
            let ready = due + Duration::from_millis(if n < late { 15 } else { 0 });
            let o = Observation {
                kind: StepKind::Send,
                due,
                ready,
                started: ready,
                finished: ready + Duration::from_millis(service),
                outcome: Outcome::Acknowledged,
            };
            recorder.due(0, StepKind::Send);
            recorder.step(0, &o, None);
        }
        recorder.finish().total()
    }

    fn judged(total: &PopulationRecord, noise: Option<Noise>) -> Vec<String> {
        let mut facts = samples::facts();
        facts.generator.noise = noise;
        reasons(total, &facts)
    }

    fn noise(over_10ms: u64) -> Option<Noise> {
        Some(Noise { wakes: 1_000, over_10ms, max_ns: Some(16_000_000), ..Noise::default() })
    }

    #[test]
    fn lateness_that_the_machine_lost_as_well_is_the_machines() {
        let reasons = judged(&sends(30, 20), noise(20));
        assert_eq!(
            reasons,
            [
                "This machine took the time away: 3 % of `send` began more than 10.0 ms after they were due (the worst \
              15.0 ms), and 2 % of the wakes of an idle thread beside them were as late (the worst 16.0 ms). Use a quieter \
              machine, or one whose cores nobody shares."
            ]
        );
    }

    #[test]
    fn lateness_beyond_what_the_machine_lost_is_the_generators() {
        let reasons = judged(&sends(30, 20), noise(14));
        assert_eq!(
            reasons,
            [
                "The generator had too much to do: 3 % of `send` began more than 10.0 ms after they were due (the worst \
                 15.0 ms), and this machine was away as long at only 1.4 % of all instants (at most 16.0 ms). Put fewer \
                 devices in one process, leave it more of this machine's cores, or run a shard elsewhere."
            ]
        );
        let quiet = judged(&sends(30, 20), noise(0));
        assert!(
            quiet[0].contains("and this machine was never away for as long (at most 16.0 ms)"),
            "{quiet:?}"
        );
        let unmeasured = judged(&sends(30, 20), None);
        assert!(unmeasured[0].starts_with("The generator was late: 3 % of"), "{unmeasured:?}");
    }

    #[test]
    fn lateness_that_the_machine_lost_for_the_greater_part_is_mostly_the_machines() {
        let reasons = judged(&sends(30, 20), noise(15));
        assert!(reasons[0].starts_with("This machine took most of the time away: 3 % of"), "{reasons:?}");
    }

    #[test]
    fn a_noisy_machine_alone_makes_no_run_void() {
        assert_eq!(judged(&sends(10, 20), noise(900)), Vec::<String>::new());
    }

    #[test]
    fn a_rate_that_is_off_by_more_than_a_hundredth_makes_the_run_void_and_one_by_few_sends_does_not() {
        let with = |due, begun, noise: Option<Noise>| {
            let mut facts = samples::facts();
            facts.generator.noise = noise;
            let pace = file::Pace { width_s: 10, windows: 6, worst_from_s: 20, ..file::Pace::default() };
            facts.pace = Some(file::Pace { worst_due: due, worst_begun: begun, ..pace });
            reasons(&sends(0, 20), &facts)
        };
        assert_eq!(
            with(10_000, 9_200, noise(0)),
            [
                "The generator did not keep the rate: between 20 s and 30 s it got to 9,200 sends where 10,000 were due \
                 (8 % too few), and not because of the service. Put fewer devices in one process, leave it more of this \
                 machine's cores, or run a shard elsewhere."
            ]
        );
        let mut gap = noise(90).expect("noise");
        gap.max_ns = Some(900_000_000);
        let away = with(10_000, 10_800, Some(gap));
        assert!(away[0].contains("10,000 were due (8 % too many, left over from before)"), "{away:?}");
        assert!(
            away[0].ends_with(
                "This machine was away for 900 ms at a time. Use a quieter machine, or one whose cores \
            nobody shares."
            ),
            "{away:?}"
        );
        for (due, begun) in [(10_000, 9_900), (10_000, 10_000), (20, 11), (0, 50)] {
            assert_eq!(with(due, begun, None), Vec::<String>::new());
        }
    }

    #[test]
    fn where_a_slow_service_allows_more_only_longer_gaps_of_the_machine_count() {
        // A tenth of the median of 105 ms is allowed, and of gaps above 10.5 ms only those over 100 ms are known.
        let reasons = judged(&sends(30, 105), noise(900));
        assert!(reasons[0].starts_with("The generator had too much to do"), "{reasons:?}");
        let mut long = noise(900).expect("noise");
        long.over_100ms = 25;
        let reasons = judged(&sends(30, 105), Some(long));
        assert!(reasons[0].starts_with("This machine took the time away"), "{reasons:?}");
    }
}
