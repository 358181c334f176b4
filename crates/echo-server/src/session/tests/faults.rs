//! A session with injected faults.

use std::num::NonZero;
use std::time::Duration;

use super::*;
use crate::{Delay, Faults, Probability};

const MS: Duration = Duration::from_millis(1);

/// A session with a simulated clock, and a peer that reads everything.
struct Peer {
    session: Session,
    start: Instant,
    now: Instant,
    echo: Vec<u8>,
    /// The size of each send.
    sends: Vec<usize>,
}

impl Peer {
    fn of(faults: Faults) -> Self {
        Self::with(Config { faults: Some(faults), ..Config::default() }, 0)
    }

    fn with(config: Config, number: u64) -> Self {
        let (session, start) = (Session::new(&config, number), Instant::now());
        Self { session, start, now: start, echo: Vec::new(), sends: Vec::new() }
    }

    /// Sends a piece, and receives what is echoed at once.
    fn sends(&mut self, piece: &[u8]) -> State {
        assert_eq!(self.session.state(), State::Read, "nothing else is read");
        let sent = self.session.received(piece, |_| panic!("nothing is sent yet"));
        assert_eq!(sent.unwrap(), 0);
        self.receives()
    }

    /// Receives what may be sent now, driving the session as an engine does.
    fn receives(&mut self) -> State {
        while self.session.state() == State::Hold && self.session.release(self.now) {
            let (echo, sends) = (&mut self.echo, &mut self.sends);
            let record = |piece: &[u8]| {
                echo.extend_from_slice(piece);
                sends.push(piece.len());
                Ok(piece.len())
            };
            self.session.flush(record).unwrap();
        }
        self.session.state()
    }

    /// Receives what is due until `time` after the start, each piece exactly when it is due.
    fn receives_until(&mut self, time: Duration) -> State {
        while self.receives() == State::Hold
            && let Some(due) = self.session.due().filter(|due| *due <= self.start + time)
        {
            self.now = due;
        }
        self.now = self.start + time;
        self.receives()
    }

    /// Sends a stream in pieces of this size and receives the echo.
    fn echoes(mut self, stream: &[u8], piece: usize) -> Self {
        for piece in stream.chunks(piece) {
            self.sends(piece);
        }
        self
    }

    /// The offsets at which sends end.
    fn ends(&self) -> Vec<usize> {
        let ends = self.sends.iter().scan(0, |end, length| {
            *end += length;
            Some(*end)
        });
        ends.collect()
    }
}

fn corrupting(probability: f64) -> Faults {
    Faults { corrupt: Probability::new(probability).unwrap(), seed: 42, ..Faults::default() }
}

fn delaying(mean: Duration, jitter: Duration) -> Faults {
    Faults { delay: Some(Delay { mean, jitter }), ..Faults::default() }
}

#[test]
fn a_session_without_faults_stays_small() {
    assert!(Session::new(&Config::default(), 0).is_passthrough());
    assert!(!Peer::of(Faults::default()).session.is_passthrough());
    assert!(size_of::<Session>() <= 3 * size_of::<usize>());
}

#[test]
fn each_piece_is_held_back_and_nothing_is_read_meanwhile() {
    let mut peer = Peer::of(delaying(20 * MS, Duration::ZERO));
    assert_eq!(peer.sends(b"Hello"), State::Hold);
    assert_eq!(peer.receives_until(19 * MS), State::Hold);
    assert_eq!((peer.receives_until(20 * MS), &*peer.echo), (State::Read, &b"Hello"[..]));
    peer.now += 5 * MS;
    peer.sends(b"again");
    assert_eq!(peer.receives_until(44 * MS), State::Hold);
    assert_eq!((peer.receives_until(45 * MS), &*peer.echo), (State::Read, &b"Helloagain"[..]));
}

#[test]
fn a_released_piece_waits_only_for_room() {
    let mut session = Peer::of(delaying(20 * MS, Duration::ZERO)).session;
    session.received(b"Hello", |_| panic!("nothing is sent yet")).unwrap();
    let now = Instant::now();
    assert!(!session.release(now));
    assert!(session.release(now + 20 * MS));
    assert!(session.release(now), "it is released already");
    assert_eq!(session.flush(|_| Ok(0)).unwrap(), 0);
    assert_eq!(session.state(), State::Write);
    assert_eq!(session.flush(|piece| Ok(piece.len() - 1)).unwrap(), 4);
    assert_eq!((session.state(), session.due()), (State::Write, None));
    assert_eq!(session.flush(|piece| Ok(piece.len())).unwrap(), 1);
    assert_eq!(session.state(), State::Read);
}

#[test]
fn a_piece_takes_tokens_once_even_if_released_again() {
    let rate = Faults { rate_limit: NonZero::new(1000), ..Faults::default() };
    let mut session = Peer::of(rate).session;
    session.received(&[1; 200], |_| panic!("nothing is sent yet")).unwrap();
    let now = Instant::now();
    assert!(session.release(now) && session.release(now));
    // Nor if the socket had no room for it until the next one was due.
    assert!(session.release(now + 10 * MS));
    assert_eq!(session.flush(|piece| Ok(piece.len())).unwrap(), 10);
    assert!(!session.release(now));
    assert_eq!(session.due(), Some(now + 10 * MS));
}

#[test]
fn jitter_is_uniform_around_the_mean_and_depends_on_the_offset() {
    let delays = |number| {
        let config = Config { faults: Some(delaying(20 * MS, 5 * MS)), ..Config::default() };
        let mut peer = Peer::with(config, number);
        let delays = (0..1000).map(|_| {
            let began = peer.now;
            assert_eq!(peer.sends(&[b'x'; 64]), State::Hold);
            peer.now = peer.session.due().unwrap();
            assert_eq!(peer.receives(), State::Read);
            peer.now - began
        });
        delays.collect::<Vec<_>>()
    };
    let first = delays(1);
    let quarter = |delay: &Duration| (delay.as_micros() - 15_000) / 2_500;
    for number in 0..4 {
        // The standard deviation is 14, here and below.
        let count = first.iter().filter(|delay| quarter(delay) == number).count();
        assert!((180..320).contains(&count), "{count} in quarter {number}");
    }
    let alike = first.windows(2).filter(|pair| quarter(&pair[0]) == quarter(&pair[1])).count();
    assert!((180..320).contains(&alike), "{alike} like the one before");
    assert_eq!(first, delays(1));
    assert_ne!(first, delays(2));
}

#[test]
fn a_stop_releases_what_is_held_back() {
    let mut peer = Peer::of(delaying(3600 * 1000 * MS, Duration::ZERO));
    assert_eq!(peer.sends(b"Hello"), State::Hold);
    peer.session.start_draining(0);
    peer.session.refuse_input();
    assert_eq!((peer.receives(), &*peer.echo), (State::Finish, &b"Hello"[..]));
}

#[test]
fn a_rate_holds_from_the_first_byte_even_if_timers_are_late() {
    let faults = Faults { rate_limit: NonZero::new(1000), ..Faults::default() };
    let mut peer = Peer::of(faults.clone());
    peer.sends(&[1; 200]);
    assert_eq!(peer.echo.len(), 10, "ten milliseconds' worth");
    for (ms, bytes) in [(9, 10), (10, 20), (95, 100), (189, 190)] {
        assert_eq!(
            (peer.receives_until(ms * MS), peer.echo.len()),
            (State::Hold, bytes),
            "{ms} ms"
        );
    }
    assert_eq!((peer.receives_until(190 * MS), peer.echo.len()), (State::Read, 200));

    let mut late = Peer::of(faults);
    late.sends(&[1; 200]);
    while late.receives() == State::Hold {
        late.now = late.session.due().unwrap() + 10 * MS;
    }
    assert!(late.now - late.start <= 200 * MS, "{:?}", late.now - late.start);
    // Idle time does not accumulate tokens.
    late.now += 1000 * MS;
    late.sends(&[1; 200]);
    assert_eq!(late.echo.len(), 210);

    // Ten milliseconds' worth is less than a byte.
    let mut slow = Peer::of(Faults { rate_limit: NonZero::new(10), ..Faults::default() });
    slow.sends(&[1; 3]);
    for (ms, bytes) in [(0, 1), (99, 1), (100, 2), (200, 3)] {
        slow.receives_until(ms * MS);
        assert_eq!(slow.echo.len(), bytes, "{ms} ms");
    }
}

#[test]
fn a_piece_is_delayed_once_even_if_it_is_sent_slowly() {
    let rate_limit = NonZero::new(1000);
    let mut peer = Peer::of(Faults { rate_limit, ..delaying(50 * MS, Duration::ZERO) });
    peer.sends(&[1; 30]);
    for (ms, bytes) in [(49, 0), (50, 10), (60, 20), (70, 30)] {
        peer.receives_until(ms * MS);
        assert_eq!(peer.echo.len(), bytes, "{ms} ms");
    }
}

#[test]
fn slices_end_at_the_same_offsets_for_any_split() {
    let faults = Faults { slice: Some(2..=7), seed: 42, ..Faults::default() };
    let stream: Vec<u8> = (0..=255).cycle().take(1000).collect();
    let at_once = Peer::of(faults.clone()).echoes(&stream, 1000);
    let (last, others) = at_once.sends.split_last().unwrap();
    assert!(others.iter().all(|size| (2..=7).contains(size)) && *last <= 7);
    assert!((2..=7).all(|size| others.contains(&size)));
    for piece in [1, 3, 64, 999] {
        let in_pieces = Peer::of(faults.clone()).echoes(&stream, piece);
        assert_eq!(in_pieces.echo, stream);
        let ends = in_pieces.ends();
        assert!(at_once.ends().iter().all(|end| ends.contains(end)), "in pieces of {piece}");
    }
    // Each slice is delayed by itself.
    let slice = Some(2..=2);
    let mut slow = Peer::of(Faults { slice, ..delaying(20 * MS, Duration::ZERO) });
    slow.sends(b"Hello");
    for (ms, echo) in [(19, ""), (20, "He"), (40, "Hell"), (60, "Hello")] {
        slow.receives_until(ms * MS);
        assert_eq!(str::from_utf8(&slow.echo).unwrap(), echo, "{ms} ms");
    }
}

#[test]
fn the_same_bytes_are_corrupted_for_any_split() {
    let stream = vec![7; 100_000];
    let at_once = Peer::of(corrupting(0.01)).echoes(&stream, 100_000);
    let changed = at_once.echo.iter().filter(|byte| **byte != 7).count();
    // The standard deviation is 31.
    assert!((800..1200).contains(&changed), "{changed}");
    for piece in [1, 777, 64 * 1024] {
        assert!(Peer::of(corrupting(0.01)).echoes(&stream, piece).echo == at_once.echo, "{piece}");
    }
    let all = Peer::of(corrupting(1.0)).echoes(&stream, 1000);
    assert!(all.echo.iter().all(|byte| *byte != 7));
    let none = Peer::of(corrupting(0.0)).echoes(&stream, 1000);
    assert!(none.echo == stream);
}

#[test]
fn a_seed_means_the_same_faults_in_every_version() {
    let faults = Faults { slice: Some(1..=100), ..corrupting(0.01) };
    let peer = Peer::of(faults).echoes(&[0; 1000], 1000);
    let changed = peer.echo.iter().enumerate().filter(|(_, byte)| **byte != 0);
    let changed: Vec<_> = changed.map(|(offset, byte)| (offset, *byte)).take(3).collect();
    assert_eq!(peer.sends[..4], [97, 96, 36, 10]);
    assert_eq!(changed, [(25, 191), (152, 255), (181, 106)]);
}

#[test]
fn the_echo_ends_at_its_offset_in_the_requested_way() {
    let none = Faults::default;
    let rows = [
        (Faults { stall_after: Some(3), ..none() }, State::Stall, CloseReason::Done),
        (Faults { close_after: Some(3), ..none() }, State::Finish, CloseReason::Fault),
        (Faults { reset_after: Some(3), ..none() }, State::Reset, CloseReason::Fault),
        // The lowest offset counts.
        (
            Faults { stall_after: Some(4), close_after: Some(3), ..none() },
            State::Finish,
            CloseReason::Fault,
        ),
        // At the same offset a reset precedes a close, and a close precedes a stall.
        (
            Faults { reset_after: Some(3), close_after: Some(3), ..none() },
            State::Reset,
            CloseReason::Fault,
        ),
        (
            Faults { close_after: Some(3), stall_after: Some(3), ..none() },
            State::Finish,
            CloseReason::Fault,
        ),
    ];
    for (faults, next, reason) in rows {
        let mut peer = Peer::of(faults.clone());
        assert_eq!(peer.sends(b"He"), State::Read, "{faults:?}");
        assert_eq!(peer.session.reason(), CloseReason::Done);
        assert_eq!((peer.sends(b"llo"), &*peer.echo), (next, &b"Hel"[..]), "{faults:?}");
        assert_eq!((peer.session.reason(), peer.session.owed()), (reason, 0), "{faults:?}");
    }
}

#[test]
fn an_echo_can_end_before_its_first_byte() {
    let rows = [
        (Faults { stall_after: Some(0), ..Faults::default() }, State::Stall),
        (Faults { close_after: Some(0), ..Faults::default() }, State::Finish),
        (Faults { reset_after: Some(0), ..Faults::default() }, State::Reset),
    ];
    for (faults, next) in rows {
        assert_eq!(Peer::of(faults).session.state(), next);
    }
}

#[test]
fn the_last_piece_is_held_back_before_the_echo_ends() {
    let mut peer = Peer::of(Faults { close_after: Some(3), ..delaying(20 * MS, Duration::ZERO) });
    assert_eq!(peer.sends(b"Hello"), State::Hold);
    assert_eq!((peer.receives_until(20 * MS), &*peer.echo), (State::Finish, &b"Hel"[..]));
    peer.session.fin_sent();
    assert_eq!(peer.session.state(), State::Discard);
}

#[test]
fn a_broken_message_after_the_last_byte_of_a_fault_changes_nothing() {
    for (faults, state) in [
        (Faults { stall_after: Some(3), ..Faults::default() }, State::Stall),
        (Faults { reset_after: Some(3), ..Faults::default() }, State::Reset),
        (Faults { close_after: Some(3), ..Faults::default() }, State::Finish),
    ] {
        let config = Config {
            framing: crate::Framing::Line,
            max_frame: 4,
            faults: Some(faults),
            ..Config::default()
        };
        let mut peer = Peer::with(config, 0);
        assert_eq!(peer.sends(b"ab\ntoo long\n"), state);
        assert_eq!(peer.echo, b"ab\n");
    }
}

#[test]
fn a_stalled_connection_ends_when_the_server_stops() {
    let mut peer = Peer::of(Faults { stall_after: Some(3), ..Faults::default() });
    assert_eq!(peer.sends(b"Hello"), State::Stall);
    peer.session.refuse_input();
    assert_eq!(peer.session.state(), State::Finish);
}

#[test]
fn half_close_waits_for_what_is_held_back() {
    let mut peer = Peer::of(delaying(20 * MS, Duration::ZERO));
    peer.sends(b"Hello");
    peer.session.peer_ended();
    assert_eq!(peer.receives_until(19 * MS), State::Hold);
    assert_eq!((peer.receives_until(20 * MS), &*peer.echo), (State::Finish, &b"Hello"[..]));
}

#[test]
fn a_corrupted_count_does_not_affect_the_server() {
    let config =
        Config { framing: Framing::Length, faults: Some(corrupting(1.0)), ..Config::default() };
    let mut peer = Peer::with(config, 0);
    assert_eq!(peer.sends(b"\0\0\0\x02hi\0\0"), State::Read);
    assert_eq!(peer.sends(b"\0\x01!"), State::Read);
    let sent = b"\0\0\0\x02hi\0\0\0\x01!";
    assert!(peer.echo.len() == sent.len() && peer.echo.iter().zip(sent).all(|(a, b)| a != b));
    assert_eq!((peer.session.messages(), peer.session.broken()), (2, None));
}

#[test]
fn with_framing_offsets_count_whole_messages() {
    let faults = Faults { stall_after: Some(5), ..Faults::default() };
    let config = Config { framing: Framing::Line, faults: Some(faults), ..Config::default() };
    let mut peer = Peer::with(config, 0);
    assert_eq!(peer.sends(b"one"), State::Read);
    assert_eq!((peer.sends(b"\ntwo\n"), &*peer.echo), (State::Stall, &b"one\nt"[..]));
}
