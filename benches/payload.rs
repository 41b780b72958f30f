//! How long does it take to render one telemetry message? The goal is 500 ns for 300 bytes of JSON.
//!
//! `cargo bench --bench payload`; prints time per message.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster::payload::{Context, Payload, Payloads, Rendered};
use muster::time::UnixTime;

/// What a device of a plant sends: some 300 bytes, with twelve placeholders.
const MIX: &str = r#"{"device":"${device_id}","seq":${seq},"site":{"plant":"north","line":4,"cell":"c-12"},"wind":${uniform(8, 12, 2)},"temperature":${uniform(-20, 45)},"pressure":${uniform(950, 1050, 1)},"rpm":${int(900, 1500)},"state":"${choice("ok": 95, "busy": 4, "fault": 1)}","door":${boolean(0.1)},"cycle":${step(0, 1, 999)},"mode":"${sequence("auto", "manual")}","firmware":"3.14.159","battery":{"level":${uniform(0, 100, 1)},"charging":${boolean}},"tags":["outdoor","roof"]}"#;

/// The dearer placeholders.
const DEAR: &str = r#"{"id":"${uuid}","device":"${device_id}","seq":${seq},"level":${walk(20, 0.5, -10, 40, 2)},"at":"${now}"}"#;

fn payload(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("payload");
    for (name, template) in [
        ("a mix of placeholders", MIX),
        ("uuid, walk and now", DEAR),
        ("one walk", "${walk(20, 0.5, -10, 40, 2)}"),
        ("one uuid", "${uuid}"),
        ("one now", "${now}"),
        ("one normal", "${normal(20, 1.5)}"),
        ("one strftime", "${now(\"%Y-%m-%d %H:%M:%S\")}"),
        ("nothing", "."),
    ] {
        let payloads = Payloads::from(Payload::text(template).expect("a template"));
        let mut out = Rendered::default();
        let mut context = Context {
            seed: 7,
            population: "sensors",
            n: 1_234,
            device_id: "sensor-01234",
            registration_id: "sensor-01234",
            run: "0a1b2c3d",
            // A device that sends each second for a day has come so far.
            sequence: 86_400,
            now: UnixTime::from_nanos(1_700_000_000_123_456_789),
        };
        payloads.render(&context, &mut out);
        println!("{name}: {} bytes", out.body().len());
        bench.throughput(Throughput::Elements(1));
        bench.bench_function(name, |bencher| {
            bencher.iter(|| {
                context.sequence += 1;
                payloads.render(black_box(&context), &mut out);
                black_box(out.body().len())
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, payload);
criterion_main!(benches);
