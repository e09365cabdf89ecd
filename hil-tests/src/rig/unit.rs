//! The node's process as its systemd unit starts it: the unit's environment, and few rights.

use std::path::Path;
use tokio::process::Command;

/// Runs a program as nobody, of no group, without any capability.
pub(super) fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
    command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(program);
    command
}

/// The environment from the node's systemd unit, so that the rig runs the node as a box does.
pub(super) fn environment_of_unit() -> impl Iterator<Item = (&'static str, &'static str)> {
    const UNIT: &str = include_str!("../../../edge/node/noderr-node.service");
    UNIT.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}
