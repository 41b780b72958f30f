//! How many instructions do the hot paths take? Counts that do not depend on how busy the machine is.
//!
//! Needs Linux with valgrind, and the runner of the version in Cargo.lock: `cargo install gungraun-runner --version 0.20.0`.
//! `cargo bench --features instructions --bench instructions`; prints instructions (and estimated cycles) of each. Valgrind
//! knows no SHA instructions, so what signs is counted by its portable code, which is several times longer.

// What the macros make has no documentation.
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use gungraun::{library_benchmark, library_benchmark_group, main};
use muster::azure::keys::{GroupKey, SigningKey};
use muster::azure::sas::{self, ResourceSpelling};
use muster::payload::{Context, Payload, Payloads, Rendered};
use muster::plan::{Arrival, IdPattern, Starts};
use muster::record::{Recorder, Settings};
use muster::step::{Observation, Outcome, StepKind};
use muster::time::{Instant, UnixTime};

const KEY: &str = "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";

fn group() -> GroupKey {
    GroupKey::from_base64(KEY).expect("a key")
}

fn signing() -> SigningKey {
    group().derive("sensor-00001").signing()
}

fn recorder() -> Recorder {
    let settings = Settings { epoch: Instant::from_nanos(0), sends_from: Duration::ZERO };
    let mut recorder = Recorder::new(1, settings);
    // The first step allocates the histograms.
    step(&mut recorder, 0);
    recorder
}

fn step(recorder: &mut Recorder, n: u64) {
    let due = Instant::from_nanos(1_000_000_000 + n * 50_000);
    let ready = due + Duration::from_micros(70);
    let finished = ready + Duration::from_micros(300 + n);
    let outcome = Outcome::Acknowledged;
    recorder.due(0, StepKind::Send);
    recorder.step(
        0,
        &Observation { kind: StepKind::Send, due, ready, started: ready, finished, outcome },
        None,
    );
}

fn payload() -> (Payloads, Rendered) {
    let template =
        r#"{"device":"${device_id}","seq":${seq},"wind":${uniform(8, 12, 2)},"at":"${now}","ok":${boolean}}"#;
    let payload: Payloads = Payload::json(template).expect("a template").into();
    let mut out = Rendered::default();
    render(&payload, &mut out, 1);
    (payload, out)
}

fn render(payload: &Payloads, out: &mut Rendered, sequence: u64) {
    let now = UnixTime::from_nanos(1_700_000_000_000_000_000);
    let (device_id, run) = ("sensor-00001", "0a1b2c3d");
    let context = Context {
        seed: 7,
        population: "sensors",
        n: 1,
        device_id,
        registration_id: device_id,
        run,
        sequence,
        now,
    };
    payload.render(&context, out);
}

#[library_benchmark]
#[bench::one(group())]
fn derive_a_device_key(group: GroupKey) -> [u8; 44] {
    let mut out = [0; 44];
    group.derive_base64_into(black_box("sensor-00001"), &mut out);
    out
}

#[library_benchmark]
#[bench::one(signing())]
fn make_a_hub_token(key: SigningKey) -> usize {
    let expiry = UnixTime::from_nanos(1_700_000_000_000_000_000);
    let resource = sas::hub_resource(black_box("contoso.azure-devices.net"), "sensor-00001");
    sas::token(&key, &resource, ResourceSpelling::default(), expiry, None).expose().len()
}

#[library_benchmark]
#[bench::one(recorder())]
fn record_a_step(mut recorder: Recorder) -> Recorder {
    step(&mut recorder, black_box(7));
    recorder
}

#[library_benchmark]
#[bench::one(payload())]
fn render_a_message((payload, mut out): (Payloads, Rendered)) -> Rendered {
    render(&payload, &mut out, black_box(2));
    out
}

#[library_benchmark]
#[bench::one(IdPattern::parse("sensor-{n:05}", 1_000).expect("a pattern"))]
fn walk_a_thousand_devices(pattern: IdPattern) -> usize {
    let arrival = Arrival::Poisson("100/s".parse().expect("a rate"));
    let starts = Starts { arrival: &arrival, count: 1_000, seed: 7, population: "sensors" };
    starts
        .instants()
        .zip(0..)
        .map(|(due, n)| pattern.render(n, "0a1b2c3d").len() + due.as_secs() as usize)
        .sum()
}

library_benchmark_group!(
    name = hot_paths;
    benchmarks = derive_a_device_key, make_a_hub_token, record_a_step, render_a_message, walk_a_thousand_devices
);
main!(library_benchmark_groups = hot_paths);
