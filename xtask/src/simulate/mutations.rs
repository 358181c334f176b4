//! Lines that the reliability of the event loops rests on. Each is taken out in turn, and simulated histories are
//! played until one fails.

mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::table::MUTATIONS;
use super::{ENGINES, ROOT, build_in};

/// The sources that are changed, beside everything else that is built.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/simulation-mutants");
/// The folder that the files of mutations are relative to.
const EVENT_LOOP: &str = "crates/echo-server/src/engine/event_loop";
/// What is copied.
const PARTS: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "xtask",
    "tests/support",
    "tests/simulation",
    "README.md",
];
/// How long to look for a history that fails, for each engine.
const TIME: Duration = Duration::from_secs(180);

/// Characters of an error in the table.
const LONGEST: usize = 100;

/// Takes each line out in turn. Fails if one is not found.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(super) fn run(only: &[String]) -> Result<()> {
    let folder = Path::new(FOLDER);
    let source = folder.join("source");
    copy_sources(&source)?;
    println!("| taken out | engine | histories | seconds | found as |\n|---|---|--:|--:|---|");
    let mut missed = Vec::new();
    for mutation in MUTATIONS {
        if !only.is_empty() && !only.iter().any(|part| mutation.name.contains(part.as_str())) {
            continue;
        }
        let file = source.join(EVENT_LOOP).join(mutation.file);
        let original = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        ensure!(original.matches(mutation.from).count() == 1, "{}: not in the code", mutation.name);
        fs::write(&file, original.replace(mutation.from, mutation.to))?;
        let program = build_in(&source, &folder.join("target"));
        fs::write(&file, original)?;
        let program = program?;
        for engine in mutation.engines {
            let started = Instant::now();
            let found = play(&program, engine)?;
            let seconds = started.elapsed().as_secs_f64();
            let (histories, how) = match found {
                Some((histories, how)) => (histories, how),
                None => {
                    missed.push(mutation.name);
                    ("–".to_owned(), "**not found**".to_owned())
                }
            };
            println!("| {} | {engine} | {histories} | {seconds:.1} | {how} |", mutation.name);
        }
    }
    ensure!(missed.is_empty(), "not found: {}", missed.join("; "));
    Ok(())
}

/// Plays histories until one fails. Returns how many it took, and what was wrong; `None` if none fails in time.
fn play(program: &Path, engine: &str) -> Result<Option<(String, String)>> {
    let mut command = Command::new(program);
    command.args(["--engine", engine, "--seed", "0", "--count"]);
    command.args(["--time", &humantime::format_duration(TIME).to_string()]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > TIME + Duration::from_secs(20) {
            child.kill()?;
            child.wait()?;
            return Ok(Some(("–".to_owned(), "it hangs".to_owned())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().find(|line| line.starts_with("FAIL")) else {
        ensure!(output.status.success(), "the simulation ended with {}", output.status);
        return Ok(None);
    };
    let Some((_, rest)) = line.split_once("history ") else { bail!("{line}") };
    let (histories, how) = rest.split_once(": ").unwrap_or((rest, ""));
    let how = how.rsplit_once(" (").map_or(how, |(how, _)| how);
    let how: String = how.chars().take(LONGEST).collect();
    Ok(Some((histories.to_owned(), how.replace('|', "\\|"))))
}

fn copy_sources(to: &Path) -> Result<()> {
    for part in PARTS {
        copy(&Path::new(ROOT).join(part), &to.join(part))?;
    }
    Ok(())
}

/// Copies what has changed, so that what has not is not built again.
fn copy(from: &Path, to: &PathBuf) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_name() != "target" {
                copy(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        return Ok(());
    }
    let bytes = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(to, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_in_the_code_once() {
        for mutation in MUTATIONS {
            let file = Path::new(ROOT).join(EVENT_LOOP).join(mutation.file);
            let code = fs::read_to_string(file).unwrap();
            assert_eq!(code.matches(mutation.from).count(), 1, "{}", mutation.name);
        }
    }
}
