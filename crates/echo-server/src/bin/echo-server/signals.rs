//! SIGINT, SIGTERM and SIGHUP stop the server, and a second one aborts it; SIGUSR1 prints the counters. On Windows,
//! every console event stops it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use echo_server::{Counters, Handle, Server};
#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::diagnostics::Diagnostics;
use crate::systemd;

/// Starts handling signals. The returned flag is set when a signal has stopped the server.
pub(crate) fn watch(server: &Server, diagnostics: Arc<Diagnostics>) -> io::Result<Arc<AtomicBool>> {
    let signalled = Arc::new(AtomicBool::new(false));
    let mut handler = SignalHandler {
        handle: server.handle(),
        counters: server.counters(),
        diagnostics,
        signalled: Arc::clone(&signalled),
    };
    on_each_signal(move |request| handler.handle(request))?;
    Ok(signalled)
}

/// What a signal asks for.
enum Request {
    Stop,
    #[cfg_attr(windows, expect(dead_code, reason = "every console event means to stop"))]
    Counters,
}

struct SignalHandler {
    handle: Handle,
    counters: Counters,
    diagnostics: Arc<Diagnostics>,
    signalled: Arc<AtomicBool>,
}

impl SignalHandler {
    fn handle(&mut self, request: Request) {
        if let Request::Counters = request {
            return self.diagnostics.counters(&self.counters.read());
        }
        if self.signalled.swap(true, Ordering::Relaxed) {
            self.handle.abort();
        } else {
            systemd::stopping();
            self.handle.stop();
        }
    }
}

/// Calls `act` for every signal, on a separate thread.
#[cfg(unix)]
fn on_each_signal(mut act: impl FnMut(Request) + Send + 'static) -> io::Result<()> {
    let mut registered = vec![SIGINT, SIGTERM, SIGUSR1];
    if !is_ignored(SIGHUP) {
        registered.push(SIGHUP);
    }
    let mut signals = signal_hook::iterator::Signals::new(registered)?;
    let wait = move || {
        for signal in signals.forever() {
            act(if signal == SIGUSR1 { Request::Counters } else { Request::Stop });
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Whether the process was started with a signal ignored, as by nohup(1): it must stay ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, sigaction(2) only writes the current one to its last argument, which is
    // valid for writes and for which every bit pattern is a value.
    #[allow(unsafe_code, reason = "std and signal-hook have no such query")]
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Ctrl-C, Ctrl-Break, and the end of the console or the session stop the server. See [`echo_console`].
#[cfg(windows)]
fn on_each_signal(mut act: impl FnMut(Request) + Send + 'static) -> io::Result<()> {
    echo_console::on_each_event(move || act(Request::Stop))
}
