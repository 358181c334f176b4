//! Peers that are gone without a word, as when a cable is cut: neither FIN nor RST tells the server.
#![cfg(target_os = "linux")]

use std::io;
use std::process::Command;

use echo_test_support::{Held, Process, Server, command, eventually, on_every_engine, skipped};

on_every_engine! {
    silent_peers_behind_a_cut_cable_are_given_up_after_the_idle_timeout,
    peers_behind_a_cut_cable_that_are_owed_something_are_given_up_after_the_write_timeout,
}

const PEERS: usize = 40;

/// In Bash, which can connect: a peer that gets its echo and then is silent.
const SILENT: &str = "printf hello >&$socket; read -r -N 5 -u $socket;";

/// One that sends and never reads, until the server takes nothing more.
const STUCK: &str = "(while timeout 2 head -c 1000000 /dev/zero >&$socket; do :; done) &";

fn silent_peers_behind_a_cut_cable_are_given_up_after_the_idle_timeout(engine: &str) {
    // Our FIN is owed to them too, and that nobody takes.
    are_given_up(engine, SILENT, &["--idle-timeout", "2s", "--write-timeout", "1s"]);
}

fn peers_behind_a_cut_cable_that_are_owed_something_are_given_up_after_the_write_timeout(
    engine: &str,
) {
    are_given_up(engine, STUCK, &["--write-timeout", "4s"]);
}

fn are_given_up(engine: &str, peers: &str, arguments: &[&str]) {
    let Some(network) = Network::new() else { return };
    let program = env!("CARGO_BIN_EXE_echo-server");
    let mut start = network.near.command(program);
    start
        .args(["--host", "10.0.0.1", "--port", "0", "--engine", engine, "--threads", "1", "-v"])
        .args(arguments);
    let server = Server::start_with(&mut start).unwrap();
    let connect = format!("exec {{socket}}<>/dev/tcp/10.0.0.1/{}", server.address.port());
    // Whoever has served somebody has started all of it.
    network
        .far
        .run(&format!("{connect}; printf hello >&$socket; read -r -N 5 -u $socket"))
        .unwrap();
    let before = Held::by(&server);

    let mut all = network.far.command("unshare");
    // With the first process, all of them end.
    all.args(["--pid", "--fork", "--kill-child", "bash", "-c"]);
    all.arg(format!("for peer in {{1..{PEERS}}}; do {connect}; {peers} done; wait; echo connected; exec sleep 90"));
    let peers = Process::spawn(&mut all).unwrap();
    peers.wait_for_stdout("connected").unwrap();
    network.far.run("ip link set cable down").unwrap();
    drop(peers);

    let closed = || server.process.output().1.matches(": closed after ").count();
    eventually("all are given up", || closed() == 1 + PEERS);
    eventually("what was held for them is free", || {
        let now = Held::by(&server);
        // An event loop has buffers of its own, some 600 KiB; 40 peers may be owed 2560. What was mapped for
        // threads, an allocator keeps, and a worker thread of io_uring is the kernel's.
        let is_free = match engine {
            "threads" => now.threads <= before.threads,
            _ => now.memory_kib <= before.memory_kib + 1024,
        };
        is_free && now.descriptors <= before.descriptors
    });
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
