//! Worked figures of the published limits, and plans of every size.

use super::*;
use crate::scenario;

fn plan(text: &str) -> Plan {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.toml");
    std::fs::write(&path, format!("version = 1\nseed = 7\n{text}")).expect("a file");
    let loaded = scenario::load(&path, &scenario::Options::default(), &|_| None);
    loaded.unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, None))).plan
}

/// The worked figures of the published limits: 10,000 devices, a message a minute each.
const FLEET: &str = "duration = '1h'\n[fleet.x]\ncount = 10_000\nstart.rate = '100/s'\n\
    [fleet.x.telemetry]\nevery = '1m'\nbytes = '100 B'\n";

#[test]
fn ten_thousand_devices_with_a_message_a_minute_need_what_the_published_figures_say() {
    let load = Load::of(&plan(FLEET));
    assert_eq!(load.registering_s(1_000.0), 600.0);
    let messages = load.messages.expect("messages");
    assert!((messages.per_s - 166.67).abs() < 0.01, "{}", messages.per_s);
    assert!((messages.metered_per_day - 14_400_000.0).abs() < 1.0);
    let [s1, s2, s3] = load.needs().try_into().expect("three tiers");
    assert_eq!((s1.connects, s1.sends, s1.quota, s1.units), (1, 14, 36, 36));
    assert_eq!((s2.connects, s2.sends, s2.quota), (1, 2, 3));
    assert_eq!((s3.units, s3.hubs), (1, 1));
    // Devices that connect send for the rest of the hour: 59 min 10 s on average.
    assert!((messages.total - 10_000.0 * (3_600.0 - 50.0) / 60.0).abs() < 50.0, "{}", messages.total);
    let flow = load.registrations.expect("registrations");
    assert_eq!((flow.total, flow.per_s, flow.per_min, flow.at_most), (10_000.0, 100.0, 6_000.0, false));
    assert_eq!(load.open, Open { least: 10_000, most: 10_000 });
}

#[test]
fn peaks_of_populations_that_start_at_different_times_do_not_add_up() {
    let load = Load::of(&plan(
        "[fleet.a]\ncount = 100\nstart.burst = {}\n[fleet.b]\ncount = 50\nstart.burst = { at = '5m' }\n",
    ));
    let flow = load.registrations.expect("registrations");
    assert_eq!((flow.per_s, flow.per_min, flow.total), (100.0, 100.0, 150.0));
}

#[test]
fn limits_are_told_where_they_are_known_and_only_if_they_are_exceeded() {
    let text = |size: &str| format!("{FLEET}[emulator.hub]\na = {{ {size} }}\n");
    let throttled = |text: &str| {
        let plan = plan(text);
        Load::of(&plan).throttled(&plan).into_iter().map(|throttled| throttled.message).collect::<Vec<_>>()
    };
    assert_eq!(throttled(FLEET), Vec::<String>::new(), "an emulator without limits");
    let small = throttled(&text("tier = 'S1'"));
    assert!(small[0].contains("admits 100 messages/s, and up to 167 come"), "{small:?}");
    assert!(small[1].contains("takes 400,000 metered messages a day"), "{small:?}");
    assert_eq!(small.len(), 2, "{small:?}");
    assert_eq!(throttled(&text("tier = 'S3'")), Vec::<String>::new());
    let dps = throttled(&format!("{FLEET}[emulator.dps]\nregistrations = '600/min'\n"));
    assert!(dps[0].contains("up to 6,000 begin in a minute") && dps[0].contains("16 m 40 s"), "{dps:?}");
}

#[test]
fn devices_that_send_rarely_connect_for_each_message() {
    let rare = |connect: &str| {
        format!(
            "duration = '10h'\n[fleet.x]\ncount = 60\nstart.rate = '1/s'\nconnect = '{connect}'\n\
             [fleet.x.telemetry]\nevery = '10m'\n"
        )
    };
    let load = Load::of(&plan(&rare("https")));
    let messages = load.messages.expect("messages").total;
    let connections = load.connections.expect("connections").total;
    assert!((connections - 60.0 - messages).abs() < 1.0, "{connections} {messages}");
    assert_eq!(load.open.least, 1);
    // With MQTT they stay connected, however rarely they send.
    let load = Load::of(&plan(&rare("mqtt")));
    assert_eq!(load.connections.map(|flow| flow.total), Some(60.0));
    assert_eq!(load.open.least, 60);
    let change = rare("mqtt").replace("every = '10m'", "on_change = { every = '1h', messages = 2 }");
    let load = Load::of(&plan(&change));
    assert_eq!((load.connections.map(|flow| flow.total), load.open.least), (Some(60.0), 60));
}

#[test]
fn a_billion_devices_are_estimated_at_once() {
    for start in ["rate = '1000000/s'", "poisson = '1000000/s'", "burst = {}"] {
        let load = Load::of(&plan(&format!(
            "duration = '20m'\n[fleet.x]\ncount = 1_000_000_000\nstart.{start}\n[fleet.x.telemetry]\nevery = '1m'\n"
        )));
        let flow = load.registrations.expect("registrations");
        assert!((flow.total - 1e9).abs() < 1e6 && flow.per_s >= 999_999.0, "{start}: {flow:?}");
    }
}

#[test]
fn questions_for_messages_are_held_against_what_a_hub_admits() {
    let asking = |every: &str| {
        plan(&format!(
            "duration = '1h'\n[fleet.x]\ncount = 2_000\nstart.rate = '10/s'\nconnect = 'https'\n\
             c2d = {{ poll_every = '{every}' }}\n[emulator.hub]\na = {{ tier = 'S1' }}\n"
        ))
    };
    let often = asking("30s");
    let load = Load::of(&often);
    assert_eq!(load.questions.map(|flow| flow.per_min), Some(4_000.0));
    assert_eq!((load.open.least, load.connections.map(|flow| flow.total)), (2_000, Some(2_000.0)));
    let [throttled] = load.throttled(&often).try_into().expect("one");
    assert!(throttled.message.contains("admits 1,000 requests/min for messages"), "{throttled:?}");
    assert!(throttled.remedy.contains("`c2d.poll_every`, or use 4 units"), "{throttled:?}");
    let rarely = asking("25m");
    let load = Load::of(&rarely);
    assert!(load.throttled(&rarely).is_empty());
    // At the start, after 25 minutes and after 50, each time over a connection of its own.
    let [asked, connected] = [load.questions, load.connections].map(|flow| flow.map(|flow| flow.total));
    assert_eq!((asked, connected), (Some(6_000.0), Some(6_000.0)));
    assert!(load.open.least <= 1, "{:?}", load.open);
}

#[test]
fn shards_together_make_up_the_load_of_the_whole() {
    let mut plan = plan(&format!("{FLEET}[fleet.y]\ncount = 7\nconnect = 'none'\nstart.burst = {{}}\n"));
    let whole = Load::of(&plan);
    let parts: Vec<Load> = (0..4)
        .map(|index| {
            plan.shard = Shard::new(index, 4).expect("a shard");
            Load::of_shard(&plan)
        })
        .collect();
    assert_eq!(Load::of(&plan), whole, "the whole stays the whole");
    let devices: Vec<u64> = parts.iter().map(|part| part.devices).collect();
    assert_eq!(devices, [2_502, 2_502, 2_502, 2_501]);
    let sum = |figure: &dyn Fn(&Load) -> f64| parts.iter().map(figure).sum::<f64>();
    let messages = |load: &Load| load.messages.expect("messages").total;
    assert!((sum(&messages) - messages(&whole)).abs() < 1e-6 * messages(&whole));
    let registrations = |load: &Load| load.registrations.expect("registrations").total;
    assert_eq!(sum(&registrations), registrations(&whole));
    assert_eq!(parts[0].open, Open { least: 2_500, most: 2_502 });
    // The last device of all belongs to the last shard.
    assert_eq!(parts[3].last_start_s, whole.last_start_s);
    assert!(parts[0].last_start_s < whole.last_start_s);
}
