//! The connections of one device, and the tokens it shows on them.

use std::rc::Rc;
use std::time::Duration;

use super::dps::https::DpsHttps;
use super::dps::mqtt::{DpsMqtt, Opening as DpsOpening};
use super::dps::{Answer, Assigned, Dps, Exchanged};
use super::habits::{PacketIds, TokenLife};
use super::hub::https::{self, HubHttps};
use super::hub::mqtt::{Before, HubMqtt, Opening};
use super::hub::{Hub, Message, Resend};
use super::life::{Call, Happened};
use super::outbox::Owed;
use super::world::{Identity, Profile, Route, Sending, World};
use crate::azure::mqtt;
use crate::azure::protocol::Protocol;
use crate::azure::sas;
use crate::net::dial::{Dialled, Endpoint};
use crate::net::websocket::{self, Wanted};
use crate::payload;
use crate::rng::{self, Purpose};
use crate::step::{Class, Exchange, Failure, Party, Phase};
use crate::text::Secret;
use crate::time::{Clock, Instant, UnixTime};

/// How long messages under way are waited for before a connection is left for a new token; half of what is left of the token
/// if that is less.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(10);

/// By how much the device's clock has to be ahead of where it should be before somebody has moved it: a token says whole
/// seconds.
const CLOCK_MOVED: Duration = Duration::from_secs(2);

/// A token for DPS that expires sooner is not shown any more.
const LEAST_LEFT: Duration = Duration::from_secs(1);

/// The connections of one device.
pub(super) struct Link {
    identity: Identity,
    dps: Option<Dps>,
    dps_token_expiry: UnixTime,
    operation: Option<String>,
    /// What DPS assigned, or the hub target's own.
    pub(super) assigned: Option<Rc<Assigned>>,
    hub_endpoint: Option<Endpoint>,
    hub_token: HubToken,
    pub(super) hub: Option<Hub>,
    /// The last packet id that was given out on a hub connection.
    last_packet_id: u16,
    /// What was before the next hub connection.
    pub(super) before: Before,
    /// When DPS last answered.
    answered: Option<Instant>,
    /// Whether the call under way still opens its connection.
    opening: bool,
    /// Of what the client makes up: a seed, and how many streams were made of it.
    forks: (u64, u32),
}

/// The token that the hub was shown last.
#[derive(Debug, Clone, Copy)]
struct HubToken {
    /// By the device's clock.
    expiry: UnixTime,
    /// It is replaced so long before.
    margin: Duration,
    /// When that is, if the clock goes on as it does.
    due: Instant,
}

/// When a connection is to be made anew for the sake of its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Renewal {
    /// From then on nothing more is sent.
    pub(super) due: Instant,
    /// Then the connection is left, whatever is under way.
    pub(super) by: Instant,
}

impl Link {
    /// * `seed`: of what the client makes up
    pub(super) fn new(identity: Identity, route: &Route, seed: u64) -> Self {
        let (assigned, hub_endpoint) = match route {
            Route::Dps { .. } => (None, None),
            Route::Hub { endpoint, host } => {
                let device_id = identity.device_id.as_deref().unwrap_or(&identity.registration_id).to_owned();
                let hub = crate::text::Untrusted::new(host);
                let assigned = Assigned { hub, device_id, substatus: None, payload: None };
                (Some(Rc::new(assigned)), Some(endpoint.clone()))
            }
        };
        Self {
            identity,
            dps: None,
            dps_token_expiry: UnixTime::from_nanos(0),
            operation: None,
            assigned,
            hub_endpoint,
            hub_token: HubToken {
                expiry: UnixTime::from_nanos(0),
                margin: Duration::ZERO,
                due: Instant::from_nanos(0),
            },
            hub: None,
            last_packet_id: 0,
            before: Before::Nothing,
            answered: None,
            opening: false,
            forks: (seed, 0),
        }
    }

    /// Makes a call. When it fails, its connection is dropped.
    pub(super) async fn call(&mut self, world: &World, profile: &Profile, call: Call) -> Happened {
        let called = match call {
            Call::Register | Call::Poll => self.call_dps(world, profile, call).await,
            Call::Connect => self.connect(world, profile).await.map(|()| Happened::Connected),
        };
        called.unwrap_or_else(|failure| {
            // Whether the connection is still usable depends on the failure; a new one costs little to a device that waits
            // before it tries again.
            self.dps = None;
            Happened::Failed(failure)
        })
    }

    /// What it means that the call under way was not done by the deadline. Drops its connection.
    pub(super) fn timed_out(&mut self) -> Failure {
        self.dps = None;
        if self.opening {
            Failure::new(Class::ConnectTimeout, "no connection by the deadline")
        } else {
            Failure::new(Class::NoAnswer, "the request was sent and not answered by the deadline")
        }
    }

    /// Asks DPS, within what the device's patience allows for both connection and answer.
    async fn call_dps(&mut self, world: &World, profile: &Profile, call: Call) -> Result<Happened, Failure> {
        let both = profile.habits.dps.patience.both;
        let asking = Box::pin(self.ask_dps(world, profile, call));
        let called = within(world.agenda.clock(), both, asking).await;
        called.unwrap_or_else(|| Err(self.timed_out()))
    }

    async fn ask_dps(&mut self, world: &World, profile: &Profile, call: Call) -> Result<Happened, Failure> {
        let Route::Dps { endpoint, host, id_scope, hubs } = &profile.route else {
            return Err(Failure::new(Class::OtherIo, "this population has no DPS"));
        };
        // Polls go on for as long as the service likes, and a token may be short.
        if self.dps_token_expiry < profile.skew.of(world.agenda.clock().wall()) + LEAST_LEFT {
            self.close_dps(world.agenda.clock());
        }
        if !self.dps.as_mut().is_some_and(Dps::is_open) {
            let open = profile.habits.dps.patience.open;
            let opening = Box::pin(self.open_dps(world, profile, endpoint, host, id_scope));
            match within(world.agenda.clock(), open, opening).await {
                Some(opened) => self.dps = Some(opened?),
                None => {
                    return Err(Failure::new(Class::ConnectTimeout, "the device gave up on the connection"));
                }
            }
        }
        let clock = world.agenda.clock();
        if let (Call::Poll, Some(answered)) = (call, self.answered) {
            let waited = clock.now().since(answered);
            world.recorder.borrow_mut().poll_wait(profile.population, waited);
        }
        let dps = self.dps.as_mut().expect("was opened above");
        let patience = profile.habits.dps.patience.answer;
        let registration_id = &self.identity.registration_id;
        let (exchange, exchanged) = match (call, &self.operation) {
            (Call::Poll, Some(operation)) => {
                let poll = Box::pin(dps.poll(clock, id_scope, registration_id, operation));
                (Exchange::DpsPoll, within(clock, patience, poll).await)
            }
            _ => {
                let exchange = dps.register_exchange();
                let register = Box::pin(dps.register(clock, id_scope, registration_id));
                (exchange, within(clock, patience, register).await)
            }
        };
        let Some(Exchanged { result, span }) = exchanged else {
            return Err(Failure::new(Class::NoAnswer, "the device gave up on the answer"));
        };
        if let Some((started, finished)) = span {
            self.answered = Some(finished);
            let took = finished.since(started);
            world.recorder.borrow_mut().exchange(profile.population, exchange, took, result.is_ok());
        }
        let answer = match result {
            Ok(answer) => answer,
            // What is asked again goes over the same connection.
            Err(refusal) if span.is_some() && profile.habits.dps.keeps_connection => {
                return Ok(Happened::Failed(refusal));
            }
            Err(failure) => return Err(failure),
        };
        match answer {
            Answer::Assigning { operation, retry_after } => {
                self.operation = operation.or(self.operation.take());
                if self.operation.is_none() {
                    return Err(Failure::new(
                        Class::BadAnswer,
                        "assigning, but with no operation id to poll",
                    ));
                }
                Ok(Happened::Assigning { retry_after })
            }
            Answer::Assigned(assigned) => {
                self.hub_endpoint = Some(hubs.admit(&assigned.hub, |hub| world.network.stays_here(hub))?);
                self.assigned = Some(Rc::new(*assigned));
                Ok(Happened::Assigned)
            }
        }
    }

    async fn connect(&mut self, world: &World, profile: &Profile) -> Result<(), Failure> {
        let (Some(assigned), Some(endpoint)) = (self.assigned.clone(), self.hub_endpoint.clone()) else {
            return Err(Failure::new(Class::OtherIo, "no hub is known"));
        };
        let over = (profile.connect, assigned.hub.raw());
        let dialled = self.dial(world, profile, &endpoint, Party::Hub, over).await?;
        let token = self.hub_token(world, profile, &assigned);
        let (host, device_id) = (assigned.hub.raw(), &assigned.device_id);
        self.hub = Some(match profile.connect {
            Protocol::Https => {
                let opening = https::Opening {
                    host,
                    device_id,
                    token: &token,
                    habits: &profile.habits.hub,
                    takes_messages: profile.chores.messages.is_some(),
                };
                Hub::Https(Box::new(HubHttps::new(dialled.stream, opening).await?))
            }
            Protocol::Mqtt | Protocol::MqttWs => {
                let resends = |sending: &Sending| sending.resend != Resend::None;
                let last_packet_id = match profile.habits.packet_ids {
                    // Ids of messages that go again stay theirs.
                    PacketIds::Random if !profile.sending.as_ref().is_some_and(resends) => 0,
                    _ => self.last_packet_id,
                };
                let opening = Opening {
                    host,
                    device_id,
                    token: &token,
                    keep_alive_s: profile.keep_alive_s,
                    habits: profile.habits,
                    draws: self.fork(),
                    topic: profile.sending.as_ref().and_then(|sending| sending.topic.as_deref()),
                    last_packet_id,
                };
                let opened = HubMqtt::open(dialled.stream, world.agenda.clock(), opening).await;
                let (hub, (started, finished)) =
                    opened.inspect_err(|_| Self::book_greeting(world, profile, Party::Hub, None))?;
                Self::book_greeting(world, profile, Party::Hub, Some(finished.since(started)));
                let mut hub = Box::new(hub);
                let filters = profile.chores.filters(device_id, profile.habits.hub.subscribing.qos);
                let subscribed = hub.subscribe(world.agenda.clock(), &filters, self.before).await?;
                if let Some((started, finished)) = subscribed {
                    Self::book_subscription(world, profile, finished.since(started));
                }
                Hub::Mqtt(hub)
            }
        });
        self.before = Before::Loss;
        Ok(())
    }

    async fn open_dps(
        &mut self,
        world: &World,
        profile: &Profile,
        endpoint: &Endpoint,
        host: &str,
        id_scope: &str,
    ) -> Result<Dps, Failure> {
        let dialled = self.dial(world, profile, endpoint, Party::Dps, (profile.provision, host)).await?;
        let registration_id = &self.identity.registration_id;
        let resource = sas::dps_resource(id_scope, registration_id);
        let habits = profile.habits;
        let (token, expiry) = self.dps_token(world, profile, &resource);
        let draws = self.fork();
        self.dps_token_expiry = expiry;
        if profile.provision == Protocol::Https {
            let dps = DpsHttps::new(dialled.stream, host, &token, &habits.dps, draws).await?;
            return Ok(Dps::Https(Box::new(dps)));
        }
        let opening = DpsOpening {
            id_scope,
            registration_id: &self.identity.registration_id,
            token: &token,
            keep_alive_s: habits.dps.keep_alive.map_or(profile.keep_alive_s, whole_seconds),
            habits,
            draws,
        };
        let opened = DpsMqtt::open(dialled.stream, world.agenda.clock(), opening).await;
        let (dps, opened) = opened.inspect_err(|_| Self::book_greeting(world, profile, Party::Dps, None))?;
        let (started, finished) = opened.connect;
        Self::book_greeting(world, profile, Party::Dps, Some(finished.since(started)));
        let (started, finished) = opened.subscribe;
        Self::book_subscription(world, profile, finished.since(started));
        Ok(Dps::Mqtt(Box::new(dps)))
    }

    fn book_subscription(world: &World, profile: &Profile, took: Duration) {
        world.recorder.borrow_mut().exchange(profile.population, Exchange::MqttSubscribe, took, true);
    }

    /// * `took`: `None` if it did not work
    fn book_greeting(world: &World, profile: &Profile, party: Party, took: Option<Duration>) {
        let mut books = world.recorder.borrow_mut();
        let span = took.unwrap_or_default();
        books.exchange(profile.population, Exchange::MqttConnect, span, took.is_some());
        if took.is_some() {
            books.phase(profile.population, party, Phase::Handshake, span);
        }
    }

    /// Waits until `at`, and keeps the connection to DPS alive meanwhile.
    pub(super) async fn wait(&mut self, world: &World, at: Instant) {
        if let Some(dps) = &mut self.dps {
            tokio::select! {
                biased;
                () = world.agenda.until(at) => return,
                () = dps.idle(world.agenda.clock()) => {}
            }
        }
        world.agenda.until(at).await;
    }

    /// When the hub connection has to be made anew for its token: MQTT has no other way. Somebody may have moved this machine's
    /// clock since the token was made; that is noticed when this is asked.
    pub(super) fn renewal(&self, world: &World, profile: &Profile) -> Option<Renewal> {
        if !matches!(self.hub, Some(Hub::Mqtt(_))) {
            return None;
        }
        let HubToken { expiry, margin, due } = self.hub_token;
        let moved = world.agenda.now() + left(expiry, world, profile).saturating_sub(margin);
        // A clock that was set back gives nobody more time: the service may go by another.
        let due = if moved + CLOCK_MOVED < due { moved } else { due };
        Some(Renewal { due, by: due + RENEWAL_PATIENCE.min(margin / 2) })
    }

    async fn dial(
        &mut self,
        world: &World,
        profile: &Profile,
        endpoint: &Endpoint,
        party: Party,
        (protocol, host): (Protocol, &str),
    ) -> Result<Dialled, Failure> {
        self.opening = true;
        let clock = world.agenda.clock();
        let mut dialled = world.network.dial(clock, endpoint, profile.habits.only_tls12).await?;
        if protocol == Protocol::MqttWs {
            let started = clock.now();
            let habits = profile.habits.websocket;
            let place = endpoint.to_string();
            let wanted = Wanted {
                host: if habits.names_port { &place } else { host },
                path: mqtt::WEBSOCKET_PATH,
                subprotocol: habits.subprotocol,
                origin: habits.has_origin.then_some(&*place),
            };
            dialled.stream = websocket::open(dialled.stream, &wanted).await?;
            dialled.phases.push((Phase::Upgrade, clock.now().since(started)));
        }
        self.opening = false;
        let mut books = world.recorder.borrow_mut();
        for (phase, took) in &dialled.phases {
            books.phase(profile.population, party, *phase, *took);
        }
        drop(books);
        Ok(dialled)
    }

    /// HTTPS: has the requests from now on carry another token, if the time has come.
    pub(super) fn freshen(&mut self, world: &World, profile: &Profile) -> Result<(), Failure> {
        let now = profile.skew.of(world.agenda.clock().wall());
        if !matches!(self.hub, Some(Hub::Https(_))) || self.hub_token.expiry >= now + self.hub_token.margin {
            return Ok(());
        }
        let Some(assigned) = self.assigned.clone() else { return Ok(()) };
        let token = self.hub_token(world, profile, &assigned);
        match &mut self.hub {
            Some(Hub::Https(hub)) => hub.renew(&token),
            _ => Ok(()),
        }
    }

    /// Hands message `sequence` of device `n` to the hub connection.
    pub(super) fn send(
        &mut self,
        world: &World,
        profile: &Profile,
        n: u64,
        owed: &mut Owed,
    ) -> Result<(), Failure> {
        let (Some(sending), Some(assigned)) = (&profile.sending, self.assigned.clone()) else {
            return Ok(());
        };
        let sequence = owed.sequence;
        let now = world.agenda.clock().wall();
        self.freshen(world, profile)?;
        let context = payload::Context {
            seed: world.seed,
            population: &profile.name,
            n,
            device_id: &assigned.device_id,
            registration_id: &self.identity.registration_id,
            run: &world.run_id,
            sequence,
            now: owed.goes(world.agenda.now(), profile.skew.of(now)),
        };
        let mut rendered = world.rendered.borrow_mut();
        sending.payload.render(&context, &mut rendered);
        let envelope = &sending.envelopes[rendered.kind()];
        let message = Message { sequence, rendered: &rendered, envelope, packet_id: owed.packet_id };
        world.recorder.borrow_mut().bytes_sent(profile.population, rendered.body().len() as u64);
        match &mut self.hub {
            Some(hub) => {
                let packet_id = hub.send(world.agenda.clock(), &message)?;
                if let Hub::Mqtt(hub) = hub {
                    owed.packet_id = Some(packet_id).filter(|id| *id != 0);
                    self.last_packet_id = hub.last_packet_id();
                }
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// DPS is not needed any more.
    pub(super) fn leave_dps(&mut self, clock: &Clock) {
        self.operation = None;
        self.close_dps(clock);
    }

    fn close_dps(&mut self, clock: &Clock) {
        if let Some(dps) = self.dps.take() {
            // In a task of its own: the device has its hub to connect to.
            let clock = clock.clone();
            tokio::task::spawn_local(
                async move { clock.until(clock.now() + super::FAREWELL, dps.close()).await },
            );
        }
    }

    /// The hub connection is of no use any more.
    pub(super) fn drop_hub(&mut self) {
        self.hub = None;
    }

    fn hub_token(&mut self, world: &World, profile: &Profile, assigned: &Assigned) -> Secret {
        let resource = sas::hub_resource(assigned.hub.raw(), &assigned.device_id);
        let habits = &profile.habits.hub;
        let form = if profile.connect == Protocol::Https { habits.http_token } else { habits.token };
        let expiry = whole(profile.skew.of(world.agenda.clock().wall()) + profile.token.lifetime);
        let token = form.token(&self.identity.device_key().signing(), &resource, expiry);
        let TokenLife { renew_before, jitter, .. } = profile.token;
        let margin = renew_before + jitter.mul_f64(self.fork().unit());
        let due = world.agenda.now() + left(expiry, world, profile).saturating_sub(margin);
        self.hub_token = HubToken { expiry, margin, due };
        token
    }

    fn dps_token(&self, world: &World, profile: &Profile, resource: &str) -> (Secret, UnixTime) {
        let habits = &profile.habits.dps;
        let mut expiry = profile.skew.of(world.agenda.clock().wall()) + profile.token.dps_lifetime;
        if habits.rounds_expiry_up {
            expiry = expiry + ALMOST_A_SECOND;
        }
        let expiry = whole(expiry);
        (habits.token.token(&self.identity.device_key().signing(), resource, expiry), expiry)
    }

    /// A stream of its own for one purpose.
    fn fork(&mut self) -> rng::Stream {
        let (seed, count) = &mut self.forks;
        *count += 1;
        rng::stream(*seed, "", u64::from(*count), Purpose::Client)
    }
}

/// Rounds up what is cut to whole seconds.
const ALMOST_A_SECOND: Duration = Duration::from_nanos(999_999_999);

/// A token says whole seconds.
fn whole(expiry: UnixTime) -> UnixTime {
    UnixTime::from_nanos(expiry.seconds() * 1_000_000_000)
}

/// Of a keep-alive.
fn whole_seconds(keep_alive: Duration) -> u16 {
    u16::try_from(keep_alive.as_secs()).unwrap_or(u16::MAX)
}

/// What comes of `work`, if that is there within `limit`. It should be small: it is held twice.
async fn within<T>(clock: &Clock, limit: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => clock.until(clock.now() + limit, work).await,
        None => Some(work.await),
    }
}

/// How long a token is good for, by the device's clock.
fn left(expiry: UnixTime, world: &World, profile: &Profile) -> Duration {
    let wall = profile.skew.of(world.agenda.clock().wall());
    Duration::from_nanos(expiry.nanos().saturating_sub(wall.nanos()))
}
