//! The same loads on every engine of the server, side by side, by the release builds of both programs.
//!
//! What the figures of a shared machine are worth lies in the comparison: the servers take turns within
//! each repetition, and ratios are taken within one.

mod conditions;
mod contender;
mod options;
mod pinning;
mod repetitions;
mod sample;
mod saving;
mod scenario;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use echo_client::run::Run;
use echo_test_support::raise_descriptor_limit;
use signal_hook::consts::TERM_SIGNALS;

use self::contender::Contender;
pub(crate) use self::options::Options;
use self::pinning::Pinning;
use self::saving::Folder;
use self::scenario::Scenario;
use crate::pair::Pair;

/// Builds both programs, runs what was asked for and prints the table.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let bench = Bench::prepare(options)?;
    let (contenders, mut notes) = bench.available(options.contenders());
    let (scenarios, too_large) = bench.possible(options.scenarios());
    notes.extend(too_large);
    notes.extend(contenders.iter().filter_map(|contender| {
        let why = scenarios.iter().find_map(|scenario| contender.unfit_for(scenario))?;
        Some(format!("{}: {why}", contender.name))
    }));
    let measured = bench.measure_all(&scenarios, &contenders)?;
    notes.extend(measured.iter().flat_map(|measured| measured.failures.iter().cloned()));
    notes.extend(bench.folder.as_ref().map(Folder::note));
    let first = measured.iter().find_map(|it| it.servers.first()?.1.first());
    let first = first.with_context(|| format!("nothing to measure\n{}", notes.join("\n")))?;

    println!("{}", conditions::describe(first, bench.pinning));
    println!("{}", bench.explanation());
    println!("{}", table::render(&measured));
    for note in notes {
        println!("- {note}");
    }
    Ok(())
}

/// What the servers did under a load.
struct Measured {
    scenario: &'static Scenario,
    /// In the order of the report, each with a run from each repetition.
    servers: Vec<(Contender, Vec<Run>)>,
    /// Why others are not there.
    failures: Vec<String>,
}

/// How long a load is put on a server.
#[derive(Clone, Copy)]
struct Length {
    warmup: Duration,
    measured: Duration,
}

impl Length {
    fn of(options: &Options) -> Self {
        let (warmup, measured) = if options.quick { (100, 400) } else { (300, 1200) };
        Self { warmup: Duration::from_millis(warmup), measured: Duration::from_millis(measured) }
    }

    /// The same for `echo-client bench`.
    fn arguments(self) -> [String; 4] {
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        ["--warmup".to_owned(), ms(self.warmup), "--duration".to_owned(), ms(self.measured)]
    }
}

/// Descriptors of a server or a client that are not connections, at the most.
const RESERVE: u64 = 64;

/// All that samples are taken with.
struct Bench {
    pair: Pair,
    pinning: Pinning,
    length: Length,
    repetitions: usize,
    interrupted: Arc<AtomicBool>,
    /// The limit on descriptors, if there is one.
    descriptors: Option<u64>,
    /// Where each run is saved, if anywhere.
    folder: Option<Folder>,
}

impl Bench {
    fn prepare(options: &Options) -> Result<Self> {
        let pair = Pair::build(true)?;
        // A program that dies of a signal leaves its children behind. This one lets the running load end,
        // which is soon, and then itself.
        let interrupted = Arc::new(AtomicBool::new(false));
        for &signal in TERM_SIGNALS {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        // The programs inherit it: somebody else's server may not raise it itself.
        let descriptors = raise_descriptor_limit();
        let repetitions = options.reps.unwrap_or(if options.quick { 1 } else { 7 }) as usize;
        let length = Length::of(options);
        let (pinning, folder) = (Pinning::find(), options.save.as_deref().map(Folder::open));
        let folder = folder.transpose()?;
        Ok(Self { pair, pinning, length, repetitions, interrupted, descriptors, folder })
    }

    /// Those that run on this machine, and why the others do not.
    fn available(&self, contenders: Vec<Contender>) -> (Vec<Contender>, Vec<String>) {
        let mut notes = Vec::new();
        let mut available = contenders;
        available.retain(|contender| {
            let why = contender.missing(&self.pair);
            notes.extend(why.iter().map(|why| format!("{}: skipped: {why}", contender.name)));
            why.is_none()
        });
        (available, notes)
    }

    /// Those that the limit on descriptors allows, and which it does not.
    fn possible(
        &self,
        scenarios: Vec<&'static Scenario>,
    ) -> (Vec<&'static Scenario>, Option<String>) {
        let limit = self.descriptors.unwrap_or(u64::MAX);
        let fits = |scenario: &&Scenario| scenario.connections as u64 + RESERVE <= limit;
        let (possible, too_large): (Vec<&Scenario>, Vec<&Scenario>) =
            scenarios.into_iter().partition(fits);
        let titles: Vec<_> = too_large.iter().map(|scenario| scenario.title).collect();
        let note = format!(
            "left out: {}: more connections than the limit of {limit} descriptors allows (ulimit -Hn)",
            titles.join("; ")
        );
        (possible, (!too_large.is_empty()).then_some(note))
    }

    fn measure_all(
        &self,
        scenarios: &[&'static Scenario],
        contenders: &[Contender],
    ) -> Result<Vec<Measured>> {
        let mut measured = Vec::new();
        for scenario in scenarios {
            let fit = contenders.iter().filter(|it| it.unfit_for(scenario).is_none());
            let servers: Vec<_> = fit.map(|it| (it.clone(), Vec::new())).collect();
            if !servers.is_empty() {
                measured.push(self.measure(scenario, servers)?);
            }
        }
        Ok(measured)
    }

    /// Puts the load on each server in turn, as often as there are repetitions. Somebody else's server that
    /// fails is left out.
    #[allow(clippy::print_stderr, reason = "whoever waits wants to see how far it is")]
    fn measure(
        &self,
        scenario: &'static Scenario,
        mut servers: Vec<(Contender, Vec<Run>)>,
    ) -> Result<Measured> {
        let mut failures: Vec<String> = Vec::new();
        for repetition in 0..self.repetitions {
            let mut failed = Vec::new();
            for index in repetitions::order(repetition, servers.len()) {
                let (contender, runs) = &mut servers[index];
                match self.sample(contender, scenario) {
                    Ok(run) => {
                        if let Some(folder) = &self.folder {
                            folder.save(&run, scenario, contender, repetition)?;
                        }
                        runs.push(run);
                    }
                    Err(error) if contender.is_given() && !self.is_interrupted() => {
                        failures.push(format!("left out: {error:#}").replace('\n', "; "));
                        failed.push(contender.name.clone());
                    }
                    Err(error) => return Err(error),
                }
            }
            servers.retain(|(contender, _)| !failed.contains(&contender.name));
            let rates = servers.iter().filter_map(|(contender, runs)| {
                Some(format!("{} {:.0}", contender.name, runs.last()?.result.rate))
            });
            let rates = rates.collect::<Vec<_>>().join(", ");
            let (number, title) = (repetition + 1, scenario.title);
            eprintln!("{title}, {number} of {}: {rates} echoes/s", self.repetitions);
        }
        Ok(Measured { scenario, servers, failures })
    }

    fn sample(&self, contender: &Contender, scenario: &Scenario) -> Result<Run> {
        let run = sample::take(&self.pair, self.pinning, contender, scenario, self.length);
        // A Ctrl-C reaches the programs as well; what they say then is beside the point.
        ensure!(!self.is_interrupted(), "interrupted");
        run.with_context(|| format!("{} under {}", contender.name, scenario.title))
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// What the table shows, for those who did not run it.
    fn explanation(&self) -> String {
        let Length { measured, warmup } = self.length;
        let runs = match self.repetitions {
            1 => "of one run".to_owned(),
            count => format!("medians of {count} repetitions, in which the servers took turns"),
        };
        format!(
            "Loads are connections × bytes of a message. Figures are {runs}: {measured:?}\n\
             after {warmup:?} of warm-up, client and our servers with `--threads 1`. Behind × stands how many times the\n\
             figure of the load's first server it is: the median of the ratios within a repetition. Latency is\n\
             that of echoes; connecting is not part of it.\n"
        )
    }
}
