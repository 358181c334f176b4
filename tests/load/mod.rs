//! Runs of `echo-client bench`, and a server for them.
#![allow(dead_code, reason = "not every test needs all of it")]

use echo_client::run::Run;
use echo_client::run_file::RunFile;
use echo_test_support::peers::{echo, serve_each};
use echo_test_support::{Finished, Process, command};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

/// Runs bench to its end.
pub(crate) fn bench(port: u16, arguments: &[&str]) -> Finished {
    let mut client = command(PROGRAM);
    client.args(["bench", "--port", &port.to_string()]).args(arguments);
    Process::run(&mut client, b"").unwrap()
}

/// The saved run, and the exit code.
pub(crate) fn run(port: u16, arguments: &[&str]) -> (Run, i32) {
    let finished = bench(port, &[arguments, &["--format", "json"]].concat());
    (the_run(&finished.stdout), finished.status.code().unwrap())
}

/// The only run of a file.
pub(crate) fn the_run(json: &str) -> Run {
    let file: RunFile =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"));
    let [run] = file.into_runs().try_into().unwrap();
    run
}

/// A report as one line: it is wrapped at 80 columns.
pub(crate) fn unwrapped(report: &str) -> String {
    report.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A correct server.
#[allow(dead_code, reason = "not every test has one")]
pub(crate) fn echo_server() -> u16 {
    serve_each(|_, stream| echo(stream, |_| {}))
}
