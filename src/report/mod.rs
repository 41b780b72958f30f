//! Results for people. Nothing is computed in here: every number shown stands in the result.

pub mod csv;
pub mod json;
pub mod list;
pub mod markdown;
pub mod plan;
pub mod progress;
mod shards;
mod table;
pub mod text;
pub mod verification;

pub use progress::Progress;
pub use text::{Options, render, render_percentiles, render_verdict};
