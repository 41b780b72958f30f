//! What the devices of one thread share.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::dps::Assigned;
use super::habits::{Habits, Skew, TokenLife};
use super::hub::{Envelope, Resend};
use super::life::Limits;
use super::two_way::Chores;
use crate::azure::keys::{DeviceKey, GroupKey};
use crate::azure::protocol::Protocol;
use crate::net::dial::{Endpoint, Network};
use crate::payload::{Payloads, Rendered};
use crate::record::Recorder;
use crate::step::{Class, Failure, Observation};
use crate::text::Untrusted;
use crate::time::{Agenda, Instant};

/// What the devices of one thread share.
pub struct World {
    /// Clock and due times.
    pub agenda: Agenda,
    /// How connections are made.
    pub network: Network,
    /// The books.
    pub recorder: RefCell<Recorder>,
    /// When to stop.
    pub stop: Stop,
    /// Distinguishes runs; part of message ids.
    pub run_id: String,
    /// All chance comes from here.
    pub seed: u64,
    /// The message that is being sent; kept for its memory.
    pub rendered: RefCell<Rendered>,
    /// Told what devices do, if someone wants to know.
    pub narrator: Option<Narrator>,
    /// Told of each message that has come to its end, if someone wants to know.
    pub witness: Option<Witness>,
}

/// Is told what devices do.
pub type Narrator = Box<dyn Fn(Narration<'_>)>;

/// Is told of messages that have come to their end.
pub type Witness = Box<dyn Fn(&EndedMessage)>;

/// What devices of one population have in common.
pub struct Profile {
    /// Index of the population, for the books.
    pub population: usize,
    /// Name of the population, for the random streams.
    pub name: String,
    /// Where devices go.
    pub route: Route,
    /// Deadlines of register and connect.
    pub limits: Rc<Limits>,
    /// Deadline of a send, from its due instant.
    pub send_deadline: Duration,
    /// How devices register.
    pub provision: Protocol,
    /// How they talk to their hub.
    pub connect: Protocol,
    /// What they do of their own.
    pub habits: &'static Habits,
    /// The life of their tokens.
    pub token: TokenLife,
    /// What they believe the time to be.
    pub skew: Skew,
    /// Of MQTT, in whole seconds; 0 for none.
    pub keep_alive_s: u16,
    /// An HTTPS connection to a hub is closed when the next message is due later than this.
    pub keep_connection: Duration,
    /// What devices send.
    pub sending: Option<Sending>,
    /// What they do besides.
    pub chores: Chores,
    /// Whether devices go on to their hub once they are registered.
    pub connects: bool,
    /// Whether the run has an end of its own: until then, devices that send nothing stay connected, and a device that
    /// never reached its hub goes on trying.
    pub hold: bool,
}

/// Who a device is.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its registration id.
    pub registration_id: String,
    /// Its id at a hub that it reaches without DPS, if that differs from the registration id.
    pub device_id: Option<Box<str>>,
    /// What it signs with.
    pub key: Key,
}

/// What a device signs with.
#[derive(Debug, Clone)]
pub enum Key {
    /// Derived from its group's key on use; not kept.
    Derived(Rc<GroupKey>),
    /// The device's own.
    Own(DeviceKey),
}

impl Profile {
    /// Whether a device keeps its hub connection while nothing is due for long.
    pub fn stays_connected(&self) -> bool {
        self.connect.is_mqtt()
    }

    /// MQTT: after how long a device that sent nothing tells that it is there; zero for never.
    pub fn keep_alive(&self) -> Duration {
        Duration::from_secs(self.keep_alive_s.into())
    }

    /// Whether a device has something to wait for at its hub, whatever it has sent: until the run ends, if it has an end.
    pub fn waits_for_more(&self) -> bool {
        self.hold && (self.sending.is_none() || !self.chores.is_empty())
    }
}

impl Identity {
    /// The device's key.
    pub fn device_key(&self) -> DeviceKey {
        match &self.key {
            Key::Derived(group) => group.derive(&self.registration_id),
            Key::Own(key) => key.clone(),
        }
    }
}

/// Where devices go.
pub enum Route {
    /// To DPS, and then to the hub it names.
    Dps {
        /// Where DPS is.
        endpoint: Endpoint,
        /// As written in the `Host` header.
        host: String,
        /// Id scope.
        id_scope: String,
        /// Which hubs may be contacted.
        hubs: HubRule,
    },
    /// Straight to this hub.
    Hub {
        /// Where it is.
        endpoint: Endpoint,
        /// As written in tokens and headers.
        host: String,
    },
}

/// Which hubs DPS may send devices to. This machine is always allowed, as far as the bytes stay on it.
#[derive(Debug, Clone, Default)]
pub struct HubRule {
    /// Patterns of host names; `*` stands for any number of characters.
    pub allow: Vec<String>,
    /// Port of the hub where its name has none.
    pub default_port: u16,
}

impl HubRule {
    /// Where to connect for a hub that DPS named.
    ///
    /// * `stays_here`: whether what is sent to an endpoint stays on this machine: [`Network::stays_here`]
    ///
    /// # Errors
    /// [`Class::BadAnswer`] if it is no host, [`Class::HubNotAllowed`] if no pattern matches.
    pub fn admit(
        &self,
        hub: &Untrusted,
        stays_here: impl FnOnce(&Endpoint) -> bool,
    ) -> Result<Endpoint, Failure> {
        let endpoint = Endpoint::parse(hub.raw(), self.default_port).ok_or_else(|| {
            Failure::new(
                Class::BadAnswer,
                &format!("assigned to {:?}, which is no host name", hub.terminal()),
            )
        })?;
        if stays_here(&endpoint) || self.allow.iter().any(|pattern| allows(pattern, &endpoint)) {
            return Ok(endpoint);
        }
        Err(Failure::new(
            Class::HubNotAllowed,
            &format!("assigned to {}, which was not contacted", hub.terminal()),
        ))
    }
}

/// Whether `pattern`, with or without a port, is for `endpoint`.
fn allows(pattern: &str, endpoint: &Endpoint) -> bool {
    let (host, port) = match pattern.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (pattern, Some(endpoint.port)),
    };
    port == Some(endpoint.port) && matches(host.trim_end_matches('.'), endpoint.host.trim_end_matches('.'))
}

/// Whether `host` is of the form `pattern`; case does not count.
pub fn matches(pattern: &str, host: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = host.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Due instants, never decreasing.
pub type Instants = Box<dyn Iterator<Item = Duration>>;

/// What devices send.
pub struct Sending {
    /// Messages per device; `None`: until the run ends.
    pub messages: Option<u64>,
    /// Whether messages that were not confirmed when their connection ended go again.
    pub resend: Resend,
    /// MQTT, for a broker that is no hub: where messages go; `{id}` stands for the device's id.
    pub topic: Option<String>,
    /// Messages that may be under way at once.
    pub in_flight: usize,
    /// Messages that may wait.
    pub queue: usize,
    /// Whether what became of each message is kept.
    pub fates: Fates,
    /// What they hold.
    pub payload: Payloads,
    /// What messages of each kind of `payload` have in common.
    pub envelopes: Vec<Envelope>,
    /// When the messages of device n are due, in order and counted from when the device was first connected.
    pub instants: Box<dyn Fn(u64) -> Instants>,
}

/// How much is kept of what became of messages, besides how many fared how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fates {
    /// Nothing.
    Forgotten,
    /// That the device sends: its messages cannot be told apart by their ids.
    DeviceOnly,
    /// What became of each message.
    EachMessage,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Steps become due.
    Running,
    /// Nothing more becomes due; open answers are awaited.
    Draining,
    /// What is open is given up.
    Over,
}

/// Tells the devices of one thread when to stop.
#[derive(Debug)]
pub struct Stop {
    phase: Cell<Phase>,
    interrupted: Cell<bool>,
    /// A step that is due later is not planned.
    end: Cell<Option<Instant>>,
    changed: Notify,
}

impl Stop {
    /// A run that ends at `end`, or when all devices have finished.
    pub fn new(end: Option<Instant>) -> Self {
        Self {
            phase: Cell::new(Phase::Running),
            interrupted: Cell::new(false),
            end: Cell::new(end),
            changed: Notify::new(),
        }
    }

    /// How far the run has come.
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether somebody ended it before its time.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.get()
    }

    /// Whether a step that is due then belongs to the run.
    pub fn plans(&self, due: Instant) -> bool {
        self.end.get().is_none_or(|end| due <= end)
    }

    /// Moves on to `phase`; never back.
    ///
    /// * `interrupted`: before its time, so that nothing that is due after `now` is planned any more
    pub fn advance(&self, phase: Phase, now: Instant, interrupted: bool) {
        if interrupted {
            self.interrupted.set(true);
        }
        if phase <= self.phase.get() {
            return;
        }
        self.phase.set(phase);
        if self.end.get().is_none_or(|end| now < end) {
            self.end.set(Some(now));
        }
        self.changed.notify_waiters();
    }

    /// Waits until the phase is another than `seen`.
    pub fn left(&self, seen: Phase) -> impl Future<Output = Phase> + '_ {
        let mut notified = Box::pin(self.changed.notified());
        std::future::poll_fn(move |context| {
            use std::task::Poll;
            loop {
                if self.phase.get() != seen {
                    return Poll::Ready(self.phase.get());
                }
                match notified.as_mut().poll(context) {
                    Poll::Ready(()) => notified.set(self.changed.notified()),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
    }
}

/// A telemetry message that has come to its end: what the histograms are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedMessage {
    /// Index of its device's population.
    pub population: usize,
    /// Number of the device in its population, from 0.
    pub device: u64,
    /// Number of the message of its device, from 1.
    pub sequence: u64,
    /// How it went.
    pub observation: Observation,
}

/// What a device does, for people who want to follow it.
#[derive(Debug)]
pub enum Narration<'a> {
    /// DPS named its hub.
    Assigned(&'a Assigned),
    /// The first message is about to go.
    WillSend,
    /// A message goes.
    Sending(u64),
    /// A message was confirmed.
    Sent(u64),
    /// Something did not work.
    Failed(&'a Failure),
}

impl World {
    /// Tells the narrator, if there is one.
    pub fn narrate(&self, narration: Narration<'_>) {
        if let Some(narrator) = &self.narrator {
            narrator(narration);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_outside_of_the_allowed_patterns_is_refused() {
        let allow = vec!["contoso-*.azure-devices.net".into(), "gateway.contoso.net:8443".into()];
        let rule = HubRule { allow, default_port: 443 };
        let admit = |hub: &str| {
            rule.admit(&Untrusted::new(hub), Endpoint::is_loopback).map(|endpoint| endpoint.to_string())
        };
        assert_eq!(admit("Contoso-1.azure-devices.net"), Ok("contoso-1.azure-devices.net:443".into()));
        assert_eq!(admit("localhost:8443"), Ok("localhost:8443".into()));
        assert_eq!(admit("gateway.contoso.net:8443"), Ok("gateway.contoso.net:8443".into()));
        assert_eq!(admit("gateway.contoso.net:22").map_err(|f| f.class), Err(Class::HubNotAllowed));
        assert_eq!(admit("evil.example").map_err(|f| f.class), Err(Class::HubNotAllowed));
        assert_eq!(
            admit("contoso-1.azure-devices.net.evil.example").map_err(|f| f.class),
            Err(Class::HubNotAllowed)
        );
        assert_eq!(admit("evil.example:22/..").map_err(|f| f.class), Err(Class::BadAnswer));
        assert_eq!(admit("a\r\nb").map_err(|f| f.class), Err(Class::BadAnswer));
    }

    #[test]
    fn patterns_match_with_any_number_of_stars() {
        for (pattern, host, expected) in [
            ("*", "a.b", true),
            ("a.b", "a.b", true),
            ("A.B", "a.b", true),
            ("a.b", "a.bc", false),
            ("*.b", "a.b", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxcyyb", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, host), expected, "{pattern} {host}");
        }
    }
}
