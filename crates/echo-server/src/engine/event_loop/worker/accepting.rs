//! What the first worker does besides: it accepts for all of them. A thread of its own would have to be woken
//! up for each connection, and then wake up the worker.

use std::io;
use std::ops::ControlFlow;
use std::time::Instant;

use super::Worker;
use crate::accept::Outlook;
use crate::engine::event_loop::Source;
use crate::engine::event_loop::connection::Tick;

impl<S: Source> Worker<'_, S> {
    pub(super) fn listen(&mut self) {
        if let Some(acceptor) = &mut self.seat.acceptor
            && let Err(error) = self.source.listen(acceptor.listeners())
        {
            self.stop_accepting(Some(error));
        }
    }

    /// Takes in those who have come to the listeners, if it is the one who does.
    pub(super) fn accept(&mut self) {
        let Some(mut acceptor) = self.seat.acceptor.take() else { return };
        self.now = self.epoch.elapsed().as_millis() as Tick;
        let service = self.service;
        let outlook = acceptor.look(service, |arrival| {
            // Before it is handed in: it may be over before that call returns.
            service.connected(arrival.peer);
            if let Some(arrival) = self.seat.crew.hand_in(arrival, self.seat.door) {
                self.take_in(arrival);
            }
            let once = service.config.once;
            Ok(if once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        self.seat.acceptor = Some(acceptor);
        match outlook {
            Ok(Outlook::Wait(patience)) => {
                self.accept_at = patience.map(|patience| Instant::now() + patience);
            }
            Ok(Outlook::Over) => self.stop_accepting(None),
            Err(error) => self.stop_accepting(Some(error)),
        }
    }

    fn stop_accepting(&mut self, broke: Option<io::Error>) {
        self.accept_at = None;
        if let Some(acceptor) = self.seat.acceptor.take() {
            self.source.stop_listening(acceptor.into_listeners());
            self.seat.crew.accepting_is_over(broke);
        }
    }
}
