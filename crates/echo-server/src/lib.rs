//! A TCP echo server (RFC 862): it returns every byte it receives, unchanged and in order.
//!
//! ```no_run
//! use echo_server::{Config, Event, Server};
//!
//! let server = Server::bind(Config { port: 0, ..Config::default() })?;
//! println!("echoing on {:?}", server.local_addrs());
//! let handle = server.handle(); // stops the server, from any thread
//! std::thread::spawn(move || handle.stop());
//! let summary = server.run(|event| {
//!     if let Event::Connected { peer } = event {
//!         eprintln!("connected: {peer}");
//!     }
//! })?;
//! println!("{} bytes echoed", summary.bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is a *pure* echo: nothing is ever added to the stream, no greeting and no error text, so any
//! program that can speak TCP is a client. The library never prints, never exits the process and
//! never reads the environment; it reports what happens as [`Event`]s.

// Some of it is not used by the event loops.
#![cfg_attr(simulation, allow(dead_code, unused_imports, clippy::useless_conversion))]

mod admission;
mod config;
mod engine;
mod error;
mod events;
mod faults;
mod linger;
mod listen;
#[cfg(all(target_os = "linux", not(simulation)))]
mod pipe;
#[cfg(not(any(target_os = "linux", simulation)))]
mod pipe_absent;
mod platform;
mod progress;
#[cfg(not(simulation))]
mod server;
mod service;
mod session;
mod shutdown;
mod stats;
mod sync;
mod system;

pub use config::{Config, Engine, UnknownEngine};
pub use echo_proto::{FrameError, Framing};
#[cfg(simulation)]
pub use engine::simulation;
pub use error::BindError;
pub use events::{CloseReason, Event, RefuseReason};
pub use faults::{Delay, Faults, Probability};
#[cfg(not(simulation))]
pub use server::Server;
pub use shutdown::Handle;
pub use stats::{Counters, Summary};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
