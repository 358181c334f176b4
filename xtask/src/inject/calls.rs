//! The system calls into which errors are injected, and the effects that each error may have.

/// The effect that an error may have on a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// None that a peer could observe.
    Nothing,
    /// Ends the connection that the call was made for, and no other.
    Connection,
    /// Ends the server, with a message and exit code 1.
    Server,
}

impl Permit {
    /// The effect as a phrase for the table.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Connection => "end the connection",
            Self::Server => "end the server",
        }
    }
}

/// A system call, and errors of it that may have the same effect.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) errors: &'static [&'static str],
    pub(super) permit: Permit,
    /// The reason for that effect.
    pub(super) reason: &'static str,
    /// Included in `--sample`.
    pub(super) sampled: bool,
}

const fn call(
    name: &'static str,
    errors: &'static [&'static str],
    permit: Permit,
    reason: &'static str,
) -> Call {
    Call { name, errors, permit, reason, sampled: false }
}

const fn sampled(call: Call) -> Call {
    Call { sampled: true, ..call }
}

/// All calls. Any failure before the server listens may end it, with a message.
#[rustfmt::skip]
pub(super) static CALLS: [Call; 34] = [
    call("socket", &["EACCES", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"], Permit::Nothing, "only at the start"),
    call("bind", &["EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "ENOMEM"], Permit::Nothing, "only at the start"),
    call("listen", &["EADDRINUSE", "EOPNOTSUPP"], Permit::Nothing, "only at the start"),
    call("getsockname", &["ENOBUFS"], Permit::Nothing, "only at the start"),
    call("socketpair", &["EMFILE", "ENFILE", "ENOMEM"], Permit::Nothing, "only at the start"),
    sampled(call("eventfd2", &["EMFILE", "ENFILE", "ENOMEM"], Permit::Server, "a worker that cannot be set up")),
    call("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"], Permit::Server, "a worker that cannot be set up"),
    call("fcntl", &["EMFILE", "EINVAL"], Permit::Nothing, "only at the start"),
    call("setsockopt", &["ENOMEM", "ENOBUFS"], Permit::Connection, "a thread sets its connection's timeouts"),
    call("getsockopt", &["ENOBUFS"], Permit::Connection, "the end of a connection asks for its error and its buffer"),
    call("ioctl", &["EINVAL", "ENOMEM"], Permit::Connection, "a thread sets its connection to blocking"),
    call("epoll_ctl", &["ENOMEM", "ENOSPC"], Permit::Server, "a listener cannot be registered; a connection that cannot be registered is closed"),
    sampled(call("epoll_wait", &["EINTR"], Permit::Nothing, "a signal")),
    call("epoll_wait", &["EBADF", "EINVAL"], Permit::Server, "a poller that is broken"),
    sampled(call("accept4", &["ECONNABORTED", "EINTR", "EPERM", "EPROTO", "ENETDOWN", "EHOSTUNREACH"], Permit::Nothing,
        "concerns a connection that no longer exists; the next one is accepted")),
    call("accept4", &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"], Permit::Nothing, "accepting pauses"),
    call("accept4", &["EBADF", "EINVAL", "ENOTSOCK"], Permit::Server, "a listener that is broken"),
    sampled(call("recvfrom", &["ECONNRESET", "ETIMEDOUT", "ENOMEM"], Permit::Connection, "a connection that is broken")),
    call("recvfrom", &["EINTR"], Permit::Nothing, "a signal"),
    sampled(call("sendto", &["ECONNRESET", "EPIPE", "ENOBUFS", "ENOMEM", "ETIMEDOUT", "EHOSTUNREACH"], Permit::Connection,
        "a connection that is broken")),
    call("sendto", &["EINTR"], Permit::Nothing, "a signal"),
    call("sendto", &["EAGAIN"], Permit::Connection, "no room: the echo waits for an event, which the kernel has no reason to report"),
    call("shutdown", &["ENOTCONN", "ENOBUFS"], Permit::Connection, "a connection that is broken"),
    call("write", &["EINTR", "EAGAIN", "EIO", "ENOSPC"], Permit::Nothing, "output lines, which may be lost, and wake-ups"),
    call("read", &["EINTR", "EAGAIN", "EIO"], Permit::Nothing, "wake-ups, files of /proc, the loader of programs"),
    call("openat", &["EMFILE", "ENFILE", "EACCES", "ENOENT"], Permit::Nothing, "files of /proc and /sys, the loader"),
    call("futex", &["EINTR"], Permit::Nothing, "a spurious wake-up"),
    call("clone3", &["EAGAIN", "ENOMEM"], Permit::Server, "no thread for a worker, or for a connection"),
    call("prlimit64", &["EPERM"], Permit::Nothing, "the limit stays as it is"),
    call("madvise", &["ENOMEM", "EINVAL"], Permit::Nothing, "advice"),
    call("io_uring_setup", &["EMFILE", "ENFILE", "ENOMEM", "EPERM", "ENOSYS"], Permit::Server, "a worker that cannot be set up"),
    call("io_uring_register", &["ENOMEM", "EINVAL", "EPERM"], Permit::Server, "a worker that cannot be set up"),
    sampled(call("io_uring_enter", &["EINTR", "EAGAIN", "EBUSY", "ENOMEM"], Permit::Nothing, "entries that were not submitted stay queued")),
    call("io_uring_enter", &["EBADF", "EINVAL"], Permit::Server, "a ring that is broken"),
];

/// Whether the call in a line of strace(1) can fail outside of an injection. FUTEX_WAKE cannot (futex(2)). Neither can
/// calls on the socket pairs and eventfds with which a process wakes its own threads: they do not block, so no signal
/// interrupts them, no peer can reset them, and their buffers always have room.
pub(super) fn can_fail(line: &str) -> bool {
    let first_argument = line.split(',').next().unwrap_or_default();
    let internal = ["<UNIX-STREAM:", "<anon_inode:[eventfd]>"];
    !line.contains("FUTEX_WAKE") && !internal.iter().any(|kind| first_argument.contains(kind))
}

/// Calls into which no errors are injected, with the reasons.
pub(super) const LEFT_OUT: [(&[&str], &str); 9] = [
    (
        &["close", "munmap"],
        "strace skips the call that it fails, so the injection itself would leak the descriptor",
    ),
    (&["mmap", "brk", "mprotect"], "without memory the process ends: SECURITY.md says so"),
    (
        &[
            "execve",
            "access",
            "arch_prctl",
            "lseek",
            "pread64",
            "newfstatat",
            "statx",
            "set_tid_address",
            "set_robust_list",
            "rseq",
        ],
        "made by the loader and the C library",
    ),
    (
        &[
            "rt_sigaction",
            "rt_sigprocmask",
            "rt_sigreturn",
            "sigaltstack",
            "poll",
            "prctl",
            "gettid",
        ],
        "made by the Rust runtime when a program or thread starts, or cannot fail",
    ),
    (&["sched_getaffinity", "getrandom"], "the standard library has a fallback, or aborts"),
    (
        &["recvfrom EAGAIN"],
        "the kernel returns it only if the queue is empty, and then reports new data; after an injection it does not",
    ),
    (&["completions of a ring"], "not system calls"),
    (
        &["splice", "pipe2"],
        "the messages of the scenario are too small to be spliced; the simulation fails these calls",
    ),
    (
        &["restart_syscall", "exit", "exit_group"],
        "made by the kernel after a signal, or do not return",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wake_ups_cannot_fail() {
        assert!(can_fail(r#"7 write(1<pipe:[33]>, "Listen"..., 29) = -1 EINTR (INJECTED)"#));
        assert!(can_fail(
            "7 epoll_ctl(4<anon_inode:[eventpoll]>, EPOLL_CTL_ADD, 5<anon_inode:[eventfd]>"
        ));
        assert!(can_fail("7 futex(0x5563f8afb6e8, FUTEX_WAIT_BITSET_PRIVATE, 4294967295, NULL"));
        assert!(!can_fail(
            r#"7 write(5<anon_inode:[eventfd]>, "\1\0\0", 8) = -1 EINTR (INJECTED)"#
        ));
        assert!(!can_fail("7 recvfrom(6<UNIX-STREAM:[12->14]>, 0x7f, 1024, MSG_DONTWAIT"));
        assert!(!can_fail("7 futex(0x5563f8afb6e8, FUTEX_WAKE_PRIVATE, 1 <unfinished ...>"));
    }
}
