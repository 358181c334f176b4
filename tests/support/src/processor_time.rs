//! CPU time of a process.

use std::process::Child;
use std::time::Duration;

/// CPU time used, user and system, in ticks of 10 ms (proc_pid_stat(5)).
///
/// # Panics
///
/// The process has ended.
#[cfg(target_os = "linux")]
pub(crate) fn of(child: &Child) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks =
        fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// CPU time used, user and kernel, which Windows counts in ticks of its timer: 15.6 ms, or less.
///
/// # Panics
///
/// The system does not report it.
#[cfg(windows)]
pub(crate) fn of(child: &Child) -> Duration {
    use std::os::windows::io::AsRawHandle;
    use windows_sys::Win32::Foundation::FILETIME;
    use windows_sys::Win32::System::Threading::GetProcessTimes;

    let [mut created, mut exited, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: it writes to the four times, which are valid for that. The handle is open while the child is borrowed.
    #[allow(unsafe_code, reason = "std has no such call")]
    let found = unsafe {
        let handle = child.as_raw_handle();
        GetProcessTimes(handle, &raw mut created, &raw mut exited, &raw mut kernel, &raw mut user)
    };
    assert_ne!(found, 0, "{}", std::io::Error::last_os_error());
    // In units of 100 ns.
    let time = |time: FILETIME| {
        Duration::from_nanos(
            (u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)) * 100,
        )
    };
    time(kernel) + time(user)
}
