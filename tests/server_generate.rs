//! `echo-server --generate`: the man page and completions.

mod generate;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-server");

use generate::{
    assert_closed_pipe_is_quiet, assert_complete, assert_completed,
    assert_generated_for_every_shell, rendered,
};

#[test]
fn the_page_has_all_options_and_no_groff_warning() {
    let Some(page) = rendered("the man page of echo-server") else { return };
    assert_complete(&page, &[&["--help"]]);
    for text in [
        "User Commands",
        "--port PORT\n",
        "Possible values: auto, threads, readiness, uring\n",
        "   Injected faults, to test clients\n",
        "20ms~5ms is a random time",
        "LISTEN_FDS, LISTEN_PID\n",
    ] {
        assert!(page.contains(text), "no {text:?} in:\n{page}");
    }
}

#[test]
fn it_does_not_listen_and_prints_for_every_shell() {
    assert_generated_for_every_shell("echo-server");
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    assert_closed_pipe_is_quiet();
}

#[test]
fn the_shells_complete_options_and_values() {
    for shell in ["bash", "zsh", "fish"] {
        assert_completed(shell, "echo-server --max-f", &["--max-frame"]);
        assert_completed(
            shell,
            "echo-server --engine ",
            &["uring", "threads", "readiness", "auto"],
        );
    }
}
