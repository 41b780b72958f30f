//! `muster man`: the manual, from the same words as `--help`.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_mangen::Man;

use super::{Cli, exit, terminal};
use crate::run::tell;

/// Arguments of `muster man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  muster man | man -l -
  muster man --dir ~/.local/share/man/man1")]
pub(super) struct Arguments {
    /// Write muster.1 and a page for each command into this folder, over those of another version
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints muster(1), or writes all pages.
pub(super) fn run(arguments: &Arguments) -> u8 {
    let pages = match pages() {
        Ok(pages) => pages,
        Err(error) => return failed(format_args!("cannot write the manual: {error}")),
    };
    let Some(dir) = &arguments.dir else {
        return pages.first().map_or(exit::FAILED, |(_, page)| terminal::print(page));
    };
    if let Err(error) = std::fs::create_dir_all(dir) {
        return failed(format_args!("cannot create {}: {error}", dir.display()));
    }
    for (name, page) in &pages {
        let path = dir.join(name);
        if let Err(error) = std::fs::write(&path, page) {
            return failed(format_args!("cannot write {}: {error}", path.display()));
        }
    }
    exit::PASS
}

fn failed(text: std::fmt::Arguments<'_>) -> u8 {
    tell(format_args!("error: {text}"));
    exit::FAILED
}

/// File names and pages, that of the whole program first.
fn pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    // Each page is the help of its command.
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let commands: Vec<_> =
        program.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    std::iter::once(program).chain(commands).map(page).collect()
}

fn page(command: clap::Command) -> std::io::Result<(String, Vec<u8>)> {
    let (after, has_commands) =
        (command.get_after_help().map(ToString::to_string), command.has_subcommands());
    let man = Man::new(command);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    } else {
        page.extend_from_slice(b".SH EXIT STATUS\nSee muster(1).\n");
    }
    page.extend_from_slice(after.map(|after| section(&after)).unwrap_or_default().as_bytes());
    man.render_version_section(&mut page)?;
    Ok((man.get_filename(), page))
}

/// What stands after the options in `--help`, as a section of the manual: lines and columns as they are, exit codes as a
/// list.
fn section(after: &str) -> String {
    let (heading, body) = match after.split_once('\n') {
        Some(("Examples:", body)) => ("EXAMPLES", body),
        Some(("Exit codes:", body)) => ("EXIT STATUS", body),
        _ => ("NOTES", after),
    };
    let mut text = format!(".SH {heading}\n");
    if heading == "EXIT STATUS" {
        for (code, meaning) in body.lines().filter_map(|line| line.trim().split_once("  ")) {
            text.push_str(&format!(".TP\n.B {code}\n{}\n", escape(meaning)));
        }
        return text;
    }
    text.push_str(".nf\n");
    for line in body.lines() {
        text.push_str(&escape(line));
        text.push('\n');
    }
    text.push_str(".fi\n");
    text
}

/// A line for roff: no request, and hyphens that can be copied into a shell.
fn escape(line: &str) -> String {
    let plain = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    format!("\\&{plain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_that_help_shows() {
        let pages = pages().expect("pages");
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "muster.1");
        for command in Cli::command().get_subcommands() {
            let page = format!("muster-{}.1", command.get_name());
            assert_eq!(names.contains(&page.as_str()), !command.is_hide_set(), "{page}");
        }
        let program = String::from_utf8(pages[0].1.clone()).expect("text");
        assert!(program.contains(".SH EXIT STATUS\n.TP\n.B 0\n\\&pass\n"), "{program}");
        assert!(program.contains(".B 130\n"), "{program}");
    }

    #[test]
    fn lines_of_a_page_are_no_requests() {
        let text = section("Examples:\n  a 'b' -c \\\n.x\n'y");
        assert_eq!(text, ".SH EXAMPLES\n.nf\n\\&  a \\(aqb\\(aq \\-c \\e\n\\&.x\n\\&\\(aqy\n.fi\n");
        assert!(section("Something else.").starts_with(".SH NOTES\n"));
    }
}
