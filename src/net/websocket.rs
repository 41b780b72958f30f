//! A byte stream inside WebSocket frames (RFC 6455), either side.
//!
//! The library's framing and its client's handshake, with small buffers: its own take 128 KiB a connection. What comes out
//! is the bytes of all binary frames, wherever they were cut: one packet may come in many frames, and many in one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink as _, Stream as _};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncWrite as _, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::failure::classify;
use super::http::header_value;
use super::stream::Stream;
use crate::step::{Class, Failure};
use crate::text::Untrusted;

/// Bytes read at once, kept for as long as the connection lives.
const READ_BUFFER: usize = 1_024;

/// The largest frame that is taken, and the largest message in several frames: the largest packet of MQTT that a hub takes
/// fits, with its topic and its header.
const MAX_FRAME: usize = 384 * 1_024;

/// The largest frame that is sent.
const MAX_SENT: usize = 16 * 1_024;

/// A byte stream inside the frames of another.
pub struct Frames {
    socket: WebSocketStream<Stream>,
    /// Of the last frame, not given out yet.
    unread: Bytes,
    is_closing: bool,
}

/// What a client asks for.
pub struct Wanted<'a> {
    /// As written in the `Host` header.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The subprotocol.
    pub subprotocol: &'a str,
    /// Host and port, for clients that name them in `Origin`.
    pub origin: Option<&'a str>,
}

/// Asks the server behind `stream` for a WebSocket, and waits until it is there.
///
/// # Errors
/// A refusal has the class of its HTTP status, an answer that is none [`Class::BadAnswer`]; else what the network did.
pub async fn open(stream: Stream, wanted: &Wanted<'_>) -> Result<Stream, Failure> {
    let host = wanted.host;
    let mut request = Request::builder()
        .uri(format!("wss://{host}{}", wanted.path))
        .header(header::HOST, header_value(host.as_bytes())?)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_PROTOCOL, header_value(wanted.subprotocol.as_bytes())?)
        .header(header::SEC_WEBSOCKET_KEY, generate_key());
    if let Some(origin) = wanted.origin {
        request = request.header(header::ORIGIN, header_value(format!("https://{origin}").as_bytes())?);
    }
    // The host is the service's text, and can be unfit for an address.
    let request = request.body(()).map_err(|error| Failure::new(Class::BadAnswer, &error.to_string()))?;
    let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(config())).await;
    let (socket, _) = opened.map_err(|error| refused(&error))?;
    Ok(Frames::new(socket).into_stream())
}

fn refused(error: &Error) -> Failure {
    match error {
        Error::Io(error) => classify(error),
        Error::Http(answer) => {
            let status = answer.status().as_u16();
            let body = answer.body().as_deref().unwrap_or_default();
            let said = Untrusted::from_bytes(&body[..body.len().min(120)]);
            let detail = format!("{status} instead of a WebSocket: {}", said.terminal());
            Failure::new(Class::of_refusal(status), detail.trim_end_matches([':', ' ']))
        }
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            Failure::new(Class::Closed, "the connection ended before there was a WebSocket")
        }
        other => Failure::new(Class::BadAnswer, &format!("no WebSocket: {other}")),
    }
}

/// Why a server does not switch to a WebSocket, with the HTTP status that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// The request is no handshake: 400.
    NoHandshake,
    /// Another version than 13, the only one there is: 426.
    OtherVersion,
    /// The subprotocol is not offered: 400.
    OtherSubprotocol,
}

/// The headers with which a server answers a client's handshake for `subprotocol`, which is compared without case (the C
/// SDK writes `MQTT`) and repeated as the client wrote it. The status is 101.
///
/// # Errors
/// [`Unfit`] names what the request lacks.
pub fn accept_headers(
    request: &HeaderMap,
    subprotocol: &str,
) -> Result<[(HeaderName, HeaderValue); 4], Unfit> {
    let has =
        |name: HeaderName, token: &str| tokens(request, name).any(|value| value.eq_ignore_ascii_case(token));
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(Unfit::NoHandshake);
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(Unfit::OtherVersion);
    }
    let key = request.get(header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key)).ok_or(Unfit::NoHandshake)?;
    let asked = tokens(request, header::SEC_WEBSOCKET_PROTOCOL)
        .find(|asked| asked.eq_ignore_ascii_case(subprotocol))
        .and_then(|asked| HeaderValue::from_str(asked).ok())
        .ok_or(Unfit::OtherSubprotocol)?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes())).expect("it is base64");
    Ok([
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
        (header::SEC_WEBSOCKET_PROTOCOL, asked),
    ])
}

/// The elements of a header's comma-separated list, however many lines it has.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a key is 16 bytes in base64, as the standard wants it.
fn is_key(key: &HeaderValue) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|key| key.len() == 16)
}

/// A server's side of `stream`, after its handshake.
///
/// * `read`: what has been read of it behind the handshake
pub async fn accepted(stream: Stream, read: Bytes) -> Stream {
    let socket =
        WebSocketStream::from_partially_read(stream, read.to_vec(), Role::Server, Some(config())).await;
    Frames::new(socket).into_stream()
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        // Never reached: a frame is only taken when the one before it is written.
        .max_write_buffer_size(4 * MAX_SENT)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME))
}

impl Frames {
    fn new(socket: WebSocketStream<Stream>) -> Self {
        Self { socket, unread: Bytes::new(), is_closing: false }
    }

    fn into_stream(self) -> Stream {
        Stream::WebSocket(Box::new(self))
    }

    /// See [`tokio::io::AsyncRead`].
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                // The library answers pings, with the next write or read.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(invalid("a text frame among binary ones")));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        let count = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..count]);
        self.unread.advance(count);
        if self.unread.is_empty() {
            // An empty slice still holds the whole buffer that it is of.
            self.unread = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }

    /// See [`tokio::io::AsyncWrite`]. What is taken is one frame.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(broken)?;
        let count = bytes.len().min(MAX_SENT);
        let frame = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.socket).start_send(frame).map_err(broken)?;
        Poll::Ready(Ok(count))
    }

    /// See [`tokio::io::AsyncWrite`].
    pub(super) fn poll_write_vectored(
        &mut self,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        self.poll_write(context, first.map_or(&[], |slice| slice))
    }

    /// See [`tokio::io::AsyncWrite`].
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(broken)
    }

    /// Says good-bye, and ends the stream below; does not wait for the peer's.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closing {
            match ready!(Pin::new(&mut self.socket).poll_close(context)) {
                Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => self.is_closing = true,
                Err(error) => return Poll::Ready(Err(broken(error))),
            }
        }
        Pin::new(self.socket.get_mut()).poll_shutdown(context)
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::ConnectionClosed | Error::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => invalid(&format!("WebSocket: {other}")),
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::simulate;
    use hyper::header::HeaderMap;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const WANTED: Wanted<'_> =
        Wanted { host: "h.net:1", path: "/$iothub/websocket", subprotocol: "MQTT", origin: None };

    /// The handshake of a client as text, and the other end.
    async fn asked() -> (String, DuplexStream, tokio::task::JoinHandle<Result<Stream, Failure>>) {
        let (near, mut far) = tokio::io::duplex(64 * 1_024);
        let opening = tokio::task::spawn_local(async { open(Stream::Memory(near), &WANTED).await });
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(far.read_u8().await.expect("a head"));
        }
        (String::from_utf8(head).expect("text"), far, opening)
    }

    /// The headers of a request, as a server has them.
    fn headers(head: &str) -> HeaderMap {
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        let pair = |(name, value): (&str, &str)| {
            (
                HeaderName::try_from(name).expect("a name"),
                HeaderValue::from_str(value).expect("a header's value"),
            )
        };
        lines.map(pair).collect()
    }

    /// Both ends of a WebSocket, and the bytes below the server's.
    async fn both() -> (Stream, Stream) {
        let (head, mut far, opening) = asked().await;
        let answer = accept_headers(&headers(&head), "mqtt").expect("a handshake");
        far.write_all(b"HTTP/1.1 101 Switching Protocols\r\n").await.expect("room");
        for (name, value) in answer {
            let line = format!("{name}: {}\r\n", value.to_str().expect("text"));
            far.write_all(line.as_bytes()).await.expect("room");
        }
        far.write_all(b"\r\n").await.expect("room");
        let client = opening.await.expect("it ends").expect("a WebSocket");
        (client, accepted(Stream::Memory(far), Bytes::new()).await)
    }

    async fn pass(bytes: &[u8], chunk: usize, from: &mut Stream, to: &mut Stream) {
        let write = async {
            for chunk in bytes.chunks(chunk) {
                from.write_all(chunk).await.expect("room");
                from.flush().await.expect("room");
            }
        };
        let mut read = vec![0; bytes.len()];
        let ((), count) = tokio::join!(write, to.read_exact(&mut read));
        assert_eq!(count.expect("all of them"), bytes.len());
        assert!(read == bytes, "in chunks of {chunk}");
    }

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_the_frames() {
        let done = simulate(|_| async {
            let (mut client, mut server) = both().await;
            let bytes: Vec<u8> = (0..70_000_u32).map(|n| (n % 251) as u8).collect();
            for chunk in [1, 7, 1_000, 40_000] {
                pass(&bytes, chunk, &mut client, &mut server).await;
                pass(&bytes, chunk, &mut server, &mut client).await;
            }
            client.shutdown().await.expect("it may end");
            assert_eq!(server.read(&mut [0; 8]).await.expect("an end"), 0);
        });
        done.expect("no task is left waiting");
    }

    #[test]
    fn a_server_reads_frames_of_single_bytes_pings_and_what_came_with_the_handshake() {
        let done = simulate(|_| async {
            let (near, mut far) = tokio::io::duplex(1_024);
            let frame = |first: u8, payload: &[u8]| {
                // Masked with zeros, as a client may.
                [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
            };
            let early = frame(0x82, b"a");
            let mut stream = accepted(Stream::Memory(near), early.into()).await;
            // In two fragments, with a ping between them, and an empty frame.
            for bytes in [frame(0x02, b"b"), frame(0x89, b"?"), frame(0x80, b"c"), frame(0x82, b"")] {
                far.write_all(&bytes).await.expect("room");
            }
            far.write_all(&frame(0x82, b"d")).await.expect("room");
            let mut read = [0; 4];
            stream.read_exact(&mut read).await.expect("all of them");
            assert_eq!(&read, b"abcd");
            stream.flush().await.expect("room");
            let mut pong = [0; 3];
            far.read_exact(&mut pong).await.expect("an answer");
            assert_eq!(&pong, &[0x8a, 1, b'?']);
        });
        done.expect("no task is left waiting");
    }

    #[test]
    fn what_is_no_byte_stream_ends_in_an_error() {
        let done = simulate(|_| async {
            for (what, bytes) in [
                ("a text frame", &[0x81, 0x81, 0, 0, 0, 0, b'a'][..]),
                ("a frame that is not masked", &[0x82, 1, b'a']),
                ("a frame of a gigabyte", &[0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0]),
                ("reserved bits", &[0xf2, 0x81, 0, 0, 0, 0, b'a']),
                ("a fragment of nothing", &[0x80, 0x81, 0, 0, 0, 0, b'a']),
            ] {
                let (near, mut far) = tokio::io::duplex(1_024);
                far.write_all(bytes).await.expect("room");
                let mut stream = accepted(Stream::Memory(near), Bytes::new()).await;
                let error = stream.read(&mut [0; 8]).await.expect_err(what);
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}");
            }
        });
        done.expect("no task is left waiting");
    }

    #[test]
    fn a_client_asks_as_the_standard_says_and_tells_a_refusal_from_nonsense() {
        let done = simulate(|_| async {
            let (head, ..) = asked().await;
            assert!(head.starts_with("GET /$iothub/websocket HTTP/1.1\r\n"), "{head}");
            for line in [
                "host: h.net:1",
                "connection: upgrade",
                "upgrade: websocket",
                "sec-websocket-version: 13",
                "sec-websocket-protocol: mqtt",
            ] {
                assert!(head.lines().any(|is| is.eq_ignore_ascii_case(line)), "{line}: {head}");
            }
            let switched = "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
            for (answer, class) in [
                ("HTTP/1.1 401 no\r\nContent-Length: 0\r\n\r\n", Class::Unauthorized),
                ("HTTP/1.1 503 no\r\nContent-Length: 2\r\n\r\n{}", Class::ServerError),
                ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Class::BadAnswer),
                (switched, Class::BadAnswer),
                ("\u{10}\u{2}\0\0", Class::BadAnswer),
                ("", Class::Closed),
            ] {
                let (_, mut far, opening) = asked().await;
                far.write_all(answer.as_bytes()).await.expect("room");
                drop(far);
                let failure = opening.await.expect("it ends").err().expect(answer);
                assert_eq!(failure.class, class, "{answer}: {}", failure.detail.terminal());
            }
        });
        done.expect("no task is left waiting");
    }

    #[test]
    fn a_handshake_is_answered_as_in_the_standard_and_one_that_lacks_something_is_not() {
        // RFC 6455, section 1.3.
        let whole = "GET / HTTP/1.1\nupgrade: WebSocket\nconnection: keep-alive, Upgrade\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\nsec-websocket-version: 13\n\
            sec-websocket-protocol: other, MQTT";
        let answer = accept_headers(&headers(whole), "mqtt").expect("it is whole");
        assert_eq!(answer[2].1, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer[3].1, "MQTT");
        for (part, instead, unfit) in [
            ("upgrade: WebSocket", "upgrade: h2c", Unfit::NoHandshake),
            ("keep-alive, Upgrade", "keep-alive", Unfit::NoHandshake),
            ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", Unfit::NoHandshake),
            ("version: 13", "version: 8", Unfit::OtherVersion),
            ("other, MQTT", "AMQPWSB10", Unfit::OtherSubprotocol),
        ] {
            assert_eq!(
                accept_headers(&headers(&whole.replace(part, instead)), "mqtt"),
                Err(unfit),
                "{instead}"
            );
        }
    }
}
