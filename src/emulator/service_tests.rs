use super::*;
use crate::azure::dps::substatus;
use crate::azure::keys::SigningKey;
use crate::azure::sas::ResourceSpelling;
use crate::emulator::config::{Allocation, Attestation, Enrollment, Reprovision};
use crate::emulator::fixture::*;
use crate::rng::Distribution;

const START: Instant = Instant::from_nanos(1_000_000_000_000);
const WALL: UnixTime = UnixTime::from_nanos(1_767_225_600_000_000_000);

fn service(config: &Config) -> Service {
    Service::new(config, &[]).expect("a service")
}

fn attest(service: &Service, id: &str, key: &SigningKey) -> Result<Attested, DpsRefusal> {
    let token = token(key, &dps_resource(SCOPE, id), ResourceSpelling::UpperCaseHex, VALID);
    service.authenticate_registration(SCOPE, id, Some(&token), WALL)
}

fn attested(service: &Service, id: &str) -> Attested {
    attest(service, id, &derived(PRIMARY, id)).expect("a good token")
}

/// Registers and polls until it is done; immediate services need no poll.
fn assign(service: &Service, who: &Attested) -> RegistrationState {
    let mut progress = service.register(START, WALL, who).expect("no limit");
    for _ in 0..100 {
        match progress {
            Progress::Done { state, .. } => return *state,
            Progress::Assigning { operation_id, .. } => {
                let later = START + seconds(3_600);
                progress = service.poll(later, who, &operation_id.to_string()).expect("a known operation");
            }
        }
    }
    panic!("never assigned");
}

#[test]
fn every_way_to_spell_and_sign_a_registration_is_let_in() {
    let service = service(&config());
    for spelling in [ResourceSpelling::UpperCaseHex, ResourceSpelling::LowerCaseHex, ResourceSpelling::Raw] {
        for (id, key) in [
            ("dev:1", derived(PRIMARY, "dev:1")),
            ("dev:1", derived(SECONDARY, "dev:1")),
            ("DEV:1", derived(PRIMARY, "DEV:1")),
            ("DEV:1", derived(PRIMARY, "dev:1")),
            ("gateway-1", own_key()),
            ("GATEWAY-1", own_key()),
        ] {
            let token = token(&key, &dps_resource(SCOPE, id), spelling, VALID);
            let result = service.authenticate_registration(SCOPE, id, Some(&token), WALL);
            assert!(result.is_ok(), "{id} {spelling:?}: {result:?}");
        }
    }
}

#[test]
fn whoever_is_not_enrolled_is_refused_with_the_code_of_the_reason() {
    let mut config = config();
    let other = Attestation::Group { primary: secret(INDIVIDUAL), secondary: None };
    config.enrollments.push(Enrollment { enabled: false, ..enrollment("off", other) });
    let service = service(&config);
    let raw = ResourceSpelling::Raw;
    let good = |id: &str| dps_token(id);
    let resource = dps_resource(SCOPE, "dev");
    for (scope, id, token, expected) in [
        ("0ne0other", "dev", Some(good("dev")), error_code::NOT_FOUND),
        (SCOPE, "de v", Some(good("dev")), error_code::INVALID_ARGUMENT),
        (SCOPE, "dev.", Some(good("dev.")), error_code::INVALID_ARGUMENT),
        (SCOPE, "dev", None, error_code::UNAUTHORIZED),
        (SCOPE, "dev", Some("Bearer abc".to_owned()), error_code::UNAUTHORIZED),
        (SCOPE, "dev", Some(good("other")), error_code::UNAUTHORIZED),
        (
            SCOPE,
            "dev",
            Some(token(&derived(PRIMARY, "dev"), "elsewhere/registrations/dev", raw, VALID)),
            error_code::UNAUTHORIZED,
        ),
        (
            SCOPE,
            "dev",
            Some(token(&derived(PRIMARY, "dev"), &resource, raw, EXPIRED)),
            error_code::UNAUTHORIZED,
        ),
        // The group's key itself authenticates nobody.
        (
            SCOPE,
            "dev",
            Some(token(&SigningKey::from_base64(PRIMARY).expect("a key"), &resource, raw, VALID)),
            error_code::UNAUTHORIZED,
        ),
        // A disabled individual entry shuts out a device of the group, whatever it signs with.
        (SCOPE, "locked-1", Some(good("locked-1")), error_code::DISABLED),
        (SCOPE, "LOCKED-1", Some(good("LOCKED-1")), error_code::DISABLED),
        // An individual entry comes before the group: the derived key no longer counts.
        (SCOPE, "gateway-1", Some(good("gateway-1")), error_code::UNAUTHORIZED),
        // A disabled group is told only to those who hold its key.
        (SCOPE, "dev", Some(token(&derived(INDIVIDUAL, "dev"), &resource, raw, VALID)), error_code::DISABLED),
    ] {
        let result = service.authenticate_registration(scope, id, token.as_deref(), WALL);
        assert_eq!(result.map(|_| ()).map_err(|refusal| refusal.code), Err(expected), "{scope} {id}");
    }
}

#[test]
fn an_assignment_waits_for_its_delay_and_for_its_polls() {
    let mut config = config();
    config.dps.polls = Distribution::Constant(2.0);
    let service = service(&config);
    let who = attested(&service, "dev");
    let Progress::Assigning { operation_id, retry_after } =
        service.register(START, WALL, &who).expect("no limit")
    else {
        panic!("assigning");
    };
    assert_eq!(retry_after, Some(seconds(3)));
    let id = operation_id.to_string();
    let is_done = |at: u64| {
        let progress = service.poll(START + seconds(at), &who, &id).expect("a known operation");
        matches!(progress, Progress::Done { .. })
    };
    assert!(!is_done(1), "two polls are left");
    assert!(!is_done(1), "one poll is left");
    assert!(!is_done(1), "the delay is not over");
    assert!(is_done(2));
    assert!(is_done(2), "the result can be asked for again");
    assert_eq!(service.assignments(), (1, 0));
}

#[test]
fn the_state_of_an_assigned_device_has_every_field_of_the_real_one() {
    let service = service(&config());
    let state = assign(&service, &attested(&service, "dev"));
    let json = serde_json::to_value(&state).expect("JSON");
    for (field, expected) in [
        ("registrationId", "dev"),
        ("createdDateTimeUtc", "2026-01-01T00:00:00.0000000Z"),
        ("lastUpdatedDateTimeUtc", "2026-01-01T00:00:02.0000000Z"),
        ("assignedHub", NORTH),
        ("deviceId", "dev"),
        ("status", "assigned"),
        ("substatus", "initialAssignment"),
    ] {
        assert_eq!(json[field], expected, "{field}");
    }
    assert_eq!(json["symmetricKey"]["enrollmentGroupId"], "plant");
    let etag = json["etag"].as_str().expect("text");
    assert!(etag.len() == 38 && etag.starts_with('"') && etag.ends_with('"'), "{etag}");
}

#[test]
fn an_operation_id_looks_like_the_real_service_s() {
    let service = service(&config());
    let who = attested(&service, "dev");
    let Progress::Assigning { operation_id, .. } = service.register(START, WALL, &who).expect("no limit")
    else {
        panic!("assigning");
    };
    let text = operation_id.to_string();
    let lengths: Vec<usize> = text.split(['.', '-']).map(str::len).collect();
    assert_eq!(lengths, [1, 16, 8, 4, 4, 4, 12], "{text}");
    assert!(text.starts_with("5."));
}

#[test]
fn a_later_registration_makes_the_earlier_operation_unknown() {
    let service = service(&config());
    let who = attested(&service, "dev");
    let Progress::Assigning { operation_id: first, .. } =
        service.register(START, WALL, &who).expect("no limit")
    else {
        panic!("assigning");
    };
    service.register(START, WALL, &who).expect("no limit");
    let error = service.poll(START, &who, &first.to_string()).expect_err("forgotten");
    assert_eq!(error.code, error_code::NOT_FOUND);
    let other = attested(&service, "other");
    assert!(service.poll(START, &other, &first.to_string()).is_err(), "nor is it another's");
}

#[test]
fn a_device_that_registers_again_is_told_what_became_of_its_data() {
    // With hubs drawn by weight, some registrations come back to their hub and others move.
    for (policy, moved) in [
        (Reprovision::Migrate, Some(substatus::DEVICE_DATA_MIGRATED)),
        (Reprovision::Reset, Some(substatus::DEVICE_DATA_RESET)),
        (Reprovision::Never, None),
    ] {
        let mut config = two_hubs();
        config.allocation = Allocation::Weighted;
        config.enrollments[0].reprovision = policy;
        let service = service(&config);
        let (mut moves, mut stays) = (0, 0);
        for n in 0..40 {
            let who = attested(&service, &format!("dev-{n}"));
            let first = assign(&service, &who);
            assert_eq!(first.substatus.as_deref(), Some(substatus::INITIAL_ASSIGNMENT));
            let second = assign(&service, &who);
            let expected = match moved {
                None => substatus::INITIAL_ASSIGNMENT,
                Some(_) if first.assigned_hub == second.assigned_hub => substatus::REPROVISIONED,
                Some(moved) => moved,
            };
            assert_eq!(second.substatus.as_deref(), Some(expected), "{policy:?}");
            if first.assigned_hub == second.assigned_hub { stays += 1 } else { moves += 1 }
        }
        assert_eq!(moves == 0, policy == Reprovision::Never, "{policy:?}: {moves} moves, {stays} stays");
        // Nobody lives in two hubs.
        assert_eq!(service.hub_figures().map(|hub| hub.devices).sum::<u64>(), 40);
    }
}

#[test]
fn an_enrollment_may_have_an_allocation_of_its_own() {
    let mut config = two_hubs();
    config.enrollments[0].allocation = Some(Allocation::Static("south".to_owned()));
    config.enrollments[1].allocation = Some(Allocation::Static("nowhere".to_owned()));
    let service = service(&config);
    let state = assign(&service, &attested(&service, "dev"));
    assert_eq!(state.assigned_hub.as_deref(), Some("south.azure-devices.localhost"));
    let gateway = attest(&service, "gateway-1", &own_key()).expect("a good token");
    let failed = assign(&service, &gateway);
    assert_eq!((failed.status.as_deref(), failed.error_code), (Some("failed"), Some(error_code::NO_HUB)));
    assert_eq!(service.assignments(), (1, 1));
}

#[test]
fn a_lookup_tells_the_last_known_state() {
    let service = service(&config());
    let who = attested(&service, "dev");
    assert_eq!(service.lookup(START, &who).expect_err("unknown").code, error_code::NOT_FOUND);
    service.register(START, WALL, &who).expect("no limit");
    assert_eq!(service.lookup(START, &who).expect("a state").status.as_deref(), Some("assigning"));
    let later = service.lookup(START + seconds(2), &who).expect("a state");
    assert_eq!(later.status.as_deref(), Some("assigned"));
    service.register(START + seconds(9), WALL, &who).expect("no limit");
    let again = service.lookup(START + seconds(9), &who).expect("a state");
    assert_eq!(again.substatus.as_deref(), Some(substatus::INITIAL_ASSIGNMENT), "while it is assigned again");
}

#[test]
fn what_is_drawn_does_not_depend_on_who_comes_first() {
    let mut config = two_hubs();
    config.allocation = Allocation::Weighted;
    config.dps.assign = Distribution::Lognormal { median: 0.8, p99: 2.5 };
    let run = |ids: Vec<usize>| {
        let service = service(&config);
        let mut states: Vec<String> = ids
            .into_iter()
            .map(|n| format!("{:?}", assign(&service, &attested(&service, &format!("dev-{n}")))))
            .collect();
        states.sort();
        states
    };
    assert_eq!(run((0..50).collect()), run((0..50).rev().collect()));
}

#[test]
fn the_hub_knows_a_device_by_the_keys_it_registered_with() {
    let mut config = two_hubs();
    config.allocation = Allocation::Static("south".to_owned());
    let names = |port: u16| HubNames {
        advertised: Advertised {
            usual: format!("localhost:{port}"),
            plain: format!("127.0.{port}.1"),
            azure: format!("hub-{port}.azure-devices.net"),
        },
        aliases: vec!["localhost".to_owned(), format!("127.0.0.1:{port}")],
    };
    let service = Service::new(&config, &[names(1001), names(1002)]).expect("a service");
    let who = attest(&service, "DEV", &derived(SECONDARY, "dev")).expect("a good token");
    assert_eq!(assign(&service, &who).assigned_hub.as_deref(), Some("localhost:1002"));
    for (told, name) in [(Told::Plain, "127.0.1002.1"), (Told::Azure, "hub-1002.azure-devices.net")] {
        let state =
            service.lookup(START + seconds(3_600), &who.clone().told(told)).expect("it is registered");
        assert_eq!(state.assigned_hub.as_deref(), Some(name));
    }
    let enter = |host: &str, entrance, key: &SigningKey| {
        let token = token(key, &hub_resource(host, "DEV"), ResourceSpelling::LowerCaseHex, VALID);
        service.authenticate_device(entrance, "DEV", Some(&token), WALL).map_err(|refusal| refusal.error.code)
    };
    for key in [derived(PRIMARY, "dev"), derived(SECONDARY, "dev")] {
        for host in [
            "south.azure-devices.localhost",
            "South.Azure-Devices.localhost:8883",
            "localhost:1002",
            "LOCALHOST:1002",
            "127.0.0.1:1002",
            "127.0.1002.1",
            "Hub-1002.azure-devices.net",
        ] {
            assert!(enter(host, None, &key).is_ok(), "{host}");
        }
        // A name that both hubs have means the one whose listener was called.
        assert!(enter("localhost", Some(1), &key).is_ok());
        assert_eq!(enter("localhost", None, &key), Err(401_002));
        assert_eq!(enter("localhost", Some(0), &key), Err(404_001));
    }
    assert_eq!(enter("localhost:1001", None, &derived(PRIMARY, "dev")), Err(404_001));
    assert_eq!(enter("west.azure-devices.localhost", None, &derived(PRIMARY, "dev")), Err(401_002));
    assert_eq!(enter("localhost:1002", None, &derived(PRIMARY, "other")), Err(401_002));
}

#[test]
fn a_device_id_that_is_quoted_twice_in_its_token_is_known_all_the_same() {
    let mut config = immediate();
    config.enrollments.push(enrollment("odd", individual("odd", Some("a%b=c"))));
    let service = service(&config);
    let who = attest(&service, "odd", &own_key()).expect("a good token");
    assert_eq!(assign(&service, &who).device_id.as_deref(), Some("a%b=c"));
    for resource in [format!("{NORTH}/devices/a%b=c"), format!("{NORTH}/devices/a%25b%3Dc")] {
        let token = token(&own_key(), &resource, ResourceSpelling::UpperCaseHex, VALID);
        let result = service.authenticate_device(None, "a%b=c", Some(&token), WALL);
        assert!(result.is_ok(), "{resource}: {result:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_emulated_is_refused_with_its_fault() {
    let mut none = config();
    none.hubs.clear();
    let mut same = two_hubs();
    same.hubs[1].name = "north".to_owned();
    let mut twice = config();
    twice.enrollments.push(enrollment("more", individual("GATEWAY-1", None)));
    let mut key = config();
    key.enrollments[0].attestation = Attestation::Group { primary: secret("short"), secondary: None };
    for (config, expected) in [(none, "no hub"), (same, "`north`"), (twice, "`GATEWAY-1`"), (key, "`plant`")]
    {
        let error = Service::new(&config, &[]).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
