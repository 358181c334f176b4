//! Histories that have failed, and why. They are played first in each run.

/// A poller, a seed, and what was wrong.
pub(super) const REGRESSIONS: &[(&str, u64, &str)] = &[(
    "uring",
    730_443_785_241,
    "a spliced connection with urgent data next was closed as idle after a suspension",
)];
