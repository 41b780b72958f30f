//! Numbers that cannot be mixed up: rates, shares, sizes and durations, read from text such as
//! `"10/s"`, `"5 %"`, `"2 KiB"` and `"1m30s"`, and written back the same way.
//!
//! Scenario files write every quantity with its unit, so each type parses its own unit and refuses
//! the others with a text that shows what would be right.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a text is not a quantity; the text of the error says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The text has no number where one is needed.
    #[error("`{text}` is not {what}; write for example {example}")]
    Malformed {
        /// What was read.
        text: String,
        /// What was expected, with its article.
        what: &'static str,
        /// A correct spelling.
        example: &'static str,
    },
    /// A number with no unit, or with a unit of something else.
    #[error("`{text}` lacks a unit of {what}; write for example {example}")]
    Unit {
        /// What was read.
        text: String,
        /// What was expected, without article.
        what: &'static str,
        /// A correct spelling.
        example: &'static str,
    },
    /// The number is outside the legal range.
    #[error("{what} of `{text}` is out of range; use {range}")]
    Range {
        /// What was read.
        text: String,
        /// What was expected, without article.
        what: &'static str,
        /// The legal range in words.
        range: &'static str,
    },
}

/// Events per second. Above 0, at most [`Rate::MAX_PER_SECOND`], finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(f64);

impl Rate {
    /// The highest rate that a scenario may ask for.
    pub const MAX_PER_SECOND: f64 = 1_000_000.0;
    /// The lowest: one event in about 31 years, so that no instant overflows.
    pub const MIN_PER_SECOND: f64 = 1e-9;

    /// A rate of `per_second` events; `None` outside [`Self::MIN_PER_SECOND`] ..= [`Self::MAX_PER_SECOND`].
    pub fn new(per_second: f64) -> Option<Self> {
        (Self::MIN_PER_SECOND..=Self::MAX_PER_SECOND).contains(&per_second).then_some(Self(per_second))
    }

    /// Events per second.
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// Time between two events.
    pub fn interval(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.0)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    /// Reads `"10/s"`, `"6000/min"`, `"1.5/h"` or `"2/day"`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let malformed = || UnitError::Malformed {
            text: text.to_owned(),
            what: "a rate",
            example: "\"10/s\", \"600/min\" or \"5/h\"",
        };
        let Some((number, unit)) = text.split_once('/') else {
            if number(text.trim()).is_some() {
                return Err(UnitError::Unit {
                    text: text.to_owned(),
                    what: "rate",
                    example: "\"10/s\", \"600/min\" or \"5/h\"",
                });
            }
            return Err(malformed());
        };
        let seconds = match unit.trim() {
            "s" | "sec" | "second" => 1.0,
            "min" | "m" | "minute" => 60.0,
            "h" | "hour" => 3_600.0,
            "d" | "day" => 86_400.0,
            _ => return Err(malformed()),
        };
        let value = self::number(number.trim()).ok_or_else(malformed)?;
        Self::new(value / seconds).ok_or(UnitError::Range {
            text: text.to_owned(),
            what: "rate",
            range: "a rate above 0 and up to 1000000/s",
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = [(1.0, "s"), (60.0, "min"), (3_600.0, "h")]
            .into_iter()
            .map(|(seconds, unit)| (self.0 * seconds, unit))
            .find(|(value, _)| *value >= 1.0)
            .unwrap_or((self.0 * 86_400.0, "day"));
        write!(f, "{}/{unit}", short(value))
    }
}

/// A part of a whole, from 0 to 1; written in percent.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(f64);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// The whole.
    pub const ONE: Self = Self(1.0);

    /// A share of `fraction`; `None` outside 0 ..= 1.
    pub fn new(fraction: f64) -> Option<Self> {
        (0.0..=1.0).contains(&fraction).then_some(Self(fraction))
    }

    /// The share as a number from 0 to 1.
    pub fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Share {
    type Err = UnitError;

    /// Reads `"5 %"`, `"0.5%"`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let example = "\"5 %\"";
        let Some(value) = text.trim().strip_suffix('%') else {
            return Err(UnitError::Unit { text: text.to_owned(), what: "share", example });
        };
        let value = number(value.trim()).ok_or(UnitError::Malformed {
            text: text.to_owned(),
            what: "a share",
            example,
        })?;
        Self::new(value / 100.0).ok_or(UnitError::Range {
            text: text.to_owned(),
            what: "share",
            range: "0 % to 100 %",
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", short(self.0 * 100.0))
    }
}

/// A size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = UnitError;

    /// Reads `"300 B"`, `"2 KiB"`, `"1.5 MiB"`, `"64 kB"`.
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let example = "\"300 B\" or \"2 KiB\"";
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| c.is_ascii_alphabetic())
            .filter(|at| *at > 0)
            .ok_or(UnitError::Unit { text: text.to_owned(), what: "size", example })?;
        let (value, unit) = trimmed.split_at(split);
        let factor = match unit {
            "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => {
                return Err(UnitError::Malformed { text: text.to_owned(), what: "a size", example });
            }
        };
        let value = number(value.trim()).ok_or(UnitError::Malformed {
            text: text.to_owned(),
            what: "a size",
            example,
        })? * factor;
        if !(0.0..=1e15).contains(&value) || value.fract() != 0.0 {
            return Err(UnitError::Range {
                text: text.to_owned(),
                what: "size",
                range: "a whole number of bytes up to 1000 TB",
            });
        }
        Ok(Self(value as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        for (size, unit) in units {
            if self.0 >= size {
                return write!(f, "{} {unit}", short(self.0 as f64 / size as f64));
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// The longest duration that any text may give: 366 days.
pub const MAX_DURATION: Duration = Duration::from_secs(366 * 86_400);

/// Reads `"30s"`, `"500ms"`, `"1m30s"`, `"1.5h"`, `"250us"`; at most [`MAX_DURATION`].
///
/// # Errors
/// [`UnitError`] when the text has no unit, an unknown one, or is out of range.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let example = "\"30s\", \"500ms\" or \"1m30s\"";
    let malformed = || UnitError::Malformed { text: text.to_owned(), what: "a duration", example };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total = 0.0f64;
    while !rest.is_empty() {
        let split = rest.find(|c: char| c.is_alphabetic() || c == 'µ').ok_or_else(|| {
            if number(rest).is_some() {
                UnitError::Unit { text: text.to_owned(), what: "time", example }
            } else {
                malformed()
            }
        })?;
        let (value, tail) = rest.split_at(split);
        let end = tail.find(|c: char| !c.is_alphabetic() && c != 'µ').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return Err(malformed()),
        };
        total += number(value.trim()).ok_or_else(malformed)? * seconds;
        rest = tail.trim_start();
    }
    if !(0.0..=MAX_DURATION.as_secs_f64()).contains(&total) {
        return Err(UnitError::Range { text: text.to_owned(), what: "duration", range: "0s to 366d" });
    }
    // Through whole nanoseconds, so that "0.1s" is exactly 100 ms.
    Ok(Duration::from_nanos((total * 1e9).round() as u64))
}

/// A duration as scenario files write it: `"1m30s"`, `"500ms"`. [`parse_duration`] reads it back unchanged.
pub fn spell_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let units: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let mut rest = nanos;
    let mut text = String::new();
    for (size, unit) in units {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// A measured duration for people, three significant digits: `"71.2 µs"`, `"1.23 s"`, `"2 m 05 s"`.
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    let digits = |value: f64| {
        if value >= 99.95 {
            format!("{value:.0}")
        } else if value >= 9.995 {
            format!("{value:.1}")
        } else {
            format!("{value:.2}")
        }
    };
    if seconds >= 119.5 {
        let whole = seconds.round() as u64;
        if whole >= 7_200 {
            return format!("{} h {:02} m", whole / 3_600, whole % 3_600 / 60);
        }
        return format!("{} m {:02} s", whole / 60, whole % 60);
    }
    if seconds >= 0.999_5 {
        format!("{} s", digits(seconds))
    } else if seconds >= 0.000_999_5 {
        format!("{} ms", digits(seconds * 1e3))
    } else if seconds > 0.0 {
        format!("{} µs", digits(seconds * 1e6))
    } else {
        "0 s".to_owned()
    }
}

/// A count with thousands separators: `"12,345"`.
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size of memory: `33.4 MiB`. One decimal is all that it is good for.
pub fn show_bytes(count: u64) -> String {
    let (unit, size) = if count >= 1 << 30 {
        ("GiB", 1u64 << 30)
    } else if count >= 1 << 20 {
        ("MiB", 1 << 20)
    } else {
        ("KiB", 1 << 10)
    };
    format!("{:.1} {unit}", count as f64 / size as f64)
}

/// A plain decimal number without sign: no `inf`, `nan`, hexadecimal or surrounding space.
fn number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '_' | 'e' | 'E' | '+' | '-'));
    plain.then(|| text.replace('_', "").parse::<f64>().ok()).flatten().filter(|v| v.is_finite())
}

/// Up to three decimals, without trailing zeros.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_read_per_second_minute_hour_and_day() {
        for (text, expected) in
            [("10/s", 10.0), ("6000/min", 100.0), ("1.5 / h", 1.5 / 3600.0), ("86400/day", 1.0)]
        {
            assert_eq!(text.parse::<Rate>().expect(text).per_second(), expected);
        }
    }

    #[test]
    fn a_quantity_without_its_unit_is_refused_with_an_example() {
        assert!("10".parse::<Rate>().unwrap_err().to_string().contains("\"10/s\""));
        assert!("5".parse::<Share>().unwrap_err().to_string().contains("\"5 %\""));
        assert!("300".parse::<ByteSize>().unwrap_err().to_string().contains("\"300 B\""));
        assert!(parse_duration("30").unwrap_err().to_string().contains("\"30s\""));
    }

    #[test]
    fn infinite_negative_and_absurd_numbers_are_refused() {
        for text in ["nan/s", "inf/s", "-1/s", "0/s", "1e308/s", "1e7/s", "/s", "s", ""] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["nan %", "-1 %", "101 %", "%", "1e308%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        for text in ["-1s", "nan", "infs", "1e308h", "400d", "", "s", "1x", "1s2"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["-1 B", "0.5 B", "1e300 GiB", "B", "1 XB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_of_a_tenth_are_exact() {
        assert_eq!(parse_duration("0.1s"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1 m 30 s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn measured_durations_show_three_digits() {
        for (nanos, expected) in [
            (0, "0 s"),
            (71_234, "71.2 µs"),
            (999_600, "1.00 ms"),
            (12_345_678, "12.3 ms"),
            (999_600_000, "1.00 s"),
            (59_000_000_000, "59.0 s"),
            (125_000_000_000, "2 m 05 s"),
            (7_260_000_000_000, "2 h 01 m"),
        ] {
            assert_eq!(show_duration(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(show_count(1_234_567), "1,234,567");
        assert_eq!(show_count(999), "999");
    }

    proptest! {
        #[test]
        fn a_spelled_duration_reads_back_unchanged(nanos in 0u64..86_400_000_000_000) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&spell_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_a_quantity_panic(text in "\\PC{0,20}") {
            let _ = text.parse::<Rate>();
            let _ = text.parse::<Share>();
            let _ = text.parse::<ByteSize>();
            let _ = parse_duration(&text);
        }
    }
}
