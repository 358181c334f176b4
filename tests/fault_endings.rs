//! Injected faults that end the echo of a connection, or refuse it: stall, reset, close, refuse.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use echo_test_support::{
    DEADLINE, RESETS_ON_WINE, connect, connect_with_little_room, exchange, is_silent, is_timeout,
    message, on_every_engine, read_to_end, reset, skipped, skipped_on_wine, skipped_without_stop,
    start,
};

on_every_engine! {
    a_stalled_connection_echoes_up_to_the_offset_and_reads_no_more,
    a_stalled_connection_ends_by_a_reset_or_the_idle_timeout,
    a_reset_comes_after_the_given_number_of_bytes,
    a_reset_waits_for_a_peer_that_reads_late,
    a_close_comes_after_the_given_number_of_bytes_and_is_clean,
    an_echo_of_no_bytes_ends_even_if_the_peer_is_silent,
    the_refused_share_is_reset_and_the_seed_decides_which,
    a_stop_does_not_abort_stalled_connections,
    the_drain_deadline_aborts_a_connection_that_waits_to_be_reset,
}

fn a_stalled_connection_echoes_up_to_the_offset_and_reads_no_more(engine: &str) {
    let server = start!(engine, &["--stall-after", "5"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, world").unwrap();
    let mut echo = [0; 5];
    (&stream).read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"Hello");
    assert!(is_silent(&stream));
    // The peer's window closes: a write blocks in the end.
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let blocked = std::iter::repeat_with(|| (&stream).write(&[1; 64 * 1024])).take(10_000);
    let error = blocked.filter_map(Result::err).next().expect("it does not take 640 MB");
    assert!(is_timeout(&error), "{error}");
    // Each connection has its own five bytes.
    (&connect(server.address)).write_all(b"others").unwrap();
    exchange(&connect(server.address), b"five!");
}

fn a_stalled_connection_ends_by_a_reset_or_the_idle_timeout(engine: &str) {
    let server = start!(engine, &["--stall-after", "0", "-v"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert!(is_silent(&stream), "FIN alone does not end it");
    // Linux, below Wine, keeps what was received before the reset, so that a peek does not find it.
    if !skipped_on_wine(
        "the reset of a stalled connection",
        "a reset is found after the bytes before it",
    ) {
        reset(stream);
        server.process.wait_for_stderr("0 bytes echoed: lost\n").unwrap();
    }
    drop(server);

    let server = start!(engine, &["--stall-after", "0", "--idle-timeout", "300ms", "-v"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello").unwrap();
    assert_eq!(read_to_end(&stream), b"", "FIN, not RST");
    drop(stream);
    server.process.wait_for_stderr("0 bytes echoed: idle\n").unwrap();
}

fn a_reset_comes_after_the_given_number_of_bytes(engine: &str) {
    if skipped_on_wine("a_reset_comes_after_the_given_number_of_bytes", RESETS_ON_WINE) {
        return;
    }
    let server = start!(engine, &["--reset-after", "5", "-v"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, world").unwrap();
    let mut echo = Vec::new();
    let error = (&stream).read_to_end(&mut echo).unwrap_err();
    assert_eq!((error.kind(), &*echo), (ErrorKind::ConnectionReset, &b"Hello"[..]));
    server.process.wait_for_stderr("5 bytes echoed: fault\n").unwrap();
}

fn a_reset_waits_for_a_peer_that_reads_late(engine: &str) {
    if !cfg!(target_os = "linux") {
        return skipped("a reset behind many bytes", "only Linux reports what is acknowledged");
    }
    let server = start!(engine, &["--reset-after", "300k"]);
    let stream = connect_with_little_room(server.address);
    let message = message(500 * 1024);
    let sender = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // It fails with the reset.
            let _ = (&sender).write_all(&message);
        });
        let mut echo = vec![0; 300 * 1024];
        (&stream).read_exact(&mut echo).unwrap();
        assert!(echo == message[..300 * 1024]);
        assert!((&stream).read(&mut [0]).is_ok_and(|count| count == 0) || is_broken(&stream));
    });
}

/// Whether writing to the connection fails.
fn is_broken(mut stream: &TcpStream) -> bool {
    stream.write(b"?").is_err()
}

fn a_close_comes_after_the_given_number_of_bytes_and_is_clean(engine: &str) {
    let server = start!(engine, &["--close-after", "100k", "-v"]);
    let stream = connect(server.address);
    let message = message(1_000_000);
    std::thread::scope(|scope| {
        // More than is echoed, which must not cause a reset.
        scope.spawn(|| (&stream).write_all(&message));
        let echo = read_to_end(&stream);
        assert!(echo == message[..100 * 1024], "{}", echo.len());
    });
    drop(stream);
    server.process.wait_for_stderr("102400 bytes echoed: fault\n").unwrap();
}

fn an_echo_of_no_bytes_ends_even_if_the_peer_is_silent(engine: &str) {
    let closes = start!(engine, &["--close-after", "0"]);
    assert_eq!(read_to_end(&connect(closes.address)), b"");
    if skipped_on_wine("a reset before the first byte", RESETS_ON_WINE) {
        return;
    }
    let resets = start!(engine, &["--reset-after", "0"]);
    // The reset may be reported as early as by connect.
    let error = TcpStream::connect(resets.address).and_then(|mut stream| {
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.read(&mut [0])
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// Which of twenty connections are served.
fn served(engine: &str, seed: &str) -> Vec<bool> {
    let server = start!(engine, &["--refuse", "50%", "--seed", seed]);
    let served = (0..20).map(|_| {
        // The reset may be reported as early as by connect.
        let exchanged = TcpStream::connect(server.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.write_all(b"?")?;
            stream.read_exact(&mut [0])
        });
        exchanged.map_err(|error| assert_eq!(error.kind(), ErrorKind::ConnectionReset)).is_ok()
    });
    let served = served.collect();
    server.process.wait_for_stderr("refused by an injected fault (--refuse)").unwrap();
    served
}

fn the_refused_share_is_reset_and_the_seed_decides_which(engine: &str) {
    let first = served(engine, "1");
    assert!(first.contains(&true) && first.contains(&false));
    assert_eq!(first, served("threads", "1"));
    assert_ne!(first, served(engine, "2"));
}

fn a_stop_does_not_abort_stalled_connections(engine: &str) {
    if skipped_without_stop("a_stop_does_not_abort_stalled_connections") {
        return;
    }
    let server = start!(engine, &["--stall-after", "5"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, world").unwrap();
    (&stream).read_exact(&mut [0; 5]).unwrap();
    assert!(is_silent(&stream));
    server.process.terminate();
    assert_eq!(read_to_end(&stream), b"", "FIN, not RST");
    drop(stream);
    let finished = server.process.wait().unwrap();
    assert!(finished.status.success(), "{finished:?}");
}

fn the_drain_deadline_aborts_a_connection_that_waits_to_be_reset(engine: &str) {
    if skipped_without_stop("the_drain_deadline_aborts_a_connection_that_waits_to_be_reset") {
        return;
    }
    if !cfg!(target_os = "linux") {
        return skipped("a reset behind many bytes", "only Linux reports what is acknowledged");
    }
    let server = start!(engine, &["--reset-after", "12000", "--drain-timeout", "300ms"]);
    let stream = connect_with_little_room(server.address);
    (&stream).write_all(&message(12_000)).unwrap();
    // The peer's buffer is full, so the rest waits.
    assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    server.process.terminate();
    let finished = server.process.wait().unwrap();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("1 connection aborted"), "{finished:?}");
}
