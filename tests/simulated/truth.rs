//! Whether the numbers are true: the rate of sends, queues against theory, steps of the wall clock, books under faults.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use muster::emulator::ledger::{Ending, Operation};
use muster::net::memory::MemoryNetwork;
use muster::net::stream::Stream;
use muster::record::{Counts, Durations, Latency, Record};
use muster::rng::{self, Purpose};
use muster::run::simulated::{Options, WallStep};
use muster::step::{Class, StepKind, View};
use muster::time::{Clock, Instant, simulate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    ONBOARDING, STEADY, against, assert_books_agree, assert_every_message_is_where_it_should_be, play,
    prepared,
};

#[test]
fn the_rate_of_sends_has_no_error_in_simulated_time_even_if_the_service_stands_still_for_half_a_minute() {
    let freeze = (Duration::from_secs(5), Duration::from_secs(35));
    for options in [Options::default(), Options { freeze: Some(freeze), shares: 3, ..Options::default() }] {
        let run = play(STEADY, &options);
        let windows: Vec<_> = run.record.pace.windows().map(|placed| placed.window).collect();
        assert_eq!(windows.iter().map(|window| window.due).sum::<u64>(), 30_000);
        assert!(windows.iter().all(|window| window.due == window.begun), "{windows:?}");
        assert_eq!(run.record.pace.worst().map(|worst| worst.window.error()), Some(0.0));
    }
}

#[test]
fn a_run_split_over_shares_leaves_the_same_books_to_the_last_bucket() {
    let whole = play(ONBOARDING, &Options::default());
    for shares in [2, 5] {
        let split = play(ONBOARDING, &Options { shares, ..Options::default() });
        assert_eq!(split.record, whole.record);
        assert_eq!(split.reconciled, whole.reconciled);
        assert_eq!(split.elapsed, whole.elapsed);
    }
}

/// Devices that come as a Poisson process, five a second, and send one message each: to a server that takes 100 ms for one,
/// on average, they are a queue at half of its capacity.
const ARRIVALS: &str = r#"
version = 1
seed = 11

[fleet.clients]
count = 60_000
start.poisson = "5/s"
connect = "https"
deadline.send = "10m"
[fleet.clients.telemetry]
every = "1s"
offset = "0s"
messages = 1
json = "{}"
"#;

/// A hub that answers one message after the other, in the order in which they come.
struct Queue {
    clock: Clock,
    /// Until when it is busy with those that are there.
    busy_until: Cell<Instant>,
    /// How long it takes for the next.
    service: RefCell<Box<dyn FnMut() -> Duration>>,
    /// When messages came, and how long they took.
    served: RefCell<Vec<(Instant, Duration)>>,
}

impl Queue {
    async fn serve(&self, mut stream: Stream) {
        let mut received = Vec::new();
        loop {
            // The body of two bytes has no blank line in it, and is there when the head is or soon after.
            while !received.windows(4).any(|end| end == b"\r\n\r\n") || !received.ends_with(b"{}") {
                match stream.read_buf(&mut received).await {
                    Ok(read) if read > 0 => {}
                    _ => return,
                }
            }
            received.clear();
            let now = self.clock.now();
            let took = (self.service.borrow_mut())();
            let done = self.busy_until.get().max(now) + took;
            self.busy_until.set(done);
            self.served.borrow_mut().push((now, took));
            self.clock.sleep_until(done).await;
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// What the fleet of [`ARRIVALS`] saw of such a hub, and what the hub did.
fn queue(service: impl FnMut() -> Duration + 'static) -> (Record, Vec<(Instant, Duration)>) {
    let (plan, keys, _) = prepared(ARRIVALS);
    let played = simulate(move |clock| async move {
        let network = MemoryNetwork::default();
        let mut listener = network.listen("queue");
        let hub = Rc::new(Queue {
            clock: clock.clone(),
            busy_until: Cell::new(clock.now()),
            service: RefCell::new(Box::new(service)),
            served: RefCell::default(),
        });
        let serving = Rc::clone(&hub);
        tokio::task::spawn_local(async move {
            while let Some(stream) = listener.accept().await {
                let hub = Rc::clone(&serving);
                tokio::task::spawn_local(async move { hub.serve(stream).await });
            }
        });
        let record = against(plan, keys, "queue", network, clock).await;
        (record, hub.served.take())
    });
    played.expect("the run ends")
}

fn sends(record: &Record) -> &Durations {
    let sends = record.populations[0].step(StepKind::Send);
    assert_eq!(sends.all.acknowledged, 60_000);
    sends.view(View::Response)
}

/// The sum of the response times that follow from when messages came and how long each took (Lindley's recursion).
fn sum_of(served: &[(Instant, Duration)]) -> u128 {
    let mut free = Instant::from_nanos(0);
    let responses = served.iter().map(|(came, took)| {
        free = free.max(*came) + *took;
        free.since(*came).as_nanos()
    });
    responses.sum()
}

fn assert_near(what: &str, measured: Duration, theory: f64, band: f64) {
    let error = measured.as_secs_f64() / theory - 1.0;
    assert!(error.abs() <= band, "{what}: {measured:?} is {:.1} % off {theory} s", error * 100.0);
}

#[test]
fn a_queue_with_constant_service_answers_as_theory_says() {
    let (record, served) = queue(|| Duration::from_millis(100));
    let responses = sends(&record);
    assert_eq!(responses.moments().sum, sum_of(&served));
    // M/D/1 at half of its capacity: the wait is D·ρ / 2(1−ρ) on average, and one in two does not wait at all.
    assert_near("mean", responses.mean().expect("sends"), 0.150, 0.03);
    let waited = responses.longer_than(Duration::from_millis(100)) as f64 / 60_000.0;
    assert!((waited - 0.5).abs() < 0.02, "{waited}");
    assert_eq!(responses.min(), Some(Duration::from_millis(100)));
}

#[test]
fn a_queue_with_exponential_service_answers_as_theory_says() {
    let mut stream = rng::stream(11, "queue", 0, Purpose::Service);
    let (record, served) = queue(move || Duration::from_secs_f64(0.1 * stream.exponential()));
    let responses = sends(&record);
    assert_eq!(responses.moments().sum, sum_of(&served));
    // M/M/1 at half of its capacity: response times are exponential, 200 ms on average. The bands are 3σ for so many arrivals.
    assert_near("mean", responses.mean().expect("sends"), 0.2, 0.05);
    for (q, band) in [(0.5, 0.05), (0.9, 0.06), (0.99, 0.08)] {
        let Some(Latency::Within(measured)) = responses.quantile(q, 0) else { panic!("sends") };
        assert_near(&format!("quantile {q}"), measured, -0.2 * (1.0f64 - q).ln(), band);
    }
}

/// Devices of each protocol with tokens of ten minutes, for two hours.
const TOKENS: &str = r#"
version = 1
seed = 5
duration = "2h"

[fleet.plain]
count = 10
start.rate = "2/s"
token = { lifetime = "10m", renew_before = "1m" }
telemetry = { every = "7s" }
[fleet.tunnelled]
count = 10
start.rate = "2/s"
connect = "mqtt-ws"
token = { lifetime = "10m", renew_before = "1m" }
telemetry = { every = "7s" }
[fleet.web]
count = 10
start.rate = "2/s"
connect = "https"
provision = "https"
token = { lifetime = "10m", renew_before = "1m" }
telemetry = { every = "7s" }

[emulator.dps]
assign = "0s"
polls = 0
"#;

#[test]
fn steps_of_the_wall_clock_by_an_hour_change_no_latency_and_let_no_token_be_used_that_has_expired() {
    let steady = play(TOKENS, &Options::default());
    let at = |seconds, by_s| WallStep { at: Duration::from_secs(seconds), by_s };
    for steps in [
        vec![at(1_800, 3_600)],
        vec![at(1_800, -3_600)],
        vec![at(1_805, 3_600), at(3_601, -3_600), at(3_602, 3_600), at(5_400, -7_200)],
    ] {
        let stepped = play(TOKENS, &Options { wall_steps: steps.clone(), ..Options::default() });
        assert_books_agree(&stepped);
        let (before, after) = (steady.record.total(), stepped.record.total());
        for kind in [StepKind::Register, StepKind::Connect, StepKind::Send] {
            let (before, after) = (before.step(kind), after.step(kind));
            assert_eq!(after.all, before.all, "{steps:?}");
            for view in [View::Response, View::Service, View::Waiting, View::Lateness] {
                assert_eq!(after.view(view).moments(), before.view(view).moments(), "{steps:?} {view:?}");
            }
        }
        assert_eq!(stepped.ledger.mqtt.count(Ending::Expired), 0, "{steps:?}");
        for operation in [Operation::HubSend, Operation::DpsRegister, Operation::MqttRegister] {
            assert_eq!(stepped.ledger.count(operation, 401), 0, "{steps:?}");
        }
        // A step of the clock is no reason to connect more often than the token asks for, but for once.
        let renewed = |run: &Record| run.total().step(StepKind::Renew).all.acknowledged;
        let most = renewed(&steady.record) + 20 * steps.len() as u64;
        assert!((1..=most).contains(&renewed(&stepped.record)), "{steps:?}");
    }
}

/// What devices over MQTT do besides sending.
const CHORES: [&str; 3] = [
    "",
    "twin = { report_every = '3s', desired = true }\nmethods = { reply_after = '1s' }\nc2d = {}",
    "twin = { report = 'on-connect' }\nmethods = {}",
];

/// The same over HTTPS.
const HTTPS_CHORES: [&str; 4] = [
    "",
    "c2d = { poll_every = '1s' }",
    "c2d = { settle = 'reject', poll_every = '4s' }",
    "c2d = { settle = 'abandon', poll_every = '300ms' }",
];

/// A small fleet among faults, all drawn from `seed`, and how it is played.
fn faulty(seed: u64) -> (String, Options) {
    let mut stream = rng::stream(seed, "faults", 0, Purpose::Service);
    let mut pick = |choices: &[&str]| choices[stream.below(choices.len() as u64) as usize].to_owned();
    let mut chores = rng::stream(seed, "chores", 0, Purpose::Service);
    let mut confirmations = rng::stream(seed, "confirmations", 0, Purpose::Service);
    let mut fleets = String::new();
    for name in ["ants", "bees"] {
        let protocol = pick(&["mqtt", "mqtt", "mqtt-ws", "https"]);
        let own = match protocol.as_str() {
            "https" => pick(&["", "keep_connection = '1s'"]),
            _ => pick(&["", "keep_alive = '5s'"]),
        };
        let mut window = match protocol.as_str() {
            "https" => String::new(),
            _ => pick(&["", "in_flight = 1", "in_flight = 10\nresend = 'dup'"]),
        };
        // Nobody confirms some of them.
        if protocol != "https" && !window.contains("resend") && confirmations.below(3) == 0 {
            window += "\nqos = 0";
        }
        let provision = pick(&["mqtt", "mqtt-ws", "https"]);
        // Some run into the hub's limit of messages; others only into those of connections and registrations.
        let (count, every, messages) = match (name, seed % 25) {
            ("ants", 0) => ("40".to_owned(), "50ms".to_owned(), "300".to_owned()),
            _ => (pick(&["3", "8", "20"]), pick(&["1s", "3s", "10s"]), pick(&["2", "10", "25"])),
        };
        // A clock that is behind by more than a token's life is refused, and one that is behind by less is cut off.
        let clock = match pick(&["", "0s", "0s", "10s", "30s"]).as_str() {
            "" => String::new(),
            behind => {
                format!(
                    "token = {{ lifetime = '20s', renew_before = '5s' }}\nclock = {{ behind = '{behind}' }}"
                )
            }
        };
        // Not every SDK speaks HTTPS.
        let behave = match provision.as_str() != "https" && protocol != "https" {
            true => pick(&["", "behave = 'python-sdk'", "behave = 'node-sdk'", "behave = 'c-sdk'"]),
            false => String::new(),
        };
        let besides = match protocol.as_str() {
            "https" => HTTPS_CHORES[chores.below(HTTPS_CHORES.len() as u64) as usize].to_owned(),
            _ => CHORES[chores.below(CHORES.len() as u64) as usize].to_owned(),
        };
        fleets += &format!(
            "[fleet.{name}]\ncount = {}\nstart.{}\nprovision = '{}'\nconnect = '{protocol}'\n{own}\n{}\n{}\n{besides}\n\
             deadline = {{ register = '{}', connect = '{}', send = '{}' }}\n\
             [fleet.{name}.telemetry]\nevery = '{}'\nmessages = {}\nqueue = {}\njson = '{{}}'\n{window}\n",
            count,
            pick(&["burst = {}", "rate = '5/s'", "poisson = '2/s'"]),
            provision,
            behave,
            clock,
            pick(&["3s", "10s", "60s"]),
            pick(&["3s", "30s"]),
            pick(&["2s", "10s", "30s"]),
            every,
            messages,
            pick(&["1", "5", "100"]),
        );
    }
    let limit = pick(&["", "registrations = '60/min'", "registrations = '10/min'"]);
    let assign = pick(&["0s", "800ms", "5s"]);
    let hub = match seed % 25 {
        0 => "[emulator.hub.small]\ntier = 'S1'".to_owned(),
        _ => pick(&["", "[emulator.hub.small]\ntier = 'F1'", "[emulator.hub.small]\ntier = 'S1'"]),
    };
    let duration = pick(&["", "duration = '20s'", "duration = '45s'"]);
    let text = format!(
        "version = 1\nseed = {seed}\n{duration}\n{fleets}\n[emulator.dps]\n{limit}\nassign = '{assign}'\n{hub}\n\
         [emulator.drive]\nmethods = '3/s'\nc2d = '2/s'\ndesired = '1/s'\n"
    );
    let mut instant = |bound: u64| Duration::from_millis(stream.below(bound));
    let from = instant(30_000);
    let options = Options {
        freeze: Some((from, from + instant(20_000))),
        interrupt: Some(instant(120_000)).filter(|at| *at < Duration::from_secs(30)),
        shares: 1 + instant(3).as_millis() as usize,
        ..Options::default()
    };
    (text, options)
}

/// Plays so many runs among faults; every step of each has one outcome, both parties counted the same, and they have the same
/// messages, one by one.
fn assert_no_message_is_lost(seeds: std::ops::Range<u64>) {
    let (mut books, mut refused) = (Counts::default(), 0);
    let mut settled = Counts::default();
    let (mut again, mut arrived, mut written) = (0, 0, 0);
    for seed in seeds {
        let (text, options) = faulty(seed);
        let run = play(&text, &options);
        let total = run.record.total();
        for (kind, step) in StepKind::ALL.iter().zip(&total.steps) {
            assert_eq!(step.all.unaccounted(), 0, "seed {seed}, {}: {options:?}\n{text}", kind.name());
        }
        assert_eq!(run.reconciled.differences, Vec::<String>::new(), "seed {seed}: {options:?}\n{text}");
        assert_every_message_is_where_it_should_be(&run);
        let found = run.reconciled.messages.expect("messages were reconciled");
        again += found.arrived_again;
        arrived += found.unknown_arrived;
        written += found.written_not_arrived;
        // Whatever the service does, it is not our lateness.
        let worst = run.record.pace.worst().map_or(0.0, |worst| worst.window.error());
        assert_eq!(worst, 0.0, "seed {seed}: {options:?}\n{text}");
        books.merge(&total.step(StepKind::Send).all);
        settled.merge(&total.step(StepKind::C2dReceive).all);
        refused += total.step(StepKind::Register).all.failed_with(Class::Unauthorized);
    }
    // The faults are such that much goes wrong, and not everything.
    let share = books.succeeded() as f64 / books.due as f64;
    assert!((0.3..0.95).contains(&share), "{books:?}");
    let causes = books.unknown.iter().filter(|count| **count > 0).count();
    assert!(causes >= 3, "{books:?}");
    assert!(books.failed_with(Class::Throttled) > 0, "{books:?}");
    assert!(books.not_sent_total() > 0 && refused > 0, "{books:?}, {refused}");
    // Messages from the cloud are written over MQTT and settled over HTTPS, where some questions are refused.
    assert!(settled.written > 1_000 && settled.acknowledged > 1_000, "{settled:?}");
    assert!(settled.retried_total() > 100, "{settled:?}");
    // Messages that nobody could tell the fate of but by looking at both sides.
    assert!(
        again > 0 && arrived > 0,
        "{again} arrived again, {arrived} unknown ones arrived, {written} did not"
    );
}

#[test]
fn in_500_runs_among_faults_no_message_is_unaccounted_for() {
    assert_no_message_is_lost(0..500);
}

/// `cargo test --locked --test simulated -- --ignored faults`
#[test]
#[ignore = "takes minutes: the goal of 10,000 runs"]
fn in_10_000_runs_among_faults_no_message_is_unaccounted_for() {
    assert_no_message_is_lost(0..10_000);
}
