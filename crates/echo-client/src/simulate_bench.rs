//! Runs the load loop of `bench` over a simulated system. `cargo xtask simulate` builds it as it must be: with
//! `--cfg simulation`.
//!
//! It is an example made of the modules of the library, and does not use the library: the simulated system is not
//! published, and a published package cannot depend on it except for tests and examples.

// Some of it is not used by the load loop.
#![cfg_attr(simulation, allow(dead_code, unused_imports, unreachable_pub, missing_docs))]

macro_rules! simulated {
    ($($item:item)*) => { $(#[cfg(simulation)] $item)* };
}

simulated! {
    pub mod bench;
    pub mod compare;
    pub mod config;
    pub mod connect;
    pub mod distribution;
    pub mod error;
    pub mod gates;
    pub mod hdr_log;
    pub mod metric;
    pub mod percentile;
    pub mod platform;
    pub mod rate_search;
    pub mod rearm;
    pub mod report;
    pub mod run;
    pub mod run_file;
    pub mod system;
    pub mod units;
    pub mod verified_stream;

    pub use config::{Config, IpVersion};
    pub use echo_proto::{FrameError, Framing};
    pub use error::{ConnectFailure, Error};

    fn main() -> std::process::ExitCode {
        bench::simulation::main()
    }
}

#[cfg(not(simulation))]
fn main() {}
