//! Keys that were written where they do not belong must not be repeated in a diagnostic.

use std::ops::Range;

/// The places in `text` that look like a base64 key: a long run of its alphabet, closed by `=` or very long.
///
/// A symmetric key of 16 bytes has 22 characters and `==`, one of 32 bytes has 43 and `=`, one of 48 or 64 bytes more.
pub(super) fn keys(text: &str) -> Vec<Range<usize>> {
    const CLOSED: usize = 22;
    const OPEN: usize = 40;
    let bytes = text.as_bytes();
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'_' | b'-');
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        while at < bytes.len() && in_alphabet(bytes[at]) {
            at += 1;
        }
        let length = at - start;
        let run = &bytes[start..at];
        let closed = at < bytes.len() && bytes[at] == b'=';
        while closed && at < bytes.len() && bytes[at] == b'=' {
            at += 1;
        }
        // Names and rules of dashes are long too; a key has digits and letters of both cases.
        let mixed = run.iter().any(u8::is_ascii_uppercase)
            && run.iter().any(u8::is_ascii_lowercase)
            && run.iter().any(u8::is_ascii_digit);
        if mixed && ((closed && length >= CLOSED) || length >= OPEN) {
            found.push(start..at);
        }
        at = at.max(start + 1);
    }
    found
}

/// `text` with `…` for everything that looks like a key.
pub(super) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    for key in keys(text) {
        masked.push_str(&text[from..key.start]);
        masked.push('…');
        from = key.end;
    }
    masked.push_str(&text[from..]);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked_and_names_are_not() {
        let key = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        assert_eq!(mask(&format!("key = \"{key}\" # old")), "key = \"…\" # old");
        assert_eq!(mask("a AAAAAAAAAAAAAAAAAAAa1== b"), "a AAAAAAAAAAAAAAAAAAAa1== b");
        assert_eq!(mask("a AAAAAAAAAAAAAAAAAAAAAAa1== b"), "a … b");
        for text in
            ["global.azure-devices-provisioning.net", "time_to_assigned.response.p99", "gerät", "===="]
        {
            assert_eq!(mask(text), text);
        }
    }
}
