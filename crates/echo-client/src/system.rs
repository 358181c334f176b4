//! What the operating system knows about a run: CPU time, TCP counters, the machine.

use std::io;
use std::path::Path;
use std::time::Duration;

use crate::run::{Build, Builds, Machine};

/// CPU time of this thread so far (`CLOCK_THREAD_CPUTIME_ID`); `None` where the system does not
/// report it.
#[cfg(unix)]
pub(crate) fn thread_cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).ok()
}

/// Not implemented for this system.
#[cfg(not(unix))]
pub(crate) fn thread_cpu_time() -> Option<Duration> {
    None
}

/// CPU time, user and system, of a process on this machine with all its threads, ended ones
/// included (proc_pid_stat(5)). Accurate to 0.02 s, the resolution of two counters.
///
/// # Errors
///
/// There is no such process, or the system does not report it.
#[cfg(target_os = "linux")]
pub(crate) fn process_cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    cpu_time_in(&stat).ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has another form")))
}

/// Not implemented for this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn process_cpu_time(_: u32) -> io::Result<Duration> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Parses `1234 (name) S …`. The name may contain spaces and parentheses; utime and stime are the
/// 12th and 13th field after it.
#[cfg(target_os = "linux")]
fn cpu_time_in(stat: &str) -> Option<Duration> {
    /// Unit of these fields, whatever the kernel's own clock (USER_HZ, the same on every
    /// architecture but Alpha and Itanium).
    const TICK: Duration = Duration::from_millis(10);
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u32 = times.next()?.parse().ok()?;
    let system: u32 = times.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

/// Segments retransmitted on this connection (`tcpi_total_retrans` of `TCP_INFO`, tcp(7)); `None`
/// where the system does not report it.
#[cfg(target_os = "linux")]
pub(crate) fn retransmits(stream: &impl std::os::fd::AsRawFd) -> Option<u64> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is that long, and whose
    // fields are all integers, so that zeros are valid for what it does not write. The descriptor
    // is open while the stream is borrowed.
    #[allow(unsafe_code, reason = "std and socket2 have no such query")]
    let (result, info) = unsafe {
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        let pointer = info.as_mut_ptr().cast();
        let result = libc::getsockopt(stream.as_raw_fd(), level, option, pointer, &raw mut length);
        (result, info.assume_init())
    };
    (result == 0).then(|| info.tcpi_total_retrans.into())
}

/// Not implemented for this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn retransmits<S>(_: &S) -> Option<u64> {
    None
}

/// Lets the system choose the source port when the socket connects, not when it is bound
/// (`IP_BIND_ADDRESS_NO_PORT`, ip(7)). Only then can it use ports in TIME_WAIT again: a load of
/// short connections makes 14 000 per second instead of 2 000.
#[cfg(target_os = "linux")]
pub(crate) fn choose_port_on_connect(socket: &impl std::os::fd::AsRawFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads `length` bytes from `on`, which is that long. The descriptor is open
    // while the socket is borrowed.
    #[allow(unsafe_code, reason = "std and socket2 have no such option")]
    let result = unsafe {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        let (level, option) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// There is no such option on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn choose_port_on_connect<S>(_: &S) -> io::Result<()> {
    Ok(())
}

/// A system timer that ticks every millisecond while this exists. Otherwise it may tick only 64 times
/// a second, and waits end at a tick.
#[cfg(windows)]
#[derive(Debug)]
pub(crate) struct FastTick(());

#[cfg(windows)]
impl FastTick {
    const PERIOD_MS: u32 = 1;

    pub(crate) fn start() -> Self {
        // SAFETY: it takes a number. It fails only if that is out of range; waits are then longer.
        #[allow(unsafe_code, reason = "std has no such call")]
        let _ = unsafe { windows_sys::Win32::Media::timeBeginPeriod(Self::PERIOD_MS) };
        Self(())
    }
}

#[cfg(windows)]
impl Drop for FastTick {
    fn drop(&mut self) {
        // SAFETY: as above. Each call matches one of `timeBeginPeriod`.
        #[allow(unsafe_code, reason = "std has no such call")]
        let _ = unsafe { windows_sys::Win32::Media::timeEndPeriod(Self::PERIOD_MS) };
    }
}

/// The machine that this program runs on.
pub(crate) fn machine() -> Machine {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let setting = |path: &str| Some(std::fs::read_to_string(path).ok()?.trim().to_owned());
    Machine {
        os: std::env::consts::OS.to_owned(),
        kernel: kernel(),
        cpu: field(&processor, "model name").unwrap_or(std::env::consts::ARCH).to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        is_virtual: field(&processor, "flags")
            .map(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        congestion_control: setting("/proc/sys/net/ipv4/tcp_congestion_control"),
        somaxconn: setting("/proc/sys/net/core/somaxconn").and_then(|number| number.parse().ok()),
    }
}

#[cfg(unix)]
fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn kernel() -> String {
    "unknown".to_owned()
}

/// A field of the first processor in `/proc/cpuinfo` (Linux).
fn field<'a>(processors: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = processors.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.trim_end() == name).map(|(_, value)| value.trim())
}

/// The executables of this process, and of the server's if it is known.
pub(crate) fn builds(server: Option<u32>) -> Builds {
    let server = server.and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok());
    Builds {
        client: std::env::current_exe().ok().and_then(|path| build(&path)),
        server: server.and_then(|path| build(&path)),
    }
}

fn build(path: &Path) -> Option<Build> {
    let file = path.metadata().ok()?;
    let modified = humantime::format_rfc3339_seconds(file.modified().ok()?).to_string();
    Some(Build { path: path.display().to_string(), size_bytes: file.len(), modified })
}

/// Whether this root has no `/etc/hosts`, where resolvers find `localhost`: an empty container. They would ask a name
/// server instead, which RFC 6761 (6.3) forbids, and wait for it.
#[cfg(unix)]
pub(crate) fn lacks_hosts() -> bool {
    !Path::new("/etc/hosts").exists()
}

/// The resolver knows `localhost` itself.
#[cfg(not(unix))]
pub(crate) fn lacks_hosts() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 75 9 9 20 0 1 0 100 1000 10";
        assert_eq!(cpu_time_in(stat), Some(Duration::from_millis(2250)));
        assert_eq!(cpu_time_in("7 (a) S 1"), None);
    }

    #[test]
    fn a_field_is_that_of_the_first_processor() {
        let processors = "flags\t\t: fpu hypervisor\nmodel name\t: A B\n\nmodel name\t: C\n";
        assert_eq!(field(processors, "model name"), Some("A B"));
        assert_eq!(field(processors, "model"), None);
    }
}
