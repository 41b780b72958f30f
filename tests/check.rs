//! `muster check` as a program.

use serde_json::Value;

mod common;

use common::Place;

const PLAN: &str = r#"version = 1
duration = "1h"
[target]
kind = "azure"
dps = "${env:DPS_HOST}"
id_scope = "0ne00000A0A"
allow = ["*.azure-devices.net"]
tier = "S1"
units = 2
[enrollment.plant]
group_key = { env = "GROUP_KEY" }
[fleet.sensors]
count = 20_000
start.staircase = { from = "10/s", to = "100/s", step = "10/s", every = "30s" }
[fleet.sensors.telemetry]
every = "1m"
json = '{"seq":${seq}}'
"#;

fn check(place: &Place, arguments: &[&str]) -> common::Ran {
    let mut command = place.muster(&["check"]);
    command.args(arguments).env("DPS_HOST", "dps.example.com").env("GROUP_KEY", "canary of the group");
    place.finish(command)
}

#[test]
fn a_scenario_is_shown_with_origins_load_limits_and_what_would_be_throttled() {
    let place = Place::new();
    let plan = place.write("plan.toml", PLAN);
    let checked = check(&place, &[&plan, "--set", "fleet.sensors.count=30000", "--seed", "7"]);
    checked.ends_with(0);
    assert_eq!(checked.stderr, "");
    for expected in [
        "VALID  plan",
        "seed = 7",
        "--seed",
        "fleet.sensors.count = 30000",
        "--set",
        "target.dps = \"${env:DPS_HOST}\"",
        "DPS_HOST, line 5",
        "30,000 devices",
        "needs 30 m 00 s",
        "DPS admits 1,000 registrations/min",
        "a hub (S1 × 2) admits 100 messages/s, and up to 500 come",
        "takes 800,000 metered messages a day",
        "S2              1          5             8   8 units",
    ] {
        assert!(checked.stdout.contains(expected), "{expected}\n{}", checked.stdout);
    }
    assert!(!checked.stdout.contains("canary"), "{}", checked.stdout);
    assert!(checked.stdout.lines().all(|line| line.chars().count() <= 100), "{}", checked.stdout);
    assert!(std::fs::read_dir(place.path()).expect("a folder").count() == 1, "nothing was written");
}

#[test]
fn figures_come_as_json_for_programs() {
    let place = Place::new();
    let plan = place.write("plan.toml", PLAN);
    let checked = check(&place, &[&plan, &plan, "--json"]);
    checked.ends_with(0);
    let lines: Vec<Value> =
        checked.stdout.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!(lines.len(), 2);
    let load = &lines[0]["load"];
    assert_eq!((&load["devices"], &load["registrations"]["per_min"]), (&20_000.into(), &6_000.0.into()));
    assert_eq!(lines[0]["hub_needs"][0]["tier"], "S1");
    assert_eq!(lines[0]["throttled"].as_array().map(Vec::len), Some(3), "{}", lines[0]["throttled"]);
    let values = lines[0]["values"].as_array().expect("values");
    let origin = |path: &str| values.iter().find(|value| value["path"] == path).map(|value| &value["origin"]);
    assert_eq!(origin("target.kind").map(|origin| &origin["line"]), Some(&4.into()));
    assert_eq!(origin("drain"), Some(&"default".into()));
}

#[test]
fn a_scenario_with_mistakes_is_refused_and_the_others_are_still_checked() {
    let place = Place::new();
    let wrong = place.write("wrong.toml", &PLAN.replace("count", "cuont"));
    let right = place.write("right.toml", PLAN);
    let checked = check(&place, &[&wrong, &right, "--quiet"]);
    checked.ends_with(2);
    assert!(checked.stderr.contains("did you mean `count`?"), "{}", checked.stderr);
    assert_eq!(checked.stdout, "");
    let checked = check(&place, &[&wrong, &right]);
    checked.ends_with(2);
    assert!(checked.stdout.contains("VALID  right"), "{}", checked.stdout);
    check(&place, &["missing.toml"]).ends_with(2);
}

#[test]
fn defaults_that_come_from_habits_are_shown_as_they_are_and_what_is_written_goes_before_them() {
    let place = Place::new();
    let scenario = "version = 1\n[fleet.x]\ncount = 1\nbehave = 'node-sdk'\ndeadline.connect = '7s'\n";
    let checked = check(&place, &[&place.write("habits.toml", scenario), "--json"]);
    checked.ends_with(0);
    let json: Value = serde_json::from_str(&checked.stdout).expect("an object");
    let values = json["values"].as_array().expect("values");
    let value = |path: &str| {
        let found = values.iter().find(|value| value["path"] == path).expect("it is there");
        (found["value"].clone(), found["origin"] == "default")
    };
    for (path, expected, is_default) in [
        ("fleet.x.deadline.register", "\"1h\"", true),
        ("fleet.x.deadline.connect", "\"7s\"", false),
        ("fleet.x.deadline.send", "\"4m\"", true),
        ("fleet.x.keep_alive", "\"3m\"", true),
        ("fleet.x.token.renew_before", "\"15m\"", true),
    ] {
        assert_eq!(value(path), (expected.into(), is_default), "{path}");
    }
}
