//! The defaults that the lists of keys declare are the ones that building applies.

use super::*;
use crate::document::schema::Table;

const EMULATOR: &str = "version = 1\n[fleet.devices]\ncount = 3\nstart.burst = {}\n\
    [fleet.devices.telemetry]\nevery = '2s'\nmessages = 5\n";
const CHANGES: &str = "version = 1\n[fleet.devices]\ncount = 1\n\
    [fleet.devices.telemetry]\non_change.every = '2s'\nmessages = 5\n";
const PAYLOADS: &str = "version = 1\n[fleet.devices]\ncount = 1\n[fleet.devices.telemetry]\nevery = '2s'\n\
    messages = 5\n[[fleet.devices.telemetry.payload]]\nbytes = '1 B'\n";
const GROUP: &str = "version = 1\n[enrollment.plant]\ngroup_key = 'generated'\n[fleet.devices]\ncount = 1\n";
const HUBS: &str = "version = 1\n[fleet.devices]\ncount = 1\n[emulator.hub.north]\n";
const HTTPS: &str = "version = 1\nfleet.devices.count = 1\nfleet.devices.connect = 'https'\n";
const ASKS: &str =
    "version = 1\nfleet.devices.count = 1\nfleet.devices.connect = 'https'\nfleet.devices.c2d = {}\n";
const TWINS: &str = "version = 1\n[fleet.devices]\ncount = 1\ntwin = {}\nmethods = {}\nc2d = {}\n";
const AZURE: &str = "version = 1\n[target]\nkind = 'azure'\nid_scope = 'x'\nallow = ['*.azure-devices.net']\n\
    [enrollment.plant]\ngroup_key = 'stdin'\n[fleet.devices]\ncount = 1\n";

/// Where each kind of table with defaults may stand, and scenarios that can hold it there. A key is proven by those of
/// them that take it.
fn places() -> Vec<(&'static Table, &'static str, &'static [&'static str])> {
    vec![
        (&keys::SCENARIO, "", &[EMULATOR, AZURE]),
        (&keys::TARGET, "target.", &[EMULATOR, AZURE]),
        (&keys::ENROLLMENT, "enrollment.plant.", &[GROUP]),
        (&keys::FLEET, "fleet.devices.", &[EMULATOR, AZURE, HTTPS]),
        (&keys::BURST, "fleet.devices.start.burst.", &[EMULATOR]),
        (&keys::DEADLINE, "fleet.devices.deadline.", &[EMULATOR, AZURE]),
        (&keys::TWIN, "fleet.devices.twin.", &[TWINS]),
        (&keys::METHODS, "fleet.devices.methods.", &[TWINS]),
        (&keys::C2D, "fleet.devices.c2d.", &[TWINS, ASKS]),
        (&keys::TOKEN, "fleet.devices.token.", &[EMULATOR, AZURE]),
        (&keys::TELEMETRY, "fleet.devices.telemetry.", &[EMULATOR]),
        (&keys::ON_CHANGE, "fleet.devices.telemetry.on_change.", &[CHANGES]),
        (&keys::PAYLOAD, "fleet.devices.telemetry.payload=[{ bytes = '1 B', ", &[PAYLOADS]),
        (&keys::MEASURE, "measure.", &[EMULATOR, AZURE]),
        (&keys::EMULATOR, "emulator.", &[EMULATOR, HUBS]),
        (&keys::EMULATOR_DPS, "emulator.dps.", &[EMULATOR]),
        (&keys::EMULATOR_HUB, "emulator.hub.north.", &[HUBS]),
    ]
}

/// The plan of a scenario as text; `None` if it is refused.
fn plan(text: &str, set: Option<String>) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    std::fs::write(&path, text).unwrap();
    let options =
        Options { sets: set.into_iter().collect(), seed: Some(7), run_id: Some("0a1b2c3d".to_owned()) };
    load(&path, &options, &|_| None).ok().map(|loaded| format!("{:?}", loaded.plan))
}

#[test]
fn a_default_written_out_changes_no_plan() {
    let places = places();
    let mut proven = 0;
    for table in keys::SCENARIO.with_inner() {
        for key in table.keys {
            let Some(default) = key.default else { continue };
            let Some((_, path, bases)) = places.iter().find(|(known, ..)| std::ptr::eq(*known, table)) else {
                panic!("`{}` of {} has a default; add a place for this table", key.name, table.name);
            };
            // What is in an array is set with the whole of it.
            let end = if path.ends_with(' ') { " }]" } else { "" };
            let set = format!("{path}{}={default}{end}", key.name);
            let mut taken = 0;
            // One that writes the key itself proves nothing about its default.
            let written = format!("{path}{} = ", key.name);
            for base in bases.iter().filter(|base| !base.contains(&written)) {
                let without = plan(base, None).unwrap_or_else(|| panic!("{} loads:\n{base}", table.name));
                if let Some(with) = plan(base, Some(set.clone())) {
                    assert_eq!(with, without, "{set}");
                    taken += 1;
                }
            }
            assert!(taken > 0, "no scenario of {} takes {set}", table.name);
            proven += 1;
        }
    }
    assert!(proven > 20, "{proven} defaults");
}

#[test]
fn a_wrong_default_would_be_noticed() {
    for (base, set) in
        [(EMULATOR, "drain=\"21s\""), (EMULATOR, "emulator.dps.polls=1"), (AZURE, "target.dps=\"a.b\"")]
    {
        assert_ne!(plan(base, Some(set.to_owned())).unwrap(), plan(base, None).unwrap(), "{set}");
    }
}
