//! One run, or several of the same workload.

use std::time::Duration;

use echo_client::bench::Workload;
use echo_client::run::{Metrics, Run};
use echo_client::run_file::RunFile;

use super::{Finished, Session};

/// How long to wait between runs.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the workload as often as requested. An interruption or an error keeps the runs that are
/// complete.
pub(super) fn run(session: &mut Session<'_>) -> anyhow::Result<Finished> {
    let repeat = session.options.repeat;
    let pause = session.options.pause.unwrap_or(PAUSE);
    let (mut runs, mut failure): (Vec<Run>, _) = (Vec::new(), None);
    let mut is_whole = true;
    for index in 0..repeat {
        if index > 0 {
            session.pause(pause);
        }
        if session.is_stopped() {
            break;
        }
        // Other due times in each run, and the same in a repetition of all.
        let seed = session.workload.seed.wrapping_add(index.into());
        let workload = Workload { seed, ..session.workload.clone() };
        let title =
            if repeat > 1 { format!("run {} of {repeat}", index + 1) } else { String::new() };
        match session.measure(&workload, &title) {
            Ok(run) if runs.is_empty() || !session.is_stopped() => {
                is_whole = !session.is_stopped();
                runs.push(run);
            }
            // A part of a run cannot be compared with the others.
            Ok(_) => break,
            Err(error) if runs.is_empty() => return Err(error.into()),
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    let partial = session.is_stopped().then(|| match (repeat, runs.len()) {
        (1, _) => String::new(),
        _ if !is_whole => "; a part of the first run is reported".to_owned(),
        (_, complete) => format!("; {complete} of {repeat} runs are complete"),
    });
    let code = u8::from(runs.iter().any(|run| !is_good(run)));
    let results: Vec<&Metrics> = runs.iter().map(|run| &run.result).collect();
    let gates = session.options.fail_if.iter().map(|gate| gate.check(&results)).collect();
    let mut file = RunFile { gates, ..RunFile::of(runs) };
    file.settings.repeat = repeat;
    file.settings.pause_s = (repeat > 1).then_some(pause.as_secs_f64());
    Ok(Finished { file, code, failure, partial })
}

/// Whether everything that was requested came back. What was not measured is not known to be good.
fn is_good(Run { settings, result, .. }: &Run) -> bool {
    let is_short = settings.messages.is_some() && result.unsent > 0;
    result.loss == 0 && result.failed == 0 && result.latency.count > 0 && !is_short
}
