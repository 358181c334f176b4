//! Task work: operations that were woken complete, or go on waiting.

use echo_ring::UserData;

use super::kernel::{ALWAYS, Completed, Kind, Op};
use crate::descriptor::Object;
use crate::world::{World, trace};

impl World {
    /// Runs the task work of operations that were woken, in any order, or of some of them.
    pub(super) fn run_task_work(&mut self, memory: &mut [u8]) {
        let mut left = self.ring.ops.iter().filter(|op| op.fired).count();
        while left > 0 {
            let nth = self.rng.usize(..left);
            let Some(index) =
                (0..self.ring.ops.len()).filter(|at| self.ring.ops[*at].fired).nth(nth)
            else {
                return;
            };
            self.ring.ops[index].fired = false;
            self.steps += 1;
            let before = self.ring.completed.len();
            if self.run_op(index, memory) {
                let object = self.ring.ops.swap_remove(index).object;
                self.release(object);
            }
            left = self.ring.ops.iter().filter(|op| op.fired).count();
            // At most so many are run in one call (IO_LOCAL_TW_DEFAULT_MAX); others follow in the next.
            if self.ring.completed.len() > before && self.liberty() {
                return;
            }
        }
    }

    /// Runs an operation. Returns whether it has ended.
    fn run_op(&mut self, index: usize, memory: &mut [u8]) -> bool {
        let Op { user_data, object, kind, is_cancelled, is_last, .. } = self.ring.ops[index];
        let last = |result| Completed { user_data, result, buffer: None, more: false };
        if is_cancelled && !(matches!(kind, Kind::Receive) && self.liberty()) {
            self.ring.complete(last(-libc::ECANCELED));
            return true;
        }
        match kind {
            Kind::Poll { events, multishot } => {
                if self.fails() && matches!(object, Object::Socket(_)) {
                    self.excuse(object);
                    self.ring.complete(last(-libc::ENOMEM));
                    return true;
                }
                let mask = self.mask(object) & (events | ALWAYS);
                if mask == 0 && !is_last {
                    return false;
                }
                // A multishot poll ends when its completion does not fit into the queue, or for lack of memory.
                let more = multishot && self.ring.has_room() && !is_last && !self.liberty();
                self.ring.complete(Completed {
                    user_data,
                    result: mask as i32,
                    buffer: None,
                    more,
                });
                !more
            }
            _ => {
                let Object::Socket(socket) = object else { panic!("a receive from no socket") };
                self.run_receive(socket, user_data, is_cancelled, is_last, memory)
            }
        }
    }

    /// Receives until the socket is empty. Returns whether the operation has ended.
    fn run_receive(
        &mut self,
        socket: usize,
        user_data: UserData,
        is_cancelled: bool,
        is_last: bool,
        memory: &mut [u8],
    ) -> bool {
        let last = |result| Completed { user_data, result, buffer: None, more: false };
        let size = self.ring.setup.map_or(0, |setup| setup.buffer_size);
        loop {
            let Some(buffer) = self.ring.free.pop_front() else {
                self.ring.complete(last(-libc::ENOBUFS));
                return true;
            };
            let result = match self.failure(socket) {
                // ENOBUFS would say that there is no buffer.
                Some(libc::ENOBUFS) => Err(libc::ENOMEM),
                Some(error) => Err(error),
                None => self.receive(socket, size),
            };
            trace!(self, "receive into buffer {buffer} from peer {socket}: {result:?}");
            let (start, count) = match result {
                Ok((start, count @ 1..)) => (start, count),
                other => {
                    // Unused: it stays the next one.
                    self.ring.free.push_front(buffer);
                    let result = match other {
                        Err(libc::EAGAIN) if is_cancelled || is_last => -libc::ECANCELED,
                        Err(libc::EAGAIN) => return false,
                        Err(error) => -error,
                        Ok(_) => 0,
                    };
                    self.ring.complete(last(result));
                    return true;
                }
            };
            let at = usize::from(buffer) * size;
            memory[at..at + count]
                .copy_from_slice(&self.sockets[socket].wire[start..start + count]);
            // It ends when its completion does not fit into the queue. One that is cancelled may hold data
            // (axboe/liburing#1422).
            let ends = is_cancelled
                || is_last
                || !self.ring.has_room()
                || self.liberty() && self.rng.u8(..) < 64;
            let completed =
                Completed { user_data, result: count as i32, buffer: Some(buffer), more: !ends };
            self.ring.complete(completed);
            if ends {
                return true;
            }
            if self.liberty() {
                // A retry limit: it goes on later, with its task work pending.
                if let Some(op) = self.ring.ops.iter_mut().find(|op| op.user_data == user_data) {
                    op.fired = true;
                }
                return false;
            }
        }
    }

    fn excuse(&mut self, object: Object) {
        if let Object::Socket(socket) = object {
            self.sockets[socket].excuse = Some("an operation failed for lack of memory");
        }
    }
}
