//! One worker thread: it accepts for itself on every listener, and leads each connection to the door.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::arrivals::Arrivals;
use super::channel::StampQueue;
use super::connect_front::ConnectFront;
use super::door::{Door, Means};
use super::drive::Drive;
use super::entrance::Entrance;
use super::ledger::Counters;
use super::service::Service;
use crate::net::accept::Acceptor;
use crate::net::stream::Stream;
use crate::time::Clock;

/// What one worker thread needs.
pub(super) struct Worker {
    pub(super) listeners: Vec<(TcpListener, Behind)>,
    pub(super) tls: Arc<ServerConfig>,
    pub(super) clock: Clock,
    pub(super) service: Arc<Service>,
    pub(super) counters: Arc<Counters>,
    pub(super) stamps: Option<Arc<StampQueue>>,
    pub(super) arrivals: Option<Arc<Arrivals>>,
    pub(super) seed: u64,
    /// What this thread makes for all.
    pub(super) drive: Drive,
    pub(super) stopping: watch::Receiver<bool>,
}

/// What stands behind a listener.
#[derive(Clone)]
pub(super) enum Behind {
    /// TLS, and the door.
    Door(Entrance),
    /// Tunnels that lead there.
    Front(Arc<ConnectFront>),
}

impl Worker {
    /// Starts the thread and waits until it accepts.
    pub(super) fn start(self, index: usize) -> io::Result<JoinHandle<()>> {
        let (started, is_started) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("emulator-{index}")).spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
            match runtime {
                Ok(runtime) => runtime.block_on(self.run(&started)),
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        is_started.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended early")))?;
        Ok(thread)
    }

    async fn run(mut self, started: &mpsc::Sender<io::Result<()>>) {
        if !self.drive.is_none() {
            let (drive, service, clock) = (self.drive, Arc::clone(&self.service), self.clock.clone());
            tokio::task::spawn_local(async move { drive.run(&service, &clock).await });
        }
        let door = Door::new(Means {
            service: self.service,
            clock: self.clock.clone(),
            counters: Arc::clone(&self.counters),
            stamps: self.stamps,
            arrivals: self.arrivals,
            seed: self.seed,
        });
        for (listener, behind) in self.listeners {
            let acceptor = match Acceptor::new(listener, Arc::clone(&self.tls), self.clock.clone()) {
                Ok(acceptor) => Rc::new(acceptor),
                Err(error) => return drop(started.send(Err(error))),
            };
            let reception = Reception {
                acceptor,
                behind,
                clock: self.clock.clone(),
                counters: Arc::clone(&self.counters),
            };
            tokio::task::spawn_local(accept_all(reception, Rc::clone(&door)));
        }
        let _ = started.send(Ok(()));
        // Ends when told to, or when nobody is left to tell. Every task ends with the runtime.
        let _ = self.stopping.wait_for(|stop| *stop).await;
    }
}

/// What one thread does with connections to one listener, until they are at the door.
#[derive(Clone)]
struct Reception {
    acceptor: Rc<Acceptor>,
    behind: Behind,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Reception {
    /// Through the front, if that is what is here, and through the handshake.
    async fn receive(self, mut connection: TcpStream) -> Option<(Stream, Entrance)> {
        let entrance = match &self.behind {
            Behind::Door(entrance) => *entrance,
            Behind::Front(front) => match front.open(&self.clock, &mut connection).await {
                Ok(entrance) => {
                    self.counters.tunnels.add(1);
                    entrance
                }
                Err(refused) => {
                    self.counters.tunnels_refused.add(1);
                    front.refuse(&self.clock, &mut connection, refused).await;
                    return None;
                }
            },
        };
        let stream = self.acceptor.handshake(connection).await;
        if stream.is_err() {
            self.counters.handshakes_failed.add(1);
        }
        stream.ok().map(|stream| (stream, entrance))
    }
}

async fn accept_all(reception: Reception, door: Rc<Door>) {
    loop {
        let connection = reception.acceptor.accept(|_| reception.counters.accept_pauses.add(1)).await;
        reception.counters.connections.add(1);
        // Boxed, so that the memory of the handshake is given back while the connection lives.
        let received = Box::pin(reception.clone().receive(connection));
        let door = Rc::clone(&door);
        tokio::task::spawn_local(async move {
            if let Some((stream, entrance)) = received.await {
                door.serve(stream, entrance).await;
            }
        });
    }
}
