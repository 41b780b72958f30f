//! Figures of the habits that no single packet shows.

use super::*;
use crate::azure::keys::SigningKey;
use crate::azure::sas::{dps_resource, hub_resource};

const SCOPE: &str = "0ne00000A0A";
const ID: &str = "symm-key-python-device-008";
/// The quickstart's.
const KEY: &str = "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";
const EXPIRY: UnixTime = UnixTime::from_nanos(1_700_000_000_000_000_000);

const SDKS: [Behave; 3] = [Behave::Python, Behave::Node, Behave::C];

fn token(form: Form<'_>, resource: &str) -> String {
    let key = SigningKey::from_base64(KEY).expect("a key");
    form.token(&key, resource, EXPIRY).expose_text().expect("text").to_owned()
}

#[test]
fn tokens_for_dps_are_written_as_each_sdk_writes_them() {
    let start = "SharedAccessSignature sr=0ne00000A0A";
    let dps = SDKS.map(|sdk| token(sdk.habits().dps.token, &dps_resource(SCOPE, ID)));
    assert_eq!(
        dps,
        [
            format!(
                "{start}%2Fregistrations%2F{ID}&sig=3grXEdbedYjNIZd7TgaF%2FXKjZCCV2%2BYBc%2BViKmsffSI%3D&se=1700000000"
            ),
            format!(
                "{start}/registrations/{ID}&sig=7RgicU%2FPt765%2BDaApg%2FfJBRKBIoC4sNbZIda0JgHTZM%3D&skn=registration&se=1700000000"
            ),
            format!(
                "{start}%2fregistrations%2f{ID}&sig=Lm1ifPNq%2fafEsZUrjlPTQOeP9GNqJuzuwf1kgn6gIAs%3d&se=1700000000&skn=registration"
            ),
        ]
    );
}

#[test]
fn tokens_for_hubs_are_written_as_each_sdk_writes_them() {
    let resource = hub_resource("hub1.azure-devices.net", "python-device-008");
    let start = "SharedAccessSignature sr=hub1.azure-devices.net";
    let upper = format!(
        "{start}%2Fdevices%2Fpython-device-008&sig=eyg4SdTXq7E55Sbss6b0hCo%2F1CRlLdhVslQU2X7HyXo%3D&se=1700000000"
    );
    let [python, node, c] = SDKS.map(|sdk| token(sdk.habits().hub.token, &resource));
    assert_eq!([python, node], [upper.clone(), upper.clone()]);
    assert_eq!(token(Behave::Node.habits().hub.http_token, &resource), upper);
    // The SDK for C signs the path as it is (buildDevicesAndModulesPath, and create_deviceSASObject over HTTPS); this signature
    // was worked out with Python's hmac.
    let signed = format!("{start}/devices/python-device-008&sig={C_SIGNATURE}&se=1700000000");
    assert_eq!(c, signed);
    assert_eq!(token(Behave::C.habits().hub.http_token, &resource), format!("{signed}&skn="));
}

const C_SIGNATURE: &str = "%2boMBq7A%2fAUjvYcTsp2shgHpv045H2Pl1pAB1RWmoaLc%3d";

#[test]
fn tokens_live_and_are_renewed_as_with_each_sdk() {
    let figures = |sdk: Behave, lifetime: Option<u64>| {
        let life = sdk.habits().token_life(lifetime.map(Duration::from_secs));
        (life.dps_lifetime.as_secs(), life.lifetime.as_secs(), life.renew_before.as_secs())
    };
    let usual = SDKS.map(|sdk| figures(sdk, None));
    assert_eq!(usual, [(3_600, 3_600, 120), (3_600, 3_600, 900), (2_400, 3_600, 720)]);
    // 80 % of its life with C, whatever it is.
    let given = SDKS.map(|sdk| figures(sdk, Some(360)));
    assert_eq!(given, [(360, 360, 12), (360, 360, 90), (360, 360, 72)]);
    assert_eq!(figures(Behave::Muster, Some(7_200)), (7_200, 7_200, 300));
}

#[test]
fn timeouts_are_those_of_each_sdk() {
    let figures = Behave::ALL.map(|behave| {
        let Deadlines { register, connect, send } = behave.habits().deadlines;
        (behave.name(), [register, connect, send].map(|deadline| deadline.as_secs()))
    });
    assert_eq!(
        figures,
        [
            ("muster", [60, 30, 30]),
            ("python-sdk", [3_600, 60, 3_600]),
            ("node-sdk", [3_600, 60, 240]),
            ("c-sdk", [60, 30, 120]),
        ]
    );
    let seconds = |limit: Option<Duration>| limit.map(|limit| limit.as_secs());
    let patience = SDKS.map(|sdk| {
        let Patience { open, answer, both } = sdk.habits().dps.patience;
        [open, answer, both].map(seconds)
    });
    assert_eq!(patience, [[Some(60), Some(30), None], [None, None, Some(30)], [None; 3]]);
}

#[test]
fn only_pythons_sdk_offers_nothing_newer_than_tls_1_2() {
    // Its context is made with PROTOCOL_TLSv1_2 (mqtt_transport.py); the capture of Node's shows TLS 1.3; C leaves it to OpenSSL.
    assert_eq!(SDKS.map(|sdk| sdk.habits().only_tls12), [true, false, false]);
    assert!(!Behave::Muster.habits().only_tls12);
}
