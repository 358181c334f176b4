//! Running programs, with their output collected.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::Signal;

use crate::DEADLINE;
use crate::captured::Captured;
#[cfg(any(target_os = "linux", windows))]
use crate::processor_time;

/// A running program whose output is collected. Dropping it kills the program.
pub struct Process {
    pub(crate) child: Child,
    stdout: Arc<Captured>,
    stderr: Arc<Captured>,
}

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// All that it printed on stdout.
    pub stdout: String,
    /// All that it printed on stderr.
    pub stderr: String,
}

impl Process {
    /// Starts a program and collects its output.
    ///
    /// # Errors
    ///
    /// The program cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(windows)]
        std::os::windows::process::CommandExt::creation_flags(
            command,
            echo_console::CREATE_NEW_PROCESS_GROUP,
        );
        let mut child = command.spawn().map_err(|error| {
            let program = Path::new(command.get_program()).display();
            io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
        })?;
        let stdout = Captured::follow(child.stdout.take().expect("it is piped"));
        let stderr = Captured::follow(child.stderr.take().expect("it is piped"));
        Ok(Self { child, stdout, stderr })
    }

    /// Runs a program with `input` on stdin and waits until it ends.
    ///
    /// # Errors
    ///
    /// It cannot be started, or does not end within [`DEADLINE`].
    pub fn run(command: &mut Command, input: &[u8]) -> io::Result<Finished> {
        let mut process = Self::spawn(command.stdin(Stdio::piped()))?;
        let mut stdin = process.child.stdin.take().expect("it is piped");
        let input = input.to_owned();
        // Fails if the program ends without reading its input, which its output will show.
        thread::spawn(move || stdin.write_all(&input));
        process.wait()
    }

    /// The process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until stdout contains the text, and returns the output so far.
    ///
    /// # Errors
    ///
    /// The text is not printed within [`DEADLINE`], or the output ends without it.
    pub fn wait_for_stdout(&self, text: &str) -> io::Result<String> {
        self.wait_for_stdout_times(text, 1)
    }

    /// Waits until stdout contains the text `times` times.
    ///
    /// # Errors
    ///
    /// The text is not printed `times` times within [`DEADLINE`], or the output ends before.
    pub fn wait_for_stdout_times(&self, text: &str, times: usize) -> io::Result<String> {
        self.stdout.wait_until(|output| output.matches(text).count() >= times).ok_or_else(|| {
            // If the program has ended, wait for its complete stderr.
            self.stderr.wait_briefly();
            let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
            failure(format!("no {times} × {text:?}\nstdout: {stdout}\nstderr: {stderr}"))
        })
    }

    /// Waits until stderr contains the text, and returns the output so far.
    ///
    /// # Errors
    ///
    /// The text is not printed within [`DEADLINE`], or the output ends without it.
    pub fn wait_for_stderr(&self, text: &str) -> io::Result<String> {
        let found = self.stderr.wait_until(|output| output.contains(text));
        found.ok_or_else(|| failure(format!("no {text:?} on stderr: {}", self.stderr.text())))
    }

    /// The output on stdout and stderr so far.
    pub fn output(&self) -> (String, String) {
        (self.stdout.text(), self.stderr.text())
    }

    /// CPU time used, user and system.
    ///
    /// # Panics
    ///
    /// The process has ended.
    #[cfg(any(target_os = "linux", windows))]
    pub fn processor_time(&self) -> Duration {
        processor_time::of(&self.child)
    }

    /// How often a thread has blocked and been woken (`voluntary_ctxt_switches`, proc_pid_status(5)). The ID of
    /// the main thread is that of the process.
    ///
    /// # Panics
    ///
    /// The thread does not exist.
    #[cfg(target_os = "linux")]
    pub fn context_switches(&self, thread: u32) -> u64 {
        let path = format!("/proc/{}/task/{thread}/status", self.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line =
            status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    }

    /// The IDs of its threads.
    ///
    /// # Panics
    ///
    /// The process has ended.
    #[cfg(target_os = "linux")]
    pub fn threads(&self) -> Vec<u32> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// Sends SIGTERM.
    #[cfg(unix)]
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends Ctrl-Break, which stops the programs as SIGTERM does. See
    /// [`skipped_without_stop`](crate::skipped_without_stop).
    #[cfg(windows)]
    pub fn terminate(&self) {
        // Fails only if the process has ended, which the caller will see.
        let _ = echo_console::send_ctrl_break(self.id());
    }

    /// Sends SIGINT, as Ctrl-C does; on Windows Ctrl-Break, because Ctrl-C reaches only the process group of the
    /// console's shell.
    pub fn interrupt(&self) {
        #[cfg(unix)]
        self.signal(Signal::INT);
        #[cfg(windows)]
        self.terminate();
    }

    /// Sends any signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: Signal) {
        // Fails only if the process has ended, which the caller will see.
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal);
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        // Fails only if the process has ended.
        let _ = self.child.kill();
    }

    /// Waits until it ends.
    ///
    /// # Errors
    ///
    /// It does not end within [`DEADLINE`]; it is then killed.
    pub fn wait(mut self) -> io::Result<Finished> {
        let started = Instant::now();
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if started.elapsed() < DEADLINE => thread::sleep(Duration::from_millis(2)),
                None => {
                    let (stdout, stderr) = self.output();
                    return Err(failure(format!(
                        "still running after {DEADLINE:?}\nstdout: {stdout}\nstderr: {stderr}"
                    )));
                }
            }
        };
        let output = |captured: &Captured| {
            captured.wait_until(|_| false);
            captured.text()
        };
        Ok(Finished { status, stdout: output(&self.stdout), stderr: output(&self.stderr) })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// An error of a test, with what the program printed.
pub(crate) fn failure(message: String) -> io::Error {
    io::Error::other(message)
}
