//! What one peer of an echo server may see: the executable specification.
//!
//! A [`Model`] is told what the peer has done — the bytes that it sent, its FIN, the moment of a stop — and says
//! which bytes may come back, how many of them must, and how the connection may end. It has no sockets and no
//! clock: the driver says what the time and the limits allow. And it shares no code with the server or with
//! echo-proto, because an oracle must not share code with what it judges.

/// Where messages end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// There are none: every byte is echoed.
    #[default]
    Raw,
    /// With a `\n`.
    Line,
    /// After as many bytes as four bytes, big-endian, say.
    Length,
}

/// How a server ends a connection after so many bytes of the echo, when it is told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// FIN.
    Close,
    /// RST.
    Reset,
    /// Not at all: it only stops reading and writing.
    Stall,
}

/// What of the server's configuration can be seen in the bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Where messages end.
    pub framing: Framing,
    /// The longest message, without its line break or count.
    pub max_frame: usize,
    /// Bytes of the echo after which it ends, and how.
    pub termination: Option<(usize, Termination)>,
    /// Bytes may be changed, but none is lost or added.
    pub corrupts: bool,
}

/// Where a connection is, as its peer sees it when nothing is under way any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Still open.
    Open,
    /// The server's FIN came.
    Eof,
    /// RST came.
    Reset,
}

/// One connection, from its peer's side.
#[derive(Clone, Debug)]
pub struct Model {
    rules: Rules,
    /// All that the peer has sent.
    wire: Vec<u8>,
    /// How many bytes of that are whole messages before the first one that is too long.
    whole: usize,
    /// A message was too long.
    broken: bool,
    fin: bool,
    /// Bytes of `wire` that the server has to take; beyond them it may end the connection.
    owed: usize,
    stopped: bool,
    may_refuse: bool,
    /// A deadline may have ended the connection, whatever else holds.
    may_expire: bool,
}

impl Model {
    /// A connection that was just made.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            wire: Vec::new(),
            whole: 0,
            broken: false,
            fin: false,
            owed: usize::MAX,
            stopped: false,
            may_refuse: false,
            may_expire: false,
        }
    }

    /// The peer has sent these bytes.
    pub fn sent(&mut self, bytes: &[u8]) {
        if self.may_expire {
            // Where the server has closed the connection, its system answers with RST, which destroys what is on
            // its way.
            self.owed = 0;
        }
        self.wire.extend_from_slice(bytes);
        (self.whole, self.broken) = self.rules.whole_messages(&self.wire, self.whole);
    }

    /// The peer has sent FIN.
    pub fn finished(&mut self) {
        self.fin = true;
    }

    /// The server was told to stop when its system had received so many bytes. It may echo later ones, too.
    pub fn stopped(&mut self, received: usize) {
        self.owed = self.owed.min(received);
        self.stopped = true;
    }

    /// As many connections as the server may have can have been there before this one.
    pub fn may_be_refused(&mut self) {
        self.may_refuse = true;
    }

    /// The peer was silent for the idle timeout: what it sent before that has to be echoed. If it sends more,
    /// all that is on its way may be lost.
    pub fn may_be_idle(&mut self) {
        self.owed = self.owed.min(self.wire.len());
        self.may_expire = true;
    }

    /// The peer has read nothing for the write timeout: all that is owed to it may be lost.
    pub fn may_be_stalled(&mut self) {
        self.owed = 0;
        self.may_expire = true;
    }

    /// How many bytes the peer has sent.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        self.wire.len()
    }

    /// The only bytes that may come back: what comes is always a prefix of them.
    #[must_use]
    pub fn echo(&self) -> &[u8] {
        &self.wire[..self.cut(self.whole)]
    }

    /// How many of them must come, sooner or later, if the peer reads.
    #[must_use]
    pub fn must(&self) -> usize {
        if self.may_refuse {
            return 0;
        }
        match self.owed.min(self.wire.len()) {
            owed if owed == self.wire.len() => self.echo().len(),
            owed => self.cut(self.rules.whole_messages(&self.wire[..owed], 0).0),
        }
    }

    /// Whether the server takes what the peer sends next.
    #[must_use]
    pub fn takes_input(&self) -> bool {
        let ended = self.rules.termination.is_some_and(|(at, _)| at <= self.whole);
        !(self.broken || self.stopped || self.may_refuse || self.may_expire || ended)
    }

    /// Whether these bytes may come as the ones from `offset` on.
    #[must_use]
    pub fn allows(&self, offset: usize, bytes: &[u8]) -> bool {
        let expected = self.echo().get(offset..offset + bytes.len());
        expected.is_some_and(|expected| self.rules.corrupts || expected == bytes)
    }

    /// Whether the connection may be so when everything has come to rest and the peer has read all there was,
    /// `received` bytes.
    #[must_use]
    pub fn may_end(&self, end: End, received: usize) -> bool {
        let early = self.may_expire || self.may_refuse && received == 0;
        let late = self.rules.termination.filter(|(at, _)| *at <= self.whole);
        let own = match late {
            // What it would still have done is cut short by the stop.
            Some((_, Termination::Stall)) if self.stopped => Some(End::Eof),
            Some((_, Termination::Stall)) => Some(End::Open),
            Some((_, Termination::Close)) => Some(End::Eof),
            Some((_, Termination::Reset)) if self.stopped => None,
            Some((_, Termination::Reset)) => Some(End::Reset),
            None if self.broken || self.fin || self.stopped => Some(End::Eof),
            None => Some(End::Open),
        };
        own.is_none_or(|own| own == end) && (own.is_some() || end != End::Open)
            || early && end != End::Open
    }

    fn cut(&self, length: usize) -> usize {
        self.rules.termination.map_or(length, |(at, _)| at.min(length))
    }
}

impl Rules {
    /// Where in `wire` the last whole message ends, given that one ends at `from`; and whether the next is too
    /// long, as soon as that is certain.
    fn whole_messages(&self, wire: &[u8], from: usize) -> (usize, bool) {
        let mut end = from;
        loop {
            let rest = &wire[end..];
            let length = match self.framing {
                Framing::Raw => return (wire.len(), false),
                Framing::Line => {
                    let payload = rest.iter().take(self.max_frame + 1).position(|&b| b == b'\n');
                    let Some(payload) = payload else {
                        return (end, rest.len() > self.max_frame);
                    };
                    payload + 1
                }
                Framing::Length => {
                    let Some((count, _)) = rest.split_first_chunk() else { return (end, false) };
                    let payload = u32::from_be_bytes(*count) as usize;
                    if payload > self.max_frame {
                        return (end, true);
                    }
                    count.len() + payload
                }
            };
            if length > rest.len() {
                return (end, false);
            }
            end += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(framing: Framing, max_frame: usize, wire: &[u8]) -> Model {
        let mut model = Model::new(Rules { framing, max_frame, ..Rules::default() });
        // However it is cut, the same comes back.
        wire.iter().for_each(|byte| model.sent(&[*byte]));
        let mut at_once = Model::new(model.rules);
        at_once.sent(wire);
        assert_eq!((at_once.echo(), at_once.broken), (model.echo(), model.broken));
        model
    }

    fn ends(model: &Model, received: usize) -> Vec<End> {
        let all = [End::Open, End::Eof, End::Reset];
        all.into_iter().filter(|end| model.may_end(*end, received)).collect()
    }

    #[test]
    fn raw_bytes_all_come_back() {
        let mut model = after(Framing::Raw, 1, b"any\nthing");
        assert_eq!((model.echo(), model.must()), (&b"any\nthing"[..], 9));
        assert_eq!(ends(&model, 9), [End::Open]);
        model.finished();
        assert_eq!(ends(&model, 9), [End::Eof]);
        assert!(model.allows(4, b"thing") && model.allows(9, b""));
        assert!(!model.allows(4, b"thin!") && !model.allows(4, b"things"));
    }

    #[test]
    fn only_whole_lines_come_back_and_none_behind_one_that_is_too_long() {
        let echo = |wire: &[u8]| {
            let model = after(Framing::Line, 4, wire);
            (model.echo().to_vec(), model.broken)
        };
        assert_eq!(echo(b"a\nb"), (b"a\n".to_vec(), false));
        assert_eq!(echo(b"1234\n\n"), (b"1234\n\n".to_vec(), false));
        assert_eq!(echo(b"a\n1234"), (b"a\n".to_vec(), false));
        assert_eq!(echo(b"a\n12345"), (b"a\n".to_vec(), true));
        assert_eq!(echo(b"a\n12345\nx\n"), (b"a\n".to_vec(), true));
    }

    #[test]
    fn only_whole_counted_messages_come_back() {
        let echo = |wire: &[u8]| {
            let model = after(Framing::Length, 4, wire);
            (model.echo().len(), model.broken)
        };
        assert_eq!(echo(b"\0\0\0\0\0\0\0\x01x\0\0"), (9, false));
        assert_eq!(echo(b"\0\0\0\x01x\0\0\0\x041234"), (13, false));
        assert_eq!(echo(b"\0\0\0\x01x\0\0\0\x05"), (5, true));
        assert_eq!(echo(b"\xff\xff\xff\xff....\0\0\0\0"), (0, true));
    }

    #[test]
    fn a_broken_connection_ends_with_fin_and_so_does_a_stopped_one() {
        assert_eq!(ends(&after(Framing::Line, 1, b"12"), 0), [End::Eof]);
        let mut model = after(Framing::Line, 4, b"a\nbb\ncc\n");
        model.stopped(4);
        assert_eq!((model.must(), model.echo().len()), (2, 8), "of `a` and half of `bb`");
        assert_eq!(ends(&model, 2), [End::Eof]);
    }

    #[test]
    fn a_silent_peer_has_what_it_sent_before() {
        let mut model = after(Framing::Raw, 0, b"before");
        model.may_be_idle();
        assert_eq!((model.must(), model.echo()), (6, &b"before"[..]));
        model.sent(b"after");
        assert_eq!((model.must(), model.echo()), (0, &b"beforeafter"[..]));
        assert_eq!(ends(&model, 6), [End::Open, End::Eof, End::Reset]);
    }

    #[test]
    fn a_peer_that_takes_nothing_may_lose_everything() {
        let mut model = after(Framing::Raw, 0, b"before");
        model.may_be_stalled();
        assert_eq!((model.must(), model.echo()), (0, &b"before"[..]));
    }

    #[test]
    fn a_refused_peer_gets_nothing_and_who_got_something_was_not_refused() {
        let mut model = after(Framing::Raw, 0, b"hello");
        model.may_be_refused();
        assert_eq!(model.must(), 0);
        assert_eq!(ends(&model, 0), [End::Open, End::Eof, End::Reset]);
        assert_eq!(ends(&model, 1), [End::Open]);
    }

    #[test]
    fn a_termination_cuts_the_echo_and_says_how_it_ends() {
        for (termination, end) in [
            (Termination::Close, End::Eof),
            (Termination::Reset, End::Reset),
            (Termination::Stall, End::Open),
        ] {
            let rules = Rules { termination: Some((3, termination)), ..Rules::default() };
            let mut model = Model::new(rules);
            model.sent(b"12");
            assert_eq!((model.must(), ends(&model, 2)), (2, vec![End::Open]));
            model.sent(b"345");
            assert_eq!((model.echo(), model.must()), (&b"123"[..], 3));
            assert_eq!(ends(&model, 3), [end]);
        }
    }

    #[test]
    fn corrupted_bytes_are_as_many_as_were_sent() {
        let mut model = Model::new(Rules { corrupts: true, ..Rules::default() });
        model.sent(b"abc");
        assert!(model.allows(0, b"xyz") && !model.allows(1, b"xyz"));
    }
}
