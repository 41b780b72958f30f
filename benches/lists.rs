//! What does a list of ten million devices cost before a run begins? The goals are 8 bytes a row to check one, 8 to hold two
//! against each other, and less than two minutes in all.
//!
//! `cargo bench --bench lists -- 10000000` (a million rows if no number is given); prints seconds, and by how much the
//! process's memory rose at most (Linux only). Needs 80 bytes a row in the temporary directory, twice.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Instant;

use base64::Engine as _;
use muster::list::DeviceList;
use muster::scenario;
use muster::units::show_count;

fn main() {
    // Cargo adds `--bench`.
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| folder.path().join(name);
    write(&path("all.csv"), 0, rows).expect("there is room");
    write(&path("one.csv"), 0, rows / 2).expect("there is room");
    write(&path("two.csv"), rows / 2, rows).expect("there is room");
    println!("{} rows", show_count(rows));
    let list = measured("check the list", rows, || DeviceList::check(&path("all.csv")).expect("a list"));
    let walked = measured("walk its rows", rows, || {
        list.rows()
            .expect("unchanged")
            .map(|row| row.expect("unchanged").registration_id.len())
            .sum::<usize>()
    });
    assert_eq!(walked as u64, 16 * rows);
    let scenario = path("lists.toml");
    let fleet = |name| {
        format!(
            "[enrollment.{name}]\nindividual = \"{name}.csv\"\n[fleet.{name}]\nenrollment = \"{name}\"\nstart.rate = \"1000/s\"\n"
        )
    };
    std::fs::write(&scenario, format!("version = 1\n{}{}", fleet("one"), fleet("two")))
        .expect("there is room");
    let loaded = measured("load a scenario with two lists of half the rows", rows, || {
        scenario::load(&scenario, &scenario::Options::default(), &|_| None)
    });
    assert!(loaded.is_ok_and(|loaded| loaded.plan.populations.len() == 2));
}

/// Ids of 16 characters, keys of 32 bytes, device ids of 14.
fn write(path: &Path, from: u64, to: u64) -> std::io::Result<()> {
    let file = File::create(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    let mut file = BufWriter::new(file);
    writeln!(file, "registration_id,key,device_id")?;
    for n in from..to {
        let mut key = [0x5a; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        let key = base64::engine::general_purpose::STANDARD.encode(key);
        writeln!(file, "gateway-{n:08},{key},roof({n:08})")?;
    }
    file.flush()
}

fn measured<T>(name: &str, rows: u64, measure: impl FnOnce() -> T) -> T {
    // Makes the peak what is held now.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = peak_kib();
    let since = Instant::now();
    let result = measure();
    let seconds = since.elapsed().as_secs_f64();
    let rose = peak_kib().zip(before).map(|(after, before)| after.saturating_sub(before));
    let memory = match rose {
        Some(kib) => {
            format!("{:.1} MiB, {:.1} bytes a row", kib as f64 / 1024.0, kib as f64 * 1024.0 / rows as f64)
        }
        None => "memory not known on this system".to_owned(),
    };
    println!("{name:<48} {seconds:.2} s, {memory}");
    result
}

/// The most memory that this process had since that was last forgotten, in KiB.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
