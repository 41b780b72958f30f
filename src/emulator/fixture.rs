//! What the emulator's tests share: a small configuration, tokens for it, an HTTP client over the in-memory network.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;

use super::config::{Allocation, Attestation, Config, Dps, Enrollment, Hub, Reprovision, ServiceKeys};
use super::drive::Drive;
use super::serve::{InMemory, serve_in_memory};
use crate::azure::keys::{GroupKey, SigningKey};
use crate::azure::sas::{self, ResourceSpelling, dps_resource, hub_resource};
use crate::net::memory::MemoryNetwork;
use crate::rng::Distribution;
use crate::text::Secret;
use crate::time::{Clock, UnixTime, simulate};

pub(super) const SCOPE: &str = "0ne00000A0A";
/// Bytes 0 to 63.
pub(super) const PRIMARY: &str =
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
/// 32 bytes of zero.
pub(super) const SECONDARY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
pub(super) const INDIVIDUAL: &str = "NMgJDvdKTxjLi+xBxxkDDEwDJxEvOE5u8BiT0mVgPeg=";
pub(super) const NORTH: &str = "north.azure-devices.localhost";
/// In simulated runs, which begin on 2026-01-01.
pub(super) const VALID: UnixTime = UnixTime::from_nanos(1_767_225_600_000_000_000 + 3_600_000_000_000);
pub(super) const EXPIRED: UnixTime = UnixTime::from_nanos(1_767_225_600_000_000_000 - 1_000_000_000);

/// An emulator in simulated time and the network it is on.
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) network: MemoryNetwork,
    pub(super) emulator: InMemory,
}

pub(super) fn run<F: Future<Output: 'static> + 'static>(
    config: Config,
    test: impl FnOnce(World) -> F + 'static,
) -> F::Output {
    let main = |clock: Clock| async move {
        let network = MemoryNetwork::default();
        let emulator = serve_in_memory(&config, &clock, &network).expect("a service");
        test(World { clock, network, emulator }).await
    };
    simulate(main).expect("the run ends")
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.as_bytes().to_vec())
}

pub(super) fn enrollment(name: &str, attestation: Attestation) -> Enrollment {
    Enrollment {
        name: name.to_owned(),
        attestation,
        enabled: true,
        allocation: None,
        reprovision: Reprovision::Migrate,
        initial_twin: None,
    }
}

pub(super) fn individual(registration_id: &str, device_id: Option<&str>) -> Attestation {
    Attestation::Individual {
        registration_id: registration_id.to_owned(),
        device_id: device_id.map(str::to_owned),
        primary: secret(INDIVIDUAL),
        secondary: None,
    }
}

/// One hub; a group `plant` with two keys; `gateway-1`, called `gw.1` at the hub; `locked-1`, shut out of the group.
/// Assignments take 2 s and no polls.
pub(super) fn config() -> Config {
    let plant = Attestation::Group { primary: secret(PRIMARY), secondary: Some(secret(SECONDARY)) };
    Config {
        seed: 7,
        id_scope: SCOPE.to_owned(),
        dps: Dps {
            retry_after: Some(3),
            polls: Distribution::Constant(0.0),
            assign: Distribution::Constant(2.0),
            registrations: None,
        },
        hubs: vec![Hub::new("north", NORTH)],
        allocation: Allocation::Hashed,
        enrollments: vec![
            enrollment("plant", plant),
            enrollment("gateways", individual("gateway-1", Some("gw.1"))),
            Enrollment { enabled: false, ..enrollment("locked", individual("locked-1", None)) },
        ],
        stamps: false,
        message_ids: Vec::new(),
        service_keys: Some(service_keys()),
        drive: Drive::default(),
    }
}

/// The keys of both services' policies: [`PRIMARY`] and [`SECONDARY`].
pub(super) fn service_keys() -> ServiceKeys {
    ServiceKeys { hub: secret(PRIMARY), dps: secret(SECONDARY) }
}

/// The same with assignments that take neither time nor polls.
pub(super) fn immediate() -> Config {
    let mut config = config();
    config.dps.assign = Distribution::Constant(0.0);
    config
}

/// The same with a second hub, `south`.
pub(super) fn two_hubs() -> Config {
    let mut config = config();
    let host = "south.azure-devices.localhost".to_owned();
    config.hubs.push(Hub::new("south", host));
    config
}

pub(super) fn derived(group_key: &str, id: &str) -> SigningKey {
    GroupKey::from_base64(group_key).expect("a key").derive(id).signing()
}

pub(super) fn own_key() -> SigningKey {
    SigningKey::from_base64(INDIVIDUAL).expect("a key")
}

pub(super) fn token(
    key: &SigningKey,
    resource: &str,
    spelling: ResourceSpelling,
    expiry: UnixTime,
) -> String {
    let token = sas::token(key, resource, spelling, expiry, None);
    token.expose_text().expect("a token is text").to_owned()
}

/// A good token of a group device for DPS.
pub(super) fn dps_token(id: &str) -> String {
    token(&derived(PRIMARY, id), &dps_resource(SCOPE, id), ResourceSpelling::UpperCaseHex, VALID)
}

/// A good token of a group device for a hub.
pub(super) fn hub_token(host: &str, id: &str) -> String {
    token(&derived(PRIMARY, id), &hub_resource(host, id), ResourceSpelling::UpperCaseHex, VALID)
}

/// A good token of the policy of hub `host`.
pub(super) fn owner_token(host: &str) -> String {
    let key = SigningKey::from_base64(PRIMARY).expect("a key");
    policy_token(&key, host, sas::HUB_OWNER_POLICY)
}

/// A good token of DPS's policy.
pub(super) fn dps_owner_token() -> String {
    let key = SigningKey::from_base64(SECONDARY).expect("a key");
    policy_token(&key, "dps.test", sas::DPS_OWNER_POLICY)
}

pub(super) fn policy_token(key: &SigningKey, host: &str, policy: &str) -> String {
    let token = sas::token(key, host, ResourceSpelling::UpperCaseHex, VALID, Some(policy));
    token.expose_text().expect("a token is text").to_owned()
}

pub(super) fn body_of(id: &str) -> String {
    format!("{{\"registrationId\":\"{id}\"}}")
}

/// A reply, read to its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

/// An HTTP client on one connection that is kept open.
pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    pub(super) async fn connect(network: &MemoryNetwork, host: &str) -> Self {
        let stream = network.dial(host).expect("somebody listens");
        Self::over(stream, host).await
    }

    pub(super) async fn over<S>(stream: S, host: &str) -> Self
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.expect("a connection");
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Self { sender, host: host.to_owned() }
    }

    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        self.sender.ready().await.expect("a connection that is kept alive");
        let (head, body) = self.sender.send_request(request).await.expect("a reply").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer { status: head.status.as_u16(), headers: head.headers, body }
    }

    /// A call of a service's API.
    pub(super) async fn owner(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let is_dps = ["/enrollment", "/registrations"].iter().any(|start| path.starts_with(start));
        let token = if is_dps { dps_owner_token() } else { owner_token(&self.host) };
        let path = format!("{path}{}api-version=2021-10-01", if path.contains('?') { '&' } else { '?' });
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", token.as_str())]).collect();
        self.call(method, &path, &headers, body.to_owned()).await
    }

    pub(super) async fn register(&mut self, id: &str) -> Answer {
        let path = crate::azure::dps::register_path(SCOPE, id);
        let headers =
            [("authorization", &*dps_token(id)), ("content-type", "application/json; charset=utf-8")];
        self.call(Method::PUT, &path, &headers, body_of(id)).await
    }

    pub(super) async fn poll(&mut self, id: &str, operation_id: &str) -> Answer {
        let path = crate::azure::dps::operation_path(SCOPE, id, operation_id);
        self.call(Method::GET, &path, &[("authorization", &dps_token(id))], "").await
    }

    pub(super) async fn send(&mut self, id: &str, token: &str, payload: impl Into<Bytes>) -> Answer {
        let path = crate::azure::hub::events_path(id);
        self.call(Method::POST, &path, &[("authorization", token), ("iothub-messageid", "m-1")], payload)
            .await
    }
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
