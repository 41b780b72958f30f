//! DPS over HTTPS.

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request};

use super::Exchanged;
use crate::azure::dps;
use crate::azure::protocol::Protocol;
use crate::device::habits::{DpsHabits, Field, uuid};
use crate::net::http::{self, Body, HttpConnection};
use crate::net::stream::Stream;
use crate::rng;
use crate::step::{Class, Failure};
use crate::text::Secret;
use crate::time::Clock;

/// A device's connection to DPS.
pub struct DpsHttps {
    connection: HttpConnection,
    host: HeaderValue,
    authorization: HeaderValue,
    habits: &'static DpsHabits,
    /// Of request ids.
    draws: rng::Stream,
}

impl DpsHttps {
    /// Uses `stream`, which leads to `host` (with its port, if not 443), with the device's token.
    ///
    /// # Errors
    /// When host or token cannot stand in a header; neither happens with what the plan has checked.
    pub async fn new(
        stream: Stream,
        host: &str,
        token: &Secret,
        habits: &'static DpsHabits,
        draws: rng::Stream,
    ) -> Result<Self, Failure> {
        let mut authorization = http::header_value(token.expose())?;
        authorization.set_sensitive(true);
        let names_port = habits.http_head.contains(&Field::HostAndPort) && !host.contains(':');
        let host = if names_port { format!("{host}:{PORT}") } else { host.to_owned() };
        Ok(Self {
            connection: HttpConnection::new(stream).await?,
            host: http::header_value(host.as_bytes())?,
            authorization,
            habits,
            draws,
        })
    }

    /// Whether another request can be made. The connection was idle since the last one, and DPS may have closed it.
    pub fn is_open(&mut self) -> bool {
        self.connection.is_still_open()
    }

    /// `PUT …/register`.
    pub async fn register(&mut self, clock: &Clock, id_scope: &str, registration_id: &str) -> Exchanged {
        let body = self.habits.body.of(registration_id);
        let [id_scope, registration_id] =
            [id_scope, registration_id].map(|id| self.habits.http_ids.encode(id));
        let path = dps::register_path_at(&id_scope, &registration_id, self.habits.api_version);
        self.exchange(clock, Method::PUT, &path, body.into()).await
    }

    /// `GET …/operations/…`.
    pub async fn poll(
        &mut self,
        clock: &Clock,
        id_scope: &str,
        registration_id: &str,
        operation: &str,
    ) -> Exchanged {
        let [scope, id, operation] =
            [id_scope, registration_id, operation].map(|id| self.habits.http_ids.encode(id));
        let path = dps::operation_path_at(&scope, &id, &operation, self.habits.api_version);
        let body = Bytes::from_static(self.habits.http_poll_body.as_bytes());
        self.exchange(clock, Method::GET, &path, body).await
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        self.connection.close().await;
    }

    /// Makes one request and waits for its answer.
    async fn exchange(&mut self, clock: &Clock, method: Method, path: &str, body: Bytes) -> Exchanged {
        let mut request = Request::builder().method(method).uri(path);
        for field in self.habits.http_head {
            request = match *field {
                Field::Fixed(name, value) => request.header(name, value),
                Field::Host | Field::HostAndPort => request.header(header::HOST, &self.host),
                Field::Authorization => request.header(header::AUTHORIZATION, &self.authorization),
                Field::RequestId => request.header(REQUEST_ID, uuid(&mut self.draws)),
                Field::Length => request.header(header::CONTENT_LENGTH, body.len()),
                // They are about messages.
                Field::To
                | Field::MessageId
                | Field::Properties
                | Field::ContentType
                | Field::ContentEncoding
                | Field::BodyType
                | Field::IfMatch { .. } => request,
            };
        }
        let request = match request.body(Body::sized(body)) {
            Ok(request) => request,
            // The operation id is the service's text, and can be unfit for a path.
            Err(error) => {
                let failure = Failure::new(Class::BadAnswer, &format!("the service's operation id: {error}"));
                return Exchanged { result: Err(failure), span: None };
            }
        };
        match self.connection.request(clock, request).await {
            Ok(answer) => {
                let hint = answer.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                let result = super::interpret(answer.status.as_u16(), hint, &answer.body, clock.wall());
                Exchanged { result, span: Some((answer.started, answer.finished)) }
            }
            Err(trouble) => Exchanged { result: Err(trouble.failure), span: None },
        }
    }
}

/// Of HTTPS.
const PORT: u16 = Protocol::Https.default_port();

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
