//! Stopping a process of our own for a while.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::time::{Clock, Instant, block_until};

/// A process that stands still. It goes on when this is dropped, whatever happens.
struct Suspended(Pid);

impl Suspended {
    fn new(pid: Pid) -> std::io::Result<Self> {
        kill_process(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        // It fails only if the process is gone.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// Stops the process of that id at `at` for so long; gives when it was stopped, and when it could go on. Holds the thread.
pub(super) fn suspend(pid: u32, at: Instant, span: Duration) -> std::io::Result<(Instant, Instant)> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| std::io::Error::other("there is no such process"))?;
    block_until(at);
    let clock = Clock::machine();
    let suspended = Suspended::new(pid)?;
    let stopped = clock.now();
    block_until(stopped + span);
    drop(suspended);
    Ok((stopped, clock.now()))
}
