//! Servers for tests of the client, well-behaved or not.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Starts a server that runs `behave` on its only connection. Returns its port.
pub fn serve_one(behave: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let (listener, port) = listen();
    thread::spawn(move || behave(not_inherited(listener.accept().unwrap().0)));
    port
}

/// Starts a server that runs `behave` on each connection, with its number from 1, on a separate thread. Returns
/// its port.
pub fn serve_each(behave: impl Fn(usize, TcpStream) + Clone + Send + 'static) -> u16 {
    let (listener, port) = listen();
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let (stream, behave) = (not_inherited(stream.unwrap()), behave.clone());
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || behave(index + 1, stream));
        }
    });
    port
}

/// A program that another test starts must not keep the connection open. std does not set this on an accepted socket of
/// Windows (`Socket::accept` in library/std/src/sys/net/connection/socket/windows.rs).
fn not_inherited(stream: TcpStream) -> TcpStream {
    #[cfg(windows)]
    socket2::SockRef::from(&stream).set_no_inherit(true).unwrap();
    stream
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Echoes until the peer has ended; `before` is called on each piece before it is echoed.
pub fn echo(mut stream: TcpStream, mut before: impl FnMut(&mut [u8])) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => {
                before(&mut buffer[..count]);
                if stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Keeps the connection open until the peer has ended.
pub fn wait_for_its_end(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
}
