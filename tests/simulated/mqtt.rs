//! What is MQTT's own: messages that nobody confirms, connections that a hub closes without a word, both protocols in one
//! run.

use std::time::Duration;

use muster::emulator::ledger::{Ending, Operation};
use muster::run::simulated::Options;
use muster::step::{Cause, Class, Exchange, Party, Phase, StepKind, View};

use crate::{assert_books_agree, books, play};

/// 200 messages a second to a hub that takes 100, which cannot say so.
fn overload() -> String {
    crate::OVERLOAD.replace("connect = \"https\"\n", "")
}

#[test]
fn a_hub_that_is_sent_too_much_closes_connections_and_what_was_under_way_is_unknown() {
    let run = play(&overload(), &Options::default());
    let total = run.record.total();
    let sends = &total.steps[StepKind::Send.index()];
    assert_books_agree(&run);
    assert_eq!((sends.all.unaccounted(), sends.all.failed_total()), (0, 0));
    let closed = run.ledger.mqtt.count(Ending::Throttled);
    assert!(closed > 100, "{closed}");
    assert!(sends.all.unknown[Cause::Throttle.index()] > 100, "{:?}", sends.all);
    assert_eq!(sends.all.unknown[Cause::ConnectionLost.index()], 0, "{:?}", sends.all);
    // Until the queue is full everything is only late.
    let unknown = |n: usize| run.series.intervals()[n].total().step(StepKind::Send).counts.unknown_total();
    assert_eq!((0..69).map(unknown).sum::<u64>(), 0);
    // A device that was closed comes back.
    assert!(total.steps[StepKind::Connect.index()].all.acknowledged > 2_000 + closed / 2);
}

#[test]
fn a_hub_that_is_sent_less_than_its_limit_delays_nothing() {
    let run = play(&overload().replace("\"200/s\"", "\"90/s\""), &Options::default());
    let sends = &run.record.total().steps[StepKind::Send.index()];
    assert_eq!(sends.view(View::Service).max(), Some(Duration::ZERO));
    assert_books_agree(&run);
}

#[test]
fn a_fleet_that_has_used_up_its_quota_suspects_just_that() {
    let text = overload().replace("\"200/s\"", "\"99/s\"").replace("\"S1\"", "\"F1\"");
    let run = play(&text, &Options::default());
    let total = run.record.total();
    let sends = &total.steps[StepKind::Send.index()].all;
    let throttle = run.ledger.hubs["small"].throttle.expect("a tier");
    assert_eq!((sends.acknowledged, throttle.metered), (8_000, 8_000));
    assert!(run.ledger.mqtt.count(Ending::Quota) > 500, "{:?}", run.ledger.mqtt);
    assert_eq!(sends.unaccounted(), 0);
    assert_books_agree(&run);
}

/// All protocols and both kinds of confirmation in one run.
const MIXED: &str = r#"
version = 1
seed = 7

[fleet.web]
count = 40
start.rate = "20/s"
provision = "https"
connect = "https"
[fleet.web.telemetry]
every = "1s"
messages = 10

[fleet.confirmed]
count = 50
start.rate = "20/s"
[fleet.confirmed.telemetry]
every = "1s"
messages = 20

[fleet.unconfirmed]
count = 60
start.rate = "20/s"
provision = "https"
[fleet.unconfirmed.telemetry]
every = "500ms"
messages = 10
qos = 0

[fleet.tunnelled]
count = 30
start.rate = "20/s"
provision = "mqtt-ws"
connect = "mqtt-ws"
[fleet.tunnelled.telemetry]
every = "1s"
messages = 10
"#;

#[test]
fn protocols_can_be_mixed_and_each_has_its_own_books() {
    let run = play(MIXED, &Options::default());
    assert_books_agree(&run);
    let [web, confirmed, unconfirmed] = [0, 1, 2].map(|n| &run.record.populations[n]);
    let sends = |n: usize| &run.record.populations[n].steps[StepKind::Send.index()].all;
    assert_eq!(
        [0, 1, 2, 3].map(|n| (sends(n).acknowledged, sends(n).written)),
        [(400, 0), (1_000, 0), (0, 600), (300, 0)]
    );
    let hub = &run.ledger.hubs["hub"];
    assert_eq!((hub.messages, hub.mqtt_qos0, hub.mqtt_qos1), (2_300, 600, 1_300));
    for text in [
        "400 messages accepted over HTTPS",
        "1,300 messages accepted over MQTT (QoS 1)",
        "600 messages taken over MQTT (QoS 0)",
    ] {
        assert!(run.reconciled.agreed.iter().any(|agreed| agreed == text), "{:?}", run.reconciled.agreed);
    }
    let count = |population: &muster::record::PopulationRecord, exchange: Exchange| {
        population.exchanges[exchange.index()].took.count()
    };
    assert_eq!(count(web, Exchange::DpsPut), 40);
    assert_eq!(count(confirmed, Exchange::DpsRegister), 50);
    assert_eq!(count(confirmed, Exchange::MqttPublish), 1_000);
    // CONNECT at DPS and at the hub; one SUBSCRIBE, at DPS.
    assert_eq!(
        (count(confirmed, Exchange::MqttConnect), count(confirmed, Exchange::MqttSubscribe)),
        (100, 50)
    );
    assert_eq!((count(unconfirmed, Exchange::DpsPut), count(unconfirmed, Exchange::MqttConnect)), (60, 60));
    // Everybody said good-bye: at DPS 80, at the hub 140.
    assert_eq!(run.ledger.mqtt.count(Ending::Disconnect), 220, "{:?}", run.ledger.mqtt);
    assert_eq!(run.ledger.mqtt.connections, 220);
    assert_eq!(run.ledger.count(Operation::WebSocket, 101), 60);
    let tunnelled = &run.record.populations[3];
    for party in [Party::Dps, Party::Hub] {
        let upgrades = |population: &muster::record::PopulationRecord| {
            population.phases[party.index()][Phase::Upgrade.index()].count()
        };
        assert_eq!((upgrades(tunnelled), upgrades(confirmed)), (30, 0));
    }
}

#[test]
fn two_runs_over_both_protocols_with_one_seed_are_identical() {
    let [one, other] = [(); 2].map(|()| books(&play(MIXED, &Options::default())));
    assert_eq!(one, other);
}

/// Devices that send quickly while the service is frozen for longer than they wait for an answer to a ping.
#[test]
fn a_frozen_hub_loses_devices_by_their_pings_and_every_message_has_an_outcome() {
    let text = "version = 1\nseed = 7\nduration = \"60s\"\n[fleet.devices]\ncount = 100\nstart.rate = \"100/s\"\n\
        keep_alive = \"5s\"\n[fleet.devices.telemetry]\nevery = \"10s\"\nRESEND\n[emulator.dps]\nassign = \"0s\"\n";
    let options =
        Options { freeze: Some((Duration::from_secs(20), Duration::from_secs(45))), ..Options::default() };
    let run = play(&text.replace("RESEND", ""), &options);
    assert_books_agree(&run);
    let sends = &run.record.total().steps[StepKind::Send.index()].all;
    assert_eq!(sends.unaccounted(), 0);
    assert!(sends.unknown[Cause::ConnectionLost.index()] > 40, "{sends:?}");
    assert!(sends.retried[Class::NoAnswer.index()] > 0, "{sends:?}");

    // The same with messages that go again: what was lost arrives, late, and each is one step.
    let again = play(&text.replace("RESEND", "resend = \"dup\""), &options);
    assert_books_agree(&again);
    let resent = &again.record.total().steps[StepKind::Send.index()].all;
    assert_eq!((resent.unaccounted(), resent.due), (0, sends.due));
    assert!(resent.acknowledged > sends.acknowledged, "{resent:?}");
    assert!(resent.unknown_total() < sends.unknown_total(), "{resent:?}");
}
