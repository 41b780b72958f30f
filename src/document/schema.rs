//! Lists of legal keys: what a [`Reader`](crate::document::Reader) may read, and what is told about it.
//!
//! A reader reads no key that is not on its table's list, so descriptions and machine-readable schemas printed from the
//! lists are complete by construction.

use std::time::Duration;

/// The longest name that a user may give to a table.
pub const MAX_NAME: usize = 64;

/// Whether `name` may be given to a table ([`Shape::Tables`]): 1 to [`MAX_NAME`] of a-z, 0-9, `_` and `-`, because names
/// appear in metrics and files.
pub fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    (1..=MAX_NAME).contains(&name.len()) && name.chars().all(legal)
}

/// One kind of table.
#[derive(Debug)]
pub struct Table {
    /// How it is called in complaints: `[fleet.NAME]`.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Its keys, in the order in which people should meet them.
    pub keys: &'static [Key],
    /// Keys that are part of the format and not yet supported.
    pub later: &'static [Later],
    /// Keys that exclude each other.
    pub one_of: &'static [OneOf],
}

/// Keys of a table of which at most one may be there.
///
/// Declared with the table, so that [`Reader::one_of`](crate::document::Reader::one_of) and machine-readable schemas
/// cannot disagree.
#[derive(Debug)]
pub struct OneOf {
    /// The keys.
    pub keys: &'static [&'static str],
    /// If one of them must be there: what to write, for example.
    pub required: Option<&'static str>,
    /// Why only one: `a key comes from one place`.
    pub reason: &'static str,
}

impl OneOf {
    /// Exactly one of `keys` must be there.
    pub const fn exactly(keys: &'static [&'static str], reason: &'static str, remedy: &'static str) -> Self {
        Self { keys, required: Some(remedy), reason }
    }

    /// One of `keys` may be there.
    pub const fn at_most(keys: &'static [&'static str], reason: &'static str) -> Self {
        Self { keys, required: None, reason }
    }
}

impl Table {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The key of that name, if it is not yet supported.
    pub fn later(&self, name: &str) -> Option<&'static Later> {
        self.later.iter().find(|later| later.name == name)
    }

    /// This table and all that its keys lead to, each once, in the order in which people meet them.
    pub fn with_inner(&'static self) -> Vec<&'static Self> {
        fn visit(table: &'static Table, found: &mut Vec<&'static Table>) {
            if found.iter().any(|known| std::ptr::eq(*known, table)) {
                return;
            }
            found.push(table);
            for key in table.keys {
                key.shape.tables(&mut |inner| visit(inner, found));
            }
        }
        let mut found = Vec::new();
        visit(self, &mut found);
        found
    }
}

/// A key that is part of the format and not yet supported.
#[derive(Debug)]
pub struct Later {
    /// The key.
    pub name: &'static str,
    /// What it is for, as a sentence without its end: whoever writes it is told what this version cannot do.
    pub about: &'static str,
}

impl Later {
    /// A key and what it is for.
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about }
    }
}

/// One legal key of a table.
#[derive(Debug)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What it may hold.
    pub shape: Shape,
    /// A value as one would write it in a scenario.
    pub example: &'static str,
    /// One sentence: what it means, with its default.
    pub about: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What holds where it is left out, as one would write it; `None` if that is nothing, or depends on other keys.
    pub default: Option<&'static str>,
}

impl Key {
    /// A key that may be left out.
    pub const fn new(name: &'static str, shape: Shape, example: &'static str, about: &'static str) -> Self {
        Self { name, shape, example, about, required: false, default: None }
    }

    /// The same, but it must be there.
    pub const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same, and this holds where it is left out.
    pub const fn default(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }
}

/// The most durations of one array: with the longest of each, their sum still fits.
pub const MAX_DURATIONS: usize = 100;

/// What a key may hold.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Any string.
    Text,
    /// Strings in an array.
    Texts,
    /// `true` or `false`.
    Boolean,
    /// A whole number, both ends included.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A string with a duration, both ends included.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// Strings with durations in an array of 1 to [`MAX_DURATIONS`], both ends included.
    Durations {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A string with a rate.
    Rate,
    /// A string with a share.
    Share,
    /// A string with a size in bytes.
    Size,
    /// One of some names.
    Choice {
        /// The names.
        names: &'static [&'static str],
        /// Names that are part of the format and not yet supported.
        later: &'static [&'static str],
    },
    /// A table.
    Table(&'static Table),
    /// Tables of one kind, each under a name that the user chooses.
    Tables(&'static Table),
    /// Tables of one kind in an array: `[[payload]]`.
    Array(&'static Table),
    /// Strings, each under a key that the user chooses; the text says what these are.
    Mapping(&'static str),
    /// Strings, or tables of one kind, each under a key that the user chooses; the text says what these are.
    Limits(&'static str, &'static Table),
    /// A table of whatever JSON knows, which goes on as it is; the text says what it is.
    Free(&'static str),
    /// One of several shapes.
    Any(&'static [Shape]),
}

impl Shape {
    /// Calls `visit` for each table that a value may be or hold.
    fn tables(&'static self, visit: &mut impl FnMut(&'static Table)) {
        match self {
            Self::Table(table) | Self::Tables(table) | Self::Array(table) => visit(table),
            Self::Any(shapes) => shapes.iter().for_each(|shape| shape.tables(visit)),
            Self::Text
            | Self::Texts
            | Self::Boolean
            | Self::Count { .. }
            | Self::Duration { .. }
            | Self::Durations { .. }
            | Self::Rate
            | Self::Share
            | Self::Size
            | Self::Choice { .. }
            | Self::Free(_)
            | Self::Mapping(_) => {}
            Self::Limits(_, table) => visit(table),
        }
    }

    /// What a value must be, with its article: `a whole number`.
    pub fn expected(&self) -> String {
        match self {
            Self::Text => "a string".to_owned(),
            Self::Texts => "an array of strings".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Count { .. } => "a whole number".to_owned(),
            Self::Duration { .. } => "a duration: a string with its unit".to_owned(),
            Self::Durations { .. } => "an array of durations".to_owned(),
            Self::Rate => "a rate: a string with its unit".to_owned(),
            Self::Share => "a share: a string in percent".to_owned(),
            Self::Size => "a size: a string with its unit".to_owned(),
            Self::Choice { names, .. } => {
                let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
                quoted.join(" or ")
            }
            Self::Table(_) | Self::Tables(_) | Self::Mapping(_) | Self::Limits(..) | Self::Free(_) => {
                "a table".to_owned()
            }
            Self::Array(_) => "an array of tables".to_owned(),
            Self::Any(shapes) => {
                let texts: Vec<String> = shapes.iter().map(Self::expected).collect();
                texts.join(", or ")
            }
        }
    }
}
