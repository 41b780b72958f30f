//! One line that tells how a run is getting on.

use std::time::Duration;

use super::table::columns;
use crate::record::{Buckets, Interval};
use crate::step::StepKind;
use crate::units::{show_count, show_duration};

/// Totals of a run so far, and of its last interval.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    devices: u64,
    duration: Option<Duration>,
    registers: bool,
    started: u64,
    assigned: u64,
    connected: i64,
    finished: u64,
    messages: u64,
    failed: u64,
    retried: u64,
    rate_per_s: f64,
    response: Buckets,
}

impl Progress {
    /// Nothing has happened yet.
    ///
    /// * `devices`: of all populations
    /// * `duration`: end of the run clock, if it is known
    /// * `registers`: whether any device registers with DPS
    pub fn new(devices: u64, duration: Option<Duration>, registers: bool) -> Self {
        Self { devices, duration, registers, ..Self::default() }
    }

    /// Takes in what happened in the last `span`, on all threads. The line's rate and p99 are of this span.
    pub fn add(&mut self, interval: &Interval, span: Duration) {
        let total = interval.total();
        self.started = self.started.saturating_add(total.started);
        self.finished = self.finished.saturating_add(total.finished);
        self.connected = self.connected.saturating_add(total.connected_change);
        self.assigned += total.step(StepKind::Register).counts.acknowledged;
        let sent = total.step(StepKind::Send).counts.succeeded();
        self.messages += sent;
        for step in &total.steps {
            self.failed += step.counts.failed_total();
            self.retried += step.counts.retried_total();
        }
        let seconds = span.as_secs_f64();
        self.rate_per_s = if seconds > 0.0 { sent as f64 / seconds } else { 0.0 };
        self.response = total.step(StepKind::Send).response.clone();
    }

    /// The run is over: no time is left to be told.
    pub fn over(&mut self) {
        self.duration = None;
    }

    /// Devices that have nothing left to do, of all; for a bar.
    pub fn finished(&self) -> (u64, u64) {
        (self.finished, self.devices)
    }

    /// The line at `elapsed` on the run clock, without colour and line end, in at most `width` columns as far as leaving
    /// out the less important figures can make it so.
    pub fn line(&self, elapsed: Duration, width: usize) -> String {
        // The higher the number before a part, the sooner it is left out.
        let mut parts = vec![(0, clock(elapsed))];
        if self.registers {
            parts.push((0, format!("{}/{} registered", show_count(self.assigned), show_count(self.devices))));
        } else {
            parts.push((0, format!("{}/{} started", show_count(self.started), show_count(self.devices))));
        }
        parts.push((1, format!("{} connected", show_count(self.connected.max(0).unsigned_abs()))));
        parts.push((0, format!("{} messages {:.0}/s", show_count(self.messages), self.rate_per_s)));
        if let Some(p99) = self.response.quantile(0.99) {
            parts.push((2, format!("p99 {}", show_duration(p99))));
        }
        parts.push((0, format!("{} failed", show_count(self.failed))));
        if self.retried > 0 {
            parts.push((3, format!("{} retried", show_count(self.retried))));
        }
        if let Some(duration) = self.duration {
            parts.push((0, format!("{} left", clock(duration.saturating_sub(elapsed)))));
        }
        loop {
            let line = parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(" · ");
            let least = parts.iter().map(|(rank, _)| *rank).max().filter(|rank| *rank > 0);
            match least {
                Some(rank) if columns(&line) > width => parts.retain(|(r, _)| *r != rank),
                _ => return line,
            }
        }
    }
}

/// `1:05`, `2:00:09`.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::samples::{Story, recorded};

    #[test]
    fn the_line_tells_totals_and_the_rate_and_p99_of_the_last_interval() {
        let (_, series) = recorded(Story::Failing);
        let mut progress = Progress::new(1_020, Some(Duration::from_secs(90)), true);
        insta::assert_snapshot!(progress.line(Duration::ZERO, 100), @"0:00 · 0/1,020 registered · 0 connected · 0 messages 0/s · 0 failed · 1:30 left");
        for interval in series.intervals() {
            progress.add(interval, Duration::from_secs(1));
        }
        let line = progress.line(Duration::from_millis(25_900), 120);
        insta::assert_snapshot!(line, @"0:25 · 1,015/1,020 registered · 0 connected · 5,039 messages 92/s · p99 1.74 ms · 17 failed · 102 retried · 1:04 left");
        let line = progress.line(Duration::from_millis(25_900), 80);
        insta::assert_snapshot!(line, @"0:25 · 1,015/1,020 registered · 5,039 messages 92/s · 17 failed · 1:04 left");
    }

    #[test]
    fn without_dps_and_end_the_line_tells_who_started() {
        let (_, series) = recorded(Story::Few);
        let mut progress = Progress::new(3, None, false);
        progress.add(&series.total(), Duration::from_secs(2));
        insta::assert_snapshot!(progress.line(Duration::from_secs(7_209), 100), @"2:00:09 · 3/3 started · 0 connected · 15 messages 8/s · p99 1.05 ms · 0 failed");
        assert_eq!(progress.finished(), (3, 3));
    }
}
