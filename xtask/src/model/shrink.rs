//! Histories from seeds, and the smallest that still fails.

use std::time::{Duration, Instant};

use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::case::Case;
use super::history::{History, histories};

/// How long to look for a smaller one.
const TIME: Duration = Duration::from_secs(60);
/// How often something that has failed once is tried: what it depends on may be left to chance.
const TRIES: usize = 4;

/// A history and the ways to make it smaller.
pub(super) struct SampledHistory(<BoxedStrategy<History> as Strategy>::Tree);

/// The history that follows from a seed.
pub(super) fn draw(case: &'static Case, seed: u64) -> SampledHistory {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let tree = histories(case).boxed().new_tree(&mut runner);
    SampledHistory(tree.expect("no part of a history is rejected for ever"))
}

impl SampledHistory {
    pub(super) fn history(&self) -> History {
        self.0.current()
    }
}

/// The smallest history found that still fails, and its error; `None` if the first does not fail again.
pub(super) fn shrink(
    SampledHistory(mut tree): SampledHistory,
    fails: impl Fn(&History) -> Option<String>,
) -> Option<(History, String)> {
    let fails = |history: &History| (0..TRIES).find_map(|_| fails(history));
    let started = Instant::now();
    let mut smallest = tree.current();
    let mut error = fails(&smallest)?;
    let mut simpler = tree.simplify();
    while simpler && started.elapsed() < TIME {
        let history = tree.current();
        simpler = if let Some(again) = fails(&history) {
            (smallest, error) = (history, again);
            tree.simplify()
        } else {
            tree.complicate()
        };
    }
    // A part that it was drawn from may have steps that do not matter.
    let mut step = smallest.steps.len();
    while step > 0 && started.elapsed() < 2 * TIME {
        step -= 1;
        let mut history = smallest.clone();
        history.steps.remove(step);
        if let Some(again) = fails(&history) {
            (smallest, error) = (history, again);
        }
    }
    Some((smallest, error))
}
