//! HTTPS, at DPS and hub.
//!
//! Names of headers are compared in lower case, as our library writes them; their order counts.

use super::*;
use crate::azure::protocol::Protocol;
use crate::device::dps::https::DpsHttps;
use crate::device::hub::Qos;
use crate::device::hub::https::{HubHttps, Opening};

const OPERATION: &str = "5.a466abe413a73173.907c5f71-939f-4ed3-aba9-e1b2072d4bce";

/// azure-iot-provisioning-device-http 1.9.1 on Node 20.20.2, captured behind TLS 1.3 on 2026-11-26.
const NODE_REGISTER: &str = "PUT /0ne00000001/registrations/dev-1/register?api-version=2019-03-31 HTTP/1.1\r\nAccept: application/json\r\nContent-Type: application/json; charset=utf-8\r\nAuthorization: SharedAccessSignature sr=0ne00000001/registrations/dev-1&sig=PUhmjQ4AmElW5gpxK5iqnFRgU%2FY343XpY2gkK0IexJc%3D&skn=registration&se=1795728692\r\nRequest-Id: 2c1a24b0-4711-4557-8567-a1583c81e976\r\nUser-Agent: azure-iot-provisioning-device/1.9.1\r\nContent-Length: 26\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n{\"registrationId\":\"dev-1\"}";

const NODE_POLL: &str = "GET /0ne00000001/registrations/dev-1/operations/5.a466abe413a73173.907c5f71-939f-4ed3-aba9-e1b2072d4bce?api-version=2019-03-31 HTTP/1.1\r\nAccept: application/json\r\nContent-Type: application/json; charset=utf-8\r\nAuthorization: SharedAccessSignature sr=0ne00000001/registrations/dev-1&sig=PUhmjQ4AmElW5gpxK5iqnFRgU%2FY343XpY2gkK0IexJc%3D&skn=registration&se=1795728692\r\nRequest-Id: 4d627b04-68a9-4cd8-b6f2-1c9b94c9fb26\r\nUser-Agent: azure-iot-provisioning-device/1.9.1\r\nContent-Length: 2\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n{}";

/// azure-iot-device-http 1.14.4, of the same capture.
const NODE_MESSAGE: &str = "POST /devices/dev-id/messages/events?api-version=2021-04-12 HTTP/1.1\r\niothub-to: /devices/dev-id/messages/events\r\nUser-Agent: azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)\r\nAuthorization: SharedAccessSignature sr=localhost%2Fdevices%2Fdev-id&sig=%2BxU48fHUZMzbtBd8kiBrTNC63FDFSZDsLxGsPXwEXQc%3D&se=1795728694\r\niothub-app-level: high & low\r\nIoTHub-MessageId: r-1\r\niothub-contenttype: application/json\r\niothub-contentencoding: utf-8\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n";

/// From azure-iot-device-http's http.js (`receive`, `_sendFeedback`), with what Node's own client adds.
const NODE_QUESTION: &str = "GET /devices/dev-id/messages/devicebound?api-version=2021-04-12 HTTP/1.1\r\niothub-to: /devices/dev-id/messages/devicebound\r\nUser-Agent: azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)\r\nAuthorization: SharedAccessSignature sr=localhost%2Fdevices%2Fdev-id&sig=x%3D&se=1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";

const NODE_REJECT: &str = "DELETE /devices/dev-id/messages/devicebound/tag-7?api-version=2021-04-12&reject HTTP/1.1\r\nIf-Match: tag-7\r\nUser-Agent: azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)\r\nAuthorization: SharedAccessSignature sr=localhost%2Fdevices%2Fdev-id&sig=x%3D&se=1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";

const NODE_ABANDON: &str = "POST /devices/dev-id/messages/devicebound/tag-7/abandon?api-version=2021-04-12 HTTP/1.1\r\nIf-Match: tag-7\r\nUser-Agent: azure-iot-device/1.18.4 (node v20.20.2; Debian 12; x64)\r\nAuthorization: SharedAccessSignature sr=localhost%2Fdevices%2Fdev-id&sig=x%3D&se=1\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";

/// azure-iot-sdk-c 1.15.0: provisioning_client/src/prov_transport_http_client.c (construct_http_headers, construct_url_path) and
/// azure-uhttp-c's src/uhttp.c (construct_http_headers).
const C_REGISTER: &str = "PUT /0ne00000001/registrations/dev-1/register?api-version=2021-06-01 HTTP/1.1\r\nUserAgent: prov_device_client/1.0\r\nAccept: application/json\r\nConnection: keep-alive\r\nContent-Type: application/json; charset=utf-8\r\nAuthorization: SharedAccessSignature sr=0ne00000001%2fregistrations%2fdev-1&sig=x%3d&se=1&skn=registration\r\nHost: localhost:443\r\nContent-Length: 26\r\n\r\n{\"registrationId\":\"dev-1\"}";

const C_POLL: &str = "GET /0ne00000001/registrations/dev-1/operations/5.a466abe413a73173.907c5f71-939f-4ed3-aba9-e1b2072d4bce?api-version=2021-06-01 HTTP/1.1\r\nUserAgent: prov_device_client/1.0\r\nAccept: application/json\r\nConnection: keep-alive\r\nContent-Type: application/json; charset=utf-8\r\nAuthorization: SharedAccessSignature sr=0ne00000001%2fregistrations%2fdev-1&sig=x%3d&se=1&skn=registration\r\nHost: localhost:443\r\nContent-Length: 0\r\n\r\n";

/// iothub_client/src/iothubtransporthttp.c (create_eventHTTPrequestHeaders, set_message_properties, set_system_properties), the
/// key without a name (create_deviceSASObject), c-utility's httpapiex.c (`Host`, `Content-Length`), and the order in which
/// libcurl 7.88.1 was seen to write such a list.
const C_MESSAGE: &str = "POST /devices/dev-id/messages/events?api-version=2016-11-14 HTTP/1.1\r\nHost: localhost\r\niothub-to: /devices/dev-id/messages/events\r\nAuthorization: SharedAccessSignature sr=localhost/devices/dev-id&sig=x%3d&se=1&skn=\r\nAccept: application/json\r\nConnection: Keep-Alive\r\nUser-Agent: iothubclient/1.15.0 (native; Linux; x86_64)\r\nContent-Type: application/octet-stream\r\niothub-app-level: high & low\r\niothub-messageid: r-1\r\niothub-contenttype: application/json\r\niothub-contentencoding: utf-8\r\nContent-Length: 7\r\n\r\n{\"a\":1}";

/// The same (create_messageHTTPrequestHeaders, abandonOrAcceptMessage); libcurl adds `Accept`, and takes what is posted for a form.
const C_QUESTION: &str = "GET /devices/dev-id/messages/devicebound?api-version=2016-11-14 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: iothubclient/1.15.0 (native; Linux; x86_64)\r\nAuthorization: SharedAccessSignature sr=localhost/devices/dev-id&sig=x%3d&se=1&skn=\r\nContent-Length: 0\r\n\r\n";

const C_REJECT: &str = "DELETE /devices/dev-id/messages/devicebound/tag-7?api-version=2016-11-14&reject HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: iothubclient/1.15.0 (native; Linux; x86_64)\r\nAuthorization: SharedAccessSignature sr=localhost/devices/dev-id&sig=x%3d&se=1&skn=\r\nIf-Match: \"tag-7\"\r\nContent-Length: 0\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n";

const C_ABANDON: &str = "POST /devices/dev-id/messages/devicebound/tag-7/abandon?api-version=2016-11-14 HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: iothubclient/1.15.0 (native; Linux; x86_64)\r\nAuthorization: SharedAccessSignature sr=localhost/devices/dev-id&sig=x%3d&se=1&skn=\r\nIf-Match: \"tag-7\"\r\nContent-Length: 0\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n";

/// A request as it is compared: names of headers in lower case, each line [`masked`].
fn comparable(request: &str) -> String {
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.split("\r\n");
    let mut text = lines.next().expect("a request line").to_owned();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a header");
        text += &format!("\n{}: {}", name.to_ascii_lowercase(), masked(value));
    }
    format!("{text}\n\n{body}")
}

/// Answers every request at once, whatever it is.
async fn serve(rest: Bytes, answer: &'static str) {
    let Bytes::Memory(mut rest) = rest else { panic!("it is in memory") };
    let mut buffer = [0; 4_096];
    while let Ok(1..) = rest.read(&mut buffer).await {
        if rest.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

const ASSIGNING: &str = "HTTP/1.1 202 x\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{\"operationId\":\"5.1\",\"status\":\"assigning\"}";

const DONE: &str = "HTTP/1.1 204 x\r\n\r\n";

fn text(tape: &Tape) -> String {
    String::from_utf8(tape.bytes()).expect("text")
}

async fn at_dps(clock: &Clock, sdk: Behave) -> [String; 2] {
    let (near, rest, tape) = tapped();
    let service = tokio::task::spawn_local(serve(rest, Box::leak(assigning().into_boxed_str())));
    let token = dps_token(sdk);
    let dps = DpsHttps::new(near, HUB, &token, &sdk.habits().dps, draws()).await;
    let mut dps = dps.expect("a connection");
    dps.register(clock, SCOPE, REGISTRATION).await.result.expect("an answer");
    let first = text(&tape);
    dps.poll(clock, SCOPE, REGISTRATION, OPERATION).await.result.expect("an answer");
    let second = text(&tape)[first.len()..].to_owned();
    dps.close().await;
    service.await.expect("it ends");
    [first, second]
}

/// [`ASSIGNING`] with the length that it has.
fn assigning() -> String {
    let body = ASSIGNING.split("\r\n\r\n").nth(1).expect("a body");
    ASSIGNING.replace("Content-Length: 40", &format!("Content-Length: {}", body.len()))
}

#[test]
fn dps_gets_the_requests_of_each_sdk() {
    let done = simulate(|clock| async move {
        for (sdk, recorded) in [(Behave::Node, [NODE_REGISTER, NODE_POLL]), (Behave::C, [C_REGISTER, C_POLL])]
        {
            let written = at_dps(&clock, sdk).await;
            for (written, recorded) in written.iter().zip(recorded) {
                assert_eq!(comparable(written), comparable(recorded), "{sdk:?}");
            }
        }
    });
    done.expect("no task is left waiting");
}

async fn at_hub(clock: &Clock, sdk: Behave) -> [String; 4] {
    let (near, rest, tape) = tapped();
    let service = tokio::task::spawn_local(serve(rest, DONE));
    let habits = &sdk.habits().hub;
    let token = habits.http_token.token(&key(), &hub_resource(HUB, DEVICE), EXPIRY);
    let opening = Opening { host: HUB, device_id: DEVICE, token: &token, habits, takes_messages: true };
    let mut hub = HubHttps::new(near, opening).await.expect("a connection");
    let (payload, rendered) = message();
    let envelope = Envelope::of(&payload, Protocol::Https, Qos::AtLeastOnce, habits.bag);
    let Envelope::Https(headers) = &envelope else { panic!("for HTTPS") };
    let message = Message { sequence: 1, rendered: &rendered, envelope: &envelope, packet_id: None };
    let mut ends = Vec::new();
    hub.send(clock, &message, headers).expect("it fits");
    assert!(matches!(hub.event(clock).await, Event::Acknowledged { .. }));
    ends.push(text(&tape).len());
    hub.ask(clock);
    assert!(matches!(hub.event(clock).await, Event::Asked { answer: Ok(None), .. }));
    ends.push(text(&tape).len());
    for how in [Settle::Reject, Settle::Abandon] {
        hub.settle(clock, "tag-7", how).expect("it fits");
        assert!(matches!(hub.event(clock).await, Event::Settled { failure: None, .. }));
        ends.push(text(&tape).len());
    }
    hub.close().await;
    service.await.expect("it ends");
    let all = text(&tape);
    let mut start = 0;
    [0, 1, 2, 3].map(|n| {
        let part = all[start..ends[n]].to_owned();
        start = ends[n];
        part
    })
}

#[test]
fn a_hub_gets_the_requests_of_each_sdk() {
    let done = simulate(|clock| async move {
        for (sdk, recorded) in [
            (Behave::Node, [NODE_MESSAGE, NODE_QUESTION, NODE_REJECT, NODE_ABANDON]),
            (Behave::C, [C_MESSAGE, C_QUESTION, C_REJECT, C_ABANDON]),
        ] {
            let written = at_hub(&clock, sdk).await;
            for (written, recorded) in written.iter().zip(recorded) {
                assert_eq!(comparable(written), comparable(recorded), "{sdk:?}");
            }
        }
    });
    done.expect("no task is left waiting");
}
