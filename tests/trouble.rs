//! `muster run` when something is wrong: with the service, the network, this machine, the configuration, or the run itself.

mod common;

use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::stub::{Stub, assigned, at_hub, free_port, json};
use common::{Emulator, GROUP_KEY, Place, Ran, acknowledged, books_agree, step};

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
