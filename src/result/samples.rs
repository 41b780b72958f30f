//! Results of made-up runs, the same every time, for tests.

use std::time::Duration;

use super::file::{
    Ended, Facts, Generator, Judgement, Ledger, Machine, Messages, Noise, Pace, PopulationFacts, RunResult,
    ThresholdOutcome, Verdict,
};
use crate::record::{Record, Recorder, Series, Settings};
use crate::step::{
    Cause, Class, Exchange, Failure, Milestone, Observation, Outcome, Party, Phase, Reason, StepKind,
};
use crate::time::Instant;

/// Facts of a completed run of 10 s with populations `sensors` and `gateways`.
pub(crate) fn facts() -> Facts {
    let population = |name: &str, count| PopulationFacts {
        name: name.to_owned(),
        count,
        provision: Some("https".to_owned()),
        connect: Some("https".to_owned()),
    };
    Facts {
        scenario: "sample".to_owned(),
        scenario_sha256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        values_sha256: String::new(),
        seed: 7,
        run_id: "0a1b2c3d".to_owned(),
        shard: None,
        clock: None,
        thresholds: Vec::new(),
        muster_version: "0.1.0".to_owned(),
        started: "2026-01-31T12:00:00Z".to_owned(),
        duration_ns: 10_000_000_000,
        sends_from_ns: 0,
        threads: 2,
        target: "emulator".to_owned(),
        ended: Ended::Completed,
        machine: Machine {
            cpu: "Example CPU".to_owned(),
            cores: 2,
            memory_bytes: 8 << 30,
            os: "Linux".to_owned(),
            kernel: "6.18.0".to_owned(),
        },
        populations: vec![population("sensors", 1_000), population("gateways", 20)],
        generator: Generator {
            cpu_ns: 1_500_000_000,
            peak_rss_bytes: 30 << 20,
            base_rss_bytes: 12 << 20,
            peak_connected: 1_020,
            descriptors: 1_048,
            descriptor_limit: 20_000,
            syn_retransmissions: Some(0),
            noise_floor_p99_ns: Some(130_000),
            noise: Some(Noise {
                wakes: 1_002,
                period_ns: 9_973_000,
                p50_ns: Some(12_000),
                p99_ns: Some(130_000),
                max_ns: Some(2_400_000),
                over_1ms: 3,
                cpu_ns: 9_000_000,
                ..Noise::default()
            }),
        },
        pace: Some(Pace {
            width_s: 10,
            windows: 1,
            worst_from_s: 0,
            worst_due: 5_100,
            worst_begun: 5_100,
            worst_error: 0.0,
        }),
        ledger: Some(Ledger {
            totals: [("registrations".to_owned(), 1_020), ("messages".to_owned(), 5_100)].into(),
            agreed: vec!["120 messages accepted".to_owned()],
            differences: Vec::new(),
            messages: Some(Messages {
                devices: 1_020,
                messages: 5_100,
                arrived_again: 2,
                unknown_arrived: 1,
                ..Messages::default()
            }),
        }),
        notes: Vec::new(),
    }
}

/// What a sample run has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Story {
    /// Two populations, everything acknowledged.
    Healthy,
    /// Two populations, with failures of every owner but this machine, retries, unknown and unsent steps.
    Failing,
    /// The generator was late.
    Late,
    /// Three devices of one population.
    Few,
    /// As the healthy one, and some of the sensors take messages from the cloud, which nothing confirms.
    Messages,
}

/// What was recorded, and its series.
pub(crate) fn recorded(story: Story) -> (Record, Series) {
    let epoch = Instant::from_nanos(5_000_000_000);
    let populations = if story == Story::Few { 1 } else { 2 };
    let mut recorder = Recorder::new(populations, Settings { epoch, sends_from: Duration::ZERO });
    let mut series = Series::default();
    let counts = match story {
        Story::Few => vec![3],
        _ => vec![1_000, 20],
    };
    for (population, count) in counts.into_iter().enumerate() {
        for n in 0..count {
            device(&mut recorder, story, population, n, epoch + Duration::from_millis(n));
        }
        series.add(population as u64, &recorder.take_interval());
    }
    (recorder.finish(), series)
}

/// The whole result of that story, with a judgement that has nothing to do with it.
pub(crate) fn result(story: Story) -> RunResult {
    let (record, series) = recorded(story);
    let mut facts = facts();
    match story {
        Story::Few => {
            facts.populations.truncate(1);
            facts.populations[0].count = 3;
            facts.ledger = None;
            facts.generator = Generator::default();
        }
        Story::Failing => {
            facts.ledger = None;
            facts.generator.syn_retransmissions = Some(5);
        }
        Story::Healthy | Story::Late | Story::Messages => {}
    }
    let mut result = super::build(&record, &series, facts);
    result.judgement = Some(Judgement {
        verdict: Verdict::Threshold,
        exit_code: 99,
        reasons: vec!["1 threshold was crossed.".to_owned()],
        thresholds: vec![ThresholdOutcome {
            text: "send.response.p99 < 2ms".to_owned(),
            observed: "> deadline".to_owned(),
            value: None,
            holds: false,
            note: Some("of only 3".to_owned()),
        }],
    });
    result
}

fn device(recorder: &mut Recorder, story: Story, population: usize, n: u64, due: Instant) {
    let failing = story == Story::Failing;
    let millis = Duration::from_millis;
    let micros = Duration::from_micros;
    let mut at = due;
    let mut step = |recorder: &mut Recorder, kind, service, outcome, failure: Option<&Failure>| {
        let late = if story == Story::Late && n.is_multiple_of(20) {
            millis(35 + n % 50)
        } else {
            micros(40 + n % 30)
        };
        let ready = at + late;
        let started = ready + micros(15);
        let o = Observation { kind, due: at, ready, started, finished: started + service, outcome };
        recorder.due(population, kind);
        recorder.step(population, &o, failure);
        at = o.finished;
    };

    recorder.device_started(population);
    recorder.milestone_due(population, Milestone::TimeToAssigned);
    recorder.milestone_due(population, Milestone::TimeToFirstTelemetry);
    if failing && n.is_multiple_of(10) {
        let throttled = Failure::new(Class::Throttled, "429: 429001 ThrottlingException");
        recorder.failed_attempt(population, StepKind::Register, &throttled, due);
    }
    if failing && n % 250 == 7 {
        let refused = Failure::new(Class::Unauthorized, "401: 401002 \u{1b}[2JUnauthorized");
        step(recorder, StepKind::Register, millis(80), Outcome::Failed(refused.class), Some(&refused));
        recorder.device_finished(population);
        return;
    }
    recorder.exchange(population, Exchange::DpsPut, micros(41_000 + n), true);
    recorder.poll_wait(population, millis(3_000));
    recorder.exchange(population, Exchange::DpsPoll, micros(22_000 + n), true);
    step(recorder, StepKind::Register, millis(3_063 + n % 40), Outcome::Acknowledged, None);
    recorder.milestone(population, Milestone::TimeToAssigned, millis(3_063 + n % 40));

    let repeated = if failing && n % 300 == 11 { millis(1_000) } else { Duration::ZERO };
    recorder.phase(population, Party::Hub, Phase::Tcp, micros(210 + n % 100) + repeated);
    recorder.phase(population, Party::Hub, Phase::Tls, micros(2_300 + n));
    step(recorder, StepKind::Connect, micros(2_900 + n), Outcome::Acknowledged, None);
    recorder.device_connected(population);
    for k in 0..5 {
        let reset = Failure::new(Class::Reset, "connection reset by peer (os error 104)");
        let outcome = match (n + 7 * k) % 400 {
            1 if failing => Outcome::Failed(Class::Reset),
            2 if failing => Outcome::Unknown(Cause::Deadline),
            3 if failing => Outcome::NotSent(Reason::QueueFull),
            _ => Outcome::Acknowledged,
        };
        let failure = Some(&reset).filter(|_| outcome == Outcome::Failed(Class::Reset));
        step(recorder, StepKind::Send, micros(900 + 40 * (n % 100) + k), outcome, failure);
        recorder.bytes_sent(population, 120);
    }
    if story == Story::Messages && population == 0 && n.is_multiple_of(4) {
        step(recorder, StepKind::C2dReceive, Duration::ZERO, Outcome::Written, None);
    }
    recorder.milestone(population, Milestone::TimeToFirstTelemetry, millis(3_070 + n % 40));
    recorder.device_disconnected(population);
    recorder.device_finished(population);
}
