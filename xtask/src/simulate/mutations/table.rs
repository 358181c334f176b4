//! The lines that are taken out.

use super::ENGINES;

/// A change of the code.
pub(super) struct Mutation {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    /// The engines that it concerns.
    pub(super) engines: &'static [&'static str],
}

const URING: &[&str] = &["uring"];
const READINESS: &[&str] = &["readiness"];
const BOTH: &[&str] = &ENGINES;

const POLLER: &str = "uring/poller.rs";
const COMPLETIONS: &str = "uring/poller/completions.rs";
const WORKER: &str = "worker.rs";
const HOT: &str = "worker/hot.rs";
const DEADLINES: &str = "worker/deadlines.rs";
const CONNECTION: &str = "connection.rs";
const SESSION: &str = "../../session.rs";

const fn mutation(
    engines: &'static [&'static str],
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
) -> Mutation {
    Mutation { name, file, from, to, engines }
}

pub(super) const MUTATIONS: &[Mutation] = &[
    mutation(
        URING,
        "generations: completions of a closed connection count for the next in its slot",
        COMPLETIONS,
        "slot.generation == generation && slot.descriptor >= 0",
        "slot.descriptor >= 0 || generation == u32::MAX",
    ),
    mutation(
        URING,
        "deferred completions: they are processed while a send is in flight",
        COMPLETIONS,
        "if self.slots[slot].sending {",
        "if self.slots[slot].sending && generation == u32::MAX {",
    ),
    mutation(
        URING,
        "deferred completions are not processed after the send",
        POLLER,
        "self.completed.extend(self.deferred.drain(..));",
        "",
    ),
    mutation(
        URING,
        "the poll of the eventfd is not re-armed after it has ended",
        COMPLETIONS,
        "if !completion.more {\n                    self.poll_wake_fd();",
        "if false {\n                    self.poll_wake_fd();",
    ),
    mutation(
        URING,
        "the poll of a listener is not re-armed after it has ended",
        COMPLETIONS,
        "if !completion.more && slot < self.listeners.len() {",
        "if slot == usize::MAX {",
    ),
    mutation(
        URING,
        "a multishot operation counts as ended with its first completion",
        COMPLETIONS,
        "if !completion.more {\n                    self.slots[slot].armed = None;\n                }",
        "self.slots[slot].armed = None;",
    ),
    mutation(
        URING,
        "a connection for which no buffer was free is not read",
        COMPLETIONS,
        "let ended = [0, -libc::ENOBUFS, -libc::ECANCELED].contains(&result);",
        "if result == -libc::ENOBUFS { return None; }\n            let ended = [0, -libc::ECANCELED].contains(&result);",
    ),
    mutation(
        URING,
        "a receive that ends with its last buffer is not re-armed",
        COMPLETIONS,
        "if !more {\n            self.events.push_back(readable);\n        }",
        "let _ = (more, readable);",
    ),
    mutation(
        URING,
        "submit before close: a descriptor is closed while an entry names it",
        POLLER,
        "if slot.pushed_in == self.submission {",
        "if slot.generation == u32::MAX {",
    ),
    mutation(
        URING,
        "an operation in flight is not cancelled when its connection is closed",
        POLLER,
        "self.ring.cancel(slot.user_data(armed, key), Operation::Cancel.user_data(0, 0));\n        }\n        self.registered",
        "let _ = armed;\n        }\n        self.registered",
    ),
    mutation(
        URING,
        "unread order: a buffer that is deferred again is queued behind the others",
        POLLER,
        "Unread::Taken => self.unread.push_front(key, buf),",
        "Unread::Taken => self.unread.push_back(key, buf),",
    ),
    mutation(
        URING,
        "buffers received behind unread ones are reported at once",
        COMPLETIONS,
        "if slot.unread != Unread::None {\n            self.unread.push_back(key, buf);\n            return None;\n        }",
        "",
    ),
    mutation(
        URING,
        "unread buffers of a closed connection are not recycled",
        POLLER,
        "if slot.unread != Unread::None {\n            self.drop_unread(key);\n        }",
        "",
    ),
    mutation(
        URING,
        "two receivers: an operation starts before the last completion of the other",
        POLLER,
        "None => self.arm(key, op),\n",
        "_ if slot.armed != Some(op) => self.arm(key, op),\n            None => {}\n",
    ),
    mutation(
        URING,
        "the next unread buffer is not reported until another event",
        POLLER,
        "self.unread_due |= slot.unread != Unread::None;",
        "",
    ),
    mutation(
        URING,
        "closed descriptors wait for the next event",
        POLLER,
        "if pool_low || self.unread_due || !self.closing.is_empty() {",
        "if !self.unread_due && !self.closing.is_empty() {
            let nothing = self.completed.is_empty() && self.events.is_empty();
            let result = self.ring.wait(if nothing { timeout } else { Some(Duration::ZERO) });
            self.collect();
            result?;
            return Ok(!self.completed.is_empty() || !self.events.is_empty());
        }
        if pool_low || self.unread_due {",
    ),
    mutation(
        URING,
        "it blocks although submitting has failed before",
        POLLER,
        "let submitted = !self.unread_due && self.closing.is_empty();",
        "let submitted = true;",
    ),
    mutation(
        URING,
        "it blocks although entries wait for room in the queue (the simulated ring's line)",
        "../../../../../tests/simulation/src/ring.rs",
        "timeout == Some(Duration::ZERO) || deferred",
        "timeout == Some(Duration::ZERO)",
    ),
    mutation(
        URING,
        "a buffer is recycled before its send is submitted",
        COMPLETIONS,
        "if self.ring.has_submitted_all() {",
        "if !self.ring.has_overflowed() {",
    ),
    mutation(
        URING,
        "a short write counts as echoed",
        CONNECTION,
        "self.echoed -= bytes.len() as u64;\n",
        "",
    ),
    mutation(
        URING,
        "the unsent rest of a buffer is not owed",
        WORKER,
        "connection.unsent(&self.poller.bytes(&buf)[sent..], self.now);",
        "let _ = sent;",
    ),
    mutation(
        URING,
        "MAX_OWED: received buffers are taken whatever is owed",
        CONNECTION,
        "self.session.owed() + received > MAX_OWED",
        "self.session.owed() + received > usize::MAX / 2",
    ),
    mutation(
        URING,
        "a connection is read while the poller still sends for it",
        WORKER,
        "let readable = readable && !receives && !postponed;",
        "let readable = readable && !receives;",
    ),
    mutation(
        URING,
        "a connection is read while the poller receives for it",
        WORKER,
        "let readable = readable && !receives && !postponed;",
        "let readable = readable && !postponed;",
    ),
    mutation(
        READINESS,
        "requeue after a full read",
        CONNECTION,
        "Ok(limit.is_some() || !recv_emptied_socket(count, room))",
        "Ok(limit.is_some())",
    ),
    mutation(
        READINESS,
        "requeue after owed bytes were sent",
        CONNECTION,
        "// Nothing was read while bytes were owed.\n                true",
        "false",
    ),
    mutation(
        READINESS,
        "requeue: a connection that wants to run again is not queued",
        WORKER,
        "if more && !connection.queued {",
        "if false && more {",
    ),
    mutation(
        READINESS,
        "the end of the stream, reported with a short read, is forgotten",
        WORKER,
        "connection.ended = true;",
        "connection.ended = false;",
    ),
    mutation(
        BOTH,
        "drain limit: nothing that was received before a stop is echoed",
        CONNECTION,
        "let limit = received(&self.stream) + ahead;",
        "let limit = received(&self.stream).min(ahead);",
    ),
    mutation(
        BOTH,
        "drain limit: it is not counted down",
        SESSION,
        "self.drain_limit -= taken as u32;",
        "let _ = taken;",
    ),
    mutation(
        URING,
        "input is echoed after it was refused",
        SESSION,
        "Input::Refused | Input::Stalled | Input::Reset | Input::Ended => return Ok(0),",
        "Input::Refused => bytes,\n            Input::Stalled | Input::Reset | Input::Ended => return Ok(0),",
    ),
    mutation(
        BOTH,
        "an idle connection is closed without a last read",
        DEADLINES,
        "            self.ready(key, true);\n        }\n        let Some(reason)",
        "        }\n        let Some(reason)",
    ),
    mutation(
        BOTH,
        "backpressured connections that are closed are still counted",
        WORKER,
        "self.backpressured -= usize::from(connection.backpressured);",
        "",
    ),
    mutation(
        BOTH,
        "linger: a connection is closed with its FIN",
        SESSION,
        "(Input::Refused, true) => State::Discard,",
        "(Input::Refused, true) => State::Close,",
    ),
    mutation(
        BOTH,
        "linger: unacknowledged bytes do not matter",
        "../../linger.rs",
        "unacknowledged == 0 && (silent",
        "(unacknowledged == 0 || true) && (silent",
    ),
    mutation(
        BOTH,
        "a connection that lingers for a deadline is never closed",
        DEADLINES,
        "let is_open = self.connections[key].reason.is_none();",
        "let is_open = true;",
    ),
    mutation(
        BOTH,
        "the write deadline of bytes that are owed anew starts in the past",
        CONNECTION,
        "if before == 0 && self.session.owed() > 0 {",
        "if before == usize::MAX {",
    ),
    mutation(
        READINESS,
        "a broken message behind a stall ends the connection",
        SESSION,
        "if self.broken().is_some() && self.input != Input::Stalled {",
        "if self.broken().is_some() {",
    ),
    mutation(
        URING,
        "splicing: urgent data counts as an empty socket",
        "splice.rs",
        "None if !std::mem::replace(&mut self.was_empty, true) => Spliced::Empty,",
        "None if !std::mem::replace(&mut self.was_empty, false) => Spliced::Empty,",
    ),
    mutation(
        BOTH,
        "splicing: the bytes left in a pipe are not owed",
        CONNECTION,
        "self.session.owe_piped(received - sent);",
        "",
    ),
    mutation(
        BOTH,
        "suspended: a write deadline begins at the last wait",
        WORKER,
        "if connection.backpressured {\n            // The process",
        "if false {\n            // The process",
    ),
    mutation(
        BOTH,
        "wake after dispatch",
        "pool.rs",
        "drop(inbox);\n            self.wake();",
        "drop(inbox);",
    ),
    mutation(
        BOTH,
        "dispatched connections are left in the inbox",
        WORKER,
        "for incoming in inbox {",
        "for incoming in inbox.into_iter().take(1) {",
    ),
    mutation(
        BOTH,
        "connections queued before a stop are not accepted",
        "../../listen/accept.rs",
        "Phase::Draining => self.queue,",
        "Phase::Draining => 0,",
    ),
    mutation(
        BOTH,
        "accepting is not resumed after a pause",
        "worker/accept.rs",
        "backoff.map(|backoff| Instant::now() + backoff)",
        "backoff.filter(|_| false).map(|backoff| Instant::now() + backoff)",
    ),
    mutation(
        BOTH,
        "the timer of a held-back connection is not set again",
        DEADLINES,
        "connection.timer_set = false;",
        "",
    ),
    mutation(
        URING,
        "direct reads: the connection is not watched again before a sleep",
        WORKER,
        "self.release_hot();",
        "",
    ),
    mutation(
        BOTH,
        "direct reads: a closed connection is not forgotten",
        WORKER,
        "self.hot.remove(key);",
        "",
    ),
    mutation(
        URING,
        "direct reads: also of connections for which the kernel receives",
        HOT,
        "|| self.poller.receives(key)",
        "",
    ),
];
