use std::io::{BufReader, Write as _};

use rustls::RootCertStore;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};

use super::*;
use crate::emulator::channel::{Command, Lines, Report, opening};
use crate::emulator::child;
use crate::emulator::fixture::*;
use crate::emulator::ledger::Operation;
use crate::net::tls::Tls;

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

async fn connect(
    ca_pem: &str,
    address: SocketAddr,
    name: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> io::Result<Client> {
    Ok(Client::over(dial(ca_pem, address, name, version).await?, name).await)
}

async fn dial(
    ca_pem: &str,
    address: SocketAddr,
    name: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> io::Result<Tls<UnbufferedClientConnection, tokio::net::TcpStream>> {
    handshake(ca_pem, tokio::net::TcpStream::connect(address).await?, name, version).await
}

async fn handshake(
    ca_pem: &str,
    tcp: tokio::net::TcpStream,
    name: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> io::Result<Tls<UnbufferedClientConnection, tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerName::try_from(name.to_owned()).expect("a name");
    let session = UnbufferedClientConnection::new(Arc::new(config), server).expect("a session");
    Tls::handshake(session, tcp).await
}

fn on_sockets<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(Default::default());
    runtime.expect("a runtime").block_on(future)
}

/// Tokens of the other tests end in 2026-01; those here are for the machine's clock.
fn late(key: &crate::azure::keys::SigningKey, resource: &str) -> String {
    token(key, resource, Default::default(), Clock::machine().wall() + seconds(60))
}

async fn register(client: &mut Client, id: &str) -> Answer {
    let token = late(&derived(PRIMARY, id), &crate::azure::sas::dps_resource(SCOPE, id));
    let path = crate::azure::dps::register_path(SCOPE, id);
    client.call(hyper::Method::PUT, &path, &[("authorization", &token)], body_of(id)).await
}

async fn send(client: &mut Client, host: &str, id: &str) -> Answer {
    let token = late(&derived(PRIMARY, id), &crate::azure::sas::hub_resource(host, id));
    client.send(id, &token, "{}").await
}

#[test]
fn a_device_registers_and_sends_over_tls_to_several_threads() {
    let mut config = immediate();
    config.stamps = true;
    let options = Options { threads: 2, ..Options::default() };
    let mut running = start(&config, &options, Clock::machine()).expect("it starts");
    on_sockets(async {
        for (n, version) in VERSIONS.iter().cycle().take(8).enumerate() {
            let id = format!("dev-{n}");
            let name = crate::azure::dps::GLOBAL_HOST;
            let mut dps = connect(running.ca_pem(), running.dps(), name, version).await.expect("TLS");
            let reply = register(&mut dps, &id).await;
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.json()["registrationState"]["assignedHub"], NORTH);
            let address = running.hubs()[0].address;
            let mut hub = connect(running.ca_pem(), address, NORTH, version).await.expect("TLS");
            assert_eq!(send(&mut hub, NORTH, &id).await.status, 204);
        }
        // Not TLS at all.
        let mut plain = tokio::net::TcpStream::connect(running.dps()).await.expect("TCP");
        tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await.expect("a write");
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut rest).await;
    });
    let ledger = running.stop();
    assert_eq!(ledger.count(Operation::DpsRegister, 200), 8);
    assert_eq!(ledger.count(Operation::HubSend, 204), 8);
    assert_eq!((ledger.assigned, ledger.messages(), ledger.hubs["north"].senders), (8, 8, 8));
    assert_eq!((ledger.connections, ledger.handshakes_failed), (17, 1));
    assert!(std::net::TcpStream::connect(running.dps()).is_err(), "nobody listens any more");
}

#[test]
fn mqtt_stands_on_the_same_ports_and_a_takeover_finds_the_other_thread() {
    use crate::azure::mqtt::{events_prefix, hub_user_name};
    use crate::net::mqtt::{Connect, ConnectReturnCode, Packet, PacketStream, Publish, Qos};
    use crate::net::stream::Stream;
    let options = Options { threads: 2, ..Options::default() };
    let mut running = start(&immediate(), &options, Clock::machine()).expect("it starts");
    const CONNECTIONS: u64 = 12;
    on_sockets(async {
        let ca = running.ca_pem();
        let mut dps = connect(ca, running.dps(), DPS_HOST, VERSIONS[0]).await.expect("TLS");
        assert_eq!(register(&mut dps, "dev").await.status, 200);
        let mut old: Option<PacketStream> = None;
        for (_, version) in (0..CONNECTIONS).zip(VERSIONS.iter().cycle()) {
            let tls = dial(ca, running.hubs()[0].address, NORTH, version).await.expect("TLS");
            let mut packets = PacketStream::new(Stream::TlsClient(Box::new(tls)), 1_024);
            let token = late(&derived(PRIMARY, "dev"), &crate::azure::sas::hub_resource(NORTH, "dev"));
            let user = hub_user_name(NORTH, "dev", "2021-04-12", "test");
            let connect = Connect::builder().client_id("dev").and_then(|it| it.user_name(user.as_str()));
            let connect = connect.and_then(|it| it.password(token.into_bytes()));
            packets.send(&connect.and_then(|it| it.build()).expect("a packet"));
            match packets.next().await {
                Ok(Some(Packet::Connack(connack))) => {
                    assert_eq!(connack.return_code(), ConnectReturnCode::Accepted);
                }
                other => panic!("{other:?}"),
            }
            if let Some(mut old) = old.replace(packets) {
                assert!(matches!(old.next().await, Ok(None)));
            }
            let packets = old.as_mut().expect("the new one");
            let publish = Publish::builder().topic_name(events_prefix("dev")).expect("a topic");
            let publish = publish.qos(Qos::AtLeastOnce).packet_id(1u16).payload(vec![b'x'; 3_000]);
            packets.send(&publish.build().expect("a packet"));
            assert!(matches!(packets.next().await, Ok(Some(Packet::Puback(1)))));
        }
    });
    let ledger = running.stop();
    let north = &ledger.hubs["north"];
    assert_eq!((north.mqtt_qos1, north.messages, north.senders), (CONNECTIONS, CONNECTIONS, 1));
    assert_eq!(ledger.mqtt.count(crate::emulator::ledger::Ending::Takeover), CONNECTIONS - 1);
}

#[test]
fn advertised_addresses_can_be_dialled_and_signed_for() {
    let mut config = two_hubs();
    config.dps = immediate().dps;
    let options = Options { advertise: Advertise::Address, ..Options::default() };
    let running = start(&config, &options, Clock::machine()).expect("it starts");
    on_sockets(async {
        let mut dps = connect(running.ca_pem(), running.dps(), "localhost", VERSIONS[1]).await.expect("TLS");
        let reply = register(&mut dps, "dev").await.json();
        let host = reply["registrationState"]["assignedHub"].as_str().expect("a host").to_owned();
        let port: u16 = host.strip_prefix("localhost:").expect("localhost").parse().expect("a port");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut hub = connect(running.ca_pem(), address, "localhost", VERSIONS[1]).await.expect("TLS");
        // With its port, and without: then the listener says which hub is meant.
        assert_eq!(send(&mut hub, &host, "dev").await.status, 204);
        assert_eq!(send(&mut hub, "localhost", "dev").await.status, 204);
    });
}

/// What DPS says is the hub of `dev`, at the listener that leads to `address`.
async fn assigned_at(running: &Running, address: SocketAddr) -> String {
    let mut dps = connect(running.ca_pem(), address, "localhost", VERSIONS[0]).await.expect("TLS");
    let reply = register(&mut dps, "dev").await.json();
    reply["registrationState"]["assignedHub"].as_str().expect("a host").to_owned()
}

/// A port that is free on all loopback addresses, most likely.
fn free_port() -> u16 {
    let listener = accept::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), 1).expect("a free port");
    listener[0].local_addr().expect("an address").port()
}

#[test]
fn at_the_ports_of_sdks_the_only_hub_is_an_address_without_a_port() {
    let port = free_port();
    let options = Options { advertise: Advertise::Address, sdk_ports: vec![port], ..Options::default() };
    let running = start(&immediate(), &options, Clock::machine()).expect("it starts");
    assert_eq!((running.sdk_dps(), running.sdk_hosts()), (Some("localhost"), &["127.0.0.1".to_owned()][..]));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    on_sockets(async {
        assert_eq!(assigned_at(&running, address).await, "127.0.0.1");
        let usual = assigned_at(&running, running.dps()).await;
        assert_eq!(usual, format!("localhost:{}", running.hubs()[0].address.port()));
        let mut hub = connect(running.ca_pem(), address, "127.0.0.1", VERSIONS[0]).await.expect("TLS");
        for name in ["127.0.0.1", "localhost", &usual, NORTH, "north.azure-devices.net"] {
            assert_eq!(send(&mut hub, name, "dev").await.status, 204, "{name}");
        }
    });
    let taken = start(&config(), &options, Clock::machine()).err().expect("the port is taken").to_string();
    assert!(taken.contains(&address.to_string()) && taken.contains("--connect-proxy"), "{taken}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_hub_is_told_leads_to_the_address_listened_on() {
    let port = free_port();
    let listen = Ipv4Addr::new(127, 0, 0, 77);
    let options = Options {
        listen: Some(listen.into()),
        advertise: Advertise::Address,
        sdk_ports: vec![port],
        ..Options::default()
    };
    let running = start(&immediate(), &options, Clock::machine()).expect("it starts");
    assert_eq!(running.sdk_dps(), Some("127.0.0.77"));
    on_sockets(async {
        let usual = assigned_at(&running, running.dps()).await;
        assert_eq!(usual, running.hubs()[0].address.to_string());
        let plain = assigned_at(&running, SocketAddr::from((listen, port))).await;
        assert_eq!(plain, "127.0.0.77");
        for (address, name) in
            [(usual.parse().expect("an address"), usual), (SocketAddr::from((listen, port)), plain)]
        {
            let mut hub = connect(running.ca_pem(), address, "127.0.0.77", VERSIONS[0]).await.expect("TLS");
            assert_eq!(send(&mut hub, &name, "dev").await.status, 204, "{name}");
        }
    });
    let error =
        start(&two_hubs(), &options, Clock::machine()).err().expect("one address for two").to_string();
    assert!(error.contains("127.0.0.77: leave the address at 127.0.0.1"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn at_the_ports_of_sdks_each_of_several_hubs_has_an_address() {
    let mut config = two_hubs();
    config.dps = immediate().dps;
    config.allocation = crate::emulator::config::Allocation::Static("south".to_owned());
    let port = free_port();
    let options = Options { advertise: Advertise::Address, sdk_ports: vec![port], ..Options::default() };
    let running = start(&config, &options, Clock::machine()).expect("it starts");
    on_sockets(async {
        let host = assigned_at(&running, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await;
        assert_eq!(host, "127.0.0.3");
        let address = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 3), port));
        let mut hub = connect(running.ca_pem(), address, &host, VERSIONS[0]).await.expect("TLS");
        for name in [&*host, "south.azure-devices.net", "localhost"] {
            assert_eq!(send(&mut hub, name, "dev").await.status, 204, "{name}");
        }
        assert_eq!(send(&mut hub, "127.0.0.2", "dev").await.status, 404, "that is north");
    });
}

#[test]
fn through_the_connect_front_hubs_have_names_of_the_real_services_kind() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let options = Options { connect_front: Some(0), ..Options::default() };
    let mut running = start(&immediate(), &options, Clock::machine()).expect("it starts");
    let front = running.connect_front().expect("a front");
    on_sockets(async {
        let global = crate::azure::dps::GLOBAL_HOST;
        let mut assigned = global.to_owned();
        for step in ["register", "send"] {
            let mut tcp = tokio::net::TcpStream::connect(front).await.expect("it listens");
            let request = format!("CONNECT {assigned}:8883 HTTP/1.1\r\nHost: {assigned}\r\n\r\n");
            tcp.write_all(request.as_bytes()).await.expect("a request");
            let mut answer = vec![0; 39];
            tcp.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(answer, b"HTTP/1.1 200 Connection established\r\n\r\n");
            let tls = handshake(running.ca_pem(), tcp, &assigned, VERSIONS[0]).await.expect("TLS");
            let mut client = Client::over(tls, &assigned).await;
            if step == "send" {
                assert_eq!(send(&mut client, &assigned, "dev").await.status, 204);
            } else {
                let reply = register(&mut client, "dev").await.json();
                let hub = &reply["registrationState"]["assignedHub"];
                hub.as_str().expect("a host").clone_into(&mut assigned);
            }
        }
        assert_eq!(assigned, "north.azure-devices.net");
        // TLS where a proxy was expected, as a client does that takes it for the emulator itself.
        let tcp = tokio::net::TcpStream::connect(front).await.expect("it listens");
        assert!(handshake(running.ca_pem(), tcp, global, VERSIONS[1]).await.is_err());
    });
    let ledger = running.stop();
    assert_eq!((ledger.tunnels, ledger.tunnels_refused, ledger.handshakes_failed), (2, 1, 0));
}

#[test]
fn a_taken_port_is_told_with_a_remedy() {
    let running = start(&config(), &Options::default(), Clock::machine()).expect("it starts");
    let options = Options { dps_port: running.dps().port(), ..Options::default() };
    let error = start(&config(), &options, Clock::machine()).err().expect("the port is taken").to_string();
    assert!(error.contains("choose another port"), "{error}");
}

/// The parent's end of a child that runs in a thread.
struct Child {
    input: io::PipeWriter,
    output: Lines<BufReader<io::PipeReader>>,
    thread: JoinHandle<Result<(), String>>,
}

impl Child {
    fn start(config: &Config) -> Self {
        let (input, to_child) = io::pipe().expect("a pipe");
        let (from_child, output) = io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || child::obey(input, output));
        let mut child = Self { input: to_child, output: Lines::new(BufReader::new(from_child)), thread };
        let mut lines = Vec::new();
        opening(config, 1, |line| lines.push(line.to_owned())).expect("no list");
        for line in lines {
            child.input.write_all(line.as_bytes()).expect("the child reads");
        }
        child
    }

    fn say(&mut self, command: &Command) {
        self.input.write_all(command.to_line().as_bytes()).expect("the child reads");
    }

    fn hear(&mut self) -> Report {
        let line = self.output.next_line().expect("the child writes").expect("a line");
        Report::parse(line).expect("a report")
    }
}

#[test]
fn a_child_reports_ready_stamps_and_ledger_and_stops_when_told() {
    let mut config = immediate();
    config.stamps = true;
    let mut child = Child::start(&config);
    let Report::Ready(ready) = child.hear() else { panic!("ready") };
    let before = Clock::machine().now();
    on_sockets(async {
        let mut dps = connect(&ready.ca_pem, ready.dps, DPS_HOST, VERSIONS[1]).await.expect("TLS");
        assert_eq!(register(&mut dps, "dev").await.status, 200);
        let hub = &ready.hubs[0];
        let mut hub = connect(&ready.ca_pem, hub.address, &hub.host, VERSIONS[1]).await.expect("TLS");
        assert_eq!(send(&mut hub, NORTH, "dev").await.status, 204);
    });
    let after = Clock::machine().now();
    child.say(&Command::Ledger);
    let Report::Stamp(stamp) = child.hear() else { panic!("a stamp stands before its ledger") };
    assert_eq!((stamp.device_id.as_str(), stamp.message_id.as_str()), ("dev", "m-1"));
    assert!(before <= stamp.arrived && stamp.arrived <= stamp.answered && stamp.answered <= after);
    let Report::Ledger(ledger) = child.hear() else { panic!("a ledger") };
    assert_eq!((ledger.messages(), ledger.lost_stamps), (1, 0));
    child.say(&Command::Stop);
    let Report::Ledger(last) = child.hear() else { panic!("the last ledger") };
    assert_eq!(last.messages(), 1);
    assert_eq!(child.output.next_line().expect("the child ends"), None);
    assert_eq!(child.thread.join().expect("no panic"), Ok(()));
}

#[test]
fn a_child_ends_when_its_input_does() {
    let mut child = Child::start(&config());
    assert!(matches!(child.hear(), Report::Ready(_)));
    drop(child.input);
    assert_eq!(child.thread.join().expect("no panic"), Ok(()));
}

#[test]
fn a_child_that_cannot_run_says_why() {
    let mut config = config();
    config.hubs.clear();
    let mut child = Child::start(&config);
    let Report::Failed(reason) = child.hear() else { panic!("failed") };
    assert!(reason.contains("no hub"), "{reason}");
    assert!(child.thread.join().expect("no panic").is_err());
}

#[test]
fn what_devices_on_several_threads_are_told_reaches_each_of_them_in_its_order() {
    use crate::azure::mqtt::{TWIN_DESIRED, hub_user_name};
    use crate::azure::two_way::parse_desired_topic;
    use crate::emulator::twin::Change;
    use crate::net::mqtt::{Connect, Packet, PacketStream, Qos, SubEntry, SubOpts, Subscribe};
    use crate::net::stream::Stream;
    const DEVICES: usize = 6;
    const CHANGES: u64 = 200;
    let options = Options { threads: 2, ..Options::default() };
    let mut running = start(&immediate(), &options, Clock::machine()).expect("it starts");
    on_sockets(async {
        let ca = running.ca_pem();
        let mut dps = connect(ca, running.dps(), DPS_HOST, VERSIONS[1]).await.expect("TLS");
        let mut devices = Vec::new();
        for n in 0..DEVICES {
            let id = format!("dev-{n}");
            assert_eq!(register(&mut dps, &id).await.status, 200);
            let tls = dial(ca, running.hubs()[0].address, NORTH, VERSIONS[1]).await.expect("TLS");
            let mut packets = PacketStream::new(Stream::TlsClient(Box::new(tls)), 64 * 1024);
            let token = late(&derived(PRIMARY, &id), &crate::azure::sas::hub_resource(NORTH, &id));
            let connect = Connect::builder().client_id(&id).expect("an id").clean_session(true);
            let connect = connect.user_name(hub_user_name(NORTH, &id, "2021-04-12", "x")).expect("a name");
            let connect = connect.password(token.into_bytes()).expect("a token").keep_alive(60);
            packets.send(&connect.build().expect("a packet"));
            assert!(matches!(packets.next().await, Ok(Some(Packet::Connack(_)))));
            let entry =
                SubEntry::new(TWIN_DESIRED, SubOpts::new().set_qos(Qos::AtMostOnce)).expect("a filter");
            let subscribe = Subscribe::builder().packet_id(1).entries(vec![entry]).build();
            packets.send(&subscribe.expect("a packet"));
            assert!(matches!(packets.next().await, Ok(Some(Packet::Suback(_)))));
            devices.push((id, packets));
        }
        let service = Arc::clone(running.service());
        let ids: Vec<String> = devices.iter().map(|(id, _)| id.clone()).collect();
        // From a thread of its own, as fast as it goes: who is told too much at once may miss some, and never the last.
        let teller = std::thread::spawn(move || {
            let tell = |id: &str, n: u64| {
                let desired = serde_json::Map::from_iter([("n".to_owned(), n.into())]);
                let change = Change { desired: Some(desired), ..Change::default() };
                service.hub(0).change_twin(id, &change, None, Clock::machine().wall()).expect("a change");
            };
            (1..CHANGES).for_each(|n| ids.iter().for_each(|id| tell(id, n)));
            let is_settled = || {
                let counts = service.hub(0).two_way.sum();
                counts.desired_pushes + counts.desired_lost == counts.desired_updates
            };
            while !is_settled() {
                std::thread::yield_now();
            }
            ids.iter().for_each(|id| tell(id, CHANGES));
        });
        for (id, packets) in &mut devices {
            let mut last = 1;
            while last <= CHANGES {
                let Ok(Some(Packet::Publish(publish))) = packets.next().await else { panic!("{id}") };
                let version = parse_desired_topic(publish.topic_name()).expect("desired properties");
                assert!(version > last, "{id}: {version} after {last}");
                last = version;
            }
        }
        teller.join().expect("no panic");
    });
    let told = running.stop().hubs["north"].two_way;
    assert_eq!(told.desired_updates, CHANGES * DEVICES as u64);
    assert_eq!(told.desired_pushes + told.desired_lost, told.desired_updates);
}
