//! What DPS and hubs admit, and what they say to what is too much.

use super::*;
use crate::rng::Distribution;

/// At once assigned, by a DPS that admits 600 registrations a minute: 100 together.
fn limited() -> Config {
    let mut config = immediate();
    config.dps.registrations = Some("600/min".parse().expect("a rate"));
    config
}

fn sized(tier: Tier) -> Config {
    let mut config = immediate();
    config.hubs[0].size = Some(HubSize { tier, units: 1 });
    config
}

#[test]
fn a_registration_too_many_is_told_when_to_come_back() {
    run(limited(), |world| async move {
        let mut dps = world.dps().await;
        for n in 0..100 {
            assert_eq!(dps.register(&format!("dev-{n}")).await.status, 200);
        }
        let refused = dps.register("dev-100").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "3"));
        assert_eq!(refused.header("x-ms-error-code"), "429001");
        assert_eq!(refused.json()["errorCode"], error_code::THROTTLED);
        // A wrong token is no registration, and takes none away.
        let path = register_path(SCOPE, "dev-100");
        let wrong = dps.call(Method::PUT, &path, &[("authorization", &dps_token("dev-1"))], "").await;
        assert_eq!(wrong.status, 401);
        world.clock.sleep(seconds(3)).await;
        let mut admitted = 0;
        for n in 100..200 {
            admitted += u32::from(dps.register(&format!("dev-{n}")).await.status == 200);
        }
        assert_eq!(admitted, 30);
        let ledger = world.emulator.ledger();
        assert_eq!((ledger.assigned, ledger.registrations_throttled, ledger.polls_throttled), (130, 71, 0));
        assert_eq!(ledger.count(Operation::DpsRegister, 429), 71);
    });
}

#[test]
fn a_service_that_names_no_wait_names_none_when_it_throttles() {
    let mut config = limited();
    config.dps.retry_after = None;
    run(config, |world| async move {
        let mut dps = world.dps().await;
        for _ in 0..100 {
            dps.register("dev").await;
        }
        let refused = dps.register("dev").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, ""));
    });
}

#[test]
fn a_device_that_polls_too_often_is_throttled_and_its_registrations_are_not() {
    let mut config = limited();
    config.dps.assign = crate::rng::Distribution::Constant(60.0);
    run(config, |world| async move {
        let mut dps = world.dps().await;
        let operation = |answer: &Answer| answer.json()["operationId"].as_str().expect("an id").to_owned();
        let first = operation(&dps.register("dev").await);
        for _ in 0..5 {
            assert_eq!(dps.poll("dev", &first).await.status, 202);
        }
        world.clock.sleep(Duration::from_millis(2_500)).await;
        let refused = dps.poll("dev", &first).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, "8"), "7.5 s until there is room");
        let other = operation(&dps.register("other").await);
        assert_eq!(dps.poll("other", &other).await.status, 202);
        // A new operation is no way around it.
        let second = operation(&dps.register("dev").await);
        assert_eq!(dps.poll("dev", &second).await.status, 429);
        world.clock.sleep(seconds(8)).await;
        assert_eq!(dps.poll("dev", &second).await.status, 202);
        let ledger = world.emulator.ledger();
        assert_eq!((ledger.registrations_throttled, ledger.polls_throttled), (0, 2));
    });
}

#[test]
fn polls_are_not_limited_where_registrations_are_not() {
    run(config(), |world| async move {
        let mut dps = world.dps().await;
        let operation = dps.register("dev").await.json()["operationId"].as_str().expect("an id").to_owned();
        for _ in 0..50 {
            assert_eq!(dps.poll("dev", &operation).await.status, 202);
        }
    });
}

#[test]
fn a_hub_over_its_limit_holds_messages_and_then_refuses_them() {
    let mut config = sized(Tier::S1);
    config.stamps = true;
    run(config, |world| async move {
        world.dps().await.register("dev").await;
        let service = world.emulator.service();
        // As if 5,999 messages had just come from elsewhere.
        for _ in 0..5_999 {
            service.admit_message(0, world.clock.now(), world.clock.wall(), 1);
        }
        let (mut hub, token) = (world.hub().await, hub_token(NORTH, "dev"));
        let start = world.clock.now();
        assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        assert_eq!(world.clock.now(), start, "the last of the burst");
        assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        assert_eq!(world.clock.now().since(start), Duration::from_millis(10));
        for _ in 0..1_000 {
            service.admit_message(0, world.clock.now(), world.clock.wall(), 1);
        }
        let refused = hub.send("dev", &token, "{}").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, ""));
        assert_eq!(refused.header("x-ms-error-code"), "429001");
        let message = refused.json()["Message"].as_str().expect("a text").to_owned();
        assert!(message.starts_with("ErrorCode:ThrottlingException;"), "{message}");
        let lines = world.emulator.take_stamps();
        let residences: Vec<Duration> = lines
            .lines()
            .map(|line| match Report::parse(line) {
                Ok(Report::Stamp(stamp)) => stamp.answered.since(stamp.arrived),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(residences, [Duration::ZERO, Duration::from_millis(10)], "the queue is part of it");
        let north = &world.emulator.ledger().hubs["north"];
        assert_eq!(north.messages, 2, "only what came through the door is in its books");
        let throttle = north.throttle.expect("limits");
        assert_eq!((throttle.messages_held, throttle.messages_refused, throttle.metered), (1_001, 1, 7_001));
    });
}

#[test]
fn a_connection_counts_when_a_device_first_proves_itself_on_it() {
    run(sized(Tier::S1), |world| async move {
        world.dps().await.register("dev").await;
        let service = world.emulator.service();
        for _ in 0..999 {
            service.admit_connection(0, world.clock.now());
        }
        let (mut hub, token) = (world.hub().await, hub_token(NORTH, "dev"));
        let start = world.clock.now();
        // Whoever has not proved himself takes nothing from the limit.
        assert_eq!(hub.send("dev", "nothing", "{}").await.status, 401);
        for _ in 0..3 {
            assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        }
        assert_eq!(world.clock.now(), start);
        let mut second = world.hub().await;
        assert_eq!(second.send("dev", &token, "{}").await.status, 204);
        assert_eq!(world.clock.now().since(start), Duration::from_millis(10));
        for _ in 0..1_000 {
            service.admit_connection(0, world.clock.now());
        }
        let mut third = world.hub().await;
        assert_eq!(third.send("dev", &token, "{}").await.status, 429);
        // The connection stays open, and may try again.
        world.clock.sleep(seconds(1)).await;
        assert_eq!(third.send("dev", &token, "{}").await.status, 204);
        let throttle = world.emulator.ledger().hubs["north"].throttle.expect("limits");
        assert_eq!((throttle.connections_held, throttle.connections_refused), (1_002, 1));
    });
}

#[test]
fn a_hub_out_of_quota_says_so_until_the_next_day_in_utc() {
    run(sized(Tier::F1), |world| async move {
        world.dps().await.register("dev").await;
        let mut hub = world.hub().await;
        let long = |world: &World| {
            let expiry = world.clock.wall() + seconds(3_600);
            token(&derived(PRIMARY, "dev"), &hub_resource(NORTH, "dev"), ResourceSpelling::Raw, expiry)
        };
        // With the message id of three bytes, 500 of the meter's half kilobytes each.
        let payload = "x".repeat(500 * 512 - 3);
        for _ in 0..16 {
            assert_eq!(hub.send("dev", &long(&world), payload.clone()).await.status, 204);
        }
        let refused = hub.send("dev", &long(&world), "x").await;
        assert_eq!((refused.status, refused.header("x-ms-error-code")), (403, "403002"));
        let message = refused.json()["Message"].as_str().expect("a text").to_owned();
        assert!(message.starts_with("ErrorCode:IotHubQuotaExceeded;"), "{message}");
        let batch = r#"[{"body":"eHg="},{"body":"eHg=","properties":{"iothub-app-a":"1"}}]"#;
        let headers =
            |token: &str| [("authorization", token.to_owned()), ("content-type", BATCH_CONTENT_TYPE.into())];
        let send_batch = async |world: &World| {
            let mut hub = world.hub().await;
            let headers = headers(&long(world));
            let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
            hub.call(Method::POST, &events_path("dev"), &headers, batch).await.status
        };
        assert_eq!(send_batch(&world).await, 403);
        let before = world.emulator.ledger().hubs["north"].throttle.expect("limits");
        assert_eq!((before.metered, before.over_quota), (8_000, 3));
        // Simulated runs begin at midnight.
        world.clock.sleep(seconds(86_400)).await;
        assert_eq!(send_batch(&world).await, 204);
        let after = world.emulator.ledger().hubs["north"].throttle.expect("limits");
        assert_eq!((after.metered, after.over_quota), (8_002, 3));
    });
}

#[test]
fn a_hub_that_takes_its_time_answers_that_much_later_and_the_stamp_has_it() {
    let mut config = immediate();
    config.hubs[0].delay = Distribution::Constant(0.25);
    config.stamps = true;
    run(config, |world| async move {
        world.dps().await.register("dev").await;
        let (mut hub, token) = (world.hub().await, hub_token(NORTH, "dev"));
        let start = world.clock.now();
        assert_eq!(hub.send("dev", &token, "{}").await.status, 204);
        assert_eq!(world.clock.now().since(start), Duration::from_millis(250));
        let line = world.emulator.take_stamps();
        let Ok(Report::Stamp(stamp)) = Report::parse(line.trim_end()) else { panic!("{line}") };
        assert_eq!(stamp.answered.since(stamp.arrived), Duration::from_millis(250));
    });
}
