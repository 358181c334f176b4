use std::io::{Read, Write};

use super::*;
use crate::Config;

/// The peer refills the receive queue before every run of the connection.
#[test]
fn a_drained_flood_is_echoed_only_up_to_its_limit() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let flood = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    flood.set_nonblocking(true).unwrap();

    Service::for_test(&Config::default(), |service, _| {
        let mut connection = Connection::new(service, Incoming { stream, peer, number: 0 }, 0);
        let _ = (&flood).write(&[1; 64 * 1024]);
        connection.start_draining(CloseReason::Stopped, 0);
        let most = connection.session.drain_limit().unwrap() as u64;
        let mut scratch = Scratch::new(0, false);
        // It takes several runs to receive as much as is echoed.
        scratch.buffer.truncate(4096);
        for _ in 0..10_000 {
            let _ = (&flood).write(&[1; 64 * 1024]);
            let _ = (&flood).read(&mut [0; 64 * 1024]);
            connection.run(service, &mut scratch, true, 0).unwrap();
        }
        assert_eq!((connection.echoed, most), (64 * 1024, 64 * 1024));
        assert_eq!(connection.session.state(), State::Discard);
    });
}
