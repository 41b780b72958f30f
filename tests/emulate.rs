//! `muster emulate` as a service for any client, and the quickstart against it.

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::stub::free_port_pair;
use common::{Emulator, Place, Ran, acknowledged, network, repository};

const DEVICE: &str = "symm-key-python-device-008:python-device-008";
const VARIABLES: &str = "emu/symm-key-python-device-008.env";

/// A DPS that assigns at once, where the usual one lets a device wait for seconds.
const AT_ONCE: &str = "version = 1\n[emulator.dps]\nassign = \"0s\"\n";

/// Runs the quickstart in a shell that has sourced the variables which the emulator wrote.
fn quickstart(place: &Place) -> Ran {
    let muster = env!("CARGO_BIN_EXE_muster");
    let scenario = repository("scenarios/quickstart.toml");
    let script = format!(". ./{VARIABLES} && exec {muster} run '{}'", scenario.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(place.path()).stdin(std::process::Stdio::null());
    let _ = std::fs::remove_dir_all(place.path().join("results"));
    place.finish(command)
}

#[test]
fn the_quickstart_registers_and_sends_ten_messages() {
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let emulator = Emulator::start(&place, &[&file, "--individual", DEVICE]);
    let ran = quickstart(&place);
    let result = ran.passes().result();
    assert_eq!((acknowledged(result, "register"), acknowledged(result, "send")), (1, 10));
    let hub = emulator.opening.lines().find_map(|line| line.strip_prefix("hub ")).expect("a hub");
    let hub = hub.split_whitespace().next().expect("its host");
    let lines: Vec<_> = ran.stderr.lines().collect();
    let told = [
        "The complete registration result is",
        "python-device-008",
        hub,
        "initialAssignment",
        "null",
        "Will send telemetry from the provisioned device",
    ];
    assert_eq!(lines[..told.len()], told, "{}", ran.stderr);
    for n in 1..=10 {
        for line in [format!("sending message #{n}"), format!("done sending message #{n}")] {
            assert_eq!(lines.iter().filter(|told| **told == line).count(), 1, "{line}: {}", ran.stderr);
        }
    }
    assert_eq!(lines.last(), Some(&"done sending message #10"), "{}", ran.stderr);

    let again = quickstart(&place);
    assert_eq!(acknowledged(again.passes().result(), "send"), 10);
    assert!(again.stderr.contains("python-device-008"), "{}", again.stderr);
    assert!(
        !again.stderr.contains("initialAssignment"),
        "the second time is not the first: {}",
        again.stderr
    );

    let ledger = emulator.stop();
    assert_eq!(ledger["assigned"], 2, "{ledger}");
    assert_eq!(ledger["hubs"]["hub"]["messages"], 20, "{ledger}");
    assert_eq!(ledger["hubs"]["hub"]["devices"], 1, "{ledger}");
    assert_eq!(ledger["requests"]["mqtt.hub.send"]["204"], 20, "{ledger}");
}

#[test]
fn the_ledger_after_one_quickstart_has_one_assignment_and_ten_messages() {
    let place = Place::new();
    let emulator = Emulator::start(&place, &["--individual", DEVICE]);
    quickstart(&place).passes();
    let ledger = emulator.stop();
    assert_eq!(
        (&ledger["assigned"], &ledger["hubs"]["hub"]["messages"]),
        (&1.into(), &10.into()),
        "{ledger}"
    );
    assert_eq!((&ledger["failed"], &ledger["malformed"]), (&0.into(), &0.into()), "{ledger}");
}

#[test]
fn a_second_start_uses_the_keys_and_the_authority_of_the_first() {
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let arguments = [&file, "--individual", DEVICE, "--group", "plant"];
    Emulator::start(&place, &arguments).stop();
    let kept = ["symm-key-python-device-008.key", "plant.key", "ca.pem"];
    let read = || kept.map(|name| std::fs::read(place.path().join("emu").join(name)).expect("it was kept"));
    let before = read();
    let emulator = Emulator::start(&place, &arguments);
    assert_eq!(read(), before);
    // The port is another, and the variables have it.
    let variables = std::fs::read_to_string(place.path().join(VARIABLES)).expect("the variables");
    assert!(variables.contains(&emulator.dps), "{variables}");
    quickstart(&place).passes();
}

#[test]
fn what_holds_a_key_can_be_read_by_its_owner_alone() {
    let place = Place::new();
    let emulator = Emulator::start(&place, &["--individual", DEVICE, "--group", "plant"]);
    let mut secrets = 0;
    for entry in std::fs::read_dir(place.path().join("emu")).expect("the folder") {
        let entry = entry.expect("the folder");
        let name = entry.file_name().into_string().expect("a plain name");
        let text = std::fs::read_to_string(entry.path()).expect("text");
        let mode = entry.metadata().expect("a file").permissions().mode() & 0o777;
        if name.ends_with(".key") || name.ends_with(".env") || text.contains("PRIVATE KEY") {
            assert_eq!(mode, 0o600, "{name}");
            secrets += 1;
        }
    }
    assert!(secrets >= 3, "{secrets}");
    drop(emulator);
}

#[test]
fn a_scenarios_tables_can_be_served() {
    let place = Place::new();
    let text = "version = 1\n[enrollment.plant]\ngroup_key = \"generated\"\n[fleet.a]\ncount = 1\nstart.burst = {}\n\
                [emulator]\nid_scope = \"0ne0000ABCD\"\n[emulator.dps]\nassign = \"0s\"\n[emulator.hub]\nnorth = {}\nsouth = {}\n";
    let file = place.write("served.toml", text);
    let emulator = Emulator::start(&place, &[&file]);
    assert!(emulator.opening.contains("0ne0000ABCD"), "{}", emulator.opening);
    assert!(
        emulator.opening.contains("(north)") && emulator.opening.contains("(south)"),
        "{}",
        emulator.opening
    );
    let text = format!(
        "version = 1\n[target]\nkind = \"azure\"\ndps = \"{}\"\nid_scope = \"0ne0000ABCD\"\nca_file = \"emu/ca.pem\"\n\
         [enrollment.plant]\ngroup_key = {{ file = \"emu/plant.key\" }}\n[fleet.a]\ncount = 12\nstart.burst = {{}}\n\
         telemetry = {{ every = \"50ms\", messages = 2 }}\n",
        emulator.dps
    );
    let scenario = place.write("client.toml", &text);
    let ran = place.run(&[&scenario]);
    assert_eq!(acknowledged(ran.passes().result(), "send"), 24);
    let ledger = emulator.stop();
    let hubs = &ledger["hubs"];
    let on = |hub: &str, what: &str| hubs[hub][what].as_u64().expect("a count");
    assert_eq!(
        (on("north", "devices") + on("south", "devices"), on("north", "messages") + on("south", "messages")),
        (12, 24)
    );
}

#[test]
fn an_address_that_others_can_reach_is_refused_without_leave() {
    let place = Place::new();
    let ran = place.finish(place.muster(&["emulate", "--port", "0", "--listen", "0.0.0.0"]));
    ran.ends_with(3).tells(&["0.0.0.0", "--expose"]);
    assert!(!place.path().join("emulator").exists(), "nothing was begun");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let ran = place.finish(place.muster(&["emulate", "--dir", "emu", "--port", &port]));
    ran.ends_with(1).tells(&["error:", &port]);
}

#[test]
fn a_port_with_none_left_for_the_hubs_is_refused_with_the_highest_that_goes() {
    let place = Place::new();
    let refused = |arguments: &[&str]| {
        place.finish(place.muster(&[&["emulate", "--dir", "emu"][..], arguments].concat()))
    };
    refused(&["--port", "65535"])
        .ends_with(2)
        .tells(&["--port 65535 leaves no port for the hub", "up to 65534"]);
    let file = place.write("two.toml", "version = 1\n[emulator.hub]\nnorth = {}\nsouth = {}\n");
    let ran = refused(&[&file, "--port", "65534"]);
    ran.ends_with(2).tells(&["--port 65534 leaves too few ports for 2 hubs", "up to 65533"]);
}

#[test]
fn an_address_that_is_not_localhost_is_told_as_it_is_and_reached() {
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    for (address, host) in [("127.0.0.5", "127.0.0.5"), ("::1", "[::1]")] {
        if std::net::TcpListener::bind((address, 0)).is_err() {
            println!("skipped: this machine has no {address}");
            continue;
        }
        let emulator = Emulator::start(&place, &[&file, "--individual", DEVICE, "--listen", address]);
        let hub = told(&emulator, "hub ").split_whitespace().next().expect("its host").to_owned();
        assert!(emulator.dps.starts_with(host) && hub.starts_with(host), "{}", emulator.opening);
        let ran = quickstart(&place);
        assert_eq!(acknowledged(ran.passes().result(), "send"), 10);
        assert_eq!(ran.stderr.lines().nth(2), Some(&*hub), "{}", ran.stderr);
    }
}

#[test]
fn fixed_ports_follow_each_other() {
    let place = Place::new();
    let (port, next) = free_port_pair();
    let port_text = port.to_string();
    let emulator = Emulator::start(&place, &["--port", &port_text]);
    assert_eq!(emulator.dps, format!("localhost:{port}"));
    assert!(emulator.opening.contains(&format!("localhost:{next}")), "{}", emulator.opening);
}

/// What the start screen says after a word.
fn told<'a>(emulator: &'a Emulator, word: &str) -> &'a str {
    let line = emulator.opening.lines().find_map(|line| line.strip_prefix(word)).expect(word);
    line.trim_start()
}

#[test]
fn the_connect_front_leads_a_fleet_that_knows_real_names_only_to_the_emulator() {
    let place = Place::new();
    let served = "version = 1\n[enrollment.plant]\ngroup_key = \"generated\"\n[emulator.dps]\nassign = \"0s\"\n\
                  [emulator.hub]\nnorth = {}\ncontoso = { host = \"contoso.azure-devices.net\" }\n";
    let file = place.write("served.toml", served);
    let emulator = Emulator::start(&place, &[&file, "--connect-proxy", "0"]);
    let proxy = told(&emulator, "proxy ").split(' ').next().expect("a URL");
    let text = format!(
        "version = 1\n[target]\nkind = \"azure\"\ndps = \"global.azure-devices-provisioning.net\"\n\
         id_scope = \"0ne00000001\"\nca_file = \"emu/ca.pem\"\nproxy = \"{proxy}\"\n\
         allow = [\"north.azure-devices.net\", \"contoso.azure-devices.net\"]\n\
         [enrollment.plant]\ngroup_key = {{ file = \"emu/plant.key\" }}\n\
         [fleet.a]\ncount = 6\nstart.burst = {{}}\ntelemetry = {{ every = \"50ms\", messages = 2 }}\n\
         [fleet.b]\ncount = 6\nstart.burst = {{}}\ntelemetry = {{ every = \"50ms\", messages = 2 }}\n\
         provision = \"https\"\nconnect = \"https\"\n"
    );
    let scenario = place.write("client.toml", &text);
    let ran = place.run(&[&scenario, "--yes"]);
    assert_eq!(acknowledged(ran.passes().result(), "send"), 24);

    let address = proxy.strip_prefix("http://").expect("a URL");
    let mut refused = std::net::TcpStream::connect(address).expect("it listens");
    refused.write_all(b"CONNECT portal.example:443 HTTP/1.1\r\n\r\n").expect("a request");
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("*.azure-devices.net"), "{answer}");

    let ledger = emulator.stop();
    let on = |hub: &str, what: &str| ledger["hubs"][hub][what].as_u64().expect("a count");
    assert!(on("north", "messages") > 0 && on("contoso", "messages") > 0, "{ledger}");
    assert_eq!(on("north", "messages") + on("contoso", "messages"), 24);
    assert_eq!((&ledger["tunnels"], &ledger["tunnels_refused"]), (&24.into(), &1.into()), "{ledger}");
    assert_eq!(ledger["connections"], 25, "all came through the front: {ledger}");
}

#[test]
fn variables_for_scripts_behind_the_connect_front_have_its_port_and_azures_name() {
    let place = Place::new();
    let emulator = Emulator::start(&place, &["--individual", DEVICE, "--connect-proxy", "0"]);
    let proxy = told(&emulator, "proxy ").split(' ').next().expect("a URL");
    let path = place.path().join(VARIABLES.replace(".env", ".proxy-env"));
    let text = std::fs::read_to_string(&path).expect("the variables");
    for variable in [
        format!("mqtt_proxy='{proxy}'"),
        "PROVISIONING_HOST='global.azure-devices-provisioning.net'".to_owned(),
        "PROVISIONING_REGISTRATION_ID='symm-key-python-device-008'".to_owned(),
    ] {
        assert!(text.contains(&format!("export {variable}\n")), "{text}");
    }
    assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    // muster itself takes the way that it always took.
    let own = std::fs::read_to_string(place.path().join(VARIABLES)).expect("the variables");
    assert!(own.contains(&emulator.dps) && !own.contains("mqtt_proxy"), "{own}");
}

#[test]
fn a_port_that_needs_a_privilege_is_told_with_the_ways_out() {
    if !network::is_permitted() {
        return;
    }
    let place = Place::new();
    // Whoever is root in a user namespace of his own has no say in a network that is not of it.
    let mut command = network::own_network();
    command.args(["unshare", "--map-root-user", "--", env!("CARGO_BIN_EXE_muster")]);
    command.args(["emulate", "--dir", "emu", "--port", "0", "--sdk-ports"]).current_dir(place.path());
    let ran = place.finish(command);
    ran.ends_with(1).tells(&[
        "127.0.0.1:443",
        "Permission denied",
        "cap_net_bind_service",
        "--connect-proxy",
    ]);
}

#[test]
fn ports_of_sdks_are_not_for_others() {
    let place = Place::new();
    for port in ["8883", "8882", "443"] {
        let arguments = ["emulate", "--dir", "emu", "--sdk-ports", "--port", port];
        place.finish(place.muster(&arguments)).ends_with(2).tells(&["--sdk-ports", "another --port"]);
    }
}

#[test]
fn ports_of_sdks_are_at_the_address_listened_on_or_refused() {
    let place = Place::new();
    let two = place.write("two.toml", "version = 1\n[emulator.hub]\nnorth = {}\nsouth = {}\n");
    for (arguments, told) in [
        (&["--listen", "::1"][..], "leads nobody to ::1: listen on one"),
        (&["--listen", "127.0.0.5", &two], "leave the address at 127.0.0.1"),
    ] {
        let usual = ["emulate", "--dir", "emu", "--sdk-ports", "--port", "0"];
        let ran = place.finish(place.muster(&[&usual[..], arguments].concat()));
        ran.ends_with(2).tells(&["--sdk-ports", told]);
    }
    if !network::is_permitted() {
        return;
    }
    let mut command = network::own_network();
    command.args([env!("CARGO_BIN_EXE_muster"), "emulate", "--dir", "emu", "--port", "0", "--sdk-ports"]);
    command.args(["--listen", "127.0.0.5"]).current_dir(place.path());
    let emulator = Emulator::spawn(&place, command);
    assert_eq!(told(&emulator, "SDK ports "), "8883 and 443: DPS 127.0.0.5, hub 127.0.0.5 (hub)");
    for language in ["Python", "Node", "C"] {
        let line = told(&emulator, &format!("{language:<10}export "));
        assert!(line.contains(" PROVISIONING_HOST=127.0.0.5 "), "{line}");
    }
}

#[test]
fn names_that_are_no_ids_are_refused() {
    let place = Place::new();
    for arguments in [["--group", "a/b"], ["--individual", "../up"], ["--individual", "a b"], ["--group", ""]]
    {
        let ran = place
            .finish(place.muster(&[&["emulate", "--dir", "emu", "--port", "0"][..], &arguments].concat()));
        ran.ends_with(2);
    }
    assert!(!place.path().join("emu").exists());
}

#[test]
fn a_client_that_shares_no_code_registers_and_sends() {
    let place = Place::new();
    let mut command = Command::new("python3");
    command
        .arg(repository("tests/foreign_client.py"))
        .arg(env!("CARGO_BIN_EXE_muster"))
        .current_dir(place.path());
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return;
    }
    let ran = place.finish(command);
    ran.ends_with(0).shows(&[
        "registered: foreign-1",
        "wrong key refused",
        "message accepted, forged one refused",
    ]);
}
