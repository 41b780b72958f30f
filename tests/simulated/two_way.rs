//! Devices that do more than send: twins, methods, messages from the cloud.

use std::time::Duration;

use muster::emulator::ledger::{Ending, TwoWay};
use muster::run::simulated::{Options, Simulated};
use muster::step::{Cause, Exchange, Reason, StepKind, View};

use crate::{assert_books_agree, books, play};

/// 30 devices over MQTT and 10 inside a WebSocket, for five minutes.
const TWO_WAY: &str = r#"
version = 1
seed = 7
duration = "5m"

[fleet.valves]
count = 30
start.rate = "10/s"
twin = { get = "on-connect", report_every = "20s", desired = true }
methods = { reply_after = "20ms" }
c2d = {}
telemetry = { every = "2s" }

[fleet.kiosks]
count = 10
start.rate = "10/s"
provision = "mqtt-ws"
connect = "mqtt-ws"
twin = { report = "on-connect" }
methods = { status = 404 }

[emulator.drive]
methods = "20/s"
c2d = "10/s"
desired = "5/s"
"#;

fn at_hub(run: &Simulated) -> TwoWay {
    run.ledger.hubs["hub"].two_way
}

#[test]
fn every_errand_is_done_at_its_time_and_both_books_agree() {
    let run = play(TWO_WAY, &Options::default());
    assert_books_agree(&run);
    let total = run.record.total();
    for kind in StepKind::ALL {
        let step = total.step(*kind);
        assert_eq!(step.all.unaccounted(), 0, "{}", kind.name());
        assert_eq!(step.all.due, step.all.acknowledged + step.all.written, "{}", kind.name());
    }
    let hub = at_hub(&run);
    assert_eq!(total.step(StepKind::TwinGet).all.acknowledged, 40);
    assert_eq!(hub.twin_gets, 40);
    // The valves every 20 s until the end, the kiosks once.
    let reports = total.step(StepKind::TwinReport).all.acknowledged;
    assert!((30 * 14 + 10..=30 * 15 + 10).contains(&reports), "{reports}");
    assert_eq!(hub.twin_patches, reports);
    // 20/s for five minutes, but for those that came before anybody listened.
    let replies = total.step(StepKind::MethodReply);
    assert!((5_700..6_000).contains(&replies.all.acknowledged), "{:?}", replies.all);
    assert_eq!(hub.methods_answered, replies.all.acknowledged);
    assert_eq!((hub.methods_timed_out, hub.methods_invoked), (0, hub.methods_answered));
    let valves = run.record.populations[0].step(StepKind::MethodReply);
    assert_eq!(valves.view(View::Response).max(), Some(Duration::from_millis(20)));
    assert_eq!(valves.view(View::Service).max(), Some(Duration::ZERO));
    let received = total.step(StepKind::C2dReceive).all.written;
    assert!((2_800..3_000).contains(&received), "{received}");
    assert_eq!((hub.c2d_completed, hub.c2d_sent), (received, received));
    assert_eq!(run.record.populations[1].step(StepKind::C2dReceive).all.due, 0);
    assert!(hub.desired_pushes > 1_400, "{hub:?}");
    let gets = &total.exchanges[Exchange::TwinGet.index()];
    assert_eq!(gets.took.count(), 40);
    assert_eq!(run.ledger.mqtt.count(Ending::Disconnect), run.ledger.mqtt.connections);
    for text in ["40 twins read", "methods answered", "messages from the cloud completed"] {
        assert!(run.reconciled.agreed.iter().any(|agreed| agreed.contains(text)), "{:?}", run.reconciled);
    }
}

#[test]
fn two_equal_runs_have_equal_books() {
    let [first, second] = [0, 1].map(|_| books(&play(TWO_WAY, &Options::default())));
    assert_eq!(first, second);
}

#[test]
fn a_frozen_hub_delays_errands_and_loses_none() {
    let freeze = Some((Duration::from_secs(60), Duration::from_secs(70)));
    let run = play(TWO_WAY, &Options { freeze, ..Options::default() });
    assert_books_agree(&run);
    let total = run.record.total();
    let reports = total.step(StepKind::TwinReport);
    assert_eq!(reports.all.due, reports.all.acknowledged);
    let longest = reports.view(View::Response).max().expect("there are some");
    assert!(longest > Duration::from_secs(5) && longest <= Duration::from_secs(10), "{longest:?}");
    assert_eq!(total.step(StepKind::TwinReport).view(View::Lateness).max(), Some(Duration::ZERO));
}

#[test]
fn errands_become_due_while_a_renewal_waits_for_a_frozen_hub() {
    let freeze = Some((Duration::from_secs(51), Duration::from_secs(81)));
    let text = TWO_WAY.replace(
        "[fleet.valves]",
        "[fleet.valves]\ndeadline.send = '5s'\ntoken = { lifetime = '80s', renew_before = '30s' }",
    );
    let text = text.replace("report_every = \"20s\"", "report_every = \"3s\"");
    let run = play(&text, &Options { freeze, ..Options::default() });
    assert_books_agree(&run);
    let total = run.record.total();
    for kind in StepKind::ALL {
        assert_eq!(total.step(*kind).all.unaccounted(), 0, "{}", kind.name());
    }
    // Every 3 s from 3 s after the first connection on, whatever the connection did.
    let reports = &run.record.populations[0].step(StepKind::TwinReport);
    assert!((30 * 95..=30 * 99).contains(&reports.all.due), "{:?}", reports.all);
    assert_eq!(reports.view(View::Lateness).max(), Some(Duration::ZERO));
    assert!(total.step(StepKind::Renew).all.acknowledged > 100);
}

#[test]
fn an_errand_that_a_frozen_hub_does_not_answer_in_time_is_unknown() {
    let freeze = Some((Duration::from_secs(60), Duration::from_secs(120)));
    let text = TWO_WAY.replace("[fleet.valves]", "[fleet.valves]\ndeadline.send = '5s'");
    let run = play(&text, &Options { freeze, ..Options::default() });
    assert_books_agree(&run);
    let total = run.record.total();
    let reports = &total.step(StepKind::TwinReport).all;
    // Three reports of each of thirty devices, due 5 s before the end of the freeze or sooner.
    let unknown = reports.unknown[Cause::Deadline.index()];
    assert!((60..=90).contains(&unknown), "{reports:?}");
    assert_eq!(reports.unaccounted(), 0);
}

#[test]
fn a_device_that_loses_its_hub_owes_no_answer_to_what_came_before() {
    // Tokens that the hub sees expire after 30 s, and an answer that takes 20 s.
    let text = TWO_WAY.replace("reply_after = \"20ms\"", "reply_after = \"20s\"").replace(
        "[fleet.valves]",
        "[fleet.valves]\ntoken = { lifetime = '60s', renew_before = '10s' }\nclock = { behind = '30s' }",
    );
    let run = play(&text, &Options::default());
    assert_books_agree(&run);
    let replies = &run.record.total().step(StepKind::MethodReply).all.clone();
    assert!(run.ledger.mqtt.count(Ending::Expired) > 200, "{:?}", run.ledger.mqtt);
    assert!(replies.not_sent[Reason::Disconnected.index()] > 100, "{replies:?}");
    assert_eq!(replies.unaccounted(), 0);
    // The hub kept the session, so that nobody subscribed anew; the twin is read after each connect.
    let valves = &run.record.populations[0];
    assert_eq!(valves.exchanges[Exchange::MqttSubscribe.index()].took.count(), 60);
    assert!(valves.step(StepKind::TwinGet).all.acknowledged > 200);
}

#[test]
fn devices_of_each_sdk_do_their_errands_too() {
    for (behave, replies_are_confirmed) in
        [("python-sdk", true), ("node-sdk", false), ("c-sdk", false), ("muster", true)]
    {
        let text = TWO_WAY.replace("start.rate", &format!("behave = '{behave}'\nstart.rate"));
        let run = play(&text, &Options::default());
        assert_books_agree(&run);
        let total = run.record.total();
        for kind in StepKind::ALL {
            let step = &total.step(*kind).all;
            assert_eq!(step.due, step.acknowledged + step.written, "{behave}: {}", kind.name());
        }
        assert_eq!(total.step(StepKind::TwinGet).all.acknowledged, 40, "{behave}");
        let replies = &total.step(StepKind::MethodReply).all;
        let (confirmed, written) = (replies.acknowledged > 1_000, replies.written > 1_000);
        assert_eq!((confirmed, written), (replies_are_confirmed, !replies_are_confirmed), "{behave}");
        assert!(total.step(StepKind::C2dReceive).all.written > 1_000, "{behave}");
    }
}
