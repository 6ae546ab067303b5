//! The start: what is in the directory, how much of it can be believed, what must be rebuilt.
//!
//! In two steps. [`survey`] only reads: it decides where the log ends, what in it is damaged, and from
//! where queues and index are rebuilt; if it refuses, nothing on disk has changed. [`Survey`] is then
//! carried out by `open.rs`.
//!
//! Rules. A clean stop of ours (no `abort`, our marker true to the log, nothing behind its end) needs no
//! scan. Otherwise every record from the segment that holds the last safe dispatch point on is checked
//! in full. A bad record with nothing valid behind it is a torn last write: the log ends before it, and
//! its bytes become zero. With something valid behind it, or where a sync once vouched for it, it is a
//! *hole*: nothing is cut, what lies around it is served, and places that were given in it are never given
//! again. Behind a hole that no sync had passed, appends begin in a fresh segment, as they do behind a hole
//! at the log's end. Where Apache ran last, its own checkpoint says what is safe (`CommitLog.
//! recoverNormally`, `recoverAbnormally`); our marker is then ignored.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, CONFIRM_OURS};
use crate::damage::{merged, Hole};
use crate::disk::Disk;
use crate::doubted::{all_of, lacking, named_now, refuse_unfinished, without};
use crate::error::{failed, Result, StoreError};
use crate::file_cache::FileCache;
use crate::flush::FailureNote;
use crate::found_queues::{
    last_place, list_queues, measure, newest_seen, newest_unit, refuse_dropped, FoundQueue,
};
use crate::index::IndexSet;
use crate::index_format::Shape;
use crate::log_check::{first_with_records, foreign_safe_base, scan, Known, Places, Scan};
use crate::marker::{DroppedTopic, KnownQueue, Marker, Point, QueuesFile};
use crate::queue_unit::topic_problem;
use crate::rebuild_note::RebuildNote;
use crate::record;
use crate::remembered::{floors, note_of_floors, round_up, told, Memory};
use crate::scan::{look_beyond, LogFiles, WAY_OUT};
use crate::settings::Settings;

const LOST_SEGMENTS_MAX: u64 = 4;

/// The last valid record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    pub log_offset: u64,
    pub size: u32,
    pub store_timestamp_ms: i64,
}

/// What is to be done to open the store.
pub struct Survey {
    pub files: LogFiles,
    pub end: u64,
    pub last: Option<LastRecord>,
    /// Bytes from here on are not zero though nothing valid is there.
    pub zero_from: Option<u64>,
    /// Where a blank record is to fill the rest of a segment, because appends begin in the next one.
    pub blank_at: Option<u64>,
    /// Ranges without anything valid, ascending.
    pub holes: Vec<Hole>,
    /// No queue may end before this: the places up to there were given, to records that holes swallowed.
    pub floors: Vec<KnownQueue>,
    /// The note of queues that keeps the floors, where the one on disk does not.
    pub queues_note: Option<QueuesFile>,
    /// Every drop of a topic is in `dropped`: nobody else was here.
    pub drops_are_noted: bool,
    /// Records from here on may be in the machine's memory only.
    pub unsynced_from: Option<u64>,
    pub queues: Vec<FoundQueue>,
    pub queue_file_size: u64,
    /// Records from here on are dispatched to the queues, those they have already excepted.
    pub queues_from: u64,
    pub index: IndexSet,
    pub index_remove: Vec<PathBuf>,
    /// Records from here on are indexed.
    pub index_from: u64,
    /// A record boundary before which no record needs dispatching.
    pub dispatch_from: u64,
    /// These queues are rebuilt behind the start's back, with the places that were given.
    pub waiting: Vec<KnownQueue>,
    /// All queues are, known or not.
    pub are_all_waiting: bool,
    /// So are records from `index_from` on indexed.
    pub index_waits: bool,
    /// Files of the index, behind those in `index`, that are read through before that: entries for
    /// records before `index_from` are believed, if they make sense.
    pub index_unread: Option<IndexSet>,
    pub dropped: Vec<DroppedTopic>,
    pub marker: Marker,
    /// What queues and index can be trusted for before anything is rebuilt.
    pub base_point: Point,
    /// What was found that an operator may want to know.
    pub notes: Vec<String>,
}

/// Who stopped last, and how far what it left can be believed.
enum Trust {
    /// We stopped cleanly at this point.
    Clean(Point),
    /// We were killed; before this point queues and index are as they should be.
    Killed(Point),
    /// We stopped, but the record we remember is not there: it is damaged.
    Unsure,
    /// Apache stopped cleanly, or we cannot tell who did.
    Foreign,
    /// Apache was killed; its checkpoint, if there is one.
    ForeignKilled(Option<Checkpoint>),
}

impl Survey {
    pub fn has_waiting_queues(&self) -> bool {
        self.are_all_waiting || !self.waiting.is_empty()
    }
}

/// Looks at everything and decides; changes nothing.
pub fn survey(disk: &Arc<dyn Disk>, settings: &Settings, cache: &mut FileCache) -> Result<Survey> {
    let root = &settings.root;
    let marker = Marker::read(&**disk, root)?;
    let queues_file = QueuesFile::read(&**disk, root)?;
    let unfinished = RebuildNote::read(&**disk, root)?;
    let mut memory = Memory::read(disk, root)?;
    let files = LogFiles::list_known(
        Arc::clone(disk),
        root.join("commitlog"),
        settings.segment_size,
        memory.log_end,
    )?;
    if files.is_empty() {
        memory = Memory::default();
    }
    memory.forget_healed(&files)?;
    let trust = trust(disk, settings, &files, marker.as_ref())?;
    let is_ours = matches!(trust, Trust::Clean(_) | Trust::Killed(_) | Trust::Unsure);
    let mut notes = Vec::new();
    for (base, len) in files.odd_sizes() {
        notes.push(format!(
            "{}: byte {len}: the file ends here, a segment has {} bytes",
            files.path_of(base).display(),
            files.segment_size
        ));
    }

    let (mut queues, queue_file_size) = list_queues(disk, settings)?;
    let limit = match &trust {
        Trust::Clean(point) | Trust::Killed(point) => point.log_to,
        Trust::Foreign => files.max,
        Trust::Unsure => files.min,
        Trust::ForeignKilled(checkpoint) => foreign_safe_base(&files, checkpoint.as_ref())?,
    };
    let needs_check = !matches!(trust, Trust::Clean(_) | Trust::Foreign);
    for queue in &mut queues {
        measure(disk, &files, queue, queue_file_size, limit, needs_check)?;
    }
    if files.is_empty() && queues.iter().any(|queue| !queue.bases.is_empty()) {
        return Err(StoreError::Damaged(format!(
            "{}: byte 0: no segments, but {} has queues. {WAY_OUT}; if the log was removed on purpose, \
             remove that directory too",
            files.dir.display(),
            root.join("consumequeue").display()
        )));
    }
    let queues_file = queues_file.filter(|_| is_ours);
    let drops_are_noted = queues_file.is_some();
    let mut known = queues_file.unwrap_or_default();
    let dropped = Dropped::new(&known.dropped);
    let mut was_whole = false;
    if let Some(note) = unfinished.filter(|_| is_ours) {
        let named = named_now(&note.queues, &known, &dropped);
        known.raise(&named);
        was_whole = note.is_whole;
        refuse_unfinished(&mut queues, &note);
    }
    let places = known.places();
    for queue in &mut queues {
        if dropped.has_topic(&queue.topic) {
            let is_noted = places.contains(&(&*queue.topic, queue.id));
            refuse_dropped(disk, queue, queue_file_size, &dropped, is_noted)?;
        }
    }
    // Where we stopped last, only what lacks something is rebuilt, and later: `rebuilder.rs`.
    let may_wait = matches!(trust, Trust::Clean(_) | Trust::Killed(_));
    for queue in queues.iter_mut().filter(|queue| queue.may_lack_begin) {
        queue.refuse_if(may_wait);
    }
    let mut waiting = lacking(disk, &queues, queue_file_size, &known, &dropped, &mut notes)?;
    let mut rebuild_all = !may_wait && !waiting.is_empty();
    let lost_all = !drops_are_noted && queues.is_empty() && limit > files.min;
    let mut are_all_waiting = may_wait && (lost_all || was_whole);
    if !may_wait {
        waiting.clear();
    }
    let newest = newest_unit(disk, &queues, queue_file_size)?;
    if !is_ours {
        // Nothing of ours tells how far the log reached; queues that point into segments behind the
        // last one do. Further than a few segments a damaged unit is more likely than so many lost ones.
        let lost = files.max..files.max + LOST_SEGMENTS_MAX * files.segment_size;
        let seen = newest_seen(disk, &queues, queue_file_size, &dropped)?;
        if let Some(seen) = seen.filter(|seen| !files.is_empty() && lost.contains(seen)) {
            memory.log_end = memory.log_end.max(seen + 1);
        }
    }
    let found_index = survey_index(disk, settings, cache, &trust, &files, &mut notes)?;
    let index_from = found_index.from.max(files.min);
    let indexes = settings.index_enabled;

    // Foreign, clean: what is behind the newest unit was not dispatched; earlier records that have no
    // unit belong to topics that were deleted.
    let queues_safe_to = match &trust {
        Trust::Foreign => newest.map_or(files.min, |newest| newest + 1),
        _ => limit,
    };
    let mut scan_from = match &trust {
        Trust::Clean(point) | Trust::Killed(point) if point.last_size > 0 => point.last_offset,
        Trust::Clean(_) | Trust::Killed(_) => files.min,
        Trust::Foreign => newest.unwrap_or(files.min),
        Trust::ForeignKilled(_) | Trust::Unsure => limit,
    };
    if rebuild_all {
        scan_from = files.min;
    }
    let gap_from = if matches!(trust, Trust::Foreign) {
        queues_safe_to
    } else {
        0
    };
    // Behind what a sync vouches for, a record may be incomplete where no checksum looks.
    let units_to = match &trust {
        Trust::Clean(_) | Trust::Killed(_) => limit,
        _ => 0,
    };
    let synced_to = marker.as_ref().filter(|_| is_ours);
    let known_log = Known {
        gap_from,
        units_to,
        vouched_to: synced_to.map_or(0, Marker::vouched_to).max(units_to),
        doubted: &memory.noted,
    };
    let judged = without(&queues, &waiting);
    let scan = |from: u64| scan(&files, from, &judged, &dropped, &known_log);

    let clean = match &trust {
        Trust::Clean(point) => Some(Scan {
            end: point.log_to,
            last: last_of(&files, point)?,
            has_gap: false,
            from: point.log_to,
            holes: Vec::new(),
            places: Places::new(&judged),
        }),
        _ => None,
    };
    let was_scanned = clean.is_none();
    let mut outcome = match clean {
        Some(outcome) => outcome,
        None => scan(first_with_records(&files, scan_from)?)?,
    };
    if outcome.has_gap && may_wait {
        notes.push("consume queues lack messages of earlier segments, rebuilt from the log".into());
        are_all_waiting = true;
    } else if outcome.has_gap {
        notes.push("consume queues lack messages of earlier segments, rebuilt from the log".into());
        rebuild_all = true;
        outcome = scan(files.min)?;
    }
    if let Some((first, _)) = outcome.holes.first().copied() {
        if mutant!("cut_on_crc") {
            outcome.end = first.from;
            outcome.holes.clear();
        }
    }
    let scanned_from = outcome.from;
    let mut holes: Vec<Hole> = memory.holes.clone();
    holes.retain(|hole| hole.from < scanned_from);
    let known = &known;
    for &(hole, reason) in &outcome.holes {
        notes.push(told(&files, hole, reason));
        holes.push(hole);
    }
    let mut end = outcome.end;
    let mut zero_from = None;
    let mut blank_at = None;
    if was_scanned {
        let tail_end = memory.log_end;
        let durable = marker
            .as_ref()
            .filter(|_| is_ours)
            .map_or(0, |marker| marker.synced.log_to);
        let is_fresh = |&(hole, _): &(Hole, &str)| hole.from >= durable && !memory.knows(hole);
        let needs_fresh = outcome.holes.iter().any(is_fresh);
        if end < tail_end && !mutant!("end_moves_back") && !mutant!("cut_on_crc") {
            let hole = Hole {
                from: end,
                to: round_up(tail_end, files.segment_size),
            };
            notes.push(told(
                &files,
                hole,
                "nothing valid follows, though it was there once",
            ));
            holes.push(hole);
            end = hole.to;
        }
        let beyond = look_beyond(&files, end)?;
        if beyond.first_byte.is_some() {
            notes.push(format!(
                "{}: an incomplete record at byte {} was cut off",
                files.path_of(end).display(),
                end - files.base_of(end)
            ));
            zero_from = Some(end);
        }
        if needs_fresh
            && !mutant!("hole_segment_used_on")
            && !end.is_multiple_of(files.segment_size)
        {
            blank_at = Some(end);
            end = round_up(end, files.segment_size);
        }
    } else if !holes.is_empty() {
        notes.push(format!(
            "{}: {} holes from earlier damage, the first at byte {}",
            files.path_of(holes[0].from).display(),
            holes.len(),
            holes[0].from - files.base_of(holes[0].from)
        ));
    }
    let holes = merged(holes);
    let floors = if holes.is_empty() {
        Vec::new()
    } else {
        let mut units = Vec::new();
        for queue in &queues {
            units.push((queue, last_place(disk, queue, queue_file_size, &dropped)?));
        }
        floors(&known.queues, &units, &outcome.places)
    };
    if matches!(trust, Trust::Foreign) {
        for queue in &mut queues {
            measure(disk, &files, queue, queue_file_size, end, true)?;
        }
        rebuild_all |= queues.iter().any(|queue| queue.is_broken);
    }
    let queues_from = if rebuild_all {
        files.min
    } else {
        queues_safe_to
    };
    let unsynced_from = match (&trust, &marker) {
        (Trust::Clean(_), _) => None,
        (Trust::Unsure, _) => Some(files.min),
        (Trust::Killed(_), Some(marker)) if agrees(&files, &marker.synced)? => {
            Some(marker.synced.log_to)
        }
        _ => Some(files.min),
    };
    let floors = if mutant!("reuse_offset") {
        Vec::new()
    } else {
        floors
    };
    let base_point = match &trust {
        Trust::Clean(point) | Trust::Killed(point) if !rebuild_all => Point {
            // With the index switched off its files stay as they are, for when it is on again.
            index_to: if indexes {
                point.index_to.min(index_from)
            } else {
                point.index_to
            },
            ..*point
        },
        _ => Point::default(),
    };
    // Entries for records that the queues have are made later.
    let index_waits = indexes && (index_from < queues_from || found_index.unread.is_some());
    if are_all_waiting {
        waiting = all_of(disk, &queues, queue_file_size, known, &dropped)?;
    }
    let dispatch_from = match &trust {
        Trust::Clean(point) | Trust::Killed(point) if queues_from == point.log_to => point.log_to,
        _ => files.base_of(queues_from).max(files.min),
    };
    let mut kept = floors.clone();
    if !holes.is_empty() {
        // The note of the rebuild alone does not tell whether a topic was dropped after it.
        kept.extend(waiting.iter().filter(|queue| queue.count > 0).cloned());
    }
    Ok(Survey {
        end,
        last: outcome.last,
        zero_from,
        blank_at,
        holes,
        queues_note: note_of_floors(known, &kept),
        floors,
        drops_are_noted,
        unsynced_from,
        queues,
        queue_file_size,
        queues_from,
        index: found_index.index,
        index_remove: found_index.remove,
        index_from,
        dispatch_from,
        waiting,
        are_all_waiting,
        index_waits,
        index_unread: found_index.unread,
        dropped: known.dropped.clone(),
        marker: Marker {
            log_synced_to: synced_to.map_or(0, Marker::vouched_to),
            segment_size: files.segment_size,
            ..marker.clone().unwrap_or_default()
        },
        base_point,
        notes,
        files,
    })
}

/// Whose stop this was. The marker counts only if Apache was not here since and the log still has the
/// record the marker remembers.
fn trust(
    disk: &Arc<dyn Disk>,
    settings: &Settings,
    files: &LogFiles,
    marker: Option<&Marker>,
) -> Result<Trust> {
    let has_abort = disk.exists(&settings.root.join("abort"));
    let checkpoint = Checkpoint::read(&**disk, &settings.root.join("checkpoint"))?;
    let is_ours = checkpoint.is_some_and(|found| found.confirm_log_offset == CONFIRM_OURS);
    if let Some(marker) = marker.filter(|_| is_ours) {
        if !has_abort && marker.is_clean && agrees(files, &marker.synced)? {
            let end = marker.synced.log_to;
            let behind = files.read(end, 8)?;
            let next = files.read(files.base_of(end) + files.segment_size, 8)?;
            if behind.iter().chain(&next).all(|&byte| byte == 0) {
                return Ok(Trust::Clean(marker.synced));
            }
        }
        // After a failed sync what the kernel shows is no better than after a power cut.
        let had_failed = FailureNote::new(Arc::clone(disk), &settings.root).is_there();
        let is_same_boot = !had_failed
            && disk
                .boot_id()
                .is_some_and(|boot_id| boot_id == marker.boot_id);
        if is_same_boot && agrees(files, &marker.written)? {
            return Ok(Trust::Killed(marker.written));
        }
        if agrees(files, &marker.synced)? {
            return Ok(Trust::Killed(marker.synced));
        }
        if !files.is_empty() {
            return Ok(Trust::Unsure);
        }
    }
    if has_abort {
        Ok(Trust::ForeignKilled(checkpoint))
    } else {
        Ok(Trust::Foreign)
    }
}

/// Whether the log has the record the point remembers.
fn agrees(files: &LogFiles, point: &Point) -> Result<bool> {
    if point.log_to > files.max {
        return Ok(false);
    }
    if point.last_size == 0 {
        return Ok(point.log_to == 0 && files.min == 0);
    }
    let record = files.read(point.last_offset, point.last_size as usize)?;
    Ok(record.len() == point.last_size as usize && crc32fast::hash(&record) == point.last_crc)
}

fn last_of(files: &LogFiles, point: &Point) -> Result<Option<LastRecord>> {
    if point.last_size == 0 {
        return Ok(None);
    }
    let time = files
        .head(point.last_offset)?
        .and_then(|head| record::store_timestamp(&head));
    Ok(Some(LastRecord {
        log_offset: point.last_offset,
        size: point.last_size,
        store_timestamp_ms: time.unwrap_or(0),
    }))
}

/// More entries than this are not read through before the store is open; fewer where tests want to see it.
const ENTRIES_READ_MAX: u64 = if cfg!(test) { 20 } else { 20_000 };

/// The index as it will be opened.
struct FoundIndex {
    index: IndexSet,
    /// Files that are left out.
    remove: Vec<PathBuf>,
    /// Records from here on are indexed (again).
    from: u64,
    unread: Option<IndexSet>,
}

/// Loads the index files and decides which entries stay and from where records are indexed again.
fn survey_index(
    disk: &Arc<dyn Disk>,
    settings: &Settings,
    cache: &mut FileCache,
    trust: &Trust,
    files: &LogFiles,
    notes: &mut Vec<String>,
) -> Result<FoundIndex> {
    let dir = settings.root.join("index");
    let shape = Shape {
        slot_count: settings.index_slot_count,
        entry_count: settings.index_entry_count,
    };
    let mut index = IndexSet::new(Arc::clone(disk), dir.clone(), shape);
    if !settings.index_enabled {
        return Ok(FoundIndex {
            index,
            remove: Vec::new(),
            from: 0,
            unread: None,
        });
    }
    if !index.load(cache)? {
        notes.push(format!(
            "{}: files of another shape, rebuilt from the log",
            dir.display()
        ));
        let remove = list_index(disk, &dir)?;
        let index = IndexSet::new(Arc::clone(disk), dir, shape);
        return Ok(FoundIndex {
            index,
            remove,
            from: files.min,
            unread: None,
        });
    }
    // First file to be read through, up to which log position, and whether all before that is there.
    let (first, log_end, is_complete) = match trust {
        Trust::Clean(point) | Trust::Killed(point) => {
            let (position, is_there) = index.position_of(point.index_name);
            if !is_there && point.index_count > 1 {
                notes.push(format!(
                    "{}: files are missing, rebuilt from the log",
                    dir.display()
                ));
                // Nobody knows what else is missing: earlier files may be, too.
                return Ok(FoundIndex {
                    remove: index.clear(),
                    index,
                    from: files.min,
                    unread: None,
                });
            } else if matches!(trust, Trust::Clean(_)) && point.index_to == point.log_to {
                return Ok(FoundIndex {
                    index,
                    remove: Vec::new(),
                    from: point.index_to,
                    unread: None,
                });
            } else {
                // A round of the persister may have filled a file with more than the marker speaks of.
                let position = position.min(index.first_reaching(point.index_to));
                if index.entries_from(position) > ENTRIES_READ_MAX {
                    return Ok(FoundIndex {
                        unread: Some(index.split_off(position)),
                        index,
                        remove: Vec::new(),
                        from: point.index_to,
                    });
                }
                (position, point.index_to, true)
            }
        }
        Trust::Foreign if index.last().1 > 0 => {
            // Apache syncs its index when it stops: what it has is complete.
            let from = index.last().1 + 1;
            return Ok(FoundIndex {
                index,
                remove: Vec::new(),
                from,
                unread: None,
            });
        }
        Trust::Foreign | Trust::Unsure => (0, files.max, false),
        Trust::ForeignKilled(checkpoint) => {
            let safe = checkpoint.map_or(0, |found| found.index_timestamp_ms);
            (index.first_after(safe), files.max, false)
        }
    };
    let (from, remove) = index.rebuild(cache, first, log_end, is_complete)?;
    Ok(FoundIndex {
        index,
        remove,
        from,
        unread: None,
    })
}

fn list_index(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = disk
        .list(dir)
        .map_err(|error| failed("list", dir, &error))?;
    let ours = entries
        .iter()
        .filter(|entry| !entry.is_dir && entry.name.parse::<u64>().is_ok());
    Ok(ours.map(|entry| dir.join(&entry.name)).collect())
}

/// Which records belong to a topic's life before it was dropped.
pub struct Dropped(HashMap<Vec<u8>, u64>);

impl Dropped {
    pub fn new(topics: &[DroppedTopic]) -> Dropped {
        let entry = |gone: &DroppedTopic| (gone.topic.clone().into_bytes(), gone.log_to);
        Dropped(topics.iter().map(entry).collect())
    }

    pub fn has_topic(&self, topic: &str) -> bool {
        self.0.contains_key(topic.as_bytes())
    }

    pub fn has(&self, topic: &[u8], log_offset: u64) -> bool {
        !self.0.is_empty() && self.0.get(topic).is_some_and(|&log_to| log_offset < log_to)
    }
}

/// Whether a record's topic can have a queue here.
pub fn queue_topic(topic: &[u8]) -> Option<&str> {
    std::str::from_utf8(topic)
        .ok()
        .filter(|topic| topic_problem(topic).is_none())
}
