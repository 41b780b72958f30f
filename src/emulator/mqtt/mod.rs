//! The MQTT 3.1.1 front door: DPS and the hubs on every listener; the user name decides whose connection it is.
//!
//! ```text
//!   CONNECT ──▶ DPS: CONNACK 0 whatever the token; it is checked with each request      ──▶ [`session`] ──▶ end
//!          └──▶ hub: token, the hub's queue for connections, takeover of an older one ──┘
//! ```
//!
//! What a peer can make this use is bounded: the packet it is sending ([`MAX_CONNECT`] before it is let in), the messages
//! that the hub's queue or a freeze holds, and what it does not read (both in `session`).
//!
//! A message's residence runs from the moment its packet was read to the moment its PUBACK is put in the queue, so that
//! a client can never have seen less.
//!
//! Source: <http://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html>, of which the numbers in square brackets are;
//! what the services do with it: [`crate::azure::mqtt`].

use std::sync::Arc;
use std::time::Duration;

use super::arrivals::Arrivals;
use super::channel::StampQueue;
use super::door::Means;
use super::entrance::Entrance;
use super::ledger::{Counters, Ending};
use super::reply_body::is_api_version;
use super::service::Service;
use super::throttle::Verdict;
use crate::azure::mqtt::{MAX_SILENCE_S, UserName};
use crate::net::mqtt::{Broken, Connack, Connect, ConnectReturnCode, Packet, PacketStream};
use crate::net::stream::Stream;
use crate::text::Secret;
use crate::time::{Clock, Instant, UnixTime};

mod dps;
mod hub;
mod session;
mod two_way;

use dps::DpsSession;
use hub::HubSession;
use session::{Role, Session};

/// With which every MQTT connection begins, and no HTTP request: type and flags of CONNECT.
pub(super) const FIRST_BYTE: u8 = 0x10;

/// How long a client may take for its CONNECT once it has begun; what HTTP clients are given for a TLS handshake.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Largest CONNECT in bytes: a token of 2 KB, a user name with a long agent, and a will of a few KB. Holds as well for what
/// a client sends right behind it without waiting for its CONNACK.
pub const MAX_CONNECT: u32 = 8 * 1024;

/// What a PUBLISH takes besides its body: the header of the packet, the longest topic, the packet id.
const AROUND_BODY: usize = 5 + 2 + u16::MAX as usize + 2;

/// How long a connection that is being closed may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(1);

/// What one worker thread serves with.
pub struct Front {
    service: Arc<Service>,
    clock: Clock,
    counters: Arc<Counters>,
    stamps: Option<Arc<StampQueue>>,
    arrivals: Option<Arc<Arrivals>>,
    seed: u64,
}

/// When a packet arrived, and when it is looked at.
#[derive(Debug, Clone, Copy)]
struct Moment {
    arrived: Instant,
    now: Instant,
    wall: UnixTime,
}

/// Why a client is not let in.
enum Unwelcome {
    /// It is told.
    Refused(ConnectReturnCode),
    /// It is not: MQTT has no code for it, or asks for silence.
    Closed(Ending),
}

impl Front {
    /// A front door for one worker thread.
    pub fn new(means: Means) -> Self {
        let Means { service, clock, counters, stamps, arrivals, seed } = means;
        Self { service, clock, counters, stamps, arrivals, seed }
    }

    /// Serves one connection until it ends, whoever ends it.
    ///
    /// * `entrance`: the listener that was called
    pub async fn serve(&self, stream: Stream, entrance: Entrance) {
        self.counters.mqtt_connections.add(1);
        let mut packets = PacketStream::new(stream, MAX_CONNECT);
        let (ending, mut packets) = match self.welcome(&mut packets, entrance).await {
            Ok((role, keep_alive)) => {
                let mut session = Session::new(self, packets, role, keep_alive);
                let ending = session.run().await;
                (ending, session.end(ending))
            }
            Err(Unwelcome::Closed(ending)) => (ending, packets),
            Err(Unwelcome::Refused(code)) => {
                packets.send(&connack(code, false));
                self.counters.mqtt_refused(code as u8);
                (Ending::Refused, packets)
            }
        };
        self.counters.mqtt_ended(ending);
        let _ = self.clock.until(self.clock.now() + FAREWELL, packets.close()).await;
    }

    /// Takes the CONNECT, and lets the client in if it is one for us; the keep-alive it asks for, in seconds.
    async fn welcome(
        &self,
        packets: &mut PacketStream,
        entrance: Entrance,
    ) -> Result<(Role, u16), Unwelcome> {
        let deadline = self.clock.now() + CONNECT_DEADLINE;
        let connect = match self.clock.until(deadline, packets.next()).await {
            None => return Err(Unwelcome::Closed(Ending::NoConnect)),
            Some(Ok(Some(Packet::Connect(connect)))) => connect,
            Some(Ok(Some(_))) => return Err(Unwelcome::Closed(Ending::Protocol)),
            Some(Ok(None)) => return Err(Unwelcome::Closed(Ending::Gone)),
            Some(Err(Broken::OtherVersion)) => {
                return Err(Unwelcome::Refused(ConnectReturnCode::UnacceptableProtocolVersion));
            }
            Some(Err(broken)) => return Err(Unwelcome::Closed(ending_of(&broken))),
        };
        if let Some(until) = self.service.held_until(self.clock.now()) {
            self.clock.sleep_until(until).await;
        }
        check_flags(&connect).map_err(Unwelcome::Closed)?;
        let keep_alive = connect.keep_alive();
        let refused = |code| Err(Unwelcome::Refused(code));
        if connect.client_id().is_empty() {
            return refused(ConnectReturnCode::IdentifierRejected);
        }
        let role = match UserName::parse(connect.user_name().unwrap_or_default()) {
            None => return refused(ConnectReturnCode::BadUserNameOrPassword),
            Some(UserName::Dps { id_scope, registration_id, api_version }) => {
                if !connect.client_id().eq_ignore_ascii_case(&registration_id) {
                    return refused(ConnectReturnCode::IdentifierRejected);
                }
                let token = connect.password().map(|token| Secret::new(token.to_vec()));
                let has_version = api_version.as_deref().is_some_and(is_api_version);
                packets.send(&connack(ConnectReturnCode::Accepted, false));
                self.counters.mqtt_accepted(None);
                Role::Dps(DpsSession::new(id_scope, registration_id, has_version, token, entrance.told))
            }
            Some(UserName::Hub { host, device_id, api_version }) => {
                if connect.client_id() != device_id {
                    return refused(ConnectReturnCode::IdentifierRejected);
                }
                if !api_version.as_deref().is_some_and(is_api_version) {
                    return refused(ConnectReturnCode::BadUserNameOrPassword);
                }
                let (session, resumed) = self.welcome_device(&connect, &host, &device_id, entrance).await?;
                packets.send(&connack(ConnectReturnCode::Accepted, resumed));
                Role::Hub(Box::new(session))
            }
        };
        packets.set_max_packet((role.max_body() + AROUND_BODY) as u32);
        Ok((role, keep_alive))
    }

    /// Lets a device into its hub, once its queue does; and whether it takes up a session.
    async fn welcome_device(
        &self,
        connect: &Connect,
        host: &str,
        device_id: &str,
        entrance: Entrance,
    ) -> Result<(HubSession, bool), Unwelcome> {
        let not_authorized = || Unwelcome::Refused(ConnectReturnCode::NotAuthorized);
        let token = connect.password().and_then(|token| std::str::from_utf8(token).ok());
        let device = self
            .service
            .authenticate_device(entrance.hub, device_id, token, self.clock.wall())
            .map_err(|_| not_authorized())?;
        let hub = device.hub_index();
        if self.service.hub_of(host, entrance.hub) != Some(hub) {
            return Err(not_authorized());
        }
        match self.service.admit_connection(hub, self.clock.now()) {
            Verdict::Now => {}
            Verdict::At(slot) => self.clock.sleep_until(slot).await,
            Verdict::Refused(_) => return Err(Unwelcome::Closed(Ending::Throttled)),
        }
        let is_clean = connect.clean_session();
        // It may have been deleted or disabled while it waited.
        let attached =
            self.service.hub_of_device(&device).attach(device_id, is_clean).ok_or_else(not_authorized)?;
        self.counters.mqtt_accepted(Some(hub));
        let resumed = attached.resumed.is_some();
        let expires = self.clock.now() + since(device.expiry(), self.clock.wall());
        let will = connect.will_topic().zip(connect.will_payload());
        let will = will.and_then(|(topic, payload)| hub::will_size(topic, device_id, payload.len()));
        Ok((HubSession::new(device, attached, expires, will), resumed))
    }
}

/// Refuses flags that make no sense together. The library looks at none of them but the password's.
fn check_flags(connect: &Connect) -> Result<(), Ending> {
    // After the header of the packet, the protocol's name and level; the library keeps them to itself otherwise.
    let flags = match connect.to_buffers().get(4).map(|part| &**part) {
        Some([flags]) => *flags,
        _ => return Err(Ending::Malformed),
    };
    let (is_reserved, will_qos, will_retain) = (flags & 1 != 0, flags >> 3 & 3, flags & 0x20 != 0);
    let will_makes_sense = connect.will_flag() || (will_qos == 0 && !will_retain);
    // [MQTT-3.1.2-3, MQTT-3.1.2-13, MQTT-3.1.2-14, MQTT-3.1.2-15]
    if is_reserved || will_qos == 3 || !will_makes_sense {
        return Err(Ending::Malformed);
    }
    // QoS 2 is not supported, in a will as anywhere.
    if will_qos == 2 { Err(Ending::Protocol) } else { Ok(()) }
}

fn connack(code: ConnectReturnCode, session_present: bool) -> Connack {
    Connack::builder()
        .session_present(session_present)
        .return_code(code)
        .build()
        .expect("code and flag are all that a CONNACK needs")
}

/// What the end of a stream of packets means.
fn ending_of(broken: &Broken) -> Ending {
    match broken {
        Broken::Io(_) | Broken::Truncated => Ending::Gone,
        Broken::TooLarge => Ending::TooLarge,
        Broken::Malformed(_) => Ending::Malformed,
        Broken::OtherVersion => Ending::Protocol,
    }
}

/// How long a client may be silent: one and a half times its keep-alive [MQTT-3.1.2-24], and never longer than the hub
/// waits, with no keep-alive at all either.
fn longest_silence(keep_alive_s: u16) -> Duration {
    let longest = Duration::from_secs(MAX_SILENCE_S);
    match keep_alive_s {
        0 => longest,
        seconds => (Duration::from_secs(u64::from(seconds)) * 3 / 2).min(longest),
    }
}

/// From `earlier` until `later`; nothing if that is over.
fn since(later: UnixTime, earlier: UnixTime) -> Duration {
    Duration::from_nanos(later.nanos().saturating_sub(earlier.nanos()))
}

#[cfg(test)]
mod tests;
