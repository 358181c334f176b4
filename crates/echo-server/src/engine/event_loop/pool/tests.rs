//! Tests of the pool with real threads.

use std::net::{TcpListener, TcpStream};

use super::*;
use crate::Config;

#[test]
fn a_connection_goes_to_the_worker_with_the_fewest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap();
    let incoming = || Incoming { stream: TcpStream::connect(peer).unwrap(), peer, number: 0 };
    Service::for_test(&Config::default(), |service, _| {
        let wakers = (0..3).map(|_| Box::new(|| {}) as Waker).collect();
        let pool = WorkerPool::new(service, wakers, 1);
        let own = &pool.workers[0];
        let kept = (0..6).filter(|_| pool.dispatch(incoming(), own).is_some()).count();
        let in_inboxes = || [0, 1, 2].map(|handle: usize| pool.workers[handle].take_inbox().len());
        assert_eq!((kept, in_inboxes(), pool.open()), (2, [0, 2, 2], 6));
        pool.ended(&pool.workers[2]);
        assert!(pool.dispatch(incoming(), own).is_none());
        assert_eq!(in_inboxes(), [0, 0, 1]);
    });
}

#[test]
fn a_worker_keeps_its_connections_if_each_accepts() {
    Service::for_test(&Config::default(), |service, _| {
        let pool = WorkerPool::new(service, vec![Box::new(|| {}), Box::new(|| {})], 2);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap();
        for number in 0..3 {
            let incoming = Incoming { stream: TcpStream::connect(peer).unwrap(), peer, number };
            assert!(pool.dispatch(incoming, &pool.workers[1]).is_some());
        }
        assert_eq!(pool.workers[1].open.load(Relaxed), 3);
    });
}
