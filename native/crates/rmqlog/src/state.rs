//! What changes while a store is open, behind one mutex: the log's end, the queues, the index, and the
//! messages on their way from append to commit.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::batch;
use crate::commit_log::CommitLog;
use crate::consume_queue::{QueueTable, TAILS_SIZE_MAX};
use crate::damage::Damage;
use crate::engine::{Appended, Positions};
use crate::error::{Result, StoreError};
use crate::fetch::Fetches;
use crate::file_cache::FileCache;
use crate::flush::Flusher;
use crate::index::IndexSet;
use crate::index_format::key_hash;
use crate::marker::{DroppedTopic, Point};
use crate::pace::Pace;
use crate::queue_unit::{topic_problem, Unit};
use crate::rebuilder::Ongoing;
use crate::record::{self, Marks, Message, Place, PROPERTIES_SIZE_MAX};
use crate::recover::LastRecord;
use crate::settings::{Settings, SLOW_WRITE_MS};
use crate::window::Window;
use crate::writer::{put, Outcome, Writer};

/// Messages that may wait for their sync; more are refused.
pub const UNCOMMITTED_COUNT_MAX: usize = 4 << 20;

/// A message appended and not yet committed: what its dispatch will need.
struct Pending {
    queue: u32,
    size: u32,
    enters_queue: bool,
    key_count: u32,
    queue_offset: i64,
    log_offset: u64,
    tag: i64,
    store_timestamp_ms: i64,
}

/// Everything behind the mutex.
pub struct State {
    pub log: CommitLog,
    pub queues: QueueTable,
    pub index: IndexSet,
    pub cache: FileCache,
    pub(crate) window: Window,
    pub damage: Damage,
    pub commit: u64,
    /// The flusher's position when it was last asked, so that it fits `commit`.
    flushed: u64,
    pub last_committed: Option<LastRecord>,
    flusher: Flusher,
    writer: Writer,
    pub pace: Pace,
    /// A write by the writer that failed: what was appended since goes with it, once `write` tells.
    unwritten: Option<Outcome>,
    pending: VecDeque<Pending>,
    /// Index hashes of the pending messages, `key_count` of each, in order.
    pending_keys: VecDeque<i32>,
    /// Pending messages that are in the files already.
    pending_written: usize,
    /// Those, and the ones that are being written.
    pending_handed: usize,
    last_store_timestamp_ms: i64,
    pub(crate) dropped: Vec<DroppedTopic>,
    /// The note of the dropped topics on disk reaches behind the log's end: records that come there now
    /// would be taken for those of the topic's old life.
    pub is_note_stale: bool,
    /// Grows with every topic dropped.
    pub drop_count: u64,
    pub ongoing: Ongoing,
    /// The marker on disk speaks of records from here on: they must stay for the next start.
    pub marked_from: u64,
    /// Appends that would end behind this log position are refused, and why.
    limit: Option<(u64, String)>,
    failure: Option<String>,
    is_closed: bool,
    /// Hashes of the message being dispatched; kept for its memory.
    keys: Vec<i32>,
    /// Who brings into memory what readers want.
    pub(crate) fetches: Arc<Fetches>,
    /// Units a read looks at; kept for its memory.
    pub(crate) units: Vec<u8>,
}

impl State {
    pub fn new(
        log: CommitLog,
        queues: QueueTable,
        index: IndexSet,
        cache: FileCache,
        flusher: Flusher,
        last: Option<LastRecord>,
        dropped: Vec<DroppedTopic>,
    ) -> State {
        let (mut log, mut cache) = (log, cache);
        let fetches = Fetches::new(flusher.event());
        cache.ahead.set_fetches(Arc::clone(&fetches));
        log.crcs().ahead().set_fetches(Arc::clone(&fetches));
        State {
            fetches,
            commit: log.written(),
            flushed: log.written(),
            log,
            queues,
            index,
            cache,
            window: Window::default(),
            damage: Damage::default(),
            last_committed: last,
            writer: Writer::new(flusher.event()),
            flusher,
            pace: Pace::new(Duration::from_millis(SLOW_WRITE_MS)),
            unwritten: None,
            pending: VecDeque::new(),
            pending_keys: VecDeque::new(),
            pending_written: 0,
            pending_handed: 0,
            last_store_timestamp_ms: last.map_or(0, |last| last.store_timestamp_ms),
            dropped,
            is_note_stale: false,
            drop_count: 0,
            ongoing: Ongoing::default(),
            marked_from: 0,
            limit: None,
            failure: None,
            is_closed: false,
            keys: Vec::new(),
            units: Vec::new(),
        }
    }

    pub fn check_open(&self) -> Result<()> {
        if self.is_closed {
            return Err(StoreError::Failed("the store is closed".to_string()));
        }
        Ok(())
    }

    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub fn failure(&self) -> Option<String> {
        self.failure.clone()
    }

    /// Whether the writer failed, and `write` has not told yet.
    #[cfg(test)]
    pub fn has_unwritten(&self) -> bool {
        self.unwritten.is_some()
    }

    /// Has the flusher sync now what is written.
    #[cfg(test)]
    pub fn flush_now(&self) {
        self.flusher.wrote(Vec::new(), self.log.written(), true);
    }

    /// Log position up to which everything is synced now, whether `commit` knows it yet or not.
    pub fn synced(&self) -> u64 {
        self.flusher.flushed()
    }

    pub fn positions(&self) -> Positions {
        Positions {
            appended: self.log.appended(),
            written: self.log.written(),
            flushed: self.flushed,
            commit: self.commit,
        }
    }

    /// Moves commit by what the writer and the flusher have announced, and takes note if a sync failed.
    /// That a write failed is for [`State::write`] to tell: positions it takes back must not be given
    /// again before their senders know.
    pub fn collect(&mut self, settings: &Settings) {
        // Asked before the writer: what is flushed by now was written before.
        self.flushed = self.flusher.flushed();
        if let Some(outcome) = self.writer.take() {
            if outcome.result.is_ok() {
                // Cannot fail: it has not.
                drop(self.wrote(settings, outcome));
            } else {
                self.unwritten = Some(outcome);
            }
        }
        if settings.sync_flush && self.flushed > self.commit {
            self.advance(self.flushed);
        }
        if self.failure.is_none() {
            let next_segment = || self.log.failure().cloned();
            self.failure = self.flusher.failure().or_else(next_segment);
        }
    }

    /// Refuses appends that would end behind `end`, with `reason`; none if there is no reason.
    pub fn limit_appends(&mut self, end: u64, reason: Option<String>) {
        self.limit = reason.map(|reason| (end, reason));
    }

    fn check_limit(&self, size: usize) -> Result<()> {
        match &self.limit {
            Some((end, reason)) if self.log.appended() + size as u64 > *end => {
                Err(StoreError::Failed(reason.clone()))
            }
            _ => Ok(()),
        }
    }

    /// The queue's number, its `min` as the log is now; refused while it is being rebuilt.
    pub fn find_queue(&mut self, topic: &str, id: i32) -> Result<Option<u32>> {
        let found = self.queues.find_whole(topic, id)?;
        if let Some(number) = found {
            let log_min = self.log.min();
            self.queues.correct_min(&mut self.cache, number, log_min)?;
        }
        Ok(found)
    }

    /// Whether the oldest segment may go: everything in it is committed and dispatched, it is not the
    /// one being written, and no start and no rebuild needs it.
    pub fn is_oldest_removable(&self) -> bool {
        if self.ongoing.is_any() {
            return false;
        }
        let last = self.last_committed.map_or(0, |last| last.log_offset);
        let needed = self
            .log
            .base_of(last.min(self.marked_from).min(self.commit));
        self.log.min() + self.log.segment_size() <= needed
    }

    /// Whether the message may be appended; the number of its queue, if there is one yet.
    fn check_message(
        &mut self,
        settings: &Settings,
        topic: &str,
        message: &Message<'_>,
    ) -> Result<Option<u32>> {
        self.check_open()?;
        if let Some(failure) = &self.failure {
            return Err(StoreError::Failed(failure.clone()));
        }
        let illegal = |what: String| Err::<Option<u32>, _>(StoreError::Illegal(what));
        if message.body.len() > settings.message_size_max {
            return illegal(format!(
                "body of {} bytes, at most {}",
                message.body.len(),
                settings.message_size_max
            ));
        }
        if message.properties.len() > PROPERTIES_SIZE_MAX {
            return illegal(format!(
                "properties of {} bytes, at most {PROPERTIES_SIZE_MAX}",
                message.properties.len()
            ));
        }
        if message.born_host.len() != 8 && message.born_host.len() != 20 {
            return illegal(format!(
                "born host of {} bytes, not 8 or 20",
                message.born_host.len()
            ));
        }
        if message.queue_id < 0 {
            return illegal(format!("queue id {} is negative", message.queue_id));
        }
        let busy_max = Duration::from_millis(settings.write_busy_ms);
        if let Some(busy) = self.writer.busy_for().filter(|busy| *busy >= busy_max) {
            return Err(StoreError::Busy(format!(
                "the disk is slow: a write has taken {} ms so far",
                busy.as_millis()
            )));
        }
        if self.pending.len() >= UNCOMMITTED_COUNT_MAX {
            return Err(StoreError::Failed(format!(
                "{} messages wait for a sync, no more are taken",
                self.pending.len()
            )));
        }
        if self.queues.tails_size() + self.index.tails_size() >= TAILS_SIZE_MAX {
            return Err(StoreError::Failed(format!(
                "{TAILS_SIZE_MAX} bytes of queue units and index entries could not be written yet"
            )));
        }
        let found = self.queues.find_recent(topic, message.queue_id)?;
        if found.is_some() {
            return Ok(found); // a topic with this queue was looked at before
        }
        match topic_problem(topic) {
            Some(problem) => illegal(problem),
            None => Ok(None),
        }
    }

    pub fn append(
        &mut self,
        settings: &Settings,
        topic: &str,
        message: &Message<'_>,
        marks: &Marks<'_>,
        now_ms: i64,
    ) -> Result<Appended> {
        let known = self.check_message(settings, topic, message)?;
        let size = record::encoded_size(message, &settings.store_host);
        self.check_limit(size)?;
        let log_offset = self.log.place(size)?;
        let number = known.unwrap_or_else(|| self.queues.find_or_add(topic, message.queue_id));
        let time = if mutant!("store_time_goes_back") {
            now_ms
        } else {
            now_ms.max(self.last_store_timestamp_ms)
        };
        let queue_offset = self.add(settings, number, message, marks, log_offset, size, time);
        let end = self.log.appended();
        Ok(Appended {
            queue_offset,
            log_offset,
            end,
            store_timestamp_ms: time,
        })
    }

    pub fn append_batch(
        &mut self,
        settings: &Settings,
        topic: &str,
        batch: &[u8],
        message: &Message<'_>,
        now_ms: i64,
    ) -> Result<(Appended, Vec<u64>)> {
        let known = self.check_message(settings, topic, message)?;
        if batch.len() > settings.message_size_max {
            return Err(StoreError::Illegal(format!(
                "batch of {} bytes, at most {}",
                batch.len(),
                settings.message_size_max
            )));
        }
        if !record::enters_queue(message.sys_flag) {
            return Err(StoreError::Illegal(
                "a batch cannot be part of a transaction".to_string(),
            ));
        }
        let items = batch::parse(batch, settings.message_size_max)?;
        let whole = |item: &batch::Item<'_>| -> usize {
            let message = Message {
                body: item.body,
                properties: item.properties,
                ..*message
            };
            record::encoded_size(&message, &settings.store_host)
        };
        let size = items.iter().map(whole).sum();
        self.check_limit(size)?;
        let first = self.log.place(size)?;
        let number = known.unwrap_or_else(|| self.queues.find_or_add(topic, message.queue_id));
        let time = now_ms.max(self.last_store_timestamp_ms);
        let queue_offset = self.queues.queue(number).next;
        let mut log_offsets = Vec::with_capacity(items.len());
        for item in &items {
            let (body, properties, flag) = (item.body, item.properties, item.flag);
            let message = Message {
                body,
                properties,
                flag,
                ..*message
            };
            let log_offset = self.log.appended();
            let marks = record::scan_properties(properties);
            let size = whole(item);
            self.add(settings, number, &message, &marks, log_offset, size, time);
            log_offsets.push(log_offset);
        }
        let end = self.log.appended();
        let place = Appended {
            queue_offset,
            log_offset: first,
            end,
            store_timestamp_ms: time,
        };
        Ok((place, log_offsets))
    }

    /// Puts one record into the turn; its room is taken. Answers its queue offset.
    #[expect(clippy::too_many_arguments)]
    fn add(
        &mut self,
        settings: &Settings,
        number: u32,
        message: &Message<'_>,
        marks: &Marks<'_>,
        log_offset: u64,
        size: usize,
        store_timestamp_ms: i64,
    ) -> i64 {
        let enters_queue = record::enters_queue(message.sys_flag);
        let queue = self.queues.queue_mut(number);
        let queue_offset = if enters_queue { queue.next } else { 0 };
        queue.next += i64::from(enters_queue);
        let prefix = match queue.topic.as_bytes() == message.topic {
            true => queue.key_prefix,
            false => key_prefix(message.topic),
        };
        let store_host = &settings.store_host;
        let place = Place {
            queue_offset,
            log_offset,
            store_timestamp_ms,
            store_host,
        };
        record::encode(message, &place, self.log.turn());
        self.log.added(size);
        let before = self.pending_keys.len();
        if settings.index_enabled && record::is_indexed(message.sys_flag) {
            index_hashes(prefix, marks, |hash| self.pending_keys.push_back(hash));
        }
        self.pending.push_back(Pending {
            queue: number,
            size: size as u32,
            enters_queue,
            key_count: (self.pending_keys.len() - before) as u32,
            queue_offset,
            log_offset,
            tag: record::tag_field(
                message.topic,
                marks,
                store_timestamp_ms,
                &settings.delay_levels_ms,
            ),
            store_timestamp_ms,
        });
        self.last_store_timestamp_ms = store_timestamp_ms;
        queue_offset
    }

    /// Ends a turn: everything it appended is in the files, or none of it counts. While the disk is slow
    /// the writer has the turn, and what was appended waits with the next one until that one is done;
    /// `written` tells. If the writer failed, nothing behind `written` counts any more.
    pub fn write(&mut self, settings: &Settings) -> Result<()> {
        self.collect(settings);
        if let Some(outcome) = self.unwritten.take() {
            let answer = self.wrote(settings, outcome);
            return answer.or_else(|failed| match mutant!("writers_failure_untold") {
                true => Ok(()),
                false => Err(failed),
            });
        }
        if !self.log.has_turn() || self.log.is_handed_out() {
            return Ok(());
        }
        if mutant!("commit_before_write") {
            self.advance(self.log.appended());
        }
        if let Some(failure) = self.failure.clone() {
            self.discard();
            return Err(StoreError::Failed(failure));
        }
        let Some((pen, turn)) = self.log.hand_out() else {
            return Ok(());
        };
        self.pending_handed = self.pending.len();
        if self.pace.is_slow() && self.writer.start().is_ok() {
            self.writer.hand_over(pen, turn);
            if mutant!("commit_at_hand_over") {
                self.advance(self.log.appended());
            }
            return Ok(());
        }
        self.wrote(settings, put(pen, turn))
    }

    /// Writes all there is, waiting for the writer.
    pub fn write_all(&mut self, settings: &Settings) -> Result<()> {
        loop {
            self.writer.wait();
            self.write(settings)?;
            if !self.log.is_handed_out() && !self.log.has_turn() {
                return Ok(());
            }
        }
    }

    /// What follows from a write, whoever did it.
    fn wrote(&mut self, settings: &Settings, outcome: Outcome) -> Result<()> {
        self.pace.wrote(outcome.took, outcome.ended);
        match outcome.result {
            Ok(touched) => {
                self.log.wrote(outcome.pen, outcome.turn);
                if let Some(text) = self.log.crcs().take_news() {
                    self.damage.tell(|| text);
                }
                let written = self.log.written();
                self.pending_written = self.pending_handed;
                self.flusher.wrote(touched, written, settings.sync_flush);
                if !settings.sync_flush || mutant!("commit_before_flushed") {
                    self.advance(written);
                }
                Ok(())
            }
            Err(failed) => {
                self.log.take_back(outcome.pen, outcome.turn);
                self.roll_back();
                if !failed.is_full && !mutant!("failed_write_forgotten") {
                    self.failure = Some(failed.error.to_string());
                }
                Err(failed.error)
            }
        }
    }

    /// Gives up a turn that must not be written, and is not being written.
    pub fn discard(&mut self) {
        self.log.discard();
        self.roll_back();
    }

    /// Takes back what the turn appended: nobody was told of it.
    fn roll_back(&mut self) {
        while self.pending.len() > self.pending_written {
            let Some(last) = self.pending.pop_back() else {
                break;
            };
            for _ in 0..last.key_count {
                self.pending_keys.pop_back();
            }
            if last.enters_queue && !mutant!("offsets_not_taken_back") {
                self.queues.queue_mut(last.queue).next = last.queue_offset;
            }
        }
        let written = self.log.written();
        for gone in &mut self.dropped {
            self.is_note_stale |= gone.log_to > written;
            gone.log_to = gone.log_to.min(written);
        }
    }

    /// Moves commit: units, index entries and arrivals of what it passes.
    fn advance(&mut self, commit: u64) {
        self.commit = commit;
        while let Some(next) = self.pending.front() {
            if next.log_offset + u64::from(next.size) > commit {
                break;
            }
            let Some(next) = self.pending.pop_front() else {
                break;
            };
            self.pending_written = self.pending_written.saturating_sub(1);
            self.pending_handed = self.pending_handed.saturating_sub(1);
            if next.key_count > 0 {
                self.keys.clear();
                self.keys
                    .extend(self.pending_keys.drain(..next.key_count as usize));
                let (log_offset, time) = (next.log_offset, next.store_timestamp_ms);
                // While older records are being indexed, this one waits for its turn there.
                if self.ongoing.index_to.is_none() {
                    self.index
                        .put(&mut self.cache, &self.keys, log_offset, time);
                }
            }
            if next.enters_queue && !self.queues.queue(next.queue).is_dropped {
                let unit = Unit {
                    log_offset: next.log_offset,
                    size: next.size as i32,
                    tag: next.tag,
                };
                self.queues.push(next.queue, next.queue_offset, unit);
                self.queues.arrived(next.queue);
            }
            self.last_committed = Some(LastRecord {
                log_offset: next.log_offset,
                size: next.size,
                store_timestamp_ms: next.store_timestamp_ms,
            });
        }
    }

    /// How far commit is, with the proof that the log is the one meant.
    pub fn point(&mut self, known_index_to: u64, index_enabled: bool) -> Result<Point> {
        let is_indexed = index_enabled && self.index.failure().is_none();
        let mut point = Point {
            log_to: self.commit,
            index_to: if is_indexed {
                self.ongoing.index_to.unwrap_or(self.commit)
            } else {
                known_index_to
            },
            ..Point::default()
        };
        if let Some(last) = self.last_committed {
            let mut record = vec![0u8; last.size as usize];
            self.log
                .read_at(&mut self.cache, &mut record, last.log_offset)?;
            point.last_offset = last.log_offset;
            point.last_size = last.size;
            point.last_crc = crc32fast::hash(&record);
        }
        Ok(point)
    }

    pub fn take_created(&mut self) -> Vec<PathBuf> {
        let mut created = self.queues.take_created();
        created.extend(self.index.take_created());
        created.extend(self.log.crcs().take_created());
        created
    }

    /// Ends the writer, the flusher, after they have done what is left, and the segment maker.
    pub fn stop(&mut self, settings: &Settings) {
        self.is_closed = true;
        self.writer.wait();
        self.collect(settings);
        self.writer.stop();
        self.flusher.stop();
        self.collect(settings);
        self.log.stop();
        self.fetches.stop();
    }
}

/// The hash that those of a topic's keys begin with.
pub fn key_prefix(topic: &[u8]) -> i32 {
    record::java_hash(record::java_hash(0, topic), b"#")
}

/// The index hashes of a message, in Apache's order: UNIQ_KEY, each word of KEYS, TAGS. `prefix`: that of its
/// topic.
pub fn index_hashes(prefix: i32, marks: &Marks<'_>, mut put: impl FnMut(i32)) {
    if !marks.unique_key.is_empty() {
        put(key_hash(record::java_hash(prefix, marks.unique_key)));
    }
    for key in marks
        .keys
        .split(|&byte| byte == b' ')
        .filter(|key| !key.is_empty())
    {
        put(key_hash(record::java_hash(prefix, key)));
    }
    if !marks.tags.is_empty() {
        put(key_hash(record::java_hash(
            record::java_hash(prefix, b"T#"),
            marks.tags,
        )));
    }
}
