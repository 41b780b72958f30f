//! How long tokens live, clocks that are wrong, and the habits of SDKs.

use std::time::Duration;

use muster::emulator::ledger::{Ending, Operation};
use muster::run::simulated::Options;
use muster::step::{Class, Milestone, StepKind, View};

use crate::{assert_books_agree, play};

/// Devices of each protocol with tokens of one minute, for ten minutes.
fn short_lived(more: &str) -> String {
    let fleet = |name: &str, protocol: &str| {
        format!(
            "[fleet.{name}]\ncount = 20\nstart.rate = '20/s'\nprovision = '{protocol}'\nconnect = '{protocol}'\n\
             token = {{ lifetime = '60s', renew_before = '10s', jitter = '5s' }}\n{more}\n\
             telemetry = {{ every = '1s' }}\n"
        )
    };
    let fleets = [fleet("plain", "mqtt"), fleet("tunnelled", "mqtt-ws"), fleet("web", "https")].concat();
    format!("version = 1\nseed = 7\nduration = '10m'\n{fleets}")
}

#[test]
fn tokens_are_replaced_before_they_expire_and_no_message_notices() {
    let run = play(&short_lived(""), &Options::default());
    assert_books_agree(&run);
    let total = run.record.total();
    let renewals = &total.step(StepKind::Renew).all;
    // Every 45 to 50 s for ten minutes, but for the time that registering took; HTTPS devices need no new connection.
    assert!((40 * 11..=40 * 13).contains(&renewals.acknowledged), "{renewals:?}");
    assert_eq!(renewals.acknowledged, renewals.due);
    assert_eq!(run.record.populations[2].step(StepKind::Renew).all.due, 0);
    let sends = total.step(StepKind::Send);
    assert_eq!(sends.all.due, sends.all.acknowledged);
    assert_eq!(sends.view(View::Response).max(), Some(Duration::ZERO));
    assert_eq!(total.step(StepKind::Renew).view(View::Lateness).max(), Some(Duration::ZERO));
    assert_eq!(run.ledger.mqtt.count(Ending::Expired), 0, "{:?}", run.ledger.mqtt);
    assert_eq!(run.ledger.count(Operation::HubSend, 401), 0);
    // None was cut off from the hub but by itself.
    assert_eq!(run.ledger.mqtt.count(Ending::Disconnect), run.ledger.mqtt.connections);
}

#[test]
fn a_renewal_waits_for_what_is_under_way_and_not_for_ever() {
    // A hub that takes 1.7 messages a second and delays the rest by up to ten seconds: something is always under way.
    let text = short_lived("").replace("every = '1s'", "every = '1s', messages = 100")
        + "[emulator.hub.small]\ntier = 'S1'\n";
    let run = play(&text.replace("count = 20", "count = 60"), &Options::default());
    assert_books_agree(&run);
    let total = run.record.total();
    assert_eq!(total.step(StepKind::Send).all.unaccounted(), 0);
    assert!(total.step(StepKind::Renew).all.acknowledged > 120);
    assert_eq!(run.ledger.mqtt.count(Ending::Expired), 0, "{:?}", run.ledger.mqtt);
}

#[test]
fn a_clock_that_is_ahead_makes_tokens_that_live_longer_and_nobody_minds() {
    let run = play(&short_lived("clock = { ahead = '2h' }"), &Options::default());
    assert_books_agree(&run);
    let total = run.record.total();
    let sends = &total.step(StepKind::Send).all;
    assert_eq!(sends.due, sends.acknowledged);
}

#[test]
fn a_clock_that_is_behind_by_more_than_a_tokens_life_makes_tokens_that_have_expired() {
    let run = play(&short_lived("clock = { behind = '61s' }"), &Options::default());
    let total = run.record.total();
    let register = &total.step(StepKind::Register).all;
    assert_eq!((register.due, register.failed[Class::Unauthorized.index()]), (60, 60));
    assert_eq!(run.ledger.assigned, 0);
    // Refused by HTTP, and by the answer to the request over MQTT.
    let refused = [Operation::DpsRegister, Operation::MqttRegister].map(|kind| run.ledger.count(kind, 401));
    assert_eq!(refused, [20, 40]);
}

#[test]
fn a_clock_that_is_a_little_behind_is_cut_off_when_the_service_sees_the_token_expire() {
    let run = play(&short_lived("clock = { behind = '30s' }"), &Options::default());
    assert_books_agree(&run);
    let total = run.record.total();
    // The device would renew after 45 to 50 s, and the hub sees the end after 30.
    assert!(run.ledger.mqtt.count(Ending::Expired) >= 40 * 18, "{:?}", run.ledger.mqtt);
    assert!(run.ledger.count(Operation::HubSend, 401) > 0);
    assert_eq!(total.step(StepKind::Renew).all.due, 0);
    assert_eq!(total.step(StepKind::Send).all.unaccounted(), 0);
}

/// One device of each kind over MQTT, at a service that says 3 s and has assigned after 1 s.
fn assigned_after(behave: &str) -> (u64, u64) {
    let text = format!(
        "version = 1\nseed = 7\n[fleet.x]\ncount = 5\nstart.burst = {{ at = '0s' }}\nbehave = '{behave}'\n\
         telemetry = {{ every = '1s', messages = 3 }}\n\
         [emulator.dps]\nretry_after = '3s'\nassign = '1s'\npolls = 2\n"
    );
    let run = play(&text, &Options::default());
    assert_books_agree(&run);
    assert_eq!(run.record.total().step(StepKind::Send).all.acknowledged, 15);
    let milestone = &run.record.total().milestones[Milestone::TimeToAssigned.index()];
    (milestone.took.max().expect("they were").as_secs(), run.ledger.count(Operation::MqttPoll, 202))
}

#[test]
fn each_sdk_is_assigned_in_its_own_time() {
    // Two polls find it still assigning, the third finds it assigned.
    for (behave, seconds) in [("muster", 9), ("python-sdk", 8), ("node-sdk", 9), ("c-sdk", 9)] {
        assert_eq!(assigned_after(behave), (seconds, 10), "{behave}");
    }
}

#[test]
fn what_each_sdk_says_over_https_is_understood() {
    for behave in ["muster", "node-sdk", "c-sdk"] {
        let text = format!(
            "version = 1\nseed = 7\nduration = '2m'\n[fleet.x]\ncount = 20\nstart.rate = '10/s'\nbehave = '{behave}'\n\
             provision = 'https'\nconnect = 'https'\nc2d = {{ settle = 'abandon', poll_every = '2s' }}\n\
             telemetry = {{ every = '1s' }}\n[emulator.drive]\nc2d = '2/s'\n"
        );
        let run = play(&text, &Options::default());
        assert_books_agree(&run);
        let total = run.record.total();
        let sends = &total.step(StepKind::Send).all;
        assert!(sends.due > 2_000 && sends.due == sends.acknowledged, "{behave}: {sends:?}");
        assert!(total.step(StepKind::C2dReceive).all.acknowledged > 100, "{behave}");
    }
}
