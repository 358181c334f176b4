//! Plays a history: does what it says, step by step, and holds what comes against the model.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use super::case::Case;
use super::history::{History, Step};
use super::host::Host;
use super::peer::{Peer, Reading};
use crate::socket_table::queues_of_both_ends;

/// After so long without room, no more is taken from a peer that does not read.
const FULL: Duration = Duration::from_millis(2);
/// The most that [`Step::Fill`] sends.
const MOST: usize = 400_000;
/// Messages that make a connection one of the busy.
const WARM: usize = 10;
/// How often bytes are counted that seem to be too many.
const COUNTS: usize = 50;

/// How a history is played.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    /// Where its connections come from.
    pub(super) from: IpAddr,
    /// How long anything may take that must come.
    pub(super) deadline: Duration,
    /// Whether to count what is held for a peer, once: the kernel walks all its sockets for that, of which there are
    /// tens of thousands in TIME_WAIT, and takes up to 50 ms.
    pub(super) counts: bool,
}

struct Play<'a> {
    host: &'a mut Host,
    case: &'static Case,
    history: &'a History,
    setting: Setting,
    /// In the order of [`History::peers`]; none before it connects, and when it has left.
    peers: Vec<Option<Peer>>,
    connected: Vec<bool>,
    /// What is held for a peer is still to be counted.
    counts: bool,
}

/// Plays it, and leaves the server at rest unless it was stopped.
pub(super) fn play(
    host: &mut Host,
    case: &'static Case,
    history: &History,
    setting: Setting,
) -> Result<()> {
    let count = history.peers.len();
    let peers = (0..count).map(|_| None).collect();
    let connected = vec![false; count];
    let mut play = Play { host, case, history, setting, peers, connected, counts: setting.counts };
    for (number, step) in history.steps.iter().enumerate() {
        play.step(*step).map_err(|error| error.context(format!("in step {}", number + 1)))?;
    }
    play.end().map_err(|error| error.context("at the end"))?;
    drop(play);
    if host.is_stopping() { Ok(()) } else { host.come_to_rest() }
}

impl Play<'_> {
    fn step(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Send { peer, size, frame } => self.with(peer, |peer| peer.send(size, frame)),
            Step::Nonsense { peer, size } => self.with(peer, |peer| peer.send_nonsense(size)),
            Step::TooLong { peer, excess } => self.with(peer, |peer| peer.send_too_long(excess)),
            Step::Half { peer, size } => self.with(peer, |peer| peer.send_half(size)),
            Step::Urgent { peer } => self.with(peer, Peer::send_urgent),
            Step::Warm { peer } => self.warm(peer),
            Step::Fill { peer } => self.fill(peer),
            Step::Pause { peer } => self.with(peer, |peer| peer.reading = Reading::AtMost(0)),
            Step::Resume { peer } => self.with(peer, |peer| peer.reading = Reading::All),
            Step::Read { peer, size } => self.with(peer, |peer| {
                if let Reading::AtMost(left) = &mut peer.reading {
                    *left += size;
                }
            }),
            Step::HalfClose { peer } => self.with(peer, Peer::finish),
            Step::Reset { peer } => {
                self.with(peer, |_| ())?;
                let peer = self.index(peer);
                self.leave(peer);
                Ok(())
            }
            Step::WaitUntilQuiet => self.wait_until_quiet(),
            Step::Freeze => self.host.freeze(),
            Step::Thaw => {
                self.host.thaw();
                Ok(())
            }
            Step::Pass { ms } => self.pass(Duration::from_millis(ms)),
            Step::Stop => {
                self.stop();
                Ok(())
            }
        }
    }

    fn index(&self, peer: usize) -> usize {
        peer % self.peers.len()
    }

    /// Has a peer, which connects before if need be, do something, and moves what can be moved.
    fn with(&mut self, peer: usize, act: impl FnOnce(&mut Peer)) -> Result<()> {
        let index = self.index(peer);
        if !self.connected[index] {
            self.connect(index)?;
        }
        if let Some(peer) = &mut self.peers[index] {
            act(peer);
        }
        self.advance()?;
        Ok(())
    }

    fn connect(&mut self, index: usize) -> Result<()> {
        self.connected[index] = true;
        let (behaviour, from) = (self.history.peers[index], self.setting.from);
        let peer = Peer::connect(self.case, index, behaviour, from, self.host.address());
        let mut peer = match peer {
            // It does not listen any more.
            Err(_) if self.host.is_stopping() => return Ok(()),
            peer => peer?,
        };
        self.host.count_connection();
        let before = self.connected.iter().filter(|connected| **connected).count() - 1;
        if before >= self.case.room {
            peer.model.may_be_refused();
        }
        if self.host.is_stopping() {
            peer.model.may_be_refused();
            peer.model.stopped(0);
        }
        self.peers[index] = Some(peer);
        Ok(())
    }

    /// Ends a connection by a reset, unless both sides have finished, and whatever is on its way is lost.
    fn leave(&mut self, index: usize) {
        if let Some(peer) = self.peers[index].take() {
            self.host.count_echo(peer.received, peer.model.echo().len());
            // It fails only on a connection that is broken already.
            let _ = SockRef::from(&peer.socket).set_linger(Some(Duration::ZERO));
        }
    }

    fn advance(&mut self) -> Result<bool> {
        let mut progress = false;
        for peer in self.peers.iter_mut().flatten() {
            progress |= peer.advance()?;
        }
        Ok(progress)
    }

    /// Moves what can be moved until `done`, for no longer than `limit`. Returns whether it was done.
    fn pump(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Result<bool> {
        let started = Instant::now();
        loop {
            let progress = self.advance()?;
            if done(self) {
                return Ok(true);
            }
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(false);
            }
            if !progress {
                self.wait(left)?;
            }
        }
    }

    /// Waits until a socket can be read or written, but no longer than `limit`.
    fn wait(&self, limit: Duration) -> Result<()> {
        // Of one that waits for nothing poll(2) would still report the end, again and again.
        let mut sockets: Vec<_> = self
            .peers
            .iter()
            .flatten()
            .filter(|peer| peer.wants_to_read() || peer.wants_to_write())
            .map(|peer| {
                let mut events = PollFlags::empty();
                events.set(PollFlags::IN, peer.wants_to_read());
                events.set(PollFlags::OUT, peer.wants_to_write());
                PollFd::new(&peer.socket, events)
            })
            .collect();
        let timeout = Timespec::try_from(limit)?;
        match poll(&mut sockets, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn wait_until_quiet(&mut self) -> Result<()> {
        if self.host.is_frozen() {
            return Ok(());
        }
        let settled = |play: &Self| {
            let readers = play.peers.iter().flatten().filter(|peer| peer.reading == Reading::All);
            readers.into_iter().all(Peer::is_settled)
        };
        let done = self.pump(self.setting.deadline, settled)?;
        ensure!(done, "what must come does not\n{}", self.describe());
        self.host.check_memory(self.peers.len())
    }

    fn warm(&mut self, peer: usize) -> Result<()> {
        for _ in 0..WARM {
            self.with(peer, |peer| peer.send(40, 40))?;
            let index = self.index(peer);
            let reads = |peer: &Peer| peer.reading == Reading::All;
            if !self.peers[index].as_ref().is_some_and(reads) || self.host.is_frozen() {
                return Ok(());
            }
            let settled = |play: &Self| play.peers[index].as_ref().is_none_or(Peer::is_settled);
            let done = self.pump(self.setting.deadline, settled)?;
            ensure!(done, "a small echo does not come\n{}", self.describe());
        }
        Ok(())
    }

    fn fill(&mut self, peer: usize) -> Result<()> {
        self.with(peer, |peer| peer.reading = Reading::AtMost(0))?;
        let index = self.index(peer);
        let taken =
            |play: &Self| play.peers[index].as_ref().is_none_or(|peer| !peer.wants_to_write());
        for _ in 0..MOST / 4096 {
            self.with(peer, |peer| peer.send(4096, 1000))?;
            if !self.pump(FULL, taken)? {
                break;
            }
        }
        self.check_held(index)?;
        self.host.check_memory(self.peers.len())
    }

    /// The server has taken no more of a peer that does not read than it may hold.
    fn check_held(&mut self, index: usize) -> Result<()> {
        let (Some(most), Some(peer)) = (self.host.most_held(), &self.peers[index]) else {
            return Ok(());
        };
        if !std::mem::take(&mut self.counts) {
            return Ok(());
        }
        // What moves while it is counted may be counted as held, but not each time.
        let held = (0..COUNTS).map(|_| peer.held()).find(|held| *held <= most);
        ensure!(held.is_some(), "more than {most} bytes are held\n{}", peer.describe());
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> Result<()> {
        self.pump(time, |_| false).map(|_| ())
    }

    fn stop(&mut self) {
        if self.host.is_stopping() {
            // A second signal would cut connections short.
            return;
        }
        for peer in self.peers.iter_mut().flatten() {
            let queues = peer.addresses().and_then(|(near, far)| queues_of_both_ends(near, far));
            let unacknowledged = queues.map_or(usize::MAX, |(ours, _)| ours.send);
            peer.model.stopped(peer.model.wire_len().saturating_sub(unacknowledged));
        }
        self.host.stop();
    }

    /// All read to the end and finish, and everything must have come.
    fn end(&mut self) -> Result<()> {
        self.host.thaw();
        for peer in self.peers.iter_mut().flatten() {
            peer.reading = Reading::All;
            peer.finish();
        }
        let over = |play: &Self| play.peers.iter().flatten().all(Peer::is_over);
        let done = self.pump(self.setting.deadline, over)?;
        ensure!(done, "a connection does not end\n{}", self.describe());
        for index in 0..self.peers.len() {
            if let Some(peer) = &self.peers[index] {
                peer.judge()?;
            }
            self.leave(index);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let peers: Vec<_> = self.peers.iter().flatten().map(Peer::describe).collect();
        peers.join("\n")
    }
}
