//! Whether the numbers are true: the rate of sends, queues against theory, steps of the wall clock, books under faults.

use std::time::Duration;

use muster::run::simulated::Options;

use crate::{STEADY, play};

#[test]
fn the_rate_of_sends_has_no_error_in_simulated_time_even_if_the_service_stands_still_for_half_a_minute() {
    let freeze = (Duration::from_secs(5), Duration::from_secs(35));
    for options in [Options::default(), Options { freeze: Some(freeze), shares: 3, ..Options::default() }] {
        let run = play(STEADY, &options);
        let windows: Vec<_> = run.record.pace.windows().map(|placed| placed.window).collect();
        assert_eq!(windows.iter().map(|window| window.due).sum::<u64>(), 30_000);
        assert!(windows.iter().all(|window| window.due == window.begun), "{windows:?}");
        assert_eq!(run.record.pace.worst().map(|worst| worst.window.error()), Some(0.0));
    }
}
