//! The group key: from the environment, a file or standard input, and never from an argument.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Failure;
use crate::azure::keys::{GroupKey, KeyError};
use crate::cli::exit;
use crate::run::keys::{self, KeyTrouble};
use crate::run::tell;
use crate::text::Secret;

/// Where the group key comes from.
#[derive(Debug, clap::Args)]
#[group(id = "group key", multiple = false)]
pub(super) struct KeyArguments {
    /// Take the group key from this environment variable
    #[arg(long, value_name = "NAME", help_heading = "Group key (one of)")]
    key_env: Option<String>,

    /// Take it from a file, which only you may read (chmod 600)
    #[arg(long, value_name = "PATH", help_heading = "Group key (one of)")]
    key_file: Option<PathBuf>,

    /// Take it from standard input
    #[arg(long, help_heading = "Group key (one of)")]
    pub(super) key_stdin: bool,
}

impl KeyArguments {
    /// Whether there is a key at all.
    pub(super) fn given(&self) -> bool {
        self.key_env.is_some() || self.key_file.is_some() || self.key_stdin
    }

    /// Gets the key.
    pub(super) fn read(&self) -> Result<GroupKey, Failure> {
        let (secret, origin) = if let Some(name) = &self.key_env {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            // What is no name could be the key itself: not repeated.
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
                return Err(Failure::usage(
                    "--key-env takes the name of an environment variable, for example GROUP_KEY, and not the key",
                ));
            }
            let value = std::env::var(name).map_err(|_| {
                Failure::usage(format!(
                    "the environment variable {name} is not set; export it, for example {name}=\"…\""
                ))
            })?;
            (Secret::new(value.into_bytes()), format!("the environment variable {name}"))
        } else if let Some(path) = &self.key_file {
            (keys::read_file("", path).map_err(told)?, format!("the key file {}", path.display()))
        } else if self.key_stdin {
            let mut stdin = std::io::stdin();
            if stdin.is_terminal() {
                tell("group key, then Enter and Ctrl-D:");
            }
            let unreadable = |error| Failure::usage(format!("cannot read standard input: {error}"));
            (keys::read_text(&mut stdin).map_err(unreadable)?, "standard input".to_owned())
        } else {
            return Err(Failure::usage(NO_KEY));
        };
        // What is not UTF-8 is no base64 either.
        GroupKey::from_base64(secret.expose_text().unwrap_or("\u{fffd}"))
            .map_err(|error: KeyError| Failure::usage(format!("{origin}: {error}")))
    }
}

const NO_KEY: &str =
    "there is no group key; give the primary (or secondary) key of the enrollment group with one of
  --key-env GROUP_KEY     after: read -rs GROUP_KEY && export GROUP_KEY
  --key-file group.key    a file that only you may read: chmod 600 group.key
  --key-stdin             the key alone on standard input";

fn told(trouble: KeyTrouble) -> Failure {
    Failure::usage(match trouble {
        KeyTrouble::Unreadable { path, source, .. } => {
            format!("cannot read the key file {}: {source}", path.display())
        }
        KeyTrouble::Exposed { path, mode, .. } => {
            let path = path.display();
            format!("others may read the key file {path} (mode {mode:03o}); run: chmod 600 {path}")
        }
        other => other.to_string(),
    })
}

/// Refuses `muster derive` with a key among its arguments, before anything could repeat one in its complaint.
///
/// * `arguments`: those of the process, its name first
pub(in crate::cli) fn refuse_key_arguments(arguments: impl Iterator<Item = OsString>) -> Option<u8> {
    let arguments: Vec<String> = arguments.skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    let command = arguments.iter().find(|text| !text.starts_with('-'))?;
    if command != "derive" || !arguments.iter().any(|text| is_key_argument(text)) {
        return None;
    }
    tell(KEY_ARGUMENT);
    Some(exit::USAGE)
}

const KEY_ARGUMENT: &str =
    "error: a key among the arguments is refused: every process on this machine can read them, and shells keep
them. If it was a real key, regenerate it. Give keys with --key-env NAME, --key-file PATH or --key-stdin;
an id that only looks like a key with --ids FILE, a path with ./ before it.";

/// Whether an argument is, or has as its value, what looks like a key.
fn is_key_argument(text: &str) -> bool {
    let (flag, value) = match text.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (flag, value),
        _ => (text, text),
    };
    matches!(flag, "--key" | "--group-key" | "--primary-key" | "--secondary-key")
        || looks_like_key(value.trim())
}

/// Whether a text looks like a key of the size that the service takes, or holds one.
///
/// Padding gives a key away. Without, it must have a length of the keys that are in use, and capitals, small letters and
/// digits: file names and serial numbers may be base64 by chance.
fn looks_like_key(text: &str) -> bool {
    /// Characters of 32, 48 and 64 bytes without padding.
    const LENGTHS: [usize; 3] = [43, 64, 86];
    let lower = text.to_ascii_lowercase();
    if lower.contains("sharedaccesskey=") || lower.contains("sharedaccesssignature ") {
        return true;
    }
    let padded = text.ends_with('=');
    let plain = text.trim_end_matches('=');
    let bytes =
        URL_SAFE_NO_PAD.decode(plain.replace('+', "-").replace('/', "_")).map(zeroize::Zeroizing::new);
    let has = |class: fn(&u8) -> bool| plain.as_bytes().iter().any(class);
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    bytes.is_ok_and(|bytes| crate::azure::keys::KEY_LENGTH.contains(&bytes.len()))
        && (padded || (LENGTHS.contains(&plain.len()) && mixed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        "sbDDeEzRuEuGKag+kQKV+T1QGakRtHpsERLP0yPjwR93TrpEgEh/Y07CXstfha6dhIPWvdD1nRxK5T0KGKA+nQ==";

    #[test]
    fn keys_are_known_in_every_spelling() {
        let url_safe = KEY.replace('+', "-").replace('/', "_");
        let connection = format!("HostName=h;DeviceId=d;SharedAccessKey={KEY}");
        for text in [
            KEY,
            KEY.trim_end_matches('='),
            &KEY[..87],
            &url_safe,
            &format!(" {KEY}\n"),
            &format!("--key-env={KEY}"),
            &format!("--key-stdin={KEY}"),
            &connection,
            &format!("--hub={connection}"),
            "SharedAccessSignature sr=a&sig=b&se=1",
            "R6JLsqYnAk3gUmpYCvMGs4n+DlCzJKYySjULMaF//fE=",
            "R6JLsqYnAk3gUmpYCvMGs4n+DlCzJKYySjULMaF//fE",
            "c2l4dGVlbi1ieXRlcy1vay4=",
            "--key",
            "--key=x",
            "--group-key",
        ] {
            assert!(is_key_argument(text), "{text}");
        }
    }

    #[test]
    fn ids_and_paths_are_not_taken_for_keys() {
        let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        for text in [
            "device-1",
            "sensor00sensor00sensor00",
            "symm-key-python-device-008",
            "sn-007-888-ABC-mac-a1-b2-c3-d4-e5-f6",
            hash,
            &"x".repeat(128),
            "/home/someone/results/derived/keys",
            "--csv=serials.csv",
            "--pattern=sensor-{n:05}",
            "--key-env=GROUP_KEY",
            "--key-env",
            "550e8400-e29b-41d4-a716-446655440000",
            "",
            "=",
        ] {
            assert!(!is_key_argument(text), "{text}");
        }
    }

    #[test]
    fn only_the_arguments_of_derive_are_looked_at() {
        let refused =
            |arguments: &[&str]| refuse_key_arguments(arguments.iter().map(|text| OsString::from(*text)));
        assert_eq!(refused(&["muster", "-v", "derive", KEY]), Some(exit::USAGE));
        assert_eq!(refused(&["muster", "run", KEY]), None);
        assert_eq!(refused(&["muster"]), None);
    }
}
