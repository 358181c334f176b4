//! Table-driven tests of the session: each row is a step, what it sends, and the state after it.

mod faults;

use std::io::Write;

use super::*;
use crate::Faults;
use echo_proto::Framing;

/// A step of a session. `usize` fields are how many bytes the socket has room for.
enum Step {
    Sends(&'static str, usize),
    HasRoom(usize),
    Ends,
    IsRefused,
    /// The server stops; this many bytes may still be echoed.
    Drains(u32),
    GetsFin,
}
use Step::{Drains, Ends, GetsFin, HasRoom, IsRefused, Sends};

/// Runs a table of steps.
fn run(framing: Framing, table: &[(Step, &str, State)]) -> Session {
    let config = Config { framing, max_frame: 4, ..Config::default() };
    let mut session = Session::new(&config, 0);
    assert_eq!(session.state(), State::Read);
    for (row, (event, echo, next)) in table.iter().enumerate() {
        let mut sent = Vec::new();
        let mut room = match event {
            Sends(_, room) | HasRoom(room) => *room,
            Ends | IsRefused | Drains(_) | GetsFin => 0,
        };
        let mut send = |bytes: &[u8]| {
            let count = bytes.len().min(room);
            room -= count;
            sent.extend_from_slice(&bytes[..count]);
            Ok(count)
        };
        let count = match event {
            Sends(piece, _) => session.received(piece.as_bytes(), &mut send).unwrap(),
            HasRoom(_) => session.flush(&mut send).unwrap(),
            Ends => (session.peer_ended(), 0).1,
            IsRefused => (session.refuse_input(), 0).1,
            Drains(limit) => (session.start_draining(*limit), 0).1,
            GetsFin => (session.fin_sent(), 0).1,
        };
        assert_eq!(str::from_utf8(&sent).unwrap(), *echo, "row {row}");
        assert_eq!((count, session.state()), (echo.len(), *next), "row {row}");
    }
    session
}

#[test]
fn bytes_are_echoed_as_they_arrive_until_both_sides_have_sent_fin() {
    let session = run(
        Framing::Raw,
        &[
            (Sends("longer than a frame", 99), "longer than a frame", State::Read),
            (Ends, "", State::Finish),
            (GetsFin, "", State::Close),
        ],
    );
    assert_eq!((session.broken(), session.messages(), session.owed()), (None, 0, 0));
}

#[test]
fn bytes_without_room_are_owed_and_nothing_is_read_meanwhile() {
    run(
        Framing::Raw,
        &[
            (Sends("Hello", 2), "He", State::Write),
            (HasRoom(0), "", State::Write),
            (HasRoom(1), "l", State::Write),
            (HasRoom(9), "lo", State::Read),
            (Sends("again", 0), "", State::Write),
            (HasRoom(5), "again", State::Read),
        ],
    );
    assert_eq!(run(Framing::Raw, &[(Sends("Hello", 2), "He", State::Write)]).owed(), 3);
}

#[test]
fn bytes_in_the_pipe_are_owed_before_those_that_follow() {
    let mut session = Session::new(&Config::default(), 0);
    session.owe_piped(10);
    assert_eq!((session.state(), session.owed(), session.piped()), (State::Write, 10, 10));
    assert!(!session.is_passthrough());
    session.peer_ended();
    session.unsent(b"after");
    session.piped_sent(4);
    assert_eq!((session.state(), session.owed(), session.piped()), (State::Write, 11, 6));
    session.piped_sent(6);
    assert_eq!((session.owed(), session.piped()), (5, 0));
    let mut sent = Vec::new();
    session.flush(|bytes| Ok(sent.write(bytes).unwrap())).unwrap();
    assert_eq!((sent.as_slice(), session.state()), (&b"after"[..], State::Finish));
}

#[test]
fn half_close_waits_for_the_owed_bytes_before_the_fin() {
    run(
        Framing::Raw,
        &[
            (Sends("Hello", 1), "H", State::Write),
            (Ends, "", State::Write),
            (HasRoom(3), "ell", State::Write),
            (HasRoom(3), "o", State::Finish),
            (GetsFin, "", State::Close),
        ],
    );
}

#[test]
fn a_stop_echoes_what_is_owed_and_drops_the_rest() {
    run(
        Framing::Raw,
        &[
            (Sends("Hello", 1), "H", State::Write),
            (IsRefused, "", State::Write),
            (HasRoom(9), "ello", State::Finish),
            (GetsFin, "", State::Discard),
            (Ends, "", State::Close),
        ],
    );
}

#[test]
fn a_peer_that_ended_is_not_waited_for_when_the_server_stops() {
    run(
        Framing::Raw,
        &[(Ends, "", State::Finish), (IsRefused, "", State::Finish), (GetsFin, "", State::Close)],
    );
}

#[test]
fn only_whole_messages_are_echoed() {
    let session = run(
        Framing::Line,
        &[
            (Sends("a", 9), "", State::Read),
            (Sends("b\nc", 9), "ab\n", State::Read),
            (Sends("\n\nd", 9), "c\n\n", State::Read),
            (Sends("\nx\ny\n", 1), "d", State::Write),
            (HasRoom(9), "\nx\ny\n", State::Read),
            (Ends, "", State::Finish),
        ],
    );
    assert_eq!((session.broken(), session.messages()), (None, 6));
}

#[test]
fn messages_before_a_broken_one_are_echoed_and_nothing_after_it() {
    let session = run(
        Framing::Length,
        &[
            (Sends("\0\0\0\x01a\0\0\0\x05", 9), "\0\0\0\x01a", State::Finish),
            (Sends("\0\0\0\x01b", 9), "", State::Finish),
            (GetsFin, "", State::Discard),
            (Ends, "", State::Close),
        ],
    );
    let too_large = Some(FrameError::FrameTooLarge { len: 5, max: 4 });
    assert_eq!((session.broken(), session.messages()), (too_large, 1));
    assert_eq!(session.reason(), CloseReason::Framing);
}

#[test]
fn an_end_inside_a_message_breaks_the_framing_and_a_stop_there_does_not() {
    let truncated = Some(FrameError::Truncated { received: 2, missing: 2 });
    let ended = [(Sends("\0\0", 9), "", State::Read), (Ends, "", State::Finish)];
    assert_eq!(run(Framing::Length, &ended).broken(), truncated);
    let stopped = run(
        Framing::Length,
        &[
            (Sends("\0\0", 9), "", State::Read),
            (IsRefused, "", State::Finish),
            (Ends, "", State::Finish),
        ],
    );
    assert_eq!(stopped.broken(), None);
}

#[test]
fn after_a_broken_message_nothing_is_echoed_even_while_bytes_are_owed() {
    // On a ring, bytes that the kernel had already received are delivered after the framing broke.
    run(
        Framing::Line,
        &[
            (Sends("ab\nab", 1), "a", State::Write),
            (Sends("cdefg", 9), "", State::Write),
            (Sends("x\n", 9), "", State::Write),
            (HasRoom(9), "b\n", State::Finish),
            (Sends("y\n", 9), "", State::Finish),
            (GetsFin, "", State::Discard),
            (Sends("z\n", 9), "", State::Discard),
        ],
    );
}

#[test]
fn after_input_was_refused_nothing_is_echoed_even_while_bytes_are_owed() {
    run(
        Framing::Raw,
        &[
            (Sends("Hello", 1), "H", State::Write),
            (IsRefused, "", State::Write),
            (Sends("late", 9), "", State::Write),
            (HasRoom(9), "ello", State::Finish),
        ],
    );
}

#[test]
fn a_drain_echoes_up_to_its_limit_and_nothing_after_it() {
    run(
        Framing::Raw,
        &[
            (Sends("Hello", 1), "H", State::Write),
            (Drains(3), "", State::Write),
            (Sends("abcd", 9), "", State::Write),
            (Sends("e", 9), "", State::Write),
            (HasRoom(9), "elloabc", State::Finish),
        ],
    );
}

#[test]
fn a_drain_echoes_no_message_that_exceeds_its_limit() {
    run(
        Framing::Line,
        &[
            (Sends("a", 9), "", State::Read),
            (Drains(4), "", State::Read),
            (Sends("\nb\ncd\n", 9), "a\nb\n", State::Finish),
        ],
    );
}

#[test]
fn a_drain_ends_when_nothing_more_is_queued() {
    run(
        Framing::Raw,
        &[
            (Drains(9), "", State::Read),
            (Sends("ab", 9), "ab", State::Read),
            (IsRefused, "", State::Finish),
        ],
    );
    run(Framing::Raw, &[(Drains(0), "", State::Finish)]);
}

#[test]
fn unsent_bytes_are_owed_even_after_input_was_refused() {
    let mut session = Session::new(&Config::default(), 0);
    session.refuse_input();
    session.unsent(b"sent before");
    assert_eq!((session.state(), session.owed()), (State::Write, 11));
}

#[test]
fn an_injected_end_is_not_undone_by_the_peers_fin() {
    for (faults, state) in [
        (Faults { reset_after: Some(0), ..Faults::default() }, State::Reset),
        (Faults { stall_after: Some(0), ..Faults::default() }, State::Stall),
    ] {
        let mut session = Session::new(&Config { faults: Some(faults), ..Config::default() }, 0);
        session.peer_ended();
        assert_eq!(session.state(), state);
    }
}
