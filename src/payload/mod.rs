//! Telemetry payloads: compiled once from the scenario, rendered for each message.
//!
//! What a message holds is a function of (seed, population, device, sequence number) and, for `${now}`, of the wall time
//! it is sent at.

use std::fmt::Write as _;

use crate::rng::Stream;
use crate::time::UnixTime;

/// What the messages of a population hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    body: Body,
    content_type: &'static str,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Template(Vec<Part>),
    Random { size: usize },
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    DeviceId,
    Sequence,
    Now,
    Uniform { low: f64, high: f64, decimals: usize },
}

/// What a message is rendered for.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The device's id at the hub.
    pub device_id: &'a str,
    /// Number of the message, from 1.
    pub sequence: u64,
    /// Wall time.
    pub now: UnixTime,
}

/// Why a text is not a payload template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${` without `}`.
    #[error("a `${{` has no closing `}}`")]
    Unclosed,
    /// A placeholder that does not exist.
    #[error(
        "`${{{0}}}` is not a placeholder; use ${{device_id}}, ${{seq}}, ${{now}} or ${{uniform(low, high, decimals)}}"
    )]
    Unknown(String),
    /// `uniform` with arguments that make no range.
    #[error(
        "`${{{0}}}` needs two numbers, low before high, and optionally the number of decimals (0 to 9): ${{uniform(8, 12, 2)}}"
    )]
    Uniform(String),
    /// The rendered text is not JSON.
    #[error("the payload is not valid JSON once rendered: {0}")]
    NotJson(String),
    /// The rendered message is too large.
    #[error("the payload has {0} bytes; a hub takes 262144 at most")]
    TooLarge(usize),
}

impl Default for Payload {
    /// A small JSON object: device, sequence number, time, wind speed.
    fn default() -> Self {
        Self::json(DEFAULT_TEMPLATE).expect("the default template is valid")
    }
}

/// The payload of a scenario that gives none.
pub const DEFAULT_TEMPLATE: &str =
    r#"{"device":"${device_id}","seq":${seq},"wind":${uniform(8, 12, 2)},"at":"${now}"}"#;

impl Payload {
    /// A template that renders to JSON: `application/json` in UTF-8.
    ///
    /// # Errors
    /// [`TemplateError`] when a placeholder is wrong, or a trial rendering is not JSON or too large.
    pub fn json(template: &str) -> Result<Self, TemplateError> {
        let payload = Self { body: Body::Template(compile(template)?), content_type: "application/json" };
        let mut trial = Vec::new();
        let id = "d".repeat(crate::azure::registration::MAX_ID_LENGTH);
        let context = Context { device_id: &id, sequence: 1, now: UnixTime::from_nanos(0) };
        payload.render(context, &mut crate::rng::stream(0, "", 0, crate::rng::Purpose::Payload), &mut trial);
        if trial.len() > crate::azure::hub::MAX_MESSAGE {
            return Err(TemplateError::TooLarge(trial.len()));
        }
        match serde_json::from_slice::<serde::de::IgnoredAny>(&trial) {
            Ok(_) => Ok(payload),
            Err(error) => Err(TemplateError::NotJson(error.to_string())),
        }
    }

    /// `size` random bytes: `application/octet-stream`.
    ///
    /// # Errors
    /// [`TemplateError::TooLarge`] above what a hub takes.
    pub fn bytes(size: u64) -> Result<Self, TemplateError> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > crate::azure::hub::MAX_MESSAGE {
            return Err(TemplateError::TooLarge(size));
        }
        Ok(Self { body: Body::Random { size }, content_type: "application/octet-stream" })
    }

    /// Content type of the message.
    pub const fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// Content encoding of the message, if it is text.
    pub const fn content_encoding(&self) -> Option<&'static str> {
        match self.body {
            Body::Template(_) => Some("utf-8"),
            Body::Random { .. } => None,
        }
    }

    /// Appends one message to `out`.
    ///
    /// * `stream`: the message's own stream, so that its content does not depend on the messages before it
    pub fn render(&self, context: Context<'_>, stream: &mut Stream, out: &mut Vec<u8>) {
        match &self.body {
            Body::Random { size } => {
                let start = out.len();
                out.resize(start + size, 0);
                stream.fill(&mut out[start..]);
            }
            Body::Template(parts) => {
                for part in parts {
                    part.render(context, stream, out);
                }
            }
        }
    }
}

impl Part {
    fn render(&self, context: Context<'_>, stream: &mut Stream, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text.as_bytes()),
            // Device ids hold no character that JSON would escape (no quote, backslash or control character).
            Self::DeviceId => out.extend_from_slice(context.device_id.as_bytes()),
            Self::Sequence => append(out, format_args!("{}", context.sequence)),
            Self::Now => out.extend_from_slice(context.now.to_rfc3339(3).as_bytes()),
            Self::Uniform { low, high, decimals } => {
                let value = stream.uniform(*low, *high);
                append(out, format_args!("{value:.decimals$}"));
            }
        }
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    struct Utf8<'a>(&'a mut Vec<u8>);
    impl std::fmt::Write for Utf8<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    Utf8(out).write_fmt(text).expect("memory takes any text");
}

fn compile(template: &str) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find("${") {
        if at > 0 {
            parts.push(Part::Text(rest[..at].to_owned()));
        }
        let inner = &rest[at + 2..];
        let end = inner.find('}').ok_or(TemplateError::Unclosed)?;
        parts.push(placeholder(inner[..end].trim())?);
        rest = &inner[end + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}

fn placeholder(inner: &str) -> Result<Part, TemplateError> {
    match inner {
        "device_id" => return Ok(Part::DeviceId),
        "seq" => return Ok(Part::Sequence),
        "now" => return Ok(Part::Now),
        _ => {}
    }
    let arguments = inner
        .strip_prefix("uniform(")
        .and_then(|text| text.strip_suffix(')'))
        .ok_or_else(|| TemplateError::Unknown(inner.to_owned()))?;
    let wrong = || TemplateError::Uniform(inner.to_owned());
    let fields: Vec<&str> = arguments.split(',').map(str::trim).collect();
    let (&[low, high], decimals) = match fields.as_slice() {
        [pair @ .., decimals] if pair.len() == 2 => {
            (pair.first_chunk::<2>().ok_or_else(wrong)?, decimals.parse().map_err(|_| wrong())?)
        }
        pair => (pair.first_chunk::<2>().filter(|_| pair.len() == 2).ok_or_else(wrong)?, 2),
    };
    let number = |text: &str| text.parse::<f64>().ok().filter(|value| value.is_finite());
    let (low, high) = (number(low).ok_or_else(wrong)?, number(high).ok_or_else(wrong)?);
    if low > high || decimals > 9 {
        return Err(wrong());
    }
    Ok(Part::Uniform { low, high, decimals })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    fn render(payload: &Payload, sequence: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let context =
            Context { device_id: "dev-1", sequence, now: UnixTime::from_nanos(1_700_000_000_000_000_000) };
        payload.render(context, &mut stream(7, "sensors", sequence, Purpose::Payload), &mut out);
        out
    }

    #[test]
    fn a_template_renders_device_sequence_time_and_values() {
        let text = String::from_utf8(render(&Payload::default(), 3)).expect("text");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["device"], "dev-1");
        assert_eq!(value["seq"], 3);
        assert_eq!(value["at"], "2023-11-14T22:13:20.000Z");
        let wind = value["wind"].as_f64().expect("a number");
        assert!((8.0..=12.0).contains(&wind));
    }

    #[test]
    fn a_message_is_a_function_of_its_stream() {
        let payload = Payload::bytes(2_048).expect("a size");
        assert_eq!(render(&payload, 1), render(&payload, 1));
        assert_ne!(render(&payload, 1), render(&payload, 2));
        assert_eq!(render(&payload, 1).len(), 2_048);
    }

    #[test]
    fn templates_with_a_mistake_are_refused_with_the_reason() {
        for (template, expected) in [
            ("{\"a\":${seq}", "not valid JSON"),
            ("{\"a\":${seq", "no closing"),
            ("${sequence}", "not a placeholder"),
            ("${uniform(1)}", "needs two numbers"),
            ("${uniform(2, 1)}", "needs two numbers"),
            ("${uniform(1, 2, 3, 4)}", "needs two numbers"),
            ("${uniform(nan, 2)}", "needs two numbers"),
        ] {
            let error = Payload::json(template).expect_err(template).to_string();
            assert!(error.contains(expected), "{template}: {error}");
        }
        assert!(Payload::bytes(262_145).is_err());
    }
}
