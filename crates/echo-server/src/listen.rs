//! Listening sockets and accepting connections.

pub(crate) mod accept;
pub(crate) mod bind;
pub(crate) mod socket_options;
