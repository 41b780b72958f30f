//! Telemetry payloads: compiled once from the scenario, rendered for each message.
//!
//! What a message holds is a function of (seed, population, device, sequence number) and, for `${now}`, of the wall time it
//! is sent at: the same whichever messages were rendered before, on whichever thread.
//!
//! | placeholder | what it becomes |
//! |---|---|
//! | `device_id`, `registration_id` | the device's id at the hub, and at DPS |
//! | `n`, `seq` | number of the device, from 0; number of the message, from 1 |
//! | `run`, `population` | the run's id; the population's name |
//! | `now`, `now(iso_s)` .. `now(unix_ns)`, `now("%H:%M")` | wall time in UTC: RFC 3339 with milliseconds, another form, or what `strftime` makes of it |
//! | `uniform(low, high[, decimals])` | a number between two, rounded to 2 decimals if not told otherwise |
//! | `int(low, high)` | a whole number, both ends included |
//! | `normal(mean, deviation[, decimals])` | a normally distributed number |
//! | `boolean`, `boolean(share)` | `true` for half of the messages, or for a share of them |
//! | `step(from, by[, to[, decimals]])` | `from + by × (seq - 1)`, from the beginning again after `to` |
//! | `sequence(a, b, ...)` | one item after another |
//! | `choice(a, b, ...)`, `choice(a: 95, b: 5)` | an item by chance, equally likely or by weight |
//! | `walk(start, step, low, high[, decimals])` | a random walk that is thrown back at its bounds |
//! | `uuid`, `bytes(n)`, `hex(n)`, `string(n)` | random: UUID, base64 or hexadecimal of n bytes, n letters and digits |
//!
//! Items are numbers, `true`, `false`, `null`, and strings in quotes, which are rendered without them. `$${` stands for `${`.
//! Numbers with decimals are rounded as `format!("{value:.2}")` rounds them, and a zero has no sign.

mod error;
mod extremes;
mod id_form;
mod message;
mod moment;
mod number;
mod part;
mod placeholder;
mod random;
mod scan;
mod template;
#[cfg(test)]
mod tests;
mod walk;

use std::sync::Arc;

pub use error::{PropertyError, TemplateError, TooLarge};
pub use id_form::IdForm;
pub use message::{DEFAULT_MESSAGE_ID, DEFAULT_TEMPLATE, Longest, Payload, Property};
pub use template::Template;

use crate::rng::{self, Purpose};
use crate::time::UnixTime;

/// Most placeholders of one template.
pub const MAX_PLACEHOLDERS: usize = 10_000;

/// Most items of one list.
pub const MAX_ITEMS: usize = 1_000;

/// Most decimals of a number.
pub const MAX_DECIMALS: u8 = 9;

/// The largest number in a template, in either direction. Up to here, a double holds all whole numbers.
pub const MAX_NUMBER: f64 = 1e15;

/// The longest random value of one placeholder: bytes of `bytes` and `hex`, characters of `string`.
pub const MAX_RANDOM: usize = 65_536;

/// The largest weight of a payload, and of an item.
pub const MAX_WEIGHT: u64 = 1_000_000;

/// Most application properties of a message. Our own choice: that many fit into the headers that HTTP servers take.
pub const MAX_PROPERTIES: usize = 100;

/// Characters of the longest message id.
///
/// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct>
pub const MAX_MESSAGE_ID: usize = 128;

/// Characters of the longest content type or encoding. Our own choice; real ones are far shorter.
pub const MAX_SYSTEM_PROPERTY: usize = 256;

/// What a message is rendered for.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The run's seed.
    pub seed: u64,
    /// The population's name.
    pub population: &'a str,
    /// Number of the device, from 0.
    pub n: u64,
    /// Its id at the hub.
    pub device_id: &'a str,
    /// Its id at DPS.
    pub registration_id: &'a str,
    /// The run's id.
    pub run: &'a str,
    /// Number of the message, from 1.
    pub sequence: u64,
    /// Wall time.
    pub now: UnixTime,
}

/// What the messages of a population hold: kinds of message, each with a weight. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub struct Payloads {
    /// Each with the sum of the weights up to its own.
    kinds: Arc<[(u64, Payload)]>,
}

impl Default for Payloads {
    fn default() -> Self {
        Payload::default().into()
    }
}

impl From<Payload> for Payloads {
    fn from(payload: Payload) -> Self {
        Self { kinds: [(1, payload)].into() }
    }
}

impl Payloads {
    /// Kinds of message with their weights, 1 to [`MAX_WEIGHT`]; the default payload if there are none.
    pub fn weighted(kinds: impl IntoIterator<Item = (u64, Payload)>) -> Self {
        let mut sum = 0;
        let kinds: Arc<[_]> = kinds
            .into_iter()
            .map(|(weight, payload)| {
                sum += weight.clamp(1, MAX_WEIGHT);
                (sum, payload)
            })
            .collect();
        if kinds.is_empty() { Self::default() } else { Self { kinds } }
    }

    /// The kinds of message; [`Rendered::kind`] is an index of them.
    pub fn kinds(&self) -> impl ExactSizeIterator<Item = &Payload> {
        self.kinds.iter().map(|(_, payload)| payload)
    }

    /// The forms of the message ids, each once, if the number of the message can be read from all of them: they are made of one
    /// `${seq}` and of what is the same in all messages of a device (text, `${run}`, `${population}`, `${device_id}`).
    pub fn id_forms(&self, run: &str, population: &str) -> Option<Vec<IdForm>> {
        let mut forms = Vec::new();
        for payload in self.kinds() {
            let form = payload.id_form(run, population)?;
            if !forms.contains(&form) {
                forms.push(form);
            }
        }
        Some(forms)
    }

    /// Renders a message into `out`, whose memory is used again.
    pub fn render(&self, context: &Context<'_>, out: &mut Rendered) {
        // One stream for each message: its content does not depend on what was sent before.
        let device = rng::stream(context.seed, context.population, context.n, Purpose::Payload).bits();
        let mut stream = rng::stream(device, "", context.sequence, Purpose::Payload);
        let kind = match &*self.kinds {
            [_] => 0,
            kinds => {
                let total = kinds.last().map_or(1, |(sum, _)| *sum);
                let drawn = stream.below(total);
                kinds.partition_point(|(sum, _)| *sum <= drawn)
            }
        };
        out.clear();
        out.kind = kind;
        let payload = &self.kinds[kind].1;
        out.constant_size = payload.constant_size();
        payload.render(context, &mut stream, rng::scattered(device, kind as u64), out);
    }

    /// How large messages are, from trial renderings of the first [`Sizes::SAMPLES`] messages of the device in `context`:
    /// for `muster check`, which works out what a quota allows.
    pub fn sizes(&self, context: &Context<'_>) -> Sizes {
        let mut out = Rendered::default();
        let mut samples: Vec<u32> = (1..=Sizes::SAMPLES)
            .map(|sequence| {
                self.render(&Context { sequence, ..*context }, &mut out);
                u32::try_from(out.size()).unwrap_or(u32::MAX)
            })
            .collect();
        samples.sort_unstable();
        let ids = extremes::Ids::of_lengths(
            context.device_id.len(),
            context.registration_id.len(),
            context.population,
        );
        let largest = self.kinds().map(|payload| payload.longest(&ids.context())).max().unwrap_or(0);
        Sizes { samples, largest }
    }
}

/// How large the messages of a population are, in the bytes that a hub counts: body, names and values of application
/// properties, values of system properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    /// In ascending order.
    samples: Vec<u32>,
    largest: usize,
}

impl Sizes {
    /// How many messages are rendered.
    pub const SAMPLES: u64 = 1_000;

    /// Mean bytes of a message.
    pub fn mean(&self) -> f64 {
        self.samples.iter().map(|size| f64::from(*size)).sum::<f64>() / self.samples.len().max(1) as f64
    }

    /// Bytes that no message exceeds.
    pub const fn largest(&self) -> usize {
        self.largest
    }

    /// For how many blocks of `block` bytes a hub charges a message, on average; at least one.
    ///
    /// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling>: 4 KiB in paid tiers, 0.5 KiB in
    /// the free one (2026-01)
    pub fn blocks(&self, block: u32) -> f64 {
        let blocks = self.samples.iter().map(|size| u64::from(size.div_ceil(block.max(1)).max(1)));
        blocks.sum::<u64>() as f64 / self.samples.len().max(1) as f64
    }
}

/// A message as it was rendered. Kept and rendered into again, it allocates nothing once it has grown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    kind: usize,
    body: Vec<u8>,
    /// Message id and values of properties, one after another.
    texts: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    constant_size: usize,
}

impl Rendered {
    /// Which of [`Payloads::kinds`] it is.
    pub const fn kind(&self) -> usize {
        self.kind
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The message id; printable ASCII.
    pub fn message_id(&self) -> &[u8] {
        self.text(0)
    }

    /// The values of the application properties, in the order of [`Payload::properties`]; printable ASCII.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (1..self.ends.len()).map(|index| self.text(index))
    }

    /// Bytes that a hub counts.
    pub fn size(&self) -> usize {
        self.body.len() + self.texts.len() + self.constant_size
    }

    fn text(&self, index: usize) -> &[u8] {
        let end = self.ends.get(index).copied().unwrap_or(0);
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.texts[start.min(end)..end]
    }

    fn clear(&mut self) {
        self.body.clear();
        self.texts.clear();
        self.ends.clear();
    }
}
