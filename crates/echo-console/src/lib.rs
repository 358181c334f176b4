//! Console control events: what Windows has in place of SIGINT, SIGTERM and SIGHUP. Empty on other systems.
//!
//! Windows calls a [handler routine] on a thread of its own for Ctrl-C, Ctrl-Break, and the end of the console or of
//! the session. After Ctrl-C and Ctrl-Break the program runs on. After the others the process ends as soon as the
//! routine returns, or after a timeout: 5 s for a closed console or a logoff, 20 s for a shutdown. Therefore the
//! routine never returns from these, and the program uses that time to end by itself.
//!
//! Of the crates that handle Ctrl-C, `ctrlc` returns from the routine at once, and signal-hook handles only what the
//! C library does, Ctrl-C and Ctrl-Break.
//!
//! [handler routine]: https://learn.microsoft.com/windows/console/handlerroutine
#![cfg(windows)]

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender};
use std::thread;

use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, CTRL_C_EVENT, CTRL_LOGOFF_EVENT, GenerateConsoleCtrlEvent, GetConsoleCP,
    SetConsoleCtrlHandler,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
use windows_sys::Win32::System::RemoteDesktop::ProcessIdToSessionId;
use windows_sys::core::BOOL;

const TRUE: BOOL = 1;

/// Flag for `CommandExt::creation_flags`: the program becomes a process group of its own, so that
/// [`send_ctrl_break`] reaches it and not its parent. It does not receive Ctrl-C.
pub use windows_sys::Win32::System::Threading::CREATE_NEW_PROCESS_GROUP;

/// Where the handler routine sends the events.
static EVENTS: OnceLock<Sender<()>> = OnceLock::new();

/// Calls `act` for each control event, on a separate thread.
///
/// A service (session 0) is also told when any user logs off. That is not its end, so it is ignored there.
///
/// # Errors
///
/// The system has no resources for a thread or a handler, or this was called before.
pub fn on_each_event(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let (sender, events) = mpsc::channel();
    EVENTS.set(sender).map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    let wait = move || events.iter().for_each(|()| act());
    thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
    // SAFETY: the routine may be called from any thread at any time: it uses only a static that is never
    // deallocated.
    #[allow(unsafe_code, reason = "std has no such call")]
    let added = unsafe { SetConsoleCtrlHandler(Some(on_event), TRUE) };
    succeeded(added)
}

/// Sends Ctrl-Break to a process group of this console. The ID of a group is that of the process started with
/// [`CREATE_NEW_PROCESS_GROUP`].
///
/// # Errors
///
/// There is no such group, or this program has no console.
pub fn send_ctrl_break(group: u32) -> io::Result<()> {
    // SAFETY: it takes two numbers, of which any value is valid.
    #[allow(unsafe_code, reason = "std has no such call")]
    let sent = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, group) };
    succeeded(sent)
}

/// Why [`send_ctrl_break`] would not work here, if so.
pub fn why_unsendable() -> Option<&'static str> {
    // SAFETY: it only returns a number, 0 without a console.
    #[allow(unsafe_code, reason = "std has no such call")]
    let has_console = unsafe { GetConsoleCP() } != 0;
    if is_wine() {
        // Wine 10: `propagate_console_signal` in server/console.c sends SIGQUIT, and `quit_handler` in
        // dlls/ntdll/unix/signal_x86_64.c ends the thread. Ctrl-C, which is SIGINT, does call handler routines.
        Some("Wine ends a program at Ctrl-Break without calling its handler")
    } else if has_console {
        None
    } else {
        Some("this program has no console, through which Ctrl-Break is sent")
    }
}

/// Whether this is Wine, which exports its version from `ntdll.dll`.
pub fn is_wine() -> bool {
    // SAFETY: both names end with a zero; a loaded library and an exported name are only looked up.
    #[allow(unsafe_code, reason = "std has no such call")]
    unsafe {
        let ntdll = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        !ntdll.is_null() && GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

/// The handler routine. The system calls it on a thread that it starts for it.
///
/// # Safety
///
/// None is needed: it is `unsafe` because the system's declaration is.
#[allow(unsafe_code, reason = "the system calls it through a pointer of this type")]
unsafe extern "system" fn on_event(event: u32) -> BOOL {
    if event == CTRL_LOGOFF_EVENT && is_service() {
        return TRUE;
    }
    if let Some(events) = EVENTS.get() {
        // Fails only if the thread has ended, and it never does.
        let _ = events.send(());
    }
    if matches!(event, CTRL_C_EVENT | CTRL_BREAK_EVENT) {
        return TRUE;
    }
    loop {
        // Returning would end the process.
        thread::park();
    }
}

/// Whether this process runs in the session of services.
fn is_service() -> bool {
    let mut session = u32::MAX;
    // SAFETY: it writes one number to `session`, which is valid for that.
    #[allow(unsafe_code, reason = "std has no such call")]
    let found = unsafe { ProcessIdToSessionId(std::process::id(), &raw mut session) };
    found != 0 && session == 0
}

fn succeeded(result: BOOL) -> io::Result<()> {
    if result == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
