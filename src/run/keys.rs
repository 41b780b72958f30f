//! Getting hold of keys: from the environment, a file, standard input, or made from the seed.

use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use zeroize::Zeroizing;

use crate::azure::keys::{DeviceKey, GroupKey, KeyError};
use crate::emulator::config;
use crate::emulator::listed::Listed;
use crate::fleet::DeviceKeys;
use crate::plan::{Enrollment, KeySource, Keys, Plan, SignWith};
use crate::rng::{self, Purpose};
use crate::text::Secret;

/// Why a key is not to be had. The text never holds the key.
#[derive(Debug, thiserror::Error)]
pub enum KeyTrouble {
    /// The environment has no such variable.
    #[error(
        "enrollment `{enrollment}`: the environment variable {name} is not set; export it, for example {name}=\"…\""
    )]
    Unset {
        /// Whose key.
        enrollment: String,
        /// The variable.
        name: String,
    },
    /// The file cannot be read.
    #[error("enrollment `{enrollment}`: cannot read the key file {path}: {source}")]
    Unreadable {
        /// Whose key.
        enrollment: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Other users could read the file.
    #[error(
        "enrollment `{enrollment}`: others may read the key file {path} (mode {mode:03o}); run: chmod 600 {path}"
    )]
    Exposed {
        /// Whose key.
        enrollment: String,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Two keys are to come from standard input.
    #[error(
        "enrollment `{enrollment}`: standard input already gave the key of another enrollment; use a file or a variable"
    )]
    StdinTwice {
        /// Whose key.
        enrollment: String,
    },
    /// The text is no key.
    #[error("enrollment `{enrollment}`: {source}")]
    NotAKey {
        /// Whose key.
        enrollment: String,
        /// Why.
        source: KeyError,
    },
}

/// The keys of a run, for both parties.
#[derive(Debug)]
pub struct KeyRing {
    /// What devices of each enrollment sign with, in the plan's order: by the primary key and, if there is one, by the
    /// secondary.
    keys: Vec<(DeviceKeys, Option<DeviceKeys>)>,
    /// The enrollments as the emulator is told them.
    pub enrollments: Vec<config::Enrollment>,
}

impl KeyRing {
    /// What the devices of each population of `plan` sign with.
    pub fn device_keys(&self, plan: &Plan) -> Vec<DeviceKeys> {
        let of = |population: &crate::plan::Population| {
            let (primary, secondary) = &self.keys[population.enrollment];
            // A scenario that signs with a secondary key that is not there is refused.
            let signs = match population.sign_with {
                SignWith::Primary => primary,
                SignWith::Secondary => secondary.as_ref().unwrap_or(primary),
            };
            signs.clone()
        };
        plan.populations.iter().map(of).collect()
    }
}

/// Where keys come from besides files.
pub struct Sources<'a> {
    /// Looks up an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Standard input.
    pub stdin: &'a mut dyn Read,
}

/// Gets every key of `enrollments`; `seed` is what generated ones are made from.
///
/// # Errors
/// [`KeyTrouble`] of the first that is not to be had.
pub fn collect(enrollments: &[Enrollment], seed: u64, sources: Sources<'_>) -> Result<KeyRing, KeyTrouble> {
    let mut reader = Reader { seed, sources, stdin_used: false };
    let mut ring = KeyRing { keys: Vec::new(), enrollments: Vec::new() };
    for enrollment in enrollments {
        let not_a_key = |source| KeyTrouble::NotAKey { enrollment: enrollment.name.clone(), source };
        let (devices, attestation) = match &enrollment.keys {
            Keys::Group { primary, secondary } => {
                let primary = reader.read(enrollment, primary, 0)?;
                let secondary = secondary.as_ref().map(|key| reader.read(enrollment, key, 1)).transpose()?;
                let group =
                    |key: &Secret| GroupKey::from_base64(text(key)).map(DeviceKeys::Group).map_err(not_a_key);
                let devices = (group(&primary)?, secondary.as_ref().map(group).transpose()?);
                (devices, config::Attestation::Group { primary, secondary })
            }
            Keys::Individual { registration_id, device_id, primary, secondary } => {
                let primary = reader.read(enrollment, primary, 0)?;
                let secondary = secondary.as_ref().map(|key| reader.read(enrollment, key, 1)).transpose()?;
                let own = |key: &Secret| {
                    let key = DeviceKey::from_base64(text(key)).map_err(not_a_key)?;
                    Ok(DeviceKeys::Individual { key, device_id: device_id.clone() })
                };
                let devices = (own(&primary)?, secondary.as_ref().map(own).transpose()?);
                let attestation = config::Attestation::Individual {
                    registration_id: registration_id.clone(),
                    device_id: device_id.clone(),
                    primary,
                    secondary,
                };
                (devices, attestation)
            }
            Keys::List(list) => {
                let listed = config::Attestation::List(Listed::File { list: list.clone(), seed });
                ((DeviceKeys::Listed, Some(DeviceKeys::Listed)), listed)
            }
        };
        ring.keys.push(devices);
        ring.enrollments.push(config::Enrollment {
            name: enrollment.name.clone(),
            attestation,
            enabled: enrollment.enabled,
            allocation: enrollment.allocation.clone(),
            reprovision: enrollment.reprovision,
            initial_twin: enrollment.initial_twin.clone(),
        });
    }
    Ok(ring)
}

/// A key made from `seed`: 64 bytes as base64, the length that the portal generates.
pub fn generate(seed: u64, enrollment: &str, index: u64) -> Secret {
    let mut bytes = Zeroizing::new([0; 64]);
    rng::stream(seed, enrollment, index, Purpose::Key).fill(bytes.as_mut_slice());
    Secret::new(base64::engine::general_purpose::STANDARD.encode(bytes.as_slice()).into_bytes())
}

struct Reader<'a> {
    seed: u64,
    sources: Sources<'a>,
    stdin_used: bool,
}

impl Reader<'_> {
    fn read(
        &mut self,
        enrollment: &Enrollment,
        source: &KeySource,
        index: u64,
    ) -> Result<Secret, KeyTrouble> {
        let name = || enrollment.name.clone();
        match source {
            KeySource::Known(secret) => Ok(secret.clone()),
            KeySource::Generated => Ok(generate(self.seed, &enrollment.name, index)),
            KeySource::Environment(variable) => match (self.sources.environment)(variable) {
                Some(value) => Ok(Secret::new(value.into_bytes())),
                None => Err(KeyTrouble::Unset { enrollment: name(), name: variable.clone() }),
            },
            KeySource::File(path) => read_file(&name(), path),
            KeySource::Stdin if self.stdin_used => Err(KeyTrouble::StdinTwice { enrollment: name() }),
            KeySource::Stdin => {
                self.stdin_used = true;
                let unreadable = |source| KeyTrouble::Unreadable {
                    enrollment: name(),
                    path: "standard input".into(),
                    source,
                };
                read_text(&mut *self.sources.stdin).map_err(unreadable)
            }
        }
    }
}

/// The key in `path`, for the enrollment of that name.
///
/// # Errors
/// [`KeyTrouble::Unreadable`], or [`KeyTrouble::Exposed`] if others may read it.
pub fn read_file(enrollment: &str, path: &Path) -> Result<Secret, KeyTrouble> {
    let unreadable =
        |source| KeyTrouble::Unreadable { enrollment: enrollment.to_owned(), path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(unreadable)?;
    // Of the open file, not of the path, which could be another file by now.
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyTrouble::Exposed {
                enrollment: enrollment.to_owned(),
                path: path.to_owned(),
                mode,
            });
        }
    }
    read_text(&mut file).map_err(unreadable)
}

/// More than any key, with what a person may have pasted around it.
const MAX_KEY_TEXT: u64 = 4_096;

/// All that `reader` has, up to more than any key.
///
/// # Errors
/// Those of the reader.
pub fn read_text(reader: &mut dyn Read) -> std::io::Result<Secret> {
    let mut text = Vec::with_capacity(MAX_KEY_TEXT as usize);
    reader.take(MAX_KEY_TEXT).read_to_end(&mut text)?;
    Ok(Secret::new(text))
}

/// What is not UTF-8 is no base64 either, which is what the caller will say.
fn text(secret: &Secret) -> &str {
    secret.expose_text().unwrap_or("\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(source: KeySource) -> Vec<Enrollment> {
        vec![Enrollment {
            name: "plant".into(),
            keys: Keys::Group { primary: source, secondary: None },
            enabled: true,
            allocation: None,
            reprovision: config::Reprovision::default(),
            initial_twin: None,
        }]
    }

    fn collect_with(source: KeySource, stdin: &[u8]) -> Result<KeyRing, KeyTrouble> {
        let environment = |name: &str| (name == "GROUP_KEY").then(|| "c2l4dGVlbi1ieXRlcy1vay4=".to_owned());
        let mut stdin = stdin;
        collect(&group(source), 7, Sources { environment: &environment, stdin: &mut stdin })
    }

    #[test]
    fn keys_come_from_the_environment_standard_input_or_the_seed() {
        for source in [KeySource::Environment("GROUP_KEY".into()), KeySource::Stdin, KeySource::Generated] {
            let ring = collect_with(source, b"c2l4dGVlbi1ieXRlcy1vay4=\n").expect("a key");
            assert_eq!(ring.keys.len(), 1);
        }
        assert_eq!(generate(7, "plant", 0).expose(), generate(7, "plant", 0).expose());
        assert_ne!(generate(7, "plant", 0).expose(), generate(8, "plant", 0).expose());
        assert_ne!(generate(7, "plant", 0).expose(), generate(7, "plant", 1).expose());
    }

    #[test]
    fn a_key_that_is_not_to_be_had_is_told_by_enrollment_and_never_repeated() {
        let error = collect_with(KeySource::Environment("OTHER".into()), b"").expect_err("unset").to_string();
        assert!(error.contains("plant") && error.contains("OTHER"), "{error}");
        let error = collect_with(KeySource::Stdin, b"canary-not-a-key").expect_err("no key").to_string();
        assert!(error.contains("plant") && !error.contains("canary"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_that_others_may_read_is_refused_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("group.key");
        std::fs::write(&path, "c2l4dGVlbi1ieXRlcy1vay4=").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        let error = collect_with(KeySource::File(path.clone()), b"").expect_err("exposed").to_string();
        assert!(error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        collect_with(KeySource::File(path), b"").expect("a private file");
    }
}
