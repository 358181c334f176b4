//! Whether what has happened may happen.

use std::time::Duration;

use echo_simulation::{Tcp, with};
use echo_test_support::model::{End, Termination};

use super::case::{Case, LONG};
use super::history::FIRST_PORT;
use crate::progress::STEP;
use crate::{CloseReason, Event, Summary};

/// What the driver has done.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) stopped: bool,
    pub(super) aborted: bool,
    /// How many connections there were by then.
    pub(super) connections_at_stop: usize,
}

/// What was reported about a connection.
#[derive(Clone, Copy, Debug, Default)]
struct Reported {
    connected: bool,
    refused: bool,
    closed: Option<(CloseReason, u64)>,
}

/// Nothing can happen any more, except that time passes: each connection has ended, or is truly idle. If `finished`,
/// peers have sent FIN, and their connections have ended.
pub(super) fn check_at_rest(case: &Case, facts: &Facts, finished: bool) {
    with(|world| {
        if world.broken || facts.aborted {
            return;
        }
        world.check_operations_in_flight();
        assert!(!world.has_queued(), "at rest, a connection is not accepted");
        if !world.sockets.iter().any(|tcp| tcp.accepted && !tcp.closed) {
            world.check_buffers();
        }
        for (number, tcp) in world.sockets.iter().enumerate() {
            if !tcp.accepted || tcp.closed || stalls(case, tcp) {
                continue;
            }
            assert!(tcp.is_drained(), "peer {number}: at rest, there is unread input");
            let (sent, must) = (tcp.arrived, tcp.model.must());
            // Later bytes are not echoed once it has sent FIN for a reason of its own, which is judged in the end.
            assert!(
                tcp.is_shut() || sent >= must,
                "peer {number}: at rest, {sent} bytes of {must} are echoed"
            );
            let once = case.service.config.once;
            let over = tcp.fin || tcp.excuse.is_some() || !tcp.model.takes_input() && !once;
            assert!(!(finished && over), "peer {number}: at rest, its connection is still open");
        }
    });
}

/// Whether an injected fault holds the connection open.
fn stalls(case: &Case, tcp: &Tcp) -> bool {
    matches!(case.rules.termination, Some((at, Termination::Stall)) if at <= tcp.model.echo().len())
}

/// How long a worker may pause after failed submissions.
const SUBMISSION_PAUSE: Duration = Duration::from_millis(30);

/// Checks everything when the worker has returned.
pub(super) fn judge(
    case: &Case,
    facts: &Facts,
    events: Vec<Event>,
    before: Summary,
    after: Summary,
) {
    let count = with(|world| world.sockets.len());
    let mut reported = vec![Reported::default(); count];
    for event in events {
        record(&mut reported, event);
    }
    with(|world| {
        for (number, (tcp, reported)) in world.sockets.iter().zip(&reported).enumerate() {
            let judge = Judge {
                case,
                facts,
                tcp,
                broken: world.broken,
                calls_may_fail: world.settings.failure > 0,
                submissions_may_fail: world.settings.failure > 0 || world.settings.partial > 0,
            };
            if let Err(why) = judge.connection(number, *reported) {
                panic!("peer {number}: {why}");
            }
        }
    });
    check_counters(&reported, before, after);
    assert_eq!(case.service.admission.open(), 0, "admitted connections are not released");
}

fn record(reported: &mut [Reported], event: Event) {
    let of = |peer: std::net::SocketAddr| usize::from(peer.port() - FIRST_PORT);
    match event {
        Event::Connected { peer } => {
            let it = &mut reported[of(peer)];
            assert!(!std::mem::replace(&mut it.connected, true), "reported as connected twice");
        }
        Event::Refused { peer, .. } => reported[of(peer)].refused = true,
        Event::Closed { peer, bytes, reason, .. } => {
            let before = reported[of(peer)].closed.replace((reason, bytes));
            assert!(before.is_none(), "reported as closed twice");
        }
        Event::FramingBroken { .. } | Event::AcceptPaused { .. } => {}
    }
}

fn check_counters(reported: &[Reported], before: Summary, after: Summary) {
    let connected = reported.iter().filter(|it| it.connected).count() as u64;
    assert_eq!(after.connections - before.connections, connected, "connections counted");
    assert_eq!(after.open, 0, "connections counted as open");
    let bytes: u64 = reported.iter().filter_map(|it| it.closed).map(|(_, bytes)| bytes).sum();
    assert_eq!(after.bytes - before.bytes, bytes, "bytes counted");
    for reason in CloseReason::ALL {
        let count =
            reported.iter().filter(|it| it.closed.is_some_and(|(of, _)| of == reason)).count();
        assert_eq!(after.closed_as(reason) - before.closed_as(reason), count as u64, "{reason:?}");
    }
}

/// Judges one connection.
struct Judge<'a> {
    case: &'a Case,
    facts: &'a Facts,
    tcp: &'a Tcp,
    broken: bool,
    calls_may_fail: bool,
    submissions_may_fail: bool,
}

impl Judge<'_> {
    fn connection(&self, number: usize, reported: Reported) -> Result<(), String> {
        let (tcp, config) = (self.tcp, self.case.service.config);
        let excused = tcp.excuse.is_some() || tcp.reset;
        if !tcp.closed && tcp.accepted {
            return Err("its socket was not closed".to_owned());
        }
        if reported.connected != reported.closed.is_some() {
            return Err(format!("what was reported does not match: {reported:?}"));
        }
        let Some((reason, bytes)) = reported.closed else {
            if !tcp.echo.is_empty() {
                return Err("it was not served, and got something".to_owned());
            }
            let limited = config.max_connections.is_some() || config.max_per_peer.is_some();
            let faulty = config.faults.as_ref().is_some_and(|faults| faults.refuse.get() > 0.0);
            return match reported.refused {
                true if limited || faulty => Ok(()),
                true => Err("it was refused without a reason".to_owned()),
                false if excused || self.broken || self.facts.aborted || config.once => Ok(()),
                false if number >= self.facts.connections_at_stop => Ok(()),
                // An error of accept(2) during a stop gives up what is queued.
                false if self.calls_may_fail => Ok(()),
                false => Err("it was not served".to_owned()),
            };
        };
        let all = self.allows(reason)?;
        if excused {
            return Ok(());
        }
        if all {
            let sent = tcp.echo.len() as u64;
            if bytes != sent {
                return Err(format!("{bytes} bytes are counted, {sent} were sent"));
            }
            self.complete(reason)?;
        }
        Ok(())
    }

    /// Whether the connection may end for this reason, and then whether everything must have been echoed.
    fn allows(&self, reason: CloseReason) -> Result<bool, String> {
        let (tcp, config) = (self.tcp, self.case.service.config);
        let excused = tcp.excuse.is_some() || tcp.reset;
        let wrong = |why: &str| Err(format!("it is {}, but {why}", reason.name()));
        let cut =
            self.facts.aborted || self.broken || self.facts.stopped && config.drain_timeout < LONG;
        match reason {
            CloseReason::Done if !tcp.fin && !excused => wrong("its peer has not finished"),
            CloseReason::Lost if !excused => wrong("nothing broke it"),
            CloseReason::Framing if tcp.model.takes_input() && !tcp.fin && !excused => {
                wrong("its framing is not")
            }
            CloseReason::Idle => self.has_passed(config.idle_timeout, tcp.active_at).map(|()| true),
            CloseReason::Stalled => self.is_stalled().map(|()| false),
            CloseReason::Expired if config.max_lifetime.is_none() => wrong("may live forever"),
            CloseReason::Stopped | CloseReason::Aborted if !self.facts.stopped && !self.broken => {
                wrong("the server was not stopped")
            }
            CloseReason::Stopped => Ok(!cut),
            CloseReason::Aborted if !cut => wrong("there was time"),
            CloseReason::Aborted => Ok(false),
            CloseReason::Fault if self.case.rules.termination.is_none() => wrong("there is none"),
            _ => Ok(!cut),
        }
    }

    /// Rounded to milliseconds twice. After a submission that failed or took nothing, only a sweep sees that bytes are
    /// still to be sent.
    fn has_passed(&self, timeout: Option<Duration>, since: u64) -> Result<(), String> {
        let Some(timeout) = timeout else { return Err("it has no such timeout".to_owned()) };
        let passed = Duration::from_nanos(self.tcp.ended_at.saturating_sub(since));
        let late =
            if self.submissions_may_fail { timeout / 4 + SUBMISSION_PAUSE } else { Duration::ZERO };
        if passed + Duration::from_millis(2) + late < timeout {
            return Err(format!("it was silent for {passed:?} only"));
        }
        Ok(())
    }

    /// The peer has taken less than a step within the write timeout, as far as that is known.
    fn is_stalled(&self) -> Result<(), String> {
        let tcp = self.tcp;
        let Some(timeout) = self.case.service.config.write_timeout else {
            return Err("it has no write timeout".to_owned());
        };
        let since = tcp.ended_at.saturating_sub(timeout.as_nanos() as u64) + 2_000_000;
        let taken: usize =
            tcp.sent_at.iter().filter(|(_, at)| *at > since).map(|(count, _)| count).sum();
        if !tcp.is_shut() && taken >= 2 * STEP as usize {
            return Err(format!("it is stalled, but {taken} bytes were taken in time"));
        }
        Ok(())
    }

    /// Everything that must has been echoed, and the connection has ended as it may.
    fn complete(&self, reason: CloseReason) -> Result<(), String> {
        let (tcp, mut model) = (self.tcp, self.tcp.model.clone());
        if matches!(reason, CloseReason::Idle | CloseReason::Expired) {
            // What had arrived when the worker last looked.
            model.stopped(tcp.delivered_at_end.unwrap_or(0));
        }
        let must = model.must();
        if tcp.arrived < must {
            return Err(format!("it is {reason:?}, and {} bytes of {must} arrived", tcp.arrived));
        }
        let end = tcp.end;
        // A peer that sends on after the end is answered with RST.
        let late = end == End::Reset && tcp.wire.len() > tcp.delivered_at_end.unwrap_or(0);
        if !late && !model.may_end(end, tcp.arrived) {
            return Err(format!(
                "it is {reason:?}, and the peer sees {end:?} after {} bytes",
                tcp.arrived
            ));
        }
        Ok(())
    }
}
