//! From a host and a port to accepted connections.

pub(crate) mod accept;
pub(crate) mod bind;
pub(crate) mod socket_options;
