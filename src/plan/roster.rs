//! Who the devices are.

use crate::azure::registration::{IdError, check_registration_id};

/// A pattern of registration ids: text with `{n}` or `{n:05}` (the device's number, padded with zeros) and `{run}`
/// (the run's id). `{{` and `}}` stand for braces, which no id may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Number { width: usize },
    Run,
}

/// Why a text is not a pattern of registration ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A brace without its partner.
    #[error("a `{{` or `}}` has no partner; placeholders are `{{n}}`, `{{n:05}}` and `{{run}}`")]
    Unbalanced,
    /// A placeholder that does not exist.
    #[error("`{{{0}}}` is not a placeholder; use `{{n}}`, `{{n:05}}` or `{{run}}`")]
    Unknown(String),
    /// Several devices would share one id.
    #[error("{count} devices would all have the id {id:?}; put `{{n}}` into the pattern")]
    NotUnique {
        /// The devices.
        count: u64,
        /// Their common id.
        id: String,
    },
    /// An id of the pattern is not a registration id.
    #[error("device {n} would have the id {id:?}: {reason}")]
    Id {
        /// The device's number.
        n: u64,
        /// Its id.
        id: String,
        /// The rule broken.
        reason: IdError,
    },
}

impl IdPattern {
    /// Reads a pattern and checks the ids that it gives for devices 0 .. `count`.
    ///
    /// # Errors
    /// [`PatternError`] names the first thing wrong.
    pub fn parse(text: &str, count: u64) -> Result<Self, PatternError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                plain.push_str(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            let inner = tail.strip_prefix('{').ok_or(PatternError::Unbalanced)?;
            let end = inner.find('}').ok_or(PatternError::Unbalanced)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(placeholder(&inner[..end])?);
            rest = &inner[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        let pattern = Self { parts };
        pattern.check(count)?;
        Ok(pattern)
    }

    /// The pattern of no text at all, which gives no legal id: stands in where a pattern is refused.
    pub const fn empty() -> Self {
        Self { parts: Vec::new() }
    }

    /// The id of device `n` in the run `run`.
    pub fn render(&self, n: u64, run: &str) -> String {
        use std::fmt::Write as _;
        let mut id = String::with_capacity(32);
        for part in &self.parts {
            match part {
                Part::Text(text) => id.push_str(text),
                Part::Number { width } => {
                    let _ = write!(id, "{n:0width$}");
                }
                Part::Run => id.push_str(run),
            }
        }
        id
    }

    /// Whether ids differ from run to run.
    pub fn names_the_run(&self) -> bool {
        self.parts.contains(&Part::Run)
    }

    /// The longest and the shortest number stand for all between: nothing else in an id varies.
    fn check(&self, count: u64) -> Result<(), PatternError> {
        const ANY_RUN: &str = "00000000";
        let numbered = self.parts.iter().any(|part| matches!(part, Part::Number { .. }));
        if !numbered && count > 1 {
            return Err(PatternError::NotUnique { count, id: self.render(0, ANY_RUN) });
        }
        for n in [0, count.saturating_sub(1)] {
            let id = self.render(n, ANY_RUN);
            check_registration_id(&id).map_err(|reason| PatternError::Id { n, id, reason })?;
        }
        Ok(())
    }
}

/// The widest padding; an id has no more characters.
const MAX_WIDTH: usize = 128;

fn placeholder(inner: &str) -> Result<Part, PatternError> {
    let unknown = || PatternError::Unknown(inner.to_owned());
    match inner.split_once(':') {
        None if inner == "n" => Ok(Part::Number { width: 0 }),
        None if inner == "run" => Ok(Part::Run),
        Some(("n", width)) if width.starts_with('0') => {
            let width = width.parse().map_err(|_| unknown())?;
            if width > MAX_WIDTH {
                return Err(unknown());
            }
            Ok(Part::Number { width })
        }
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_padded_and_the_run_is_named() {
        let pattern = IdPattern::parse("sensor-{n:05}-{run}", 4_000).expect("a pattern");
        assert_eq!(pattern.render(17, "0a1b2c3d"), "sensor-00017-0a1b2c3d");
        assert!(pattern.names_the_run());
        assert_eq!(IdPattern::parse("d{n}", 5).expect("a pattern").render(123_456, ""), "d123456");
    }

    #[test]
    fn patterns_that_give_no_ids_are_refused_with_the_reason() {
        for (text, count) in [
            ("fixed", 2),
            ("{n", 1),
            ("n}", 1),
            ("{m}", 1),
            ("{n:5}", 1),
            ("{n:0999}", 1),
            ("", 1),
            ("a b {n}", 1),
            ("{n}.", 1),
            ("{{n}}", 1),
        ] {
            assert!(IdPattern::parse(text, count).is_err(), "{text}");
        }
        let error = IdPattern::parse("sensor", 10).expect_err("ids are shared").to_string();
        assert!(error.contains("{n}"), "{error}");
        assert!(IdPattern::parse("sensor", 1).is_ok());
    }
}
