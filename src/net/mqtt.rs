//! MQTT 3.1.1 packets in and out of a byte stream, driven by the task that owns it.
//!
//! The library's packets and framing, without its connection state: packet ids, keep-alive and sessions are what device
//! and emulator are about, and each keeps its own. Nothing is read into a buffer that outlives the read, so that an idle
//! connection costs what TLS does.

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

/// Packets to and from a peer.
pub struct PacketStream {
    stream: Stream,
    framer: PacketBuilder,
    /// Bytes of a packet have come, and not yet all.
    within: bool,
    /// Read and not yet given out.
    ready: VecDeque<Packet>,
    /// Why there is no more after `ready`.
    broken: Option<Broken>,
    ended: bool,
    /// To be written; let go of as soon as it is.
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
        for part in packet.to_buffers() {
            self.out.extend_from_slice(&part);
        }
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
            Some(id) => self.out.extend_from_slice(&[header, 2, (id >> 8) as u8, id as u8]),
            None => self.out.extend_from_slice(&[header, 0]),
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
            self.out = Vec::new();
            self.written = 0;
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
        self.ready.pop_front()
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
            if let Some(packet) = self.ready.pop_front() {
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
            self.out = Vec::new();
            self.written = 0;
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
        while (cursor.position() as usize) < bytes.len() {
            let broken = match self.framer.feed(&mut cursor) {
                PacketBuildResult::Incomplete => {
                    self.within = true;
                    continue;
                }
                PacketBuildResult::Complete(raw) => {
                    self.within = false;
                    match parse(&raw) {
                        Ok(packet) => {
                            self.ready.push_back(packet);
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
mod tests {
    use super::*;
    use crate::time::simulate;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn pair() -> (PacketStream, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        (PacketStream::new(Stream::Memory(near), 1_024), far)
    }

    #[test]
    fn packets_come_out_whole_however_the_bytes_were_cut() {
        let done = simulate(|_| async {
            // PINGRESP, PUBACK of 258, PUBLISH of QoS 0 to "a" with body "b".
            let bytes = [0xd0, 0, 0x40, 2, 1, 2, 0x30, 4, 0, 1, b'a', b'b'];
            for cut in 0..bytes.len() {
                let (mut packets, mut far) = pair();
                far.write_all(&bytes[..cut]).await.expect("room");
                tokio::task::spawn_local(async move {
                    far.write_all(&bytes[cut..]).await.expect("room");
                });
                assert!(matches!(packets.next().await, Ok(Some(Packet::Pingresp))));
                assert!(matches!(packets.next().await, Ok(Some(Packet::Puback(258)))));
                match packets.next().await {
                    Ok(Some(Packet::Publish(publish))) => {
                        assert_eq!((publish.topic_name(), publish.payload().as_slice()), ("a", &b"b"[..]));
                    }
                    other => panic!("{other:?}"),
                }
                assert!(matches!(packets.next().await, Ok(None)));
            }
        });
        done.expect("no task is left waiting");
    }

    #[test]
    fn what_is_no_packet_ends_the_stream_with_its_reason_after_what_came_before() {
        let done = simulate(|_| async {
            for (bytes, reason) in [
                (&[0x30, 0xff, 0xff, 0x7f][..], "larger"),
                (&[0x30, 0xff, 0xff, 0xff, 0xff, 1], "no packet"),
                (&[0x00, 0], "no packet"),
                (&[0xf0, 0], "no packet"),
                (&[0xd1, 0], "flags"),
                (&[0xd0, 1, 0], "no packet"),
                (&[0x40, 2, 0, 0], "no packet"),
                (&[0x36, 3, 0, 1, b'a'], "no packet"),
                (&[0x32, 5, 0, 1, b'a', 0, 0], "no packet"),
                (&[0x30, 3, 0, 1, b'#'], "no packet"),
                (&[0x30, 9, 0, 1], "ended within"),
            ] {
                let (mut packets, mut far) = pair();
                far.write_all(&[0xc0, 0]).await.expect("room");
                far.write_all(bytes).await.expect("room");
                drop(far);
                assert!(matches!(packets.next().await, Ok(Some(Packet::Pingreq))));
                let error = packets.next().await.expect_err("it is none").to_string();
                assert!(error.contains(reason), "{bytes:?}: {error}");
            }
        });
        done.expect("no task is left waiting");
    }

    #[test]
    fn a_patient_stream_answers_when_everything_that_came_is_read_or_its_patience_is_over() {
        const PINGS: usize = 3 * READ / 2;
        // How much was answered at once, at first.
        async fn first_answer(patience: usize) -> usize {
            let (mut packets, mut far) = pair();
            packets.set_patience(patience);
            far.write_all(&[0xc0, 0].repeat(PINGS)).await.expect("room");
            let mut answers = vec![0; PINGS * 2];
            let mut answered = async || {
                let mut buffer = ReadBuf::new(&mut answers);
                let read = std::future::poll_fn(|context| {
                    Poll::Ready(Pin::new(&mut far).poll_read(context, &mut buffer).is_ready())
                });
                if read.await { buffer.filled().len() } else { 0 }
            };
            for _ in 0..PINGS {
                assert!(matches!(packets.next().await, Ok(Some(Packet::Pingreq))));
                let count = answered().await;
                if count > 0 {
                    return count;
                }
                packets.send_pingresp();
            }
            let next = std::future::poll_fn(|context| Poll::Ready(packets.poll_next(context).is_pending()));
            assert!(next.await && packets.is_written());
            answered().await
        }
        let done = simulate(|_| {
            // Every read counts here, and none may be put off for fairness.
            tokio::task::unconstrained(async {
                assert_eq!(first_answer(0).await, 2);
                assert_eq!(first_answer(100).await, 102);
                assert_eq!(first_answer(100_000).await, 2 * PINGS);
            })
        });
        done.expect("no task is left waiting");
    }

    #[test]
    fn what_is_sent_is_written_in_order_and_its_memory_given_back() {
        let done = simulate(|_| async {
            let (mut packets, mut far) = pair();
            packets.send_puback(0x1234);
            packets.send_pingreq();
            assert_eq!(packets.queued(), 6);
            packets.flush().await.expect("room");
            assert_eq!((packets.queued(), packets.out.capacity()), (0, 0));
            let mut read = [0; 6];
            far.read_exact(&mut read).await.expect("was written");
            assert_eq!(read, [0x40, 2, 0x12, 0x34, 0xc0, 0]);
        });
        done.expect("no task is left waiting");
    }
}
