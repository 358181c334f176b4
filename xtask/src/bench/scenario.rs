//! The loads under which servers are compared.

/// A load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    /// The name on the command line and in the names of saved runs.
    pub(super) name: &'static str,
    /// The title in the report: connections × message size in bytes.
    pub(super) title: &'static str,
    pub(super) connections: usize,
    size: &'static str,
    /// Further arguments of `echo-client bench`.
    options: &'static [&'static str],
    /// Whether it is run with --quick.
    pub(super) quick: bool,
}

/// The default loads, in the order in which they are run and reported.
pub(super) static DEFAULT: [Scenario; 10] = [
    load("1x64", "1 × 64", 1, "64").quick(),
    load("50x64", "50 × 64", 50, "64").quick(),
    load("500x64", "500 × 64", 500, "64"),
    load("50x64-depth16", "50 × 64, depth 16", 50, "64").with(&["--depth", "16"]),
    load("50x4k", "50 × 4 KiB", 50, "4k"),
    load("4x16k", "4 × 16 KiB", 4, "16k"),
    load("4x64k", "4 × 64 KiB", 4, "64k").quick(),
    load("4x64k-depth4", "4 × 64 KiB, depth 4", 4, "64k").with(&["--depth", "4"]),
    load("connect", "10 × connect, echo, close", 10, "64")
        .with(&["--reconnect-every", "1"])
        .quick(),
    load("open", "50 × 64, 20 000 per second", 50, "64").with(&["-R", "20k"]),
];

/// Increasing numbers of connections.
static SWEEP_CONNECTIONS: [Scenario; 6] = [
    load("sweep-connections-1", "1 × 64", 1, "64"),
    load("sweep-connections-10", "10 × 64", 10, "64"),
    load("sweep-connections-100", "100 × 64", 100, "64"),
    load("sweep-connections-1000", "1000 × 64", 1000, "64"),
    load("sweep-connections-5000", "5000 × 64", 5000, "64"),
    load("sweep-connections-10000", "10 000 × 64", 10_000, "64"),
];

/// By default the client chooses its engine by the size of a message.
const SAME_ENGINE: &[&str] = &["--engine", "readiness"];

/// Increasing message sizes. Eight connections are enough to keep a server busy with the smallest messages; with
/// fifty, a few connections had most of the echoes of 1 MiB.
static SWEEP_SIZES: [Scenario; 8] = [
    load("sweep-sizes-64", "8 × 64", 8, "64").with(SAME_ENGINE),
    load("sweep-sizes-256", "8 × 256", 8, "256").with(SAME_ENGINE),
    load("sweep-sizes-1k", "8 × 1 KiB", 8, "1k").with(SAME_ENGINE),
    load("sweep-sizes-4k", "8 × 4 KiB", 8, "4k").with(SAME_ENGINE),
    load("sweep-sizes-16k", "8 × 16 KiB", 8, "16k").with(SAME_ENGINE),
    load("sweep-sizes-64k", "8 × 64 KiB", 8, "64k").with(SAME_ENGINE),
    load("sweep-sizes-256k", "8 × 256 KiB", 8, "256k").with(SAME_ENGINE),
    load("sweep-sizes-1m", "8 × 1 MiB", 8, "1m").with(SAME_ENGINE),
];

/// The load of `--tail`: a rate that a server reaches beside its load on two processors.
pub(super) static TAIL: [Scenario; 1] =
    [load("tail", "50 × 64, 60 000 per second", 50, "64").with(&["-R", "60k"])];

/// Loads that are not run by default, by name.
static SETS: [(&str, &[Scenario]); 3] =
    [("sweep-connections", &SWEEP_CONNECTIONS), ("sweep-sizes", &SWEEP_SIZES), ("tail", &TAIL)];

const fn load(
    name: &'static str,
    title: &'static str,
    connections: usize,
    size: &'static str,
) -> Scenario {
    Scenario { name, title, connections, size, options: &[], quick: false }
}

impl Scenario {
    const fn quick(self) -> Self {
        Self { quick: true, ..self }
    }

    const fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }

    /// Whether messages are sent at a fixed rate.
    pub(super) fn is_open_loop(&self) -> bool {
        self.options.contains(&"-R")
    }

    /// The arguments of `echo-client bench`.
    pub(super) fn load(&self) -> Vec<String> {
        let connections = self.connections.to_string();
        let load = ["-c", &connections, "-s", self.size];
        load.iter().chain(self.options).map(|&word| word.to_owned()).collect()
    }
}

/// The names that are possible on the command line.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let single = DEFAULT.iter().map(|scenario| scenario.name);
    single.chain(SETS.iter().map(|(name, _)| *name))
}

/// The names of loads at a fixed rate.
pub(super) fn open_loop_names() -> impl Iterator<Item = &'static str> {
    let is_open_loop =
        |name: &&str| named(name).is_some_and(|it| it.iter().all(Scenario::is_open_loop));
    names().filter(is_open_loop)
}

/// A load or a series of loads by its name.
pub(super) fn named(name: &str) -> Option<&'static [Scenario]> {
    let single = DEFAULT.iter().find(|scenario| scenario.name == name);
    let set = || SETS.iter().find(|(set, _)| *set == name).map(|(_, scenarios)| *scenarios);
    single.map(std::slice::from_ref).or_else(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_has_one_name_and_varies_one_setting() {
        for name in names() {
            assert!(named(name).is_some(), "{name}");
        }
        let connections: Vec<_> = named("sweep-connections")
            .unwrap()
            .iter()
            .map(|it| (it.connections, it.size))
            .collect();
        assert_eq!((connections[0], connections[5]), ((1, "64"), (10_000, "64")));
        assert!(named("sweep-sizes").unwrap().iter().all(|it| it.connections == 8));
    }

    #[test]
    fn a_load_becomes_arguments_of_the_client() {
        let connect = &named("connect").unwrap()[0];
        assert_eq!(connect.load(), ["-c", "10", "-s", "64", "--reconnect-every", "1"]);
        assert_eq!(TAIL[0].load(), ["-c", "50", "-s", "64", "-R", "60k"]);
    }

    #[test]
    fn loads_with_a_rate_are_open_loops() {
        assert_eq!(open_loop_names().collect::<Vec<_>>(), ["open", "tail"]);
    }
}
