//! Whole files in, plans or rendered complaints out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::azure::limits::Tier;
use crate::emulator::config;
use crate::net::way::Way;
use crate::payload::{Context, Payload, Rendered};
use crate::plan::threshold::{Comparison, Ending, Metric, Statistic};
use crate::plan::{Arrival, KeySource, Keys, Offset, OnChange, Roster, SignWith, StatedHub, Target};
use crate::rng::Distribution;
use crate::step::Milestone;
use crate::time::UnixTime;

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

#[test]
fn the_minimal_file_means_what_the_design_says() {
    let plan = plan(MINIMAL);
    assert_eq!((plan.name.as_str(), plan.duration, plan.drain), ("s", None, Duration::from_secs(20)));
    assert_eq!(plan.run_id.len(), 8);
    assert!(plan.run_id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
    let population = &plan.populations[0];
    assert_eq!((population.name.as_str(), population.count), ("devices", 1_000));
    assert_eq!(id(&plan, 0, 7), "devices-00007");
    assert_eq!(population.arrival, Arrival::Rate("100/s".parse().unwrap()));
    let telemetry = population.telemetry.as_ref().unwrap();
    assert_eq!((&telemetry.rhythm.every[..], telemetry.messages), (&[Duration::from_secs(2)][..], Some(5)));
    assert_eq!((telemetry.in_flight, telemetry.queue), (1, 100));
    let Target::Emulator(target) = &plan.target else { panic!("the emulator") };
    assert_eq!((target.id_scope.as_str(), &target.dps), ("0ne00000001", &config::Dps::default()));
    assert_eq!(target.hubs[0].host, "hub.azure-devices.localhost");
    let enrollment = &plan.enrollments[0];
    assert_eq!(enrollment.name, "default");
    assert!(matches!(enrollment.keys, Keys::Group { primary: KeySource::Generated, secondary: None }));
    assert_eq!(
        plan.thresholds[0].metric,
        Metric::Milestone(Milestone::TimeToAssigned, Statistic::Quantile(0.99))
    );
    assert_eq!((plan.thresholds[0].comparison, plan.thresholds[0].limit), (Comparison::Below, 10.0));
    assert_eq!(plan.thresholds[0].text, "time_to_assigned.response.p99 < 10s");
    assert_eq!(plan.thresholds[1].metric, Metric::Share(None, Ending::Unsuccessful));
}

#[test]
fn every_key_reaches_the_plan() {
    let plan = plan(
        r#"
        version = 1
        seed = 7
        duration = "6m"
        drain = "5s"
        narrate = true
        [enrollment.plant]
        group_key = { env = "GROUP_KEY" }
        secondary_key = "stdin"
        allocation = "static"
        hub = "north"
        reprovision = "never"
        enabled = false
        [enrollment.gateway]
        individual = { registration_id = "gw-1", device_id = "gateway(1)", key = { file = "gw.key" } }
        allocation = { static = "south" }
        [fleet.sensors]
        count = 4_000
        id = "sensor-{n:05}-{run}"
        enrollment = "plant"
        provision = "https"
        connect = "https"
        deadline = { register = "50s", connect = "20s", send = "10s" }
        keep_connection = "5s"
        start.ramp = { from = "10/s", to = "60/s", over = "60s" }
        [fleet.sensors.telemetry]
        fleet_rate = "400/s"
        jitter = "5s"
        queue = 0
        bytes = "2 KiB"
        [fleet.gateway]
        enrollment = "gateway"
        [measure]
        sends_from = "100s"
        [thresholds]
        "send[sensors].service.mean" = "<= 250ms"
        [emulator]
        id_scope = "0ne00BADC0DE"
        allocation = "weighted"
        [emulator.dps]
        retry_after = "none"
        polls = { uniform = { low = 1, high = 3 } }
        assign = { lognormal = { median = "800ms", p99 = "4s" } }
        registrations = "6000/min"
        [emulator.hub.north]
        weight = 3
        tier = "S2"
        units = 4
        [emulator.hub.south]
        host = "s.example"
        "#,
    );
    assert_eq!((plan.seed, plan.duration, plan.narrate), (7, Some(Duration::from_secs(360)), true));
    assert_eq!((plan.drain, plan.sends_from), (Duration::from_secs(5), Duration::from_secs(100)));
    let (plant, gateway) = (&plan.enrollments[0], &plan.enrollments[1]);
    assert_eq!((plant.enabled, plant.reprovision), (false, config::Reprovision::Never));
    assert_eq!(plant.allocation, Some(config::Allocation::Static("north".to_owned())));
    assert_eq!(gateway.allocation, Some(config::Allocation::Static("south".to_owned())));
    let Keys::Individual { registration_id, device_id, primary: KeySource::File(path), .. } = &gateway.keys
    else {
        panic!("an individual enrollment with a key file")
    };
    assert_eq!((registration_id.as_str(), device_id.as_deref()), ("gw-1", Some("gateway(1)")));
    assert!(path.is_absolute() && path.ends_with("gw.key"), "relative to the scenario: {path:?}");
    let (sensors, gateways) = (&plan.populations[0], &plan.populations[1]);
    assert_eq!(id(&plan, 0, 1), format!("sensor-00001-{}", plan.run_id));
    assert_eq!(sensors.deadlines.register, Duration::from_secs(50));
    assert_eq!(sensors.keep_connection, Duration::from_secs(5));
    let telemetry = sensors.telemetry.as_ref().unwrap();
    assert_eq!(
        (&telemetry.rhythm.every[..], telemetry.rhythm.jitter),
        (&[Duration::from_secs(10)][..], Duration::from_secs(5))
    );
    let content_types: Vec<&str> = telemetry.payload.kinds().map(Payload::content_type).collect();
    assert_eq!((telemetry.queue, content_types.as_slice()), (0, &["application/octet-stream"][..]));
    assert_eq!((gateways.count, gateways.enrollment), (1, 1));
    assert_eq!(id(&plan, 1, 0), "gw-1");
    assert_eq!(gateways.arrival, Arrival::Burst { at: Duration::ZERO });
    assert_eq!(plan.thresholds[0].population, Some(0));
    let Target::Emulator(target) = &plan.target else { panic!("the emulator") };
    assert_eq!(target.allocation, config::Allocation::Weighted);
    assert_eq!(target.dps.retry_after, None);
    assert_eq!(target.dps.polls, Distribution::Uniform { low: 1.0, high: 3.0 });
    assert_eq!(target.dps.assign, Distribution::Lognormal { median: 0.8, p99: 4.0 });
    assert_eq!(target.dps.registrations, Some("100/s".parse().unwrap()));
    assert_eq!(target.hubs[0].size, Some(config::HubSize { tier: Tier::S2, units: 4 }));
    assert_eq!(target.hubs[1].size, None);
    let hubs: Vec<_> =
        target.hubs.iter().map(|hub| (hub.name.as_str(), hub.host.as_str(), hub.weight)).collect();
    assert_eq!(hubs, [("north", "north.azure-devices.localhost", 3), ("south", "s.example", 1)]);
}

#[test]
fn every_shipped_scenario_loads_without_a_warning() {
    let environment = |name: &str| name.starts_with("PROVISIONING_").then(|| "test-1".to_owned());
    let mut count = 0;
    for path in schema_tests::shipped_scenarios() {
        let loaded = load(&path, &Options::default(), &environment)
            .unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, None)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false, None));
        let first_lines = "#:schema ./muster.schema.json\n# Question ";
        assert!(loaded.text.starts_with(first_lines), "{}", path.display());
        assert!(loaded.text.contains("\n# Healthy "), "{}", path.display());
        count += 1;
    }
    assert!(count >= 3);
}

#[test]
fn the_quickstart_reads_four_variables_and_none_of_them_is_the_key() {
    let asked = std::cell::RefCell::new(Vec::new());
    let environment = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        Some("test-1".to_owned())
    };
    let loaded = load(&shipped("quickstart.toml"), &Options::default(), &environment).unwrap();
    let asked = asked.into_inner();
    assert_eq!(asked, ["PROVISIONING_HOST", "PROVISIONING_IDSCOPE", "PROVISIONING_REGISTRATION_ID"]);
    let Keys::Individual { primary: KeySource::Environment(name), .. } = &loaded.plan.enrollments[0].keys
    else {
        panic!("an individual enrollment")
    };
    assert_eq!(name, "PROVISIONING_SYMMETRIC_KEY");
    let unset = load(&shipped("quickstart.toml"), &Options::default(), &|_| None).unwrap_err();
    assert_eq!(unset.counts(), (3, 0), "{}", unset.render(false, None));
    assert_eq!(id(&loaded.plan, 0, 0), "test-1");
}

#[test]
fn set_and_options_take_precedence_over_the_file() {
    let sets =
        ["fleet.devices.start.rate=200/s", "fleet.devices.count=500", "fleet.devices.telemetry.messages=1"];
    let loaded = load_bytes(MINIMAL.as_bytes(), &sets).unwrap();
    let population = &loaded.plan.populations[0];
    assert_eq!(population.count, 500);
    assert_eq!(population.arrival, Arrival::Rate("200/s".parse().unwrap()));
    assert_eq!(loaded.text, MINIMAL, "the text is kept as it was written");
    let path = shipped("ci-smoke.toml");
    let options = Options { seed: Some(99), run_id: Some("0a1b2c3d".to_owned()), ..Options::default() };
    let loaded = load(&path, &options, &variable).unwrap();
    assert_eq!((loaded.plan.seed, loaded.plan.run_id.as_str()), (99, "0a1b2c3d"));
}

#[test]
fn azure_and_hub_targets_are_read() {
    let azure = plan(
        "version = 1\n[target]\nkind = 'azure'\ndps = '${env:HOST}'\nid_scope = '${env:SCOPE}'\nallow = ['*.azure-devices.net']\n\
         ca_file = 'ca.pem'\n[enrollment.a]\ngroup_key = 'stdin'\n[fleet.x]\ncount = 1\n",
    );
    let Target::Azure(target) = &azure.target else { panic!("azure") };
    assert_eq!((target.dps.as_str(), target.id_scope.as_str()), ("dps.example.com", "0ne00000A0A"));
    assert_eq!(target.allow, ["*.azure-devices.net"]);
    assert!(target.ca_file.as_ref().is_some_and(|path| path.is_absolute()));
    let local = plan(
        "version = 1\n[target]\nkind = 'azure'\ndps = 'localhost:8443'\nid_scope = 'x'\n[enrollment.a]\ngroup_key = 'stdin'\n\
         [fleet.x]\ncount = 1\n",
    );
    assert!(matches!(local.target, Target::Azure(target) if target.allow.is_empty()));
    let hub = plan(
        "version = 1\n[target]\nkind = 'hub'\nhost = '127.0.0.1:8443'\n[enrollment.a]\ngroup_key = 'stdin'\n[fleet.x]\ncount = 1\n",
    );
    assert!(matches!(&hub.target, Target::Hub(target) if target.host == "127.0.0.1:8443"));
    assert_eq!(hub.populations[0].provision, None);
}

/// A target elsewhere with more keys, and what a scenario needs besides.
fn elsewhere(kind: &str, keys: &str) -> String {
    let own = match kind {
        "azure" => "kind = 'azure'\nid_scope = 'a'\nallow = ['*.azure-devices.net']",
        _ => "kind = 'hub'\nhost = 'contoso.azure-devices.net'",
    };
    format!(
        "version = 1\n[target]\n{own}\n{keys}\n[enrollment.a]\ngroup_key = 'stdin'\n[fleet.x]\ncount = 1\n"
    )
}

#[test]
fn a_target_elsewhere_has_a_way_and_a_stated_size() {
    let keys = "proxy = 'http://${env:DEVICE}:${env:SECRET}@Proxy.example:3128'\ntier = 'S2'\nunits = 200\n\
                [target.connect]\n'Contoso.azure-devices.net' = '${env:HOST}:8443'\n'[::1]:443' = '[::1]:8443'\n";
    for kind in ["azure", "hub"] {
        let plan = plan(&elsewhere(kind, keys));
        let way = plan.target.way().unwrap();
        let proxy = way.proxy.as_ref().unwrap();
        assert_eq!(proxy.endpoint.to_string(), "proxy.example:3128");
        assert!(!format!("{plan:?}").contains("canary of"), "{plan:?}");
        let mapped: Vec<_> = way.connect.iter().map(|(host, to)| format!("{host} {to}")).collect();
        assert_eq!(mapped, ["[::1]:443 [::1]:8443", "contoso.azure-devices.net dps.example.com:8443"]);
        let stated = match &plan.target {
            Target::Azure(target) => target.stated,
            Target::Hub(target) => target.stated,
            Target::Emulator(_) => None,
        };
        assert_eq!(stated, Some(StatedHub { tier: Tier::S2, units: 200 }));
    }
    let Target::Azure(raised) = plan(&elsewhere("azure", "dps_registrations = '6000/min'")).target else {
        panic!("azure")
    };
    assert_eq!((raised.dps_registrations.per_second(), raised.stated), (100.0, None));
    let Target::Azure(plain) = plan(&elsewhere("azure", "tier = 'F1'")).target else { panic!("azure") };
    assert_eq!(plain.dps_registrations, "1000/min".parse().unwrap());
    assert_eq!(plain.stated, Some(StatedHub { tier: Tier::F1, units: 1 }));
    assert_eq!(plain.way, Way::default());
}

#[test]
fn a_dps_is_on_this_machine_only_if_the_way_to_it_is() {
    let scenario = |keys: &str| {
        format!(
            "version = 1\n[target]\nkind = 'azure'\nid_scope = 'a'\n{keys}\n[enrollment.a]\ngroup_key = 'stdin'\n\
             [fleet.x]\ncount = 1\n"
        )
    };
    for here in [
        "dps = 'localhost'",
        "dps = 'LOCALHOST:1'\nproxy = 'http://127.0.0.1:3128'",
        "connect = { 'global.azure-devices-provisioning.net' = '127.0.0.1:8443' }",
        "dps = 'a.b:9'\nconnect = { 'A.b:9' = '[::1]:8443' }\nproxy = 'http://localhost:1'",
    ] {
        plan(&scenario(here));
    }
    for elsewhere in [
        "dps = 'a.b'",
        "dps = 'localhost'\nproxy = 'http://proxy.example:3128'",
        "dps = 'localhost'\nconnect = { localhost = '10.0.0.1:443' }",
        "dps = '127.0.0.1:1'\nconnect = { '127.0.0.1:1' = 'a.b:443' }",
        "dps = 'a.b:9'\nconnect = { 'a.b:10' = '127.0.0.1:8443' }",
        "dps = 'a.b'\nproxy = 'http://127.0.0.1:3128'",
    ] {
        let told = told(&scenario(elsewhere));
        assert!(told.contains("nothing says which hubs"), "{elsewhere}\n{told}");
    }
}

#[test]
fn each_mistake_about_the_way_is_told_with_its_remedy() {
    for (kind, keys, message, help) in [
        (
            "azure",
            "proxy = 'socks5://p:1080'",
            "proxies with `socks5://` are not supported",
            "proxy = \"http://",
        ),
        ("hub", "proxy = 'https://p:443'", "with `https://`", "TLS is spoken through it"),
        ("hub", "proxy = 'p:3128'", "it has no scheme", "write proxy = \"http://"),
        ("hub", "proxy = 'http://p'", "the proxy has no port", "3128 and 8080 are usual"),
        ("azure", "proxy = 'http://p:99999'", "a port that is not 1 to 65535", "http://proxy.example:3128"),
        ("azure", "proxy = 'http://u:p@p:1'", "does not belong into a file", "${env:PROXY_PASSWORD}"),
        ("azure", "proxy = 3128", "`proxy` is a whole number; it must be a string", "for example `proxy"),
        ("hub", "connect = { a = 'b' }", "`b` has no port", "\"127.0.0.1:8443\""),
        ("hub", "connect = { a = 'http://b:1' }", "it has a scheme", "write a host name"),
        ("hub", "connect = { 'a:0' = 'b:1' }", "its port is not a number", "write a host name"),
        ("hub", "connect = { '*.a' = 'b:1' }", "`*.a` is not a host", "write a host name"),
        ("hub", "connect = { '-a' = 'b:1' }", "`-a` is not a host", "the whole name of one host"),
        ("hub", "connect = { a = 1 }", "the address is a whole number", "write for example connect ="),
        ("hub", "connect = { a.b = 'c:1' }", "`a` is not a host: a host is one key, in quotes", "connect ="),
        ("hub", "connect = { 'A.b' = 'c:1', 'a.B' = 'c:1' }", "mapped twice", "keep one of the two"),
        ("hub", "connect = 'a=b'", "`connect` is a string; it must be a table", "for example `connect ="),
        ("hub", "tier = 's2'", "`s2` is not a value of `tier`", "\"S2\""),
        ("hub", "tier = 'S3'\nunits = 11", "a hub of tier S3 has at most 10 units", "use at most 10"),
        ("hub", "tier = 'F1'\nunits = 2", "a hub of tier F1 has at most 1 unit", "or another tier"),
        ("hub", "units = 2", "`units` says nothing without `tier`", "tier = \"S1\""),
        ("hub", "tier = 'S1'\nunits = 0", "0 is not 1 to 200", "for example `units = 2`"),
        ("azure", "dps_registrations = 1000", "`dps_registrations` is a number without a unit", "1000/min"),
        (
            "hub",
            "dps_registrations = '1/s'",
            "has no meaning for a target of kind \"hub\"",
            "kind = \"azure\"",
        ),
    ] {
        let told = told(&elsewhere(kind, keys));
        assert!(told.contains(message) && told.contains(help), "{keys}\n{told}");
        assert!(told.contains(": 1 error"), "{keys}\n{told}");
    }
    let many: String = (0..1_001).map(|n| format!("h{n} = 'b:1'\n")).collect();
    let told = self::told(&elsewhere("hub", &format!("[target.connect]\n{many}")));
    assert!(told.contains("`connect` has more than 1,000 entries"), "{told}");
    for keys in [
        "proxy = 'http://p:1'",
        "proxy = 'nonsense'",
        "connect = { a = 'b:1' }",
        "tier = 'S1'",
        "units = 2",
        "dps_registrations = '1000/min'",
    ] {
        let told = self::told(&format!("version = 1\n[target]\n{keys}\n[fleet.x]\ncount = 1\n"));
        let name = keys.split_once(' ').unwrap().0;
        let expected = format!("`{name}` has no meaning for a target of kind \"emulator\"");
        assert!(told.contains(&expected) && told.contains(": 1 error"), "{told}");
    }
}

#[test]
fn the_password_of_a_proxy_is_shown_nowhere_wherever_it_was_put() {
    let secret = "sEcReT-hunter2";
    for keys in [
        format!("proxy = 'http://user:{secret}@p:1'"),
        format!("proxy = \"http://{secret}@p:1\""),
        format!("proxy = '{secret}@p:1'"),
        format!("proxy = 'u:{secret}'"),
        format!("proxy = 'http://u:{secret}'"),
        format!("proxy = 'http://u:{secret}${{env:SECRET}}@p:1'"),
        format!("proxy = 'http://${{env:SECRET}}:{secret}@p'"),
        format!("proxy = 'https://u:{secret}@p:1'"),
        format!("proxy = 'http://u:{secret}@p:1"),
        format!("proxy = http://u:{secret}@p:1"),
        format!("proxy = ['http://u:{secret}@p:1', 'u:{secret}@p']"),
        format!("proxy = {{ url = 'u:{secret}@p:1' }}"),
        format!("proxy = 'http://u:{secret}@p:1'\nproxy = 'http://u:{secret}@p:1'"),
        format!("porxy = 'http://u:{secret}@p:1'"),
        format!("https_proxy = 'http://u:{secret}@p:1'"),
        format!("ca_file = 3 # 'http://u:{secret}@p:1'"),
        format!("host = 'http://u:{secret}@p:1'"),
        format!("connect = {{ 'http://u:{secret}@h' = 'http://u:{secret}@p:1' }}"),
    ] {
        for kind in ["azure", "hub"] {
            let told = told(&elsewhere(kind, &keys));
            assert!(!told.contains("hunter2") && !told.contains("canary of"), "{keys}\n{told}");
        }
    }
    let set = format!("target.proxy=http://user:{secret}@p:1");
    let told = load_bytes(elsewhere("hub", "").as_bytes(), &[&set]).unwrap_err();
    assert!(told.contains("does not belong on a command line") && !told.contains("hunter2"), "{told}");
    // What stands in the environment is shown as it was written.
    for keys in ["proxy = 'http://${env:SECRET}:${env:SECRET}@p'", "proxy = '${env:SECRET}'"] {
        let told = self::told(&elsewhere("hub", keys));
        assert!(told.contains("${env:SECRET}") && !told.contains("canary of"), "{told}");
    }
}

#[test]
fn complaints_look_like_this() {
    for (name, text) in [
        ("unknown_key", with("count  ", "cuont  ")),
        ("wrong_unit", with("\"2s\"", "\"2/s\"")),
        ("every_and_fleet_rate", with("messages = 5", "fleet_rate = \"50/s\"\nmessages = 5")),
        (
            "unknown_enrollment",
            with("count ", "enrollment = \"plnt\"\ncount ")
                + "[enrollment.plant]\ngroup_key = \"generated\"\n",
        ),
        ("duplicate_key", with("messages = 5", "messages = 5\nevery = \"3s\"")),
        ("two_errors", with("1_000", "\"many\"").replace("= 0 %", "= none")),
        ("bad_toml", with("\"100/s\"", "100/s").replace("[thresholds]", "[thresholds")),
        ("literal_key", format!("{MINIMAL}[enrollment.plant]\ngroup_key = \"{CANARY}\"\n")),
        ("unset_variables", with("1_000", "1_000\nid = \"${env:PREFIX}-{n}-${env:SUFFIX}\"")),
        ("escape_bytes", with("\"100/s\"", "'100\u{9b}/s' # \u{202e}")),
        ("no_fleet", "version = 1\n".to_owned()),
        ("later", format!("{MINIMAL}[[event]]\nname = \"power-cut\"\n[gate]\n[[emulator.fault]]\n")),
        ("version", "version = 2\nfuture = true\n".to_owned()),
    ] {
        insta::assert_snapshot!(name, told(&text));
    }
}

/// The minimal scenario with other keys in its telemetry.
fn with_payload(keys: &str) -> String {
    with("messages = 5             # per device", &format!("messages = 5\n{keys}"))
}

#[test]
fn complaints_about_payloads_look_like_this() {
    for (name, keys) in [
        ("payload_unknown_placeholder", r#"json = '{"device":"${devcie_id}","seq":${seq}}'"#),
        ("payload_not_json", r#"json = '{"device":"${device_id}","state":${choice(1, 2, "busy")}}'"#),
        ("payload_property_name", "properties = { \"a level\" = \"x\", level = \"ü\", n = 5 }"),
        (
            "payload_twice",
            "json = '{}'\n[[fleet.devices.telemetry.payload]]\nweight = 0\nbytes = \"1 KiB\"\n\
             [[fleet.devices.telemetry.payload]]\ntext = 'x'\nfile = 'y'\n[[fleet.devices.telemetry.payload]]\nwieght = 2",
        ),
        ("payload_missing_file", "file = \"no-such-message.json\""),
        ("payload_too_large", "bytes = \"256 KiB\"\nproperties = { level = \"${string(100)}\" }"),
        (
            "payload_system_properties",
            "message_id = \"${device_id}/${seq}\"\ncontent_type = \"application/vnd.microsoft.iothub.json\"\ncontent_encoding = \"\"",
        ),
        ("payload_environment", r#"json = '{"site":"${env:SECRET}","seq":${seqq}}'"#),
    ] {
        insta::assert_snapshot!(name, told(&with_payload(keys)));
    }
}

#[test]
fn payloads_and_what_goes_with_them_reach_the_plan() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("message.json"), "{\"a\": 1}").unwrap();
    let path = directory.path().join("s.toml");
    let text = with_payload(
        "[[fleet.devices.telemetry.payload]]\nweight = 3\njson = '{\"seq\":${seq}}'\n\
         properties = { level = \"normal\", Batch = \"${seq}\" }\nmessage_id = \"${device_id}:${seq}\"\n\
         [[fleet.devices.telemetry.payload]]\nfile = \"message.json\"\ncontent_encoding = \"utf-16\"\n\
         [[fleet.devices.telemetry.payload]]\ntext = '${env:DEVICE};${n}'\ncontent_type = \"text/csv\"\n",
    );
    std::fs::write(&path, text).unwrap();
    let plan = load(&path, &Options::default(), &variable)
        .unwrap_or_else(|told| panic!("{}", told.render(false, None)))
        .plan;
    let telemetry = plan.populations[0].telemetry.as_ref().unwrap();
    let kinds: Vec<_> = telemetry
        .payload
        .kinds()
        .map(|kind| (kind.content_type(), kind.content_encoding().unwrap_or("-"), kind.properties().len()))
        .collect();
    assert_eq!(
        kinds,
        [("application/json", "utf-8", 2), ("application/json", "utf-16", 0), ("text/csv", "utf-8", 0)]
    );
    let mut bodies: Vec<String> = (1..100)
        .map(|sequence| {
            let mut out = Rendered::default();
            let context = Context {
                seed: 7,
                population: "devices",
                n: 9,
                device_id: "d-9",
                registration_id: "d-9",
                run: "0a1b2c3d",
                sequence,
                now: UnixTime::from_nanos(0),
            };
            telemetry.payload.render(&context, &mut out);
            String::from_utf8_lossy(out.body()).replace(char::is_numeric, "#")
        })
        .collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies, ["device-#;#", "{\"a\": #}", "{\"seq\":##}", "{\"seq\":#}"]);
}

#[test]
fn a_payload_file_is_a_file_of_a_size_that_a_hub_takes() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::File::create(directory.path().join("large")).unwrap().set_len(1 << 30).unwrap();
    for (file, expected) in [
        ("large", "more than 262144 bytes"),
        (".", "is not a file"),
        ("/dev/zero", "is not a file"),
        ("${env:SECRET}", "there is no file `${env:SECRET}`"),
    ] {
        let path = directory.path().join("s.toml");
        std::fs::write(&path, with_payload(&format!("file = \"{file}\""))).unwrap();
        let told = load(&path, &Options::default(), &variable).map(|_| ()).unwrap_err();
        let told = shown(&told, directory.path());
        assert!(told.contains(expected) && !told.contains("canary"), "{told}");
    }
}

#[test]
fn places_are_right_behind_a_byte_order_mark_and_with_windows_line_ends() {
    let text = format!("\u{feff}{}", with("\"2s\"", "\"2\""));
    insta::assert_snapshot!("bom_and_crlf", told(&text.replace('\n', "\r\n")));
}

#[test]
fn files_that_are_no_text_or_too_large_or_not_there_are_told_apart() {
    let mut bytes = with_top("# caf\u{e9} ").into_bytes();
    bytes.extend(b"# caf\xe9\nx = 1\n");
    insta::assert_snapshot!("not_utf8", load_bytes(&bytes, &[]).unwrap_err());
    let large = vec![b'#'; 4 * 1024 * 1024 + 1];
    insta::assert_snapshot!("too_large", load_bytes(&large, &[]).unwrap_err());
    let directory = tempfile::tempdir().unwrap();
    let missing = load(&directory.path().join("no.toml"), &Options::default(), &variable).unwrap_err();
    insta::assert_snapshot!("missing", shown(&missing, directory.path()));
}

#[test]
fn bad_sets_are_shown_with_their_own_text() {
    let sets = ["fleet.devices.count", "fleet.devices.count.x=1", "fleet.devices.cuont=5", "drain=20"];
    insta::assert_snapshot!("bad_set", load_bytes(MINIMAL.as_bytes(), &sets).unwrap_err());
}

#[test]
fn absurd_numbers_are_refused() {
    for value in [
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1e308",
        "1_000_000_001",
        "0x7fffffffffffffff",
        "1.5",
        "\"5\"",
        "1979-05-27",
    ] {
        let told = told(&with("1_000", value));
        assert!(told.contains("`count`"), "{value}: {told}");
    }
    assert_eq!(plan(&with("1_000", "1_000_000_000")).populations[0].count, 1_000_000_000);
    for value in ["nan/s", "-1/s", "0/s", "1e308/s", "inf/s", "100"] {
        let told = told(&with("100/s", value));
        assert!(told.contains("rate"), "{value}: {told}");
    }
    for value in ["nans", "-1s", "1e308s", "400d", "infs"] {
        told(&with("\"2s\"", &format!("\"{value}\"")));
    }
    told(&with_top("seed = -1"));
    told(&with_top("duration = \"0s\""));
}

#[test]
fn each_contradiction_is_told_with_its_remedy() {
    const AZURE: &str = "[target]\nkind = 'azure'\nid_scope = 'a'\nallow = ['*.azure-devices.net']\n";
    const HUB: &str = "[target]\nkind = 'hub'\nhost = 'a.b'\n";
    const KEY: &str = "[enrollment.a]\ngroup_key = 'stdin'\n";
    const ONE: &str = "[fleet.x]\ncount = 1\n";
    const DEVICE: &str = "[enrollment.a]\nindividual = { registration_id = 'd-1', key = 'generated' }\n";
    for (tables, expected) in [
        (format!("{AZURE}[emulator]\n{KEY}{ONE}"), "`[emulator]` has no meaning for a target of kind \"azure\""),
        (format!("{AZURE}host = 'x'\n{KEY}{ONE}"), "`host` has no meaning for a target of kind \"azure\""),
        (format!("[target]\nallow = ['*.a.b']\n{ONE}"), "`allow` has no meaning for a target of kind \"emulator\""),
        (format!("[target]\nkind = 'azure'\nallow = ['h.x']\n{KEY}{ONE}"), "`[target]` lacks `id_scope`"),
        (format!("[target]\nkind = 'azure'\nid_scope = 'a'\n{KEY}{ONE}"), "add allow = [\"*.azure-devices.net\"]"),
        (format!("[target]\nkind = 'hub'\n{KEY}{ONE}"), "`[target]` lacks `host`"),
        (format!("[target]\nkind = 'hub'\nhost = 'https://a.b'\n{KEY}{ONE}"), "it has a scheme"),
        (format!("{AZURE}{ONE}"), "there is no enrollment"),
        (format!("{AZURE}[enrollment.a]\ngroup_key = 'generated'\n{ONE}"), "a generated key is known to the emulator only"),
        (format!("{AZURE}{KEY}enabled = false\n{ONE}"), "`enabled` configures the emulator"),
        (format!("{HUB}{KEY}{ONE}provision = 'https'\n"), "`provision` has no meaning"),
        (format!("{ONE}provision = 'mqtt'\n"), "`mqtt` is not supported by this version"),
        (format!("{ONE}connect = 'amqp-ws'\n"), "use \"https\" or \"none\""),
        (format!("{ONE}behave = 'python-sdk'\n"), "`behave` is not supported by this version"),
        (format!("{KEY}secondary_key = 'stdin'\n{ONE}"), "standard input holds one key"),
        (format!("[enrollment.a]\n{ONE}"), "lacks `group_key` or `individual`"),
        (format!("[enrollment.a]\ngroup_key = 'genrated'\n{ONE}"), "did you mean `group_key = \"generated\"`?"),
        (format!("[enrollment.a]\ngroup_key = {{ env = 'A', file = 'b' }}\n{ONE}"), "both `env` and `file`"),
        (format!("{DEVICE}secondary_key = 'generated'\n{ONE}"), "move it into the braces"),
        (format!("{DEVICE}[fleet.x]\ncount = 2\nstart.rate = '1/s'\n"), "an individual enrollment is for one device"),
        (format!("{DEVICE}[fleet.x]\nid = 'a-{{n}}'\n"), "is the enrollment's registration id"),
        (format!("{DEVICE}[fleet.x]\n[fleet.y]\n"), "the same registration id"),
        (format!("{KEY}[enrollment.b]\ngroup_key = 'generated'\n{ONE}"), "does not say which enrollment"),
        (format!("{KEY}hub = 'north'\n{ONE}"), "only with static allocation"),
        (format!("{KEY}allocation = 'static'\n{ONE}"), "needs the name of a hub"),
        (format!("{KEY}allocation = {{ static = 'hub' }}\nhub = 5\n{ONE}"), "names the hub already"),
        (format!("{ONE}[emulator.dps]\npolls = {{}}\n"), "lacks `uniform`"),
        (format!("{KEY}allocation = {{ static = 'noth' }}\n{ONE}[emulator.hub.north]\n"), "did you mean \"north\"?"),
        ("[fleet.x]\n".to_owned(), "`[fleet.x]` lacks `count`"),
        ("[fleet.x]\ncount = 5\n".to_owned(), "does not say when its devices start"),
        ("[fleet.x]\ncount = 5\nid = 'same'\nstart.rate = '1/s'\n".to_owned(), "would all have the id"),
        ("[fleet.x]\ncount = 5\nstart.rate = '1/s'\nstart.burst = {}\n".to_owned(), "both `rate` and `burst`"),
        ("[fleet.x]\ncount = 5\nstart = {}\n".to_owned(), "lacks `rate`, `ramp`, `staircase`, `poisson`, `burst` or `trace`"),
        ("[fleet.X]\ncount = 1\n".to_owned(), "is not a name for a fleet"),
        (format!("{ONE}deadline.send = '2h'\n"), "at most 1h"),
        (format!("{ONE}[fleet.x.telemetry]\nmessages = 1\n"), "lacks `every` or `fleet_rate`"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\n"), "the run would never end"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '0s'\n"), "nothing says how many"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\njitter = '1001ms'\n"), "use at most \"1s\""),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\nin_flight = 2\n"), "one request at a time"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\nbytes = '1 B'\njson = '1'\n"), "one payload"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\njson = '${{nope}}'\n"), "is not a placeholder"),
        (format!("{ONE}[fleet.x.telemetry]\nevery = '2s'\nmessages = 1\nbytes = '1 MiB'\n"), "a hub takes at most 262144"),
        ("[fleet.x]\ncount = 5\nstart.rate = '1/s'\n[fleet.x.telemetry]\nfleet_rate = '1/day'\nmessages = 1\n[fleet.y]\ncount = 1000\nstart.rate = '1/s'\n[fleet.y.telemetry]\nfleet_rate = '1/day'\nmessages = 1\n".to_owned(), "each device would send every 1000d"),
        (format!("{ONE}[thresholds]\nsend.response.p99 = '< 1s'\n"), "a metric is one key, in quotes"),
        (format!("{ONE}[thresholds]\n'failed.share' = {{ limit = '< 1 %', abort_after = '3s' }}\n"), "not supported by this version"),
        (format!("{ONE}[thresholds]\n'failed[y].share' = '< 1 %'\n"), "there is no fleet `y`"),
        (format!("{ONE}[thresholds]\n'failed.share' = 1\n"), "must be a string with a comparison"),
        (format!("{ONE}[emulator.dps]\nretry_after = '1500ms'\n"), "header in whole seconds"),
        (format!("{ONE}[emulator.dps]\nassign = {{ lognormal = {{ median = '2s', p99 = '1s' }} }}\n"), "below the median"),
        (format!("{ONE}[emulator.dps]\npolls = {{ uniform = {{ low = 3, high = 1 }} }}\n"), "`high` is below `low`"),
        (format!("{ONE}[emulator.dps]\npolls_per_window = 3\n"), "`polls_per_window` is not supported by this version"),
        (format!("{ONE}[emulator.dps]\nregistrations = 6000\n"), "a number without a unit"),
        (format!("{ONE}[emulator.dps]\nregistrations = '0/min'\n"), "a rate above 0"),
        (format!("{ONE}[emulator.hub.a]\nunits = 2\n"), "a hub without tier has no limit"),
        (format!("{ONE}[emulator.hub.a]\ntier = 's2'\n"), "`s2` is not a value of `tier`"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S4'\nunits = 2\n"), "\"S3\""),
        (format!("{ONE}[emulator.hub.a]\ntier = 'F1'\nunits = 2\n"), "use units = 1, or another tier"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S3'\nunits = 11\n"), "a hub of tier S3 has at most 10 units"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S1'\nunits = 201\n"), "200"),
        (format!("{ONE}[emulator.hub.a]\ntier = 'S1'\nunits = 0\n"), "1"),
        (format!("{ONE}[emulator.hub.a]\nhost = 'h.x'\n[emulator.hub.b]\nhost = 'H.x'\n"), "the same host name"),
        ("duration = '1m'\n[measure]\nsends_from = '1m'\n[fleet.x]\ncount = 1\n".to_owned(), "nothing is measured"),
        ("[flet.x]\ncount = 5\n".to_owned(), "did you mean `fleet`?"),
        ("[fleet.x]\ncuont = 5\nstrat.rate = '1/s'\n".to_owned(), "did you mean `start`?"),
        ("[fleet]\n".to_owned(), "there is no fleet"),
        (format!("{ONE}[fleet.x.telemetry]\nevry = '2s'\nmesages = 2\n"), "did you mean `every`?"),
        (format!("[taget]\nkind = 'azure'\n[enrollment.a]\ngroup_key = 'generated'\n{ONE}"), "did you mean `target`?"),
        ("fleet = 5\n".to_owned(), "`fleet` is a whole number; it must be a table"),
        ("target = 5\n[fleet.x]\ncount = 1\n".to_owned(), "`target` is a whole number; it must be a table"),
    ] {
        let told = told(&format!("version = 1\n{tables}"));
        assert!(told.contains(expected), "{tables}\n{told}");
        // One mistake, one complaint.
        let mistakes = 1 + usize::from(["mesages", "strat."].iter().any(|second| tables.contains(second)));
        assert!(told.contains(&format!(": {mistakes} error")), "{tables}\n{told}");
    }
}

#[test]
fn what_probably_is_not_meant_is_a_warning() {
    for (text, expected) in [
        (with_top("duration = \"5s\""), "500 of 1,000 devices never start: the run ends at 5s"),
        (
            with("every    = \"2s\"", "every = \"0s\"").replace("messages = 5", "messages = 500"),
            "will not be sent",
        ),
        (
            "version = 1\n[fleet.x]\ncount = 1\n[thresholds]\n'send.response.p99' = '< 1s'\n".to_owned(),
            "no device that it is about sends telemetry",
        ),
    ] {
        let loaded = load_bytes(text.as_bytes(), &[]).unwrap();
        let told = loaded.warnings.render(false, None);
        assert!(told.contains(expected), "{told}");
        assert!(!loaded.warnings.has_errors());
    }
    let silent = plan("version = 1\n[fleet.x]\ncount = 1\n[thresholds]\n");
    let texts: Vec<&str> = silent.thresholds.iter().map(|threshold| threshold.text.as_str()).collect();
    assert_eq!(texts, ["register.failed.share < 100 % (default)", "connect.failed.share < 100 % (default)"]);
}

#[test]
fn a_key_is_shown_nowhere_wherever_it_was_put() {
    for table in [
        format!("[enrollment.a]\ngroup_key = \"{CANARY}\"\n"),
        format!("[enrollment.a]\ngroup_key = \"{CANARY}\"\nunknown = 1\n"),
        format!("enrollment.a = {{ group_key = '{CANARY}', other = 1, secondary_key = '{CANARY}' }}\n"),
        format!("[enrollment.a]\ngroup_key = {{ env = \"{CANARY}\" }}\n"),
        format!("[enrollment.a]\ngroup_key = {{ key = \"{CANARY}\" }}\n"),
        format!("[enrollment.a]\nprimary = \"{CANARY}\"\n"),
        format!("[enrollment.a]\ngroup_key = \"{CANARY}\n"),
        format!("[enrollment.a]\ngroup_key = {CANARY}\n"),
        format!("[enrollment.a]\ngroup_key = ['{CANARY}']\n"),
        format!("[enrollment.a]\nindividual = {{ registration_id = '{CANARY}', key = '{CANARY}' }}\n"),
        format!("[enrollment.a]\ngroup_key = 'stdin'\nhub = '{CANARY}'\nallocation = '{CANARY}'\n"),
        format!("[target]\nkind = 'azure'\nid_scope = '{CANARY}'\n"),
        format!("[fleet.a]\ncount = '{CANARY}'\nid = '{CANARY}'\nenrollment = '{CANARY}'\n"),
        format!("\"{CANARY}\" = 1\n"),
        format!("[thresholds]\n'failed.share' = '{CANARY}'\n'{CANARY}' = '< 1s'\n"),
    ] {
        let told = told(&format!("version = 1\n{table}"));
        assert!(
            !told.contains(&CANARY[..12]) && !told.contains(&CANARY[CANARY.len() - 12..]),
            "{table}\n{told}"
        );
    }
    let set = format!("enrollment.a.group_key={CANARY}");
    let told = load_bytes(MINIMAL.as_bytes(), &[&set]).unwrap_err();
    assert!(!told.contains(&CANARY[..12]), "{told}");
    assert!(told.contains("does not belong on a command line"), "{told}");
    // Short ones do not look like a key; the place where they stand tells.
    let short = self::told(&format!("{MINIMAL}[enrollment.a]\ngroup_key = \"hunter2\"\n"));
    assert!(!short.contains("hunter2"), "{short}");
}

#[test]
fn a_value_from_the_environment_is_shown_as_it_was_written() {
    let secret = "${env:SECRET}";
    for text in [
        with("\"2s\"", &format!("\"{secret}\"")),
        with("\"100/s\"", &format!("\"{secret}\"")),
        with("1_000", &format!("1_000\nid = \"{secret} {{\"")),
        with("1_000", &format!("1_000\nenrollment = \"{secret}\"\nprovision = \"{secret}\"")),
        with("\"< 10s\"", &format!("\"< {secret}\"")),
        with("\"< 10s\"", &format!("\"{secret}\"")),
        with("messages = 5", &format!("messages = 5\njson = '{{\"a\":{secret}}}'")),
        with("messages = 5", &format!("messages = 5\nbytes = '{secret}'")),
        with_payload(&format!("json = '{{\"a\":${{choice({secret})}}}}'")),
        with_payload(&format!("text = '${{uniform({secret}, 1)}}'")),
        with_payload(&format!("file = '{secret}'")),
        with_payload(&format!("properties = {{ a = '${{{secret}}}' }}\nmessage_id = '{secret}'")),
        with_payload(&format!("[[fleet.devices.telemetry.payload]]\ntext = '${{{secret}'")),
        format!(
            "{MINIMAL}[enrollment.a]\ngroup_key = \"{secret}\"\nallocation = '{secret}'\nhub = '{secret}'\n"
        ),
        format!(
            "{MINIMAL}[enrollment.a]\nindividual = {{ registration_id = '{secret}', device_id = '{secret}', key = {{ env = '{secret}' }} }}\n"
        ),
        format!(
            "{MINIMAL}[target]\nkind = 'azure'\ndps = '{secret}'\nid_scope = '{secret}'\nallow = ['{secret}']\n"
        ),
        format!("{MINIMAL}[target]\nkind = '{secret}'\n"),
        format!(
            "{MINIMAL}[emulator]\nid_scope = '{secret}'\nhub.a.host = '{secret}'\nallocation = {{ static = '{secret}' }}\n"
        ),
    ] {
        let told = told(&text);
        assert!(!told.contains("canary"), "{text}\n{told}");
        assert!(told.contains("${env:SECRET}"), "{text}\n{told}");
    }
}

#[test]
fn the_emulator_part_is_read_from_any_scenario() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s.toml");
    let load = |text: &str| {
        std::fs::write(&path, text).unwrap();
        load_emulator(&path, &Options::default(), &variable)
            .map_err(|diagnostics| diagnostics.render(false, None))
    };
    let bare = load("version = 1\nseed = 5\n").unwrap();
    assert_eq!((bare.seed, bare.enrollments.len(), bare.target.hubs.len()), (5, 1, 1));
    // A file for a real target, whose variables are not set here.
    let real = load(
        "version = 1\n[target]\nkind = 'azure'\ndps = '${env:UNSET}'\n[fleet.x]\ncount = 'broken'\n\
         [enrollment.plant]\ngroup_key = { env = 'GROUP_KEY' }\n",
    )
    .unwrap();
    assert_eq!(real.enrollments[0].name, "plant");
    assert!(load("version = 1\n[emulator]\nallocation = 'hashd'\n").unwrap_err().contains("did you mean"));
    assert!(load("version = 1\n[emulatr]\n").unwrap_err().contains("did you mean `emulator`"));
    assert!(load("").unwrap_err().contains("lacks `version`"));
    assert!(load_emulator(&shipped("ci-smoke.toml"), &Options::default(), &variable).is_ok());
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

#[test]
fn devices_come_from_lists_and_starts_from_files() {
    let key = "c2l4dGVlbi1ieXRlcy1vay4=";
    let gateways =
        format!("registration_id,key,device_id,secondary_key\ngw-1,{key},roof(1),{key}\ngw-2,{key},,{key}\n");
    let plan = plan_with_files(
        "version = 1\nduration = '1m'\n[enrollment.gateways]\nindividual = 'gateways.csv'\n\
         [enrollment.plant]\ngroup_key = 'generated'\nsecondary_key = 'generated'\n\
         [fleet.gateways]\nenrollment = 'gateways'\nstart.rate = '10/s'\nsign_with = 'secondary'\n\
         [fleet.serials]\nenrollment = 'plant'\nids = 'serials.csv'\nstart.trace = 'starts.txt'\nsign_with = 'secondary'\n\
         [fleet.few]\nenrollment = 'plant'\ncount = 3\nid = 'x-{n+7}'\nstart.poisson = '10/s'\n",
        &[
            ("gateways.csv", &gateways),
            ("serials.csv", "registration_id\na\nb\nc\n"),
            ("starts.txt", "0\n1.5\n2\n"),
        ],
    )
    .unwrap_or_else(|told| panic!("{told}"));
    let [gateways, serials, few] = plan.populations.as_slice() else { panic!("three") };
    assert!(matches!(&gateways.roster, Roster::List(list) if list.len() == 2 && list.has_keys()));
    assert_eq!((gateways.count, serials.count, few.count), (2, 3, 3));
    assert_eq!((gateways.sign_with, few.sign_with), (SignWith::Secondary, SignWith::Primary));
    let instants: Vec<u128> = serials.starts(&plan).instants().map(|due| due.as_millis()).collect();
    assert_eq!(instants, [0, 1_500, 2_000]);
    assert_eq!(id(&plan, 2, 2), "x-9");
    assert!(matches!(few.arrival, Arrival::Poisson(_)));
}

#[test]
fn mistakes_in_lists_are_told_at_the_place_that_names_them() {
    const LISTED: &str = "version = 1\n[enrollment.g]\nindividual = 'g.csv'\n[fleet.x]\nstart.rate = '1/s'\n";
    let ids = "registration_id\na\nb\n";
    let told = |text: &str, csv: &str| plan_with_files(text, &[("g.csv", csv)]).expect_err("a mistake");
    insta::assert_snapshot!("bad_list", told(LISTED, "registration_id,key\na b,x\nok\ngw-1,short\n"));
    for (tables, expected) in [
        (LISTED.replace("start.rate = '1/s'\n", ""), "does not say when its devices start"),
        (format!("{LISTED}count = 3\n"), "the list has 2 devices"),
        (format!("{LISTED}id = 'x-{{n}}'\n"), "those of the enrollment's list"),
        (format!("{LISTED}ids = 'g.csv'\n"), "those of the enrollment's list"),
        (format!("{LISTED}sign_with = 'secondary'\n"), "no secondary key"),
        (LISTED.replace("g.csv", "none.csv"), "cannot read the list of devices none.csv"),
        (format!("{LISTED}[fleet.y]\nstart.rate = '1/s'\n"), "the same registration id, `a`"),
        (
            format!("{LISTED}enrollment = 'g'\n[enrollment.p]\ngroup_key = 'generated'\n[fleet.y]\nenrollment = 'p'\nid = 'B'\ncount = 1\n"),
            "the same registration id, `b`",
        ),
        (
            "version = 1\n[fleet.x]\nid = 's-{n:03}'\ncount = 10\nstart.rate = '1/s'\n[fleet.y]\nid = 's-{n+9:03}'\ncount = 10\nstart.rate = '1/s'\n".to_owned(),
            "the same registration id, `s-009`",
        ),
        ("version = 1\n[fleet.x]\nid = 'a-{n}'\nids = 'g.csv'\nstart.rate = '1/s'\n".to_owned(), "both `id` and `ids`"),
        ("version = 1\n[fleet.x]\ncount = 5\nstart.trace = 'g.csv'\n".to_owned(), "`a` is not an instant"),
        (
            LISTED.replace("[fleet", "[target]\nkind = 'azure'\nid_scope = 'a'\nallow = ['*.azure-devices.net']\n[fleet"),
            "the list has no column `key`",
        ),
    ] {
        let told = told(&tables, ids);
        assert!(told.contains(expected), "{tables}\n{told}");
        assert!(told.contains(": 1 error"), "{tables}\n{told}");
    }
    let trace = "version = 1\n[fleet.x]\ncount = 3\nstart.trace = 'g.csv'\n";
    assert!(told(trace, "1\n2\n").contains("the list of starts has 2 instants"));
}

#[test]
fn a_list_that_many_fleets_name_is_read_once_and_told_as_shared() {
    let fleets: String = (0..1_000)
        .map(|n| format!("[fleet.f{n}]\nids = '{}g.csv'\nstart.rate = '1/s'\n", "./".repeat(n % 9)))
        .collect();
    let rows: String = (0..20_000).map(|n| format!("g-{n}\n")).collect();
    let text = format!("version = 1\n[enrollment.p]\ngroup_key = 'generated'\n{fleets}");
    let told = plan_with_files(&text, &[("g.csv", &format!("registration_id\n{rows}"))]).expect_err("shared");
    assert!(told.contains("the same registration id, `g-0`") && told.contains(": 10 errors"), "{told}");
}

#[test]
fn ids_that_several_lists_have_are_told_for_each_list() {
    let text = "version = 1\n[enrollment.p]\ngroup_key = 'generated'\n[fleet.a]\nids = 'a.csv'\nstart.rate = '1/s'\n\
                [fleet.b]\nids = 'b.csv'\nstart.rate = '1/s'\n[fleet.c]\nids = 'c.csv'\nstart.rate = '1/s'\n";
    let list = |ids: &str| format!("registration_id\n{ids}");
    let files = [("a.csv", &*list("x\ny\n")), ("b.csv", &list("Y\nz\n")), ("c.csv", &list("w\nZ\n"))];
    let told = plan_with_files(text, &files).expect_err("shared");
    assert!(told.contains("id, `Y`") && told.contains("id, `Z`") && told.contains(": 2 errors"), "{told}");
    let files = [("a.csv", &*list("x\ny\n")), ("b.csv", &list("v\nz\n")), ("c.csv", &list("w\nu\n"))];
    assert!(plan_with_files(text, &files).is_ok());
}

#[test]
fn telemetry_goes_by_lists_of_times_offsets_and_changes() {
    let telemetry = |lines: &str| {
        let text = format!("version = 1\n[fleet.x]\ncount = 1\n[fleet.x.telemetry]\nmessages = 5\n{lines}");
        load_bytes(text.as_bytes(), &[]).map(|loaded| loaded.plan.populations[0].telemetry.clone().unwrap())
    };
    let seconds = |list: &[u64]| list.iter().map(|s| Duration::from_secs(*s)).collect::<Vec<_>>();
    let list = telemetry("every = ['10s', '10s', '1m']\noffset = '5s'\njitter = '5s'\nqos = 1\n").unwrap();
    assert_eq!(list.rhythm.every, seconds(&[10, 10, 60]));
    assert_eq!(list.rhythm.offset, Offset::Fixed(Duration::from_secs(5)));
    let change = telemetry("on_change = { every = '5m', messages = 3, gap = '200ms' }\n").unwrap();
    assert!(change.rhythm.every.is_empty());
    let expected = OnChange { every: Duration::from_secs(300), messages: 3, gap: Duration::from_millis(200) };
    assert_eq!(change.rhythm.on_change, Some(expected));
    let both = telemetry("fleet_rate = '1/s'\non_change = { every = '5m' }\n").unwrap();
    assert_eq!((both.rhythm.every.len(), both.rhythm.on_change.map(|change| change.messages)), (1, Some(1)));
    for (lines, expected) in [
        ("every = []", "an array holds 1 to 100"),
        ("every = ['1s', '0s']", "above 0s"),
        ("every = ['1s', 2]", "an array of durations"),
        ("every = ['1s', '5']", "lacks a unit"),
        ("every = ['10s', '1s']\njitter = '600ms'", "use at most \"500ms\""),
        ("jitter = '1s'\non_change = { every = '5m' }", "`jitter` has no meaning"),
        ("offset = '1s'\non_change = { every = '5m' }", "`offset` has no meaning"),
        ("every = '0s'\non_change = { every = '5m' }", "none is left for changes"),
        ("on_change = { messages = 3 }", "lacks `every`"),
        ("every = '1s'\nqos = 0", "there is no qos 0"),
        ("every = '1s'\nqos = 2", "out of range"),
    ] {
        let told = telemetry(lines).map(|_| ()).expect_err(lines);
        assert!(told.contains(expected), "{lines}\n{told}");
        assert!(told.contains(": 1 error"), "{lines}\n{told}");
    }
}

#[test]
fn starts_take_every_shape() {
    let arrival = |start: &str| {
        plan(&format!("version = 1\n[fleet.x]\ncount = 5\nstart.{start}\n")).populations[0].arrival.clone()
    };
    let rate = |text: &str| text.parse().unwrap();
    assert_eq!(arrival("poisson = '50/s'"), Arrival::Poisson(rate("50/s")));
    assert_eq!(
        arrival("staircase = { from = '10/s', to = '60/s', step = '10/s', every = '60s' }"),
        Arrival::Staircase {
            from: rate("10/s"),
            to: rate("60/s"),
            step: rate("10/s"),
            every: Duration::from_secs(60)
        }
    );
    let told =
        told("version = 1\n[fleet.x]\ncount = 5\nstart.staircase = { from = '10/s', every = '60s' }\n");
    assert!(told.contains("lacks `to`") && told.contains("lacks `step`"), "{told}");
}

#[test]
fn same_file_and_seed_give_the_same_plan() {
    let options = Options { seed: Some(7), run_id: Some("00000000".to_owned()), ..Options::default() };
    let load = || load(&shipped("first-run.toml"), &options, &variable).unwrap().plan;
    assert_eq!(format!("{:?}", load()), format!("{:?}", load()));
}

#[test]
fn hostile_files_of_every_shape_are_refused_in_a_few_lines() {
    // What a file of the largest size has room for beside the rest of each.
    let length = (1 << 20) - 64;
    let repeated = |unit: &str| unit.repeat(length / unit.len());
    let numbered = |line: &dyn Fn(usize) -> String, count: usize| (0..count).map(line).collect::<String>();
    for (name, text, expected) in [
        ("array", format!("a = [{}1]", repeated("1,")), "more than 150,000"),
        ("mistakes", repeated("=\n"), "more than 150,000"),
        ("words", repeated("a "), "more than 150,000"),
        ("one long string", format!("a = '{}", repeated("x")), "not valid TOML"),
        ("deep", "[".repeat(100_000), "not valid TOML"),
        ("deep key", format!("{}=1", "a.".repeat(50_000)), "not valid TOML"),
        ("deep header", format!("[{}a]", "a.".repeat(140_000)), "not valid TOML"),
        ("deep array header", format!("[[{}a]]", "a.".repeat(140_000)), "not valid TOML"),
        (
            "deep header and key",
            format!("[{0}a]\n{0}a = {1}", "a.".repeat(75), "[".repeat(75) + &"]".repeat(75)),
            "`version`",
        ),
        ("unknown keys", numbered(&|n| format!("k{n} = 1\n"), 30_000), "not shown)"),
        ("fleets", numbered(&|n| format!("[fleet.f{n}]\n"), 20_000), "`fleet` has more than 1,000 entries"),
        (
            "metrics",
            format!("[thresholds]\n{}", numbered(&|n| format!("m{n} = ''\n"), 20_000)),
            "`thresholds` has more than 1,000 entries",
        ),
        ("variables", numbered(&|n| format!("k{n} = '${{env:V{n}}}'\n"), 10_000), "is not set"),
        ("keys", format!("a = '{}' b", repeated("aA1bbbbbbbbbbbbbbbbbbbbbbbbbbbb= ")), "not valid TOML"),
    ] {
        let told = told(&text);
        assert!(told.len() < 100_000, "{name}: {} bytes", told.len());
        assert!(told.contains(expected), "{name}: {told}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_loading_panic(text in "\\PC{0,200}", set in "\\PC{0,40}") {
        let _ = load_bytes(text.as_bytes(), &[&set]);
    }

    #[test]
    fn no_bytes_make_loading_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = load_bytes(&bytes, &[]);
    }

    #[test]
    fn no_change_of_a_scenario_makes_loading_panic(at in 0usize..1, cut in 0usize..40, insert in "[\\PC\n\"'\\[\\]{}=.$]{0,12}", pick: prop::sample::Index, file in 0usize..4) {
        let shipped = ["first-run.toml", "ci-smoke.toml", "quickstart.toml"];
        let text = match shipped.get(file) {
            Some(name) => std::fs::read_to_string(self::shipped(name)).unwrap(),
            None => MINIMAL.to_owned(),
        };
        let characters: Vec<char> = text.chars().collect();
        let at = at + pick.index(characters.len());
        let mut changed: String = characters[..at].iter().collect();
        changed.push_str(&insert);
        changed.extend(&characters[(at + cut).min(characters.len())..]);
        let _ = load_bytes(changed.as_bytes(), &[&insert]);
    }

    #[test]
    fn no_value_of_a_key_makes_loading_panic(key in 0usize..12, value in "(-?[0-9]{1,40}|\"[ -~&&[^\"\\\\]]{0,20}\"|nan|inf|1e999|\\[\\]|\\{\\}|true|\"[0-9]{1,25}(s|ms|h|/s|/day| %| KiB)\")") {
        let keys = [
            "seed", "duration", "drain", "fleet.devices.count", "fleet.devices.start.rate",
            "fleet.devices.telemetry.every", "fleet.devices.telemetry.jitter",
            "fleet.devices.telemetry.messages", "fleet.devices.id", "measure.sends_from",
            "emulator.dps.assign", "thresholds.\"failed.share\"",
        ];
        let _ = load_bytes(MINIMAL.as_bytes(), &[&format!("{}={value}", keys[key])]);
    }
}
