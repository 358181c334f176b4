//! The other end: an echo server of which everything is known.

use std::collections::VecDeque;

use echo_simulation::{World, with};

use super::case::Behaviour;

/// What goes wrong on a connection.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Reset,
    Close,
    Change,
    Surplus,
    /// Nothing is echoed any more.
    Mute,
}

const FAULTS: [Fault; 5] = [Fault::Reset, Fault::Close, Fault::Change, Fault::Surplus, Fault::Mute];

/// What the server does next.
#[derive(Clone, Copy, Debug)]
enum Action {
    Establish,
    Refuse(i32),
    /// Echoes up to this byte.
    Echo(usize),
    Read,
}

/// The server's side of a connection: an index of `World::sockets`.
pub(super) struct Link {
    index: usize,
    /// What it does next, and when.
    plan: VecDeque<(u64, Action)>,
    fault: Option<(usize, Fault)>,
    /// How many of the bytes that arrived are planned for, and how many were echoed.
    seen: usize,
    echoed: usize,
    is_over: bool,
}

impl Link {
    /// Accepts, refuses or ignores a new connection.
    pub(super) fn new(index: usize, server: Behaviour) -> Self {
        with(|world| {
            let rng = &mut world.rng;
            let mut plan = VecDeque::new();
            let at = world.now + rng.u64(..2_000_000);
            let errors = [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ETIMEDOUT];
            if rng.u8(..) < server.refused {
                plan.push_back((at, Action::Refuse(errors[rng.usize(..3)])));
            } else if rng.u8(..) >= server.ignored {
                let is_late = rng.u8(..) < server.slow;
                let late = if is_late { rng.u64(..300_000_000) } else { server.delay / 2 };
                plan.push_back((at + late, Action::Establish));
            }
            let fault = (rng.u8(..) < server.fault)
                .then(|| (rng.usize(..server.fault_within), FAULTS[rng.usize(..FAULTS.len())]));
            Self { index, plan, fault, seen: 0, echoed: 0, is_over: false }
        })
    }

    /// When it does something next.
    pub(super) fn next_time(&self) -> Option<u64> {
        self.plan.front().map(|(at, _)| *at)
    }

    /// Plans the echo of what has arrived. Returns whether anything had.
    pub(super) fn plan(&mut self, server: Behaviour) -> bool {
        with(|world| {
            let (arrived, now) = (world.sockets[self.index].arrived, world.now);
            if self.is_over || arrived == self.seen {
                return false;
            }
            self.seen = arrived;
            let mut after = world.rng.u64(..=2 * server.delay);
            if world.rng.u8(..) < server.slow {
                after *= 10;
            }
            let last = self.plan.back().map_or(now, |(at, _)| *at);
            self.plan.push_back((last.max(now + after), Action::Echo(arrived)));
            if world.rng.u8(..) < server.stall {
                world.sockets[self.index].reads = false;
                let until = last.max(now + after) + world.rng.u64(..400_000_000);
                self.plan.push_back((until, Action::Read));
            }
            true
        })
    }

    /// Does what is due. Returns whether anything was.
    pub(super) fn act(&mut self) -> bool {
        let now = with(|world| world.now);
        if self.next_time().is_none_or(|at| at > now) {
            return false;
        }
        let Some((_, action)) = self.plan.pop_front() else { return false };
        with(|world| {
            let tcp = &mut world.sockets[self.index];
            let is_connecting = tcp.is_connecting() && !tcp.closed;
            match action {
                Action::Establish if is_connecting => {
                    world.establish(self.index);
                    self.fail(world);
                }
                Action::Refuse(error) if is_connecting => {
                    world.breaks_connection(self.index, error);
                }
                Action::Establish | Action::Refuse(_) => {}
                Action::Read => tcp.reads = true,
                Action::Echo(end) => self.echo(world, end),
            }
        });
        true
    }

    /// Sends the echo up to `end`, or up to where something goes wrong.
    fn echo(&mut self, world: &mut World, end: usize) {
        let tcp = &world.sockets[self.index];
        if self.is_over || tcp.reset || tcp.fin {
            return;
        }
        let until = self.fault.map_or(end, |(at, _)| at.min(end));
        let bytes = tcp.echo[self.echoed..until].to_vec();
        if !bytes.is_empty() {
            world.peer_sends(self.index, &bytes, false);
        }
        self.echoed = until;
        self.fail(world);
        if self.echoed < end {
            self.echo(world, end);
        }
    }

    /// Lets go wrong what is to go wrong here.
    fn fail(&mut self, world: &mut World) {
        let Some((_, fault)) = self.fault.take_if(|(at, _)| *at == self.echoed) else { return };
        world.note(format!("connection {}: {fault:?} after {} bytes", self.index, self.echoed));
        let next = world.sockets[self.index].echo.get(self.echoed).copied();
        match fault {
            Fault::Reset => world.peer_resets(self.index),
            Fault::Close => world.peer_finishes(self.index),
            Fault::Mute => self.is_over = true,
            Fault::Change if next.is_some() => {
                let byte = next.unwrap_or(0) ^ 1 << world.rng.u8(..8);
                world.peer_sends(self.index, &[byte], false);
                self.echoed += 1;
            }
            Fault::Change | Fault::Surplus => {
                let byte = world.rng.u8(..);
                world.peer_sends(self.index, &[byte], false);
            }
        }
        self.is_over |= matches!(fault, Fault::Reset | Fault::Close);
    }
}
