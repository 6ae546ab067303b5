//! Queues and index are made anew from the log beside a store in use: what is refused meanwhile, what is
//! served, what is there at the end, and what a kill at any point leaves.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use common::*;
use rmqlog::disk::{Disk, DiskFile, Entry, Held, RealDisk};
use rmqlog::{Engine, Settings, StoreError};

const TIME_LIMIT: Duration = Duration::from_secs(20);

#[derive(Default)]
struct Gate {
    /// Segments the rebuilder may still open; `None`: any number.
    permits: Option<usize>,
    is_waiting: bool,
    is_broken: bool,
}

/// Holds the rebuilder before it opens a segment of the log or a file of the index; all others pass.
struct GatedDisk {
    gate: Mutex<Gate>,
    changed: Condvar,
    holds_index: AtomicBool,
}

impl GatedDisk {
    fn closed(permits: usize) -> Arc<GatedDisk> {
        let gate = Gate {
            permits: Some(permits),
            ..Gate::default()
        };
        Arc::new(GatedDisk {
            gate: Mutex::new(gate),
            changed: Condvar::new(),
            holds_index: AtomicBool::new(false),
        })
    }

    fn let_go(&self) {
        self.gate.lock().unwrap().permits = None;
        self.changed.notify_all();
    }

    /// From now on the rebuilder reads nothing more: for a store about to be killed.
    fn break_off(&self) {
        self.gate.lock().unwrap().is_broken = true;
        self.changed.notify_all();
    }

    /// Until the rebuilder stands before the gate, or has come to its end.
    fn until_held(&self, engine: &Engine) {
        let end = Instant::now() + TIME_LIMIT;
        while !self.gate.lock().unwrap().is_waiting && is_rebuilding(engine) {
            assert!(Instant::now() < end, "the rebuilder did not come by");
            std::thread::yield_now();
        }
    }

    fn pass(&self) -> io::Result<()> {
        if std::thread::current().name() != Some("rmqlog-rebuild") {
            return Ok(());
        }
        let mut gate = self.gate.lock().unwrap();
        while gate.permits == Some(0) && !gate.is_broken {
            gate.is_waiting = true;
            gate = self.changed.wait(gate).unwrap();
        }
        gate.is_waiting = false;
        if gate.is_broken {
            return Err(io::Error::other("killed"));
        }
        gate.permits = gate.permits.map(|left| left - 1);
        Ok(())
    }
}

impl Disk for GatedDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if path.parent().is_some_and(|dir| dir.ends_with("commitlog")) {
            self.pass()?;
        }
        RealDisk.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        // Not in the middle of a record: others would wait for the rebuilder with it.
        let is_index = path.parent().is_some_and(|dir| dir.ends_with("index"));
        if is_index && self.holds_index.load(Ordering::Relaxed) {
            self.pass()?;
        }
        RealDisk.create(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }
    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.remove_dir(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
    fn boot_id(&self) -> Option<String> {
        RealDisk.boot_id()
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        RealDisk.lock(path)
    }
}

/// Lets the rebuilder end, so that a test that fails does, too.
struct Released(Arc<GatedDisk>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.break_off();
    }
}

fn in_background(dir: &Dir) -> Settings {
    Settings {
        rebuild_in_background: true,
        ..settings(dir)
    }
}

fn is_rebuilding(engine: &Engine) -> bool {
    let status = engine.rebuild_status();
    status.has_queues || status.has_index
}

fn until_whole(engine: &Engine) {
    let end = Instant::now() + TIME_LIMIT;
    while is_rebuilding(engine) {
        assert!(Instant::now() < end, "{:?}", engine.rebuild_status());
        std::thread::yield_now();
    }
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, StoreError>) {
    assert!(
        matches!(answer, Err(StoreError::Rebuilding(_))),
        "{answer:?}"
    );
}

fn try_append(engine: &Engine, topic: &str, id: i32) -> Result<i64, StoreError> {
    let message = message(topic, id, b"late", b"KEYS\x01key1\x02");
    let place = engine.append(topic, &message, 1_700_000_009_000)?;
    engine.write()?;
    Ok(place.queue_offset)
}

/// A store of 300 messages in nine segments, killed or stopped, and what readers saw of it.
fn filled(is_clean: bool) -> (Dir, View) {
    let dir = Dir::new();
    let engine = open(&dir);
    fill(&engine, 300);
    let before = view(&engine);
    engine.close().unwrap();
    if !is_clean {
        kill(open(&dir));
    }
    (dir, before)
}

/// Equal, told in few words where not.
fn assert_same(found: &View, expected: &View, what: &str) {
    assert_eq!(found.end, expected.end, "{what}");
    let ranges = |view: &View| -> Vec<_> {
        let entry = |(queue, found): (&(String, i32), &(i64, i64, Vec<u8>))| {
            (queue.clone(), found.0, found.1, found.2.len())
        };
        view.queues.iter().map(entry).collect()
    };
    assert_eq!(ranges(found), ranges(expected), "{what}");
    let counts = |view: &View| -> Vec<_> {
        let entry = |(key, records): (&String, &Vec<Vec<u8>>)| (key.clone(), records.len());
        view.keys.iter().map(entry).collect()
    };
    assert_eq!(counts(found), counts(expected), "{what}");
    assert!(found == expected, "{what}: other bytes");
}

#[test]
fn other_queues_serve_while_one_is_rebuilt() {
    for (is_clean, damage) in [
        (true, "oldest"),
        (false, "oldest"),
        (true, "newest"),
        (false, "newest"),
        (true, "short"),
        (false, "short"),
    ] {
        let (dir, before) = filled(is_clean);
        // The oldest of its files, the newest, or one that is shorter than it was.
        let file = |base: u64| dir.path(&format!("consumequeue/Topic/1/{base:020}"));
        match damage {
            "oldest" => fs::remove_file(file(0)).unwrap(),
            "newest" => fs::remove_file(file(1800)).unwrap(),
            _ => fs::write(file(400), [0; 30]).unwrap(),
        }
        let disk = GatedDisk::closed(0);
        let engine = open_on(disk.clone(), in_background(&dir));
        let _released = Released(disk.clone());
        disk.until_held(&engine);
        let status = engine.rebuild_status();
        assert!(status.has_queues && !status.has_index && status.size > 0);
        assert_eq!((status.done, status.queue_count), (0, 1));

        assert_refused(engine.whole_queue_range("Topic", 1));
        assert_refused(engine.read("Topic", 1, 0, 32, 1 << 20));
        assert_refused(engine.store_time("Topic", 1, 0));
        assert_refused(engine.offset_by_time("Topic", 1, 0, rmqlog::read::Boundary::Lower));
        assert_refused(try_append(&engine, "Topic", 1));
        // Of a queue nobody knows the log may hold messages.
        assert_refused(try_append(&engine, "Topic", 7));
        assert_refused(try_append(&engine, "New", 0));
        assert_refused(engine.read("New", 0, 0, 32, 1 << 20));
        // A refused message takes nothing with it.
        for (topic, id) in [("Topic", 0), ("Other", 0), ("Other", 1)] {
            let (_, max) = engine.whole_queue_range(topic, id).unwrap();
            assert_eq!(max, before.queues[&(topic.to_string(), id)].1);
            assert_eq!(try_append(&engine, topic, id), Ok(max));
            let (plan, _) = engine.read(topic, id, max, 32, 1 << 20).unwrap();
            assert_eq!(plan.records.len(), 1);
        }
        assert!(engine.oldest_segment().unwrap().is_none());
        drop(engine.take_arrivals());

        disk.let_go();
        until_whole(&engine);
        let arrived: Vec<(String, i32, i64)> = engine
            .take_arrivals()
            .into_iter()
            .map(|(topic, id, max)| (topic.to_string(), id, max))
            .collect();
        let rebuilt = &before.queues[&("Topic".to_string(), 1)];
        assert_eq!(arrived, [("Topic".to_string(), 1, rebuilt.1)]);
        assert!(&view(&engine).queues[&("Topic".to_string(), 1)] == rebuilt);
        assert_eq!(try_append(&engine, "Topic", 1), Ok(rebuilt.1));
        assert_eq!(try_append(&engine, "New", 0), Ok(0));
        let after = view(&engine);
        engine.close().unwrap(); // the note goes last of all
        assert!(!dir.path("pyromq/rebuild").exists());
        assert!(!dir.path("abort").exists());
        assert_same(&view(&open(&dir)), &after, &format!("clean {is_clean}"));
    }
}

#[test]
fn without_any_queue_files_no_offset_is_given_before_the_log_was_read() {
    let (dir, before) = filled(false);
    fs::remove_dir_all(dir.path("consumequeue")).unwrap();
    let disk = GatedDisk::closed(0);
    let engine = open_on(disk.clone(), in_background(&dir));
    let _released = Released(disk.clone());
    assert_eq!(engine.rebuild_status().queue_count, 4);
    for (topic, id) in before.queues.keys() {
        assert_refused(try_append(&engine, topic, *id));
    }
    assert_refused(try_append(&engine, "New", 0));
    // The log can be read by its positions all the while.
    assert!(engine.record_at(0).unwrap().is_some());
    disk.let_go();
    until_whole(&engine);
    assert_same(&view(&engine), &before, "rebuilt");
    for ((topic, id), (_, max, _)) in &before.queues {
        assert_eq!(try_append(&engine, topic, *id), Ok(*max));
    }
}

#[test]
fn the_index_is_completed_in_the_order_of_the_log_while_messages_come() {
    for is_clean in [true, false] {
        let (dir, before) = filled(is_clean);
        let whole = dir.copy();
        fs::remove_dir_all(dir.path("index")).unwrap();
        let disk = GatedDisk::closed(2);
        let engine = open_on(disk.clone(), in_background(&dir));
        let _released = Released(disk.clone());
        disk.until_held(&engine);
        assert!(engine.rebuild_status().has_index && !engine.rebuild_status().has_queues);
        fill(&engine, 30);
        // What is found is right, and the oldest of what there is.
        let meanwhile = view(&engine);
        for (key, records) in &meanwhile.keys {
            assert!(records[..] == before.keys[key][..records.len()], "{key}");
        }
        assert!(meanwhile.keys.values().any(|records| !records.is_empty()));
        disk.let_go();
        until_whole(&engine);
        fill(&engine, 10);
        let after = view(&engine);
        engine.close().unwrap();

        let undamaged = open(&whole);
        fill(&undamaged, 30);
        fill(&undamaged, 10);
        assert_same(&after, &view(&undamaged), &format!("clean {is_clean}"));
        undamaged.close().unwrap();
        // Byte for byte: nothing twice, nothing missing, the same files.
        let index_of =
            |dir: &Dir| -> Vec<Vec<u8>> { tree(&dir.path("index")).into_values().collect() };
        assert!(index_of(&dir) == index_of(&whole), "clean {is_clean}");
    }
}

#[test]
fn a_kill_at_any_step_of_a_rebuild_only_makes_the_next_start_do_it_again() {
    for victim in ["consumequeue", "consumequeue/Topic", "index", "both"] {
        let mut seen_in_the_middle = false;
        for permits in 0..12 {
            let (dir, before) = filled(permits % 2 == 0);
            if victim == "both" {
                fs::remove_dir_all(dir.path("consumequeue/Other")).unwrap();
                fs::remove_dir_all(dir.path("index")).unwrap();
            } else {
                fs::remove_dir_all(dir.path(victim)).unwrap();
            }
            let mut expected = before;
            for round in 0..3 {
                let disk = GatedDisk::closed(permits);
                let settings = Settings {
                    flush_interval_consume_queue_ms: 1, // units get to the files while it goes on
                    ..in_background(&dir)
                };
                let engine = open_on(disk.clone(), settings);
                let _released = Released(disk.clone());
                disk.until_held(&engine);
                seen_in_the_middle |= permits > 0 && is_rebuilding(&engine);
                if let Ok(offset) = try_append(&engine, "Topic", 0) {
                    let queue = expected.queues.get_mut(&("Topic".to_string(), 0)).unwrap();
                    assert_eq!(offset, queue.1, "{victim} {permits} {round}");
                    let (_, bytes) = engine.read("Topic", 0, offset, 1, 1 << 20).unwrap();
                    queue.1 += 1;
                    queue.2.extend_from_slice(&bytes);
                    expected.keys.get_mut("Topic#key1").unwrap().push(bytes);
                    expected.end = engine.positions().commit;
                }
                disk.break_off();
                if round == 1 {
                    engine.close().unwrap(); // a stop in the middle is not clean, but no failure
                } else {
                    kill(engine);
                }
            }
            let engine = open(&dir);
            assert_same(&view(&engine), &expected, &format!("{victim} {permits}"));
            assert!(!dir.path("pyromq/rebuild").exists());
        }
        assert!(seen_in_the_middle, "{victim}");
    }
}

#[test]
fn a_note_that_cannot_be_read_means_all_queues() {
    let (dir, before) = filled(false);
    fs::remove_dir_all(dir.path("consumequeue/Topic/1")).unwrap();
    let disk = GatedDisk::closed(1);
    let engine = open_on(disk.clone(), in_background(&dir));
    let _released = Released(disk.clone());
    disk.until_held(&engine);
    disk.break_off();
    kill(engine);
    let note = dir.path("pyromq/rebuild");
    let mut bytes = fs::read(&note).unwrap();
    bytes[30] ^= 1;
    fs::write(&note, bytes).unwrap();
    let disk = GatedDisk::closed(0);
    let engine = open_on(disk.clone(), in_background(&dir));
    let _released = Released(disk.clone());
    for (topic, id) in before.queues.keys() {
        assert_refused(try_append(&engine, topic, *id));
    }
    disk.let_go();
    until_whole(&engine);
    assert_same(&view(&engine), &before, "rebuilt");
}

#[test]
fn a_topic_dropped_during_the_rebuild_stays_dropped() {
    let (dir, before) = filled(false);
    fs::remove_dir_all(dir.path("consumequeue")).unwrap();
    let disk = GatedDisk::closed(3);
    let engine = open_on(disk.clone(), in_background(&dir));
    let _released = Released(disk.clone());
    disk.until_held(&engine);
    engine.drop_topic("Topic").unwrap();
    assert_refused(try_append(&engine, "Topic", 0));
    disk.let_go();
    until_whole(&engine);
    assert_eq!(engine.queue_ids("Topic"), []);
    assert_eq!(try_append(&engine, "Topic", 0), Ok(0));
    kill(engine);
    let engine = open(&dir);
    assert_eq!(engine.queue_range("Topic", 0), (0, 1));
    let other = ("Other".to_string(), 0);
    assert!(view(&engine).queues[&other] == before.queues[&other]);
}

#[test]
fn places_of_which_nothing_is_left_are_not_given_again() {
    let (dir, before) = filled(true);
    let engine = open(&dir);
    for _ in 0..40 {
        append(&engine, "Other", 0, &[7; 500]);
        engine.write().unwrap();
    }
    engine.close().unwrap();
    let engine = open(&dir);
    // All messages of one queue, and with them the first segments, go.
    let (_, max, _) = before.queues[&("Topic".to_string(), 1)];
    let queue = |engine: &Engine| engine.queue_range("Topic", 1);
    while queue(&engine).0 < max {
        let oldest = engine.oldest_segment().unwrap().unwrap();
        assert!(engine.remove_segment(oldest.log_offset).unwrap());
    }
    let limit = Instant::now() + TIME_LIMIT;
    while engine.removals_left().0 > 0 {
        assert!(Instant::now() < limit);
        std::thread::yield_now();
    }
    engine.close().unwrap();
    fs::remove_dir_all(dir.path("consumequeue/Topic/1")).unwrap();
    let engine = Engine::open(Arc::new(RealDisk), in_background(&dir)).unwrap();
    until_whole(&engine);
    assert_eq!(queue(&engine), (max, max));
    assert_eq!(try_append(&engine, "Topic", 1), Ok(max));
}

#[test]
fn a_hole_the_rebuild_comes_by_is_passed_over_and_told() {
    let (dir, before) = filled(true);
    let log = dir.path("commitlog/00000000000000000000");
    let mut bytes = fs::read(&log).unwrap();
    let has = |bytes: &[u8], body: &[u8]| bytes.windows(7).position(|part| part == body);
    let at = has(&bytes, b"body 9\x05").unwrap();
    bytes[at] ^= 1;
    fs::write(&log, bytes).unwrap();
    fs::remove_dir_all(dir.path("consumequeue/Other")).unwrap();
    fs::remove_dir_all(dir.path("index")).unwrap();
    let engine = Engine::open(Arc::new(RealDisk), in_background(&dir)).unwrap();
    until_whole(&engine);
    assert_eq!(engine.damage().0, 1);
    assert_eq!(engine.take_damage_news().len(), 1);
    for (queue, (_, max, _)) in &before.queues {
        assert_eq!(try_append(&engine, &queue.0, queue.1), Ok(*max));
    }
    let (_, part) = engine.read("Other", 1, 0, 32, 1 << 20).unwrap();
    assert_eq!(has(&part, b"body 9\x05"), None);
    assert!(has(&part, b"body 3\x05").is_some() && has(&part, b"body 15").is_some());
}

#[test]
fn a_long_index_is_read_through_behind_the_start() {
    const COUNT: usize = 12_000;
    let dir = Dir::new();
    let large = |is_late: bool| Settings {
        segment_size: 1 << 20,
        index_slot_count: 1000,
        index_entry_count: 1_000_000,
        flush_interval_consume_queue_ms: 20,
        rebuild_in_background: is_late,
        ..settings(&dir)
    };
    let keys_of = |engine: &Engine| -> usize {
        let found = |key: usize| {
            let key = format!("key{key}");
            let count = |topic| {
                let found = engine.query_key(topic, &key, COUNT, 0, i64::MAX);
                found.unwrap().0.len()
            };
            count("Topic") + count("Other")
        };
        (0..5).map(found).sum()
    };
    let mut expected = COUNT;
    let engine = try_open(large(false)).unwrap();
    fill(&engine, COUNT);
    let limit = Instant::now() + TIME_LIMIT;
    let entry_count = || -> Option<u32> {
        let file = fs::read_dir(dir.path("index")).ok()?.next()?.ok()?;
        let mut head = [0; 40];
        io::Read::read_exact(&mut fs::File::open(file.path()).ok()?, &mut head).ok()?;
        Some(u32::from_be_bytes(head[36..40].try_into().ok()?))
    };
    while entry_count().is_none_or(|count| count < 22_000) {
        assert!(Instant::now() < limit);
        std::thread::yield_now();
    }
    kill(engine);
    for round in 0..3 {
        let disk = GatedDisk::closed(0);
        disk.holds_index.store(true, Ordering::Relaxed);
        let engine = open_on(disk.clone(), large(true));
        let _released = Released(disk.clone());
        disk.until_held(&engine);
        assert!(engine.rebuild_status().has_index && !engine.rebuild_status().has_queues);
        let known = keys_of(&engine);
        assert!(known < expected, "{known}");
        fill(&engine, 10);
        expected += 10;
        if round == 1 {
            disk.break_off();
            kill(engine);
            continue;
        }
        disk.holds_index.store(false, Ordering::Relaxed);
        disk.let_go();
        until_whole(&engine);
        assert_eq!(keys_of(&engine), expected);
        if round == 2 {
            engine.close().unwrap();
        } else {
            kill(engine);
        }
    }
    let engine = try_open(large(true)).unwrap();
    assert!(!is_rebuilding(&engine));
    assert_eq!(keys_of(&engine), expected);
}
