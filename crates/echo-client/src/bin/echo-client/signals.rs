//! Signal handling on a separate thread.

use std::io;

#[cfg(unix)]
pub(crate) use signal_hook::consts::SIGQUIT;
pub(crate) use signal_hook::consts::{SIGINT, SIGTERM};

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
#[cfg(not(unix))]
pub(crate) const SIGQUIT: i32 = -1;

/// Signals cannot be waited for here: checks a flag ten times a second.
#[cfg(not(unix))]
pub(crate) fn on_each_signal(mut act: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    let pending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&pending))?;
    }
    let look = move || {
        loop {
            std::thread::sleep(std::time::Duration::from_millis(100));
            if pending.swap(false, Ordering::Relaxed) {
                act(SIGINT);
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(look)?;
    Ok(())
}
