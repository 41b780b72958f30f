use hyper::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::azure::dps::{error_code, lookup_path, operation_path, register_path};
use crate::azure::hub::{BATCH_CONTENT_TYPE, MAX_MESSAGE, events_path};
use crate::azure::keys::SigningKey;
use crate::azure::limits::HubSize;
use crate::azure::limits::Tier;
use crate::azure::sas::{ResourceSpelling, dps_resource, hub_resource};
use crate::emulator::channel::Report;
use crate::emulator::config::Config;
use crate::emulator::fixture::*;
use crate::emulator::serve::DPS_HOST;
use crate::rng::{self, Purpose};

mod limits;

impl World {
    async fn dps(&self) -> Client {
        Client::connect(&self.network, DPS_HOST).await
    }

    async fn hub(&self) -> Client {
        Client::connect(&self.network, NORTH).await
    }
}

#[test]
fn a_device_registers_polls_and_sends_as_with_the_real_services() {
    run(config(), |world| async move {
        let mut dps = world.dps().await;
        let first = dps.register("dev").await;
        assert_eq!(first.status, 202);
        assert_eq!(first.header("retry-after"), "3");
        assert_eq!(first.header("content-type"), "application/json; charset=utf-8");
        assert_eq!(first.header("strict-transport-security"), "max-age=31536000; includeSubDomains");
        assert_eq!(first.header("date"), "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(first.header("x-ms-request-id").len(), 32);
        let body = first.json();
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "operationId and status, no more");
        assert_eq!(body["status"], "assigning");
        let operation = body["operationId"].as_str().expect("an id");
        let expected = format!("https://{DPS_HOST}{}", operation_path(SCOPE, "dev", operation));
        assert_eq!(first.header("location"), expected);

        let early = dps.poll("dev", operation).await;
        assert_eq!((early.status, early.header("retry-after")), (202, "3"));
        assert_eq!(early.json()["registrationState"]["status"], "assigning");
        world.clock.sleep(seconds(3)).await;
        let done = dps.poll("dev", operation).await;
        assert_eq!((done.status, done.header("retry-after")), (200, ""));
        let body = done.json();
        assert_eq!((&body["status"], &body["operationId"]), (&"assigned".into(), &operation.into()));
        assert_eq!(body["registrationState"]["assignedHub"], NORTH);
        assert_eq!(body["registrationState"]["deviceId"], "dev");

        let mut hub = world.hub().await;
        let sent = hub.send("dev", &hub_token(NORTH, "dev"), "{}").await;
        assert_eq!((sent.status, sent.body.len()), (204, 0));
        let found = dps
            .call(
                Method::POST,
                &lookup_path(SCOPE, "dev"),
                &[("authorization", &dps_token("dev"))],
                body_of("dev"),
            )
            .await;
        assert_eq!((found.status, &found.json()["assignedHub"]), (200, &NORTH.into()));

        let ledger = world.emulator.ledger();
        assert_eq!(ledger.count(Operation::DpsRegister, 202), 1);
        assert_eq!(ledger.count(Operation::DpsPoll, 202), 1);
        assert_eq!(ledger.count(Operation::DpsPoll, 200), 1);
        assert_eq!(ledger.count(Operation::DpsLookup, 200), 1);
        assert_eq!(ledger.count(Operation::HubSend, 204), 1);
        let north = &ledger.hubs["north"];
        // Two bytes of body, three of message id.
        assert_eq!((north.devices, north.senders, north.messages, north.bytes), (1, 1, 1, 5));
        assert_eq!((ledger.connections, ledger.assigned), (2, 1));
    });
}

#[test]
fn a_service_that_assigns_at_once_answers_the_put_with_the_result() {
    run(immediate(), |world| async move {
        let reply = world.dps().await.register("dev").await;
        assert_eq!((reply.status, &reply.json()["status"]), (200, &"assigned".into()));
    });
}

#[test]
fn every_refusal_of_dps_has_its_status_and_its_code() {
    run(config(), |world| async move {
        let path = register_path(SCOPE, "dev");
        let good = dps_token("dev");
        let expired =
            token(&derived(PRIMARY, "dev"), &dps_resource(SCOPE, "dev"), ResourceSpelling::Raw, EXPIRED);
        let wrong = token(
            &SigningKey::from_bytes(&[7; 32]),
            &dps_resource(SCOPE, "dev"),
            ResourceSpelling::Raw,
            VALID,
        );
        let json = body_of("dev");
        let put = Method::PUT;
        let no_version = path.split('?').next().expect("a path").to_owned();
        let cases: Vec<(Method, String, &str, String, i64)> = vec![
            (put.clone(), "/nothing/here".into(), &good, json.clone(), error_code::NOT_FOUND),
            (put.clone(), register_path("0ne0other", "dev"), &good, json.clone(), error_code::NOT_FOUND),
            (Method::GET, operation_path(SCOPE, "dev", "5.x"), &good, "".into(), error_code::NOT_FOUND),
            (Method::POST, lookup_path(SCOPE, "dev"), &good, json.clone(), error_code::NOT_FOUND),
            (Method::DELETE, path.clone(), &good, json.clone(), error_code::METHOD_NOT_ALLOWED),
            (put.clone(), no_version.clone(), &good, json.clone(), error_code::INVALID_ARGUMENT),
            (
                put.clone(),
                format!("{no_version}?api-version=latest"),
                &good,
                json.clone(),
                error_code::INVALID_ARGUMENT,
            ),
            (put.clone(), path.clone(), &good, "{".into(), error_code::INVALID_ARGUMENT),
            (put.clone(), path.clone(), &good, "{}".into(), error_code::INVALID_ARGUMENT),
            (put.clone(), path.clone(), &good, body_of("other"), error_code::INVALID_ARGUMENT),
            (put.clone(), register_path(SCOPE, "d%20v"), &good, json.clone(), error_code::INVALID_ARGUMENT),
            (put.clone(), path.clone(), "", json.clone(), error_code::UNAUTHORIZED),
            (put.clone(), path.clone(), "nonsense", json.clone(), error_code::UNAUTHORIZED),
            (put.clone(), path.clone(), &wrong, json.clone(), error_code::UNAUTHORIZED),
            (put.clone(), path.clone(), &expired, json.clone(), error_code::UNAUTHORIZED),
            (put.clone(), register_path(SCOPE, "locked-1"), &good, body_of("locked-1"), error_code::DISABLED),
        ];
        let mut dps = world.dps().await;
        for (method, path, token, body, code) in cases {
            // No header at all rather than an empty one.
            let headers = [("authorization", token)];
            let headers = if token.is_empty() { &headers[..0] } else { &headers[..] };
            let reply = dps.call(method.clone(), &path, headers, body).await;
            assert_eq!(i64::from(reply.status), code / 1_000, "{method} {path} {reply:?}");
            assert_eq!(reply.header("x-ms-error-code"), code.to_string(), "{method} {path}");
            let error = reply.json();
            assert_eq!(error["errorCode"], code);
            assert_eq!(error["trackingId"], reply.header("x-ms-request-id"));
            assert_eq!(error["timestampUtc"], "2026-01-01T00:00:00.0000000Z");
            let allow = if code == error_code::METHOD_NOT_ALLOWED { "PUT" } else { "" };
            assert_eq!(reply.header("allow"), allow);
        }
        let headers = [("authorization", good.as_str()), ("content-type", "text/plain")];
        let reply = dps.call(put, &path, &headers, body_of("dev")).await;
        assert_eq!(reply.status, 415);
        assert_eq!(world.emulator.ledger().connections, 1, "refusals leave the connection usable");
    });
}

#[test]
fn every_refusal_of_the_hub_has_its_status_and_its_name() {
    run(immediate(), |world| async move {
        world.dps().await.register("dev").await;
        world.dps().await.register("off").await;
        assert!(world.emulator.service().set_device_enabled("north", "off", false));
        let good = hub_token(NORTH, "dev");
        let raw = ResourceSpelling::Raw;
        let key = derived(PRIMARY, "dev");
        let expired = token(&key, &hub_resource(NORTH, "dev"), raw, EXPIRED);
        let elsewhere = token(&key, &hub_resource("west.azure-devices.net", "dev"), raw, VALID);
        let other = token(&key, &hub_resource(NORTH, "other"), raw, VALID);
        let [off, new, upper] = ["off", "new", "DEV"].map(|id| hub_token(NORTH, id));
        let path = events_path("dev");
        let post = Method::POST;
        let batch = [("content-type", BATCH_CONTENT_TYPE)];
        type Case<'a> = (Method, String, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);
        let cases: Vec<Case<'_>> = vec![
            (Method::PUT, path.clone(), &good, &[], "", 405, "MethodNotAllowed"),
            (post.clone(), "/devices/dev/messages/events".into(), &good, &[], "", 400, "ArgumentInvalid"),
            (post.clone(), path.clone(), "nonsense", &[], "", 401, "IotHubUnauthorizedAccess"),
            (post.clone(), path.clone(), &expired, &[], "", 401, "IotHubUnauthorizedAccess"),
            (post.clone(), path.clone(), &elsewhere, &[], "", 401, "IotHubUnauthorizedAccess"),
            (post.clone(), path.clone(), &other, &[], "", 401, "IotHubUnauthorizedAccess"),
            (post.clone(), events_path("off"), &off, &[], "", 403, "DeviceDisabled"),
            (post.clone(), events_path("new"), &new, &[], "", 404, "DeviceNotFound"),
            (post.clone(), events_path("DEV"), &upper, &[], "", 404, "DeviceNotFound"),
            (post.clone(), path.clone(), &good, &batch, "[", 400, "ArgumentInvalid"),
            (post.clone(), path.clone(), &good, &batch, "[]", 400, "ArgumentInvalid"),
            (post.clone(), path.clone(), &good, &batch, "[{\"body\":\"%\"}]", 400, "ArgumentInvalid"),
        ];
        let mut hub = world.hub().await;
        for (method, path, token, more, body, status, name) in cases {
            let mut headers = vec![("authorization", token)];
            headers.extend_from_slice(more);
            let reply = hub.call(method, &path, &headers, body.to_owned()).await;
            assert_eq!(reply.status, status, "{path} {reply:?}");
            let error = reply.json();
            let message = error["Message"].as_str().expect("text");
            assert!(message.starts_with(&format!("ErrorCode:{name};")), "{message}");
            assert!(error["ExceptionMessage"].as_str().expect("text").starts_with("Tracking ID:"));
        }
        assert_eq!(world.emulator.ledger().messages(), 0);
        assert_eq!(hub.send("dev", &good, "{}").await.status, 204);
    });
}

#[test]
fn each_message_of_a_batch_counts_and_is_stamped() {
    let mut config = immediate();
    config.stamps = true;
    run(config, |world| async move {
        world.dps().await.register("dev").await;
        let mut hub = world.hub().await;
        let headers = [
            ("authorization", &*hub_token(NORTH, "dev")),
            ("content-type", "Application/vnd.microsoft.iothub.json; charset=utf-8"),
        ];
        let batch = r#"[{"body":"e30=","properties":{"IoTHub-MessageId":"a\tb"}},{"body":"","properties":{}},{"body":"e30="}]"#;
        assert_eq!(hub.call(Method::POST, &events_path("dev"), &headers, batch).await.status, 204);
        let ledger = world.emulator.ledger();
        assert_eq!(ledger.count(Operation::HubBatch, 204), 1);
        assert_eq!((ledger.messages(), ledger.hubs["north"].senders), (3, 1));
        let stamps = world.emulator.take_stamps();
        let ids: Vec<String> = stamps
            .lines()
            .map(|line| match Report::parse(line).expect("a line") {
                Report::Stamp(stamp) => stamp.message_id,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, ["a\tb", "", ""]);
    });
}

#[test]
fn a_body_may_be_as_large_as_the_limit_and_not_a_byte_larger() {
    run(immediate(), |world| async move {
        world.dps().await.register("dev").await;
        let token = hub_token(NORTH, "dev");
        // The message id of three bytes counts.
        for (size, status) in
            [(MAX_MESSAGE - 3, 204), (MAX_MESSAGE - 2, 413), (MAX_MESSAGE, 413), (MAX_MESSAGE + 1, 413)]
        {
            let reply = world.hub().await.send("dev", &token, vec![b'x'; size]).await;
            assert_eq!(reply.status, status, "{size}");
        }
        let (head, tail) = ("{\"registrationId\":\"dev\",\"payload\":\"", "\"}");
        for (size, status) in [(96 * 1024, 200), (96 * 1024 + 1, 413)] {
            let body = format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()));
            let headers = [("authorization", dps_token("dev"))];
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            let reply =
                world.dps().await.call(Method::PUT, &register_path(SCOPE, "dev"), &headers, body).await;
            assert_eq!(reply.status, status, "{size}");
        }
    });
}

/// Writes `bytes` to a new connection and reads what comes back until the emulator is done with it.
async fn raw(world: &World, host: &str, bytes: &[u8]) -> String {
    let mut stream = world.network.dial(host).expect("somebody listens");
    // The emulator may have hung up before all was written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn a_body_that_claims_four_gibibytes_is_refused_before_it_comes() {
    run(immediate(), |world| async move {
        let head =
            format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Length: 4294967296\r\n\r\n", events_path("dev"));
        let before = world.clock.now();
        let answer = raw(&world, NORTH, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert_eq!(world.clock.now(), before, "at once");
    });
}

#[test]
fn chunked_bodies_get_with_a_body_and_pipelined_requests_are_served() {
    run(config(), |world| async move {
        let request = |verb: &str, path: &str, token: &str, rest: &str| {
            format!("{verb} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n{rest}")
        };
        let token = dps_token("dev");
        let chunked =
            "Transfer-Encoding: chunked\r\n\r\n10\r\n{\"registrationId\r\n8\r\n\":\"dev\"}\r\n0\r\n\r\n";
        let mut bytes = request("PUT", &register_path(SCOPE, "dev"), &token, chunked);
        let poll = operation_path(SCOPE, "dev", "5.unknown");
        bytes += &request("GET", &poll, &token, "Content-Length: 2\r\n\r\n{}");
        bytes += &request("GET", &poll, &token, "Connection: close\r\n\r\n");
        let answer = raw(&world, DPS_HOST, bytes.as_bytes()).await;
        let statuses: Vec<&str> = answer.matches("HTTP/1.1 ").collect();
        assert_eq!(statuses.len(), 3, "{answer}");
        assert!(
            answer.starts_with("HTTP/1.1 202") && answer.matches("HTTP/1.1 404").count() == 2,
            "{answer}"
        );
    });
}

#[test]
fn whoever_stops_in_the_middle_is_let_go_and_does_not_stay_for_ever() {
    run(immediate(), |world| async move {
        let elapsed = |since| world.clock.now().since(since);
        // Nothing at all, and a head that never ends.
        for bytes in ["", "PUT /x HTTP/1.1\r\nHost: x\r\n"] {
            let start = world.clock.now();
            raw(&world, DPS_HOST, bytes.as_bytes()).await;
            assert!((IDLE..IDLE + seconds(3)).contains(&elapsed(start)), "{:?}", elapsed(start));
        }
        // A head that comes in drops does not live longer for that.
        let start = world.clock.now();
        let mut stream = world.network.dial(DPS_HOST).expect("somebody listens");
        stream.write_all(b"PUT /x HTTP/1.1\r\n").await.expect("it is read");
        while stream.write_all(b"a: b\r\n").await.is_ok() {
            world.clock.sleep(seconds(1)).await;
        }
        assert!(elapsed(start) < IDLE + seconds(5), "{:?}", elapsed(start));
        // A body that does not come is told so.
        let start = world.clock.now();
        let head =
            format!("PUT {} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{{", register_path(SCOPE, "dev"));
        let answer = raw(&world, DPS_HOST, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(elapsed(start) < BODY_DEADLINE + seconds(3));
        assert_eq!(world.emulator.ledger().idle_closed, 3);
        // A connection that is used stays.
        let mut dps = world.dps().await;
        for _ in 0..5 {
            world.clock.sleep(IDLE - seconds(1)).await;
            assert_eq!(dps.register("dev").await.status, 200);
        }
    });
}

#[test]
fn the_emulator_still_serves_after_any_nonsense() {
    run(immediate(), |world| async move {
        let good = format!(
            "PUT {} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 24\r\n\r\n{}",
            register_path(SCOPE, "dev"),
            dps_token("dev"),
            body_of("dev")
        );
        let mut chance = rng::stream(1, "nonsense", 0, Purpose::Payload);
        let mut inputs: Vec<Vec<u8>> = vec![
            vec![0; 1024 * 1024],
            format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(1024 * 1024)).into_bytes(),
            format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100_000)).into_bytes(),
            format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(1024 * 1024)).into_bytes(),
            b"POST /devices/d/messages/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".to_vec(),
        ];
        for _ in 0..300 {
            let mut noise = vec![0; chance.below(2_000) as usize];
            chance.fill(&mut noise);
            inputs.push(noise);
            // A good request with one byte changed, or cut off.
            let mut broken = good.clone().into_bytes();
            let at = chance.below(broken.len() as u64) as usize;
            broken[at] = chance.below(256) as u8;
            inputs.push(broken);
            inputs.push(good.as_bytes()[..at].to_vec());
        }
        for input in inputs {
            let mut stream = world.network.dial(DPS_HOST).expect("somebody listens");
            let _ = stream.write_all(&input).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            // One 400 at most says what hyper thinks of it; no answer is larger than an error.
            assert!(answer.len() < 2_000 || answer.starts_with(b"HTTP/1.1 2"), "{}", answer.len());
        }
        assert_eq!(world.dps().await.register("other").await.status, 200);
        assert!(world.emulator.ledger().malformed > 100);
    });
}

#[test]
fn a_frozen_service_answers_everything_when_it_thaws() {
    let mut config = immediate();
    config.stamps = true;
    run(config, |world| async move {
        world.dps().await.register("dev").await;
        let start = world.clock.now();
        let (from, until) = (start + seconds(1), start + seconds(150));
        world.emulator.freeze(from, until);
        let mut hub = world.hub().await;
        let token = hub_token(NORTH, "dev");
        let at = |offset: u64| start + seconds(offset);
        assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        assert_eq!(world.clock.now(), start);
        world.clock.sleep_until(at(2)).await;
        // Longer than an idle connection may live: one that waits for an answer is not idle.
        assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        assert_eq!(world.clock.now(), until);
        assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        assert_eq!(world.clock.now(), until);
        let residence: Vec<Duration> = world
            .emulator
            .take_stamps()
            .lines()
            .map(|line| match Report::parse(line).expect("a line") {
                Report::Stamp(stamp) => stamp.answered.since(stamp.arrived),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(residence, [Duration::ZERO, seconds(148), Duration::ZERO]);
    });
}

#[test]
fn a_request_whose_client_leaves_is_counted_as_abandoned() {
    run(immediate(), |world| async move {
        let start = world.clock.now();
        world.emulator.freeze(start, start + seconds(10));
        let mut stream = world.network.dial(DPS_HOST).expect("somebody listens");
        let request = format!("PUT {} HTTP/1.1\r\nHost: x\r\n\r\n", register_path(SCOPE, "dev"));
        stream.write_all(request.as_bytes()).await.expect("it is read");
        world.clock.sleep(seconds(1)).await;
        drop(stream);
        world.clock.sleep(seconds(20)).await;
        let ledger = world.emulator.ledger();
        assert_eq!((ledger.abandoned, ledger.requests.len()), (1, 0));
    });
}

#[test]
fn two_runs_with_one_seed_are_the_same_to_the_last_byte() {
    let transcript = || {
        let mut config = two_hubs();
        config.stamps = true;
        config.dps.assign = crate::rng::Distribution::Lognormal { median: 0.8, p99: 4.0 };
        run(config, |world| async move {
            let world = Rc::new(world);
            let devices: Vec<_> = (0..20u64)
                .map(|n| {
                    let world = Rc::clone(&world);
                    tokio::task::spawn_local(async move {
                        let id = format!("dev-{n}");
                        world.clock.sleep(Duration::from_millis(n * 7 % 50)).await;
                        let mut dps = world.dps().await;
                        let mut seen = vec![dps.register(&id).await];
                        let operation = seen[0].json()["operationId"].as_str().expect("an id").to_owned();
                        let hub = loop {
                            world.clock.sleep(seconds(1)).await;
                            let reply = dps.poll(&id, &operation).await;
                            let state = reply.json()["registrationState"].clone();
                            seen.push(reply);
                            if let Some(hub) = state["assignedHub"].as_str() {
                                break hub.to_owned();
                            }
                        };
                        let mut client = Client::connect(&world.network, &hub).await;
                        seen.push(client.send(&id, &hub_token(&hub, &id), "{}").await);
                        seen.push(client.send(&id, "nonsense", "{}").await);
                        format!("{seen:?}")
                    })
                })
                .collect();
            let mut all = Vec::new();
            for device in devices {
                all.push(device.await.expect("no panic"));
            }
            (all, world.emulator.take_stamps(), world.emulator.ledger())
        })
    };
    let (first, second) = (transcript(), transcript());
    assert!(first.2.hubs.values().all(|hub| hub.messages > 0), "both hubs are used");
    assert_eq!(first, second);
}
