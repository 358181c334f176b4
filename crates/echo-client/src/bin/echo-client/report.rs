//! `echo-client report`: compares, merges and plots saved runs.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use echo_client::compare::RatioGateResult;
use echo_client::report::{
    Curves, Error, LoadedRun, Overlap, Side, Table, load, merge, numbered, plot, plot_curves,
    printable,
};
use echo_client::run_file::RunFile;
use serde::Serialize;

use crate::cli::{ReportFormat, ReportOptions};
use crate::print::{GATE_FAILED, print_line, print_note};
use crate::terminal::width;

/// Larger files are not saved runs: an hour in intervals of one second takes about 10 MB.
const MAX_FILE_SIZE: u64 = 256 << 20;

/// Reads all files before printing, so that a bad file does not leave half a report.
pub(crate) fn run(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    let runs = load_all(options)?;
    let title = options.title.as_deref();
    if let Some(varied) = options.against {
        let curves = Curves::of(&numbered(runs), varied, options.figure)?;
        let picture = options.svg.as_ref().map(|_| plot_curves(&curves, title));
        write_picture(options, picture)?;
        print_report(
            options,
            &match options.format {
                ReportFormat::Text => curves.text(width(io::stdout())),
                ReportFormat::Markdown => curves.markdown(),
                ReportFormat::Csv => curves.csv(),
                ReportFormat::Json => json(&curves)?,
            },
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let runs = if options.merge { vec![merged(numbered(runs))?] } else { runs };
    let sides = Side::group(runs)?;
    if let ([only], false) = (&*sides, options.fail_if.is_empty()) {
        return Err(Error::OneSide(only.name.clone()).into());
    }
    let table = Table::of(&sides, &options.percentiles, &options.fail_if);
    write_picture(options, options.svg.as_ref().map(|_| plot(&sides, title)))?;
    print_report(
        options,
        &match options.format {
            ReportFormat::Text => table.text(width(io::stdout())),
            ReportFormat::Markdown => table.markdown(),
            ReportFormat::Csv => table.csv(),
            ReportFormat::Json => match &sides[0].runs[0].run {
                Some(merged) if options.merge => json(&RunFile::of(vec![merged.run.clone()]))?,
                _ => json(&table)?,
            },
        },
    )?;
    let mut failed = table.gates.iter().filter(|gate| gate.result == RatioGateResult::Failed);
    if options.format == ReportFormat::Csv {
        failed.clone().for_each(|gate| print_note(&format!("gate {gate}")));
    }
    if failed.next().is_some() {
        return Ok(ExitCode::from(GATE_FAILED));
    }
    match table.gates.iter().find_map(|gate| gate.undecided()) {
        Some(undecided) => Err(undecided.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// All runs, each named as its side in the report.
fn load_all(options: &ReportOptions) -> anyhow::Result<Vec<LoadedRun>> {
    let mut files = Vec::new();
    for file in &options.files {
        let shown = if is_stdin(file) { "stdin".to_owned() } else { file.display().to_string() };
        let text = read(file).with_context(|| format!("cannot read {shown}"))?;
        let runs = load(&shown, &text, options.unit).context(shown.clone())?;
        if options.merge && runs.len() > 1 {
            return Err(Error::Repeated(shown, runs.len()).into());
        }
        files.push(runs);
    }
    let labels: Vec<_> = files.iter().map(|runs| runs[0].label()).collect();
    for (runs, name) in files.iter_mut().zip(names(&options.files, &labels)) {
        runs.iter_mut().for_each(|run| run.name.clone_from(&name));
    }
    Ok(files.into_iter().flatten().collect())
}

/// The sum of all runs. How long they overlap is no part of the report, which may be a run itself.
fn merged(runs: Vec<LoadedRun>) -> Result<LoadedRun, Error> {
    let merged = merge(&runs)?;
    if let Some(overlap) = Overlap::of(&runs)?.filter(|_| runs.len() > 1) {
        print_note(&overlap.to_string());
    }
    Ok(merged)
}

fn json(report: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(report)
}

/// The plot can be made again, so a partial file on a full disk does no harm if it is reported.
fn write_picture(
    options: &ReportOptions,
    picture: Option<Result<String, Error>>,
) -> anyhow::Result<()> {
    if let (Some(path), Some(picture)) = (&options.svg, picture) {
        fs::write(path, picture?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn print_report(options: &ReportOptions, report: &str) -> anyhow::Result<()> {
    let title = options.title.as_deref().map(printable);
    let title = match (title, options.format) {
        (Some(title), ReportFormat::Text) => title + "\n\n",
        (Some(title), ReportFormat::Markdown) => format!("# {title}\n\n"),
        _ => String::new(),
    };
    match print_line(&(title + report.trim_end())) {
        // The reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write the report"),
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let input: Box<dyn Read> =
        if is_stdin(file) { Box::new(io::stdin()) } else { Box::new(File::open(file)?) };
    let mut text = Vec::new();
    input.take(MAX_FILE_SIZE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE_SIZE {
        return Err(io::Error::new(
            ErrorKind::FileTooLarge,
            "it is larger than 256 MiB, which no saved run is",
        ));
    }
    Ok(text)
}

/// The sides that files belong to: the label; without one, the file name without its extension, or
/// the whole path if that is ambiguous.
fn names(files: &[PathBuf], labels: &[Option<String>]) -> Vec<String> {
    let stems: Vec<String> = files.iter().map(|file| stem(file)).collect();
    let is_unique = |file: &PathBuf, stem: &String| {
        files.iter().zip(&stems).all(|(other, its)| its != stem || other == file)
    };
    let name = |((file, stem), label): ((&PathBuf, &String), &Option<String>)| match label {
        Some(label) => label.clone(),
        None if is_unique(file, stem) => stem.clone(),
        None => printable(&file.to_string_lossy()),
    };
    files.iter().zip(&stems).zip(labels).map(name).collect()
}

fn stem(file: &Path) -> String {
    match file.file_stem() {
        _ if is_stdin(file) => "stdin".to_owned(),
        Some(stem) => printable(&stem.to_string_lossy()),
        None => printable(&file.to_string_lossy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[&str], labels: &[Option<&str>]) -> Vec<String> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let labels: Vec<_> = labels.iter().map(|label| label.map(str::to_owned)).collect();
        names(&files, &labels)
    }

    #[test]
    fn names_are_short_and_tell_files_apart() {
        let files = ["x/a.json", "b.hlog", "y/b.json", "-"];
        assert_eq!(found(&files, &[None; 4]), ["a", "b.hlog", "y/b.json", "stdin"]);
    }

    #[test]
    fn a_run_is_named_by_its_label() {
        let labels = [Some("ring"), None, Some("ring")];
        assert_eq!(found(&["1.json", "2.json", "3.json"], &labels), ["ring", "2", "ring"]);
    }

    #[test]
    fn control_characters_in_names_are_replaced() {
        assert_eq!(found(&["\u{1b}[2Ja.json"], &[None]), ["\u{fffd}[2Ja"]);
    }
}
