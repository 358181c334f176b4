//! Peers that are gone without a word, as when a cable is cut: neither FIN nor RST tells the server.
#![cfg(target_os = "linux")]

use std::io;
use std::process::Command;

use echo_test_support::{Held, Process, Server, command, eventually, on_every_engine, skipped};

on_every_engine! {
    silent_peers_behind_a_cut_cable_are_given_up_after_the_idle_timeout,
    peers_behind_a_cut_cable_that_are_owed_something_are_given_up_after_the_write_timeout,
    peers_behind_a_cut_cable_hold_little_once_they_are_given_up,
}

const PEERS: usize = 40;

/// How long the server is patient. All peers have to be there, and the cable cut, before it gives up the first;
/// where that fails, the machine is busy and gets more time.
const PATIENCE: [&str; 3] = ["4s", "8s", "16s"];

/// What peers do, and which deadline of the server is for that.
struct Peers {
    /// In Bash, which can connect.
    script: &'static str,
    deadline: &'static str,
    other_options: &'static [&'static str],
}

/// They get their echo and then are silent.
const SILENT: Peers = Peers {
    script: "printf hello >&$socket; read -r -N 5 -u $socket;",
    deadline: "--idle-timeout",
    // Our FIN is owed to them too, and that nobody takes.
    other_options: &["--write-timeout", "1s"],
};

/// They send and never read, until the server takes nothing more.
const STUCK: Peers = Peers {
    script: "(while timeout 2 head -c 1000000 /dev/zero >&$socket; do :; done) &",
    deadline: "--write-timeout",
    // On a busy machine one of them may have got all that it is owed.
    other_options: &["--idle-timeout", "10s"],
};

fn silent_peers_behind_a_cut_cable_are_given_up_after_the_idle_timeout(engine: &str) {
    are_given_up(engine, &SILENT);
}

fn peers_behind_a_cut_cable_that_are_owed_something_are_given_up_after_the_write_timeout(
    engine: &str,
) {
    are_given_up(engine, &STUCK);
}

fn peers_behind_a_cut_cable_hold_little_once_they_are_given_up(engine: &str) {
    if engine != "readiness" {
        // What was mapped for threads, an allocator keeps; and what a ring receives into, 2 MiB that it touches
        // meanwhile, is as much as all of them may be owed.
        return;
    }
    let Some((server, before)) = are_given_up(engine, &STUCK) else { return };
    // An event loop has buffers of its own, some 600 KiB; 40 peers may be owed 2560.
    let most = before.memory_kib + 1024;
    eventually("the memory is free", || Held::by(&server).memory_kib <= most);
}

/// The server afterwards, and what it held before them; `None` where there can be no cable.
fn are_given_up(engine: &str, peers: &Peers) -> Option<(Server, Held)> {
    for patience in PATIENCE {
        let network = Network::new()?;
        let server = network.serve(engine, peers, patience);
        let before = Held::by(&server);
        network.connect_and_cut(&server, peers);
        if closed(&server, "") > 1 {
            continue;
        }
        eventually("all are given up", || closed(&server, "") == 1 + PEERS);
        // With the cable whole, the server would see them end, or they would take our FIN.
        assert_eq!(closed(&server, ": stalled"), PEERS, "{}", server.process.output().1);
        eventually("what was held for them is free", || {
            let now = Held::by(&server);
            // A worker thread of io_uring is the kernel's.
            let no_thread = engine != "threads" || now.threads <= before.threads;
            no_thread && now.descriptors <= before.descriptors
        });
        return Some((server, before));
    }
    panic!("somebody was given up before the cable was cut, with {PATIENCE:?}");
}

/// How many connections the server has closed so far, and said so with these words at the end.
fn closed(server: &Server, words: &str) -> usize {
    let (_, told) = server.process.output();
    told.lines().filter(|line| line.contains(": closed after ") && line.ends_with(words)).count()
}

/// Two machines and the cable between them, which nobody else sees. All of it is gone with the last process
/// in it.
struct Network {
    near: Machine,
    far: Machine,
}

/// A network namespace, in a user namespace where we may do as we like.
struct Machine(Process);

impl Network {
    /// `None` where the system does not let us; that is said.
    fn new() -> Option<Self> {
        let laid = Self::lay();
        laid.map_err(|error| skipped("half-open peers", &format!("no namespaces here: {error}")))
            .ok()
    }

    fn lay() -> io::Result<Self> {
        let mut near = command("unshare");
        near.args(["--user", "--map-root-user", "--net"]);
        let near = Machine::start(&mut near)?;
        let mut far = near.command("unshare");
        far.arg("--net");
        let far = Machine::start(&mut far)?;
        near.run(&format!("ip link add cable type veth peer name cable netns {}", far.0.id()))?;
        for (machine, address) in [(&near, "10.0.0.1/24"), (&far, "10.0.0.2/24")] {
            machine.run(&format!("ip address add {address} dev cable && ip link set cable up"))?;
        }
        Ok(Self { near, far })
    }

    /// A server on the near machine that has served one peer: so it has started all that it needs.
    fn serve(&self, engine: &str, peers: &Peers, patience: &str) -> Server {
        let mut start = self.near.command(env!("CARGO_BIN_EXE_echo-server"));
        start
            .args(["--host", "10.0.0.1", "--port", "0", "--engine", engine, "--threads", "1", "-v"])
            .args([peers.deadline, patience])
            .args(peers.other_options);
        let server = Server::start_with(&mut start).unwrap();
        let connect = connecting_to(&server);
        self.far
            .run(&format!("{connect}; printf hello >&$socket; read -r -N 5 -u $socket"))
            .unwrap();
        eventually("the first peer is done with", || closed(&server, ": done") == 1);
        server
    }

    /// Connects all peers from the far machine, and cuts the cable when they have done what they do.
    fn connect_and_cut(&self, server: &Server, peers: &Peers) {
        let mut all = self.far.command("unshare");
        // With the first process, all of them end.
        all.args(["--pid", "--fork", "--kill-child", "bash", "-c"]);
        let (connect, script) = (connecting_to(server), peers.script);
        all.arg(format!(
            "for peer in {{1..{PEERS}}}; do {connect}; {script} done; wait; echo connected; exec sleep 90"
        ));
        let all = Process::spawn(&mut all).unwrap();
        all.wait_for_stdout("connected").unwrap();
        self.far.run("ip link set cable down").unwrap();
    }
}

/// Bash for a connection to the server.
fn connecting_to(server: &Server) -> String {
    format!("exec {{socket}}<>/dev/tcp/10.0.0.1/{}", server.address.port())
}

impl Machine {
    fn start(unshare: &mut Command) -> io::Result<Self> {
        // A test that takes longer has failed.
        unshare.args(["sh", "-c", "bash --version && echo ready && exec sleep 90"]);
        let process = Process::spawn(unshare)?;
        process.wait_for_stdout("ready")?;
        Ok(Self(process))
    }

    /// A command line for a program on this machine.
    fn command(&self, program: &str) -> Command {
        let mut enter = command("nsenter");
        enter.args(["--target", &self.0.id().to_string(), "--user", "--net"]);
        enter.args(["--preserve-credentials", program]);
        enter
    }

    fn run(&self, script: &str) -> io::Result<()> {
        let finished = Process::run(self.command("bash").args(["-c", script]), b"")?;
        if finished.status.success() { Ok(()) } else { Err(io::Error::other(finished.stderr)) }
    }
}
