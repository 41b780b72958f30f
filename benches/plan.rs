//! How long does it take to walk a plan of a million devices, and how much memory? The goals are 1 s and 64 MiB.
//!
//! `cargo bench --bench plan`; prints seconds per walk (the best of five), then the peak of the process's memory. A walk asks
//! what a thread of a run asks of the plan: for each device its id, when it starts, and when its first message is due.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::plan::{Arrival, IdPattern, Offset, OnChange, Rhythm, Starts};
use muster::units::Rate;

const DEVICES: u64 = 1_000_000;

fn main() {
    let rate = |text: &str| text.parse::<Rate>().expect("a rate");
    let minute = Duration::from_secs(60);
    let pattern = IdPattern::parse("sensor-{n:07}-{run}", DEVICES).expect("a pattern");
    let grid = Rhythm { every: vec![minute], jitter: Duration::ZERO, offset: Offset::Drawn, on_change: None };
    let change = OnChange { every: minute, messages: 3, gap: Duration::from_millis(200) };
    let both = Rhythm { jitter: minute / 4, on_change: Some(change), ..grid.clone() };
    let ramp = Arrival::Ramp { from: rate("10/s"), to: rate("5000/s"), over: 10 * minute };
    let staircase =
        Arrival::Staircase { from: rate("10/s"), to: rate("5000/s"), step: rate("10/s"), every: minute };
    for (name, arrival, rhythm) in [
        ("rate", Arrival::Rate(rate("1000/s")), &grid),
        ("ramp", ramp, &grid),
        ("staircase", staircase, &grid),
        ("poisson", Arrival::Poisson(rate("1000/s")), &grid),
        ("poisson, jitter, on change", Arrival::Poisson(rate("1000/s")), &both),
    ] {
        let rhythm = Arc::new(rhythm.clone());
        let best = (0..5).map(|_| walk(&pattern, &arrival, &rhythm)).min().unwrap_or_default();
        println!("{name:<28} {:.3} s", best.as_secs_f64());
    }
    match peak_kib() {
        Some(kib) => println!("{:<28} {:.1} MiB", "peak resident memory", kib as f64 / 1024.0),
        None => println!("{:<28} not known on this system", "peak resident memory"),
    }
}

fn walk(pattern: &IdPattern, arrival: &Arrival, rhythm: &Arc<Rhythm>) -> Duration {
    let starts = Starts { arrival, count: DEVICES, seed: 7, population: "sensors" };
    let since = Instant::now();
    let mut walked = 0;
    for (n, due) in starts.instants().enumerate() {
        let id = pattern.render(n as u64, "0a1b2c3d");
        let first = rhythm.instants(starts.seed, starts.population, n as u64).next();
        black_box((id, due, first));
        walked += 1;
    }
    assert_eq!(walked, DEVICES);
    since.elapsed()
}

/// The most memory that this process ever had, in KiB.
#[cfg(target_os = "linux")]
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn peak_kib() -> Option<u64> {
    None
}
