//! `muster derive`: device keys, SAS tokens and connection strings, from a group's key or a list of keys.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, ValueEnum};
use zeroize::Zeroizing;

use super::{exit, terminal};
use crate::run::tell;
use crate::time::{Clock, UnixTime};
use crate::units::parse_duration;
use ids::Ids;
use lines::{Format, Lines, Value};

mod ids;
mod key;
mod lines;

pub(super) use key::refuse_key_arguments;

/// Arguments of `muster derive`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE, group = ArgGroup::new("ids of devices").required(true))]
pub(super) struct Arguments {
    /// Registration ids; keys are derived from their exact characters, so that ABC and abc differ
    #[arg(value_name = "ID", group = "ids of devices")]
    ids: Vec<String>,

    /// Numbered ids, for example 'sensor-{n:05}'
    #[arg(
        long,
        value_name = "PATTERN",
        group = "ids of devices",
        requires = "count",
        allow_hyphen_values = true
    )]
    pattern: Option<String>,

    /// How many ids of the pattern
    #[arg(long, value_name = "N", value_parser = count)]
    count: Option<u64>,

    /// Number of the first [default: 0]
    #[arg(long, value_name = "N")]
    from: Option<u64>,

    /// CSV file with a column registration_id and, if wanted, device_id (its id at the hub) and key (then no group key is
    /// needed); rows are checked as they are read
    #[arg(long, value_name = "FILE", group = "ids of devices")]
    csv: Option<PathBuf>,

    /// File with an id a line, checked as it is read; - is standard input
    #[arg(long = "ids", value_name = "FILE", group = "ids of devices", id = "id_file")]
    id_file: Option<PathBuf>,

    #[command(flatten)]
    key: key::KeyArguments,

    /// What to print
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = What::Key)]
    print: What,

    /// ID scope of the DPS, for sas-dps
    #[arg(long, value_name = "ID_SCOPE")]
    scope: Option<String>,

    /// Host name of the hub, for sas-hub and connection-string
    #[arg(long, value_name = "HOST")]
    hub: Option<String>,

    /// How long tokens are valid, from now [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    ttl: Option<Duration>,

    /// When tokens expire, in seconds since 1970-01-01 UTC
    #[arg(long, value_name = "UNIX_SECONDS", conflicts_with = "ttl",
        value_parser = clap::value_parser!(u64).range(1..=MAX_EXPIRY))]
    expiry: Option<u64>,

    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Write into a new file that only you may read, instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const USAGE: &str = "\
muster derive [OPTIONS] ID...
       muster derive [OPTIONS] --pattern PATTERN --count N
       muster derive [OPTIONS] --csv FILE
       muster derive [OPTIONS] --ids FILE";

const EXAMPLES: &str = "\
Examples:
  muster derive device-1 --key-env GROUP_KEY
  muster derive --pattern 'sensor-{n:05}' --count 1000 --key-file group.key
  muster derive --csv serials.csv --key-file group.key --format csv -o keys.csv
  muster derive device-1 --key-env GROUP_KEY --print sas-dps --scope 0ne00000A0A
  muster derive device-1 --key-env GROUP_KEY --print connection-string \\
      --hub contoso.azure-devices.net

A key is never taken from an argument. -o never overwrites a file. The CSV that
--format csv writes is what `individual = \"keys.csv\"` of a scenario reads.";

/// What is printed of each device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Its key, in base64
    Key,
    /// A token for DPS
    SasDps,
    /// A token for its hub
    SasHub,
    /// HostName=...;DeviceId=...;SharedAccessKey=...
    ConnectionString,
}

/// The last second that [`UnixTime`] can hold, in the year 2554.
const MAX_EXPIRY: u64 = u64::MAX / 1_000_000_000;

/// How long tokens are valid that nothing is said of, as with the SDKs for Python and Node.
const DEFAULT_TTL: Duration = Duration::from_secs(3_600);

fn count(text: &str) -> Result<u64, String> {
    let count = text.replace('_', "").parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| "give a whole number of at least 1".to_owned())
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text).map_err(|error| error.to_string())?;
    if ttl < Duration::from_secs(1) { Err("give at least 1s".to_owned()) } else { Ok(ttl) }
}

/// Why nothing more is printed. Never holds a key.
#[derive(Debug)]
enum Failure {
    /// Mistakes of the user, a line each.
    Usage(Vec<String>),
    /// Something else.
    Failed(String),
    /// Nobody reads what is printed: `muster derive ... | head`.
    Closed,
}

impl Failure {
    fn usage(text: impl Into<String>) -> Self {
        Self::Usage(vec![text.into()])
    }
}

/// Prints what is asked for.
pub(super) fn run(arguments: &Arguments) -> u8 {
    match derive(arguments) {
        Ok(()) => exit::PASS,
        Err(Failure::Usage(mistakes)) => {
            mistakes.iter().for_each(|mistake| tell(format_args!("error: {mistake}")));
            exit::USAGE
        }
        Err(Failure::Failed(text)) => {
            tell(format_args!("error: {text}"));
            exit::FAILED
        }
        Err(Failure::Closed) => exit::FAILED,
    }
}

fn derive(arguments: &Arguments) -> Result<(), Failure> {
    let value = arguments.value(Clock::machine().wall())?;
    let reads_stdin = arguments.id_file.as_deref().is_some_and(|path| path.as_os_str() == "-");
    if reads_stdin && arguments.key.key_stdin {
        return Err(Failure::usage("standard input cannot give both ids and the group key; use --key-file"));
    }
    if arguments.csv.is_none() && !arguments.key.given() {
        arguments.key.read()?;
    }
    // Before the list is read, which may take a while.
    let mut output = Output::open(arguments.output.as_deref())?;
    let ids = arguments.devices()?;
    let group = match (ids.have_keys(), arguments.key.given()) {
        (true, true) => {
            return Err(Failure::usage(
                "the list has keys of its own; leave out the group key, or the column `key`",
            ));
        }
        (true, false) => None,
        (false, _) => Some(arguments.key.read()?),
    };
    let mut lines = Lines::new(value, arguments.format, ids.is_single(), ids.have_device_ids());
    let mut buffer = Zeroizing::new(Vec::with_capacity(2 * CHUNK));
    lines.header(&mut buffer);
    let written = ids.for_each(group.as_ref(), |device| {
        lines.push(device, &mut buffer);
        if buffer.len() >= CHUNK {
            output.write(&buffer)?;
            buffer.clear();
        }
        Ok(())
    });
    // What was right before a wrong line of --ids is printed, as it would be with a smaller buffer.
    if !matches!(written, Err(Failure::Closed)) {
        output.write(&buffer)?;
    }
    written?;
    output.finish()
}

/// Bytes that are written at a time; a line is much shorter.
const CHUNK: usize = 64 * 1024;

impl Arguments {
    fn devices(&self) -> Result<Ids, Failure> {
        if let (Some(pattern), Some(count)) = (&self.pattern, self.count) {
            return Ids::numbered(pattern, self.from.unwrap_or(0), count);
        }
        // Not `requires`, which is content with another argument of the pattern's group.
        if self.count.is_some() || self.from.is_some() {
            return Err(Failure::usage("--count and --from go with --pattern"));
        }
        match (&self.csv, &self.id_file) {
            (Some(path), _) => Ids::list(path),
            (_, Some(path)) => Ok(Ids::lines(path)),
            _ => Ids::arguments(&self.ids),
        }
    }

    /// What to print, if nothing is missing for it, and nothing there that it has no use for.
    fn value(&self, now: UnixTime) -> Result<Value, Failure> {
        let (needs_scope, needs_hub, is_token) = match self.print {
            What::Key => (false, false, false),
            What::SasDps => (true, false, true),
            What::SasHub => (false, true, true),
            What::ConnectionString => (false, true, false),
        };
        let mut mistakes = Vec::new();
        let mut judge = |given: bool, needed: bool, missing: &str, superfluous: &str| match (given, needed) {
            (false, true) => mistakes.push(missing.to_owned()),
            (true, false) => mistakes.push(superfluous.to_owned()),
            _ => {}
        };
        judge(
            self.scope.is_some(),
            needs_scope,
            "--print sas-dps needs --scope, the ID scope that the overview of the DPS shows: 0ne...",
            "--scope goes with --print sas-dps",
        );
        judge(
            self.hub.is_some(),
            needs_hub,
            "what goes to a hub needs --hub, its host name: contoso.azure-devices.net",
            "--hub goes with --print sas-hub and --print connection-string",
        );
        let timed = self.ttl.is_some() || self.expiry.is_some();
        judge(
            timed && !is_token,
            false,
            "",
            "--ttl and --expiry go with --print sas-dps and --print sas-hub",
        );
        // Neither is repeated: what is wrong with it may be that it is a key.
        if self.scope.as_deref().is_some_and(|scope| !is_scope(scope)) {
            mistakes.push("--scope is not an ID scope: up to 64 letters and digits".to_owned());
        }
        if self.hub.as_deref().is_some_and(|host| !is_host(host)) {
            mistakes.push("--hub is not a host name, for example contoso.azure-devices.net".to_owned());
        }
        if !mistakes.is_empty() {
            return Err(Failure::Usage(mistakes));
        }
        let expiry = match self.expiry {
            Some(seconds) => UnixTime::from_nanos(seconds * 1_000_000_000),
            None => now + self.ttl.unwrap_or(DEFAULT_TTL),
        };
        let (id_scope, host) = (self.scope.clone().unwrap_or_default(), self.hub.clone().unwrap_or_default());
        Ok(match self.print {
            What::Key => Value::Key,
            What::SasDps => Value::SasDps { id_scope, expiry },
            What::SasHub => Value::SasHub { host, expiry },
            What::ConnectionString => Value::ConnectionString { host },
        })
    }
}

fn is_scope(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// A host name, with a port if that is how the device knows it.
fn is_host(text: &str) -> bool {
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253
        && name.split('.').all(label)
        && port.is_none_or(|port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
        })
}

/// Standard output, or a file, which is removed again unless it became whole.
struct Output {
    file: Option<(PathBuf, File)>,
    whole: bool,
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { file: None, whole: false }) };
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let file = options.open(path).map_err(|error| {
            let path = path.display();
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                Failure::usage(format!("{path} is there already and is not overwritten; give a new name"))
            } else {
                Failure::Failed(format!("cannot create {path}: {error}"))
            }
        })?;
        Ok(Self { file: Some((path.to_owned(), file)), whole: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match &mut self.file {
            Some((path, file)) => file
                .write_all(bytes)
                .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display()))),
            None => terminal::write_out(bytes).map_err(|error| {
                if error.kind() == std::io::ErrorKind::BrokenPipe {
                    Failure::Closed
                } else {
                    Failure::Failed(format!("cannot write to standard output: {error}"))
                }
            }),
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        if let Some((path, file)) = &self.file {
            file.sync_all()
                .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", path.display())))?;
        }
        self.whole = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.file
            && !self.whole
        {
            // It was made by this command; what is left of it could be taken for all.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_scopes_are_what_the_portal_shows() {
        for good in ["contoso.azure-devices.net", "localhost:8883", "127.0.0.1", "MyHub.azure-devices.net"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "https://a.b", "a/b", "a..b", "a:0", "a:", "a b", "a;b", "HostName=a"] {
            assert!(!is_host(bad), "{bad}");
        }
        assert!(is_scope("0ne00000A0A") && !is_scope("") && !is_scope("0ne/x") && !is_scope(&"x".repeat(65)));
    }

    #[test]
    fn counts_are_positive_and_tokens_last_at_least_a_second() {
        assert_eq!((count("1_000"), count("7")), (Ok(1_000), Ok(7)));
        assert!(count("0").is_err() && count("-1").is_err() && count("x").is_err());
        assert_eq!(ttl("90m"), Ok(Duration::from_secs(5_400)));
        assert!(ttl("0s").is_err() && ttl("400d").is_err() && ttl("60").is_err());
    }
}
