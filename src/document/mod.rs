//! Strict TOML with positions: every value and every key knows where it was written, every complaint is told at once.
//!
//! The order of work: a [`Source`] is read ([`source::read_file`]) and parsed into a tree of [`Node`]s
//! ([`node::parse`]), `--set` texts are laid over it ([`overlay`]), `${env:NAME}` is replaced ([`environment`]), and
//! [`Reader`]s read it table by table against the lists of legal keys in a [`schema`]. Complaints go to
//! [`Diagnostics`], which shows them with the line underlined.
//!
//! What this module never does: read the process environment, know what a key means, or print.

pub mod diagnostics;
pub mod environment;
pub mod json_schema;
mod key_mask;
pub mod node;
pub mod overlay;
pub mod reader;
mod render;
pub mod resolve;
pub mod schema;
pub mod source;
pub mod values;

pub use diagnostics::{Diagnostic, Diagnostics, Severity};
pub use node::{Node, Value};
pub use reader::Reader;
pub use schema::{Key, Later, Shape, Table};
pub use source::{Origin, Source, SourceId, Sources, Span};
pub use values::{Given, Refusal, Spanned};

/// The longest TOML document that is read: 1 MiB, far beyond any that people write.
pub const MAX_DOCUMENT_BYTES: u64 = 1024 * 1024;

/// The most signs (what is no letter, digit, `_`, `-` or space) and words (what follows a space) in a document. Each may cost the parser hundreds of bytes, so
/// this keeps a hostile file of the largest size from taking more memory than any honest one; those have hundreds.
pub const MAX_DOCUMENT_SIGNS: usize = 150_000;

/// The most tables of an array.
pub const MAX_ELEMENTS: usize = 100;

/// The most tables under names that the user chooses. Each fleet keeps histograms of its own, some 5 MiB in memory, and
/// a result with more of them might not be read again.
pub const MAX_TABLES: usize = 100;

/// The most entries of a table whose keys the user chooses, where they are no tables.
pub const MAX_NAMED: usize = 1_000;
