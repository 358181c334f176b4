//! systemd: socket activation, and notifications of readiness. Without systemd these functions do nothing.

use std::net::TcpListener;

/// The listening sockets passed by socket activation (`LISTEN_FDS`, sd_listen_fds(3)); none if they are meant for
/// another process. They are already bound, so a port below 1024 needs no privilege here.
///
/// # Errors
///
/// One of them is not a listening TCP socket.
#[cfg(unix)]
pub(crate) fn sockets() -> anyhow::Result<Vec<TcpListener>> {
    use anyhow::Context;

    let mut activated = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..activated.len() {
        let listener = activated.take_tcp_listener(index);
        let listener = listener.with_context(|| {
            format!("socket {index} of LISTEN_FDS is not a listening TCP socket")
        })?;
        listeners.extend(listener);
    }
    Ok(listeners)
}

/// There is no socket activation.
#[cfg(not(unix))]
pub(crate) fn sockets() -> anyhow::Result<Vec<TcpListener>> {
    Ok(Vec::new())
}

/// Reports that the server is accepting connections (`READY=1`, sd_notify(3)).
pub(crate) fn ready() {
    notify(true);
}

/// Reports that the server is stopping (`STOPPING=1`).
pub(crate) fn stopping() {
    notify(false);
}

#[cfg(unix)]
fn notify(is_ready: bool) {
    use sd_notify::NotifyState::{Ready, Stopping};

    // Fails if the service manager has closed its socket. The server runs without it.
    let _ = sd_notify::notify(&[if is_ready { Ready } else { Stopping }]);
}

#[cfg(not(unix))]
fn notify(_: bool) {}
