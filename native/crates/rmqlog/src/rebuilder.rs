//! The rebuilder: the thread that makes queues and index anew from the log while the store is in use.
//!
//! A start that doubts files which can be made from the log does not read the log for it: it opens the
//! store, and this thread does the work. Meanwhile
//!
//! - a queue that is being rebuilt takes no message and answers no question ([`StoreError::Rebuilding`]);
//!   neither does a queue nobody knows, since the log may hold messages of it. All others serve.
//! - index entries are made in the order of the log: a new message's wait until the thread has come to
//!   it. What a query finds until then is right, but not all there is.
//! - no segment is removed, and the marker goes on telling how far the other queues are safe.
//!
//! `<root>/pyromq/rebuild` names the queues, durably and before any of their files is touched, and goes
//! when they are whole and synced. A start that finds it believes none of their files and begins anew, so
//! it does not matter where a kill or a power cut comes. The index needs no such note: the marker says up
//! to where it is right. Apache's checkpoint says meanwhile that nothing is safe.
//!
//! [`StoreError::Rebuilding`]: crate::error::StoreError::Rebuilding

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::damage::{self, Hole};
use crate::dispatch::{Rebuild, REBUILD_SIZE_MAX};
use crate::engine::Shared;
use crate::error::{failed, Result};
use crate::event::Event;
use crate::file_cache::FileCache;
use crate::index::IndexSet;
use crate::marker::KnownQueue;
use crate::persist::{settle, write_all};
use crate::rebuild_note::{note_found, remove_note};
use crate::remembered::told;
use crate::remove::remove_if_there;
use crate::scan::{LogFiles, Scanner};
use crate::state::State;

/// Time until a rebuild that met an error of the disk goes on.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of log whose records are indexed while the caller's thread has to wait, to catch up with it.
const CATCH_UP_SIZE: u64 = 256 << 10;

/// What is known, while the store is open, of a rebuild that is not done.
#[derive(Debug, Default)]
pub struct Ongoing {
    /// Queues are being rebuilt. Their places were given up to here.
    pub floors: Vec<KnownQueue>,
    has_queues: bool,
    /// The index is complete for records before this; `None` once it is so for all.
    pub index_to: Option<u64>,
    /// Its newest files are being read through, apart from the others.
    pub is_index_split: bool,
    /// Bytes of the log that were gone through, and are to be.
    done: u64,
    size: u64,
    failure: Option<String>,
}

impl Ongoing {
    /// All records before `to` were dispatched.
    fn came_to(&mut self, to: u64, position: &mut u64) {
        self.done += to - *position;
        *position = to;
        if let Some(index_to) = &mut self.index_to {
            *index_to = to.max(*index_to);
        }
    }

    pub fn is_any(&self) -> bool {
        self.has_queues || self.index_to.is_some()
    }
}

/// How a rebuild stands, for those who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildStatus {
    /// Bytes of the log that were gone through, of how many.
    pub done: u64,
    pub size: u64,
    /// Queues known to be unavailable; queues nobody knows are too, as long as `has_queues`.
    pub queue_count: usize,
    pub has_queues: bool,
    /// Queries by key may miss messages.
    pub has_index: bool,
    /// What keeps the rebuild from going on, if anything; it tries again.
    pub failure: Option<String>,
}

impl State {
    pub fn rebuild_status(&self) -> RebuildStatus {
        let ongoing = &self.ongoing;
        let queue_count = if ongoing.has_queues {
            self.queues.rebuilding_count()
        } else {
            0
        };
        RebuildStatus {
            done: ongoing.done,
            size: ongoing.size,
            queue_count,
            has_queues: ongoing.has_queues,
            has_index: ongoing.index_to.is_some(),
            failure: ongoing.failure.clone(),
        }
    }
}

/// What a start leaves to the rebuilder.
pub struct Left {
    /// Queues, with the places that were given.
    pub queues: Option<Vec<KnownQueue>>,
    /// The index, for records from here on.
    pub index_from: Option<u64>,
    /// Index files to be read through first.
    pub index_unread: Option<IndexSet>,
}

/// What is to be rebuilt.
pub struct Job {
    files: LogFiles,
    rebuild: Rebuild,
    /// The next record begins here, or behind a hole.
    position: u64,
    /// Where the log ended at the start. Queues that are rebuilt have nothing behind it.
    end: u64,
    has_queues: bool,
    has_index: bool,
    /// Index files to be read through first.
    unread: Option<IndexSet>,
    /// Index files in which nothing is left.
    remove: Vec<PathBuf>,
    seen_drops: u64,
}

impl Job {
    /// Goes through the log from `position` on, a record's beginning, as far as it reached at the start.
    pub(crate) fn new(
        state: &mut State,
        files: LogFiles,
        rebuild: Rebuild,
        position: u64,
        end: u64,
        left: Left,
    ) -> Job {
        state.ongoing = Ongoing {
            has_queues: left.queues.is_some(),
            floors: left.queues.unwrap_or_default(),
            index_to: left.index_from,
            is_index_split: left.index_unread.is_some(),
            done: 0,
            size: end - position,
            failure: None,
        };
        Job {
            has_queues: state.ongoing.has_queues,
            has_index: left.index_from.is_some(),
            unread: left.index_unread,
            remove: Vec::new(),
            files,
            rebuild,
            position,
            end,
            seen_drops: 0,
        }
    }

    /// Goes on until all is done, or `is_stopping`.
    fn go_on(&mut self, shared: &Shared, is_stopping: &AtomicBool) -> Result<()> {
        self.read_index(shared)?;
        self.walk(shared, is_stopping)?;
        if self.has_queues && !is_stopping.load(Ordering::Relaxed) {
            self.end_queues(shared)?;
        }
        while self.has_index && !is_stopping.load(Ordering::Relaxed) {
            self.catch_up(shared, is_stopping)?;
        }
        Ok(())
    }

    /// Reads index files through whose slots a kill left behind their entries, and puts them back in
    /// their place.
    fn read_index(&mut self, shared: &Shared) -> Result<()> {
        let Some(unread) = &mut self.unread else {
            return Ok(());
        };
        let index_to = shared.state().ongoing.index_to.unwrap_or(0);
        let mut cache = FileCache::default();
        let (resume, remove) = unread.rebuild(&mut cache, 0, index_to, true)?;
        self.remove.extend(remove);
        while let Some(path) = self.remove.last() {
            remove_if_there(&*shared.disk, path)?;
            self.remove.pop();
        }
        let before = shared.state().index.last().1;
        let from = match resume {
            0 if before > 0 => before + 1,
            resume => resume.max(self.files.min),
        };
        if from < index_to {
            // They make no sense up to where the marker says, which must not say it any longer.
            let mut progress = shared.progress();
            for index_to in progress.index_ends() {
                *index_to = from.min(*index_to);
            }
            let root = &shared.settings.root;
            progress.marker.write(&*shared.disk, root, true)?;
            if from < self.position {
                let position = self.files.base_of(from).max(self.files.min);
                shared.state().ongoing.size += self.position - position;
                self.position = position;
            }
            shared.state().ongoing.index_to = Some(from);
        }
        self.rebuild.index_from = from;
        let mut guard = shared.state();
        let state = &mut *guard;
        state.cache.forget_index();
        if let Some(read) = self.unread.take() {
            state.index.join(read);
        }
        state.ongoing.is_index_split = false;
        Ok(())
    }

    /// Dispatches the records up to `end`.
    fn walk(&mut self, shared: &Shared, is_stopping: &AtomicBool) -> Result<()> {
        let holes = shared.state().damage.holes().to_vec();
        let Job {
            files,
            rebuild,
            position,
            end,
            seen_drops,
            ..
        } = self;
        rebuild.holes.clone_from(&holes);
        let mut scanner = Scanner::searching(files, *position, *end, &holes);
        while !is_stopping.load(Ordering::Relaxed) && *position < *end {
            let stop = scanner.seek()?;
            let mut found_holes = scanner.take_holes();
            if let Some(stop) = stop.filter(|stop| stop.reason.is_some()) {
                // Nothing valid up to the end.
                let hole = Hole {
                    from: stop.log_offset,
                    to: *end,
                };
                found_holes.push((hole, stop.reason.unwrap_or_default()));
            }
            if !found_holes.is_empty() {
                rebuild.holes = note_holes(shared, files, &found_holes)?;
            }
            let unwritten = {
                let _files = shared.queue_files();
                let mut guard = shared.state();
                let state = &mut *guard;
                if state.drop_count != *seen_drops {
                    rebuild.drop_anew(state.dropped());
                    *seen_drops = state.drop_count;
                }
                let to = if stop.is_some() {
                    *end
                } else {
                    match scanner.take()? {
                        Ok(found) => {
                            rebuild.dispatch(state, &found)?;
                            if std::mem::take(&mut rebuild.has_found_new) {
                                // Before the persister can write a part of it.
                                note_found(&*shared.disk, &shared.settings.root, &state.queues)?;
                            }
                            found.log_offset + found.size as u64
                        }
                        Err(at) => at.log_offset, // it changed under us: looked at again
                    }
                };
                state.ongoing.came_to(to, position);
                state.queues.tails_size() + state.index.tails_size()
            };
            if unwritten > REBUILD_SIZE_MAX {
                write_all(shared, &mut shared.progress())?;
            }
        }
        Ok(())
    }

    /// The log was gone through: the queues are whole now.
    fn end_queues(&mut self, shared: &Shared) -> Result<()> {
        {
            let _files = shared.queue_files();
            self.rebuild.begin_new_lives(&mut shared.state())?;
        }
        let floors = shared.state().ongoing.floors.clone();
        for floor in &floors {
            let mut state = shared.state();
            self.rebuild.keep_known(&mut state, floor, self.files.min)?;
            if state.queues.tails_size() > REBUILD_SIZE_MAX {
                drop(state);
                write_all(shared, &mut shared.progress())?;
            }
        }
        self.rebuild.skip_lost(&mut shared.state())?;
        if mutant!("rebuild_note_goes_early") {
            remove_note(&*shared.disk, &shared.settings.root)?;
        }
        let settled = settle(shared, &mut shared.progress());
        {
            let mut guard = shared.state();
            let state = &mut *guard;
            for number in state.queues.end_rebuild() {
                state.queues.arrived(number);
            }
            state.ongoing.has_queues = false;
            state.ongoing.floors.clear();
        }
        self.has_queues = false;
        self.rebuild.leave_queues();
        // Where they could not be synced the note stays: the next start makes them once again.
        settled?;
        remove_note(&*shared.disk, &shared.settings.root)
    }

    /// Indexes what was committed since the start. The last few records while nobody can append.
    fn catch_up(&mut self, shared: &Shared, is_stopping: &AtomicBool) -> Result<()> {
        let commit = {
            let mut state = shared.state();
            let commit = state.commit;
            state.ongoing.size += commit - self.end;
            commit
        };
        let dir = self.files.dir.clone();
        let size = self.files.segment_size;
        self.files = LogFiles::list_known(Arc::clone(&shared.disk), dir, size, commit)?;
        self.end = commit;
        if commit - self.position > CATCH_UP_SIZE {
            return self.walk(shared, is_stopping);
        }
        let mut guard = shared.state();
        let state = &mut *guard;
        if state.commit > commit {
            let more = state.commit - commit;
            let is_near = more < CATCH_UP_SIZE
                && self.files.base_of(commit) == self.files.base_of(state.commit);
            if !is_near {
                return Ok(()); // another round
            }
            self.end = state.commit;
            state.ongoing.size += more;
        }
        let mut scanner = Scanner::searching(&self.files, self.position, self.end, &[]);
        while let Ok(found) = scanner.next_record()? {
            self.rebuild.dispatch(state, &found)?;
            let to = found.log_offset + found.size as u64;
            state.ongoing.came_to(to, &mut self.position);
        }
        state.ongoing.came_to(self.end, &mut self.position);
        state.ongoing.index_to = None;
        self.has_index = false;
        Ok(())
    }
}

/// Holes found on the way are noted before anything behind them is made of it.
fn note_holes(
    shared: &Shared,
    files: &LogFiles,
    found: &[(Hole, &'static str)],
) -> Result<Vec<Hole>> {
    let holes = {
        let mut state = shared.state();
        for &(hole, reason) in found {
            state.damage.found_hole(hole, || told(files, hole, reason));
        }
        state.damage.holes().to_vec()
    };
    damage::write_note(&*shared.disk, &shared.settings.root, &holes)?;
    Ok(holes)
}

/// Does the whole job at once, before the store is in use.
pub fn run(shared: &Shared, mut job: Job) -> Result<()> {
    job.go_on(shared, &AtomicBool::new(false))?;
    shared.state().queues.take_arrivals();
    Ok(())
}

#[derive(Default)]
struct Desk {
    is_stopping: AtomicBool,
    pause: Mutex<()>,
    changed: Condvar,
}

/// The thread "rmqlog-rebuild".
pub struct Rebuilder {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Rebuilder {
    /// `event` is announced when queues became whole.
    pub fn start(shared: Arc<Shared>, event: Arc<Event>, job: Job) -> Result<Rebuilder> {
        let desk = Arc::new(Desk::default());
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("rmqlog-rebuild".to_string())
            .spawn(move || serve(&own, &shared, &event, job))
            .map_err(|error| failed("start the rebuilder", Path::new("rmqlog"), &error))?;
        Ok(Rebuilder {
            desk,
            thread: Some(thread),
        })
    }

    /// Tells the thread to end, wherever it is.
    pub fn ask_to_stop(&self) {
        {
            let _pause = self
                .desk
                .pause
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            self.desk.is_stopping.store(true, Ordering::Relaxed);
        }
        self.desk.changed.notify_all();
    }

    /// Whether the thread has come to its end.
    #[cfg(test)]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the thread, wherever it is.
    pub fn stop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join()); // after a panic there the rebuild is as unfinished as after a stop
        }
    }
}

impl Drop for Rebuilder {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(desk: &Desk, shared: &Shared, event: &Event, mut job: Job) {
    loop {
        let answer = job.go_on(shared, &desk.is_stopping);
        event.announce();
        let has_failed = answer.is_err();
        shared.state().ongoing.failure = answer.err().map(|error| error.to_string());
        let pause = desk.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if !has_failed || desk.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        if !job.has_queues && !job.has_index {
            return; // whole, but not safe: the next start does it again
        }
        drop(
            desk.changed
                .wait_timeout_while(pause, RETRY_INTERVAL, |()| {
                    !desk.is_stopping.load(Ordering::Relaxed)
                }),
        );
    }
}
