//! The conditions of a benchmark: machine, commit, date and command.

use std::process::Command;

use echo_client::run::Run;

use super::pinning::Pinning;

/// Describes the conditions as a Markdown list. The machine and the date are those of the first run. `network`
/// says more about the network.
pub(super) fn describe(first: &Run, pinning: Pinning, network: &str) -> String {
    let machine = &first.machine;
    let control = machine.congestion_control.as_deref().unwrap_or("unknown");
    // The run reports only the processors that the load was allowed to use.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "- machine: {}, {processors} processors, {} {}; {}\n- TCP congestion control: {control}{network}\n- commit: {}\n- date: {}\n- command: `{}`\n",
        machine.cpu,
        machine.os,
        machine.kernel,
        pinning.description(),
        commit(),
        first.started,
        command_line(),
    )
}

/// The short hash of the commit, with `-dirty` if there are uncommitted changes.
fn commit() -> String {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match git {
        Ok(git) if git.status.success() => String::from_utf8_lossy(&git.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn command_line() -> String {
    let quoted = |argument: String| match argument.contains(char::is_whitespace) {
        true => format!("'{argument}'"),
        false => argument,
    };
    let arguments = std::env::args().skip(1).map(quoted);
    ["cargo".to_owned(), "xtask".to_owned()]
        .into_iter()
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}
