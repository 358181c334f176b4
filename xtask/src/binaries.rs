//! Building and starting the two programs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use echo_test_support::{Finished, Process, Server, command};

use crate::cargo::cargo;

/// The built programs.
pub(crate) struct Binaries {
    pub(crate) server: PathBuf,
    pub(crate) client: PathBuf,
}

impl Binaries {
    /// Builds both programs once: `cargo run` would lock and check the build at every start.
    pub(crate) fn build(release: bool) -> Result<Self> {
        let mut build = cargo();
        build.args(["build", "--quiet", "--package", "echo-server", "--package", "echo-client"]);
        build.args(release.then_some("--release"));
        ensure!(
            build.status().context("cannot start cargo")?.success(),
            "the programs do not build"
        );

        // This program is in the target directory's folder for debug builds.
        let own = std::env::current_exe()?;
        let debug = own.parent().context("this program has no parent folder")?;
        let folder = if release { debug.with_file_name("release") } else { debug.to_owned() };
        let program = |name| {
            let path = folder.join(name).with_extension(std::env::consts::EXE_EXTENSION);
            ensure!(path.is_file(), "no program at {}", path.display());
            Ok(path)
        };
        Ok(Self { server: program("echo-server")?, client: program("echo-client")? })
    }

    /// Starts the server on a free port.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Server> {
        Ok(Server::start(&self.server, arguments)?)
    }

    /// A client's command line for the server at `address`.
    pub(crate) fn client(&self, address: SocketAddr, arguments: &[&str]) -> Command {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let mut client = command(&self.client);
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
