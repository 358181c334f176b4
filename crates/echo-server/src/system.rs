//! System calls that neither std nor socket2 offers, and the only `unsafe` of this crate.

/// Bytes in the send queue, sent or not, that the peer's system has not acknowledged; a FIN counts as
/// one (`SIOCOUTQ`, tcp(7)). 0 on a broken connection.
#[cfg(target_os = "linux")]
pub(crate) fn unacknowledged(stream: &impl std::os::fd::AsRawFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which is TIOCOUTQ by its other name, writes one int to its argument, which
    // is valid for that. The descriptor is open as long as the stream is borrowed.
    #[allow(unsafe_code, reason = "std and socket2 have no such query")]
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
}

/// Bytes in the receive queue (`FIONREAD`, tcp(7)).
#[cfg(unix)]
pub(crate) fn received(stream: &impl std::os::fd::AsFd) -> usize {
    // Fails only on a broken connection.
    rustix::io::ioctl_fionread(stream)
        .map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// Bytes in the receive queue that one `recv` can read ([`FIONREAD`]). Windows documents that more may be queued, which a
/// stop would not echo. The size of the receive buffer is no better: it can be less, and as a limit it lets a peer that
/// answers each echo delay a stop.
///
/// [`FIONREAD`]: https://learn.microsoft.com/windows/win32/winsock/winsock-ioctls
#[cfg(windows)]
pub(crate) fn received(stream: &impl std::os::windows::io::AsSocket) -> usize {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{FIONREAD, ioctlsocket};

    let mut bytes = 0;
    // SAFETY: FIONREAD writes one number to its argument, which is valid for that. The socket is open while the stream
    // is borrowed.
    #[allow(unsafe_code, reason = "std and socket2 have no such query")]
    let result = unsafe {
        let socket = stream.as_socket().as_raw_socket() as usize;
        ioctlsocket(socket, FIONREAD, &raw mut bytes)
    };
    // Fails only on a broken connection.
    if result == 0 { usize::try_from(bytes).unwrap_or(usize::MAX) } else { 0 }
}

/// Lets no other socket bind to the port of this one, as [`SO_EXCLUSIVEADDRUSE`] does. Without it, any program of this
/// or another user may bind to the same port with SO_REUSEADDR, and receive some of the connections.
///
/// # Errors
///
/// The socket is already bound.
///
/// [`SO_EXCLUSIVEADDRUSE`]: https://learn.microsoft.com/windows/win32/winsock/using-so-reuseaddr-and-so-exclusiveaddruse
#[cfg(windows)]
pub(crate) fn use_address_exclusively(
    socket: &impl std::os::windows::io::AsRawSocket,
) -> std::io::Result<()> {
    use windows_sys::Win32::Networking::WinSock::{SO_EXCLUSIVEADDRUSE, SOL_SOCKET, setsockopt};

    let on: i32 = 1;
    // SAFETY: it reads as many bytes as `on` has, from `on`. The socket is open while it is borrowed.
    #[allow(unsafe_code, reason = "std and socket2 have no such option")]
    let result = unsafe {
        let length = size_of::<i32>() as i32;
        let socket = socket.as_raw_socket() as usize;
        setsockopt(socket, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (&raw const on).cast(), length)
    };
    // Winsock's error is the thread's last one.
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Other systems do not report it: every peer is assumed to have acknowledged everything.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unacknowledged<S>(_: &S) -> usize {
    0
}

/// The error of a connection that is not being read, if it is broken.
#[cfg(unix)]
pub(crate) fn pending_error(
    stream: &impl std::os::fd::AsFd,
) -> std::io::Result<Option<std::io::Error>> {
    socket2::SockRef::from(stream).take_error()
}

/// The error of a connection that is not being read, if it is broken. Winsock documents SO_ERROR for connecting only, so
/// a peek finds a reset.
#[cfg(windows)]
pub(crate) fn pending_error(
    stream: &impl std::os::windows::io::AsSocket,
) -> std::io::Result<Option<std::io::Error>> {
    let peeked = socket2::SockRef::from(stream).peek(&mut [std::mem::MaybeUninit::uninit()]);
    Ok(peeked.err().filter(|error| error.kind() != std::io::ErrorKind::WouldBlock))
}

/// The CPU time that this thread has used (`CLOCK_THREAD_CPUTIME_ID`, clock_gettime(2)).
#[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
pub(crate) fn thread_cpu_time() -> Option<std::time::Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::try_from(time).ok()
}

/// Not every system has one, and that of Windows advances with the scheduler's tick, which is far longer than what is
/// measured.
#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "freebsd")))]
pub(crate) fn thread_cpu_time() -> Option<std::time::Duration> {
    None
}

/// Returns freed memory to the system. glibc keeps freed memory that lies below a block still in use, which
/// can be nearly all of it after many slow readers.
#[cfg(all(target_os = "linux", target_env = "gnu", not(simulation)))]
pub(crate) fn release_memory() {
    // SAFETY: malloc_trim(3) takes a number and may be called from any thread; its result only says whether
    // memory was released.
    #[allow(unsafe_code, reason = "std has no such call")]
    unsafe {
        libc::malloc_trim(0);
    }
    // malloc_trim does not shrink the top of this thread's arena, which can be megabytes; freeing a large block
    // does (`heap_trim` in glibc's malloc/arena.c).
    drop(std::hint::black_box(Vec::<u8>::with_capacity(64 * 1024)));
}

/// Other allocators return it by themselves.
#[cfg(any(not(all(target_os = "linux", target_env = "gnu")), simulation))]
pub(crate) fn release_memory() {}

/// Whether this root has no `/etc/hosts`, where resolvers find `localhost`: an empty container. They would ask a name
/// server instead, which RFC 6761 (6.3) forbids, and wait for it.
#[cfg(unix)]
pub(crate) fn lacks_hosts() -> bool {
    !std::path::Path::new("/etc/hosts").exists()
}

/// The resolver knows `localhost` itself.
#[cfg(not(unix))]
pub(crate) fn lacks_hosts() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn bytes_that_the_peer_has_no_room_for_are_unacknowledged() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        assert_eq!(unacknowledged(&stream), 0);
        stream.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = stream.write(&[0; 65536]) {
            sent += count;
        }
        assert!(unacknowledged(&stream) > 0);
        peer.read_exact(&mut vec![0; sent]).unwrap();
        while unacknowledged(&stream) > 0 {
            std::thread::yield_now();
        }
    }
}
