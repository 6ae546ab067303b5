//! A store at work on a simulated disk: what one seed makes it do, and what it was promised.
//!
//! The store's threads take part, but one at a time: the run waits for the segment maker after every
//! write, and holds or awaits the flusher's syncs, so that a seed gives one operation log. On a slow disk
//! the writer writes: the run awaits it, or holds it while more is appended. Where files of queues or index
//! are gone the rebuilder goes on by so many calls to the disk at a time, between the other things.

use std::time::{Duration, Instant};

pub use rebuilding::{go_on, open, open_early};

use super::disk::{Faults, SimDisk};
use super::history::{Attempt, History, QUEUE_COUNT, TOPICS};
use super::platter::Random;
use crate::engine::Engine;
use crate::error::StoreError;
use crate::pace::Pace;
use crate::persist::persist;
use crate::rebuilder::Rebuilder;
use crate::record::Message;
use crate::settings::Settings;

#[path = "rebuilding.rs"]
mod rebuilding;

const HOST: [u8; 8] = [127, 0, 0, 1, 0, 0, 0x2a, 0x9f];

pub fn settings(sync_flush: bool) -> Settings {
    Settings {
        sync_flush,
        segment_size: 4096,
        consume_queue_file_size: 20 * 10,
        index_slot_count: 7,
        index_entry_count: 30,
        flush_interval_ms: 3_600_000,
        flush_interval_consume_queue_ms: 3_600_000,
        reserve_ahead: 1 << 16,
        slow_write_ms: u64::MAX, // a run says itself who writes
        rebuild_in_background: true,
        ..Settings::new("/data/store")
    }
}

/// Waits for what a thread of the store does next. A limit only tells a hang from a long wait.
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("waited in vain until {what}"));
        }
        std::thread::yield_now();
    }
    Ok(())
}

pub fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8], text: &'a [u8]) -> Message<'a> {
    Message {
        topic: topic.as_bytes(),
        queue_id,
        body,
        properties: text,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: &HOST,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
    }
}

/// One store and its disk.
pub struct World {
    pub disk: SimDisk,
    pub history: History,
    pub sync_flush: bool,
    /// The disk is slow: the writer writes.
    pub is_slow: bool,
    engine: Option<Engine>,
    random: Random,
    turn: Vec<Attempt>,
    number: u64,
    is_held: bool,
    has_faults: bool,
    /// Messages refused because their queue was being rebuilt.
    pub refused_count: usize,
    /// Messages stored while others were being rebuilt.
    pub stored_beside: usize,
}

impl World {
    pub fn new(disk: SimDisk, history: History, sync_flush: bool, seed: u64) -> World {
        World {
            disk,
            history,
            sync_flush,
            is_slow: false,
            engine: None,
            random: Random(seed),
            turn: Vec::new(),
            number: seed << 20,
            is_held: false,
            has_faults: true,
            refused_count: 0,
            stored_beside: 0,
        }
    }

    fn engine(&self) -> Result<&Engine, String> {
        self.engine.as_ref().ok_or("the store is closed".into())
    }

    fn promise(&mut self) -> Result<(), String> {
        let now = self.engine()?.positions();
        let op = self.disk.op_count();
        // With SYNC_FLUSH what is committed must outlive a power cut, whatever `flushed` says.
        let safe = if self.sync_flush {
            now.commit
        } else {
            now.flushed
        };
        self.history.promise(op, now.commit, safe);
        Ok(())
    }

    /// Does `steps` things.
    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        self.start()?;
        for _ in 0..steps {
            if self.random.happens(40) {
                let calls = 1 + self.random.below(20);
                self.rebuild(calls)?;
            }
            if self.random.happens(6) {
                self.lose_files()?;
            }
            if self.is_slow && self.random.happens(35) {
                self.slow_turn()?;
                continue;
            }
            match self.random.below(100) {
                0..=44 => self.turn(true)?,
                45..=56 => self.batch()?,
                57..=64 => self.persist(false)?,
                65..=71 => self.persist(true)?,
                72..=77 => self.hold()?,
                78..=84 => self.release()?,
                85..=88 => self.drop_topic()?,
                89..=91 => self.kill(true)?,
                92..=94 => self.close()?,
                95..=96 => self.full_turn()?,
                _ => self.broken_sync_or_write()?,
            }
        }
        self.kill(false)
    }

    fn start(&mut self) -> Result<(), String> {
        let engine = if self.random.happens(70) {
            open_early(&self.disk, self.sync_flush)?
        } else {
            open(&self.disk, self.sync_flush)?
        };
        if self.is_slow {
            engine.state().pace = Pace::always_slow();
        }
        self.engine = Some(engine);
        self.is_held = false;
        self.promise()
    }

    fn body(&mut self) -> (String, Vec<u8>) {
        self.number += 1;
        let key = format!("k{}", self.number);
        let size = match self.random.below(10) {
            0 => 1500,
            1..=3 => 600,
            4..=6 => 200,
            _ => 20,
        };
        let mut body = format!("{key} ").into_bytes();
        let length = body.len() + self.random.below(size);
        while body.len() < length {
            body.push((self.random.next() % 255) as u8 + 1);
        }
        (key, body)
    }

    fn append(&mut self) -> Result<(), String> {
        let topic = self.random.below(TOPICS.len());
        let queue_id = self.random.below(QUEUE_COUNT as usize) as i32;
        let (key, body) = self.body();
        let text = Attempt::properties(&key);
        let message = message(TOPICS[topic], queue_id, &body, &text);
        let time = 1_700_000_000_000 + (self.number & 0xF_FFFF) as i64;
        let place = self.engine()?.append(TOPICS[topic], &message, time);
        if matches!(place, Err(StoreError::Rebuilding(_))) {
            self.refused_count += 1;
            return Ok(());
        }
        if self.is_rebuilding()? {
            self.stored_beside += 1;
        }
        let place = place.map_err(|error| format!("append: {error}"))?;
        self.turn.push(Attempt {
            topic,
            queue_id,
            queue_offset: place.queue_offset,
            log_offset: place.log_offset,
            end: place.end,
            key,
            body,
            op: 0,
            refused: None,
        });
        Ok(())
    }

    /// Some messages, and then the end of the turn.
    fn turn(&mut self, is_written: bool) -> Result<(), String> {
        for _ in 0..=self.random.below(3) {
            self.append()?;
        }
        if is_written {
            self.write()?.map_err(|error| format!("write: {error}"))?;
        }
        Ok(())
    }

    fn batch(&mut self) -> Result<(), String> {
        let topic = self.random.below(TOPICS.len());
        let queue_id = self.random.below(QUEUE_COUNT as usize) as i32;
        let mut items = Vec::new();
        let mut batch = Vec::new();
        for _ in 0..2 + self.random.below(3) {
            let (key, mut body) = self.body();
            body.truncate(300);
            let text = Attempt::properties(&key);
            let size = (22 + body.len() + text.len()) as i32;
            batch.extend_from_slice(&size.to_be_bytes());
            batch.extend_from_slice(&[0; 12]);
            batch.extend_from_slice(&(body.len() as i32).to_be_bytes());
            batch.extend_from_slice(&body);
            batch.extend_from_slice(&(text.len() as i16).to_be_bytes());
            batch.extend_from_slice(&text);
            items.push((key, body));
        }
        let message = message(TOPICS[topic], queue_id, b"", b"");
        let stored =
            self.engine()?
                .append_batch(TOPICS[topic], &batch, &message, 1_700_000_000_000);
        if matches!(stored, Err(StoreError::Rebuilding(_))) {
            self.refused_count += 1;
            return Ok(());
        }
        let (place, log_offsets) = stored.map_err(|error| format!("batch: {error}"))?;
        for (number, (key, body)) in items.into_iter().enumerate() {
            let end = log_offsets.get(number + 1).copied().unwrap_or(place.end);
            self.turn.push(Attempt {
                topic,
                queue_id,
                queue_offset: place.queue_offset + number as i64,
                log_offset: log_offsets[number],
                end,
                key,
                body,
                op: 0,
                refused: None,
            });
        }
        self.write()?.map_err(|error| format!("write: {error}"))
    }

    /// Ends the turn; the inner answer is the store's.
    fn write(&mut self) -> Result<Result<(), String>, String> {
        self.rebuild_to_unlocked()?;
        let op = self.disk.op_count();
        // The flusher must not run beside the segment maker: their order would be chance.
        self.disk.hold_syncs(true);
        let mut answer = self.engine()?.write().map_err(|error| error.to_string());
        if self.is_slow && answer.is_ok() {
            self.await_write()?;
            answer = self.engine()?.write().map_err(|error| error.to_string());
        }
        self.engine()?.state().log.settle();
        let after = self.disk.op_count();
        self.promise()?;
        self.disk.hold_syncs(self.is_held);
        let refused = answer.is_err().then_some(after);
        let turn = std::mem::take(&mut self.turn);
        let turn = turn.into_iter().map(|attempt| Attempt {
            op,
            refused,
            ..attempt
        });
        self.history.attempts.extend(turn);
        if answer.is_ok() && self.sync_flush {
            if self.is_held {
                let engine = self.engine()?;
                // Where all of the turn was refused there is nothing to sync.
                self.disk.until_sync_waits(|| {
                    let now = engine.positions();
                    now.flushed == now.written || engine.failure().is_some()
                });
            } else {
                self.await_sync()?;
            }
            self.promise()?;
        }
        Ok(answer)
    }

    /// Until the writer is done; what it failed at is told by the next write.
    fn await_write(&self) -> Result<(), String> {
        let engine = self.engine()?;
        until("the writer is done", || {
            engine.collect();
            let state = engine.state();
            !state.log.is_handed_out() || state.has_unwritten()
        })?;
        engine.state().log.settle();
        Ok(())
    }

    /// The writer stands in a write while more is appended; then it goes on, or the disk is full, or all
    /// ends.
    fn slow_turn(&mut self) -> Result<(), String> {
        self.disk.hold_syncs(true);
        self.disk.hold_writes(true);
        self.turn(false)?;
        if self.turn.is_empty() {
            self.disk.hold_writes(false);
            self.disk.hold_syncs(self.is_held);
            return Ok(()); // all of it was refused
        }
        self.rebuild_to_unlocked()?;
        let op = self.disk.op_count();
        let told = |error: StoreError| format!("write: {error}");
        self.engine()?.write().map_err(told)?;
        until("the writer writes", || self.disk.has_waiting_write())?;
        let mut first = std::mem::take(&mut self.turn);
        for _ in 0..=self.random.below(3) {
            self.turn(false)?;
            self.engine()?.write().map_err(told)?;
            self.promise()?;
        }
        if self.random.happens(25) {
            self.persist(false)?;
        }
        if self.random.happens(15) {
            self.drop_topic()?;
        }
        first.iter_mut().for_each(|attempt| attempt.op = op);
        if self.random.happens(15) {
            // Held before its first byte: nothing of it is there.
            let gone = Some(self.disk.op_count());
            first.iter_mut().for_each(|attempt| attempt.refused = gone);
            self.history.attempts.append(&mut first);
            self.kill(true)?;
            let end = self.engine()?.positions().commit;
            self.history.end_drops_at(end);
            return Ok(());
        }
        let is_full = self.random.happens(40);
        if is_full {
            let write = Some((self.random.below(900), libc::ENOSPC));
            self.disk.set_faults(Faults {
                write,
                ..Faults::default()
            });
        }
        self.disk.hold_writes(false);
        self.await_write()?;
        self.promise()?;
        let has_failed = self.engine()?.state().has_unwritten();
        if has_failed {
            first.append(&mut self.turn);
            if self.engine()?.write().is_ok() {
                return Err("a write that failed was not told".into());
            }
            let after = self.disk.op_count();
            for attempt in &mut first {
                (attempt.op, attempt.refused) = (op, Some(after));
            }
        }
        self.history.attempts.append(&mut first);
        if !has_failed {
            if self.sync_flush {
                // Otherwise it were chance whether one sync covers both turns.
                let engine = self.engine()?;
                self.disk.until_sync_waits(|| engine.failure().is_some());
            }
            let answer = self.write()?;
            if !is_full {
                answer.map_err(|error| format!("write: {error}"))?;
            }
        }
        self.disk.set_faults(Faults::default());
        self.disk.hold_syncs(self.is_held);
        if self.sync_flush && !self.is_held {
            self.await_sync()?;
            self.promise()?;
        }
        let now = self.engine()?.positions();
        if is_full && now.appended != now.written {
            return Err("a full disk left something waiting".into());
        }
        self.history.end_drops_at(now.appended);
        match self.engine()?.failure() {
            Some(failure) => Err(format!("a full disk ended the store: {failure}")),
            None => Ok(()),
        }
    }

    fn await_sync(&self) -> Result<(), String> {
        let engine = self.engine()?;
        until("the log is flushed", || {
            let now = engine.positions();
            now.flushed == now.written || engine.failure().is_some()
        })
    }

    fn persist(&mut self, is_due: bool) -> Result<(), String> {
        self.rebuild_to_unlocked()?;
        let engine = self.engine()?;
        let mut progress = engine.shared().progress();
        if is_due {
            let long_ago = Instant::now().checked_sub(Duration::from_secs(11));
            progress.synced_at = long_ago.unwrap_or(progress.synced_at);
        }
        persist(engine.shared(), &mut progress, false).map_err(|error| format!("persist: {error}"))
    }

    /// SYNC_FLUSH: from now on syncs wait. Otherwise there is nothing to hold.
    fn hold(&mut self) -> Result<(), String> {
        if self.sync_flush {
            self.disk.hold_syncs(true);
            self.is_held = true;
        }
        Ok(())
    }

    /// Everything written is synced now.
    fn release(&mut self) -> Result<(), String> {
        self.disk.hold_syncs(false);
        self.is_held = false;
        let now = self.engine()?.positions();
        if !self.sync_flush && now.flushed < now.written {
            self.engine()?.state().flush_now();
        }
        self.await_sync()?;
        self.promise()
    }

    fn drop_topic(&mut self) -> Result<(), String> {
        self.rebuild_to_unlocked()?;
        let topic = self.random.below(TOPICS.len());
        let log_to = self.engine()?.positions().appended;
        let op = self.disk.op_count();
        self.history.begin_drop(op, topic, log_to);
        self.engine()?
            .drop_topic(TOPICS[topic])
            .map_err(|error| format!("drop: {error}"))?;
        self.history.end_drop(self.disk.op_count());
        Ok(())
    }

    /// The process ends at once, sometimes within a turn.
    fn kill(&mut self, goes_on: bool) -> Result<(), String> {
        if self.random.happens(30) && self.engine()?.failure().is_none() {
            self.turn(false)?;
        }
        self.disk = self.disk.kill();
        self.engine = None;
        self.turn.clear();
        if goes_on {
            self.start()?;
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.release()?;
        self.engine()?.ask_rebuilder(Rebuilder::ask_to_stop);
        self.disk.permit_rebuilder(None);
        self.engine()?
            .close()
            .map_err(|error| format!("close: {error}"))?;
        self.promise()?;
        self.disk = self.disk.kill();
        self.engine = None;
        self.start()
    }

    /// The disk is full for one turn; what it held of it must not come back.
    fn full_turn(&mut self) -> Result<(), String> {
        if !self.has_faults {
            return Ok(());
        }
        self.turn(false)?;
        let bytes = self.random.below(900);
        let mut faults = Faults::default();
        if self.random.happens(20) {
            faults.allocate = Some(libc::ENOSPC);
        } else {
            faults.write = Some((bytes, libc::ENOSPC));
        }
        self.disk.set_faults(faults);
        let answer = self.write()?;
        self.disk.set_faults(Faults::default());
        if answer.is_ok() {
            return Ok(()); // the turn was short enough
        }
        match self.engine()?.failure() {
            Some(failure) => Err(format!("a full disk ended the store: {failure}")),
            None => Ok(()),
        }
    }

    /// The device refuses a write or a sync: nothing more is taken until a restart.
    fn broken_sync_or_write(&mut self) -> Result<(), String> {
        if !self.has_faults {
            return Ok(());
        }
        self.release()?;
        let mut faults = Faults::default();
        if self.random.happens(50) {
            faults.write = Some((self.random.below(900), libc::EIO));
        } else {
            faults.sync = Some(libc::EIO);
        }
        self.disk.set_faults(faults);
        self.turn(false)?;
        if self.turn.is_empty() {
            self.disk.set_faults(Faults::default());
            return Ok(()); // all of it was refused
        }
        let answer = self.write()?;
        if answer.is_ok() && !self.sync_flush {
            self.release()?;
        }
        self.promise()?;
        self.disk.set_faults(Faults::default());
        if answer.is_err() || faults.sync.is_some() {
            let engine = self.engine()?;
            if engine.failure().is_none() {
                return Err("a broken disk did not end the store".into());
            }
            let refused = message(TOPICS[0], 0, b"", b"");
            if engine.append(TOPICS[0], &refused, 1).is_ok() {
                return Err("a failed store took a message".into());
            }
            self.kill(true)?;
        }
        Ok(())
    }
}
