//! Comparing servers under the same loads, with the release builds of both programs.
//!
//! On a shared machine only comparisons are meaningful: each repetition runs all servers, in an order that favours
//! none, and ratios are taken within one repetition.

mod conditions;
#[cfg(target_os = "linux")]
mod namespace;
mod options;
mod pinning;
mod repetitions;
mod sample;
mod saving;
mod scenario;
mod table;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use echo_client::run::Run;
use echo_test_support::raise_descriptor_limit;
use signal_hook::consts::TERM_SIGNALS;

pub(crate) use self::options::Options;
use self::pinning::Pinning;
use self::saving::Folder;
use self::scenario::Scenario;
use self::table::MISSED;
use self::target::Target;
use crate::binaries::Binaries;

/// Builds both programs, runs the benchmarks and prints the table.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let scenarios = options.scenarios()?;
    check_network(options)?;
    // Before the network is entered, in which cargo could not download anything.
    let binaries = Binaries::build(true)?;
    let network = enter_network(options)?;
    let bench = Bench::prepare(options, binaries)?;
    let (targets, mut notes) = bench.available(options.targets());
    let (scenarios, too_large) = bench.possible(scenarios);
    notes.extend(too_large);
    notes.extend(targets.iter().filter_map(|target| {
        let why = scenarios.iter().find_map(|scenario| target.unfit_for(scenario))?;
        Some(format!("{}: {why}", target.name))
    }));
    let measured = bench.measure_all(&scenarios, &targets)?;
    notes.extend(measured.iter().flat_map(|measured| measured.failures.iter().cloned()));
    notes.extend(measured.iter().flat_map(ScenarioRuns::missed_rates));
    notes.extend(bench.folder.as_ref().map(Folder::note));
    let first = measured.iter().find_map(|it| it.servers.first()?.1.first());
    let first = first.with_context(|| format!("nothing to measure\n{}", notes.join("\n")))?;

    println!("{}", conditions::describe(first, bench.pinning, network));
    println!("{}", bench.explanation());
    let columns = if options.tail { &table::TAIL } else { &table::CAPACITY };
    println!("{}", table::render(&measured, columns));
    for note in notes {
        println!("- {note}");
    }
    Ok(())
}

/// Checks whether the network in which everything is to run can be entered: building takes minutes.
#[cfg(target_os = "linux")]
fn check_network(options: &Options) -> Result<()> {
    options.congestion_control.as_deref().map_or(Ok(()), namespace::check)
}

#[cfg(not(target_os = "linux"))]
fn check_network(_: &Options) -> Result<()> {
    Ok(())
}

/// Enters the network in which everything is to run, and describes it.
#[cfg(target_os = "linux")]
fn enter_network(options: &Options) -> Result<&'static str> {
    let Some(control) = &options.congestion_control else { return Ok("") };
    namespace::enter(control)?;
    Ok(", in a network namespace of its own")
}

#[cfg(not(target_os = "linux"))]
fn enter_network(_: &Options) -> Result<&'static str> {
    Ok("")
}

/// The runs of all servers under one load.
struct ScenarioRuns {
    scenario: &'static Scenario,
    /// In the order of the report, each with one run per repetition.
    servers: Vec<(Target, Vec<Run>)>,
    /// Why other servers are missing.
    failures: Vec<String>,
}

impl ScenarioRuns {
    /// Notes on the servers that did not reach the rate, which are marked in the table.
    fn missed_rates(&self) -> impl Iterator<Item = String> {
        self.servers.iter().filter_map(|(target, runs)| {
            let missed = runs.iter().filter(|run| table::is_missed(&run.result)).count();
            let (name, title, all) = (&target.name, self.scenario.title, runs.len());
            (missed > 0).then(|| {
                format!(
                    "{MISSED} {name} under {title}: the rate was not reached in {missed} of {all} runs, so the latency \
                     is that of a growing queue"
                )
            })
        })
    }
}

/// The duration of a run.
#[derive(Clone, Copy)]
struct RunDuration {
    warmup: Duration,
    measured: Duration,
}

impl RunDuration {
    fn of(options: &Options) -> Self {
        let (warmup, measured) = match (options.quick, options.tail) {
            (true, _) => (100, 400),
            (false, false) => (300, 1200),
            // The tail needs more samples: at 60 000 per second, 180 lie beyond p99.9.
            (false, true) => (500, 3000),
        };
        Self { warmup: Duration::from_millis(warmup), measured: Duration::from_millis(measured) }
    }

    /// The arguments for `echo-client bench`.
    fn arguments(self) -> [String; 4] {
        let ms = |duration: Duration| format!("{}ms", duration.as_millis());
        ["--warmup".to_owned(), ms(self.warmup), "--duration".to_owned(), ms(self.measured)]
    }
}

/// An upper bound of the descriptors of a server or a client that are not connections.
const RESERVE: u64 = 64;

/// Everything needed to take samples.
struct Bench {
    binaries: Binaries,
    pinning: Pinning,
    length: RunDuration,
    repetitions: usize,
    interrupted: Arc<AtomicBool>,
    /// The limit on descriptors, if there is one.
    descriptors: Option<u64>,
    /// The folder in which each run is saved.
    folder: Option<Folder>,
}

impl Bench {
    fn prepare(options: &Options, binaries: Binaries) -> Result<Self> {
        // A signal that killed this program would leave its children running. It only sets a flag, which is
        // checked after the current load, about a second later.
        let interrupted = Arc::new(AtomicBool::new(false));
        for &signal in TERM_SIGNALS {
            signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
        }
        // Inherited by the programs: other servers may not raise the limit themselves.
        let descriptors = raise_descriptor_limit();
        let repetitions = options.reps.unwrap_or(if options.quick { 1 } else { 7 }) as usize;
        let length = RunDuration::of(options);
        let pinning = if options.tail { Pinning::Off } else { Pinning::find() };
        let folder = options.save.as_deref().map(Folder::open).transpose()?;
        Ok(Self { binaries, pinning, length, repetitions, interrupted, descriptors, folder })
    }

    /// The servers that run on this machine, and notes on why the others do not.
    fn available(&self, targets: Vec<Target>) -> (Vec<Target>, Vec<String>) {
        let mut notes = Vec::new();
        let mut available = targets;
        available.retain(|target| {
            let why = target.missing(&self.binaries);
            notes.extend(why.iter().map(|why| format!("{}: skipped: {why}", target.name)));
            why.is_none()
        });
        (available, notes)
    }

    /// The loads that the limit on descriptors allows, and a note on those that it does not.
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
        targets: &[Target],
    ) -> Result<Vec<ScenarioRuns>> {
        let mut measured = Vec::new();
        for scenario in scenarios {
            let fit = targets.iter().filter(|it| it.unfit_for(scenario).is_none());
            let servers: Vec<_> = fit.map(|it| (it.clone(), Vec::new())).collect();
            if !servers.is_empty() {
                measured.push(self.measure(scenario, servers)?);
            }
        }
        Ok(measured)
    }

    /// Puts the load on each server in turn, once per repetition. A server given by its command that fails is
    /// left out.
    #[allow(clippy::print_stderr, reason = "progress for the user")]
    fn measure(
        &self,
        scenario: &'static Scenario,
        mut servers: Vec<(Target, Vec<Run>)>,
    ) -> Result<ScenarioRuns> {
        let mut failures: Vec<String> = Vec::new();
        for repetition in 0..self.repetitions {
            let mut failed = Vec::new();
            for index in repetitions::order(repetition, servers.len()) {
                let (target, runs) = &mut servers[index];
                match self.sample(target, scenario) {
                    Ok(run) => {
                        if let Some(folder) = &self.folder {
                            folder.save(&run, scenario, target, repetition)?;
                        }
                        runs.push(run);
                    }
                    Err(error) if target.is_external() && !self.is_interrupted() => {
                        failures.push(format!("left out: {error:#}").replace('\n', "; "));
                        failed.push(target.name.clone());
                    }
                    Err(error) => return Err(error),
                }
            }
            servers.retain(|(target, _)| !failed.contains(&target.name));
            let rates = servers.iter().filter_map(|(target, runs)| {
                Some(format!("{} {:.0}", target.name, runs.last()?.result.rate))
            });
            let rates = rates.collect::<Vec<_>>().join(", ");
            let (number, title) = (repetition + 1, scenario.title);
            eprintln!("{title}, {number} of {}: {rates} echoes/s", self.repetitions);
        }
        Ok(ScenarioRuns { scenario, servers, failures })
    }

    fn sample(&self, target: &Target, scenario: &Scenario) -> Result<Run> {
        let run = sample::take(&self.binaries, self.pinning, target, scenario, self.length);
        // Ctrl-C reaches the programs too, so an error after it is meaningless.
        ensure!(!self.is_interrupted(), "interrupted");
        run.with_context(|| format!("{} under {}", target.name, scenario.title))
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Explains the table.
    fn explanation(&self) -> String {
        let RunDuration { measured, warmup } = self.length;
        let runs = match self.repetitions {
            1 => "of one run".to_owned(),
            count => {
                format!("medians of {count} repetitions, each with all servers, in balanced orders")
            }
        };
        let settings = match self.pinning {
            Pinning::Off => "client and servers with their default settings",
            _ => "client and our event loops with `--threads 1`",
        };
        format!(
            "Loads are connections × message size in bytes. Figures are {runs}: {measured:?}\n\
             after {warmup:?} of warm-up, {settings}. The number after × is the ratio to\n\
             the load's first server: the median of the ratios within a repetition. Latency is that of echoes,\n\
             from when the message was due, without connecting.\n"
        )
    }
}
