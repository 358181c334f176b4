//! `recv` and `sendall` as blocking calls with the socket's timeouts.

#[cfg_attr(windows, path = "blocking/windows.rs")]
mod call;

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub(super) use self::call::prepare;

use crate::progress::{Millis, SendProgress};
use crate::service::Service;

/// One `recv`. Returns the number of bytes, 0 at the end of the stream, or `None` after the socket's timeout.
pub(super) fn receive(stream: &TcpStream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match call::recv(stream, buffer) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

/// Python's `sendall`. Fails with `WouldBlock` if the peer makes too little progress for the write timeout.
///
/// The kernel wakes a blocked send only when a third of the send buffer is free. A slow peer may need longer for
/// that, so each socket timeout retries the send to observe smaller progress.
///
/// Bytes that were sent are added to `echoed` and to the counters even if the rest fails.
pub(super) fn send_all(
    stream: &TcpStream,
    bytes: &[u8],
    service: &Service<'_>,
    echoed: &mut u64,
) -> io::Result<usize> {
    let (mut sent, started) = (0, Instant::now());
    let now = || started.elapsed().as_millis() as Millis;
    let mut progress = SendProgress::start(bytes.len(), 0);
    while sent < bytes.len() {
        // Before the call: room that became free while the process was suspended counts as progress.
        let asked = now();
        match call::send(stream, &bytes[sent..]) {
            Ok(count) => {
                sent += count;
                *echoed += count as u64;
                service.counters.echoed(count as u64);
                progress.observe(bytes.len() - sent, now());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let stalled = Duration::from_millis(progress.stalled_for(asked));
        if sent < bytes.len() && service.config.write_timeout.is_some_and(|limit| stalled >= limit)
        {
            return Err(ErrorKind::WouldBlock.into());
        }
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use std::net::TcpListener;

    #[test]
    fn what_was_sent_before_a_send_fails_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _never_reads = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        // As those of the acceptor are.
        stream.set_nonblocking(true).unwrap();
        prepare(&stream).unwrap();
        let limit = Duration::from_millis(100);
        stream.set_write_timeout(Some(limit / 4)).unwrap();
        let config = Config { write_timeout: Some(limit), ..Config::default() };
        Service::for_test(&config, |service, _| {
            let (mut echoed, bytes) = (0, vec![1; 64 * 1024 * 1024]);
            // One call of Windows takes any number of bytes while its buffer is not full.
            let piece = if cfg!(windows) { 64 * 1024 } else { bytes.len() };
            let mut pieces = bytes.chunks(piece);
            let failed = |piece| send_all(&stream, piece, service, &mut echoed).err();
            let error = pieces.find_map(failed).unwrap();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!((1..bytes.len() as u64).contains(&echoed), "{echoed}");
            assert_eq!(service.counters.read().bytes, echoed);
        });
    }
}
