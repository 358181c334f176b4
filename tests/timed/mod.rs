//! Tests of times, on machines that may be busy.

use std::net::SocketAddr;
use std::panic::{RefUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use echo_test_support::peers::{echo, serve_each};
use echo_test_support::{connect, exchange, skipped};

/// Runs a timing test. Timing tests disturb each other, so only one runs at a time. Other load on
/// the machine only makes things late, so there are five attempts: a wrong program fails all of
/// them. On a machine too busy to keep time, the test is skipped.
pub(crate) fn timed(test: impl Fn() + RefUnwindSafe) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failure = None;
    for _ in 0..5 {
        match catch_unwind(&test) {
            Ok(()) => return,
            Err(panic) => failure = Some(panic),
        }
    }
    if let Err(late) = keep_time() {
        return skipped("a test of time", &format!("this machine is busy, {late:?} late"));
    }
    resume_unwind(failure.expect("it has failed each time"));
}

/// Whether a simple client measures 5 ms for a server that takes 5 ms, most of the time; otherwise,
/// how late it was.
fn keep_time() -> Result<(), Duration> {
    let time = Duration::from_millis(5);
    let port = serve_each(move |_, stream| echo(stream, |_| wait_until(Instant::now() + time)));
    let stream = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut late: Vec<_> = (0..200)
        .map(|_| {
            let started = Instant::now();
            exchange(&stream, b"how long?");
            started.elapsed().saturating_sub(time)
        })
        .collect();
    late.sort_unstable();
    let most = late[late.len() * 9 / 10];
    if most <= time / 50 { Ok(()) } else { Err(most) }
}

/// Waits with microsecond precision. A sleep may be late by any amount.
pub(crate) fn wait_until(time: Instant) {
    while let Some(left) = time.checked_duration_since(Instant::now()) {
        if left > Duration::from_micros(500) {
            thread::sleep(left - Duration::from_micros(500));
        }
    }
}
