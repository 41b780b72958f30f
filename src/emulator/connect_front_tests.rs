use super::*;
use crate::emulator::fixture::*;
use crate::time::simulate;

/// DPS on 8443, `north` on 8444, `south` on 8445.
fn front() -> ConnectFront {
    let hubs = two_hubs().hubs;
    let names =
        ["north", "south"].map(|name| vec![format!("{name}.azure-devices.net"), "localhost:9".to_owned()]);
    ConnectFront::new(hubs.iter().zip(names), vec![(8443, None), (8444, Some(0)), (8445, Some(1))])
}

fn judged(target: &str) -> Result<Option<usize>, Refused> {
    let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    front().judge(head.as_bytes()).map(|entrance| {
        assert_eq!(entrance.told, Told::Azure);
        entrance.hub
    })
}

#[test]
fn a_tunnel_leads_to_dps_or_to_the_hub_of_its_name() {
    for (target, hub) in [
        ("global.azure-devices-provisioning.net:8883", None),
        ("Contoso.Azure-Devices-Provisioning.NET:443", None),
        ("dps.emulator.localhost:8883", None),
        ("localhost:8883", None),
        ("localhost:443", None),
        ("localhost:8443", None),
        ("localhost:8445", Some(1)),
        ("north.azure-devices.net:8883", Some(0)),
        ("SOUTH.azure-devices.net:443", Some(1)),
        ("south.azure-devices.net:8445", Some(1)),
        ("south.azure-devices.localhost:8883", Some(1)),
        ("south.azure-devices.localhost:8443", Some(1)),
        // It is told so by the answer to its token.
        ("somebody-elses.azure-devices.net:8883", None),
    ] {
        assert_eq!(judged(target), Ok(hub), "{target}");
    }
}

#[test]
fn an_address_that_several_hubs_share_leads_by_its_port() {
    let hubs = two_hubs().hubs;
    let names = [8444, 8445].map(|port| vec![format!("127.0.0.5:{port}"), format!("[::1]:{port}")]);
    let front =
        ConnectFront::new(hubs.iter().zip(names), vec![(8443, None), (8444, Some(0)), (8445, Some(1))]);
    for (target, hub) in [
        ("127.0.0.5:8444", Some(0)),
        ("127.0.0.5:8445", Some(1)),
        ("[::1]:8445", Some(1)),
        ("127.0.0.5:8443", None),
        ("127.0.0.5:443", None),
    ] {
        let head = format!("CONNECT {target} HTTP/1.1\r\n\r\n");
        assert_eq!(front.judge(head.as_bytes()).map(|entrance| entrance.hub), Ok(hub), "{target}");
    }
}

#[test]
fn everything_else_is_refused() {
    for target in [
        "example.com:443",
        "global.azure-devices-provisioning.net:22",
        "somebody-elses.azure-devices.net:8444",
        "north.azure-devices.net:22",
        "azure-devices.net:443",
        ".azure-devices.net:443",
        "evil-azure-devices.net:443",
        "azure-devices.net.evil.example:443",
        "global.azure-devices-provisioning.net.evil.example:8883",
        "localhost:22",
        "localhost:9",
        "localhost.evil.example:443",
        "127.0.0.1:443",
        "[::1]:443",
        "169.254.169.254:80",
        "west.azure-devices.localhost:443",
    ] {
        let refused = judged(target);
        assert!(matches!(refused, Err(Refused::Elsewhere | Refused::Malformed)), "{target}: {refused:?}");
    }
}

#[test]
fn heads_that_ask_for_no_tunnel_are_malformed() {
    for head in [
        "",
        "CONNECT\r\n\r\n",
        "CONNECT localhost:443\r\n\r\n",
        "CONNECT localhost HTTP/1.1\r\n\r\n",
        "CONNECT localhost: HTTP/1.1\r\n\r\n",
        "CONNECT localhost:0 HTTP/1.1\r\n\r\n",
        "CONNECT localhost:65536 HTTP/1.1\r\n\r\n",
        "CONNECT localhost:443 HTTP/2\r\n\r\n",
        "CONNECT localhost:443 HTTP/1.1 more\r\n\r\n",
        "CONNECT  localhost:443 HTTP/1.1\r\n\r\n",
        "CONNECT http://localhost:443/ HTTP/1.1\r\n\r\n",
        "CONNECT user@localhost:443 HTTP/1.1\r\n\r\n",
        "CONNECT localhost:443\0 HTTP/1.1\r\n\r\n",
    ] {
        assert_eq!(front().judge(head.as_bytes()), Err(Refused::Malformed), "{head:?}");
    }
    assert_eq!(front().judge(b"CONNECT \xff:443 HTTP/1.1\r\n\r\n"), Err(Refused::Malformed));
    for method in ["GET", "connect", "POST"] {
        let head = format!("{method} http://localhost:443/ HTTP/1.1\r\n\r\n");
        assert_eq!(front().judge(head.as_bytes()), Err(Refused::Method), "{method}");
    }
}

/// What a client that writes `parts`, a second apart, reads until the end or for a minute; and where it was let in.
fn spoken(parts: Vec<Vec<u8>>) -> (String, Option<Entrance>, Duration) {
    let main = |clock: Clock| async move {
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        let started = clock.now();
        let opened = {
            let clock = clock.clone();
            tokio::task::spawn_local(async move {
                let front = front();
                let opened = front.open(&clock, &mut far).await;
                if let Err(refused) = opened {
                    front.refuse(&clock, &mut far, refused).await;
                }
                // A tunnel stays open.
                (opened.ok(), clock.now(), opened.map(|_| far))
            })
        };
        for (n, part) in parts.into_iter().enumerate() {
            if n > 0 {
                clock.sleep(seconds(1)).await;
            }
            let _ = near.write_all(&part).await;
        }
        let mut text = vec![0; 4_096];
        let mut read = 0;
        let reading = async {
            while let Ok(more @ 1..) = near.read(&mut text[read..]).await {
                read += more;
            }
        };
        let _ = clock.until(clock.now() + seconds(60), reading).await;
        drop(near);
        let (opened, ended, _far) = opened.await.expect("no panic");
        text.truncate(read);
        (String::from_utf8(text).expect("text"), opened, ended.since(started))
    };
    simulate(main).expect("no task is left waiting")
}

#[test]
fn a_request_is_answered_however_it_is_cut() {
    let request = b"CONNECT north.azure-devices.net:8883 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic eA==\r\n\r\n";
    let (before, after) = request.split_at(50);
    let cuts = [vec![request.to_vec()], vec![before.to_vec(), after.to_vec()]];
    for parts in cuts {
        let (text, opened, _) = spoken(parts);
        assert_eq!(text, "HTTP/1.1 200 Connection established\r\n\r\n");
        assert_eq!(opened, Some(Entrance { hub: Some(0), told: Told::Azure }));
    }
    // Python's library sends lines that end so, and no more than it must.
    let (text, opened, _) = spoken(vec![b"CONNECT localhost:8883 HTTP/1.1\nhost: localhost\n\n".to_vec()]);
    assert!(text.starts_with("HTTP/1.1 200 ") && opened.is_some(), "{text}");
}

#[test]
fn who_is_refused_is_told_what_is_allowed_and_nothing_of_what_he_wrote() {
    let (text, opened, _) = spoken(vec![b"CONNECT secret.example:443 HTTP/1.1\r\n\r\n".to_vec()]);
    assert_eq!(opened, None);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("\r\nConnection: close"), "{text}");
    for name in ["*.azure-devices-provisioning.net", "*.azure-devices.net", "localhost", NORTH] {
        let status = head.lines().next().expect("a status");
        assert!(status.contains(name) && body.contains(name), "{name}: {text}");
    }
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn heads_that_are_too_long_too_slow_or_no_heads_are_given_up() {
    let long = |length: usize| {
        let mut head = b"CONNECT localhost:443 HTTP/1.1\r\nX: ".to_vec();
        head.resize(length - 4, b'x');
        head.extend(b"\r\n\r\n");
        head
    };
    assert!(spoken(vec![long(MAX_HEAD)]).1.is_some());
    for (parts, status) in [
        (vec![long(MAX_HEAD + 1)], "431"),
        (vec![long(60 * 1024)], "431"),
        (vec![b"CONNECT localhost:443 HTTP/1.1\r\n\r\n\x16\x03\x01".to_vec()], "400"),
        // A client that begins with TLS.
        (vec![b"\x16\x03\x01\x02\x00".to_vec()], "400"),
        (vec![b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()], "405"),
        (vec![b"C".to_vec(); 30], "408"),
        (vec![Vec::new()], "408"),
    ] {
        let (text, opened, took) = spoken(parts);
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {text}");
        assert_eq!(opened, None);
        assert!(took <= HEAD_DEADLINE + FAREWELL, "{status}: {took:?}");
    }
}

#[test]
fn no_head_and_no_beginning_of_one_makes_the_front_panic() {
    let request = b"CONNECT north.azure-devices.net:8883 HTTP/1.1\r\nHost: x\r\n\r\n";
    for end in 0..request.len() {
        let _ = front().judge(&request[..end]);
    }
    for at in 0..request.len() {
        for byte in 0..=u8::MAX {
            let mut changed = request.to_vec();
            changed[at] = byte;
            let _ = front().judge(&changed);
        }
    }
}
