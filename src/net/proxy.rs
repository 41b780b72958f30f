//! A tunnel through an HTTP proxy: the `CONNECT` of RFC 9110, section 9.3.6.
//!
//! ```text
//! us                                      proxy
//! CONNECT hub.example:443 HTTP/1.1  --->         --->  opens a connection to the host
//!         <---  HTTP/1.1 200 Connection established
//! bytes of the tunnel               <-->         <-->  bytes of the tunnel
//! ```

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::dial::Endpoint;
use super::failure::classify;
use crate::step::{Class, Failure};
use crate::text::Secret;

/// A proxy that all connections go through. What it sees are names and ports: TLS is spoken inside the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where it is.
    pub endpoint: Endpoint,
    /// Value of `Proxy-Authorization`, if it wants one.
    authorization: Option<Secret>,
}

/// The most bytes of heads that a proxy may answer with.
const MAX_HEAD: usize = 16 * 1024;

impl Proxy {
    /// A proxy, and what it is shown.
    ///
    /// * `credentials`: `user:password`, the user without a colon (RFC 7617)
    pub fn new(endpoint: Endpoint, credentials: Option<&Secret>) -> Self {
        let basic = |credentials: &Secret| {
            let encoded = Secret::new(STANDARD.encode(credentials.expose()).into_bytes());
            Secret::new([b"Basic ", encoded.expose()].concat())
        };
        Self { endpoint, authorization: credentials.map(basic) }
    }

    /// Has the proxy connect `tcp`, which leads to it, to `target`. The caller bounds the time it may take.
    ///
    /// Of what follows the answer no byte is taken: it belongs to the tunnel.
    ///
    /// # Errors
    /// [`Class::ProxyUnauthorized`], [`Class::ProxyRefused`] or [`Class::ProxyFailed`] for its answer, or what the network
    /// did. What the proxy wrote is not repeated: it was shown a password.
    pub(super) async fn open(&self, tcp: &mut TcpStream, target: &Endpoint) -> Result<(), Failure> {
        let request = self.request(target);
        tcp.write_all(request.expose()).await.map_err(|error| self.told(&classify(&error)))?;
        drop(request);
        let mut left = MAX_HEAD;
        loop {
            let head = self.head(tcp, left).await?;
            match judge(&head).map_err(|failure| self.told(&failure))? {
                Answer::Connected => return Ok(()),
                Answer::Interim => left -= head.len(),
            }
        }
    }

    fn request(&self, target: &Endpoint) -> Secret {
        // Large enough for all of it: a vector that grows leaves copies of the password behind.
        let secret = self.authorization.as_ref().map_or(&[][..], Secret::expose);
        let mut request = Vec::with_capacity(700 + secret.len());
        let _ = write!(request, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if !secret.is_empty() {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(secret);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        Secret::new(request)
    }

    /// The next head, of at most `limit` bytes, and not a byte more.
    async fn head(&self, tcp: &mut TcpStream, limit: usize) -> Result<Vec<u8>, Failure> {
        let lost = |error| self.told(&classify(&error));
        let mut head = vec![0; 1_024.min(limit)];
        let mut taken = 0;
        loop {
            if taken == head.len() {
                if taken == limit {
                    let text = format!("its answer has more than {MAX_HEAD} bytes of head");
                    return Err(self.told(&Failure::new(Class::ProxyFailed, &text)));
                }
                head.resize((2 * taken).min(limit), 0);
            }
            // Looked at before it is taken, for nobody could give bytes of the tunnel back.
            let seen = tcp.peek(&mut head[taken..]).await.map_err(lost)?;
            if seen == 0 {
                let text = if taken == 0 { "closed before its answer" } else { "closed within its answer" };
                return Err(self.told(&Failure::new(Class::Closed, text)));
            }
            let end = end_of_head(&head[..taken + seen], taken);
            let upto = end.unwrap_or(taken + seen);
            tcp.read_exact(&mut head[taken..upto]).await.map_err(lost)?;
            taken = upto;
            if end.is_some() {
                head.truncate(taken);
                return Ok(head);
            }
        }
    }

    /// A failure with the proxy's name before what happened there.
    pub(super) fn told(&self, failure: &Failure) -> Failure {
        Failure::new(failure.class, &format!("proxy {}: {}", self.endpoint, failure.detail.raw()))
    }
}

/// What a head means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The tunnel is open.
    Connected,
    /// The answer is still to come (1xx).
    Interim,
}

/// Where the first empty line of `bytes` ends, the first `known` bytes holding none. A line may end without a CR.
pub(crate) fn end_of_head(bytes: &[u8], known: usize) -> Option<usize> {
    let from = known.saturating_sub(2);
    (from..bytes.len()).find_map(|at| match bytes[at..] {
        [b'\n', b'\n', ..] => Some(at + 2),
        [b'\n', b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Judges a head by its status; the fields of an answer to `CONNECT` mean nothing to us.
fn judge(head: &[u8]) -> Result<Answer, Failure> {
    let Some(status) = status(head) else {
        return Err(Failure::new(Class::ProxyFailed, "its answer is not HTTP"));
    };
    let class = match status {
        200..=299 => return Ok(Answer::Connected),
        // Changing to another protocol is an answer to something that was not asked.
        101 => Class::ProxyFailed,
        100..=199 => return Ok(Answer::Interim),
        407 => Class::ProxyUnauthorized,
        408 | 425 | 429 => Class::ProxyFailed,
        300..=499 => Class::ProxyRefused,
        _ => Class::ProxyFailed,
    };
    let reason = hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    Err(Failure::new(class, format!("it answered {status} {}", reason.unwrap_or_default()).trim_end()))
}

/// The status of a head that begins as HTTP/1 does.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9', b' ', status @ ..] => {
            let (code, rest) = status.split_at_checked(3)?;
            let separate = rest.first().is_none_or(|byte| *byte == b' ');
            let digits = separate && code.iter().all(u8::is_ascii_digit);
            std::str::from_utf8(code).ok().filter(|_| digits)?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_class() {
        for (head, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(Answer::Connected)),
            ("HTTP/1.0 200\n\n", Ok(Answer::Connected)),
            ("HTTP/1.1 204 \r\nContent-Length: 9\r\n\r\n", Ok(Answer::Connected)),
            ("HTTP/1.1 100 Continue\r\n\r\n", Ok(Answer::Interim)),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Err(Class::ProxyFailed)),
            ("HTTP/1.1 407 Who are you\r\n\r\n", Err(Class::ProxyUnauthorized)),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", Err(Class::ProxyRefused)),
            ("HTTP/1.1 302 Found\r\nLocation: http://portal.example\r\n\r\n", Err(Class::ProxyRefused)),
            ("HTTP/1.1 429 Slow down\r\n\r\n", Err(Class::ProxyFailed)),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", Err(Class::ProxyFailed)),
            ("HTTP/1.1 999 ?\r\n\r\n", Err(Class::ProxyFailed)),
            ("HTTP/1.1 2000 OK\r\n\r\n", Err(Class::ProxyFailed)),
            ("HTTP/1.1 +20 OK\r\n\r\n", Err(Class::ProxyFailed)),
            ("HTTP/1.1 20\r\n\r\n", Err(Class::ProxyFailed)),
            ("HTTP/2 200 OK\r\n\r\n", Err(Class::ProxyFailed)),
            ("SSH-2.0-x\n\n", Err(Class::ProxyFailed)),
            ("\r\n\r\n", Err(Class::ProxyFailed)),
        ] {
            assert_eq!(judge(head.as_bytes()).map_err(|failure| failure.class), expected, "{head:?}");
        }
        let refused = judge(b"HTTP/1.1 407 dTpw\r\n\r\n").expect_err("a refusal").detail.terminal();
        assert_eq!(refused, "it answered 407 Proxy Authentication Required", "in our words, not in theirs");
    }

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut() {
        for (text, end) in [("a\r\nb\r\n\r\nrest\r\n\r\n", 8), ("a\n\nrest", 3), ("a\n\r\nrest", 4)] {
            for known in 0..end {
                assert_eq!(end_of_head(&text.as_bytes()[..end - 1], known), None, "{text:?} {known}");
                assert_eq!(end_of_head(text.as_bytes(), known), Some(end), "{text:?} {known}");
            }
        }
        assert_eq!(end_of_head(b"a\r\r\n", 0), None);
    }

    #[test]
    fn credentials_are_in_the_request_and_in_nothing_that_is_shown() {
        let endpoint = |text| Endpoint::parse(text, 0).expect("an endpoint");
        let credentials = Secret::new(b"aladdin:open sesame".to_vec());
        let proxy = Proxy::new(endpoint("proxy.example:3128"), Some(&credentials));
        // The example of RFC 7617, with its user in lower case.
        assert_eq!(
            proxy.request(&endpoint("[::1]:443")).expose_text(),
            Some(
                "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\
                 Proxy-Authorization: Basic YWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
            )
        );
        let shown = format!("{proxy:?}");
        assert!(
            !shown.contains("aladdin") && !shown.contains("YWxh") && !shown.contains("89, 87"),
            "{shown}"
        );
        let open = Proxy::new(endpoint("proxy.example:3128"), None);
        assert_eq!(
            open.request(&endpoint("a.b:1")).expose_text(),
            Some("CONNECT a.b:1 HTTP/1.1\r\nHost: a.b:1\r\n\r\n")
        );
    }

    /// What comes of a proxy that writes `parts`, one after the other, and of what is read from the tunnel then.
    async fn opened(parts: Vec<Vec<u8>>) -> Result<Vec<u8>, Failure> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = async move {
            let (mut tcp, _) = listener.accept().await.expect("a connection");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(tcp.read_u8().await.expect("a request"));
            }
            for part in parts {
                let _ = tcp.write_all(&part).await;
                let _ = tcp.flush().await;
                tokio::task::yield_now().await;
            }
            let _ = tcp.shutdown().await;
            let _ = tcp.read(&mut [0; 64]).await;
        };
        let client = async {
            let mut tcp = TcpStream::connect(address).await.expect("it listens");
            tcp.set_nodelay(true).expect("a socket");
            let proxy = Proxy::new(Endpoint { host: "127.0.0.1".into(), port: address.port() }, None);
            proxy.open(&mut tcp, &Endpoint { host: "hub.example".into(), port: 443 }).await?;
            let mut rest = Vec::new();
            tcp.read_to_end(&mut rest).await.expect("the tunnel");
            Ok(rest)
        };
        let ((), opened) = tokio::join!(server, client);
        opened
    }

    #[tokio::test]
    async fn bytes_behind_the_head_belong_to_the_tunnel() {
        let answer =
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntunnel\r\n\r\n";
        assert_eq!(opened(vec![answer.to_vec()]).await, Ok(b"tunnel\r\n\r\n".to_vec()));
        let drop_by_drop = answer.iter().map(|byte| vec![*byte]).collect();
        assert_eq!(opened(drop_by_drop).await, Ok(b"tunnel\r\n\r\n".to_vec()));
    }

    #[tokio::test]
    async fn heads_without_an_end_are_given_up() {
        let long = |length: usize| {
            let mut head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(length)).into_bytes();
            head.truncate(length - 4);
            head.extend(b"\r\n\r\n");
            head
        };
        assert_eq!(opened(vec![long(MAX_HEAD)]).await, Ok(Vec::new()));
        let class = |opened: Result<_, Failure>| opened.map_err(|failure| failure.class);
        assert_eq!(class(opened(vec![long(MAX_HEAD + 1)]).await), Err(Class::ProxyFailed));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000);
        assert_eq!(class(opened(vec![interim]).await), Err(Class::ProxyFailed));
    }

    #[tokio::test]
    async fn a_proxy_that_closes_is_told_by_its_name() {
        for parts in [vec![], vec![b"HTTP/1.1 200 OK\r\n".to_vec()]] {
            let failure = opened(parts).await.expect_err("no tunnel");
            assert_eq!(failure.class, Class::Closed);
            assert!(failure.detail.terminal().starts_with("proxy 127.0.0.1:"), "{failure:?}");
        }
    }
}
