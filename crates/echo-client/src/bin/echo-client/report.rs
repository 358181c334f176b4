//! `echo-client report`: compares, merges and plots saved runs.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use echo_client::report::{Curves, LoadedRun, Table, load, merge, plot, plot_curves, printable};
use echo_client::run_file::RunFile;

use crate::cli::{ReportFormat, ReportOptions};
use crate::print::print_line;
use crate::terminal::width;

/// Larger files are not saved runs: an hour in intervals of one second takes about 10 MB.
const MAX_FILE_SIZE: u64 = 256 << 20;

/// Reads all files before printing, so that a bad file does not leave half a report.
pub(crate) fn run(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    let (mut saved, mut files) = (Vec::new(), Vec::new());
    for file in &options.files {
        let shown = if is_stdin(file) { "stdin".to_owned() } else { file.display().to_string() };
        let text = read(file).with_context(|| format!("cannot read {shown}"))?;
        let runs = load(&shown, &text, options.unit).context(shown)?;
        files.extend(runs.iter().map(|_| file));
        saved.extend(runs);
    }
    let labels: Vec<_> = saved.iter().map(|saved| saved.label()).collect();
    for (saved, name) in saved.iter_mut().zip(names(&files, &labels)) {
        saved.name = name;
    }
    if options.merge {
        saved = vec![merge(&saved)?];
    }
    let (report, picture) = match options.against {
        Some(varied) => {
            let curves = Curves::of(&saved, varied, options.figure)?;
            (
                curves_as(options.format, &curves)?,
                options.svg.as_ref().map(|_| plot_curves(&curves)),
            )
        }
        None => (table(options, &saved)?, options.svg.as_ref().map(|_| plot(&saved))),
    };
    if let (Some(path), Some(picture)) = (&options.svg, picture) {
        // The plot can be made again, so a partial file on a full disk does no harm if it is
        // reported.
        fs::write(path, picture?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    match print_line(report.trim_end()) {
        // The reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        result => result.context("cannot write the report")?,
    }
    Ok(ExitCode::SUCCESS)
}

fn table(options: &ReportOptions, saved: &[LoadedRun]) -> serde_json::Result<String> {
    match (options.format, saved) {
        (ReportFormat::Text, saved) => {
            Ok(Table::of(saved, &options.percentiles).text(width(io::stdout())))
        }
        (ReportFormat::Json, [LoadedRun { run: Some(merged), .. }]) if options.merge => {
            serde_json::to_string_pretty(&RunFile::of(vec![merged.run.clone()]))
        }
        (ReportFormat::Json, saved) => {
            serde_json::to_string_pretty(&Table::of(saved, &options.percentiles))
        }
    }
}

fn curves_as(format: ReportFormat, curves: &Curves) -> serde_json::Result<String> {
    match format {
        ReportFormat::Text => Ok(curves.text(width(io::stdout()))),
        ReportFormat::Json => serde_json::to_string_pretty(curves),
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

/// Names of the runs in the report: the label; without one, the file name without its extension, or
/// the whole path if that is ambiguous. A number distinguishes what would still be equal.
fn names(files: &[impl AsRef<Path>], labels: &[Option<String>]) -> Vec<String> {
    let stems: Vec<String> = files.iter().map(|file| stem(file.as_ref())).collect();
    let mut taken = HashSet::new();
    let mut names = Vec::new();
    for ((file, stem), label) in files.iter().zip(&stems).zip(labels) {
        let alone = stems.iter().filter(|other| *other == stem).count() == 1;
        let name = match label {
            Some(label) => label.clone(),
            None if alone => stem.clone(),
            None => printable(&file.as_ref().to_string_lossy()),
        };
        let numbered = (2..).map(|number| format!("{name} ({number})"));
        let free = [name.clone()].into_iter().chain(numbered).find(|name| !taken.contains(name));
        let free = free.expect("numbers do not end");
        taken.insert(free.clone());
        names.push(free);
    }
    names
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

    #[test]
    fn names_are_short_and_unique() {
        let files = ["x/a.json", "b.hlog", "y/b.json", "-", "y/b.json"];
        let found = names(&files, &[const { None }; 5]);
        assert_eq!(found, ["a", "b.hlog", "y/b.json", "stdin", "y/b.json (2)"]);
    }

    #[test]
    fn a_run_is_named_by_its_label_and_repetitions_are_numbered() {
        let labels = [Some("ring"), None, Some("ring")].map(|label| label.map(str::to_owned));
        assert_eq!(names(&["1.json", "2.json", "3.json"], &labels), ["ring", "2", "ring (2)"]);
    }

    #[test]
    fn control_characters_in_names_are_replaced() {
        assert_eq!(names(&["\u{1b}[2Ja.json"], &[None]), ["\u{fffd}[2Ja"]);
    }
}
