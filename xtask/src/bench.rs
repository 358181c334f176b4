//! The same loads on every engine of the server, side by side, by the release builds of both programs.
//!
//! What the figures of a shared machine are worth lies in the comparison: the servers take turns within
//! each repetition, and ratios are taken within one.

mod conditions;
mod contender;
mod pinning;
mod repetitions;
mod sample;
mod scenario;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use signal_hook::consts::TERM_SIGNALS;

use self::contender::Contender;
use self::pinning::Pinning;
use self::sample::Sample;
use self::scenario::Scenario;
use crate::pair::Pair;

/// What is to be compared.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Have a look that takes less than a minute: some of the loads, once and briefly
    #[arg(long)]
    quick: bool,

    /// How often each server gets each load [default: 7; with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    reps: Option<u32>,

    /// Loads [default: all; with --quick some]
    #[arg(long = "scenario", value_name = "NAME", num_args = 1.., value_parser = scenarios())]
    scenarios: Vec<&'static Scenario>,

    /// Engines of our server, and python, the tutorial's server; ratios are to the first [default: all]
    #[arg(long = "engine", value_name = "NAME", num_args = 1.., value_parser = contenders())]
    contenders: Vec<Contender>,
}

fn scenarios() -> impl TypedValueParser<Value = &'static Scenario> {
    PossibleValuesParser::new(scenario::names()).map(|name| {
        scenario::ALL.iter().find(|scenario| scenario.name == name).expect("it is a possible value")
    })
}

fn contenders() -> impl TypedValueParser<Value = Contender> {
    let all = Contender::all();
    PossibleValuesParser::new(all.iter().map(|it| it.name())).map(move |name| {
        *all.iter().find(|contender| contender.name() == name).expect("it is a possible value")
    })
}

impl Options {
    fn scenarios(&self) -> Vec<&'static Scenario> {
        if !self.scenarios.is_empty() {
            return self.scenarios.clone();
        }
        scenario::ALL.iter().filter(|scenario| scenario.quick || !self.quick).collect()
    }

    fn contenders(&self) -> Vec<Contender> {
        if self.contenders.is_empty() { Contender::all() } else { self.contenders.clone() }
    }
}

/// Builds both programs, runs what was asked for and prints the table.
#[allow(clippy::print_stdout, reason = "the report is what the task is for")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let bench = Bench::prepare(options)?;
    let (contenders, mut notes) = bench.available(options.contenders());
    let scenarios = options.scenarios();
    notes.extend(contenders.iter().filter_map(|contender| {
        let why = scenarios.iter().find_map(|scenario| contender.unfit_for(scenario))?;
        Some(format!("{}: {why}", contender.name()))
    }));
    let measured = bench.measure_all(&scenarios, &contenders)?;
    let first = measured.iter().find_map(|it| it.servers.first()?.1.first());
    let first = first.with_context(|| format!("nothing to measure\n{}", notes.join("\n")))?;

    println!("{}", conditions::describe(&first.run, bench.pinning));
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
    /// In the order of the report, each with a sample from each repetition.
    servers: Vec<(Contender, Vec<Sample>)>,
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

/// All that samples are taken with.
struct Bench {
    pair: Pair,
    pinning: Pinning,
    length: Length,
    repetitions: usize,
    interrupted: Arc<AtomicBool>,
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
        let repetitions = options.reps.unwrap_or(if options.quick { 1 } else { 7 }) as usize;
        let length = Length::of(options);
        Ok(Self { pair, pinning: Pinning::find(), length, repetitions, interrupted })
    }

    /// Those that run on this machine, and why the others do not.
    fn available(&self, contenders: Vec<Contender>) -> (Vec<Contender>, Vec<String>) {
        let mut notes = Vec::new();
        let mut available = contenders;
        available.retain(|contender| {
            let why = contender.missing(&self.pair);
            notes.extend(why.iter().map(|why| format!("{}: skipped: {why}", contender.name())));
            why.is_none()
        });
        (available, notes)
    }

    fn measure_all(
        &self,
        scenarios: &[&'static Scenario],
        contenders: &[Contender],
    ) -> Result<Vec<Measured>> {
        let mut measured = Vec::new();
        for scenario in scenarios {
            let fit = contenders.iter().copied().filter(|it| it.unfit_for(scenario).is_none());
            let servers: Vec<_> = fit.map(|contender| (contender, Vec::new())).collect();
            if !servers.is_empty() {
                measured.push(self.measure(scenario, servers)?);
            }
        }
        Ok(measured)
    }

    /// Puts the load on each server in turn, as often as there are repetitions.
    #[allow(clippy::print_stderr, reason = "whoever waits wants to see how far it is")]
    fn measure(
        &self,
        scenario: &'static Scenario,
        mut servers: Vec<(Contender, Vec<Sample>)>,
    ) -> Result<Measured> {
        for repetition in 0..self.repetitions {
            for index in repetitions::order(repetition, servers.len()) {
                let (contender, samples) = &mut servers[index];
                samples.push(self.sample(*contender, scenario)?);
            }
            let rates = servers.iter().filter_map(|(contender, samples)| {
                Some(format!("{} {:.0}", contender.name(), samples.last()?.run.result.rate))
            });
            let rates = rates.collect::<Vec<_>>().join(", ");
            let (number, title) = (repetition + 1, scenario.title);
            eprintln!("{title}, {number} of {}: {rates} echoes/s", self.repetitions);
        }
        Ok(Measured { scenario, servers })
    }

    fn sample(&self, contender: Contender, scenario: &Scenario) -> Result<Sample> {
        let sample = Sample::take(&self.pair, self.pinning, contender, scenario, self.length);
        // A Ctrl-C reaches the programs as well; what they say then is beside the point.
        ensure!(!self.interrupted.load(Ordering::Relaxed), "interrupted");
        sample.with_context(|| format!("{} under {}", contender.name(), scenario.title))
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
             after {warmup:?} of warm-up, client and server with `--threads 1`. Behind × stands how many times the\n\
             figure of the load's first server it is: the median of the ratios within a repetition. Latency is\n\
             that of echoes; connecting is not part of it.\n"
        )
    }
}
