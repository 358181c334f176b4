//! The configurations of the server that histories run against.

use std::time::Duration;

use echo_test_support::model::{Framing, Rules, Termination};

/// A configuration, and what follows from it.
pub(super) struct Case {
    pub(super) name: &'static str,
    /// The server's arguments.
    pub(super) arguments: &'static [&'static str],
    pub(super) rules: Rules,
    /// Connections that are open beside those of the histories. With some, the ring receives ahead for a busy
    /// connection.
    pub(super) bystanders: usize,
    /// Histories that one server is used for; fewer where they wait.
    pub(super) round: usize,
    /// The most that is sent in one piece, where the echo is slow on purpose.
    pub(super) largest: usize,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) write_timeout: Option<Duration>,
    /// Peers send urgent bytes, too.
    pub(super) urgent: bool,
    /// The most connections, the bystanders not among them.
    pub(super) room: usize,
}

const RAW: Rules =
    Rules { framing: Framing::Raw, max_frame: 0, termination: None, corrupts: false };
/// Most are variations of this one.
const PLAIN: Case = Case {
    name: "raw",
    arguments: &["--threads", "2"],
    rules: RAW,
    bystanders: 1,
    round: 100,
    largest: 300_000,
    idle_timeout: None,
    write_timeout: None,
    urgent: false,
    room: usize::MAX,
};
/// Enough of them for the ring to receive ahead, on one thread.
const BYSTANDERS: Case =
    Case { name: "crowd", arguments: &["--threads", "1"], bystanders: 6, ..PLAIN };
const SHORT: Duration = Duration::from_millis(150);

const fn framed(framing: Framing, max_frame: usize) -> Rules {
    Rules { framing, max_frame, ..RAW }
}

const fn ended(at: usize, termination: Termination) -> Rules {
    Rules { termination: Some((at, termination)), ..RAW }
}

/// All of them. Their names are those of `--cases`.
pub(super) static CASES: [Case; 19] = [
    PLAIN,
    BYSTANDERS,
    Case { name: "urgent", urgent: true, ..BYSTANDERS },
    Case {
        name: "lines",
        arguments: &["--threads", "1", "--framing", "line", "--max-frame", "1000"],
        rules: framed(Framing::Line, 1000),
        ..BYSTANDERS
    },
    Case {
        name: "long-lines",
        arguments: &["--threads", "2", "--framing", "line", "--max-frame", "6000"],
        rules: framed(Framing::Line, 6000),
        ..PLAIN
    },
    Case {
        name: "counted",
        arguments: &["--threads", "1", "--framing", "length", "--max-frame", "100"],
        rules: framed(Framing::Length, 100),
        ..BYSTANDERS
    },
    Case {
        name: "long-counted",
        arguments: &["--threads", "2", "--framing", "length", "--max-frame", "70000"],
        rules: framed(Framing::Length, 70_000),
        ..PLAIN
    },
    Case {
        name: "idle",
        round: 10,
        arguments: &["--threads", "1", "--idle-timeout", "150ms"],
        idle_timeout: Some(SHORT),
        ..BYSTANDERS
    },
    Case {
        name: "idle-lines",
        round: 10,
        arguments: &[
            "--threads",
            "2",
            "--idle-timeout",
            "150ms",
            "--framing",
            "line",
            "--max-frame",
            "100",
        ],
        rules: framed(Framing::Line, 100),
        idle_timeout: Some(SHORT),
        ..PLAIN
    },
    Case {
        name: "stalled",
        round: 10,
        arguments: &["--threads", "1", "--write-timeout", "150ms"],
        write_timeout: Some(SHORT),
        ..BYSTANDERS
    },
    Case {
        name: "max-connections",
        // The bystanders count, too.
        arguments: &["--threads", "1", "--max-connections", "8"],
        room: 2,
        ..BYSTANDERS
    },
    Case {
        name: "max-per-peer",
        arguments: &["--threads", "1", "--max-per-peer", "2"],
        bystanders: 2,
        room: 2,
        ..BYSTANDERS
    },
    Case {
        name: "close-after",
        arguments: &["--threads", "1", "--close-after", "5000"],
        rules: ended(5000, Termination::Close),
        bystanders: 4,
        ..BYSTANDERS
    },
    Case {
        name: "reset-after",
        arguments: &["--threads", "1", "--reset-after", "5000"],
        rules: ended(5000, Termination::Reset),
        bystanders: 4,
        ..BYSTANDERS
    },
    Case {
        name: "stall-after",
        round: 10,
        arguments: &["--threads", "1", "--stall-after", "5000"],
        rules: ended(5000, Termination::Stall),
        bystanders: 4,
        ..BYSTANDERS
    },
    Case {
        name: "close-lines",
        arguments: &[
            "--threads",
            "1",
            "--framing",
            "line",
            "--max-frame",
            "100",
            "--close-after",
            "5003",
        ],
        rules: Rules {
            termination: Some((5003, Termination::Close)),
            ..framed(Framing::Line, 100)
        },
        ..BYSTANDERS
    },
    Case {
        name: "corrupt",
        arguments: &["--threads", "2", "--corrupt", "10%"],
        rules: Rules { corrupts: true, ..RAW },
        bystanders: 0,
        ..PLAIN
    },
    Case {
        name: "slow",
        round: 10,
        arguments: &["--threads", "2", "--slice", "1..900", "--delay", "1ms~1ms"],
        largest: 9000,
        ..PLAIN
    },
    Case {
        name: "rate-limit",
        round: 10,
        arguments: &["--threads", "2", "--rate-limit", "2000000", "--framing", "line"],
        rules: framed(Framing::Line, 1024 * 1024),
        largest: 9000,
        ..PLAIN
    },
];
