//! MQTT inside a WebSocket, on the port of HTTPS.

use super::*;
use crate::net::websocket::{Wanted, open};

const WANTED: Wanted<'_> =
    Wanted { host: NORTH, path: WEBSOCKET_PATH, subprotocol: WEBSOCKET_PROTOCOL, user_agent: None };

const HANDSHAKE: [(&str, &str); 5] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "mqtt"),
];

impl World {
    async fn tunnel(&self, host: &str) -> Stream {
        let stream = self.network.dial(host).expect("somebody listens");
        open(stream, &WANTED).await.expect("a WebSocket")
    }

    async fn dial_inside(&self, host: &str) -> Device {
        let packets = PacketStream::new(self.tunnel(host).await, 1024 * 1024);
        Device { packets, clock: self.clock.clone() }
    }
}

#[test]
fn a_device_registers_and_sends_through_a_websocket() {
    run(immediate(), |world| async move {
        let mut dps = world.dial_inside(DPS_HOST).await;
        dps.greet(&dps_connect("dev", &dps_token("dev"))).await;
        dps.subscribe(&[(DPS_RESPONSES, Qos::AtLeastOnce)]).await;
        dps.send(&register_topic(1), body_of("dev").as_bytes()).await;
        let (topic, body, _) = dps.message().await;
        assert_eq!((topic, &body["status"]), (response_topic(200, "1", None), &"assigned".into()));
        dps.leave().await;

        let mut hub = world.dial_inside(NORTH).await;
        hub.greet(&hub_connect("dev", true)).await;
        // The largest message there is takes several of our frames.
        hub.send(EVENTS, &[b'x'; 255 * 1_024]).await;
        hub.send(EVENTS, b"{}").await;
        hub.leave().await;
        let ledger = world.emulator.ledger();
        assert_eq!((ledger.assigned, ledger.hubs["north"].mqtt_qos1), (1, 2));
        assert_eq!(ledger.count(Operation::WebSocket, 101), 2);
        assert_eq!((ledger.mqtt.connections, ledger.mqtt.count(Ending::Disconnect)), (2, 2));
    });
}

#[test]
fn packets_may_come_a_byte_in_each_frame() {
    run(immediate(), |world| async move {
        world.register("dev").await;
        let mut stream = world.tunnel(NORTH).await;
        let mut bytes = Vec::new();
        for part in hub_connect("dev", true).to_buffers() {
            bytes.extend_from_slice(&part);
        }
        bytes.extend_from_slice(&[0xc0, 0, 0xe0, 0]);
        for byte in bytes {
            stream.write_u8(byte).await.expect("room");
            stream.flush().await.expect("room");
        }
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await.expect("an end");
        assert_eq!(answers, [0x20, 2, 0, 0, 0xd0, 0]);
    });
}

#[test]
fn a_handshake_that_lacks_something_is_told_so_and_the_connection_goes_on() {
    run(immediate(), |world| async move {
        let mut client = Client::connect(&world.network, NORTH).await;
        for (name, instead, status) in [
            ("upgrade", "h2c", 400),
            ("connection", "keep-alive", 400),
            ("sec-websocket-key", "", 400),
            ("sec-websocket-version", "8", 426),
            ("sec-websocket-protocol", "AMQPWSB10", 400),
        ] {
            let headers = HANDSHAKE.map(|(is, value)| (is, if is == name { instead } else { value }));
            let reply = client.call(Method::GET, WEBSOCKET_PATH, &headers, "").await;
            assert_eq!(reply.status, status, "{name}");
            assert_eq!(reply.header("sec-websocket-version"), if status == 426 { "13" } else { "" });
        }
        let reply = client.call(Method::POST, WEBSOCKET_PATH, &HANDSHAKE, "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, "GET"));
        assert_eq!(client.register("dev").await.status, 200);
        let ledger = world.emulator.ledger();
        let count = |status| ledger.count(Operation::WebSocket, status);
        assert_eq!((count(400), count(426), count(101)), (4, 1, 0));
    });
}

#[test]
fn a_tunnel_that_stays_empty_or_carries_something_else_is_closed() {
    run(immediate(), |world| async move {
        let mut empty = world.tunnel(NORTH).await;
        let start = world.clock.now();
        assert_eq!(empty.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!(world.clock.now().since(start), CONNECT_DEADLINE);
        let mut other = world.tunnel(NORTH).await;
        other.write_all(&[0, 0]).await.expect("room");
        other.flush().await.expect("room");
        assert_eq!(other.read(&mut [0; 8]).await.expect("an end"), 0);
        assert_eq!((world.ended(Ending::NoConnect), world.ended(Ending::Malformed)), (1, 1));
    });
}
