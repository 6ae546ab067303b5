//! A small store in its own directory, and ways to look at what is on disk.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

pub mod cold_disk;
pub mod stored;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use rmqlog::disk::{Disk, RealDisk};
use rmqlog::record::Message;
use rmqlog::{Appended, Engine, Settings, StoreError};

pub const HOST: [u8; 8] = [127, 0, 0, 1, 0, 0, 0x2a, 0x9f];

/// A directory that goes when the test ends.
pub struct Dir(pub PathBuf);

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Dir {
    pub fn new() -> Dir {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rmqlog-{}-{number}", std::process::id());
        // Memory where there is some: these tests sync thousands of times.
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() {
            shm.to_path_buf()
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(name);
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    /// A copy of all files, as a crash at this moment would leave them.
    pub fn copy(&self) -> Dir {
        let copy = Dir::new();
        copy_tree(&self.0, &copy.0);
        copy
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file with its content.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        files.insert(dir.clone(), Vec::new());
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                files.insert(path.clone(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

pub fn settings(dir: &Dir) -> Settings {
    Settings {
        sync_flush: false,
        segment_size: 4096,
        consume_queue_file_size: 20 * 10,
        index_slot_count: 7,
        index_entry_count: 30,
        flush_interval_ms: 3_600_000,
        flush_interval_consume_queue_ms: 3_600_000,
        reserve_ahead: 1 << 16,
        slow_write_ms: u64::MAX, // write() is a write, however busy the machine is
        delay_levels_ms: vec![1000],
        ..Settings::new(&dir.0)
    }
}

pub fn open(dir: &Dir) -> Engine {
    try_open(settings(dir)).unwrap()
}

pub fn try_open(settings: Settings) -> Result<Engine, StoreError> {
    Engine::open(Arc::new(RealDisk), settings)
}

pub fn open_on(disk: Arc<dyn Disk>, settings: Settings) -> Engine {
    Engine::open(disk, settings).unwrap()
}

pub fn message<'a>(topic: &'a str, queue_id: i32, body: &'a [u8], text: &'a [u8]) -> Message<'a> {
    Message {
        topic: topic.as_bytes(),
        queue_id,
        body,
        properties: text,
        flag: 0,
        sys_flag: 0,
        born_timestamp_ms: 1,
        born_host: &HOST,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
    }
}

pub fn append(engine: &Engine, topic: &str, queue_id: i32, body: &[u8]) -> Appended {
    let number = engine.positions().appended;
    let text = format!("KEYS\x01key{}\x02TAGS\x01TagA\x02", number % 5);
    let message = message(topic, queue_id, body, text.as_bytes());
    engine
        .append(topic, &message, 1_700_000_000_000 + number as i64)
        .unwrap()
}

/// Appends and writes `count` messages, spread over two queues of two topics.
pub fn fill(engine: &Engine, count: usize) {
    for number in 0..count {
        let topic = if number % 3 == 0 { "Other" } else { "Topic" };
        append(
            engine,
            topic,
            (number % 2) as i32,
            format!("body {number}").as_bytes(),
        );
        engine.write().unwrap();
    }
}

/// What a reader sees: every queue with its range and all bytes, and every key's records.
#[derive(Debug, PartialEq, Eq)]
pub struct View {
    pub queues: BTreeMap<(String, i32), (i64, i64, Vec<u8>)>,
    pub keys: BTreeMap<String, Vec<Vec<u8>>>,
    pub end: u64,
}

pub fn view(engine: &Engine) -> View {
    let mut queues = BTreeMap::new();
    let mut keys = BTreeMap::new();
    for topic in ["Topic", "Other"] {
        for id in engine.queue_ids(topic) {
            let (min, max) = engine.queue_range(topic, id);
            let mut bytes = Vec::new();
            let mut at = min;
            while at < max {
                let (plan, part) = engine.read(topic, id, at, 32, 1 << 20).unwrap();
                assert!(plan.next_offset > at);
                at = plan.next_offset;
                bytes.extend(part);
            }
            queues.insert((topic.to_string(), id), (min, max, bytes));
        }
        for number in 0..5 {
            let key = format!("key{number}");
            let (records, _, _) = engine.query_key(topic, &key, 1000, 0, i64::MAX).unwrap();
            keys.insert(format!("{topic}#{key}"), records);
        }
    }
    View {
        queues,
        keys,
        end: engine.positions().commit,
    }
}

/// Stops as a killed process does: nothing more is written than what threads had written already.
pub fn kill(engine: Engine) {
    drop(engine);
}
