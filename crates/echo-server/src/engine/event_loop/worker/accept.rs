//! Accepting connections on the first worker, or with [`Config::reuseport`](crate::Config::reuseport) on each. A separate
//! accepting thread would cost two wake-ups per connection: its own and the worker's.

use std::io;
use std::ops::ControlFlow;

use super::Worker;
use crate::engine::event_loop::Poller;
use crate::listen::accept::AcceptState;
use crate::platform::Instant;

impl<P: Poller> Worker<'_, P> {
    pub(super) fn listen(&mut self) {
        if let Some(acceptor) = &mut self.context.acceptor
            && let Err(error) = self.poller.listen(acceptor.listeners())
        {
            self.stop_accepting(Some(error));
        }
    }

    /// Accepts queued connections, if this worker accepts.
    pub(super) fn accept(&mut self) {
        let Some(mut acceptor) = self.context.acceptor.take() else { return };
        self.update_now();
        let service = self.service;
        let state = acceptor.accept_ready(service, |incoming| {
            // Reported before `dispatch`, because the connection may have ended when that returns.
            service.connected(incoming.peer);
            if let Some(incoming) = self.context.pool.dispatch(incoming, self.context.handle) {
                self.register(incoming);
            }
            let once = service.config.once;
            Ok(if once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        self.context.acceptor = Some(acceptor);
        match state {
            Ok(AcceptState::Wait(backoff)) => {
                self.accept_at = backoff.map(|backoff| Instant::now() + backoff);
            }
            Ok(AcceptState::Finished) => self.stop_accepting(None),
            Err(error) => self.stop_accepting(Some(error)),
        }
    }

    fn stop_accepting(&mut self, error: Option<io::Error>) {
        self.accept_at = None;
        if let Some(acceptor) = self.context.acceptor.take() {
            self.poller.stop_listening(acceptor.into_listeners());
            self.context.pool.accept_finished(error);
        }
    }
}
