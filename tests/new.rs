//! `muster new` as a whole program, and what it wrote run for real.

mod common;

use common::proxy::Proxy;
use common::{GROUP_KEY, Place, Ran, acknowledged, books_agree, repository};

fn new(place: &Place, arguments: &[&str]) -> Ran {
    place.finish(place.muster(&[&["new"], arguments].concat()))
}

#[test]
fn what_it_writes_runs() {
    // Shorter than they are, for nothing else changes with time.
    for (kind, set, devices, messages) in
        [("onboarding", "fleet.devices.count=60", 60, 180), ("telemetry", "duration=15s", 100, 150)]
    {
        let place = Place::new();
        let ran = new(&place, &["my-fleet", "--kind", kind]);
        ran.ends_with(0).shows(&[
            "Wrote my-fleet.toml",
            kind,
            "muster check my-fleet.toml",
            "muster run my-fleet.toml",
        ]);
        assert_eq!(ran.stderr, "");
        let ran = place.run(&["my-fleet.toml", "--set", set]);
        let result = ran.passes().result();
        books_agree(result);
        assert_eq!(acknowledged(result, "register"), devices, "{kind}");
        assert!(acknowledged(result, "send") >= messages, "{kind}: {}", ran.stdout);
        assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    }
}

#[test]
fn the_quickstart_asks_before_it_goes_anywhere_and_onboarding_is_the_default() {
    let place = Place::new();
    new(&place, &["first", "--kind", "quickstart"]).ends_with(0);
    place.run(&["first.toml"]).ends_with(3).tells(&[
        "not confirmed",
        "global.azure-devices-provisioning.net:8883",
        "*.azure-devices.net",
        "--yes",
    ]);
    new(&place, &["second"]).ends_with(0).shows(&["onboarding"]);
    let text = |name: &str| std::fs::read_to_string(place.path().join(name)).expect("it is there");
    assert!(text("first.toml").contains("PROVISIONING_SYMMETRIC_KEY"));
    assert!(text("second.toml").contains("#     muster run second.toml\n"));
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    new(&place, &["x"]).ends_with(0);
    let before = std::fs::read(place.path().join("x.toml")).expect("it is there");
    for name in ["x", "x.toml", "./x"] {
        let ran = new(&place, &[name, "--kind", "telemetry"]);
        ran.ends_with(2).tells(&["x.toml is there already and stays as it is", "give another name"]);
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(std::fs::read(place.path().join("x.toml")).expect("it is there"), before);
    // Not through a link either, wherever it leads.
    std::os::unix::fs::symlink("elsewhere.toml", place.path().join("link.toml")).expect("a link");
    new(&place, &["link"]).ends_with(2).tells(&["there already"]);
    assert!(!place.path().join("elsewhere.toml").exists());
}

#[test]
fn names_are_paths_and_what_is_none_is_told() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("a")).expect("a folder");
    for (name, file) in [("a/b", "a/b.toml"), ("x.toml", "x.toml"), ("my fleet", "my fleet.toml")] {
        new(&place, &[name]).ends_with(0);
        assert!(place.path().join(file).is_file(), "{file}");
    }
    new(&place, &["it's"]).ends_with(0).shows(&[r"muster run 'it'\''s.toml'"]);
    for (arguments, told) in [
        (&[""][..], "the name is empty"),
        (&["-"], "would be taken for an option"),
        (&["--", "-x"], "would be taken for an option"),
        (&["-x"], "unexpected argument"),
        (&["a/"], "does not name a file"),
        (&[".."], "does not name a file"),
        (&["a\nversion = 2"], "holds a control character"),
        (&["no-such-folder/b"], "there is no folder no-such-folder; make it first"),
        (&["x.toml/b"], "there is no folder x.toml"),
        (&["y", "--kind", "storm"], "possible values: onboarding, telemetry, quickstart"),
        (&[], "NAME"),
    ] {
        let ran = new(&place, arguments);
        ran.ends_with(2).tells(&[told]);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    // What the system refuses is no mistake of the command line.
    new(&place, &[&"n".repeat(300)]).ends_with(1).tells(&["cannot write nnn"]);
    let mut files: Vec<_> = std::fs::read_dir(place.path())
        .expect("a folder")
        .map(|file| file.expect("a file").file_name())
        .collect();
    files.sort();
    assert_eq!(files, ["a", "it's.toml", "my fleet.toml", "x.toml"]);
}

/// The shipped template for a DPS of one's own goes nowhere without leave. A proxy would have seen any attempt.
#[test]
fn the_template_for_a_dps_of_ones_own_contacts_nobody_without_leave() {
    let place = Place::new();
    let scenario = repository("scenarios/own-dps.toml");
    let scenario = scenario.to_str().expect("a plain path");
    let ran = place.run(&[scenario]);
    ran.ends_with(3).tells(&[
        "not confirmed",
        "global.azure-devices-provisioning.net:8883",
        "contoso-*.azure-devices.net",
        "100 devices",
        "--yes",
    ]);
    assert_eq!(ran.stdout, "");
    let proxy = Proxy::saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let by_proxy = format!("target.proxy=http://127.0.0.1:{}", proxy.port);
    let mut arguments = vec![scenario, "--set", &by_proxy];
    place
        .run_with(&arguments, &[("GROUP_KEY", GROUP_KEY)])
        .ends_with(3)
        .tells(&["not confirmed", "100 devices"]);
    assert_eq!(proxy.requests(), Vec::<String>::new());
    assert!(!place.path().join("results").exists(), "nothing was begun");

    // With leave it does, so the proxy is in the way; one device is enough to see that.
    arguments.extend([
        "--set",
        "fleet.sensors.count=1",
        "--set",
        "fleet.sensors.deadline.register=2s",
        "--yes",
    ]);
    place.run_with(&arguments, &[("GROUP_KEY", GROUP_KEY)]).ends_with(99);
    let heard = proxy.requests();
    assert!(heard[0].starts_with("CONNECT global.azure-devices-provisioning.net:8883 "), "{heard:?}");
}
