//! Injected faults in a connection's thread. It never sleeps for long, so that it notices a stop and a lost
//! peer.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::TICK;
use super::blocking::send_all;
use super::connection::Connection;
use crate::CloseReason;
use crate::linger::{RESET_POLL, reset_when_closed};
use crate::progress::SendProgress;
use crate::session::State;
use crate::shutdown::Phase;
use crate::system::{pending_error, unacknowledged};

impl Connection<'_> {
    /// Sends held-back bytes, each piece when it is due.
    pub(super) fn send_held_back(&mut self) -> io::Result<()> {
        while self.session.state() == State::Hold {
            if self.session.release(Instant::now()) {
                let Self { service, stream, echoed, .. } = self;
                self.session.flush(|piece| send_all(stream, piece, service, echoed))?;
            } else if let Some(due) = self.session.due() {
                self.pause(due.saturating_duration_since(Instant::now()))?;
                if self.service.phase() > Phase::Running {
                    // Draining releases everything that is held back.
                    self.start_draining();
                }
            }
        }
        Ok(())
    }

    /// Sleeps for `time`, but at most [`TICK`]. Fails if the connection is broken.
    pub(super) fn pause(&mut self, time: Duration) -> io::Result<()> {
        thread::sleep(time.min(TICK));
        pending_error(self.stream)?.map_or(Ok(()), Err)
    }

    /// Resets the connection once the peer has acknowledged all of the echo.
    pub(super) fn reset(&mut self) -> io::Result<CloseReason> {
        let mut progress = SendProgress::start(unacknowledged(self.stream), self.now());
        loop {
            let (_, since_taken) = self.observe(&mut progress);
            if !self.owing {
                break;
            }
            if self.service.phase() == Phase::Aborting {
                return Ok(CloseReason::Aborted);
            }
            self.fail_if_stalled(since_taken)?;
            self.pause(RESET_POLL)?;
        }
        reset_when_closed(SockRef::from(self.stream))?;
        Ok(CloseReason::Fault)
    }
}
