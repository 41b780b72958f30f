//! `muster new`: a commented scenario to start from.

use std::fs::File;
use std::io::{ErrorKind, Write as _};

use clap::ValueEnum;

use super::{exit, terminal};
use crate::run::tell;

/// Arguments of `muster new`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// File to write, with or without .toml; nothing is ever overwritten
    #[arg(value_name = "NAME")]
    name: String,

    /// What the scenario is about
    #[arg(long, value_enum, default_value_t = Kind::Onboarding)]
    kind: Kind,
}

/// What a scenario is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// A fleet that registers, connects and sends its first messages, against the emulator
    Onboarding,
    /// A fleet that sends steadily, against the emulator
    Telemetry,
    /// Azure's quickstart: one device with an individual enrollment at a real DPS
    Quickstart,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Onboarding => "onboarding",
            Self::Telemetry => "telemetry",
            Self::Quickstart => "quickstart",
        }
    }

    const fn template(self) -> &'static str {
        match self {
            Self::Onboarding => include_str!("templates/onboarding.toml"),
            Self::Telemetry => include_str!("templates/telemetry.toml"),
            Self::Quickstart => include_str!("templates/quickstart.toml"),
        }
    }

    /// The scenario that is written to `path`.
    fn text(self, path: &str) -> String {
        self.template().replace(PATH, &shell_word(path))
    }
}

/// Stands in a template's comments for the path that the file gets.
const PATH: &str = "SCENARIO";

/// Writes the scenario and says what to do next.
pub(super) fn run(arguments: &Arguments) -> u8 {
    match write(arguments) {
        Ok(path) => {
            let kind = arguments.kind.name();
            let word = shell_word(&path);
            let told = format!(
                "Wrote {word}: a scenario of kind {kind}, every key explained. Next:\n\n    muster check {word}\n    muster run {word}\n"
            );
            match terminal::write_out(told.as_bytes()) {
                Ok(()) => exit::PASS,
                Err(error) => {
                    tell(format_args!("error: {path} is written; cannot say so on standard output: {error}"));
                    exit::FAILED
                }
            }
        }
        Err((code, message)) => {
            tell(format_args!("error: {message}"));
            code
        }
    }
}

/// Writes the file; gives its path, or an exit code with what is wrong.
fn write(arguments: &Arguments) -> Result<String, (u8, String)> {
    let path = path(&arguments.name).map_err(|message| (exit::USAGE, message))?;
    let mut file = File::create_new(&path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => (
            exit::USAGE,
            format!("{path} is there already and stays as it is; give another name, or move it away first"),
        ),
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
            let message = format!(
                "cannot write {path}: there is no folder {folder}; make it first, or give another name"
            );
            (exit::USAGE, message)
        }
        _ => (exit::FAILED, format!("cannot write {path}: {error}")),
    })?;
    let written = file.write_all(arguments.kind.text(&path).as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a scenario is of no use, and would be in the way of the next attempt.
        let _ = std::fs::remove_file(&path);
        (exit::FAILED, format!("cannot write {path}: {error}"))
    })?;
    Ok(path)
}

/// The path of the file for a name as it was typed.
fn path(name: &str) -> Result<String, String> {
    const EXAMPLE: &str = "give a name such as `my-fleet` or `scenarios/my-fleet.toml`";
    if name.is_empty() {
        return Err(format!("the name is empty; {EXAMPLE}"));
    }
    // It goes into comments of the file, and onto the terminal.
    if name.chars().any(char::is_control) {
        return Err(format!("the name holds a control character; {EXAMPLE}"));
    }
    if name.starts_with('-') {
        return Err(format!("`{name}` would be taken for an option by other commands; {EXAMPLE}"));
    }
    let last = name.rsplit('/').next().unwrap_or_default();
    let stem = last.strip_suffix(".toml").unwrap_or(last);
    if matches!(stem, "" | "." | "..") {
        return Err(format!("`{name}` does not name a file; {EXAMPLE}"));
    }
    Ok(if last == stem { format!("{name}.toml") } else { name.to_owned() })
}

/// A path as one types it at a shell's prompt.
fn shell_word(path: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '+' | ',' | ':' | '@');
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{KeySource, Keys, Plan, Target};
    use crate::scenario;

    const KINDS: [Kind; 3] = [Kind::Onboarding, Kind::Telemetry, Kind::Quickstart];

    /// What the file of that kind means, written under a name that does it no good.
    fn plan(kind: Kind) -> Plan {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let path = folder.path().join("it's \"mine\" ${env:HOME}.toml");
        let shown = path.to_str().expect("names of temporary files are ASCII");
        std::fs::write(&path, kind.text(shown)).expect("the folder is writable");
        let loaded = scenario::load(&path, &scenario::Options::default(), &|name| panic!("asks for {name}"));
        let loaded = loaded.unwrap_or_else(|told| panic!("{kind:?}\n{}", told.render(false, None)));
        assert!(loaded.warnings.is_empty(), "{}", loaded.warnings.render(false, None));
        loaded.plan
    }

    #[test]
    fn every_kind_loads_without_a_warning_and_without_a_variable() {
        for kind in KINDS {
            let plan = plan(kind);
            assert_eq!(kind == Kind::Quickstart, matches!(plan.target, Target::Azure(_)), "{kind:?}");
            assert!(plan.populations.iter().all(|population| population.telemetry.is_some()), "{kind:?}");
            let text = kind.text("a/b.toml");
            assert!(text.contains("#     muster run a/b.toml\n") && !text.contains(PATH), "{text}");
            assert!(text.starts_with("# Question ") && text.contains("\n# Healthy "), "{text}");
            assert!(text.contains("`muster schema > muster.schema.json`"), "{text}");
            assert!(text.contains("`#:schema ./muster.schema.json`"), "{text}");
        }
    }

    #[test]
    fn the_quickstart_takes_the_key_from_the_variable_of_azure_s() {
        let Keys::Individual { primary: KeySource::Environment(name), .. } =
            &plan(Kind::Quickstart).enrollments[0].keys
        else {
            panic!("an individual enrollment")
        };
        assert_eq!(name, "PROVISIONING_SYMMETRIC_KEY");
    }

    /// What is commented out for whoever wants a DPS of their own is right too.
    #[test]
    fn the_target_in_the_comments_of_onboarding_loads() {
        let text = Kind::Onboarding.text("x.toml");
        let (before, target) =
            text.split_once("# [target]\n").expect("the scenario has the table as a comment");
        let (target, after) = target.split_once("\n\n").expect("an empty line ends the table");
        let target: String = target
            .lines()
            .map(|line| format!("{}\n", line.strip_prefix("# ").expect("each of its lines is a comment")))
            .collect();
        let (after, _) =
            after.split_once("# How the emulator's DPS").expect("the emulator comes after the target");
        let text = format!("{before}[target]\n{target}\n{after}")
            .replace("\"generated\"", "{ env = \"GROUP_KEY\" }");
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let path = folder.path().join("x.toml");
        std::fs::write(&path, &text).expect("the folder is writable");
        let loaded = scenario::load(&path, &scenario::Options::default(), &|_| None);
        let plan = loaded.unwrap_or_else(|told| panic!("{}\n{text}", told.render(false, None))).plan;
        assert!(matches!(plan.target, Target::Azure(_)));
    }

    #[test]
    fn a_name_is_a_path_with_or_without_its_ending() {
        for (name, expected) in [
            ("x", "x.toml"),
            ("x.toml", "x.toml"),
            ("a/b", "a/b.toml"),
            ("../a b", "../a b.toml"),
            ("v1.2", "v1.2.toml"),
            (".hidden", ".hidden.toml"),
            ("./-x", "./-x.toml"),
            ("über", "über.toml"),
        ] {
            assert_eq!(path(name).as_deref(), Ok(expected), "{name}");
        }
        for name in ["", "-", "-x", "--kind", ".", "..", "a/", "a/..", ".toml", "a/.toml", "a\nb", "a\u{9b}b"]
        {
            let told = path(name).expect_err(name);
            assert!(told.contains("give a name such as") && !told.chars().any(char::is_control), "{told}");
        }
    }

    #[test]
    fn a_shell_takes_a_word_as_it_was_meant() {
        assert_eq!(shell_word("a/b-1.toml"), "a/b-1.toml");
        assert_eq!(shell_word("my fleet.toml"), "'my fleet.toml'");
        assert_eq!(shell_word("it's.toml"), r"'it'\''s.toml'");
    }
}
