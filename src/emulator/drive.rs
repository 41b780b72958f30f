//! Traffic from the cloud that the emulator makes itself: methods, messages and desired properties for devices that are
//! connected and subscribed to them, one after another in the order of their ids. For messages, devices that ask for them over
//! HTTPS count as well, until they have not asked for as long as a message lives.
//!
//! The n-th of a kind is due at `n / rate` after the start. What is due while no device listens is left out: nobody is owed
//! it. What is sent names its number, so that both sides' books can be compared one by one.

use std::collections::VecDeque;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::cloud_to_device::{Ack, Message};
use super::hub::Filter;
use super::mailbox::MethodAnswer;
use super::service::Service;
use super::throttle::Traffic;
use super::twin::Change;
use crate::time::{Clock, Instant, UnixTime};
use crate::units::Rate;

/// What is to be made, each at its own rate over all hubs together; nothing where `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Drive {
    /// Direct methods, called [`METHOD`].
    pub methods: Option<Rate>,
    /// Messages from the cloud, with ids `drive-1`, `drive-2`, ...
    pub c2d: Option<Rate>,
    /// Changes of the desired property `drive`.
    pub desired: Option<Rate>,
}

impl Drive {
    /// What one of `parts` emulators makes that share it evenly; a rate that would be too low to be one is left out.
    pub fn share(self, parts: u32) -> Self {
        let part = |rate: Rate| Rate::new(rate.per_second() / f64::from(parts.max(1)));
        Self {
            methods: self.methods.and_then(part),
            c2d: self.c2d.and_then(part),
            desired: self.desired.and_then(part),
        }
    }
}

/// Why a text is no [`Drive`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriveError {
    /// Something else than `name=rate`.
    #[error("`{part}` is none of methods=RATE, c2d=RATE, desired=RATE; for example methods=5/s,c2d=2/s")]
    Part {
        /// What it is instead.
        part: String,
    },
    /// A kind twice.
    #[error("`{name}` is there twice; give it one rate")]
    Twice {
        /// Which.
        name: String,
    },
    /// A rate is none.
    #[error("`{name}`: {reason}")]
    Rate {
        /// Of what.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl FromStr for Drive {
    type Err = DriveError;

    fn from_str(text: &str) -> Result<Self, DriveError> {
        let mut drive = Self::default();
        for part in text.split(',') {
            let unknown = || DriveError::Part { part: part.to_owned() };
            let (name, rate) = part.trim().split_once('=').ok_or_else(unknown)?;
            let slot = match name {
                "methods" => &mut drive.methods,
                "c2d" => &mut drive.c2d,
                "desired" => &mut drive.desired,
                _ => return Err(unknown()),
            };
            let rate = rate
                .parse::<Rate>()
                .map_err(|error| DriveError::Rate { name: name.to_owned(), reason: error.to_string() })?;
            if slot.replace(rate).is_some() {
                return Err(DriveError::Twice { name: name.to_owned() });
            }
        }
        Ok(drive)
    }
}

impl Drive {
    /// Whether nothing is to be made.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Makes the traffic until it is dropped.
    pub async fn run(&self, service: &Service, clock: &Clock) {
        let start = clock.now();
        let kinds = [(Kind::Method, self.methods), (Kind::Message, self.c2d), (Kind::Desired, self.desired)];
        let mut streams: Vec<Stream> =
            kinds.into_iter().filter_map(|(kind, rate)| Some(Stream::new(kind, rate?))).collect();
        let mut pending = Pending::default();
        loop {
            let Some(next) = streams.iter_mut().min_by_key(|stream| stream.due(start)) else {
                return std::future::pending().await;
            };
            clock.sleep_until(next.due(start)).await;
            let (now, wall) = (clock.now(), clock.wall());
            pending.settle(service, now);
            next.send(service, now, wall, &mut pending);
            // However far behind, others have their turn.
            tokio::task::yield_now().await;
        }
    }
}

/// Name of the method that is invoked.
pub const METHOD: &str = "drive";

#[derive(Debug, Clone, Copy)]
enum Kind {
    Method,
    Message,
    Desired,
}

impl Kind {
    fn filter(self) -> Filter {
        match self {
            Self::Method => Filter::Methods,
            Self::Message => Filter::DeviceBound,
            Self::Desired => Filter::TwinDesired,
        }
    }

    fn traffic(self) -> Traffic {
        match self {
            Self::Method => Traffic::Method,
            Self::Message => Traffic::SendDeviceBound,
            Self::Desired => Traffic::TwinUpdate,
        }
    }
}

/// Traffic of one kind.
struct Stream {
    kind: Kind,
    rate: Rate,
    /// Sent or left out so far.
    count: u64,
    /// Who listened when somebody last looked, in order: hub and device.
    listeners: Vec<(usize, Box<str>)>,
    looked: Option<Instant>,
    last: Option<(usize, Box<str>)>,
}

impl Stream {
    fn new(kind: Kind, rate: Rate) -> Self {
        Self { kind, rate, count: 0, listeners: Vec::new(), looked: None, last: None }
    }

    fn due(&self, start: Instant) -> Instant {
        start + Duration::from_secs_f64(self.count as f64 / self.rate.per_second())
    }

    fn send(&mut self, service: &Service, now: Instant, wall: UnixTime, pending: &mut Pending) {
        self.count += 1;
        let Some((index, device_id)) = self.next_listener(service, now) else { return };
        let payload = json!({ "n": self.count }).to_string().into_bytes();
        if service.admit(index, self.kind.traffic(), now, wall, payload.len() as u64).is_err() {
            return;
        }
        let hub = service.hub(index);
        // Whoever has gone meanwhile, or has no room, is passed over; the hub's books say why.
        match self.kind {
            Kind::Method => {
                if let Ok(answer) = hub.invoke(&device_id, METHOD, payload) {
                    hub.two_way.methods_invoked.add(1);
                    pending.push(Waiting { hub: index, deadline: now + ANSWER_WITHIN, answer });
                }
            }
            Kind::Message => {
                let message = Message {
                    message_id: Some(format!("drive-{}", self.count)),
                    content_type: Some("application/json".to_owned()),
                    ack: Ack::Full,
                    body: payload,
                    ..Message::default()
                };
                let _ = hub.send_message(&device_id, now, wall, message);
            }
            Kind::Desired => {
                let desired = Map::from_iter([("drive".to_owned(), json!({ "n": self.count }))]);
                let change = Change { desired: Some(desired), ..Change::default() };
                let _ = hub.change_twin(&device_id, &change, None, wall);
            }
        }
        self.last = Some((index, device_id));
    }

    /// Whose turn it is: the one behind the last.
    fn next_listener(&mut self, service: &Service, now: Instant) -> Option<(usize, Box<str>)> {
        if self.looked.is_none_or(|looked| looked + LOOK_AFTER <= now) {
            self.looked = Some(now);
            self.listeners.clear();
            for index in 0..service.hub_count() {
                let ids = service.hub(index).listeners(self.kind.filter(), now);
                self.listeners.extend(ids.into_iter().map(|id| (index, id)));
            }
            self.listeners.sort_unstable();
        }
        let at = match &self.last {
            None => 0,
            Some(last) => self.listeners.partition_point(|listener| listener <= last),
        };
        self.listeners.get(at).or(self.listeners.first()).cloned()
    }
}

/// Methods whose answers are waited for, the oldest first. Bounded by what each device may leave unanswered.
#[derive(Default)]
struct Pending(VecDeque<Waiting>);

struct Waiting {
    hub: usize,
    deadline: Instant,
    answer: oneshot::Receiver<MethodAnswer>,
}

impl Pending {
    fn push(&mut self, waiting: Waiting) {
        self.0.push_back(waiting);
    }

    /// Lets go of what has been answered, and books what will not be any more.
    fn settle(&mut self, service: &Service, now: Instant) {
        self.0.retain_mut(|waiting| {
            let counts = &service.hub(waiting.hub).two_way;
            match waiting.answer.try_recv() {
                // Booked when it came.
                Ok(_) => {}
                Err(TryRecvError::Closed) => counts.methods_offline.add(1),
                Err(TryRecvError::Empty) if waiting.deadline <= now => counts.methods_timed_out.add(1),
                Err(TryRecvError::Empty) => return true,
            }
            false
        });
    }
}

/// How long a device may take to answer a method.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How often is looked who listens. Devices that come are found by then; those that go are passed over at once.
const LOOK_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_each_by_its_name() {
        let drive: Drive = "methods=5/s, c2d=120/min".parse().expect("a drive");
        assert_eq!(drive.methods.map(Rate::per_second), Some(5.0));
        assert_eq!((drive.c2d.map(Rate::per_second), drive.desired), (Some(2.0), None));
        for (text, part) in [
            ("", "none of"),
            ("methods", "none of"),
            ("twins=1/s", "none of"),
            ("methods=x", "methods"),
            ("c2d=1/s,c2d=2/s", "twice"),
        ] {
            let error = text.parse::<Drive>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
