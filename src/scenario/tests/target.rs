//! Targets elsewhere, and the way to them.

use super::*;
use crate::azure::limits::{HubSize, Tier};
use crate::net::way::Way;
use crate::plan::Target;

#[test]
fn azure_and_hub_targets_are_read() {
    let azure = plan(
        "version = 1\n[target]\nkind = 'azure'\ndps = '${env:HOST}'\nid_scope = '${env:SCOPE}'\nallow = ['*.azure-devices.net']\n\
         ca_file = 'ca.pem'\n[enrollment.a]\ngroup_key = 'stdin'\n[fleet.x]\ncount = 1\n",
    );
    let Target::Azure(target) = &azure.target else { panic!("azure") };
    assert_eq!((target.dps.as_str(), target.id_scope.as_str()), ("dps.example.com", "0ne00000A0A"));
    assert_eq!(target.allow, ["*.azure-devices.net"]);
    assert!(target.ca_file.as_ref().is_some_and(|path| path.is_absolute()));
    let local = plan(
        "version = 1\n[target]\nkind = 'azure'\ndps = 'localhost:8443'\nid_scope = 'x'\n[enrollment.a]\ngroup_key = 'stdin'\n\
         [fleet.x]\ncount = 1\n",
    );
    assert!(matches!(local.target, Target::Azure(target) if target.allow.is_empty()));
    let hub = plan(
        "version = 1\n[target]\nkind = 'hub'\nhost = '127.0.0.1:8443'\n[enrollment.a]\ngroup_key = 'stdin'\n[fleet.x]\ncount = 1\n",
    );
    assert!(matches!(&hub.target, Target::Hub(target) if target.host == "127.0.0.1:8443"));
    assert_eq!(hub.populations[0].provision, None);
}

/// A target elsewhere with more keys, and what a scenario needs besides.
fn elsewhere(kind: &str, keys: &str) -> String {
    let own = match kind {
        "azure" => "kind = 'azure'\nid_scope = 'a'\nallow = ['*.azure-devices.net']",
        _ => "kind = 'hub'\nhost = 'contoso.azure-devices.net'",
    };
    format!(
        "version = 1\n[target]\n{own}\n{keys}\n[enrollment.a]\ngroup_key = 'stdin'\n[fleet.x]\ncount = 1\n"
    )
}

#[test]
fn a_target_elsewhere_has_a_way_and_a_stated_size() {
    let keys = "proxy = 'http://${env:DEVICE}:${env:SECRET}@Proxy.example:3128'\ntier = 'S2'\nunits = 200\n\
                [target.connect]\n'Contoso.azure-devices.net' = '${env:HOST}:8443'\n'[::1]:443' = '[::1]:8443'\n";
    for kind in ["azure", "hub"] {
        let plan = plan(&elsewhere(kind, keys));
        let way = plan.target.way().unwrap();
        let proxy = way.proxy.as_ref().unwrap();
        assert_eq!(proxy.endpoint.to_string(), "proxy.example:3128");
        assert!(!format!("{plan:?}").contains("canary of"), "{plan:?}");
        let mapped: Vec<_> = way.connect.iter().map(|(host, to)| format!("{host} {to}")).collect();
        assert_eq!(mapped, ["[::1]:443 [::1]:8443", "contoso.azure-devices.net dps.example.com:8443"]);
        let stated = match &plan.target {
            Target::Azure(target) => target.stated,
            Target::Hub(target) => target.stated,
            Target::Emulator(_) => None,
        };
        assert_eq!(stated, Some(HubSize { tier: Tier::S2, units: 200 }));
    }
    let Target::Azure(raised) = plan(&elsewhere("azure", "dps_registrations = '6000/min'")).target else {
        panic!("azure")
    };
    assert_eq!((raised.dps_registrations.per_second(), raised.stated), (100.0, None));
    let Target::Azure(plain) = plan(&elsewhere("azure", "tier = 'F1'")).target else { panic!("azure") };
    assert_eq!(plain.dps_registrations, "1000/min".parse().unwrap());
    assert_eq!(plain.stated, Some(HubSize { tier: Tier::F1, units: 1 }));
    assert_eq!(plain.way, Way::default());
}

#[test]
fn a_dps_is_on_this_machine_only_if_the_way_to_it_is() {
    let scenario = |keys: &str| {
        format!(
            "version = 1\n[target]\nkind = 'azure'\nid_scope = 'a'\n{keys}\n[enrollment.a]\ngroup_key = 'stdin'\n\
             [fleet.x]\ncount = 1\n"
        )
    };
    for here in [
        "dps = 'localhost'",
        "dps = 'LOCALHOST:1'\nproxy = 'http://127.0.0.1:3128'",
        "connect = { 'global.azure-devices-provisioning.net' = '127.0.0.1:8443' }",
        "dps = 'a.b:9'\nconnect = { 'A.b:9' = '[::1]:8443' }\nproxy = 'http://localhost:1'",
    ] {
        plan(&scenario(here));
    }
    for elsewhere in [
        "dps = 'a.b'",
        "dps = 'localhost'\nproxy = 'http://proxy.example:3128'",
        "dps = 'localhost'\nconnect = { localhost = '10.0.0.1:443' }",
        "dps = '127.0.0.1:1'\nconnect = { '127.0.0.1:1' = 'a.b:443' }",
        "dps = 'a.b:9'\nconnect = { 'a.b:10' = '127.0.0.1:8443' }",
        "dps = 'a.b'\nproxy = 'http://127.0.0.1:3128'",
    ] {
        let told = told(&scenario(elsewhere));
        assert!(told.contains("nothing says which hubs"), "{elsewhere}\n{told}");
    }
}

#[test]
fn a_port_is_for_one_protocol_unless_whoever_listens_there_speaks_all() {
    let two = |target: &str, key: &str| {
        format!(
            "version = 1\n[target]\n{target}\n[enrollment.a]\ngroup_key = 'stdin'\n\
             [fleet.old]\ncount = 1\n{key} = 'https'\n[fleet.new]\ncount = 1\n"
        )
    };
    let azure = |keys: &str| {
        two(&format!("kind = 'azure'\nid_scope = 'a'\nallow = ['*.azure-devices.net']\n{keys}"), "provision")
    };
    let hub = |keys: &str| two(&format!("kind = 'hub'\n{keys}"), "connect");
    for fine in [
        azure(""),
        azure("dps = 'a.b'"),
        azure("dps = 'localhost:8443'"),
        azure("dps = 'a.b:1'\nconnect = { 'a.b' = 'gateway.example:8443' }"),
        // How they talk to their hubs has nothing to do with the port of DPS.
        azure("dps = 'a.b:8883'").replace("provision", "connect"),
        hub("host = 'a.b'"),
        hub("host = '127.0.0.1:1'"),
        hub("host = 'a.b:8883'").replace("https", "mqtt"),
    ] {
        plan(&fine);
    }
    for wrong in [
        azure("dps = 'a.b:8443'"),
        hub("host = 'a.b:8443'"),
        hub("host = 'a.b:8443'\nconnect = { 'c.d' = 'e:1' }"),
    ] {
        let told = told(&wrong);
        let message = "port 8443 is for one protocol, but here fleet `old` speaks https and fleet `new` mqtt";
        assert!(told.contains(message) && told.contains("443") && told.contains("8883"), "{told}");
        assert!(told.contains(": 1 error"), "{told}");
    }
    let warned = |text: &str| {
        let loaded = load_bytes(text.as_bytes(), &[]).unwrap_or_else(|told| panic!("{told}"));
        loaded.warnings.render(false, None)
    };
    let message = "port 443 is usually that of https, and fleet `old` speaks mqtt there";
    let mqtt = hub("host = 'a.b:443'").replace("https", "mqtt");
    assert!(warned(&mqtt).contains(message), "{}", warned(&mqtt));
    assert_eq!(warned(&mqtt.replace("a.b:443", "a.b:8883")), "");
    assert_eq!(warned(&mqtt.replace("a.b:443", "localhost:443")), "");
}

#[test]
fn each_mistake_about_the_way_is_told_with_its_remedy() {
    for (kind, keys, message, help) in [
        (
            "azure",
            "proxy = 'socks5://p:1080'",
            "proxies with `socks5://` are not supported",
            "proxy = \"http://",
        ),
        ("hub", "proxy = 'https://p:443'", "with `https://`", "TLS is spoken through it"),
        ("hub", "proxy = 'p:3128'", "it has no scheme", "write proxy = \"http://"),
        ("hub", "proxy = 'http://p'", "the proxy has no port", "3128 and 8080 are usual"),
        ("azure", "proxy = 'http://p:99999'", "a port that is not 1 to 65535", "http://proxy.example:3128"),
        ("azure", "proxy = 'http://u:p@p:1'", "does not belong into a file", "${env:PROXY_PASSWORD}"),
        ("azure", "proxy = 3128", "`proxy` is a whole number; it must be a string", "for example `proxy"),
        ("hub", "connect = { a = 'b' }", "`b` has no port", "\"127.0.0.1:8443\""),
        ("hub", "connect = { a = 'http://b:1' }", "it has a scheme", "write a host name"),
        ("hub", "connect = { 'a:0' = 'b:1' }", "its port is not a number", "write a host name"),
        ("hub", "connect = { '*.a' = 'b:1' }", "`*.a` is not a host", "write a host name"),
        ("hub", "connect = { '-a' = 'b:1' }", "`-a` is not a host", "the whole name of one host"),
        ("hub", "connect = { a = 1 }", "the address is a whole number", "write for example connect ="),
        ("hub", "connect = { a.b = 'c:1' }", "`a` is not a host: a host is one key, in quotes", "connect ="),
        ("hub", "connect = { 'A.b' = 'c:1', 'a.B' = 'c:1' }", "mapped twice", "keep one of the two"),
        ("hub", "connect = 'a=b'", "`connect` is a string; it must be a table", "for example `connect ="),
        ("hub", "tier = 's2'", "`s2` is not a value of `tier`", "\"S2\""),
        ("hub", "tier = 'S3'\nunits = 11", "a hub of tier S3 has at most 10 units", "use at most 10"),
        ("hub", "tier = 'F1'\nunits = 2", "a hub of tier F1 has at most 1 unit", "or another tier"),
        ("hub", "units = 2", "`units` says nothing without `tier`", "tier = \"S1\""),
        ("hub", "tier = 'S1'\nunits = 0", "0 is not 1 to 200", "for example `units = 2`"),
        ("azure", "dps_registrations = 1000", "`dps_registrations` is a number without a unit", "1000/min"),
        (
            "hub",
            "dps_registrations = '1/s'",
            "has no meaning for a target of kind \"hub\"",
            "kind = \"azure\"",
        ),
    ] {
        let told = told(&elsewhere(kind, keys));
        assert!(told.contains(message) && told.contains(help), "{keys}\n{told}");
        assert!(told.contains(": 1 error"), "{keys}\n{told}");
    }
    let many: String = (0..1_001).map(|n| format!("h{n} = 'b:1'\n")).collect();
    let told = self::told(&elsewhere("hub", &format!("[target.connect]\n{many}")));
    assert!(told.contains("`connect` has more than 1,000 entries"), "{told}");
    for keys in [
        "proxy = 'http://p:1'",
        "proxy = 'nonsense'",
        "connect = { a = 'b:1' }",
        "tier = 'S1'",
        "units = 2",
        "dps_registrations = '1000/min'",
    ] {
        let told = self::told(&format!("version = 1\n[target]\n{keys}\n[fleet.x]\ncount = 1\n"));
        let name = keys.split_once(' ').unwrap().0;
        let expected = format!("`{name}` has no meaning for a target of kind \"emulator\"");
        assert!(told.contains(&expected) && told.contains(": 1 error"), "{told}");
    }
}

#[test]
fn the_password_of_a_proxy_is_shown_nowhere_wherever_it_was_put() {
    let secret = "sEcReT-hunter2";
    for keys in [
        format!("proxy = 'http://user:{secret}@p:1'"),
        format!("proxy = \"http://{secret}@p:1\""),
        format!("proxy = '{secret}@p:1'"),
        format!("proxy = 'u:{secret}'"),
        format!("proxy = 'http://u:{secret}'"),
        format!("proxy = 'http://u:{secret}${{env:SECRET}}@p:1'"),
        format!("proxy = 'http://${{env:SECRET}}:{secret}@p'"),
        format!("proxy = 'https://u:{secret}@p:1'"),
        format!("proxy = 'http://u:{secret}@p:1"),
        format!("proxy = http://u:{secret}@p:1"),
        format!("proxy = ['http://u:{secret}@p:1', 'u:{secret}@p']"),
        format!("proxy = {{ url = 'u:{secret}@p:1' }}"),
        format!("proxy = 'http://u:{secret}@p:1'\nproxy = 'http://u:{secret}@p:1'"),
        format!("porxy = 'http://u:{secret}@p:1'"),
        format!("https_proxy = 'http://u:{secret}@p:1'"),
        format!("ca_file = 3 # 'http://u:{secret}@p:1'"),
        format!("host = 'http://u:{secret}@p:1'"),
        format!("connect = {{ 'http://u:{secret}@h' = 'http://u:{secret}@p:1' }}"),
    ] {
        for kind in ["azure", "hub"] {
            let told = told(&elsewhere(kind, &keys));
            assert!(!told.contains("hunter2") && !told.contains("canary of"), "{keys}\n{told}");
        }
    }
    let set = format!("target.proxy=http://user:{secret}@p:1");
    let told = load_bytes(elsewhere("hub", "").as_bytes(), &[&set]).unwrap_err();
    assert!(told.contains("does not belong on a command line") && !told.contains("hunter2"), "{told}");
    // What stands in the environment is shown as it was written.
    for keys in ["proxy = 'http://${env:SECRET}:${env:SECRET}@p'", "proxy = '${env:SECRET}'"] {
        let told = self::told(&elsewhere("hub", keys));
        assert!(told.contains("${env:SECRET}") && !told.contains("canary of"), "{told}");
    }
}
