//! The loads under which servers are compared.

/// A load, and for whom it is.
#[derive(Debug)]
pub(super) struct Scenario {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What it is called in the report: connections × bytes of a message.
    pub(super) title: &'static str,
    /// What `echo-client bench` is told.
    pub(super) load: &'static [&'static str],
    /// Whether it is part of a quick look.
    pub(super) quick: bool,
    /// Whether it takes no more than one connection, which is all that the tutorial's server serves.
    pub(super) single: bool,
}

/// In the order in which they are run and reported.
pub(super) static ALL: [Scenario; 10] = [
    Scenario {
        name: "1x64",
        title: "1 × 64",
        load: &["-c", "1", "-s", "64"],
        quick: true,
        single: true,
    },
    Scenario {
        name: "50x64",
        title: "50 × 64",
        load: &["-c", "50", "-s", "64"],
        quick: true,
        single: false,
    },
    Scenario {
        name: "500x64",
        title: "500 × 64",
        load: &["-c", "500", "-s", "64"],
        quick: false,
        single: false,
    },
    Scenario {
        name: "50x64-depth16",
        title: "50 × 64, depth 16",
        load: &["-c", "50", "-s", "64", "--depth", "16"],
        quick: false,
        single: false,
    },
    Scenario {
        name: "50x4k",
        title: "50 × 4 KiB",
        load: &["-c", "50", "-s", "4k"],
        quick: false,
        single: false,
    },
    Scenario {
        name: "4x16k",
        title: "4 × 16 KiB",
        load: &["-c", "4", "-s", "16k"],
        quick: false,
        single: false,
    },
    Scenario {
        name: "4x64k",
        title: "4 × 64 KiB",
        load: &["-c", "4", "-s", "64k"],
        quick: true,
        single: false,
    },
    Scenario {
        name: "4x64k-depth4",
        title: "4 × 64 KiB, depth 4",
        load: &["-c", "4", "-s", "64k", "--depth", "4"],
        quick: false,
        single: false,
    },
    Scenario {
        name: "connect",
        title: "10 × connect, echo, close",
        load: &["-c", "10", "-s", "64", "--reconnect-every", "1"],
        quick: true,
        single: false,
    },
    Scenario {
        name: "open",
        title: "50 × 64, 20 000 a second",
        load: &["-c", "50", "-s", "64", "-R", "20k"],
        quick: false,
        single: false,
    },
];

/// What they are called on the command line.
pub(super) fn names() -> [&'static str; ALL.len()] {
    std::array::from_fn(|index| ALL[index].name)
}
