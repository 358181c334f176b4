//! What to do about an error, with the commands of each system.

use std::io::{self, ErrorKind};

use super::BindError;

impl BindError {
    /// One line on the likely cause and the remedy, if there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let (address, source) = match self {
            Self::Listen { address, source } => (address, source),
            Self::Resolve { .. } => {
                return Some("check the spelling; give the port with --port, and an IPv6 address without brackets".to_owned());
            }
            Self::Engine { source, .. } => return engine_hint(source),
            Self::Reuseport { .. } => {
                return Some("leave out --reuseport: one thread then accepts for all".to_owned());
            }
            Self::Setup(_) => return None,
        };
        let port = address.port();
        match source.kind() {
            ErrorKind::AddrInUse if port != 0 => {
                let command = who_listens(port);
                Some(format!(
                    "another program uses port {port}; find it with  {command}, or choose another port with --port"
                ))
            }
            ErrorKind::PermissionDenied => permission_hint(port),
            ErrorKind::AddrNotAvailable => Some(format!(
                "this machine does not have that address; list its addresses with  {LIST_ADDRESSES}, or listen on \
                 all of them with --host ''"
            )),
            _ => None,
        }
    }
}

#[cfg(target_os = "linux")]
fn who_listens(port: u16) -> String {
    format!("ss -tlnp 'sport = :{port}'  or  lsof -i :{port}")
}

/// Of the base system; lsof is a package.
#[cfg(target_os = "freebsd")]
fn who_listens(port: u16) -> String {
    format!("sockstat -l -p {port}")
}

/// The last column is the ID of the process.
#[cfg(windows)]
fn who_listens(port: u16) -> String {
    format!("netstat -ano | findstr :{port}")
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd", windows)))]
fn who_listens(port: u16) -> String {
    format!("lsof -i :{port}")
}

#[cfg(target_os = "linux")]
const LIST_ADDRESSES: &str = "ip address";
#[cfg(windows)]
const LIST_ADDRESSES: &str = "ipconfig";
#[cfg(not(any(target_os = "linux", windows)))]
const LIST_ADDRESSES: &str = "ifconfig";

#[cfg(target_os = "linux")]
fn permission_hint(port: u16) -> Option<String> {
    (port < 1024).then(|| {
        format!(
            "ports below 1024 need CAP_NET_BIND_SERVICE: use --port 1024 or higher, or allow this program with  \
             sudo setcap cap_net_bind_service=+ep \"$(command -v echo-server)\"  \
             or all programs with  sudo sysctl net.ipv4.ip_unprivileged_port_start={port}"
        )
    })
}

#[cfg(all(unix, not(target_os = "linux")))]
fn permission_hint(port: u16) -> Option<String> {
    (port < 1024)
        .then(|| "ports below 1024 belong to root here: use --port 1024 or higher".to_owned())
}

/// No port needs a privilege. WSAEACCES is for a port that is used exclusively, as this server does, or excluded:
/// Hyper-V reserves ranges of them.
#[cfg(windows)]
fn permission_hint(port: u16) -> Option<String> {
    Some(format!(
        "another program uses port {port} exclusively, or Windows reserves it: see  netstat -ano | findstr :{port}  \
         and  netsh interface ipv4 show excludedportrange tcp, or choose another port with --port"
    ))
}

/// The likely cause of an error of io_uring_setup(2).
#[cfg(target_os = "linux")]
fn engine_hint(source: &io::Error) -> Option<String> {
    let cause = match source.raw_os_error()? {
        libc::EPERM | libc::EACCES => {
            "io_uring is forbidden here: by the sysctl kernel.io_uring_disabled, or by a seccomp filter, as \
             most containers have"
        }
        libc::ENOSYS => {
            "this kernel has no io_uring, or a seccomp filter hides it, as in most containers"
        }
        libc::EINVAL => "this kernel is too old: io_uring needs Linux 6.6 here",
        libc::ENOMEM => {
            "the limit on locked memory is too low for this many workers: raise  ulimit -l  or lower \
             --threads"
        }
        _ => return None,
    };
    Some(format!("{cause}; use --engine readiness instead"))
}

#[cfg(not(target_os = "linux"))]
fn engine_hint(_: &io::Error) -> Option<String> {
    Some("only Linux has io_uring; use --engine readiness instead".to_owned())
}
