//! `muster schema`: the scenario format for editors.

use super::{exit, terminal};
use crate::document::json_schema;
use crate::run::tell;
use crate::scenario::keys;

/// Prints the JSON Schema of scenario files.
pub(super) fn run() -> u8 {
    match terminal::write_out(text().as_bytes()) {
        Ok(()) => exit::PASS,
        Err(error) => {
            tell(format_args!("error: cannot write the schema: {error}"));
            exit::FAILED
        }
    }
}

fn text() -> String {
    format!("{:#}\n", json_schema::schema(&keys::SCENARIO, "Muster scenario"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_schema_is_what_the_command_prints() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/muster.schema.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        // Not assert_eq: two long texts would hide the remedy.
        assert!(
            committed == super::text(),
            "the keys have changed: cargo run -- schema > scenarios/muster.schema.json"
        );
    }
}
