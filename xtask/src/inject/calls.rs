//! The system calls that are made to fail, with which errors, and what may come of it.

/// What an error may do to a server that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permit {
    /// Nothing that a peer would notice.
    Nothing,
    /// It ends the connection that the call is about, and no other.
    Connection,
    /// It ends the server, which says why and exits with 1.
    Server,
}

impl Permit {
    /// In a few words.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Connection => "end the connection",
            Self::Server => "end the server",
        }
    }
}

/// A call and some of its errors that may have the same effect.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) errors: &'static [&'static str],
    pub(super) permit: Permit,
    /// Why that is so.
    pub(super) reason: &'static str,
    /// One of those of `--sample`.
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

/// All of them. Whatever fails before the server listens may end it, with a message.
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
    call("ioctl", &["EINVAL", "ENOMEM"], Permit::Connection, "a thread makes its connection blocking"),
    call("epoll_ctl", &["ENOMEM", "ENOSPC"], Permit::Server, "a listener that cannot be watched; a connection that cannot be is closed"),
    sampled(call("epoll_wait", &["EINTR"], Permit::Nothing, "a signal")),
    call("epoll_wait", &["EBADF", "EINVAL"], Permit::Server, "a poller that is broken"),
    sampled(call("accept4", &["ECONNABORTED", "EINTR", "EPERM", "EPROTO", "ENETDOWN", "EHOSTUNREACH"], Permit::Nothing,
        "concerns a connection that is gone; the next is taken")),
    call("accept4", &["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"], Permit::Nothing, "accepting pauses"),
    call("accept4", &["EBADF", "EINVAL", "ENOTSOCK"], Permit::Server, "a listener that is broken"),
    sampled(call("recvfrom", &["ECONNRESET", "ETIMEDOUT", "ENOMEM"], Permit::Connection, "a connection that is broken")),
    call("recvfrom", &["EINTR"], Permit::Nothing, "a signal"),
    sampled(call("sendto", &["ECONNRESET", "EPIPE", "ENOBUFS", "ENOMEM", "ETIMEDOUT", "EHOSTUNREACH"], Permit::Connection,
        "a connection that is broken")),
    call("sendto", &["EINTR"], Permit::Nothing, "a signal"),
    call("sendto", &["EAGAIN"], Permit::Connection, "no room: the echo waits for an event, and the kernel knows of none"),
    call("shutdown", &["ENOTCONN", "ENOBUFS"], Permit::Connection, "a connection that is broken"),
    call("write", &["EINTR", "EAGAIN", "EIO", "ENOSPC"], Permit::Nothing, "lines of output, which may be lost, and wake-ups"),
    call("read", &["EINTR", "EAGAIN", "EIO"], Permit::Nothing, "wake-ups, files of /proc, the loader of programs"),
    call("openat", &["EMFILE", "ENFILE", "EACCES", "ENOENT"], Permit::Nothing, "files of /proc and /sys, the loader"),
    call("futex", &["EINTR"], Permit::Nothing, "a spurious wake-up"),
    call("clone3", &["EAGAIN", "ENOMEM"], Permit::Server, "no thread for a worker, or for a connection"),
    call("prlimit64", &["EPERM"], Permit::Nothing, "the limit stays as it is"),
    call("madvise", &["ENOMEM", "EINVAL"], Permit::Nothing, "advice"),
    call("io_uring_setup", &["EMFILE", "ENFILE", "ENOMEM", "EPERM", "ENOSYS"], Permit::Server, "a worker that cannot be set up"),
    call("io_uring_register", &["ENOMEM", "EINVAL", "EPERM"], Permit::Server, "a worker that cannot be set up"),
    sampled(call("io_uring_enter", &["EINTR", "EAGAIN", "EBUSY", "ENOMEM"], Permit::Nothing, "what was to be submitted stays in the queue")),
    call("io_uring_enter", &["EBADF", "EINVAL"], Permit::Server, "a ring that is broken"),
];

/// Whether the call of a line of strace(1) can fail at all. The wake-up of a futex cannot (futex(2)), nor can what is
/// done with the sockets and counters by which a process wakes its own threads: nothing interrupts a call that does
/// not block, no peer can break them, and there is room for what is written.
pub(super) fn can_fail(line: &str) -> bool {
    let first_argument = line.split(',').next().unwrap_or_default();
    let internal = ["<UNIX-STREAM:", "<anon_inode:[eventfd]>"];
    !line.contains("FUTEX_WAKE") && !internal.iter().any(|kind| first_argument.contains(kind))
}

/// Calls that are left out, and why.
pub(super) const LEFT_OUT: [(&[&str], &str); 8] = [
    (
        &["close", "munmap"],
        "strace does not do what it fails: the descriptor would stay open by our own doing",
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
        "of the loader and the C library",
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
        "of the start of a program or thread in Rust, or without errors",
    ),
    (&["sched_getaffinity", "getrandom"], "the standard library has another way, or aborts"),
    (
        &["recvfrom EAGAIN"],
        "nothing to read where there is something: the kernel would report it again, strace does not",
    ),
    (&["completions of a ring"], "they are no calls: failed ones are not injected here"),
    (
        &["restart_syscall", "exit", "exit_group"],
        "of the kernel after a signal, or without a return",
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
