//! `muster run` on other ways than straight to the host: through a proxy, and to addresses of a connect map.

mod common;

use std::io::Write as _;
use std::time::{Duration, Instant};

use common::proxy::Proxy;
use common::stub::{Stub, assigned, free_port, json};
use common::{Emulator, GROUP_KEY, Place, Ran, acknowledged, step};

const DEVICES: usize = 5;

/// Devices that register over HTTPS with a DPS of that name and send two messages each, with more keys of `[target]`.
fn scenario(dps: &str, target: &str) -> String {
    format!(
        r#"
version = 1
seed = 7
drain = "1s"
[target]
kind = "azure"
dps = "{dps}"
id_scope = "0ne00000001"
{target}
[enrollment.plant]
group_key = {{ env = "GROUP_KEY" }}
[fleet.devices]
count = {DEVICES}
provision = "https"
connect = "https"
start.burst = {{}}
deadline = {{ register = "2s", connect = "2s", send = "2s" }}
[fleet.devices.telemetry]
every = "100ms"
messages = 2
"#
    )
}

fn run(place: &Place, text: &str, arguments: &[&str]) -> Ran {
    let scenario = place.write("way.toml", text);
    let arguments: Vec<&str> = [&[scenario.as_str(), "--no-progress"], arguments].concat();
    let variables = [("GROUP_KEY", GROUP_KEY), ("PASSWORD", "p:ss w@rd")];
    let since = Instant::now();
    let ran = place.run_with(&arguments, &variables);
    assert!(since.elapsed() < Duration::from_secs(30), "far beyond the deadlines of 2 s");
    ran
}

/// A service of that name which assigns every device to `hub` and takes its messages.
fn service(name: &str, hub: &str) -> Stub {
    let hub = hub.to_owned();
    Stub::https_as(name, move |head, _| {
        if head.starts_with("POST /devices/any/messages/events") {
            json("204 No Content", "", "")
        } else {
            assigned(&hub)
        }
    })
}

/// The phases of opening connections to a party, in their order.
fn phases(ran: &Ran, party: &str) -> Vec<String> {
    let phases = ran.result()["total"]["phases"].as_array().expect("phases");
    let of_party = phases.iter().filter(|phase| phase["party"] == party);
    of_party.map(|phase| phase["phase"].as_str().expect("a name").to_owned()).collect()
}

fn all_arrived(ran: &Ran) {
    let result = ran.passes().result();
    assert_eq!(acknowledged(result, "register"), DEVICES as u64, "{}", ran.stdout);
    assert_eq!(acknowledged(result, "send"), 2 * DEVICES as u64, "{}", ran.stdout);
    assert_eq!(result["headline"]["unaccounted"], 0);
}

#[test]
fn a_run_goes_through_a_proxy_to_an_emulator() {
    let place = Place::new();
    let file = place.write("at-once.toml", "version = 1\n[emulator.dps]\nassign = \"0s\"\n");
    let emulator = Emulator::start(&place, &[&file, "--group", "plant"]);
    let proxy = Proxy::open();
    let target = format!("ca_file = \"emu/ca.pem\"\nproxy = \"http://localhost:{}\"", proxy.port);
    let text = scenario(&emulator.dps, &target);
    let ran = run(&place, &text.replace("{ env = \"GROUP_KEY\" }", "{ file = \"emu/plant.key\" }"), &[]);
    all_arrived(&ran);
    for party in ["dps", "hub"] {
        assert_eq!(phases(&ran, party), ["tcp", "proxy", "tls"]);
    }
    ran.shows(&["dps proxy", "hub proxy", "Connections were made through the proxy localhost:"]);
    let ledger = emulator.stop();
    assert_eq!(ledger["hubs"]["hub"]["messages"], 2 * DEVICES, "{ledger}");
    let requests = proxy.requests();
    assert_eq!(requests.len(), 2 * DEVICES, "one for each connection: {requests:?}");
    for request in requests {
        assert!(request.starts_with("CONNECT 127.0.0.1:") && !request.contains("Authorization"), "{request}");
    }
}

#[test]
fn a_mapped_host_keeps_its_name_and_goes_elsewhere_with_and_without_a_proxy() {
    // No resolver knows either (RFC 6761).
    let (dps, hub) = ("dps.invalid", "contoso.azure-devices.invalid");
    let (dps_stub, hub_stub) = (service(dps, hub), service(hub, hub));
    let proxy = Proxy::open();
    let map = format!(
        "ca_file = \"ca.pem\"\nconnect = {{ \"DPS.invalid:443\" = \"127.0.0.1:{}\", \"{hub}\" = \"localhost:{}\" }}",
        dps_stub.port, hub_stub.port
    );
    let through = format!("{map}\nproxy = \"http://127.0.0.1:{}\"", proxy.port);
    for (target, phases_of_each) in [(&map, &["tcp", "tls"][..]), (&through, &["tcp", "proxy", "tls"])] {
        let place = Place::new();
        place.write("ca.pem", &(dps_stub.ca_pem.clone() + &hub_stub.ca_pem));
        let before = (dps_stub.requests().len(), hub_stub.requests().len());
        // Nobody has to confirm it: all of it stays on this machine, and so no hub has to be allowed either.
        let ran = run(&place, &scenario(dps, target), &[]);
        all_arrived(&ran);
        for party in ["dps", "hub"] {
            assert_eq!(phases(&ran, party), phases_of_each);
        }
        ran.shows(&[&format!("{hub} at localhost:{}", hub_stub.port)]);
        for (stub, name, before) in [(&dps_stub, dps, before.0), (&hub_stub, hub, before.1)] {
            let requests = stub.requests();
            assert!(requests.len() >= before + DEVICES);
            for request in &requests[before..] {
                let request = request.to_ascii_lowercase();
                assert!(request.contains(&format!("\r\nhost: {name}\r\n")), "{request}");
                let resource =
                    if name == dps { "sr=0ne00000001%2f" } else { "sr=contoso.azure-devices.invalid%2f" };
                assert!(request.contains(resource), "{request}");
            }
        }
    }
    let requests = proxy.requests();
    assert_eq!(requests.len(), 2 * DEVICES);
    for request in requests {
        let port = if request.contains(&dps_stub.port.to_string()) { dps_stub.port } else { hub_stub.port };
        let expected = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        assert_eq!(request, expected);
    }
}

#[test]
fn a_hub_of_the_embedded_emulator_may_have_any_name() {
    let place = Place::new();
    let text = "version = 1\n[fleet.devices]\ncount = 5\nstart.burst = {}\n\
                telemetry = { every = \"100ms\", messages = 2 }\n[emulator.dps]\nassign = \"0s\"\n\
                [emulator.hub.north]\nhost = \"Contoso.azure-devices.net\"\n";
    all_arrived(&run(&place, text, &[]));
}

#[test]
fn the_name_goes_to_the_proxy_and_to_no_resolver_here() {
    let (dps, hub) = ("dps.invalid", "contoso.azure-devices.invalid");
    let (dps_stub, hub_stub) = (service(dps, hub), service(hub, hub));
    let ports = [(format!("{dps}:443"), dps_stub.port), (format!("{hub}:443"), hub_stub.port)];
    // A proxy that knows where they are.
    let proxy = Proxy::answering(move |head, client| {
        let target = head.split(' ').nth(1).expect("a target");
        let (_, port) = ports.iter().find(|(host, _)| host == target).expect("one of the two");
        let server = std::net::TcpStream::connect(("127.0.0.1", *port)).expect("it listens");
        client.write_all(b"HTTP/1.0 200 OK\n\n").expect("a client");
        let (from, to) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
        std::thread::spawn(move || std::io::copy(&mut &from, &mut &to));
        let _ = std::io::copy(&mut &server, &mut &*client);
    });
    let place = Place::new();
    place.write("ca.pem", &(dps_stub.ca_pem.clone() + &hub_stub.ca_pem));
    let target = format!(
        "ca_file = \"ca.pem\"\nallow = [\"*.azure-devices.invalid\"]\nproxy = \"http://127.0.0.1:{}\"",
        proxy.port
    );
    let text = scenario(dps, &target);
    // The proxy is here, and what it connects to is not.
    run(&place, &text, &[]).ends_with(3).tells(&["not confirmed"]);
    assert_eq!(proxy.requests(), Vec::<String>::new());
    let ran = run(&place, &text, &["--yes"]);
    all_arrived(&ran);
    assert_eq!(phases(&ran, "hub"), ["tcp", "proxy", "tls"]);
}

#[test]
fn credentials_arrive_at_the_proxy_and_nowhere_else() {
    use base64::Engine as _;
    let place = Place::new();
    let stub = service("localhost", "localhost:1");
    place.write("ca.pem", &stub.ca_pem);
    let encoded = base64::engine::general_purpose::STANDARD.encode("user@with/signs:p:ss w@rd");
    let proxy = Proxy::open();
    let target = format!(
        "ca_file = \"ca.pem\"\nproxy = \"http://user%40with%2Fsigns:${{env:PASSWORD}}@127.0.0.1:{}\"",
        proxy.port
    );
    let ran = run(&place, &scenario(&format!("localhost:{}", stub.port), &target), &["-vv"]);
    assert_eq!(acknowledged(ran.result(), "register"), DEVICES as u64);
    for request in proxy.requests() {
        assert!(request.contains(&format!("\r\nProxy-Authorization: Basic {encoded}\r\n")), "{request}");
    }
    for request in stub.requests() {
        assert!(!request.to_ascii_lowercase().contains("proxy-authorization"), "{request}");
    }
}

/// What comes of devices that want to reach a DPS through `proxy`.
fn refused_by(proxy: &Proxy) -> Ran {
    let place = Place::new();
    let target = format!("proxy = \"http://user:${{env:PASSWORD}}@127.0.0.1:{}\"", proxy.port);
    run(&place, &scenario("localhost:9", &target), &["-vv"])
}

/// Asserts that no device was assigned, whose fault it is, and that nothing of the password is told.
fn all_fail(ran: &Ran, owner: &str, class: &str, texts: &[&str]) {
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    let result = ran.result();
    assert_eq!(step(result, "register")["failed"], DEVICES, "{}", ran.stdout);
    assert_eq!(result["headline"]["unaccounted"], 0);
    let groups = result["failures"].as_array().expect("groups");
    let group = groups.iter().find(|group| group["class"] == class);
    let group = group.unwrap_or_else(|| panic!("no `{class}`:\n{}", ran.stdout));
    assert_eq!(group["owner"], owner);
    assert_eq!(group["count"], DEVICES, "{}", ran.stdout);
    ran.shows(&[&format!("{owner} {class}: 5 failed"), "proxy 127.0.0.1:"]).shows(texts);
    assert!(!format!("{ran:?}").contains("p:ss w@rd"), "{ran:?}");
}

#[test]
fn a_proxy_that_refuses_is_told_apart_from_one_that_fails() {
    for (answer, owner, class, texts) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\
             Content-Length: 1000000\r\n\r\nnothing of this is waited for",
            "configuration",
            "proxy unauthorized",
            &["it answered 407 Proxy Authentication Required", "check user and password in `target.proxy`"][..],
        ),
        (
            "HTTP/1.1 403 \x1b[2J\r\n\r\n",
            "configuration",
            "proxy refused",
            &["it answered 403 Forbidden", "have the proxy allow CONNECT"],
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://portal.example\r\n\r\n",
            "configuration",
            "proxy refused",
            &["302"],
        ),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "network", "proxy failed", &["it answered 502 Bad Gateway"]),
        ("HTTP/1.1 429 Slow down\r\n\r\n", "network", "proxy failed", &["429 Too Many Requests"]),
        ("220 mail.example ESMTP\r\n\r\n", "network", "proxy failed", &["its answer is not HTTP"]),
        ("\u{0}\u{1}\n\n", "network", "proxy failed", &["its answer is not HTTP", "speaks HTTP"]),
    ] {
        let proxy = Proxy::saying(answer);
        let ran = refused_by(&proxy);
        all_fail(&ran, owner, class, texts);
        assert!(!ran.stdout.contains('\x1b'), "{:?}", ran.stdout);
        if owner == "configuration" {
            assert_eq!(proxy.requests().len(), DEVICES, "what no change could mend is not tried again");
        }
    }
}

#[test]
fn a_proxy_that_answers_without_end_is_given_up_at_its_bound() {
    let proxy = Proxy::answering(|_, client| {
        let _ = client.write_all(b"HTTP/1.1 200 OK\r\n");
        while client.write_all(b"X-Padding: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n").is_ok() {}
    });
    all_fail(&refused_by(&proxy), "network", "proxy failed", &["more than 16384 bytes of head"]);
}

#[test]
fn a_proxy_that_repeats_the_request_does_not_make_the_password_public() {
    let proxy = Proxy::answering(|head, client| {
        let _ = client.write_all(head.as_bytes());
    });
    all_fail(&refused_by(&proxy), "network", "proxy failed", &["its answer is not HTTP"]);
}

#[test]
fn a_proxy_that_closes_is_told_as_such() {
    for answer in ["", "HTTP/1.1 200 Connection est"] {
        let ran = refused_by(&Proxy::saying(answer));
        // With what it did not read unanswered, a close may come as a reset.
        let class = ran.result()["failures"][0]["class"].as_str().expect("a class").to_owned();
        assert!(class == "connection closed" || class == "connection reset", "{}", ran.stdout);
        all_fail(
            &ran,
            "network",
            &class,
            &["look for a limit, restart or idle timeout at the service or a proxy"],
        );
    }
}

#[test]
fn a_proxy_that_never_answers_is_given_up_at_the_deadline() {
    let proxy = Proxy::answering(|_, _| {
        loop {
            std::thread::park();
        }
    });
    let ran = refused_by(&proxy);
    assert!(matches!(ran.code, Some(99 | 97)), "{ran:?}");
    ran.shows(&["network connect timed out: 5 failed", "no connection by the deadline"]);
    let fastest = ran.result()["total"]["steps"][0]["failures"][0]["first_ns"].as_u64().expect("a time");
    assert!(fastest >= 2_000_000_000, "the deadline is waited for: {fastest} ns");
}

#[test]
fn a_proxy_that_is_not_there_is_refused_by_its_name() {
    let place = Place::new();
    let target = format!("proxy = \"http://127.0.0.1:{}\"", free_port());
    let ran = run(&place, &scenario("localhost:9", &target), &[]);
    all_fail(&ran, "network", "connection refused", &["proxy 127.0.0.1:", "check host and port"]);
}

#[test]
fn a_tunnel_to_something_that_speaks_no_tls_fails_in_the_handshake() {
    let proxy = Proxy::saying("HTTP/1.1 200 OK\r\n\r\nSSH-2.0-x\r\n");
    let ran = refused_by(&proxy);
    ran.shows(&["network TLS failed: 5 failed"]);
}

#[test]
fn what_is_here_by_name_only_is_not_loaded_without_leave() {
    let place = Place::new();
    for (dps, target, told) in [
        ("localhost:1", "proxy = \"http://proxy.invalid:3128\"", "through the proxy proxy.invalid:3128"),
        ("localhost:1", "connect = { localhost = \"192.0.2.1:443\" }", "localhost at 192.0.2.1:443"),
        (
            "dps.invalid",
            "connect = { \"dps.invalid\" = \"127.0.0.1:1\" }\nproxy = \"http://proxy.invalid:3128\"",
            "through the proxy proxy.invalid:3128, with dps.invalid at 127.0.0.1:1",
        ),
    ] {
        let text = scenario(dps, &format!("{target}\nallow = [\"*.azure-devices.invalid\"]"));
        run(&place, &text, &[]).ends_with(3).tells(&["not confirmed", told, "--yes"]);
        let hub = text.replace("azure\"", "hub\"").replace("dps =", "host =");
        let of_dps = |line: &&str| ["id_scope", "allow", "provision"].iter().any(|key| line.starts_with(key));
        let hub: Vec<&str> = hub.lines().filter(|line| !of_dps(line)).collect();
        run(&place, &hub.join("\n"), &[]).ends_with(3).tells(&["not confirmed", told]);
    }
    assert!(!place.path().join("results").exists(), "nothing was begun");
}

#[test]
fn a_dps_here_cannot_send_devices_away_by_the_connect_map() {
    for (hub, map) in [
        ("localhost:8443", "localhost:8443\" = \"192.0.2.1:443"),
        ("contoso.azure-devices.invalid", "contoso.azure-devices.invalid\" = \"192.0.2.1:443"),
    ] {
        let stub = service("127.0.0.1", hub);
        let place = Place::new();
        place.write("ca.pem", &stub.ca_pem);
        let target =
            format!("ca_file = \"ca.pem\"\nconnect = {{ \"{map}\" }}\nallow = [\"*.azure-devices.invalid\"]");
        let ran = run(&place, &scenario(&format!("127.0.0.1:{}", stub.port), &target), &[]);
        ran.shows(&["configuration hub not allowed: 5 failed"]);
        assert_eq!(phases(&ran, "hub"), Vec::<String>::new(), "the hub was not contacted");
    }
}
