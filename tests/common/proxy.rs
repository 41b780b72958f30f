//! A small HTTP proxy that opens tunnels, or does what a test wants instead. It shares no code with muster.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A listening proxy; its threads end with the test's process.
pub struct Proxy {
    pub port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Opens the tunnels that it is asked for.
    pub fn open() -> Self {
        Self::answering(|head, client| {
            let target = head.split(' ').nth(1).expect("a target");
            let Ok(server) = TcpStream::connect(target) else {
                let _ = client.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nsigh");
                return;
            };
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").expect("a client");
            pump(client, &server);
        })
    }

    /// Leaves each request, its head read, to `answer`; the connection is closed when that returns.
    pub fn answering(answer: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, heard) = (Arc::new(answer), Arc::clone(&requests));
        std::thread::spawn(move || {
            for mut client in listener.incoming().map_while(Result::ok) {
                let (answer, heard) = (Arc::clone(&answer), Arc::clone(&heard));
                std::thread::spawn(move || {
                    client.set_nodelay(true).expect("a socket");
                    let Some(head) = read_head(&mut client) else { return };
                    heard.lock().expect("no thread panicked").push(head.clone());
                    answer(&head, &mut client);
                });
            }
        });
        Self { port, requests }
    }

    /// Writes `answer` to every request, byte for byte, and closes.
    pub fn saying(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::answering(move |_, client| {
            let _ = client.write_all(&answer);
        })
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no thread panicked").clone()
    }
}

fn read_head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// Carries bytes both ways until both have ended.
fn pump(client: &TcpStream, server: &TcpStream) {
    let one_way = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| one_way(client, server));
        one_way(server, client);
    });
}
