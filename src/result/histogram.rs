//! Histograms as text, and a reader that trusts none of it.
//!
//! The format is HdrHistogram's V2, deflated and in base64, which other HdrHistogram libraries read. Its header states
//! bounds and lengths, and a decoder that believes them can be made to allocate gigabytes by 40 bytes. So the reader
//! here knows the bounds beforehand, inflates no more than such a histogram can need, and fills the buckets itself.
//!
//! | bytes | V2, after inflating |
//! |---|---|
//! | 4 | cookie |
//! | 4 | length of the counts |
//! | 4 | normalizing index offset, 0 |
//! | 4 | significant digits |
//! | 8, 8 | lowest and highest value |
//! | 8 | integer to double ratio, 1.0 |
//! | … | counts: zig-zag LEB128, a negative one being a run of empty buckets |
//!
//! Source: <https://github.com/HdrHistogram/HdrHistogram_rust/blob/main/src/serialization/mod.rs>

use std::cell::Cell;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::record::durations::{HIGH_US, LOW_US, with_digits};

/// Why a text is not one of our histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HistogramError {
    /// Not base64.
    #[error("it is not base64")]
    Base64,
    /// Another format, or cut short.
    #[error("it is not a deflated HdrHistogram V2, or it is cut short")]
    Format,
    /// Other bounds or digits than the file format says.
    #[error("it has other bounds than 1 µs to 1 h, or other digits")]
    Bounds,
    /// More counts than it has buckets.
    #[error("it has more counts than buckets")]
    TooLong,
    /// All histograms of a file together are too much work.
    #[error("together with those before it, it has more counts than the histograms of any run")]
    TooMany,
    /// Counts that no run can have.
    #[error("its counts are negative or add up to more than 2^46")]
    Counts,
}

const COOKIE: u32 = 0x1c84_9303 | 0x10;
const COMPRESSED_COOKIE: u32 = 0x1c84_9304 | 0x10;
const HEADER: usize = 40;

/// 7 × 10^13 steps: no run gets near it, and the sum of as many histograms as a file can hold stays within a `u64`.
const MAX_COUNT: u64 = 1 << 46;

/// How many bytes of counts are still read from a file.
///
/// A hundred bytes of text inflate to a histogram with something in every bucket, which costs a millisecond to read and to
/// check; a file has room for ten thousands of them.
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// What the histograms of a run may have, and those of its timeline once more: 50 populations with 28 histograms of
    /// 10,000 counts each, or 300 with a thousandth of that. Takes 0.9 s at worst.
    pub(super) const FILE: usize = 16 << 20;

    pub(super) fn new(bytes: usize) -> Self {
        Self(Cell::new(bytes))
    }

    fn take(&self, bytes: usize) -> Result<(), HistogramError> {
        self.0.set(self.0.get().checked_sub(bytes).ok_or(HistogramError::TooMany)?);
        Ok(())
    }
}

/// As text. Never fails: it is written to memory, and its bounds are constants.
pub(super) fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut bytes)
        .expect("writing to memory does not fail, and the bounds fit the format");
    STANDARD.encode(bytes)
}

/// Reads what [`encode`] wrote, for a histogram of `digits` significant digits.
pub(super) fn decode(text: &str, digits: u8, budget: &Budget) -> Result<Histogram<u64>, HistogramError> {
    let mut histogram = with_digits(digits);
    let buckets = histogram.distinct_values();
    // A count takes at most nine bytes; deflate adds little to what it cannot compress.
    let limit = HEADER + 9 * buckets;
    if text.len() > 2 * limit {
        return Err(HistogramError::TooLong);
    }
    let bytes = STANDARD.decode(text).map_err(|_| HistogramError::Base64)?;
    let (cookie, rest) = take_u32(&bytes)?;
    let (length, rest) = take_u32(rest)?;
    if cookie != COMPRESSED_COOKIE || length as usize != rest.len() {
        return Err(HistogramError::Format);
    }
    let mut inflated = Vec::new();
    ZlibDecoder::new(rest)
        .take(limit as u64 + 1)
        .read_to_end(&mut inflated)
        .map_err(|_| HistogramError::Format)?;
    if inflated.len() > limit {
        return Err(HistogramError::TooLong);
    }
    let counts = check_header(&inflated, digits)?;
    // An empty one is work as well: its buckets are allocated and gone through.
    budget.take(counts.len() + buckets / 12)?;
    fill(&mut histogram, counts, digits)?;
    Ok(histogram)
}

/// The counts behind a header that says what we know already.
fn check_header(bytes: &[u8], digits: u8) -> Result<&[u8], HistogramError> {
    let (cookie, rest) = take_u32(bytes)?;
    let (length, rest) = take_u32(rest)?;
    let (offset, rest) = take_u32(rest)?;
    let (stated_digits, rest) = take_u32(rest)?;
    let (low, rest) = take_u64(rest)?;
    let (high, rest) = take_u64(rest)?;
    let (ratio, counts) = take_u64(rest)?;
    if cookie != COOKIE || length as usize != counts.len() || offset != 0 || ratio != 1.0f64.to_bits() {
        return Err(HistogramError::Format);
    }
    if (low, high, stated_digits) != (LOW_US, HIGH_US, u32::from(digits)) {
        return Err(HistogramError::Bounds);
    }
    Ok(counts)
}

fn fill(histogram: &mut Histogram<u64>, mut counts: &[u8], digits: u8) -> Result<(), HistogramError> {
    let buckets = histogram.distinct_values() as u64;
    let mut index = 0u64;
    let mut total = 0u64;
    while !counts.is_empty() {
        let (encoded, rest) = take_varint(counts)?;
        counts = rest;
        // Zig-zag: even numbers are counts, odd ones runs of empty buckets.
        let magnitude = encoded >> 1;
        let (filled, run) = if encoded & 1 == 1 { (0, magnitude.saturating_add(1)) } else { (magnitude, 1) };
        if run > buckets - index {
            return Err(HistogramError::TooLong);
        }
        if filled > 0 {
            total = total.checked_add(filled).filter(|t| *t <= MAX_COUNT).ok_or(HistogramError::Counts)?;
            histogram.record_n(value_of(index, digits), filled).map_err(|_| HistogramError::TooLong)?;
        }
        index += run;
    }
    Ok(())
}

/// The lowest value of the bucket at `index` when the lowest value of all is 1: the first buckets are one wide, and
/// each further half of that many is twice as wide as the one before.
fn value_of(index: u64, digits: u8) -> u64 {
    let half = (2 * 10u64.pow(u32::from(digits))).next_power_of_two() / 2;
    if index < 2 * half {
        return index;
    }
    (index % half + half) << (index / half - 1)
}

fn take_u32(bytes: &[u8]) -> Result<(u32, &[u8]), HistogramError> {
    let (head, rest) = bytes.split_first_chunk().ok_or(HistogramError::Format)?;
    Ok((u32::from_be_bytes(*head), rest))
}

fn take_u64(bytes: &[u8]) -> Result<(u64, &[u8]), HistogramError> {
    let (head, rest) = bytes.split_first_chunk().ok_or(HistogramError::Format)?;
    Ok((u64::from_be_bytes(*head), rest))
}

/// LEB128 of at most nine bytes, the ninth of which is taken whole.
fn take_varint(bytes: &[u8]) -> Result<(u64, &[u8]), HistogramError> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(9).enumerate() {
        let last = at == 8 || byte & 0x80 == 0;
        let bits = if at == 8 { *byte } else { byte & 0x7f };
        value |= u64::from(bits) << (7 * at);
        if last {
            return Ok((value, &bytes[at + 1..]));
        }
    }
    Err(HistogramError::Format)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;

    use super::*;

    fn decode(text: &str, digits: u8) -> Result<Histogram<u64>, HistogramError> {
        super::decode(text, digits, &Budget::new(Budget::FILE))
    }

    fn pack(inflated: &[u8]) -> String {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(inflated).expect("memory");
        let deflated = encoder.finish().expect("memory");
        let mut bytes = COMPRESSED_COOKIE.to_be_bytes().to_vec();
        bytes.extend((deflated.len() as u32).to_be_bytes());
        bytes.extend(deflated);
        STANDARD.encode(bytes)
    }

    fn v2(high: u64, counts: &[u8]) -> Vec<u8> {
        let mut bytes = COOKIE.to_be_bytes().to_vec();
        bytes.extend((counts.len() as u32).to_be_bytes());
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        bytes.extend(1u64.to_be_bytes());
        bytes.extend(high.to_be_bytes());
        bytes.extend(1.0f64.to_be_bytes());
        bytes.extend(counts);
        bytes
    }

    #[test]
    fn a_header_that_claims_four_gigabytes_is_refused_at_once() {
        assert_eq!(decode(&pack(&v2(u64::MAX / 2, &[2])), 3), Err(HistogramError::Bounds));
        assert!(decode(&pack(&v2(HIGH_US, &[2])), 3).is_ok());
    }

    #[test]
    fn a_deflate_bomb_is_not_inflated() {
        let bomb = v2(HIGH_US, &vec![2; 50_000_000]);
        assert_eq!(decode(&pack(&bomb), 3), Err(HistogramError::TooLong));
    }

    #[test]
    fn histograms_that_are_too_much_together_are_refused() {
        let full = pack(&v2(HIGH_US, &[2; 20_000]));
        let budget = Budget::new(45_000);
        let read = || super::decode(&full, 3, &budget).map(|histogram| histogram.len());
        assert_eq!([read(), read(), read()], [Ok(20_000), Ok(20_000), Err(HistogramError::TooMany)]);
    }

    #[test]
    fn runs_and_counts_beyond_the_buckets_are_refused() {
        let longest_run = [0xff; 9];
        assert_eq!(decode(&pack(&v2(HIGH_US, &longest_run)), 3), Err(HistogramError::TooLong));
        assert_eq!(decode(&pack(&v2(HIGH_US, &[2; 30_000])), 3), Err(HistogramError::TooLong));
        let huge = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert_eq!(decode(&pack(&v2(HIGH_US, &huge)), 3), Err(HistogramError::Counts));
    }

    #[test]
    fn a_histogram_of_other_digits_is_refused() {
        let mut histogram = with_digits(2);
        histogram.saturating_record(7);
        assert_eq!(decode(&encode(&histogram), 3), Err(HistogramError::Bounds));
    }

    #[test]
    fn every_prefix_and_every_changed_byte_is_refused_or_decoded_within_bounds() {
        let mut histogram = with_digits(3);
        (1..400u64).for_each(|n| histogram.saturating_record(n * n * 37));
        let text = encode(&histogram);
        for end in 0..text.len() {
            assert!(decode(&text[..end], 3).is_err(), "{end}");
        }
        let bytes = STANDARD.decode(&text).expect("our own");
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x15;
            let _ = decode(&STANDARD.encode(changed), 3);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_histogram_reads_back_as_it_was(
            values in prop::collection::vec((0u64..=HIGH_US, 0u32..32, 1u64..1_000_000), 0..100),
            digits in 2u8..=3,
        ) {
            let mut histogram = with_digits(digits);
            values.iter().for_each(|(value, shift, n)| histogram.saturating_record_n(value >> shift, *n));
            prop_assert_eq!(decode(&encode(&histogram), digits), Ok(histogram));
        }
    }
}
