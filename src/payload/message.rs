//! One kind of message: its body, and what goes with it.

use std::sync::Arc;

use super::error::{PropertyError, TemplateError, TooLarge};
use super::extremes::Ids;
use super::id_form::IdForm;
use super::part::Chance;
use super::template::Template;
use super::{Context, MAX_MESSAGE_ID, MAX_PROPERTIES, MAX_SYSTEM_PROPERTY, Rendered, random};
use crate::azure::hub::{BATCH_CONTENT_TYPE, MAX_MESSAGE};
use crate::rng::Stream;

/// One kind of message that devices of a population send.
#[derive(Debug, Clone, PartialEq)]
pub struct Payload {
    body: Body,
    content_type: Box<str>,
    content_encoding: Option<Box<str>>,
    message_id: Template,
    properties: Vec<Property>,
    /// How many walks its templates have.
    walks: u64,
}

/// An application property.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// As the hub's rules and routes know it.
    pub name: Box<str>,
    /// Renders to printable ASCII.
    pub value: Template,
}

#[derive(Debug, Clone, PartialEq)]
enum Body {
    Template(Template),
    Random(usize),
    Verbatim(Arc<[u8]>),
}

/// How long ids are at most, for sizes and message ids. Unknown ones: [`MAX_ID_LENGTH`](crate::azure::registration::MAX_ID_LENGTH).
#[derive(Debug, Clone, Copy)]
pub struct Longest<'a> {
    /// Characters of the longest id at the hub.
    pub device_id: usize,
    /// Characters of the longest registration id.
    pub registration_id: usize,
    /// Name of the population.
    pub population: &'a str,
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

/// The message id of a scenario that gives none.
pub const DEFAULT_MESSAGE_ID: &str = "${run}-${seq}";

impl Payload {
    /// A template that renders to JSON: `application/json` in UTF-8.
    ///
    /// # Errors
    /// [`TemplateError`] when a placeholder is wrong, or a trial rendering is not JSON. Trials show every item of each list,
    /// the extremes of each number, and an id of 128 characters.
    pub fn json(template: &str) -> Result<Self, TemplateError> {
        let mut walks = 0;
        let body = Body::Template(Template::json(template, &mut walks)?);
        Ok(Self::new(body, walks, "application/json", Some("utf-8")))
    }

    /// A template for any text: `text/plain` in UTF-8.
    ///
    /// # Errors
    /// [`TemplateError`] when a placeholder is wrong.
    pub fn text(template: &str) -> Result<Self, TemplateError> {
        let mut walks = 0;
        let body = Body::Template(Template::text(template, &mut walks)?);
        Ok(Self::new(body, walks, "text/plain", Some("utf-8")))
    }

    /// `size` random bytes: `application/octet-stream`.
    ///
    /// # Errors
    /// [`TooLarge`] above what a hub takes.
    pub fn random(size: u64) -> Result<Self, TooLarge> {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_MESSAGE {
            return Err(TooLarge { size });
        }
        Ok(Self::new(Body::Random(size), 0, "application/octet-stream", None))
    }

    /// The content of a file, the same in every message. Its type is told by the ending of its name: JSON, text, CSV, or
    /// `application/octet-stream`.
    ///
    /// # Errors
    /// [`TooLarge`] above what a hub takes.
    pub fn file(name: &std::path::Path, content: Arc<[u8]>) -> Result<Self, TooLarge> {
        if content.len() > MAX_MESSAGE {
            return Err(TooLarge { size: content.len() });
        }
        let ending =
            name.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let (content_type, encoding) = match ending.as_str() {
            "json" => ("application/json", Some("utf-8")),
            "txt" => ("text/plain", Some("utf-8")),
            "csv" => ("text/csv", Some("utf-8")),
            _ => ("application/octet-stream", None),
        };
        Ok(Self::new(Body::Verbatim(content), 0, content_type, encoding))
    }

    fn new(body: Body, walks: u64, content_type: &str, encoding: Option<&str>) -> Self {
        let message_id = Template::text(DEFAULT_MESSAGE_ID, &mut 0).expect("the default template is valid");
        Self {
            body,
            content_type: content_type.into(),
            content_encoding: encoding.map(Into::into),
            message_id,
            properties: Vec::new(),
            walks,
        }
    }

    /// Content type of the message.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// Content encoding of the message; none unless it is text or one was given.
    pub fn content_encoding(&self) -> Option<&str> {
        self.content_encoding.as_deref()
    }

    /// Its application properties, in the order in which they were written.
    pub fn properties(&self) -> &[Property] {
        &self.properties
    }

    /// Adds an application property.
    ///
    /// * `value`: a template for text
    ///
    /// # Errors
    /// [`PropertyError`] if the name is not legal or there already, the template is wrong, or what it renders to is not
    /// printable ASCII.
    ///
    /// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct>
    pub fn add_property(&mut self, name: &str, value: &str) -> Result<(), PropertyError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(legal) {
            return Err(PropertyError::Name);
        }
        if self.properties.iter().any(|known| known.name.eq_ignore_ascii_case(name)) {
            return Err(PropertyError::Twice);
        }
        if self.properties.len() == MAX_PROPERTIES {
            return Err(PropertyError::TooMany);
        }
        let value = Template::text(value, &mut self.walks)?;
        if let Some(c) = value.illegal(is_printable) {
            return Err(PropertyError::Character(c));
        }
        self.properties.push(Property { name: name.into(), value });
        Ok(())
    }

    /// Gives the message another content type.
    ///
    /// # Errors
    /// [`PropertyError`] if it is empty, not printable ASCII, too long, or stands for a batch of messages.
    pub fn set_content_type(&mut self, value: &str) -> Result<(), PropertyError> {
        check_system_property(value)?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case(BATCH_CONTENT_TYPE) {
            return Err(PropertyError::Batch);
        }
        self.content_type = value.into();
        Ok(())
    }

    /// Gives the message another content encoding.
    ///
    /// # Errors
    /// [`PropertyError`] if it is empty, not printable ASCII, or too long.
    pub fn set_content_encoding(&mut self, value: &str) -> Result<(), PropertyError> {
        check_system_property(value)?;
        self.content_encoding = Some(value.into());
        Ok(())
    }

    /// Gives the messages other ids than [`DEFAULT_MESSAGE_ID`].
    ///
    /// * `template`: a template for text
    ///
    /// # Errors
    /// [`PropertyError`] if the template is wrong, or the id may be empty, longer than [`MAX_MESSAGE_ID`], or hold a
    /// character that the hub does not take.
    ///
    /// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-construct>
    pub fn set_message_id(&mut self, template: &str, longest: Longest<'_>) -> Result<(), PropertyError> {
        let compiled = Template::text(template, &mut self.walks)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c);
        if let Some(c) = compiled.illegal(legal) {
            return Err(PropertyError::IdCharacter(c));
        }
        if compiled.may_be_empty() {
            return Err(PropertyError::Empty);
        }
        let length = compiled.longest(&longest.ids().context());
        if length > MAX_MESSAGE_ID {
            return Err(PropertyError::TooLong { length, limit: MAX_MESSAGE_ID });
        }
        self.message_id = compiled;
        Ok(())
    }

    /// What no message exceeds, in bytes: body, names and values of properties, values of system properties.
    ///
    /// # Errors
    /// [`TooLarge`] if a hub would refuse such a message.
    pub fn check_size(&self) -> Result<usize, TooLarge> {
        let size = self.longest(&Ids::default().context());
        if size > MAX_MESSAGE { Err(TooLarge { size }) } else { Ok(size) }
    }

    pub(super) fn id_form(&self, run: &str, population: &str) -> Option<IdForm> {
        self.message_id.id_form(run, population)
    }

    pub(super) fn longest(&self, extreme: &Context<'_>) -> usize {
        let body = match &self.body {
            Body::Template(template) => template.longest(extreme),
            Body::Random(size) => *size,
            Body::Verbatim(content) => content.len(),
        };
        let values = self.properties.iter().map(|property| property.value.longest(extreme));
        let rest = self.constant_size() + self.message_id.longest(extreme);
        values.fold(body.saturating_add(rest), usize::saturating_add)
    }

    /// Bytes that count and are the same in every message.
    pub(super) fn constant_size(&self) -> usize {
        let names: usize = self.properties.iter().map(|property| property.name.len()).sum();
        names + self.content_type.len() + self.content_encoding.as_ref().map_or(0, |encoding| encoding.len())
    }

    /// Renders one message into `out`, which is empty.
    pub(super) fn render(&self, context: &Context<'_>, stream: &mut Stream, walks: u64, out: &mut Rendered) {
        let mut chance = Chance { stream, walks };
        match &self.body {
            Body::Template(template) => template.render(context, &mut chance, &mut out.body),
            Body::Random(size) => random::bytes(chance.stream, *size, &mut out.body),
            Body::Verbatim(content) => out.body.extend_from_slice(content),
        }
        self.message_id.render(context, &mut chance, &mut out.texts);
        out.ends.push(out.texts.len());
        for property in &self.properties {
            property.value.render(context, &mut chance, &mut out.texts);
            out.ends.push(out.texts.len());
        }
    }
}

impl Longest<'_> {
    fn ids(&self) -> Ids {
        Ids::of_lengths(self.device_id, self.registration_id, self.population)
    }
}

fn check_system_property(value: &str) -> Result<(), PropertyError> {
    if value.trim().is_empty() {
        return Err(PropertyError::Empty);
    }
    if let Some(c) = value.chars().find(|c| !is_printable(*c)) {
        return Err(PropertyError::Character(c));
    }
    if value.len() > MAX_SYSTEM_PROPERTY {
        return Err(PropertyError::TooLong { length: value.len(), limit: MAX_SYSTEM_PROPERTY });
    }
    Ok(())
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~')
}
