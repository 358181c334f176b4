//! The servers that are compared.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::str::FromStr;

use echo_server::Engine;
use echo_test_support::{Process, Server, command, with_engine};

use super::pinning::Pinning;
use super::scenario::Scenario;
use crate::binaries::Binaries;

/// The tutorial's server, also used in tests: it serves one connection and exits.
const TUTORIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/echo_server.py");
/// The name of that server.
const PYTHON: &str = "python";
/// The placeholder for the port in the command of another server.
const PORT: &str = "{port}";

/// A server that is compared with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The name in reports and in the names of saved runs.
    pub(super) name: String,
    program: Program,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Program {
    /// Our server on the engine of this name.
    Engine(&'static str),
    /// The tutorial's server, in Python.
    Tutorial,
    /// Any other server, as the words of its command.
    Command(Vec<String>),
}

impl Target {
    /// The names of the built-in targets: the tutorial's server, and the engines of the library except `auto`,
    /// which is one of the others.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        let auto = Engine::Auto.to_string();
        Engine::NAMES.into_iter().filter(move |name| *name != auto).chain([PYTHON])
    }

    /// A built-in target.
    pub(super) fn named(name: &'static str) -> Self {
        let program = if name == PYTHON { Program::Tutorial } else { Program::Engine(name) };
        Self { name: name.to_owned(), program }
    }

    /// Why this target cannot serve the load, if it cannot.
    pub(super) fn unfit_for(&self, scenario: &Scenario) -> Option<&'static str> {
        match self.program {
            Program::Tutorial if scenario.connections > 1 => {
                Some("left out of loads with more than one connection: it serves one and exits")
            }
            _ => None,
        }
    }

    /// Whether the target was given as a command, so that its failure is only reported.
    pub(super) fn is_external(&self) -> bool {
        matches!(self.program, Program::Command(_))
    }

    /// Starts the server on a free port, and waits until it listens.
    pub(super) fn start(&self, binaries: &Binaries, pinning: Pinning) -> io::Result<Server> {
        let (command, address) = self.command(binaries, pinning)?;
        let mut bound = pinning.server(&command);
        match address {
            None => Server::start_with(&mut bound),
            Some(address) => Server::start_at(&mut bound, address),
        }
    }

    /// Why the server does not run on this machine, if it does not. Found by starting it, because the kernel, a
    /// container's filter or a missing interpreter may prevent it.
    pub(super) fn missing(&self, binaries: &Binaries) -> Option<String> {
        let attempt = || -> io::Result<Option<String>> {
            let (mut command, address) = self.command(binaries, Pinning::Off)?;
            if let Some(address) = address {
                return Server::start_at(&mut command, address).map(|_| None);
            }
            let process = Process::spawn(&mut command)?;
            if process.wait_for_stdout("Listening on ").is_ok() {
                return Ok(None);
            }
            // The output is complete only when the process has ended.
            Ok(Some(process.wait()?.stderr.trim_end().replace('\n', "; ")))
        };
        attempt().unwrap_or_else(|error| Some(error.to_string().trim_end().replace('\n', "; ")))
    }

    /// The command that starts the server on a free port, and the address unless the server prints it. Our
    /// server prints nothing per connection, because that would be measured too.
    fn command(
        &self,
        binaries: &Binaries,
        pinning: Pinning,
    ) -> io::Result<(Command, Option<SocketAddr>)> {
        Ok(match &self.program {
            Program::Engine(name) => {
                let mut server = command(&binaries.server);
                server.args(["--port", "0", "--quiet"]);
                server.args(with_engine(name, pinning.server_options()));
                (server, None)
            }
            Program::Tutorial => {
                let mut server = command("python3");
                server.arg(TUTORIAL);
                (server, None)
            }
            Program::Command(words) => {
                let address = free_address()?;
                let port = address.port().to_string();
                let mut words = words.iter().map(|word| word.replace(PORT, &port));
                let mut server = command(words.next().unwrap_or_default());
                server.args(words);
                (server, Some(address))
            }
        })
    }
}

/// An address with a port that is free now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// `NAME=COMMAND {port}`.
impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("write NAME='COMMAND {port}'")?;
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".+-".contains(letter);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err("the name may only have letters, digits and .+-".to_owned());
        }
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if !words.iter().any(|word| word.contains(PORT)) {
            return Err(format!("the command must contain {PORT}"));
        }
        Ok(Self { name: name.to_owned(), program: Program::Command(words) })
    }
}

/// Appends a number to repeated names.
pub(super) fn number_duplicates(targets: &mut [Target]) {
    for index in 1..targets.len() {
        let (before, rest) = targets.split_at_mut(index);
        let is_taken = |name: &String| before.iter().any(|other| other.name == *name);
        let own = rest[0].name.clone();
        let numbered = (2..).map(|number| format!("{own}-{number}"));
        let free = [own.clone()].into_iter().chain(numbered).find(|name| !is_taken(name));
        rest[0].name = free.expect("numbers do not end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_engine_but_auto_is_a_target() {
        let names: Vec<_> = Target::names().collect();
        assert!(names.contains(&"threads") && names.contains(&"readiness"), "{names:?}");
        assert!(!names.contains(&"auto"), "{names:?}");
        assert_eq!(names.len(), Engine::NAMES.len(), "python replaces auto");
    }

    #[test]
    fn another_server_has_a_name_and_a_command_with_a_port() {
        let parsed: Target = "c-epoll=/bin/server --listen=:{port} -v".parse().unwrap();
        let words = ["/bin/server", "--listen=:{port}", "-v"].map(str::to_owned).to_vec();
        assert_eq!((parsed.name.as_str(), parsed.program), ("c-epoll", Program::Command(words)));
        for (wrong, why) in [
            ("/bin/server", "write NAME="),
            ("a/b=/bin/server {port}", "letters, digits"),
            ("a=/bin/server 7", "must contain"),
        ] {
            let error = wrong.parse::<Target>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn names_are_made_unique() {
        let server = |name: &str| format!("{name}=x {{port}}").parse::<Target>().unwrap();
        let mut servers = ["a", "a-2", "a", "a"].map(server);
        number_duplicates(&mut servers);
        assert_eq!(servers.map(|it| it.name), ["a", "a-2", "a-3", "a-4"]);
    }
}
