//! Runs the load loop of `bench` over a simulated system. `cargo xtask simulate` builds it as it must be: with
//! `--cfg simulation`.
//!
//! It is an example made of the modules of the library, and does not use the library: the simulated system is not
//! published, and a published package cannot depend on it except for tests and examples.

// Some of it is not used by the load loop.
#![cfg_attr(simulation, allow(dead_code, unused_imports, unreachable_pub, missing_docs))]

#[cfg(simulation)]
pub mod bench;
#[cfg(simulation)]
pub mod compare;
#[cfg(simulation)]
pub mod config;
#[cfg(simulation)]
pub mod connect;
#[cfg(simulation)]
pub mod distribution;
#[cfg(simulation)]
pub mod error;
#[cfg(simulation)]
pub mod gates;
#[cfg(simulation)]
pub mod hdr_log;
#[cfg(simulation)]
pub mod metric;
#[cfg(simulation)]
pub mod percentile;
#[cfg(simulation)]
pub mod platform;
#[cfg(simulation)]
pub mod rate_search;
#[cfg(simulation)]
pub mod rearm;
#[cfg(simulation)]
pub mod report;
#[cfg(simulation)]
pub mod run;
#[cfg(simulation)]
pub mod run_file;
#[cfg(simulation)]
pub mod system;
#[cfg(simulation)]
pub mod units;
#[cfg(simulation)]
pub mod verified_stream;

#[cfg(simulation)]
pub use config::{Config, IpVersion};
#[cfg(simulation)]
pub use echo_proto::{FrameError, Framing};
#[cfg(simulation)]
pub use error::{ConnectFailure, Error};

#[cfg(simulation)]
fn main() -> std::process::ExitCode {
    bench::simulation::main()
}

#[cfg(not(simulation))]
fn main() {}
