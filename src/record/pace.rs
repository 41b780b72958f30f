//! Whether sends went at the rate that the plan has, window by window.
//!
//! A send that is ready in a later window than it is due is missing from the rate of the one and too many in the other, and
//! that is ours: *ready* is when our code got to it, whatever the service did. A full window of messages in flight or a
//! request still open only moves *started*.

use std::time::Duration;

/// Sends of all populations in windows of 10 s, aligned on the run clock. Windows are kept for a week (1 MiB); a run that
/// is longer has windows of twice the length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    width_s: u64,
    windows: Vec<Window>,
}

/// One window of a [`Pace`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    /// Sends that were due in it.
    pub due: u64,
    /// Sends that our code got to in it.
    pub begun: u64,
}

/// A window with its place on the run clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Where it begins.
    pub from: Duration,
    /// How long it is.
    pub width: Duration,
    /// What was in it.
    pub window: Window,
}

impl Window {
    /// By how many sends it is off.
    pub fn off(&self) -> u64 {
        self.due.abs_diff(self.begun)
    }

    /// By what fraction of the sends due it is off; 0 if none was due, for what came into it late is missing where it was
    /// due.
    pub fn error(&self) -> f64 {
        if self.due == 0 { 0.0 } else { self.off() as f64 / self.due as f64 }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { width_s: Self::WIDTH.as_secs(), windows: Vec::new() }
    }
}

impl Pace {
    /// Length of a window, unless the run is longer than [`Self::MAX`] of them.
    pub const WIDTH: Duration = Duration::from_secs(10);

    /// The most windows that are kept: a week of them, and some.
    pub const MAX: usize = 1 << 16;

    /// A send that is late by no more than this counts where it was due. Many devices may be due at the same instant shortly
    /// before the end of a window, and the 70 µs that every wake-up takes would move them all. No even rate can be off by
    /// more than 0.1 % of a window through it.
    pub const TOLERANCE: Duration = Duration::from_millis(10);

    /// Windows that are off by fewer sends say nothing: at 20 sends in a window, one that a single gap of the machine pushed
    /// over the edge would be 5 %. At 100/s and above, ten are not more than the 1 % that is allowed; below, a fleet that
    /// cannot keep its schedule is found by its lateness.
    pub const TELLS_FROM: u64 = 10;

    /// Takes a send, by the instants on the run clock at which it was due and ready.
    pub fn send(&mut self, due: Duration, ready: Duration) {
        let ready = if ready.saturating_sub(due) > Self::TOLERANCE { ready } else { due };
        self.window(due).due += 1;
        self.window(ready).begun += 1;
    }

    fn window(&mut self, at: Duration) -> &mut Window {
        while at.as_secs() / self.width_s >= Self::MAX as u64 {
            self.fold();
        }
        let at = (at.as_secs() / self.width_s) as usize;
        if self.windows.len() <= at {
            self.windows.resize(at + 1, Window::default());
        }
        &mut self.windows[at]
    }

    fn fold(&mut self) {
        let pairs = self.windows.chunks(2).map(|pair| {
            pair.iter().fold(Window::default(), |sum, window| Window {
                due: sum.due + window.due,
                begun: sum.begun + window.begun,
            })
        });
        self.windows = pairs.collect();
        self.width_s = self.width_s.saturating_mul(2);
    }

    /// Adds all of `other`, which is as coarse afterwards as the coarser of both.
    pub fn merge(&mut self, other: &Self) {
        let mut other = std::borrow::Cow::Borrowed(other);
        while self.width_s < other.width_s {
            self.fold();
        }
        while other.width_s < self.width_s {
            other.to_mut().fold();
        }
        if self.windows.len() < other.windows.len() {
            self.windows.resize(other.windows.len(), Window::default());
        }
        for (to, from) in self.windows.iter_mut().zip(&other.windows) {
            to.due = to.due.saturating_add(from.due);
            to.begun = to.begun.saturating_add(from.begun);
        }
    }

    /// The windows in order of time, those included in which nothing was due.
    pub fn windows(&self) -> impl Iterator<Item = Placed> {
        let width = Duration::from_secs(self.width_s);
        let placed = self.windows.iter().zip(0u64..);
        placed.map(move |(window, at)| Placed {
            from: Duration::from_secs(self.width_s.saturating_mul(at)),
            width,
            window: *window,
        })
    }

    /// The window that is off most: by its error, of those that are off by enough sends to tell if there are any. `None` if
    /// no send was due.
    pub fn worst(&self) -> Option<Placed> {
        let rank = |placed: &Placed| (placed.window.off() >= Self::TELLS_FROM, placed.window.error());
        // The earliest of equals.
        self.windows()
            .filter(|placed| placed.window.due > 0)
            .reduce(|worst, next| if rank(&next) > rank(&worst) { next } else { worst })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// 100 sends a second for 40 s, each late by what `late` gives in milliseconds.
    fn steady(late: impl Fn(u64) -> u64) -> Pace {
        let mut pace = Pace::default();
        (0..4_000).for_each(|n| pace.send(millis(n * 10), millis(n * 10 + late(n))));
        pace
    }

    #[test]
    fn a_generator_on_time_has_no_error_at_all() {
        let pace = steady(|_| 0);
        assert!(pace.windows().all(|placed| placed.window == Window { due: 1_000, begun: 1_000 }));
        assert_eq!(pace.worst().map(|worst| worst.window.error()), Some(0.0));
        assert_eq!(Pace::default().worst(), None);
    }

    #[test]
    fn a_gap_over_the_end_of_a_window_is_missing_there_and_too_much_after() {
        // From 19.5 s to 20.2 s nothing is begun: 50 sends are begun in the window after the one they were due in.
        let pace = steady(|n| if (1_950..2_020).contains(&n) { (2_020 - n) * 10 } else { 0 });
        let begun: Vec<_> = pace.windows().map(|placed| placed.window.begun).collect();
        assert_eq!(begun, [1_000, 950, 1_050, 1_000]);
        let worst = pace.worst().expect("sends");
        assert_eq!((worst.from, worst.width), (millis(10_000), millis(10_000)));
        assert_eq!((worst.window.off(), worst.window.error()), (50, 0.05));
    }

    #[test]
    fn a_gap_inside_a_window_is_made_up_for_in_it() {
        let pace = steady(|n| if (1_200..1_500).contains(&n) { (1_500 - n) * 10 } else { 0 });
        assert_eq!(pace.worst().map(|worst| worst.window.error()), Some(0.0));
    }

    #[test]
    fn many_devices_that_are_due_just_before_the_end_of_a_window_are_not_late_by_a_wake_up() {
        let mut pace = Pace::default();
        (0..1_000).for_each(|_| pace.send(millis(9_999), millis(10_009)));
        assert_eq!(pace.worst().map(|worst| worst.window.error()), Some(0.0));
        (0..1_000).for_each(|_| pace.send(millis(19_999), millis(20_010)));
        assert_eq!(pace.worst().map(|worst| worst.window.error()), Some(1.0));
    }

    #[test]
    fn a_window_that_is_off_by_many_sends_is_worse_than_one_that_is_off_by_a_large_part_of_few() {
        let mut pace = steady(|n| if (1_985..2_010).contains(&n) { (2_010 - n) * 10 } else { 0 });
        pace.send(millis(59_990), millis(60_020));
        assert_eq!(pace.worst().map(|worst| worst.window.off()), Some(15));
    }

    #[test]
    fn a_run_of_a_month_is_told_in_longer_windows() {
        let mut pace = Pace::default();
        let month = Duration::from_secs(30 * 86_400);
        pace.send(Duration::ZERO, Duration::ZERO);
        pace.send(month, month + Duration::from_secs(60));
        assert!(pace.windows.len() <= Pace::MAX);
        let widths: Vec<_> = pace.windows().map(|placed| placed.width.as_secs()).collect();
        assert_eq!((widths[0], widths.last()), (40, Some(&40)));
        assert_eq!(pace.windows().map(|placed| placed.window.due).sum::<u64>(), 2);
    }

    proptest! {
        #[test]
        fn threads_together_see_what_one_would(
            sends in prop::collection::vec((0u64..900_000_000, 0u64..90_000, 0usize..3), 0..60),
        ) {
            let mut one = Pace::default();
            let mut parts = [Pace::default(), Pace::default(), Pace::default()];
            for (due, late, part) in &sends {
                let (due, ready) = (millis(*due), millis(due + late));
                one.send(due, ready);
                parts[*part].send(due, ready);
            }
            let [mut first, second, third] = parts;
            first.merge(&third);
            first.merge(&second);
            prop_assert_eq!(first, one);
        }
    }
}
