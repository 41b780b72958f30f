//! DPS over HTTPS.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request};

use super::Exchanged;
use crate::azure::dps;
use crate::net::http::{self, HttpConnection};
use crate::net::stream::Stream;
use crate::step::{Class, Failure};
use crate::text::Secret;
use crate::time::Clock;

/// A device's connection to DPS.
pub struct DpsHttps {
    connection: HttpConnection,
    host: HeaderValue,
    authorization: HeaderValue,
}

impl DpsHttps {
    /// Uses `stream`, which leads to `host` (with its port, if not 443), with the device's token.
    ///
    /// # Errors
    /// When host or token cannot stand in a header; neither happens with what the plan has checked.
    pub async fn new(stream: Stream, host: &str, token: &Secret) -> Result<Self, Failure> {
        let mut authorization = http::header_value(token.expose())?;
        authorization.set_sensitive(true);
        Ok(Self {
            connection: HttpConnection::new(stream).await?,
            host: http::header_value(host.as_bytes())?,
            authorization,
        })
    }

    /// Whether another request can be made. The connection was idle since the last one, and DPS may have closed it.
    pub fn is_open(&mut self) -> bool {
        self.connection.is_still_open()
    }

    /// `PUT …/register`.
    pub async fn register(&mut self, clock: &Clock, id_scope: &str, registration_id: &str) -> Exchanged {
        let body = dps::RegisterBody { registration_id: registration_id.to_owned(), payload: None };
        let body = serde_json::to_vec(&body).expect("an id is valid JSON");
        self.exchange(clock, Method::PUT, &dps::register_path(id_scope, registration_id), body.into()).await
    }

    /// `GET …/operations/…`.
    pub async fn poll(
        &mut self,
        clock: &Clock,
        id_scope: &str,
        registration_id: &str,
        operation: &str,
    ) -> Exchanged {
        let path = dps::operation_path(id_scope, registration_id, operation);
        self.exchange(clock, Method::GET, &path, Bytes::new()).await
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        self.connection.close().await;
    }

    async fn exchange(&mut self, clock: &Clock, method: Method, path: &str, body: Bytes) -> Exchanged {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.host)
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, dps::JSON)
            .header(header::USER_AGENT, http::USER_AGENT)
            .body(Full::new(body));
        let request = match request {
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
