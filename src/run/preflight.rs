//! Whether a run fits on this machine, before it starts.

use std::time::Duration;

use crate::plan::{Plan, Population};
use crate::units::show_count;

/// Why a run cannot fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotFit {
    /// More connections at once than files may be open.
    #[error(
        "the run holds at least {} connections at once, which with the {} files of the process itself is more than the \
         {} that it may open; start fewer devices at once, split the scenario, or raise the hard limit (ulimit -Hn)",
        show_count(*.connections), OWN_DESCRIPTORS, show_count(*.limit)
    )]
    Descriptors {
        /// Connections that are certainly open at the same time.
        connections: u64,
        /// Files that may be open.
        limit: u64,
    },
}

/// Descriptors that the process needs besides connections: standard streams, runtimes, timers, result files.
const OWN_DESCRIPTORS: u64 = 32;

/// Refuses a plan that needs more descriptors than `limit` (`None`: no limit).
///
/// Only what is certain counts: devices that hold their connection at the same time whatever the service does. A slow
/// service can make a run need more; that is told at run time, as a shortage of this machine.
///
/// # Errors
/// [`DoesNotFit`] with the figures.
pub fn check(plan: &Plan, limit: Option<u64>) -> Result<(), DoesNotFit> {
    let connections: u64 = plan.populations.iter().map(|population| held_at_once(plan, population)).sum();
    match limit {
        Some(limit) if connections + OWN_DESCRIPTORS > limit => {
            Err(DoesNotFit::Descriptors { connections, limit })
        }
        _ => Ok(()),
    }
}

/// Devices of a population whose connections are certainly open at the same time.
pub fn held_at_once(plan: &Plan, population: &Population) -> u64 {
    if population.connect.is_none() {
        return 0;
    }
    let until_end = plan.duration.unwrap_or(Duration::MAX);
    let held = match &population.telemetry {
        // Held until the run's end, if it has one.
        None => plan.duration.unwrap_or_default(),
        Some(telemetry) if telemetry.rhythm.longest_gap() > population.keep_connection => Duration::ZERO,
        Some(telemetry) => match telemetry.messages {
            // Messages that a change brings about may use up the number at once.
            Some(_) if telemetry.rhythm.on_change.is_some() => Duration::ZERO,
            Some(messages) => telemetry.rhythm.span(messages).min(until_end),
            None => until_end,
        },
    };
    population.starts(plan).most_within(held, plan.duration)
}
