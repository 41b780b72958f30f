use super::*;
use crate::azure::keys::{DeviceKey, GroupKey};
use proptest::prelude::*;

const S: &str = crate::azure::keys::tests::QUICKSTART;
const ID: &str = "symm-key-python-device-008";
const EXPIRY: UnixTime = UnixTime::from_nanos(1_700_000_000_000_000_000);
const BEFORE: UnixTime = UnixTime::from_nanos(1_699_999_999_999_999_999);

fn individual() -> SigningKey {
    DeviceKey::from_base64(S).expect("a key").signing()
}

fn derived() -> SigningKey {
    GroupKey::from_base64(S).expect("a key").derive(ID).signing()
}

fn signature(token: &Secret) -> String {
    let text = token.expose_text().expect("a token is text");
    BASE64.encode(Presented::parse(text).expect("a token").signature)
}

#[test]
fn dps_signatures_equal_the_computed_ones_in_all_three_spellings() {
    use ResourceSpelling::{LowerCaseHex, Raw, UpperCaseHex};
    for (scope, spelling, with_s, with_d) in [
        (
            "0ne00000A0A",
            UpperCaseHex,
            "3grXEdbedYjNIZd7TgaF/XKjZCCV2+YBc+ViKmsffSI=",
            "NxLgz8EWC21/Hrr/EitlsUehvAR5SO4yYMV9IEVpx10=",
        ),
        (
            "0ne00000A0A",
            LowerCaseHex,
            "Lm1ifPNq/afEsZUrjlPTQOeP9GNqJuzuwf1kgn6gIAs=",
            "31xesVrHPqydTn/V7pUIHz7KG3x5Op8IPMQ36BMPFoU=",
        ),
        (
            "0ne00000A0A",
            Raw,
            "7RgicU/Pt765+DaApg/fJBRKBIoC4sNbZIda0JgHTZM=",
            "nInr92XPZ1AgdJ4tXAHUHwt09FcxHGyUB/bwk+vuuZU=",
        ),
        (
            "0ne00000001",
            UpperCaseHex,
            "hZDYhvLZRivPLc83XAPuglZu6sUElvWVLE8huG+YQbs=",
            "xj9fnNpJhww33YAcuMX7AL0uRLYBC0pOnYKuWI328A0=",
        ),
        (
            "0ne00000001",
            LowerCaseHex,
            "6h450HIhaYGQt2Cs5F1Gk0lxCdByZlRMk7NG/Bg9zHY=",
            "B/75qZqWEUbXIUghm+/h505p8HWgBIovV7PsY4+MYrc=",
        ),
        (
            "0ne00000001",
            Raw,
            "V6JYfz876HXAfDXETA4zueqhKKt2AzPcfRF/7QP32ro=",
            "VRF+SFvX2gF/NtZFVwY3RbwcYw9Z54KL4fq9IbDowpg=",
        ),
    ] {
        let resource = dps_resource(scope, ID);
        for (key, expected) in [(individual(), with_s), (derived(), with_d)] {
            let token = token(&key, &resource, spelling, EXPIRY, Some(REGISTRATION_POLICY));
            assert_eq!(signature(&token), expected, "{scope} {spelling:?}");
            let presented = Presented::parse(token.expose_text().expect("text")).expect("a token");
            assert_eq!(presented.verify(&[&key], &resource, BEFORE), Ok(()));
            assert_eq!(presented.policy(), Some("registration"));
        }
    }
}

#[test]
fn hub_signatures_equal_the_computed_ones() {
    for (host, device, with_s, with_d) in [
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
    ] {
        for (key, expected) in [(individual(), with_s), (derived(), with_d)] {
            let token =
                token(&key, &hub_resource(host, device), ResourceSpelling::UpperCaseHex, EXPIRY, None);
            assert_eq!(signature(&token), expected, "{host} {device}");
        }
    }
}

#[test]
fn a_whole_token_equals_the_one_that_python_sends() {
    let token =
        token(&individual(), &dps_resource("0ne00000A0A", ID), ResourceSpelling::UpperCaseHex, EXPIRY, None);
    assert_eq!(
        token.expose_text(),
        Some(
            "SharedAccessSignature sr=0ne00000A0A%2Fregistrations%2Fsymm-key-python-device-008\
             &sig=3grXEdbedYjNIZd7TgaF%2FXKjZCCV2%2BYBc%2BViKmsffSI%3D&se=1700000000"
        )
    );
}

#[test]
fn a_token_serves_its_resource_and_what_lies_below_it_and_nothing_else() {
    let key = individual();
    let token = token(&key, "Hub.net/devices/d1", ResourceSpelling::UpperCaseHex, EXPIRY, None);
    let presented = Presented::parse(token.expose_text().expect("text")).expect("a token");
    let verify = |resource: &str| presented.verify(&[&key], resource, BEFORE);
    assert_eq!(verify("hub.net/devices/d1"), Ok(()));
    assert_eq!(verify("hub.net/devices/d1/messages/events"), Ok(()));
    assert_eq!(verify("hub.net/devices/d11"), Err(Refusal::Resource));
    assert_eq!(verify("hub.net/devices"), Err(Refusal::Resource));
    assert_eq!(verify("other.net/devices/d1"), Err(Refusal::Resource));
}

#[test]
fn a_token_is_refused_at_its_expiry_and_with_another_key() {
    let key = individual();
    let token = token(&key, "h/devices/d", ResourceSpelling::Raw, EXPIRY, None);
    let presented = Presented::parse(token.expose_text().expect("text")).expect("a token");
    assert_eq!(presented.verify(&[&derived()], "h/devices/d", BEFORE), Err(Refusal::Signature));
    assert_eq!(presented.verify(&[&derived(), &key], "h/devices/d", BEFORE), Ok(()));
    assert_eq!(presented.verify(&[&key], "h/devices/d", EXPIRY), Err(Refusal::Expired));
}

#[test]
fn texts_that_are_no_tokens_are_refused() {
    for text in [
        "",
        "SharedAccessSignature",
        "Bearer sr=a&sig=AA&se=1",
        "SharedAccessSignature sr=a&se=1",
        "SharedAccessSignature sr=a&sr=b&sig=AAAA&se=1",
        "SharedAccessSignature sr=a&sig=AAAA&se=",
        "SharedAccessSignature sr=a&sig=AAAA&se=-1",
        "SharedAccessSignature sr=a&sig=AAAA&se=99999999999999999999",
        "SharedAccessSignature sr=a&sig=%ff&se=1",
        "SharedAccessSignature sr&sig=AAAA&se=1",
    ] {
        assert_eq!(Presented::parse(text).err(), Some(Refusal::Malformed), "{text}");
    }
    let long = format!("SharedAccessSignature sr={}&sig=AAAA&se=1", "a".repeat(3_000));
    assert!(Presented::parse(&long).is_err());
}

proptest! {
    #[test]
    fn no_change_of_one_byte_leaves_a_token_valid(at in 0usize..150, byte in 0x20u8..0x7f) {
        let key = individual();
        let resource = dps_resource("0ne00000A0A", ID);
        let token = token(&key, &resource, ResourceSpelling::UpperCaseHex, EXPIRY, None);
        let mut bytes = token.expose().to_vec();
        let at = at % bytes.len();
        prop_assume!(!bytes[at].eq_ignore_ascii_case(&byte));
        bytes[at] = byte;
        let text = String::from_utf8(bytes).expect("ASCII");
        if let Ok(presented) = Presented::parse(&text) {
            // Padding may be lost from base64 without changing the signature.
            let same_signature = presented.signature == Presented::parse(token.expose_text().expect("text")).expect("a token").signature;
            let same_fields = presented.sr.len() + presented.se.len() == 57 + 10;
            let verdict = presented.verify(&[&key], &resource, BEFORE);
            prop_assert!(verdict.is_err() || (same_signature && same_fields), "{text}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = Presented::parse(&text);
        let _ = Presented::parse(&format!("SharedAccessSignature sr=a&sig={text}&se=1"));
    }
}
