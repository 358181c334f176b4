//! A network namespace with a TCP congestion control of its own.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Tells the program that is started again in a namespace which one it has left.
const LEFT: &str = "XTASK_BENCH_NAMESPACE_LEFT";
/// Settings of the kernel's TCP.
const SETTINGS: &str = "/proc/sys/net/ipv4";

/// Exit codes of [`SCRIPT`].
const NO_LOOPBACK: i32 = 120;
const NO_CONTROL: i32 = 121;
/// Sets up the namespace that it is run in, and executes a program there.
const SCRIPT: &str = "
ip link set lo up || exit 120
echo \"$1\" >/proc/sys/net/ipv4/tcp_congestion_control || exit 121
shift
exec \"$@\"
";

/// Root needs no user namespace, and others are not permitted to do without one.
const UNSHARE_OPTIONS: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];

/// Checks whether [`enter`] can succeed, by means of another process.
///
/// # Errors
///
/// Those of [`enter`].
pub(super) fn check(control: &str) -> Result<()> {
    if is_in_own()? {
        return ensure_control(control);
    }
    unshare_options(control).map(drop)
}

/// Makes this program run in a network namespace with this congestion control: it is started again in one, in the
/// same process. Checks the congestion control in a process that was started so.
///
/// # Errors
///
/// The system does not permit such a namespace, or the kernel lacks the congestion control.
pub(super) fn enter(control: &str) -> Result<()> {
    if is_in_own()? {
        return ensure_control(control);
    }
    let mut again = command(unshare_options(control)?, control, std::env::current_exe()?);
    let error = again.args(std::env::args_os().skip(1)).env(LEFT, own()?).exec();
    Err(error).context("cannot start this program again in a network namespace")
}

/// The network namespace of this program.
fn own() -> Result<PathBuf> {
    std::fs::read_link("/proc/self/ns/net").context("no network namespaces")
}

/// Whether [`enter`] has started this program.
fn is_in_own() -> Result<bool> {
    Ok(has_left(std::env::var_os(LEFT).map(PathBuf::from), &own()?))
}

/// Whether this program has left the namespace `left` for `own`. If they are the same, a shell that was started in
/// neither has passed on the variable.
fn has_left(left: Option<PathBuf>, own: &Path) -> bool {
    left.is_some_and(|left| left != own)
}

fn ensure_control(control: &str) -> Result<()> {
    let file = format!("{SETTINGS}/tcp_congestion_control");
    let actual = std::fs::read_to_string(&file).context(file)?;
    ensure!(
        actual.trim_end() == control,
        "the TCP congestion control is {} in this network namespace, not {control}: unset {LEFT}",
        actual.trim_end()
    );
    Ok(())
}

/// The options of unshare(1) that make such a namespace here.
fn unshare_options(control: &str) -> Result<&'static [&'static str]> {
    let mut reasons = Vec::new();
    for options in UNSHARE_OPTIONS {
        let tried =
            command(options, control, "true").output().context("cannot start unshare(1)")?;
        let why = String::from_utf8_lossy(&tried.stderr).trim_end().replace('\n', "; ");
        match tried.status.code() {
            Some(0) => return Ok(options),
            Some(NO_LOOPBACK) => bail!("cannot use loopback in a network namespace: {why}"),
            Some(NO_CONTROL) => bail!(refused(control, &why)),
            _ => reasons.push(why),
        }
    }
    bail!(
        "--congestion-control needs a network namespace, which takes root or user namespaces: {}",
        reasons.join("; ")
    )
}

/// Says that the congestion control cannot be set, and which can. `why` is what the shell says.
fn refused(control: &str, why: &str) -> String {
    let names = |file: &str| -> Vec<String> {
        let names = std::fs::read_to_string(format!("{SETTINGS}/{file}")).unwrap_or_default();
        names.split_whitespace().map(str::to_owned).collect()
    };
    let available = names("tcp_available_congestion_control");
    let allowed = names("tcp_allowed_congestion_control");
    let list = |names: &[String]| match names {
        [] => "unknown".to_owned(),
        names => names.join(", "),
    };
    let mut message = format!(
        "the TCP congestion control {control:?} cannot be set\n\
         available: {} (others may be modules: modprobe tcp_NAME)\n\
         allowed in namespaces: {} (net.ipv4.tcp_allowed_congestion_control)",
        list(&available),
        list(&allowed)
    );
    // Otherwise the lists say enough; dash calls every failed write an I/O error.
    if [available, allowed].iter().all(|names| names.iter().any(|name| name == control)) {
        message += &format!("\nthe system says: {why}");
    }
    message
}

/// A command line for a program in a new namespace.
fn command(options: &[&str], control: &str, program: impl AsRef<OsStr>) -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args(options).args(["sh", "-c", SCRIPT, "sh", control]).arg(program);
    unshare
}

#[cfg(test)]
mod tests {
    use echo_test_support::skipped;

    use super::*;

    fn congestion_control() -> String {
        std::fs::read_to_string(format!("{SETTINGS}/tcp_congestion_control")).unwrap()
    }

    #[test]
    fn a_program_runs_under_the_control_and_the_system_keeps_its_own() {
        let own = congestion_control();
        // Every kernel has it (tcp_cong.c).
        let options = match unshare_options("reno") {
            Ok(options) => options,
            Err(error) => {
                return skipped("a congestion control in a namespace", &format!("{error:#}"));
            }
        };
        let mut program = command(options, "reno", "sh");
        program.args(["-c", "cat /proc/sys/net/ipv4/tcp_congestion_control; ip address show up"]);
        let stdout = String::from_utf8(program.output().unwrap().stdout).unwrap();
        assert!(stdout.starts_with("reno\n") && stdout.contains("127.0.0.1/8"), "{stdout}");
        assert_eq!(congestion_control(), own);
    }

    #[test]
    fn an_inherited_variable_does_not_disable_the_option() {
        let (own, other) = (Path::new("net:[1]"), Path::new("net:[2]"));
        assert!(!has_left(None, own) && !has_left(Some(own.into()), own));
        assert!(has_left(Some(other.into()), own));
        ensure_control(congestion_control().trim_end()).unwrap();
        let error = ensure_control("turtle").unwrap_err().to_string();
        assert!(error.contains("network namespace, not turtle: unset XTASK_"), "{error}");
    }

    #[test]
    fn a_control_that_the_kernel_lacks_is_refused_with_those_that_it_has() {
        if let Err(error) = unshare_options("reno") {
            return skipped("a congestion control in a namespace", &format!("{error:#}"));
        }
        let error = format!("{:#}", unshare_options("turtle").unwrap_err());
        assert!(error.contains("\"turtle\" cannot be set\navailable: "), "{error}");
        assert!(error.contains("reno") && !error.contains("sh: "), "{error}");
        // Every kernel has it, so there is another reason.
        assert!(refused("reno", "no room").ends_with("\nthe system says: no room"));
    }
}
