//! That a device registers and sends with Microsoft's SDKs for Node and for C.
//!
//! Node's come from npm, once, into a folder below `target/`; where that cannot be, it is as with Python's. C's is in no
//! registry: `MUSTER_C_SDK` names the program that `sdk/c/CMakeLists.txt` builds from a clone of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::common::network::is_permitted;
use super::common::{Place, repository, say};
use super::{
    AT_ONCE, Bench, INDIVIDUAL, TRANSPORTS, Way, counts, found, group_key, installed_once, own_key, run,
    sent_ten, told,
};

/// Node, and the folder in which it finds Microsoft's SDKs; `None`, and said once, where there are none.
pub(super) fn node() -> Option<&'static (PathBuf, PathBuf)> {
    static NODE: OnceLock<Result<(PathBuf, PathBuf), String>> = OnceLock::new();
    found(NODE.get_or_init(|| {
        told("the tests with Microsoft's SDKs for Node", "Node, npm and its registry", install())
    }))
}

fn install() -> Result<(PathBuf, PathBuf), String> {
    let wanted = repository("tests/sdk/package-lock.json");
    let node = Command::new("node").args(["--print", "process.execPath"]).output();
    let node = node.ok().filter(|output| output.status.success()).ok_or("there is no Node")?;
    let node = PathBuf::from(String::from_utf8_lossy(&node.stdout).trim());
    let folder = installed_once(
        "sdk-node",
        &wanted,
        |_| true,
        |folder| {
            std::fs::create_dir_all(folder).expect("the folder is writable");
            for file in ["package.json", "package-lock.json"] {
                std::fs::copy(wanted.with_file_name(file), folder.join(file))
                    .expect("the folder is writable");
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]);
            run(npm.current_dir(folder), "Microsoft's SDKs for Node cannot be installed")
        },
    )?;
    Ok((node, folder.join("node_modules")))
}

/// What npm installs is what the lock says, whatever registry it asks.
#[test]
fn the_lock_of_nodes_packages_has_a_digest_for_each_and_names_no_registry() {
    let text = std::fs::read_to_string(repository("tests/sdk/package-lock.json")).expect("it is there");
    let lock: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let packages = lock["packages"].as_object().expect("packages");
    for (name, package) in packages.iter().filter(|(name, _)| !name.is_empty()) {
        assert!(package["integrity"].is_string() && package["resolved"].is_null(), "{name}: {package}");
    }
    assert!(packages.contains_key("node_modules/azure-iot-device"), "{:?}", packages.keys());
}

#[test]
fn nodes_devices_register_and_send_where_they_look_and_at_a_port_that_they_are_told() {
    let Some((node, modules)) = node() else { return };
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let arguments = [&file, "--individual", INDIVIDUAL, "--group", "plant"];
    let Some(bench) = Bench::start(&place, &arguments) else { return };
    let (own, grouped) = (own_key(&place), group_key(&place, "plant-1"));
    let quickstart = |mut command: Command, (id, key): (&str, &str), device: &str, hub: &str| {
        command.env("NODE_PATH", modules);
        command.envs([("PROVISIONING_REGISTRATION_ID", id), ("PROVISIONING_SYMMETRIC_KEY", key)]);
        sent_ten(&place.finish(command), device, hub);
    };
    let mut places = 0;
    if bench.way == Way::Direct {
        for (options, device) in TRANSPORTS.into_iter().zip([
            ("symm-key-python-device-008", &*own, "python-device-008"),
            ("plant-1", &*grouped, "plant-1"),
        ]) {
            let (id, key, device) = device;
            let mut command = bench.device_of(&place, "Node", node, (id, key));
            command.arg(repository("tests/sdk/quickstart.js")).args(options);
            quickstart(command, (id, key), device, bench.hub());
            places += 1;
        }
    }
    let mut command = bench.beside(&place, node);
    command.arg(repository("tests/sdk/quickstart.js"));
    command.env("NODE_EXTRA_CA_CERTS", place.path().join("emu/ca.pem"));
    command.env("PROVISIONING_HOST", &bench.emulator.dps).env("PROVISIONING_IDSCOPE", "0ne00000001");
    let hub = bench.emulator.opening.lines().find_map(|line| line.strip_prefix("hub ")).expect("a hub");
    let hub = hub.split_whitespace().next().expect("its host").to_owned();
    quickstart(command, ("plant-2", &group_key(&place, "plant-2")), "plant-2", &hub);
    counts(&bench.stop(), places + 1);
}

/// C's takes a proxy for WebSockets alone.
fn through_the_front(program: &Path) {
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let Some(bench) = Bench::start_by(Way::Front, &place, &[&file, "--individual", INDIVIDUAL]) else {
        return;
    };
    let own = own_key(&place);
    // The line for Python has all that this program reads.
    let mut command = bench.device_of(&place, "Python", program, ("symm-key-python-device-008", &own));
    command.arg("--websockets");
    let ran = place.finish(command);
    ran.ends_with(0).shows(&["assigned python-device-008 at hub.azure-devices.net", "confirmed 10 messages"]);
    let ledger = bench.stop();
    assert_eq!((&ledger["tunnels"], &ledger["handshakes_failed"]), (&2.into(), &0.into()), "{ledger}");
}

#[test]
fn the_c_sdk_registers_and_sends_where_it_looks_and_is_refused_with_a_wrong_key() {
    let Some(program) = std::env::var_os("MUSTER_C_SDK") else {
        say("skipped: the test with Microsoft's SDK for C; tests/sdk/c/CMakeLists.txt says how to build it");
        return;
    };
    let program = std::path::absolute(Path::new(&program)).expect("a path");
    assert!(is_permitted(), "the C SDK knows no port but 8883 and 443, and here these are nobody's");
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let arguments = [&file, "--individual", INDIVIDUAL, "--group", "plant"];
    let Some(bench) = Bench::start_by(Way::Direct, &place, &arguments) else { return };
    let quickstart = |device, options| {
        let mut command = bench.device_of(&place, "C", &program, device);
        command.args(options);
        place.finish(command)
    };
    let own = own_key(&place);
    let (own, grouped) = (("symm-key-python-device-008", &*own), group_key(&place, "plant-1"));
    for options in TRANSPORTS {
        for (device, name) in [(own, "python-device-008"), (("plant-1", &grouped), "plant-1")] {
            let ran = quickstart(device, options);
            ran.ends_with(0);
            let lines: Vec<_> = ran.stdout.lines().collect();
            assert_eq!(lines, [&format!("assigned {name} at 127.0.0.1"), "confirmed 10 messages"], "{ran:?}");
        }
        quickstart(("plant-2", &grouped), options).ends_with(1).tells(&["the registration failed"]);
    }
    through_the_front(&program);
    let ledger = bench.stop();
    let hub = &ledger["hubs"]["hub"];
    for (count, value) in [
        (&ledger["assigned"], 4),
        (&ledger["requests"]["mqtt.dps.register"]["401"], 2),
        (&ledger["requests"]["websocket"]["101"], 5),
        (&hub["devices"], 2),
        (&hub["mqtt_qos1"], 40),
        (&ledger["handshakes_failed"], 0),
        (&ledger["malformed"], 0),
    ] {
        assert_eq!(count.as_u64(), Some(value), "{ledger}");
    }
}
