//! What a connection's thread does where there are faults on purpose: it sleeps, a moment at a time, so that
//! it notices a stop and a peer that is gone.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::{Connection, TICK, send_all};
use crate::CloseReason;
use crate::linger::{RESET_POLL, reset_when_closed};
use crate::session::State;
use crate::shutdown::Phase;
use crate::system::unacknowledged;

impl Connection<'_> {
    /// Sends what is held back, each piece in its time.
    pub(super) fn send_held_back(&mut self) -> io::Result<()> {
        while self.session.state() == State::Hold {
            if self.session.release(Instant::now()) {
                let all = |piece: &[u8]| send_all(self.stream, piece, self.service.config);
                let sent = self.session.flush(all)?;
                self.count(sent);
            } else if let Some(due) = self.session.due() {
                self.pause(due.saturating_duration_since(Instant::now()))?;
            }
        }
        Ok(())
    }

    /// Sleeps for this long or a little less. A stop ends the holding back.
    pub(super) fn pause(&mut self, time: Duration) -> io::Result<()> {
        thread::sleep(time.min(TICK));
        if self.service.phase() > Phase::Running {
            self.session.release_all();
        }
        self.stream.take_error()?.map_or(Ok(()), Err)
    }

    /// Resets the connection when the peer's system has all of the echo.
    pub(super) fn reset(&mut self) -> io::Result<CloseReason> {
        let (mut taken_at, mut unacked) = (Instant::now(), unacknowledged(self.stream));
        self.owing = unacked > 0;
        while self.owing {
            if self.service.phase() == Phase::Aborting {
                return Ok(CloseReason::Aborted);
            }
            let limit = self.service.config.write_timeout;
            if limit.is_some_and(|limit| taken_at.elapsed() >= limit) {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.pause(RESET_POLL)?;
            let unacknowledged = unacknowledged(self.stream);
            if std::mem::replace(&mut unacked, unacknowledged) != unacknowledged {
                taken_at = Instant::now();
            }
            self.owing = unacked > 0;
        }
        reset_when_closed(SockRef::from(self.stream))?;
        Ok(CloseReason::Fault)
    }
}
