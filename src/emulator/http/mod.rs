//! The HTTPS front door: DPS's and the hub's device API on every listener; the path decides whose request it is.
//!
//! hyper parses; everything it leaves open is bounded here without its timers, by our own clock: how long a connection
//! may stay without a request, how long a body may take, and how large it may get.
//!
//! A request that a hub's queue holds waits here ([`super::throttle`]); its task does, no worker.
//!
//! A WebSocket is answered here and ends the connection's life as HTTP: whoever serves what comes through it gets it.
//!
//! A request's residence runs from the moment its head was parsed to the moment its reply is handed to hyper, the time in
//! the queue included: it ends before the answer is written, so that a client can never have seen less.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::arrivals::Arrivals;
use super::channel::StampQueue;
use super::door::Means;
use super::entrance::Entrance;
use super::ledger::{Counters, Operation};
use super::reply_body;
use super::service::Service;
use crate::net::stream::Stream;
use crate::net::websocket;
use crate::time::{Clock, Instant, UnixTime};

mod body;
mod devicebound;
mod dps;
mod dps_service;
mod hub;
mod hub_service;
mod reply;
mod route;
mod upgrade;
mod service_route;

use route::Route;

/// How long a connection may stay open without a complete request, and a reply unread.
pub const IDLE: Duration = Duration::from_secs(120);

/// How long the body of a request may take from its head on.
pub const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// Largest head of a request in bytes: a token of 2 KB and 30 properties fit several times.
const MAX_HEAD: usize = 32 * 1024;

/// The most headers of a request: 100 application properties, and what else a device sends.
const MAX_HEADERS: usize = 128;

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
    /// `Date` of the current second, so that it is written once a second.
    date: RefCell<reply::Date>,
}

/// A request that has arrived, as far as all handlers need to know it.
struct Arrival<'a> {
    front: &'a Front,
    /// Head of the request; its body has been read.
    head: &'a hyper::http::request::Parts,
    body: Bytes,
    /// The listener that was called.
    entrance: Entrance,
    /// The hub that admitted the connection, if one has.
    entered: &'a Cell<Option<usize>>,
    now: Instant,
    wall: UnixTime,
}

type Reply = Response<Full<Bytes>>;

impl Front {
    /// A front door for one worker thread.
    pub fn new(means: Means) -> Rc<Self> {
        let Means { service, clock, counters, stamps, arrivals, seed } = means;
        Rc::new(Self { service, clock, counters, stamps, arrivals, seed, date: RefCell::default() })
    }

    /// Serves one connection until it ends, whoever ends it, or becomes a WebSocket, which is then given back.
    ///
    /// * `entrance`: the listener that was called
    pub async fn serve(self: Rc<Self>, stream: Stream, entrance: Entrance) -> Option<Stream> {
        let activity = Rc::new(Activity::new(self.clock.now()));
        let service = {
            let (front, activity) = (Rc::clone(&self), Rc::clone(&activity));
            service_fn(move |request| {
                let (front, activity) = (Rc::clone(&front), Rc::clone(&activity));
                async move { Ok::<_, Infallible>(front.answer(request, entrance, &activity).await) }
            })
        };
        let mut connection = Box::pin(
            http1::Builder::new()
                .max_buf_size(MAX_HEAD)
                .max_header_size(MAX_HEAD)
                .max_headers(MAX_HEADERS)
                // It would come from the system's clock.
                .auto_date_header(false)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades(),
        );
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = activity.ended(&self.clock) => {
                self.counters.idle_closed.add(1);
                connection.as_mut().graceful_shutdown();
                self.clock.until(self.clock.now() + FAREWELL, connection).await.unwrap_or(Ok(()))
            }
        };
        if ended.is_err_and(|error| error.is_parse()) {
            self.counters.malformed.add(1);
        }
        let upgraded = activity.upgrade.take()?.await.ok()?;
        let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
        Some(websocket::accepted(parts.io.into_inner(), parts.read_buf).await)
    }

    async fn answer(&self, mut request: Request<Incoming>, entrance: Entrance, activity: &Activity) -> Reply {
        let arrived = self.clock.now();
        let _busy = activity.busy(&self.clock);
        let mut abandoned = Abandoned(Some(&self.counters));
        if let Some(until) = self.service.held_until(arrived) {
            self.clock.sleep_until(until).await;
        }
        let route = Route::of(request.uri().path());
        let upgrade = matches!(route, Route::WebSocket).then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        let id = reply_body::request_id(self.seed, head.uri.path(), arrived);
        let mut stamped = None;
        let (operation, mut reply) = match route.check_method(&head.method) {
            Err(allowed) => (Operation::Other, route.wrong_method(allowed)),
            Ok(()) => {
                let deadline = arrived.max(self.clock.now()) + BODY_DEADLINE;
                match self.clock.until(deadline, body::read(body, route.max_body())).await {
                    None => (route.operation(&head), route.refuse_body(body::BodyError::Slow)),
                    Some(Err(error)) => (route.operation(&head), route.refuse_body(error)),
                    Some(Ok(body)) => {
                        self.counters.body_bytes.add(body.len() as u64);
                        let (now, wall) = (self.clock.now(), self.clock.wall());
                        let entered = &activity.entered;
                        let arrival =
                            Arrival { front: self, head: &head, body, entrance, entered, now, wall };
                        let (reply, accepted) = match &route {
                            Route::Hub(route) => hub::handle(&arrival, route).await,
                            Route::Dps(route) => (dps::handle(&arrival, route), None),
                            Route::WebSocket => (upgrade::handle(&arrival), None),
                            Route::DpsService(call) => (dps_service::handle(&arrival, call), None),
                            Route::Receive { device_id, call } => {
                                (devicebound::handle(&arrival, device_id, call).await, None)
                            }
                            // Boxed, so that a task is not as large as what few of them do.
                            Route::HubService(call) => {
                                (Box::pin(hub_service::handle(&arrival, call)).await, None)
                            }
                            Route::Unknown => (route.unknown(), None),
                        };
                        stamped = accepted;
                        (route.operation(&head), reply)
                    }
                }
            }
        };
        reply::finish(&mut reply, &id, &mut self.date.borrow_mut(), self.clock.wall());
        self.counters.request(operation, reply.status().as_u16());
        abandoned.0 = None;
        if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
            activity.upgrade.set(upgrade);
        }
        if let (Some(stamps), Some(accepted)) = (&self.stamps, stamped) {
            accepted.stamp(stamps, arrived, self.clock.now());
        }
        reply
    }
}

impl Arrival<'_> {
    /// The token, as text.
    fn token(&self) -> Option<&str> {
        self.head.headers.get(hyper::header::AUTHORIZATION)?.to_str().ok()
    }
}

/// What is known of a connection: when it was last of use, and for what.
struct Activity {
    is_busy: Cell<bool>,
    last: Cell<Instant>,
    /// The hub that admitted it: the first on which a device proved itself over it, and another if one does later.
    entered: Cell<Option<usize>>,
    /// What it becomes, once the answer that promised it is written.
    upgrade: Cell<Option<OnUpgrade>>,
}

impl Activity {
    fn new(now: Instant) -> Self {
        Self {
            is_busy: Cell::new(false),
            last: Cell::new(now),
            entered: Cell::new(None),
            upgrade: Cell::new(None),
        }
    }

    /// Resolves when nothing was asked for [`IDLE`]. Bytes do not count, only complete requests: a client that trickles
    /// a head must not live for ever.
    async fn ended(&self, clock: &Clock) {
        loop {
            let deadline = self.last.get() + IDLE;
            if !self.is_busy.get() && clock.now() >= deadline {
                return;
            }
            // While a request is being answered, looking again after another span is enough.
            clock.sleep_until(deadline.max(clock.now() + FAREWELL)).await;
        }
    }

    fn busy<'a>(&'a self, clock: &'a Clock) -> Busy<'a> {
        self.is_busy.set(true);
        Busy { activity: self, clock }
    }
}

struct Busy<'a> {
    activity: &'a Activity,
    clock: &'a Clock,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.activity.is_busy.set(false);
        self.activity.last.set(self.clock.now());
    }
}

/// Counts a request that is dropped unanswered because its connection ended.
struct Abandoned<'a>(Option<&'a Counters>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.0 {
            counters.abandoned.add(1);
        }
    }
}

#[cfg(test)]
mod service_tests;
#[cfg(test)]
pub(in crate::emulator) mod tests;
