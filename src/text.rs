//! Two kinds of text that must not be shown by accident: what a stranger wrote, and what is secret.

use std::fmt;

use zeroize::Zeroize;

/// Text from a server or a file. It cannot be displayed without choosing an escape, and is cut to
/// [`Untrusted::MAX_CHARS`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Untrusted(Box<str>);

impl Untrusted {
    /// Characters kept of a longer text.
    pub const MAX_CHARS: usize = 300;

    /// Takes text as it came.
    pub fn new(text: &str) -> Self {
        match text.char_indices().nth(Self::MAX_CHARS) {
            Some((cut, _)) => Self(format!("{}…", &text[..cut]).into()),
            None => Self(text.into()),
        }
    }

    /// Takes bytes as they came; what is not UTF-8 becomes U+FFFD.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        // Four bytes a character at most, so nothing that would be shown is lost by cutting first.
        let bytes = &bytes[..bytes.len().min(4 * (Self::MAX_CHARS + 1))];
        Self::new(&String::from_utf8_lossy(bytes))
    }

    /// For terminals, logs and plain text files: control characters (ESC and C1 among them), line breaks and
    /// characters that change the direction of writing become visible escapes.
    pub fn terminal(&self) -> String {
        let mut shown = String::with_capacity(self.0.len());
        for c in self.0.chars() {
            let hidden = c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
            match c {
                '\n' => shown.push_str("\\n"),
                '\r' => shown.push_str("\\r"),
                '\t' => shown.push_str("\\t"),
                _ if hidden => shown.push_str(&format!("\\u{{{:x}}}", c as u32)),
                _ => shown.push(c),
            }
        }
        shown
    }

    /// For a cell of a CSV file (which still needs its quotes): as [`Self::terminal`], and with a `'` before what a
    /// spreadsheet would take for a formula, also where it would divide the cell by another character than the comma.
    ///
    /// Source: <https://owasp.org/www-community/attacks/CSV_Injection>
    pub fn csv(&self) -> String {
        let mut shown = String::new();
        let mut begins = true;
        for c in self.terminal().chars() {
            if begins && matches!(c, '=' | '+' | '-' | '@' | '＝' | '＋' | '－' | '＠') {
                shown.push('\'');
            }
            begins = matches!(c, ',' | ';' | '|' | '"') || begins && c.is_whitespace();
            shown.push(c);
        }
        shown
    }

    /// For Markdown, in a table or elsewhere: as [`Self::terminal`], and as code if anything in it could mean something,
    /// for in code there are no links, mentions, pictures or HTML. A `|` stands outside, as an entity: within code,
    /// whether it divides cells depends on the renderer.
    pub fn markdown(&self) -> String {
        let text = self.terminal();
        let word = |c: Option<&char>| c.is_some_and(|c| c.is_alphanumeric());
        let chars: Vec<char> = text.chars().collect();
        let mut each = chars.iter().enumerate();
        let harmless = each.all(|(at, c)| match c {
            '_' => at > 0 && word(chars.get(at - 1)) && word(chars.get(at + 1)),
            ':' => chars.get(at + 1) == Some(&' '),
            c => c.is_alphanumeric() || " ,.;%()'≤≥µ–".contains(*c),
        });
        if harmless && !text.contains("www.") {
            return text;
        }
        let code = |part: &str| {
            let runs = part.split(|c| c != '`').map(str::len);
            let fence = "`".repeat(runs.max().unwrap_or(0) + 1);
            // Blanks at both ends are taken off by the renderer, and a backtick at an end would lengthen the fence.
            let pad = if part.starts_with(['`', ' ']) || part.ends_with(['`', ' ']) { " " } else { "" };
            format!("{fence}{pad}{part}{pad}{fence}")
        };
        let parts: Vec<_> =
            text.split('|').map(|part| if part.is_empty() { String::new() } else { code(part) }).collect();
        parts.join("&#124;")
    }

    /// The text itself, for comparing and parsing; never for showing.
    pub fn raw(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Untrusted(\"{}\")", self.terminal())
    }
}

/// Bytes that nobody may read in a log, a result or a panic: keys and tokens. Cleared when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize)]
#[zeroize(drop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Keeps `bytes` secret from here on.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for computing with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, for a header or password field; `None` if they are not UTF-8.
    pub fn expose_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_text_cannot_move_the_cursor_or_turn_the_line_around() {
        let hostile = Untrusted::new("a\x1b[2Jb\u{9b}31m\u{202e}c\r\nd\te\u{200b}");
        assert_eq!(hostile.terminal(), "a\\u{1b}[2Jb\\u{9b}31m\\u{202e}c\\r\\nd\\te\\u{200b}");
        assert_eq!(Untrusted::new("Zürich ✓").terminal(), "Zürich ✓");
    }

    #[test]
    fn a_spreadsheet_takes_no_cell_for_a_formula() {
        let cell = |text: &str| Untrusted::new(text).csv();
        assert_eq!(cell("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0");
        for start in ["=", "+", "-", "@", "＝"] {
            assert_eq!(cell(&format!(" {start}1")), format!(" '{start}1"));
        }
        assert_eq!(cell("a;=1,+2;\"@x"), "a;'=1,'+2;\"'@x");
        assert_eq!(cell("\t=1\r\n=2"), "\\t=1\\r\\n=2");
        assert_eq!(cell("send-1 a=b"), "send-1 a=b");
    }

    #[test]
    fn markdown_finds_no_markup_in_foreign_text() {
        let shown = |text: &str| Untrusted::new(text).markdown();
        assert_eq!(shown("1 threshold was crossed."), "1 threshold was crossed.");
        assert_eq!(shown("time_to_assigned: 'x'"), "time_to_assigned: 'x'");
        assert_eq!(shown("_x_ a:b"), "`_x_ a:b`");
        assert_eq!(shown("a|b|"), "`a`&#124;`b`&#124;");
        assert_eq!(shown("x\\|y"), "`x\\`&#124;`y`");
        assert_eq!(shown("<img src=x> @all [a](b)"), "`<img src=x> @all [a](b)`");
        assert_eq!(shown("a``b"), "```a``b```");
        assert_eq!(shown("`"), "`` ` ``");
        assert_eq!(shown("www.example.com"), "`www.example.com`");
        assert_eq!(shown("a\nb"), "`a\\nb`");
    }

    #[test]
    fn long_text_is_cut_and_marked() {
        let long = Untrusted::new(&"é".repeat(1_000));
        assert_eq!(long.raw().chars().count(), Untrusted::MAX_CHARS + 1);
        assert!(long.raw().ends_with('…'));
        assert!(Untrusted::from_bytes(&[0xff; 10_000]).raw().chars().count() <= Untrusted::MAX_CHARS + 1);
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let secret = Secret::new(b"canary".to_vec());
        assert!(!format!("{secret:?}").contains("canary"));
        assert_eq!(secret.expose_text(), Some("canary"));
    }
}
