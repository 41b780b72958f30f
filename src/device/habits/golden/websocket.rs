//! How a WebSocket is asked for.
//!
//! Compared without order, which our library makes, and without case in names; the key is masked.

use super::*;
use crate::azure::mqtt::WEBSOCKET_PATH;
use crate::net::websocket::{Wanted, open};

/// paho-mqtt 1.6.1 (client.py, `WebsocketWrapper._do_handshake`), which Python's SDK uses, for a hub on port 443.
const PYTHON: &str = "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost:443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: https://localhost:443\r\nSec-WebSocket-Key: x\r\nSec-Websocket-Version: 13\r\nSec-Websocket-Protocol: mqtt\r\n\r\n";

/// azure-iot-device-mqtt 1.16.4 (ws), captured on 2026-11-26.
const NODE: &str = "GET /$iothub/websocket HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: DYxkE1K+N7aAHh7XcHttlA==\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: mqtt\r\nHost: localhost\r\n\r\n";

/// azure-c-shared-utility, src/uws_client.c, `upgrade_request_format`.
const C: &str = "GET /$iothub/websocket HTTP/1.1\r\nHost: localhost:443\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Protocol: MQTT\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn comparable(request: &str) -> Vec<String> {
    let head = request.strip_suffix("\r\n\r\n").expect("a head without a body");
    let mut lines = head.split("\r\n");
    let first = lines.next().expect("a request line").to_owned();
    let mut lines: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            let name = name.to_ascii_lowercase();
            let value = if name == "sec-websocket-key" { "*" } else { value };
            format!("{name}: {value}")
        })
        .collect();
    lines.sort();
    lines.insert(0, first);
    lines
}

#[test]
fn a_websocket_is_asked_for_as_each_sdk_does_but_for_compression() {
    let done = simulate(|_| async {
        for (sdk, recorded) in [(Behave::Python, PYTHON), (Behave::Node, NODE), (Behave::C, C)] {
            let (near, mut far) = tokio::io::duplex(64 * 1_024);
            let habits = sdk.habits().websocket;
            let place = "localhost:443";
            let wanted = Wanted {
                host: if habits.names_port { place } else { HUB },
                path: WEBSOCKET_PATH,
                subprotocol: habits.subprotocol,
                origin: habits.has_origin.then_some(place),
            };
            let head = async {
                let mut text = String::new();
                while !text.ends_with("\r\n\r\n") {
                    text.push(far.read_u8().await.expect("a request").into());
                }
                text
            };
            let asked = tokio::select! {
                _ = open(Bytes::Memory(near), &wanted) => unreachable!("nobody answers that"),
                text = head => text,
            };
            let mut expected = comparable(recorded);
            // A compressor for each device would cost more memory than all the rest of it.
            expected.retain(|line| !line.starts_with("sec-websocket-extensions: permessage-deflate"));
            assert_eq!(comparable(&asked), expected, "{sdk:?}");
        }
    });
    done.expect("no task is left waiting");
}
