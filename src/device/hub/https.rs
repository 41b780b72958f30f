//! A hub over HTTPS: one request at a time, 204 confirms a message.

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

use super::{Event, Message, refusal};
use crate::azure::{dps, hub};
use crate::device::habits::HubHabits;
use crate::net::http::{self, Body, HttpConnection};
use crate::net::stream::Stream;
use crate::payload::Payload;
use crate::step::{Class, Failure};
use crate::text::Secret;
use crate::time::Clock;

/// A device's connection to its hub.
pub struct HubHttps {
    connection: HttpConnection,
    host: HeaderValue,
    path: Uri,
    authorization: HeaderValue,
    habits: &'static HubHabits,
    /// The message under way.
    sequence: Option<u64>,
}

impl HubHttps {
    /// Uses `stream`, which leads to the hub `host` (as DPS wrote it).
    ///
    /// # Errors
    /// When the host cannot stand in a header, or the id in a path.
    pub async fn new(
        stream: Stream,
        host: &str,
        device_id: &str,
        token: &Secret,
        habits: &'static HubHabits,
    ) -> Result<Self, Failure> {
        let path = Uri::try_from(hub::events_path_at(device_id, habits.api_version))
            .map_err(|error| Failure::new(Class::BadAnswer, &format!("the device id is no path: {error}")))?;
        Ok(Self {
            connection: HttpConnection::new(stream).await?,
            host: http::header_value(host.as_bytes())?,
            path,
            authorization: authorization(token)?,
            habits,
            sequence: None,
        })
    }

    /// Uses another token from the next request on.
    ///
    /// # Errors
    /// When the token cannot stand in a header.
    pub fn renew(&mut self, token: &Secret) -> Result<(), Failure> {
        self.authorization = authorization(token)?;
        Ok(())
    }

    /// Whether a message can be handed over now.
    pub fn can_send(&self) -> bool {
        self.sequence.is_none() && self.connection.is_open()
    }

    /// Hands a message over; an [`Event`] tells what comes of it.
    ///
    /// # Errors
    /// When a property cannot stand in a header; nothing is sent then.
    pub fn send(&mut self, clock: &Clock, message: &Message<'_>, envelope: &Headers) -> Result<(), Failure> {
        let body = Bytes::copy_from_slice(message.rendered.body());
        let body = if self.habits.chunked { Body::chunked(body) } else { Body::sized(body) };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        headers.reserve(HEADERS + envelope.properties.len());
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers.insert(header::CONTENT_TYPE, envelope.content_type.clone());
        headers.insert(CONTENT_TYPE, envelope.content_type.clone());
        headers.insert(MESSAGE_ID, http::header_value(message.rendered.message_id())?);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(self.habits.agent));
        if self.habits.chunked {
            headers.insert(TO, http::header_value(self.path.path().as_bytes())?);
        }
        if let Some(encoding) = &envelope.content_encoding {
            headers.insert(CONTENT_ENCODING, encoding.clone());
        }
        for (property, value) in envelope.properties.iter().zip(message.rendered.values()) {
            let value = match &property.constant {
                Some(constant) => constant.clone(),
                None => http::header_value(value)?,
            };
            headers.insert(property.name.clone(), value);
        }
        self.connection.start(clock, request);
        self.sequence = Some(message.sequence);
        Ok(())
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn event(&mut self, clock: &Clock) -> Event {
        let answer = self.connection.answer().await;
        let Some(sequence) = self.sequence.take() else {
            return Event::Lost { failure: self.connection.take_broken(), unsent: Vec::new() };
        };
        match answer {
            Some(Ok(answer)) if answer.status.is_success() => {
                Event::Acknowledged { sequence, started: answer.started, finished: answer.finished }
            }
            Some(Ok(answer)) => {
                let mut failure = refusal(answer.status.as_u16(), &answer.body);
                failure.retry_after = answer
                    .headers
                    .get(header::RETRY_AFTER)
                    .and_then(|value| value.to_str().ok())
                    .and_then(|value| dps::parse_retry_after(value, clock.wall()));
                Event::Refused { sequence, failure, started: answer.started, finished: answer.finished }
            }
            Some(Err(trouble)) => {
                let unsent = if trouble.sent.is_none() { vec![sequence] } else { Vec::new() };
                Event::Lost { failure: Some(trouble.failure), unsent }
            }
            None => Event::Lost { failure: None, unsent: vec![sequence] },
        }
    }

    /// Whether the connection has ended while nothing was under way.
    pub fn is_over(&self) -> bool {
        self.sequence.is_none() && !self.connection.is_open()
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

/// Headers that are the same in every message of one kind.
#[derive(Debug, Clone)]
pub struct Headers {
    content_type: HeaderValue,
    content_encoding: Option<HeaderValue>,
    properties: Vec<Property>,
}

#[derive(Debug, Clone)]
struct Property {
    /// In lower case, as all names of headers: the hub gets no other.
    name: HeaderName,
    /// `None` if its value differs from message to message.
    constant: Option<HeaderValue>,
}

impl Headers {
    /// Those of `payload`.
    pub fn of(payload: &Payload) -> Self {
        let value =
            |text: &str| HeaderValue::from_str(text).expect("payloads check that it is printable ASCII");
        let property = |property: &crate::payload::Property| Property {
            name: HeaderName::try_from(format!("{}{}", hub::PROPERTY_HEADER_PREFIX, property.name))
                .expect("payloads check that it is of the characters of a header's name"),
            constant: property.value.constant().map(value),
        };
        Self {
            content_type: value(payload.content_type()),
            content_encoding: payload.content_encoding().map(value),
            properties: payload.properties().iter().map(property).collect(),
        }
    }
}

/// How many headers a message has besides its properties.
const HEADERS: usize = 10;

const MESSAGE_ID: HeaderName = HeaderName::from_static(hub::MESSAGE_ID_HEADER);
const CONTENT_TYPE: HeaderName = HeaderName::from_static(hub::CONTENT_TYPE_HEADER);
const CONTENT_ENCODING: HeaderName = HeaderName::from_static(hub::CONTENT_ENCODING_HEADER);
const TO: HeaderName = HeaderName::from_static(hub::TO_HEADER);

fn authorization(token: &Secret) -> Result<HeaderValue, Failure> {
    let mut value = http::header_value(token.expose())?;
    value.set_sensitive(true);
    Ok(value)
}
