//! Whole files in, plans or rendered complaints out.

use std::path::{Path, PathBuf};

use super::*;
use crate::plan::Roster;

mod complaints;
mod hostile;
mod meaning;
mod payload;
mod secrets;
mod shipped;
mod target;

const MINIMAL: &str = r#"
version = 1

[fleet.devices]
count      = 1_000
start.rate = "100/s"     # devices started per second, whole fleet

[fleet.devices.telemetry]
every    = "2s"          # per device
messages = 5             # per device

[thresholds]
"time_to_assigned.response.p99" = "< 10s"
"failed.share"                  = "= 0 %"
"#;

const CANARY: &str =
    "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";

fn variable(name: &str) -> Option<String> {
    Some(
        match name {
            "HOST" => "dps.example.com",
            "SCOPE" => "0ne00000A0A",
            "DEVICE" => "device-7",
            "SECRET" => "canary of the environment",
            _ => return None,
        }
        .to_owned(),
    )
}

fn load_bytes(bytes: &[u8], sets: &[&str]) -> Result<Loaded, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    std::fs::write(&path, bytes).unwrap();
    let options = Options { sets: sets.iter().map(|set| (*set).to_owned()).collect(), ..Options::default() };
    let loaded = load(&path, &options, &variable);
    if let (Ok(loaded), []) = (&loaded, sets) {
        schema_tests::assert_schema_accepts(&loaded.text);
    }
    loaded.map_err(|diagnostics| shown(&diagnostics, directory.path()))
}

/// Without the directory that changes with each test run.
fn shown(diagnostics: &Diagnostics, directory: &Path) -> String {
    let text = diagnostics.render(false, Some(100));
    text.replace(&format!("{}/", directory.display()), "")
}

fn plan(text: &str) -> Plan {
    load_bytes(text.as_bytes(), &[]).unwrap_or_else(|told| panic!("{told}")).plan
}

/// Registration id of device `n` of a numbered population.
fn id(plan: &Plan, population: usize, n: u64) -> String {
    match &plan.populations[population].roster {
        Roster::Pattern(pattern) => pattern.render(n, &plan.run_id),
        Roster::List(list) => panic!("{list:?}"),
    }
}

fn told(text: &str) -> String {
    load_bytes(text.as_bytes(), &[]).map(|loaded| loaded.plan).expect_err("a scenario with a mistake")
}

/// The minimal scenario with one line added at the top, before its first table.
fn with_top(line: &str) -> String {
    format!("{line}{MINIMAL}")
}

/// The minimal scenario with a text in place of another.
fn with(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from), "{from}");
    MINIMAL.replacen(from, to, 1)
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(name)
}

/// The minimal scenario with other keys in its telemetry.
fn with_payload(keys: &str) -> String {
    with("messages = 5             # per device", &format!("messages = 5\n{keys}"))
}

/// The plan of a scenario beside which these files lie, or what is told of it.
fn plan_with_files(text: &str, files: &[(&str, &str)]) -> Result<Plan, String> {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    let path = directory.path().join("s.toml");
    std::fs::write(&path, text).unwrap();
    load(&path, &Options::default(), &variable)
        .map(|loaded| loaded.plan)
        .map_err(|diagnostics| shown(&diagnostics, directory.path()))
}
