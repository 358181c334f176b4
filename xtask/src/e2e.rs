//! End to end: the two built programs, as two processes, over real sockets.

mod checks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use echo_test_support::{Finished, Process, Server, command};

/// How a check ended, if it did not fail.
enum Outcome {
    /// What it saw.
    Passed(String),
    /// Why it could not be done here.
    Skipped(String),
}

/// The built programs.
struct Pair {
    server: PathBuf,
    client: PathBuf,
}

type Check = fn(&Pair) -> Result<Outcome>;

/// Builds both programs once and runs every check; stops at the first that fails.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(release: bool) -> Result<()> {
    let pair = build(release)?;
    let started = Instant::now();
    let mut skipped = 0;
    println!("{}", checks::transcript(&pair)?);
    for (name, check) in checks::ALL {
        match check(&pair).with_context(|| format!("FAILED {name}"))? {
            Outcome::Passed(seen) => println!("ok    {name}: {seen}"),
            Outcome::Skipped(why) => {
                skipped += 1;
                println!("SKIP  {name}: {why}");
            }
        }
    }
    let passed = checks::ALL.len() - skipped;
    println!("\n{passed} checks passed, {skipped} skipped, in {:.1?}", started.elapsed());
    Ok(())
}

/// Builds what will be started; starting through `cargo run` would lock and look around each time.
fn build(release: bool) -> Result<Pair> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "echo-server", "--package", "echo-client"]);
    build.args(release.then_some("--release"));
    ensure!(build.status().context("cannot start cargo")?.success(), "the programs do not build");

    // This program lies in the target directory's folder for development builds, wherever that is.
    let own = std::env::current_exe()?;
    let debug = own.parent().context("this program lies in no folder")?;
    let folder = if release { debug.with_file_name("release") } else { debug.to_owned() };
    let program = |name| {
        let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
        ensure!(path.is_file(), "no program at {}", path.display());
        Ok(path)
    };
    Ok(Pair { server: program("echo-server")?, client: program("echo-client")? })
}

impl Pair {
    /// Starts the server on a free port.
    fn start(&self, arguments: &[&str]) -> Result<Server> {
        Ok(Server::start(&self.server, arguments)?)
    }

    /// A client's command line for the server at `address`.
    fn client(&self, address: SocketAddr, arguments: &[&str]) -> Command {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut client = command(&self.client);
        client.args(["--host", &host, "--port", &port]).args(arguments);
        client
    }

    /// Runs a client, which must succeed, and returns what it printed.
    fn exchange(&self, server: &Server, arguments: &[&str], input: &[u8]) -> Result<String> {
        let client = Process::run(&mut self.client(server.address, arguments), input)?;
        self.expect_success(server, &client)?;
        Ok(client.stdout.trim_end().to_owned())
    }

    fn expect_success(&self, server: &Server, client: &Finished) -> Result<()> {
        if !client.status.success() {
            let (stdout, stderr) = server.process.output();
            bail!(
                "the client ended with {}\nclient stdout: {}\nclient stderr: {}\n\
                 server stdout: {stdout}\nserver stderr: {stderr}",
                client.status,
                client.stdout,
                client.stderr
            );
        }
        Ok(())
    }
}

/// Ends a check whose programs did not do what they should, with what both of them printed.
fn ensure_seen(seen: bool, what: &str, server: &Server, client: &str) -> Result<()> {
    let (stdout, stderr) = server.process.output();
    ensure!(seen, "{what}\nclient: {client}\nserver stdout: {stdout}\nserver stderr: {stderr}");
    Ok(())
}
