//! `muster run` when something is wrong: with the service, the network, this machine, the configuration, or the run itself.

mod common;

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::stub::{Stub, assigned, free_port, json};
use common::{
    Emulator, GROUP_KEY, PATIENCE, Place, Ran, Running, acknowledged, books_agree, children_of, eventually,
    is_alive, sockets_of, step,
};
use rustix::process::Signal;

/// Devices that register over HTTPS with the DPS on `port`, each step with a deadline of its own, and nothing to say at the hub.
fn at_dps(port: u16, target: &str) -> String {
    format!(
        r#"
version = 1
seed = 7
drain = "1s"
[target]
kind = "azure"
dps = "localhost:{port}"
id_scope = "0ne00000001"
{target}
[enrollment.plant]
group_key = {{ env = "GROUP_KEY" }}
[fleet.devices]
count = 5
provision = "https"
connect = "https"
start.burst = {{}}
deadline = {{ register = "2s", connect = "2s", send = "2s" }}
"#
    )
}

const TRUSTING: &str = "ca_file = \"ca.pem\"";

/// Runs five devices against a DPS.
fn run_at(port: u16, ca_pem: &str, target: &str) -> Ran {
    let place = Place::new();
    place.write("ca.pem", ca_pem);
    let scenario = place.write("trouble.toml", &at_dps(port, target));
    let since = Instant::now();
    let ran = place.run_with(&[&scenario, "--no-progress"], &[("GROUP_KEY", GROUP_KEY)]);
    assert!(since.elapsed() < Duration::from_secs(30), "far beyond the deadlines of 2 s");
    ran
}

/// Asserts that no device was assigned, that the run says so by its code, and what it tells of the reason.
fn all_fail(ran: &Ran, owner: &str, class: &str, texts: &[&str]) {
    // A step of a machine so busy that it is late counts too.
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    let result = ran.result();
    assert_eq!(step(result, "register")["failed"], 5, "{}", ran.stdout);
    assert_eq!(result["headline"]["unaccounted"], 0);
    let groups = result["failures"].as_array().expect("groups");
    let group = groups.iter().find(|group| group["class"] == class);
    let group = group.unwrap_or_else(|| panic!("no `{class}`:\n{}", ran.stdout));
    assert_eq!(group["owner"], owner);
    assert_eq!(group["count"], 5, "{}", ran.stdout);
    assert_eq!(group["steps"], serde_json::json!(["register"]));
    let remedy = group["remedy"].as_str().expect("a remedy");
    ran.shows(&[
        "5 devices · 0 assigned",
        &format!("{owner} {class}: 5 failed"),
        "for example",
        &format!("→ {remedy}"),
    ]);
    ran.shows(texts);
}

#[test]
fn a_wrong_key_is_unauthorized_and_a_matter_of_configuration() {
    let place = Place::new();
    let emulator = Emulator::start(&place, &["--group", "plant"]);
    let (_, port) = emulator.dps.split_once(':').expect("host and port");
    let text = at_dps(port.parse().expect("a port"), "ca_file = \"emu/ca.pem\"");
    let scenario = place.write("key.toml", &text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    all_fail(
        &ran,
        "configuration",
        "unauthorized",
        &["401", "check the key, the id scope and this machine's clock"],
    );
    let ledger = emulator.stop();
    // What no change could mend is not tried again.
    assert_eq!(ledger["requests"]["dps.register"], serde_json::json!({ "401": 5 }), "{ledger}");
}

#[test]
fn an_unknown_id_scope_is_not_found() {
    let place = Place::new();
    let emulator = Emulator::start(&place, &["--group", "plant"]);
    let (_, port) = emulator.dps.split_once(':').expect("host and port");
    let text = at_dps(port.parse().expect("a port"), "ca_file = \"emu/ca.pem\"")
        .replace("0ne00000001", "0ne00000009");
    let text = text.replace("{ env = \"GROUP_KEY\" }", "{ file = \"emu/plant.key\" }");
    let scenario = place.write("scope.toml", &text);
    let ran = place.run(&[&scenario]);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    let class = &ran.result()["failures"][0]["class"];
    // The service tells strangers no more than that.
    assert!(class == "not found" || class == "unauthorized", "{}", ran.stdout);
    ran.shows(&["configuration", "5 failed (register)", "check", "the id scope"]);
    drop(emulator);
}

#[test]
fn a_disabled_enrollment_refuses_its_devices() {
    let place = Place::new();
    let text = "version = 1\n[enrollment.plant]\ngroup_key = \"generated\"\nenabled = false\n\
                [fleet.devices]\ncount = 5\nstart.burst = {}\n";
    let scenario = place.write("disabled.toml", text);
    let ran = place.run(&[&scenario]);
    all_fail(&ran, "configuration", "disabled", &["enable the enrollment or the device"]);
    books_agree(ran.result());
}

#[test]
fn a_port_on_which_nobody_listens_is_refused_by_the_network() {
    let ran = run_at(free_port(), "", "");
    all_fail(&ran, "network", "connection refused", &["check host and port", "attempts"]);
}

#[test]
fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let stub = Stub::https(|_, _| panic!("nothing is asked over an untrusted connection"));
    let ran = run_at(stub.port, "", "");
    all_fail(&ran, "configuration", "untrusted certificate", &["target.ca_file"]);
}

#[test]
fn a_certificate_for_another_name_is_invalid() {
    let stub =
        Stub::https_as("elsewhere.example", |_, _| panic!("nothing is asked over an untrusted connection"));
    let ran = run_at(stub.port, &stub.ca_pem, TRUSTING);
    all_fail(&ran, "configuration", "invalid certificate", &["check the host name"]);
}

#[test]
fn a_file_of_authorities_that_is_missing_or_empty_is_told_before_the_run() {
    let place = Place::new();
    place.write("empty.pem", "");
    for file in ["missing.pem", "empty.pem"] {
        let scenario = place.write("ca.toml", &at_dps(9, &format!("ca_file = \"{file}\"")));
        let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
        ran.ends_with(2).tells(&[file]);
    }
}

#[test]
fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    let stub = Stub::silent();
    let ran = run_at(stub.port, "", "");
    all_fail(&ran, "network", "connect timed out", &["by the deadline"]);
}

#[test]
fn a_service_that_takes_the_request_and_does_not_answer_is_given_up_at_the_deadline() {
    let stub = Stub::https(|_, _| Vec::new());
    let ran = run_at(stub.port, &stub.ca_pem, TRUSTING);
    all_fail(&ran, "service", "no answer", &["not answered by the deadline"]);
    let fastest = ran.result()["total"]["steps"][0]["failures"][0]["first_ns"].as_u64().expect("a time");
    assert!(fastest >= 2_000_000_000, "the deadline is waited for: {fastest} ns");
}

#[test]
fn a_port_that_speaks_no_tls_fails_in_the_handshake() {
    let stub = Stub::tcp(|mut connection| {
        let _ = connection.write_all(b"220 mail.example ESMTP\x1b[2J\r\n");
        let _ = connection.read(&mut [0; 1024]);
    });
    let ran = run_at(stub.port, "", "");
    all_fail(&ran, "network", "TLS failed", &["check that the port speaks TLS 1.2 or 1.3"]);
}

#[test]
fn a_portal_that_answers_with_a_page_is_no_dps() {
    let page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 46\r\n\r\n\
                 <html>\x1b]0;owned\x07\xe2\x80\xae Please log in first.   </html>";
    let stub = Stub::https(move |_, _| page.to_vec());
    let ran = run_at(stub.port, &stub.ca_pem, TRUSTING);
    all_fail(&ran, "service", "unintelligible answer", &["<html>", "and not a proxy or portal"]);
    assert!(
        !ran.stdout.contains(['\x1b', '\x07', '\u{202e}']),
        "nothing of it reaches the terminal: {:?}",
        ran.stdout
    );
    let stored = ran.result().to_string();
    assert!(!stored.contains("\\u0007") || !ran.stdout.contains('\x07'), "{stored}");
}

#[test]
fn answers_that_no_protocol_allows_are_unintelligible_and_bounded() {
    let huge_body = || {
        let body = "x".repeat(1 << 20);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let huge_head = || format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes();
    let many_heads = || format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(2_000)).into_bytes();
    let endless_chunks = || {
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(65_536));
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(16)).into_bytes()
    };
    let no_http = || b"\x16\x03\x01 what is this\r\n\r\n".to_vec();
    let deep = || json("200 OK", "", &"[".repeat(50_000));
    let no_operation = || json("202 Accepted", "Retry-After: 1\r\n", "{\"status\":\"assigning\"}");
    let answers: [fn() -> Vec<u8>; 7] =
        [huge_body, huge_head, many_heads, endless_chunks, no_http, deep, no_operation];
    for answer in answers {
        let stub = Stub::https(move |_, _| answer());
        let ran = run_at(stub.port, &stub.ca_pem, TRUSTING);
        all_fail(&ran, "service", "unintelligible answer", &[]);
        let resident = ran.result()["facts"]["generator"]["peak_rss_bytes"].as_u64().expect("a size");
        assert!(resident < 128 << 20, "{resident} bytes");
    }
}

#[test]
fn a_service_that_hangs_up_in_mid_answer_is_the_networks_closed_connection() {
    // The second half never comes; the thread ends with the read that fails.
    let stub = Stub::https(|_, _| {
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf".to_vec()
    });
    let ran = run_at(stub.port, &stub.ca_pem, TRUSTING);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    assert_eq!(step(ran.result(), "register")["failed"], 5, "{}", ran.stdout);
}

#[test]
fn errors_of_the_service_are_tried_again_and_are_its_own() {
    let body = "{\"errorCode\":500000,\"message\":\"Internal \\u001b[31mServer Error\"}";
    let stub = Stub::https(move |_, _| json("500 Internal Server Error", "", body));
    let ran = run_at(stub.port, &stub.ca_pem, TRUSTING);
    all_fail(
        &ran,
        "service",
        "server error",
        &["500", "errorCode 500000", "attempts", "the service's own log"],
    );
    assert!(stub.requests().len() > 5, "each device tried at least twice");
    assert!(!ran.stdout.contains('\x1b'), "{:?}", ran.stdout);
}

#[test]
fn a_throttled_device_waits_as_asked_and_is_no_error() {
    let place = Place::new();
    // DPS and hub in one; five devices are throttled once each.
    let port = std::sync::Arc::new(std::sync::OnceLock::new());
    let known = std::sync::Arc::clone(&port);
    let stub = Stub::https(move |head, number| {
        if head.starts_with("POST /devices/any/messages/events") {
            json("204 No Content", "", "")
        } else if number < 5 {
            json(
                "429 Too Many Requests",
                "Retry-After: 1\r\n",
                "{\"errorCode\":429001,\"message\":\"Throttled\"}",
            )
        } else {
            assigned(&format!("localhost:{}", known.get().expect("is set")))
        }
    });
    port.set(stub.port).expect("is set once");
    place.write("ca.pem", &stub.ca_pem);
    let text = at_dps(stub.port, TRUSTING).replace("register = \"2s\"", "register = \"20s\"");
    let text = text + "[fleet.devices.telemetry]\nevery = \"100ms\"\nmessages = 2\n";
    let scenario = place.write("throttled.toml", &text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    let result = ran.passes().result();
    assert_eq!((acknowledged(result, "register"), acknowledged(result, "send")), (5, 10));
    ran.shows(&[
        "throttled: 5 attempts",
        "5 requests were throttled (429) and tried again",
        "start devices more slowly",
    ]);
    let fastest = step(result, "register")["response"]["min_ns"].as_u64().expect("a time");
    assert!(fastest >= 1_000_000_000, "the hint is obeyed: {fastest} ns");
}

#[test]
fn a_device_is_not_sent_to_a_hub_that_is_hostile_or_not_allowed() {
    for (hub, owner, class) in [
        ("evil.example:22/..", "service", "unintelligible answer"),
        ("a\r\nX-Evil: 1", "service", "unintelligible answer"),
        ("\u{1b}[2J\u{202e}.example", "service", "unintelligible answer"),
        ("", "service", "unintelligible answer"),
        ("contoso.azure-devices.net.evil.example", "configuration", "hub not allowed"),
        ("192.0.2.1", "configuration", "hub not allowed"),
    ] {
        let stub = Stub::https(move |_, _| assigned(hub));
        let ran = run_at(stub.port, &stub.ca_pem, &format!("{TRUSTING}\nallow = [\"*.azure-devices.net\"]"));
        all_fail(&ran, owner, class, &[]);
        assert!(!ran.stdout.contains(['\x1b', '\u{202e}']), "{:?}", ran.stdout);
        assert!(
            ran.result()["total"]["phases"].to_string().find("hub").is_none(),
            "the hub was not contacted"
        );
    }
}

#[test]
fn a_hub_that_refuses_messages_fails_them_by_class() {
    let place = Place::new();
    let stub =
        Stub::https(|_, _| json("403 Forbidden", "", "{\"Message\":\"ErrorCode:IotHubQuotaExceeded\"}"));
    place.write("ca.pem", &stub.ca_pem);
    let scenario = place.write("hub.toml", &at_hub(stub.port));
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    let result = ran.result();
    assert_eq!((acknowledged(result, "connect"), acknowledged(result, "send")), (5, 0));
    assert_eq!(step(result, "send")["failed"], 10);
    assert_eq!(result["headline"]["unaccounted"], 0);
    ran.shows(&["10 failed (send)", "403", "IotHubQuotaExceeded"]);
}

#[test]
fn a_run_in_which_no_message_arrives_does_not_pass() {
    let place = Place::new();
    let stub = Stub::https(|_, _| json("403 Forbidden", "", ""));
    place.write("ca.pem", &stub.ca_pem);
    let scenario = place.write("hub.toml", &at_hub(stub.port));
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
}

/// Devices that go straight to a hub over HTTPS, to send two messages each.
fn at_hub(port: u16) -> String {
    format!(
        r#"
version = 1
seed = 7
drain = "1s"
[target]
kind = "hub"
host = "localhost:{port}"
ca_file = "ca.pem"
[enrollment.plant]
group_key = {{ env = "GROUP_KEY" }}
[fleet.devices]
count = 5
connect = "https"
start.burst = {{}}
deadline = {{ register = "1s", connect = "1s", send = "1s" }}
[fleet.devices.telemetry]
every = "100ms"
messages = 2
"#
    )
}

#[test]
fn a_run_with_an_end_ends_although_its_hub_is_not_there() {
    let place = Place::new();
    let place_ca = Stub::https(|_, _| Vec::new());
    place.write("ca.pem", &place_ca.ca_pem);
    let text = at_hub(free_port()).replace("drain = \"1s\"", "drain = \"1s\"\nduration = \"1s\"");
    let scenario = place.write("hub.toml", &text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    assert_eq!(ran.result()["headline"]["unaccounted"], 0);
    ran.shows(&["connection refused"]);
}

#[test]
fn a_run_without_an_end_ends_although_its_hub_is_not_there() {
    let place = Place::new();
    let other = Stub::https(|_, _| Vec::new());
    place.write("ca.pem", &other.ca_pem);
    let scenario = place.write("hub.toml", &at_hub(free_port()));
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    ran.shows(&["connection refused"]);
}

#[test]
fn a_connect_that_waits_to_be_tried_again_when_the_run_ends_has_an_outcome() {
    let place = Place::new();
    let other = Stub::https(|_, _| Vec::new());
    place.write("ca.pem", &other.ca_pem);
    // Longer than the run, so that every device is between two attempts of its first connect.
    let text = at_hub(free_port()).replace("drain = \"1s\"", "drain = \"1s\"\nduration = \"1s\"");
    let text = text.replace("connect = \"1s\"", "connect = \"60s\"").replace("count = 5", "count = 20");
    let scenario = place.write("hub.toml", &text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    let result = ran.result();
    assert_eq!(result["headline"]["unaccounted"], 0, "{}", ran.stdout);
    assert_eq!(step(result, "connect")["unknown"], 20, "{}", ran.stdout);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
}

#[test]
fn a_run_ends_although_its_hub_goes_away_for_good() {
    let place = Place::new();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    // One message is answered, and then nothing ever again.
    let stub = Stub::https(move |_, _| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0..5 => json("204 No Content", "Connection: close\r\n", ""),
        _ => Vec::new(),
    });
    place.write("ca.pem", &stub.ca_pem);
    let scenario = place.write("hub.toml", &at_hub(stub.port));
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    assert!(matches!(ran.code, Some(0 | 99 | 97)), "{ran:?}");
    let result = ran.result();
    assert_eq!(result["headline"]["unaccounted"], 0);
    assert_eq!(step(result, "send")["all"]["due"], 10, "{}", ran.stdout);
}

#[test]
fn a_run_ends_although_its_hub_is_not_there_any_more() {
    let place = Place::new();
    let file = place.write("at-once.toml", "version = 1\n[emulator.dps]\nassign = \"0s\"\n");
    let emulator = Emulator::start(&place, &[&file, "--group", "plant"]);
    let (_, port) = emulator.dps.split_once(':').expect("host and port");
    let text = at_dps(port.parse().expect("a port"), "ca_file = \"emu/ca.pem\"");
    let text = text.replace("{ env = \"GROUP_KEY\" }", "{ file = \"emu/plant.key\" }");
    let text = text + "telemetry = { every = \"200ms\", messages = 20 }\n";
    let scenario = place.write("gone.toml", &text);
    let ran = std::thread::scope(|scope| {
        let run = scope.spawn(|| place.run(&[&scenario, "--no-progress"]));
        std::thread::sleep(Duration::from_secs(2));
        emulator.stop();
        run.join().expect("a run")
    });
    assert_eq!(step(ran.result(), "send")["all"]["due"], 100, "{}", ran.stdout);
}

#[test]
fn a_run_that_needs_more_descriptors_than_there_are_is_refused() {
    let place = Place::new();
    let text = "version = 1\nduration = \"1s\"\n[fleet.held]\ncount = 60\nstart.burst = {}\n";
    let scenario = place.write("held.toml", text);
    let muster = format!("ulimit -n 40 && exec {} run {scenario}", env!("CARGO_BIN_EXE_muster"));
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &muster]).current_dir(place.path()).stdin(Stdio::null());
    let ran = place.finish(command);
    ran.ends_with(3).tells(&["60 connections at once", "40 that it may open", "ulimit"]);
    assert!(!place.path().join("results").exists());
}

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

#[test]
fn a_host_elsewhere_is_not_loaded_without_leave() {
    let place = Place::new();
    let text =
        at_dps(9, "allow = [\"*.azure-devices.invalid\"]").replace("localhost:9", "dps.example.invalid");
    let scenario = place.write("away.toml", &text);
    let variables = [("GROUP_KEY", GROUP_KEY)];
    let ran = place.run_with(&[&scenario], &variables);
    ran.ends_with(3).tells(&[
        "not confirmed",
        "dps.example.invalid:443",
        "*.azure-devices.invalid",
        "5 devices",
        "--yes",
    ]);
    assert_eq!(ran.stdout, "");
    assert!(!place.path().join("results").exists(), "nothing was begun");

    // With leave it goes there; this name has no address anywhere (RFC 6761).
    let ran = place.run_with(&[&scenario, "--yes"], &variables);
    all_fail(&ran, "network", "DNS failed", &["dps.example.invalid", "Left behind at the service"]);
}

#[test]
fn a_hub_elsewhere_is_not_loaded_without_leave() {
    let place = Place::new();
    let text = at_hub(9).replace("localhost:9", "hub.example.invalid").replace("ca_file = \"ca.pem\"", "");
    let scenario = place.write("away.toml", &text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    ran.ends_with(3).tells(&["not confirmed", "hub.example.invalid:443", "50.0 messages/s"]);
}

#[test]
fn a_dps_on_this_machine_is_no_leave_for_hubs_elsewhere() {
    let place = Place::new();
    let stub = Stub::https(|_, _| assigned("contoso.azure-devices.invalid"));
    place.write("ca.pem", &stub.ca_pem);
    let text = at_dps(stub.port, &format!("{TRUSTING}\nallow = [\"*.azure-devices.invalid\"]"));
    let text = text.replace("drain = \"1s\"", "drain = \"1s\"\nduration = \"1s\"");
    let scenario = place.write("mixed.toml", &text);
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", GROUP_KEY)]);
    // Refused beforehand, or when the hub is named; but never looked up, let alone loaded.
    assert!(!ran.stdout.contains("DNS failed"), "{}", ran.stdout);
}

#[test]
fn a_key_that_is_not_to_be_had_is_told_without_the_key() {
    let place = Place::new();
    let scenario = place.write("key.toml", &at_dps(9, ""));
    place.run(&[&scenario]).ends_with(2).tells(&["GROUP_KEY", "not set"]);
    let wrong = "not base64: sEcReT-cAnArY";
    let ran = place.run_with(&[&scenario], &[("GROUP_KEY", wrong)]);
    ran.ends_with(2).tells(&["enrollment `plant`"]);
    assert!(!ran.stderr.contains("cAnArY"), "{}", ran.stderr);
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
