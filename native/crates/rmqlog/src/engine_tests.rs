//! What the caller's thread and the persister must not do to each other.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::Path;
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::Instant;

use super::*;
use crate::disk::{DiskFile, Entry, RealDisk};
use crate::faults;
use crate::marker::QueuesFile;

/// Stops the first write of a `queues` file once it is armed: says so, and goes on when told to.
struct HeldNotes {
    held: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Disk for HeldNotes {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if path.ends_with("pyromq/queues.new") {
            let held = self.held.lock().unwrap().take();
            if let Some((begun, go_on)) = held {
                begun.send(()).unwrap();
                go_on.recv().unwrap();
            }
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
    let message = Message {
        topic: b"Topic",
        queue_id,
        body,
        properties: b"",
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
    let disk = Arc::new(HeldNotes {
        held: Mutex::new(None),
    });
    let engine = Engine::open(Arc::clone(&disk) as Arc<dyn Disk>, settings(&root)).unwrap();
    store(&engine);
    let (begun, has_begun) = channel();
    let (go_on, may_go_on) = channel();
    let (dropped, was_dropped) = channel();
    *disk.held.lock().unwrap() = Some((begun, may_go_on));
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
