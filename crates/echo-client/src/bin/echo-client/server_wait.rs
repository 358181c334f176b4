//! Waiting for a server that does not listen yet.

use std::thread;
use std::time::{Duration, Instant};

use echo_client::Error;

use crate::print::print_note;

/// Pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Calls `connect` again while the server cannot be reached, until `limit` has passed or `is_over`.
/// Reports on stderr what it waits for.
///
/// # Errors
///
/// The last attempt's. Without a limit there is only one.
pub(crate) fn wait_for_server<T>(
    limit: Option<Duration>,
    is_over: impl Fn() -> bool,
    mut connect: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    let started = Instant::now();
    let mut reported = String::new();
    loop {
        let error = match connect() {
            Err(error @ (Error::Resolve { .. } | Error::Connect { .. })) => error,
            result => return result,
        };
        if limit.is_none_or(|limit| started.elapsed() + RETRY_INTERVAL > limit) || is_over() {
            return Err(error);
        }
        let reason = error.to_string();
        if reason != reported {
            print_note(&format!("waiting for the server: {reason}"));
            reported = reason;
        }
        thread::sleep(RETRY_INTERVAL);
    }
}
