//! What does the whole program use: CPU per registration and per HTTPS message, memory per connected device?
//!
//! `cargo bench --bench end_to_end`; about three minutes. Each figure is a difference between two runs of the program
//! against its embedded emulator, so that what a run costs anyway is not in it; CPU and memory are the generator's own,
//! from getrusage and /proc (`facts.generator` of the results). Prints the median of three rounds and their range. A run
//! that was void is said to be so: its CPU and memory count all the same.

use std::path::Path;
use std::process::{Command, Stdio};

use muster::result;
use muster::result::RunResult;

const ROUNDS: usize = 3;

/// Devices that only register, over a second connection each time: nothing is resumed.
const REGISTER: &str = "version = 1\nseed = 7\n[fleet.devices]\ncount = 0\nprovision = \"https\"\nconnect = \"none\"\nstart.rate = \"200/s\"\n\
    [emulator.dps]\nretry_after = \"0s\"\nassign = \"0s\"\n";

/// Devices that stay connected and send 300 bytes, at 1,000 messages/s together.
const SEND: &str = "version = 1\nseed = 7\n[fleet.devices]\ncount = 500\nprovision = \"https\"\nconnect = \"https\"\n\
    start.rate = \"250/s\"\n[fleet.devices.telemetry]\nevery = \"500ms\"\nbytes = \"300 B\"\nmessages = 0\n\
    [emulator.dps]\nretry_after = \"0s\"\nassign = \"0s\"\n";

/// Devices that connect and do nothing until the end.
const HOLD: &str = "version = 1\nseed = 7\nduration = \"16s\"\ndrain = \"1s\"\n[fleet.devices]\ncount = 0\n\
    provision = \"https\"\nconnect = \"https\"\nstart.rate = \"250/s\"\n[emulator.dps]\nretry_after = \"0s\"\nassign = \"0s\"\n";

fn main() {
    // `cargo test --benches` and lists of benches ask with arguments of their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    println!("CPU and memory of the generator, beside its emulator; {} rounds each", ROUNDS);
    let registration = rounds(|| {
        let [few, many] = [500, 2_500].map(|count| run(REGISTER, &format!("count={count}")));
        let cost = (many.facts.generator.cpu_ns as f64 - few.facts.generator.cpu_ns as f64) / 2_000.0;
        cost / 1e3
    });
    show("CPU per registration (TCP, TLS 1.3, PUT)", "µs", registration);
    let message = rounds(|| {
        let [few, many] = [2, 22].map(|messages| run(SEND, &format!("telemetry.messages={messages}")));
        (many.facts.generator.cpu_ns as f64 - few.facts.generator.cpu_ns as f64) / 10_000.0 / 1e3
    });
    show("CPU per HTTPS message of 300 bytes, 1,000/s", "µs", message);
    let memory = rounds(|| {
        let [few, many] = [500, 2_500].map(|count| run(HOLD, &format!("count={count}")));
        let bytes = many.facts.generator.peak_rss_bytes as f64 - few.facts.generator.peak_rss_bytes as f64;
        bytes / 2_000.0 / 1_024.0
    });
    show("resident memory per connected HTTPS device", "KiB", memory);
}

fn rounds(mut round: impl FnMut() -> f64) -> Vec<f64> {
    let mut figures: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn show(what: &str, unit: &str, figures: Vec<f64>) {
    println!(
        "{what:<46} {:7.1} {unit} ({:.1} to {:.1})",
        figures[ROUNDS / 2],
        figures[0],
        figures[ROUNDS - 1]
    );
}

fn run(scenario: &str, set: &str) -> RunResult {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bench.toml");
    std::fs::write(&path, scenario.replace("count = 0", "count = 1").replace("messages = 0", "messages = 1"))
        .expect("a file");
    let output = folder.path().join("results");
    let status = Command::new(env!("CARGO_BIN_EXE_muster"))
        .arg("run")
        .arg(&path)
        .args(["--no-progress", "--quiet", "--threads", "1", "--set", &format!("fleet.devices.{set}")])
        .arg("--output")
        .arg(&output)
        .stdout(Stdio::null())
        .status()
        .expect("the program starts");
    assert!(matches!(status.code(), Some(0 | 97)), "{set}: {status}");
    let result = result::read(&only(&output)).expect("a result");
    if status.code() == Some(97) {
        println!("  (a run with {set} was void: the generator was late)");
    }
    result
}

fn only(folder: &Path) -> std::path::PathBuf {
    let mut runs = std::fs::read_dir(folder).expect("results");
    runs.next().expect("a run").expect("readable").path()
}
