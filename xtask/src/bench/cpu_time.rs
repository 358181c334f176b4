//! The processor time of another process (Linux: proc_pid_stat(5)).

use std::time::Duration;

/// The kernel counts in hundredths of a second here, whatever its own clock (USER_HZ, the same on every
/// architecture but Alpha and Itanium). So a run of a second is measured to one per cent.
const TICK: Duration = Duration::from_millis(10);

/// What the process and its threads, ended ones too, have used up to now; `None` where the system has no
/// such file.
pub(super) fn of_process(id: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?)
}

/// Reads `1234 (name) S …`. The name may hold spaces and parentheses; utime and stime are the 12th and
/// 13th field after it.
fn parse(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    let user: u32 = times.next()?.parse().ok()?;
    let system: u32 = times.next()?.parse().ok()?;
    Some(TICK * user.checked_add(system)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 75 9 9 20 0 1 0 100 1000 10";
        assert_eq!(parse(stat), Some(Duration::from_millis(2250)));
        assert_eq!(parse("7 (a) S 1"), None);
    }
}
