//! Keys and signatures appear in nothing that the program emits, at full verbosity.

mod common;

use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use common::proxy::Proxy;
use common::{Emulator, GROUP_KEY, Place, Running, children_of, eventually, sockets_of};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const DEVICES: usize = 6;

/// Devices that register, poll, connect and send; one of them with a key of its own.
const SCENARIO: &str = r#"
version = 1
seed = 7
duration = "2500ms"
drain = "5s"
[enrollment.plant]
group_key = { env = "CANARY_GROUP_KEY" }
secondary_key = { file = "secondary.key" }
[enrollment.gateway]
individual = { registration_id = "gateway-1", key = "stdin" }
[fleet.canary]
count = 6
enrollment = "plant"
start.burst = {}
telemetry = { every = "200ms" }
[fleet.gateway]
enrollment = "gateway"
telemetry = { every = "200ms" }
[emulator.dps]
assign = "1ms"
retry_after = "0s"
polls = 1
"#;

/// HMAC-SHA256 over `text` with a base64 key, written without muster's help.
fn hmac(key: &str, text: &str) -> Vec<u8> {
    let key = STANDARD.decode(key).expect("base64");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).expect("any length will do");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Every spelling in which a key could leak.
fn spellings(key: &[u8]) -> Vec<String> {
    let base64 = STANDARD.encode(key);
    let percent = utf8_percent_encode(&base64, NON_ALPHANUMERIC).to_string();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let spaced = |separator: &str, form: fn(&u8) -> String| {
        key[..8].iter().map(form).collect::<Vec<_>>().join(separator)
    };
    vec![
        percent.to_ascii_lowercase(),
        percent,
        base64.replace('/', "\\/"),
        base64.replace('+', "\\u002b").replace('/', "\\u002f"),
        base64.replace('=', "\\u003d"),
        STANDARD.encode(&base64),
        STANDARD_NO_PAD.encode(key),
        URL_SAFE.encode(key),
        URL_SAFE_NO_PAD.encode(key),
        hex.to_uppercase(),
        hex,
        // Debug output of bytes.
        spaced(", ", |byte| byte.to_string()),
        spaced(", ", |byte| format!("{byte:#04x}")),
        // A part of the key is too much as well.
        STANDARD.encode(&key[3..18]),
        base64,
    ]
}

/// The keys of all devices and enrollments of [`SCENARIO`], in every spelling.
fn canaries(secondary: &str, individual: &str) -> Vec<String> {
    let mut keys: Vec<_> =
        [GROUP_KEY, secondary, individual].map(|key| STANDARD.decode(key).expect("base64")).into();
    for n in 0..DEVICES {
        let id = format!("canary-{n:05}");
        keys.extend([GROUP_KEY, secondary].map(|key| hmac(key, &id)));
    }
    keys.iter().flat_map(|key| spellings(key)).collect()
}

/// Asserts that there is no key and no signature in `bytes`.
fn is_clean(what: &str, bytes: &[u8], canaries: &[String]) {
    let text = String::from_utf8_lossy(bytes);
    for canary in canaries {
        if let Some(at) = text.find(canary.as_str()) {
            let line = text[..at].lines().count();
            panic!("{what} has a key near line {line}: {}", text[..at].lines().last().unwrap_or_default());
        }
    }
    for mark in ["sig=", "sig%3d", "sig%3D", "sig\\u003d", "SharedAccessKey="] {
        for (at, _) in text.match_indices(mark) {
            let value = &text.as_bytes()[at + mark.len()..];
            let has_value =
                value.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+/%".contains(byte));
            let from = text[..at].rfind('\n').map_or(0, |line| line + 1);
            assert!(!has_value, "{what} has a signature: {}", &text[from..at]);
        }
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable");
    let paths = entries.map(|entry| entry.expect("the folder is readable").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("the folder is writable");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

#[test]
fn the_search_finds_what_it_is_to_find() {
    let key = STANDARD.decode(GROUP_KEY).expect("base64");
    let canaries = spellings(&key);
    let mut leaks: Vec<_> =
        canaries.iter().map(|canary| format!("a line\n{{\"text\":\"{canary}\"}}")).collect();
    leaks.push(format!("Secret({key:?})"));
    leaks.push("authorization: SharedAccessSignature sr=a&sig=q%2B1&se=1".to_owned());
    for leak in &leaks {
        let found = std::panic::catch_unwind(|| is_clean("a text", leak.as_bytes(), &canaries));
        assert!(found.is_err(), "{leak}");
    }
    is_clean("a text", b"a scope, sig= and nothing else; sig=***", &canaries);
}

#[test]
fn a_run_shows_no_key_and_no_signature_anywhere() {
    let place = Place::new();
    let (secondary, individual) = (STANDARD.encode([0xa7; 48]), STANDARD.encode([0xf3; 32]));
    let canaries = canaries(&secondary, &individual);
    place.write("canary.toml", SCENARIO);
    write_secret(&place.path().join("secondary.key"), &format!("{secondary}\n"));
    write_secret(&place.path().join("stdin"), &individual);

    let open = |name: &str| std::fs::File::create(place.path().join(name)).expect("the folder is writable");
    let mut command = place.muster(&["run", "canary.toml", "-vv"]);
    command.env("CANARY_GROUP_KEY", GROUP_KEY).env("RUST_BACKTRACE", "1").env("SSLKEYLOGFILE", "tls-keys");
    command.stdin(std::fs::File::open(place.path().join("stdin")).expect("was written"));
    let mut running = Running::start(command.stdout(open("stdout")).stderr(open("stderr")));

    // While it runs: what ps shows of both processes, and what the child inherited.
    let child = eventually("the emulator's process", || children_of(running.pid()).first().copied());
    eventually("connections", || (sockets_of(running.pid()) > DEVICES).then_some(()));
    let read = |pid: u32, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).expect("it is there");
    for pid in [running.pid(), child] {
        is_clean("a command line", &read(pid, "cmdline"), &canaries);
    }
    let inherited = read(child, "environ");
    is_clean("the child's environment", &inherited, &canaries);
    let inherited = String::from_utf8_lossy(&inherited).into_owned();
    assert!(!inherited.contains("CANARY") && !inherited.contains("PATH="), "{inherited:?}");

    let code = running.end().code();
    assert!(matches!(code, Some(0 | 97)), "{code:?}");
    let results = place.results("results");
    let (_, result) = results.first().expect("a result");
    assert_eq!(result["headline"]["assigned"], DEVICES as u64 + 1, "{}", result["headline"]);
    let mut seen = 0;
    for path in files(place.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        if ["secondary.key", "stdin"].contains(&name) {
            continue;
        }
        let bytes = std::fs::read(&path).expect("it is readable");
        is_clean(&path.display().to_string(), &bytes, &canaries);
        seen += 1;
    }
    assert!(seen >= 4, "scenario, both outputs and the result at least");
    assert!(!place.path().join("tls-keys").exists(), "TLS secrets are written nowhere");
    let log = std::fs::metadata(place.path().join("stderr")).expect("a file").len();
    assert!(log > 1_000, "-vv says something: {log} bytes");
}

#[test]
fn a_refused_signature_is_not_repeated() {
    let place = Place::new();
    let emulator = Emulator::start(&place, &["--group", "plant"]);
    let text = format!(
        "version = 1\n[target]\nkind = \"azure\"\ndps = \"{}\"\nid_scope = \"0ne00000001\"\nca_file = \"emu/ca.pem\"\n\
         [enrollment.plant]\ngroup_key = \"stdin\"\n[fleet.canary]\ncount = 6\nstart.burst = {{}}\n",
        emulator.dps
    );
    place.write("wrong.toml", &text);
    write_secret(&place.path().join("stdin"), GROUP_KEY);
    let mut command = place.muster(&["run", "wrong.toml", "-vv"]);
    command.stdin(std::fs::File::open(place.path().join("stdin")).expect("was written"));
    let output = command.stdout(Stdio::piped()).output().expect("it starts");
    assert!(matches!(output.status.code(), Some(99 | 97)), "{output:?}");
    let canaries = canaries(&STANDARD.encode([0xa7; 48]), &STANDARD.encode([0xf3; 32]));
    is_clean("standard output", &output.stdout, &canaries);
    is_clean("standard error", &output.stderr, &canaries);
    is_clean("the result", place.results("results")[0].1.to_string().as_bytes(), &canaries);
    let ledger = emulator.stop();
    assert_eq!(ledger["requests"]["mqtt.dps.register"]["401"], DEVICES as u64, "{ledger}");
}

#[test]
fn the_emulator_shows_no_key_of_its_own() {
    let place = Place::new();
    let emulator = Emulator::start(&place, &["-vv", "--group", "plant", "--individual", "device-1"]);
    let keys = ["plant.key", "device-1.key"].map(|name| {
        let text = std::fs::read_to_string(place.path().join("emu").join(name)).expect("a key");
        STANDARD.decode(text.trim()).expect("base64")
    });
    let canaries: Vec<_> = keys.iter().flat_map(|key| spellings(key)).collect();
    is_clean("what it announces", emulator.opening.as_bytes(), &canaries);
    is_clean("its ledger", emulator.stop().to_string().as_bytes(), &canaries);
    let log = std::fs::read(place.path().join(Emulator::STDERR)).expect("a file");
    is_clean("its standard error", &log, &canaries);
}

#[test]
fn a_key_in_a_scenario_or_in_a_file_that_others_can_read_is_refused_and_not_repeated() {
    let place = Place::new();
    let scenario = |key: &str| {
        format!(
            "version = 1\n[enrollment.plant]\ngroup_key = {key}\n[fleet.a]\ncount = 1\nstart.burst = {{}}\n"
        )
    };
    let canaries = spellings(&STANDARD.decode(GROUP_KEY).expect("base64"));
    place.write("literal.toml", &scenario(&format!("\"{GROUP_KEY}\"")));
    place.write("exposed.toml", &scenario("{ file = \"exposed.key\" }"));
    place.write("exposed.key", GROUP_KEY);
    place.write("set.toml", &scenario("\"generated\""));
    let set = format!("enrollment.plant.group_key=\"{GROUP_KEY}\"");
    for arguments in [&["literal.toml"][..], &["exposed.toml"], &["set.toml", "--set", &set]] {
        let ran = place.run(arguments);
        ran.ends_with(2);
        is_clean("standard error", ran.stderr.as_bytes(), &canaries);
        is_clean("standard output", ran.stdout.as_bytes(), &canaries);
    }
    place.run(&["exposed.toml"]).tells(&["chmod 600", "exposed.key"]);
}

/// What a proxy is shown, and every spelling of it.
const PROXY_USER: &str = "canary-user-of-the-proxy";
const PROXY_PASSWORD: &str = "c\"n@ry/p+ssword?of the proxy";

fn proxy_canaries() -> Vec<String> {
    let both = format!("{PROXY_USER}:{PROXY_PASSWORD}");
    [PROXY_USER, PROXY_PASSWORD, &both]
        .into_iter()
        .flat_map(|text| {
            let mut spelt = spellings(text.as_bytes());
            spelt.extend([
                text.to_owned(),
                utf8_percent_encode(text, NON_ALPHANUMERIC).to_string(),
                text.replace('"', "\\\""),
                text[..12].to_owned(),
            ]);
            spelt
        })
        .collect()
}

#[test]
fn a_run_through_a_proxy_shows_its_user_and_password_nowhere() {
    use std::io::Write as _;
    let canaries = proxy_canaries();
    let refusing = |answer: &'static str| {
        Proxy::answering(move |head, client| {
            // What it was shown, in all that it says.
            let _ = write!(client, "HTTP/1.1 {answer} {head}\r\n\r\n{head}");
        })
    };
    let repeating = Proxy::answering(|head, client| {
        let _ = write!(client, "{head}");
    });
    let proxies = [(Proxy::open(), DEVICES), (refusing("407"), 0), (refusing("502"), 0), (repeating, 0)];
    for (proxy, assigned) in proxies {
        let place = Place::new();
        let emulator = Emulator::start(&place, &["--group", "plant"]);
        let text = format!(
            "version = 1\nnarrate = true\n[target]\nkind = \"azure\"\ndps = \"{}\"\nid_scope = \"0ne00000001\"\n\
             ca_file = \"emu/ca.pem\"\nproxy = \"http://${{env:CANARY_USER}}:${{env:CANARY_PASSWORD}}@127.0.0.1:{}\"\n\
             [enrollment.plant]\ngroup_key = {{ file = \"emu/plant.key\" }}\n\
             [fleet.canary]\ncount = {DEVICES}\nstart.burst = {{}}\ndeadline.register = \"5s\"\n",
            emulator.dps, proxy.port
        );
        place.write("proxy.toml", &text);
        let variables =
            [("CANARY_USER", PROXY_USER), ("CANARY_PASSWORD", PROXY_PASSWORD), ("RUST_BACKTRACE", "1")];
        let ran = place.run_with(&["proxy.toml", "-vv"], &variables);
        assert!(matches!(ran.code, Some(0 | 97 | 99)), "{ran:?}");
        assert_eq!(ran.result()["headline"]["assigned"], assigned, "{}", ran.stdout);
        let shown = STANDARD.encode(format!("{PROXY_USER}:{PROXY_PASSWORD}"));
        assert!(proxy.requests().iter().all(|request| request.contains(&shown)), "the proxy was shown it");
        is_clean("standard error", ran.stderr.as_bytes(), &canaries);
        is_clean("standard output", ran.stdout.as_bytes(), &canaries);
        // Connection strings are what that file is for.
        let written = files(place.path()).into_iter().filter(|path| !path.ends_with("services.env"));
        for path in written {
            let bytes = std::fs::read(&path).expect("it is readable");
            is_clean(&path.display().to_string(), &bytes, &canaries);
        }
        drop(emulator);
    }
}

#[test]
fn the_password_of_a_proxy_in_a_scenario_is_refused_and_not_repeated() {
    let place = Place::new();
    let canaries = proxy_canaries();
    let scenario = |proxy: &str| {
        format!(
            "version = 1\n[target]\nkind = \"hub\"\nhost = \"localhost:9\"\n{proxy}\n[enrollment.plant]\n\
             group_key = \"stdin\"\n[fleet.a]\ncount = 1\n"
        )
    };
    let literal = format!("http://{PROXY_USER}:{PROXY_PASSWORD}@127.0.0.1:9");
    let from_variable = "proxy = 'http://${env:CANARY_USER}:${env:CANARY_PASSWORD}@127.0.0.1'";
    let mixed = format!("proxy = 'http://{PROXY_USER}:${{env:CANARY_PASSWORD}}@127.0.0.1:x'");
    place.write("literal.toml", &scenario(&format!("proxy = '{literal}'")));
    place.write("misspelt.toml", &scenario(&format!("porxy = '{literal}'")));
    place.write("no-port.toml", &scenario(from_variable));
    place.write("mixed.toml", &scenario(&mixed));
    place.write("set.toml", &scenario(""));
    let set = format!("target.proxy={literal}");
    for arguments in [
        &["literal.toml"][..],
        &["misspelt.toml"],
        &["no-port.toml"],
        &["mixed.toml"],
        &["set.toml", "--set", &set],
    ] {
        let variables = [("CANARY_USER", PROXY_USER), ("CANARY_PASSWORD", PROXY_PASSWORD)];
        let ran = place.run_with(arguments, &variables);
        ran.ends_with(2);
        is_clean("standard error", ran.stderr.as_bytes(), &canaries);
        is_clean("standard output", ran.stdout.as_bytes(), &canaries);
    }
}

#[test]
fn the_keys_of_a_list_are_shown_nowhere() {
    let place = Place::new();
    let key = STANDARD.encode([0xd5; 40]);
    let second = STANDARD.encode([0x9e; 64]);
    let canaries: Vec<String> =
        [&key, &second].iter().flat_map(|key| spellings(&STANDARD.decode(key).expect("base64"))).collect();
    let scenario = place.write(
        "listed.toml",
        "version = 1\ndrain = \"2s\"\n[enrollment.list]\nindividual = \"list.csv\"\n[fleet.listed]\nstart.burst = {}\n\
         sign_with = \"secondary\"\n[fleet.listed.telemetry]\nevery = \"100ms\"\nmessages = 2\n\
         [emulator.dps]\nretry_after = \"0s\"\nassign = \"1ms\"\n",
    );
    let list =
        format!("registration_id,key,secondary_key\nlisted-1,{key},{second}\nlisted-2,{second},{key}\n");
    write_secret(&place.path().join("list.csv"), &list);
    let ran = place.run(&[&scenario, "-vv"]);
    ran.passes();
    let mut check = place.muster(&["check", &scenario, "-vv"]);
    check.arg("--json");
    let checked = place.finish(check);
    // A row that is broken is told, and its key is not.
    write_secret(
        &place.path().join("list.csv"),
        &list.replace("listed-2", "listed 2").replace(&second, "short"),
    );
    let refused = place.run(&[&scenario, "-vv"]);
    refused.ends_with(2);
    for (what, ran) in [("a run", &ran), ("a check", &checked), ("a refusal", &refused)] {
        is_clean(what, ran.stdout.as_bytes(), &canaries);
        is_clean(what, ran.stderr.as_bytes(), &canaries);
    }
    for file in files(&place.path().join("results")) {
        is_clean(&file.display().to_string(), &std::fs::read(&file).expect("readable"), &canaries);
    }
}

#[test]
fn derived_keys_are_in_what_was_asked_for_and_nowhere_else() {
    let place = Place::new();
    let canaries = canaries(&STANDARD.encode([0xa7; 48]), &STANDARD.encode([0xf3; 32]));
    let group: Vec<String> = spellings(&STANDARD.decode(GROUP_KEY).expect("base64"));
    write_secret(&place.path().join("group.key"), GROUP_KEY);
    let keys = ["--key-file", "group.key", "--pattern", "canary-{n:05}", "--count", "6"];
    let derive = |arguments: &[&str]| {
        let mut command = place.muster(&["derive", "-vv"]);
        command.args(arguments).env("RUST_BACKTRACE", "1").env("CANARY_GROUP_KEY", GROUP_KEY);
        place.finish(command)
    };
    for print in [
        &["--print", "key"][..],
        &["--print", "sas-dps", "--scope", "0ne00000A0A"],
        &["--print", "sas-hub", "--hub", "hub1.azure-devices.net"],
        &["--print", "connection-string", "--hub", "hub1.azure-devices.net"],
    ] {
        let ran = derive(&[&keys[..], print].concat());
        ran.ends_with(0);
        assert_eq!(ran.stdout.lines().count(), DEVICES);
        is_clean("standard error", ran.stderr.as_bytes(), &canaries);
        for canary in &group {
            assert!(!ran.stdout.contains(canary.as_str()), "the group key is in no output: {print:?}");
        }
        let ran = derive(&[&keys[..], print, &["-o", "out"]].concat());
        ran.ends_with(0);
        is_clean("standard error", ran.stderr.as_bytes(), &canaries);
        is_clean("standard output", ran.stdout.as_bytes(), &canaries);
        std::fs::remove_file(place.path().join("out")).expect("it was written");
    }

    // What goes wrong with keys at hand.
    place.write("exposed.key", GROUP_KEY);
    place.write("exposed.csv", &format!("registration_id,key\na,{GROUP_KEY}\n"));
    write_secret(&place.path().join("wrong.csv"), &format!("registration_id,key\na,{GROUP_KEY}x\n"));
    write_secret(&place.path().join("taken"), "");
    let joined = format!("--key={GROUP_KEY}");
    let connection = format!("HostName=h;DeviceId=d;SharedAccessKey={GROUP_KEY}");
    for arguments in [
        &["a", "--key-file", "exposed.key"][..],
        &["--csv", "exposed.csv"],
        &["--csv", "wrong.csv"],
        &["a", "--key-file", "group.key", "-o", "taken"],
        &["a", "b c", "--key-file", "group.key"],
        &["a", GROUP_KEY],
        &["a", "--key", GROUP_KEY],
        &["a", &joined],
        &["a", "--key-env", GROUP_KEY],
        &["a", "--key-env", "CANARY_GROUP_KEY", "--hub", &connection],
        &["a", "--key-env", "CANARY_GROUP_KEY", "--ttl", GROUP_KEY],
    ] {
        let ran = derive(arguments);
        ran.ends_with(2);
        is_clean("standard error", ran.stderr.as_bytes(), &canaries);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
    for path in files(place.path()) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        if !["group.key", "exposed.key", "exposed.csv", "wrong.csv"].contains(&name) {
            is_clean(name, &std::fs::read(&path).expect("it is readable"), &canaries);
        }
    }
}
