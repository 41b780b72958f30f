//! MQTT 3.1.1 packets in and out of a byte stream, driven by the task that owns it.
//!
//! The library's packets and framing, without its connection state: packet ids, keep-alive and sessions are what device
//! and emulator are about, and each keeps its own. Buffers go from one connection of a thread to the next, so that an idle one
//! costs what TLS does; and what makes up nearly all traffic, messages out and confirmations in, is written and read in
//! place, for which the library makes eleven allocations.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::v3_1_1;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

pub use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Qos, SubEntry, SubOpts};
pub use mqtt_protocol_core::mqtt::result_code::{ConnectReturnCode, SubackReturnCode};
pub use v3_1_1::{Connack, Connect, Publish, Suback, Subscribe, Unsubscribe};

/// Bytes read at once.
const READ: usize = 4 * 1024;

/// A packet that has come in.
#[derive(Debug, Clone)]
pub enum Packet {
    /// A client's greeting.
    Connect(Connect),
    /// The answer to it.
    Connack(Connack),
    /// A message.
    Publish(Publish),
    /// Confirms the message of that packet id.
    Puback(u16),
    /// Asks for messages.
    Subscribe(Subscribe),
    /// The answer to it.
    Suback(Suback),
    /// Asks for them no longer.
    Unsubscribe(Unsubscribe),
    /// The answer to it.
    Unsuback(u16),
    /// Asks whether the server is there.
    Pingreq,
    /// The answer to it.
    Pingresp,
    /// The client's farewell.
    Disconnect,
    /// One of the packets of QoS 2 (PUBREC, PUBREL, PUBCOMP), by its type.
    Qos2(u8),
}

/// Why a stream gives no more packets.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It ended within a packet.
    #[error("the connection ended within a packet")]
    Truncated,
    /// A packet larger than is taken.
    #[error("a packet larger than is taken here")]
    TooLarge,
    /// No packet of MQTT 3.1.1.
    #[error("no packet of MQTT 3.1.1: {0}")]
    Malformed(String),
    /// A CONNECT of another version of MQTT.
    #[error("a version of MQTT other than 3.1.1")]
    OtherVersion,
}

/// A message to be written, in parts.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its packet id, not 0, and with that QoS 1; `None` for QoS 0.
    pub packet_id: Option<u16>,
    /// Whether it went before with the same packet id; nothing for QoS 0.
    pub dup: bool,
    /// Its body.
    pub body: &'a [u8],
}

/// Why a message is none in MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The topic is empty, has a wildcard or a NUL in it, or is longer than 65,535 bytes.
    #[error("a topic that no message may have")]
    Topic,
    /// The packet id 0.
    #[error("packet id 0")]
    PacketId,
    /// More than 256 MiB.
    #[error("more than a packet can hold")]
    TooLong,
}

/// The largest length that a packet can tell of what follows its header [MQTT-2.2.3].
const MAX_REMAINING: usize = 268_435_455;

/// Buffers that no connection of this thread needs right now.
#[derive(Default)]
struct Spare {
    out: Vec<Vec<u8>>,
    ready: Vec<VecDeque<Packet>>,
}

/// So many of each kind are kept; more are needed only where connections wait to be written.
const MAX_SPARE: usize = 8;

/// None larger than this is kept, in bytes and packets.
const MAX_SPARE_OUT: usize = 64 * 1024;
const MAX_SPARE_READY: usize = 512;

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// Packets to and from a peer.
pub struct PacketStream {
    stream: Stream,
    framer: PacketBuilder,
    /// Bytes of a packet have come, and not yet all.
    within: bool,
    /// Read and not yet given out; without memory of its own when empty.
    ready: VecDeque<Packet>,
    /// Why there is no more after `ready`.
    broken: Option<Broken>,
    ended: bool,
    /// To be written; without memory of its own when empty.
    out: Vec<u8>,
    written: usize,
    unflushed: bool,
    patience: usize,
}

impl PacketStream {
    /// Packets on `stream`.
    ///
    /// * `max_packet`: the largest that is taken, in bytes with its header; checked before room is made for it
    pub fn new(stream: Stream, max_packet: u32) -> Self {
        Self {
            stream,
            framer: PacketBuilder::with_maximum_packet_size(max_packet),
            within: false,
            ready: VecDeque::new(),
            broken: None,
            ended: false,
            out: Vec::new(),
            written: 0,
            unflushed: false,
            patience: 0,
        }
    }

    /// Lets up to so many bytes wait to be written while there is still something to read, so that a server which has fallen
    /// behind answers many packets with one write. Nothing waits once all that has arrived is read.
    pub fn set_patience(&mut self, bytes: usize) {
        self.patience = bytes;
    }

    /// Takes packets up to another size from now on.
    pub fn set_max_packet(&mut self, max_packet: u32) {
        self.framer.set_maximum_packet_size(max_packet);
    }

    /// Puts a packet of the library in the queue to be written; [`Self::poll_next`] and [`Self::poll_flush`] write it.
    pub fn send(&mut self, packet: &impl GenericPacketTrait) {
        let out = self.out();
        for part in packet.to_buffers() {
            out.extend_from_slice(&part);
        }
    }

    /// Puts a message in the queue to be written, as [`Self::send`] does.
    ///
    /// # Errors
    /// [`Unfit`]; nothing is sent then.
    pub fn send_publish(&mut self, message: &Outgoing<'_>) -> Result<(), Unfit> {
        let Outgoing { topic, packet_id, dup, body } = *message;
        let length = u16::try_from(topic.len()).map_err(|_| Unfit::Topic)?;
        if topic.is_empty() || topic.contains(['#', '+', '\0']) {
            return Err(Unfit::Topic);
        }
        if packet_id == Some(0) {
            return Err(Unfit::PacketId);
        }
        let remaining = 2 + topic.len() + packet_id.map_or(0, |_| 2) + body.len();
        if remaining > MAX_REMAINING {
            return Err(Unfit::TooLong);
        }
        let out = self.out();
        out.reserve(5 + remaining);
        let qos = u8::from(packet_id.is_some());
        out.push(0x30 | (u8::from(dup) & qos) << 3 | qos << 1);
        let mut rest = remaining;
        while rest > 0x7f {
            out.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        out.push(rest as u8);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        if let Some(id) = packet_id {
            out.extend_from_slice(&id.to_be_bytes());
        }
        out.extend_from_slice(body);
        Ok(())
    }

    /// The queue, with memory.
    fn out(&mut self) -> &mut Vec<u8> {
        if self.out.capacity() == 0
            && let Some(spare) = SPARE.with_borrow_mut(|spare| spare.out.pop())
        {
            self.out = spare;
        }
        &mut self.out
    }

    /// Empties the queue and lends its memory to the next connection.
    fn clear_out(&mut self) {
        self.written = 0;
        let mut out = std::mem::take(&mut self.out);
        if (1..=MAX_SPARE_OUT).contains(&out.capacity()) {
            out.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.out.len() < MAX_SPARE {
                    spare.out.push(out);
                }
            });
        }
    }

    /// The first of the packets that are ready.
    fn pop_ready(&mut self) -> Option<Packet> {
        let packet = self.ready.pop_front();
        if self.ready.is_empty() && (1..=MAX_SPARE_READY).contains(&self.ready.capacity()) {
            let ready = std::mem::take(&mut self.ready);
            SPARE.with_borrow_mut(|spare| {
                if spare.ready.len() < MAX_SPARE {
                    spare.ready.push(ready);
                }
            });
        }
        packet
    }

    fn push_ready(&mut self, packet: Packet) {
        if self.ready.capacity() == 0
            && let Some(spare) = SPARE.with_borrow_mut(|spare| spare.ready.pop())
        {
            self.ready = spare;
        }
        self.ready.push_back(packet);
    }

    /// Confirms a message.
    pub fn send_puback(&mut self, packet_id: u16) {
        self.send_short(0x40, Some(packet_id));
    }

    /// Answers an UNSUBSCRIBE.
    pub fn send_unsuback(&mut self, packet_id: u16) {
        self.send_short(0xb0, Some(packet_id));
    }

    /// Asks whether the server is there.
    pub fn send_pingreq(&mut self) {
        self.send_short(0xc0, None);
    }

    /// Answers that it is.
    pub fn send_pingresp(&mut self) {
        self.send_short(0xd0, None);
    }

    /// Says good-bye.
    pub fn send_disconnect(&mut self) {
        self.send_short(0xe0, None);
    }

    fn send_short(&mut self, header: u8, packet_id: Option<u16>) {
        match packet_id {
            Some(id) => self.out().extend_from_slice(&[header, 2, (id >> 8) as u8, id as u8]),
            None => self.out().extend_from_slice(&[header, 0]),
        }
    }

    /// Bytes in the queue that the connection has not taken yet.
    pub fn queued(&self) -> usize {
        self.out.len() - self.written
    }

    /// Whether everything in the queue is written.
    pub fn is_written(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// Writes what is in the queue.
    ///
    /// # Errors
    /// What the connection says.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.out.len() {
            let wrote = Pin::new(&mut self.stream).poll_write(context, &self.out[self.written..]);
            match ready!(wrote)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
            self.unflushed = true;
        }
        if !self.out.is_empty() {
            self.clear_out();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is in the queue; cancelling it loses nothing.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|context| self.poll_flush(context)).await
    }

    /// A packet that has been read already, if there is one; reads and writes nothing. Whoever takes all of them before
    /// the next [`Self::poll_next`] answers them with one write.
    pub fn take_ready(&mut self) -> Option<Packet> {
        self.pop_ready()
    }

    /// The next packet, or `None` when the peer has ended the connection between two; writes what is in the queue
    /// first, or when there is nothing more to read (see [`Self::set_patience`]).
    ///
    /// # Errors
    /// [`Broken`], after the packets that came before it.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Packet>, Broken>> {
        if self.queued() > self.patience || self.unflushed {
            self.write(context);
        }
        loop {
            if let Some(packet) = self.pop_ready() {
                return Poll::Ready(Ok(Some(packet)));
            }
            if self.ended {
                self.write(context);
                return Poll::Ready(self.broken.take().map_or(Ok(None), Err));
            }
            let mut room = [MaybeUninit::uninit(); READ];
            let mut buffer = ReadBuf::uninit(&mut room);
            let read = Pin::new(&mut self.stream).poll_read(context, &mut buffer);
            match read {
                Poll::Pending => {
                    // What came in is worked off: now is the time to answer.
                    self.write(context);
                    if self.broken.is_none() {
                        return Poll::Pending;
                    }
                    self.ended = true;
                }
                Poll::Ready(Err(error)) => {
                    self.ended = true;
                    self.broken.get_or_insert(Broken::Io(error));
                }
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    self.ended = true;
                    if self.within {
                        self.broken.get_or_insert(Broken::Truncated);
                    }
                }
                Poll::Ready(Ok(())) => self.take_in(buffer.filled()),
            }
        }
    }

    /// Writes what can be; a failure is kept for later, for what has come in is still of use: an answer may stand before
    /// the end.
    fn write(&mut self, context: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_flush(context) {
            self.clear_out();
            self.broken.get_or_insert(Broken::Io(error));
        }
    }

    /// See [`Self::poll_next`]; cancelling it loses nothing.
    ///
    /// # Errors
    /// As [`Self::poll_next`].
    pub async fn next(&mut self) -> Result<Option<Packet>, Broken> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// Writes what is in the queue and ends the connection in order, without waiting for the peer.
    pub async fn close(&mut self) {
        use tokio::io::AsyncWriteExt as _;
        if self.flush().await.is_ok() {
            let _ = self.stream.shutdown().await;
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while let rest = &bytes[cursor.position() as usize..]
            && !rest.is_empty()
        {
            if !self.within
                && let Some((packet, length)) = short(rest)
            {
                self.push_ready(packet);
                cursor.set_position(cursor.position() + length);
                continue;
            }
            let broken = match self.framer.feed(&mut cursor) {
                PacketBuildResult::Incomplete => {
                    self.within = true;
                    continue;
                }
                PacketBuildResult::Complete(raw) => {
                    self.within = false;
                    match parse(&raw) {
                        Ok(packet) => {
                            self.push_ready(packet);
                            continue;
                        }
                        Err(broken) => broken,
                    }
                }
                PacketBuildResult::Error(error) => malformed(error),
            };
            self.ended = true;
            self.broken = Some(broken);
            return;
        }
    }
}

/// A confirmation or the answer to a ping, whole at the beginning of `bytes`, with its length. Whatever is odd about one is left
/// to the library.
fn short(bytes: &[u8]) -> Option<(Packet, u64)> {
    match *bytes {
        [0x40, 2, high, low, ..] if (high, low) != (0, 0) => {
            Some((Packet::Puback(u16::from_be_bytes([high, low])), 4))
        }
        [0xd0, 0, ..] => Some((Packet::Pingresp, 2)),
        _ => None,
    }
}

fn parse(raw: &RawPacket) -> Result<Packet, Broken> {
    let kind = raw.packet_type();
    let flags = match kind {
        // PUBREL, SUBSCRIBE, UNSUBSCRIBE [MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1].
        6 | 8 | 10 => 2,
        3 => raw.flags(),
        _ => 0,
    };
    if raw.flags() != flags {
        return Err(Broken::Malformed(format!("packet type {kind} with flags {:#06b}", raw.flags())));
    }
    let id = |raw: &RawPacket| match raw.data_as_slice() {
        [high, low] if (*high, *low) != (0, 0) => Ok(u16::from_be_bytes([*high, *low])),
        _ => Err(MqttError::MalformedPacket),
    };
    let empty = |packet| match raw.data_as_slice() {
        [] => Ok(packet),
        _ => Err(MqttError::MalformedPacket),
    };
    let packet = match kind {
        1 => raw.parse_exact(v3_1_1::Connect::parse).map(Packet::Connect),
        2 => raw.parse_exact(v3_1_1::Connack::parse).map(Packet::Connack),
        3 => publish(raw),
        4 => id(raw).map(Packet::Puback),
        5..=7 => id(raw).map(|_| Packet::Qos2(kind)),
        8 => raw.parse_exact(v3_1_1::Subscribe::parse).map(Packet::Subscribe),
        9 => raw.parse_exact(v3_1_1::Suback::parse).map(Packet::Suback),
        10 => raw.parse_exact(v3_1_1::Unsubscribe::parse).map(Packet::Unsubscribe),
        11 => id(raw).map(Packet::Unsuback),
        12 => empty(Packet::Pingreq),
        13 => empty(Packet::Pingresp),
        14 => empty(Packet::Disconnect),
        _ => Err(MqttError::MalformedPacket),
    };
    packet.map_err(malformed)
}

fn publish(raw: &RawPacket) -> Result<Packet, MqttError> {
    let PacketData::Publish(data) = &raw.data else { return Err(MqttError::MalformedPacket) };
    let (publish, _) = v3_1_1::Publish::parse(raw.flags(), data.clone())?;
    // Wildcards have no place in a name [MQTT-3.3.2-2], nor has 0 as a packet id [MQTT-2.3.1-1].
    if publish.topic_name().contains(['#', '+']) || publish.packet_id() == Some(0) {
        return Err(MqttError::MalformedPacket);
    }
    Ok(Packet::Publish(publish))
}

fn malformed(error: MqttError) -> Broken {
    match error {
        MqttError::PacketTooLarge => Broken::TooLarge,
        MqttError::UnsupportedProtocolVersion => Broken::OtherVersion,
        other => Broken::Malformed(format!("{other:?}")),
    }
}

#[cfg(test)]
#[path = "mqtt_tests.rs"]
mod tests;
