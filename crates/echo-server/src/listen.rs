//! Listening sockets and accepting connections.

pub(crate) mod accept;
mod accept_error;
#[cfg(not(simulation))]
pub(crate) mod bind;
pub(crate) mod socket_options;
