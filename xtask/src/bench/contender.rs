//! The servers that are compared.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::str::FromStr;

use echo_server::Engine;
use echo_test_support::{Process, Server, command};

use super::pinning::Pinning;
use super::scenario::Scenario;
use crate::pair::Pair;

/// The tutorial's server as the tests have it: one connection, then it ends.
const TUTORIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/echo_server.py");
/// What it is called.
const PYTHON: &str = "python";
/// Where the port goes in the command of somebody else's server.
const PORT: &str = "{port}";

/// A server that is compared with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    /// What it is called in reports and in the names of saved runs.
    pub(super) name: String,
    program: Program,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Program {
    /// Our server on the engine of this name.
    Engine(&'static str),
    /// The tutorial's, in Python.
    Tutorial,
    /// Somebody else's: its command, word by word.
    Given(Vec<String>),
}

impl Contender {
    /// What those are called that need not be given. The library says which engines it has, so a new one
    /// takes part by itself; `auto` is one of the others.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        let auto = Engine::Auto.to_string();
        Engine::NAMES.into_iter().filter(move |name| *name != auto).chain([PYTHON])
    }

    /// One of those.
    pub(super) fn named(name: &'static str) -> Self {
        let program = if name == PYTHON { Program::Tutorial } else { Program::Engine(name) };
        Self { name: name.to_owned(), program }
    }

    /// Why it cannot serve such a load, if so.
    pub(super) fn unfit_for(&self, scenario: &Scenario) -> Option<&'static str> {
        match self.program {
            Program::Tutorial if scenario.connections > 1 => Some(
                "left out where a load takes more than one connection: it serves one, then ends",
            ),
            _ => None,
        }
    }

    /// Whether it is somebody else's, whose failures are not ours to mend.
    pub(super) fn is_given(&self) -> bool {
        matches!(self.program, Program::Given(_))
    }

    /// Starts it on a free port, and waits until it listens.
    pub(super) fn start(&self, pair: &Pair, pinning: Pinning) -> io::Result<Server> {
        let (command, address) = self.command(pair)?;
        let mut bound = pinning.server(&command);
        match address {
            None => Server::start_with(&mut bound),
            Some(address) => Server::start_at(&mut bound, address),
        }
    }

    /// Why it does not run on this machine, if so. That takes a try: an old kernel, a container's
    /// filter or a missing interpreter are not told by a version.
    pub(super) fn missing(&self, pair: &Pair) -> Option<String> {
        let attempt = || -> io::Result<Option<String>> {
            let (mut command, address) = self.command(pair)?;
            if let Some(address) = address {
                return Server::start_at(&mut command, address).map(|_| None);
            }
            let process = Process::spawn(&mut command)?;
            if process.wait_for_stdout("Listening on ").is_ok() {
                return Ok(None);
            }
            // All that it said is there only when it has ended.
            Ok(Some(process.wait()?.stderr.trim_end().replace('\n', "; ")))
        };
        attempt().unwrap_or_else(|error| Some(error.to_string().trim_end().replace('\n', "; ")))
    }

    /// The command that starts it on a free port; and where that is, unless it prints it. Ours has one event
    /// loop, because the others have, and prints nothing for a connection: that would be measured along with
    /// the echo.
    fn command(&self, pair: &Pair) -> io::Result<(Command, Option<SocketAddr>)> {
        Ok(match &self.program {
            Program::Engine(name) => {
                let mut server = command(&pair.server);
                server.args(["--port", "0", "--engine", name, "--threads", "1", "--quiet"]);
                (server, None)
            }
            Program::Tutorial => {
                let mut server = command("python3");
                server.arg(TUTORIAL);
                (server, None)
            }
            Program::Given(words) => {
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

/// An address at which nobody listens now.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// `NAME=COMMAND {port}`.
impl FromStr for Contender {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, command) = text.split_once('=').ok_or("write NAME='COMMAND {port}'")?;
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".+-".contains(letter);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err("its name may have letters, digits and .+- only".to_owned());
        }
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if !words.iter().any(|word| word.contains(PORT)) {
            return Err(format!("its command must say where the port goes: {PORT}"));
        }
        Ok(Self { name: name.to_owned(), program: Program::Given(words) })
    }
}

/// Gives those that are called like one before them a number.
pub(super) fn number_namesakes(contenders: &mut [Contender]) {
    for index in 1..contenders.len() {
        let (before, rest) = contenders.split_at_mut(index);
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
    fn every_engine_takes_part_but_auto() {
        let names: Vec<_> = Contender::names().collect();
        assert!(names.contains(&"threads") && names.contains(&"readiness"), "{names:?}");
        assert!(!names.contains(&"auto"), "{names:?}");
        assert_eq!(names.len(), Engine::NAMES.len(), "python comes instead of auto");
    }

    #[test]
    fn somebody_elses_server_has_a_name_and_a_command_with_a_port() {
        let given: Contender = "c-epoll=/bin/server --listen=:{port} -v".parse().unwrap();
        let words = ["/bin/server", "--listen=:{port}", "-v"].map(str::to_owned).to_vec();
        assert_eq!((given.name.as_str(), given.program), ("c-epoll", Program::Given(words)));
        for (wrong, why) in [
            ("/bin/server", "write NAME="),
            ("a/b=/bin/server {port}", "letters, digits"),
            ("a=/bin/server 7", "must say where the port goes"),
        ] {
            let error = wrong.parse::<Contender>().unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn no_two_servers_have_one_name() {
        let server = |name: &str| format!("{name}=x {{port}}").parse::<Contender>().unwrap();
        let mut servers = ["a", "a-2", "a", "a"].map(server);
        number_namesakes(&mut servers);
        assert_eq!(servers.map(|it| it.name), ["a", "a-2", "a-3", "a-4"]);
    }
}
