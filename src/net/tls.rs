//! TLS over a byte stream, with no buffer that an idle connection keeps.
//!
//! All of TLS is done by rustls; this only moves bytes. Its usual connections, and with them tokio-rustls, hold 4 KiB each for
//! what comes in: a third of the memory of an idle device. Its unbuffered ones leave buffers to the caller. Here a thread has
//! one set for all of its connections, and a connection keeps only what it must: the beginning of a record whose rest has
//! not come yet, and what the socket has not taken yet.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The largest plaintext of one record (RFC 8446, section 5.1); read at once, and written at once.
const RECORD: usize = 16 * 1024;

/// What a record may add to its plaintext (RFC 5246, section 6.2.3, which allows more than RFC 8446).
const OVERHEAD: usize = 5 + 2_048;

/// The most that may wait for its rest: a message of a handshake (rustls takes 64 KiB), in records.
const MAX_WAITING: usize = 80 * 1024;

/// Our side of a session.
pub trait Session: Unpin {
    /// Client or server, as rustls has it.
    type Data;

    /// Works on what has come in until something has to be done about it.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// Whether messages cannot go both ways yet.
    fn is_handshaking(&self) -> bool;

    /// Whether it has something to say to the peer, an alert for one.
    fn has_to_send(&self) -> bool;
}

/// Rustls has both sides' methods by the same names, and no trait for them.
macro_rules! session {
    ($side:ty, $data:ty) => {
        impl Session for $side {
            type Data = $data;

            fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
                self.process_tls_records(incoming)
            }

            fn is_handshaking(&self) -> bool {
                (**self).is_handshaking()
            }

            fn has_to_send(&self) -> bool {
                self.wants_write()
            }
        }
    };
}

session!(UnbufferedClientConnection, ClientConnectionData);
session!(UnbufferedServerConnection, ServerConnectionData);

/// A TLS session over `I`.
pub struct Tls<S, I> {
    io: I,
    session: S,
    /// Records that are not complete yet.
    incoming: Vec<u8>,
    /// Decrypted, and not taken yet from `taken` on.
    plain: Vec<u8>,
    taken: usize,
    /// Encrypted, and not written yet from `written` on.
    outgoing: Vec<u8>,
    written: usize,
    /// The peer has said that nothing more comes.
    is_ended: bool,
    /// We have said so.
    is_closed: bool,
    /// Something came that is no TLS, or that the session does not allow.
    is_broken: bool,
}

/// The buffers of a thread.
struct Scratch {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Slices that are written together, for they are one record.
    gathered: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take().unwrap_or_else(|| {
        Box::new(Scratch {
            incoming: vec![0; RECORD + OVERHEAD],
            outgoing: vec![0; RECORD + OVERHEAD],
            gathered: Vec::new(),
        })
    });
    let worked = work(&mut scratch);
    SCRATCH.set(Some(scratch));
    worked
}

impl<S: Session, I: AsyncRead + AsyncWrite + Unpin> Tls<S, I> {
    /// Makes `session`, which is new, ready for messages.
    ///
    /// # Errors
    /// What the connection says; [`io::ErrorKind::InvalidData`] with a [`rustls::Error`] inside when there can be no session;
    /// [`io::ErrorKind::UnexpectedEof`] when the peer leaves.
    pub async fn handshake(session: S, io: I) -> io::Result<Self> {
        let mut tls = Self {
            io,
            session,
            incoming: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            outgoing: Vec::new(),
            written: 0,
            is_ended: false,
            is_closed: false,
            is_broken: false,
        };
        std::future::poll_fn(|context| tls.poll_handshake(context)).await?;
        Ok(tls)
    }

    fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut nowhere = ReadBuf::new(&mut []);
        if self.session.is_handshaking() {
            // A client begins.
            self.work_off(&mut nowhere)?;
        }
        loop {
            ready!(self.poll_write_out(context))?;
            if !self.session.is_handshaking() {
                return Pin::new(&mut self.io).poll_flush(context);
            }
            ready!(Pin::new(&mut self.io).poll_flush(context))?;
            match ready!(self.poll_take_in(context, &mut nowhere)) {
                Ok(true) => {}
                Ok(false) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the connection ended during the TLS handshake",
                    )));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Reads once and lets the session work on it; `false` when the connection has ended.
    fn poll_take_in(&mut self, context: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let worked = if self.incoming.is_empty() {
            with_scratch(|scratch| {
                let mut room = ReadBuf::new(&mut scratch.incoming);
                ready!(Pin::new(&mut self.io).poll_read(context, &mut room))?;
                let came = room.filled_mut();
                if came.is_empty() {
                    return Poll::Ready(Ok(false));
                }
                let used = self.process(came, to, |_| Ok(()))?;
                if !self.is_ended {
                    self.incoming.extend_from_slice(&came[used..]);
                }
                Poll::Ready(Ok(true))
            })
        } else {
            let before = self.incoming.len();
            if before >= MAX_WAITING {
                return Poll::Ready(Err(invalid(rustls::Error::General(
                    "a handshake message without end".into(),
                ))));
            }
            self.incoming.resize(before + RECORD.min(MAX_WAITING - before), 0);
            let mut room = ReadBuf::new(&mut self.incoming[before..]);
            let read = Pin::new(&mut self.io).poll_read(context, &mut room);
            let came = room.filled().len();
            self.incoming.truncate(before + came);
            ready!(read)?;
            if came == 0 {
                return Poll::Ready(Ok(false));
            }
            self.work_off(to)?;
            Poll::Ready(Ok(true))
        };
        if !matches!(worked, Poll::Ready(Ok(_))) && self.is_broken {
            // The alert that says why, if it can be told.
            let _ = self.poll_write_out(context);
        }
        worked
    }

    /// Lets the session work on what waits.
    fn work_off(&mut self, to: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let used = self.process(&mut incoming, to, |_| Ok(()))?;
        if used < incoming.len() && !self.is_ended {
            incoming.drain(..used);
            incoming.shrink_to_fit();
            self.incoming = incoming;
        }
        Ok(())
    }

    /// Lets the session work on `incoming` until it needs more, and returns how many bytes of it are used up. What is for
    /// us goes `to` the reader as far as there is room, what is for the peer to `outgoing`; `write` is called at the end
    /// if the session can send. After an error there is no more than the alert to be written.
    fn process(
        &mut self,
        incoming: &mut [u8],
        to: &mut ReadBuf<'_>,
        write: impl FnOnce(&mut WriteTraffic<'_, S::Data>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let processed = self.step(incoming, to, write);
        if processed.is_err() {
            self.give_up();
        }
        processed
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        to: &mut ReadBuf<'_>,
        write: impl FnOnce(&mut WriteTraffic<'_, S::Data>) -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.session.process(&mut incoming[used..]);
            let is_last = match state.map_err(invalid)? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        // In order: nothing overtakes what waits already.
                        let now =
                            if self.plain.is_empty() { to.remaining().min(record.payload.len()) } else { 0 };
                        to.put_slice(&record.payload[..now]);
                        self.plain.extend_from_slice(&record.payload[now..]);
                    }
                    false
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    encode(&mut self.outgoing, |room| data.encode(room))?;
                    false
                }
                // It is in `outgoing`, before which nothing is written.
                ConnectionState::TransmitTlsData(transmit) => {
                    transmit.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.is_ended = true;
                    false
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    write(&mut traffic)?;
                    used += discard;
                    return Ok(used);
                }
                ConnectionState::BlockedHandshake | ConnectionState::Closed => true,
                // Early data, which nobody here allows, or what a later rustls has.
                other => {
                    let what = format!("an unexpected state of TLS: {other:?}");
                    return Err(invalid(rustls::Error::General(what)));
                }
            };
            used += discard;
            if is_last {
                return Ok(used);
            }
        }
    }

    /// Puts the alert that tells the peer what was wrong behind what waits to be written.
    fn give_up(&mut self) {
        self.is_broken = true;
        self.incoming = Vec::new();
        // Asked for nothing else, it does not look at what came in.
        while self.session.has_to_send()
            && let Ok(ConnectionState::EncodeTlsData(mut data)) = self.session.process(&mut []).state
        {
            if encode(&mut self.outgoing, |room| data.encode(room)).is_err() {
                return;
            }
        }
    }

    /// Writes what is encrypted.
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outgoing.len() {
            match ready!(Pin::new(&mut self.io).poll_write(context, &self.outgoing[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        if self.written > 0 {
            self.outgoing = Vec::new();
            self.written = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Encrypts `bytes`, no more than [`RECORD`], and writes of it what the connection takes; the rest waits.
    fn seal(&mut self, context: &mut Context<'_>, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut sealed = None;
        self.feed(|traffic| {
            let count = loop {
                match traffic.encrypt(bytes, out) {
                    Ok(count) => break count,
                    Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) => {
                        out.resize(required_size, 0);
                    }
                    Err(error @ EncryptError::EncryptExhausted) => return Err(io::Error::other(error)),
                }
            };
            sealed = Some(count);
            Ok(())
        })?;
        let Some(count) = sealed else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut written = 0;
        // What the session itself has to say goes first, for it was encrypted first.
        while self.outgoing.is_empty() && written < count {
            match Pin::new(&mut self.io).poll_write(context, &out[written..count]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(taken)) => written += taken,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if written < count {
            self.outgoing.extend_from_slice(&out[written..count]);
            if let Poll::Ready(Err(error)) = self.poll_write_out(context) {
                return Err(error);
            }
        }
        Ok(())
    }

    /// Has the session send something. Records that wait for their rest are shown to it, for it may be within a message.
    fn feed(
        &mut self,
        write: impl FnOnce(&mut WriteTraffic<'_, S::Data>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let used = self.process(&mut incoming, &mut ReadBuf::new(&mut []), write)?;
        incoming.drain(..used);
        self.incoming = incoming;
        Ok(())
    }

    fn poll_write_one(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        if self.is_broken || self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_write_out(context))?;
        let bytes = &bytes[..bytes.len().min(RECORD)];
        self.seal(context, bytes, out)?;
        Poll::Ready(Ok(bytes.len()))
    }
}

/// Appends what `encode` writes to `outgoing`.
fn encode(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> io::Result<()> {
    let before = outgoing.len();
    loop {
        match encode(&mut outgoing[before..]) {
            Ok(count) => {
                outgoing.truncate(before + count);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                outgoing.resize(before + required_size, 0);
            }
            Err(error @ EncodeError::AlreadyEncoded) => return Err(io::Error::other(error)),
        }
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: Session, I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tls<S, I> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let tls = self.get_mut();
        if to.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if !tls.plain.is_empty() {
            let waiting = &tls.plain[tls.taken..];
            let now = waiting.len().min(to.remaining());
            to.put_slice(&waiting[..now]);
            tls.taken += now;
            if tls.taken == tls.plain.len() {
                tls.plain = Vec::new();
                tls.taken = 0;
            }
            return Poll::Ready(Ok(()));
        }
        if tls.is_broken {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let before = to.filled().len();
        loop {
            if tls.is_ended {
                return Poll::Ready(Ok(()));
            }
            if !ready!(tls.poll_take_in(context, to))? {
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the connection ended without TLS close_notify",
                )));
            }
            // New keys of the peer's, answered by ours: written when there is something to write, at the latest.
            let _ = tls.poll_write_out(context)?;
            if to.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: Session, I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Tls<S, I> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with_scratch(|scratch| self.get_mut().poll_write_one(context, bytes, &mut scratch.outgoing))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_scratch(|Scratch { outgoing, gathered, .. }| {
            gathered.clear();
            for slice in slices {
                gathered.extend_from_slice(&slice[..slice.len().min(RECORD - gathered.len())]);
            }
            self.get_mut().poll_write_one(context, gathered, outgoing)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tls = self.get_mut();
        ready!(tls.poll_write_out(context))?;
        Pin::new(&mut tls.io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let tls = self.get_mut();
        if !tls.is_closed && !tls.is_broken {
            tls.is_closed = true;
            let mut farewell = Vec::new();
            tls.feed(|traffic| {
                while let Err(EncryptError::InsufficientSize(InsufficientSizeError { required_size })) =
                    traffic.queue_close_notify(&mut farewell)
                {
                    farewell.resize(required_size, 0);
                }
                Ok(())
            })?;
            tls.outgoing.extend_from_slice(&farewell);
        }
        ready!(tls.poll_write_out(context))?;
        match ready!(Pin::new(&mut tls.io).poll_shutdown(context)) {
            // The peer has left already.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            closed => Poll::Ready(closed),
        }
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
