//! A run that is interrupted, killed, or left without what it reads and writes.

mod common;

use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::stub::{Stub, at_hub};
use common::{GROUP_KEY, PATIENCE, Place, Running, children_of, eventually, is_alive, sockets_of, step};
use rustix::process::Signal;

/// Ten devices with 10 messages a second each, for as long as nobody stops them.
const LONG: &str = r#"
version = 1
duration = "10m"
drain = "5s"
[fleet.devices]
count = 10
start.burst = {}
[fleet.devices.telemetry]
every = "100ms"
[emulator.dps]
assign = "0s"
"#;

/// A run of [`LONG`] that has just begun, and its emulator's process.
fn begun(place: &Place) -> (Running, u32) {
    let scenario = place.write("long.toml", LONG);
    let mut command = place.muster(&["run", &scenario, "--no-progress"]);
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let child = eventually("the emulator's process", || children_of(running.pid()).first().copied());
    eventually("connections to it", || (sockets_of(running.pid()) >= 10).then_some(()));
    (running, child)
}

/// What a stopped run must have left.
fn left_in_order(place: &Place, running: &mut Running, child: u32) -> String {
    let status = running.end();
    let mut stdout = String::new();
    running.0.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
    let mut stderr = String::new();
    running.0.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!(status.code(), Some(130), "{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(stdout.starts_with("INTERRUPTED  long, "), "{stdout}");
    let results = place.results("results");
    let (_, result) = results.first().expect("a result");
    assert_eq!(result["facts"]["ended"], "interrupted");
    assert_eq!(result["judgement"]["verdict"], "interrupted");
    assert_eq!(result["headline"]["unaccounted"], 0);
    let ledger = &result["facts"]["ledger"];
    assert_eq!(ledger["differences"], serde_json::json!([]), "{ledger}");
    assert!(!is_alive(child), "the emulator's process ends with the run");
    stderr
}

#[test]
fn an_interrupt_stops_a_run_in_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let place = Place::new();
        let (mut running, child) = begun(&place);
        running.signal(signal);
        let stderr = left_in_order(&place, &mut running, child);
        assert!(stderr.contains("stopping: waiting for open answers"), "{stderr}");
    }
}

#[test]
fn a_second_interrupt_leaves_at_once_and_still_writes_the_result() {
    let place = Place::new();
    // The hub's answers never come: one interrupt alone would wait for the drain.
    let stub = Stub::https(|_, _| Vec::new());
    place.write("ca.pem", &stub.ca_pem);
    let text = at_hub(stub.port).replace("drain = \"1s\"", "drain = \"50s\"").replace("\"1s\"", "\"5m\"");
    let scenario = place.write("stuck.toml", &text);
    let mut command = place.muster(&["run", &scenario, "--no-progress"]);
    command.env("GROUP_KEY", GROUP_KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    eventually("five requests", || (stub.requests().len() >= 5).then_some(()));
    running.signal(Signal::INT);
    let mut seen = [0; 9];
    running.0.stderr.as_mut().expect("a pipe").read_exact(&mut seen).expect("it says that it stops");
    assert_eq!(&seen, b"stopping:");
    assert!(running.0.try_wait().expect("a child of ours").is_none(), "it waits for answers");
    let since = Instant::now();
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(130));
    assert!(since.elapsed() < Duration::from_secs(8), "sooner than the grace of 10 s");
    let results = place.results("results");
    let (_, result) = results.first().expect("a result");
    assert_eq!(result["facts"]["ended"], "interrupted");
    assert_eq!(result["headline"]["unaccounted"], 0);
    assert!(step(result, "send")["unknown"].as_u64() >= Some(5), "{}", step(result, "send"));
}

#[test]
fn an_interrupt_ends_the_scenarios_that_would_follow_too() {
    let place = Place::new();
    let scenario = place.write("long.toml", LONG);
    let mut command = place.muster(&["run", &scenario, &scenario, "--no-progress"]);
    let mut running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    eventually("the emulator's process", || children_of(running.pid()).first().copied());
    let _ = eventually("a run's folder", || std::fs::read_dir(place.path().join("results")).ok()?.next());
    // Signals are heard once the fleet runs; before that the default action would end the program as well.
    std::thread::sleep(Duration::from_millis(500));
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), Some(130));
    assert_eq!(place.results("results").len(), 1);
}

#[test]
fn the_emulators_process_ends_even_if_the_run_is_killed() {
    let place = Place::new();
    let (mut running, child) = begun(&place);
    assert!(is_alive(child));
    running.signal(Signal::KILL);
    assert_eq!(running.end().code(), None);
    eventually("the end of the emulator's process", || (!is_alive(child)).then_some(()));
}

#[test]
fn an_emulators_process_that_dies_is_told_and_does_not_hang_the_run() {
    let place = Place::new();
    let scenario =
        place.write("long.toml", &LONG.replace("10m", "2s").replace("drain = \"5s\"", "drain = \"1s\""));
    let mut command = place.muster(&["run", &scenario, "--no-progress"]);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let child = eventually("the emulator's process", || children_of(running.pid()).first().copied());
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(child).expect("a process id")).expect("a process id");
    std::thread::sleep(Duration::from_millis(500));
    rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
    assert_eq!(running.end().code(), Some(1));
    let mut stdout = String::new();
    running.0.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
    // What was measured is kept, and marked.
    let told = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("there is no ledger: the emulator's process ended unexpectedly"), "{stdout}");
    assert!(told.contains("Files: results/long-"), "{stdout}");
}

/// A run that takes less than a second.
const SHORT: &str =
    "version = 1\n[fleet.devices]\ncount = 3\nstart.burst = {}\n[emulator.dps]\nassign = \"0s\"\n";

/// How a run ends whose output nobody reads: `redirect` is a shell's redirection or pipe.
fn unread(redirect: &str, arguments: &str) -> (Place, Option<i32>) {
    let place = Place::new();
    place.write("short.toml", SHORT);
    let run = format!("{} run short.toml {arguments}", env!("CARGO_BIN_EXE_muster"));
    let script = format!("{{ sleep 0.2; {run}; echo $? >code; }} {redirect}");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(place.path()).stdin(Stdio::null());
    assert_cmd::Command::from_std(command).timeout(PATIENCE).output().expect("sh starts");
    let code = eventually("an exit code", || {
        std::fs::read_to_string(place.path().join("code")).ok()?.trim().parse().ok()
    });
    (place, Some(code))
}

#[test]
fn a_reader_that_has_gone_does_not_make_the_program_panic() {
    let (place, code) = unread("2>err | true", "");
    assert!(matches!(code, Some(1 | 97)), "{code:?}");
    let stderr = std::fs::read_to_string(place.path().join("err")).expect("a file");
    assert!(stderr.contains("error: cannot write the summary") && !stderr.contains("panicked"), "{stderr}");
    assert_eq!(place.results("results").len(), 1, "the result is there all the same");
}

#[test]
fn a_full_disk_under_the_summary_is_told() {
    let (place, code) = unread(">/dev/full 2>err", "");
    assert!(matches!(code, Some(1 | 97)), "{code:?}");
    let stderr = std::fs::read_to_string(place.path().join("err")).expect("a file");
    assert!(stderr.contains("cannot write the summary: No space left on device"), "{stderr}");
}

#[test]
fn standard_error_that_nobody_reads_does_not_end_a_run() {
    for arguments in ["", "-vv"] {
        let (place, code) = unread("2>&1 >out | true", arguments);
        assert!(matches!(code, Some(0 | 97)), "`{arguments}`: {code:?}");
        assert_eq!(place.results("results").len(), 1);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_told_before_the_load() {
    let place = Place::new();
    let scenario = place.write("short.toml", SHORT);
    place.write("file", "");
    // Root may write where others may not, so these are places where nobody can.
    for output in ["file", "file/below", "/proc/nowhere", "/dev/null"] {
        let ran = place.run(&[&scenario, "-o", output]);
        ran.ends_with(1).tells(&["error:", output, "cannot make the directory"]);
        assert_eq!(ran.stdout, "");
    }
}

/// A run of a listed fleet that would take a minute and a half, and its list; the first devices have connected.
fn begun_with_list(place: &Place) -> (Running, std::path::PathBuf) {
    // Wide rows, so that the run soon needs more of the file than it has in its buffer.
    let note = "x".repeat(8_000);
    let rows: String = (0..500).map(|n| format!("gateway-{n:05},{note}\n")).collect();
    place.write("devices.csv", &format!("registration_id,note\n{rows}"));
    let text = "version = 1\n[enrollment.gateways]\nindividual = \"devices.csv\"\n[emulator.dps]\nassign = \"0s\"\n\
                [fleet.gateways]\nstart.rate = \"20/s\"\n\
                [fleet.gateways.telemetry]\nevery = \"1s\"\nmessages = 60\n";
    let scenario = place.write("listed.toml", text);
    let mut command = place.muster(&["run", &scenario, "--no-progress"]);
    let running = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    eventually("connections", || (sockets_of(running.pid()) >= 10).then_some(()));
    (running, place.path().join("devices.csv"))
}

#[test]
fn a_list_that_is_cut_off_while_the_run_uses_it_ends_the_run_with_its_name() {
    let place = Place::new();
    let (mut running, list) = begun_with_list(&place);
    // In place: the run reads on where nothing is any more.
    std::fs::File::options().write(true).open(list).and_then(|file| file.set_len(20)).expect("it is cut");
    let status = running.end();
    let mut stderr = String::new();
    running.0.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("devices.csv") && stderr.contains("changed"), "{stderr}");
}

#[test]
fn a_list_that_is_replaced_by_another_file_is_read_on_by_the_run_that_has_it_open() {
    let place = Place::new();
    let (mut running, list) = begun_with_list(&place);
    let other = place.path().join("other.csv");
    std::fs::write(&other, "registration_id\nother\n")
        .and_then(|()| std::fs::rename(other, list))
        .expect("renamed");
    std::thread::sleep(Duration::from_millis(300));
    assert!(running.0.try_wait().expect("a child of ours").is_none(), "it goes on");
    running.signal(Signal::INT);
    assert_eq!(running.end().code(), Some(130));
}
