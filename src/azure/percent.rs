//! How SDKs write characters that do not go into a user name, a topic or a token as they are.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What RFC 3986 calls unreserved, and most SDKs leave as it is: letters, digits and `-._~`.
pub const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Letters, digits and ``-._~!'()*``.
const COMPONENT: &AsciiSet = &UNRESERVED.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');

/// Letters, digits and `-._!()*`.
const IN_C: &AsciiSet = &UNRESERVED.remove(b'!').remove(b'(').remove(b')').remove(b'*').add(b'~');

/// How a client percent-encodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Percent {
    /// All but letters, digits and `-._~`, with upper-case digits: Python's `urllib.parse.quote`, and muster's own way.
    #[default]
    Strict,
    /// Leaves ``!'()*`` as well: `encodeURIComponent`, which Node's SDK uses.
    Component,
    /// Lower-case digits, and leaves `!()*` but not `~`: `src/urlencode.c` of azure-c-shared-utility. That takes each byte for a
    /// character of Latin-1; names and values here are ASCII.
    C,
    /// Not at all.
    Raw,
}

impl Percent {
    /// Appends `text` to `to`.
    pub fn append(self, to: &mut String, text: &str) {
        match self {
            Self::Strict => to.extend(utf8_percent_encode(text, UNRESERVED)),
            Self::Component => to.extend(utf8_percent_encode(text, COMPONENT)),
            Self::C => append_lower_case(to, text, IN_C),
            Self::Raw => to.push_str(text),
        }
    }

    /// `text` in this spelling.
    pub fn encode(self, text: &str) -> String {
        let mut encoded = String::with_capacity(text.len() + 16);
        self.append(&mut encoded, text);
        encoded
    }
}

/// Percent-encodes with lower-case digits.
fn append_lower_case(to: &mut String, text: &str, set: &'static AsciiSet) {
    for part in utf8_percent_encode(text, set) {
        match part.as_bytes() {
            [b'%', ..] => to.push_str(&part.to_ascii_lowercase()),
            _ => to.push_str(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sdk_writes_the_same_text_in_its_own_way() {
        let text = "a/b (c; d)!*'~-._+=";
        for (spelling, expected) in [
            (Percent::Strict, "a%2Fb%20%28c%3B%20d%29%21%2A%27~-._%2B%3D"),
            (Percent::Component, "a%2Fb%20(c%3B%20d)!*'~-._%2B%3D"),
            (Percent::C, "a%2fb%20(c%3b%20d)!*%27%7e-._%2b%3d"),
            (Percent::Raw, text),
        ] {
            assert_eq!(spelling.encode(text), expected, "{spelling:?}");
        }
    }
}
