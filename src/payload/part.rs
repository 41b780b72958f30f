//! The parts of a compiled template, and what each makes of a message.

use super::moment::Moment;
use super::walk::Walk;
use super::{Context, number, random};
use crate::rng::Stream;

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    /// Text as it goes into the message.
    Literal(Box<str>),
    DeviceId,
    RegistrationId,
    /// Number of the device.
    Device,
    /// Number of the message.
    Sequence,
    Run,
    Population,
    Now(Moment),
    Uniform {
        low: f64,
        high: f64,
        decimals: u8,
    },
    Integer {
        low: i64,
        high: i64,
    },
    Normal {
        mean: f64,
        deviation: f64,
        decimals: u8,
    },
    Boolean {
        share: f64,
    },
    Step {
        from: f64,
        by: f64,
        /// After how many messages it begins again.
        period: Option<u64>,
        decimals: u8,
    },
    /// Items in turn, as they go into the message.
    Cycle(Box<[Box<str>]>),
    /// Items by chance, each with the sum of the weights up to its own.
    Choice(Box<[(u64, Box<str>)]>),
    Walk {
        walk: Walk,
        decimals: u8,
        /// Which of the walks of its payload.
        ordinal: u64,
    },
    Uuid,
    /// Base64 of so many random bytes.
    Base64(usize),
    /// Two hexadecimal digits for each of so many random bytes.
    Hex(usize),
    /// So many letters and digits.
    Letters(usize),
}

/// What is drawn for one message.
pub(super) struct Chance<'a> {
    /// The message's own stream, so that its content does not depend on the messages before it.
    pub(super) stream: &'a mut Stream,
    /// What the walks of the device are derived from.
    pub(super) walks: u64,
}

impl Part {
    /// Appends the part to `out`; what may need it is escaped as in a JSON string if `json`.
    pub(super) fn render(
        &self,
        context: &Context<'_>,
        chance: &mut Chance<'_>,
        json: bool,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::DeviceId => push(out, context.device_id, json),
            Self::RegistrationId => push(out, context.registration_id, json),
            Self::Device => number::whole(out, context.n),
            Self::Sequence => number::whole(out, context.sequence),
            Self::Run => push(out, context.run, json),
            Self::Population => push(out, context.population, json),
            Self::Now(moment) => moment.render(context.now, json, out),
            Self::Uniform { low, high, decimals } => {
                number::fixed(out, chance.stream.uniform(*low, *high), *decimals);
            }
            Self::Integer { low, high } => {
                // No overflow: both are at most 10^15 away from zero.
                let offset = chance.stream.below((high - low) as u64 + 1);
                number::signed(out, low + offset as i64);
            }
            Self::Normal { mean, deviation, decimals } => {
                number::fixed(out, mean + deviation * chance.stream.normal(), *decimals);
            }
            Self::Boolean { share } => push(out, truth(chance.stream.unit() < *share), false),
            Self::Step { from, by, period, decimals } => {
                number::fixed(out, stepped(*from, *by, *period, context.sequence), *decimals);
            }
            Self::Cycle(items) => {
                let turn = context.sequence.saturating_sub(1) % items.len() as u64;
                out.extend_from_slice(items[turn as usize].as_bytes());
            }
            Self::Choice(items) => {
                let total = items.last().map_or(0, |(sum, _)| *sum);
                let drawn = chance.stream.below(total);
                let index = match items.len() {
                    // A few are found faster one by one.
                    ..=8 => items.iter().position(|(sum, _)| drawn < *sum).unwrap_or(0),
                    _ => items.partition_point(|(sum, _)| *sum <= drawn),
                };
                out.extend_from_slice(items[index].1.as_bytes());
            }
            Self::Walk { walk, decimals, ordinal } => {
                let key = crate::rng::scattered(chance.walks, *ordinal);
                number::fixed(out, walk.at(key, context.sequence.saturating_sub(1)), *decimals);
            }
            Self::Uuid => random::uuid(chance.stream, out),
            Self::Base64(count) => random::base64(chance.stream, *count, out),
            Self::Hex(count) => random::hex(chance.stream, *count, out),
            Self::Letters(count) => random::letters(chance.stream, *count, out),
        }
    }

    /// In how many ways a trial has to render the part.
    pub(super) fn alternatives(&self) -> usize {
        match self {
            Self::Literal(_) | Self::DeviceId | Self::RegistrationId | Self::Run | Self::Population => 1,
            Self::Device | Self::Sequence | Self::Boolean { .. } | Self::Now(_) | Self::Uuid => 2,
            Self::Base64(_) | Self::Hex(_) | Self::Letters(_) => 2,
            Self::Integer { .. } | Self::Uniform { .. } | Self::Normal { .. } => 3,
            Self::Step { .. } | Self::Walk { .. } => 3,
            Self::Cycle(items) => items.len(),
            Self::Choice(items) => items.len(),
        }
    }

    /// Appends alternative `which` (from 0) of the part.
    ///
    /// Between them they show every item of a list, and of numbers the smallest, the largest and the one nearest to zero,
    /// which is the only one that JSON takes with no digit behind it. Long random values are shown by their beginning.
    ///
    /// * `extreme`: ids at their longest, and the last message
    pub(super) fn alternative(&self, which: usize, extreme: &Context<'_>, json: bool, out: &mut Vec<u8>) {
        match self {
            Self::Device if which == 0 => number::whole(out, 0),
            Self::Sequence if which == 0 => number::whole(out, 1),
            Self::Now(moment) => moment.alternative(which, json, out),
            Self::Uniform { .. }
            | Self::Normal { .. }
            | Self::Step { .. }
            | Self::Walk { .. }
            | Self::Integer { .. } => {
                let (low, high, decimals) = self.range(extreme).unwrap_or_default();
                let value = [low, high, 0f64.clamp(low, high)][which.min(2)];
                number::fixed(out, value, decimals);
            }
            Self::Boolean { .. } => push(out, truth(which == 0), false),
            Self::Cycle(items) => out.extend_from_slice(items[which % items.len()].as_bytes()),
            Self::Choice(items) => out.extend_from_slice(items[which % items.len()].1.as_bytes()),
            Self::Uuid => push(
                out,
                ["00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"]
                    [which.min(1)],
                false,
            ),
            Self::Base64(count) | Self::Hex(count) | Self::Letters(count) => {
                const SHOWN: usize = 8;
                let digit = [b'0', b'f'][which.min(1)];
                out.resize(out.len() + SHOWN.min(*count), digit);
            }
            _ => {
                let mut nobody = crate::rng::stream(0, "", 0, crate::rng::Purpose::Payload);
                self.render(extreme, &mut Chance { stream: &mut nobody, walks: 0 }, json, out);
            }
        }
    }

    /// Bytes of the longest text that the part can make.
    pub(super) fn longest(&self, extreme: &Context<'_>, json: bool) -> usize {
        match self {
            Self::Literal(text) => text.len(),
            Self::Cycle(items) => items.iter().map(|item| item.len()).max().unwrap_or(0),
            Self::Choice(items) => items.iter().map(|(_, item)| item.len()).max().unwrap_or(0),
            Self::Base64(count) => count.div_ceil(3) * 4,
            Self::Hex(count) => count * 2,
            Self::Letters(count) => *count,
            _ => {
                let mut out = Vec::new();
                let mut longest = 0;
                for which in 0..self.alternatives() {
                    out.clear();
                    self.alternative(which, extreme, json, &mut out);
                    longest = longest.max(out.len());
                }
                longest
            }
        }
    }

    /// Smallest and largest value of a number, and its decimals.
    fn range(&self, extreme: &Context<'_>) -> Option<(f64, f64, u8)> {
        // The largest that a stream draws is √(2 · 53 · ln 2) = 8.57 deviations away.
        const DEVIATIONS: f64 = 8.6;
        match *self {
            Self::Uniform { low, high, decimals } => Some((low, high, decimals)),
            // Exact up to 2^53, and these end at 10^15.
            Self::Integer { low, high } => Some((low as f64, high as f64, 0)),
            Self::Normal { mean, deviation, decimals } => {
                Some((mean - DEVIATIONS * deviation, mean + DEVIATIONS * deviation, decimals))
            }
            Self::Walk { walk, decimals, .. } => Some((walk.low, walk.high, decimals)),
            Self::Step { from, by, period, decimals } => {
                let last = stepped(from, by, None, period.unwrap_or(extreme.sequence));
                Some((from.min(last), from.max(last), decimals))
            }
            _ => None,
        }
    }
}

/// Value number `sequence` (from 1) of a row.
fn stepped(from: f64, by: f64, period: Option<u64>, sequence: u64) -> f64 {
    let steps = sequence.saturating_sub(1);
    // Multiplied each time: adding one step after another would let rounding pile up.
    from + by * period.map_or(steps, |period| steps % period.max(1)) as f64
}

fn truth(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Appends `text`, escaped as in a JSON string if `json`.
pub(super) fn push(out: &mut Vec<u8>, text: &str, json: bool) {
    if json && text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
        escape(out, text);
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cold]
fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            ..b' ' => {
                out.extend_from_slice(b"\\u00");
                random::hex_of(&[byte], out);
            }
            _ => out.push(byte),
        }
    }
}
