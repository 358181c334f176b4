//! Histories that have failed, and why. They are played first in each run.

/// A poller, a seed, and what was wrong.
pub(super) const REGRESSIONS: &[(&str, u64, &str)] = &[
    (
        "uring",
        730_443_785_241,
        "a spliced connection with urgent data next was closed as idle after a suspension",
    ),
    (
        "uring",
        1_000_337_614,
        "a connection was closed with unread input when its last ACK came in a sweep",
    ),
    ("readiness", 142, "a connection that lingered for a deadline was never closed"),
    ("uring", 125, "a connection that lingered for a deadline was never closed"),
    ("readiness", 219_232, "a peer that was owed bytes anew was closed as stalled at once"),
    ("uring", 21_510, "a peer that was owed bytes anew was closed as stalled at once"),
    ("readiness", 730_743, "a broken message behind a stall ended the connection"),
    ("uring", 1389, "the ring blocked although entries waited for room in its queue"),
    ("uring", 570_556, "the poller blocked with unread buffers, after a submission had failed"),
    ("uring", 200_252, "a write deadline began before the process was suspended, not after"),
    (
        "uring",
        870_563_724_301,
        "the idle timeout did not start anew when bytes were sent late, after a failed submission",
    ),
    (
        "uring",
        836_422_119_304,
        "a connection that drained unread buffers did not read its socket, and was never closed",
    ),
];
