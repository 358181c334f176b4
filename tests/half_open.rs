//! Peers that disappear without FIN or RST, as when a cable is unplugged.
#![cfg(target_os = "linux")]

use std::io;
use std::process::Command;

use echo_test_support::{
    Process, ResourceUsage, Server, command, eventually, on_every_engine, skipped, with_engine,
};

on_every_engine! {
    vanished_idle_peers_are_closed_after_the_idle_timeout,
    vanished_peers_that_are_owed_data_are_closed_after_the_write_timeout,
    vanished_peers_hold_little_memory_once_they_are_closed,
}

const PEERS: usize = 40;

/// Timeouts of the server, one per attempt. All peers must have connected and the link must be down before the
/// first timeout passes; on a busy machine that takes longer.
const TIMEOUTS: [&str; 3] = ["4s", "8s", "16s"];

/// The behaviour of the peers, and the server's timeout that applies.
struct Peers {
    /// A Bash script: Bash can connect.
    script: &'static str,
    deadline: &'static str,
    other_options: &'static [&'static str],
}

/// Peers that receive their echo and are silent from then on.
const SILENT: Peers = Peers {
    script: "printf hello >&$socket; read -r -N 5 -u $socket;",
    deadline: "--idle-timeout",
    // The server's FIN is not acknowledged either.
    other_options: &["--write-timeout", "1s"],
};

/// Peers that send without reading until the server stops reading.
const STUCK: Peers = Peers {
    script: "(while timeout 2 head -c 1000000 /dev/zero >&$socket; do :; done) &",
    deadline: "--write-timeout",
    // On a busy machine, a peer may have got all that it is owed.
    other_options: &["--idle-timeout", "10s"],
};

fn vanished_idle_peers_are_closed_after_the_idle_timeout(engine: &str) {
    expect_closed(engine, &SILENT);
}

fn vanished_peers_that_are_owed_data_are_closed_after_the_write_timeout(engine: &str) {
    expect_closed(engine, &STUCK);
}

fn vanished_peers_hold_little_memory_once_they_are_closed(engine: &str) {
    if engine != "readiness" {
        // The allocator keeps memory that was mapped for threads; and the buffer ring, of which 2 MiB are touched
        // meanwhile, is as large as all that the peers may be owed.
        return;
    }
    let Some((server, before)) = expect_closed(engine, &STUCK) else { return };
    // The event loop's own buffers take about 600 KiB; 40 peers may be owed 2560 KiB.
    let most = before.memory_kib + 1024;
    eventually("the memory is free", || ResourceUsage::of(&server).memory_kib <= most);
}

/// Expects that all peers are closed. Returns the server and its usage before; `None` without namespaces.
fn expect_closed(engine: &str, peers: &Peers) -> Option<(Server, ResourceUsage)> {
    for timeout in TIMEOUTS {
        let network = Network::new()?;
        let server = network.serve(engine, peers, timeout);
        let before = ResourceUsage::of(&server);
        network.connect_and_unplug(&server, peers);
        if closed(&server, "") > 1 {
            continue;
        }
        eventually("all are closed", || closed(&server, "") == 1 + PEERS);
        // With the link up, the server would see them end, or they would acknowledge its FIN.
        assert_eq!(closed(&server, ": stalled"), PEERS, "{}", server.process.output().1);
        eventually("what was held for them is released", || {
            let now = ResourceUsage::of(&server);
            // io_uring's worker threads are the kernel's.
            let no_thread = engine != "threads" || now.threads <= before.threads;
            no_thread && now.descriptors <= before.descriptors
        });
        return Some((server, before));
    }
    panic!("a peer was closed before the link was down, with each of {TIMEOUTS:?}");
}

/// How many connections the server has reported as closed so far, in lines that end with `words`.
fn closed(server: &Server, words: &str) -> usize {
    let (_, stderr) = server.process.output();
    stderr.lines().filter(|line| line.contains(": closed after ") && line.ends_with(words)).count()
}

/// Two machines and a link between them, in namespaces that end with their last process.
struct Network {
    near: Machine,
    far: Machine,
}

/// A network namespace, in a user namespace in which we have all privileges.
struct Machine(Process);

impl Network {
    /// `None` if the system does not allow namespaces; the test is then reported as skipped.
    fn new() -> Option<Self> {
        let created = Self::create();
        created
            .map_err(|error| skipped("half-open peers", &format!("no namespaces here: {error}")))
            .ok()
    }

    fn create() -> io::Result<Self> {
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

    /// A server on the near machine that has served one peer, so that all its threads have started.
    fn serve(&self, engine: &str, peers: &Peers, timeout: &str) -> Server {
        let mut start = self.near.command(env!("CARGO_BIN_EXE_echo-server"));
        start
            .args(["--host", "10.0.0.1", "--port", "0", "-v"])
            .args(with_engine(engine, &["--threads", "1"]))
            .args([peers.deadline, timeout])
            .args(peers.other_options);
        let server = Server::start_with(&mut start).unwrap();
        let connect = connecting_to(&server);
        self.far
            .run(&format!("{connect}; printf hello >&$socket; read -r -N 5 -u $socket"))
            .unwrap();
        eventually("the first peer is closed", || closed(&server, ": done") == 1);
        server
    }

    /// Connects all peers from the far machine, and takes the link down when their scripts have run.
    fn connect_and_unplug(&self, server: &Server, peers: &Peers) {
        let mut all = self.far.command("unshare");
        // When the first process ends, all of them end.
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

/// A Bash command that connects to the server.
fn connecting_to(server: &Server) -> String {
    format!("exec {{socket}}<>/dev/tcp/10.0.0.1/{}", server.address.port())
}

impl Machine {
    fn start(unshare: &mut Command) -> io::Result<Self> {
        // The time limit cleans up after a failed test.
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
