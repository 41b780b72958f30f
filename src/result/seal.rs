//! The checksum of a stored result: SHA-256 of every byte before it, as the last value of the object.
//!
//! A count that was changed contradicts another one, but nothing repeats the duration, the seed or a text. With the
//! checksum no byte of a file can be changed, by accident or by an editor, without its being noticed. It is no signature:
//! whoever wants to may work it out again.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

/// Hexadecimal digits of the checksum.
const DIGITS: usize = 64;

/// What follows the digits, up to the end of the file.
const END: &[u8] = b"\"\n}\n";

/// How an unsealed text ends: the checksum, still empty, is the last value.
const UNSEALED_END: &[u8] = b"\"checksum\": \"\"\n}\n";

/// Writes the checksum into the text of a result, which ends with an empty one.
pub(super) fn seal(mut text: Vec<u8>) -> Vec<u8> {
    debug_assert!(text.ends_with(UNSEALED_END), "`checksum` is the last field of a result");
    text.truncate(text.len() - END.len());
    let digits = hex(Sha256::digest(&text).as_slice());
    text.extend_from_slice(digits.as_bytes());
    text.extend_from_slice(END);
    text
}

/// Reads from `R`, and knows at its end whether the checksum is that of the rest.
pub(super) struct Sealed<R> {
    inner: R,
    digest: Sha256,
    /// The last bytes, not yet in the digest: at the end of the file the checksum and what closes it.
    tail: Vec<u8>,
}

impl<R: Read> Sealed<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, digest: Sha256::new(), tail: Vec::new() }
    }

    /// Whether the checksum is right. Reads what is left of the file first.
    pub(super) fn finish(mut self) -> io::Result<bool> {
        io::copy(&mut self, &mut io::sink())?;
        let Some((digits, end)) = self.tail.split_at_checked(DIGITS) else { return Ok(false) };
        Ok(end == END && digits == hex(self.digest.finalize().as_slice()).as_bytes())
    }
}

impl<R: Read> Read for Sealed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.tail.extend_from_slice(&buffer[..length]);
        let sure = self.tail.len().saturating_sub(DIGITS + END.len());
        self.digest.update(&self.tail[..sure]);
        self.tail.drain(..sure);
        Ok(length)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_whole(text: &[u8]) -> bool {
        Sealed::new(text).finish().expect("memory is readable")
    }

    #[test]
    fn a_text_is_whole_however_it_is_cut_into_reads_and_no_byte_of_it_can_change() {
        let text = seal(b"{\n  \"a\": 1,\n  \"checksum\": \"\"\n}\n".to_vec());
        for size in 1..text.len() {
            let mut sealed = Sealed::new(&text[..]);
            let mut buffer = vec![0; size];
            while sealed.read(&mut buffer).expect("memory is readable") > 0 {}
            assert!(sealed.finish().expect("memory is readable"), "{size}");
        }
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(!is_whole(&changed), "{at}");
            assert!(!is_whole(&text[..at]), "{at}");
        }
        assert!(!is_whole(&[&text[..], b" "].concat()));
        assert!(!is_whole(b""));
    }
}
