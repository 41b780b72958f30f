//! The connections of one device, and the tokens it shows on them.

use std::rc::Rc;
use std::time::Duration;

use super::dps::https::{DpsHttps, Exchanged};
use super::dps::{Answer, Assigned};
use super::hub::Message;
use super::hub::https::HubHttps;
use super::life::{Call, Happened};
use super::world::{Identity, Profile, Route, World};
use crate::azure::sas;
use crate::net::dial::{Dialled, Endpoint};
use crate::payload;
use crate::step::{Class, Exchange, Failure, Party};
use crate::text::Secret;
use crate::time::{Clock, Instant, UnixTime};

/// Lifetime of tokens, as the SDKs have it.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);

/// A token is replaced when less than this is left of it.
const TOKEN_MARGIN: Duration = Duration::from_secs(300);

/// The connections of one device.
pub(super) struct Link {
    identity: Identity,
    dps: Option<DpsHttps>,
    operation: Option<String>,
    /// What DPS assigned, or the hub target's own.
    pub(super) assigned: Option<Rc<Assigned>>,
    hub_endpoint: Option<Endpoint>,
    hub_token_expiry: UnixTime,
    pub(super) hub: Option<HubHttps>,
    /// When DPS last answered.
    answered: Option<Instant>,
    /// Whether the call under way still opens its connection.
    opening: bool,
}

impl Link {
    pub(super) fn new(identity: Identity, route: &Route) -> Self {
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
            operation: None,
            assigned,
            hub_endpoint,
            hub_token_expiry: UnixTime::from_nanos(0),
            hub: None,
            answered: None,
            opening: false,
        }
    }

    /// Makes a call. When it fails, its connection is dropped.
    pub(super) async fn call(&mut self, world: &World, profile: &Profile, call: Call) -> Happened {
        let called = match call {
            Call::Register | Call::Poll => self.ask_dps(world, profile, call).await,
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

    async fn ask_dps(&mut self, world: &World, profile: &Profile, call: Call) -> Result<Happened, Failure> {
        let Route::Dps { endpoint, host, id_scope, hubs } = &profile.route else {
            return Err(Failure::new(Class::OtherIo, "this population has no DPS"));
        };
        if !self.dps.as_mut().is_some_and(DpsHttps::is_open) {
            let dialled = self.dial(world, profile, endpoint, Party::Dps).await?;
            let resource = sas::dps_resource(id_scope, &self.identity.registration_id);
            let (token, _) = self.token(world, &resource, Some(sas::REGISTRATION_POLICY));
            self.dps = Some(DpsHttps::new(dialled.stream, host, &token).await?);
        }
        let clock = world.agenda.clock();
        if let (Call::Poll, Some(answered)) = (call, self.answered) {
            let waited = clock.now().since(answered);
            world.recorder.borrow_mut().poll_wait(profile.population, waited);
        }
        let dps = self.dps.as_mut().expect("was opened above");
        let (exchange, Exchanged { result, span }) = match (call, &self.operation) {
            (Call::Poll, Some(operation)) => (
                Exchange::DpsPoll,
                dps.poll(clock, id_scope, &self.identity.registration_id, operation).await,
            ),
            _ => (Exchange::DpsPut, dps.register(clock, id_scope, &self.identity.registration_id).await),
        };
        if let Some((started, finished)) = span {
            self.answered = Some(finished);
            let took = finished.since(started);
            world.recorder.borrow_mut().exchange(profile.population, exchange, took, result.is_ok());
        }
        match result? {
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
        let dialled = self.dial(world, profile, &endpoint, Party::Hub).await?;
        let token = self.hub_token(world, &assigned);
        self.hub =
            Some(HubHttps::new(dialled.stream, assigned.hub.raw(), &assigned.device_id, &token).await?);
        Ok(())
    }

    async fn dial(
        &mut self,
        world: &World,
        profile: &Profile,
        endpoint: &Endpoint,
        party: Party,
    ) -> Result<Dialled, Failure> {
        self.opening = true;
        let dialled = world.network.dial(world.agenda.clock(), endpoint).await?;
        self.opening = false;
        let mut books = world.recorder.borrow_mut();
        for (phase, took) in &dialled.phases {
            books.phase(profile.population, party, *phase, *took);
        }
        drop(books);
        Ok(dialled)
    }

    /// Hands message `sequence` of device `n` to the hub connection.
    pub(super) fn send(
        &mut self,
        world: &World,
        profile: &Profile,
        n: u64,
        sequence: u64,
    ) -> Result<(), Failure> {
        let (Some(sending), Some(assigned)) = (&profile.sending, self.assigned.clone()) else {
            return Ok(());
        };
        let now = world.agenda.clock().wall();
        if self.hub_token_expiry < now + TOKEN_MARGIN {
            let token = self.hub_token(world, &assigned);
            if let Some(hub) = &mut self.hub {
                hub.renew(&token)?;
            }
        }
        let context = payload::Context {
            seed: world.seed,
            population: &profile.name,
            n,
            device_id: &assigned.device_id,
            registration_id: &self.identity.registration_id,
            run: &world.run_id,
            sequence,
            now,
        };
        let mut rendered = world.rendered.borrow_mut();
        sending.payload.render(&context, &mut rendered);
        let message =
            Message { sequence, rendered: &rendered, envelope: &sending.envelopes[rendered.kind()] };
        world.recorder.borrow_mut().bytes_sent(profile.population, rendered.body().len() as u64);
        match &mut self.hub {
            Some(hub) => hub.send(world.agenda.clock(), &message),
            None => Ok(()),
        }
    }

    /// DPS is not needed any more.
    pub(super) fn leave_dps(&mut self, clock: &Clock) {
        self.operation = None;
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

    fn hub_token(&mut self, world: &World, assigned: &Assigned) -> Secret {
        let resource = sas::hub_resource(assigned.hub.raw(), &assigned.device_id);
        let (token, expiry) = self.token(world, &resource, None);
        self.hub_token_expiry = expiry;
        token
    }

    fn token(&self, world: &World, resource: &str, policy: Option<&str>) -> (Secret, UnixTime) {
        let expiry = world.agenda.clock().wall() + TOKEN_LIFETIME;
        let key = self.identity.device_key().signing();
        (sas::token(&key, resource, sas::ResourceSpelling::default(), expiry, policy), expiry)
    }
}
