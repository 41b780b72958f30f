//! In what rhythm devices with the habits of an SDK come back, give up, and replace their tokens: whole devices, against services
//! of the test's own.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use muster::emulator::ledger::Operation;
use muster::fleet::{Command, Destination, Setup, Share, drive};
use muster::net::dial::Network;
use muster::net::memory::MemoryNetwork;
use muster::net::stream::Stream;
use muster::plan::Place;
use muster::run::simulated::Options;
use muster::step::{Class, StepKind};
use muster::time::{Clock, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{assert_books_agree, play, prepared};

/// What a service does with a connection.
#[derive(Clone, Copy, PartialEq)]
enum Answers {
    /// Nothing.
    Nothing,
    /// It greets, grants subscriptions, and says nothing else.
    Greeting,
    /// It greets, answers pings, and closes after that long.
    For(Duration),
}

/// What a service has seen: when a connection was made, and what came over it.
type Seen = Rc<RefCell<Vec<(Duration, Vec<u8>)>>>;

/// Lets one device with the habits of that SDK live for `duration`, whose services do with its connections what `answers` says,
/// the last of them for ever.
///
/// * `to_dps`: whether it goes to DPS, and not straight to its hub
fn watched(behave: &str, duration: &str, to_dps: bool, answers: &'static [Answers]) -> Vec<(f64, Vec<u8>)> {
    let (plan, keys, _) = prepared(&format!(
        "version = 1\nseed = 7\nduration = '{duration}'\n[fleet.one]\ncount = 1\nid = 'one'\nbehave = '{behave}'\n"
    ));
    let played = simulate(move |clock| async move {
        let network = MemoryNetwork::default();
        let mut listener = network.listen("service");
        let seen = Seen::default();
        let (noted, time, epoch) = (Rc::clone(&seen), clock.clone(), clock.now());
        tokio::task::spawn_local(async move {
            while let Some(stream) = listener.accept().await {
                let n = noted.borrow().len();
                noted.borrow_mut().push((time.now().since(epoch), Vec::new()));
                let answers = answers[n.min(answers.len() - 1)];
                let serving = serve(stream, answers, Rc::clone(&noted), n);
                let time = time.clone();
                tokio::task::spawn_local(async move {
                    let end = match answers {
                        Answers::For(duration) => time.now() + duration,
                        _ => time.now() + Duration::from_secs(1_000_000),
                    };
                    time.until(end, serving).await
                });
            }
        });
        let place = Place::of_host("service");
        let host = "service".to_owned();
        let destination = match to_dps {
            true => Destination::Dps { place, host, id_scope: "0ne".to_owned(), allow: Vec::new() },
            false => Destination::Hub { place, host },
        };
        let setup = Setup {
            plan: Arc::new(plan),
            keys: Arc::new(keys),
            destination,
            epoch,
            threads: 1,
            keeps_messages: false,
            narrator: None,
            witness: None,
        };
        let (_command, commands) = tokio::sync::watch::channel(Command::Run);
        let share =
            Share { thread: 0, clock: Clock::clone(&clock), network: Network::Memory(network), commands };
        drive(&setup, share, |_| {}).await.expect("the fleet does its work");
        let seen = seen.take();
        seen.into_iter().map(|(at, bytes)| (at.as_secs_f64(), bytes)).collect::<Vec<_>>()
    });
    played.expect("the run ends")
}

async fn serve(mut stream: Stream, answers: Answers, seen: Seen, n: usize) {
    let mut buffer = [0; 4_096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        seen.borrow_mut()[n].1.extend(&buffer[..read]);
        let answer: &[u8] = match (answers, buffer[0]) {
            (Answers::Nothing, _) => continue,
            (_, 0x10) => b"\x20\x02\x00\x00",
            (_, 0x82) => &[0x90, 3, buffer[2], buffer[3], 1],
            (_, 0xc0) => b"\xd0\x00",
            _ => continue,
        };
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// The first lives for 5 s; those after it are closed as soon as they are there.
static LOST: [Answers; 2] = [Answers::For(Duration::from_secs(5)), Answers::For(Duration::ZERO)];

/// When the connections were made, in seconds since the first of them was lost.
fn since_loss(behave: &str) -> Vec<f64> {
    let seen = watched(behave, "3m", false, &LOST);
    seen[1..].iter().map(|(at, _)| at - seen[0].0 - 5.0).collect()
}

/// From each to the one after it.
fn gaps(instants: &[f64]) -> Vec<f64> {
    instants.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[track_caller]
fn assert_near(is: f64, expected: f64) {
    assert!((is - expected).abs() < 1e-6, "{is} and not {expected}");
}

#[test]
fn pythons_sdk_comes_back_after_ten_milliseconds_and_then_every_ten_seconds() {
    let came = since_loss("python-sdk");
    assert_near(came[0], 0.01);
    assert!(came.len() > 15, "{came:?}");
    gaps(&came).into_iter().for_each(|gap| assert_near(gap, 10.0));
}

#[test]
fn nodes_sdk_comes_back_at_once_and_then_in_a_time_that_grows_to_ten_seconds() {
    let came = since_loss("node-sdk");
    assert_near(came[0], 0.0);
    let gaps = gaps(&came);
    assert_near(gaps[0], 0.1);
    for (n, gap) in gaps.iter().enumerate() {
        // 100 ms + (2^n - 1) × random × 25 ms.
        let most = f64::min(0.1 + ((1_u64 << n.min(40)) - 1) as f64 * 0.025, 10.0);
        assert!((0.1 - 1e-6..=most + 1e-6).contains(gap), "{n}: {gap}");
    }
    assert_near(*gaps.last().expect("some"), 10.0);
}

#[test]
fn the_sdk_for_c_comes_back_at_once_and_then_after_1_2_4_8_16_and_30_seconds() {
    let came = since_loss("c-sdk");
    assert_near(came[0], 0.0);
    let gaps = gaps(&came);
    for (gap, expected) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0]) {
        assert_near(*gap, expected);
    }
    assert!(gaps.len() > 7, "{gaps:?}");
    assert!(gaps[5..].iter().all(|gap| (30.0 - 1e-6..=31.5).contains(gap)), "{gaps:?}");
}

#[test]
fn musters_own_devices_do_not_come_back_together() {
    let gaps = gaps(&since_loss("muster"));
    assert!(gaps.iter().all(|gap| (0.05 - 1e-6..=10.0).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap > 2.0), "{gaps:?}");
}

/// The expiry that the token in a greeting tells.
fn expiry(greeting: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(greeting);
    let digits = text.split("&se=").nth(1).expect("a token").split(|c: char| !c.is_ascii_digit()).next();
    digits.expect("digits").parse().expect("a number")
}

#[test]
fn each_sdk_replaces_its_token_by_connecting_anew_at_its_own_time() {
    for (behave, lives_s, after) in [
        ("muster", 3_600, 3_300.0),
        ("python-sdk", 3_600, 3_480.0),
        ("node-sdk", 3_600, 2_700.0),
        ("c-sdk", 3_600, 2_880.0),
    ] {
        let seen = watched(behave, "2h", false, &[Answers::Greeting]);
        let came: Vec<f64> = seen.iter().map(|(at, _)| *at).collect();
        assert_eq!(came.len(), 1 + (7_200.0 / after) as usize, "{behave}: {came:?}");
        for (n, gap) in gaps(&came).into_iter().enumerate() {
            // A token says whole seconds.
            assert!((gap - after).abs() <= 1.0, "{behave}: {gap}");
            // It says good-bye on the one, and shows a token on the other that lives as long again.
            assert!(seen[n].1.ends_with(b"\xe0\x00"), "{behave}");
            let [old, new] = [n, n + 1].map(|n| expiry(&seen[n].1));
            assert!(new.abs_diff(old + after as u64) <= 1, "{behave}: {old} {new}");
        }
        let wall = expiry(&seen[0].1) - lives_s;
        assert!(wall > 0, "{behave}");
    }
}

#[test]
fn a_request_that_dps_does_not_answer_is_given_up_as_each_sdk_does() {
    for (behave, answers, gap) in [
        // 30 s for an answer, and 2 s until it is tried again; a minute for CONNACK.
        ("python-sdk", &[Answers::Greeting], 32.0),
        ("python-sdk", &[Answers::Nothing], 62.0),
        // 30 s for both together.
        ("node-sdk", &[Answers::Greeting], 32.0),
        ("node-sdk", &[Answers::Nothing], 32.0),
    ] {
        let seen = watched(behave, "5m", true, answers);
        let came: Vec<f64> = seen.iter().map(|(at, _)| *at).collect();
        assert!(came.len() > 3, "{behave}: {came:?}");
        gaps(&came).into_iter().for_each(|is| assert_near(is, gap));
    }
    // The SDK for C has a minute for the whole registration.
    for answers in [&[Answers::Greeting], &[Answers::Nothing]] {
        assert_eq!(watched("c-sdk", "5m", true, answers).len(), 1);
    }
}

/// 300 devices at once, at a DPS that admits 60 a minute, and what it told them to wait.
fn rush(behave: &str, provision: &str) -> String {
    format!(
        "version = 1\nseed = 7\n[fleet.x]\ncount = 300\nconnect = 'none'\nprovision = '{provision}'\n\
         behave = '{behave}'\nstart.burst = {{ at = '0s' }}\n\
         [emulator.dps]\nregistrations = '60/min'\nassign = '0s'\n"
    )
}

#[test]
fn pythons_and_nodes_sdk_repeat_what_dps_throttles_without_limit_and_on_one_connection() {
    for behave in ["python-sdk", "node-sdk"] {
        let run = play(&rush(behave, "mqtt"), &Options::default());
        assert_books_agree(&run);
        let total = run.record.total();
        let register = &total.step(StepKind::Register).all;
        assert_eq!(register.acknowledged, 300, "{behave}");
        assert!(run.elapsed > Duration::from_secs(200), "{behave}: {:?}", run.elapsed);
        assert!(run.ledger.count(Operation::MqttRegister, 429) > 1_000, "{behave}");
        assert_eq!(run.ledger.mqtt.connections, 300, "{behave}");
    }
    // A minute is all that the SDK for C has, and muster's own take; a deadline that is written goes before a habit.
    for text in [
        rush("c-sdk", "mqtt"),
        rush("muster", "mqtt"),
        rush("python-sdk", "mqtt").replace("connect = 'none'", "connect = 'none'\ndeadline.register = '60s'"),
    ] {
        let run = play(&text, &Options::default());
        let total = run.record.total();
        let register = &total.step(StepKind::Register).all;
        assert!(register.acknowledged < 200, "{register:?}");
        assert_eq!(register.failed[Class::Throttled.index()], 300 - register.acknowledged);
    }
}

#[test]
fn nodes_sdk_over_https_gives_up_when_dps_throttles() {
    let run = play(&rush("node-sdk", "https"), &Options::default());
    assert_books_agree(&run);
    let total = run.record.total();
    let register = &total.step(StepKind::Register).all;
    assert_eq!(register.failed[Class::Throttled.index()], 300 - register.acknowledged);
    assert_eq!(run.ledger.registrations_throttled, 300 - register.acknowledged);
    assert!(run.elapsed < Duration::from_secs(30), "{:?}", run.elapsed);
}
