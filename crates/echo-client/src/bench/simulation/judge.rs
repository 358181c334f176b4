//! Whether what was measured is what happened.

mod failures;
mod times;

use echo_proto::TestStream;
use echo_simulation::{World, with};

use super::case::Case;
use super::driver::Facts;
use super::truth::{Count, Link};
use crate::bench::schedule::Schedule;
use crate::bench::stats::Totals;
use crate::bench::workload::RunLimit;

/// What is judged.
struct Run<'w> {
    case: &'w Case,
    facts: &'w Facts,
    world: &'w World,
    links: Vec<Link<'w>>,
    /// When it began.
    began: u64,
}

/// Judges a history that is over.
///
/// # Panics
///
/// Something was measured that did not happen, or the reverse.
pub(super) fn judge(case: &Case, facts: &Facts) {
    with(|world| {
        let sockets = world.sockets.iter().enumerate();
        let wire_size = case.shared.wire_size as usize;
        let links: Vec<_> = sockets.map(|(index, tcp)| Link::of(index, tcp, wire_size)).collect();
        assert!(facts.is_done, "the worker did not report that it is done");
        for link in &links {
            assert!(link.active.closed.is_some(), "connection {} is not closed", link.index);
        }
        let Some(began) = facts.began else { return };
        let run = Run { case, facts, world, links, began };
        run.judge_streams();
        run.judge_counts();
        run.judge_failures();
        run.judge_times();
    });
}

impl Run<'_> {
    fn totals(&self) -> &Totals {
        &self.facts.collector.totals
    }

    /// The links of a connection, in order.
    fn links_of(&self, number: usize) -> impl Iterator<Item = &Link<'_>> {
        self.links.iter().filter(move |link| link.number == Some(number))
    }

    /// Each link has its own test stream, and sends nothing else.
    fn judge_streams(&self) {
        let workload = self.case.workload;
        for number in 0..workload.connections {
            let up = self.links_of(number).filter(|link| link.active.up_at.is_some());
            for (ordinal, link) in up.enumerate() {
                let stream = (ordinal << 32 | number) as u64;
                let stream = TestStream::new(stream, workload.framing, workload.size);
                let mut expected = vec![0; link.tcp.echo.len()];
                stream.fill(0, &mut expected);
                assert!(expected == link.tcp.echo, "connection {}: another stream", link.index);
                let most = workload.reconnect_every.map_or(u64::MAX, Into::into);
                let started = link.started.len() as u64;
                assert!(started <= most, "connection {}: {started} messages", link.index);
            }
        }
    }

    /// Messages and bytes that were sent, and that came back, and those that were not sent.
    fn judge_counts(&self) {
        let totals = self.totals();
        let up = || self.links.iter().filter(|link| link.active.up_at.is_some());
        let sum = |of: &dyn Fn(&Link<'_>) -> usize| up().map(of).sum::<usize>() as u64;
        assert_eq!(totals.sent, sum(&|link| link.started.len()), "messages sent");
        assert_eq!(totals.received, sum(&|link| link.completed.len()), "messages received");
        assert_eq!(totals.sent_bytes, sum(&|link| link.tcp.echo.len()), "bytes sent");
        assert_eq!(totals.received_bytes, sum(&|link| link.correct), "bytes received");
        let retransmits: u64 = up().map(|link| link.active.retransmits).sum();
        assert_eq!(totals.retransmits.unwrap_or(0), retransmits, "retransmits");
        assert_eq!(totals.connect.len(), up().count() as u64, "connections opened");
        let workload = self.case.workload;
        match workload.limit {
            RunLimit::Messages(messages) => {
                assert_eq!(totals.sent + totals.unsent, messages, "messages sent and unsent");
            }
            RunLimit::Duration(duration) if !totals.is_interrupted => {
                let end = (workload.warmup + duration).as_nanos() as u64;
                let numbers = 0..workload.connections;
                let due: u64 = numbers.clone().map(|it| self.due_before(it, end)).sum();
                let more: u64 = numbers.map(|it| self.started_behind(it, end)).sum();
                if workload.rate.is_some() {
                    assert_eq!(totals.sent + totals.unsent, due + more, "messages sent and unsent");
                }
            }
            RunLimit::Duration(_) => {}
        }
        assert!(
            !totals.is_interrupted || self.case.stop_after.is_some(),
            "it is interrupted, and was not stopped"
        );
    }

    /// Messages of a connection that were due at `end` or later, and were sent nevertheless: by a loop that was late
    /// for the end, before it knew.
    fn started_behind(&self, number: usize, end: u64) -> u64 {
        let started = self.links_of(number).flat_map(|link| link.started.iter());
        let behind = started.zip(self.due(number)).filter(|(_, due)| *due >= end);
        behind.fold(0, |count, (started, _)| {
            let is_before = self.window().is_none_or(|(_, end)| *started <= end);
            assert!(is_before, "a message is sent behind the end");
            count + 1
        })
    }

    /// When the messages of a connection are due, from the first on.
    fn due(&self, number: usize) -> impl Iterator<Item = u64> + use<> {
        let mut schedule = Schedule::new(self.case.workload, number);
        std::iter::from_fn(move || {
            let schedule = schedule.as_mut()?;
            let due = schedule.due();
            schedule.advance();
            Some(due)
        })
    }

    /// Messages of a connection that are due before `end`, in nanoseconds since the start.
    fn due_before(&self, number: usize, end: u64) -> u64 {
        self.due(number).take_while(|due| *due < end).count() as u64
    }
}

/// Panics unless the count is possible.
fn assert_count(count: Count, found: u64, what: &str) {
    assert!(count.allows(found), "{found} {what}, and not {count:?}");
}
