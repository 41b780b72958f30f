//! What a run leaves in its folder, whatever becomes of it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster::record::Buckets;
use muster::result;
use muster::step::StepKind;
use serde_json::Value;

mod common;

use common::{Place, Running, acknowledged, eventually};

const QUICK: &str = "version = 1\nseed = 7\ndrain = \"2s\"\n[fleet.devices]\ncount = 30\nstart.rate = \"60/s\"\n\
    [fleet.devices.telemetry]\nevery = \"100ms\"\nmessages = 20\n\
    [emulator.dps]\nretry_after = \"0s\"\nassign = \"20ms\"\n[thresholds]\n\"failed.share\" = \"= 0 %\"\n";

/// The folder of the only run.
fn folder(place: &Place) -> std::path::PathBuf {
    let mut runs = std::fs::read_dir(place.path().join("results")).expect("results");
    let run = runs.next().expect("a run").expect("readable").path();
    assert!(runs.next().is_none(), "one run");
    run
}

#[test]
fn the_timeline_adds_up_to_the_result() {
    let place = Place::new();
    let scenario = place.write("quick.toml", QUICK);
    let ran = place.run(&[&scenario]);
    ran.passes();
    let table = std::fs::read_to_string(folder(&place).join("timeline.csv")).expect("a timeline");
    let mut lines = table.lines();
    let names: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let sum = |name: &str| {
        let at = names.iter().position(|known| *known == name).expect(name);
        rows.iter().map(|row| row[at].parse::<u64>().expect("a number")).sum::<u64>()
    };
    for kind in ["register", "connect", "send"] {
        assert_eq!(sum(&format!("{kind}_acknowledged")), acknowledged(ran.result(), kind), "{kind}\n{table}");
    }
    assert_eq!(sum("devices_started"), 30);
    let seconds: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let expected: Vec<String> = (1..=rows.len()).map(|second| second.to_string()).collect();
    assert_eq!(seconds, expected, "no second is missing");
}

#[test]
fn the_tables_of_percentiles_and_failures_have_the_figures_of_the_result() {
    let place = Place::new();
    let scenario = place.write("quick.toml", QUICK);
    let ran = place.run(&[&scenario]);
    ran.passes();
    let run = folder(&place);
    let percentiles = std::fs::read_to_string(run.join("percentiles.csv")).expect("a table");
    let sent = acknowledged(ran.result(), "send");
    for quantile in ["p50", "p90", "p99", "max"] {
        let start = format!("devices,send,response,{quantile},");
        let row = percentiles.lines().find(|row| row.starts_with(&start));
        assert!(row.is_some_and(|row| row.ends_with(&format!(",{sent},{sent}"))), "{percentiles}");
    }
    let failures = std::fs::read_to_string(run.join("failures.csv")).expect("a table");
    assert_eq!(failures, "class,owner,steps,count,retried,first_s,last_s,examples\n");

    let place = Place::new();
    let refusing = "version = 1\n[enrollment.plant]\ngroup_key = \"generated\"\nenabled = false\n\
                    [fleet.devices]\ncount = 5\nstart.burst = {}\n";
    let scenario = place.write("refusing.toml", refusing);
    place.run(&[&scenario]);
    let failures = std::fs::read_to_string(folder(&place).join("failures.csv")).expect("a table");
    let row = failures.lines().nth(1).expect("a class");
    assert!(row.starts_with("disabled,configuration,register,5,0,"), "{failures}");
}

#[test]
fn another_hdrhistogram_library_reads_the_same_figures_from_the_log() {
    let place = Place::new();
    // A thousand messages: readers round the rank of a quantile differently where it is not whole.
    let scenario = place.write("quick.toml", &QUICK.replace("count = 30", "count = 50"));
    let ran = place.run(&[&scenario]);
    ran.passes();
    let run = folder(&place);
    let interpreter = std::env::var("MUSTER_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = common::repository("tests/hlog.py");
    let read = Command::new(&interpreter).arg(script).arg(run.join("latency.hlog")).output();
    let output = match read {
        Ok(output) if output.status.code() != Some(3) => output,
        missing => {
            assert!(std::env::var_os("MUSTER_PYTHON").is_none(), "{interpreter}: {missing:?}");
            println!(
                "skipped: needs Python with hdrhistogram (pip install hdrhistogram; MUSTER_PYTHON names another python)"
            );
            return;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let result = result::read(&run).expect("a result");
    let mut ours: Vec<Buckets> = StepKind::ALL.iter().map(|_| Buckets::default()).collect();
    for interval in result.series().expect("intervals").intervals() {
        for (sum, step) in ours.iter_mut().zip(&interval.total().steps) {
            sum.merge(&step.response);
        }
    }
    // The log has a line for what the run did alone, and these devices only send.
    let did = ["register", "connect", "send"];
    assert!(theirs.as_object().is_some_and(|kinds| kinds.len() == did.len()), "{theirs}");
    for (kind, buckets) in StepKind::ALL.iter().zip(ours).filter(|(kind, _)| did.contains(&kind.name())) {
        let histogram = buckets.to_histogram().expect("each kind was acknowledged");
        let read = &theirs[kind.name()];
        assert_eq!(read["count"].as_u64(), Some(acknowledged(ran.result(), kind.name())), "{theirs}");
        for (name, q) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            assert_eq!(read[name].as_u64(), Some(histogram.value_at_quantile(q)), "{} {name}", kind.name());
        }
        assert_eq!(read["max"].as_u64(), Some(histogram.max()), "{}", kind.name());
    }
}

/// Runs the scenario where no file may grow beyond so many KiB, which fails as a full disk does.
#[cfg(target_os = "linux")]
fn with_files_of_at_most(place: &Place, kib: u32) -> common::Ran {
    let scenario = place.write("quick.toml", QUICK);
    let program = env!("CARGO_BIN_EXE_muster");
    let mut command = Command::new("bash");
    // The signal that says so is ignored, and so is passed on as an error of the write.
    command.args([
        "-c",
        &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" run \"$1\""),
        program,
        &scenario,
    ]);
    command.current_dir(place.path()).stdin(Stdio::null());
    place.finish(command)
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_during_the_run_is_told_and_leaves_nothing_that_reads_as_complete() {
    // The result is larger than that, and so are the files that grow with the run.
    for kib in [1, 4] {
        let place = Place::new();
        let ran = with_files_of_at_most(&place, kib);
        ran.ends_with(1);
        assert!(ran.stderr.contains("error: ") && ran.stderr.contains("cannot write"), "{}", ran.stderr);
        assert!(ran.results.is_empty(), "no result may be left");
        let left: Vec<String> = std::fs::read_dir(folder(&place))
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        assert!(!left.iter().any(|name| name.contains("result.json")), "{left:?}");
    }
}

/// A number that looks drawn, the same in every run of the tests.
fn drawn(n: u64) -> u64 {
    let mut state = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (state ^ (state >> 27)) >> 11
}

/// Interrupts a run at an instant drawn from `n`, and looks at what it left.
fn interrupt(n: u64) -> &'static str {
    let place = Place::new();
    let scenario = place.write("quick.toml", &QUICK.replace("messages = 20", "messages = 30"));
    let mut command = place.muster(&["run", &scenario, "--no-progress"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running::start(&mut command);
    let started = || {
        let runs = std::fs::read_dir(place.path().join("results")).ok()?;
        runs.flatten().find(|run| run.path().join("timeline.csv").exists())
    };
    eventually("the run begins", || {
        started().or_else(|| running.0.try_wait().expect("a child").map(|_| unreachable!()))
    });
    std::thread::sleep(Duration::from_millis(drawn(n) % 3_200));
    let signal =
        if n.is_multiple_of(2) { rustix::process::Signal::INT } else { rustix::process::Signal::TERM };
    if matches!(running.0.try_wait(), Ok(None)) {
        running.signal(signal);
    }
    let code = running.end().code();
    let run = folder(&place);
    let result = result::read(&run).unwrap_or_else(|error| panic!("{n}: {error}"));
    let ended =
        serde_json::to_value(&result).expect("JSON")["facts"]["ended"].as_str().expect("a word").to_owned();
    common::books_agree(
        &serde_json::from_slice(&std::fs::read(run.join("result.json")).expect("a file")).expect("JSON"),
    );
    assert_rows_are_whole(&run);
    match ended.as_str() {
        "interrupted" => assert_eq!(code, Some(130), "{n}"),
        // The signal came when all was done already.
        "completed" => assert!(matches!(code, Some(0 | 97 | 130)), "{n}: {code:?}"),
        other => panic!("{n}: {other}"),
    }
    if ended == "interrupted" { "interrupted" } else { "completed" }
}

fn assert_rows_are_whole(run: &Path) {
    let table = std::fs::read_to_string(run.join("timeline.csv")).expect("a timeline");
    assert!(table.ends_with('\n'), "{table}");
    let columns = table.lines().next().map(|head| head.split(',').count());
    assert!(table.lines().all(|line| Some(line.split(',').count()) == columns), "{table}");
}

#[test]
fn a_run_that_is_interrupted_at_any_of_fifty_instants_leaves_a_whole_result_that_says_so() {
    let next = AtomicU64::new(0);
    let interrupted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= 50 {
                        return;
                    }
                    if interrupt(n) == "interrupted" {
                        interrupted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let interrupted = interrupted.into_inner();
    assert!(interrupted >= 25, "only {interrupted} of 50 were still running");
}
