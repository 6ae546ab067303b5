//! Removing what is old: the oldest segment of the log, then the queue and index files whose records
//! went with it. Which segment, and when, is decided above; here it is done, off the caller's thread,
//! because giving back a gigabyte can take a file system long.
//!
//! The caller's thread takes a segment out of the log in memory: from then on no read finds it. The
//! thread "rmqlog-remove" removes the files one by one, in the order they were handed over, each
//! segment's name for good (directory synced) before the next file. So a stop at any point leaves a log
//! without holes, and queue and index files at most too many. The next start takes the log's beginning
//! from the files it finds. A segment that cannot be removed is tried again before any other file.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::crc_file::dir_of;
use crate::disk::Disk;
use crate::engine::{Engine, Shared};
use crate::error::{failed, Result};
use crate::file_cache::FileKey;
use crate::queue_unit::UNIT_SIZE;
use crate::segment::base_of;

/// Time until a file that could not be removed is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The oldest segment of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldestSegment {
    pub log_offset: u64,
    pub end: u64,
    /// When its file was last written, in ms since 1970; `None` where the disk does not tell.
    pub modified_ms: Option<i64>,
}

enum Task {
    Segment(PathBuf),
    /// Queue and index files whose records are gone, with a pause after each.
    Derived(Duration),
}

#[derive(Default)]
struct Desk {
    tasks: VecDeque<Task>,
    /// Why the first of them could not be done, if it was tried.
    failure: Option<String>,
    is_stopping: bool,
}

/// What is to be removed, shared by the engine and its thread.
#[derive(Default)]
pub struct Removals {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Removals {
    fn hold(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, task: Task) {
        self.hold().tasks.push_back(task);
        self.changed.notify_all();
    }

    /// Waits that long; answers whether the thread is to end.
    fn pause(&self, time: Duration) -> bool {
        let desk = self.hold();
        if desk.is_stopping || time.is_zero() {
            return desk.is_stopping;
        }
        let (desk, _) = self
            .changed
            .wait_timeout_while(desk, time, |desk| !desk.is_stopping)
            .unwrap_or_else(PoisonError::into_inner);
        desk.is_stopping
    }
}

/// The thread "rmqlog-remove".
pub struct Remover {
    removals: Arc<Removals>,
    thread: Option<JoinHandle<()>>,
}

impl Remover {
    pub fn start(shared: Arc<Shared>) -> Result<Remover> {
        let removals = Arc::new(Removals::default());
        let own = Arc::clone(&removals);
        let thread = std::thread::Builder::new()
            .name("rmqlog-remove".to_string())
            .spawn(move || serve(&own, &shared))
            .map_err(|error| failed("start the remover", Path::new("rmqlog"), &error))?;
        Ok(Remover {
            removals,
            thread: Some(thread),
        })
    }

    pub fn desk(&self) -> Arc<Removals> {
        Arc::clone(&self.removals)
    }

    /// Ends the thread. Files it has not come to stay; they are found by the next start.
    pub fn stop(&mut self) {
        self.removals.hold().is_stopping = true;
        self.removals.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // a panic there has nothing more to tell here
        }
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Engine {
    /// The oldest segment if it may be removed: it is not the one being written, all its records are
    /// committed, and the next start does not need it.
    pub fn oldest_segment(&self) -> Result<Option<OldestSegment>> {
        let state = self.current()?;
        if !state.is_oldest_removable() {
            return Ok(None);
        }
        let log_offset = state.log.min();
        let path = state.log.path_of(log_offset);
        let modified_ms = self
            .shared()
            .disk
            .modified_ms(&path)
            .map_err(|error| failed("look at", &path, &error))?;
        Ok(Some(OldestSegment {
            log_offset,
            end: log_offset + state.log.segment_size(),
            modified_ms,
        }))
    }

    /// Takes the oldest segment out of the log, if it is the one at `log_offset` and may go, and has its
    /// file removed. Answers whether it did.
    pub fn remove_segment(&self, log_offset: u64) -> Result<bool> {
        let mut guard = self.current()?;
        let state = &mut *guard;
        if state.log.min() != log_offset || !state.is_oldest_removable() {
            return Ok(false);
        }
        let path = state.log.leave_oldest(&mut state.cache);
        state.damage.forget_before(state.log.min());
        self.removals().hand_over(Task::Segment(path));
        Ok(true)
    }

    /// Has the queue and index files removed whose records are gone from the log; never the last file of
    /// a queue or of the index. `pause` after each file.
    pub fn remove_derived(&self, pause: Duration) {
        let mut desk = self.removals().hold();
        if !matches!(desk.tasks.back(), Some(Task::Derived(_))) {
            desk.tasks.push_back(Task::Derived(pause));
            self.removals().changed.notify_all();
        }
    }

    /// How many removals are not done yet, and why the first of them could not be, if it was tried.
    pub fn removals_left(&self) -> (usize, Option<String>) {
        let desk = self.removals().hold();
        (desk.tasks.len(), desk.failure.clone())
    }

    /// First position of the log that is still there.
    pub fn log_min(&self) -> u64 {
        self.state().log.min()
    }

    /// Refuses appends that would end behind `end`, with `reason`, until told otherwise.
    pub fn limit_appends(&self, end: u64, reason: Option<String>) {
        self.state().limit_appends(end, reason);
    }
}

fn serve(removals: &Removals, shared: &Shared) {
    loop {
        let mut desk = removals.hold();
        while desk.tasks.is_empty() && !desk.is_stopping {
            desk = removals
                .changed
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if desk.is_stopping {
            return;
        }
        // The task stays in the queue until it is done: it counts as one that is left.
        let task = match desk.tasks.front() {
            Some(Task::Segment(path)) => Task::Segment(path.clone()),
            Some(Task::Derived(pause)) => Task::Derived(*pause),
            None => continue,
        };
        drop(desk);
        let answer = match task {
            Task::Segment(path) => remove_segment_file(shared, &path),
            Task::Derived(pause) => remove_derived(removals, shared, pause),
        };
        let mut desk = removals.hold();
        desk.failure = answer.err().map(|error| error.to_string());
        if desk.failure.is_none() || matches!(desk.tasks.front(), Some(Task::Derived(_))) {
            desk.tasks.pop_front(); // what is left of queue and index files is the next round's
            continue;
        }
        drop(desk);
        if removals.pause(RETRY_INTERVAL) {
            return;
        }
    }
}

fn remove_segment_file(shared: &Shared, path: &Path) -> Result<()> {
    remove_if_there(&*shared.disk, path)?;
    // One that a stop leaves behind is removed by the next start.
    let crcs = dir_of(&shared.settings.root);
    remove_if_there(
        &*shared.disk,
        &crcs.join(path.file_name().unwrap_or_default()),
    )?;
    let dir = path.parent().unwrap_or(path);
    shared
        .disk
        .sync_dir(dir)
        .map_err(|error| failed("sync", dir, &error))
}

/// Goes on behind a queue whose files make trouble; answers the first trouble.
fn remove_derived(removals: &Removals, shared: &Shared, pause: Duration) -> Result<()> {
    let numbers = shared.state().queues.numbers();
    let mut answer = Ok(());
    for number in numbers {
        match remove_of_queue(removals, shared, number, pause) {
            Ok(true) => return answer,
            Ok(false) => {}
            Err(error) => answer = answer.and(Err(error)),
        }
    }
    loop {
        let path = {
            let mut guard = shared.state();
            let state = &mut *guard;
            let log_min = state.log.min();
            match state.index.leave_oldest(&mut state.cache, log_min) {
                Some(path) => path,
                None => return answer,
            }
        };
        answer = answer.and(remove_if_there(&*shared.disk, &path));
        if removals.pause(pause) {
            return answer;
        }
    }
}

/// Answers whether the thread is to end.
fn remove_of_queue(
    removals: &Removals,
    shared: &Shared,
    number: u32,
    pause: Duration,
) -> Result<bool> {
    let (dir, upto) = {
        let mut guard = shared.state();
        let state = &mut *guard;
        let queue = state.queues.queue(number);
        if queue.is_dropped || queue.is_rebuilding {
            return Ok(false);
        }
        let log_min = state.log.min();
        state
            .queues
            .correct_min(&mut state.cache, number, log_min)?;
        match state.queues.expired_to(number) {
            Some(upto) => (state.queues.queue_dir(number), upto),
            None => return Ok(false),
        }
    };
    let entries = shared
        .disk
        .list(&dir)
        .map_err(|error| failed("list", &dir, &error))?;
    let is_old = |name: &str| base_of(name).filter(|&base| base < upto);
    for (base, name) in entries
        .iter()
        .filter_map(|entry| Some((is_old(&entry.name)?, &entry.name)))
    {
        // Held so that the topic is not dropped, and made anew, between the look and the removal.
        let note = shared.note();
        {
            let mut state = shared.state();
            if state.queues.queue(number).is_dropped {
                return Ok(false);
            }
            let key = FileKey::Queue(number, base / UNIT_SIZE as u64);
            state.cache.forget(key);
        }
        remove_if_there(&*shared.disk, &dir.join(name))?;
        drop(note);
        if removals.pause(pause) {
            return Ok(true);
        }
    }
    shared.state().queues.was_cleaned(number, upto);
    Ok(false)
}

/// Removes a file that may be gone already.
pub fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        answer => answer.map_err(|error| failed("remove", path, &error)),
    }
}
