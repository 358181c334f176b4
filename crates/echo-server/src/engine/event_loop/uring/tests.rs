//! Cases that the tests of all engines cannot provoke: queues and buffer rings that are too small, short writes,
//! slots that are reused at once.

mod unread;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use echo_proto::Pattern;
use echo_test_support::{connect, read_to_end, skipped};
use socket2::SockRef;

use super::*;
use crate::engine::event_loop::{Event, Interest, Poller};
use crate::{CloseReason, Config};

const TINY: Sizes = Sizes { submissions: 4, completions: 8, buffers: 2, multishot_threshold: 1 };

/// Whether io_uring is not available here; if so, reports `check` as skipped.
fn lacks_uring(check: &str) -> bool {
    let error = probe().err();
    if let Some(error) = &error {
        skipped(check, &error.to_string());
    }
    error.is_some()
}

/// Runs `test` against a server on a ring of these sizes, and returns the server's counters.
fn serve(sizes: Sizes, test: impl FnOnce(SocketAddr)) -> crate::Summary {
    let config = Config { threads: 1, ..Config::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let acceptors = Acceptor::per_group(vec![vec![listener]], &config);
    Service::for_test(&config, |service, shutdown| {
        std::thread::scope(|scope| {
            let server = scope.spawn(|| run_with(sizes, acceptors, shutdown, service).unwrap());
            test(address);
            service.handle.stop();
            server.join().unwrap();
        });
        service.counters.read()
    })
}

#[test]
fn five_hundred_connections_share_four_entries_and_two_buffers() {
    if lacks_uring("a tiny ring") {
        return;
    }
    const CONNECTIONS: usize = 500;
    let counted = serve(TINY, |address| {
        let streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(address)).collect();
        let mut times = Vec::new();
        for round in 0..30 {
            // Enough small messages to change to multishot receives, then some that do not fit into a buffer.
            let size = if round % 10 == 9 { 3 * BUF_SIZE } else { 64 };
            let message = |stream: usize| {
                let mut message = vec![0; size];
                Pattern::new(stream as u64).fill(round, &mut message);
                message
            };
            let started = Instant::now();
            for (number, mut stream) in streams.iter().enumerate() {
                stream.write_all(&message(number)).unwrap();
            }
            for (number, mut stream) in streams.iter().enumerate() {
                let mut echo = vec![0; size];
                stream.read_exact(&mut echo).unwrap();
                assert!(echo == message(number), "connection {number}, round {round}");
            }
            times.push(started.elapsed());
        }
        times.sort_unstable();
        // The machine may be busy, but not in most rounds.
        assert!(times[15] < Duration::from_secs(1), "{times:?}");
        assert!(times[29] < Duration::from_secs(10), "{times:?}");
    });
    let bytes = (27 * 64 + 3 * 3 * BUF_SIZE) * CONNECTIONS;
    assert_eq!((counted.connections, counted.bytes), (CONNECTIONS as u64, bytes as u64));
}

#[test]
fn a_reset_connection_does_not_affect_the_next_one() {
    if lacks_uring("reset connections") {
        return;
    }
    let counted = serve(TINY, |address| {
        for _ in 0..300 {
            let mut broken = connect(address);
            for _ in 0..12 {
                broken.write_all(b"small").unwrap();
                broken.read_exact(&mut [0; 5]).unwrap();
            }
            SockRef::from(&broken).set_linger(Some(Duration::ZERO)).unwrap();
            broken.write_all(b"not echoed: reset").unwrap();
            drop(broken);
            let mut next = connect(address);
            next.write_all(b"next").unwrap();
            next.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(read_to_end(&next), b"next");
        }
    });
    let (lost, done) = (CloseReason::Lost, CloseReason::Done);
    assert_eq!((counted.closed_as(lost), counted.closed_as(done)), (300, 300));
}

/// A connected pair of sockets, the first as an engine gets it. Unix sockets, because their buffers hold exactly
/// what they are set to; TCP drops and retransmits segments when its buffers are small.
fn pair() -> (mio::net::TcpStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = TcpStream::from(OwnedFd::from(ours));
    (mio::net::TcpStream::from_std(ours), theirs)
}

/// Runs `test` with a poller, without a worker.
fn with_poller(sizes: Sizes, test: impl FnOnce(UringPoller)) {
    let mut ring = sizes.setup().build().unwrap();
    ring.enable().unwrap();
    test(UringPoller::new(ring, Arc::new(wake_fd().unwrap()), sizes.multishot_threshold));
}

/// Waits until the connection at key 0 uses multishot receives, or no longer does.
fn wait_for_multishot(poller: &mut UringPoller, receives: bool) {
    while poller.receives(0) != receives {
        poller.set_interest(0, if receives { Interest::Receive } else { Interest::Readable }, 1);
        poller.wait(Some(Duration::from_millis(1))).unwrap();
        while let Some(event) = poller.next() {
            assert!(matches!(event, Event::Ready { key: 0, .. }), "{event:?}");
        }
    }
}

#[test]
fn a_short_send_reports_how_much_was_sent() {
    if lacks_uring("a short send") {
        return;
    }
    with_poller(TINY, |mut poller| {
        let (mut ours, mut theirs) = pair();
        SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
        poller.register(0, &mut ours).unwrap();
        wait_for_multishot(&mut poller, true);
        let (pattern, mut received, mut unsent) = (Pattern::new(1), 0, 0);
        while unsent == 0 {
            let mut message = [0; BUF_SIZE - 1];
            pattern.fill(received as u64, &mut message);
            theirs.write_all(&message).unwrap();
            poller.wait(Some(Duration::from_secs(1))).unwrap();
            while let Some(event) = poller.next() {
                match event {
                    Event::Received { key: 0, buf } if unsent == 0 => {
                        received += buf.len();
                        poller.send(0, buf);
                    }
                    Event::Received { key: 0, buf } => poller.recycle(buf),
                    Event::ShortWrite { key: 0, buf, sent } => {
                        unsent = buf.len() - sent;
                        poller.recycle(buf);
                    }
                    event => assert!(matches!(event, Event::Ready { key: 0, .. }), "{event:?}"),
                }
            }
        }
        let echoed = received - unsent;
        theirs.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut echo = Vec::new();
        let end = theirs.read_to_end(&mut echo).unwrap_err();
        assert_eq!((end.kind(), echo.len()), (ErrorKind::WouldBlock, echoed));
        pattern.check(0, &echo).unwrap();
        poller.deregister(0, ours);
    });
}

#[test]
fn completions_of_a_closed_connection_are_not_reported_for_the_next_in_its_slot() {
    if lacks_uring("a reused slot") {
        return;
    }
    with_poller(TINY, |mut poller| {
        for _ in 0..100 {
            let ((mut first, mut old_peer), (mut second, mut new_peer)) = (pair(), pair());
            poller.register(0, &mut first).unwrap();
            wait_for_multishot(&mut poller, true);
            old_peer.write_all(b"old").unwrap();
            poller.deregister(0, first);
            poller.register(0, &mut second).unwrap();
            wait_for_multishot(&mut poller, true);
            new_peer.write_all(b"new").unwrap();
            poller.wait(Some(Duration::from_secs(1))).unwrap();
            let Some(Event::Received { key: 0, buf }) = poller.next() else {
                panic!("nothing was received")
            };
            assert_eq!(poller.bytes(&buf), b"new");
            poller.recycle(buf);
            poller.deregister(0, second);
        }
    });
}

#[test]
fn multishot_receives_start_at_the_threshold() {
    if lacks_uring("the multishot threshold") {
        return;
    }
    with_poller(Sizes { multishot_threshold: 2, ..TINY }, |mut poller| {
        let ((mut first, mut peer), (mut second, _other)) = (pair(), pair());
        poller.register(0, &mut first).unwrap();
        for _ in 0..100 {
            poller.set_interest(0, Interest::Receive, 1);
        }
        assert!(!poller.receives(0), "one connection is below the threshold");
        poller.register(1, &mut second).unwrap();
        wait_for_multishot(&mut poller, true);
        poller.deregister(1, second);
        peer.write_all(b"?").unwrap();
        while poller.receives(0) {
            assert!(
                poller.wait(Some(Duration::from_secs(1))).unwrap() > 0,
                "a single connection still uses multishot receives"
            );
            while let Some(event) = poller.next() {
                if let Event::Received { buf, .. } = event {
                    poller.recycle(buf);
                }
            }
        }
        poller.deregister(0, first);
    });
}

#[test]
fn owed_bytes_wait_only_for_room_after_the_peers_fin() {
    if lacks_uring("owed bytes after FIN") {
        return;
    }
    with_poller(TINY, |mut poller| {
        let (mut ours, mut theirs) = pair();
        SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
        while ours.write(&[0; 1024]).is_ok() {}
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        poller.register(0, &mut ours).unwrap();
        let mut waits = 0;
        while poller.wait(Some(Duration::from_millis(50))).unwrap() > 0 {
            waits += 1;
            assert!(waits < 10, "it is woken repeatedly");
            while let Some(event) = poller.next() {
                assert!(matches!(event, Event::Ready { key: 0, .. }), "{event:?}");
                poller.set_interest(0, Interest::Writable, 0);
            }
        }
        theirs.read_exact(&mut [0; 4096]).unwrap();
        assert!(poller.wait(Some(Duration::from_secs(1))).unwrap() > 0, "there is room");
        poller.deregister(0, ours);
    });
}
