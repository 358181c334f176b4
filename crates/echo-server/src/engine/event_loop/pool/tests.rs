//! Tests of the pool with real threads.

use std::net::{TcpListener, TcpStream};
#[cfg(unix)]
use std::{convert::Infallible, os::fd::AsFd as _};

use super::*;
use crate::Config;
#[cfg(unix)]
use crate::engine::event_loop::{Event, Poller};
#[cfg(unix)]
use crate::platform;

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

#[cfg(unix)]
#[test]
fn a_worker_that_fails_closes_its_listener_and_ends_the_server() {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [first, _] = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
    let groups = listeners.map(|listener| vec![listener]).into();
    let result = Service::for_test(&Config::default(), |service, shutdown| {
        let acceptors = Acceptor::per_group(groups, service.config);
        let loops = vec![(true, Box::new(|| {}) as Waker), (false, Box::new(|| {}))];
        serve(acceptors, shutdown, service, loops, |fails, mut context| {
            if fails {
                return context.work(FailingPoller::default());
            }
            while service.phase() == Phase::Running {
                sleep(Duration::from_millis(1));
            }
            // The worker that failed waits until this one accepts no more connections.
            assert!(TcpStream::connect(first).is_err(), "it still listens");
            assert_eq!((context.pool.phase(), service.phase()), (Phase::Running, Phase::Draining));
            drop(context.acceptor.take());
            context.pool.accept_finished(None);
        })
    });
    assert_eq!(result.unwrap_err().to_string(), "cannot wait for events: that of a test");
}

/// A poller whose waits fail, and which holds the listeners, as a ring does that polls them.
#[cfg(unix)]
#[derive(Default)]
struct FailingPoller(Vec<std::os::fd::OwnedFd>);

#[cfg(unix)]
impl Poller for FailingPoller {
    type Buf = Infallible;

    const REPORTS_PENDING_INPUT: bool = false;

    fn listen(&mut self, listeners: &mut [platform::TcpListener]) -> io::Result<()> {
        for listener in listeners {
            self.0.push(listener.as_fd().try_clone_to_owned()?);
        }
        Ok(())
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<usize> {
        Err(io::Error::other("that of a test"))
    }

    fn next(&mut self) -> Option<Event<Infallible>> {
        None
    }

    fn register(&mut self, _: usize, _: &mut platform::TcpStream) -> io::Result<()> {
        Ok(())
    }

    fn bytes<'a>(&'a self, buf: &'a Infallible) -> &'a [u8] {
        match *buf {}
    }

    fn stop_listening(&mut self, _: Vec<platform::TcpListener>) {}
    fn deregister(&mut self, _: usize, _: platform::TcpStream) {}
    fn recycle(&mut self, _: Infallible) {}
    fn send(&mut self, _: usize, _: Infallible) {}
    fn defer(&mut self, _: usize, _: Infallible) {}
}
