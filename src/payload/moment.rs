//! `${now}`: wall time in the forms that devices use.

use super::number;
use super::part::push;
use crate::time::UnixTime;

/// A way to write the time; always UTC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Moment {
    /// `2026-01-31T12:00:00.000Z` with so many digits of the second.
    Iso(u8),
    /// Since 1970, in units of so many nanoseconds.
    Unix(u64),
    /// As a `strftime` format says.
    Format(Box<str>),
}

impl Moment {
    /// The forms that have a name.
    pub(super) const NAMES: [&'static str; 7] =
        ["iso_s", "iso_ms", "iso_us", "unix", "unix_ms", "unix_us", "unix_ns"];

    /// The form of that name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "iso_s" => Self::Iso(0),
            "iso_ms" => Self::Iso(3),
            "iso_us" => Self::Iso(6),
            "unix" => Self::Unix(1_000_000_000),
            "unix_ms" => Self::Unix(1_000_000),
            "unix_us" => Self::Unix(1_000),
            "unix_ns" => Self::Unix(1),
            _ => return None,
        })
    }

    /// The form that `strftime` calls `format`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of_format(format: &str) -> Result<Self, String> {
        // A field may be padded to 255 characters, so the text can be some sixty times as long as its format.
        const LONGEST: usize = 256;
        if format.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} characters"));
        }
        // What it says depends on the time, whether it is legal does not.
        for time in TRIALS {
            strftime(format, time, &mut Vec::new())?;
        }
        Ok(Self::Format(format.into()))
    }

    pub(super) fn render(&self, now: UnixTime, json: bool, out: &mut Vec<u8>) {
        match self {
            Self::Iso(digits) => iso(now, *digits, out),
            Self::Unix(unit) => number::whole(out, now.nanos() / unit),
            Self::Format(format) => {
                let mut text = Vec::new();
                // Tried when it was made.
                if strftime(format, now, &mut text).is_ok()
                    && let Ok(text) = std::str::from_utf8(&text)
                {
                    push(out, text, json);
                }
            }
        }
    }

    /// A time at which the text is short, or one at which it is long.
    pub(super) fn alternative(&self, which: usize, json: bool, out: &mut Vec<u8>) {
        self.render(TRIALS[which.min(1)], json, out);
    }
}

/// Midnight of a day with short names (2026-05-01, a Friday), and a second with long ones and no digit to be left out
/// (2026-09-30, a Wednesday).
const TRIALS: [UnixTime; 2] =
    [UnixTime::from_nanos(1_777_593_600_000_000_000), UnixTime::from_nanos(1_790_808_959_123_456_789)];

fn strftime(format: &str, time: UnixTime, out: &mut Vec<u8>) -> Result<(), String> {
    let timestamp =
        jiff::Timestamp::from_nanosecond(i128::from(time.nanos())).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::fmt::strtime::BrokenDownTime::from(timestamp).format(format, out).map_err(|error| error.to_string())
}

/// RFC 3339 in UTC, as [`UnixTime::to_rfc3339`] writes it and without its allocation.
fn iso(time: UnixTime, digits: u8, out: &mut Vec<u8>) {
    let (days, second) = (time.seconds() / 86_400, time.seconds() % 86_400);
    // Days since 0000-03-01, in eras of 400 years: leap days come last in a year that begins in March.
    // Source: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    number::padded(out, year, 4);
    for (sign, value) in
        [(b'-', month), (b'-', day), (b'T', second / 3_600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.extend_from_slice(&[sign, b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
    }
    if digits > 0 {
        out.push(b'.');
        let nanos = time.nanos() % 1_000_000_000;
        number::padded(out, nanos / 10u64.pow(9 - u32::from(digits.min(9))), usize::from(digits.min(9)));
    }
    out.push(b'Z');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(moment: &Moment, nanos: u64) -> String {
        let mut out = Vec::new();
        moment.render(UnixTime::from_nanos(nanos), true, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn every_form_writes_the_same_second() {
        let nanos = 1_700_000_000_123_456_789;
        for (name, expected) in [
            ("iso_s", "2023-11-14T22:13:20Z"),
            ("iso_ms", "2023-11-14T22:13:20.123Z"),
            ("iso_us", "2023-11-14T22:13:20.123456Z"),
            ("unix", "1700000000"),
            ("unix_ms", "1700000000123"),
            ("unix_us", "1700000000123456"),
            ("unix_ns", "1700000000123456789"),
        ] {
            assert!(Moment::NAMES.contains(&name));
            assert_eq!(text(&Moment::of_name(name).expect(name), nanos), expected, "{name}");
        }
        let format = Moment::of_format("%Y-%m-%d \"%H:%M\" %z").expect("a format");
        assert_eq!(text(&format, nanos), "2023-11-14 \\\"22:13\\\" +0000");
    }

    #[test]
    fn formats_that_nobody_knows_are_refused() {
        for format in ["%", "%1", "%!", "%999Y", &"x".repeat(257)] {
            assert!(Moment::of_format(format).is_err(), "{format}");
        }
    }

    proptest! {
        #[test]
        fn dates_are_those_of_the_calendar(nanos: u64, digits in prop::sample::select(&[0u8, 3, 6])) {
            let expected = UnixTime::from_nanos(nanos).to_rfc3339(digits);
            prop_assert_eq!(text(&Moment::Iso(digits), nanos), expected);
        }
    }
}
