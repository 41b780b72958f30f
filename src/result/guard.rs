//! A reader that lets through JSON of the shape of a result, and stops a file that would take too much memory before
//! anything is made of it.
//!
//! What a JSON text takes in memory has little to do with its length: `{"a":1}` becomes a map of 400 bytes. So the guard
//! reads along, without understanding names, and counts what each part costs at most. The result is parsed as it is read;
//! the text itself is never held.

use std::io::{self, Read};

/// The most that a result may take in memory, by the estimate below. What is recorded stays below: a timeline of the
/// most entries that [`super::build()`] makes takes 22 MiB, and a population 0.1 to 0.2 MiB.
pub(super) const MAX_MEMORY_BYTES: u64 = 36 << 20;

/// The longest text in a result: a histogram of 3 digits in base64 has at most 566 KB.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// How deep a result nests; it needs eleven levels.
const MAX_DEPTH: u32 = 16;

// The costs are measured: with each the worst of the files that consist of little else takes less than 64 MiB.

/// An object as a map with one leaf of a B-tree, or as one of the structures.
const OBJECT_COST: u64 = 240;

/// A text besides its characters.
const TEXT_COST: u64 = 40;

/// One more value, and the room that a list keeps for growing.
const VALUE_COST: u64 = 32;

/// Reads from `R` and refuses what no result has.
pub(super) struct Guard<R> {
    inner: R,
    in_text: bool,
    escaped: bool,
    text_bytes: u64,
    depth: u32,
    memory: u64,
}

impl<R: Read> Guard<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, in_text: false, escaped: false, text_bytes: 0, depth: 0, memory: 0 }
    }

    fn pass(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        for byte in bytes {
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_text = false;
                        self.memory += self.text_bytes + TEXT_COST;
                        continue;
                    }
                    _ => {}
                }
                self.text_bytes += 1;
                if self.text_bytes > MAX_TEXT_BYTES {
                    return Err("a text is longer than any in a result");
                }
                continue;
            }
            match byte {
                b'"' => (self.in_text, self.text_bytes) = (true, 0),
                b',' => self.memory += VALUE_COST,
                b'{' | b'[' => {
                    self.depth += 1;
                    self.memory += if *byte == b'{' { OBJECT_COST } else { VALUE_COST };
                    if self.depth > MAX_DEPTH {
                        return Err("it nests deeper than a result");
                    }
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if self.memory > MAX_MEMORY_BYTES {
            return Err("it holds more than a result can");
        }
        Ok(())
    }
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.pass(&buffer[..length]).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        Guard::new(text.as_bytes()).read_to_end(&mut Vec::new()).err().map(|error| error.to_string())
    }

    #[test]
    fn what_is_in_a_text_is_not_taken_for_structure() {
        assert_eq!(refused(&format!("[\"{}\"]", "{\\\"[".repeat(1_000))), None);
        assert_eq!(refused(&"[".repeat(16)), None);
        assert!(refused(&"[".repeat(17)).is_some_and(|why| why.contains("deeper")));
        assert_eq!(refused(&"[]".repeat(1_000)), None);
    }

    #[test]
    fn long_texts_and_many_small_maps_are_stopped() {
        assert!(refused(&format!("\"{}\"", "x".repeat(2 << 20))).is_some_and(|why| why.contains("longer")));
        assert!(refused(&"{\"a\":1},".repeat(200_000)).is_some_and(|why| why.contains("holds more")));
    }
}
