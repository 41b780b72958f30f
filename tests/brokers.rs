//! Devices against a broker that is none of ours: Debian's mosquitto, over TLS.
//!
//! Without mosquitto on this machine the tests say that they were skipped, and how to have them run.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use muster::emulator::certificates;
use muster::time::Clock;

mod common;

use common::{Place, acknowledged, eventually};

/// A mosquitto with a log of every packet.
struct Broker {
    child: Child,
    port: u16,
    log: std::path::PathBuf,
}

impl Broker {
    /// `None` if there is none on this machine.
    fn start(place: &Place) -> Option<Self> {
        let program = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"];
        let Some(program) = program.into_iter().find(|program| Path::new(program).exists()) else {
            eprintln!("skipped: there is no mosquitto here; `apt-get install mosquitto` has this test run");
            return None;
        };
        let folder = place.path().join("broker");
        certificates::keep(&folder, &[], &[], Clock::machine().wall()).expect("certificates");
        // mosquitto cannot be told to take a free port; a port that was free a moment ago will do.
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let log = folder.join("log");
        let file = |name: &str| folder.join(name).display().to_string();
        let settings = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_inflight_messages 0\n\
             cafile {}\ncertfile {}\nkeyfile {}\nlog_type all\nlog_dest stderr\nuser root\n",
            file("ca.pem"),
            file("server.pem"),
            file("server.key"),
        );
        std::fs::write(folder.join("mosquitto.conf"), settings).expect("writable");
        let child = Command::new(program)
            .arg("-c")
            .arg(folder.join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("writable"))
            .spawn()
            .expect("it starts");
        let broker = Self { child, port, log };
        eventually("mosquitto listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(broker)
    }

    /// Lines of its log that have all of these in them.
    fn lines(&self, parts: &[&str]) -> usize {
        let log = std::fs::read_to_string(&self.log).expect("it was made at the start");
        log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scenario(place: &Place, broker: &Broker, telemetry: &str) -> String {
    let text = format!(
        "version = 1\nseed = 7\n[target]\nkind = \"hub\"\nhost = \"localhost:{}\"\nca_file = \"broker/ca.pem\"\n\
         [enrollment.plant]\ngroup_key = {{ env = \"GROUP_KEY\" }}\n\
         [fleet.devices]\ncount = 20\nstart.rate = \"50/s\"\n\
         [fleet.devices.telemetry]\nevery = \"100ms\"\nmessages = 10\n{telemetry}\n\
         [thresholds]\n\"failed.share\" = \"= 0 %\"\n",
        broker.port
    );
    place.write("broker.toml", &text)
}

const KEY: (&str, &str) = ("GROUP_KEY", "c2l4dGVlbi1ieXRlcy1vay4=");

#[test]
fn a_broker_confirms_every_message_of_qos_1() {
    let place = Place::new();
    let Some(broker) = Broker::start(&place) else { return };
    let scenario = scenario(&place, &broker, "");
    let ran = place.run_with(&[&scenario], &[KEY]);
    ran.passes();
    assert_eq!(acknowledged(ran.result(), "send"), 200);
    let published = ["Received PUBLISH from devices-00007 ", "q1", "'devices/devices-00007/messages/events/"];
    assert_eq!(broker.lines(&published), 10);
    assert_eq!(broker.lines(&["Received PUBLISH", "q1"]), 200);
    assert_eq!(broker.lines(&["Received DISCONNECT"]), 20, "every device said good-bye");
}

#[test]
fn messages_of_qos_0_arrive_on_the_topic_of_the_scenario() {
    let place = Place::new();
    let Some(broker) = Broker::start(&place) else { return };
    let scenario = scenario(&place, &broker, "qos = 0\ntopic = \"plant/{id}/telemetry\"");
    let ran = place.run_with(&[&scenario], &[KEY]);
    ran.passes();
    assert_eq!(common::step(ran.result(), "send")["all"]["written"], 200);
    assert_eq!(broker.lines(&["Received PUBLISH", "q0", "'plant/devices-00007/telemetry'"]), 10);
    assert_eq!(broker.lines(&["Received PUBLISH", "q0"]), 200);
}
