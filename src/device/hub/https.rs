//! A hub over HTTPS: one request at a time, 204 confirms a message; and messages from the cloud, which a device has to ask for.

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};

use super::{Event, Message, refusal};
use crate::azure::{dps, hub};
use crate::device::devicebound::LockToken;
use crate::device::habits::{Field, HubHabits};
use crate::device::two_way::Settle;
use crate::net::http::{self, Answer, Body, HttpConnection};
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
    under_way: Option<UnderWay>,
    /// For devices that take messages from the cloud.
    devicebound: Option<Box<Devicebound>>,
}

/// The request whose answer is waited for.
#[derive(Debug, Clone, Copy)]
enum UnderWay {
    /// The message of that number.
    Message(u64),
    /// Whether there is a message for the device.
    Question,
    /// What becomes of it.
    Settlement,
}

struct Devicebound {
    /// Without query.
    path: String,
    question: Uri,
}

/// Who uses a connection.
pub struct Opening<'a> {
    /// The hub's name as DPS wrote it.
    pub host: &'a str,
    /// The device's id there.
    pub device_id: &'a str,
    /// Its token.
    pub token: &'a Secret,
    /// What it does.
    pub habits: &'static HubHabits,
    /// Whether it takes messages from the cloud.
    pub takes_messages: bool,
}

impl HubHttps {
    /// Uses `stream`, which leads to the hub.
    ///
    /// # Errors
    /// When the host cannot stand in a header, or the id in a path.
    pub async fn new(stream: Stream, opening: Opening<'_>) -> Result<Self, Failure> {
        let Opening { host, device_id, token, habits, takes_messages } = opening;
        let devicebound = match takes_messages {
            true => {
                let path = hub::devicebound_path(device_id);
                let question = uri(&format!("{path}?api-version={}", habits.http_api_version))?;
                Some(Box::new(Devicebound { path, question }))
            }
            false => None,
        };
        Ok(Self {
            connection: match takes_messages {
                true => HttpConnection::for_large_heads(stream).await?,
                false => HttpConnection::new(stream).await?,
            },
            host: http::header_value(host.as_bytes())?,
            path: uri(&hub::events_path_at(device_id, habits.http_api_version))?,
            authorization: authorization(token)?,
            habits,
            under_way: None,
            devicebound,
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

    /// Whether a request can be handed over now.
    pub fn can_send(&self) -> bool {
        self.under_way.is_none() && self.connection.is_open()
    }

    /// Asks whether there is a message for the device; [`Event::Asked`] has the answer. Nothing happens for a device that takes
    /// none.
    pub fn ask(&mut self, clock: &Clock) {
        let Some(devicebound) = &self.devicebound else { return };
        let to = devicebound.question.clone();
        // Nothing in it can be unfit, for it was in a request before.
        let Ok(request) = self.plain_request(Method::GET, to, self.habits.http_question, "") else { return };
        self.connection.start(clock, request);
        self.under_way = Some(UnderWay::Question);
    }

    /// Says what becomes of a message that the hub gave out; [`Event::Settled`] has the answer. Nothing happens for a device
    /// that takes none.
    ///
    /// # Errors
    /// When the lock token cannot stand in a path; nothing is sent then.
    pub fn settle(&mut self, clock: &Clock, lock_token: &str, how: Settle) -> Result<(), Failure> {
        let Some(devicebound) = &self.devicebound else { return Ok(()) };
        let (method, below, reject) = match how {
            Settle::Complete => (Method::DELETE, "", ""),
            Settle::Reject => (Method::DELETE, "", "&reject"),
            Settle::Abandon => (Method::POST, "/abandon", ""),
        };
        let path = hub::locked_path(&devicebound.path, lock_token);
        let target = uri(&format!("{path}{below}?api-version={}{reject}", self.habits.http_api_version))?;
        let request = self.plain_request(method, target, self.habits.http_settlement, lock_token)?;
        self.connection.start(clock, request);
        self.under_way = Some(UnderWay::Settlement);
        Ok(())
    }

    /// One without a body.
    ///
    /// * `lock_token`: names the message that it is about
    fn plain_request(
        &self,
        method: Method,
        target: Uri,
        head: &[Field],
        lock_token: &str,
    ) -> Result<Request<Body>, Failure> {
        let mut request = Request::new(Body::sized(Bytes::new()));
        for field in head {
            let (name, value) = match *field {
                Field::To => (TO, http::header_value(target.path().as_bytes())?),
                Field::Length => (header::CONTENT_LENGTH, HeaderValue::from(0)),
                Field::IfMatch { is_quoted: true } => {
                    (header::IF_MATCH, http::header_value(format!("\"{lock_token}\"").as_bytes())?)
                }
                Field::IfMatch { is_quoted: false } => {
                    (header::IF_MATCH, http::header_value(lock_token.as_bytes())?)
                }
                ref field => match self.common(field) {
                    Some(line) => line,
                    None => continue,
                },
            };
            request.headers_mut().insert(name, value);
        }
        if method == Method::POST && !request.headers().contains_key(header::CONTENT_LENGTH) {
            // Whatever clients write elsewhere: nothing, posted, has a length.
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        *request.method_mut() = method;
        *request.uri_mut() = target;
        Ok(request)
    }

    /// A line that does not depend on what the request is about.
    fn common(&self, field: &Field) -> Option<(HeaderName, HeaderValue)> {
        match *field {
            Field::Fixed(name, value) => {
                Some((HeaderName::from_static(name), HeaderValue::from_static(value)))
            }
            Field::Host | Field::HostAndPort => Some((header::HOST, self.host.clone())),
            Field::Authorization => Some((header::AUTHORIZATION, self.authorization.clone())),
            _ => None,
        }
    }

    /// Hands a message over; an [`Event`] tells what comes of it.
    ///
    /// # Errors
    /// When a property cannot stand in a header; nothing is sent then.
    pub fn send(&mut self, clock: &Clock, message: &Message<'_>, envelope: &Headers) -> Result<(), Failure> {
        let body = Bytes::copy_from_slice(message.rendered.body());
        let length = body.len();
        let body = if self.habits.chunked { Body::chunked(body) } else { Body::sized(body) };
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let headers = request.headers_mut();
        let head = self.habits.http_message;
        headers.reserve(head.len() + envelope.properties.len());
        for field in head {
            let (name, value) = match field {
                Field::To => (TO, http::header_value(self.path.path().as_bytes())?),
                Field::Length => (header::CONTENT_LENGTH, HeaderValue::from(length)),
                Field::MessageId => (MESSAGE_ID, http::header_value(message.rendered.message_id())?),
                Field::ContentType => (CONTENT_TYPE, envelope.content_type.clone()),
                Field::BodyType => (header::CONTENT_TYPE, envelope.content_type.clone()),
                Field::ContentEncoding => match &envelope.content_encoding {
                    Some(encoding) => (CONTENT_ENCODING, encoding.clone()),
                    None => continue,
                },
                Field::Properties => {
                    envelope.append_properties(headers, message)?;
                    continue;
                }
                field => match self.common(field) {
                    Some(line) => line,
                    None => continue,
                },
            };
            headers.insert(name, value);
        }
        self.connection.start(clock, request);
        self.under_way = Some(UnderWay::Message(message.sequence));
        Ok(())
    }

    /// Waits for the next event. Dropping the future loses nothing.
    pub async fn event(&mut self, clock: &Clock) -> Event {
        let answer = self.connection.answer().await;
        let Some(under_way) = self.under_way.take() else {
            let failure = self.connection.take_broken();
            return Event::Lost { failure, unsent: Vec::new(), is_aside_unsent: false };
        };
        let answer = match answer {
            Some(Ok(answer)) => answer,
            Some(Err(trouble)) => return under_way.lost(Some(trouble.failure), trouble.sent.is_none()),
            None => return under_way.lost(None, true),
        };
        let failure = (!answer.status.is_success()).then(|| refused(&answer, clock));
        let (started, finished) = (answer.started, answer.finished);
        match (under_way, failure) {
            (UnderWay::Message(sequence), None) => Event::Acknowledged { sequence, started, finished },
            (UnderWay::Message(sequence), Some(failure)) => {
                Event::Refused { sequence, failure, started, finished }
            }
            (UnderWay::Question, failure) => {
                let answer = failure.map_or_else(|| lock_token(&answer), Err);
                Event::Asked { answer, started, finished }
            }
            (UnderWay::Settlement, mut failure) => {
                if let Some(failure) = &mut failure
                    && answer.status == StatusCode::PRECONDITION_FAILED
                {
                    failure.class = Class::LockLost;
                }
                Event::Settled { failure, started, finished }
            }
        }
    }

    /// Whether the connection has ended while nothing was under way.
    pub fn is_over(&self) -> bool {
        self.under_way.is_none() && !self.connection.is_open()
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

impl UnderWay {
    /// The connection is gone.
    ///
    /// * `is_unsent`: the request was certainly never written
    fn lost(self, failure: Option<Failure>, is_unsent: bool) -> Event {
        let (unsent, is_aside_unsent) = match self {
            Self::Message(sequence) if is_unsent => (vec![sequence], false),
            Self::Message(_) => (Vec::new(), false),
            Self::Question | Self::Settlement => (Vec::new(), is_unsent),
        };
        Event::Lost { failure, unsent, is_aside_unsent }
    }
}

/// Why the hub refused, and how long it asks to wait.
fn refused(answer: &Answer, clock: &Clock) -> Failure {
    let mut failure = refusal(answer.status.as_u16(), &answer.body);
    failure.retry_after = answer
        .headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| dps::parse_retry_after(value, clock.wall()));
    failure
}

/// What names the message that the hub gave out, if it gave one.
fn lock_token(answer: &Answer) -> Result<Option<LockToken>, Failure> {
    if answer.status == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    let token = answer.headers.get(header::ETAG).and_then(|value| value.to_str().ok());
    let token =
        token.map(|token| token.trim_matches('"')).filter(|token| (1..=MAX_TOKEN).contains(&token.len()));
    match token {
        Some(token) => Ok(Some(token.into())),
        None => {
            Err(Failure::new(Class::BadAnswer, "a message from the cloud without the ETag that settles it"))
        }
    }
}

/// Characters of a lock token; the hub's are GUIDs.
const MAX_TOKEN: usize = 256;

fn uri(text: &str) -> Result<Uri, Failure> {
    Uri::try_from(text)
        .map_err(|error| Failure::new(Class::BadAnswer, &format!("an id that is no path: {error}")))
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

    fn append_properties(&self, headers: &mut HeaderMap, message: &Message<'_>) -> Result<(), Failure> {
        for (property, value) in self.properties.iter().zip(message.rendered.values()) {
            let value = match &property.constant {
                Some(constant) => constant.clone(),
                None => http::header_value(value)?,
            };
            headers.insert(property.name.clone(), value);
        }
        Ok(())
    }
}

const MESSAGE_ID: HeaderName = HeaderName::from_static(hub::MESSAGE_ID_HEADER);
const CONTENT_TYPE: HeaderName = HeaderName::from_static(hub::CONTENT_TYPE_HEADER);
const CONTENT_ENCODING: HeaderName = HeaderName::from_static(hub::CONTENT_ENCODING_HEADER);
const TO: HeaderName = HeaderName::from_static(hub::TO_HEADER);

fn authorization(token: &Secret) -> Result<HeaderValue, Failure> {
    let mut value = http::header_value(token.expose())?;
    value.set_sensitive(true);
    Ok(value)
}
