//! What threads share. With `--cfg loom`, loom's types take the place of std's and run every interleaving that the memory
//! model allows (CONTRIBUTING.md, "Interleavings").

#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
