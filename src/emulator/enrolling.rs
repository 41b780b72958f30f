//! Enrollments as an API reads and writes them, with the names that service SDKs use.
//!
//! Source: <https://learn.microsoft.com/rest/api/iot-dps/service>, API specification 2021-10-01.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::allocation::Policy;
use super::config::{InitialTwin, Reprovision};
use super::enrollments::{Entry, Expected, Key, Keys, NotChanged, Written};
use super::service::{DpsRefusal, Service};
use super::twin::Twin;
use crate::azure::dps::error_code;
use crate::azure::keys::{GroupKey, KeyError, SigningKey};
use crate::azure::registration::{check_device_id, check_registration_id};
use crate::text::Secret;
use crate::time::UnixTime;

/// The two kinds of enrollments that an API knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Individual,
    Group,
}

/// An enrollment as written, as far as it is of use here; both kinds.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WrittenEnrollment {
    #[serde(default)]
    registration_id: Option<String>,
    #[serde(default)]
    enrollment_group_id: Option<String>,
    #[serde(default)]
    device_id: Option<String>,
    attestation: Attestation,
    #[serde(default)]
    provisioning_status: Option<String>,
    #[serde(default)]
    reprovision_policy: Option<ReprovisionPolicy>,
    #[serde(default)]
    initial_twin: Option<WrittenTwin>,
    #[serde(default)]
    allocation_policy: Option<String>,
    #[serde(default)]
    iot_hubs: Option<Vec<String>>,
    #[serde(default)]
    iot_hub_host_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attestation {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    symmetric_key: Option<SymmetricKey>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SymmetricKey {
    #[serde(default)]
    primary_key: Option<Secret64>,
    #[serde(default)]
    secondary_key: Option<Secret64>,
}

/// A key as text, which no `Debug` shows.
#[derive(Debug)]
struct Secret64(Secret);

impl<'de> Deserialize<'de> for Secret64 {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Secret::new(text.into_bytes())))
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReprovisionPolicy {
    #[serde(default = "yes")]
    update_hub_assignment: bool,
    #[serde(default = "yes")]
    migrate_device_data: bool,
}

#[derive(Debug, Default, Deserialize)]
struct WrittenTwin {
    #[serde(default)]
    tags: Option<Map<String, Value>>,
    #[serde(default)]
    properties: Option<TwinProperties>,
}

#[derive(Debug, Default, Deserialize)]
struct TwinProperties {
    #[serde(default)]
    desired: Option<Map<String, Value>>,
}

impl Service {
    /// The enrollment of that id.
    pub(super) fn enrollment(&self, kind: Kind, id: &str) -> Result<Arc<Entry>, DpsRefusal> {
        let entry = match kind {
            Kind::Individual => self.enrollments().individual(id),
            Kind::Group => self.enrollments().group(id),
        };
        entry.ok_or(kind.unknown())
    }

    /// Enrollments in the order of their ids, those after `after`. Those of lists are not among them: they have files of
    /// their own.
    pub(super) fn some_enrollments(&self, kind: Kind, after: Option<&str>, most: usize) -> Vec<Arc<Entry>> {
        match kind {
            Kind::Individual => self.enrollments().individuals(after, most),
            Kind::Group => self.enrollments().all_groups(after, most),
        }
    }

    /// Creates or updates an enrollment, from which on devices can register with it. Keys that are not given are those that
    /// it has, or new ones.
    ///
    /// * `etag`: of the one that is there, `*` for any; `None` if none is to be there
    pub(super) fn put_enrollment(
        &self,
        wall: UnixTime,
        kind: Kind,
        id: &str,
        written: WrittenEnrollment,
        etag: Option<&str>,
    ) -> Result<Arc<Entry>, DpsRefusal> {
        check_registration_id(id)
            .map_err(|_| invalid("the id has a character that it may not have, or too many"))?;
        let named = match kind {
            Kind::Individual => &written.registration_id,
            Kind::Group => &written.enrollment_group_id,
        };
        if !named.as_deref().is_some_and(|named| named.eq_ignore_ascii_case(id)) {
            return Err(invalid("the id of the body is not that of the path"));
        }
        let known = self.enrollment(kind, id).ok();
        let edition = self.next_edition();
        let entry = Entry {
            name: id.into(),
            allocation: self.written_policy(&written)?,
            reprovision: written
                .reprovision_policy
                .map_or_else(Reprovision::default, ReprovisionPolicy::meaning),
            initial_twin: written.initial_twin()?,
            enabled: match written.provisioning_status.as_deref() {
                None | Some("enabled") => true,
                Some("disabled") => false,
                Some(_) => return Err(invalid("provisioningStatus is neither enabled nor disabled")),
            },
            written: Written {
                created: Some(known.as_ref().and_then(|known| known.written.created).unwrap_or(wall)),
                updated: Some(wall),
                edition,
                allocation: written.allocation_policy.clone(),
                hubs: written.iot_hubs.clone().unwrap_or_default(),
            },
            keys: self.written_keys(kind, id, written, known.as_deref(), edition)?,
        };
        self.enrollments()
            .put(entry, expected(etag, Expected::Nothing))
            .map_err(|error| kind.refusal(error, etag))
    }

    /// Removes an enrollment. Registrations made with it stay, and the devices at their hubs; they cannot register again.
    ///
    /// * `etag`: of the one that is there; `*` and `None` for any
    pub(super) fn remove_enrollment(
        &self,
        kind: Kind,
        id: &str,
        etag: Option<&str>,
    ) -> Result<(), DpsRefusal> {
        let removed = self.enrollments().remove(id, kind == Kind::Group, expected(etag, Expected::Anything));
        removed.map_err(|error| kind.refusal(error, etag.or(Some("*"))))
    }

    fn written_policy(&self, written: &WrittenEnrollment) -> Result<Option<Policy>, DpsRefusal> {
        let hubs: Vec<&String> =
            written.iot_hubs.iter().flatten().chain(&written.iot_hub_host_name).collect();
        let mut indices = Vec::new();
        for host in hubs {
            let index = self.hub_of(host, None).ok_or(invalid("a hub of iotHubs is not linked"))?;
            if !indices.contains(&index) {
                indices.push(index);
            }
        }
        match (written.allocation_policy.as_deref(), indices.as_slice()) {
            (_, [only]) => Ok(Some(Policy::Static(Some(*only)))),
            (None, []) => Ok(None),
            (Some("static"), _) => Err(invalid("a static allocation names one hub")),
            (Some("custom"), _) => Err(invalid("there are no webhooks here: use hashed or static")),
            // The latency to every hub is the same here.
            (None | Some("hashed" | "geoLatency"), hubs)
                if hubs.is_empty() || hubs.len() == self.hub_count() =>
            {
                Ok(Some(Policy::Hashed))
            }
            (None | Some("hashed" | "geoLatency"), _) => {
                Err(invalid("iotHubs is one hub or all: others are not emulated"))
            }
            _ => Err(invalid("allocationPolicy is hashed, geoLatency, static or custom")),
        }
    }

    fn written_keys(
        &self,
        kind: Kind,
        id: &str,
        written: WrittenEnrollment,
        known: Option<&Entry>,
        edition: u64,
    ) -> Result<Keys, DpsRefusal> {
        if !written.attestation.kind.eq_ignore_ascii_case("symmetricKey") {
            return Err(invalid("devices are authenticated by symmetric keys here: use type symmetricKey"));
        }
        let keys = written.attestation.symmetric_key.unwrap_or_default();
        let given = [keys.primary_key, keys.secondary_key];
        let kept = known.map(|known| known.keys.texts());
        let mut texts = given.into_iter().enumerate().map(|(n, key)| {
            let key = key.map(|key| key.0).filter(|key| !key.expose().is_empty());
            key.or_else(|| kept.clone().and_then(|kept| kept[n].clone()))
                .unwrap_or_else(|| self.made_key(id, 2 * edition + n as u64))
        });
        let mut next = || texts.next().unwrap_or_else(|| Secret::new(Vec::new()));
        let (primary, secondary) = (next(), next());
        fn read<K>(key: &Secret, parse: fn(&str) -> Result<K, KeyError>) -> Result<Key<K>, DpsRefusal> {
            Key::read(key, parse).map_err(|_| invalid("a key is not 16 to 64 bytes of base64"))
        }
        Ok(match kind {
            Kind::Group => Keys::Group {
                primary: read(&primary, GroupKey::from_base64)?,
                secondary: Some(read(&secondary, GroupKey::from_base64)?),
            },
            Kind::Individual => {
                if written.device_id.as_deref().is_some_and(|id| check_device_id(id).is_err()) {
                    return Err(invalid("no device may have this deviceId"));
                }
                Keys::Individual {
                    registration_id: id.into(),
                    device_id: written.device_id.map(Into::into),
                    primary: read(&primary, SigningKey::from_base64)?,
                    secondary: Some(read(&secondary, SigningKey::from_base64)?),
                }
            }
        })
    }
}

impl Kind {
    /// How refusals call it.
    fn unknown(self) -> DpsRefusal {
        match self {
            Self::Individual => DpsRefusal::new(404_201, "Enrollment not found"),
            Self::Group => DpsRefusal::new(404_202, "Enrollment group not found"),
        }
    }

    fn refusal(self, error: NotChanged, etag: Option<&str>) -> DpsRefusal {
        match (error, self) {
            (NotChanged::Unknown, _) => self.unknown(),
            (NotChanged::TooMany, _) => DpsRefusal::new(403_000, "There are as many enrollments as may be"),
            (NotChanged::Changed, _) if etag.is_some() => {
                DpsRefusal::new(412_000, "The enrollment has changed, or is not there; read it again")
            }
            (NotChanged::Changed, Self::Individual) => {
                DpsRefusal::new(409_201, "There is such an enrollment")
            }
            (NotChanged::Changed, Self::Group) => {
                DpsRefusal::new(409_202, "There is such an enrollment group")
            }
        }
    }
}

impl ReprovisionPolicy {
    fn meaning(self) -> Reprovision {
        match self {
            Self { update_hub_assignment: false, .. } => Reprovision::Never,
            Self { migrate_device_data: true, .. } => Reprovision::Migrate,
            Self { .. } => Reprovision::Reset,
        }
    }
}

impl WrittenEnrollment {
    fn initial_twin(&self) -> Result<Option<InitialTwin>, DpsRefusal> {
        let Some(twin) = &self.initial_twin else { return Ok(None) };
        let desired = twin.properties.as_ref().and_then(|properties| properties.desired.clone());
        let initial =
            InitialTwin { tags: twin.tags.clone().unwrap_or_default(), desired: desired.unwrap_or_default() };
        Twin::initial(&initial, UnixTime::from_nanos(0)).map_err(|error| invalid(error.text()))?;
        Ok(Some(initial))
    }
}

impl Keys {
    /// Both keys as they were written.
    fn texts(&self) -> [Option<Secret>; 2] {
        match self {
            Self::Group { primary, secondary } => {
                [Some(primary.text.clone()), secondary.as_ref().map(|key| key.text.clone())]
            }
            Self::Individual { primary, secondary, .. } => {
                [Some(primary.text.clone()), secondary.as_ref().map(|key| key.text.clone())]
            }
            Self::List(_) => [None, None],
        }
    }
}

impl Entry {
    /// Names this edition, in quotes as the real service has it inside JSON.
    pub(super) fn etag(&self) -> String {
        format!("\"{:016x}\"", self.written.edition)
    }

    /// How it proves devices.
    pub(super) fn attestation(&self) -> Value {
        let [primary, secondary] = self.keys.texts();
        let text = |key: &Option<Secret>| key.as_ref().and_then(|key| key.expose_text().map(str::to_owned));
        json!({
            "type": "symmetricKey",
            "symmetricKey": { "primaryKey": text(&primary), "secondaryKey": text(&secondary) },
        })
    }

    /// All of it in JSON.
    ///
    /// * `with_keys`: otherwise who wants to know them has to ask for the attestation mechanism
    pub(super) fn json(&self, with_keys: bool) -> Value {
        let reprovision = |update: bool, migrate: bool| json!({ "updateHubAssignment": update, "migrateDeviceData": migrate });
        let attestation = if with_keys { self.attestation() } else { json!({ "type": "symmetricKey" }) };
        let allocation = self.written.allocation.clone().unwrap_or_else(|| {
            if let Some(Policy::Static(_)) = self.allocation { "static" } else { "hashed" }.to_owned()
        });
        let time = |time: Option<UnixTime>| time.unwrap_or(UnixTime::from_nanos(0)).to_rfc3339(7);
        let mut json = json!({
            "attestation": attestation,
            "capabilities": { "iotEdge": false },
            "etag": self.etag(),
            "provisioningStatus": if self.enabled { "enabled" } else { "disabled" },
            "reprovisionPolicy": match self.reprovision {
                Reprovision::Migrate => reprovision(true, true),
                Reprovision::Reset => reprovision(true, false),
                Reprovision::Never => reprovision(false, false),
            },
            "createdDateTimeUtc": time(self.written.created),
            "lastUpdatedDateTimeUtc": time(self.written.updated),
            "allocationPolicy": allocation,
            "iotHubs": self.written.hubs,
        });
        if let Some(initial) = &self.initial_twin {
            json["initialTwin"] =
                json!({ "tags": initial.tags, "properties": { "desired": initial.desired } });
        }
        match &self.keys {
            Keys::Individual { registration_id, device_id, .. } => {
                json["registrationId"] = json!(registration_id);
                if let Some(device_id) = device_id {
                    json["deviceId"] = json!(device_id);
                }
            }
            Keys::Group { .. } | Keys::List(_) => json["enrollmentGroupId"] = json!(self.name),
        }
        json
    }

    /// By what it is listed.
    pub(super) fn id(&self) -> String {
        match &self.keys {
            Keys::Individual { registration_id, .. } => registration_id.to_ascii_lowercase(),
            Keys::Group { .. } | Keys::List(_) => self.name.to_string(),
        }
    }
}

/// * `absent`: what a caller expects who says nothing
fn expected(etag: Option<&str>, absent: Expected) -> Expected {
    match etag {
        None => absent,
        Some("*") => Expected::Something,
        // What is no etag of ours matches nothing.
        Some(etag) => Expected::Edition(u64::from_str_radix(etag, 16).unwrap_or(u64::MAX)),
    }
}

fn yes() -> bool {
    true
}

fn invalid(message: &'static str) -> DpsRefusal {
    DpsRefusal::new(error_code::INVALID_ARGUMENT, message)
}
