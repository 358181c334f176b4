//! A TCP echo client that checks everything: it reads while it sends, continues until as many bytes
//! have come back as were sent, and compares each of them.
//!
//! ```no_run
//! use echo_client::{Config, Connection};
//!
//! let mut connection = Connection::open(&Config::default())?;
//! let mut reply = Vec::new();
//! let bytes = connection.echo(&b"Hello, world"[..], &mut reply)?;
//! assert_eq!((bytes, reply.as_slice()), (12, &b"Hello, world"[..]));
//! # Ok::<(), echo_client::Error>(())
//! ```
//!
//! It works with any echo server (RFC 862). The library never prints, never exits the process and
//! never reads the environment.

// Its modules belong to `simulate_bench.rs` then.
#![cfg(not(simulation))]

pub mod bench;
mod client;
pub mod compare;
mod config;
mod connect;
pub mod distribution;
mod error;
mod exchange;
pub mod gates;
pub mod hdr_log;
pub mod metric;
pub mod percentile;
pub mod ping;
mod pipe;
mod platform;
pub mod rate_search;
mod rearm;
pub mod report;
pub mod run;
pub mod run_file;
#[cfg(test)]
mod schema;
mod system;
pub mod units;
mod verified_stream;

pub use client::Connection;
pub use config::{Config, IpVersion};
pub use echo_proto::{FrameError, Framing};
pub use error::{ConnectFailure, Error};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
