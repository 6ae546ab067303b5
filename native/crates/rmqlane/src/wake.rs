//! What becomes of parked polls: who is answered here, and who goes back to Python.
//!
//! The lane answers what the verb would answer without a decision: messages that came for a poll, or
//! none until its deadline. Everything else is given back as it stands: a poll whose puller is not
//! what it was, what comes by damage or a store that refuses, and more answers than a connection may
//! have at once. A change of pullers costs nothing here: it is seen when a poll wakes.

use std::sync::Arc;

use rmqlog::ahead::Missing;
use rmqlog::hurry::Now;
use rmqlog::read::{ReadPlan, ReadStatus};
use rmqlog::Engine;

use crate::lane::Lane;
use crate::parked::Poll;
use crate::pull::{is_nothing_new, Pulled, Waiting};
use crate::reply::write_refused_pull;

/// PULL_NOT_FOUND and PULL_RETRY_IMMEDIATELY of Apache's ResponseCode.
const NOT_FOUND: i16 = 19;
const RETRY_IMMEDIATELY: i16 = 20;
/// Answers that wait to be written to a connection before its other polls are given back.
const UNWRITTEN_MAX: usize = 1 << 20;
/// What is brought into memory for one poll, and so much more for each message that it may have: those may lie
/// far apart, and each one's checksum has to be looked for. A device that fails, or memory that is too small
/// for it, is its verb's business then.
const FETCHES_MIN: usize = 64;
const FETCHES_PER_MESSAGE: usize = 16;

/// Topic, queue, one past its newest message.
pub type Arrival = (Arc<str>, i32, i64);

/// What happened to parked polls.
#[derive(Debug, Default)]
pub struct Woken {
    /// Polls that were answered, and whose they are.
    pub answered: Vec<(u32, Pulled)>,
    /// Polls that are Python's from now on.
    pub given_back: Vec<Poll>,
    /// Arrivals that Python wants to know, or whose polls were given back.
    pub arrivals: Vec<Arrival>,
}

impl Woken {
    /// Adds what happened next.
    pub fn add(&mut self, next: Woken) {
        self.answered.extend(next.answered);
        self.given_back.extend(next.given_back);
        self.arrivals.extend(next.arrivals);
    }

    /// Whether somebody else has to go on with something of it.
    #[must_use]
    pub fn concerns_others(&self) -> bool {
        !self.given_back.is_empty() || !self.arrivals.is_empty()
    }
}

impl Lane {
    /// Keeps a pull that may wait, if there is room.
    pub fn park(
        &mut self,
        engine: &Engine,
        connection: u32,
        waiting: Waiting,
        frame: &[u8],
    ) -> bool {
        let Waiting { mut poll, missing } = waiting;
        let may_await = missing.is_none() || self.parked.may_await(connection, poll.body_size_max);
        if !self.parked.has_room(connection) || !may_await {
            return false;
        }
        poll.connection = connection;
        poll.frame = Box::from(frame);
        let slot = self.parked.park(poll);
        let is_coming = missing.is_none_or(|missing| self.fetch(engine, slot, missing));
        if !is_coming {
            drop(self.parked.take(slot));
        }
        is_coming
    }

    /// Has brought into memory what the poll needs; then it is looked at again. False: it should not wait
    /// for that.
    fn fetch(&mut self, engine: &Engine, slot: u32, missing: Missing) -> bool {
        let Some(serial) = self.parked.serial(slot) else {
            return false;
        };
        if self.fetching.contains_key(&serial) {
            return true; // something else is on its way
        }
        let may_wait = self.parked.poll(slot).is_some_and(|poll| {
            poll.fetch_count = poll.fetch_count.saturating_add(1);
            let more = poll.message_count_max.saturating_mul(FETCHES_PER_MESSAGE);
            poll.fetch_count <= FETCHES_MIN.saturating_add(more)
        });
        let is_coming = may_wait && engine.fetch(missing, serial);
        if is_coming {
            self.fetching.insert(serial, slot);
        }
        is_coming
    }

    /// Arrivals of this topic are told to Python as well, or not any more; as often as somebody
    /// wants to know.
    pub fn watch(&mut self, topic: &str, is_watched: bool) {
        if is_watched {
            *self.watched.entry(topic.to_owned()).or_default() += 1;
        } else if let Some(count) = self.watched.get_mut(topic) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(topic);
            }
        }
    }

    /// Answers the polls for which something has come since the last call.
    pub fn wake(&mut self, engine: &Engine, now_ms: i64) -> Woken {
        self.parked.begin_waits(now_ms);
        let mut woken = Woken::default();
        if !self.fetching.is_empty() {
            for fetched in engine.take_fetched() {
                let serial = fetched.ticket;
                let slot = self.fetching.remove(&serial);
                let is_live = |slot: &u32| self.parked.serial(*slot) == Some(serial);
                if let Some(slot) = slot.filter(is_live) {
                    self.looked_at += 1;
                    if let Some(poll) = self.parked.poll(slot).filter(|_| fetched.has_failed) {
                        poll.fetch_count = usize::MAX; // if it still is missing nobody tries again
                    }
                    let before = woken.given_back.len();
                    self.offer(engine, slot, i64::MAX, &mut woken);
                    let given_back = woken.given_back.get(before);
                    if let Some(poll) = given_back.filter(|poll| !poll.awaits_device) {
                        // What came for it was told before: nothing else would wake it where it goes on.
                        let topic = Arc::clone(&poll.known.topic);
                        let end = engine.queue_end_now(&topic, poll.queue_id);
                        woken.arrivals.push((topic, poll.queue_id, end));
                    }
                }
            }
        }
        let mut slots = Vec::new();
        for (topic, queue_id, end) in engine.take_arrivals() {
            let before = woken.given_back.len();
            slots.clear();
            self.parked.of_queue(&topic, queue_id, &mut slots);
            self.looked_at += slots.len() as u64;
            for &slot in &slots {
                self.offer(engine, slot, end, &mut woken);
            }
            if woken.given_back.len() > before || self.watched.contains_key(&*topic) {
                woken.arrivals.push((topic, queue_id, end));
            }
        }
        woken
    }

    /// The queue of a poll goes up to `end` now.
    fn offer(&mut self, engine: &Engine, slot: u32, end: i64, woken: &mut Woken) {
        let Some(poll) = self
            .parked
            .poll(slot)
            .filter(|poll| poll.queue_offset < end)
        else {
            return;
        };
        // How much waits for the device was looked at when it came; its verb might wait for it on this thread.
        let has_room =
            poll.awaits_device || self.connections.unwritten(poll.connection) <= UNWRITTEN_MAX;
        let is_here = self.pulls.is_current(&poll.known) && has_room;
        let found = if is_here { read_on(engine, poll) } else { None };
        let version = self.version;
        let mut pulled = None;
        let missing = match found {
            Some(Now::Here(plan)) if plan.status == ReadStatus::NoMatchedMessage => {
                if !poll.awaits_device {
                    return; // it goes on behind them
                }
                None
            }
            Some(Now::Here(plan))
                if !poll.awaits_device && is_nothing_new(&plan, poll.queue_offset) =>
            {
                return; // it went on meanwhile
            }
            Some(Now::Here(plan)) if plan.status == ReadStatus::Found => {
                let mut missing = None;
                let write = |out: &mut Vec<u8>| match poll.write_found(engine, &plan, version, out)
                {
                    Some(Now::Here(())) => true,
                    Some(Now::Missing(is)) => {
                        missing = Some(is);
                        false
                    }
                    None => false,
                };
                if self.connections.answer(poll.connection, write) {
                    pulled = Some(Pulled::of(poll, &plan));
                }
                missing
            }
            Some(Now::Missing(missing)) => Some(missing),
            _ => None,
        };
        if missing.is_some_and(|missing| self.fetch(engine, slot, missing)) {
            return;
        }
        let Some(poll) = self.parked.take(slot) else {
            return;
        };
        match pulled {
            Some(pulled) => woken.answered.push((poll.connection, pulled)),
            None => woken.given_back.push(poll),
        }
    }

    /// Answers the polls whose time is over.
    pub fn end_waits(&mut self, engine: &Engine, now_ms: i64) -> Woken {
        self.parked.begin_waits(now_ms);
        let mut woken = Woken::default();
        for poll in self.parked.take_due(now_ms) {
            self.looked_at += 1;
            // What waits for the device is given back: that it would wait for that once more here helps nobody.
            let may_end = self.pulls.is_current(&poll.known) && !poll.awaits_device;
            let nothing = match may_end.then(|| poll.look(engine)).flatten() {
                Some(Now::Here(plan)) => {
                    Some(plan).filter(|plan| is_nothing_new(plan, poll.queue_offset))
                }
                _ => None,
            };
            let version = self.version;
            let is_answered = nothing.as_ref().is_some_and(|plan| {
                self.connections.answer(poll.connection, |out| {
                    write_nothing(&poll, plan, version, out);
                    true
                })
            });
            match nothing.filter(|_| is_answered) {
                Some(plan) => {
                    let pulled = Pulled::of(&poll, &plan);
                    woken.answered.push((poll.connection, pulled));
                }
                None => woken.given_back.push(poll),
            }
        }
        woken
    }

    /// What was parked since the last call waits since now.
    pub fn begin_waits(&mut self, now_ms: i64) {
        self.parked.begin_waits(now_ms);
    }

    /// Refuses all polls.
    pub fn refuse_polls(&mut self, code: i16, remark: &str) {
        let version = self.version;
        for poll in self.parked.take_all() {
            self.connections.answer(poll.connection, |out| {
                write_refused_pull(poll.form, poll.opaque, code, remark, version, out);
                true
            });
        }
    }

    /// Takes out the polls of a topic, which then are Python's.
    pub fn take_polls_of_topic(&mut self, topic: &str) -> Vec<Poll> {
        self.parked.take_topic(topic)
    }

    /// Takes out the polls of groups, which then are Python's.
    pub fn take_polls_of_groups(&mut self, groups: &[String]) -> Vec<Poll> {
        self.parked.take_groups(groups)
    }

    /// Polls that wait, in all.
    #[must_use]
    pub fn poll_count(&self) -> usize {
        self.parked.len()
    }

    /// Polls of a connection that wait.
    #[must_use]
    pub fn poll_count_of(&self, connection: u32) -> usize {
        self.parked.count_of(connection)
    }

    /// So many polls may wait here in all, and so many of each connection.
    pub fn limit_polls(&mut self, room: usize, connection_room: usize) {
        self.parked.limit(room, connection_room);
    }

    /// So many of one connection; None: as many as of others.
    pub fn limit_polls_of(&mut self, connection: u32, room: Option<usize>) {
        self.parked.limit_connection(connection, room);
    }
}

/// Reads on while whole scans hold nothing that the poll wants; it goes on behind them. Who came for what is
/// there looks no further than its verb: that may be all of a long queue.
fn read_on(engine: &Engine, poll: &mut Poll) -> Option<Now<ReadPlan>> {
    loop {
        let found = poll.look(engine)?;
        let Now::Here(plan) = &found else {
            return Some(found);
        };
        if plan.status != ReadStatus::NoMatchedMessage || poll.awaits_device {
            return Some(found);
        }
        let from = std::mem::replace(&mut poll.queue_offset, plan.next_offset);
        if !(from < plan.next_offset && plan.next_offset < plan.max_offset) {
            return Some(found);
        }
    }
}

/// What a poll is told at its deadline.
fn write_nothing(poll: &Poll, plan: &ReadPlan, version: i16, out: &mut Vec<u8>) {
    let (code, remark) = if poll.queue_offset > poll.first_offset {
        // Messages came that were not wanted: the client goes on behind them.
        (RETRY_IMMEDIATELY, "NO_MATCHED_MESSAGE")
    } else if plan.status == ReadStatus::OffsetOverflowOne {
        (NOT_FOUND, "OFFSET_OVERFLOW_ONE")
    } else {
        (NOT_FOUND, "NO_MESSAGE_IN_QUEUE")
    };
    poll.write_missed(plan, code, remark, version, out);
}
