//! The command lines of `cargo xtask`.
#![cfg(target_os = "linux")]

use echo_test_support::{Process, command, skipped};

#[test]
fn a_congestion_control_that_the_kernel_lacks_is_refused_before_anything_is_built() {
    let mut bench = command(env!("CARGO_BIN_EXE_xtask"));
    bench.args(["bench", "--congestion-control", "turtle"]).env("CARGO", "/nothing/is/built");
    let refused = Process::run(&mut bench, b"").unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let no_namespace = ["needs a network", "cannot use loopback", "cannot start unshare"];
    if no_namespace.iter().any(|it| refused.stderr.contains(it)) {
        return skipped("a congestion control in a namespace", &refused.stderr);
    }
    assert!(refused.stderr.contains("\"turtle\" cannot be set\navailable: "), "{refused:?}");
}
