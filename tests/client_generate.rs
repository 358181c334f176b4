//! `echo-client --generate`: the man page and completions.

mod generate;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

use generate::{
    assert_closed_pipe_is_quiet, assert_complete, assert_completed,
    assert_generated_for_every_shell, generated, rendered,
};

#[test]
fn the_page_has_the_options_of_all_commands_and_no_groff_warning() {
    let Some(page) = rendered("the man page of echo-client") else { return };
    let subcommands = ["pipe", "ping", "bench", "report"];
    let helps = subcommands.map(|sub| [sub, "--help"]);
    let helps: Vec<&[&str]> =
        [&["--help"][..]].into_iter().chain(helps.iter().map(|help| &help[..])).collect();
    assert_complete(&page, &helps);
    for sub in subcommands {
        let heading = format!("   echo-client {sub}");
        assert!(page.lines().any(|line| line == heading), "{page}");
    }
    // Values, defaults, possible values with their help, exceptions of variables, examples.
    for text in [
        "-c, --connections N\n",
        "Concurrent connections [default: 1]\n",
        "jsonl       One object per line",
        "ECHO_BENCH_ENGINE\n",
        "130    ping or bench was interrupted twice",
        "echo-client 'Grüß Gott' --host ::1\n",
        "--reconnect[=BOOL]\n",
    ] {
        assert!(page.contains(text), "no {text:?} in:\n{page}");
    }
}

#[test]
fn the_options_of_every_command_are_listed_once() {
    let page = generated("man");
    assert_eq!(page.matches(r"\fB\-\-connect\-timeout\fR").count(), 1, "{page}");
    assert_eq!(page.matches(r"\fB\-\-fail\-if\fR").count(), 3, "ping, bench and report: {page}");
}

#[test]
fn it_needs_no_server_and_prints_for_every_shell() {
    assert_generated_for_every_shell("echo-client");
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    assert_closed_pipe_is_quiet();
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_completed("bash", "echo-client be", &["bench"]);
    assert_completed("bash", "echo-client bench --find", &["--find-rate"]);
    assert_completed("bash", "echo-client bench --engine ", &["uring", "readiness", "auto"]);
}

#[test]
fn zsh_completes_commands_options_and_values() {
    assert_completed("zsh", "echo-client ", &["bench", "pipe", "ping", "report"]);
    assert_completed("zsh", "echo-client bench --re", &["--reconnect-every", "--repeat"]);
    assert_completed("zsh", "echo-client bench --engine ", &["uring", "readiness", "auto"]);
}

#[test]
fn fish_completes_commands_options_and_values() {
    assert_completed("fish", "echo-client be", &["bench"]);
    assert_completed("fish", "echo-client bench --find", &["--find-rate"]);
    assert_completed("fish", "echo-client bench --engine ", &["uring", "readiness", "auto"]);
}
