//! Messages over a socket: an echo server on one thread, its client on another.
//!
//! `cargo run -p echo-proto --example framed` starts its own server; with an address, as in
//! `… --example framed 127.0.0.1:65432`, it connects to that one (`echo-server --framing length`).

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use echo_proto::blocking::{MessageReader, write_message};
use echo_proto::{Framing, repr};

const MAX_FRAME: u64 = 1024 * 1024;

fn main() -> io::Result<()> {
    let address = match std::env::args().nth(1) {
        Some(address) => address,
        None => start_server()?,
    };
    let stream = TcpStream::connect(address)?;
    let mut replies = MessageReader::new(&stream, Framing::Length, MAX_FRAME);
    let mut reply = Vec::new();
    // However TCP splits the stream, three messages are sent and three received, including the
    // empty one.
    for message in [&b"Hello, world"[..], b"", b"two\nlines"] {
        write_message(&stream, Framing::Length, message)?;
        assert!(replies.read_message(&mut reply)?, "the server closed the connection");
        println!("Received {}", repr(&reply));
    }
    stream.shutdown(Shutdown::Write)?;
    assert!(!replies.read_message(&mut reply)?, "nothing else is received");
    Ok(())
}

fn start_server() -> io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    thread::spawn(move || serve(&listener.accept()?.0));
    Ok(address)
}

fn serve(stream: &TcpStream) -> io::Result<()> {
    let mut messages = MessageReader::new(stream, Framing::Length, MAX_FRAME);
    let mut message = Vec::new();
    while messages.read_message(&mut message)? {
        println!("Echoing  {}", repr(&message));
        write_message(stream, Framing::Length, &message)?;
    }
    Ok(())
}
