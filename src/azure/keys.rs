//! Symmetric keys: reading them, and deriving device keys from an enrollment group's key.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::text::Secret;

/// Base64 as the portal prints it; on reading, missing padding is forgiven because shells and YAML lose it.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Length of a decoded key in bytes: the service takes 16 to 64.
///
/// Source: <https://learn.microsoft.com/azure/iot-dps/concepts-symmetric-key-attestation>
pub const KEY_LENGTH: std::ops::RangeInclusive<usize> = 16..=64;

/// Why a text is not a symmetric key. The text never repeats the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing but white space.
    #[error("the key is empty; copy the primary key of the enrollment")]
    Empty,
    /// A connection string was given where its key belongs.
    #[error("this is a whole connection string; give only what follows `SharedAccessKey=`")]
    ConnectionString,
    /// `-` or `_` in the text.
    #[error(
        "the key is in URL-safe base64 (it has `-` or `_`); Azure's keys are standard base64, with `+` and `/`"
    )]
    UrlSafe,
    /// Some other character, or bits left over.
    #[error("the key is not base64 (character {position} is wrong); copy it whole, without quotes")]
    NotBase64 {
        /// Where the first wrong character stands, counted from 1.
        position: usize,
    },
    /// Decodes, but to a length no service takes.
    #[error("the key has {length} bytes; the service takes 16 to 64")]
    Length {
        /// Bytes after decoding.
        length: usize,
    },
}

/// A key that signs: HMAC-SHA256 with its state prepared once, so that a signature costs two compressions less.
#[derive(Clone)]
pub struct SigningKey {
    prepared: Hmac<Sha256>,
}

impl SigningKey {
    /// Reads base64 as the portal shows it; white space around it (a trailing newline of a file) is ignored.
    ///
    /// # Errors
    /// [`KeyError`] says what the text is instead.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Ok(Self::from_bytes(&decode(text)?))
    }

    /// A key from its bytes; any length, for lengths are the service's rule and not HMAC's.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self { prepared: Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length") }
    }

    /// HMAC-SHA256 of `parts`, one after another.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.prepared.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Compares in constant time.
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        let mut mac = self.prepared.clone();
        for part in parts {
            mac.update(part);
        }
        mac.verify_slice(signature).is_ok()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey([redacted])")
    }
}

/// The key of an enrollment group, from which every device's key is derived. It never authenticates a device itself.
#[derive(Debug, Clone)]
pub struct GroupKey(SigningKey);

impl GroupKey {
    /// Reads base64 as the portal shows it.
    ///
    /// # Errors
    /// [`KeyError`] says what the text is instead.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        SigningKey::from_base64(text).map(Self)
    }

    /// The key of one device: HMAC-SHA256 over the exact bytes of its registration id, so that `ABC` and `abc` differ.
    ///
    /// Source: <https://learn.microsoft.com/azure/iot-dps/concepts-symmetric-key-attestation#group-enrollments>
    pub fn derive(&self, registration_id: &str) -> DeviceKey {
        DeviceKey(Zeroizing::new(self.0.sign(&[registration_id.as_bytes()]).to_vec()))
    }

    /// [`Self::derive`] written as base64 into `out` (44 characters), without allocating: for millions of keys.
    pub fn derive_base64_into(&self, registration_id: &str, out: &mut [u8; 44]) {
        let key = Zeroizing::new(self.0.sign(&[registration_id.as_bytes()]));
        BASE64.encode_slice(key.as_slice(), out).expect("32 bytes are 44 characters of base64");
    }
}

/// The key one device signs its tokens with. Cleared when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceKey(Zeroizing<Vec<u8>>);

impl DeviceKey {
    /// Reads base64 as the portal shows it (individual enrollments).
    ///
    /// # Errors
    /// [`KeyError`] says what the text is instead.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        decode(text).map(Self)
    }

    /// The key itself.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key ready to sign.
    pub fn signing(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }

    /// As the portal would show it.
    pub fn to_base64(&self) -> Secret {
        Secret::new(BASE64.encode(self.0.as_slice()).into_bytes())
    }
}

impl std::fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DeviceKey([redacted])")
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    if text.contains(';') || text.contains("SharedAccessKey=") {
        return Err(KeyError::ConnectionString);
    }
    if text.contains(['-', '_']) {
        return Err(KeyError::UrlSafe);
    }
    let bytes = BASE64.decode(text).map(Zeroizing::new).map_err(|error| {
        use base64::DecodeError;
        let position = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at + 1,
            DecodeError::InvalidLength(length) => length,
            DecodeError::InvalidPadding => text.len(),
        };
        KeyError::NotBase64 { position }
    })?;
    if !KEY_LENGTH.contains(&bytes.len()) {
        return Err(KeyError::Length { length: bytes.len() });
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "keys_tests.rs"]
pub(in crate::azure) mod tests;
