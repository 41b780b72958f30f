//! `muster report` and `muster list` as a program: stored results, whole and damaged.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

mod common;

use common::{Place, Ran, repository};

fn stored() -> Vec<u8> {
    std::fs::read(repository("results/first-run/result.json")).expect("it is in the repository")
}

fn muster(place: &Place, arguments: &[&str]) -> Ran {
    place.finish(place.muster(arguments))
}

/// A place with the result of a run in `results/first-run-1`.
fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir_all(place.path().join("results/first-run-1")).expect("writable");
    std::fs::write(place.path().join("results/first-run-1/result.json"), stored()).expect("writable");
    place
}

#[test]
fn a_stored_result_is_shown_as_it_was_after_the_run() {
    let place = place();
    let summary = std::fs::read_to_string(repository("results/first-run/summary.txt")).expect("there");
    let (_command, summary) = summary.split_once('\n').expect("it begins with the command");
    let (summary, _) = summary.rsplit_once("\nFiles: ").expect("it ends with the folder");
    for path in ["results/first-run-1", "results/first-run-1/result.json"] {
        let shown = muster(&place, &["report", path]);
        shown.ends_with(0);
        assert_eq!(shown.stdout, format!("{summary}\nFiles: results/first-run-1\n"));
        assert_eq!(shown.stderr, "");
    }
}

#[test]
fn percentiles_that_are_asked_for_come_in_every_format() {
    let place = place();
    let report = |format: &str| {
        let arguments =
            ["report", "results/first-run-1", "--format", format, "--percentiles", "99.9,75,75.0"];
        let shown = muster(&place, &arguments);
        shown.ends_with(0);
        shown.stdout
    };
    assert!(report("text").contains("p75       p99.9         max"));
    assert!(report("markdown").contains("| p75 | p99.9 | max |"));
    let table = report("csv");
    let row = table.lines().find(|line| line.starts_with("devices,send,response,p75,"));
    assert!(row.is_some_and(|row| row.ends_with(",5000,5000")), "{table}");
    let figures: Value = serde_json::from_str(&report("json")).expect("JSON");
    let latencies = figures["latencies"].as_array().expect("rows");
    let send = latencies.iter().find(|row| row["kind"] == "send" && row["view"] == "response");
    let percentiles = send.expect("there were sends")["percentiles_ns"].as_object().expect("by name");
    assert_eq!(percentiles.keys().collect::<Vec<_>>(), ["p75", "p99.9"]);

    let refused = muster(&place, &["report", "results/first-run-1", "--percentiles", "50,100"]);
    refused.ends_with(2).tells(&["`100` is no number above 0 and below 100"]);
}

#[test]
fn a_report_goes_to_a_file_that_is_not_there_yet() {
    let place = place();
    let to = |file: &str| muster(&place, &["report", "results/first-run-1", "-o", file]);
    to("report.txt").ends_with(0);
    let written = std::fs::read_to_string(place.path().join("report.txt")).expect("it was written");
    assert!(written.starts_with("PASS  first-run"), "{written}");
    to("report.txt").ends_with(1).tells(&["is there already and is not overwritten"]);
    to("nowhere/report.txt").ends_with(1).tells(&["cannot write to nowhere/report.txt"]);
    assert_eq!(std::fs::read_to_string(place.path().join("report.txt")).expect("still there"), written);
}

/// The text of a result with the checksum that belongs to it.
fn sealed(mut result: Value) -> Vec<u8> {
    result.as_object_mut().expect("an object").remove("checksum");
    let text = serde_json::to_string_pretty(&result).expect("plain data");
    let body = text.trim_end_matches("\n}").to_owned() + ",\n  \"checksum\": \"";
    let digits: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    (body + &digits + "\"\n}\n").into_bytes()
}

#[test]
fn what_is_no_result_is_refused_with_exit_code_2_and_without_a_hang() {
    let place = place();
    let whole = stored();
    let changed = |change: fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(&whole).expect("JSON");
        change(&mut value);
        sealed(value)
    };
    let head = br#"{"format":"muster-result","version":2,"facts":"#;
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", Vec::new(), "cut short"),
        ("zeros", vec![0; 70 << 20], "larger than 64 MiB"),
        ("less zeros", vec![0; 60 << 20], "not a result"),
        ("brackets", vec![b'['; 8 << 20], "not a result"),
        ("deep", [head.as_slice(), &b"[".repeat(1 << 20)].concat(), "nests deeper"),
        (
            "long text",
            [head.as_slice(), b"{\"scenario\":\"", &vec![b'x'; 8 << 20]].concat(),
            "longer than any",
        ),
        ("cut short", whole[..whole.len() - 2].to_vec(), "cut short"),
        ("version", changed(|result| result["version"] = json!(1)), "has version 1"),
        (
            "other seed",
            String::from_utf8_lossy(&whole).replace("\"seed\": 7", "\"seed\": 8").into_bytes(),
            "was changed since it was written, its checksum says",
        ),
        (
            "histogram",
            changed(|result| {
                // A deflated histogram that claims 4 GiB.
                let step = &mut result["populations"][0]["measured"]["steps"][0];
                step["response"]["histogram"] = json!("HISTFP////8=");
            }),
            "is damaged: the histogram of response of `register` of `devices`",
        ),
        (
            "small maps",
            changed(|result| result["facts"]["notes"] = json!(vec![json!({ "a": 1 }); 200_000])),
            "not a result",
        ),
        (
            "many intervals",
            changed(|result| {
                result["timeline"]["intervals"] = json!(vec![json!({ "populations": [] }); 400_000]);
            }),
            "holds more than a result can",
        ),
    ];
    for (name, text, reason) in cases {
        let name = place.path().join(name);
        std::fs::write(&name, text).expect("writable");
        let refused = muster(&place, &["report", &name.to_string_lossy()]);
        refused.ends_with(2).tells(&[reason]);
        assert_eq!(refused.stdout, "");
    }
    muster(&place, &["report", "nowhere"]).ends_with(2).tells(&["check the path"]);
    muster(&place, &["report", "/dev/zero"]).ends_with(2).tells(&["is no ordinary file"]);
    let made = std::process::Command::new("mkfifo").arg(place.path().join("pipe")).status();
    if made.is_ok_and(|status| status.success()) {
        muster(&place, &["report", "pipe"]).ends_with(2).tells(&["is no ordinary file"]);
    }
}

#[test]
fn runs_are_listed_newest_first_and_damaged_ones_with_the_reason() {
    let place = place();
    let none = muster(&place, &["list", "elsewhere"]);
    none.ends_with(0).shows(&["No runs in elsewhere. Make one: muster run scenarios/first-run.toml"]);

    let listed = muster(&place, &["list"]);
    assert_eq!(listed.ends_with(0).stdout.lines().count(), 2, "a head and the run: {listed:?}");

    std::fs::rename(place.path().join("results"), place.path().join("stored")).expect("writable");
    for folder in ["stored/half", "stored/newer"] {
        std::fs::create_dir(place.path().join(folder)).expect("writable");
    }
    let mut newer: Value = serde_json::from_slice(&stored()).expect("JSON");
    let started = newer["facts"]["started"].as_str().expect("a time").to_owned();
    newer["facts"]["started"] = json!("2099-01-01T23:14:07.542Z");
    std::fs::write(place.path().join("stored/newer/result.json"), sealed(newer)).expect("writable");
    std::fs::write(place.path().join("stored/half/result.json"), &stored()[..999]).expect("writable");
    let listed = muster(&place, &["list", "stored"]);
    listed.ends_with(0);
    let lines: Vec<_> = listed.stdout.lines().collect();
    assert!(lines[1].starts_with("2099-01-01 23:14  pass") && lines[1].ends_with("  newer"), "{listed:?}");
    let (day, time) = (&started[..10], &started[11..16]);
    assert!(lines[2].starts_with(&format!("{day} {time}  pass")) && lines[2].ends_with("  first-run-1"));
    listed.shows(&["stored/half/result.json: is not a result of this program, or is cut short"]);

    let listed = muster(&place, &["list", "stored", "--json"]);
    let objects: Vec<Value> =
        listed.ends_with(0).stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(objects.len(), 3);
    assert_eq!((&objects[0]["path"], &objects[0]["verdict"]), (&json!("stored/newer"), &json!("pass")));
    assert_eq!(objects[0]["messages_acknowledged"], 5_000);
    assert!(objects[2]["error"].as_str().is_some_and(|error| error.contains("cut short")));
}
