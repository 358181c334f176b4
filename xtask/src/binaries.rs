//! Building and starting the two programs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use echo_test_support::{Finished, Process, Server, command};

use crate::cargo::cargo;

/// The built programs.
pub(crate) struct Binaries {
    pub(crate) server: PathBuf,
    pub(crate) client: PathBuf,
    /// The command that runs them, if they are not for this system.
    runner: Option<Runner>,
}

/// Makes a command that runs a program.
pub(crate) type Runner = fn(&Path) -> Command;

impl Binaries {
    /// Builds both programs once: `cargo run` would lock and check the build at every start.
    pub(crate) fn build(release: bool) -> Result<Self> {
        Self::build_for(None, release, None)
    }

    /// Builds both programs for a target of rustc, or for this system.
    pub(crate) fn build_for(
        target: Option<&str>,
        release: bool,
        runner: Option<Runner>,
    ) -> Result<Self> {
        let mut build = cargo();
        build.args(["build", "--quiet", "--package", "echo-server", "--package", "echo-client"]);
        build.args(release.then_some("--release"));
        build.args(target.map(|target| format!("--target={target}")));
        ensure!(
            build.status().context("cannot start cargo")?.success(),
            "the programs do not build"
        );

        // This program is in the target directory's folder for debug builds.
        let own = std::env::current_exe()?;
        let debug = own.parent().context("this program has no parent folder")?;
        let root = debug.parent().context("the target directory has no parent")?;
        let folder = root.join(target.unwrap_or_default());
        let folder = folder.join(if release { "release" } else { "debug" });
        let for_windows = target.map_or(cfg!(windows), |target| target.contains("windows"));
        let program = |name: &str| {
            let path = folder.join(name).with_extension(if for_windows { "exe" } else { "" });
            ensure!(path.is_file(), "no program at {}", path.display());
            Ok(path)
        };
        Ok(Self { server: program("echo-server")?, client: program("echo-client")?, runner })
    }

    /// The server's command line.
    pub(crate) fn server(&self) -> Command {
        self.run(&self.server)
    }

    fn run(&self, program: &Path) -> Command {
        self.runner.map_or_else(|| command(program), |runner| runner(program))
    }

    /// Starts the server on a free port.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Server> {
        Ok(Server::start_with(self.server().args(["--port", "0"]).args(arguments))?)
    }

    /// Whether they are for another system, and run by a command.
    pub(crate) fn are_foreign(&self) -> bool {
        self.runner.is_some()
    }

    /// Tells a server to stop. Wine calls the handler of a console event at SIGINT, and at no other signal.
    pub(crate) fn stop(&self, server: &Server) {
        if self.are_foreign() { server.process.interrupt() } else { server.process.terminate() }
    }

    /// A client's command line, without a server's address.
    pub(crate) fn any_client(&self) -> Command {
        self.run(&self.client)
    }

    /// A client's command line for the server at `address`.
    pub(crate) fn client(&self, address: SocketAddr, arguments: &[&str]) -> Command {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut client = self.any_client();
        client.args(["--host", &host, "--port", &port]).args(arguments);
        client
    }

    /// Runs a client, which must succeed, and returns what it printed.
    pub(crate) fn exchange(
        &self,
        server: &Server,
        arguments: &[&str],
        input: &[u8],
    ) -> Result<String> {
        let client = Process::run(&mut self.client(server.address, arguments), input)?;
        self.expect_success(server, &client)?;
        Ok(client.stdout.trim_end().to_owned())
    }

    pub(crate) fn expect_success(&self, server: &Server, client: &Finished) -> Result<()> {
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
