//! What a scenario means: the plan, key by key.

use std::time::Duration;

use super::*;
use crate::azure::limits::{HubSize, Tier};
use crate::device::hub::{Qos, Resend};
use crate::emulator::config;
use crate::payload::Payload;
use crate::plan::threshold::{Comparison, Ending, Metric, Statistic};
use crate::plan::{Arrival, KeySource, Keys, Offset, OnChange, Population, Protocol, SignWith, Target};
use crate::rng::Distribution;
use crate::step::Milestone;

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
    assert_eq!((telemetry.in_flight, telemetry.queue), (10, 100));
    assert_eq!((population.provision, population.connect), (Some(Protocol::Mqtt), Some(Protocol::Mqtt)));
    // MQTT devices stay connected, and ping as the Python SDK does.
    assert_eq!((population.keep_alive, population.keep_connection), (Duration::from_secs(60), Duration::MAX));
    assert_eq!((telemetry.qos, telemetry.resend), (Qos::AtLeastOnce, Resend::None));
    assert_eq!(telemetry.topic, None);
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
    assert_eq!(target.hubs[0].size, Some(HubSize { tier: Tier::S2, units: 4 }));
    assert_eq!(target.hubs[1].size, None);
    let hubs: Vec<_> =
        target.hubs.iter().map(|hub| (hub.name.as_str(), hub.host.as_str(), hub.weight)).collect();
    assert_eq!(hubs, [("north", "north.azure-devices.localhost", 3), ("south", "s.example", 1)]);
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
        ("every = '1s'\nqos = 2", "out of range"),
    ] {
        let told = telemetry(lines).map(|_| ()).expect_err(lines);
        assert!(told.contains(expected), "{lines}\n{told}");
        assert!(told.contains(": 1 error"), "{lines}\n{told}");
    }
}

/// The only fleet of a scenario that has one device.
fn fleet(lines: &str) -> Result<Population, String> {
    let text = format!("version = 1\n[fleet.x]\ncount = 1\n{lines}\n");
    load_bytes(text.as_bytes(), &[]).map(|loaded| loaded.plan.populations[0].clone())
}

#[test]
fn the_protocols_of_a_fleet_are_chosen_apart() {
    use Protocol::{Https, Mqtt};
    for (lines, provision, connect) in [
        ("", Some(Mqtt), Some(Mqtt)),
        ("provision = 'https'", Some(Https), Some(Mqtt)),
        ("connect = 'https'", Some(Mqtt), Some(Https)),
        ("provision = 'mqtt'\nconnect = 'mqtt'", Some(Mqtt), Some(Mqtt)),
        ("connect = 'none'", Some(Mqtt), None),
    ] {
        let fleet = fleet(lines).expect("it is valid");
        assert_eq!((fleet.provision, fleet.connect), (provision, connect), "{lines}");
    }
}

#[test]
fn an_mqtt_device_is_told_how_to_confirm_repeat_and_keep_alive() {
    let mqtt = fleet(
        "keep_alive = '1177s'\n[fleet.x.telemetry]\nevery = '1s'\nmessages = 1\nin_flight = 1000\nresend = 'dup'",
    )
    .expect("it is valid");
    let telemetry = mqtt.telemetry.expect("it sends");
    assert_eq!((mqtt.keep_alive, telemetry.in_flight), (Duration::from_secs(1_177), 1_000));
    assert_eq!((telemetry.qos, telemetry.resend), (Qos::AtLeastOnce, Resend::Duplicates));
    let unconfirmed =
        fleet("keep_alive = '0s'\ntelemetry = { every = '1s', messages = 1, qos = 0 }").expect("it is valid");
    assert_eq!(unconfirmed.keep_alive, Duration::ZERO);
    assert_eq!(unconfirmed.telemetry.expect("it sends").qos, Qos::AtMostOnce);
    // Devices that register over MQTT keep that connection alive, too.
    assert!(fleet("connect = 'https'\nkeep_alive = '5s'").is_ok());
    let https = fleet("connect = 'https'\ntelemetry = { every = '1s', messages = 1, in_flight = 1 }")
        .expect("it is valid");
    assert_eq!(
        (https.keep_connection, https.telemetry.expect("it sends").in_flight),
        (Duration::from_secs(60), 1)
    );
}

#[test]
fn what_one_protocol_cannot_do_is_told_with_the_other() {
    const HTTPS: &str = "connect = 'https'\n[fleet.x.telemetry]\nevery = '1s'\nmessages = 1\n";
    const MQTT: &str = "[fleet.x.telemetry]\nevery = '1s'\nmessages = 1\n";
    for (lines, expected) in [
        (format!("{HTTPS}qos = 0"), "there is no qos 0"),
        (format!("{HTTPS}in_flight = 2"), "one request at a time"),
        (format!("{HTTPS}resend = 'dup'"), "cannot be marked as a duplicate"),
        (format!("{HTTPS}topic = 'a'"), "`topic` is for mqtt"),
        (format!("{MQTT}resend = 'dup'\nqos = 0"), "nobody knows which messages to send again"),
        (format!("{MQTT}in_flight = 1001"), "out of range"),
        (format!("{MQTT}topic = 'a'"), "`topic` is for plain brokers"),
        ("provision = 'https'\nconnect = 'https'\nkeep_alive = '60s'".to_owned(), "`keep_alive` is for mqtt"),
        ("provision = 'https'\nconnect = 'none'\nkeep_alive = '60s'".to_owned(), "`keep_alive` is for mqtt"),
        ("keep_alive = '4s'".to_owned(), "use whole seconds from \"5s\" on"),
        ("keep_alive = '5500ms'".to_owned(), "use whole seconds"),
        ("keep_alive = '1178s'".to_owned(), "`keep_alive`"),
        ("keep_connection = '60s'".to_owned(), "with mqtt devices stay connected"),
        ("connect = 'none'\nkeep_connection = '60s'".to_owned(), "devices that do not connect"),
        // Nobody knows what a broken one was meant to be.
        (
            format!("connect = 'httpss'\nkeep_alive = '5s'\nkeep_connection = '5s'\n{MQTT}qos = 0"),
            "`connect`",
        ),
    ] {
        let told = fleet(&lines).map(|_| ()).expect_err(&lines);
        assert!(told.contains(expected), "{lines}\n{told}");
        assert!(told.contains(": 1 error"), "{lines}\n{told}");
    }
}

#[test]
fn a_plain_broker_has_a_topic_of_its_own() {
    let broker = |topic: &str| {
        let text = format!(
            "version = 1\n[target]\nkind = 'hub'\nhost = 'localhost:1883'\n[enrollment.a]\ngroup_key = 'stdin'\n\
             [fleet.x]\ncount = 1\ntelemetry = {{ every = '1s', messages = 1, topic = \"{topic}\" }}\n"
        );
        load_bytes(text.as_bytes(), &[])
            .map(|loaded| loaded.plan.populations[0].telemetry.clone().expect("it sends").topic)
    };
    let longest = "x".repeat(256);
    for topic in ["plant/{id}/telemetry", "all", "ü/{id}", &longest] {
        assert_eq!(broker(topic).expect("it is valid").as_deref(), Some(topic));
    }
    for (topic, expected) in [
        ("", "the topic is empty"),
        ("plant/#", "`#`, which is for subscriptions only"),
        ("plant/+/x", "`+`, which is for subscriptions only"),
        ("a\\u0000b", "U+0000"),
        (&format!("{longest}x"), "257 bytes; 256 are the most"),
    ] {
        let told = broker(topic).expect_err(topic);
        assert!(told.contains(expected), "{topic}\n{told}");
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
        (
            "version = 1\n[fleet.x]\ncount = 1\nconnect = 'https'\n[fleet.y]\ncount = 1\n\
             [thresholds]\n'renew[x].response.p99' = '< 1s'\n"
                .to_owned(),
            "only over MQTT is a token renewed by a step of its own",
        ),
        (
            "version = 1\n[fleet.x]\ncount = 1\nconnect = 'https'\n[thresholds]\n'renew.failed.share' = '< 1 %'\n"
                .to_owned(),
            "only over MQTT is a token renewed by a step of its own",
        ),
    ] {
        let loaded = load_bytes(text.as_bytes(), &[]).unwrap();
        let told = loaded.warnings.render(false, None);
        assert!(told.contains(expected), "{told}");
        assert!(!loaded.warnings.has_errors());
    }
    let mixed = "version = 1\n[fleet.x]\ncount = 1\nconnect = 'https'\n[fleet.y]\ncount = 1\nconnect = 'mqtt-ws'\n\
                 [thresholds]\n'renew.response.p99' = '< 1s'\n";
    let loaded = load_bytes(mixed.as_bytes(), &[]).expect("one of the fleets renews");
    assert!(loaded.warnings.is_empty());
    let silent = plan("version = 1\n[fleet.x]\ncount = 1\n[thresholds]\n");
    let texts: Vec<&str> = silent.thresholds.iter().map(|threshold| threshold.text.as_str()).collect();
    assert_eq!(texts, ["register.failed.share < 100 % (default)", "connect.failed.share < 100 % (default)"]);
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
    let bare = load("version = 1\nseed = 5\n").expect("it is valid");
    assert_eq!((bare.seed, bare.enrollments.len(), bare.target.hubs.len()), (5, 1, 1));
    // A file for a real target, whose variables are not set here.
    let real = load(
        "version = 1\n[target]\nkind = 'azure'\ndps = '${env:UNSET}'\n[fleet.x]\ncount = 'broken'\n\
         [enrollment.plant]\ngroup_key = { env = 'GROUP_KEY' }\n",
    )
    .expect("it is valid");
    assert_eq!(real.enrollments[0].name, "plant");
    assert!(load("version = 1\n[emulator]\nallocation = 'hashd'\n").unwrap_err().contains("did you mean"));
    assert!(load("version = 1\n[emulatr]\n").unwrap_err().contains("did you mean `emulator`"));
    assert!(load("").unwrap_err().contains("lacks `version`"));
    assert!(load_emulator(&shipped("ci-smoke.toml"), &Options::default(), &variable).is_ok());
}

#[test]
fn same_file_and_seed_give_the_same_plan() {
    let options = Options { seed: Some(7), run_id: Some("00000000".to_owned()), ..Options::default() };
    let load = || load(&shipped("first-run.toml"), &options, &variable).unwrap().plan;
    assert_eq!(format!("{:?}", load()), format!("{:?}", load()));
}
