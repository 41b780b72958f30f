//! The figures of a result for scripts: flat, with units in the names, without histograms.
//!
//! | field | |
//! |---|---|
//! | `scenario`, `run_id`, `seed`, `muster_version`, `started`, `duration_s`, `target`, `ended` | what was run |
//! | `verdict`, `exit_code`, `reasons` | how it came out; `null` and empty if it was never judged |
//! | `shard`, `shards` | which shard it is (`index`, `count`); of what it was merged, as `merged` in `result.json`; `null` otherwise |
//! | `thresholds[]` | `text`, `observed`, `value` (seconds, fraction, count or rate), `holds`, `note` |
//! | `devices`, `devices_assigned`, `messages_due`, `messages_acknowledged`, `unaccounted` | counts of the whole run |
//! | `cpu_per_message_ns`, `memory_per_device_bytes` | what the generator used |
//! | `noise_floor`, `pace` | as in `result.json`: how late the machine woke an idle thread, and the worst window of the rate of sends |
//! | `reconciled` | `facts.ledger.messages` of `result.json`: messages lost, phantom, counted twice; `null` without an embedded emulator |
//! | `syn_repeated`, `syn_retransmissions` | connections whose SYN was repeated, and repeated SYNs on the whole machine |
//! | `steps[]` | `population`, `kind`, counts by outcome, `retried_throttled`, `rate_per_s` |
//! | `latencies[]` | `population`, `kind`, `view` (see [`Row`]), `count`, `of`, `max_ns`, `percentiles_ns` by name |
//! | `failures[]` | `class`, `owner`, `steps`, `count`, `retried`, `first_s`, `last_s`, `examples` |
//!
//! `population` is `null` for all together. A latency is a number of nanoseconds, `"beyond"` if it falls among those that
//! did not succeed, or `null` where there are too few samples. Text is escaped as for a terminal.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::table::{safe, seconds};
use crate::result::file::{Figure, Measured, Messages, RunResult};
use crate::result::percentiles::{Percentiles, Row};

/// Pretty-printed, with a line feed at its end.
pub fn render(result: &RunResult, percentiles: &Percentiles) -> String {
    let facts = &result.facts;
    let head = &result.headline;
    let judgement = result.judgement.as_ref();
    let thresholds = judgement.iter().flat_map(|judgement| &judgement.thresholds);
    let thresholds = thresholds.map(|threshold| {
        json!({
            "text": safe(&threshold.text),
            "observed": safe(&threshold.observed),
            "value": threshold.value,
            "holds": threshold.holds,
            "note": threshold.note.as_deref().map(safe),
        })
    });
    let failures = result.failures.iter().map(|group| {
        json!({
            "class": safe(&group.class),
            "owner": safe(&group.owner),
            "steps": texts(&group.steps),
            "count": group.count,
            "retried": group.retried,
            "first_s": number(&seconds(group.first_ns)),
            "last_s": number(&seconds(group.last_ns)),
            "examples": group.examples.iter().map(|example| safe(&example.detail)).collect::<Vec<_>>(),
        })
    });
    let report = Report {
        scenario: safe(&facts.scenario),
        run_id: safe(&facts.run_id),
        seed: facts.seed,
        muster_version: safe(&facts.muster_version),
        started: safe(&facts.started),
        duration_s: number(&seconds(facts.duration_ns)),
        target: safe(&facts.target),
        ended: json!(facts.ended),
        shard: json!(facts.shard),
        shards: shards(result),
        verdict: json!(judgement.map(|judgement| judgement.verdict)),
        exit_code: judgement.map(|judgement| judgement.exit_code),
        reasons: judgement.map(|judgement| texts(&judgement.reasons)).unwrap_or_default(),
        thresholds: thresholds.collect(),
        devices: head.devices,
        devices_assigned: head.assigned,
        messages_due: head.messages_due,
        messages_acknowledged: head.messages,
        unaccounted: head.unaccounted,
        cpu_per_message_ns: head.cpu_per_message_ns,
        memory_per_device_bytes: head.memory_per_device_bytes,
        noise_floor: json!(facts.generator.noise),
        pace: json!(facts.pace),
        reconciled: json!(facts.ledger.as_ref().and_then(|ledger| ledger.messages.as_ref().map(escaped))),
        syn_repeated: head.syn_repeated,
        syn_retransmissions: facts.generator.syn_retransmissions,
        steps: steps(result),
        latencies: latencies(percentiles),
        failures: failures.collect(),
    };
    let text = serde_json::to_string_pretty(&report).expect("plain data always becomes JSON");
    text + "\n"
}

/// What was merged, with names that a stranger may have written made safe.
fn shards(result: &RunResult) -> Value {
    let Some(merged) = &result.merged else { return Value::Null };
    let mut merged = merged.clone();
    for shard in &mut merged.shards {
        shard.started = safe(&shard.started);
        shard.figures.iter_mut().for_each(|figure| figure.kind = safe(&figure.kind));
    }
    json!(merged)
}

/// In the order in which they are written.
#[derive(Serialize)]
struct Report {
    scenario: String,
    run_id: String,
    seed: u64,
    muster_version: String,
    started: String,
    duration_s: Value,
    target: String,
    ended: Value,
    shard: Value,
    shards: Value,
    verdict: Value,
    exit_code: Option<u8>,
    reasons: Vec<String>,
    thresholds: Vec<Value>,
    devices: u64,
    devices_assigned: u64,
    messages_due: u64,
    messages_acknowledged: u64,
    unaccounted: i64,
    cpu_per_message_ns: Option<u64>,
    memory_per_device_bytes: Option<u64>,
    noise_floor: Value,
    pace: Value,
    reconciled: Value,
    syn_repeated: u64,
    syn_retransmissions: Option<u64>,
    steps: Vec<Value>,
    latencies: Vec<Value>,
    failures: Vec<Value>,
}

/// The same with the texts of strangers escaped.
fn escaped(found: &Messages) -> Messages {
    let mut found = found.clone();
    for messages in [&mut found.lost, &mut found.phantom, &mut found.counted_twice] {
        messages.examples.iter_mut().for_each(|example| example.device_id = safe(&example.device_id));
    }
    found.by_totals.iter_mut().for_each(|sentence| *sentence = safe(sentence));
    found
}

fn steps(result: &RunResult) -> Vec<Value> {
    let populations = result.populations.iter().map(|p| (json!(safe(&p.name)), &p.measured));
    let groups: Vec<(Value, &Measured)> = populations.chain([(Value::Null, &result.total)]).collect();
    let rows = groups.iter().flat_map(|(population, measured)| {
        measured.steps.iter().map(move |step| {
            json!({
                "population": population,
                "kind": safe(&step.kind),
                "due": step.all.due,
                "acknowledged": step.all.acknowledged,
                "written": step.all.written,
                "failed": step.failed,
                "unknown": step.unknown,
                "not_sent": step.not_sent,
                "retried_throttled": step.retried_throttled,
                "rate_per_s": step.rate_per_s,
            })
        })
    });
    rows.collect()
}

fn latencies(percentiles: &Percentiles) -> Vec<Value> {
    let names = percentiles.names();
    let latency = |population: Value, row: &Row| {
        let figures = names.iter().cloned().zip(row.figures.iter().map(|figure| value(*figure)));
        json!({
            "population": population,
            "kind": safe(&row.kind),
            "view": row.view,
            "count": row.count,
            "of": row.of,
            "percentiles_ns": figures.collect::<Map<_, _>>(),
            "max_ns": value(row.max),
        })
    };
    let populations = percentiles.populations.iter();
    let each = populations.flat_map(|(name, rows)| rows.iter().map(move |row| (json!(safe(name)), row)));
    let all = percentiles.total.iter().map(|row| (Value::Null, row));
    each.chain(all).map(|(population, row)| latency(population, row)).collect()
}

fn value(figure: Option<Figure>) -> Value {
    json!(figure)
}

fn number(text: &str) -> Value {
    serde_json::from_str(text).expect("seconds are a JSON number")
}

fn texts(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| safe(text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples::{self, Story};

    #[test]
    fn figures_of_a_small_run() {
        let result = samples::result(Story::Few);
        insta::assert_snapshot!(render(&result, &result.percentiles(&[50.0, 95.0]).expect("it is whole")));
    }

    #[test]
    fn no_histogram_and_no_escape_sequence_is_in_it() {
        let mut hostile = samples::result(Story::Failing);
        hostile.facts.scenario = "\u{9b}31m\u{202e}".to_owned();
        let text = render(&hostile, &hostile.usual_percentiles());
        assert!(!text.contains("HIST") && !text.contains(['\u{9b}', '\u{202e}', '\u{1b}']), "{text}");
        let parsed: Value = serde_json::from_str(&text).expect("JSON");
        let register = &parsed["latencies"][2];
        assert_eq!((&register["kind"], &register["max_ns"]), (&json!("register"), &json!("beyond")));
    }
}
