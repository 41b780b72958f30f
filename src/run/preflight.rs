//! Whether a run fits on this machine, before it starts: descriptors, ports, memory.

use crate::plan::load::held_at_once;
use crate::plan::{Plan, Population, Protocol, Target};
use crate::units::{show_bytes, show_count};

use super::machine;

/// Why a run cannot fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoesNotFit {
    /// More connections at once than files may be open.
    #[error(
        "the run holds at least {} connections at once, which with the {} files of the process itself is more than the \
         {} that it may open; start fewer devices at once, spread them \
         (--processes N, or --shard), or raise the hard limit (ulimit -Hn)",
        show_count(*.connections), OWN_DESCRIPTORS, show_count(*.limit)
    )]
    Descriptors {
        /// Connections that are certainly open at the same time.
        connections: u64,
        /// Files that may be open.
        limit: u64,
    },
    /// More connections at once to one address than there are ports for.
    #[error(
        "the run holds at least {} connections at once to one address, and this machine has {} ports for one \
         destination; widen the range (sysctl net.ipv4.ip_local_port_range), spread the devices over machines (--shard){}",
        show_count(*.connections), show_count(*.ports),
        if *.embedded { ", over processes (--processes N), or over several hubs ([emulator.hub.NAME])" } else { "" }
    )]
    Ports {
        /// Connections that are certainly open to one address at the same time.
        connections: u64,
        /// Ports that there are.
        ports: u64,
        /// Whether the emulator is the run's own.
        embedded: bool,
    },
    /// More memory than there is.
    #[error(
        "the run takes about {} of memory for the connections that it holds at once, and this machine has {} left; start \
         fewer devices at once, or spread them over machines (--shard)",
        show_bytes(*.needed), show_bytes(*.available)
    )]
    Memory {
        /// What connections that are certainly open at the same time take, in bytes.
        needed: u64,
        /// What is to be had.
        available: u64,
    },
}

/// Descriptors that the process needs besides connections: standard streams, runtimes, timers, result files.
pub const OWN_DESCRIPTORS: u64 = 32;

/// Resident bytes of an embedded emulator for each connection: as measured with 15,000 idle MQTT devices (`results/mqtt.txt`).
const EMULATOR_BYTES: u64 = 10 * 1024;

/// What this machine has for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Files that a process may open; `None` for any number.
    pub descriptors: Option<u64>,
    /// Ports of one source address for one destination; `None` if unknown.
    pub ports: Option<u64>,
    /// Memory that may still be taken, in bytes; `None` if unknown.
    pub memory: Option<u64>,
}

impl Room {
    /// What there is now. Raises the soft limit of descriptors to the hard one.
    pub fn now() -> Self {
        Self {
            descriptors: machine::raise_descriptor_limit(),
            ports: machine::ephemeral_ports(),
            memory: machine::available_memory(),
        }
    }
}

/// Refuses a plan that needs more than there is.
///
/// Only what is certain counts: devices that hold their connection at the same time whatever the service does. A slow
/// service can make a run need more; that is told at run time, as a shortage of this machine.
///
/// * `processes`: how many take as much on this machine, each with an emulator of its own if it is embedded
///
/// # Errors
/// [`DoesNotFit`] with the figures.
pub fn check(plan: &Plan, room: &Room, processes: u64) -> Result<(), DoesNotFit> {
    let held: Vec<u64> =
        plan.populations.iter().map(|population| held_at_once(plan, population, plan.shard)).collect();
    let connections: u64 = held.iter().sum();
    if let Some(limit) = room.descriptors
        && connections + OWN_DESCRIPTORS > limit
    {
        return Err(DoesNotFit::Descriptors { connections, limit });
    }
    // Where they are allocated evenly each hub has its part; where they are not, one has more.
    let (hubs, embedded) = match &plan.target {
        Target::Emulator(target) => (target.hubs.len().max(1) as u64, true),
        Target::Azure(_) | Target::Hub(_) => (1, false),
    };
    // Of a real DPS nobody knows over how many hubs it spreads them.
    let to_one = if matches!(plan.target, Target::Azure(_)) { 0 } else { connections / hubs };
    if let Some(ports) = room.ports
        && to_one > ports
    {
        return Err(DoesNotFit::Ports { connections: to_one, ports, embedded });
    }
    let needed = memory(&plan.populations, &held, embedded).saturating_mul(processes);
    match room.memory {
        Some(available) if needed > available => Err(DoesNotFit::Memory { needed, available }),
        _ => Ok(()),
    }
}

/// What so many connections of each population take in memory, in bytes: the generator's part and, if it is embedded, the emulator's.
pub fn memory(populations: &[Population], connections: &[u64], embedded: bool) -> u64 {
    let server = if embedded { EMULATOR_BYTES } else { 0 };
    let each = populations.iter().zip(connections);
    each.map(|(population, count)| count * (per_connection(population) + server)).sum()
}

/// Resident bytes of a connected idle device: as measured (`results/mqtt.txt`, `results/end-to-end.txt`), rounded up.
fn per_connection(population: &Population) -> u64 {
    match population.connect {
        Some(Protocol::Https) => 24 * 1024,
        Some(Protocol::MqttWs) => 14 * 1024,
        _ => 9 * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    const ROOM: Room = Room { descriptors: None, ports: None, memory: None };

    fn plan(text: &str) -> Plan {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.toml");
        std::fs::write(&path, format!("version = 1\nduration = \"1h\"\n{text}")).expect("a file");
        let loaded = scenario::load(&path, &scenario::Options::default(), &|_| None);
        loaded.expect("a scenario").plan
    }

    #[test]
    fn what_is_certainly_held_at_once_has_to_fit_descriptors_ports_and_memory() {
        let plan = plan("[fleet.x]\ncount = 30_000\nstart.rate = \"1000/s\"\n");
        assert_eq!(check(&plan, &ROOM, 1), Ok(()));
        let error = |room| check(&plan, &room, 1).expect_err("too much").to_string();
        let files = error(Room { descriptors: Some(20_000), ..ROOM });
        assert!(files.contains("30,000 connections") && files.contains("--processes N"), "{files}");
        let ports = error(Room { ports: Some(28_232), ..ROOM });
        assert!(ports.contains("28,232 ports") && ports.contains("[emulator.hub.NAME]"), "{ports}");
        let memory = error(Room { memory: Some(500 << 20), ..ROOM });
        assert!(memory.contains("about 556.6 MiB") && memory.contains("500.0 MiB left"), "{memory}");
        let four = Room { memory: Some(2 << 30), ..ROOM };
        assert_eq!(check(&plan, &four, 2), Ok(()));
        assert!(check(&plan, &four, 4).is_err(), "each process takes as much");
    }

    #[test]
    fn several_hubs_have_an_address_each() {
        let two = "[emulator.hub]\na = {}\nb = {}\n";
        let plan = plan(&format!("[fleet.x]\ncount = 30_000\nstart.rate = \"1000/s\"\n{two}"));
        assert_eq!(check(&plan, &Room { ports: Some(28_232), ..ROOM }, 1), Ok(()));
    }
}
