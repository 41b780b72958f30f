//! Templates: text with placeholders, compiled once and rendered for each message.

use super::error::TemplateError;
use super::id_form::{IdForm, Known};
use super::part::{Chance, Part};
use super::placeholder::Maker;
use super::scan::{Piece, pieces};
use super::{Context, extremes};
use crate::azure::hub::MAX_MESSAGE;

/// A compiled template.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    parts: Box<[Part]>,
    /// Where in the text each part begins.
    places: Box<[usize]>,
    /// Whether it renders to JSON.
    json: bool,
}

/// A template rendered with chosen alternatives, and where its parts went.
struct Trial {
    text: Vec<u8>,
    /// Where each part begins in `text`.
    starts: Vec<usize>,
}

impl Template {
    /// Compiles a text that goes into messages as it is.
    ///
    /// * `walks`: how many walks the payload has in templates compiled before; counted on
    ///
    /// # Errors
    /// [`TemplateError`] for the first placeholder that is wrong.
    pub(super) fn text(template: &str, walks: &mut u64) -> Result<Self, TemplateError> {
        Self::compile(template, false, walks)
    }

    /// Compiles a text that renders to JSON.
    ///
    /// # Errors
    /// [`TemplateError`] for the first placeholder that is wrong, or if what it renders to is not JSON with every item of its
    /// lists and with the extremes of its numbers.
    pub(super) fn json(template: &str, walks: &mut u64) -> Result<Self, TemplateError> {
        let compiled = Self::compile(template, true, walks)?;
        compiled.try_all(|trial| match serde_json::from_slice::<serde::de::IgnoredAny>(&trial.text) {
            Ok(_) => Ok(()),
            Err(error) => Err(compiled.not_json(template, trial, &error)),
        })?;
        Ok(compiled)
    }

    fn compile(template: &str, json: bool, walks: &mut u64) -> Result<Self, TemplateError> {
        let maker = Maker { template, json };
        let (mut parts, mut places) = (Vec::new(), Vec::new());
        for (at, piece) in pieces(template)? {
            parts.push(match piece {
                Piece::Literal(text) => Part::Literal(text.into()),
                Piece::Placeholder(call) => maker.part(&call, walks)?,
            });
            places.push(at);
        }
        let compiled = Self { parts: parts.into_boxed_slice(), places: places.into_boxed_slice(), json };
        // Before it is tried: many renderings of a text of megabytes would take a while.
        let size = compiled.longest(&extremes::Ids::default().context());
        if size > MAX_MESSAGE {
            return Err(TemplateError::new(
                template,
                0..template.len(),
                format!("the text may have {size} bytes once rendered"),
                format!("a hub takes at most {MAX_MESSAGE} with all properties, so make it shorter"),
            ));
        }
        Ok(compiled)
    }

    /// Appends what the template makes of one message.
    pub(super) fn render(&self, context: &Context<'_>, chance: &mut Chance<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            part.render(context, chance, self.json, out);
        }
    }

    /// The text, if it is the same in every message.
    pub fn constant(&self) -> Option<&str> {
        match &*self.parts {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// What it makes, as a form of message ids; `None` if the number of the message cannot be read back from it.
    pub(super) fn id_form(&self, run: &str, population: &str) -> Option<IdForm> {
        fn known<'a>(part: &'a Part, run: &'a str, population: &'a str) -> Option<Known<'a>> {
            match part {
                Part::Literal(text) => Some(Known::Text(text)),
                Part::Run => Some(Known::Text(run)),
                Part::Population => Some(Known::Text(population)),
                Part::DeviceId => Some(Known::DeviceId),
                Part::Sequence => Some(Known::Sequence),
                _ => None,
            }
        }
        let parts = self.parts.iter().map(|part| known(part, run, population));
        IdForm::of(parts.collect::<Option<Vec<_>>>()?)
    }

    /// Bytes of the longest text that it can make; a sum, so that no message has more.
    ///
    /// * `extreme`: the longest ids and the largest numbers
    pub(super) fn longest(&self, extreme: &Context<'_>) -> usize {
        self.parts.iter().map(|part| part.longest(extreme, self.json)).fold(0, usize::saturating_add)
    }

    /// The first of the characters of its trial renderings that `legal` does not like.
    pub(super) fn illegal(&self, legal: impl Fn(char) -> bool) -> Option<char> {
        let found =
            self.try_all(|trial| match String::from_utf8_lossy(&trial.text).chars().find(|c| !legal(*c)) {
                Some(c) => Err(c),
                None => Ok(()),
            });
        found.err()
    }

    /// Whether a trial rendering is empty.
    pub(super) fn may_be_empty(&self) -> bool {
        self.try_all(|trial| if trial.text.is_empty() { Err(()) } else { Ok(()) }).is_err()
    }

    /// Shows `look` every alternative of every part at least once, then some combinations of them.
    fn try_all<E>(&self, look: impl Fn(&Trial) -> Result<(), E>) -> Result<(), E> {
        /// Combinations beyond those that the alternatives need.
        const MORE: usize = 32;
        let most = self.parts.iter().map(Part::alternatives).max().unwrap_or(1);
        let more = if most == 1 { 0 } else { MORE };
        let ids = extremes::Ids::default();
        let extreme = ids.context();
        let mut trial = Trial { text: Vec::new(), starts: Vec::new() };
        for round in 0..most + more {
            trial.text.clear();
            trial.starts.clear();
            for (index, part) in self.parts.iter().enumerate() {
                trial.starts.push(trial.text.len());
                let count = part.alternatives();
                let which = if round < most {
                    round % count
                } else {
                    (crate::rng::scattered(index as u64, round as u64) % count as u64) as usize
                };
                part.alternative(which, &extreme, self.json, &mut trial.text);
            }
            look(&trial)?;
        }
        Ok(())
    }

    fn not_json(&self, template: &str, trial: &Trial, error: &serde_json::Error) -> TemplateError {
        const REMEDY: &str = "for example '{\"device\":\"${device_id}\",\"seq\":${seq}}'";
        let told = error.to_string();
        let reason = told.split(" at line ").next().unwrap_or_default();
        let whole = template.len();
        if error.is_eof() {
            let problem = format!("the payload is not JSON once rendered: {reason}");
            return TemplateError::new(template, whole..whole, problem, REMEDY);
        }
        // The parser counts lines from 1 and bytes of a line from 1; at the end of the text it may be one further.
        let line_start = match error.line() {
            0 | 1 => 0,
            line => trial
                .text
                .iter()
                .enumerate()
                .filter(|(_, b)| **b == b'\n')
                .nth(line - 2)
                .map_or(0, |(at, _)| at + 1),
        };
        let at = (line_start + error.column().saturating_sub(1)).min(trial.text.len());
        let index = trial.starts.partition_point(|start| *start <= at).saturating_sub(1);
        let (Some(part), Some(place)) = (self.parts.get(index), self.places.get(index).copied()) else {
            return TemplateError::new(template, 0..whole, format!("not JSON: {reason}"), REMEDY);
        };
        let end = self.places.get(index + 1).copied().unwrap_or(whole);
        let (span, problem) = match part {
            Part::Literal(_) => {
                let inside = place + (at - trial.starts[index]).min(end - place);
                (inside..end.min(inside + 1), format!("the payload is not JSON once rendered: {reason}"))
            }
            _ => {
                let value = &trial.text[trial.starts[index]..];
                let next = trial.starts.get(index + 1).map_or(value.len(), |next| next - trial.starts[index]);
                let value = String::from_utf8_lossy(&value[..next]);
                let shown = crate::document::diagnostics::quote(&value);
                let problem = format!(
                    "the payload is not JSON once this is filled in, for example by {shown}: {reason}"
                );
                (place..end, problem)
            }
        };
        TemplateError::new(template, span, problem, REMEDY)
    }
}
