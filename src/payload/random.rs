//! Random texts: nothing in them but their length and alphabet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::rng::Stream;

/// Appends a version 4 UUID.
///
/// Source: <https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-4>
pub(super) fn uuid(stream: &mut Stream, out: &mut Vec<u8>) {
    let high = stream.bits() & !0xf000 | 0x4000;
    let low = stream.bits() & (u64::MAX >> 2) | 1 << 63;
    let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at..at + 2].copy_from_slice(&digits(byte));
        at += 2;
    }
    out.extend_from_slice(&text);
}

/// Appends `count` random bytes.
pub(super) fn bytes(stream: &mut Stream, count: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + count, 0);
    stream.fill(&mut out[start..]);
}

/// Appends `count` random bytes in base64 with padding.
pub(super) fn base64(stream: &mut Stream, count: usize, out: &mut Vec<u8>) {
    // A multiple of three, so that only the last piece is padded.
    const PIECE: usize = 384;
    let mut raw = [0; PIECE];
    let mut left = count;
    while left > 0 {
        let raw = &mut raw[..left.min(PIECE)];
        stream.fill(raw);
        left -= raw.len();
        let mut text = [0; PIECE / 3 * 4];
        let length = STANDARD.encode_slice(&*raw, &mut text).unwrap_or(0);
        out.extend_from_slice(&text[..length]);
    }
}

/// Appends two hexadecimal digits for each of `count` random bytes.
pub(super) fn hex(stream: &mut Stream, count: usize, out: &mut Vec<u8>) {
    let mut left = count;
    while left > 0 {
        let bytes = stream.bits().to_le_bytes();
        let taken = left.min(bytes.len());
        hex_of(&bytes[..taken], out);
        left -= taken;
    }
}

/// Appends `bytes` in hexadecimal digits.
pub(super) fn hex_of(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(&digits(*byte));
    }
}

/// Appends `count` random letters and digits.
pub(super) fn letters(stream: &mut Stream, count: usize, out: &mut Vec<u8>) {
    let mut left = count;
    while left > 0 {
        // 16 bits for each: with 62 letters, the most likely is a thousandth likelier than the least.
        let bits = stream.bits();
        for shift in [0, 16, 32, 48].into_iter().take(left) {
            let index = ((bits >> shift & 0xffff) * ALPHABET.len() as u64) >> 16;
            out.push(ALPHABET[index as usize]);
        }
        left = left.saturating_sub(4);
    }
}

fn digits(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::rng::{Purpose, stream};

    fn text(make: impl FnOnce(&mut Stream, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        make(&mut stream(7, "random", 0, Purpose::Payload), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_uuid_says_that_it_is_random() {
        let mut seen = HashSet::new();
        let mut stream = stream(7, "uuid", 0, Purpose::Payload);
        for _ in 0..1_000 {
            let mut out = Vec::new();
            uuid(&mut stream, &mut out);
            let text = String::from_utf8(out).expect("ASCII");
            let lengths: Vec<usize> = text.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{text}");
            assert_eq!(&text[14..15], "4", "{text}");
            assert!("89ab".contains(&text[19..20]), "{text}");
            assert!(seen.insert(text));
        }
    }

    #[test]
    fn texts_have_the_length_that_was_asked_for() {
        for count in [1, 2, 3, 4, 383, 384, 385, 1_000] {
            let encoded = text(|stream, out| base64(stream, count, out));
            assert_eq!(STANDARD.decode(&encoded).expect("base64").len(), count);
            assert_eq!(text(|stream, out| hex(stream, count, out)).len(), 2 * count);
            let letters = text(|stream, out| letters(stream, count, out));
            assert_eq!(letters.len(), count);
            assert!(letters.bytes().all(|letter| letter.is_ascii_alphanumeric()));
        }
        let all: HashSet<u8> = text(|stream, out| letters(stream, 2_000, out)).bytes().collect();
        assert_eq!(all.len(), 62);
    }
}
