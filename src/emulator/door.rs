//! What stands behind every listener: the first byte tells who comes, and the front door of that protocol takes over.

use std::rc::Rc;
use std::sync::Arc;

use super::arrivals::Arrivals;
use super::channel::StampQueue;
use super::entrance::Entrance;
use super::http;
use super::ledger::Counters;
use super::mqtt;
use super::service::Service;
use crate::net::stream::Stream;
use crate::time::Clock;

/// Both front doors of one worker thread.
pub struct Door {
    http: Rc<http::Front>,
    mqtt: mqtt::Front,
    clock: Clock,
    counters: Arc<Counters>,
}

/// What one worker thread serves with, whatever the protocol.
#[derive(Clone)]
pub struct Means {
    /// The rules.
    pub service: Arc<Service>,
    /// The time.
    pub clock: Clock,
    /// The thread's own books.
    pub counters: Arc<Counters>,
    /// Where each message's residence goes, if anybody wants it.
    pub stamps: Option<Arc<StampQueue>>,
    /// Where it is kept which messages arrived, if anybody wants to know.
    pub arrivals: Option<Arc<Arrivals>>,
    /// Request ids come from it.
    pub seed: u64,
}

impl Door {
    /// A door for one worker thread.
    pub fn new(means: Means) -> Rc<Self> {
        let (clock, counters) = (means.clock.clone(), Arc::clone(&means.counters));
        let http = http::Front::new(means.clone());
        Rc::new(Self { http, mqtt: mqtt::Front::new(means), clock, counters })
    }

    /// Serves one connection until it ends, whoever ends it.
    ///
    /// * `entrance`: the listener that was called
    pub async fn serve(self: Rc<Self>, stream: Stream, entrance: Entrance) {
        // Who says nothing at all is given as long as an idle HTTP connection: clients open those in advance.
        let deadline = self.clock.now() + http::IDLE;
        match self.clock.until(deadline, stream.peek()).await {
            None => self.counters.idle_closed.add(1),
            Some(Err(_)) => {}
            // Boxed, so that a task is not as large as the larger of its doors.
            Some(Ok((mqtt::FIRST_BYTE, stream))) => Box::pin(self.mqtt.serve(stream, entrance)).await,
            Some(Ok((_, stream))) => {
                if let Some(stream) = Rc::clone(&self.http).serve(stream, entrance).await {
                    Box::pin(self.mqtt.serve(stream, entrance)).await;
                }
            }
        }
    }
}
