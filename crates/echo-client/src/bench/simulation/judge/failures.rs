//! Whether what failed is counted, and nothing else.

use echo_simulation::Told;

use super::{Run, assert_count};
use crate::bench::simulation::truth::{CLOCK, Count, Link};
use crate::run::Causes;

/// A clock reading before the call that it belongs to, and one after it.
const SLACK: u64 = 3 * CLOCK;
/// A sweep, a wait, and their lateness, both: the longest time until a timeout is noticed.
const NOTICED: u64 = 250_000_000;

/// How often each cause is counted.
#[derive(Default)]
struct Counts {
    connect: Count,
    changed: Count,
    surplus: Count,
    closed: Count,
    lost: Count,
    timeout: Count,
}

impl Run<'_> {
    /// A failure is counted if it happened, once, and with the offset at which it did.
    pub(super) fn judge_failures(&self) {
        let mut counts = Counts::default();
        self.links.iter().for_each(|link| self.add_failure(link, &mut counts));
        let totals = self.totals();
        let Causes { connect, changed, surplus, closed, lost, timeout } = totals.causes;
        assert_count(counts.connect, connect, "connects failed");
        assert_count(counts.changed, changed, "connections had changed bytes");
        assert_count(counts.surplus, surplus, "connections had surplus bytes");
        assert_count(counts.closed, closed, "connections were closed");
        assert_count(counts.lost, lost, "connections were lost");
        assert_count(counts.timeout, timeout, "connections timed out");
        let all = connect + changed + surplus + closed + lost + timeout;
        assert_eq!(totals.failed, all, "failures, and those with a cause");
        for failure in totals.incidents.iter().filter(|failure| failure.cause == "changed") {
            let is_there = |link: &Link<'_>| {
                let offset = Told::Changed(failure.offset as usize);
                link.active.told.is_some_and(|(told, ..)| told == offset)
            };
            let found = self.links_of(failure.connection - 1).any(is_there);
            assert!(found, "a changed byte is reported at {}, which was not", failure.offset);
        }
    }

    fn add_failure(&self, link: &Link<'_>, counts: &mut Counts) {
        let (closed_at, waits) = link.active.closed.expect("judged before");
        // The last look at a connection, after the last wait, reports only wrong bytes.
        let is_last = waits == self.world.waits;
        let is_complete = self.is_complete(link) && !link.is_owed();
        match link.active.told {
            Some((Told::Unopened, ..)) => counts.connect.add(true, true),
            Some((Told::Changed(_), ..)) => counts.changed.add(true, true),
            Some((Told::Surplus, ..)) => counts.surplus.add(true, true),
            Some((Told::Broken, ..)) => counts.lost.add(!is_last && !is_complete, true),
            Some((Told::Eof, _, sent)) => {
                // At the end of a run the server may close first.
                let may_close = link.correct == sent && (is_complete || self.may_close(closed_at));
                counts.closed.add(!may_close, true);
            }
            None if link.active.up_at.is_none() => self.add_connect_timeout(link, is_last, counts),
            None => {
                self.judge_silence(link, closed_at);
                if !link.is_owed() {
                    assert!(
                        is_last || is_complete,
                        "connection {} is closed without a reason",
                        link.index
                    );
                    return;
                }
                let is_due = self.is_timeout(link, closed_at);
                assert!(is_last || is_due, "connection {}: a false timeout", link.index);
                counts.timeout.add(!is_last, is_due);
            }
        }
    }

    /// Whether a link has carried its share of messages.
    fn is_complete(&self, link: &Link<'_>) -> bool {
        let most = self.case.workload.reconnect_every.map_or(u64::MAX, Into::into);
        link.started.len() as u64 >= most
    }

    /// Whether a server that closes now, with nothing in flight, may not count as a failure.
    fn may_close(&self, now: u64) -> bool {
        self.case.workload.is_counted() || now >= self.window_end()
    }

    fn add_connect_timeout(&self, link: &Link<'_>, is_last: bool, counts: &mut Counts) {
        let timeout = self.case.config.connect_timeout.as_nanos() as u64;
        let active = link.active;
        let (closed_at, _) = active.closed.expect("judged before");
        let took = closed_at - active.started_at;
        let is_due = took + SLACK >= timeout
            && active.established_at.is_none_or(|at| at - active.started_at + SLACK >= timeout);
        assert!(is_last || is_due, "connection {}: a false connect timeout", link.index);
        if self.case.is_exact() {
            assert!(took <= timeout + NOTICED, "connection {}: no connect timeout", link.index);
        }
        counts.connect.add(!is_last, is_due);
    }

    /// Whether no byte came for the timeout, although one was waited for.
    fn is_timeout(&self, link: &Link<'_>, closed_at: u64) -> bool {
        let timeout = self.case.config.timeout.as_nanos() as u64;
        let since = link.renewals().last().map_or(0, |(at, _)| *at);
        let until = link.unread_since().unwrap_or(closed_at).min(closed_at);
        until - since + SLACK >= timeout
    }

    /// A connection is not waited for longer than it may be silent.
    fn judge_silence(&self, link: &Link<'_>, closed_at: u64) {
        if !self.case.is_exact() {
            return;
        }
        let most = self.case.config.timeout.as_nanos() as u64 + NOTICED;
        let mut renewals = link.renewals();
        if link.is_owed() {
            renewals.push((closed_at, true));
        }
        for pair in renewals.windows(2) {
            let ((from, _), (to, is_byte)) = (pair[0], pair[1]);
            assert!(
                !is_byte || to - from <= most,
                "connection {}: no timeout after {} ms",
                link.index,
                (to - from) / 1_000_000
            );
        }
    }
}
