//! Load from several hosts at once: the example of docs/measuring.md, in network namespaces.
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, SystemTime};

use echo_client::run_file::RunFile;
use echo_test_support::{Process, command, skipped};

const CLIENT: &str = env!("CARGO_BIN_EXE_echo-client");

/// The commands of the example, as they are in the document.
fn example() -> String {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/measuring.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, rest) =
        document.split_once("```sh\nip link add lan type bridge\n").expect("it is there");
    let (example, _) = rest.split_once("```").unwrap();
    format!("ip link add lan type bridge\n{example}")
}

/// Runs a script as root of a network and of mounts of its own, in this folder.
fn in_private_network(script: &str, folder: &Path) -> std::io::Result<echo_test_support::Finished> {
    let mut unshare = command("unshare");
    unshare.args(["--map-root-user", "--net", "--mount", "sh", "-euc"]);
    // Network namespaces have their names in /run/netns.
    unshare.arg(format!("mount -t tmpfs tmpfs /run\nip link set lo up\n{script}"));
    let programs = Path::new(CLIENT).parent().unwrap().display();
    let path = std::env::var("PATH").unwrap_or_default();
    Process::run(unshare.env("PATH", format!("{programs}:{path}")).current_dir(folder), b"")
}

#[test]
fn three_hosts_start_together_and_are_added_up() {
    let server = Path::new(CLIENT).with_file_name("echo-server");
    let folder = std::env::temp_dir().join(format!("echo-hosts-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let probe = "ip netns add probe\nip link add lan type bridge\nip netns exec probe true";
    let probed = in_private_network(probe, &folder);
    let why = match probed {
        Err(error) => Some(error.to_string()),
        Ok(finished) if !finished.status.success() => Some(finished.stderr),
        Ok(_) if !server.exists() => Some("echo-server is not built: cargo build".to_owned()),
        Ok(_) => None,
    };
    if let Some(why) = why {
        return skipped("load from three network namespaces", why.trim());
    }
    let finished = in_private_network(&example(), &folder).unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let runs = ["host1.json", "host2.json", "host3.json"].map(|name| {
        let file = std::fs::read_to_string(folder.join(name)).unwrap();
        let file: RunFile = serde_json::from_str(&file).unwrap();
        file.into_runs().remove(0)
    });
    std::fs::remove_dir_all(&folder).unwrap();
    let time = |text: &Option<String>| humantime::parse_rfc3339(text.as_ref().unwrap()).unwrap();
    let first = time(&runs[0].measured_from);
    let apart =
        |time: SystemTime| time.duration_since(first).unwrap_or_else(|earlier| earlier.duration());
    for run in &runs {
        assert!(apart(time(&run.measured_from)) < Duration::from_millis(500), "{runs:?}");
        let length = time(&run.measured_until).duration_since(time(&run.measured_from)).unwrap();
        assert!((length.as_secs_f64() - run.result.seconds).abs() < 1e-3, "{run:?}");
        assert_eq!(run.result.loss, 0, "{run:?}");
    }
    let sum: u64 = runs.iter().map(|run| run.result.echoes).sum();
    assert!(finished.stdout.contains("host1 + host2 + host3"), "{finished:?}");
    assert!(sum > 6_000, "2 s of 6000 messages a second, on a busy machine: {sum}");
}
