//! From a host and a port to connections.

pub(crate) mod accept;
pub(crate) mod bind;
pub(crate) mod socket_options;
