//! Messages from the cloud over HTTPS: asked for, taken, settled.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use muster::emulator::ledger::{Operation, TwoWay};
use muster::net::memory::MemoryNetwork;
use muster::net::stream::Stream;
use muster::record::{PopulationRecord, Record};
use muster::run::simulated::{Options, Simulated};
use muster::step::{Cause, Class, Exchange, Reason, StepKind, View};
use muster::time::{Clock, simulate};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{against, assert_books_agree, books, play, prepared};

/// Devices that send and take messages, and some that do nothing but ask for them and close their connection in between.
const ASKING: &str = r#"
version = 1
seed = 7
duration = "10m"

[fleet.meters]
count = 30
start.rate = "10/s"
connect = "https"
c2d = { poll_every = "20s" }
telemetry = { every = "5s" }

[fleet.boxes]
count = 10
start.rate = "10/s"
provision = "https"
connect = "https"
keep_connection = "10s"
c2d = { settle = "reject", poll_every = "1m" }

[emulator.drive]
c2d = "2/s"
"#;

fn at_hub(run: &Simulated) -> TwoWay {
    run.ledger.hubs.values().next().expect("a hub").two_way
}

fn exchanges(of: &PopulationRecord, exchange: Exchange) -> (u64, u64) {
    let seen = &of.exchanges[exchange.index()];
    (seen.took.count(), seen.failed)
}

#[test]
fn each_message_is_settled_once_and_both_books_agree() {
    let run = play(ASKING, &Options::default());
    assert_books_agree(&run);
    let (total, hub) = (run.record.total(), at_hub(&run));
    let [meters, boxes] = [0, 1].map(|at| &run.record.populations[at]);
    let settled = |of: &PopulationRecord| {
        let counts = &of.step(StepKind::C2dReceive).all;
        assert_eq!((counts.due, counts.written), (counts.acknowledged, 0));
        counts.acknowledged
    };
    // Three quarters of 2/s for ten minutes, and the rest, but for what waits at the end.
    assert!((800..=900).contains(&settled(meters)), "{}", settled(meters));
    assert!((200..=300).contains(&settled(boxes)), "{}", settled(boxes));
    assert_eq!((hub.c2d_completed, hub.c2d_rejected), (settled(meters), settled(boxes)));
    assert_eq!(
        (hub.c2d_delivered, hub.c2d_dead_lettered),
        (settled(meters) + settled(boxes), settled(boxes))
    );
    assert_eq!(exchanges(&total, Exchange::HttpC2dSettle), (settled(meters) + settled(boxes), 0));
    // Each message takes a question, and one more says that there is none; one every minute at least.
    let (asked, refused) = exchanges(boxes, Exchange::HttpC2dGet);
    assert!(asked >= settled(boxes) + 10 * 9 && refused == 0, "{asked}");
    assert_eq!(
        run.ledger.count(Operation::HubC2dReceive, 204) + hub.c2d_delivered,
        exchanges(&total, Exchange::HttpC2dGet).0
    );
    // The boxes come for each question, the meters stay.
    let connects = |of: &PopulationRecord| of.step(StepKind::Connect).all.acknowledged;
    assert_eq!(connects(meters), 30);
    assert!((90..=110).contains(&connects(boxes)), "{}", connects(boxes));
    let sends = meters.step(StepKind::Send);
    assert_eq!(sends.all.due, sends.all.acknowledged);
    assert_eq!(sends.view(View::Lateness).max(), Some(Duration::ZERO));
    for text in ["messages from the cloud completed", "messages from the cloud rejected"] {
        assert!(run.reconciled.agreed.iter().any(|agreed| agreed.contains(text)), "{:?}", run.reconciled);
    }
}

#[test]
fn two_equal_runs_have_equal_books_and_so_has_one_of_several_shares() {
    let first = play(ASKING, &Options::default());
    assert_eq!(books(&first), books(&play(ASKING, &Options::default())));
    let spread = play(ASKING, &Options { shares: 3, ..Options::default() });
    assert_books_agree(&spread);
    for kind in StepKind::ALL {
        assert_eq!(
            spread.record.total().step(*kind).all,
            first.record.total().step(*kind).all,
            "{}",
            kind.name()
        );
    }
}

#[test]
fn a_message_that_is_abandoned_comes_again_with_the_next_question_until_it_is_dead() {
    let text = ASKING.replace("poll_every = \"20s\"", "settle = \"abandon\", poll_every = \"5s\"");
    let run = play(&text, &Options::default());
    assert_books_agree(&run);
    let (hub, meters) = (at_hub(&run), &run.record.populations[0]);
    let abandoned = meters.step(StepKind::C2dReceive).all.acknowledged;
    assert_eq!((hub.c2d_abandoned, hub.c2d_completed), (abandoned, 0));
    // Once in five seconds for each of thirty devices, and no more.
    assert!((30 * 100..=30 * 121).contains(&abandoned), "{abandoned}");
    let dead = hub.c2d_dead_lettered - hub.c2d_rejected;
    assert!(dead >= 30 * 9 && dead * 10 <= abandoned, "{dead} {abandoned}");
}

#[test]
fn devices_that_ask_too_often_are_throttled_and_their_telemetry_is_not() {
    let text = ASKING.replace("count = 30", "count = 60").replace("20s", "1s")
        + "[emulator.hub.small]\ntier = 'S1'\n";
    let run = play(&text, &Options::default());
    assert_books_agree(&run);
    let meters = &run.record.populations[0];
    let (asked, refused) = exchanges(meters, Exchange::HttpC2dGet);
    // 1,000 a minute are admitted, of more than 3,600.
    assert!(asked > 8_000 && refused > 20_000, "{asked} {refused}");
    let received = &meters.step(StepKind::C2dReceive).all;
    assert_eq!(received.retried[Class::Throttled.index()], refused);
    assert_eq!((received.failed_total(), received.due), (0, received.acknowledged));
    let sends = &meters.step(StepKind::Send).all;
    assert_eq!(sends.due, sends.acknowledged);
}

#[test]
fn a_frozen_hub_leaves_questions_open_and_no_message_unaccounted_for() {
    // As long as the hub says nothing, what it is told at that time is unknown.
    let text = ASKING.replace("[fleet.meters]", "[fleet.meters]\ndeadline.send = '5s'").replace("20s", "1s");
    let mut unknown = 0;
    for start in [100_000, 100_250, 100_500, 100_750] {
        let from = Duration::from_millis(start);
        let freeze = Some((from, from + Duration::from_secs(30)));
        let run = play(&text, &Options { freeze, ..Options::default() });
        assert_books_agree(&run);
        let received = run.record.total().step(StepKind::C2dReceive).all.clone();
        assert!(received.acknowledged > 800, "{received:?}");
        unknown += received.unknown[Cause::Deadline.index()];
        // What was locked in vain came again after a minute.
        assert!(run.record.populations[0].step(StepKind::Connect).all.acknowledged > 60);
    }
    assert!(unknown <= 100, "{unknown}");
}

#[test]
fn a_fleet_with_an_end_of_its_own_does_not_go_on_asking() {
    let text = "version = 1\nseed = 7\n[fleet.meters]\ncount = 5\nstart.rate = '1/s'\nconnect = 'https'\n\
                c2d = { poll_every = '1s' }\ntelemetry = { every = '2s', messages = 10 }\n\
                [emulator.drive]\nc2d = '3/s'\n";
    let run = play(text, &Options::default());
    assert_books_agree(&run);
    assert!(run.elapsed < Duration::from_secs(40), "{:?}", run.elapsed);
    let total = run.record.total();
    assert_eq!(total.step(StepKind::Send).all.acknowledged, 50);
    assert!(total.step(StepKind::C2dReceive).all.acknowledged > 30);
}

#[test]
fn without_a_word_on_it_devices_ask_every_25_minutes() {
    let text = "version = 1\nseed = 7\nduration = '2h'\n[fleet.boxes]\ncount = 4\nstart.burst = {}\nconnect = 'https'\nc2d = {}\n";
    let run = play(text, &Options::default());
    assert_books_agree(&run);
    let total = run.record.total();
    // At 0, 25, 50, 75 and 100 minutes, and each time over a connection of its own.
    assert_eq!(exchanges(&total, Exchange::HttpC2dGet), (20, 0));
    assert_eq!(total.step(StepKind::Connect).all.acknowledged, 20);
}

#[test]
fn an_initial_twin_reaches_the_emulator_as_json() {
    let text = "version = 1\n[enrollment.plant]\ngroup_key = 'generated'\n[enrollment.plant.initial_twin]\n\
                tags.site = 'p-1'\n[enrollment.plant.initial_twin.desired]\ninterval_s = 30\n\
                limits = { low = 0.5, names = ['a', true] }\n[fleet.x]\ncount = 1\n";
    let (_, _, enrollments) = prepared(text);
    let initial = enrollments[0].initial_twin.as_ref().expect("a twin");
    assert_eq!(json!(initial.tags), json!({ "site": "p-1" }));
    let desired = json!({ "interval_s": 30, "limits": { "low": 0.5, "names": ["a", true] } });
    assert_eq!(json!(initial.desired), desired);
}

/// A hub that answers as it is told to: each question in turn with one of these heads, and then that there is nothing; and
/// each settlement with one of these statuses.
struct Scripted {
    questions: RefCell<VecDeque<&'static str>>,
    settlements: RefCell<VecDeque<&'static str>>,
    /// Request lines, but for the questions.
    told: RefCell<Vec<String>>,
}

impl Scripted {
    async fn serve(&self, mut stream: Stream, clock: Clock) {
        let mut received = Vec::new();
        loop {
            while !received.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read_buf(&mut received).await {
                    Ok(read) if read > 0 => {}
                    _ => return,
                }
            }
            let text = String::from_utf8_lossy(&received);
            let line = text.lines().next().unwrap_or_default().to_owned();
            received.clear();
            let answer = if line.starts_with("GET ") {
                self.questions.borrow_mut().pop_front().unwrap_or("204 No Content")
            } else {
                self.told.borrow_mut().push(line);
                self.settlements.borrow_mut().pop_front().unwrap_or("204 No Content")
            };
            if answer == "nothing" {
                clock.sleep_until(clock.now() + Duration::from_secs(600)).await;
            }
            if answer == "close" {
                return;
            }
            let length = if answer.starts_with("204") { "" } else { "Content-Length: 0\r\n" };
            if stream.write_all(format!("HTTP/1.1 {answer}\r\n{length}\r\n").as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

/// What one device sees of such a hub, and what it told it.
fn scripted(chores: &str, questions: &[&'static str], settlements: &[&'static str]) -> (Record, Vec<String>) {
    let (plan, keys, _) = prepared(&format!(
        "version = 1\nseed = 1\nduration = '10m'\n[fleet.one]\ncount = 1\nid = 'one'\nconnect = 'https'\nc2d = {{ {chores} }}\n"
    ));
    let hub = Scripted {
        questions: RefCell::new(questions.iter().copied().collect()),
        settlements: RefCell::new(settlements.iter().copied().collect()),
        told: RefCell::default(),
    };
    let played = simulate(move |clock| async move {
        let network = MemoryNetwork::default();
        let mut listener = network.listen("hub");
        let hub = Rc::new(hub);
        let (serving, time) = (Rc::clone(&hub), clock.clone());
        tokio::task::spawn_local(async move {
            while let Some(stream) = listener.accept().await {
                let (hub, clock) = (Rc::clone(&serving), time.clone());
                tokio::task::spawn_local(async move { hub.serve(stream, clock).await });
            }
        });
        let record = against(plan, keys, "hub", network, clock).await;
        (record, hub.told.take())
    });
    played.expect("the run ends")
}

#[test]
fn what_a_device_says_to_a_message_is_what_the_hubs_documentation_has() {
    let message = &["200 OK\r\nETag: \"a-1\""];
    for (settle, line) in [
        ("complete", "DELETE /devices/one/messages/devicebound/a-1?api-version=2021-04-12 HTTP/1.1"),
        ("reject", "DELETE /devices/one/messages/devicebound/a-1?api-version=2021-04-12&reject HTTP/1.1"),
        ("abandon", "POST /devices/one/messages/devicebound/a-1/abandon?api-version=2021-04-12 HTTP/1.1"),
    ] {
        let (record, told) = scripted(&format!("settle = '{settle}'"), message, &[]);
        assert_eq!(told, [line]);
        let received = &record.populations[0].step(StepKind::C2dReceive).all;
        assert_eq!((received.due, received.acknowledged), (1, 1));
    }
}

#[test]
fn a_message_that_cannot_be_settled_has_failed_with_its_class() {
    for (status, class) in [
        ("412 Precondition Failed", Class::LockLost),
        ("404 Not Found", Class::NotFound),
        ("429 Too Many Requests\r\nRetry-After: 7", Class::Throttled),
        ("503 Service Unavailable", Class::ServerError),
        ("401 Unauthorized", Class::Unauthorized),
    ] {
        let (record, told) = scripted("poll_every = '30s'", &["200 OK\r\nETag: \"a\""], &[status]);
        let received = &record.populations[0].step(StepKind::C2dReceive).all;
        assert_eq!((received.due, received.failed_with(class), told.len()), (1, 1, 1), "{status}");
    }
}

#[test]
fn a_message_whose_settlement_is_not_answered_is_unknown_and_one_without_a_lock_is_none() {
    let message = "200 OK\r\nETag: \"a\"";
    let received = |settlement| {
        let (record, _) = scripted("poll_every = '5m'", &[message], &[settlement]);
        record.populations[0].step(StepKind::C2dReceive).all.clone()
    };
    assert_eq!(received("close").unknown[Cause::ConnectionLost.index()], 1);
    assert_eq!(received("nothing").unknown[Cause::Deadline.index()], 1);
    for head in ["200 OK", "200 OK\r\nETag: \"\"", "200 OK\r\nETag: \u{1}", "302 Found\r\nLocation: /"] {
        let (record, told) = scripted("poll_every = '5m'", &[head], &[]);
        let received = &record.populations[0].step(StepKind::C2dReceive).all;
        assert_eq!((received.due, told.len()), (0, 0), "{head}");
        assert!(received.retried_total() <= 1, "{head}: {received:?}");
    }
}

#[test]
fn a_lock_token_of_a_stranger_cannot_leave_its_place_in_the_path() {
    let head = "200 OK\r\nETag: \"../../x?y=1&reject#z %0d\"";
    let (record, told) = scripted("poll_every = '5m'", &[head], &[]);
    let line = "DELETE /devices/one/messages/devicebound/..%2F..%2Fx%3Fy%3D1%26reject%23z%20%250d?api-version=2021-04-12 HTTP/1.1";
    assert_eq!(told, [line]);
    assert_eq!(record.populations[0].step(StepKind::C2dReceive).all.acknowledged, 1);
}

#[test]
fn a_hub_that_asks_to_wait_is_obeyed_and_one_that_closes_is_not_asked_without_end() {
    // 600 s, of which each refusal takes 20.
    let refusals = ["429 Too Many Requests\r\nRetry-After: 20"; 100];
    let (record, _) = scripted("poll_every = '1s'", &refusals, &[]);
    let asked = exchanges(&record.populations[0], Exchange::HttpC2dGet);
    assert!(asked.0 == 0 && (30..=31).contains(&asked.1), "{asked:?}");
    let (record, _) = scripted("poll_every = '1s'", &["429 Too Many Requests\r\nRetry-After: 0"; 1_000], &[]);
    let asked = exchanges(&record.populations[0], Exchange::HttpC2dGet);
    assert!(asked.0 == 0 && (600..=601).contains(&asked.1), "{asked:?}");
    let (record, _) = scripted("poll_every = '1s'", &["close"; 10_000], &[]);
    let connects = record.populations[0].step(StepKind::Connect).all.acknowledged;
    assert!((10..300).contains(&connects), "{connects}");
    let (record, _) = scripted("poll_every = '1s'", &["nothing"; 10_000], &[]);
    let connects = record.populations[0].step(StepKind::Connect).all.acknowledged;
    assert!((10..40).contains(&connects), "{connects}");
    assert_eq!(record.populations[0].step(StepKind::C2dReceive).all.not_sent[Reason::RunEnded.index()], 0);
}
