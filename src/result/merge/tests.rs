//! What is merged adds up, what does not belong together is refused with the difference, and who differs is found.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::record::{Recorder, Settings};
use crate::result::file::{Figure, OffsetBy, RunClock, Shard as StoredShard, Verdict};
use crate::result::samples::{self, Story};
use crate::result::{build, read, write};
use crate::step::{Observation, Outcome, StepKind};
use crate::time::Instant;

/// Shard `index` of `count` of a run in which every send took what `took` says, in microseconds.
fn shard(index: u32, count: u32, took: impl Fn(u64) -> u64) -> RunResult {
    let epoch = Instant::from_nanos(1);
    let mut recorder = Recorder::new(2, Settings { epoch, sends_from: Duration::ZERO });
    for n in 0..2_000 {
        let due = epoch + Duration::from_millis(n);
        let finished = due + Duration::from_micros(took(n));
        let o = Observation {
            kind: StepKind::Send,
            due,
            ready: due,
            started: due,
            finished,
            outcome: Outcome::Acknowledged,
        };
        recorder.due(0, StepKind::Send);
        recorder.step(0, &o, None);
    }
    let mut series = Series::default();
    series.add(u64::from(index), &recorder.take_interval());
    let mut facts = samples::facts();
    facts.shard = Some(StoredShard { index, count });
    facts.thresholds = vec!["send.response.p99 < 1s".to_owned()];
    facts.clock = Some(RunClock { boot: "a".to_owned(), zero_ns: 5_000 + u64::from(index) * 1_000 });
    build(&recorder.finish(), &series, facts)
}

fn merged(results: &[RunResult]) -> Result<Combined, MergeError> {
    let mut merger = Merger::default();
    for (at, result) in results.iter().enumerate() {
        merger.add(Path::new(&format!("r{at}")), result)?;
    }
    merger.finish(false)
}

fn refused(results: &[RunResult]) -> String {
    merged(results).expect_err("they do not belong together").to_string()
}

#[test]
fn shards_add_up_and_the_merged_result_reads_back() {
    let shards: Vec<_> = (0..4).map(|index| shard(index, 4, |n| 900 + n % 100)).collect();
    let combined = merged(&shards).expect("they are of one run");
    assert_eq!((combined.merged.offset_ns, combined.merged.offset_by), (3_000, OffsetBy::MonotonicClock));
    assert_eq!((combined.facts.threads, combined.facts.generator.cpu_ns), (8, 6_000_000_000));
    assert_eq!(combined.facts.ledger.as_ref().expect("books").agreed, ["480 messages accepted"]);
    let mut result = build(&combined.record, &combined.series, combined.facts);
    result.set_merged(combined.merged);
    assert_eq!((result.headline.messages, result.headline.devices), (8_000, 1_020));
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &result).expect("it is writable");
    let again = read(folder.path()).expect("it was just written");
    assert_eq!(again, result);
    assert!(matches!(merged(&[again]), Err(MergeError::Merged { .. })));
    assert_eq!(result.merged.expect("shards").spread[0].p99.differ, Vec::<u32>::new());
}

#[test]
fn what_is_missing_doubled_or_overlapping_is_named() {
    let one = |index, count| shard(index, count, |_| 1_000);
    assert!(refused(&[one(0, 4), one(2, 4)]).contains("shards 1 and 3 of 4 are missing"));
    assert!(refused(&[one(0, 4), one(2, 4), one(0, 4)]).contains("r2 and r0 are both shard 0/4"));
    let overlapping = refused(&[one(0, 2), one(1, 4)]);
    assert!(
        overlapping.contains("r1 and r0")
            && overlapping.contains("overlap")
            && overlapping.contains("(4 and 2)"),
        "{overlapping}"
    );
    assert!(refused(&[samples::result(Story::Healthy)]).contains("r0: is a whole run"));
    assert!(refused(&[]).contains("no result was named"));
    let mut merger = Merger::default();
    merger.add(Path::new("r"), &one(3, 4)).expect("a shard");
    let there = merger.finish(true).expect("missing ones are allowed");
    assert_eq!(there.merged.missing, [0, 1, 2]);
}

#[test]
fn another_run_is_refused_with_the_difference() {
    let changed = |change: fn(&mut Facts)| {
        let mut other = shard(1, 2, |_| 1_000);
        change(&mut other.facts);
        refused(&[shard(0, 2, |_| 1_000), other])
    };
    for (change, told) in [
        ((|facts| facts.seed = 8) as fn(&mut Facts), "the seed differs (8 and 7)"),
        (|facts| facts.scenario = "other\u{1b}[2J".to_owned(), "the scenario differs (other"),
        (|facts| facts.scenario_sha256 = "0".to_owned(), "the text of the scenario differs"),
        (|facts| facts.values_sha256 = "0".to_owned(), "a value (--set or a variable)"),
        (|facts| facts.run_id = "0".to_owned(), "the id of the run differs"),
        (|facts| facts.populations[0].count = 3, "what the fleets are differs (sensors × 3"),
        (|facts| facts.sends_from_ns = 3, "the end of the warm-up"),
        (|facts| facts.muster_version = "0.0.1".to_owned(), "the version of muster differs (0.0.1"),
        (|facts| facts.thresholds.clear(), "what the thresholds are differs"),
        (|facts| facts.target = "a.b".to_owned(), "where the load went differs (a.b and emulator)"),
    ] {
        let error = changed(change);
        assert!(
            error.starts_with("r1 and r0 are not shards of one run: ") && error.contains(told),
            "{error}"
        );
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}

#[test]
fn the_distance_of_clocks_on_different_machines_is_that_of_their_wall_clocks() {
    let mut shards: Vec<_> = (0..2).map(|index| shard(index, 2, |_| 1_000)).collect();
    shards[1].facts.clock.as_mut().expect("a clock").boot = "b".to_owned();
    shards[1].facts.started = "2026-01-31T12:00:02.5Z".to_owned();
    let combined = merged(&shards).expect("they are of one run");
    assert_eq!((combined.merged.offset_ns, combined.merged.offset_by), (2_500_000_000, OffsetBy::WallClocks));
    assert!(combined.facts.notes[0].contains("up to 2.5 s apart"), "{:?}", combined.facts.notes);
    assert_eq!((combined.facts.started.as_str(), combined.facts.clock), ("2026-01-31T12:00:00Z", None));
}

#[test]
fn a_shard_that_is_slower_than_chance_makes_it_is_found_and_one_of_two_is_not() {
    let spread = |slow: u64, count: u32| {
        // Its slowest two in a hundred take so many times as long.
        let shards: Vec<_> = (0..count)
            .map(|index| {
                shard(index, count, |n| if index == 1 && n % 50 == 0 { 1_000 * slow } else { 900 + n % 100 })
            })
            .collect();
        let combined = merged(&shards).expect("they are of one run");
        let mut result = build(&combined.record, &combined.series, combined.facts);
        result.set_merged(combined.merged);
        result.merged.expect("shards").spread.remove(0)
    };
    let found = spread(5, 4);
    assert_eq!((found.p50.differ.clone(), found.p99.differ.clone()), (vec![], vec![1]));
    let millis = |figure: Option<Figure>| match figure {
        Some(Figure::Nanos(nanos)) => nanos / 1_000_000,
        _ => u64::MAX,
    };
    assert_eq!((millis(found.p99.least), millis(found.p99.most), millis(found.p99.merged)), (0, 5, 0));
    assert_eq!(spread(5, 2).p99.differ, Vec::<u32>::new(), "of two, nobody knows which");
    assert_eq!(spread(1, 4).p99.differ, Vec::<u32>::new(), "less than a tenth");
}

#[test]
fn shards_that_a_file_makes_up_are_refused() {
    let shards: Vec<_> = (0..2).map(|index| shard(index, 2, |_| 1_000)).collect();
    let combined = merged(&shards).expect("they are of one run");
    let whole = build(&combined.record, &combined.series, combined.facts);
    let refused = |change: fn(&mut Merged)| {
        let mut changed = whole.clone();
        let mut merged = combined.merged.clone();
        change(&mut merged);
        changed.merged = Some(merged);
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &changed).expect("it is writable");
        read(folder.path()).map(|read| read.merged.expect("shards").spread.len()).map_err(|e| e.to_string())
    };
    assert_eq!(refused(|_| {}), Ok(1), "the spread is worked out");
    assert!(refused(|merged| merged.count = 3).expect_err("one is nowhere").contains("once"));
    assert!(refused(|merged| merged.missing = vec![1]).expect_err("one twice").contains("once"));
    assert!(refused(|merged| merged.count = u32::MAX).expect_err("too many").contains("impossible"));
    let mut part = shards[0].clone();
    part.facts.shard = Some(StoredShard { index: 7, count: 2 });
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &part).expect("it is writable");
    assert!(read(folder.path()).expect_err("no such shard").to_string().contains("no such one"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_shards_changes_no_byte(order in Just((0u32..6).collect::<Vec<_>>()).prop_shuffle()) {
        let text = |order: &[u32]| {
            let shards: Vec<_> = order.iter().map(|index| shard(*index, 6, |n| 500 + n * u64::from(index + 1) % 997)).collect();
            let combined = merged(&shards).expect("they are of one run");
            let mut result = build(&combined.record, &combined.series, combined.facts);
            result.set_merged(combined.merged);
            crate::result::store::text(&result).expect("plain data")
        };
        prop_assert!(text(&order) == text(&[0, 1, 2, 3, 4, 5]));
    }
}

#[test]
fn a_void_shard_makes_the_whole_void_and_is_named_and_so_does_a_missing_one() {
    use crate::verdict::{judge, judge_merged};
    let mut late = shard(1, 3, |_| 1_000);
    let good = [shard(0, 3, |_| 1_000), shard(2, 3, |_| 1_000)];
    let mut judged: Vec<RunResult> = good
        .iter()
        .map(|result| {
            let judgement = judge(&result.record().expect("whole"), &result.facts, &[]);
            assert_eq!((judgement.verdict, judgement.exit_code), (Verdict::Part, 0));
            RunResult { judgement: Some(judgement), ..result.clone() }
        })
        .collect();
    late.judgement = judged[0].judgement.clone().map(|judgement| Judgement {
        verdict: Verdict::Void,
        reasons: vec!["The generator had too much to do: for a test.".to_owned()],
        ..judgement
    });
    let judge_all = |results: &[RunResult]| {
        let mut merger = Merger::default();
        results.iter().for_each(|result| merger.add(Path::new("r"), result).expect("a shard"));
        let all = merger.finish(true).expect("missing ones are allowed");
        judge_merged(&all.record, &all.facts, &[], &all.parts, &all.merged.missing)
    };
    let missing = judge_all(&judged);
    assert_eq!(missing.verdict, Verdict::Void);
    assert!(missing.reasons[0].starts_with("Shard 1 is missing"), "{missing:?}");
    judged.push(late);
    let void = judge_all(&judged);
    assert_eq!((void.verdict, void.exit_code), (Verdict::Void, 97));
    assert_eq!(void.reasons, ["Shard 1: The generator had too much to do: for a test."]);
    judged[2].judgement = judged[0].judgement.clone();
    assert_eq!(judge_all(&judged).verdict, Verdict::Pass);
    judged[2].facts.ended = Ended::Interrupted;
    let stopped = judge_all(&judged);
    assert_eq!((stopped.verdict, stopped.exit_code), (Verdict::Interrupted, 130));
    assert!(stopped.reasons.iter().any(|reason| reason == "Interrupted: shard 1."), "{stopped:?}");
}
