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

/// Descriptors that this process has open; 0 if unknown.
pub fn open_descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
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
    fn the_peak_of_memory_is_not_below_what_is_used_now() {
        let usage = Usage::now();
        assert!(usage.peak_resident_bytes >= usage.resident_bytes);
        assert!(cores() >= 1);
    }
}
