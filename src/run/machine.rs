//! This process: what it uses, and what it may use.

use std::time::Duration;

/// Processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// What this process has used so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, user and system, all threads.
    pub cpu: Duration,
    /// Resident memory now, in bytes; 0 if unknown.
    pub resident_bytes: u64,
    /// Largest resident memory so far, in bytes; 0 if unknown.
    pub peak_resident_bytes: u64,
}

impl Usage {
    /// Of this process, now.
    pub fn now() -> Self {
        Self {
            cpu: crate::time::process_cpu_time(),
            resident_bytes: kibibytes("/proc/self/status", "VmRSS"),
            peak_resident_bytes: kibibytes("/proc/self/status", "VmHWM"),
        }
    }
}

/// Raises the soft limit of open files to the hard one and gives what holds then; `None` for no limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Without success the soft limit stays, and that is what is given back.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

fn kibibytes(path: &str, name: &str) -> u64 {
    let field = proc_field(path, name);
    field
        .and_then(|value| value.trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}

/// The same for all processes that share this machine's monotonic clock: a hash of what names the machine's last boot; empty if
/// unknown.
pub fn boot() -> String {
    use sha2::{Digest as _, Sha256};
    let Ok(id) = std::fs::read_to_string("/proc/sys/kernel/random/boot_id") else { return String::new() };
    let hash = Sha256::digest(format!("muster {}", id.trim()));
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Descriptors that this process has open; 0 if unknown.
pub fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// Ports that connections of one source address to one destination can have; `None` if unknown.
pub fn ephemeral_ports() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut ends = text.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    Some((last + 1).saturating_sub(first))
}

/// Memory that this machine, or the control group that the process is in, can still give, in bytes; `None` if unknown.
pub fn available_memory() -> Option<u64> {
    let machine = Some(kibibytes("/proc/meminfo", "MemAvailable")).filter(|bytes| *bytes > 0);
    let number = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // The limit is `max` where there is none.
    let group = number("memory.max").zip(number("memory.current"));
    let group = group.map(|(most, now)| most.saturating_sub(now));
    machine.into_iter().chain(group).min()
}

/// SYN and SYN-ACK segments that were repeated since this machine started, in the network that this process sees; `None` if
/// unknown. No safe interface gives the figure (TCP_INFO) of a single connection.
pub fn syn_retransmissions() -> Option<u64> {
    paired_field(&std::fs::read_to_string("/proc/net/netstat").ok()?, "TcpExt", "TCPSynRetrans")
}

/// The value of `name` in a group of the kernel's tables that have a line of names above a line of values.
fn paired_field(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':')).filter(|(of, _)| *of == group);
    let (names, values) = (lines.next()?.1, lines.next()?.1);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    pairs.find(|(known, _)| *known == name)?.1.parse().ok()
}

/// The value of `name: value` in one of the kernel's text files; `None` on other systems.
fn proc_field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|field| field.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_network_are_found_by_their_names() {
        let text = "TcpExt: SyncookiesSent TCPSynRetrans TCPOrigDataSent\nTcpExt: 0 71 1000\nIpExt: InOctets\nIpExt: 5\n";
        assert_eq!(paired_field(text, "TcpExt", "TCPSynRetrans"), Some(71));
        assert_eq!(paired_field(text, "IpExt", "InOctets"), Some(5));
        assert_eq!(paired_field(text, "TcpExt", "Other"), None);
        assert_eq!(paired_field("TcpExt: TCPSynRetrans", "TcpExt", "TCPSynRetrans"), None);
        // Where the kernel tells, the figure never falls.
        let before = syn_retransmissions();
        assert!(syn_retransmissions() >= before);
    }

    #[test]
    fn the_peak_of_memory_is_not_below_what_is_used_now() {
        let usage = Usage::now();
        assert!(usage.peak_resident_bytes >= usage.resident_bytes);
        assert!(cores() >= 1);
    }
}
