//! Whether a run fits on this machine, before it starts.

use crate::plan::Plan;
use crate::plan::load::held_at_once;
use crate::units::show_count;

/// Why a run cannot fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotFit {
    /// More connections at once than files may be open.
    #[error(
        "the run holds at least {} connections at once, which with the {} files of the process itself is more than the \
         {} that it may open; start fewer devices at once, spread them \
         (--processes N, or --shard), or raise the hard limit (ulimit -Hn)",
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
pub const OWN_DESCRIPTORS: u64 = 32;

/// Refuses a plan that needs more descriptors than `limit` (`None`: no limit).
///
/// Only what is certain counts: devices that hold their connection at the same time whatever the service does. A slow
/// service can make a run need more; that is told at run time, as a shortage of this machine.
///
/// # Errors
/// [`DoesNotFit`] with the figures.
pub fn check(plan: &Plan, limit: Option<u64>) -> Result<(), DoesNotFit> {
    let held = |population| held_at_once(plan, population, plan.shard);
    let connections: u64 = plan.populations.iter().map(held).sum();
    match limit {
        Some(limit) if connections + OWN_DESCRIPTORS > limit => {
            Err(DoesNotFit::Descriptors { connections, limit })
        }
        _ => Ok(()),
    }
}
