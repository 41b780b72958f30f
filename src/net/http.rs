//! HTTP/1.1 as a client: one connection, one request at a time, driven by the task that owns it.
//!
//! Hyper's low-level connection, without its pool, which would hide whose connection it is.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Frame, SizeHint};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;

use super::failure::classify;
use super::stream::Stream;
use crate::step::{Class, Failure};
use crate::time::{Clock, Instant};

/// Bytes read at once, and with that the largest head of a response. 1 KiB would save 3 KiB a connection, but services
/// that add headers for tracing come close to it.
const READ_BUFFER: usize = 4 * 1024;

/// Headers that a response may have; DPS and hubs send a dozen.
const MAX_HEADERS: usize = 64;

/// The same where an answer is a message: body and properties of one have 64 KB together.
const LARGE_HEAD: usize = 80 * 1024;

/// Properties of a message that can be read. Our own choice: hyper looks up each in a list of so many places.
const MANY_HEADERS: usize = 512;

/// The largest body that is read of a response.
const MAX_BODY: usize = 64 * 1024;

/// The body of a request, in one piece.
#[derive(Debug)]
pub struct Body {
    bytes: Full<Bytes>,
    is_sized: bool,
}

impl Body {
    /// One whose length goes ahead of it.
    pub fn sized(bytes: Bytes) -> Self {
        Self { bytes: Full::new(bytes), is_sized: true }
    }

    /// One that goes in chunks, as if its length were not known.
    pub fn chunked(bytes: Bytes) -> Self {
        Self { bytes: Full::new(bytes), is_sized: false }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.bytes).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_sized { self.bytes.size_hint() } else { SizeHint::default() }
    }
}

/// A connection to an HTTP/1.1 server.
pub struct HttpConnection {
    sender: SendRequest<Body>,
    /// `None` once it has ended.
    connection: Option<Driven>,
    pending: Option<Pending>,
    /// Why the connection ended, unless in order.
    broken: Option<Failure>,
}

/// Hyper's half of the work: writes requests, reads answers, while it is polled.
type Driven = Pin<Box<Connection<TokioIo<Stream>, Body>>>;

/// A request under way.
type Pending = Pin<Box<dyn Future<Output = Result<Answer, Trouble>>>>;

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, whole.
    pub body: Bytes,
    /// When the request was handed to the connection.
    pub started: Instant,
    /// When the last byte of the answer was decoded.
    pub finished: Instant,
}

/// A request that got no answer.
#[derive(Debug)]
pub struct Trouble {
    /// What happened.
    pub failure: Failure,
    /// When the request was handed to the connection; `None` if it certainly never was.
    pub sent: Option<Instant>,
}

impl HttpConnection {
    /// Prepares `stream` for requests; nothing is sent yet.
    ///
    /// # Errors
    /// [`Class::BadAnswer`] in theory; hyper's preparation has no way to fail on an open stream.
    pub async fn new(stream: Stream) -> Result<Self, Failure> {
        let mut builder = Builder::new();
        builder.read_buf_exact_size(Some(READ_BUFFER)).max_headers(MAX_HEADERS);
        Self::with(&builder, stream).await
    }

    /// The same for answers with large heads, as messages have that carry their properties there: the buffer grows with
    /// them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn for_large_heads(stream: Stream) -> Result<Self, Failure> {
        let mut builder = Builder::new();
        builder.max_buf_size(LARGE_HEAD).max_headers(MANY_HEADERS);
        Self::with(&builder, stream).await
    }

    async fn with(builder: &Builder, stream: Stream) -> Result<Self, Failure> {
        let (sender, connection) =
            builder.handshake(TokioIo::new(stream)).await.map_err(|error| translate(&error))?;
        Ok(Self { sender, connection: Some(Box::pin(connection)), pending: None, broken: None })
    }

    /// Whether another request may be started.
    pub fn is_open(&self) -> bool {
        self.connection.is_some() && !self.sender.is_closed()
    }

    /// As [`Self::is_open`], after a look at what has come from the peer meanwhile: for a connection that nobody drove
    /// while it was idle.
    pub fn is_still_open(&mut self) -> bool {
        let _ = self.drive(&mut Context::from_waker(std::task::Waker::noop()));
        self.is_open()
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.pending.is_some()
    }

    /// Hands a request to the connection; [`Self::answer`] gives what comes of it.
    ///
    /// # Panics
    /// While another request is under way: HTTP/1.1 has no way to tell answers apart.
    pub fn start(&mut self, clock: &Clock, request: Request<Body>) {
        assert!(self.pending.is_none(), "one request at a time");
        let clock = clock.clone();
        let started = clock.now();
        let response = self.sender.try_send_request(request);
        self.pending = Some(Box::pin(async move {
            let response = response.await.map_err(|mut error| {
                // A request that hyper hands back was never written.
                let sent = error.take_message().is_none().then_some(started);
                Trouble { failure: translate(error.error()), sent }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| Trouble {
                failure: match error.downcast_ref::<hyper::Error>() {
                    Some(error) => translate(error),
                    None => Failure::new(Class::BadAnswer, "the body of the answer is too long"),
                },
                sent: Some(started),
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
                started,
                finished: clock.now(),
            })
        }));
    }

    /// Drives the connection until the request under way is answered, or, if none is, until the connection ends (an
    /// answer of `None`). Dropping the future loses nothing.
    pub async fn answer(&mut self) -> Option<Result<Answer, Trouble>> {
        std::future::poll_fn(|context| self.poll_answer(context)).await
    }

    /// See [`Self::answer`].
    pub fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Answer, Trouble>>> {
        // The connection first: it writes the request and reads the answer.
        let _ = self.drive(context);
        if let Some(pending) = &mut self.pending {
            if let Poll::Ready(answer) = pending.as_mut().poll(context) {
                self.pending = None;
                return Poll::Ready(Some(answer));
            }
            // Reading the body makes room that the connection has to be told of.
            if self.drive(context).is_ready() {
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        if self.connection.is_none() { Poll::Ready(None) } else { Poll::Pending }
    }

    /// Reads and writes what there is to; ready when the connection has just ended.
    fn drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else { return Poll::Pending };
        let Poll::Ready(ended) = connection.as_mut().poll(context) else { return Poll::Pending };
        self.connection = None;
        self.broken = ended.err().map(|error| translate(&error));
        Poll::Ready(())
    }

    /// Why the connection ended, if it did and not in order.
    pub fn take_broken(&mut self) -> Option<Failure> {
        self.broken.take()
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// [`Trouble`] when the connection fails or the answer is no HTTP.
    pub async fn request(&mut self, clock: &Clock, request: Request<Body>) -> Result<Answer, Trouble> {
        self.start(clock, request);
        match self.answer().await {
            Some(answer) => answer,
            None => Err(Trouble {
                failure: Failure::new(Class::Closed, "the connection ended before the request"),
                sent: None,
            }),
        }
    }

    /// Ends the connection in order (TLS close_notify), without waiting for the peer.
    pub async fn close(mut self) {
        use tokio::io::AsyncWriteExt as _;
        if self.pending.is_none()
            && let Some(connection) = self.connection.take()
        {
            let parts = Pin::into_inner(connection).into_parts();
            let mut stream = parts.io.into_inner();
            let _ = stream.shutdown().await;
        }
    }
}

/// A header's value from bytes.
///
/// # Errors
/// [`Class::Rejected`] for bytes that no header may hold; the message does not repeat them, for they may be a token.
pub fn header_value(bytes: &[u8]) -> Result<HeaderValue, Failure> {
    HeaderValue::from_bytes(bytes)
        .map_err(|_| Failure::new(Class::Rejected, "a host or token that cannot stand in an HTTP header"))
}

fn translate(error: &hyper::Error) -> Failure {
    use std::error::Error as _;
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return classify(io);
        }
        source = cause.source();
    }
    let class = if error.is_parse() || error.is_parse_too_large() {
        Class::BadAnswer
    } else if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        Class::Closed
    } else {
        Class::OtherIo
    };
    Failure::new(class, &error.to_string())
}
