//! A module uses only modules listed before it in `lib.rs`, and some things have one door.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every source file with its text.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("src is readable") {
            let path = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
                files.push((path, text));
            }
        }
    }
    assert!(files.len() > 20, "the sources were found");
    files
}

/// The top-level module that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module(path: &Path) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inside = path.strip_prefix(root).expect("a source file");
    let first = inside.components().next()?.as_os_str().to_str()?;
    let name = first.trim_end_matches(".rs");
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

/// The part of a source that is compiled into the program: tests may look at any module.
fn shipped<'a>(path: &Path, text: &'a str) -> &'a str {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if name == "tests.rs" || name.ends_with("_tests.rs") {
        return "";
    }
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// Lines that are code: comments may name anything.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn a_module_uses_only_modules_listed_before_it() {
    let lib = include_str!("../src/lib.rs");
    let order: BTreeMap<&str, usize> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .enumerate()
        .map(|(position, name)| (name, position))
        .collect();
    // They describe one thing from two sides: what is written, and what it means.
    let neighbours = [("scenario", "plan")];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(own) = module(&path) else { continue };
        let position = order[own.as_str()];
        for line in code(shipped(&path, &text)) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
                if let Some(other) = order.get(used)
                    && *other > position
                    && !neighbours.contains(&(own.as_str(), used))
                {
                    wrong.push(format!("{}: {own} uses {used}, which comes later", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn device_and_emulator_do_not_know_each_other_and_the_fleet_knows_no_emulator() {
    let strangers = [("device", "emulator"), ("emulator", "device"), ("fleet", "emulator")];
    for (path, text) in sources() {
        for (own, other) in strangers {
            if module(&path).as_deref() == Some(own) {
                let used = code(shipped(&path, &text)).any(|line| line.contains(&format!("crate::{other}")));
                assert!(!used, "{}: {own} uses {other}", path.display());
            }
        }
    }
}

#[test]
fn clocks_timers_and_chance_have_one_door_each() {
    let doors: [(&str, &[&str]); 5] = [
        ("Instant::now(", &["time"]),
        ("SystemTime", &["time"]),
        ("tokio::time", &["time"]),
        ("clock_gettime", &["time"]),
        ("rand_xoshiro", &["rng"]),
    ];
    for (path, text) in sources() {
        let own = module(&path).unwrap_or_default();
        for (word, allowed) in doors {
            if !allowed.contains(&own.as_str()) {
                let used = code(shipped(&path, &text)).any(|line| line.contains(word));
                assert!(!used, "{}: `{word}` belongs to {allowed:?}", path.display());
            }
        }
    }
}

#[test]
fn only_net_opens_or_binds_sockets() {
    for (path, text) in sources() {
        if module(&path).as_deref() != Some("net") {
            for word in ["TcpStream::connect", "TcpListener::bind", "socket2::", "lookup_host"] {
                let used = code(shipped(&path, &text)).any(|line| line.contains(word));
                assert!(!used, "{}: `{word}` belongs to net", path.display());
            }
        }
    }
}

#[test]
fn what_computes_or_shows_does_no_input_or_output() {
    for (path, text) in sources() {
        let own = module(&path).unwrap_or_default();
        if ["plan", "record", "compare", "report", "azure", "verdict"].contains(&own.as_str()) {
            for word in ["std::fs", "std::net", "tokio::", "std::thread", "println!", "eprintln!"] {
                let used = code(shipped(&path, &text)).any(|line| line.contains(word));
                assert!(!used, "{}: {own} uses `{word}`", path.display());
            }
        }
    }
}
