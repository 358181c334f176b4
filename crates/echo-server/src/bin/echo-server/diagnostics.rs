//! Messages on stderr, as text or as one JSON object per line.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use echo_proto::wrap;
use echo_server::{CloseReason, Event, FrameError, RefuseReason, Summary};
use serde_json::{Map, Value, json};

use crate::print::{Lines, peer_name};

/// The shortest time between two reports of refusals.
const REFUSAL_INTERVAL: Duration = Duration::from_secs(1);

/// Columns before the second and later lines of a message, as in echo-client.
const INDENT: usize = 6;

/// The format of diagnostics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Writes diagnostics.
pub(crate) struct Diagnostics {
    lines: Lines,
    format: LogFormat,
    verbose: bool,
    /// Columns of a line of text.
    width: usize,
    refusal_reported: Mutex<Option<Instant>>,
}

impl Diagnostics {
    pub(crate) fn new(lines: Lines, format: LogFormat, verbose: bool, width: usize) -> Self {
        Self { lines, format, verbose, width, refusal_reported: Mutex::new(None) }
    }

    /// Reports an event, if it is to be printed.
    pub(crate) fn observe(&self, event: &Event) {
        match event {
            Event::FramingBroken { peer, error } => self.report(
                "framing_broken",
                json!({ "peer": peer.to_string(), "error": error.to_string() }),
                || framing_broken_text(*peer, *error),
            ),
            Event::AcceptPaused { error } => {
                self.report("accept_paused", json!({ "error": error.to_string() }), || {
                    format!("cannot accept connections: {error}; retrying")
                })
            }
            Event::Refused { peer, reason } if self.may_report_refusal() => self.report(
                "refused",
                json!({ "peer": peer.to_string(), "limit": limit_option(*reason) }),
                || refused_text(*peer, *reason),
            ),
            Event::Closed { peer, bytes, duration, reason } if self.verbose => self.report(
                "closed",
                json!({
                    "peer": peer.to_string(),
                    "bytes": bytes,
                    "duration_ms": duration.as_millis() as u64,
                    "reason": reason.name(),
                }),
                || {
                    let (peer, reason, ms) =
                        (peer_name(*peer), reason.name(), duration.as_millis());
                    format!("{peer}: closed after {ms} ms, {bytes} bytes echoed: {reason}")
                },
            ),
            _ => {}
        }
    }

    /// Reports a plain message.
    pub(crate) fn note(&self, event: &str, text: &str) {
        self.report(event, json!({ "message": text }), || text.to_owned());
    }

    /// Reports the error that ends the program, and a hint on the remedy.
    pub(crate) fn error(&self, error: &anyhow::Error, hint: Option<String>) {
        let text = format!("{error:#}");
        self.report("error", json!({ "message": text, "hint": hint }), || text.clone());
        if let (LogFormat::Text, Some(hint)) = (self.format, hint) {
            self.lines.print(wrap(&format!("hint: {hint}"), self.width, INDENT));
        }
    }

    /// Reports all counters.
    pub(crate) fn counters(&self, counters: &Summary) {
        self.report("counters", counters_json(counters), || counters_text(counters));
    }

    /// Reports the summary of a run.
    pub(crate) fn summary(&self, summary: &Summary, framed: bool, lines_lost: u64) {
        let mut fields = counters_json(summary);
        fields["lines_lost"] = lines_lost.into();
        self.report("stopped", fields, || summary_text(summary, framed, lines_lost));
    }

    /// Waits until queued lines are written.
    pub(crate) fn finish(&self) {
        self.lines.finish();
    }

    fn report(&self, event: &str, fields: Value, text: impl FnOnce() -> String) {
        self.lines.print(match self.format {
            LogFormat::Text => wrap(&format!("echo-server: {}", text()), self.width, INDENT),
            LogFormat::Json => {
                let mut object = Map::from_iter([("event".to_owned(), event.into())]);
                if let Value::Object(fields) = fields {
                    object.extend(fields);
                }
                Value::Object(object).to_string()
            }
        });
    }

    fn may_report_refusal(&self) -> bool {
        let mut last =
            self.refusal_reported.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let due = last.is_none_or(|last| last.elapsed() >= REFUSAL_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

fn limit_option(reason: RefuseReason) -> &'static str {
    match reason {
        RefuseReason::PerPeer => "--max-per-peer",
        RefuseReason::Fault => "--refuse",
        _ => "--max-connections",
    }
}

fn refused_text(peer: SocketAddr, reason: RefuseReason) -> String {
    let (peer, option) = (peer_name(peer), limit_option(reason));
    match reason {
        RefuseReason::Fault => format!("{peer}: refused by an injected fault ({option})"),
        _ => format!("{peer}: refused: {option} reached"),
    }
}

/// How a peer broke the framing, and the limit if there is one.
fn framing_broken_text(peer: SocketAddr, error: FrameError) -> String {
    let limit = match error {
        FrameError::FrameTooLarge { .. } => " (--max-frame)",
        _ => "",
    };
    format!("{}: {error}{limit}; connection closed", peer_name(peer))
}

fn counters_json(counters: &Summary) -> Value {
    let closed = CloseReason::ALL
        .map(|reason| (reason.name().replace(' ', "_"), Value::from(counters.closed_as(reason))));
    json!({
        "connections": counters.connections,
        "open": counters.open,
        "refused": {
            "max_connections": counters.refused_full,
            "max_per_peer": counters.refused_per_peer,
            "fault": counters.refused_by_fault,
        },
        "closed": Value::Object(Map::from_iter(closed)),
        "bytes": counters.bytes,
        "messages": counters.messages,
        "accept_pauses": counters.accept_pauses,
    })
}

fn counters_text(counters: &Summary) -> String {
    let closed: Vec<_> = CloseReason::ALL
        .iter()
        .map(|&reason| format!("{} {}", counters.closed_as(reason), reason.name()))
        .collect();
    format!(
        "connections: {} open, {} in total; refused: {} by --max-connections, {} by --max-per-peer, \
         {} by --refuse; closed: {}; echoed: {} bytes, {} messages; accept pauses: {}",
        counters.open,
        counters.connections,
        counters.refused_full,
        counters.refused_per_peer,
        counters.refused_by_fault,
        closed.join(", "),
        counters.bytes,
        counters.messages,
        counters.accept_pauses
    )
}

/// The summary of a run, in one line.
fn summary_text(summary: &Summary, framed: bool, lines_lost: u64) -> String {
    let mut line = format!("stopped: {} served, ", count(summary.connections, "connection"));
    if framed {
        line += &format!("{} of ", count(summary.messages, "message"));
    }
    line += &format!("{} echoed", count(summary.bytes, "byte"));
    let refused = summary.refused_full + summary.refused_per_peer + summary.refused_by_fault;
    if refused > 0 {
        line += &format!(", {} refused", count(refused, "connection"));
    }
    let aborted = summary.closed_as(CloseReason::Aborted);
    if aborted > 0 {
        line += &format!(", {} aborted before everything was echoed", count(aborted, "connection"));
    }
    if lines_lost > 0 {
        line += &format!(", {} of output lost", count(lines_lost, "line"));
    }
    line
}

fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Write};
    use std::sync::Arc;

    #[test]
    fn a_summary_uses_the_singular_and_the_plural() {
        assert_eq!(count(1, "byte"), "1 byte");
        assert_eq!(count(0, "byte"), "0 bytes");
    }

    /// Collects what is written.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The output of `report` in each format, on lines of any length.
    fn printed(report: impl Fn(&Diagnostics)) -> [String; 2] {
        printed_in(usize::MAX, report)
    }

    fn printed_in(width: usize, report: impl Fn(&Diagnostics)) -> [String; 2] {
        [LogFormat::Text, LogFormat::Json].map(|format| {
            let written = Written::default();
            let diagnostics = Diagnostics::new(Lines::to(written.clone()), format, true, width);
            report(&diagnostics);
            diagnostics.finish();
            let bytes = written.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        })
    }

    #[test]
    fn each_event_has_its_text_and_its_json() {
        let peer = "192.0.2.1:7".parse().unwrap();
        let exhausted = || io::Error::other("Too many open files");
        let table = [
            (
                Event::FramingBroken { peer, error: FrameError::FrameTooLarge { len: 9, max: 4 } },
                "('192.0.2.1', 7): a message of at least 9 bytes is over the limit of 4 (--max-frame); connection closed",
                r#"{"error":"a message of at least 9 bytes is over the limit of 4","event":"framing_broken","peer":"192.0.2.1:7"}"#,
            ),
            (
                Event::AcceptPaused { error: exhausted() },
                "cannot accept connections: Too many open files; retrying",
                r#"{"error":"Too many open files","event":"accept_paused"}"#,
            ),
            (
                Event::Refused { peer, reason: RefuseReason::Connections },
                "('192.0.2.1', 7): refused: --max-connections reached",
                r#"{"event":"refused","limit":"--max-connections","peer":"192.0.2.1:7"}"#,
            ),
            (
                Event::Refused { peer, reason: RefuseReason::Fault },
                "('192.0.2.1', 7): refused by an injected fault (--refuse)",
                r#"{"event":"refused","limit":"--refuse","peer":"192.0.2.1:7"}"#,
            ),
        ];
        for (event, text, json) in table {
            let expected = [format!("echo-server: {text}\n"), format!("{json}\n")];
            assert_eq!(printed(|diagnostics| diagnostics.observe(&event)), expected);
        }
    }

    #[test]
    fn an_error_has_its_hint_in_both_formats() {
        let printed = printed(|diagnostics| {
            diagnostics.error(&anyhow::anyhow!("it does not work"), Some("try again".to_owned()));
        });
        let expected = [
            "echo-server: it does not work\nhint: try again\n",
            "{\"event\":\"error\",\"hint\":\"try again\",\"message\":\"it does not work\"}\n",
        ];
        assert_eq!(printed, expected);
    }

    #[test]
    fn text_is_wrapped_to_the_terminal_and_json_is_not() {
        let printed = printed_in(30, |diagnostics| {
            let hint = "wait until it works, or try again";
            diagnostics.error(&anyhow::anyhow!("it does not work yet"), Some(hint.to_owned()));
        });
        let expected = "echo-server: it does not work\n      yet\n\
                        hint: wait until it works, or\n      try again\n";
        assert_eq!(printed[0], expected);
        assert_eq!(printed[1].lines().count(), 1);
    }

    #[test]
    fn a_summary_reports_lost_output() {
        let [text, json] = printed(|diagnostics| diagnostics.summary(&Summary::default(), true, 2));
        let expected = "echo-server: stopped: 0 connections served, 0 messages of 0 bytes echoed, 2 lines of output lost\n";
        assert_eq!(text, expected);
        let fields: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&fields["event"], &fields["lines_lost"]), (&"stopped".into(), &2.into()));
    }
}
