//! Shared access signatures: the tokens that devices show to DPS and to their hub.
//!
//! `SharedAccessSignature sr={resource}&sig={signature}&se={expiry}[&skn={policy}]`, fields in any order. The signature
//! covers the *literal* text of `sr` as it stands in the token, a line feed, and the expiry in decimal. Three spellings
//! of the slash in `sr` are in use: `%2F` (Python, C#, Node's hub client), `%2f` (embedded C, and the SDK for C at DPS), `/` (Node's
//! DPS client, and the SDK for C at hubs).
//!
//! Source: <https://learn.microsoft.com/azure/iot-hub/authenticate-authorize-sas>; spellings: OBS.

use std::borrow::Cow;

use base64::Engine as _;
use percent_encoding::percent_decode_str;

use crate::azure::keys::{BASE64, SigningKey};
use crate::azure::percent::Percent;
use crate::text::Secret;
use crate::time::UnixTime;

/// How the resource is written after `sr=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResourceSpelling {
    /// Percent-encoded with upper-case digits: `scope%2Fregistrations%2Fid` (Python, C#).
    #[default]
    UpperCaseHex,
    /// Percent-encoded with lower-case digits: `scope%2fregistrations%2fid` (embedded C, and the SDK for C at DPS).
    LowerCaseHex,
    /// As it is: `scope/registrations/id` (Node's DPS client, and the SDK for C at hubs).
    Raw,
}

impl ResourceSpelling {
    const fn percent(self) -> Percent {
        match self {
            Self::UpperCaseHex => Percent::Strict,
            Self::LowerCaseHex => Percent::C,
            Self::Raw => Percent::Raw,
        }
    }
}

/// The resource of a DPS token.
pub fn dps_resource(id_scope: &str, registration_id: &str) -> String {
    format!("{id_scope}/registrations/{registration_id}")
}

/// The resource of a hub token. `host` is the name the device knows the hub by.
pub fn hub_resource(host: &str, device_id: &str) -> String {
    format!("{host}/devices/{device_id}")
}

/// The policy name that DPS device tokens carry in `skn`; some clients leave it out and are served.
pub const REGISTRATION_POLICY: &str = "registration";

/// How clients write a token. The services take all forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form<'a> {
    /// How the resource is spelled.
    pub spelling: ResourceSpelling,
    /// `skn`: [`REGISTRATION_POLICY`] for DPS, `None` for a hub's device key.
    pub policy: Option<&'a str>,
    /// Whether `skn` stands before `se`, as in Node's tokens.
    pub is_policy_before_expiry: bool,
    /// How the base64 of the signature is spelled, which ends in `=`.
    pub signature: Percent,
}

impl Form<'_> {
    /// Python's, at DPS and hub.
    pub const PLAIN: Self = Self {
        spelling: ResourceSpelling::UpperCaseHex,
        policy: None,
        is_policy_before_expiry: false,
        signature: Percent::Strict,
    };

    /// Builds a token for `resource` that expires at `expiry`, cut to whole seconds.
    ///
    /// * `resource`: not yet percent-encoded: [`dps_resource`] or [`hub_resource`]
    pub fn token(self, key: &SigningKey, resource: &str, expiry: UnixTime) -> Secret {
        let sr = self.spelling.percent().encode(resource);
        let se = expiry.seconds().to_string();
        let signature = BASE64.encode(key.sign(&[sr.as_bytes(), b"\n", se.as_bytes()]));
        let sig = self.signature.encode(&signature);
        let text = match self.policy {
            None => format!("{SCHEME} sr={sr}&sig={sig}&se={se}"),
            Some(skn) if self.is_policy_before_expiry => {
                format!("{SCHEME} sr={sr}&sig={sig}&skn={skn}&se={se}")
            }
            Some(skn) => format!("{SCHEME} sr={sr}&sig={sig}&se={se}&skn={skn}"),
        };
        Secret::new(text.into_bytes())
    }
}

/// The policy that may do everything at a hub, as every hub has it from its start.
pub const HUB_OWNER_POLICY: &str = "iothubowner";

/// The policy that may do everything at DPS, as every DPS has it from its start.
pub const DPS_OWNER_POLICY: &str = "provisioningserviceowner";

/// Builds a token for `resource` that expires at `expiry`, cut to whole seconds.
///
/// * `resource`: not yet percent-encoded: [`dps_resource`] or [`hub_resource`]
/// * `policy`: `skn`; [`REGISTRATION_POLICY`] for DPS, `None` for a hub device key
pub fn token(
    key: &SigningKey,
    resource: &str,
    spelling: ResourceSpelling,
    expiry: UnixTime,
    policy: Option<&str>,
) -> Secret {
    Form { spelling, policy, ..Form::PLAIN }.token(key, resource, expiry)
}

/// A token as received, its fields still literal.
#[derive(Clone)]
pub struct Presented<'a> {
    sr: &'a str,
    se: &'a str,
    signature: Vec<u8>,
    resource: String,
    expiry_seconds: u64,
    policy: Option<&'a str>,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a token at all.
    #[error("the token is malformed")]
    Malformed,
    /// Signed with none of the keys.
    #[error("the signature does not match any key")]
    Signature,
    /// For another resource.
    #[error("the token is for another resource")]
    Resource,
    /// No longer valid.
    #[error("the token has expired")]
    Expired,
}

impl<'a> Presented<'a> {
    /// Splits a token into its fields.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when a field is missing, doubled or undecodable, or the text is longer than any token.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > MAX_TOKEN_LENGTH {
            return Err(Refusal::Malformed);
        }
        let (scheme, fields) = text.split_once(' ').ok_or(Refusal::Malformed)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(Refusal::Malformed);
        }
        let [mut sr, mut sig, mut se, mut skn] = [None; 4];
        for field in fields.trim().split('&') {
            let (name, value) = field.split_once('=').ok_or(Refusal::Malformed)?;
            let slot = match name {
                "sr" => &mut sr,
                "sig" => &mut sig,
                "se" => &mut se,
                "skn" => &mut skn,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Refusal::Malformed);
            }
        }
        let (Some(sr), Some(sig), Some(se)) = (sr, sig, se) else {
            return Err(Refusal::Malformed);
        };
        let decode = |text: &str| {
            percent_decode_str(text).decode_utf8().map(Cow::into_owned).map_err(|_| Refusal::Malformed)
        };
        if se.is_empty() || !se.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Refusal::Malformed);
        }
        Ok(Self {
            sr,
            se,
            signature: BASE64.decode(decode(sig)?).map_err(|_| Refusal::Malformed)?,
            resource: decode(sr)?,
            expiry_seconds: se.parse().map_err(|_| Refusal::Malformed)?,
            policy: skn,
        })
    }

    /// The resource, percent-decoded.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// `se`: from when on the token is no longer valid.
    pub fn expiry(&self) -> UnixTime {
        UnixTime::from_nanos(self.expiry_seconds.saturating_mul(1_000_000_000))
    }

    /// `skn`, if the token has one.
    pub fn policy(&self) -> Option<&str> {
        self.policy
    }

    /// Checks signature, resource and expiry, in this order.
    ///
    /// The signature is over the literal `sr`; the resource is compared without case and by whole segments, so that a
    /// token for `host/devices/d` also serves `host/devices/d/messages`.
    ///
    /// # Errors
    /// [`Refusal`] names the first check that fails.
    pub fn verify(&self, keys: &[&SigningKey], expected: &str, now: UnixTime) -> Result<(), Refusal> {
        let signed = [self.sr.as_bytes(), b"\n", self.se.as_bytes()];
        if !keys.iter().any(|key| key.verify(&signed, &self.signature)) {
            return Err(Refusal::Signature);
        }
        if !covers(&self.resource, expected) {
            return Err(Refusal::Resource);
        }
        if self.expiry_seconds <= now.seconds() {
            return Err(Refusal::Expired);
        }
        Ok(())
    }
}

/// Whether a token for `held` serves `asked`: equal, or a prefix by whole segments; case does not count.
///
/// An old sample appends `/api-version=…` to the resource that it signs; that is accepted too.
fn covers(held: &str, asked: &str) -> bool {
    let held = held.split("/api-version=").next().unwrap_or(held);
    let mut asked = asked.split('/');
    held.split('/').all(|segment| asked.next().is_some_and(|other| other.eq_ignore_ascii_case(segment)))
}

const SCHEME: &str = "SharedAccessSignature";

/// Longer than any token a service accepts; bounds what is copied from a stranger.
const MAX_TOKEN_LENGTH: usize = 2_048;

#[cfg(test)]
#[path = "sas_tests.rs"]
mod tests;
