//! What can be wrong with a payload.

use std::ops::Range;

/// Why a text is not a template, or a template no payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} ({}); {remedy}", self.place())]
pub struct TemplateError {
    /// What is wrong. May repeat what stands in the template.
    pub problem: String,
    /// What to do.
    pub remedy: String,
    /// The bytes of the template that it is about.
    pub span: Range<usize>,
    /// Line of the template where they begin, from 1.
    pub line: usize,
    /// Character of that line, from 1.
    pub column: usize,
}

impl TemplateError {
    pub(super) fn new(
        template: &str,
        span: Range<usize>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let end = floor_char_boundary(template, span.end);
        let start = floor_char_boundary(template, span.start.min(end));
        let before = &template[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            problem: problem.into(),
            remedy: remedy.into(),
            span: start..end,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Where in the template: `column 12`, or `line 2, column 12`.
    pub fn place(&self) -> String {
        match self.line {
            1 => format!("column {}", self.column),
            line => format!("line {line}, column {}", self.column),
        }
    }
}

fn floor_char_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Why something beside the body cannot be part of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// The template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A name that is empty or holds other characters than the protocol allows.
    #[error("the name of a property is not legal; use letters, digits and !#$%&'*+-.^_`|~")]
    Name,
    /// The name is there already; case does not count, for it gets lost in headers.
    #[error("two properties have the same name; case does not tell them apart")]
    Twice,
    /// More than [`MAX_PROPERTIES`](super::MAX_PROPERTIES).
    #[error("there are more than {} properties; use fewer", super::MAX_PROPERTIES)]
    TooMany,
    /// A value that is empty where it must not be, or holds something other than printable ASCII.
    #[error("the value may hold {0:?}; use printable ASCII only")]
    Character(char),
    /// A message id with other characters than the hub takes.
    #[error("a message id may hold {0:?}; use letters, digits and -:.+%_#*?!(),=@;$'")]
    IdCharacter(char),
    /// Nothing where something must be.
    #[error("the value may be empty; write something, or remove the key")]
    Empty,
    /// Longer than the hub takes.
    #[error("the value may have {length} characters; use at most {limit}")]
    TooLong {
        /// Characters of the longest value.
        length: usize,
        /// Most characters.
        limit: usize,
    },
    /// The content type by which a hub knows a batch of messages.
    #[error("this content type stands for a batch of messages; use the type of one message")]
    Batch,
}

/// A body that is too large, or a message that may be with everything that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the message may have {size} bytes with its properties; a hub takes at most {}",
    crate::azure::hub::MAX_MESSAGE
)]
pub struct TooLarge {
    /// Bytes of the largest message.
    pub size: usize,
}
