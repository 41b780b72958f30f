//! TLS of ours against tokio-rustls, which moves the same bytes in another way.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::super::accept::server_config;
use super::super::failure::classify;
use super::*;
use crate::step::Class;
use crate::time::{Clock, simulate};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

type Client = Tls<UnbufferedClientConnection, DuplexStream>;
type Server = Tls<UnbufferedServerConnection, DuplexStream>;

/// Both sides' settings, for a server called `localhost`.
fn settings(version: &'static SupportedProtocolVersion) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    (
        trusting(version, cert.der().clone()),
        server_config(vec![cert.into()], key, 0).expect("they belong together"),
    )
}

fn trusting(version: &'static SupportedProtocolVersion, root: CertificateDer<'static>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn name() -> ServerName<'static> {
    "localhost".try_into().expect("a name")
}

async fn client(config: Arc<ClientConfig>, io: DuplexStream) -> io::Result<Client> {
    Tls::handshake(UnbufferedClientConnection::new(config, name()).expect("a session"), io).await
}

async fn server(config: Arc<ServerConfig>, io: DuplexStream) -> io::Result<Server> {
    Tls::handshake(UnbufferedServerConnection::new(config).expect("a session"), io).await
}

/// Sends back what comes, until the end, and says good-bye.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut room = [0; 3_000];
    loop {
        match stream.read(&mut room).await.expect("the peer says good-bye") {
            0 => break,
            count => {
                stream.write_all(&room[..count]).await.expect("the peer reads");
                stream.flush().await.expect("the peer reads");
            }
        }
    }
    stream.shutdown().await.expect("the peer waits for it");
}

/// Sends `sizes` messages, each once the one before has come back, and sees the end.
async fn converse(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), sizes: &[usize]) {
    for &size in sizes {
        let message: Vec<u8> = (0..size).map(|n| (n / 251 + n) as u8).collect();
        let mut back = vec![0; size];
        let (mut reading, mut writing) = tokio::io::split(&mut *stream);
        let write = async {
            writing.write_all(&message).await.expect("the peer reads");
            writing.flush().await.expect("the peer reads");
        };
        tokio::join!(write, async { reading.read_exact(&mut back).await.expect("it comes back") });
        assert!(back == message, "{size} bytes came back as others");
    }
    stream.shutdown().await.expect("the peer is there");
    assert_eq!(stream.read(&mut [0; 8]).await.expect("the peer says good-bye"), 0);
}

#[test]
fn messages_of_any_size_go_both_ways_however_the_bytes_are_cut() {
    const SIZES: &[usize] = &[1, 2, 300, 16_383, 16_384, 16_385, 70_000];
    let done = simulate(|_| async {
        for version in VERSIONS {
            for pipe in [7, 1_000, 100_000] {
                let sizes = if pipe == 7 { &SIZES[..5] } else { SIZES };
                let (for_client, for_server) = settings(version);

                let (near, far) = duplex(pipe);
                let accepting = tokio_rustls::TlsAcceptor::from(Arc::clone(&for_server)).accept(far);
                let theirs =
                    tokio::task::spawn_local(async { echo(accepting.await.expect("a session")).await });
                let mut ours = client(Arc::clone(&for_client), near).await.expect("a session");
                converse(&mut ours, sizes).await;
                theirs.await.expect("no panic");

                let (near, far) = duplex(pipe);
                let accepting = server(Arc::clone(&for_server), far);
                let ours =
                    tokio::task::spawn_local(async { echo(accepting.await.expect("a session")).await });
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(&for_client));
                let mut theirs = connector.connect(name(), near).await.expect("a session");
                converse(&mut theirs, sizes).await;
                ours.await.expect("no panic");
            }
        }
    });
    done.expect("no task is left waiting");
}

/// Two connected sessions of ours.
async fn pair(version: &'static SupportedProtocolVersion, pipe: usize) -> (Client, Server) {
    let (for_client, for_server) = settings(version);
    let (near, far) = duplex(pipe);
    let (near, far) = tokio::join!(client(for_client, near), server(for_server, far));
    (near.expect("a session"), far.expect("a session"))
}

#[test]
fn an_idle_connection_keeps_no_buffer() {
    fn kept<S, I>(tls: &Tls<S, I>) -> usize {
        tls.incoming.capacity() + tls.plain.capacity() + tls.outgoing.capacity()
    }
    let done = simulate(|_| async {
        for version in VERSIONS {
            // Small enough that records come in parts and wait to be written.
            let (mut near, mut far) = pair(version, 500).await;
            assert_eq!((kept(&near), kept(&far)), (0, 0));
            let mut back = [0; 2_000];
            let write = async {
                near.write_all(&[1; 2_000]).await.expect("it is read");
                near.flush().await.expect("it is read");
            };
            tokio::join!(write, async { far.read_exact(&mut back).await.expect("it comes") });
            assert_eq!((kept(&near), kept(&far)), (0, 0));
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn an_end_without_a_farewell_is_told_from_one_with_it() {
    let done = simulate(|_| async {
        for version in VERSIONS {
            let (mut near, mut far) = pair(version, 10_000).await;
            near.write_all(b"last words").await.expect("room");
            near.shutdown().await.expect("room");
            drop(near);
            let mut text = String::new();
            far.read_to_string(&mut text).await.expect("a farewell");
            assert_eq!(text, "last words");

            let (near, mut far) = pair(version, 10_000).await;
            drop(near);
            let error = far.read(&mut [0; 8]).await.expect_err("no farewell");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(classify(&error).class, Class::Closed);
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn what_was_half_closed_can_still_be_written_and_what_we_closed_cannot() {
    let done = simulate(|_| async {
        let (mut near, mut far) = pair(VERSIONS[1], 10_000).await;
        near.shutdown().await.expect("room");
        assert_eq!(far.read(&mut [0; 8]).await.expect("a farewell"), 0);
        far.write_all(b"still here").await.expect("room");
        far.shutdown().await.expect("room");
        let mut text = String::new();
        near.read_to_string(&mut text).await.expect("a farewell");
        assert_eq!(text, "still here");
        let error = near.write(b"more").await.expect_err("we said that nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_peer_may_change_its_keys() {
    let done = simulate(|_| async {
        let (for_client, for_server) = settings(VERSIONS[1]);
        let (near, far) = duplex(10_000);
        let accepting = tokio_rustls::TlsAcceptor::from(for_server).accept(far);
        let (near, far) = tokio::join!(client(for_client, near), accepting);
        let (mut near, mut far) = (near.expect("a session"), far.expect("a session"));
        for _ in 0..3 {
            // It asks us to change ours too.
            far.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
            far.write_all(b"ping").await.expect("room");
            far.flush().await.expect("room");
            let mut read = [0; 4];
            near.read_exact(&mut read).await.expect("it comes");
            near.write_all(b"pong").await.expect("room");
            far.read_exact(&mut read).await.expect("it comes");
            assert_eq!(&read, b"pong");
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_server_that_is_not_trusted_is_told_so_and_the_reason_is_ours_to_read() {
    let done = simulate(|_| async {
        for version in VERSIONS {
            let (_, for_server) = settings(version);
            let (stranger, _) = settings(version);
            let (near, far) = duplex(10_000);
            let accepting = tokio_rustls::TlsAcceptor::from(for_server).accept(far);
            let (near, far) = tokio::join!(client(stranger, near), accepting);
            let failure = classify(&near.err().expect("nobody vouches for it"));
            assert!(
                matches!(failure.class, Class::UntrustedCertificate | Class::InvalidCertificate),
                "{failure:?}"
            );
            let told = far.expect_err("the client left").to_string();
            assert!(told.contains("alert"), "{told}");
        }
    });
    done.expect("no task is left waiting");
}

#[test]
fn slices_that_are_written_together_are_one_record() {
    let done = simulate(|_| async {
        let (for_client, for_server) = settings(VERSIONS[1]);
        let (near, far) = duplex(100_000);
        let (near, far) = tokio::join!(client(for_client, near), server(for_server, far));
        let (mut near, mut far) = (near.expect("a session"), far.expect("a session").io);
        assert!(near.is_write_vectored());
        let slices = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(&[7; 300])];
        assert_eq!(near.write_vectored(&slices).await.expect("room"), 304);
        let mut record = vec![0; 1_000];
        // Header, what it is, and the tag.
        assert_eq!(far.read(&mut record).await.expect("it comes"), 304 + 5 + 1 + 16);
        let slices = [IoSlice::new(&[1; RECORD - 1]), IoSlice::new(b"more than fits")];
        assert_eq!(near.write_vectored(&slices).await.expect("room"), RECORD);
    });
    done.expect("no task is left waiting");
}

#[test]
fn a_peer_that_reads_nothing_makes_the_writer_wait_with_no_more_than_a_record() {
    let done = simulate(|_| async {
        let (mut near, far) = pair(VERSIONS[1], 1_000).await;
        assert_eq!(near.write(&[1; 100_000]).await.expect("it waits here"), RECORD);
        let waits = std::future::poll_fn(|context| {
            Poll::Ready(Pin::new(&mut near).poll_write(context, &[1; 100_000]).is_pending())
        });
        assert!(waits.await);
        assert!(near.outgoing.len() <= RECORD + OVERHEAD);
        drop(far);
        let error = near.write(&[1]).await.expect_err("nobody will read it");
        assert_eq!(classify(&error).class, Class::Reset);
    });
    done.expect("no task is left waiting");
}

/// Passes bytes on until `end`, with byte `at` replaced.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    at: usize,
    by: u8,
    end: usize,
) {
    let mut passed = 0;
    let mut room = [0; 700];
    while passed < end {
        let wanted = room.len().min(end - passed);
        let Ok(count @ 1..) = from.read(&mut room[..wanted]).await else { break };
        if (passed..passed + count).contains(&at) {
            room[at - passed] ^= by;
        }
        if to.write_all(&room[..count]).await.is_err() {
            break;
        }
        passed += count;
    }
}

/// How a handshake and one message each way end, with what goes to the client and to the server tampered with.
async fn tampered(
    clock: &Clock,
    settings: &(Arc<ClientConfig>, Arc<ServerConfig>),
    (to_client, to_server, by): (usize, usize, u8),
    (end_client, end_server): (usize, usize),
) -> bool {
    let (near, near_far) = duplex(100_000);
    let (far, far_near) = duplex(100_000);
    let (from_client, into_client) = tokio::io::split(near_far);
    let (from_server, into_server) = tokio::io::split(far_near);
    let one = async {
        let mut tls = client(Arc::clone(&settings.0), near).await?;
        tls.write_all(b"question").await?;
        tls.flush().await?;
        let mut answer = [0; 6];
        tls.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"answer");
        io::Result::Ok(())
    };
    let other = async {
        let mut tls = server(Arc::clone(&settings.1), far).await?;
        let mut question = [0; 8];
        tls.read_exact(&mut question).await?;
        assert_eq!(&question, b"question");
        tls.write_all(b"answer").await?;
        tls.shutdown().await
    };
    let there = pass_on(from_client, into_server, to_server, by, end_server);
    let back = pass_on(from_server, into_client, to_client, by, end_client);
    // Whoever gives up closes its end, so that the others end too.
    // A length that was changed makes a side wait for what never comes; whoever dials or accepts bounds that.
    let deadline = clock.now() + Duration::from_secs(10);
    let (one, other) = (Box::pin(one), Box::pin(other));
    let ended = clock.until(deadline, async { tokio::join!(one, other, there, back) }).await;
    ended.is_some_and(|(one, other, ..)| one.is_ok() && other.is_ok())
}

#[test]
fn whatever_is_changed_or_left_out_no_message_is_altered() {
    const NEVER: usize = usize::MAX;
    let done = simulate(|clock| async move {
        for version in VERSIONS {
            let settings = settings(version);
            assert!(tampered(&clock, &settings, (NEVER, NEVER, 0), (NEVER, NEVER)).await);
            for at in (0..900).step_by(13) {
                for by in [1, 0x80, 0xff] {
                    // Some changes do not matter, that of the version in the header of a first record for one.
                    let _ = tampered(&clock, &settings, (at, NEVER, by), (NEVER, NEVER)).await;
                    let _ = tampered(&clock, &settings, (NEVER, at, by), (NEVER, NEVER)).await;
                }
            }
            for end in (0..200).step_by(3) {
                assert!(!tampered(&clock, &settings, (NEVER, NEVER, 0), (end, NEVER)).await, "cut at {end}");
                assert!(!tampered(&clock, &settings, (NEVER, NEVER, 0), (NEVER, end)).await, "cut at {end}");
            }
        }
    });
    done.expect("no task is left waiting");
}
