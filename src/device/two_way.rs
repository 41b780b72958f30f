//! What a device does besides sending: reads its twin, reports, answers methods, takes messages from the cloud.
//!
//! An errand is due when its cause is there (a connection, an interval, a method that arrived), goes over the hub connection
//! when its time has come, and ends in one outcome, like every step. Only over MQTT, for the HTTPS device API has no twins and no
//! methods; it has messages from the cloud, which `super::devicebound` asks for.

use std::collections::VecDeque;
use std::time::Duration;

use super::devicebound::{Devicebound, LockToken};
use super::hub::mqtt::HubMqtt;
use super::hub::{Hub, Qos as Service};
use super::world::{Profile, World};
use crate::azure::mqtt::{METHODS, TWIN_DESIRED, TWIN_RESPONSES, devicebound_filter};
use crate::azure::two_way::{
    TwinResponse, method_response_topic, parse_devicebound_topic, parse_method_topic, twin_get_topic,
    twin_patch_topic,
};
use crate::net::mqtt::{Publish, Qos};
use crate::step::{Cause, Class, Exchange, Failure, Observation, Outcome, Reason, StepKind};
use crate::time::Instant;

/// What devices of one population do besides sending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chores {
    /// What they do with their twins.
    pub twin: Option<TwinChores>,
    /// How they answer methods.
    pub methods: Option<MethodChores>,
    /// How they take messages from the cloud.
    pub messages: Option<MessageChores>,
}

/// How devices take messages from the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageChores {
    /// What becomes of each. Over MQTT a device can only complete it: its PUBACK is all that it can say.
    pub settle: Settle,
    /// HTTPS: after how long a device asks again that was told that there is none; over MQTT messages come by themselves.
    pub poll_every: Duration,
}

impl MessageChores {
    /// The usual time between two questions, which is the shortest that Azure wants of devices in the field: hubs count each
    /// question, and a fleet that asks more often is throttled.
    ///
    /// Source: <https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-messages-d2c> and the text of error 403004
    pub const POLL_EVERY: Duration = Duration::from_secs(25 * 60);
}

/// What becomes of a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Settle {
    /// It is done.
    #[default]
    Complete,
    /// It is not wanted: the hub puts it away as dead.
    Reject,
    /// It comes again, until the hub has given it out too often.
    Abandon,
}

impl Settle {
    /// As scenarios call them.
    pub const NAMES: [(&'static str, Self); 3] =
        [("complete", Self::Complete), ("reject", Self::Reject), ("abandon", Self::Abandon)];

    /// The one of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, settle)| *settle)
    }

    /// Whether the hub gives the message out again.
    pub const fn brings_it_back(self) -> bool {
        matches!(self, Self::Abandon)
    }
}

/// What devices do with their twins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwinChores {
    /// Whether they read them each time they have connected.
    pub gets: bool,
    /// Whether they report each time they have connected: when they know their twin, if they read it.
    pub reports: bool,
    /// Time between two reports.
    pub report_every: Option<Duration>,
    /// Whether they want to be told of desired properties.
    pub desired: bool,
}

/// How devices answer methods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodChores {
    /// How long they take over one.
    pub reply_after: Duration,
    /// What they answer; by custom as in HTTP.
    pub status: i32,
}

/// Most errands that one device has open at once; a hub that invokes more methods, and confirms none, goes without.
const MAX_OPEN: usize = 100;

impl Chores {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a device subscribes to.
    ///
    /// In the order of the SDK for C (iothubtransport_mqtt_common.c, SubscribeToMqttProtocol); with the others it is the
    /// application's.
    pub(super) fn filters(&self, device_id: &str, qos: Service) -> Vec<(String, Qos)> {
        let mut filters = Vec::new();
        if self.messages.is_some() {
            filters.push((devicebound_filter(device_id), Qos::AtLeastOnce));
        }
        let qos = match qos {
            Service::AtMostOnce => Qos::AtMostOnce,
            Service::AtLeastOnce => Qos::AtLeastOnce,
        };
        if let Some(twin) = &self.twin {
            if twin.gets || twin.reports || twin.report_every.is_some() {
                filters.push((TWIN_RESPONSES.to_owned(), qos));
            }
            if twin.desired {
                filters.push((TWIN_DESIRED.to_owned(), qos));
            }
        }
        if self.methods.is_some() {
            filters.push((METHODS.to_owned(), qos));
        }
        filters
    }
}

/// The errands of one device.
#[derive(Debug, Default)]
pub struct Errands {
    waiting: Vec<Errand>,
    /// In the order they went, which is not that of their deadlines.
    under_way: VecDeque<Errand>,
    /// On the grid of reports, which begins when the device was first connected.
    next_report: Option<Instant>,
    reports: u64,
    rid: u64,
    /// The device is about to leave: it takes no more methods, for there may always be another.
    is_leaving: bool,
    /// Over HTTPS, if it takes messages from the cloud.
    devicebound: Option<Devicebound>,
}

#[derive(Debug)]
struct Errand {
    what: What,
    due: Instant,
    ready: Instant,
    /// It goes then.
    at: Instant,
    started: Instant,
}

#[derive(Debug)]
enum What {
    /// Under this request id, once it went.
    Get(Box<str>),
    /// Under this request id, once it went.
    Report(Box<str>),
    /// To the method of that request id, under this packet id once it went.
    Reply { rid: Box<str>, packet_id: Option<u16> },
}

impl What {
    const fn kind(&self) -> StepKind {
        match self {
            Self::Get(_) => StepKind::TwinGet,
            Self::Report(_) => StepKind::TwinReport,
            Self::Reply { .. } => StepKind::MethodReply,
        }
    }
}

impl Errands {
    /// Those of a device of that population.
    pub fn of(profile: &Profile) -> Self {
        let over_https = profile.chores.messages.filter(|_| !profile.connect.is_mqtt());
        Self { devicebound: over_https.map(Devicebound::new), ..Self::default() }
    }

    /// Whether nothing is owed now.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.under_way.is_empty()
            && self.devicebound.as_ref().is_none_or(Devicebound::is_idle)
    }

    /// The device leaves when it has done what it owes now.
    pub fn leave(&mut self) {
        self.is_leaving = true;
        if let Some(devicebound) = &mut self.devicebound {
            devicebound.leave();
        }
    }

    /// Whether nothing was sent that is not answered.
    pub fn awaits_none(&self) -> bool {
        self.under_way.is_empty() && !self.devicebound.as_ref().is_some_and(Devicebound::is_under_way)
    }

    /// HTTPS: when the device asks for messages next, if it does.
    pub fn next_question(&self, world: &World) -> Option<Instant> {
        self.devicebound.as_ref()?.next_question(world)
    }

    /// HTTPS: whether there are questions to come, or something to come of one.
    pub fn has_questions(&self, world: &World) -> bool {
        self.devicebound.as_ref().is_some_and(|devicebound| devicebound.has_more(world))
    }

    /// HTTPS: whether a message from the cloud is in hand.
    pub fn holds_message(&self) -> bool {
        self.devicebound.as_ref().is_some_and(Devicebound::holds_message)
    }

    /// HTTPS: whether one of them waits for the connection since before `due`.
    pub fn go_before(&self, world: &World, due: Instant) -> bool {
        self.devicebound.as_ref().is_some_and(|devicebound| devicebound.goes_before(world, due))
    }

    /// HTTPS: whether an answer is not there by its deadline.
    pub fn is_overdue(&self, world: &World, profile: &Profile) -> bool {
        self.devicebound.as_ref().is_some_and(|devicebound| devicebound.is_overdue(world, profile))
    }

    /// HTTPS: the request under way was certainly never written.
    pub fn never_written(&mut self) {
        if let Some(devicebound) = &mut self.devicebound {
            devicebound.never_written();
        }
    }

    /// HTTPS: the hub answered whether it has a message.
    pub fn asked(
        &mut self,
        world: &World,
        profile: &Profile,
        answer: Result<Option<LockToken>, Failure>,
        finished: Instant,
    ) {
        if let Some(devicebound) = &mut self.devicebound {
            devicebound.asked(world, profile, answer, finished);
        }
    }

    /// HTTPS: the hub answered what it was told of a message.
    pub fn settled(
        &mut self,
        world: &World,
        profile: &Profile,
        failure: Option<&Failure>,
        span: (Instant, Instant),
    ) {
        if let Some(devicebound) = &mut self.devicebound {
            devicebound.settled(world, profile, failure, span);
        }
    }

    /// The hub connection is usable.
    pub fn connected(&mut self, world: &World, profile: &Profile) {
        let now = world.agenda.now();
        if let Some(devicebound) = &mut self.devicebound {
            devicebound.connected(now);
        }
        let Some(twin) = &profile.chores.twin else { return };
        if let (None, Some(every)) = (self.next_report, twin.report_every) {
            self.next_report = Some(now + every);
        }
        if !world.stop.plans(now) {
            return;
        }
        if twin.gets {
            self.owe(world, profile, What::Get("".into()), now, now);
        } else if twin.reports {
            self.owe(world, profile, What::Report("".into()), now, now);
        }
    }

    fn next_rid(&mut self, hub: &mut HubMqtt) -> Box<str> {
        let rid = hub.request_id().unwrap_or_else(|| {
            self.rid += 1;
            self.rid.to_string()
        });
        rid.into()
    }

    /// An errand is due; it goes `at` that time.
    fn owe(&mut self, world: &World, profile: &Profile, what: What, due: Instant, at: Instant) {
        let now = world.agenda.now();
        world.recorder.borrow_mut().due(profile.population, what.kind());
        let errand = Errand { what, due, ready: now, at, started: now };
        if self.waiting.len() + self.under_way.len() < MAX_OPEN {
            self.waiting.push(errand);
        } else {
            errand.book(world, profile, now, Outcome::NotSent(Reason::QueueFull), None);
        }
    }

    /// When [`Self::attend`] has something to do.
    ///
    /// * `is_online`: whether what is due can go: over HTTPS, whether the connection takes a request
    pub fn next(&self, world: &World, profile: &Profile, is_online: bool) -> Option<Instant> {
        let deadline = |errand: &Errand| errand.due + profile.send_deadline;
        let report = self.next_report.filter(|due| world.stop.plans(*due));
        let goes = self
            .waiting
            .iter()
            .map(|errand| if is_online { errand.at.min(deadline(errand)) } else { deadline(errand) });
        let devicebound = self.devicebound.as_ref().and_then(|it| it.next(world, profile, is_online));
        report.into_iter().chain(goes).chain(self.under_way.iter().map(deadline)).chain(devicebound).min()
    }

    /// Waits for something to do without a hub, and does it.
    pub async fn tend(&mut self, world: &World, profile: &Profile) {
        match self.next(world, profile, false) {
            Some(at) => world.agenda.until(at).await,
            None => std::future::pending().await,
        }
        // Without a hub nothing is sent that could fail.
        let _ = self.attend(world, profile, None);
    }

    /// Does what is due by now, over `hub` if there is one.
    ///
    /// # Errors
    /// When something cannot be a packet; the connection is as good as before.
    pub fn attend(&mut self, world: &World, profile: &Profile, hub: Option<&mut Hub>) -> Result<(), Failure> {
        let now = world.agenda.now();
        let every = profile.chores.twin.as_ref().and_then(|twin| twin.report_every);
        while let (Some(due), Some(every)) = (self.next_report, every)
            && due <= now
            && world.stop.plans(due)
        {
            self.next_report = Some(due + every);
            self.owe(world, profile, What::Report("".into()), due, now);
        }
        self.expire(world, profile, now);
        let hub = match (hub, &mut self.devicebound) {
            (Some(Hub::Mqtt(hub)), _) => hub,
            (Some(Hub::Https(hub)), Some(devicebound)) => return devicebound.attend(world, profile, hub),
            (None, Some(devicebound)) => {
                devicebound.expire(world, profile);
                return Ok(());
            }
            (Some(Hub::Https(_)) | None, None) => return Ok(()),
        };
        while let Some(position) = self.waiting.iter().position(|errand| errand.at <= now) {
            let mut errand = self.waiting.remove(position);
            errand.started = world.agenda.now();
            let sent = self.send(profile, hub, world, &mut errand);
            if let Err(failure) = sent {
                let outcome = Outcome::Failed(failure.class);
                errand.book(world, profile, now, outcome, Some(&failure));
                return Err(failure);
            }
            if matches!(errand.what, What::Reply { packet_id: None, .. }) {
                // It is written with what else waits, and nothing will confirm it.
                errand.book(world, profile, world.agenda.now(), Outcome::Written, None);
            } else {
                self.under_way.push_back(errand);
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        profile: &Profile,
        hub: &mut HubMqtt,
        world: &World,
        errand: &mut Errand,
    ) -> Result<(), Failure> {
        let clock = world.agenda.clock();
        let qos = profile.habits.hub.twin_qos;
        match &mut errand.what {
            What::Get(rid) => {
                *rid = self.next_rid(hub);
                let body = profile.habits.hub.twin_body.as_bytes();
                hub.tell(clock, &twin_get_topic(rid), body, qos).map(|_| ())
            }
            What::Report(rid) => {
                *rid = self.next_rid(hub);
                self.reports += 1;
                let body = format!("{{\"report\":{}}}", self.reports);
                hub.tell(clock, &twin_patch_topic(rid), body.as_bytes(), qos).map(|_| ())
            }
            What::Reply { rid, packet_id } => {
                let status = profile.chores.methods.as_ref().map_or(200, |methods| methods.status);
                *packet_id = hub.reply(clock, &method_response_topic(status, rid), b"{}")?;
                Ok(())
            }
        }
    }

    /// The hub confirmed a packet that was no message.
    pub fn confirmed(&mut self, world: &World, profile: &Profile, id: u16, finished: Instant) {
        let is_it =
            |errand: &Errand| matches!(errand.what, What::Reply { packet_id, .. } if packet_id == Some(id));
        if let Some(errand) = self.under_way.iter().position(is_it).and_then(|at| self.under_way.remove(at)) {
            errand.book(world, profile, finished, Outcome::Acknowledged, None);
        }
    }

    /// Takes what the hub sent of its own accord.
    ///
    /// # Errors
    /// A topic that nobody asked for.
    pub fn arrived(
        &mut self,
        world: &World,
        profile: &Profile,
        message: &Publish,
        at: Instant,
    ) -> Result<(), Failure> {
        let topic = message.topic_name();
        if let Some(response) = TwinResponse::parse(topic) {
            self.answered(world, profile, &response, message.payload().as_slice(), at);
            return Ok(());
        }
        if let Some((_, rid)) = parse_method_topic(topic) {
            if self.is_leaving {
                return Ok(());
            }
            let after = profile.chores.methods.as_ref().map_or(Duration::ZERO, |methods| methods.reply_after);
            let what = What::Reply { rid: rid.into(), packet_id: None };
            self.owe(world, profile, what, at, at + after);
            return Ok(());
        }
        if parse_devicebound_topic(topic).is_some() {
            let mut books = world.recorder.borrow_mut();
            books.due(profile.population, StepKind::C2dReceive);
            let observation = Observation {
                kind: StepKind::C2dReceive,
                due: at,
                ready: at,
                started: at,
                finished: world.agenda.now(),
                // Its PUBACK completes it, and nothing answers that.
                outcome: Outcome::Written,
            };
            books.step(profile.population, &observation, None);
            return Ok(());
        }
        if topic.starts_with("$iothub/twin/PATCH/properties/desired/") {
            return Ok(());
        }
        Err(Failure::new(Class::BadAnswer, "a message on a topic that was not subscribed to"))
    }

    fn answered(
        &mut self,
        world: &World,
        profile: &Profile,
        response: &TwinResponse<'_>,
        body: &[u8],
        at: Instant,
    ) {
        let is_it = |errand: &Errand| match &errand.what {
            What::Get(rid) | What::Report(rid) => **rid == *response.rid,
            What::Reply { .. } => false,
        };
        let found = self.under_way.iter().position(is_it);
        // To one that was given up, or to nobody.
        let Some(errand) = found.and_then(|position| self.under_way.remove(position)) else { return };
        let is_get = matches!(errand.what, What::Get(_));
        let exchange = if is_get { Exchange::TwinGet } else { Exchange::TwinReport };
        let failure = refusal(response.status, body, is_get);
        let took = at.since(errand.started);
        world.recorder.borrow_mut().exchange(profile.population, exchange, took, failure.is_none());
        let outcome = match &failure {
            None => Outcome::Acknowledged,
            Some(failure) => Outcome::Failed(failure.class),
        };
        errand.book(world, profile, at, outcome, failure.as_ref());
        if is_get && profile.chores.twin.as_ref().is_some_and(|twin| twin.reports) && world.stop.plans(at) {
            self.owe(world, profile, What::Report("".into()), at, at);
        }
    }

    fn expire(&mut self, world: &World, profile: &Profile, now: Instant) {
        let is_late = |errand: &Errand| errand.due + profile.send_deadline <= now;
        while let Some(position) = self.waiting.iter().position(is_late) {
            let errand = self.waiting.remove(position);
            errand.book(world, profile, now, Outcome::NotSent(Reason::Deadline), None);
        }
        while let Some(position) = self.under_way.iter().position(is_late) {
            if let Some(errand) = self.under_way.remove(position) {
                errand.book(world, profile, now, Outcome::Unknown(Cause::Deadline), None);
            }
        }
    }

    /// The connection is gone: what was under way is unknown. The hub asks again for what it wants to know, and the next
    /// connection has errands of its own.
    pub fn lost(&mut self, world: &World, profile: &Profile, cause: Cause) {
        let now = world.agenda.now();
        if let Some(devicebound) = &mut self.devicebound {
            devicebound.lost(world, profile, cause);
        }
        for errand in std::mem::take(&mut self.under_way) {
            errand.book(world, profile, now, Outcome::Unknown(cause), None);
        }
        // An answer to a method is for the connection on which it came.
        let is_reply = |errand: &Errand| matches!(errand.what, What::Reply { .. });
        while let Some(position) = self.waiting.iter().position(is_reply) {
            let errand = self.waiting.remove(position);
            errand.book(world, profile, now, Outcome::NotSent(Reason::Disconnected), None);
        }
    }

    /// Nothing will be sent any more.
    pub fn abandon(&mut self, world: &World, profile: &Profile, cause: Cause, reason: Reason) {
        let now = world.agenda.now();
        if let Some(devicebound) = &mut self.devicebound {
            devicebound.abandon(world, profile, cause, reason);
        }
        for errand in std::mem::take(&mut self.under_way) {
            errand.book(world, profile, now, Outcome::Unknown(cause), None);
        }
        for errand in std::mem::take(&mut self.waiting) {
            errand.book(world, profile, now, Outcome::NotSent(reason), None);
        }
        self.next_report = None;
    }
}

impl Errand {
    fn book(
        self,
        world: &World,
        profile: &Profile,
        finished: Instant,
        outcome: Outcome,
        failure: Option<&Failure>,
    ) {
        let is_sent = !matches!(outcome, Outcome::NotSent(_));
        let observation = Observation {
            kind: self.what.kind(),
            due: self.due,
            ready: self.ready,
            started: if is_sent { self.started } else { finished },
            finished,
            outcome,
        };
        world.recorder.borrow_mut().step(profile.population, &observation, failure);
    }
}

/// What is wrong with the hub's answer about a twin, if anything is.
fn refusal(status: u16, body: &[u8], is_get: bool) -> Option<Failure> {
    match (status, is_get) {
        (200, true) if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() => {
            Some(Failure::new(Class::BadAnswer, "a twin that is no JSON"))
        }
        (200, true) | (200 | 204, false) => None,
        _ => Some(super::hub::refusal(status, body)),
    }
}
