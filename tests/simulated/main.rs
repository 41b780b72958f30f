//! Whole runs in simulated time: fleet, devices and emulator in one process, seeded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use muster::emulator::config::Enrollment;
use muster::emulator::ledger::Operation;
use muster::fleet::{Command, Destination, DeviceKeys, Setup, Share, drive};
use muster::net::dial::Network;
use muster::net::memory::MemoryNetwork;
use muster::payload::{Context, Rendered};
use muster::plan::{Place, Plan};
use muster::record::Record;
use muster::run::keys;
use muster::run::simulated::{Options, Simulated, simulate};
use muster::scenario;
use muster::step::{Class, Milestone, StepKind, View};
use muster::time::{Clock, UnixTime};

mod devicebound;
mod mqtt;
mod rhythms;
mod shards;
mod tokens;
mod truth;
mod two_way;

/// The plan of a scenario text, with its keys.
fn prepared(text: &str) -> (Plan, Vec<DeviceKeys>, Vec<Enrollment>) {
    prepared_in(tempfile::tempdir().expect("a folder").path(), text)
}

/// The same for a scenario in `folder`, whose other files it names.
fn prepared_in(folder: &Path, text: &str) -> (Plan, Vec<DeviceKeys>, Vec<Enrollment>) {
    let path = folder.join("test.toml");
    std::fs::write(&path, text).expect("a file");
    let options = scenario::Options { run_id: Some("0badcafe".into()), ..scenario::Options::default() };
    let loaded = match scenario::load(&path, &options, &|_| None) {
        Ok(loaded) => loaded,
        Err(diagnostics) => panic!("{}", diagnostics.render(false, None)),
    };
    let sources = keys::Sources { environment: &|_| None, stdin: &mut std::io::empty() };
    let ring = keys::collect(&loaded.plan.enrollments, loaded.plan.seed, sources).expect("keys");
    let keys = ring.device_keys(&loaded.plan);
    (loaded.plan, keys, ring.enrollments)
}

/// What a fleet makes of a hub of the test's own, which it reaches without DPS on `network`.
async fn against(
    plan: Plan,
    keys: Vec<DeviceKeys>,
    hub: &str,
    network: MemoryNetwork,
    clock: Clock,
) -> Record {
    let setup = Setup {
        plan: Arc::new(plan),
        keys: Arc::new(keys),
        destination: Destination::Hub { place: Place::of_host(hub), host: hub.to_owned() },
        epoch: clock.now(),
        threads: 1,
        keeps_messages: false,
        narrator: None,
        witness: None,
    };
    let (_command, commands) = tokio::sync::watch::channel(Command::Run);
    let share = Share { thread: 0, clock, network: Network::Memory(network), commands };
    drive(&setup, share, |_| {}).await.expect("the fleet does its work")
}

fn play(text: &str, options: &Options) -> Simulated {
    let (plan, keys, enrollments) = prepared(text);
    simulate(&plan, keys, enrollments, options).expect("the run ends")
}

/// A run's books, all numbers of them.
fn books(simulated: &Simulated) -> String {
    format!("{:?} {:?} {:?}", simulated.record, simulated.series, simulated.ledger)
}

const ONBOARDING: &str = r#"
version = 1
seed = 7

[fleet.sensors]
count = 300
start.ramp = { from = "5/s", to = "20/s", over = "10s" }
[fleet.sensors.telemetry]
every = "5s"
jitter = "500ms"
messages = 10

[fleet.gateways]
count = 40
start.rate = "10/s"
[fleet.gateways.telemetry]
fleet_rate = "10/s"
messages = 20

[emulator.dps]
assign = { lognormal = { median = "800ms", p99 = "4s" } }
polls = { uniform = { low = 0, high = 2 } }
[emulator.hub]
north = { weight = 3 }
south = { weight = 1 }
"#;

#[test]
fn two_simulated_runs_with_one_seed_are_identical() {
    let first = play(ONBOARDING, &Options::default());
    let second = play(ONBOARDING, &Options::default());
    assert_eq!(books(&first), books(&second));
    assert_eq!(first.elapsed, second.elapsed);
    let other = play(&ONBOARDING.replace("seed = 7", "seed = 8"), &Options::default());
    assert_ne!(books(&first), books(&other));
}

#[test]
fn every_device_registers_connects_and_sends_and_both_books_agree() {
    let run = play(ONBOARDING, &Options::default());
    let total = run.record.total();
    assert_eq!(total.step(StepKind::Register).all.acknowledged, 340);
    assert_eq!(total.step(StepKind::Connect).all.acknowledged, 340);
    assert_eq!(total.step(StepKind::Send).all.acknowledged, 300 * 10 + 40 * 20);
    for step in &total.steps {
        assert_eq!(step.all.unaccounted(), 0);
        assert_eq!(step.all.due, step.all.acknowledged);
    }
    assert_eq!(run.ledger.assigned, 340);
    assert_eq!(run.ledger.messages(), 3_800);
    let hubs: Vec<u64> = run.ledger.hubs.values().map(|hub| hub.devices).collect();
    assert_eq!(hubs.iter().sum::<u64>(), 340);
    assert!(hubs[0] > 2 * hubs[1], "three quarters go north: {hubs:?}");
}

#[test]
fn nothing_of_ours_is_late_in_simulated_time() {
    let run = play(ONBOARDING, &Options::default());
    for kind in [StepKind::Register, StepKind::Connect, StepKind::Send] {
        let lateness = run.record.total().step(kind).view(View::Lateness).max();
        assert_eq!(lateness, Some(Duration::ZERO), "{}", kind.name());
    }
}

#[test]
fn a_run_spread_over_three_shares_does_the_same_as_one() {
    let whole = play(ONBOARDING, &Options::default());
    let spread = play(ONBOARDING, &Options { shares: 3, ..Options::default() });
    assert_eq!(whole.ledger.hubs, spread.ledger.hubs);
    for kind in StepKind::ALL {
        let (whole, spread) = (whole.record.total(), spread.record.total());
        assert_eq!(whole.step(*kind).all, spread.step(*kind).all);
        assert_eq!(
            whole.step(*kind).view(View::Response).moments(),
            spread.step(*kind).view(View::Response).moments(),
            "{}",
            kind.name()
        );
    }
}

#[test]
fn editing_one_population_leaves_the_devices_of_the_other_as_they_were() {
    let before = play(ONBOARDING, &Options::default());
    let after = play(&ONBOARDING.replace("count = 40", "count = 55"), &Options::default());
    let response = |run: &Simulated, milestone: Milestone| {
        *run.record.populations[0].milestones[milestone.index()].took.moments()
    };
    for milestone in Milestone::ALL {
        assert_eq!(response(&before, *milestone), response(&after, *milestone));
    }
}

/// 1,000 sends a second for 30 s, each device one message every second.
const STEADY: &str = r#"
version = 1
seed = 3

[fleet.sensors]
count = 1_000
start.burst = { at = "0s" }
[fleet.sensors.telemetry]
fleet_rate = "1000/s"
messages = 30

[emulator.dps]
assign = "0s"
polls = 0
"#;

#[test]
fn a_server_frozen_for_three_seconds_leaves_exactly_rate_times_remaining_time_slow_sends() {
    let freeze = (Duration::from_secs(10), Duration::from_secs(13));
    let run = play(STEADY, &Options { freeze: Some(freeze), ..Options::default() });
    let sends = run.record.populations[0].step(StepKind::Send);
    assert_eq!(sends.all.acknowledged, 30_000);
    let response = sends.view(View::Response);
    assert!(response.max().is_some_and(|max| max <= Duration::from_secs(3)));
    let dues = dues_of_the_plan();
    let (from, until) = freeze;
    for x in [1, 2] {
        // Each device is due once in every second, so the rate of 1,000/s is exact over whole seconds.
        let rest = from..until - Duration::from_secs(x);
        assert_eq!(dues.iter().filter(|due| rest.contains(*due)).count() as u64, 1_000 * (3 - x));
    }
    let histogram = response.histogram().expect("there were sends");
    for x in [250u64, 500, 1_000, 1_500, 2_000, 2_500, 2_900] {
        // The histogram counts by buckets; at the edge of one, its count is exact.
        let edge = Duration::from_micros(histogram.highest_equivalent(x * 1_000) + 1);
        let slow = histogram.count_between(edge.as_micros() as u64, histogram.high());
        // Durations are kept in microseconds, rounded to the nearest.
        let last = until - (edge - Duration::from_nanos(500));
        let expected = dues.iter().filter(|due| (from..=last).contains(*due)).count() as u64;
        assert_eq!(slow, expected, "sends that took {edge:?} or more");
    }
}

/// When every send of [`STEADY`] is due: devices connect at 0 s, for nothing takes time there.
fn dues_of_the_plan() -> Vec<Duration> {
    let (plan, ..) = prepared(STEADY);
    let population = &plan.populations[0];
    let telemetry = population.telemetry.as_ref().expect("telemetry");
    let instants = (0..population.count).map(|n| telemetry.rhythm.instants(plan.seed, &population.name, n));
    instants.flat_map(|instants| instants.take(30)).collect()
}

#[test]
fn a_wrong_key_is_the_configurations_fault_and_tried_once_per_device() {
    let (plan, _, enrollments) = prepared(ONBOARDING);
    let other =
        muster::azure::keys::GroupKey::from_base64("bm90LXRoZS1rZXktb2YtdGhlLWdyb3Vw").expect("a key");
    let run = simulate(&plan, vec![DeviceKeys::Group(other); 2], enrollments, &Options::default())
        .expect("the run ends");
    let register = &run.record.total().steps[StepKind::Register.index()].all;
    assert_eq!(register.failed_with(Class::Unauthorized), 340);
    assert_eq!(register.unaccounted(), 0);
    assert_eq!(run.ledger.count(muster::emulator::ledger::Operation::MqttRegister, 401), 340);
}

#[test]
fn an_interrupted_run_has_every_step_in_its_books() {
    let options = Options { interrupt: Some(Duration::from_millis(9_137)), ..Options::default() };
    let run = play(ONBOARDING, &options);
    let total = run.record.total();
    for step in &total.steps {
        assert_eq!(step.all.unaccounted(), 0);
        assert_eq!(step.all.failed_total(), 0, "interrupted work is never failed");
    }
    assert!(total.devices.started < 340);
    assert!(run.elapsed < Duration::from_secs(20));
}

#[test]
fn an_hour_of_a_thousand_devices_passes_in_seconds() {
    let text = r#"
version = 1
seed = 1
duration = "1h"
[fleet.sensors]
count = 1_000
start.rate = "50/s"
[fleet.sensors.telemetry]
every = "50s"
"#;
    let run = play(text, &Options::default());
    let sends = &run.record.total().steps[StepKind::Send.index()].all;
    assert!((70_000..72_000).contains(&sends.acknowledged), "{}", sends.acknowledged);
    assert_eq!(sends.unaccounted(), 0);
    assert!(run.elapsed <= Duration::from_secs(3_620));
}

/// Message by message, what the fleet says is what the emulator accepted; every message that was due is in it.
fn assert_every_message_is_where_it_should_be(run: &Simulated) {
    let found = run.reconciled.messages.as_ref().expect("messages were reconciled");
    assert!(found.is_whole(), "{found:?}");
    assert_eq!(found.by_totals, Vec::<String>::new());
    assert_eq!(found.messages, run.record.total().step(StepKind::Send).all.due, "{found:?}");
    assert_eq!(found.not_ours, 0, "{found:?}");
}

/// No sentence of either party's books contradicts the other's.
fn assert_books_agree(run: &Simulated) {
    assert_eq!(run.reconciled.differences, Vec::<String>::new());
    assert_every_message_is_where_it_should_be(run);
    for step in &run.record.total().steps {
        assert_eq!(step.all.unaccounted(), 0);
    }
}

/// Everybody at once, at a DPS that takes 10 registrations a second.
const RUSH: &str = r#"
version = 1
seed = 7

[fleet.devices]
count = 1_000
connect = "none"
start.burst = { at = "0s" }
deadline.register = "5m"

[emulator.dps]
registrations = "600/min"
assign = "0s"
"#;

#[test]
fn a_fleet_that_starts_at_once_is_assigned_in_the_time_that_the_limit_of_dps_says() {
    let run = play(RUSH, &Options::default());
    let register = &run.record.total().steps[StepKind::Register.index()];
    assert_eq!(register.all.acknowledged, 1_000);
    assert_books_agree(&run);
    // A hundred at once, then 30 whenever the others come back after the 3 s they were told.
    assert_eq!(register.view(View::Response).max(), Some(Duration::from_secs(90)));
    assert_eq!(run.elapsed, Duration::from_secs(90));
    let throttled = (1..=30).map(|wave| 1_000 - 100 - 30 * (wave - 1)).sum::<u64>();
    assert_eq!(run.ledger.registrations_throttled, throttled);
    assert_eq!(run.ledger.count(Operation::MqttRegister, 429), throttled);
    assert_eq!(register.all.retried[Class::Throttled.index()], throttled);
    assert_eq!(run.ledger.polls_throttled, 0);
}

#[test]
fn a_fleet_that_starts_below_the_limit_of_dps_never_meets_it() {
    let text = RUSH.replace("start.burst = { at = \"0s\" }", "start.rate = \"600/min\"");
    let run = play(&text, &Options::default());
    assert_eq!(run.record.total().steps[StepKind::Register.index()].all.acknowledged, 1_000);
    assert_eq!(run.ledger.registrations_throttled, 0);
}

#[test]
fn devices_that_cannot_wait_for_the_limit_of_dps_fail_as_throttled() {
    let run = play(&RUSH.replace("\"5m\"", "\"30s\""), &Options::default());
    let register = &run.record.total().steps[StepKind::Register.index()].all;
    // Those of the waves at 3, 6 .. 27 s; the next would come at the deadline.
    assert_eq!((register.acknowledged, register.failed_with(Class::Throttled)), (370, 630));
    assert_books_agree(&run);
}

/// 200 messages a second to a hub that takes 100, over HTTPS, where it says so.
const OVERLOAD: &str = r#"
version = 1
seed = 7
duration = "100s"

[fleet.sensors]
count = 2_000
start.burst = { at = "0s" }
connect = "https"
[fleet.sensors.telemetry]
fleet_rate = "200/s"
json = "{}"

[emulator.dps]
assign = "0s"
[emulator.hub.small]
tier = "S1"
"#;

#[test]
fn a_hub_that_is_sent_twice_its_limit_slows_down_after_a_minute_and_then_refuses() {
    let run = play(OVERLOAD, &Options::default());
    let sends = &run.record.total().steps[StepKind::Send.index()];
    let small = &run.ledger.hubs["small"];
    let throttle = small.throttle.expect("a tier");
    assert_books_agree(&run);
    assert_eq!(sends.all.acknowledged, small.messages);
    assert_eq!(sends.all.acknowledged, throttle.metered);
    assert_eq!(
        sends.all.failed_with(Class::Throttled),
        throttle.messages_refused + throttle.connections_refused
    );
    // What the burst holds, and the limit for 100 s and for the 10 s until the queue is empty.
    assert_eq!(sends.all.acknowledged, 6_000 + 100 * 110 - 1);
    // Second by second: no delay for a minute, then more and more, then errors beside the longest wait.
    let second = |n: usize| run.series.intervals()[n].total().step(StepKind::Send).clone();
    let slowest = |n: usize| second(n).response.quantile(1.0).expect("answers").as_secs();
    let refused = |n: usize| second(n).counts.failed_with(Class::Throttled);
    assert_eq!([30, 58, 62, 64, 68, 74, 90].map(slowest), [0, 0, 1, 2, 4, 7, 10]);
    assert_eq!((0..69).map(refused).sum::<u64>(), 0);
    // The offered rate is 200/s on average over the ten seconds in which each device is due once.
    assert_eq!((80..90).map(refused).sum::<u64>(), 1_000);
    assert_eq!(sends.view(View::Service).max(), Some(Duration::from_secs(10)));
}

#[test]
fn a_hub_that_is_sent_less_than_its_limit_delays_nothing() {
    let run = play(&OVERLOAD.replace("\"200/s\"", "\"90/s\""), &Options::default());
    let sends = &run.record.total().steps[StepKind::Send.index()];
    assert_eq!(sends.view(View::Service).max(), Some(Duration::ZERO));
}

#[test]
fn a_fleet_that_sends_more_than_the_hub_takes_in_a_day_is_told_so() {
    let text = OVERLOAD.replace("\"200/s\"", "\"99/s\"").replace("\"S1\"", "\"F1\"");
    let run = play(&text, &Options::default());
    let sends = &run.record.total().steps[StepKind::Send.index()].all;
    let throttle = run.ledger.hubs["small"].throttle.expect("a tier");
    assert_eq!((sends.acknowledged, throttle.metered), (8_000, 8_000));
    assert!(throttle.over_quota > 1_000);
    assert_eq!(sends.failed_with(Class::QuotaExceeded), throttle.over_quota);
    assert_eq!(sends.failed_with(Class::Disabled), 0);
    assert_books_agree(&run);
}

#[test]
fn the_hub_counts_the_bytes_that_the_payloads_of_the_plan_render_to() {
    let properties: Vec<String> = (0..100).map(|n| format!("p{n} = \"${{seq}}\"")).collect();
    let text = format!(
        r#"
version = 1
seed = 7
[fleet.sensors]
count = 20
start.burst = {{}}
[fleet.sensors.telemetry]
every = "1s"
messages = 50
[[fleet.sensors.telemetry.payload]]
weight = 95
json = '{{"device":"${{device_id}}","seq":${{seq}},"level":${{walk(5, 1, 0, 1000)}},"at":"${{now}}"}}'
properties = {{ level = "normal", batch = '${{choice("a", "bcd")}}' }}
[[fleet.sensors.telemetry.payload]]
weight = 5
bytes = "2 KiB"
message_id = "${{device_id}}:${{run}}:${{n}}:${{seq}}"
properties = {{ {} }}
"#,
        properties.join(", ")
    );
    let played = play(&text, &Options::default());
    let (plan, ..) = prepared(&text);
    let population = &plan.populations[0];
    let payload = &population.telemetry.as_ref().expect("telemetry").payload;
    let (mut out, mut bytes, mut kinds) = (Rendered::default(), 0, [0; 2]);
    for n in 0..20 {
        let muster::plan::Roster::Pattern(pattern) = &population.roster else { panic!("numbered") };
        let id = pattern.render(n, &plan.run_id);
        for sequence in 1..=50 {
            let context = Context {
                seed: plan.seed,
                population: "sensors",
                n,
                device_id: &id,
                registration_id: &id,
                run: &plan.run_id,
                sequence,
                now: UnixTime::from_nanos(1_700_000_000_000_000_000),
            };
            payload.render(&context, &mut out);
            bytes += out.size() as u64;
            kinds[out.kind()] += 1;
        }
    }
    let hub = &played.ledger.hubs["hub"];
    assert_eq!((hub.messages, hub.bytes), (1_000, bytes));
    assert!((20..=90).contains(&kinds[1]), "{kinds:?}");
}

/// 500 devices of two lists that begin when they like and send on change; one list signs with its secondary keys.
const LISTED: &str = r#"
version = 1
seed = 7

[enrollment.gateways]
individual = "gateways.csv"
[enrollment.meters]
individual = "meters.csv"

[fleet.gateways]
enrollment = "gateways"
start.poisson = "50/s"
[fleet.gateways.telemetry]
on_change = { every = "10s", messages = 3, gap = "200ms" }
messages = 12
[[fleet.gateways.telemetry.payload]]
weight = 9
json = '{"device":"${device_id}","seq":${seq},"level":${walk(5, 1, 0, 10)}}'
[[fleet.gateways.telemetry.payload]]
weight = 1
bytes = "1 KiB"

[fleet.meters]
enrollment = "meters"
sign_with = "secondary"
start.poisson = "20/s"
[fleet.meters.telemetry]
every = "5s"
on_change = { every = "30s" }
messages = 10

[emulator.dps]
assign = { lognormal = { median = "800ms", p99 = "4s" } }
"#;

#[test]
fn listed_devices_are_assigned_under_their_device_ids_and_shares_give_the_same_books() {
    let key = |fill: u8| base64::engine::general_purpose::STANDARD.encode([fill; 32]);
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["gateways", "meters"] {
        let row = |n: u8| format!("{name}-{n},{},{},{}\n", device_id(name, n.into()), key(n), key(255 - n));
        let rows: String = (0..250).map(row).collect();
        let path = folder.path().join(format!("{name}.csv"));
        std::fs::write(&path, format!("registration_id,device_id,key,secondary_key\n{rows}"))
            .expect("a file");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        }
    }
    let (plan, keys, enrollments) = prepared_in(folder.path(), LISTED);
    let run = simulate(&plan, keys.clone(), enrollments.clone(), &Options::default()).expect("the run ends");
    let total = run.record.total();
    let acknowledged = |kind| total.step(kind).all.acknowledged;
    assert_eq!((acknowledged(StepKind::Register), acknowledged(StepKind::Connect)), (500, 500));
    assert_eq!(acknowledged(StepKind::Send), 250 * 12 + 250 * 10);
    assert_books_agree(&run);
    // A hub counts the bytes of messages, which hold device ids: longer than registration ids.
    let bytes = plan.populations.iter().map(bytes_of_listed).sum::<u64>();
    let hub = &run.ledger.hubs["hub"];
    assert_eq!((hub.devices, hub.senders, hub.messages, hub.bytes), (500, 500, 5_500, bytes));
    let spread = simulate(&plan, keys, enrollments, &Options { shares: 3, ..Options::default() });
    let spread = spread.expect("the run ends");
    assert_books_agree(&spread);
    assert_eq!(run.ledger.hubs, spread.ledger.hubs);
    for kind in StepKind::ALL {
        let spread = spread.record.total();
        assert_eq!(total.step(*kind).all, spread.step(*kind).all);
        assert_eq!(
            total.step(*kind).view(View::Response).moments(),
            spread.step(*kind).view(View::Response).moments(),
            "{}",
            kind.name()
        );
    }
}

/// Device `n` of a list at its hub.
fn device_id(list: &str, n: u64) -> String {
    format!("hall(of_the_{list}):no.{n}")
}

/// Bytes of all messages of a population of [`LISTED`].
fn bytes_of_listed(population: &muster::plan::Population) -> u64 {
    let telemetry = population.telemetry.as_ref().expect("telemetry");
    let mut out = Rendered::default();
    let mut bytes = 0;
    for n in 0..population.count {
        for sequence in 1..=telemetry.messages.expect("a number") {
            let context = Context {
                seed: 7,
                population: &population.name,
                n,
                device_id: &device_id(&population.name, n),
                registration_id: &format!("{}-{n}", population.name),
                run: "0badcafe",
                sequence,
                now: UnixTime::from_nanos(1_700_000_000_000_000_000),
            };
            telemetry.payload.render(&context, &mut out);
            bytes += out.size() as u64;
        }
    }
    bytes
}
