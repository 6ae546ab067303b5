//! The flusher: the thread that makes written bytes survive a power cut.
//!
//! Group commit: one fdatasync covers all that was written before it began. A failed sync is never tried
//! again, because the kernel marks the lost pages clean and a second one would succeed: the store stops
//! taking writes and says why. The promise to producers is kept in `engine.rs`, which moves `commit`
//! only by what is announced here.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::disk::{Disk, DiskFile};
use crate::error::{failed, Result};
use crate::event::Event;

/// A file that says that a sync failed, for the next process: the kernel calls the lost pages clean and
/// shows them all the same, and a sync by that process would succeed without them. A power cut needs no
/// note, it takes the pages too; so the note itself is not synced.
pub struct FailureNote {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl FailureNote {
    pub fn new(disk: Arc<dyn Disk>, root: &Path) -> FailureNote {
        let path = root.join("pyromq").join("sync-failed");
        FailureNote { disk, path }
    }

    pub fn is_there(&self) -> bool {
        self.disk.exists(&self.path)
    }

    /// Says what failed. If even that fails, the next process has no way to know.
    pub fn write(&self, text: &str) {
        if let Ok(file) = self.disk.create(&self.path) {
            drop(file.write_at(text.as_bytes(), 0));
        }
    }

    pub fn remove(&self) -> Result<()> {
        self.disk
            .remove_file(&self.path)
            .map_err(|error| failed("remove", &self.path, &error))
    }
}

struct Work {
    /// Segments with bytes not synced yet.
    dirty: Vec<(PathBuf, Arc<dyn DiskFile>)>,
    /// Log position up to which those bytes reach.
    written: u64,
    /// When the oldest of them was written.
    since: Option<Instant>,
    /// Somebody waits for a sync.
    is_urgent: bool,
    is_stopping: bool,
    /// The thread waits to be told of something; while it syncs it looks by itself when it is done.
    is_waiting: bool,
}

struct Desk {
    work: Mutex<Work>,
    changed: Condvar,
    flushed: AtomicU64,
    has_failed: AtomicBool,
    failure: Mutex<Option<String>>,
    event: Arc<Event>,
    interval: Duration,
    note: FailureNote,
}

/// The thread "rmqlog-flush" and what it is to sync.
pub struct Flusher {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Flusher {
    /// `note` is written when a sync fails.
    pub fn start(
        flushed: u64,
        interval: Duration,
        event: Arc<Event>,
        note: FailureNote,
    ) -> Result<Flusher> {
        let desk = Arc::new(Desk {
            work: Mutex::new(Work {
                dirty: Vec::new(),
                written: flushed,
                since: None,
                is_urgent: false,
                is_stopping: false,
                is_waiting: false,
            }),
            changed: Condvar::new(),
            flushed: AtomicU64::new(flushed),
            has_failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            event,
            interval,
            note,
        });
        let shared = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("rmqlog-flush".to_string())
            .spawn(move || serve(&shared))
            .map_err(|error| failed("start the flusher", &PathBuf::new(), &error))?;
        Ok(Flusher {
            desk,
            thread: Some(thread),
        })
    }

    /// Hands over what a write touched. `is_urgent`: sync now rather than at the interval's end.
    pub fn wrote(&self, files: Vec<(PathBuf, Arc<dyn DiskFile>)>, written: u64, is_urgent: bool) {
        let mut work = hold(&self.desk.work);
        for (path, file) in files {
            if !work
                .dirty
                .iter()
                .any(|(_, known)| Arc::ptr_eq(known, &file))
            {
                work.dirty.push((path, file));
            }
        }
        work.written = written;
        let is_first = work.since.is_none();
        if is_first {
            work.since = Some(Instant::now());
        }
        let is_news = is_first || (is_urgent && !work.is_urgent);
        work.is_urgent |= is_urgent;
        let must_wake = is_news && work.is_waiting;
        // Given back first: who is woken needs it.
        drop(work);
        if must_wake {
            self.desk.changed.notify_all();
        }
    }

    /// What wakes the loop.
    pub fn event(&self) -> Arc<Event> {
        Arc::clone(&self.desk.event)
    }

    /// Log position up to which everything is synced.
    pub fn flushed(&self) -> u64 {
        self.desk.flushed.load(Ordering::Acquire)
    }

    /// Why syncing ended for good, if it has.
    pub fn failure(&self) -> Option<String> {
        if self.desk.has_failed.load(Ordering::Acquire) {
            hold(&self.desk.failure).clone()
        } else {
            None
        }
    }

    /// Syncs what is left and ends the thread.
    pub fn stop(&mut self) {
        hold(&self.desk.work).is_stopping = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                self.desk.fail("the flusher ended unexpectedly".to_string());
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Desk {
    fn fail(&self, text: String) {
        *hold(&self.failure) = Some(text);
        self.has_failed.store(true, Ordering::Release);
        self.event.announce();
    }
}

fn serve(desk: &Desk) {
    let mut work = hold(&desk.work);
    loop {
        let Some(since) = work.since else {
            if work.is_stopping {
                return;
            }
            work.is_waiting = true;
            work = desk
                .changed
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
            work.is_waiting = false;
            continue;
        };
        let left = desk.interval.saturating_sub(since.elapsed());
        if !work.is_urgent && !work.is_stopping && !left.is_zero() {
            work.is_waiting = true;
            let (again, _) = desk
                .changed
                .wait_timeout(work, left)
                .unwrap_or_else(PoisonError::into_inner);
            work = again;
            work.is_waiting = false;
            continue;
        }
        let dirty = std::mem::take(&mut work.dirty);
        let written = work.written;
        work.since = None;
        work.is_urgent = false;
        drop(work);
        if mutant!("acknowledge_before_sync") {
            desk.flushed.store(written, Ordering::Release);
        }
        for (path, file) in &dirty {
            if mutant!("skip_log_sync") {
                continue;
            }
            let mut synced = file.sync_data();
            if mutant!("retry_failed_sync") && synced.is_err() {
                synced = file.sync_data();
            }
            if let Err(error) = synced {
                let text = failed("sync", path, &error).to_string();
                if !mutant!("forget_failed_sync") {
                    desk.note.write(&text);
                }
                desk.fail(text);
                return;
            }
        }
        desk.flushed.store(written, Ordering::Release);
        desk.event.announce();
        work = hold(&desk.work);
    }
}
