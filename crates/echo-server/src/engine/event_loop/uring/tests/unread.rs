//! Received buffers for which a connection had no room.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use echo_proto::Pattern;

use super::*;

/// A connected pair of sockets, of which the first is registered at key 0 and uses multishot receives.
fn multishot_pair(poller: &mut UringPoller) -> (mio::net::TcpStream, UnixStream) {
    let (mut ours, theirs) = pair();
    poller.register(0, &mut ours).unwrap();
    wait_for_multishot(poller, true);
    (ours, theirs)
}

/// Receives `wanted` bytes. If `reads`, returns them; otherwise defers the buffers.
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
fn deferred_buffers_are_reported_again_in_order() {
    if lacks_uring("deferred buffers") {
        return;
    }
    const BUFFERS: usize = 16;
    let sizes = Sizes { buffers: BUFFERS as u16, completions: 64, ..TINY };
    with_poller(sizes, |mut poller| {
        let ((ours, mut theirs), pattern) = (multishot_pair(&mut poller), Pattern::new(1));
        let mut message = vec![0; 6 * BUF_SIZE];
        pattern.fill(0, &mut message);
        theirs.write_all(&message).unwrap();
        // The first is deferred when the kernel has already received others.
        poller.wait(Some(Duration::from_secs(1))).unwrap();
        let Some(Event::Received { key: 0, buf }) = poller.next() else {
            panic!("nothing was received");
        };
        poller.defer(0, buf);
        poller.set_interest(0, Interest::Writable, 0);
        assert!(poller.receives(0) && poller.sends(0), "the poller has unread buffers");
        while poller.wait(Some(Duration::from_millis(20))).unwrap() > 0 {
            while let Some(event) = poller.next() {
                assert!(matches!(event, Event::Ready { key: 0, .. }), "out of order: {event:?}");
            }
        }
        // Deferred a second time: it is still the first.
        poller.set_interest(0, Interest::Receive, 0);
        let Some(Event::Received { key: 0, buf }) = poller.next() else {
            panic!("it is not reported again");
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
fn a_connection_without_unread_buffers_is_reported_as_readable() {
    if lacks_uring("the end of unread buffers") {
        return;
    }
    with_poller(TINY, |mut poller| {
        let (ours, mut theirs) = multishot_pair(&mut poller);
        theirs.write_all(b"unread").unwrap();
        receive_all(&mut poller, false, 6);
        // The receive that the kernel was doing has ended, which was reported.
        while poller.wait(Some(Duration::from_millis(20))).unwrap() > 0 {
            while poller.next().is_some() {}
        }
        // The connection drains: only its socket says that nothing is left.
        poller.set_interest(0, Interest::Readable, 0);
        let (mut received, mut reported) = (0, false);
        while !reported {
            assert!(poller.wait(Some(Duration::from_secs(1))).unwrap() > 0, "it is not reported");
            while let Some(event) = poller.next() {
                if let Event::Received { key: 0, buf } = event {
                    received += buf.len();
                    poller.recycle(buf);
                    poller.set_interest(0, Interest::Readable, 0);
                } else if let Event::Ready { key: 0, readable, .. } = event {
                    reported |= readable && received == 6;
                }
            }
        }
        poller.deregister(0, ours);
    });
}

#[test]
fn unread_buffers_of_a_closed_connection_are_recycled() {
    if lacks_uring("buffers of a closed connection") {
        return;
    }
    with_poller(TINY, |mut poller| {
        for _ in 0..20 {
            let (ours, mut theirs) = multishot_pair(&mut poller);
            theirs.write_all(b"unread").unwrap();
            receive_all(&mut poller, false, 6);
            poller.deregister(0, ours);
        }
        // The ring has only two buffers.
        let (ours, mut theirs) = multishot_pair(&mut poller);
        theirs.write_all(b"read").unwrap();
        assert_eq!(receive_all(&mut poller, true, 4), b"read");
        poller.deregister(0, ours);
    });
}

#[test]
fn the_next_unread_buffer_is_reported_without_another_event() {
    if lacks_uring("consecutive unread buffers") {
        return;
    }
    with_poller(Sizes { buffers: 16, completions: 64, ..TINY }, |mut poller| {
        let (ours, mut theirs) = multishot_pair(&mut poller);
        // Two buffers, both received before the first is deferred.
        let message = [7; BUF_SIZE + 5];
        theirs.write_all(&message).unwrap();
        receive_all(&mut poller, false, BUF_SIZE);
        // The connection reads again: both are sent, and a successful send has no completion.
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
