//! What the whole-program tests share: a folder of their own, the program with a known environment, and services that
//! misbehave.

// Each test program uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod network;
pub mod proxy;
pub mod stub;

/// Far beyond what any of the runs takes on a busy machine: a run that takes longer hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A group key, as the portal writes it: 64 bytes of base64.
pub const GROUP_KEY: &str =
    "+/+++/+++/+++/++Y2FuYXJ5IGdyb3VwIGtleSBvZiB0aGUgdGVzdHMsIDY0IGJ5dGVzIGxvbmcgaW4gYWxsIQ==";

/// 20 devices, assigned at once, three messages each: less than a second.
pub const SMALL: &str = r#"
version = 1
seed = 7
drain = "5s"

[fleet.devices]
count = 20
start.rate = "40/s"

[fleet.devices.telemetry]
every = "100ms"
messages = 3

[thresholds]
"failed.share" = "= 0 %"

[emulator.dps]
assign = "0s"
"#;

/// A folder of one test, gone with it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file and gives its name, as the program is told it.
    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path().join(name), text).expect("the folder is writable");
        name.to_owned()
    }

    /// The program, in this folder, with nothing of this process's environment but what it takes to start.
    pub fn muster(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null()).env_clear();
        command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command
    }

    /// Runs scenarios to their end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// The same with variables in the environment.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.muster(&["run"]);
        command.args(arguments).envs(variables.iter().copied());
        self.finish(command)
    }

    /// What comes of a command that ends by itself.
    pub fn finish(&self, command: Command) -> Ran {
        let output = assert_cmd::Command::from_std(command).timeout(PATIENCE).output().expect("it starts");
        let ran = Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
            results: self.results("results"),
        };
        assert!(ran.code.is_some(), "it hung, or died of a signal: {ran:?}");
        assert!(!ran.stderr.contains("panicked"), "{ran:?}");
        ran
    }

    /// The stored results below `folder`, by the name of their run's folder.
    pub fn results(&self, folder: &str) -> Vec<(String, Value)> {
        let Ok(entries) = std::fs::read_dir(self.path().join(folder)) else { return Vec::new() };
        let mut results: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.expect("the folder is readable");
                let name = entry.file_name().into_string().expect("a plain name");
                let text = std::fs::read_to_string(entry.path().join("result.json")).ok()?;
                muster::result::read(&entry.path()).expect("the program reads back what it wrote");
                Some((name, serde_json::from_str(&text).expect("a whole result")))
            })
            .collect();
        results.sort_by(|one, other| one.0.cmp(&other.0));
        results
    }
}

/// A command that ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub results: Vec<(String, Value)>,
}

/// How the reasons begin that make a run void because something here was late.
const LATE: [&str; 4] = [
    "The generator was late",
    "The generator had too much to do",
    "The generator did not keep the rate",
    "This machine took the time away",
];

impl Ran {
    /// The result of the only run.
    pub fn result(&self) -> &Value {
        assert_eq!(self.results.len(), 1, "one run: {self:?}");
        &self.results[0].1
    }

    /// Asserts the exit code.
    pub fn ends_with(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts a pass. A machine that is busy with other tests may make a generator late, which rightly voids the run: that
    /// is let through, and nothing else.
    pub fn passes(&self) -> &Self {
        if self.code == Some(97) {
            for (_, result) in &self.results {
                for reason in result["judgement"]["reasons"].as_array().expect("reasons") {
                    let reason = reason.as_str().expect("a sentence");
                    assert!(LATE.iter().any(|late| reason.starts_with(late)), "{reason}");
                }
            }
            return self;
        }
        self.ends_with(0)
    }

    /// Asserts that the summary has each text, whatever its line breaks.
    pub fn shows(&self, texts: &[&str]) -> &Self {
        let flat = flat(&self.stdout);
        for text in texts {
            assert!(flat.contains(text), "`{text}` is missing:\n{}\n{}", self.stdout, self.stderr);
        }
        self
    }

    /// Asserts that standard error has each text, whatever its line breaks.
    pub fn tells(&self, texts: &[&str]) -> &Self {
        let flat = flat(&self.stderr);
        for text in texts {
            assert!(flat.contains(text), "`{text}` is missing:\n{}\n{}", self.stdout, self.stderr);
        }
        self
    }
}

/// A text with every run of white space as one space.
fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The counts of a kind of step over all populations; `Null` if there was none.
pub fn step<'a>(result: &'a Value, kind: &str) -> &'a Value {
    let steps = result["total"]["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["kind"] == kind).unwrap_or(&Value::Null)
}

/// How many of a kind of step were acknowledged.
pub fn acknowledged(result: &Value, kind: &str) -> u64 {
    step(result, kind)["all"]["acknowledged"].as_u64().unwrap_or(0)
}

/// Asserts that every due step has one outcome, and that the emulator counted the same.
pub fn books_agree(result: &Value) {
    assert_eq!(result["headline"]["unaccounted"], 0, "{}", result["headline"]);
    for step in result["total"]["steps"].as_array().expect("steps") {
        let count = |name: &str| step[name].as_u64().expect("a count");
        let (all, ended) = (&step["all"], count("failed") + count("unknown") + count("not_sent"));
        // A count of zero is left out.
        let done = all["acknowledged"].as_u64().unwrap_or(0) + all["written"].as_u64().unwrap_or(0);
        assert_eq!(all["due"].as_u64(), Some(ended + done), "{step}");
    }
    let ledger = &result["facts"]["ledger"];
    assert_ne!(ledger["agreed"].as_array().map(Vec::len), Some(0), "{ledger}");
    assert_eq!(ledger["differences"].as_array().map(Vec::len), Some(0), "{ledger}");
    assert_eq!(ledger["totals"]["assigned"].as_u64(), Some(acknowledged(result, "register")));
    assert_eq!(ledger["totals"]["messages"].as_u64(), Some(acknowledged(result, "send")));
}

/// A child that does not outlive its test.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("it is there");
    }

    /// How it ended, which it must do soon.
    pub fn end(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "it hangs");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `seen` gives something.
pub fn eventually<T>(what: &str, mut seen: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = seen() {
            return value;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The processes whose parent is `pid`, from /proc.
pub fn children_of(pid: u32) -> Vec<u32> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|process| {
            let child: u32 = process.ok()?.file_name().to_str()?.parse().ok()?;
            (fields_of(child)?.get(1)?.parse() == Ok(pid)).then_some(child)
        })
        .collect()
}

/// Whether a process is there, and is not only waiting to be buried.
pub fn is_alive(pid: u32) -> bool {
    fields_of(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z" && state != "X"))
}

/// How many sockets a process has open.
pub fn sockets_of(pid: u32) -> usize {
    let Ok(descriptors) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let is_socket = |path: PathBuf| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    };
    descriptors.flatten().filter(|entry| is_socket(entry.path())).count()
}

/// State, parent and so on: what stands after the name in /proc/PID/stat.
fn fields_of(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// `muster emulate`, serving in `emu` below a place.
pub struct Emulator {
    running: Running,
    stdout: BufReader<ChildStdout>,
    /// What it said before it was ready.
    pub opening: String,
    /// Host and port of its DPS.
    pub dps: String,
}

impl Emulator {
    /// The file with its standard error.
    pub const STDERR: &str = "emulate.err";

    pub fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::start_with(place, arguments, &[])
    }

    pub fn start_with(place: &Place, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = place.muster(&["emulate", "--dir", "emu", "--threads", "1"]);
        if !arguments.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        command.args(arguments).envs(variables.iter().copied());
        Self::spawn(place, command)
    }

    /// Waits until `command`, which becomes it in the end, is ready.
    pub fn spawn(place: &Place, mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        let stderr = std::fs::File::create(place.path().join(Self::STDERR)).expect("the folder is writable");
        command.stderr(stderr);
        let mut running = Running::start(&mut command);
        let mut stdout = BufReader::new(running.0.stdout.take().expect("a pipe"));
        let mut opening = String::new();
        while !opening.lines().any(|line| line.starts_with("ready")) {
            assert_ne!(stdout.read_line(&mut opening).expect("a pipe"), 0, "it ended: {opening}");
        }
        let dps =
            opening.lines().find_map(|line| line.strip_prefix("DPS ")).expect("a DPS").trim().to_owned();
        Self { running, stdout, opening, dps }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Ends it, and gives its ledger.
    pub fn stop(mut self) -> Value {
        self.running.signal(rustix::process::Signal::TERM);
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("a ledger");
        assert_eq!(self.running.end().code(), Some(0));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

/// Says something that is not kept back when the test passes.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What a run needs to know of `scenarios/` and `src/`.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
