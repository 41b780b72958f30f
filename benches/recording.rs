//! What does it cost to take down one step, and to hand over a second's interval?
//!
//! `cargo bench --bench recording`; prints nanoseconds per step and microseconds per interval.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster::record::{Recorder, Settings};
use muster::step::{Observation, Outcome, StepKind};
use muster::time::Instant;

/// An acknowledged send, 300 µs to 1.3 ms after it was due.
fn observation(n: u64) -> Observation {
    let due = Instant::from_nanos(1_000_000_000 + n * 50_000);
    let ready = due + Duration::from_micros(70);
    let started = ready + Duration::from_micros(5);
    Observation {
        kind: StepKind::Send,
        due,
        ready,
        started,
        finished: started + Duration::from_micros(300 + n % 1_000),
        outcome: Outcome::Acknowledged,
    }
}

fn recording(criterion: &mut Criterion) {
    let settings = Settings { epoch: Instant::from_nanos(0), sends_from: Duration::ZERO };
    let mut recorder = Recorder::new(2, settings);
    let mut bench = criterion.benchmark_group("recording");
    bench.throughput(Throughput::Elements(1_000));
    bench.bench_function("steps", |bencher| {
        bencher.iter(|| {
            for n in 0..1_000 {
                recorder.due(1, StepKind::Send);
                recorder.step(1, black_box(&observation(n)), None);
            }
        });
    });
    bench.finish();
    let mut recorder = Recorder::new(2, settings);
    criterion.bench_function("interval of 5,000 steps, recorded and taken", |bencher| {
        bencher.iter(|| {
            for n in 0..5_000 {
                recorder.due(1, StepKind::Send);
                recorder.step(1, &observation(n), None);
            }
            black_box(recorder.take_interval())
        });
    });
}

criterion_group!(benches, recording);
criterion_main!(benches);
