//! What does MQTT cost: CPU per acknowledged message of 300 bytes and QoS 1 over TLS, CPU per connect, memory per device?
//!
//! `cargo bench --bench mqtt`, or `-- messages`, `-- rate`, `-- memory`, `-- connects` for a part; about twelve minutes, and five more
//! where Debian's mosquitto is installed, which is then measured as well. CPU of the generator is its own
//! (`facts.generator` of the results); that of the emulator is what all processes of a run used less that. Each figure is
//! the median of three rounds, with their range. A run that was void is said to be so: its CPU counts all the same, for
//! at the highest rate every generator is late.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster::emulator::certificates;
use muster::net::{accept, trust};
use muster::result::file::Figure;
use muster::result::{self, RunResult};
use muster::time::Clock;

const ROUNDS: usize = 3;

const EMULATOR: &str = "version = 1\nseed = 7\n[emulator.dps]\nretry_after = \"0s\"\nassign = \"0s\"\n";

const BROKER: &str = "version = 1\nseed = 7\n[target]\nkind = \"hub\"\nhost = \"localhost:PORT\"\nca_file = \"ca.pem\"\n\
    [enrollment.plant]\ngroup_key = { env = \"GROUP_KEY\" }\n";

/// 300 devices, all together 15,000 messages/s for 8 s.
const PACED: &str = "[fleet.devices]\ncount = 300\nstart.rate = \"150/s\"\n[fleet.devices.telemetry]\n\
    every = \"20ms\"\nbytes = \"300 B\"\nmessages = 400\n";

/// 100 devices, all together 100,000 messages/s for 5 s, up to 100 under way for each.
const FAST: &str = "[fleet.devices]\ncount = 100\nstart.rate = \"100/s\"\n[fleet.devices.telemetry]\n\
    every = \"1ms\"\nbytes = \"300 B\"\nmessages = 5_000\nin_flight = 100\nqueue = 5_000\n";

/// The same with 300 devices: more than one core can do.
const FLOOD: &str = "[fleet.devices]\ncount = 300\nstart.rate = \"300/s\"\n[fleet.devices.telemetry]\n\
    every = \"1ms\"\nbytes = \"300 B\"\nmessages = 5_000\nin_flight = 100\nqueue = 5_000\n";

/// More than the emulator can do, from two threads: how many it answers then is what it can.
const DELUGE: &str = "[fleet.devices]\ncount = 600\nstart.rate = \"600/s\"\n[fleet.devices.telemetry]\n\
    every = \"1ms\"\nbytes = \"300 B\"\nmessages = 4_000\nin_flight = 100\nqueue = 4_000\n";

/// Devices that connect and do nothing until the end.
const HOLD: &str =
    "duration = \"SECONDSs\"\ndrain = \"1s\"\n[fleet.devices]\ncount = COUNT\nstart.rate = \"500/s\"\n";

/// How many of them start in a second.
const STARTS: u64 = 500;

/// How long they idle before memory is looked at, in seconds.
const IDLE: u64 = 11;

/// Idle devices in one process: as many as file descriptors allow.
const MANY: u64 = 15_000;

fn main() {
    // `cargo test --benches` and lists of benches ask with arguments of their own.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let is_wanted = |part: &str| wanted.as_ref().is_none_or(|wanted| wanted == part);
    println!("MQTT over TLS 1.3, QoS 1, 300 bytes, one thread if nothing else is said; {ROUNDS} rounds each");
    println!("\nagainst the embedded emulator (one thread)");
    if is_wanted("messages") {
        messages(&|fleet, threads| run(EMULATOR, fleet, threads, None));
    }
    if is_wanted("rate") {
        half_of_the_highest_rate();
    }
    if is_wanted("memory") {
        hold();
    }
    let Some(broker) = Broker::start() else {
        println!("\nno mosquitto on this machine: `apt-get install mosquitto`");
        return;
    };
    println!("\nagainst mosquitto");
    let head = BROKER.replace("PORT", &broker.port.to_string());
    if is_wanted("messages") {
        messages(&|fleet, threads| run(&head, fleet, threads, Some(&broker)));
    }
    if is_wanted("connects") {
        connects(&|count| run(&head, &held(count, 12), 1, Some(&broker)));
    }
}

fn messages(run: &dyn Fn(&str, u8) -> Cost) {
    let rates = [
        ("paced at 15,000/s", PACED, 1),
        ("paced at 100,000/s", FAST, 1),
        ("300,000/s due: as fast as it goes", FLOOD, 1),
        ("600,000/s due, from two threads: as fast as it goes", DELUGE, 2),
    ];
    for (what, fleet, threads) in rates {
        let costs: Vec<Cost> = (0..ROUNDS).map(|_| run(fleet, threads)).collect();
        let acknowledged = |cost: &Cost| cost.result.headline.messages as f64;
        let of = |figure: fn(&Cost) -> f64| figures(costs.iter().map(figure));
        println!(" {what}");
        show("generator CPU per message", "µs", of(|c| c.generator.as_micros() as f64 / c.messages()));
        show("CPU of the other side per message", "µs", of(|c| c.server.as_micros() as f64 / c.messages()));
        show("messages acknowledged per second", "/s", of(|c| c.messages() / c.sending_seconds()));
        show("lateness, median", "µs", of(|c| c.lateness_p50_us()));
        let void = costs.iter().filter(|cost| cost.is_void()).count();
        let least = costs.iter().map(acknowledged).fold(f64::MAX, f64::min);
        println!("  {void} of {ROUNDS} runs void; at least {least} messages acknowledged");
    }
}

/// How late messages are at half of the highest rate at which no run is void: goal of the schedule.
fn half_of_the_highest_rate() {
    // 300 devices, all together `rate` messages a second for five seconds.
    let at = |rate: u64| {
        let fleet = format!(
            "[fleet.devices]\ncount = 300\nstart.rate = \"300/s\"\n[fleet.devices.telemetry]\nevery = \"{}us\"\n\
             bytes = \"300 B\"\nmessages = {}\nin_flight = 100\nqueue = 5_000\n",
            300_000_000 / rate,
            rate / 60
        );
        run(EMULATOR, &fleet, 1, None)
    };
    let rates = (0..).map(|step| 20_000 * (5 + step) / 5).take_while(|rate| *rate <= 400_000);
    // One that is void may be the machine's doing; two in a row are not.
    let holds = |rate: &u64| !at(*rate).is_void() || !at(*rate).is_void();
    let highest = rates.take_while(holds).last().unwrap_or(20_000);
    println!(" half of {highest}/s, the highest rate at which a run was not void");
    let costs: Vec<Cost> = (0..ROUNDS).map(|_| at(highest / 2)).collect();
    show("lateness, median", "µs", figures(costs.iter().map(Cost::lateness_p50_us)));
    let error =
        |cost: &Cost| cost.result.facts.pace.as_ref().map_or(f64::NAN, |pace| pace.worst_error * 100.0);
    show("rate of sends in the worst ten seconds, off by", "%", figures(costs.iter().map(error)));
    show(
        "generator CPU per message",
        "µs",
        figures(costs.iter().map(|cost| cost.generator.as_micros() as f64 / cost.messages())),
    );
}

/// Memory of idle devices, over MQTT and over MQTT in a WebSocket: what each takes beyond a process with one of them.
fn hold() {
    for (what, more) in [("MQTT", ""), ("MQTT in a WebSocket", "connect = \"mqtt-ws\"\n")] {
        let rounds: Vec<[f64; 2]> = (0..ROUNDS)
            .map(|_| {
                let [few, many] = [1, MANY].map(|count| {
                    let seconds = count / STARTS + IDLE;
                    let fleet = format!("{}{more}", held(count, seconds + 4));
                    let started = started(EMULATOR, &fleet, 1, None);
                    std::thread::sleep(Duration::from_secs(seconds));
                    [resident(started.child.id()), resident(emulator_of(started.child.id()))]
                });
                [0, 1].map(|side| (many[side] - few[side]) / (MANY - 1) as f64 / 1_024.0)
            })
            .collect();
        println!(" {MANY} idle devices, {what}, less what one takes");
        show("generator, resident, per device", "KiB", figures(rounds.iter().map(|sides| sides[0])));
        show("emulator, resident, per device", "KiB", figures(rounds.iter().map(|sides| sides[1])));
    }
}

/// The process that serves a generator's devices.
fn emulator_of(generator: u32) -> u32 {
    let path = format!("/proc/{generator}/task/{generator}/children");
    let children = fs::read_to_string(path).expect("it is running, on Linux");
    children.split_whitespace().next().and_then(|id| id.parse().ok()).expect("an emulator")
}

/// Resident memory of a process, in bytes.
fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it is running");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux");
    let kilobytes = line.split_whitespace().nth(1).and_then(|text| text.parse::<f64>().ok());
    kilobytes.expect("a number") * 1_024.0
}

fn connects(run: &dyn Fn(u64) -> Cost) {
    let cost = figures((0..ROUNDS).map(|_| {
        let [few, many] = [500, 2_500].map(|count| run(count).result.facts.generator.cpu_ns as f64);
        (many - few) / 2_000.0 / 1e3
    }));
    println!(" 2,000 connections more than 500");
    show("generator CPU per connect (TCP, TLS, CONNACK)", "µs", cost);
    show("of that a bare TLS handshake, in memory", "µs", figures((0..ROUNDS).map(|_| handshake())));
}

struct Cost {
    result: RunResult,
    generator: Duration,
    server: Duration,
}

impl Cost {
    fn messages(&self) -> f64 {
        self.result.headline.messages.max(1) as f64
    }

    /// From the first to the last second in which something was acknowledged.
    fn sending_seconds(&self) -> f64 {
        let timeline = &self.result.timeline;
        let busy = timeline.intervals.iter().filter(|interval| {
            let steps = interval.populations.iter().flat_map(|population| &population.steps);
            steps.filter(|step| step.kind == "send").any(|step| step.counts.acknowledged > 0)
        });
        (busy.count() as u64 * timeline.width_s).max(1) as f64
    }

    fn lateness_p50_us(&self) -> f64 {
        let step = self.result.total.steps.iter().find(|step| step.kind == "send");
        match step.and_then(|step| step.lateness.quantiles.p50) {
            Some(Figure::Nanos(nanos)) => nanos as f64 / 1e3,
            _ => f64::NAN,
        }
    }

    fn is_void(&self) -> bool {
        self.result.judgement.as_ref().is_some_and(|judgement| judgement.exit_code == 97)
    }
}

fn held(count: u64, seconds: u64) -> String {
    HOLD.replace("COUNT", &count.to_string()).replace("SECONDS", &seconds.to_string())
}

/// A run under way.
struct Started {
    child: Child,
    /// Scenario and results.
    folder: tempfile::TempDir,
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.wait();
    }
}

fn started(head: &str, fleet: &str, threads: u8, broker: Option<&Broker>) -> Started {
    let folder = tempfile::tempdir().expect("a folder");
    if let Some(broker) = broker {
        fs::copy(broker.folder.path().join("ca.pem"), folder.path().join("ca.pem")).expect("a file");
    }
    let path = folder.path().join("bench.toml");
    // Keys of the whole run stand before the first table.
    let (top, tables) = fleet.split_at(fleet.find('[').expect("there is a table"));
    fs::write(&path, head.replacen("seed = 7\n", &format!("seed = 7\n{top}"), 1) + tables).expect("a file");
    let child = Command::new(env!("CARGO_BIN_EXE_muster"))
        .arg("run")
        .arg(&path)
        .args(["--no-progress", "--quiet", "--threads", &threads.to_string()])
        .arg("--output")
        .arg(folder.path().join("results"))
        .env("GROUP_KEY", "c2l4dGVlbi1ieXRlcy1vay4=")
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    Started { child, folder }
}

fn run(head: &str, fleet: &str, threads: u8, broker: Option<&Broker>) -> Cost {
    let peer = || broker.map(|broker| cpu(&broker.child.id().to_string(), 11));
    let before = (cpu("self", 13), peer());
    let mut started = started(head, fleet, threads, broker);
    let code = started.child.wait().expect("a child of ours").code();
    let after = (cpu("self", 13), peer());
    assert!(matches!(code, Some(0 | 97)), "{code:?}");
    let mut runs = fs::read_dir(started.folder.path().join("results")).expect("results");
    let run = runs.next().expect("a run").expect("readable").path();
    let result = result::read(&run).expect("it was just written");
    let generator = Duration::from_nanos(result.facts.generator.cpu_ns);
    let server = match (before.1, after.1) {
        (Some(before), Some(after)) => after - before,
        // The emulator is a process that the run has waited for.
        _ => (after.0 - before.0).saturating_sub(generator),
    };
    Cost { result, generator, server }
}

/// CPU of a process, user and system, to 10 ms.
///
/// * `first`: 11 for its own, 13 for that of all processes that it has waited for, and those that they have
fn cpu(process: &str, first: usize) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = fields[first..first + 2].iter().map(|field| field.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// CPU of the client's side of a full TLS 1.3 handshake with an emulator's certificate, in memory, in µs.
fn handshake() -> f64 {
    let made = certificates::make(&[], Clock::machine().wall()).expect("a certificate");
    let server = accept::server_config(made.chain, made.key, 0).expect("they belong together");
    let client = trust::client_tls(&trust::Trust::Only(made.ca_pem)).expect("a certificate").any;
    const TIMES: u32 = 500;
    let mut took = Duration::ZERO;
    for _ in 0..TIMES {
        let name = "localhost".try_into().expect("a name");
        let started = Instant::now();
        let mut near = rustls::ClientConnection::new(Arc::clone(&client), name).expect("a client");
        took += started.elapsed();
        let mut far = rustls::ServerConnection::new(Arc::clone(&server)).expect("a server");
        while near.is_handshaking() || far.is_handshaking() {
            let mut wire = Vec::new();
            let started = Instant::now();
            near.write_tls(&mut wire).expect("memory");
            took += started.elapsed();
            far.read_tls(&mut &wire[..]).expect("memory");
            far.process_new_packets().expect("a handshake");
            let mut wire = Vec::new();
            far.write_tls(&mut wire).expect("memory");
            let started = Instant::now();
            near.read_tls(&mut &wire[..]).expect("memory");
            near.process_new_packets().expect("a handshake");
            took += started.elapsed();
        }
    }
    took.as_secs_f64() * 1e6 / f64::from(TIMES)
}

struct Broker {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
}

impl Broker {
    fn start() -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"];
        let program = program.into_iter().find(|program| Path::new(program).exists())?;
        let folder = tempfile::tempdir().expect("a folder");
        certificates::keep(folder.path(), &[], &[], Clock::machine().wall()).expect("certificates");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let file = |name: &str| folder.path().join(name).display().to_string();
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\n\
             cafile {}\ncertfile {}\nkeyfile {}\nlog_type error\nuser root\n",
            file("ca.pem"),
            file("server.pem"),
            file("server.key"),
        );
        let path = folder.path().join("mosquitto.conf");
        fs::write(&path, settings).expect("a file");
        let child =
            Command::new(program).arg("-c").arg(&path).stderr(Stdio::null()).spawn().expect("it starts");
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, port, folder })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn figures(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn show(what: &str, unit: &str, figures: Vec<f64>) {
    let last = figures.len() - 1;
    println!("  {what:<46} {:9.1} {unit} ({:.1} to {:.1})", figures[last / 2], figures[0], figures[last]);
}
