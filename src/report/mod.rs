//! Results for people. Nothing is computed in here: every number shown stands in the result.

pub mod plan;
pub mod progress;
mod table;
pub mod text;

pub use progress::Progress;
pub use text::{Options, render, render_verdict};
