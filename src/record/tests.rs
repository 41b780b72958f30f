//! Properties of recording: merging is exact, and nothing is lost from the books.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::step::{Cause, Class, Failure, Observation, Outcome, Reason};
use crate::time::Instant;

const SETTINGS: Settings =
    Settings { epoch: Instant::from_nanos(1_000), sends_from: Duration::from_millis(1) };

/// One call of a recorder, for a population.
#[derive(Debug, Clone)]
enum Call {
    Step { kind: StepKind, due: u64, spans: [u64; 3], outcome: Outcome, detail: &'static str },
    Retry { class: Class, at: u64, detail: &'static str },
    Exchange { took: u64, ok: bool },
    Phase { took: u64 },
    Milestone { took: Option<u64> },
    Connected,
}

fn play(recorder: &mut Recorder, population: usize, call: &Call) {
    let nanos = Duration::from_nanos;
    match call {
        Call::Step { kind, due, spans, outcome, detail } => {
            let due = SETTINGS.epoch + nanos(*due);
            let ready = due + nanos(spans[0]);
            let started = ready + nanos(spans[1]);
            let o = Observation {
                kind: *kind,
                due,
                ready,
                started,
                finished: started + nanos(spans[2]),
                outcome: *outcome,
            };
            recorder.due(population, *kind);
            let failure = match outcome {
                Outcome::Failed(class) => Some(Failure::new(*class, detail)),
                _ => None,
            };
            recorder.step(population, &o, failure.as_ref());
        }
        Call::Retry { class, at, detail } => {
            let failure = Failure::new(*class, detail);
            recorder.failed_attempt(population, StepKind::Register, &failure, SETTINGS.epoch + nanos(*at));
        }
        Call::Exchange { took, ok } => {
            recorder.exchange(population, Exchange::DpsPoll, nanos(*took), *ok);
            recorder.poll_wait(population, nanos(*took));
        }
        Call::Phase { took } => recorder.phase(population, Party::Hub, Phase::Tls, nanos(*took)),
        Call::Milestone { took } => {
            recorder.milestone_due(population, Milestone::TimeToAssigned);
            if let Some(took) = took {
                recorder.milestone(population, Milestone::TimeToAssigned, nanos(*took));
            }
        }
        Call::Connected => {
            recorder.device_started(population);
            recorder.device_connected(population);
        }
    }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Acknowledged),
        1 => Just(Outcome::Written),
        2 => prop::sample::select(Class::ALL).prop_map(Outcome::Failed),
        1 => prop::sample::select(Cause::ALL).prop_map(Outcome::Unknown),
        1 => prop::sample::select(Reason::ALL).prop_map(Outcome::NotSent),
    ]
}

fn calls() -> impl Strategy<Value = Call> {
    let detail = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    prop_oneof![
        4 => (
            prop::sample::select(StepKind::ALL),
            0u64..3_000_000,
            [0u64..5_000_000, 0u64..5_000_000, 0u64..5_000_000_000_000],
            outcomes(),
            detail(),
        ).prop_map(|(kind, due, spans, outcome, detail)| Call::Step { kind, due, spans, outcome, detail }),
        2 => (prop::sample::select(&[Class::Throttled, Class::Reset][..]), 0u64..100, detail())
            .prop_map(|(class, at, detail)| Call::Retry { class, at, detail }),
        1 => (0u64..1_000_000_000, any::<bool>()).prop_map(|(took, ok)| Call::Exchange { took, ok }),
        1 => (0u64..1_000_000_000).prop_map(|took| Call::Phase { took }),
        1 => prop::option::of(0u64..1_000_000_000).prop_map(|took| Call::Milestone { took }),
        1 => Just(Call::Connected),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merging_shards_gives_what_one_recorder_saw(
        calls in prop::collection::vec((0usize..2, 0usize..3, calls()), 0..60),
    ) {
        let mut one = Recorder::new(2, SETTINGS);
        let mut shards: Vec<_> = (0..3).map(|_| Recorder::new(2, SETTINGS)).collect();
        for (population, shard, call) in &calls {
            play(&mut one, *population, call);
            play(&mut shards[*shard], *population, call);
        }
        let mut intervals = Interval::new(2);
        for shard in &mut shards {
            intervals.merge(&shard.take_interval());
        }
        prop_assert_eq!(intervals, one.take_interval());

        let one = one.finish();
        let parts: Vec<_> = shards.into_iter().map(Recorder::finish).collect();
        let joined = |order: [usize; 3]| {
            let mut joined = Record::new(2, SETTINGS.sends_from);
            order.into_iter().for_each(|at| joined.merge(&parts[at]).expect("the same plan"));
            joined
        };
        prop_assert_eq!(&joined([0, 1, 2]), &one);
        prop_assert_eq!(&joined([2, 0, 1]), &one);
        let mut right = parts[1].clone();
        right.merge(&parts[2]).expect("the same plan");
        let mut grouped = parts[0].clone();
        grouped.merge(&right).expect("the same plan");
        prop_assert_eq!(&grouped, &one);
    }

    #[test]
    fn every_due_step_is_in_the_books_exactly_once(
        calls in prop::collection::vec(calls(), 0..60),
    ) {
        let mut recorder = Recorder::new(1, SETTINGS);
        calls.iter().for_each(|call| play(&mut recorder, 0, call));
        let record = recorder.finish();
        for step in &record.populations[0].steps {
            prop_assert_eq!(step.all.unaccounted(), 0);
            prop_assert_eq!(step.measured.unaccounted(), 0);
            prop_assert_eq!(step.response.count(), step.measured.acknowledged);
            for class in Class::ALL {
                prop_assert_eq!(step.failures.of(*class).is_some(), step.all.failed_with(*class) > 0);
            }
        }
    }
}

#[test]
fn sends_of_the_warm_up_are_in_the_books_and_in_no_histogram() {
    let mut recorder = Recorder::new(1, SETTINGS);
    for (kind, due) in [(StepKind::Send, 0), (StepKind::Send, 1_000_000), (StepKind::Register, 0)] {
        let spans = [10, 10, 10];
        play(&mut recorder, 0, &Call::Step { kind, due, spans, outcome: Outcome::Acknowledged, detail: "" });
    }
    let interval = recorder.take_interval();
    assert_eq!(interval.total().step(StepKind::Send).response.count(), 2);
    let record = recorder.finish();
    let send = record.populations[0].step(StepKind::Send);
    assert_eq!((send.all.acknowledged, send.measured.acknowledged, send.response.count()), (2, 1, 1));
    assert_eq!(record.populations[0].step(StepKind::Register).response.count(), 1);
}

#[test]
fn lateness_is_kept_of_failed_steps_and_not_of_steps_that_never_had_their_turn() {
    let mut recorder = Recorder::new(1, SETTINGS);
    let kind = StepKind::Register;
    let step = |spans, outcome| Call::Step { kind, due: 0, spans, outcome, detail: "no" };
    play(&mut recorder, 0, &step([50_000_000, 0, 5], Outcome::Failed(Class::Refused)));
    play(&mut recorder, 0, &step([0, 70_000_000, 0], Outcome::NotSent(Reason::RunEnded)));
    play(&mut recorder, 0, &step([90_000_000, 0, 0], Outcome::NotSent(Reason::RunEnded)));
    play(&mut recorder, 0, &step([20_000_000, 0, 0], Outcome::NotSent(Reason::QueueFull)));
    let record = recorder.finish();
    let lateness = &record.populations[0].step(kind).lateness;
    assert_eq!((lateness.count(), lateness.max()), (3, Some(Duration::from_millis(50))));
}

#[test]
fn an_interval_begins_where_the_last_one_was_taken() {
    let mut recorder = Recorder::new(1, SETTINGS);
    let call = Call::Step {
        kind: StepKind::Connect,
        due: 0,
        spans: [0, 0, 5_000_000],
        outcome: Outcome::Acknowledged,
        detail: "",
    };
    play(&mut recorder, 0, &call);
    play(&mut recorder, 0, &Call::Connected);
    let first = recorder.take_interval().total();
    assert_eq!((first.started, first.connected_change), (1, 1));
    assert_eq!(first.step(StepKind::Connect).response.quantile(0.5), Some(Duration::from_micros(5_023)));
    assert_eq!(recorder.take_interval(), Interval::new(1));
}

#[test]
fn records_of_different_plans_do_not_merge() {
    let mut record = Record::new(1, Duration::ZERO);
    assert!(record.merge(&Record::new(2, Duration::ZERO)).is_err());
    assert!(record.merge(&Record::new(1, Duration::from_secs(1))).is_err());
    assert_eq!(record, Record::new(1, Duration::ZERO));
}
