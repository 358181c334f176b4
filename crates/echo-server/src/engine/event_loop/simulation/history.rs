//! What happens outside of the worker: what peers do, when it is stopped, and when everything is over.

use std::cell::RefCell;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::ControlFlow;
use std::rc::Rc;

use echo_simulation::{Driver, Instant, with};
use echo_test_support::model::Model;

use super::case::{Case, LONG};
use super::judge::{Facts, check_at_rest};
use super::peer::Peer;
use super::supervisor::Supervisor;
use crate::engine::event_loop::connection::MAX_OWED;
use crate::engine::event_loop::pool::{WorkerHandle, WorkerPool};
use crate::listen::accept::{AcceptState, Acceptor};
use crate::shutdown::Phase;

/// Ports of peers, from which events tell their connection.
pub(super) const FIRST_PORT: u16 = 1000;
/// How often the worker may wake up for a time, and nothing follows from that, before everything is at rest.
const RESTS: usize = 10;
/// The same while it is being stopped.
const LAST_RESTS: usize = 2000;
/// Nothing is at rest before: longer than all deadlines, and than a connection lingers.
const REST: u64 = 700_000_000;

/// How often a peer sends until the server has ended its connection: more than what is received when it is stopped.
const MOST_FLOODS: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Peers do anything.
    Script,
    /// They read, and do nothing else.
    Settle,
    /// Most of them finish.
    Finish,
    /// The server is stopped.
    Stop,
}

/// The driver of a history.
pub(super) struct History {
    pub(super) case: &'static Case,
    pub(super) pool: Rc<WorkerPool<'static>>,
    /// Of the worker that accepts, if it is another one.
    pub(super) own: WorkerHandle,
    /// The same.
    pub(super) acceptor: Option<Acceptor>,
    pub(super) accept_at: Option<Instant>,
    pub(super) facts: Rc<RefCell<Facts>>,
    /// Connections, and steps of the script, that are still to come.
    pub(super) connections: usize,
    pub(super) left: usize,
    pub(super) peers: Vec<Peer>,
    pub(super) supervisor: Supervisor,
    /// The peer that sends on and on while the server is being stopped, and how often it still does.
    flood: Option<Peer>,
    floods: usize,
    part: Part,
    rests: usize,
    rests_since: u64,
    progress: usize,
}

/// What a history begins with.
pub(super) struct Beginning {
    pub(super) case: &'static Case,
    pub(super) pool: Rc<WorkerPool<'static>>,
    pub(super) own: WorkerHandle,
    pub(super) acceptor: Option<Acceptor>,
    pub(super) facts: Rc<RefCell<Facts>>,
}

impl History {
    pub(super) fn new(beginning: Beginning, connections: usize, steps: usize) -> Self {
        let Beginning { case, pool, own, acceptor, facts } = beginning;
        Self {
            case,
            pool,
            own,
            acceptor,
            accept_at: None,
            facts,
            connections,
            left: steps,
            peers: Vec::new(),
            supervisor: Supervisor::new(),
            flood: None,
            floods: MOST_FLOODS,
            part: Part::Script,
            rests: 0,
            rests_since: 0,
            progress: 0,
        }
    }

    /// One thing that a peer does, or that happens to the server.
    fn script(&mut self) {
        let (roll, which) = with(|world| (world.rng.u8(..100), world.rng.usize(..8)));
        let Some(peer) = self.peers.get(which % self.peers.len().max(1)).copied() else {
            return self.connect();
        };
        match roll {
            0..14 => self.connect(),
            14..22 => drop(peer.sends_nonsense()),
            22..26 => drop(peer.sends_urgent()),
            26..34 => with(|world| world.sockets[peer.socket].reads = false),
            34..40 => with(|world| world.sockets[peer.socket].reads = true),
            40..46 => self.finish(peer),
            46..50 => self.reset(peer),
            50..53 => with(|world| world.now += world.rng.u64(..300_000_000)),
            53 => self.stop(),
            54 if with(|world| world.rng.bool()) => self.abort(),
            _ => drop(peer.sends_messages()),
        }
    }

    fn connect(&mut self) {
        let Some(left) = self.connections.checked_sub(1) else { return };
        self.connections = left;
        let mut model = Model::new(self.case.rules);
        let stopped = self.facts.borrow().stopped;
        let config = self.case.service.config;
        if stopped || config.once && !self.peers.is_empty() {
            model.may_be_refused();
            model.stopped(0);
        }
        let limit = MAX_OWED + self.case.frame;
        let connected = with(|world| {
            let index = world.sockets.len() as u16;
            let port = FIRST_PORT + index;
            let address: SocketAddr = match world.rng.u8(..4) {
                0 => (Ipv4Addr::new(10, 0, 0, 1), port).into(),
                1 => (Ipv6Addr::LOCALHOST, port).into(),
                _ => (Ipv4Addr::new(10, 0, 0, 2), port).into(),
            };
            let buffers = [world.rng.usize(1..60), world.rng.usize(1..120), world.rng.usize(1..60)];
            let socket = world.connect(address, model, buffers)?;
            world.sockets[socket].limit = limit;
            Some(socket)
        });
        self.peers.extend(connected.map(|socket| Peer::new(socket, self.case.rules)));
    }

    fn finish(&mut self, peer: Peer) {
        with(|world| {
            let tcp = &world.sockets[peer.socket];
            if !tcp.fin && !tcp.reset {
                world.peer_finishes(peer.socket);
            }
        });
    }

    fn reset(&mut self, peer: Peer) {
        with(|world| {
            if !world.sockets[peer.socket].reset {
                world.peer_resets(peer.socket);
            }
        });
    }

    fn stop(&mut self) {
        let mut facts = self.facts.borrow_mut();
        if !std::mem::replace(&mut facts.stopped, true) {
            with(|world| {
                world.note("the server is told to stop".to_owned());
                for tcp in &mut world.sockets {
                    tcp.model.stopped(tcp.delivered);
                }
                facts.connections_at_stop = world.sockets.len();
            });
            self.case.service.handle.stop();
        }
    }

    fn abort(&mut self) {
        self.stop();
        self.facts.borrow_mut().aborted = true;
        with(|world| world.note("the server is told to abort".to_owned()));
        self.case.service.handle.abort();
    }

    /// What the worker that accepts for this one does, if there is one. Returns whether it did anything.
    fn accept_elsewhere(&mut self) -> bool {
        let (queued, now) = with(|world| (world.has_queued(), Instant(world.now)));
        let due = self.accept_at.is_some_and(|time| time <= now);
        let phase = self.case.service.phase();
        if self.acceptor.is_none()
            || !(queued && self.accept_at.is_none() || due || phase > Phase::Running)
        {
            return false;
        }
        let (mut acceptor, service) =
            (self.acceptor.take().expect("checked above"), self.case.service);
        let state = acceptor.accept_ready(service, |incoming| {
            service.connected(incoming.peer);
            assert!(self.pool.dispatch(incoming, &self.own).is_none());
            Ok(if service.config.once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        match state.expect("no error of accept is fatal") {
            AcceptState::Wait(backoff) => {
                self.accept_at = backoff.map(|backoff| Instant::now() + backoff);
                self.acceptor = Some(acceptor);
            }
            AcceptState::Finished => {
                self.accept_at = None;
                drop(acceptor.into_listeners());
                self.pool.accept_finished(None);
            }
        }
        true
    }

    /// A peer goes on sending while its connection is open. Returns whether it did.
    fn flood(&mut self) -> bool {
        let Some(peer) = self.flood.filter(|peer| peer.can_flood()) else { return false };
        let empty = with(|world| {
            let tcp = &world.sockets[peer.socket];
            tcp.wire.len() < tcp.delivered + 40
        });
        if empty {
            self.floods -= 1;
            assert!(self.floods > 0, "a flood keeps the server from stopping");
            peer.floods();
        }
        empty
    }

    /// Lets the time pass until `time`. Returns whether it had not come yet.
    fn pass_until(time: Option<u64>) -> bool {
        with(|world| {
            let passes = time.is_some_and(|time| time > world.now);
            if passes {
                world.now = time.unwrap_or(0);
            }
            passes
        })
    }

    /// Begins the next part of the history.
    fn next_part(&mut self) {
        self.rests = 0;
        self.part = match self.part {
            Part::Script => {
                with(|world| world.sockets.iter_mut().for_each(|tcp| tcp.reads = true));
                Part::Settle
            }
            Part::Settle => {
                check_at_rest(self.case, &self.facts.borrow(), false);
                for peer in self.peers.clone() {
                    match with(|world| world.rng.u8(..8)) {
                        0 => self.reset(peer),
                        1 => {}
                        _ => self.finish(peer),
                    }
                }
                Part::Finish
            }
            Part::Finish | Part::Stop => {
                check_at_rest(self.case, &self.facts.borrow(), true);
                if with(|world| world.rng.bool()) {
                    self.flood = self.peers.iter().copied().find(|peer| peer.can_flood());
                }
                self.stop();
                Part::Stop
            }
        };
        with(|world| world.note(format!("-- {:?} --", self.part)));
    }
}

impl Driver for History {
    fn step(&mut self) -> bool {
        let roll: u8 = with(|world| world.rng.u8(..));
        if roll < 100 && self.supervisor.step(&self.pool) || roll < 160 && self.accept_elsewhere() {
            return true;
        }
        if self.part == Part::Script && self.left > 0 {
            self.left -= 1;
            self.script();
            return true;
        }
        if self.flood() {
            return true;
        }
        self.supervisor.step(&self.pool) || self.accept_elsewhere()
    }

    fn at_rest(&mut self, time_passes: bool) -> bool {
        if self.part == Part::Script {
            self.next_part();
            return true;
        }
        let (progress, now) = with(|world| {
            let of_each = world.sockets.iter().map(|tcp| {
                tcp.consumed + tcp.echo.len() + tcp.arrived + tcp.acked + usize::from(tcp.closed)
            });
            (of_each.sum(), world.now - world.suspended)
        });
        if std::mem::replace(&mut self.progress, progress) != progress || self.rests == 0 {
            (self.rests, self.rests_since) = (0, now);
        }
        if with(|world| world.sleeps) {
            return false;
        }
        self.rests += 1;
        let rests = if self.part == Part::Stop { LAST_RESTS } else { RESTS };
        if time_passes && (self.rests <= rests || now < self.rests_since + REST) {
            return false;
        }
        if Self::pass_until(self.accept_at.map(|at| at.0)) {
            return true;
        }
        if self.part != Part::Stop {
            let open = with(|world| world.sockets.iter().any(|tcp| tcp.accepted && !tcp.closed));
            assert!(open || !time_passes, "the worker wakes up again and again, for no connection");
            self.next_part();
            return true;
        }
        let short = self.case.service.config.drain_timeout < LONG;
        assert!(short, "the worker does not return after a stop");
        Self::pass_until(self.supervisor.deadline())
    }
}
