//! A connection's byte stream, whatever carries it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;

use super::tls::Tls;
use super::websocket::Frames;

/// Bytes to and from a peer.
pub enum Stream {
    /// TLS, our side being the client.
    TlsClient(Box<Tls<UnbufferedClientConnection, TcpStream>>),
    /// TLS, our side being the server.
    TlsServer(Box<Tls<UnbufferedServerConnection, TcpStream>>),
    /// In this process (simulated runs), without TLS.
    Memory(DuplexStream),
    /// Inside the frames of another.
    WebSocket(Box<Frames>),
    /// One of the others, whose first byte somebody has looked at.
    Rewound(Box<Rewound>),
}

/// A stream with its first byte put back.
pub struct Rewound {
    /// Until it is read again.
    first: Option<u8>,
    rest: Stream,
}

impl Stream {
    /// Reads the first byte, which tells protocols apart that share a port, and the stream as if it had not been read.
    ///
    /// # Errors
    /// What the connection says; [`io::ErrorKind::UnexpectedEof`] when it ends without a byte.
    pub async fn peek(mut self) -> io::Result<(u8, Self)> {
        let first = self.read_u8().await?;
        Ok((first, Self::Rewound(Box::new(Rewound { first: Some(first), rest: self }))))
    }
}

/// Passes a call on to the stream inside.
macro_rules! each {
    ($self:expr, $method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Stream::TlsClient(inner) => Pin::new(inner).$method($($argument),*),
            Stream::TlsServer(inner) => Pin::new(inner).$method($($argument),*),
            Stream::Memory(inner) => Pin::new(inner).$method($($argument),*),
            Stream::WebSocket(frames) => frames.$method($($argument),*),
            Stream::Rewound(rewound) => Pin::new(&mut rewound.rest).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Self::Rewound(rewound) = &mut *self
            && buffer.remaining() > 0
            && let Some(first) = rewound.first.take()
        {
            buffer.put_slice(&[first]);
            // The rest follows at once if it is there: a packet in one piece is read in one piece. What has been read is
            // told first; an end or an error is told again by the next read.
            let _ = Pin::new(&mut rewound.rest).poll_read(context, buffer);
            return Poll::Ready(Ok(()));
        }
        each!(self, poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, poll_shutdown(context))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::TlsClient(inner) => inner.is_write_vectored(),
            Self::TlsServer(inner) => inner.is_write_vectored(),
            Self::Memory(inner) => inner.is_write_vectored(),
            Self::WebSocket(_) => false,
            Self::Rewound(rewound) => rewound.rest.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[test]
    fn a_stream_that_was_looked_at_reads_as_if_it_had_not_been() {
        let done = crate::time::simulate(|_| async {
            for text in ["G", "GET /", ""] {
                let (near, mut far) = tokio::io::duplex(64);
                far.write_all(text.as_bytes()).await.expect("room");
                drop(far);
                match Stream::Memory(near).peek().await {
                    Ok((first, mut stream)) => {
                        assert_eq!(Some(first), text.bytes().next());
                        let mut read = String::new();
                        stream.read_to_string(&mut read).await.expect("text");
                        assert_eq!(read, text);
                    }
                    Err(error) => {
                        assert_eq!((text, error.kind()), ("", io::ErrorKind::UnexpectedEof));
                    }
                }
            }
        });
        done.expect("no task is left waiting");
    }
}
