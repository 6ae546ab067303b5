//! The store as one object: what Python's `Engine` protocol asks for, over the parts of this crate.
//!
//! Positions only rise: appended ≥ written ≥ flushed; commit is `written` (ASYNC_FLUSH) or `flushed`
//! (SYNC_FLUSH). Queue units, index entries and arrivals follow commit and nothing else, so what a
//! reader has seen cannot be taken back by a failed write. The flusher only announces; commit itself
//! moves when the caller's thread next comes by ([`State::collect`]). So does the writer, which writes
//! while the disk is slow.

use std::io::ErrorKind;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::damage::Hole;
use crate::disk::{Disk, Held};
use crate::error::{failed, Result, StoreError};
use crate::event::Event;
use crate::fetch::Fetches;
use crate::marker::Marker;
use crate::open;
use crate::persist::{persist, Persister, Progress};
use crate::rebuilder::{self, RebuildStatus, Rebuilder};
use crate::record::{self, Marks, Message};
use crate::remove::{Removals, Remover};
use crate::settings::Settings;
use crate::state::{key_prefix, State};

/// How far the log has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    pub appended: u64,
    pub written: u64,
    pub flushed: u64,
    pub commit: u64,
}

/// Where a message will be once `commit` reaches `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub queue_offset: i64,
    pub log_offset: u64,
    pub end: u64,
    pub store_timestamp_ms: i64,
}

/// What the caller's thread and the persister share.
pub struct Shared {
    pub disk: Arc<dyn Disk>,
    pub settings: Settings,
    state: Mutex<State>,
    progress: Mutex<Progress>,
    /// Held while the `queues` file is written, and taken before `state`: an older one must not come
    /// after a newer one.
    note: Mutex<()>,
    /// Held while files of queues are made, written, cut or removed, and taken before `state` and after `note`:
    /// one that goes must not come back by a write that was on its way.
    queue_files: Mutex<()>,
    /// Held by who gets them next: the persister takes them again as soon as it has let them go, and others
    /// would wait until it has been to all queues.
    queue_files_next: Mutex<()>,
    /// Why the persister's last round failed, if it did; it tries again.
    persist_failure: Mutex<Option<String>>,
}

impl Shared {
    pub fn new(disk: Arc<dyn Disk>, settings: Settings, state: State) -> Shared {
        Shared {
            disk,
            settings,
            state: Mutex::new(state),
            progress: Mutex::new(Progress::new(Marker::default())),
            note: Mutex::new(()),
            queue_files: Mutex::new(()),
            queue_files_next: Mutex::new(()),
            persist_failure: Mutex::new(None),
        }
    }

    pub fn set_progress(&self, progress: Progress) {
        *self.progress() = progress;
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self) -> MutexGuard<'_, ()> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn queue_files(&self) -> MutexGuard<'_, ()> {
        let _next = self
            .queue_files_next
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.queue_files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note_persist(&self, error: Option<StoreError>) {
        let mut failure = self
            .persist_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *failure = error.map(|error| error.to_string());
    }
}

/// Threads and holds that end with the store.
struct Running {
    persister: Persister,
    remover: Remover,
    rebuilder: Option<Rebuilder>,
    _lock: Box<dyn Held>,
}

/// For tests that run the rebuilder and the caller one at a time.
#[cfg(test)]
impl Engine {
    /// What the rebuilder's thread answers; `None` if there is none.
    pub(crate) fn ask_rebuilder<T>(&self, question: impl FnOnce(&Rebuilder) -> T) -> Option<T> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref()?.rebuilder.as_ref().map(question)
    }

    /// Whether nobody holds a lock of the store, so that the caller's thread would not have to wait.
    pub(crate) fn is_unlocked(&self) -> bool {
        use std::sync::TryLockError::WouldBlock;
        let shared = &self.shared;
        !matches!(shared.state.try_lock(), Err(WouldBlock))
            && !matches!(shared.progress.try_lock(), Err(WouldBlock))
            && !matches!(shared.note.try_lock(), Err(WouldBlock))
            && !matches!(shared.queue_files_next.try_lock(), Err(WouldBlock))
            && !matches!(shared.queue_files.try_lock(), Err(WouldBlock))
    }

    /// Whether nobody holds what every call needs.
    pub(crate) fn is_state_unlocked(&self) -> bool {
        use std::sync::TryLockError::WouldBlock;
        !matches!(self.shared.state.try_lock(), Err(WouldBlock))
    }
}

/// An open store.
pub struct Engine {
    shared: Arc<Shared>,
    event: Arc<Event>,
    fetches: Arc<Fetches>,
    removals: Arc<Removals>,
    running: Mutex<Option<Running>>,
    notes: Vec<String>,
}

impl Engine {
    /// Opens or makes the store under `settings.root`.
    pub fn open(disk: Arc<dyn Disk>, settings: Settings) -> Result<Engine> {
        if let Some(problem) = settings.problem() {
            return Err(StoreError::Illegal(problem));
        }
        let event = Event::new().map_err(|error| failed("eventfd", &settings.root, &error))?;
        let event = Arc::new(event);
        let interval = Duration::from_millis(settings.flush_interval_consume_queue_ms.max(1));
        let opened = open::open(disk, settings, &event)?;
        let shared = Arc::new(opened.shared);
        let rebuilder = match opened.job {
            Some(job) if shared.settings.rebuild_in_background => Some(Rebuilder::start(
                Arc::clone(&shared),
                Arc::clone(&event),
                job,
            )?),
            Some(job) => {
                rebuilder::run(&shared, job)?;
                None
            }
            None => None,
        };
        let persister = Persister::start(Arc::clone(&shared), interval)?;
        let remover = Remover::start(Arc::clone(&shared))?;
        let removals = remover.desk();
        let fetches = Arc::clone(&shared.state().fetches);
        let running = Running {
            persister,
            remover,
            rebuilder,
            _lock: opened.lock,
        };
        Ok(Engine {
            shared,
            event,
            fetches,
            removals,
            running: Mutex::new(Some(running)),
            notes: opened.notes,
        })
    }

    /// What the start found and mended, for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn removals(&self) -> &Removals {
        &self.removals
    }

    pub(crate) fn fetches(&self) -> &Arc<Fetches> {
        &self.fetches
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// The state with the flusher's news taken, of a store that is not closed.
    pub(crate) fn current(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.check_open()?;
        state.collect(self.settings());
        Ok(state)
    }

    /// Readable when the flusher or the writer has news; see [`Engine::collect`].
    pub fn descriptor(&self) -> RawFd {
        self.event.descriptor()
    }

    /// Takes the news of flusher and writer: moves `written`, `flushed` and `commit`.
    pub fn collect(&self) {
        self.event.quiet();
        self.state().collect(self.settings());
    }

    pub fn append(&self, topic: &str, message: &Message<'_>, now_ms: i64) -> Result<Appended> {
        let marks = record::scan_properties(message.properties);
        self.append_marked(topic, message, &marks, now_ms)
    }

    /// The same for a message whose properties were looked at already: [`record::scan_properties`] finds
    /// `marks` in them.
    pub fn append_marked(
        &self,
        topic: &str,
        message: &Message<'_>,
        marks: &Marks<'_>,
        now_ms: i64,
    ) -> Result<Appended> {
        self.state()
            .append(self.settings(), topic, message, marks, now_ms)
    }

    /// All items of a request batch or none; the place of the first with the end of the last, and
    /// every item's log offset. `message` carries what the items share.
    pub fn append_batch(
        &self,
        topic: &str,
        batch: &[u8],
        message: &Message<'_>,
        now_ms: i64,
    ) -> Result<(Appended, Vec<u64>)> {
        self.state()
            .append_batch(self.settings(), topic, batch, message, now_ms)
    }

    /// Ends a turn. See [`State::write`].
    pub fn write(&self) -> Result<()> {
        let mut state = self.state();
        // A note gets stale only by a turn taken back, and then none is being written.
        if state.is_note_stale && state.log.has_turn() && !state.log.is_handed_out() {
            drop(state);
            let mended = self.mend_note();
            state = self.state();
            if let Err(error) = mended {
                state.discard();
                return Err(error);
            }
        }
        state.write(self.settings())
    }

    /// Writes the `queues` file anew, before records come to where it says a dropped topic's are.
    fn mend_note(&self) -> Result<()> {
        let _note = self.shared.note();
        let now = self.state().queues_file();
        now.write(&*self.shared.disk, &self.settings().root)?;
        self.state().is_note_stale = false;
        Ok(())
    }

    pub fn positions(&self) -> Positions {
        let mut state = self.state();
        state.collect(self.settings());
        state.positions()
    }

    /// Ends a turn and says how far the log has come; and whether the store takes more writes.
    pub fn end_turn(&self) -> Result<(Positions, bool)> {
        self.write()?;
        let mut state = self.state();
        state.collect(self.settings());
        Ok((state.positions(), !state.has_failed()))
    }

    /// Why the store takes no more writes, if so.
    pub fn failure(&self) -> Option<String> {
        let mut state = self.state();
        state.collect(self.settings());
        state.failure()
    }

    /// Why queue units or index entries could not be written last time, if so. Nothing is lost by it
    /// as long as memory for them lasts.
    pub fn persist_failure(&self) -> Option<String> {
        self.shared
            .persist_failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many places of the store are known to be damaged, and the holes in the log.
    pub fn damage(&self) -> (u64, Vec<Hole>) {
        let state = self.state();
        (state.damage.count(), state.damage.holes().to_vec())
    }

    /// What of queues and index is being made anew from the log.
    pub fn rebuild_status(&self) -> RebuildStatus {
        self.state().rebuild_status()
    }

    /// Damage that reads came by since the last call, a sentence each.
    pub fn take_damage_news(&self) -> Vec<String> {
        self.state().damage.take_news()
    }

    /// Queues that grew by commit since the last call: topic, queue id, one past the newest message.
    pub fn take_arrivals(&self) -> Vec<(Arc<str>, i32, i64)> {
        let mut state = self.state();
        state.collect(self.settings());
        let numbers = state.queues.take_arrivals();
        let arrival = |number| {
            let queue = state.queues.queue(number);
            (Arc::clone(&queue.topic), queue.id, queue.count)
        };
        numbers.into_iter().map(arrival).collect()
    }

    /// First readable offset and one past the last; zeros for a queue without messages.
    /// While the queue is being rebuilt nobody knows them: zeros here, an error from
    /// [`Engine::whole_queue_range`].
    pub fn queue_range(&self, topic: &str, queue_id: i32) -> (i64, i64) {
        self.whole_queue_range(topic, queue_id).unwrap_or_default()
    }

    /// The same; refused while the queue is being rebuilt.
    pub fn whole_queue_range(&self, topic: &str, queue_id: i32) -> Result<(i64, i64)> {
        let mut state = self.state();
        state.collect(self.settings());
        // Where a queue file cannot be read the range is the last one known; a read will tell.
        let found = match state.find_queue(topic, queue_id) {
            Err(StoreError::Failed(_)) => state.queues.find(topic, queue_id),
            found => found?,
        };
        Ok(match found {
            Some(number) => {
                let queue = state.queues.queue(number);
                (queue.min, queue.count)
            }
            None => (0, 0),
        })
    }

    pub fn queue_ids(&self, topic: &str) -> Vec<i32> {
        let mut state = self.state();
        state.collect(self.settings());
        state.queues.ids(topic)
    }

    /// Records indexed under the key within the times, oldest first, and the store time and log offset
    /// of the index's newest entry.
    pub fn query_key(
        &self,
        topic: &str,
        key: &str,
        count_max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> Result<(Vec<Vec<u8>>, i64, u64)> {
        let mut state = self.current()?;
        let state = &mut *state;
        let prefix = key_prefix(topic.as_bytes());
        let hash = crate::index_format::key_hash(record::java_hash(prefix, key.as_bytes()));
        let found = state
            .index
            .find(&mut state.cache, hash, count_max, begin_ms, end_ms)?;
        let mut records = Vec::with_capacity(found.len());
        for log_offset in found {
            records.extend(state.record_at(log_offset)?);
        }
        let (timestamp_ms, log_offset) = state.index.last();
        Ok((records, timestamp_ms, log_offset))
    }

    /// Forgets all queues of a topic; its records stay in the log and enter no queue again.
    pub fn drop_topic(&self, topic: &str) -> Result<()> {
        let _note = self.shared.note();
        let _files = self.shared.queue_files();
        let mut state = self.current()?;
        state.drop_topic(topic, &*self.shared.disk, &self.settings().root)
    }

    /// The clean stop: everything written and synced, noted as such, `abort` removed. What fails keeps
    /// `abort`, so that the next start looks closely.
    pub fn close(&self) -> Result<()> {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(mut running) = running else {
            return Ok(());
        };
        running.remover.stop();
        if let Some(rebuilder) = &mut running.rebuilder {
            rebuilder.stop();
        }
        let written = self.write();
        let written = written.and_then(|()| self.state().write_all(self.settings()));
        self.state().stop(self.settings());
        running.persister.stop();
        written?;
        if let Some(failure) = self.state().failure() {
            return Err(StoreError::Failed(failure));
        }
        let mut progress = self.shared.progress();
        let is_whole = !self.state().ongoing.is_any();
        persist(&self.shared, &mut progress, is_whole)?;
        if !is_whole {
            return Ok(()); // `abort` stays: the next start goes on with what is not rebuilt yet
        }
        let root = &self.settings().root;
        let abort = root.join("abort");
        let disk = &self.shared.disk;
        match disk.remove_file(&abort) {
            // An Apache broker that this store's lock refused removes it on its way out.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            removed => removed.map_err(|error| failed("remove", &abort, &error))?,
        }
        disk.sync_dir(root)
            .map_err(|error| failed("sync", root, &error))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Without close() this looks like a crash to the next start, which is what it is.
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.state().stop(self.settings());
        if let Some(mut running) = running {
            if let Some(rebuilder) = &mut running.rebuilder {
                rebuilder.stop();
            }
            running.remover.stop();
            running.persister.stop();
        }
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
