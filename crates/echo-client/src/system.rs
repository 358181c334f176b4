//! What the operating system knows of a run: processor time, TCP's counters, the machine.

use std::time::Duration;

use crate::run::Machine;

/// The processor time of this thread so far (`CLOCK_THREAD_CPUTIME_ID`); `None` where the system does not
/// tell.
#[cfg(unix)]
pub(crate) fn thread_cpu_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).ok()
}

/// Not asked for here.
#[cfg(not(unix))]
pub(crate) fn thread_cpu_time() -> Option<Duration> {
    None
}

/// Segments that were sent again on this connection (`tcpi_total_retrans` of `TCP_INFO`, tcp(7)); `None`
/// where the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn retransmits(stream: &impl std::os::fd::AsRawFd) -> Option<u64> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is as long, and all of whose
    // fields are integers, so that what it does not write is valid as zeros. The descriptor is open as
    // long as the stream is borrowed.
    #[allow(unsafe_code, reason = "std and socket2 have no such query")]
    let (result, info) = unsafe {
        let (level, option) = (libc::IPPROTO_TCP, libc::TCP_INFO);
        let pointer = info.as_mut_ptr().cast();
        let result = libc::getsockopt(stream.as_raw_fd(), level, option, pointer, &raw mut length);
        (result, info.assume_init())
    };
    (result == 0).then(|| info.tcpi_total_retrans.into())
}

/// Not asked for here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn retransmits<S>(_: &S) -> Option<u64> {
    None
}

/// The machine that this program runs on.
pub(crate) fn machine() -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Machine { os: std::env::consts::OS.to_owned(), kernel: kernel(), cpu: cpu(), cpus }
}

#[cfg(unix)]
fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn kernel() -> String {
    "unknown".to_owned()
}

/// The name that Linux has for the processor, or else the architecture.
fn cpu() -> String {
    let known = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut names = known.lines().filter_map(|line| line.strip_prefix("model name"));
    let name = names.next().map(|name| name.trim_start_matches([' ', '\t', ':']).to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
