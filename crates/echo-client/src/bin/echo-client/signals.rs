//! Signal handling on a separate thread.

use std::io;

#[cfg(unix)]
pub(crate) use signal_hook::consts::SIGQUIT;
#[cfg(unix)]
use signal_hook::consts::{SIGINT, SIGTERM};

/// Exit code after a second interrupt: 128 plus the number of SIGINT, as shells have it.
pub(crate) const INTERRUPTED: i32 = 130;

/// Calls `act` for each SIGINT, SIGTERM and SIGQUIT, on a thread of its own.
#[cfg(unix)]
pub(crate) fn on_each_signal(mut act: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGQUIT])?;
    let wait = move || signals.forever().for_each(&mut act);
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// There is no such signal.
#[cfg(windows)]
pub(crate) const SIGQUIT: i32 = -1;

#[cfg(windows)]
const SIGINT: i32 = 2;

/// Calls `act` for Ctrl-C, Ctrl-Break, and the end of the console or the session, as for SIGINT. See
/// [`echo_console`].
#[cfg(windows)]
pub(crate) fn on_each_signal(mut act: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    echo_console::on_each_event(move || act(SIGINT))
}
