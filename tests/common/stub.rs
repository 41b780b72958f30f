//! A server that says what a test wants it to, over TLS or not. It shares no code with muster.

use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A listening server; its threads end with the test's process.
pub struct Stub {
    pub port: u16,
    /// The certificate to trust, as PEM.
    pub ca_pem: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// Serves HTTPS as `localhost`. `answer` is given the request's head and its number from 0, and gives what to write, byte
    /// for byte; nothing at all means that there is no answer, ever.
    pub fn https(answer: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::https_as("localhost", answer)
    }

    /// The same with a certificate for another name.
    pub fn https_as(name: &str, answer: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let signed = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .expect("key and certificate match");
        let (config, answer, number) = (Arc::new(config), Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&requests);
        let port = listen(move |tcp| {
            let Ok(session) = ServerConnection::new(Arc::clone(&config)) else { return };
            let mut stream = BufReader::new(StreamOwned::new(session, tcp));
            while let Some(head) = read_request(&mut stream) {
                heard.lock().expect("no thread panicked").push(head.clone());
                let bytes = answer(&head, number.fetch_add(1, Ordering::SeqCst));
                if bytes.is_empty() {
                    silence();
                }
                let stream = stream.get_mut();
                if stream.write_all(&bytes).and_then(|()| stream.flush()).is_err() {
                    return;
                }
            }
        });
        Self { port, ca_pem: signed.cert.pem(), requests }
    }

    /// Listens without TLS, and leaves each connection to `serve`.
    pub fn tcp(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self { port: listen(serve), ca_pem: String::new(), requests: Arc::default() }
    }

    /// Takes connections and says nothing.
    pub fn silent() -> Self {
        Self::tcp(|_connection| silence())
    }

    /// The heads of all requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no thread panicked").clone()
    }
}

/// For ever, or what comes to the same in a test.
fn silence() -> ! {
    loop {
        std::thread::park();
    }
}

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(connection));
        }
    });
    port
}

/// The head of the next request, its body read and thrown away; `None` at the end.
fn read_request(stream: &mut impl std::io::BufRead) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    std::io::copy(&mut stream.take(length), &mut std::io::sink()).ok()?;
    Some(head)
}

/// An answer with a body of JSON.
pub fn json(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}")
        .into_bytes()
}

/// DPS assigns the device of the request to `hub`.
pub fn assigned(hub: &str) -> Vec<u8> {
    let state = serde_json::json!({
        "registrationId": "any", "deviceId": "any", "assignedHub": hub,
        "status": "assigned", "substatus": "initialAssignment",
    });
    let body =
        serde_json::json!({ "operationId": "5.1.2", "status": "assigned", "registrationState": state });
    json("200 OK", "", &body.to_string())
}

/// A port of this machine on which nobody listens.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Two ports in a row on which nobody listens.
pub fn free_port_pair() -> (u16, u16) {
    let pairs = (0..100).filter_map(|_| free_port().checked_add(1));
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let next = pairs.into_iter().find(is_free).expect("a free pair");
    (next - 1, next)
}

/// Devices that go straight to a hub over HTTPS, to send two messages each.
pub fn at_hub(port: u16) -> String {
    format!(
        r#"
version = 1
seed = 7
drain = "1s"
[target]
kind = "hub"
host = "localhost:{port}"
ca_file = "ca.pem"
[enrollment.plant]
group_key = {{ env = "GROUP_KEY" }}
[fleet.devices]
count = 5
connect = "https"
start.burst = {{}}
deadline = {{ register = "1s", connect = "1s", send = "1s" }}
[fleet.devices.telemetry]
every = "100ms"
messages = 2
"#
    )
}
