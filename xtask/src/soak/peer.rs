//! A peer that connects to a server repeatedly, each time with a random behaviour. It sends a pattern, so that
//! it can check each byte of the echo.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use echo_proto::Pattern;
use echo_test_support::{connect_with_little_room, reset};
use fastrand::Rng;

/// How long a peer waits for the next byte before the server counts as failed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Totals over the visits of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Visits {
    pub(super) visits: u64,
    /// Bytes echoed, all of them correct.
    pub(super) bytes: u64,
}

/// A peer's behaviour during a visit.
#[derive(Clone, Copy, Debug)]
enum Behaviour {
    /// Sends pieces of any size while reading, then half-closes and expects the rest and FIN.
    Converse,
    /// Like `Converse`, but byte by byte.
    SendSlowly,
    /// Like `Converse`, with a small receive buffer and slow reads.
    ReadSlowly,
    /// Opens many short connections, one after the other.
    Reconnect,
    /// Like `Converse`, as fast as possible.
    Flood,
    /// Sends until the buffers are full, and closes without having read.
    NeverRead,
    /// Resets the connection in the middle of an echo.
    Reset,
}

const BEHAVIOURS: [Behaviour; 7] = [
    Behaviour::Converse,
    Behaviour::SendSlowly,
    Behaviour::ReadSlowly,
    Behaviour::Reconnect,
    Behaviour::Flood,
    Behaviour::NeverRead,
    Behaviour::Reset,
];

/// Visits the server until `stop` is set. Once `server_ending` is set, a connection may end at any time.
pub(super) fn visit(
    server: SocketAddr,
    mut random: Rng,
    stop: &AtomicBool,
    server_ending: &AtomicBool,
) -> Result<Visits> {
    let mut totals = Visits::default();
    while !stop.load(Ordering::SeqCst) {
        let behaviour = BEHAVIOURS[random.usize(..BEHAVIOURS.len())];
        let stream = random.u64(..);
        match visit_once(server, behaviour, &mut random, Pattern::new(stream)) {
            Ok(bytes) => totals.bytes += bytes,
            // A wrong byte is always an error; other errors are expected when the server ends.
            Err(error) if server_ending.load(Ordering::SeqCst) && !is_mismatch(&error) => break,
            Err(error) => return Err(error.context(format!("{behaviour:?}, stream {stream}"))),
        }
        totals.visits += 1;
    }
    Ok(totals)
}

/// Whether a wrong byte was received, as opposed to none.
fn is_mismatch(error: &anyhow::Error) -> bool {
    error.downcast_ref::<echo_proto::Mismatch>().is_some()
}

/// Visits the server once. Returns how many bytes were echoed.
fn visit_once(
    server: SocketAddr,
    behaviour: Behaviour,
    random: &mut Rng,
    pattern: Pattern,
) -> Result<u64> {
    match behaviour {
        Behaviour::Converse => {
            let total = any_size(random);
            converse(&connect(server)?, pattern, total, random, 64 * 1024, Duration::ZERO)
        }
        Behaviour::SendSlowly => {
            converse(&connect(server)?, pattern, 300, random, 1, Duration::ZERO)
        }
        Behaviour::ReadSlowly => {
            let stream = connect_with_little_room(server);
            converse(&stream, pattern, 40_000, random, 9_000, Duration::from_millis(1))
        }
        Behaviour::Reconnect => {
            let mut bytes = 0;
            for _ in 0..20 {
                let total = 1 + random.u64(..2000);
                bytes += converse(&connect(server)?, pattern, total, random, 2000, Duration::ZERO)?;
            }
            Ok(bytes)
        }
        Behaviour::Flood => {
            let total = 8 * 1024 * 1024;
            converse(&connect(server)?, pattern, total, random, 256 * 1024, Duration::ZERO)
        }
        Behaviour::NeverRead => {
            let stream = connect_with_little_room(server);
            never_read(&stream, pattern)?;
            Ok(0)
        }
        Behaviour::Reset => {
            let stream = connect(server)?;
            let length = 1 + random.usize(..100_000);
            let bytes = make(pattern, 0, length);
            (&stream).write_all(&bytes)?;
            let mut some = vec![0; 1 + random.usize(..length)];
            let count = (&stream).read(&mut some)?;
            ensure!(count > 0, "the server ended the connection after {length} bytes");
            pattern.check(0, &some[..count])?;
            reset(stream);
            Ok(count as u64)
        }
    }
}

fn connect(server: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(server).context("cannot connect")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A random size from one byte to 1 MiB, with each power of two equally likely.
fn any_size(random: &mut Rng) -> u64 {
    let max = 1_u64 << random.u32(..=20);
    1 + random.u64(..max)
}

fn make(pattern: Pattern, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    pattern.fill(offset, &mut bytes);
    bytes
}

/// Sends `total` bytes in pieces of up to `piece` bytes and half-closes, on a second thread. Reads pieces of the
/// same size with a pause after each, and expects the whole echo and FIN.
fn converse(
    stream: &TcpStream,
    pattern: Pattern,
    total: u64,
    random: &mut Rng,
    piece: usize,
    pause: Duration,
) -> Result<u64> {
    let mut pieces = random.fork();
    let mut sender = stream;
    thread::scope(|scope| {
        let sending = scope.spawn(move || -> io::Result<()> {
            let mut sent = 0;
            while sent < total {
                let length = 1 + pieces.usize(..piece);
                let length = length.min((total - sent) as usize);
                sender.write_all(&make(pattern, sent, length))?;
                sent += length as u64;
            }
            sender.shutdown(Shutdown::Write)
        });
        let received = receive_all(stream, pattern, random, piece, pause);
        if received.is_err() {
            // The sender must not wait for a server that has failed.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let sent = sending.join().expect("it does not panic");
        let received = received?;
        sent.context("cannot send")?;
        ensure!(received == total, "{received} of {total} bytes were received before the end");
        Ok(received)
    })
}

fn receive_all(
    mut stream: &TcpStream,
    pattern: Pattern,
    random: &mut Rng,
    piece: usize,
    pause: Duration,
) -> Result<u64> {
    let mut buffer = vec![0; piece];
    let mut received = 0;
    loop {
        let room = 1 + random.usize(..piece);
        match stream.read(&mut buffer[..room]) {
            Ok(0) => return Ok(received),
            Ok(count) => {
                pattern.check(received, &buffer[..count])?;
                received += count as u64;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Err(anyhow!("nothing was received for {TIMEOUT:?} after {received} bytes"));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("after {received} bytes"));
            }
        }
        thread::sleep(pause);
    }
}

/// Sends until no byte was accepted for 100 ms, but for at most a second.
fn never_read(mut stream: &TcpStream, pattern: Pattern) -> io::Result<()> {
    stream.set_write_timeout(Some(Duration::from_millis(100)))?;
    let (started, piece) = (Instant::now(), make(pattern, 0, 64 * 1024));
    while started.elapsed() < Duration::from_secs(1) {
        match stream.write_all(&piece) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
