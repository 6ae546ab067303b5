//! Carries out what `recover.rs` decided, and brings the store to life.
//!
//! The order makes a crash in between harmless: first `abort` and a marker that is not clean, then the
//! log's torn end, then queues and index. `abort` and the marker are synced, unless an earlier start did
//! it and nothing was taken back since: after a kill gigabytes may wait in the kernel, and syncing
//! behind them would take seconds. A store that a power cut makes look cleanly stopped, or Apache's,
//! would have its queues and index believed too far.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{Checkpoint, CONFIRM_OURS};
use crate::commit_log::CommitLog;
use crate::consume_queue::QueueTable;
use crate::crc_log::settle;
use crate::damage::{self, Damage};
use crate::disk::{Disk, Held};
use crate::dispatch::{Rebuild, REBUILD_SIZE_MAX};
use crate::engine::Shared;
use crate::error::{failed, failed_at, Result, StoreError};
use crate::event::Event;
use crate::file_cache::FileCache;
use crate::flush::{FailureNote, Flusher};
use crate::found_queues::FoundQueue;
use crate::marker::Point;
use crate::pace::Pace;
use crate::persist::{write_all, Progress};
use crate::rebuild_note::{note_found, remove_note, RebuildNote};
use crate::rebuilder::{Job, Left};
use crate::record;
use crate::recover::{Dropped, Survey};
use crate::reread::survey_from_device;
use crate::scan::Scanner;
use crate::settings::Settings;
use crate::state::State;

const LOCK_TEXT: &[u8] = b"lock";

/// A store ready to run.
pub struct Opened {
    pub shared: Shared,
    pub lock: Box<dyn Held>,
    pub notes: Vec<String>,
    /// What of it is still to be made.
    pub job: Option<Job>,
}

/// Takes the directory and opens what is in it.
pub fn open(disk: Arc<dyn Disk>, settings: Settings, event: &Arc<Event>) -> Result<Opened> {
    let root = settings.root.clone();
    if !disk.exists(&root) {
        disk.create_dir_all(&root)
            .map_err(|error| failed("create", &root, &error))?;
    }
    if !disk.exists(&root.join("commitlog")) {
        // A new store: what is acknowledged later must not hang on a directory a power cut forgets.
        for dir in root.ancestors().filter(|dir| disk.exists(dir)) {
            drop(disk.sync_dir(dir)); // not all of them are ours to open
        }
    }
    let path = root.join("lock");
    let lock = disk
        .lock(&path)
        .map_err(|error| failed("lock", &path, &error))?;
    let Some(lock) = lock else {
        return Err(StoreError::Occupied(format!(
            "{}: another process has this store open",
            root.display()
        )));
    };
    let mut cache = FileCache::default();
    let failure_note = FailureNote::new(Arc::clone(&disk), &root);
    let had_failed = failure_note.is_there();
    let survey = match survey_from_device(
        &disk,
        &settings,
        &mut cache,
        had_failed && !mutant!("lost_pages_believed"),
    ) {
        Ok(survey) => survey,
        Err(error) => {
            if lock.is_new() {
                // Nothing may be different afterwards, not even by a lock file.
                disk.remove_file(&path)
                    .map_err(|error| failed("remove", &path, &error))?;
            }
            return Err(error);
        }
    };
    lock.write_text(LOCK_TEXT)
        .map_err(|error| failed("write", &path, &error))?;
    note_holes(&*disk, &survey, &root)?;
    // Where Apache was, from here on entries count again: those of what it wrote over must be gone.
    settle(&*disk, &root, &survey.files, u64::MAX)?;
    note_rebuild(&*disk, &survey, &root)?;
    begin(&*disk, &survey, &root)?;
    clear_log_end(&*disk, &survey)?;
    // Not before the log's end is durable: a record behind it that only its entry tells from a good one
    // would be believed by the next start.
    if !mutant!("stale_crcs_stay") {
        settle(&*disk, &root, &survey.files, survey.end)?;
    }
    if let Err(error) = sync_log(&survey) {
        failure_note.write(&error.to_string());
        return Err(error);
    }
    if had_failed {
        failure_note.remove()?;
    }
    let notes = survey.notes.clone();
    let (shared, job) = build(disk, settings, survey, cache, event)?;
    Ok(Opened {
        shared,
        lock,
        notes,
        job,
    })
}

/// Holes are noted before anything is changed, and how far queues reached into them: what a crash
/// leaves of this start must not forget it.
fn note_holes(disk: &dyn Disk, survey: &Survey, root: &Path) -> Result<()> {
    let path = damage::note_path(root);
    if survey.holes.is_empty() && !disk.exists(&path) {
        return Ok(());
    }
    make_own_dir(disk, root)?;
    damage::write_note(disk, root, &survey.holes)?;
    match &survey.queues_note {
        Some(note) => note.write(disk, root),
        None => Ok(()),
    }
}

/// From here on the files of these queues are not to be believed.
fn note_rebuild(disk: &dyn Disk, survey: &Survey, root: &Path) -> Result<()> {
    if !survey.has_waiting_queues() || mutant!("rebuild_not_noted") {
        return Ok(());
    }
    make_own_dir(disk, root)?;
    let note = RebuildNote {
        is_whole: survey.are_all_waiting,
        queues: survey.waiting.clone(),
    };
    note.write(disk, root)
}

fn make_own_dir(disk: &dyn Disk, root: &Path) -> Result<()> {
    let own = root.join("pyromq");
    if !disk.exists(&own) {
        disk.create_dir_all(&own)
            .map_err(|error| failed("create", &own, &error))?;
    }
    Ok(())
}

/// From here on a stop is an unclean one, until close() says otherwise.
fn begin(disk: &dyn Disk, survey: &Survey, root: &Path) -> Result<()> {
    make_own_dir(disk, root)?;
    let own = root.join("pyromq");
    let abort = root.join("abort");
    let file = disk
        .create(&abort)
        .map_err(|error| failed("create", &abort, &error))?;
    let pid = std::process::id().to_string();
    file.set_len(0)
        .map_err(|error| failed("empty", &abort, &error))?;
    file.write_at(pid.as_bytes(), 0)
        .map_err(|short| failed_at("write", &abort, 0, &short.source))?;
    let mut marker = starting_marker(disk, survey);
    // A marker that is durable already, not clean, and vouches for no more than the new one does: then
    // a power cut may take the new one back.
    let is_known = !survey.marker.is_clean
        && survey.marker.synced != Point::default()
        && survey.marker.synced == marker.synced
        || mutant!("start_marker_not_durable");
    marker.write(disk, root, !is_known)?;
    let path = root.join("checkpoint");
    // An empty one, of a start that was interrupted, says as little as none: the marker counts only
    // beside a checkpoint that is ours.
    let known = Checkpoint::read(disk, &path)?;
    let waits = survey.has_waiting_queues() || survey.index_waits;
    let now = if waits {
        Checkpoint::default() // whoever opens this before the rebuild is done must look at all of the log
    } else {
        Checkpoint {
            confirm_log_offset: CONFIRM_OURS,
            ..known.unwrap_or_default()
        }
        // Entries are added to the newest index file, which a clean stop calls complete; Apache's broker,
        // too, believes only those that are full.
        .lowered_to(survey.index.unsealed_begin())
    };
    if known != Some(now) {
        now.write(disk, &path, !is_known || waits)?;
    }
    let sync = |path: &Path, synced: std::io::Result<()>| {
        synced.map_err(|error| failed("sync", path, &error))
    };
    // A process killed between the renaming of a note and its sync leaves one that this start believes.
    sync(&own, disk.sync_dir(&own))?;
    if is_known {
        return Ok(());
    }
    sync(&abort, file.sync_data())?;
    sync(&path, disk.open(&path).and_then(|file| file.sync_data()))?;
    sync(root, disk.sync_dir(root))
}

fn starting_marker(disk: &dyn Disk, survey: &Survey) -> crate::marker::Marker {
    let mut marker = survey.marker.clone();
    marker.is_clean = false;
    marker.boot_id = disk.boot_id().unwrap_or_default();
    marker.written = survey.base_point;
    if survey.base_point == Point::default() || marker.synced.log_to > survey.base_point.log_to {
        marker.synced = survey.base_point;
    }
    marker.synced.index_to = marker.synced.index_to.min(survey.base_point.index_to);
    marker
}

/// Makes the bytes behind the log's end zero, so that nothing there can later pass for a record, and
/// gives short segments the length Apache wants.
fn clear_log_end(disk: &dyn Disk, survey: &Survey) -> Result<()> {
    let files = &survey.files;
    if let Some(empty) = &survey.files.empty_last {
        disk.remove_file(empty)
            .map_err(|error| failed("remove", empty, &error))?;
    }
    for (base, len) in files.odd_sizes() {
        if len < files.segment_size {
            let path = files.path_of(base);
            let file = files.open(base)?;
            file.set_len(files.segment_size)
                .map_err(|error| failed("set the length of", &path, &error))?;
            file.sync_data()
                .map_err(|error| failed("sync", &path, &error))?;
        }
    }
    if let Some(from) = survey.zero_from.filter(|_| !mutant!("torn_tail_stays")) {
        for base in files.bases_from(from) {
            let path = files.path_of(base);
            let file = files.open(base)?;
            let at = from.max(base) - base;
            file.zero(at, files.segment_size - at)
                .map_err(|error| failed_at("clear", &path, at, &error))?;
            file.sync_data()
                .map_err(|error| failed("sync", &path, &error))?;
        }
    }
    if let Some(from) = survey.blank_at {
        let base = files.base_of(from);
        let path = files.path_of(base);
        let at = from - base;
        let mut blank = Vec::new();
        record::encode_blank(files.segment_size - at, &mut blank);
        let file = files.open(base)?;
        file.write_at(&blank, at)
            .map_err(|short| failed_at("write", &path, at, &short.source))?;
        file.sync_data()
            .map_err(|error| failed("sync", &path, &error))?;
    }
    Ok(())
}

/// What a killed process wrote counts as flushed from here on, so it must be: later syncs are of the
/// newest segment only.
fn sync_log(survey: &Survey) -> Result<()> {
    let files = &survey.files;
    let Some(from) = survey.unsynced_from else {
        return Ok(());
    };
    if mutant!("start_syncs_nothing") {
        return Ok(());
    }
    for base in files.bases_from(from).take_while(|&base| base < survey.end) {
        files
            .open(base)?
            .sync_data()
            .map_err(|error| failed("sync", &files.path_of(base), &error))?;
    }
    Ok(())
}

fn build(
    disk: Arc<dyn Disk>,
    settings: Settings,
    survey: Survey,
    mut cache: FileCache,
    event: &Arc<Event>,
) -> Result<(Shared, Option<Job>)> {
    let queue_dir = settings.root.join("consumequeue");
    let mut queues = QueueTable::new(Arc::clone(&disk), queue_dir, survey.queue_file_size);
    let mut begin_lost = HashSet::new();
    for found in &survey.queues {
        open_queue(&mut queues, &mut cache, found)?;
        if found.has_lost_first {
            begin_lost.extend(queues.find(&found.topic, found.id));
        }
    }
    queues.is_partial = survey.has_waiting_queues();
    for known in &survey.waiting {
        let number = queues.find_or_add(&known.topic, known.id);
        queues.queue_mut(number).is_rebuilding = true;
    }
    for path in &survey.index_remove {
        disk.remove_file(path)
            .map_err(|error| failed("remove", path, &error))?;
    }
    if !mutant!("removed_index_stays_open") {
        cache.forget_index();
    }
    let was_killed = survey.unsynced_from.is_some();
    let files = survey.files;
    let interval = Duration::from_millis(settings.flush_interval_ms.max(1));
    let note = FailureNote::new(Arc::clone(&disk), &settings.root);
    let flusher = Flusher::start(survey.end, interval, Arc::clone(event), note)?;
    let log = CommitLog::open(
        Arc::clone(&disk),
        files.dir.clone(),
        files.segment_size,
        settings.reserve_ahead,
        files.min,
        survey.end,
    )?;
    let mut dropped = survey.dropped;
    let is_note_stale = dropped.iter().any(|gone| gone.log_to > survey.end);
    dropped.retain(|gone| gone.log_to > files.min);
    for gone in &mut dropped {
        gone.log_to = gone.log_to.min(survey.end);
    }
    let mut rebuild = Rebuild {
        queues_from: survey.queues_from,
        index_from: if settings.index_enabled && !survey.index_waits {
            survey.index_from
        } else {
            u64::MAX
        },
        dropped: Dropped::new(&dropped),
        holes: survey.holes.clone(),
        delay_levels_ms: settings.delay_levels_ms.clone(),
        new_lives: HashMap::new(),
        is_late: false,
        begin_lost,
        has_found_new: false,
    };
    let mut state = State::new(
        log,
        queues,
        survey.index,
        cache,
        flusher,
        survey.last,
        dropped,
    );
    state.is_note_stale = is_note_stale;
    state.damage = Damage::new(rebuild.holes.clone());
    let mut progress = Progress::new(starting_progress(&*disk, &settings.root)?);
    progress.has_inherited = was_killed && !mutant!("inherited_not_synced");
    state.pace = Pace::new(Duration::from_millis(settings.slow_write_ms));
    let shared = Shared::new(disk, settings, state);
    let mut scanner = Scanner::between(&files, survey.dispatch_from, survey.end, &survey.holes);
    while let Ok(found) = scanner.next_record()? {
        let unwritten = {
            let mut state = shared.state();
            rebuild.dispatch(&mut state, &found)?;
            state.queues.tails_size() + state.index.tails_size()
        };
        if unwritten > REBUILD_SIZE_MAX {
            write_all(&shared, &mut progress)?;
        }
    }
    if !survey.drops_are_noted {
        rebuild.begin_new_lives(&mut shared.state())?;
    }
    for floor in &survey.floors {
        if shared
            .state()
            .queues
            .find_whole(&floor.topic, floor.id)
            .is_err()
        {
            continue; // it is not rebuilt yet
        }
        rebuild.keep_places(&mut shared.state(), floor)?;
        if shared.state().queues.tails_size() > REBUILD_SIZE_MAX {
            write_all(&shared, &mut progress)?;
        }
    }
    if !survey.floors.is_empty() {
        // The next note of queues is made of what their files have, and must not say less than this one.
        write_all(&shared, &mut progress)?;
    }
    let mut guard = shared.state();
    let state = &mut *guard;
    rebuild.skip_lost(state)?;
    state.log.adopt_crcs(&files, &survey.holes);
    state.queues.take_arrivals();
    state.marked_from = progress.marked_from();
    drop(guard);
    shared.set_progress(progress);
    let has_queues = shared.state().queues.is_partial;
    if !has_queues {
        remove_note(&*shared.disk, &shared.settings.root)?;
    }
    if !has_queues && !survey.index_waits {
        return Ok((shared, None));
    }
    if std::mem::take(&mut rebuild.has_found_new) {
        note_found(&*shared.disk, &shared.settings.root, &shared.state().queues)?;
    }
    let index_from = survey.index_waits.then_some(survey.index_from);
    rebuild.queues_from = if has_queues { files.min } else { u64::MAX };
    rebuild.index_from = index_from.unwrap_or(u64::MAX);
    rebuild.is_late = true;
    let from = match index_from {
        Some(from) if !has_queues && survey.index_unread.is_some() => from,
        Some(from) if !has_queues => files.base_of(from).max(files.min),
        _ => files.min,
    };
    let left = Left {
        queues: has_queues.then_some(survey.waiting),
        index_from,
        index_unread: survey.index_unread,
    };
    let job = Job::new(&mut shared.state(), files, rebuild, from, survey.end, left);
    Ok((shared, Some(job)))
}

fn starting_progress(disk: &dyn Disk, root: &Path) -> Result<crate::marker::Marker> {
    Ok(crate::marker::Marker::read(disk, root)?.unwrap_or_default())
}

fn open_queue(queues: &mut QueueTable, cache: &mut FileCache, found: &FoundQueue) -> Result<()> {
    let number = queues.find_or_add(&found.topic, found.id);
    if found.is_broken {
        return queues.remove_files(cache, number);
    }
    queues.set_persisted(number, found.min, found.count);
    if found.needs_cut {
        queues.clear_files_behind(cache, number, found.count)?;
    }
    Ok(())
}
