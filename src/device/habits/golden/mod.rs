//! What goes over the wire, held against what was recorded of each SDK: whole packets and whole requests.
//!
//! Masked is only what chance or time made, by name: signature and expiry of tokens, UUIDs, the key of a WebSocket, and of Python's
//! names the machine it ran on. Packet ids that begin at a random one are told relative to it.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::azure::keys::SigningKey;
use crate::azure::sas::{dps_resource, hub_resource};
use crate::device::dps::mqtt::{DpsMqtt, Opening as DpsOpening};
use crate::device::hub::mqtt::{Before, HubMqtt, Opening};
use crate::device::hub::{Envelope, Event, Message};
use crate::device::two_way::{Chores, MessageChores, MethodChores, Settle, TwinChores};
use crate::net::mqtt::{self as net, Connack, ConnectReturnCode, Packet, PacketStream, Suback};
use crate::net::stream::Stream as Bytes;
use crate::payload::{Context, Payload, Payloads, Rendered};
use crate::rng::{Purpose, stream};
use crate::text::Secret;
use crate::time::{Clock, simulate};

mod http;
mod mqtt;
mod websocket;

const SCOPE: &str = "0ne00000001";
const REGISTRATION: &str = "dev-1";
const DEVICE: &str = "dev-id";
const HUB: &str = "localhost";
const KEY: &str = "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";
const EXPIRY: UnixTime = UnixTime::from_nanos(1_700_000_000_000_000_000);

fn draws() -> Stream {
    stream(7, "devices", 0, Purpose::Client)
}

fn key() -> SigningKey {
    SigningKey::from_base64(KEY).expect("a key")
}

fn dps_token(sdk: Behave) -> Secret {
    sdk.habits().dps.token.token(&key(), &dps_resource(SCOPE, REGISTRATION), EXPIRY)
}

/// The message of all recordings: one JSON object, with one property whose value needs escaping.
fn message() -> (Payload, Rendered) {
    let mut payload = Payload::json(r#"{"a":1}"#).expect("a template");
    payload.add_property("level", "high & low").expect("a property");
    let mut rendered = Rendered::default();
    let context = Context {
        seed: 0,
        population: "p",
        n: 0,
        device_id: DEVICE,
        registration_id: REGISTRATION,
        run: "r",
        sequence: 1,
        now: UnixTime::from_nanos(0),
    };
    Payloads::weighted([(1, payload.clone())]).render(&context, &mut rendered);
    (payload, rendered)
}

/// `text` without what chance or time made.
fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for (before, ends) in [("sig=", "&"), ("se=", "&\r")] {
        if let Some(at) = text.find(before).map(|at| at + before.len()) {
            let end = text[at..].find(|c| ends.contains(c)).map_or(text.len(), |end| at + end);
            text.replace_range(at..end, "*");
        }
    }
    // The machine in Python's names: version of Python, system, its version, architecture.
    if let Some(at) = text.find("-py%2F2.14.0%28").map(|at| at + "-py%2F2.14.0%28".len())
        && let Some(end) = text[at..].find("%29")
    {
        text.replace_range(at..at + end, "*");
    }
    let mut at = 0;
    while at + 36 <= text.len() {
        if text.is_char_boundary(at)
            && text.get(at..at + 36).is_some_and(is_uuid)
            && !text[..at].ends_with('.')
        {
            text.replace_range(at..at + 36, "*");
        }
        at += 1;
    }
    text
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts[2].starts_with('4')
        && parts[3].starts_with(['8', '9', 'a', 'b'])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}

/// What somebody wrote, as it is being written.
#[derive(Clone, Default)]
struct Tape(Rc<RefCell<Vec<u8>>>);

impl Tape {
    fn bytes(&self) -> Vec<u8> {
        self.0.borrow().clone()
    }
}

/// Both ends of a connection, and what the first of them writes.
fn tapped() -> (Bytes, Bytes, Tape) {
    let (near, far) = tokio::io::duplex(64 * 1_024);
    let (back, rest) = tokio::io::duplex(64 * 1_024);
    let tape = Tape::default();
    tokio::task::spawn_local(relay(far, back, tape.clone()));
    (Bytes::Memory(near), Bytes::Memory(rest), tape)
}

async fn relay(far: DuplexStream, back: DuplexStream, tape: Tape) {
    let (mut from_device, mut to_device) = tokio::io::split(far);
    let (mut from_service, mut to_service) = tokio::io::split(back);
    let up = async {
        let mut buffer = [0; 4_096];
        while let Ok(read @ 1..) = from_device.read(&mut buffer).await {
            tape.0.borrow_mut().extend(&buffer[..read]);
            if to_service.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
        let _ = to_service.shutdown().await;
    };
    let down = async {
        let _ = tokio::io::copy(&mut from_service, &mut to_device).await;
        let _ = to_device.shutdown().await;
    };
    tokio::join!(up, down);
}

/// Every packet in `bytes` as a line that tells all of it, but for what is [`masked`].
///
/// * `is_relative`: packet ids are told relative to the first one of the client's own
fn packets(bytes: &[u8], is_relative: bool) -> Vec<String> {
    let mut rest = bytes;
    let mut base = None;
    let mut lines = Vec::new();
    while let [first, ..] = *rest {
        let mut reader = Reader(&rest[1..]);
        let length = reader.length();
        let mut body = Reader(reader.take(length));
        rest = reader.0;
        let mut own_id = |body: &mut Reader<'_>| {
            let id = body.u16();
            match is_relative {
                true => format!("+{}", id.wrapping_sub(*base.get_or_insert(id))),
                false => id.to_string(),
            }
        };
        let line = match first >> 4 {
            1 => {
                let protocol = body.text();
                let [level, flags] = [body.u8(), body.u8()];
                let keep_alive = body.u16();
                let [client, user, password] = [body.text(), body.text(), body.text()];
                format!(
                    "CONNECT {protocol} {level} flags {flags:02x} keep-alive {keep_alive}\n  {client}\n  {}\n  {}",
                    masked(&user),
                    masked(&password)
                )
            }
            3 => {
                let topic = body.text();
                let id = if first & 0b0110 == 0 { "-".to_owned() } else { own_id(&mut body) };
                format!("PUBLISH {first:02x} id {id} {}\n  {:?}", masked(&topic), body.rest())
            }
            // The id is the service's.
            4 => format!("PUBACK {}", body.u16()),
            8 => {
                let id = own_id(&mut body);
                let mut line = format!("SUBSCRIBE {first:02x} id {id}");
                while !body.0.is_empty() {
                    let filter = body.text();
                    line += &format!(" {filter} {}", body.u8());
                }
                line
            }
            10 => format!("UNSUBSCRIBE {first:02x} id {} {}", own_id(&mut body), body.text()),
            14 => format!("DISCONNECT {first:02x}"),
            _ => panic!("a packet {first:02x}"),
        };
        assert!(body.0.is_empty(), "{line}: and {:?}", body.0);
        lines.push(line);
    }
    lines
}

/// Reads what a packet is made of.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().expect("two bytes"))
    }

    /// The remaining length of a packet.
    fn length(&mut self) -> usize {
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8();
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return length;
            }
        }
        panic!("a length of more than four bytes");
    }

    fn text(&mut self) -> String {
        let length = self.u16();
        String::from_utf8(self.take(length.into()).to_vec()).expect("UTF-8")
    }

    fn rest(&mut self) -> String {
        String::from_utf8(self.take(self.0.len()).to_vec()).expect("UTF-8")
    }
}

/// A packet of fewer than 128 bytes after its head, made of what stands in it.
fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).expect("seven bits");
        length /= 128;
        packet.push(if length == 0 { byte } else { byte | 0x80 });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// A text with its length before it.
fn field(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short text");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}
