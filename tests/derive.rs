//! `muster derive` as a program, against vectors of other implementations.
//!
//! The vectors are those of `src/azure/`, where their origins stand. Three of them sign what is no device's id and have keys
//! that no service takes; they cannot come through the command line.

mod common;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Place, Ran};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// The 64-byte key of Azure's Python quickstart.
const S: &str = "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";
/// The key that S derives for [`ID`].
const D: &str = "R6JLsqYnAk3gUmpYCvMGs4n+DlCzJKYySjULMaF//fE=";
const ID: &str = "symm-key-python-device-008";
/// From the documentation of symmetric key attestation.
const P1: &str = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
/// From the documentation of the Azure CLI.
const P2: &str = "oiK77Oy7rBw8YB6IS6ukRChAw+Yq6GC61RMrPLSTiOOtdI+XDu0LmLuNm11p+qv2I+adqGUdZHm46zXAQdZoOA==";
/// From the documentation of the HTTPS API.
const P7: &str = "18RQk/hOPJR9EbsJlk2j8WA6vWaj/yi+oaYg7zmxfQNdOyMSu+SJ8O7TSlZhDJCYmn4rzEiVKIzNiVAWjLxrGA==";
const DOCS: &str = "G3vn0IZH9oK3d4wsxFpWBtd2KUrtjI+39dZVRf26To8w9OX0LaFV9yZ93ELXY7voqHEUsNhnb9bt717UP87KxA==";

/// `muster derive` with a group key in its environment.
fn derive_with(place: &Place, key: &str, arguments: &[&str]) -> Ran {
    let mut command = place.muster(&["derive"]);
    command.args(arguments).env("GROUP_KEY", key);
    let ran = place.finish(command);
    assert!(key.trim().is_empty() || !ran.stderr.contains(key.trim()), "{}", ran.stderr);
    ran
}

fn derive(place: &Place, arguments: &[&str]) -> Ran {
    derive_with(place, S, &[arguments, &["--key-env", "GROUP_KEY"]].concat())
}

/// What comes of a command that reads `file` as its standard input.
fn reading(place: &Place, arguments: &[&str], file: &str) -> Ran {
    let mut command = place.muster(&["derive"]);
    let file = std::fs::File::open(place.path().join(file)).expect("it was written");
    let output = command.args(arguments).env("GROUP_KEY", S).stdin(file).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        results: Vec::new(),
    }
}

/// What is printed by a command that has nothing to complain of.
fn printed(ran: &Ran) -> &str {
    ran.ends_with(0);
    assert_eq!(ran.stderr, "");
    &ran.stdout
}

/// Asserts that it is refused, with these texts and with nothing printed.
fn refused(ran: &Ran, texts: &[&str]) {
    ran.ends_with(2).tells(texts);
    assert_eq!(ran.stdout, "");
}

/// Writes a file that only its owner may read.
fn private(place: &Place, name: &str, text: &str) -> String {
    let mut options = std::fs::OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(place.path().join(name)).expect("new");
    file.write_all(text.as_bytes()).expect("the folder is writable");
    name.to_owned()
}

/// The signature of a token, no longer percent-encoded.
fn signature(token: &str) -> String {
    let (_, rest) = token.split_once("&sig=").expect("a signature");
    let (signature, _) = rest.split_once('&').expect("an expiry");
    percent_decode_str(signature).decode_utf8().expect("ASCII").into_owned()
}

#[test]
fn every_published_and_computed_key_is_derived() {
    let place = Place::new();
    let zeros = STANDARD.encode([0; 32]);
    let counting = STANDARD.encode(std::array::from_fn::<u8, 64, _>(|i| i as u8));
    let long = "x".repeat(128);
    for (key, id, expected) in [
        (P1, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="),
        (P1, "sn-007-888-ABC-mac-a1-b2-c3-d4-e5-f6", "2fw21CA0OIW9dF50YBgxevUuRi86fqJuyvpZ5eFUrNc="),
        (P2, "breakroom499-contoso-tstrsd-007", "JC8F96eayuQwwz+PkE7IzjH2lIAjCUnAa61tDigBnSs="),
        (P2, "mainbuilding167-contoso-hpsd-088", "6uejA9PfkQgmYylj8Zerp3kcbeVrGZ172YLa7VSnJzg="),
        (P2, "contoso-toaster-007", "NXZgydIn9ntUpXfBsWFfaxJqAYVfgGQsshvA5GboGJI="),
        (DOCS, "contoso-simdevice", "prIvMivIPDAqwBH6aCT4P8raQxEulx32+eNjQpp5/bM="),
        (DOCS, "my-symkey-device", "Q+erii/qT0ty8UwJPpnDYucSU2Np3B1053zvwW2S+ns="),
        (S, ID, D),
        (S, "SYMM-KEY-PYTHON-DEVICE-008", "NbVQcwWqfun86hKXREy86k0Vsk9MiVNAKHhvE+c7mbc="),
        (S, "Symm-Key-Python-Device-008", "lNYUUheV+rt5vOvRpGlob2Gmk+WQS6tJ8Em5WyvjkRg="),
        (S, "symm-key-python-device-000", "9Y7y/ylHn9EHTG7XxDvvwGNg8ueyeDLrIlK2gv79MtY="),
        (S, "symm-key-python-device-0", "SXBjQMGtDxox7vfR2qTkZb6Tp6mXvVKGP/Aqx566UJg="),
        (S, "python-device-008", "FNbuPT2B1fx6psia3FFFzmPRt/k5AG85+G3qenwg6kI="),
        (S, "device-00001", "enkSxaAh+TnTbbQzxr1pgoUX9RxoUBGsbv3P+xCpapQ="),
        (S, "device-99999", "x5bhEOxmzJsy40Pix0YYfUmOa/s4KqFU6H5Ic0C6ss0="),
        (S, "dev:a.b_c-1", "qwWGzbkG+N8o7UIbCnD0GpAAKZNpRd1IVPoFXCjJI9g="),
        (S, "a", "6XlKKXn6+el9TMZMs43zlkwCzov8qZTkdzjF3YtPGeA="),
        (S, &long, "mKAMYVlg7ueNF+expDYJilfgJ4VPV4o1by9Ptdj+Rs0="),
        (&zeros, "device-0", "l9ThcXxNRkk0V3ch8rUYJZpjeGZkreJTsB9OME8F4aI="),
        (&zeros, "device-1", "gUTe3Myi1sY5YNYq0G3WF6xqDcH25ZVEtKptiBJzKtM="),
        (&zeros, "device-00001", "RuV8e3xvP/svxp9O7MAEG8VXrrxLXPm4OEy70L8SUhc="),
        (&counting, "device-0", "QOQKttBehNHKzR4MvVNcVrM8sTw1GiGQW8Vh5ATj5cg="),
        (&counting, "device-1", "r3cfq87n4fonUTSKGv/bclACEzOX9AnbcB1PwhzFsu4="),
        (&counting, "device-00001", "4QtuC4RMfQDEFNnLxtlzMG6F4OF32jOLm6u7hBR8KYc="),
    ] {
        let ran = derive_with(&place, key, &[id, "--key-env", "GROUP_KEY"]);
        assert_eq!(printed(&ran), format!("{expected}\n"), "{id}");
    }
}

#[test]
fn every_computed_dps_signature_is_made_with_a_derived_key_and_with_a_devices_own() {
    let place = Place::new();
    let list = private(&place, "own.csv", &format!("registration_id,key\n{ID},{S}\nmy-symkey-device,{P7}\n"));
    let token = |scope, expiry| ["--print", "sas-dps", "--scope", scope, "--expiry", expiry];
    for (scope, with_s, with_d) in [
        (
            "0ne00000A0A",
            "3grXEdbedYjNIZd7TgaF/XKjZCCV2+YBc+ViKmsffSI=",
            "NxLgz8EWC21/Hrr/EitlsUehvAR5SO4yYMV9IEVpx10=",
        ),
        (
            "0ne00000001",
            "hZDYhvLZRivPLc83XAPuglZu6sUElvWVLE8huG+YQbs=",
            "xj9fnNpJhww33YAcuMX7AL0uRLYBC0pOnYKuWI328A0=",
        ),
    ] {
        let derived = derive(&place, &[&[ID], &token(scope, "1700000000")[..]].concat());
        let expected = format!("SharedAccessSignature sr={scope}%2Fregistrations%2F{ID}&sig=");
        assert!(printed(&derived).starts_with(&expected), "{}", derived.stdout);
        assert!(derived.stdout.ends_with("&se=1700000000&skn=registration\n"), "{}", derived.stdout);
        assert_eq!(signature(&derived.stdout), with_d);
        let own = derive_with(&place, S, &[&["--csv", &list], &token(scope, "1700000000")[..]].concat());
        assert_eq!(signature(printed(&own)), with_s);
        assert!(own.stdout.starts_with(&format!("{ID}\t{expected}")), "{}", own.stdout);
    }
    let own = derive_with(&place, S, &[&["--csv", &list], &token("0ne00111111", "1663952627")[..]].concat());
    let line = printed(&own).lines().nth(1).expect("a second device");
    assert_eq!(signature(line), "8VPprb8BiTkuVE0hBqHm/SVrzVpdD8VZcXugntdbhuU=");
}

#[test]
fn every_published_and_computed_hub_signature_names_the_device_id() {
    let place = Place::new();
    let list = |name: &str, key: &str, device_id: &str| {
        private(&place, name, &format!("registration_id,key,device_id\n{ID},{key},{device_id}\n"))
    };
    for (n, (host, device_id, with_s, with_d)) in [
        (
            "hub1.azure-devices.net",
            "python-device-008",
            "eyg4SdTXq7E55Sbss6b0hCo/1CRlLdhVslQU2X7HyXo=",
            "/2rqCyGmjNoVbqZMjR683fDxd1sNv7ttF1NHxAUGYuc=",
        ),
        (
            "hub1.azure-devices.net",
            ID,
            "RaNvOqjXxM6D3iaWMEfodLuVa0Xq+MOyJlPI1DWMETo=",
            "0Giut0XpcUOThx9dCKTRdDzZA1bV+OOPf7EcPcgLszM=",
        ),
        (
            "localhost",
            ID,
            "7uuhJzpZdBWPNZg1zfiUJMcUu/JGAEfRnV7d9+0H058=",
            "s2LvPlTp7vu6bkMP/n2+wBqmomMfGMQidnjfvIplXfg=",
        ),
        (
            "localhost:8883",
            ID,
            "HQCWQx+cCvVT9yS/Jmc9jVIT7F0PZwriKCOstPqFS40=",
            "gvwLdY1HpcIWGMt5xivK7hRW9n8hIeiw8JmLL0XJfOM=",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        for (key, expected) in [(S, with_s), (D, with_d)] {
            let list = list(&format!("{n}-{}.csv", &key[..4]), key, device_id);
            let arguments = ["--csv", &list, "--print", "sas-hub", "--hub", host, "--expiry", "1700000000"];
            let ran = derive_with(&place, S, &arguments);
            assert_eq!(signature(printed(&ran)), expected, "{host} {device_id}");
            assert!(ran.stdout.ends_with("&se=1700000000\n"), "{}", ran.stdout);
        }
    }
    let published = list("p7.csv", P7, "my-symkey-device");
    let hub = "MyExampleHub.azure-devices.net";
    let arguments = ["--csv", &published, "--print", "sas-hub", "--hub", hub, "--expiry", "1663119026"];
    let ran = derive_with(&place, S, &arguments);
    assert_eq!(signature(printed(&ran)), "f+wW8XOKeJOtiPc9Iwjc4OpExvPM7NlhM9qxN2a1aAM=");
}

#[test]
fn tokens_expire_after_the_time_to_live() {
    let place = Place::new();
    let expiry = |arguments: &[&str]| {
        let ran = derive(&place, &[&["a", "--print", "sas-dps", "--scope", "0ne"], arguments].concat());
        let (_, rest) = printed(&ran).split_once("&se=").expect("an expiry");
        rest.split('&').next().and_then(|text| text.parse::<u64>().ok()).expect("seconds")
    };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
    for (arguments, ttl) in [(&[][..], 3_600), (&["--ttl", "90m"], 5_400)] {
        let before = now();
        let expires = expiry(arguments);
        assert!((before + ttl..=now() + ttl).contains(&expires), "{before} {expires}");
    }
}

#[test]
fn ids_come_from_arguments_a_pattern_a_list_a_file_or_standard_input() {
    let place = Place::new();
    let expected = "device-00001\tenkSxaAh+TnTbbQzxr1pgoUX9RxoUBGsbv3P+xCpapQ=\n\
                    device-00002\t";
    let list = place.write("serials.csv", "site,Registration ID\nnorth,device-00001\nsouth,device-00002\n");
    let lines = place.write("ids.txt", "device-00001\r\n\n device-00002 \n");
    let pattern = ["--pattern", "device-{n:05}", "--count", "2", "--from", "1"];
    let all = derive(&place, &["device-00001", "device-00002"]);
    assert!(printed(&all).starts_with(expected), "{}", all.stdout);
    for arguments in [&pattern[..], &["--csv", &list], &["--ids", &lines]] {
        let ran = derive(&place, arguments);
        assert_eq!(printed(&ran), all.stdout, "{arguments:?}");
    }
    let ran = reading(&place, &["--ids", "-", "--key-env", "GROUP_KEY"], &lines);
    assert_eq!(printed(&ran), all.stdout);
    // An empty device id is none.
    let list = place.write("ids.csv", "registration_id,device_id\na,\nb,\"=x(1,2)\"\n");
    let hub = ["--print", "connection-string", "--hub", "hub1.azure-devices.net", "--format", "jsonl"];
    let ran = derive(&place, &[&["--csv", &list], &hub[..]].concat());
    let lines: Vec<Value> =
        printed(&ran).lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect();
    assert_eq!((&lines[0]["device_id"], &lines[1]["device_id"]), (&"a".into(), &"=x(1,2)".into()));
    let connection = lines[1]["connection_string"].as_str().expect("a connection string");
    let start = "HostName=hub1.azure-devices.net;DeviceId==x(1,2);SharedAccessKey=";
    assert!(connection.starts_with(start) && connection.ends_with('='), "{connection}");
}

#[test]
fn keys_come_from_the_environment_a_private_file_or_standard_input() {
    let place = Place::new();
    let file = private(&place, "group.key", &format!("{S}\n"));
    let ran = derive_with(&place, S, &[ID, "--key-file", &file]);
    assert_eq!(printed(&ran), format!("{D}\n"));
    assert_eq!(printed(&reading(&place, &[ID, "--key-stdin"], &file)), format!("{D}\n"));

    std::fs::set_permissions(place.path().join(&file), std::fs::Permissions::from_mode(0o640)).expect("ours");
    refused(&derive_with(&place, S, &[ID, "--key-file", &file]), &["mode 640", "chmod 600 group.key"]);
    refused(&derive_with(&place, S, &[ID, "--key-file", "missing"]), &["cannot read the key file missing"]);
    refused(&derive_with(&place, S, &[ID, "--key-env", "OTHER"]), &["OTHER is not set"]);
    refused(&derive_with(&place, S, &[ID]), &["--key-env GROUP_KEY", "--key-file", "--key-stdin"]);
    refused(&derive_with(&place, S, &[ID, "--key-env", "GROUP_KEY", "--key-file", "x"]), &["cannot be used"]);
    refused(&derive_with(&place, S, &["--ids", "-", "--key-stdin"]), &["standard input cannot give both"]);
    refused(&derive_with(&place, " \n", &[ID, "--key-env", "GROUP_KEY"]), &["GROUP_KEY: the key is empty"]);
    let connection = format!("HostName=h;SharedAccessKeyName=n;SharedAccessKey={S}");
    refused(&derive_with(&place, &connection, &[ID, "--key-env", "GROUP_KEY"]), &["connection string"]);
}

#[test]
fn a_key_among_the_arguments_is_refused_with_the_reason_and_not_repeated() {
    let place = Place::new();
    let url_safe = S.replace('+', "-").replace('/', "_");
    let connection = format!("HostName=h;DeviceId=d;SharedAccessKey={S}");
    let (joined, stdin, hub) =
        (format!("--key={S}"), format!("--key-stdin={S}"), format!("--hub={connection}"));
    for arguments in [
        &[S][..],
        &[ID, "--key", S],
        &[ID, "--key", "short"],
        &[ID, &joined],
        &[ID, &stdin],
        &[ID, "--key-env", S],
        &[ID, "--key-file", S],
        &[ID, "--key-env", "GROUP_KEY", "--scope", &url_safe],
        &[ID, "--key-env", "GROUP_KEY", "--no-such-flag", S],
        &[ID, &hub],
        &[D.trim_end_matches('=')],
    ] {
        let ran = derive_with(&place, S, arguments);
        refused(&ran, &["every process on this machine can read them", "--key-env NAME"]);
        for secret in [S, url_safe.as_str(), D.trim_end_matches('='), "short"] {
            assert!(!ran.stderr.contains(secret), "{arguments:?}: {}", ran.stderr);
        }
    }
    // A key that lost a character is no key any more, and yet none to be shown.
    for arguments in [&[&S[..50]][..], &[ID, "--key-env", &S[..50]], &[ID, "--hub", &S[..50]]] {
        let ran = derive(&place, arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
        assert!(!ran.stderr.contains(&S[..20]), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn wrong_ids_are_told_by_position_or_line() {
    let place = Place::new();
    let long = "x".repeat(129);
    let ran = derive(&place, &["a", "b c", "d.", &long]);
    refused(
        &ran,
        &["id 2 of 4: character 2 (' ')", "id 3 of 4: the id ends in '.'", "id 4 of 4: the id has 129"],
    );
    refused(&derive(&place, &[""]), &["id 1 of 1: the id is empty"]);
    refused(&derive(&place, &["--pattern", "fixed", "--count", "2"]), &["put `{n}` into the pattern"]);
    refused(&derive(&place, &["--pattern", "{n}-{run}", "--count", "2"]), &["`{run}`"]);
    refused(&derive(&place, &["--pattern", "{n}"]), &["--count <N>"]);
    for flag in ["--count", "--from"] {
        refused(&derive(&place, &[flag, "2", "a"]), &["--count and --from go with --pattern"]);
    }
    refused(&derive(&place, &["--pattern", "{n}", "--count", "0"]), &["at least 1"]);
    refused(&derive(&place, &["a", "--csv", "x"]), &["cannot be used with"]);
    refused(&derive(&place, &[]), &["--pattern PATTERN --count N"]);

    let list = place.write("list.csv", "registration_id\nabc\nx\nABC\nb c\n");
    // A list may be longer than memory, so what stands before a mistake is derived already; a file of it is not kept.
    let ran = derive(&place, &["--csv", &list]);
    ran.ends_with(2).tells(&["list.csv:5: the registration id is not a legal one: character 2"]);
    assert_eq!(ran.stdout.lines().count(), 3, "{ran:?}");
    let ran = derive(&place, &["--csv", &list, "-o", "keys.txt"]);
    refused(&ran, &["list.csv:5"]);
    assert!(!place.path().join("keys.txt").exists());
    refused(&derive(&place, &["--csv", "missing.csv"]), &["missing.csv"]);
    refused(&derive(&place, &["--csv", "/dev/null"]), &["--ids -"]);
    let list = place.write("open.csv", &format!("registration_id,key\na,{S}\n"));
    std::fs::set_permissions(place.path().join(&list), std::fs::Permissions::from_mode(0o644)).expect("ours");
    refused(&derive_with(&place, S, &["--csv", &list]), &["chmod 600 open.csv"]);
    let list = private(&place, "own.csv", &format!("registration_id,key\na,{S}\n"));
    refused(&derive(&place, &["--csv", &list]), &["the list has keys of its own"]);
    let serials = place.write("serials.csv", "registration_id\na\n");
    refused(&derive_with(&place, S, &["--csv", &serials]), &["there is no group key"]);

    // Lines are checked as they are read: what is right before the wrong one is printed, but no file is left.
    let lines = place.write("ids.txt", "a\nb\nc d\n");
    let ran = derive(&place, &["--ids", &lines]);
    ran.ends_with(2).tells(&["ids.txt:3: character 2"]);
    assert_eq!(ran.stdout.lines().count(), 2);
    refused(&derive(&place, &["--ids", &lines, "-o", "out"]), &["ids.txt:3"]);
    assert!(!place.path().join("out").exists());
}

#[test]
fn flags_that_are_missing_or_have_no_use_are_told() {
    let place = Place::new();
    refused(&derive(&place, &["a", "--print", "sas-dps"]), &["needs --scope"]);
    refused(
        &derive(&place, &["a", "--print", "sas-hub", "--scope", "x"]),
        &["needs --hub", "--scope goes with"],
    );
    refused(&derive(&place, &["a", "--print", "connection-string"]), &["needs --hub"]);
    refused(&derive(&place, &["a", "--hub", "h.example"]), &["--hub goes with"]);
    refused(&derive(&place, &["a", "--ttl", "1h"]), &["--ttl and --expiry go with"]);
    let token =
        |more: [&'static str; 2]| [&["a", "--print", "sas-dps", "--scope", "0ne"], &more[..]].concat();
    refused(&derive(&place, &token(["--ttl", "60"])), &["60"]);
    refused(&derive(&place, &token(["--ttl", "0s"])), &["at least 1s"]);
    refused(&derive(&place, &token(["--expiry", "99999999999999"])), &["18446744073"]);
    refused(
        &derive(&place, &["a", "--print", "sas-hub", "--hub", "https://h"]),
        &["--hub is not a host name"],
    );
}

#[test]
fn a_file_is_private_and_never_overwritten_and_a_scenario_can_read_it() {
    let place = Place::new();
    let numbered = ["--pattern", "-{n}", "--count", "200", "--format", "csv", "-o", "keys.csv"];
    assert_eq!(printed(&derive(&place, &numbered)), "");
    let path = place.path().join("keys.csv");
    let mode = std::fs::metadata(&path).expect("it was written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(&path).expect("it is ours");
    assert!(text.starts_with("registration_id,key\n\"-0\","), "{text}");
    assert!(text.contains(",\"+"), "a key in 64 begins with a plus sign");
    refused(&derive(&place, &numbered), &["keys.csv is there already and is not overwritten"]);
    assert_eq!(std::fs::read_to_string(&path).expect("it is ours"), text);
    // The keys, read back from the list, are the same.
    let again = derive_with(&place, S, &["--csv", "keys.csv", "--format", "csv"]);
    assert_eq!(printed(&again), text);
    let scenario = "version = 1\n[enrollment.gateways]\nindividual = \"keys.csv\"\n[fleet.a]\ncount = 200\n\
                    enrollment = \"gateways\"\nstart.burst = {}\n";
    let scenario = place.write("list.toml", scenario);
    place.finish(place.muster(&["check", &scenario, "-q"])).ends_with(0);
    derive(&place, &["a", "-o", "no/such/folder"]).ends_with(1).tells(&["cannot create no/such/folder"]);
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let place = Place::new();
    let mut command = place.muster(&["derive", "--pattern", "device-{n:05}", "--count", "1_000_000_000"]);
    command.args(["--key-env", "GROUP_KEY"]).env("GROUP_KEY", S);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut start = [0; 100];
    child.stdout.take().expect("a pipe").read_exact(&mut start).expect("lines");
    assert!(start.starts_with(b"device-00000\t"));
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}

#[test]
fn help_fits_a_terminal_of_80_columns_and_has_examples() {
    let place = Place::new();
    for command in ["derive", "completions", "man"] {
        let mut command = place.muster(&[command, "--help"]);
        command.env("COLUMNS", "80");
        let help = place.finish(command);
        assert!(printed(&help).contains("Examples:\n  muster "), "{}", help.stdout);
        for line in help.stdout.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn completions_and_manual_are_printed_and_the_manual_is_written() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.finish(place.muster(&["completions", shell]));
        for command in ["run", "check", "emulate", "derive", "schema"] {
            assert!(printed(&ran).contains(command), "{shell}: {command}");
        }
    }
    refused(&place.finish(place.muster(&["completions", "cobol"])), &["powershell"]);
    let page = place.finish(place.muster(&["man"]));
    assert!(printed(&page).contains(".SH \"EXIT STATUS\"") || page.stdout.contains(".SH EXIT STATUS"));
    for _ in 0..2 {
        assert_eq!(printed(&place.finish(place.muster(&["man", "--dir", "share/man1"]))), "");
    }
    let folder = place.path().join("share/man1");
    assert_eq!(std::fs::read_to_string(folder.join("muster.1")).expect("a page"), page.stdout);
    for entry in std::fs::read_dir(&folder).expect("a folder") {
        let path = entry.expect("readable").path();
        let mut groff = std::process::Command::new("groff");
        // Not every machine has it.
        let Ok(output) = groff.args(["-man", "-Tutf8", "-ww", "-z"]).arg(&path).output() else { return };
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.is_empty(), "{}: {told}", path.display());
    }
}
