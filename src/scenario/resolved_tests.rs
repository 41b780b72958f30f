//! What is told of a scenario's keys means the same as the scenario, and tells no key.

use super::*;
use crate::document::resolve::{Resolved, ResolvedOrigin, resolve};

fn variable(name: &str) -> Option<String> {
    (name != "UNSET").then(|| format!("value-{}", name.len()))
}

/// Resolves a scenario, mistakes or not; absent keys as a run of this kind of target uses them.
fn resolved(text: &str, sets: &[String], azure: bool) -> Vec<Resolved> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    std::fs::write(&path, text).unwrap();
    let options = Options { sets: sets.to_vec(), ..Options::default() };
    let mut diagnostics = Diagnostics::default();
    let Some(mut root) = document(&path, &options, &mut diagnostics) else { return Vec::new() };
    environment::replace(&mut root, &variable, &mut diagnostics);
    if let Some(reader) = written::open(&root, &mut diagnostics) {
        written::read(&reader, &mut diagnostics);
    }
    let kind = if azure { TargetKind::Azure } else { TargetKind::Emulator };
    resolve(&keys::SCENARIO, &root, &diagnostics, &in_use(kind))
}

fn plan(text: &str) -> String {
    loaded(text).0
}

/// The plan of a scenario as text, and its keys.
fn loaded(text: &str) -> (String, Vec<Resolved>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    std::fs::write(&path, text).unwrap();
    let options = Options { seed: Some(7), run_id: Some("0a1b2c3d".to_owned()), ..Options::default() };
    let loaded = load(&path, &options, &variable)
        .unwrap_or_else(|diagnostics| panic!("{}\n{text}", diagnostics.render(false, None)));
    let plan = format!("{:?}", loaded.plan).replace(&directory.path().display().to_string(), "");
    (plan, loaded.resolved)
}

#[test]
fn a_scenario_with_every_default_written_out_means_the_same() {
    let mut texts: Vec<String> = schema_tests::shipped_scenarios()
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    texts.push(
        "version = 1\n[enrollment.plant]\ngroup_key = { file = 'k' }\nallocation = { static = 'b' }\n\
         [fleet.b]\ncount = 2\nid = 'x-{n}'\nstart.burst = {}\n[fleet.a]\ncount = 3\n\
         start.ramp = { from = '1/s', to = '2/s', over = '1m' }\n\
         telemetry = { fleet_rate = '5/s', messages = 2, json = '\"\\\\\"' }\n\
         [thresholds]\n'send[a].response.p99' = '< 1s'\n\
         [emulator]\ndps.polls.uniform = { low = 1, high = 0x2 }\nhub = { b = {}, a.weight = 5 }\n"
            .to_owned(),
    );
    for text in texts {
        let resolved = loaded(&text).1;
        assert!(resolved.iter().any(|key| key.origin == ResolvedOrigin::Default), "{text}");
        let lines: String = resolved.iter().map(|key| format!("{} = {}\n", key.path, key.value)).collect();
        assert_eq!(plan(&lines), plan(&text), "{lines}");
    }
}

#[test]
fn defaults_that_hang_on_a_protocol_are_those_of_the_fleet() {
    let told = |protocols: &str, telemetry: &str| {
        let text = format!(
            "version = 1\n[fleet.x]\ncount = 1\n{protocols}\ntelemetry = {{ every = '1s', messages = 1{telemetry} }}\n"
        );
        let keys = loaded(&text).1.into_iter().filter(|key| key.origin == ResolvedOrigin::Default);
        let lines: Vec<String> = keys
            .filter(|key| ["keep_", "in_flight", "resend"].iter().any(|name| key.path.contains(name)))
            .map(|key| format!("{} = {}", key.path.trim_start_matches("fleet.x."), key.value))
            .collect();
        lines.join(", ")
    };
    let mqtt = "keep_alive = \"60s\", telemetry.in_flight = 10";
    assert_eq!(told("", ""), format!("{mqtt}, telemetry.resend = \"none\""));
    assert_eq!(told("", ", qos = 0"), mqtt);
    let https = "keep_connection = \"60s\", telemetry.in_flight = 1";
    assert_eq!(told("connect = 'https'\nprovision = 'https'", ""), https);
    assert_eq!(told("connect = 'https'", ""), format!("keep_alive = \"60s\", {https}"));
}

#[test]
fn no_key_is_told_wherever_it_was_put() {
    const CANARY: &str =
        "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
    for secret in [CANARY, "hunter2"] {
        for table in [
            format!("[enrollment.a]\ngroup_key = \"{secret}\"\nsecondary_key = '{secret}'\n"),
            format!("[enrollment.a]\ngroup_key = ['{secret}']\n"),
            format!("[enrollment.a]\ngroup_key = {{ key = '{secret}' }}\nenabled = '{secret}'\n"),
            format!("[enrollment.a]\nindividual = {{ registration_id = 'x', key = '{secret}' }}\n"),
            format!("[enrollment.a]\nindividual = '{secret}'\n[fleet.a]\nid = '${{env:UNSET}}'\n"),
        ] {
            let told = format!("{:?}", resolved(&format!("version = 1\n{table}"), &[], false));
            assert!(told.contains("enrollment.a") && !told.contains(&secret[..7]), "{table}\n{told}");
        }
        let sets = [format!("enrollment.a.group_key={secret}")];
        let told = format!("{:?}", resolved("version = 1\n", &sets, false));
        assert!(told.contains("enrollment.a.group_key=…") && !told.contains(&secret[..7]), "{told}");
    }
    for name in ["target.dps", "fleet.a.id", "fleet.a.telemetry.json"] {
        let told = format!("{:?}", resolved("", &[format!("{name}=${{env:SECRET}} {CANARY}")], true));
        assert!(told.contains("names: [\"SECRET\"]"), "{told}");
        assert!(!told.contains("value-6") && !told.contains(&CANARY[..7]), "{told}");
    }
}
