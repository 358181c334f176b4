//! SIGINT and SIGTERM: the first stops the server, the second cuts what is left.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use echo_server::Handle;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Stops the server on a signal. The flag that it returns is set when one has come.
pub(crate) fn stop_on_signal(handle: Handle) -> io::Result<Arc<AtomicBool>> {
    let signalled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&signalled);
    let mut seen = 0;
    on_each_signal(move || {
        flag.store(true, Ordering::Relaxed);
        seen += 1;
        if seen == 1 { handle.stop() } else { handle.cut() }
    })?;
    Ok(signalled)
}

/// Calls `act` for every signal, on a thread of its own.
#[cfg(unix)]
fn on_each_signal(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let wait = move || signals.forever().for_each(|_| act());
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Where signals cannot be waited for, looks for them ten times a second.
#[cfg(not(unix))]
fn on_each_signal(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let pending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&pending))?;
    }
    let look = move || {
        loop {
            thread::sleep(std::time::Duration::from_millis(100));
            if pending.swap(false, Ordering::Relaxed) {
                act();
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(look)?;
    Ok(())
}
