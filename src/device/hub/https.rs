//! A hub over HTTPS: one request at a time, 204 confirms a message.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request};

use super::{Event, Message, refusal};
use crate::azure::{dps, hub};
use crate::net::http::{self, HttpConnection};
use crate::net::stream::Stream;
use crate::step::{Class, Failure};
use crate::text::Secret;
use crate::time::Clock;

/// A device's connection to its hub.
pub struct HubHttps {
    connection: HttpConnection,
    host: HeaderValue,
    path: String,
    authorization: HeaderValue,
    /// The message under way.
    sequence: Option<u64>,
}

impl HubHttps {
    /// Uses `stream`, which leads to the hub `host` (as DPS wrote it).
    ///
    /// # Errors
    /// When the host cannot stand in a header.
    pub async fn new(stream: Stream, host: &str, device_id: &str, token: &Secret) -> Result<Self, Failure> {
        Ok(Self {
            connection: HttpConnection::new(stream).await?,
            host: http::header_value(host.as_bytes())?,
            path: hub::events_path(device_id),
            authorization: authorization(token)?,
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
    pub fn send(&mut self, clock: &Clock, message: &Message<'_>) -> Result<(), Failure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, message.content_type)
            .header(hub::CONTENT_TYPE_HEADER, message.content_type)
            .header(hub::MESSAGE_ID_HEADER, &message.id)
            .header(header::USER_AGENT, http::USER_AGENT);
        if let Some(encoding) = message.content_encoding {
            request = request.header(hub::CONTENT_ENCODING_HEADER, encoding);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(message.body))).map_err(|error| {
            Failure::new(Class::Rejected, &format!("the message cannot be sent: {error}"))
        })?;
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

fn authorization(token: &Secret) -> Result<HeaderValue, Failure> {
    let mut value = http::header_value(token.expose())?;
    value.set_sensitive(true);
    Ok(value)
}
