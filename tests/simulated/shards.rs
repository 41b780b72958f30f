//! A run that is split into shards and merged again is the run.

use std::collections::BTreeMap;
use std::path::Path;

use muster::plan::{Plan, Shard};
use muster::result::file::{self, Facts, RunResult};
use muster::result::merge::Merger;
use muster::result::{build, read, write};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// Three fleets over two protocols, with a frozen service, retries, and devices that give up.
///
/// Where the emulator has a limit that devices share (`registrations`, a tier), who is refused depends on who else comes, and
/// shards with emulators of their own do otherwise than one run: there are none here, and no `[emulator.drive]`, which chooses
/// among the devices that are connected. Nothing happens on a whole second either: a start that is due in the very nanosecond in
/// which a second ends may be told in the second before or after, as tasks of one instant have no order that the plan fixes.
const FLEETS: &str = r#"
version = 1
seed = 7
duration = "24.7s"
drain = "4s"

[fleet.sensors]
count = 90
start.ramp = { from = "5.3/s", to = "19.1/s", over = "6s" }
deadline.register = "3600ms"
[fleet.sensors.telemetry]
every = "4s"
jitter = "300ms"
json = '{"n":${seq},"v":${walk(10, 0.4, 0, 30, 2)}}'

[fleet.gateways]
count = 41
provision = "https"
connect = "https"
start.poisson = "4/s"
[fleet.gateways.telemetry]
fleet_rate = "9/s"
messages = 6
bytes = "120 B"

[fleet.onlookers]
count = 7
connect = "none"
start.poisson = "1/s"

[measure]
sends_from = "7300ms"

[emulator.dps]
assign = { lognormal = { median = "800ms", p99 = "4s" } }
polls = { uniform = { low = 0, high = 2 } }
[emulator.hub]
north = { weight = 3 }
south = { weight = 1 }
"#;

fn facts(plan: &Plan, run: &Simulated) -> Facts {
    let shard = plan.shard;
    Facts {
        scenario: plan.name.clone(),
        scenario_sha256: String::new(),
        values_sha256: String::new(),
        seed: plan.seed,
        run_id: plan.run_id.clone(),
        shard: (!shard.is_whole()).then(|| file::Shard { index: shard.index(), count: shard.count() }),
        clock: None,
        thresholds: Vec::new(),
        muster_version: "0".to_owned(),
        started: "2026-01-31T12:00:00Z".to_owned(),
        duration_ns: run.elapsed.as_nanos() as u64,
        sends_from_ns: plan.sends_from.as_nanos() as u64,
        threads: 1,
        target: "emulator".to_owned(),
        ended: file::Ended::Completed,
        machine: file::Machine::default(),
        populations: plan
            .populations
            .iter()
            .map(|population| file::PopulationFacts {
                name: population.name.clone(),
                count: population.count,
                provision: None,
                connect: None,
            })
            .collect(),
        generator: file::Generator::default(),
        pace: None,
        ledger: Some(run.reconciled.clone()),
        notes: Vec::new(),
    }
}

/// The stored result of one shard, read back.
fn stored(shard: Shard) -> RunResult {
    let (mut plan, keys, enrollments) = prepared(FLEETS);
    plan.shard = shard;
    let freeze = (Duration::from_millis(9_300), Duration::from_millis(11_250));
    let options = Options { freeze: Some(freeze), shares: 2, ..Options::default() };
    let run = simulate(&plan, keys, enrollments, &options).expect("the run ends");
    assert_eq!(run.reconciled.differences, Vec::<String>::new(), "{shard}");
    let built = build(&run.record, &run.series, facts(&plan, &run));
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &built).expect("it is writable");
    read(folder.path()).expect("it was just written")
}

/// Everything that was measured, byte for byte. Not the facts: what a process used is its own, and of the pace each result has
/// its worst window only.
fn measured(result: &RunResult) -> String {
    let mut value = serde_json::to_value(result).expect("plain data");
    let object = value.as_object_mut().expect("an object");
    for other in ["facts", "judgement", "merged", "checksum"] {
        object.remove(other);
    }
    serde_json::to_string_pretty(&Value::Object(object.clone())).expect("plain data")
}

fn whole() -> &'static (RunResult, String) {
    static WHOLE: std::sync::OnceLock<(RunResult, String)> = std::sync::OnceLock::new();
    WHOLE.get_or_init(|| {
        let result = stored(Shard::WHOLE);
        let text = measured(&result);
        (result, text)
    })
}

fn merged(order: &[u32]) -> RunResult {
    let mut merger = Merger::default();
    for index in order {
        let shard = Shard::new((*index).into(), order.len() as u64).expect("a shard");
        let mut result = stored(shard);
        // One shard of one is a whole run as well.
        result.facts.shard = Some(file::Shard { index: shard.index(), count: shard.count() });
        merger.add(Path::new(&shard.to_string()), &result).expect("a shard of the same run");
    }
    let all = merger.finish(false).expect("all are there");
    build(&all.record, &all.series, all.facts)
}

#[test]
fn the_run_that_is_split_has_something_to_lose() {
    let (result, _) = whole();
    let step = |kind: &str| result.total.steps.iter().find(|step| step.kind == kind).expect(kind);
    assert!(
        step("register").failed > 0 && step("register").all.acknowledged > 60,
        "{:?}",
        step("register").all
    );
    assert!(step("send").all.acknowledged > 200 && step("send").measured.due < step("send").all.due);
    assert_eq!(result.total.started, 138);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shards_in_any_order_merge_to_what_one_run_measures_byte_for_byte(
        order in (1u32..=64).prop_flat_map(|count| Just((0..count).collect::<Vec<_>>()).prop_shuffle()),
    ) {
        let result = merged(&order);
        let (whole, text) = whole();
        if measured(&result) != *text {
            let text = measured(&result);
            let (ours, theirs) = text.lines().zip(whole_lines()).find(|(ours, theirs)| ours != theirs).unwrap_or_default();
            prop_assert!(false, "{} shards: {} where the whole run has {}", order.len(), ours, theirs);
        }
        // The emulators' books add up as well.
        prop_assert_eq!(messages(&result), messages(whole));
        prop_assert_eq!(result.facts.duration_ns, whole.facts.duration_ns);
    }
}

/// Messages that the emulators accepted. What else they count hangs on when each ends, with the last device of its own shard: a
/// connection or a question of a device that gave up may not have been noticed by then.
fn messages(result: &RunResult) -> BTreeMap<String, u64> {
    let mut totals = result.facts.ledger.clone().expect("books").totals;
    totals.retain(|name, _| name.contains("messages"));
    totals
}

fn whole_lines() -> std::str::Lines<'static> {
    whole().1.lines()
}
