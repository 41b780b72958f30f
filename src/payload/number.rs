//! Numbers as text, without the detour through `std::fmt`.

use std::io::Write as _;

/// Powers of ten up to [`MAX_DECIMALS`](super::MAX_DECIMALS).
const POWERS: [u64; 10] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// Appends `value`.
pub(super) fn whole(out: &mut Vec<u8>, mut value: u64) {
    // The longest u64 has 20 digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    let pair = value as usize * 2;
    if value >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    } else {
        at -= 1;
        digits[at] = PAIRS[pair + 1];
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `value`.
pub(super) fn signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    whole(out, value.unsigned_abs());
}

/// Appends the last `width` digits of `value`, zeros in front.
pub(super) fn padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let start = out.len();
    out.resize(start + width, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Appends `value` with `decimals` digits behind the point, rounded as `format!("{value:.decimals$}")` rounds: its exact
/// value to the nearest, halves to even. Unlike there, a zero has no sign.
pub(super) fn fixed(out: &mut Vec<u8>, value: f64, decimals: u8) {
    // Below this, the product is off by at most 2^-11 (half the distance of two doubles there), so a fraction that is
    // further than that from a half is on the side where it seems to be. The others are few and take the long way.
    const SURE: f64 = (1u64 << 42) as f64;
    const UNSURE: f64 = 1.0 / 1_024.0;
    let Some(power) = POWERS.get(usize::from(decimals)).copied() else {
        return exactly(out, value, decimals);
    };
    let scaled = value.abs() * power as f64;
    if scaled.is_nan() || scaled >= SURE {
        return exactly(out, value, decimals);
    }
    let floor = scaled as u64;
    let fraction = scaled - floor as f64;
    if (fraction - 0.5).abs() < UNSURE {
        return exactly(out, value, decimals);
    }
    let units = floor + u64::from(fraction > 0.5);
    if value < 0.0 && units > 0 {
        out.push(b'-');
    }
    if decimals == 0 {
        return whole(out, units);
    }
    whole(out, units / power);
    out.push(b'.');
    padded(out, units % power, usize::from(decimals));
}

fn exactly(out: &mut Vec<u8>, value: f64, decimals: u8) {
    let start = out.len();
    // Memory takes any text.
    let _ = write!(out, "{value:.*}", usize::from(decimals));
    if out.get(start) == Some(&b'-') && out[start + 1..].iter().all(|digit| matches!(digit, b'0' | b'.')) {
        out.remove(start);
    }
}

/// The numbers from 00 to 99.
const PAIRS: &[u8; 200] = b"\
    0001020304050607080910111213141516171819\
    2021222324252627282930313233343536373839\
    4041424344454647484950515253545556575859\
    6061626364656667686970717273747576777879\
    8081828384858687888990919293949596979899";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(append: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).expect("digits")
    }

    /// What the standard library prints, without the sign of a zero.
    fn expected(value: f64, decimals: usize) -> String {
        let text = format!("{value:.decimals$}");
        match text.strip_prefix('-') {
            Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
            _ => text,
        }
    }

    #[test]
    fn halves_go_to_the_even_digit_and_a_zero_has_no_sign() {
        for (value, decimals, expected) in [
            (0.125, 2, "0.12"),
            (0.375, 2, "0.38"),
            (1.005, 2, "1.00"),
            (-0.001, 2, "0.00"),
            (-0.5, 0, "0"),
            (-1.5, 0, "-2"),
            (1e15, 9, "1000000000000000.000000000"),
            (999.999, 2, "1000.00"),
        ] {
            assert_eq!(text(|out| fixed(out, value, decimals)), expected, "{value} {decimals}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_what_the_standard_library_prints(value in -1e15f64..1e15, small in -1e3f64..1e3, grid in -1_000_000i64..1_000_000, decimals in 0u8..=9) {
            for value in [value, small, grid as f64 / 1_000.0, grid as f64 / 64.0] {
                prop_assert_eq!(text(|out| fixed(out, value, decimals)), expected(value, decimals.into()));
            }
        }

        #[test]
        fn whole_numbers_are_what_the_standard_library_prints(value: u64, small in 0u64..1_000, negative: i64) {
            prop_assert_eq!(text(|out| whole(out, value)), value.to_string());
            prop_assert_eq!(text(|out| whole(out, small)), small.to_string());
            prop_assert_eq!(text(|out| signed(out, negative)), negative.to_string());
        }
    }
}
