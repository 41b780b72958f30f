//! A network inside the process, for simulated runs: hosts by name, streams without TLS, no loss, no delay.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::stream::Stream;

/// Bytes in flight in each direction before a writer waits.
const BUFFER: usize = 64 * 1024;

/// Connects those who dial with those who listen, by host name. Clones are the same network.
#[derive(Clone, Default)]
pub struct MemoryNetwork {
    listeners: Rc<RefCell<HashMap<String, mpsc::UnboundedSender<DuplexStream>>>>,
}

/// Accepts connections to one host name.
pub struct MemoryListener {
    incoming: mpsc::UnboundedReceiver<DuplexStream>,
}

impl MemoryNetwork {
    /// Listens as `host`, with the port if the name has one; replaces an earlier listener of that name.
    pub fn listen(&self, host: &str) -> MemoryListener {
        let (sender, incoming) = mpsc::unbounded_channel();
        self.listeners.borrow_mut().insert(host.to_owned(), sender);
        MemoryListener { incoming }
    }

    /// Connects to `host`; `None` if nobody listens there.
    pub fn dial(&self, host: &str) -> Option<Stream> {
        let listeners = self.listeners.borrow();
        let (near, far) = tokio::io::duplex(BUFFER);
        listeners.get(host)?.send(far).ok()?;
        Some(Stream::Memory(near))
    }
}

impl MemoryListener {
    /// The next connection; `None` when the network is gone.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await.map(Stream::Memory)
    }
}
