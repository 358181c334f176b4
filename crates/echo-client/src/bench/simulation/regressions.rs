//! Histories that have failed, and why. They are played first in each run.

/// How the worker sends and receives, a seed, and what was wrong.
pub(super) const REGRESSIONS: &[(&str, u64, &str)] = &[
    ("bench-readiness", 0, "messages were sent before the run, after a spurious event"),
    (
        "bench-readiness",
        45,
        "a timeout, although the echo had arrived while the program was suspended",
    ),
    ("bench-readiness", 347, "a connect timeout, although the connection was established in time"),
    ("bench-readiness", 301_257, "a message was started in the past, and timed out at once"),
    ("bench-readiness", 164, "an echo that had arrived was lost with a second stop"),
];
