//! The persister: the thread that brings queue units and index entries to disk, in batches.
//!
//! Nobody waits for it: what it has not written yet is in memory, and what a crash loses is rebuilt from
//! the log. After each round it notes in `pyromq/dispatch` how far it came ("written"), so that a restart
//! need not rebuild more than that; every few seconds it also syncs the files ("synced"), for the case
//! that the power fails, and writes Apache's `checkpoint`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checkpoint::Checkpoint;
use crate::consume_queue::UnitWrite;
use crate::crc_log::{seal, Waiting};
use crate::disk::DiskFile;
use crate::engine::Shared;
use crate::error::{failed, failed_at, Result, StoreError};
use crate::marker::{Marker, Point, QueuesFile};
use crate::unsynced::{is_gone, Unsynced};

/// Time between two syncs of queue and index files; short where tests want to see many.
const SYNC_INTERVAL: Duration = if cfg!(feature = "failpoints") {
    Duration::from_millis(300)
} else {
    Duration::from_secs(10)
};
/// Unwritten queue units copied while the caller's thread may have to wait: in bytes, and in files.
const COPY_SIZE_MAX: usize = 1 << 20;
pub(crate) const COPY_COUNT_MAX: usize = 32;

/// Files of queues written or synced one after the other before the index, whose entries wait in memory
/// meanwhile, gets a turn; few where tests want to see that.
pub(crate) const FILES_BETWEEN: usize = if cfg!(test) { 3 } else { 1024 };

/// What the persister remembers between rounds.
pub struct Progress {
    pub marker: Marker,
    unsynced: Unsynced,
    /// Written but not synced yet; waits until the log itself is flushed that far.
    candidate: Option<Candidate>,
    pub(crate) synced_at: Instant,
    /// Why files of queues or index could not be synced, if so. A second sync would succeed without
    /// them: units and entries behind the marker's safe point are rebuilt by the next start.
    sync_failure: Option<StoreError>,
    /// An earlier process may have left files of queues and index unsynced; which, nobody knows.
    pub has_inherited: bool,
    /// What the `queues` file says now.
    known: Option<QueuesFile>,
}

/// A point and the times that go into Apache's checkpoint with it.
#[derive(Clone, Copy)]
struct Candidate {
    point: Point,
    timestamp_ms: i64,
    index_timestamp_ms: i64,
    /// See `Checkpoint::lowered_to`.
    index_incomplete_from: Option<(i64, u64)>,
    /// Whether the checksums of its records are written, as far as they ever will be.
    is_guarded: bool,
}

impl Progress {
    pub fn new(marker: Marker) -> Progress {
        Progress {
            marker,
            unsynced: Unsynced::default(),
            candidate: None,
            synced_at: Instant::now(),
            sync_failure: None,
            has_inherited: false,
            known: None,
        }
    }

    /// Records from here on are what the marker on disk is compared with at the next start; 0 as long
    /// as it names none.
    pub fn marked_from(&self) -> u64 {
        let from = |point: &Point| {
            if point.last_size > 0 {
                point.last_offset
            } else {
                0
            }
        };
        from(&self.marker.written).min(from(&self.marker.synced))
    }

    /// Up to where the marker calls the index right.
    pub fn index_ends(&mut self) -> [&mut u64; 2] {
        [
            &mut self.marker.written.index_to,
            &mut self.marker.synced.index_to,
        ]
    }

    fn touch(&mut self, path: &Path, file: &Arc<dyn DiskFile>) {
        if self.sync_failure.is_some() {
            return; // none will be synced any more
        }
        self.unsynced.add(path, file);
    }
}

struct Desk {
    is_stopping: Mutex<bool>,
    changed: Condvar,
}

/// The thread "rmqlog-persist".
pub struct Persister {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl Persister {
    pub fn start(shared: Arc<Shared>, interval: Duration) -> Result<Persister> {
        let desk = Arc::new(Desk {
            is_stopping: Mutex::new(false),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("rmqlog-persist".to_string())
            .spawn(move || serve(&own, &shared, interval))
            .map_err(|error| failed("start the persister", Path::new("rmqlog"), &error))?;
        Ok(Persister {
            desk,
            thread: Some(thread),
        })
    }

    pub fn stop(&mut self) {
        *self
            .desk
            .is_stopping
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // Whatever it did not get to is written by close(), or rebuilt by the next start.
            drop(thread.join());
        }
    }
}

impl Drop for Persister {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(desk: &Desk, shared: &Shared, interval: Duration) {
    let mut is_stopping = desk
        .is_stopping
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    while !*is_stopping {
        let (again, waited) = desk
            .changed
            .wait_timeout(is_stopping, interval)
            .unwrap_or_else(PoisonError::into_inner);
        is_stopping = again;
        if *is_stopping || !waited.timed_out() {
            continue;
        }
        drop(is_stopping);
        let mut progress = shared.progress();
        let answer = persist(shared, &mut progress, false);
        shared.note_persist(answer.err());
        drop(progress);
        is_stopping = desk
            .is_stopping
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
    }
}

/// One round. With `is_closing` everything is written, synced and noted as a clean stop.
pub fn persist(shared: &Shared, progress: &mut Progress, is_closing: bool) -> Result<()> {
    let answer = persist_round(shared, progress, is_closing);
    if answer.is_ok() {
        shared.state().marked_from = progress.marked_from();
    }
    answer
}

fn persist_round(shared: &Shared, progress: &mut Progress, is_closing: bool) -> Result<()> {
    let candidate = write_out(shared, progress, is_closing)?;
    if let Some(failure) = &progress.sync_failure {
        return Err(failure.clone());
    }
    let Some(candidate) = candidate else {
        return Ok(());
    };
    let has_moved = progress.marker.written != candidate.point;
    progress.marker.written = candidate.point;
    if progress.candidate.is_none() {
        let is_due = progress.synced_at.elapsed() >= SYNC_INTERVAL;
        let synced = progress.marker.synced;
        let is_behind =
            synced.log_to != candidate.point.log_to || synced.index_to != candidate.point.index_to;
        if is_closing || (is_due && is_behind && candidate.is_guarded) {
            progress.candidate = Some(candidate);
        }
    } else if is_closing {
        progress.candidate = Some(candidate);
    }
    let flushed = shared.state().synced();
    let ready = progress
        .candidate
        .filter(|candidate| flushed >= candidate.point.log_to);
    if let Some(ready) = ready {
        if mutant!("marker_before_queues") {
            progress.marker.synced = ready.point;
            progress
                .marker
                .write(&*shared.disk, &shared.settings.root, true)?;
        }
        if let Err(failure) = sync_files(shared, progress) {
            progress.sync_failure = Some(failure.clone());
            progress.unsynced.clear();
            progress.marker.written = progress.marker.synced;
            progress
                .marker
                .write(&*shared.disk, &shared.settings.root, true)?;
            return Err(failure);
        }
        note_queues(shared, progress)?;
        progress.marker.synced = ready.point;
        progress.marker.is_clean = is_closing || mutant!("clean_too_early");
        progress.candidate = None;
        progress.synced_at = Instant::now();
        write_checkpoint(shared, &ready)?;
        progress
            .marker
            .write(&*shared.disk, &shared.settings.root, true)?;
    } else if is_closing {
        return Err(StoreError::Failed(format!(
            "closing: the log is flushed to {flushed} only, not to {}",
            candidate.point.log_to
        )));
    } else if has_moved {
        progress
            .marker
            .write(&*shared.disk, &shared.settings.root, false)?;
    }
    Ok(())
}

/// Writes the units and entries there are now; answers how far that reaches.
fn write_out(
    shared: &Shared,
    progress: &mut Progress,
    is_closing: bool,
) -> Result<Option<Candidate>> {
    let (mut candidate, dirty) = {
        let mut state = shared.state();
        let timestamp_ms = state
            .last_committed
            .map_or(0, |last| last.store_timestamp_ms);
        let point = state.point(
            progress.marker.written.index_to,
            shared.settings.index_enabled,
        )?;
        let candidate = Candidate {
            point,
            timestamp_ms,
            index_timestamp_ms: 0,
            index_incomplete_from: None,
            is_guarded: false,
        };
        let dirty = state.queues.take_dirty();
        let written = progress.marker.written;
        let has_moved = point.log_to != written.log_to
            || point.index_to != written.index_to
            || !dirty.is_empty();
        // A store that has gone quiet is synced, too: else no start could begin behind its first
        // segments, and none of them could be removed.
        let is_behind = progress.marker.synced.log_to != point.log_to
            && progress.synced_at.elapsed() >= SYNC_INTERVAL;
        if !has_moved && progress.candidate.is_none() && !is_behind && !is_closing {
            return Ok(None);
        }
        (candidate, dirty)
    };
    candidate.is_guarded = write_crcs(shared);
    seal_full(shared, progress);
    write_queues(shared, progress, &dirty)?;
    write_index(shared, progress, is_closing)?;
    let state = shared.state();
    let known = progress.marker.written;
    let is_whole = shared.settings.index_enabled && !state.ongoing.is_index_split;
    (candidate.point.index_name, candidate.point.index_count) = if is_whole {
        state.index.persisted()
    } else {
        (known.index_name, known.index_count)
    };
    if is_closing {
        candidate.index_timestamp_ms = state.index.last().0;
    } else {
        candidate.index_timestamp_ms = state.index.sealed_timestamp_ms();
        candidate.index_incomplete_from = state.index.unsealed_begin();
    }
    Ok(Some(candidate))
}

/// Writes the checksums that are still in memory. False: somebody else is writing some, and the next round
/// gets the pen; until then no record is called safe that was not before.
pub(crate) fn write_crcs(shared: &Shared) -> bool {
    let waiting = shared.state().log.crcs().take_all();
    match waiting {
        Waiting::Nothing => true,
        Waiting::Some(mut work) => {
            work.write();
            shared.state().log.crcs().wrote(work);
            true
        }
        Waiting::Away => mutant!("crcs_not_waited_for"),
    }
}

/// Seals the checksums of segments that became full, and has what was written of them synced with the rest.
fn seal_full(shared: &Shared, progress: &mut Progress) {
    let (full, touched, dir, segment_size) = {
        let mut state = shared.state();
        let size = state.log.segment_size();
        let crcs = state.log.crcs();
        let dir = crcs.dir().to_path_buf();
        (crcs.take_full(), crcs.take_touched(), dir, size)
    };
    for (path, file) in touched {
        if !mutant!("crcs_not_synced") {
            progress.touch(&path, &file);
        }
    }
    for base in full {
        if let Some((path, file)) = seal(&*shared.disk, &dir, base, segment_size) {
            progress.touch(&path, &file);
        }
    }
}

/// Writes all units and entries there are, without noting it: a long rebuild frees memory.
pub fn write_all(shared: &Shared, progress: &mut Progress) -> Result<()> {
    let dirty = shared.state().queues.take_dirty();
    write_queues(shared, progress, &dirty)?;
    write_index(shared, progress, false)
}

fn write_queues(shared: &Shared, progress: &mut Progress, dirty: &[u32]) -> Result<()> {
    let mut begun = 0;
    let answer = write_queues_from(shared, progress, dirty, &mut begun);
    if answer.is_err() {
        let mut state = shared.state();
        for (place, &number) in dirty.iter().enumerate() {
            state.queues.write_later(number, place < begun);
        }
    }
    answer
}

/// `begun`: of so many the writing has begun.
fn write_queues_from(
    shared: &Shared,
    progress: &mut Progress,
    dirty: &[u32],
    begun: &mut usize,
) -> Result<()> {
    // The last one begun, if not all of it is written, and up to where: what comes meanwhile is the next
    // round's.
    let mut rest: Option<(u32, i64)> = None;
    let mut written_count = 0;
    loop {
        if written_count > FILES_BETWEEN {
            written_count = 0;
            // What fails is told behind the queues, which do not wait for it.
            drop(write_index(shared, progress, false));
        }
        let _files = shared.queue_files();
        let mut writes = Vec::new();
        let file_size = {
            let mut guard = shared.state();
            let state = &mut *guard;
            let mut left = COPY_SIZE_MAX;
            while left > 0 && writes.len() < COPY_COUNT_MAX {
                let (number, upto) = match rest.take() {
                    Some(rest) => rest,
                    None => match dirty.get(*begun) {
                        Some(&number) => {
                            *begun += 1;
                            (number, state.queues.begin_write(number))
                        }
                        None => break,
                    },
                };
                let write = state.queues.write_of(&mut state.cache, number, upto, left);
                let Some(write) = write else {
                    continue;
                };
                left = left.saturating_sub(write.bytes.len());
                let is_partial = write.upto < upto;
                writes.push(write);
                if is_partial {
                    rest = Some((number, upto)); // it begins behind what is written now
                    break;
                }
            }
            state.queues.file_size()
        };
        if writes.is_empty() {
            return Ok(());
        }
        written_count += writes.len();
        let mut created = Vec::new();
        let written = writes
            .iter_mut()
            .try_for_each(|write| write_units(shared, progress, write, file_size, &mut created));
        let mut guard = shared.state();
        let state = &mut *guard;
        state.queues.were_created(created);
        written?;
        for write in &writes {
            state.queues.was_written(&mut state.cache, write);
        }
    }
}

fn write_units(
    shared: &Shared,
    progress: &mut Progress,
    write: &mut UnitWrite,
    file_size: u64,
    created: &mut Vec<PathBuf>,
) -> Result<()> {
    let file = write.open(&*shared.disk, file_size, created)?;
    file.write_at(&write.bytes, write.at).map_err(|short| {
        let at = write.at + short.written as u64;
        failed_at("write", &write.path, at, &short.source)
    })?;
    progress.touch(&write.path, &file);
    Ok(())
}

fn write_index(shared: &Shared, progress: &mut Progress, is_closing: bool) -> Result<()> {
    loop {
        let write = {
            let mut guard = shared.state();
            let state = &mut *guard;
            match state.index.take_write(&mut state.cache, is_closing)? {
                Some(write) => write,
                None => return Ok(()),
            }
        };
        for run in write.runs() {
            let (at, parts) = run;
            if let Err(short) = write.file.write_vectored_at(&parts, at) {
                shared.state().index.was_not_written(&write);
                return Err(failed_at("write", &write.path, at, &short.source));
            }
        }
        progress.touch(&write.path, &write.file);
        shared.state().index.was_written(&write);
    }
}

/// Writes and syncs what a rebuild of queues made, and notes which queues there are now.
pub fn settle(shared: &Shared, progress: &mut Progress) -> Result<()> {
    write_all(shared, progress)?;
    if let Some(failure) = &progress.sync_failure {
        return Err(failure.clone());
    }
    if let Err(failure) = sync_files(shared, progress) {
        progress.sync_failure = Some(failure.clone());
        progress.unsynced.clear();
        return Err(failure);
    }
    note_queues(shared, progress)
}

/// Syncs everything written since the last time, names of new files included.
fn sync_files(shared: &Shared, progress: &mut Progress) -> Result<()> {
    // What is written meanwhile is the next sync's.
    let unsynced = std::mem::take(&mut progress.unsynced);
    unsynced.sync(&*shared.disk, || {
        drop(write_index(shared, progress, false)); // what fails is told in the next round
    })?;
    if progress.has_inherited {
        for name in ["consumequeue", "index", "pyromq/crc"] {
            sync_tree(shared, &shared.settings.root.join(name))?;
        }
        sync_dir(shared, &shared.settings.root)?;
        progress.has_inherited = false;
    }
    let created = shared.state().take_created();
    let mut dirs = BTreeSet::new();
    for path in &created {
        let inside = path
            .ancestors()
            .skip(1)
            .take_while(|dir| *dir != shared.settings.root);
        dirs.extend(inside.map(Path::to_path_buf));
        dirs.insert(shared.settings.root.clone());
    }
    for dir in &dirs {
        match shared.disk.sync_dir(dir) {
            Err(error) if !is_gone(&error) => return Err(failed("sync", dir, &error)),
            _ => {} // a topic that is dropped may take it away at any time
        }
    }
    Ok(())
}

fn sync_dir(shared: &Shared, dir: &Path) -> Result<()> {
    shared
        .disk
        .sync_dir(dir)
        .map_err(|error| failed("sync", dir, &error))
}

/// Syncs a directory with all that is in it, as it is now. A topic dropped meanwhile may take its
/// files away.
fn sync_tree(shared: &Shared, top: &Path) -> Result<()> {
    let mut dirs = vec![top.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        let entries = shared
            .disk
            .list(&dir)
            .map_err(|error| failed("list", &dir, &error))?;
        for entry in entries {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                dirs.push(path);
                continue;
            }
            match shared.disk.open(&path).and_then(|file| file.sync_data()) {
                Err(error) if !is_gone(&error) => return Err(failed("sync", &path, &error)),
                _ => {}
            }
        }
        match shared.disk.sync_dir(&dir) {
            Err(error) if !is_gone(&error) => return Err(failed("sync", &dir, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// Writes which queues there are now, and how long.
fn note_queues(shared: &Shared, progress: &mut Progress) -> Result<()> {
    let _note = shared.note();
    let now = shared.state().queues_file();
    if progress.known.as_ref() != Some(&now) {
        now.write(&*shared.disk, &shared.settings.root)?;
        progress.known = Some(now);
    }
    Ok(())
}

fn write_checkpoint(shared: &Shared, candidate: &Candidate) -> Result<()> {
    if shared.state().ongoing.is_any() {
        return Ok(()); // the start's stays, by which Apache looks through the whole log
    }
    let checkpoint = Checkpoint {
        log_timestamp_ms: candidate.timestamp_ms,
        queues_timestamp_ms: candidate.timestamp_ms,
        index_timestamp_ms: candidate.index_timestamp_ms,
        queues_log_offset: candidate.point.last_offset as i64,
        ..Checkpoint::default()
    }
    .lowered_to(candidate.index_incomplete_from);
    checkpoint.write(
        &*shared.disk,
        &shared.settings.root.join("checkpoint"),
        true,
    )
}
