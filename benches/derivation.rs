//! How many device keys does one core derive in a second? The goal is 3 million.
//!
//! `cargo bench --bench derivation`; prints keys per second (criterion's "elem/s").

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use muster::azure::keys::GroupKey;
use muster::azure::sas::{self, ResourceSpelling};
use muster::time::UnixTime;

const GROUP: &str =
    "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";

fn derivation(criterion: &mut Criterion) {
    let group = GroupKey::from_base64(GROUP).expect("a key");
    let ids: Vec<String> = (0..1_000).map(|n| format!("sensor-{n:05}")).collect();
    let mut bench = criterion.benchmark_group("derivation");
    bench.throughput(Throughput::Elements(ids.len() as u64));
    bench.bench_function("device keys", |bencher| {
        let mut out = [0; 44];
        bencher.iter(|| {
            for id in &ids {
                group.derive_base64_into(black_box(id), &mut out);
                black_box(&out);
            }
        });
    });
    bench.bench_function("device keys and DPS tokens", |bencher| {
        let expiry = UnixTime::from_nanos(1_700_000_000_000_000_000);
        bencher.iter(|| {
            for id in &ids {
                let key = group.derive(black_box(id)).signing();
                let resource = sas::dps_resource("0ne00000A0A", id);
                black_box(sas::token(
                    &key,
                    &resource,
                    ResourceSpelling::default(),
                    expiry,
                    Some("registration"),
                ));
            }
        });
    });
    bench.finish();
}

criterion_group!(benches, derivation);
criterion_main!(benches);
