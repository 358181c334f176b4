use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::*;

/// What a connection has to send, and what came back.
struct Peer {
    to_send: Vec<u8>,
    unsent_from: usize,
    received: Vec<u8>,
}

/// A ring with few of everything, or what it lacks here.
fn ring(sizes: Sizes) -> Option<(Ring, TcpListener)> {
    if let Err(error) = sizes.setup().probe() {
        // Past the harness's capture.
        let _ = writeln!(io::stderr(), "SKIPPED the ring of the load: {error}");
        return None;
    }
    let notifier = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ring = Ring::new(sizes).unwrap();
    ring.enable(&notifier).unwrap();
    Some((ring, notifier))
}

const TINY: Sizes = Sizes { slots: 40, requests: 4, buffers: 2, buffer: 512, arena: 4096 };

/// Both ends of a connection.
fn pair(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    (ours, theirs)
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

fn send_on(ring: &mut Ring, slot: usize, peer: &mut Peer) {
    while peer.unsent_from < peer.to_send.len() {
        let rest = &peer.to_send[peer.unsent_from..];
        match ring.send(slot, rest.len(), |piece| piece.copy_from_slice(&rest[..piece.len()])) {
            0 => break,
            count => peer.unsent_from += count,
        }
    }
}

#[test]
fn with_few_buffers_and_many_connections_nothing_is_lost_and_nothing_stalls() {
    let Some((mut ring, _notifier)) = ring(TINY) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pairs: Vec<_> = (0..TINY.slots).map(|_| pair(&listener)).collect();
    let mut peers: Vec<_> = (0..TINY.slots)
        .map(|slot| {
            ring.add(slot, &pairs[slot].0);
            // Some fit into a buffer; some are more than the connection holds.
            let length = if slot % 4 == 0 { 6_000_000 } else { 100 * (slot + 1) };
            let to_send = (0..length).map(|offset| (offset * 7 + slot) as u8).collect();
            Peer { to_send, unsent_from: 0, received: Vec::new() }
        })
        .collect();
    for (slot, peer) in peers.iter_mut().enumerate() {
        send_on(&mut ring, slot, peer);
    }
    // Nothing has been read up to now.
    let _streams: Vec<_> = pairs
        .into_iter()
        .map(|(stream, theirs)| (stream, std::thread::spawn(move || echo(theirs))))
        .collect();
    let (started, mut blocked) = (Instant::now(), 0);
    while peers.iter().any(|peer| peer.received.len() < peer.to_send.len()) {
        assert!(started.elapsed() < Duration::from_secs(30), "it stalls");
        ring.wait(Duration::from_secs(1)).unwrap();
        while let Some(completion) = ring.next() {
            match completion {
                Completion::Received(slot) => peers[slot].received.extend(ring.bytes()),
                Completion::ShortWrite(slot, count) => {
                    peers[slot].unsent_from -= count;
                    blocked += 1;
                }
                Completion::Writable(slot) => send_on(&mut ring, slot, &mut peers[slot]),
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(peers.iter().all(|peer| peer.received == peer.to_send));
    assert!(blocked > 0, "the large ones did not fit at once");
}

#[test]
fn a_slot_reports_nothing_of_its_previous_connection() {
    let Some((mut ring, _notifier)) = ring(TINY) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for round in 0..10 {
        let (first, mut theirs) = pair(&listener);
        ring.add(0, &first);
        ring.wait(Duration::from_millis(1)).unwrap();
        theirs.write_all(b"stale").unwrap();
        // Neither what was sent nor what was received on it concerns the next one.
        ring.send(0, 5, |piece| piece.copy_from_slice(b"never"));
        ring.remove(0);
        first.shutdown(Shutdown::Both).unwrap();
        drop(first);
        let (second, mut theirs) = pair(&listener);
        ring.add(0, &second);
        theirs.write_all(b"fresh").unwrap();
        let mut received: Vec<u8> = Vec::new();
        let started = Instant::now();
        while received.len() < 5 {
            assert!(started.elapsed() < Duration::from_secs(10), "round {round}: it stalls");
            ring.wait(Duration::from_secs(1)).unwrap();
            while let Some(completion) = ring.next() {
                assert!(matches!(completion, Completion::Received(0)), "{completion:?}");
                received.extend(ring.bytes());
            }
        }
        assert_eq!(received, b"fresh");
        ring.remove(0);
        second.shutdown(Shutdown::Both).unwrap();
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0, "nothing was sent on it");
    }
}

#[test]
fn ends_resets_and_wake_ups_are_reported() {
    let Some((mut ring, notifier)) = ring(TINY) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (ended, theirs) = pair(&listener);
    let (reset, mut unread) = pair(&listener);
    (&reset).write_all(b"xy").unwrap();
    unread.read_exact(&mut [0]).unwrap();
    ring.add(0, &ended);
    ring.add(1, &reset);
    ring.wait(Duration::ZERO).unwrap();
    drop((theirs, unread));
    let _waits_to_be_accepted = TcpStream::connect(notifier.local_addr().unwrap()).unwrap();
    let mut told = HashMap::new();
    let started = Instant::now();
    while told.len() < 3 {
        assert!(started.elapsed() < Duration::from_secs(10), "{told:?}");
        ring.wait(Duration::from_secs(1)).unwrap();
        while let Some(completion) = ring.next() {
            match completion {
                Completion::Ended(slot) => told.insert(slot, None),
                Completion::Failed(slot, error) => told.insert(slot, Some(error.kind())),
                Completion::Woken => told.insert(2, None),
                other => panic!("{other:?}"),
            };
        }
    }
    assert_eq!(told[&0], None);
    assert_eq!(told[&1], Some(io::ErrorKind::ConnectionReset));
    // With all of that in flight it is dropped.
}

#[test]
fn a_wait_ends_in_time() {
    let Some((mut ring, _notifier)) = ring(TINY) else { return };
    ring.wait(Duration::ZERO).unwrap();
    let late = (0..50).map(|_| {
        let (started, timeout) = (Instant::now(), Duration::from_micros(300));
        ring.wait(timeout).unwrap();
        let took = started.elapsed();
        assert!(took >= timeout, "{took:?}");
        took - timeout
    });
    // The best of many: the machine may have something else to do.
    assert!(late.min().unwrap() < Duration::from_micros(200));
}
