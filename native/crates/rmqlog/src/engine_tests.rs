//! What the caller's thread and the persister must not do to each other.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Instant;

use super::*;
use crate::disk::{DiskFile, Entry, RealDisk};
use crate::faults;
use crate::marker::QueuesFile;
use crate::persist::COPY_COUNT_MAX;

/// How a path ends, who is told, and who says when it goes on.
type Stop = (&'static str, Sender<()>, Receiver<()>);

/// Stops the first making of a file, or sync of a directory, whose path ends so, once it is armed: says so,
/// and goes on when told to.
#[derive(Default)]
struct HeldDisk {
    held: Mutex<Option<Stop>>,
    /// Files of queues that were made.
    made_count: AtomicUsize,
}

impl HeldDisk {
    /// Told when it stops, and by whom it goes on.
    fn arm(&self, end: &'static str) -> (Receiver<()>, Sender<()>) {
        let (begun, has_begun) = channel();
        let (go_on, may_go_on) = channel();
        *self.held.lock().unwrap() = Some((end, begun, may_go_on));
        (has_begun, go_on)
    }

    fn come_by(&self, path: &Path) {
        let is_it = |held: &mut Stop| path.ends_with(held.0);
        let held = self.held.lock().unwrap().take_if(is_it);
        if let Some((_, begun, go_on)) = held {
            begun.send(()).unwrap();
            go_on.recv().unwrap();
        }
    }
}

impl Disk for HeldDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.come_by(path);
        let is_queue = path.iter().any(|part| part == "consumequeue");
        self.made_count
            .fetch_add(usize::from(is_queue), Ordering::Relaxed);
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
        self.come_by(dir);
        RealDisk.sync_dir(dir)
    }
    fn boot_id(&self) -> Option<String> {
        RealDisk.boot_id()
    }
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        RealDisk.lock(path)
    }
}

fn settings(root: &Path) -> Settings {
    Settings {
        segment_size: 4096,
        consume_queue_file_size: 200,
        index_slot_count: 7,
        index_entry_count: 30,
        flush_interval_consume_queue_ms: 3_600_000,
        sync_flush: true,
        slow_write_ms: u64::MAX,
        ..Settings::new(root)
    }
}

fn fresh_root(name: &str) -> std::path::PathBuf {
    let root = std::env::temp_dir().join(format!("rmqlog-{name}-{}", std::process::id()));
    drop(std::fs::remove_dir_all(&root));
    root
}

/// Stores a message and waits for its commit; answers the log's end.
fn store(engine: &Engine) -> u64 {
    store_in(engine, 0, b"body")
}

fn store_in(engine: &Engine, queue_id: i32, body: &[u8]) -> u64 {
    store_with(engine, queue_id, body, b"")
}

fn store_with(engine: &Engine, queue_id: i32, body: &[u8], properties: &[u8]) -> u64 {
    let message = Message {
        topic: b"Topic",
        queue_id,
        body,
        properties,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: &[127, 0, 0, 1, 0, 0, 0, 1],
        reconsume_times: 0,
        prepared_transaction_offset: 0,
    };
    let end = engine.append("Topic", &message, 1).unwrap().end;
    engine.write().unwrap();
    while engine.positions().commit < end {
        std::thread::yield_now();
    }
    end
}

/// A round of the persister in which a sync is due.
fn persist_and_sync(engine: &Engine) -> Result<()> {
    let mut progress = engine.shared.progress();
    progress.synced_at = Instant::now() - Duration::from_secs(60);
    persist(&engine.shared, &mut progress, false)
}

#[test]
fn queue_units_whose_sync_failed_are_never_called_safe() {
    let root = fresh_root("units");
    let (disk, faults) = faults::FaultyDisk::with_faults();
    let engine = Engine::open(disk, settings(&root)).unwrap();
    let safe = store(&engine);
    persist_and_sync(&engine).unwrap();
    store(&engine);
    faults.set(|plan| plan.sync = Some(("consumequeue".into(), libc::EIO)));
    assert!(persist_and_sync(&engine).is_err());
    for _ in 0..2 {
        store(&engine);
        assert!(persist_and_sync(&engine).is_err());
        let marker = Marker::read(&RealDisk, &root).unwrap().unwrap();
        assert_eq!((marker.written.log_to, marker.synced.log_to), (safe, safe));
    }
    assert!(engine.close().is_err());
    drop(engine);
    let engine = Engine::open(Arc::new(RealDisk), settings(&root)).unwrap();
    assert_eq!(engine.queue_range("Topic", 0), (0, 4));
    engine.close().unwrap();
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_drop_while_the_persister_writes_its_note_is_not_forgotten() {
    let root = fresh_root("note");
    let disk = Arc::new(HeldDisk::default());
    let engine = Engine::open(Arc::clone(&disk) as Arc<dyn Disk>, settings(&root)).unwrap();
    store(&engine);
    let (dropped, was_dropped) = channel();
    let (has_begun, go_on) = disk.arm("pyromq/queues.new");
    std::thread::scope(|scope| {
        scope.spawn(|| persist_and_sync(&engine).unwrap());
        has_begun.recv().unwrap();
        scope.spawn(|| {
            engine.drop_topic("Topic").unwrap();
            dropped.send(()).unwrap();
        });
        // The drop waits for the persister; without that it would be done, and overwritten, by now.
        let _ = was_dropped.recv_timeout(Duration::from_millis(100));
        go_on.send(()).unwrap();
    });
    let note = QueuesFile::read(&RealDisk, &root).unwrap().unwrap();
    let names: Vec<&str> = note.dropped.iter().map(|gone| &*gone.topic).collect();
    assert_eq!(names, ["Topic"]);
    drop(engine);
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_drop_does_not_wait_until_the_persister_has_been_to_all_queues() {
    let root = fresh_root("turn");
    let disk = Arc::new(HeldDisk::default());
    let engine = Engine::open(Arc::clone(&disk) as Arc<dyn Disk>, settings(&root)).unwrap();
    for id in 0..5 * COPY_COUNT_MAX {
        store_in(&engine, id as i32, b"body");
    }
    let (has_begun, go_on) = disk.arm("Topic/0/00000000000000000000");
    std::thread::scope(|scope| {
        scope.spawn(|| persist_and_sync(&engine).unwrap());
        has_begun.recv().unwrap();
        scope.spawn(|| engine.drop_topic("Topic").unwrap());
        let limit = Instant::now() + Duration::from_secs(10);
        let is_waiting = || engine.shared.queue_files_next.try_lock().is_err();
        while !is_waiting() && Instant::now() < limit {
            std::thread::yield_now();
        }
        go_on.send(()).unwrap();
    });
    let made_count = disk.made_count.load(Ordering::Relaxed);
    assert_eq!(made_count, COPY_COUNT_MAX); // those on their way
    assert!(!root.join("consumequeue/Topic").exists());
    engine.close().unwrap();
    drop(engine);
    std::fs::remove_dir_all(&root).unwrap();
}

/// A sync that fails is the last one until the next start; what a dropped topic takes away is no failure.
#[test]
fn a_directory_that_goes_while_it_is_synced_ends_no_syncs() {
    let root = fresh_root("gone");
    let disk = Arc::new(HeldDisk::default());
    let engine = Engine::open(Arc::clone(&disk) as Arc<dyn Disk>, settings(&root)).unwrap();
    store(&engine);
    persist_and_sync(&engine).unwrap();
    store_in(&engine, 1, b"body");
    let (has_begun, go_on) = disk.arm("consumequeue/Topic/1");
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| persist_and_sync(&engine));
        has_begun.recv().unwrap();
        engine.drop_topic("Topic").unwrap();
        go_on.send(()).unwrap();
        syncing.join().unwrap().unwrap();
    });
    let end = store(&engine);
    persist_and_sync(&engine).unwrap();
    let marker = Marker::read(&RealDisk, &root).unwrap().unwrap();
    assert_eq!(marker.synced.log_to, end);
    engine.close().unwrap();
    drop(engine);
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn queues_are_written_while_the_index_cannot_be() {
    const QUEUE_COUNT: i32 = 100;
    let root = fresh_root("index");
    let (disk, faults) = faults::FaultyDisk::with_faults();
    let engine = Engine::open(disk, settings(&root)).unwrap();
    for id in 0..QUEUE_COUNT {
        store_with(&engine, id, b"body", b"KEYS\x01key\x02");
    }
    faults.set(|plan| plan.write = Some(("/index/".into(), 0, libc::EIO)));
    assert!(persist_and_sync(&engine).is_err());
    for id in 0..QUEUE_COUNT {
        let path = root.join(format!("consumequeue/Topic/{id}/00000000000000000000"));
        assert!(path.exists(), "{path:?}");
    }
    faults.set(|plan| plan.write = None);
    engine.close().unwrap();
    drop(engine);
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn files_a_killed_process_left_are_synced_before_they_are_called_safe() {
    let root = fresh_root("inherited");
    let engine = Engine::open(Arc::new(RealDisk), settings(&root)).unwrap();
    store_in(&engine, 0, b"left");
    persist(&engine.shared, &mut engine.shared.progress(), false).unwrap();
    drop(engine);
    let (disk, faults) = faults::FaultyDisk::with_faults();
    let engine = Engine::open(disk, settings(&root)).unwrap();
    let end = store_in(&engine, 1, b"new");
    persist_and_sync(&engine).unwrap();
    let marker = Marker::read(&RealDisk, &root).unwrap().unwrap();
    assert_eq!(marker.synced.log_to, end);
    for id in 0..2 {
        let path = root.join(format!("consumequeue/Topic/{id}/00000000000000000000"));
        faults.set(|plan| assert!(plan.synced.contains(&path), "{path:?} is not synced"));
    }
    drop(engine);
    std::fs::remove_dir_all(&root).unwrap();
}

/// `abort` can go while a store is open: an Apache broker that the lock refused removes it on its way
/// out. If the power fails then, the marker alone says that the store was not closed, and that the log
/// has to be looked through: it may hold what a later record would bring back.
#[test]
fn without_abort_a_store_that_was_not_closed_is_looked_through() {
    let root = fresh_root("abort");
    let engine = Engine::open(Arc::new(RealDisk), settings(&root)).unwrap();
    let safe = store(&engine) as usize;
    persist_and_sync(&engine).unwrap();
    let marker = std::fs::read(Marker::path(&root)).unwrap();
    let lost_end = store_in(&engine, 0, &[b'x'; 600]) as usize;
    store(&engine);
    drop(engine);
    // Of the second message the power cut takes the sectors before the one in which the third begins.
    std::fs::write(Marker::path(&root), marker).unwrap();
    let segment = root.join("commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[safe..lost_end / 512 * 512].fill(0);
    std::fs::write(&segment, bytes).unwrap();
    std::fs::remove_file(root.join("abort")).unwrap();
    let engine = Engine::open(Arc::new(RealDisk), settings(&root)).unwrap();
    store_in(&engine, 0, &[b'y'; 600]);
    let shown = engine.queue_range("Topic", 0);
    drop(engine);
    let engine = Engine::open(Arc::new(RealDisk), settings(&root)).unwrap();
    assert_eq!(engine.queue_range("Topic", 0), shown);
    drop(engine);
    std::fs::remove_dir_all(&root).unwrap();
}
