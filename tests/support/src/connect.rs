//! Connecting to servers, and common behaviour of peers.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::{DEADLINE, eventually};

/// Connects, with a deadline on every read and write.
///
/// # Panics
///
/// Panics if it cannot connect. The functions below also panic if the server does not behave as expected.
pub fn connect(address: SocketAddr) -> TcpStream {
    with_deadlines(TcpStream::connect(address).unwrap())
}

fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// Connects from an address of this machine.
pub fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    with_deadlines(socket.into())
}

/// Connects with a receive buffer of a few KiB, so that the server has to buffer an unread echo.
pub fn connect_with_little_room(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    with_deadlines(socket.into())
}

/// Connects and sends until all buffers are full: the server then owes as much as it buffers for a peer.
pub fn connect_and_never_read(address: SocketAddr) -> TcpStream {
    let mut stream = connect_with_little_room(address);
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    while stream.write_all(&[7; 64 * 1024]).is_ok() {}
    stream
}

/// One message and its echo, on a connection that stays open.
pub fn exchange(mut stream: &TcpStream, message: &[u8]) {
    stream.write_all(message).unwrap();
    let mut echo = vec![0; message.len()];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(echo, message);
}

/// Reads until the peer's FIN.
pub fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Ends a connection with RST: data in flight is lost in both directions.
pub fn reset(stream: TcpStream) {
    // Fails only on a connection that is broken already.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Sends all of `message` in pieces of this size, half-closes, and returns the echo until the end of the stream,
/// which may be a reset.
pub fn echo_in_pieces(stream: &TcpStream, message: &[u8], piece: usize) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            // Fails if the server ends the connection.
            let _ = message.chunks(piece).try_for_each(|piece| (&*stream).write_all(piece));
            let _ = stream.shutdown(Shutdown::Write);
        });
        let mut echo = Vec::new();
        let _ = (&*stream).read_to_end(&mut echo);
        echo
    })
}

/// Whether a read or a write has ended at the socket's timeout. Unix reports it as `WouldBlock`, Windows as `TimedOut`
/// (`TcpStream::set_read_timeout`).
pub fn is_timeout(error: &io::Error) -> bool {
    error.kind() == if cfg!(windows) { ErrorKind::TimedOut } else { ErrorKind::WouldBlock }
}

/// Whether nothing arrives for a while, not even the end of the stream.
pub fn is_silent(mut stream: &TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let silent = stream.read(&mut [0]).is_err_and(|error| is_timeout(&error));
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    silent
}

/// Waits until `address` refuses connections. Connections queued there until then are reset.
pub fn wait_until_it_refuses(address: SocketAddr) {
    eventually("connections are refused", || {
        let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
        TcpStream::connect(address).is_err_and(refused)
    });
}
