//! What the suite of all engines cannot bring about: queues and a pool that are too small, short writes, slots
//! that are reused at once.

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

/// Whether this machine has no rings; if so, says that `check` was skipped.
fn lacks_rings(check: &str) -> bool {
    let error = probe().err();
    if let Some(error) = &error {
        skipped(check, &error.to_string());
    }
    error.is_some()
}

/// Runs a server on a ring of these sizes while `test` does, and returns what it has counted.
fn serve(sizes: Sizes, test: impl FnOnce(SocketAddr)) -> crate::Summary {
    let config = Config { threads: 1, ..Config::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = Acceptor::new(vec![listener], &config);
    Service::for_test(&config, |service, shutdown| {
        std::thread::scope(|scope| {
            let server = scope.spawn(|| run_with(sizes, acceptor, shutdown, service).unwrap());
            test(address);
            service.handle.stop();
            server.join().unwrap();
        });
        service.counters.read()
    })
}

#[test]
fn five_hundred_connections_share_four_entries_and_two_buffers() {
    if lacks_rings("a tiny ring") {
        return;
    }
    const CONNECTIONS: usize = 500;
    let counted = serve(TINY, |address| {
        let streams: Vec<_> = (0..CONNECTIONS).map(|_| connect(address)).collect();
        let mut times = Vec::new();
        for round in 0..30 {
            // Enough small ones for being received for, then some that do not fit into a buffer.
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
        // The machine may have something else to do, but not in most rounds.
        assert!(times[15] < Duration::from_secs(1), "{times:?}");
        assert!(times[29] < Duration::from_secs(10), "{times:?}");
    });
    let bytes = (27 * 64 + 3 * 3 * BUF_SIZE) * CONNECTIONS;
    assert_eq!((counted.connections, counted.bytes), (CONNECTIONS as u64, bytes as u64));
}

#[test]
fn connections_that_break_off_take_nothing_from_those_that_follow() {
    if lacks_rings("connections that break off") {
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
            broken.write_all(b"this echo meets a reset").unwrap();
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

/// Both ends of a connection, ours as an engine gets it. They are Unix sockets, whose buffers hold what
/// they are said to; TCP would drop and repeat segments where they are small.
fn pair() -> (mio::net::TcpStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = TcpStream::from(OwnedFd::from(ours));
    (mio::net::TcpStream::from_std(ours), theirs)
}

/// A ring poller without a worker.
fn with_poller(sizes: Sizes, test: impl FnOnce(UringPoller)) {
    let mut ring = sizes.setup().build().unwrap();
    ring.enable().unwrap();
    test(UringPoller::new(ring, Arc::new(wake_fd().unwrap()), sizes.multishot_threshold));
}

/// Waits until the kernel receives for the connection at 0, or no longer does.
fn wait_until_it_receives(poller: &mut UringPoller, receives: bool) {
    while poller.receives(0) != receives {
        poller.set_interest(0, if receives { Interest::Receive } else { Interest::Readable }, 1);
        poller.wait(Some(Duration::from_millis(1))).unwrap();
        while let Some(event) = poller.next() {
            assert!(matches!(event, Event::Ready { key: 0, .. }), "{event:?}");
        }
    }
}

#[test]
fn a_send_that_stops_half_way_says_where() {
    if lacks_rings("a send that stops half-way") {
        return;
    }
    with_poller(TINY, |mut poller| {
        let (mut ours, mut theirs) = pair();
        SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
        poller.register(0, &mut ours).unwrap();
        wait_until_it_receives(&mut poller, true);
        let (pattern, mut received, mut unsent) = (Pattern::new(1), 0, 0);
        while unsent == 0 {
            let mut message = [0; BUF_SIZE - 1];
            pattern.fill(received as u64, &mut message);
            theirs.write_all(&message).unwrap();
            poller.wait(Some(Duration::from_secs(1))).unwrap();
            while let Some(event) = poller.next() {
                match event {
                    Event::Received { key: 0, buf: piece } if unsent == 0 => {
                        received += piece.len();
                        poller.send(0, piece);
                    }
                    Event::Received { key: 0, buf: piece } => poller.recycle(piece),
                    Event::ShortWrite { key: 0, buf: piece, sent } => {
                        unsent = piece.len() - sent;
                        poller.recycle(piece);
                    }
                    event => assert!(matches!(event, Event::Ready { key: 0, .. }), "{event:?}"),
                }
            }
        }
        let went_back = received - unsent;
        theirs.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut echo = Vec::new();
        let end = theirs.read_to_end(&mut echo).unwrap_err();
        assert_eq!((end.kind(), echo.len()), (ErrorKind::WouldBlock, went_back));
        pattern.check(0, &echo).unwrap();
        poller.deregister(0, ours);
    });
}

#[test]
fn what_comes_for_a_connection_that_has_left_is_not_its_successors() {
    if lacks_rings("a place that is another's at once") {
        return;
    }
    with_poller(TINY, |mut poller| {
        for _ in 0..100 {
            let ((mut first, mut old_peer), (mut second, mut new_peer)) = (pair(), pair());
            poller.register(0, &mut first).unwrap();
            wait_until_it_receives(&mut poller, true);
            old_peer.write_all(b"old").unwrap();
            poller.deregister(0, first);
            poller.register(0, &mut second).unwrap();
            wait_until_it_receives(&mut poller, true);
            new_peer.write_all(b"new").unwrap();
            poller.wait(Some(Duration::from_secs(1))).unwrap();
            let Some(Event::Received { key: 0, buf: piece }) = poller.next() else {
                panic!("nothing was received")
            };
            assert_eq!(poller.bytes(&piece), b"new");
            poller.recycle(piece);
            poller.deregister(0, second);
        }
    });
}

#[test]
fn only_a_crowd_is_received_for() {
    if lacks_rings("a multishot_threshold") {
        return;
    }
    with_poller(Sizes { multishot_threshold: 2, ..TINY }, |mut poller| {
        let ((mut first, mut peer), (mut second, _other)) = (pair(), pair());
        poller.register(0, &mut first).unwrap();
        for _ in 0..100 {
            poller.set_interest(0, Interest::Receive, 1);
        }
        assert!(!poller.receives(0), "one is no multishot_threshold");
        poller.register(1, &mut second).unwrap();
        wait_until_it_receives(&mut poller, true);
        poller.deregister(1, second);
        peer.write_all(b"?").unwrap();
        while poller.receives(0) {
            assert!(poller.wait(Some(Duration::from_secs(1))).unwrap(), "it is received for alone");
            while let Some(event) = poller.next() {
                if let Event::Received { buf: piece, .. } = event {
                    poller.recycle(piece);
                }
            }
        }
        poller.deregister(0, first);
    });
}

#[test]
fn a_debt_to_a_peer_that_has_ended_waits_for_room_and_nothing_else() {
    if lacks_rings("a debt to a peer that has ended") {
        return;
    }
    with_poller(TINY, |mut poller| {
        let (mut ours, mut theirs) = pair();
        SockRef::from(&ours).set_send_buffer_size(4096).unwrap();
        while ours.write(&[0; 1024]).is_ok() {}
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        poller.register(0, &mut ours).unwrap();
        let mut waits = 0;
        while poller.wait(Some(Duration::from_millis(50))).unwrap() {
            waits += 1;
            assert!(waits < 10, "it is woken again and again");
            while let Some(event) = poller.next() {
                assert!(matches!(event, Event::Ready { key: 0, .. }), "{event:?}");
                poller.set_interest(0, Interest::Writable, 0);
            }
        }
        theirs.read_exact(&mut [0; 4096]).unwrap();
        assert!(poller.wait(Some(Duration::from_secs(1))).unwrap(), "there is room");
        poller.deregister(0, ours);
    });
}

/// Receives everything that is there, as `reads` says: buffers that are deferred instead are reported again.
fn receive_all(poller: &mut UringPoller, reads: bool, wanted: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut deferred = 0;
    while bytes.len() + deferred < wanted {
        poller.wait(Some(Duration::from_secs(1))).unwrap();
        while let Some(event) = poller.next() {
            match event {
                Event::Received { key: 0, buf } if reads => {
                    bytes.extend_from_slice(poller.bytes(&buf));
                    poller.recycle(buf);
                    poller.set_interest(0, Interest::Receive, 0);
                }
                Event::Received { key: 0, buf } => {
                    deferred += buf.len();
                    poller.defer(0, buf);
                    poller.set_interest(0, Interest::Writable, 0);
                }
                event => assert!(matches!(event, Event::Ready { key: 0, .. }), "{event:?}"),
            }
        }
    }
    bytes
}

#[test]
fn buffers_that_a_connection_has_no_room_for_come_again_in_order() {
    if lacks_rings("buffers that come again") {
        return;
    }
    const BUFFERS: usize = 16;
    let sizes = Sizes { buffers: BUFFERS as u16, completions: 64, ..TINY };
    with_poller(sizes, |mut poller| {
        let ((mut ours, mut theirs), pattern) = (pair(), Pattern::new(1));
        poller.register(0, &mut ours).unwrap();
        wait_until_it_receives(&mut poller, true);
        let mut message = vec![0; 6 * BUF_SIZE];
        pattern.fill(0, &mut message);
        theirs.write_all(&message).unwrap();
        // The first is refused while others are on their way, which the kernel has received already.
        poller.wait(Some(Duration::from_secs(1))).unwrap();
        let Some(Event::Received { key: 0, buf }) = poller.next() else {
            panic!("nothing was received");
        };
        poller.defer(0, buf);
        poller.set_interest(0, Interest::Writable, 0);
        assert!(poller.receives(0) && poller.sends(0), "only the poller knows what comes first");
        while poller.wait(Some(Duration::from_millis(20))).unwrap() {
            while let Some(event) = poller.next() {
                assert!(matches!(event, Event::Ready { key: 0, .. }), "out of order: {event:?}");
            }
        }
        // One is taken and the next refused: it is still the first.
        poller.set_interest(0, Interest::Receive, 0);
        let Some(Event::Received { key: 0, buf }) = poller.next() else {
            panic!("it does not come again");
        };
        poller.defer(0, buf);
        poller.set_interest(0, Interest::Receive, 0);
        let received = receive_all(&mut poller, true, BUF_SIZE);
        pattern.check(0, &received).unwrap();
        assert!(received.len() <= message.len());
        poller.deregister(0, ours);
    });
}

#[test]
fn buffers_of_a_connection_that_has_left_go_back_to_the_pool() {
    if lacks_rings("buffers of a connection that has left") {
        return;
    }
    with_poller(TINY, |mut poller| {
        for _ in 0..20 {
            let (mut ours, mut theirs) = pair();
            poller.register(0, &mut ours).unwrap();
            wait_until_it_receives(&mut poller, true);
            theirs.write_all(b"unread").unwrap();
            receive_all(&mut poller, false, 6);
            poller.deregister(0, ours);
        }
        // Two buffers are all there are.
        let (mut ours, mut theirs) = pair();
        poller.register(0, &mut ours).unwrap();
        wait_until_it_receives(&mut poller, true);
        theirs.write_all(b"read").unwrap();
        assert_eq!(receive_all(&mut poller, true, 4), b"read");
        poller.deregister(0, ours);
    });
}

#[test]
fn an_unread_buffer_follows_the_one_before_without_another_event() {
    if lacks_rings("unread buffers that follow each other") {
        return;
    }
    with_poller(Sizes { buffers: 16, completions: 64, ..TINY }, |mut poller| {
        let (mut ours, mut theirs) = pair();
        poller.register(0, &mut ours).unwrap();
        wait_until_it_receives(&mut poller, true);
        // Two buffers, which are received before the first is deferred.
        let message = [7; BUF_SIZE + 5];
        theirs.write_all(&message).unwrap();
        receive_all(&mut poller, false, BUF_SIZE);
        // The peer has room again: both go back, and a successful send completes silently.
        let started = Instant::now();
        poller.set_interest(0, Interest::Receive, 0);
        let mut echoes = 0;
        while echoes < 2 {
            poller.wait(Some(Duration::from_secs(5))).unwrap();
            while let Some(event) = poller.next() {
                if let Event::Received { key: 0, buf } = event {
                    poller.send(0, buf);
                    echoes += 1;
                }
            }
        }
        assert!(started.elapsed() < Duration::from_secs(4), "it waited for another event");
        poller.wait(Some(Duration::ZERO)).unwrap();
        let mut echo = [0; BUF_SIZE + 5];
        theirs.read_exact(&mut echo).unwrap();
        assert_eq!(echo, message);
        poller.deregister(0, ours);
    });
}
