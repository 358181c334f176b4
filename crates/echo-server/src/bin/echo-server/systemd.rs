//! What systemd and the program say to each other: sockets handed over, and being ready. Without systemd
//! nothing here does anything.

use std::net::TcpListener;

use anyhow::Context;

/// The listening sockets that were handed over (`LISTEN_FDS`, sd_listen_fds(3)); none if they are not
/// meant for this process. Whoever hands them over has bound them, so a port below 1024 takes no
/// privilege of ours.
///
/// # Errors
///
/// One of them is no listening TCP socket.
#[cfg(unix)]
pub(crate) fn sockets() -> anyhow::Result<Vec<TcpListener>> {
    let mut handed_over = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..handed_over.len() {
        let listener = handed_over.take_tcp_listener(index);
        let listener = listener.with_context(|| {
            format!("socket {index} that was handed over (LISTEN_FDS) does not listen for TCP")
        })?;
        listeners.extend(listener);
    }
    Ok(listeners)
}

/// Nobody hands over sockets.
#[cfg(not(unix))]
pub(crate) fn sockets() -> anyhow::Result<Vec<TcpListener>> {
    Ok(Vec::new())
}

/// Connections are accepted from now on (`READY=1`, sd_notify(3)).
pub(crate) fn ready() {
    notify(true);
}

/// The server was told to stop and is at it (`STOPPING=1`).
pub(crate) fn stopping() {
    notify(false);
}

#[cfg(unix)]
fn notify(is_ready: bool) {
    use sd_notify::NotifyState::{Ready, Stopping};

    // Where nobody listens to it, nobody misses it.
    let _ = sd_notify::notify(&[if is_ready { Ready } else { Stopping }]);
}

#[cfg(not(unix))]
fn notify(_: bool) {}
