//! Who the devices are.

use crate::azure::registration::{IdError, check_registration_id};
use crate::list::DeviceList;

/// Who the devices of a population are.
#[derive(Debug, Clone, PartialEq)]
pub enum Roster {
    /// Numbered; nothing is held per device.
    Pattern(IdPattern),
    /// The rows of a file, read as the devices start; nothing is held per device that has not started.
    List(DeviceList),
}

/// A pattern of registration ids: text with `{n}`, `{n:05}` (the device's number, padded with zeros) or `{n+1000:05}`
/// (counted from 1000), and `{run}` (the run's id). `{{` and `}}` stand for braces, which no id may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Number { offset: u64, width: usize },
    Run,
}

/// Why a text is not a pattern of registration ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A brace without its partner.
    #[error(
        "a `{{` or `}}` has no partner; placeholders are `{{n}}`, `{{n:05}}`, `{{n+1000}}` and `{{run}}`"
    )]
    Unbalanced,
    /// A placeholder that does not exist.
    #[error("`{{{0}}}` is not a placeholder; use `{{n}}`, `{{n:05}}`, `{{n+1000}}` or `{{run}}`")]
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

    /// Whether ids differ from run to run: `{run}`.
    pub fn names_run(&self) -> bool {
        self.parts.contains(&Part::Run)
    }

    /// The id of device `n` in the run `run`.
    pub fn render(&self, n: u64, run: &str) -> String {
        let mut id = String::with_capacity(32);
        self.render_into(n, run, &mut id);
        id
    }

    /// [`Self::render`] put behind what is in `id`, without allocating once `id` is long enough: for millions of ids.
    pub fn render_into(&self, n: u64, run: &str, id: &mut String) {
        use std::fmt::Write as _;
        for part in &self.parts {
            match part {
                Part::Text(text) => id.push_str(text),
                Part::Number { offset, width } => {
                    let _ = write!(id, "{:0width$}", n.saturating_add(*offset));
                }
                Part::Run => id.push_str(run),
            }
        }
    }

    /// The device whose id is `id`, case aside; `None` if there is none, or the pattern names the run or has several numbers.
    pub fn device_of(&self, id: &str) -> Option<u64> {
        // Millions of ids of a list are asked for that are of another kind.
        if let Some(Part::Text(text)) = self.parts.first()
            && !id.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
        {
            return None;
        }
        let at = self.parts.iter().position(|part| matches!(part, Part::Number { .. }));
        let Some(at) = at else { return self.render(0, "").eq_ignore_ascii_case(id).then_some(0) };
        let text = |parts: &[Part]| {
            parts.iter().try_fold(String::new(), |text, part| match part {
                Part::Text(more) => Some(text + more),
                _ => None,
            })
        };
        let (before, after) = (text(&self.parts[..at])?, text(&self.parts[at + 1..])?);
        let Part::Number { offset, .. } = self.parts[at] else { return None };
        let digits = id.get(before.len()..id.len().checked_sub(after.len())?)?;
        let n = digits.parse::<u64>().ok()?.checked_sub(offset)?;
        self.render(n, "").eq_ignore_ascii_case(id).then_some(n)
    }

    /// An id that both patterns give, the first for `count` devices and the other for `other_count`, if there is one and
    /// it can be told from the patterns: they must agree in all but the numbers they begin with. Case does not count.
    pub fn shared_id(&self, count: u64, other: &Self, other_count: u64) -> Option<String> {
        let (mut low, mut high) = (0, u64::MAX);
        let mut shift = None;
        if self.parts.len() != other.parts.len() {
            return None;
        }
        for (one, two) in self.parts.iter().zip(&other.parts) {
            match (one, two) {
                (Part::Text(one), Part::Text(two)) if one.eq_ignore_ascii_case(two) => {}
                (Part::Run, Part::Run) => {}
                (Part::Number { offset, width }, Part::Number { offset: begins, width: other_width })
                    if width == other_width =>
                {
                    let between = i128::from(*begins) - i128::from(*offset);
                    if shift.is_some_and(|shift| shift != between) {
                        return None;
                    }
                    shift = Some(between);
                    // Numbers of this pattern that the other one gives as well.
                    low = u64::try_from(between.max(0)).unwrap_or(u64::MAX);
                    high = u64::try_from((between + i128::from(other_count)).max(0)).unwrap_or(u64::MAX);
                }
                _ => return None,
            }
        }
        (low < high.min(count)).then(|| self.render(low, "RUN"))
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

/// The largest offset: with it, and the most devices, a number still fits.
const MAX_OFFSET: u64 = 1_000_000_000_000_000;

fn placeholder(inner: &str) -> Result<Part, PatternError> {
    let unknown = || PatternError::Unknown(inner.to_owned());
    if inner == "run" {
        return Ok(Part::Run);
    }
    let (number, width) = match inner.split_once(':') {
        // Without the zero it would be padded with blanks, which no id may hold.
        Some((number, width)) if width.starts_with('0') => {
            (number, width.parse().ok().filter(|width| *width <= MAX_WIDTH).ok_or_else(unknown)?)
        }
        Some(_) => return Err(unknown()),
        None => (inner, 0),
    };
    let offset = match number.strip_prefix('n').ok_or_else(unknown)? {
        "" => 0,
        offset => {
            let digits = offset.strip_prefix('+').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
            digits
                .and_then(|digits| digits.parse().ok())
                .filter(|offset| *offset <= MAX_OFFSET)
                .ok_or_else(unknown)?
        }
    };
    Ok(Part::Number { offset, width })
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
    fn numbers_may_begin_anywhere() {
        let pattern = IdPattern::parse("s-{n+4000:05}", 10).expect("a pattern");
        assert_eq!((pattern.render(0, ""), pattern.render(9, "")), ("s-04000".into(), "s-04009".into()));
        for text in ["{n+}", "{n+x}", "{n-1}", "{n+1+1}", "{n+99999999999999999999}", "{+1}", "{nn}", "{}"] {
            assert!(IdPattern::parse(text, 1).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns_that_give_the_same_ids_are_found() {
        let pattern = |text: &str| IdPattern::parse(text, 1).expect("a pattern");
        let shared =
            |one: (&str, u64), two: (&str, u64)| pattern(one.0).shared_id(one.1, &pattern(two.0), two.1);
        assert_eq!(shared(("s-{n:05}", 5_000), ("S-{n+4000:05}", 5_000)).as_deref(), Some("s-04000"));
        assert_eq!(shared(("s-{n+4000:05}", 5_000), ("s-{n:05}", 5_000)).as_deref(), Some("s-04000"));
        assert_eq!(shared(("s-{n:05}", 4_000), ("s-{n+4000:05}", 5_000)), None);
        assert_eq!(shared(("s-{n:05}", 4_000), ("t-{n:05}", 4_000)), None);
        assert_eq!(shared(("s", 1), ("s", 1)).as_deref(), Some("s"));
        let device = |text: &str, id: &str| pattern(text).device_of(id);
        assert_eq!((device("s-{n+10:03}-x", "S-042-x"), device("s-{n:03}", "s-42")), (Some(32), None));
        assert_eq!((device("{n}", "7"), device("gw", "GW"), device("gw", "gx")), (Some(7), Some(0), None));
        assert_eq!(
            (device("s-{n+10}", "s-9"), device("s-{n}-{run}", "s-9-"), device("aab{n}b", "ab")),
            (None, None, None)
        );
        assert_eq!(shared(("s-{run}-{n}", 2), ("s-{run}-{n}", 1)).as_deref(), Some("s-RUN-0"));
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
