//! The noise floor: what this machine itself takes away while a run goes on.
//!
//! A thread of its own, in the generator's process, does nothing but be woken at a fixed rate by an absolute timer and take
//! down how late it was. It is one more thread to the scheduler and has no queue, no socket and no allocation, so what
//! delays it delays whatever else has to run here: stolen processors, other programs, interrupts, a stopped process. Wakes
//! are due on a grid; those that a gap swallowed count as late by what was left of the gap, exactly as steps that were due in
//! it do, and shares of late wakes and of late steps can be held against each other.
//!
//! What it cannot tell: a generator that keeps every core busy also delays this thread, by the scheduler's time slices of
//! about 3 ms. A step counts as late from 10 ms on, so that such waits are not taken for the machine's.
//!
//! A loop that only reads the clock would see every gap, and would cost a core. This one sees a hundred instants a second,
//! drawn without regard to what goes on, which is enough for the shares above. It costs 0.3 % of a core: 29 µs a wake, measured on
//! a busy virtual machine with an unoptimized build, most of it the kernel's. The result says how much it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::record::durations::enough_for;
use crate::record::{Durations, Latency};
use crate::result::file;
use crate::time::{Clock, Instant, block_until, sharpen_waits, thread_cpu_time};

/// Time between two wakes: a hundred a second, and no multiple of what kernels and programs do something at.
const PERIOD: Duration = Duration::from_micros(9_973);

/// Measures from its start until it is stopped.
#[derive(Debug)]
pub struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<file::Noise>,
}

impl Meter {
    /// Measures from `from` on.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn start(from: Instant) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let builder = std::thread::Builder::new().name("noise".to_owned());
        let thread = builder.spawn(move || measure(from, &told))?;
        Ok(Self { stop, thread })
    }

    /// Ends the measurement and gives what it found; `None` only by a bug. Takes as long as a wake.
    pub fn stop(self) -> Option<file::Noise> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok()
    }
}

fn measure(from: Instant, stop: &AtomicBool) -> file::Noise {
    sharpen_waits();
    let clock = Clock::machine();
    let mut wakes = Wakes::from(from);
    // Before the first wake it waits without looking, and would be stopped late by that.
    while !stop.load(Ordering::Relaxed) {
        block_until(wakes.next);
        wakes.woken(clock.now());
    }
    wakes.summary(thread_cpu_time())
}

/// When wakes are due, and how late they were.
struct Wakes {
    next: Instant,
    late: Durations,
}

impl Wakes {
    fn from(from: Instant) -> Self {
        Self { next: from + PERIOD, late: Durations::default() }
    }

    /// Takes down every wake that was due by `now`.
    fn woken(&mut self, now: Instant) {
        while self.next <= now {
            self.late.record(now.since(self.next));
            self.next += PERIOD;
        }
    }

    fn summary(&self, cpu: Duration) -> file::Noise {
        let nanos = |duration: Duration| duration.as_nanos() as u64;
        let count = self.late.count();
        let figure = |q| match self.late.quantile(q, count) {
            Some(Latency::Within(late)) if enough_for(q, count) => Some(nanos(late)),
            _ => None,
        };
        let over = |millis| self.late.longer_than(Duration::from_millis(millis));
        file::Noise {
            wakes: count,
            period_ns: nanos(PERIOD),
            p50_ns: figure(0.5),
            p99_ns: figure(0.99),
            max_ns: self.late.max().map(nanos),
            over_1ms: over(1),
            over_10ms: over(10),
            over_100ms: over(100),
            over_1s: over(1_000),
            cpu_ns: nanos(cpu),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_that_a_gap_swallowed_are_late_by_what_was_left_of_it() {
        let zero = Instant::from_nanos(1);
        let mut wakes = Wakes::from(zero);
        // On time, 50 µs late each, for 1,000 wakes …
        for n in 1..=1_000 {
            wakes.woken(zero + PERIOD * n + Duration::from_micros(50));
        }
        // … then the machine is away for as long as 200 wakes.
        wakes.woken(zero + PERIOD * 1_200);
        let seen = wakes.summary(Duration::from_millis(9));
        assert_eq!((seen.wakes, seen.p50_ns), (1_200, Some(50_000)));
        assert_eq!(seen.max_ns, Some((PERIOD * 199).as_nanos() as u64));
        // Of a gap of 200 periods, all wakes but those in its last 1, 10, 100 and 1,000 ms.
        assert_eq!((seen.over_1ms, seen.over_10ms, seen.over_100ms, seen.over_1s), (199, 198, 189, 99));
        assert_eq!(seen.cpu_ns, 9_000_000);
    }

    #[test]
    fn a_meter_can_be_stopped_at_once_and_has_its_cost() {
        let noise = Meter::start(Clock::machine().now()).expect("a thread").stop().expect("it ends");
        assert!(noise.cpu_ns > 0);
        assert_eq!(noise.period_ns, 9_973_000);
    }
}
