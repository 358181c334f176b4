//! The built echo-server with messages: `--framing line` and `--framing length`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use echo_proto::{Framing, encode};
use echo_test_support::{Server, connect, exchange, on_every_engine, read_to_end, start};

on_every_engine! {
    only_whole_lines_are_echoed_and_a_truncated_one_is_reported,
    an_incomplete_line_is_not_echoed_before_its_end,
    messages_of_every_length_are_echoed_with_their_counts,
    a_message_over_the_limit_ends_the_connection_after_earlier_echoes,
    an_announced_length_over_the_limit_is_refused_at_once,
    an_endless_line_is_refused_at_the_limit,
    a_header_sent_byte_by_byte_does_not_affect_others,
    an_end_inside_a_count_is_reported,
}

/// Sends `bytes`, half-closes, and returns the echo.
fn echo_of(stream: &TcpStream, bytes: &[u8]) -> Vec<u8> {
    let mut writer = stream;
    writer.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_to_end(stream)
}

/// The server's message about a connection that broke the framing, without the peer.
fn complaint(server: &Server, stream: &TcpStream) -> String {
    let peer = format!("echo-server: ('127.0.0.1', {}): ", stream.local_addr().unwrap().port());
    let stderr = server.process.wait_for_stderr("connection closed\n").unwrap();
    stderr.strip_prefix(&peer).unwrap_or_else(|| panic!("{stderr}")).to_owned()
}

fn only_whole_lines_are_echoed_and_a_truncated_one_is_reported(engine: &str) {
    let server = start!(engine, &["--framing", "line"]);
    let stream = connect(server.address);
    assert_eq!(echo_of(&stream, b"one\r\n\ntwo\nthr"), b"one\r\n\ntwo\n");
    let expected = "the stream ended in the middle of a message: 3 of at least 4 bytes received; connection closed\n";
    assert_eq!(complaint(&server, &stream), expected);
    exchange(&connect(server.address), b"still serving\n");
}

fn an_incomplete_line_is_not_echoed_before_its_end(engine: &str) {
    let server = start!(engine, &["--framing", "line"]);
    let stream = connect(server.address);
    (&stream).write_all(b"Hello, ").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!((&stream).read(&mut [0]).is_err(), "nothing is echoed before the line is complete");
    stream.set_read_timeout(Some(echo_test_support::DEADLINE)).unwrap();
    (&stream).write_all(b"world\n").unwrap();
    let mut line = [0; 13];
    (&stream).read_exact(&mut line).unwrap();
    assert_eq!(&line, b"Hello, world\n");
}

fn messages_of_every_length_are_echoed_with_their_counts(engine: &str) {
    let server = start!(engine, &["--framing", "length"]);
    let mut wire = Vec::new();
    for length in [0, 1, 5, 0, 65_535, 65_536, 1_000_000, 1_048_576, 3] {
        encode(Framing::Length, &vec![b'x'; length], &mut wire).unwrap();
    }
    let stream = connect(server.address);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // No piece ends where a message ends.
            for piece in wire.chunks(7919) {
                (&stream).write_all(piece).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_to_end(&stream) == wire);
    });
}

fn a_message_over_the_limit_ends_the_connection_after_earlier_echoes(engine: &str) {
    let server = start!(engine, &["--framing", "length", "--max-frame", "1k"]);
    let stream = connect(server.address);
    // A message of the limit is allowed. One byte more is not, and is refused by its count alone.
    let mut wire = Vec::new();
    encode(Framing::Length, &[1; 1024], &mut wire).unwrap();
    let whole = wire.len();
    wire.extend_from_slice(&1025_u32.to_be_bytes());
    (&stream).write_all(&wire).unwrap();
    assert_eq!(read_to_end(&stream).len(), whole, "no error text");
    let expected = "a message of at least 1025 bytes is over the limit of 1024 (--max-frame); \
                    connection closed\n";
    assert_eq!(complaint(&server, &stream), expected);
    exchange(&connect(server.address), b"\0\0\0\x02ok");
}

fn an_announced_length_over_the_limit_is_refused_at_once(engine: &str) {
    let server = start!(engine, &["--framing", "length"]);
    let stream = connect(server.address);
    (&stream).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(read_to_end(&stream), b"");
    // "GET " as a number.
    let message = complaint(&server, &stream);
    let expected = "a message of at least 1195725856 bytes is over the limit of 1048576 (--max-frame); connection closed\n";
    assert_eq!(message, expected);
}

fn an_endless_line_is_refused_at_the_limit(engine: &str) {
    let server = start!(engine, &["--framing", "line", "--max-frame", "64"]);
    let stream = connect(server.address);
    (&stream).write_all(&[b'x'; 64]).unwrap();
    (&stream).write_all(b"y").unwrap();
    assert_eq!(read_to_end(&stream), b"");
    let message = complaint(&server, &stream);
    assert!(
        message.starts_with("a message of at least 65 bytes is over the limit of 64"),
        "{message}"
    );
}

fn a_header_sent_byte_by_byte_does_not_affect_others(engine: &str) {
    let server = start!(engine, &["--framing", "length", "--threads", "1"]);
    let slow = connect(server.address);
    // Otherwise Nagle's algorithm would join the bytes.
    slow.set_nodelay(true).unwrap();
    let quick = connect(server.address);
    for byte in *b"\0\0\0\x02h" {
        (&slow).write_all(&[byte]).unwrap();
        exchange(&quick, b"\0\0\0\x05quick");
        // So that each byte is received alone, on every engine.
        std::thread::sleep(Duration::from_millis(5));
    }
    (&slow).write_all(b"i").unwrap();
    let mut message = [0; 6];
    (&slow).read_exact(&mut message).unwrap();
    assert_eq!(&message, b"\0\0\0\x02hi");
}

fn an_end_inside_a_count_is_reported(engine: &str) {
    let server = start!(engine, &["--framing", "length"]);
    let stream = connect(server.address);
    assert_eq!(echo_of(&stream, b"\0\0"), b"");
    let message = complaint(&server, &stream);
    assert!(
        message.contains("in the middle of a message: 2 of at least 4 bytes received"),
        "{message}"
    );
}
