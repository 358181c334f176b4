//! What peers do: random, to be shrunk and to be read.

use std::fmt;

use echo_test_support::model::Framing;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::Union;

use super::case::Case;

/// The most connections of a history.
const PEERS: usize = 4;
/// The most parts that a history is drawn from; some are several steps.
const PARTS: usize = 16;
/// More than a connection may owe.
const LARGE: usize = 300_000;
/// What the ring receives at once.
const RING_BUFFER: usize = 4160;
/// Around the borders of buffers, ours and the server's.
const BORDERS: [usize; 16] = [
    1,
    2,
    99,
    100,
    101,
    1023,
    1024,
    1025,
    2047,
    2048,
    4096,
    RING_BUFFER,
    16_384,
    65_535,
    65_536,
    65_537,
];

/// Some connections and what happens, step by step.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) peers: Vec<Behaviour>,
    pub(super) steps: Vec<Step>,
}

/// How a peer's socket is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Behaviour {
    /// With a receive buffer of a few KiB.
    pub(super) little_room: bool,
    /// With segments of half a KiB, so that the server's send buffer is small, too.
    pub(super) short_segments: bool,
    pub(super) little_to_send: bool,
    pub(super) nodelay: bool,
}

/// One thing that happens. A peer is a place in [`History::peers`], modulo their number; it connects when it is
/// first named.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Sends so many bytes of whole messages, each of up to `frame` bytes.
    Send {
        peer: usize,
        size: usize,
        frame: usize,
    },
    /// Sends so many bytes of whatever comes.
    Nonsense {
        peer: usize,
        size: usize,
    },
    /// Sends a message that is so many bytes too long.
    TooLong {
        peer: usize,
        excess: usize,
    },
    /// Sends the first half of a message.
    Half {
        peer: usize,
        size: usize,
    },
    /// Sends a byte as urgent.
    Urgent {
        peer: usize,
    },
    /// Sends ten small messages, each when the one before has come back.
    Warm {
        peer: usize,
    },
    /// Stops reading and sends until nothing more is taken.
    Fill {
        peer: usize,
    },
    Pause {
        peer: usize,
    },
    Resume {
        peer: usize,
    },
    /// Reads so many bytes while it has stopped reading.
    Read {
        peer: usize,
        size: usize,
    },
    HalfClose {
        peer: usize,
    },
    Reset {
        peer: usize,
    },
    /// Waits until those that read have all that they must get.
    WaitUntilQuiet,
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
    /// Lets time pass.
    Pass {
        ms: u64,
    },
    /// SIGTERM.
    Stop,
}

/// Random histories for a configuration.
pub(super) fn histories(case: &'static Case) -> impl Strategy<Value = History> {
    let flags = || (any::<bool>(), any::<bool>());
    let room = prop_oneof![Just((true, true)), flags()];
    let behaviour = (room, flags()).prop_map(|(room, flags)| Behaviour {
        little_room: room.0,
        short_segments: room.1,
        little_to_send: flags.0,
        nodelay: flags.1,
    });
    (vec(behaviour, 1..=PEERS), vec(part(case), 1..=PARTS))
        .prop_map(|(peers, parts)| History { peers, steps: parts.concat() })
}

/// A step, or some that make something rare likely.
fn part(case: &'static Case) -> impl Strategy<Value = Vec<Step>> {
    of_those_with_weight(vec![
        (24, step(case).prop_map(|step| vec![step]).boxed()),
        (4, burst_at_a_full_window(case).boxed()),
        (1, burst_at_a_frozen_server(case).boxed()),
        (u32::from(case.largest >= LARGE), large_bursts().boxed()),
        (u32::from(case.idle_timeout.is_some()), frozen_past_the_timeout(case).boxed()),
    ])
}

fn step(case: &'static Case) -> impl Strategy<Value = Step> {
    let timed = case.idle_timeout.is_some() || case.write_timeout.is_some();
    let (framed, urgent) = (framed(case), u32::from(case.urgent));
    let peer = || 0..PEERS;
    let sized = |make: fn(usize, usize) -> Step| {
        (peer(), size(case)).prop_map(move |(peer, size)| make(peer, size)).boxed()
    };
    let one = |make: fn(usize) -> Step| peer().prop_map(make).boxed();
    // A stop takes a server with it, so it is rare.
    let stop = prop::bool::weighted(0.15)
        .prop_map(|stop| if stop { Step::Stop } else { Step::WaitUntilQuiet });
    let weighted = vec![
        (24, send(case).boxed()),
        (2 * framed, sized(|peer, size| Step::Nonsense { peer, size })),
        (2 * framed, too_long().boxed()),
        (2 * framed, sized(|peer, size| Step::Half { peer, size })),
        (4 * urgent, one(|peer| Step::Urgent { peer })),
        (4, one(|peer| Step::Warm { peer })),
        (1, one(|peer| Step::Fill { peer })),
        (5, one(|peer| Step::Pause { peer })),
        (5, one(|peer| Step::Resume { peer })),
        (3, sized(|peer, size| Step::Read { peer, size })),
        (3, one(|peer| Step::HalfClose { peer })),
        (2, one(|peer| Step::Reset { peer })),
        (6, Just(Step::WaitUntilQuiet).boxed()),
        (1, Just(Step::Freeze).boxed()),
        (1, Just(Step::Thaw).boxed()),
        (u32::from(timed), (1..250_u64).prop_map(|ms| Step::Pass { ms }).boxed()),
        (1, stop.boxed()),
    ];
    of_those_with_weight(weighted)
}

/// A weight of 0 is none that proptest takes.
fn of_those_with_weight<T: fmt::Debug>(
    all: Vec<(u32, BoxedStrategy<T>)>,
) -> impl Strategy<Value = T> {
    Union::new_weighted(all.into_iter().filter(|(weight, _)| *weight > 0).collect())
}

fn framed(case: &Case) -> u32 {
    u32::from(case.rules.framing != Framing::Raw)
}

fn size(case: &Case) -> impl Strategy<Value = usize> + use<> {
    let largest = case.largest;
    let sizes = prop_oneof![
        8 => 1..200_usize,
        8 => select(&BORDERS[..]),
        6 => 1..5000_usize,
        2 => 1..70_000_usize,
        1 => 1..300_000_usize,
    ];
    sizes.prop_map(move |size| size.min(largest))
}

fn send(case: &Case) -> impl Strategy<Value = Step> + use<> {
    let frame = prop_oneof![1..200_usize, select(&BORDERS[..])];
    (0..PEERS, size(case), frame).prop_map(|(peer, size, frame)| Step::Send { peer, size, frame })
}

fn too_long() -> impl Strategy<Value = Step> {
    let excess = prop_oneof![1..5000_usize, select(&BORDERS[..])];
    (0..PEERS, excess).prop_map(|(peer, excess)| Step::TooLong { peer, excess })
}

/// A peer is used to small messages, so that the ring receives ahead; then it stops reading, its window is
/// closed or nearly so, and a burst comes while the server sleeps.
fn burst_at_a_full_window(case: &'static Case) -> impl Strategy<Value = Vec<Step>> {
    let small = || (200..6000_usize, 1..200_usize);
    // Its end is near that of a buffer of the ring, so that a message goes on in the next.
    let buffers = (5..15_usize, 1..200_usize).prop_map(|(count, rest)| count * RING_BUFFER - rest);
    let more_than_there_is_room_for = (buffers, 1..200_usize);
    let before = prop_oneof![1 => small(), 2 => more_than_there_is_room_for];
    let broken = (any::<bool>(), 1..6000_usize);
    let ahead = prop_oneof![Just(0), 0..20_usize];
    (0..PEERS, ahead, before, broken, small()).prop_map(
        move |(peer, ahead, before, (breaks, excess), after)| {
            let send = |(size, frame): (usize, usize)| Step::Send {
                peer,
                size: size.min(case.largest),
                frame,
            };
            let mut steps = vec![Step::Warm { peer }, Step::Pause { peer }];
            // Not all at once, or the ring would not receive ahead any more.
            steps.extend((0..ahead).map(|_| send((1000, 64))));
            steps.extend([Step::Freeze, send(before)]);
            if breaks && framed(case) > 0 {
                steps.push(Step::TooLong { peer, excess });
            }
            steps.extend([send(after), Step::Thaw]);
            steps
        },
    )
}

/// All peers have been fast, for which the server's system has given them large receive buffers; they stop reading,
/// and more comes at once than the server may hold.
fn large_bursts() -> impl Strategy<Value = Vec<Step>> {
    (1..=PEERS, 1..2000_usize).prop_map(|(count, frame)| {
        let of_each = |step: &dyn Fn(usize) -> Step| (0..count).map(step).collect::<Vec<_>>();
        let large = of_each(&|peer| Step::Send { peer, size: LARGE, frame });
        let steps = [
            large.clone(),
            vec![Step::WaitUntilQuiet],
            of_each(&|peer| Step::Warm { peer }),
            of_each(&|peer| Step::Pause { peer }),
            vec![Step::Freeze],
            large,
            vec![Step::Thaw],
            of_each(&|peer| Step::Fill { peer }),
        ];
        steps.concat()
    })
}

/// The same with a reader and no more than a burst.
fn burst_at_a_frozen_server(case: &'static Case) -> impl Strategy<Value = Vec<Step>> {
    vec(step(case).prop_filter("no time", |step| !matches!(step, Step::Pass { .. })), 1..6)
        .prop_map(|steps| {
            let frozen = [vec![Step::Freeze], steps, vec![Step::Thaw]];
            frozen.concat()
        })
}

/// Input waits for a server that sleeps longer than its idle timeout.
fn frozen_past_the_timeout(case: &'static Case) -> impl Strategy<Value = Vec<Step>> {
    let step = (send(case), any::<bool>(), 160..300_u64);
    step.prop_map(|(send, warm, ms)| {
        let Step::Send { peer, .. } = send else { unreachable!("`send` makes no other") };
        let first = if warm { Step::Warm { peer } } else { Step::WaitUntilQuiet };
        vec![first, Step::Freeze, send, Step::Pass { ms }, Step::Thaw, Step::WaitUntilQuiet]
    })
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, behaviour) in self.peers.iter().enumerate() {
            let Behaviour { little_room, short_segments, little_to_send, nodelay } = behaviour;
            let flags = [
                (*little_room, " little-room"),
                (*short_segments, " short-segments"),
                (*little_to_send, " small-send-buffer"),
                (*nodelay, " nodelay"),
            ];
            let flags = flags.iter().filter(|(set, _)| *set).map(|(_, name)| *name);
            writeln!(f, "    peer {number}:{}", flags.collect::<String>())?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "    {:2} {step:?}", number + 1)?;
        }
        Ok(())
    }
}
