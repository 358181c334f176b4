//! A TCP echo client that trusts nothing: it reads while it sends, goes on until as many bytes came
//! back as went out, and compares every one of them.
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
//! It works against any echo server (RFC 862). The library never prints, never exits the process
//! and never reads the environment.

pub mod bench;
mod client;
mod config;
pub mod distribution;
mod error;
mod exchange;
pub mod gates;
pub mod hdr_log;
pub mod metric;
pub mod ping;
mod pipe;
pub mod report;
pub mod run;
mod system;
mod verified_stream;

pub use client::Connection;
pub use config::Config;
pub use echo_proto::{FrameError, Framing};
pub use error::{ConnectFailure, Error};
