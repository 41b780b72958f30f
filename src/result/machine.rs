//! What the machine is that generates the load.

use super::file::Machine;

impl Machine {
    /// This machine. What cannot be found out stays empty or 0; its name is never asked for.
    pub fn describe() -> Self {
        let system = rustix::system::uname();
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_default().to_owned(),
            cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u32),
            memory_bytes: field(&text("/proc/meminfo"), "MemTotal").and_then(kilobytes).unwrap_or(0),
            os: system.sysname().to_string_lossy().into_owned(),
            kernel: system.release().to_string_lossy().into_owned(),
        }
    }
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// `16384 kB` in bytes.
fn kilobytes(text: &str) -> Option<u64> {
    text.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_linux_writes_them() {
        let text = "processor\t: 0\nmodel name\t: Example CPU @ 2.0 GHz\nMemTotal:       16384 kB\n";
        assert_eq!(field(text, "model name"), Some("Example CPU @ 2.0 GHz"));
        assert_eq!(field(text, "MemTotal").and_then(kilobytes), Some(16_777_216));
        assert!(Machine::describe().cores > 0);
    }
}
