//! Twins, methods and messages from the cloud: Microsoft's device SDK at one end, and at the other the emulator's service
//! APIs by hand, the emulator itself (`--drive`), or Microsoft's SDKs for services in Node.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::common::network::is_permitted;
use super::common::{Place, Ran, Running, eventually, repository};
use super::quickstarts::node;
use super::{AT_ONCE, Bench, INDIVIDUAL, Way, own_key};

/// A device that waits to be talked to.
struct Listener {
    running: Running,
    /// What it says.
    output: PathBuf,
}

impl Listener {
    /// Starts it, and waits until it listens.
    ///
    /// * `until`: how many methods, messages and changes of desired properties it takes before it leaves
    fn start(bench: &Bench, place: &Place, device: (&str, &str), until: [&str; 3]) -> Self {
        let output = place.path().join("device.out");
        let mut command = bench.device(place, "two_way.py", device);
        let file = |path: &Path| File::create(path).expect("the folder is writable");
        command.args(until).stdout(file(&output)).stderr(file(&place.path().join("device.err")));
        let mut listener = Self { running: Running::start(&mut command), output };
        eventually("the device listens", || {
            let ended = listener.running.0.try_wait().expect("a child of ours");
            assert_eq!(ended, None, "{}", listener.errors());
            (!listener.told("ready").is_empty()).then_some(())
        });
        listener
    }

    /// What it has said of a kind of event.
    fn told(&self, event: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.output).expect("it is there");
        // The last line may be on its way.
        let told = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        told.filter(|told| told["event"] == event).collect()
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.output.with_extension("err")).unwrap_or_default()
    }

    /// Waits until it has left.
    fn leave(&mut self) {
        assert_eq!(self.running.end().code(), Some(0), "{}", self.errors());
        assert_eq!(self.told("left").len(), 1, "{}", self.errors());
    }
}

/// The connection strings that the emulator wrote for services.
fn connection_strings(place: &Place) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(place.path().join("emu/services.env")).expect("the emulator wrote it");
    let pairs = text.lines().map(|line| {
        let pair = line.strip_prefix("export ").and_then(|line| line.split_once('='));
        let (name, value) = pair.expect("a variable");
        (name.to_owned(), value.trim_matches('\'').to_owned())
    });
    pairs.collect()
}

/// A script of `tests/sdk` as a service that knows the connection strings.
fn service(bench: &Bench, place: &Place, interpreter: &Path, script: &str) -> Command {
    let mut command = bench.beside(place, interpreter);
    command.arg(repository("tests/sdk").join(script));
    let ca = place.path().join("emu/ca.pem");
    command.envs(connection_strings(place)).env("SSL_CERT_FILE", &ca).env("NODE_EXTRA_CA_CERTS", &ca);
    command
}

/// The lines of JSON that a command printed.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.ends_with(0);
    ran.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Asserts counts of what went both ways, and that nothing was lost on the way.
fn counted(ledger: &Value, counts: &[(&str, u64)]) {
    let two_way = &ledger["hubs"]["hub"]["two_way"];
    for (name, count) in counts {
        assert_eq!(two_way[name].as_u64(), Some(*count), "{name}: {two_way}");
    }
    for lost in ["desired_lost", "methods_timed_out", "c2d_rejected", "c2d_dead_lettered"] {
        assert_eq!(two_way[lost].as_u64(), Some(0), "{lost}: {two_way}");
    }
    assert_eq!((&ledger["malformed"], &ledger["handshakes_failed"]), (&0.into(), &0.into()), "{ledger}");
}

fn rest_calls_reach_the_device(way: Way) {
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let Some(bench) = Bench::start_by(way, &place, &[&file, "--individual", INDIVIDUAL]) else { return };
    // Where SDKs look, a connection string needs no port: they take none. The hub's stands first.
    let hosts = if way == Way::Front { ["localhost:"; 2] } else { ["127.0.0.1;", "localhost;"] };
    for ((name, string), host) in connection_strings(&place).iter().zip(hosts) {
        assert!(string.starts_with(&format!("HostName={host}")), "{name}");
    }
    let key = own_key(&place);
    let mut device = Listener::start(&bench, &place, ("symm-key-python-device-008", &key), ["2", "1", "1"]);
    let mut command = service(&bench, &place, bench.python, "service.py");
    command.arg("python-device-008");
    let answers = lines(&place.finish(command));
    device.leave();
    let [twin, patched, echo, reboot, sent, again] = &answers[..] else { panic!("{answers:?}") };

    let reported = &twin["body"]["properties"]["reported"];
    assert_eq!((&twin["status"], &reported["firmware"]), (&200.into(), &"1.2.3".into()), "{twin}");
    assert_eq!(twin["body"]["connectionState"], "Connected", "{twin}");
    assert_eq!((&patched["status"], &patched["body"]["tags"]["hall"]), (&200.into(), &"7".into()));
    let payload = json!({ "n": [1, "zwei"] });
    let answered = json!({ "status": 200, "payload": { "echo": payload } });
    assert_eq!((&echo["status"], &echo["body"]), (&200.into(), &answered), "{echo}");
    // The device's answer, and not the hub's.
    let unknown = json!({ "status": 404, "payload": { "unknown": "reboot" } });
    assert_eq!((&reboot["status"], &reboot["body"]), (&200.into(), &unknown), "{reboot}");
    assert!(matches!(sent["status"].as_u64(), Some(200..=204)), "{sent}");
    assert_eq!(again["body"]["properties"]["reported"]["seen"], 2, "{again}");

    let first = &device.told("twin")[0]["twin"];
    assert_eq!(first["desired"], json!({ "$version": 1 }), "{first}");
    assert_eq!(device.told("desired")[0]["patch"], json!({ "interval": 5, "$version": 2 }));
    let methods: Vec<_> = device.told("method").into_iter().map(|told| told["payload"].clone()).collect();
    assert_eq!(methods, [payload.clone(), payload]);
    let message = json!({
        "event": "message",
        "body": "close the valve",
        "id": "order-1",
        "correlation": "case-7",
        "content_type": "text/plain",
        "properties": { "level": "high & low" },
    });
    assert_eq!(device.told("message"), [message]);
    counted(
        &bench.stop(),
        &[
            ("twin_gets", 2),
            ("twin_patches", 2),
            ("desired_updates", 1),
            ("desired_pushes", 1),
            ("methods_invoked", 2),
            ("methods_answered", 2),
            ("methods_offline", 0),
            ("c2d_sent", 1),
            ("c2d_delivered", 1),
            ("c2d_completed", 1),
        ],
    );
}

#[test]
fn a_python_device_takes_what_rest_calls_send_at_the_ports_of_the_sdk() {
    if is_permitted() {
        rest_calls_reach_the_device(Way::Direct);
    }
}

#[test]
fn a_python_device_takes_what_rest_calls_send_through_the_connect_front() {
    rest_calls_reach_the_device(Way::Front);
}

#[test]
fn a_python_device_takes_what_the_emulator_drives_at_it_in_order() {
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let arguments = [file.as_str(), "--individual", INDIVIDUAL, "--drive", "methods=5/s,c2d=5/s,desired=2/s"];
    let Some(bench) = Bench::start(&place, &arguments) else { return };
    let key = own_key(&place);
    let mut device = Listener::start(&bench, &place, ("symm-key-python-device-008", &key), ["6", "5", "3"]);
    device.leave();
    let ledger = bench.stop();

    let ids: Vec<_> = device.told("message").into_iter().map(|told| number(&told["id"])).collect();
    assert!(ids.len() >= 5 && ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    let versions: Vec<_> =
        device.told("desired").iter().map(|told| told["patch"]["$version"].as_u64()).collect();
    assert!(versions.len() >= 3 && versions.is_sorted_by(|one, other| one < other), "{versions:?}");
    let methods = device.told("method");
    assert!(methods.iter().all(|told| told["name"] == "drive"), "{methods:?}");
    // More may have come when the device was on its way out.
    let two_way = &ledger["hubs"]["hub"]["two_way"];
    let count = |name: &str| two_way[name].as_u64().expect("a count");
    for (told, name, sent) in [
        (methods.len(), "methods_answered", "methods_invoked"),
        (ids.len(), "c2d_completed", "c2d_sent"),
        (versions.len(), "desired_pushes", "desired_updates"),
    ] {
        let range = told as u64..=count(sent);
        assert!(range.contains(&count(name)), "{name}, of which the device told {told}: {two_way}");
    }
    assert_eq!((count("twin_gets"), count("c2d_rejected")), (2, 0), "{two_way}");
}

/// The number at the end of `drive-7`.
fn number(id: &Value) -> u64 {
    let number = id.as_str().and_then(|id| id.strip_prefix("drive-")).and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("{id} is not the id of a driven message"))
}

#[test]
fn nodes_service_sdks_enroll_a_python_device_talk_to_it_and_delete_it() {
    // They know no port but 443.
    if !is_permitted() {
        return;
    }
    let Some((node, modules)) = node() else { return };
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let Some(bench) = Bench::start_by(Way::Direct, &place, &[&file, "--individual", "other-1"]) else {
        return;
    };
    let step = |name: &str| {
        let mut command = service(&bench, &place, node, "service.js");
        command.args([name, "press-1"]).env("NODE_PATH", modules);
        lines(&place.finish(command)).pop().expect("one line")
    };

    let enrolled = step("enroll");
    assert_eq!(enrolled["same"], true, "{enrolled}");
    assert_eq!(enrolled["before"], "DeviceNotFoundError 404", "{enrolled}");
    let all = json!({ "ids": ["other-1", "press-1"], "pages": [1, 1] });
    assert_eq!(enrolled["enrolled"], all, "{enrolled}");
    let key = enrolled["keys"][0].as_str().expect("a generated key");

    let mut device = Listener::start(&bench, &place, ("press-1", key), ["2", "0", "1"]);
    let talked = step("talk");
    device.leave();
    assert_eq!(talked["enrollment"], json!(["enabled", "assigned"]), "{talked}");
    assert_eq!(
        (&talked["state"][0], &talked["state"][1]),
        (&"assigned".into(), &"press-1".into()),
        "{talked}"
    );
    assert_eq!(talked["device"], json!(["enabled", "Connected"]), "{talked}");
    let (before, after) = (&talked["before"], &talked["after"]);
    assert_eq!((&before["tags"]["hall"], &after["tags"]["hall"]), (&"3".into(), &"4".into()), "{talked}");
    assert_eq!(before["properties"]["desired"]["interval"], 60, "{talked}");
    assert_eq!(before["properties"]["reported"]["firmware"], "1.2.3", "{talked}");
    assert_eq!(after["properties"]["desired"]["interval"], 5, "{talked}");
    assert_eq!(talked["stale"], "InvalidEtagError 412", "{talked}");
    assert_eq!(talked["echo"], json!({ "status": 200, "payload": { "echo": { "n": 1 } } }), "{talked}");
    assert_eq!(talked["reboot"], json!({ "status": 404, "payload": { "unknown": "reboot" } }), "{talked}");
    assert_eq!(talked["nobody"], "Error 404", "{talked}");
    assert_eq!(device.told("twin")[0]["twin"]["desired"]["interval"], 60);
    assert_eq!(device.told("desired")[0]["patch"]["interval"], 5);

    let removed = step("remove");
    assert_eq!(removed["device"], "DeviceNotFoundError 404", "{removed}");
    assert_eq!(removed["enrollment"], "Error 404", "{removed}");
    assert_eq!(removed["enrolled"], json!({ "ids": ["other-1"], "pages": [1] }), "{removed}");
    counted(
        &bench.stop(),
        &[
            ("twin_gets", 2),
            ("twin_patches", 2),
            ("desired_updates", 1),
            ("desired_pushes", 1),
            ("methods_invoked", 2),
            ("methods_answered", 2),
        ],
    );
}
