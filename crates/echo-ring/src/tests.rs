//! Tests of the ring against the kernel, over Unix sockets.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use echo_test_support::skipped;

use crate::{Completion, RecvBuf, Ring, RingSetup, UserData};

const TINY: RingSetup = RingSetup {
    entries: 4,
    cq_entries: 8,
    buffers: 2,
    buffer_size: 64,
    arena_size: 1 << 16,
    no_sqarray: false,
};
const DEADLINE: Duration = Duration::from_secs(10);
const READABLE: u32 = libc::POLLIN as u32;

/// Builds and enables a ring. Reports `check` as skipped and returns `None` if that is impossible here.
fn ring(setup: RingSetup, check: &str) -> Option<Ring> {
    let mut ring = disabled(setup, check)?;
    ring.enable().unwrap();
    Some(ring)
}

/// Builds a ring without enabling it. A test is skipped only if the system cannot build a ring: one that can
/// supports everything else.
fn disabled(setup: RingSetup, check: &str) -> Option<Ring> {
    let ring = setup.build().map_err(|error| skipped(check, &error.to_string()));
    ring.ok()
}

#[test]
fn a_system_that_can_build_a_ring_passes_the_probe() {
    if disabled(TINY, "the probe").is_some() {
        TINY.probe().unwrap();
        RingSetup { entries: 1, cq_entries: 1, ..TINY }.probe().unwrap();
    }
}

fn user_data(slot: usize) -> UserData {
    UserData::new(1, 2, slot)
}

/// Waits for the next completion.
fn next(ring: &mut Ring) -> Completion {
    let started = Instant::now();
    loop {
        if let Some(completion) = ring.next_completion() {
            return completion;
        }
        assert!(started.elapsed() < DEADLINE, "nothing completes");
        ring.wait(Some(DEADLINE)).unwrap();
    }
}

/// Waits for the next received buffer.
fn receive(ring: &mut Ring) -> RecvBuf {
    let Completion { buf: Some(buf), more: true, .. } = next(ring) else {
        panic!("nothing was received")
    };
    buf
}

#[test]
fn a_buffer_is_used_again_for_longer_than_the_tail_counts() {
    let Some(mut ring) = ring(TINY, "recycled buffers") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.recv_multishot(ours.as_raw_fd(), user_data(0));
    // More than 2¹⁶ times.
    for round in 0..70_000_u32 {
        theirs.write_all(&round.to_ne_bytes()).unwrap();
        let buf = receive(&mut ring);
        assert_eq!((ring.bytes(&buf), buf.is_empty()), (&round.to_ne_bytes()[..], false));
        ring.recycle(buf);
    }
}

#[test]
fn a_buffer_keeps_its_bytes_until_it_is_recycled() {
    let Some(mut ring) = ring(TINY, "kept buffers") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.recv_multishot(ours.as_raw_fd(), user_data(0));
    theirs.write_all(&[1; 64]).unwrap();
    let first = receive(&mut ring);
    for _ in 0..10 {
        theirs.write_all(&[2; 64]).unwrap();
        let second = receive(&mut ring);
        assert_eq!((ring.bytes(&first), ring.bytes(&second)), (&[1; 64][..], &[2; 64][..]));
        ring.recycle(second);
    }
    ring.recycle(first);
}

#[test]
fn without_a_buffer_a_receive_ends_and_can_be_started_again() {
    let Some(mut ring) = ring(TINY, "an empty buffer ring") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.recv_multishot(ours.as_raw_fd(), user_data(0));
    theirs.write_all(&[7; 200]).unwrap();
    let bufs = [receive(&mut ring), receive(&mut ring)];
    let Completion { result, buf: None, more: false, .. } = next(&mut ring) else {
        panic!("there are two buffers")
    };
    assert_eq!((result, ring.buffers()), (-libc::ENOBUFS, 2));
    bufs.into_iter().for_each(|buf| ring.recycle(buf));
    ring.recv_multishot(ours.as_raw_fd(), user_data(0));
    let lens = [receive(&mut ring).len(), receive(&mut ring).len()];
    assert_eq!(lens, [64, 8]);
}

#[test]
fn a_send_completes_only_if_it_is_short_and_says_how_much_was_sent() {
    let Some(mut ring) = ring(TINY, "a short send") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let size = ring.arena().len();
    let mut sent = 0;
    let result = loop {
        let round = (sent / size) as u8;
        ring.arena().fill(round);
        ring.send_arena(ours.as_raw_fd(), 0..size, user_data(3));
        ring.submit().unwrap();
        assert!(ring.has_submitted_all());
        match ring.next_completion() {
            None => sent += size,
            Some(completion) => {
                assert_eq!(completion.user_data, user_data(3));
                break completion.result;
            }
        }
    };
    assert!(sent > 0 && result < size as i32, "{sent} {result}");
    sent += result.max(0) as usize;
    drop(ours);
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent);
    assert!(received.iter().enumerate().all(|(at, byte)| *byte == (at / size) as u8));
}

#[test]
fn what_was_received_can_be_sent() {
    let Some(mut ring) = ring(TINY, "an echo") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.recv_multishot(ours.as_raw_fd(), user_data(0));
    theirs.write_all(b"echo").unwrap();
    let buf = receive(&mut ring);
    ring.send(ours.as_raw_fd(), &buf, user_data(1));
    assert!(!ring.has_submitted_all());
    ring.submit().unwrap();
    ring.recycle(buf);
    let mut echo = [0; 4];
    theirs.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"echo");
}

#[test]
fn what_is_cancelled_completes_a_last_time() {
    let Some(mut ring) = ring(TINY, "a cancellation") else { return };
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ring.poll_multishot(ours.as_raw_fd(), READABLE, user_data(0));
    ring.recv_multishot(ours.as_raw_fd(), user_data(1));
    for slot in [0, 1] {
        ring.cancel(user_data(slot), user_data(9));
        let Completion { user_data: of, result, more, .. } = next(&mut ring);
        assert_eq!((of, result, more), (user_data(slot), -libc::ECANCELED, false));
    }
    ring.cancel(user_data(0), user_data(9));
    let Completion { user_data: of, result, .. } = next(&mut ring);
    assert_eq!((of, result), (user_data(9), -libc::ENOENT), "there is none any more");
}

#[test]
fn a_poll_completes_once_and_a_multishot_poll_whenever_there_is_something() {
    let Some(mut ring) = ring(TINY, "polls") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.poll_add(ours.as_raw_fd(), READABLE, user_data(0));
    ring.poll_multishot(ours.as_raw_fd(), READABLE, user_data(1));
    let mut completed = [0, 0];
    for _ in 0..3 {
        theirs.write_all(b"!").unwrap();
        while ring.wait(Some(Duration::from_millis(20))).unwrap() {
            while let Some(Completion { user_data, result, more, .. }) = ring.next_completion() {
                let slot = user_data.slot();
                assert_eq!((result as u32 & READABLE, more), (READABLE, slot == 1));
                completed[slot] += 1;
            }
        }
    }
    assert_eq!(completed, [1, 3]);
}

#[test]
fn with_queues_that_are_too_small_nothing_is_lost() {
    let Some(mut ring) = ring(TINY, "queues that are too small") else { return };
    let pairs: Vec<_> = (0..200).map(|_| UnixStream::pair().unwrap()).collect();
    for round in 1..=3 {
        for (slot, (ours, theirs)) in pairs.iter().enumerate() {
            (&*theirs).write_all(b"!").unwrap();
            ring.poll_add(ours.as_raw_fd(), READABLE, user_data(slot));
        }
        let mut completed = HashMap::new();
        while completed.len() < pairs.len() {
            *completed.entry(next(&mut ring).user_data).or_insert(0) += 1;
        }
        assert!(completed.values().all(|times| *times == 1), "round {round}: {completed:?}");
        assert!(!ring.wait(Some(Duration::ZERO)).unwrap(), "round {round}");
        assert!(ring.has_submitted_all() && !ring.has_overflowed(), "round {round}");
    }
}

#[test]
fn entries_that_cannot_be_submitted_yet_are_submitted_later_in_their_order() {
    let Some(mut ring) = disabled(TINY, "deferred entries") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"!").unwrap();
    for number in 0..100_u8 {
        if number == 50 {
            // From now on entries could be submitted, but must not overtake the deferred ones.
            ring.enable().unwrap();
        }
        ring.arena()[usize::from(number)] = number;
        ring.poll_add(ours.as_raw_fd(), READABLE, user_data(number.into()));
        ring.send_arena(ours.as_raw_fd(), number.into()..usize::from(number) + 1, user_data(200));
    }
    assert!(!ring.has_submitted_all());
    for number in 0..100 {
        assert_eq!(next(&mut ring).user_data, user_data(number), "every send fits");
    }
    assert!(ring.has_submitted_all());
    let mut received = [0; 100];
    theirs.read_exact(&mut received).unwrap();
    assert!(received.into_iter().eq(0..100), "{received:?}");
}

#[test]
fn operations_complete_even_if_every_timeout_is_zero() {
    let Some(mut ring) = ring(TINY, "zero timeouts") else { return };
    let pairs: Vec<_> = (0..50).map(|_| UnixStream::pair().unwrap()).collect();
    for (slot, (ours, _)) in pairs.iter().enumerate() {
        ring.poll_add(ours.as_raw_fd(), READABLE, user_data(slot));
    }
    ring.submit().unwrap();
    assert!(ring.has_submitted_all());
    for (_, theirs) in &pairs {
        (&*theirs).write_all(b"!").unwrap();
    }
    let (started, mut completed) = (Instant::now(), 0);
    while completed < pairs.len() {
        assert!(started.elapsed() < DEADLINE, "{completed} have completed");
        ring.wait(Some(Duration::ZERO)).unwrap();
        while ring.next_completion().is_some() {
            completed += 1;
        }
    }
    assert!(!ring.wait(Some(Duration::ZERO)).unwrap());
}

#[test]
fn a_wait_ends_in_time_whether_completions_were_taken_before_or_not() {
    let Some(mut ring) = ring(TINY, "timeouts") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(b"!").unwrap();
    for timeout in [Duration::from_millis(20), Duration::from_micros(300)] {
        ring.poll_add(ours.as_raw_fd(), READABLE, user_data(0));
        assert_eq!(next(&mut ring).user_data, user_data(0));
        let started = Instant::now();
        assert!(!ring.wait(Some(timeout)).unwrap());
        assert!(started.elapsed() >= timeout, "{:?}", started.elapsed());
        assert!(started.elapsed() < DEADLINE);
    }
    let started = Instant::now();
    assert!(!ring.wait(Some(Duration::ZERO)).unwrap());
    assert!(started.elapsed() < DEADLINE);
}

/// Whether every operation of the ring refuses this buffer.
fn refuses(ring: &mut Ring, buf: RecvBuf) -> bool {
    let reads = catch_unwind(AssertUnwindSafe(|| ring.bytes(&buf).len())).is_ok();
    let sends = catch_unwind(AssertUnwindSafe(|| ring.send(-1, &buf, user_data(0)))).is_ok();
    let recycles = catch_unwind(AssertUnwindSafe(|| ring.recycle(buf))).is_ok();
    !reads && !sends && !recycles
}

#[test]
fn a_ring_refuses_the_buffers_of_other_rings_and_of_dropped_ones() {
    let Some(mut first) = ring(TINY, "foreign buffers") else { return };
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    first.recv_multishot(ours.as_raw_fd(), user_data(0));
    theirs.write_all(&[1; 128]).unwrap();
    let (of_other, of_dropped) = (receive(&mut first), receive(&mut first));
    let mut second = ring(TINY, "").unwrap();
    assert!(refuses(&mut second, of_other));
    drop(first);
    let mut third = ring(TINY, "").unwrap();
    assert!(refuses(&mut third, of_dropped));
}

#[test]
fn dropping_a_ring_releases_sockets_and_memory_at_once() {
    for round in 0..20 {
        let Some(mut ring) = ring(TINY, "dropping a ring") else { return };
        let pairs: Vec<_> = (0..20).map(|_| UnixStream::pair().unwrap()).collect();
        for (slot, (ours, _)) in pairs.iter().enumerate() {
            ring.recv_multishot(ours.as_raw_fd(), user_data(slot));
            ring.poll_multishot(ours.as_raw_fd(), READABLE, user_data(slot));
        }
        if round % 2 == 0 {
            ring.wait(Some(Duration::ZERO)).unwrap();
        }
        drop(ring);
        // Likely to reuse the memory that the ring has freed.
        let memory = vec![0xAA_u8; 1 << 16];
        for (ours, mut theirs) in pairs {
            theirs.write_all(&[round; 64]).unwrap();
            drop(ours);
            theirs.set_nonblocking(true).unwrap();
            let end = theirs.read(&mut [0; 64]).map_err(|error| error.kind());
            // Closing a socket with unread bytes resets it.
            assert!(matches!(end, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)), "{end:?}");
        }
        assert!(memory.iter().all(|byte| *byte == 0xAA));
    }
}

#[test]
fn a_ring_that_was_never_enabled_submits_nothing_and_can_be_dropped_anywhere() {
    let Some(mut ring) = disabled(TINY, "a disabled ring") else { return };
    ring.poll_add(0, READABLE, user_data(0));
    assert_eq!(ring.submit().unwrap_err().raw_os_error(), Some(libc::EBADFD));
    let error = thread::spawn(move || ring.wait(None).unwrap_err()).join().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::EBADFD));
}

#[test]
fn an_enabled_ring_belongs_to_one_thread() {
    let Some(mut ring) = ring(TINY, "another thread") else { return };
    assert!(ring.enable().is_err(), "it is enabled already");
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.recv_multishot(ours.as_raw_fd(), user_data(0));
    theirs.write_all(b"?").unwrap();
    let mut ring = thread::spawn(move || {
        for _ in 0..2 * TINY.entries {
            ring.poll_add(0, READABLE, user_data(1));
        }
        let errors = [ring.submit().unwrap_err(), ring.wait(None).unwrap_err()];
        assert!(errors.iter().all(|error| error.raw_os_error() == Some(libc::EEXIST)));
        ring
    })
    .join()
    .unwrap();
    let buf = receive(&mut ring);
    assert_eq!(ring.bytes(&buf), b"?");
}

#[test]
fn sizes_that_are_out_of_range_are_refused() {
    let invalid = [
        RingSetup { buffers: 0, ..TINY },
        RingSetup { buffers: 3, ..TINY },
        RingSetup { buffer_size: 0, ..TINY },
        RingSetup { buffer_size: 1 << 32, ..TINY },
        RingSetup { arena_size: 1 << 32, ..TINY },
    ];
    for setup in invalid {
        let error = setup.build().err().map(|error| error.kind());
        assert_eq!(error, Some(std::io::ErrorKind::InvalidInput), "{setup:?}");
    }
}
