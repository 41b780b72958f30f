//! Complaints: collected while reading goes on, shown all at once.

use crate::document::key_mask;
use crate::document::render;
use crate::document::source::{Origin, SourceId, Sources};

/// Whether a complaint stops the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The document cannot be used.
    Error,
    /// It can, but probably does not mean what was intended.
    Warning,
}

/// One complaint: where, what is wrong and why, and what to do.
///
/// The texts may quote the document: control characters are made visible and what looks like a key is masked when they
/// are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the work.
    pub severity: Severity,
    /// What is underlined.
    pub origin: Origin,
    /// What is wrong, and why.
    pub message: String,
    /// A word at the underlined place.
    pub label: Option<String>,
    /// Another place that has to do with it, and a word about it.
    pub related: Option<Box<(Origin, String)>>,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `origin`.
    pub fn error(origin: Origin, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            origin,
            message: message.into(),
            label: None,
            related: None,
            help: None,
        }
    }

    /// A warning at `origin`.
    pub fn warning(origin: Origin, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(origin, message) }
    }

    /// Adds a word at the underlined place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds the remedy.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds another place that has to do with it.
    #[must_use]
    pub fn related(mut self, origin: Origin, label: impl Into<String>) -> Self {
        self.related = Some(Box::new((origin, label.into())));
        self
    }
}

/// All complaints about one document, with the texts they point into.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    sources: Sources,
    list: Vec<Diagnostic>,
    secrets: Vec<Origin>,
    errors: usize,
    warnings: usize,
}

impl Diagnostics {
    /// How many complaints are shown at most; the rest is counted. A file with more mistakes is not a scenario.
    pub const MAX_SHOWN: usize = 100;

    /// How many are kept; the rest is counted.
    pub const MAX_KEPT: usize = 1_000;

    /// Adds a text; see [`Sources::add`].
    pub fn add_source(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        self.sources.add(name, text)
    }

    /// The texts.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Adds a complaint; one that was made before is dropped.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        // Only the latest are compared: a hostile file must not make this quadratic.
        if self.list.iter().rev().take(16).any(|known| *known == diagnostic) {
            return;
        }
        match diagnostic.severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        if self.list.len() < Self::MAX_KEPT {
            self.list.push(diagnostic);
        }
    }

    /// From here on, the bytes at `origin` are shown as `…`, whatever is shown of their line.
    pub fn conceal(&mut self, origin: Origin) {
        self.secrets.push(origin);
    }

    /// Whether there is an error among them.
    pub const fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Errors and warnings, counted.
    pub const fn counts(&self) -> (usize, usize) {
        (self.errors, self.warnings)
    }

    /// The complaints that were kept, in the order of the texts they are about.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.list.iter().collect();
        // Stable, so that complaints about one place stay in the order in which they were made.
        sorted.sort_by_key(|diagnostic| {
            (diagnostic.origin.source, diagnostic.origin.span.map(|span| span.start))
        });
        sorted.into_iter()
    }

    /// All complaints for a terminal, and a last line that counts them: `error: scenarios/x.toml: 2 errors`.
    ///
    /// * `colour`: whether to use terminal colours; without them the text is the same
    /// * `width`: columns of the terminal, 140 if unknown
    pub fn render(&self, colour: bool, width: Option<usize>) -> String {
        render::render(self, colour, width)
    }

    pub(in crate::document) fn secrets(&self) -> &[Origin] {
        &self.secrets
    }
}

/// A value as it may appear in a message: control characters visible, cut to 60 characters, in backquotes.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let text = key_mask::mask(text);
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("`{}…`", &text[..cut]),
        None => format!("`{text}`"),
    }
}
