//! Networks of one test alone, in which every port is free and none needs a privilege.

use std::process::Command;
use std::sync::OnceLock;

/// Where the programs are that take a command into another network.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command in a network of its own, whose loopback interface is up; it replaces itself by the arguments that follow.
pub fn own_network() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "--", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
    command.env_clear().env("PATH", PATH);
    command
}

/// Whether a command may have a network of its own here, and another join it.
pub fn is_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        let succeeds = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let permitted = succeeds(own_network().arg("true"))
            && succeeds(Command::new("nsenter").env("PATH", PATH).arg("--version"));
        if !permitted {
            super::say("note: commands may not have networks of their own here; tests at ports 8883 and 443 are skipped");
        }
        permitted
    })
}
