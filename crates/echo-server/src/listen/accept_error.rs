//! What the errors of accept(2) mean.

use std::io::{self, ErrorKind};

/// What to do about an error of accept(2).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ErrorAction {
    /// Skip it: it concerns one connection, which is gone.
    Skip,
    /// Pause: resources are exhausted, or the error is unknown.
    Pause,
    /// The listener is broken.
    Fail,
}

/// Classifies an error of accept(2). Linux passes pending network errors of the new connection on; its man
/// page says to treat them like EAGAIN.
pub(super) fn error_action(error: &io::Error) -> ErrorAction {
    #[cfg(unix)]
    match error.raw_os_error() {
        Some(libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EFAULT) => {
            return ErrorAction::Fail;
        }
        Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::EOPNOTSUPP) => {
            return ErrorAction::Skip;
        }
        #[cfg(target_os = "linux")]
        Some(libc::ENONET) => return ErrorAction::Skip,
        _ => {}
    }
    #[cfg(windows)]
    if let Some(code) = error.raw_os_error()
        && BROKEN.contains(&code)
    {
        return ErrorAction::Fail;
    }
    match error.kind() {
        ErrorKind::Interrupted
        | ErrorKind::ConnectionAborted
        | ErrorKind::ConnectionReset
        | ErrorKind::PermissionDenied // a firewall rule
        | ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable => ErrorAction::Skip,
        // EMFILE, ENFILE, ENOBUFS and ENOMEM pass when resources are freed. An unknown error may pass too; if
        // it does not, the pause prevents a busy loop.
        _ => ErrorAction::Pause,
    }
}

/// The listener is not a socket, not listening, or not of TCP; or Winsock itself has ended ([accept]).
///
/// [accept]: https://learn.microsoft.com/windows/win32/api/winsock2/nf-winsock2-accept
#[cfg(windows)]
const BROKEN: [i32; 5] = [
    windows_sys::Win32::Networking::WinSock::WSAENOTSOCK,
    windows_sys::Win32::Networking::WinSock::WSAEINVAL,
    windows_sys::Win32::Networking::WinSock::WSAEFAULT,
    windows_sys::Win32::Networking::WinSock::WSAEOPNOTSUPP,
    windows_sys::Win32::Networking::WinSock::WSANOTINITIALISED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn accept_errors_are_classified_as_the_man_page_says() {
        let classified = |code| error_action(&io::Error::from_raw_os_error(code));
        for code in [libc::EINTR, libc::ECONNABORTED, libc::EPROTO, libc::EPERM, libc::ENETDOWN] {
            assert_eq!(classified(code), ErrorAction::Skip, "{code}");
        }
        for code in [libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EHOSTDOWN, libc::EOPNOTSUPP] {
            assert_eq!(classified(code), ErrorAction::Skip, "{code}");
        }
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            assert_eq!(classified(code), ErrorAction::Pause, "{code}");
        }
        for code in [libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EFAULT] {
            assert_eq!(classified(code), ErrorAction::Fail, "{code}");
        }
    }

    #[cfg(windows)]
    #[test]
    fn accept_errors_are_classified_as_winsock_documents_them() {
        use windows_sys::Win32::Networking::WinSock::*;
        let classified = |code| error_action(&io::Error::from_raw_os_error(code));
        for code in [WSAECONNRESET, WSAECONNABORTED, WSAENETDOWN, WSAEHOSTUNREACH] {
            assert_eq!(classified(code), ErrorAction::Skip, "{code}");
        }
        for code in [WSAEMFILE, WSAENOBUFS, WSAEINPROGRESS, WSAEINTR] {
            assert_eq!(classified(code), ErrorAction::Pause, "{code}");
        }
        for code in [WSAENOTSOCK, WSAEINVAL, WSAEFAULT, WSAEOPNOTSUPP, WSANOTINITIALISED] {
            assert_eq!(classified(code), ErrorAction::Fail, "{code}");
        }
    }
}
