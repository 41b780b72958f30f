//! What is written reads back, what is damaged is refused, and the schema says what is written.

use std::path::Path;
use std::time::Duration;

use super::samples::{Story, recorded, result};
use super::*;
use crate::record::{Recorder, Series, Settings};
use crate::step::StepKind;
use crate::time::Instant;
use crate::time::UnixTime;

const SCHEMA: &str = include_str!("result.schema.json");

fn parse(path: &Path, text: &[u8]) -> Result<RunResult, StoreError> {
    super::store::parse(path, std::io::Cursor::new(text))
}

fn stored(result: &RunResult) -> Vec<u8> {
    super::store::text(result).expect("it is plain data")
}

/// Run with `MUSTER_WRITE_SCHEMA=1` to write the schema anew after a change of the format.
#[test]
fn the_committed_schema_is_that_of_the_types() {
    let schema = schemars::schema_for!(RunResult);
    let generated = serde_json::to_string_pretty(&schema).expect("a schema is plain data") + "\n";
    if std::env::var_os("MUSTER_WRITE_SCHEMA").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/result/result.schema.json");
        std::fs::write(path, &generated).expect("the source is writable");
        return;
    }
    assert!(generated == SCHEMA, "run this test with MUSTER_WRITE_SCHEMA=1 and look at the difference");
}

#[test]
fn every_story_is_valid_by_the_schema() {
    let schema = serde_json::from_str(SCHEMA).expect("it is JSON");
    let validator = jsonschema::validator_for(&schema).expect("it is a schema");
    for story in [Story::Healthy, Story::Failing, Story::Late, Story::Few] {
        let instance = serde_json::from_slice(&stored(&result(story))).expect("it is JSON");
        let errors: Vec<_> = validator.iter_errors(&instance).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

#[test]
fn a_stored_result_reads_back_with_all_that_was_recorded() {
    for story in [Story::Healthy, Story::Failing, Story::Few] {
        let directory = tempfile::tempdir().expect("a directory");
        let written = result(story);
        let path = write(directory.path(), &written).expect("it is writable");
        let again = read(&path).expect("it was just written");
        assert_eq!(again, written);
        assert_eq!(read(directory.path()).expect("by its directory").facts, written.facts);

        let (mut record, series) = recorded(story);
        // Of the pace the worst window is kept, in the facts.
        record.pace = Default::default();
        assert_eq!(again.series().expect("it was checked"), series);
        let restored = again.record().expect("it was checked");
        if story != Story::Failing {
            assert_eq!(restored, record);
        }
        // Escaped text stays escaped, so the results of both are the same whatever the servers said.
        assert_eq!(build(&restored, &series, written.facts.clone()).populations, written.populations);
    }
}

#[test]
fn a_result_is_never_overwritten_and_leaves_no_half_file() {
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), &result(Story::Few)).expect("the first");
    let error = write(directory.path(), &result(Story::Few)).expect_err("the second").to_string();
    assert!(error.contains("is there already"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 1);

    let missing = directory.path().join("nowhere");
    let error = write(&missing, &result(Story::Few)).expect_err("no directory").to_string();
    assert!(error.contains("check the path"), "{error}");
}

#[test]
fn runs_of_one_second_get_directories_of_their_own() {
    let root = tempfile::tempdir().expect("a directory");
    let started = UnixTime::from_nanos(1_769_860_800_000_000_000);
    let names: Vec<_> = (0..3)
        .map(|_| create_directory(&root.path().join("results"), "../a b", started).expect("a directory"))
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    let first = "---a-b-20260131T120000Z";
    assert_eq!(names, [first.to_owned(), format!("{first}-2"), format!("{first}-3")]);
}

#[test]
fn what_is_no_result_is_refused_with_the_reason() {
    let path = Path::new("some.json");
    let refused = |text: &str| parse(path, text.as_bytes()).expect_err("it is none").to_string();
    assert!(refused("").contains("cut short"));
    assert!(refused("[]").contains("is not a result"));
    assert!(refused("{}").contains("missing field `format`"));
    assert!(refused(r#"{"format":"other","version":1}"#).contains("`format`"));
    assert!(refused(r#"{"format":"muster-result","version":1}"#).contains("version 1"));
    assert!(refused(r#"{"format":"muster-result","version":4}"#).contains("reads 2 to 3"));
    assert!(!refused("{\"format\":\"muster-result\",\"version\":2,\"\\u001b[2J\":1}").contains('\u{1b}'));
}

#[test]
fn a_result_that_contradicts_itself_is_refused() {
    let path = Path::new("some.json");
    let refused = |change: fn(&mut RunResult)| {
        let mut changed = result(Story::Healthy);
        change(&mut changed);
        parse(path, &stored(&changed)).expect_err("it contradicts itself").to_string()
    };
    let error = refused(|r| r.populations[0].measured.steps[0].response.count += 1);
    assert!(error.contains("do not add up"), "{error}");
    let error = refused(|r| r.populations[0].measured.steps[0].measured.acknowledged += 1);
    assert!(error.contains("acknowledged"), "{error}");
    let error = refused(|r| r.populations[0].measured.steps[0].kind = "teleport".to_owned());
    assert!(error.contains("`teleport`"), "{error}");
    let error = refused(|r| {
        let again = r.populations[0].measured.steps[0].clone();
        r.populations[0].measured.steps.push(again);
    });
    assert!(error.contains("twice"), "{error}");
    let error = refused(|r| r.populations[0].measured.steps[2].all.due += 1);
    assert!(error.contains("`sensors`: the timeline does not add up"), "{error}");
    let error = refused(|r| r.timeline.intervals[0].populations[0].steps[1].counts.due -= 1);
    assert!(error.contains("the timeline does not add up"), "{error}");
    let error = refused(|r| r.populations[0].measured.steps[2].measured.written = 1);
    assert!(error.contains("without a warm-up"), "{error}");
    let error = refused(|r| r.timeline.width_s = 3);
    assert!(error.contains("power of two"), "{error}");
    let error = refused(|r| r.facts.pace.as_mut().expect("it has one").width_s = u64::MAX);
    assert!(error.contains("the pace: its windows"), "{error}");
    let error = refused(|r| r.populations[1].name = "others".to_owned());
    assert!(error.contains("planned"), "{error}");
}

#[test]
fn figures_that_follow_from_others_are_not_believed() {
    let mut changed = result(Story::Healthy);
    changed.headline.messages = 1;
    changed.facts.pace.as_mut().expect("it has one").worst_error = 1e300;
    changed.total.steps.clear();
    changed.populations[0].measured.steps[0].response.quantiles.p99 = None;
    assert_eq!(
        parse(Path::new("some.json"), &stored(&changed)).expect("it is whole"),
        result(Story::Healthy)
    );
}

#[test]
fn a_result_cut_short_or_with_any_changed_byte_is_refused() {
    let path = Path::new("some.json");
    let text = stored(&result(Story::Few));
    parse(path, &text).expect("it is whole");
    for end in 0..text.len() {
        assert!(parse(path, &text[..end]).is_err(), "{end}");
    }
    // Every digit, and some of the rest.
    for at in (0..text.len()).filter(|at| text[*at].is_ascii_digit() || at % 13 == 0) {
        let mut changed = text.clone();
        // A digit stays a digit: most others are refused by their look.
        changed[at] ^= if text[at].is_ascii_digit() { 1 } else { 1 << (at % 8) };
        assert!(
            parse(path, &changed).is_err(),
            "{}",
            String::from_utf8_lossy(&text[at.saturating_sub(60)..=at])
        );
    }
    let error =
        parse(path, &String::from_utf8_lossy(&text).replace("\"seed\": 7", "\"seed\": 8").into_bytes());
    assert!(error.expect_err("it has another seed").to_string().contains("checksum"));
}

/// Whoever changes a result may work out the checksum again, too.
#[test]
fn a_changed_byte_under_a_right_checksum_is_refused_or_read_without_panic() {
    let path = Path::new("some.json");
    let text = stored(&result(Story::Few));
    let body = text.len() - 68;
    for at in (0..body - 14).step_by(41) {
        let mut changed = [&text[..body], b"\"\n}\n"].concat();
        changed[at] ^= 1 << (at % 8);
        let _ = parse(path, &super::seal::seal(changed));
    }
}

#[test]
fn a_long_run_of_many_populations_is_told_in_fewer_intervals_and_reads_back() {
    let mut facts = samples::facts();
    facts.populations = vec![facts.populations[0].clone(); 60];
    let settings = Settings { epoch: Instant::from_nanos(0), sends_from: Duration::ZERO };
    let mut recorder = Recorder::new(60, settings);
    let mut series = Series::default();
    for second in 0..512 {
        (0..60).for_each(|population| recorder.due(population, StepKind::Register));
        series.add(second, &recorder.take_interval());
    }
    let built = build(&recorder.finish(), &series, facts);
    assert_eq!((built.timeline.width_s, built.timeline.intervals.len()), (4, 128));
    let directory = tempfile::tempdir().expect("a directory");
    write(directory.path(), &built).expect("it is writable");
    assert_eq!(read(directory.path()).expect("it was just written"), built);
}

/// Files of earlier programs know neither noise floor nor pace, shards nor reconciled messages.
#[test]
fn results_of_earlier_programs_still_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/version-2");
    let read = read(&path).expect("it was committed");
    assert_eq!((read.facts.pace, read.facts.generator.noise), (None, None));
    assert_eq!((read.facts.shard, read.facts.ledger.and_then(|ledger| ledger.messages)), (None, None));
    assert_eq!(read.facts.scenario, "first-run");
}
