//! Microsoft's own device SDKs against `muster emulate`; the emulator's ledger judges. Most is asked of Python's; that a
//! device registers and sends, of those for Node and C as well: `sdk/quickstarts.rs`.
//!
//! The SDK comes from PyPI, once, into a virtual environment below `target/`. Where that cannot be, the tests say in one
//! line that they were skipped; with `MUSTER_SDK=required` in the environment they fail instead.
//!
//! The SDK takes no port: it dials 8883 and 443. Where it is permitted, each test has a network of its own, in which these
//! are free and need no privilege; elsewhere the SDK goes through the emulator's CONNECT front.
//!
//! What goes both ways is in `sdk/two_way.rs`, where an SDK for services has its say as well.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

mod common;
#[path = "sdk/quickstarts.rs"]
mod quickstarts;
#[path = "sdk/two_way.rs"]
mod two_way;

use common::network::{PATH, is_permitted, own_network};
use common::{Emulator, Place, Ran, repository};

/// A DPS that assigns at once, and whom it knows.
const AT_ONCE: &str = "version = 1\n[emulator.dps]\nassign = \"0s\"\n";

const INDIVIDUAL: &str = "symm-key-python-device-008:python-device-008";

/// Options of the quickstarts: MQTT over TLS alone, and in a WebSocket.
const TRANSPORTS: [&[&str]; 2] = [&[], &["--websockets"]];

/// How the SDK gets to the emulator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// In a network of its own, at 8883 and 443.
    Direct,
    /// Through the CONNECT front, with names of the real service.
    Front,
}

/// An emulator, and the SDK beside it.
struct Bench {
    emulator: Emulator,
    way: Way,
    python: &'static Path,
}

impl Bench {
    /// By whatever way there is; `None` where there is no SDK.
    fn start(place: &Place, arguments: &[&str]) -> Option<Self> {
        let way = if is_permitted() { Way::Direct } else { Way::Front };
        Self::start_by(way, place, arguments)
    }

    fn start_by(way: Way, place: &Place, arguments: &[&str]) -> Option<Self> {
        let python = sdk()?;
        let emulator = match way {
            Way::Direct => {
                let mut command = own_network();
                command.args([env!("CARGO_BIN_EXE_muster"), "emulate", "--sdk-ports"]);
                command.args(["--dir", "emu", "--threads", "1", "--port", "0"]).args(arguments);
                command.current_dir(place.path()).stdin(Stdio::null());
                Emulator::spawn(place, command)
            }
            Way::Front => Emulator::start(place, &[&["--connect-proxy", "0"], arguments].concat()),
        };
        Some(Self { emulator, way, python })
    }

    /// Runs the script of the quickstart as one device.
    fn quickstart(&self, place: &Place, device: (&str, &str), options: &[&str]) -> Ran {
        let mut command = self.device(place, "quickstart.py", device);
        command.args(options);
        place.finish(command)
    }

    /// A script of `tests/sdk` as one device, with nothing in its environment but what the start screen says.
    fn device(&self, place: &Place, script: &str, device: (&str, &str)) -> Command {
        let mut command = self.device_of(place, "Python", self.python, device);
        command.arg(repository("tests/sdk").join(script)).env("PYTHONUNBUFFERED", "1");
        command
    }

    /// A program as one device, with nothing in its environment but what the start screen says for the SDK of a language.
    fn device_of(&self, place: &Place, language: &str, program: &Path, (id, key): (&str, &str)) -> Command {
        let mut command = self.beside(place, program);
        command.envs(self.told(language));
        command.envs([("PROVISIONING_REGISTRATION_ID", id), ("PROVISIONING_SYMMETRIC_KEY", key)]);
        command
    }

    /// A program in the emulator's network, with nothing in its environment.
    fn beside(&self, place: &Place, program: &Path) -> Command {
        let mut command = match self.way {
            Way::Direct => {
                let mut command = Command::new("nsenter");
                let pid = self.emulator.pid().to_string();
                command.args(["--preserve-credentials", "--user", "--net", "--target", &pid, "--"]);
                command.arg(program);
                command
            }
            Way::Front => Command::new(program),
        };
        command.current_dir(place.path()).env_clear().env("PATH", PATH);
        command
    }

    /// The variables that the start screen has for a language.
    fn told(&self, language: &str) -> Vec<(String, String)> {
        let before = format!("{language:<10}export ");
        let line = self.emulator.opening.lines().find_map(|line| line.strip_prefix(&before));
        let variables = line.expect("a line for that language").split(' ');
        let pairs = variables.map(|pair| pair.split_once('=').expect("a variable"));
        pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }

    /// The name of the first hub that this way is told.
    fn hub(&self) -> &'static str {
        match self.way {
            Way::Direct => "127.0.0.1",
            Way::Front => "hub.azure-devices.net",
        }
    }

    fn stop(self) -> Value {
        self.emulator.stop()
    }
}

/// The Python that has the SDK; `None`, and said once, where it cannot be installed.
fn sdk() -> Option<&'static Path> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let install = || told("the tests with Microsoft's SDK", "Python 3 and PyPI", install());
    found(PYTHON.get_or_init(install)).map(PathBuf::as_path)
}

/// Says that tests are skipped where that is so and permitted.
///
/// * `means`: what it takes for them not to be
fn told<T>(tests: &str, means: &str, installed: Result<T, String>) -> Result<T, String> {
    if let Err(reason) = &installed
        && !is_required()
    {
        common::say(&format!(
            "skipped: {tests}; {reason} (with {means}: MUSTER_SDK=required cargo test --test sdk)"
        ));
    }
    installed
}

/// What was installed; `None` where the tests may be skipped.
fn found<T>(installed: &Result<T, String>) -> Option<&T> {
    match installed {
        Ok(it) => Some(it),
        Err(reason) if is_required() => panic!("MUSTER_SDK=required, and {reason}"),
        Err(_) => None,
    }
}

fn is_required() -> bool {
    std::env::var_os("MUSTER_SDK").is_some_and(|value| value == "required")
}

fn install() -> Result<PathBuf, String> {
    let wanted = repository("tests/sdk/requirements.txt");
    let python = |folder: &Path| folder.join("bin/python");
    // An interpreter that has gone since leaves a link to nowhere.
    let folder = installed_once(
        "sdk",
        &wanted,
        |folder| python(folder).exists(),
        |folder| {
            run(Command::new("python3").args(["-m", "venv"]).arg(folder), "python3 -m venv fails")?;
            let mut pip = Command::new(python(folder));
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"]);
            // Nothing comes that is not pinned; whether all is there that is needed is seen at once.
            pip.args(["--timeout", "10", "--no-deps", "--requirement"]).arg(&wanted);
            run(&mut pip, "azure-iot-device cannot be installed")?;
            run(
                Command::new(python(folder)).args(["-m", "pip", "check"]),
                "the pinned packages do not go together",
            )
        },
    )?;
    Ok(python(&folder))
}

/// The folder `name` below `target/` with what the file `wanted` asks for. It is made anew by `make` when that file has
/// changed, or when what is there is not whole.
fn installed_once(
    name: &str,
    wanted: &Path,
    is_whole: impl Fn(&Path) -> bool,
    make: impl Fn(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let wanted = std::fs::read_to_string(wanted).expect("it is in the repository");
    // Several test programs may come here at once.
    let lock = std::fs::File::create(target.join(format!("{name}.lock"))).expect("the folder is writable");
    lock.lock().expect("a lock");
    let folder = target.join(name);
    let mark = folder.join("installed");
    if std::fs::read_to_string(&mark).is_ok_and(|text| text == wanted) && is_whole(&folder) {
        return Ok(folder);
    }
    let _ = std::fs::remove_dir_all(&folder);
    make(&folder)?;
    std::fs::write(&mark, wanted).expect("the folder is writable");
    Ok(folder)
}

/// Runs a command that has two minutes.
fn run(command: &mut Command, otherwise: &str) -> Result<(), String> {
    let told = std::mem::replace(command, Command::new("true"));
    let output = assert_cmd::Command::from_std(told).timeout(2 * common::PATIENCE).output();
    match output {
        Err(error) => Err(format!("{otherwise}: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            Err(format!("{otherwise}: {}", text.lines().last().unwrap_or("it says nothing")))
        }
    }
}

/// The key that the emulator made for its individual enrollment.
fn own_key(place: &Place) -> String {
    let key = std::fs::read_to_string(place.path().join("emu/symm-key-python-device-008.key"));
    key.expect("the emulator made it").trim().to_owned()
}

/// A key derived from that of the group `plant`.
fn group_key(place: &Place, id: &str) -> String {
    let ran = place.finish(place.muster(&["derive", id, "--key-file", "emu/plant.key"]));
    ran.ends_with(0).stdout.trim().to_owned()
}

/// Asserts that the script said what the quickstart says, and that the emulator saw what it said.
fn sent_ten(ran: &Ran, device: &str, hub: &str) {
    ran.ends_with(0);
    let lines: Vec<_> = ran.stdout.lines().collect();
    let told = [
        "The complete registration result is",
        device,
        hub,
        "initialAssignment",
        "null",
        "Will send telemetry from the provisioned device",
    ];
    assert_eq!(lines[..told.len()], told, "{ran:?}");
    for n in 1..=10 {
        for line in [format!("sending message #{n}"), format!("done sending message #{n}")] {
            assert_eq!(lines.iter().filter(|told| **told == line).count(), 1, "{line}: {ran:?}");
        }
    }
}

/// Asserts that every device of the ledger sent ten messages, over MQTT, and that nothing went wrong.
fn counts(ledger: &Value, devices: u64) {
    let hub = &ledger["hubs"]["hub"];
    for (count, value) in [
        (&ledger["assigned"], devices),
        (&hub["devices"], devices),
        (&hub["senders"], devices),
        (&hub["messages"], 10 * devices),
        (&hub["mqtt_qos1"], 10 * devices),
        (&ledger["mqtt"]["ended"]["disconnect"], 2 * devices),
        (&ledger["handshakes_failed"], 0),
        (&ledger["malformed"], 0),
    ] {
        assert_eq!(count.as_u64(), Some(value), "{ledger}");
    }
}

fn quickstart_works(way: Way, options: &[&str]) {
    let place = Place::new();
    let arguments = ["--individual", INDIVIDUAL, "--group", "plant"];
    let Some(bench) = Bench::start_by(way, &place, &arguments) else { return };
    let ran = bench.quickstart(&place, ("symm-key-python-device-008", &own_key(&place)), options);
    sent_ten(&ran, "python-device-008", bench.hub());
    let ran = bench.quickstart(&place, ("plant-1", &group_key(&place, "plant-1")), options);
    sent_ten(&ran, "plant-1", bench.hub());
    let ledger = bench.stop();
    counts(&ledger, 2);
    let tunnels = if way == Way::Front { 4 } else { 0 };
    assert_eq!(ledger["tunnels"].as_u64(), Some(tunnels), "{ledger}");
    let upgrades = if options.contains(&"--websockets") { Some(4) } else { None };
    assert_eq!(ledger["requests"]["websocket"]["101"].as_u64(), upgrades, "{ledger}");
}

#[test]
fn an_individual_and_a_group_device_register_and_send_at_the_ports_of_the_sdk() {
    if is_permitted() {
        quickstart_works(Way::Direct, &[]);
    }
}

#[test]
fn a_script_that_knows_real_names_only_registers_and_sends_through_the_connect_front() {
    quickstart_works(Way::Front, &[]);
}

#[test]
fn mqtt_over_websocket_registers_and_sends_at_443_and_through_the_connect_front() {
    if is_permitted() {
        quickstart_works(Way::Direct, &["--websockets"]);
    }
    quickstart_works(Way::Front, &["--websockets"]);
}

#[test]
fn devices_of_two_hubs_reach_each_at_an_address_of_its_own() {
    let place = Place::new();
    let text = "version = 1\n[enrollment.plant]\ngroup_key = \"generated\"\n[emulator.dps]\nassign = \"0s\"\n\
                [emulator.hub]\nnorth = {}\ncontoso = { host = \"contoso.azure-devices.net\" }\n";
    let file = place.write("two.toml", text);
    let Some(bench) = Bench::start(&place, &[&file]) else { return };
    let hubs = match bench.way {
        Way::Direct => ["127.0.0.2", "127.0.0.3"],
        Way::Front => ["north.azure-devices.net", "contoso.azure-devices.net"],
    };
    // Which device gets which hub comes from a hash of its id.
    for (id, hub) in [("plant-1", hubs[0]), ("plant-2", hubs[1])] {
        sent_ten(&bench.quickstart(&place, (id, &group_key(&place, id)), &[]), id, hub);
    }
    let ledger = bench.stop();
    for hub in ["north", "contoso"] {
        assert_eq!(ledger["hubs"][hub]["messages"], 10, "{ledger}");
    }
}

#[test]
fn a_wrong_key_is_refused_with_the_answer_to_the_registration() {
    let place = Place::new();
    let file = place.write("at-once.toml", AT_ONCE);
    let arguments = [&file, "--group", "plant", "--individual", INDIVIDUAL];
    let Some(bench) = Bench::start(&place, &arguments) else { return };
    let own = "symm-key-python-device-008";
    // The key of another device of the group; and one that the group would have for it, were it not enrolled by itself.
    refused(
        &bench,
        &place,
        &[("plant-1", group_key(&place, "plant-2")), (own, group_key(&place, own))],
        "401",
    );
    let ledger = bench.stop();
    // The connections were accepted; what they asked for was not.
    assert_eq!((&ledger["mqtt"]["dps_connects"], &ledger["assigned"]), (&4.into(), &0.into()), "{ledger}");
    assert_eq!(ledger["requests"]["mqtt.dps.register"], serde_json::json!({ "401": 4 }), "{ledger}");
    assert_eq!(ledger["requests"]["websocket"], serde_json::json!({ "101": 2 }), "{ledger}");
}

#[test]
fn a_disabled_enrollment_is_refused() {
    let place = Place::new();
    let text = "version = 1\n[enrollment.plant]\ngroup_key = \"generated\"\nenabled = false\n";
    let file = place.write("disabled.toml", text);
    let Some(bench) = Bench::start(&place, &[&file]) else { return };
    refused(&bench, &place, &[("plant-1", group_key(&place, "plant-1"))], "403");
    let ledger = bench.stop();
    assert_eq!(ledger["requests"]["mqtt.dps.register"], serde_json::json!({ "403": 2 }), "{ledger}");
    assert_eq!(ledger["requests"]["websocket"], serde_json::json!({ "101": 1 }), "{ledger}");
}

/// Runs every device in every transport, all at once, and asserts that each is told the status.
fn refused(bench: &Bench, place: &Place, devices: &[(&str, String)], status: &str) {
    std::thread::scope(|scope| {
        for (id, key) in devices {
            for options in TRANSPORTS {
                scope.spawn(move || {
                    bench.quickstart(place, (id, key), options).ends_with(1).tells(&[status]);
                });
            }
        }
    });
}

#[test]
fn a_registration_that_is_throttled_comes_back_when_it_was_told_to() {
    in_every_transport(|options| {
        let place = Place::new();
        // Of two that come together one is let in, and the other ten seconds later. Unless told otherwise the SDK would
        // come back every two.
        let text =
            "version = 1\n[emulator.dps]\nassign = \"0s\"\nretry_after = \"4s\"\nregistrations = \"6/min\"\n";
        let file = place.write("throttled.toml", text);
        let Some(bench) = Bench::start(&place, &[&file, "--group", "plant"]) else { return };
        std::thread::scope(|scope| {
            for id in ["plant-1", "plant-2"] {
                let (bench, place) = (&bench, &place);
                scope.spawn(move || {
                    let key = group_key(place, id);
                    sent_ten(&bench.quickstart(place, (id, &key), options), id, bench.hub());
                });
            }
        });
        let ledger = bench.stop();
        counts(&ledger, 2);
        let throttled = ledger["registrations_throttled"].as_u64().expect("a count");
        assert!((1..=3).contains(&throttled), "{ledger}");
        assert_eq!(ledger["requests"]["mqtt.dps.register"]["429"], throttled, "{ledger}");
    });
}

#[test]
fn a_poll_that_is_throttled_comes_back_when_it_was_told_to() {
    in_every_transport(|options| {
        let place = Place::new();
        // A device may poll five times in ten seconds: the sixth time, at once after the fifth, is too often.
        let text = "version = 1\n[emulator.dps]\nassign = \"0s\"\npolls = 5\nretry_after = \"0s\"\n\
                    registrations = \"1000/min\"\n";
        let file = place.write("polls.toml", text);
        let Some(bench) = Bench::start(&place, &[&file, "--group", "plant"]) else { return };
        let key = group_key(&place, "plant-1");
        sent_ten(&bench.quickstart(&place, ("plant-1", &key), options), "plant-1", bench.hub());
        let ledger = bench.stop();
        counts(&ledger, 1);
        let polls = serde_json::json!({ "200": 1, "202": 5, "429": 1 });
        assert_eq!(ledger["requests"]["mqtt.dps.poll"], polls, "{ledger}");
    });
}

/// A test over MQTT alone and in a WebSocket, at the same time: they wait more than they do.
fn in_every_transport(test: impl Fn(&[&str]) + Sync) {
    std::thread::scope(|scope| {
        for options in TRANSPORTS {
            let test = &test;
            scope.spawn(move || test(options));
        }
    });
}
