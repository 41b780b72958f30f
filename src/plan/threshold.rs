//! What makes a run pass: `"send.response.p99" = "< 250ms"`.

use std::time::Duration;

use crate::step::{Milestone, StepKind, View};

/// One condition on the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// As the scenario writes it; shown in reports.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// Of which population (index in the plan); of all if `None`.
    pub population: Option<usize>,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what: seconds for a latency, a fraction for a share, a number otherwise.
    pub limit: f64,
    /// Ends the run when it has been crossed for so long without a break.
    pub abort_after: Option<Duration>,
}

/// How much worse than a baseline one latency may be: `"send.response.p99" = "+5 %"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// As the scenario writes it; shown in reports.
    pub text: String,
    /// What is compared: a latency, response or service, or a milestone.
    pub metric: Metric,
    /// Of which population (index in the plan); of all if `None`.
    pub population: Option<usize>,
    /// By how much it may rise, as a fraction of the baseline's: 0.05 for `+5 %`.
    pub allowed: f64,
}

/// What a threshold or a headline measures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Metric {
    /// A statistic of a step's latency, over all due steps.
    Latency(StepKind, View, Statistic),
    /// A statistic of a milestone, over all due.
    Milestone(Milestone, Statistic),
    /// Share of due steps of a kind (all kinds if `None`) that ended so.
    Share(Option<StepKind>, Ending),
    /// Number of such steps.
    Count(Option<StepKind>, Ending),
    /// Such steps per second of the run clock.
    Rate(StepKind, Ending),
}

impl Metric {
    /// Whether [`Threshold::limit`] is in seconds.
    pub const fn is_latency(self) -> bool {
        matches!(self, Self::Latency(..) | Self::Milestone(..))
    }
}

/// A number computed from a histogram.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// The value that this fraction of all due steps stays below: 0.99 for `p99`. Failed, unknown and unsent steps
    /// count as slower than any limit.
    Quantile(f64),
    /// Smallest, of the acknowledged.
    Min,
    /// Largest over all due steps: beyond any limit if one was not acknowledged.
    Max,
    /// Mean of the acknowledged.
    Mean,
}

/// Groups of outcomes that shares and counts are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Every step that was due.
    Due,
    /// Acknowledged or written.
    Succeeded,
    /// Due and not succeeded: failed, unknown or not sent. What `failed.share` means.
    Unsuccessful,
    /// Refused for a quota (429).
    Throttled,
    /// Sent, and no answer came.
    Unknown,
    /// Never sent.
    NotSent,
}

/// How a measured value is compared with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    Above,
}

impl Comparison {
    /// Whether `value` satisfies the comparison with `limit`. An infinite value is beyond every limit; NaN (no samples)
    /// satisfies nothing.
    pub fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => value == limit,
            Self::AtLeast => value >= limit,
            Self::Above => value > limit,
        }
    }

    /// As written.
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Below => "<",
            Self::AtMost => "<=",
            Self::Equal => "=",
            Self::AtLeast => ">=",
            Self::Above => ">",
        }
    }
}

/// The longest latency that a limit may name.
pub const MAX_LATENCY: Duration = Duration::from_secs(3_600);
