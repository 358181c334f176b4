//! Histories that have failed, and why. They are played first in each run.

/// How the worker sends and receives, a seed, and what was wrong.
pub(super) const REGRESSIONS: &[(&str, u64, &str)] = &[];
