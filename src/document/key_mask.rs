//! Keys and passwords that were written where they do not belong must not be repeated in a diagnostic.

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

/// The places in `text` that look like user and password of a URL: what stands between `://` and the last `@` of the line,
/// unless it is only variables. A password may have spaces and quotes in it, so neither is taken for its end.
pub(super) fn passwords(text: &str) -> Vec<Range<usize>> {
    const OPEN: &str = "://";
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(scheme) = text[at..].find(OPEN) {
        let start = at + scheme + OPEN.len();
        let rest = &text[start..];
        let length = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let end = rest[..length].rfind('@').map(|end| start + end);
        match end.filter(|end| !only_variables(&text[start..*end])) {
            Some(end) => {
                found.push(start..end);
                at = end;
            }
            None => at = start,
        }
    }
    found
}

/// Whether nothing but `${env:NAME}` and `:` is in it.
fn only_variables(text: &str) -> bool {
    text.split("${env:").enumerate().all(|(n, part)| {
        let literal = if n == 0 { Some(part) } else { part.split_once('}').map(|(_, literal)| literal) };
        literal.is_some_and(|literal| literal.chars().all(|c| c == ':'))
    })
}

/// `text` with `…` for everything that looks like a key or a password.
pub(super) fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut from = 0;
    let mut secrets = [keys(text), passwords(text)].concat();
    secrets.sort_by_key(|secret| (secret.start, secret.end));
    for secret in secrets {
        if secret.start >= from {
            masked.push_str(&text[from..secret.start]);
            masked.push('…');
        }
        from = from.max(secret.end);
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

    #[test]
    fn passwords_in_urls_are_masked_and_variables_are_not() {
        let key = "AAAAAAAAAAAAAAAAAAAAAAa1==";
        for (text, masked) in [
            ("proxy = \"http://user:hunter2@p:1\"", "proxy = \"http://…@p:1\""),
            ("'http://u:p/a@b@p:1", "'http://…@p:1"),
            ("http://token@p:1\nhttp://u:${env:P}@q:1", "http://…@p:1\nhttp://…@q:1"),
            ("'http://u:a \"b\" c@p:1'", "'http://…@p:1'"),
            (&format!("http://u:{key}@p:1 {key}"), "http://…@p:1 …"),
            (&format!("http://u:{key}x@p:1"), "http://…@p:1"),
            ("http://${env:U}:${env:P@p:1", "http://…@p:1"),
        ] {
            assert_eq!(mask(text), masked, "{text}");
        }
        for text in
            ["http://p:1", "http://${env:U}:${env:P}@p:1", "http://@p:1", "a@b.c", "://", "x://a\nb@c"]
        {
            assert_eq!(mask(text), text);
        }
    }
}
