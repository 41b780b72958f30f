//! Waits that hold a whole thread, for threads without a runtime.

use super::*;

/// Holds this thread until `deadline` on the machine's clock; never shorter. At once if it has passed.
pub fn block_until(deadline: Instant) {
    let clock = Clock::machine();
    // A signal may end the wait early.
    while clock.now() < deadline {
        wait(deadline);
    }
}

/// Asks for this thread to be woken as precisely as the machine can: without that, Linux may put a wake-up off by 50 µs to
/// serve several with one interrupt, and whoever measures lateness would measure that.
pub fn sharpen_waits() {
    #[cfg(target_os = "linux")]
    // Where it is refused, waits stay as coarse as they were.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}

/// CPU time this thread has used so far, user and system.
pub fn thread_cpu_time() -> Duration {
    Duration::from_nanos(read_clock(rustix::time::ClockId::ThreadCPUTime))
}

#[cfg(target_os = "linux")]
fn wait(deadline: Instant) {
    use rustix::time::{ClockId, Timespec};
    let at = deadline.nanos();
    let at = Timespec { tv_sec: (at / 1_000_000_000) as i64, tv_nsec: (at % 1_000_000_000) as _ };
    let _ = rustix::thread::clock_nanosleep_absolute(ClockId::Monotonic, &at);
}

/// Without absolute waits the time between reading the clock and waiting is added to the wait.
#[cfg(not(target_os = "linux"))]
fn wait(deadline: Instant) {
    std::thread::sleep(deadline.since(Clock::machine().now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_held_until_its_deadline_and_not_at_all_if_that_has_passed() {
        sharpen_waits();
        let clock = Clock::machine();
        let deadline = clock.now() + Duration::from_millis(2);
        block_until(deadline);
        assert!(clock.now() >= deadline);
        block_until(deadline);
        block_until(Instant::from_nanos(0));
    }
}
