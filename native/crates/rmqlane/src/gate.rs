//! Replies that wait for a log position: the twin of `pyromq.broker.commits.CommitGate`.
//!
//! Positions of one gate rise, so what waits is a queue, and letting go looks only at its head. The
//! bytes of the replies lie one behind the other in one buffer, in the same order.

use std::collections::VecDeque;

use rmqwire::frame::SerializeType;

/// Reply bytes let go that a buffer may carry along before it is put together again.
const WASTE_MAX: usize = 1 << 20;

/// One send that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Log position its promise ends at.
    pub end: u64,
    pub connection: u32,
    pub topic: u32,
    pub opaque: i32,
    pub form: SerializeType,
    /// Messages stored, and the bytes of their records.
    pub messages: u32,
    pub bytes: u64,
    /// Size of its reply; 0: its sender wants none.
    pub reply_size: u32,
}

/// How many sends were released so many ms after the end of their turn.
pub type Acknowledged = Vec<(u64, i64)>;

#[derive(Default)]
pub struct Gate {
    commit: u64,
    held: VecDeque<Held>,
    replies: Vec<u8>,
    /// Where the first reply that is still held begins.
    replies_from: usize,
    /// Position of a turn's last send, and when that turn ended.
    marks: VecDeque<(u64, i64)>,
}

impl Gate {
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When the turn of what waits longest ended; `None` if nothing waits since a turn's end.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        self.marks.front().map(|&(_, since_ms)| since_ms)
    }

    /// Keeps the send, and the reply that `write` adds, until its position is covered.
    pub fn hold(&mut self, mut held: Held, write: impl FnOnce(&mut Vec<u8>)) {
        let before = self.replies.len();
        write(&mut self.replies);
        held.reply_size = (self.replies.len() - before) as u32;
        debug_assert!(self.held.back().is_none_or(|last| last.end <= held.end));
        self.held.push_back(held);
    }

    /// Ends a turn: what came in it waits since now.
    pub fn mark(&mut self, now_ms: i64) {
        let Some(last) = self.held.back() else {
            return;
        };
        if self
            .marks
            .back()
            .is_none_or(|&(position, _)| position < last.end)
        {
            self.marks.push_back((last.end, now_ms));
        }
    }

    /// The commit came so far: hands over, in order, everything it covers.
    pub fn release(
        &mut self,
        commit: u64,
        now_ms: i64,
        acknowledged: &mut Acknowledged,
        mut go: impl FnMut(&Held, &[u8]),
    ) {
        if commit <= self.commit {
            return;
        }
        self.commit = commit;
        while let Some(&(position, since_ms)) = self.marks.front() {
            if position > commit {
                self.let_go(commit, now_ms - since_ms, acknowledged, &mut go);
                return;
            }
            self.marks.pop_front();
            self.let_go(position, now_ms - since_ms, acknowledged, &mut go);
        }
        self.let_go(commit, 0, acknowledged, &mut go);
    }

    fn let_go(
        &mut self,
        position: u64,
        elapsed_ms: i64,
        acknowledged: &mut Acknowledged,
        go: &mut impl FnMut(&Held, &[u8]),
    ) {
        let count = self.take_covered(position, go);
        if count == 0 {
            return;
        }
        match acknowledged.iter_mut().find(|(_, ms)| *ms == elapsed_ms) {
            Some((known, _)) => *known += count,
            None => acknowledged.push((count, elapsed_ms)),
        }
    }

    fn take_covered(&mut self, position: u64, go: &mut impl FnMut(&Held, &[u8])) -> u64 {
        let mut count = 0;
        while let Some(held) = self
            .held
            .front()
            .copied()
            .filter(|held| held.end <= position)
        {
            self.held.pop_front();
            let to = self.replies_from + held.reply_size as usize;
            go(&held, &self.replies[self.replies_from..to]);
            self.replies_from = to;
            count += 1;
        }
        self.tidy();
        count
    }

    /// What lies behind `position` will never be committed: hands it over, in order.
    pub fn fail_beyond(&mut self, position: u64, mut fail: impl FnMut(&Held)) {
        let keep = self.held.partition_point(|held| held.end <= position);
        let mut gone = 0;
        for held in self.held.drain(keep..) {
            gone += held.reply_size as usize;
            fail(&held);
        }
        self.replies.truncate(self.replies.len() - gone);
        while self.marks.back().is_some_and(|&(end, _)| end > position) {
            self.marks.pop_back();
        }
        self.tidy();
    }

    /// Hands over, without a promise, what has waited for the whole timeout.
    pub fn expire(&mut self, now_ms: i64, timeout_ms: i64, mut go: impl FnMut(&Held, &[u8])) {
        while let Some(&(position, since_ms)) = self.marks.front() {
            if now_ms - since_ms < timeout_ms {
                return;
            }
            self.marks.pop_front();
            self.take_covered(position, &mut go);
        }
    }

    fn tidy(&mut self) {
        if self.held.is_empty() {
            self.replies.clear();
            self.replies.shrink_to(WASTE_MAX);
            self.replies_from = 0;
        } else if self.replies_from > WASTE_MAX {
            self.replies.drain(..self.replies_from);
            self.replies_from = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(ends: &[u64]) -> Gate {
        let mut gate = Gate::default();
        for &end in ends {
            gate.hold(held(end), |out| out.extend_from_slice(&end.to_be_bytes()));
        }
        gate
    }

    fn held(end: u64) -> Held {
        Held {
            end,
            connection: 0,
            topic: 0,
            opaque: end as i32,
            form: SerializeType::Json,
            messages: 1,
            bytes: 10,
            reply_size: 0,
        }
    }

    fn release(gate: &mut Gate, commit: u64, now_ms: i64) -> (Vec<u64>, Acknowledged) {
        let mut gone = Vec::new();
        let mut acknowledged = Vec::new();
        gate.release(commit, now_ms, &mut acknowledged, |held, reply| {
            assert_eq!(reply, held.end.to_be_bytes());
            gone.push(held.end);
        });
        (gone, acknowledged)
    }

    #[test]
    fn covered_replies_go_in_order_with_their_own_bytes() {
        let mut gate = gate(&[10, 20, 30]);
        gate.mark(5);
        assert_eq!(release(&mut gate, 20, 8), (vec![10, 20], vec![(2, 3)]));
        gate.hold(held(40), |out| out.extend_from_slice(&40u64.to_be_bytes()));
        gate.mark(9);
        assert_eq!(
            release(&mut gate, 40, 10),
            (vec![30, 40], vec![(1, 5), (1, 1)])
        );
        assert!(gate.is_empty());
        assert_eq!(gate.replies.len(), 0);
    }

    #[test]
    fn what_is_lost_fails_in_order_and_leaves_the_rest() {
        let mut gate = gate(&[10, 20, 30]);
        gate.mark(5);
        let mut failed = Vec::new();
        gate.fail_beyond(10, |held| failed.push(held.end));
        assert_eq!(failed, [20, 30]);
        // Positions fall back after a failure and are given again.
        gate.hold(held(18), |out| out.extend_from_slice(&18u64.to_be_bytes()));
        gate.mark(6);
        assert_eq!(release(&mut gate, 18, 6), (vec![10, 18], vec![(2, 0)]));
    }

    #[test]
    fn who_waited_too_long_goes_without_a_promise() {
        let mut gate = gate(&[10]);
        gate.mark(0);
        gate.hold(held(20), |_| ());
        gate.mark(50);
        assert_eq!(gate.oldest_ms(), Some(0));
        let mut late = Vec::new();
        gate.expire(100, 100, |held, reply| late.push((held.end, reply.len())));
        assert_eq!(gate.oldest_ms(), Some(50));
        assert_eq!(late, [(10, 8)]);
        assert_eq!(gate.len(), 1);
    }
}
