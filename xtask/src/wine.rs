//! The programs built for Windows, run by Wine on Linux.
//!
//! Wine has its own implementation of Winsock and AFD, on the sockets of Linux. A failure here shows where to look; a
//! success is no proof for Windows. A known difference: Wine ends a program at Ctrl-Break without calling its handler
//! (`propagate_console_signal` in its server/console.c). SIGINT becomes Ctrl-C (`int_handler` in
//! dlls/ntdll/unix/signal_x86_64.c).

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use echo_client::run_file::RunFile;
use echo_test_support::{DEADLINE, Process, command};

use crate::binaries::Binaries;
use crate::e2e;
use crate::stress::never_readers;

const TARGET: &str = "x86_64-pc-windows-gnu";
/// What links the programs.
const LINKER: &str = "x86_64-w64-mingw32-gcc";
/// The load between two programs.
const LOAD: [&str; 9] =
    ["bench", "-c", "20", "-d", "3s", "--format", "json", "--fail-if", "loss>0"];
/// How long the server's CPU time is measured, and how much of that it may use.
const WAITING: Duration = Duration::from_secs(5);
const MAX_LOAD: f64 = 0.02;

/// Builds both programs for Windows, and checks them under Wine; stops at the first failure.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(release: bool) -> Result<()> {
    require("wine", &["--version"], "install Wine, for 64-bit programs (Debian: wine64 wine)")?;
    require(LINKER, &["--version"], "install MinGW-w64 (Debian: gcc-mingw-w64-x86-64)")?;
    let windows = Binaries::build_for(Some(TARGET), release, Some(wine))
        .context(format!("rustc needs the target: rustup target add {TARGET}"))?;
    let linux = Binaries::build(release)?;
    make_prefix()?;
    println!("Wine is no proof for Windows: it implements Winsock on the sockets of Linux.\n");
    e2e::check(&windows)?;
    for (name, server, client) in [
        ("Windows client to Windows server", &windows, &windows),
        ("Linux client to Windows server", &windows, &linux),
        ("Windows client to Linux server", &linux, &windows),
    ] {
        println!("ok    bench, {name}: {}", load(server, client).context(name)?);
    }
    println!("ok    never-readers: {}", never_read(&windows).context("never-readers")?);
    Ok(())
}

/// Fails with what to do, unless a program can be run.
fn require(program: &str, arguments: &[&str], remedy: &str) -> Result<()> {
    let ran = Command::new(program).args(arguments).stdout(Stdio::null()).status();
    ensure!(ran.is_ok_and(|status| status.success()), "{program} is missing: {remedy}");
    Ok(())
}

/// A command line for a program of Windows.
fn wine(program: &Path) -> Command {
    let mut wine = command("wine");
    // Its own messages would appear on the program's stderr.
    wine.arg(program).env("WINEDEBUG", "-all").env("WINEPREFIX", prefix());
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        wine.env("XDG_RUNTIME_DIR", std::env::temp_dir());
    }
    wine
}

/// Wine's folder of settings: that of the caller's WINEPREFIX, or one of this task, so that the user's own does not
/// change.
fn prefix() -> OsString {
    let own = || {
        let program = std::env::current_exe().unwrap_or_default();
        let target = program.ancestors().nth(2).map(Path::to_owned).unwrap_or_default();
        target.join("wine").into()
    };
    std::env::var_os("WINEPREFIX").unwrap_or_else(own)
}

/// Makes Wine's folder of settings, if there is none: its messages would appear on the stderr of the first program.
fn make_prefix() -> Result<()> {
    let status = wine(Path::new("wineboot")).arg("--init").stderr(Stdio::null()).status();
    ensure!(status.context("cannot start wine")?.success(), "wine cannot make {:?}", prefix());
    Ok(())
}

/// Runs a load, which must lose nothing and end with exit code 0. Returns its figures.
fn load(server: &Binaries, client: &Binaries) -> Result<String> {
    let running = server.start(&["--quiet"])?;
    let load = Process::run(&mut client.client(running.address, &LOAD), b"")?;
    client.expect_success(&running, &load)?;
    server.stop(&running);
    let status = running.process.wait()?.status;
    ensure!(status.success(), "the server ended with {status}");
    let file: RunFile = serde_json::from_str(&load.stdout).context("echo-client's JSON")?;
    let result = file.into_runs().pop().context("no run")?.result;
    ensure!(result.loss == 0, "{} lost", result.loss);
    let (rate, p50) = (result.rate, result.latency.p50_us);
    Ok(format!("{} echoes, none lost, {rate:.0}/s, p50 {p50:.0} us", result.echoes))
}

/// Peers that send and never read must cost no CPU time once everything is full.
fn never_read(server: &Binaries) -> Result<String> {
    let server = server.start(&["--quiet", "--write-timeout", "1h"])?;
    let address: SocketAddr = server.address;
    let peers = never_readers(address);
    let started = Instant::now();
    loop {
        let (before, since) = (server.process.processor_time(), Instant::now());
        std::thread::sleep(WAITING);
        let used = server.process.processor_time() - before;
        let load = used.as_secs_f64() / since.elapsed().as_secs_f64();
        let figures = format!("{} peers cost {:.1} % of a processor", peers.len(), load * 100.0);
        // What they have sent may still be on its way in the first seconds.
        if load <= MAX_LOAD {
            return Ok(figures);
        }
        ensure!(started.elapsed() < DEADLINE, "{figures}");
    }
}
