//! What the store refuses the lane leaves as it was: no message, no reply, nothing that waits. Its verb
//! is refused the same, and says why.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../rmqlog/tests/common/mod.rs"]
mod common;
#[path = "../../rmqlog/tests/common/faults.rs"]
mod faults;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::*;
use faults::FaultyDisk;
use rmqlane::pull::PULL;
use rmqlane::{Arrived, Lane, Outcome, Puller, Terms, Topic};
use rmqlog::disk::{Disk, DiskFile, Entry, Held, RealDisk};
use rmqlog::{Engine, Settings, StoreError};
use rmqwire::frame::SerializeType;
use rmqwire::header;

const NOW_MS: i64 = 1_700_000_009_000;

/// A lane on which everybody may send to "Topic" and pull from it.
struct Open {
    lane: Lane,
    connection: u32,
}

impl Open {
    fn new() -> Open {
        let mut lane = Lane::new(1);
        lane.set_terms(Some(Terms {
            accept_from_ms: 0,
            body_size_max: 2000,
            properties_size_max: 1000,
            refused_sys_flags: 0,
            suffix: String::new(),
            marks: Vec::new(),
            id_prefix: "7F00000100002A9F".to_string(),
            version: 1,
        }));
        let topic = Topic {
            queue_count: 8,
            added_sys_flag: 0,
            may_batch: true,
        };
        lane.put_topic("Topic", topic);
        let puller = Puller {
            pair: 0,
            queue_count: 8,
            tags: None,
            sub_version: 0,
            message_count_max: 32,
            body_size_max: 1 << 20,
            topic_sys_flag: 0,
            group_sys_flag: 0,
            hold_min_ms: 0,
            hold_max_ms: 600_000,
        };
        lane.put_puller("Topic", "CG", None, puller);
        let connection = lane.open_connection(&HOST);
        Open { lane, connection }
    }

    /// Whether the lane takes a message for that queue. It has to judge it to be one of its own.
    fn takes(&mut self, engine: &Engine, code: i32, queue_id: i32) -> bool {
        let header = format!(
            r#"{{"code":{code},"extFields":{{"a":"PG","b":"Topic","c":"TBW102","d":"4","e":"{queue_id}","f":"0","g":"1","h":"0","i":"UNIQ_KEY\u0001K\u0002"}},"opaque":1}}"#
        );
        let mut scratch = String::new();
        let decoded =
            header::decode(SerializeType::Json, header.as_bytes(), 256, &mut scratch).unwrap();
        let batch = encoded_batch(&[(b"one", b""), (b"two", b"")]);
        let arrived = Arrived {
            form: SerializeType::Json,
            header: &decoded,
            scratch: &scratch,
            body: if code == 320 { &batch } else { b"body" },
        };
        let request = self.lane.judge(&arrived, NOW_MS).unwrap();
        let lane = &mut self.lane;
        lane.take(engine, self.connection, &request, NOW_MS)
            .is_some()
    }

    /// Whether the lane answers a pull of the queue's first message.
    fn answers(&mut self, engine: &Engine, queue_id: i32) -> bool {
        let header = format!(
            r#"{{"code":{PULL},"extFields":{{"consumerGroup":"CG","topic":"Topic","queueId":"{queue_id}","queueOffset":"0","maxMsgNums":"32","sysFlag":"0"}},"flag":0,"opaque":1}}"#
        );
        let mut scratch = String::new();
        let decoded =
            header::decode(SerializeType::Json, header.as_bytes(), 256, &mut scratch).unwrap();
        let arrived = Arrived {
            form: SerializeType::Json,
            header: &decoded,
            scratch: &scratch,
            body: b"",
        };
        assert!(self.lane.may_pull(&arrived));
        let mut out = Vec::new();
        let is_answered = matches!(
            self.lane.pull(engine, &arrived, &mut out),
            Outcome::Answered(_)
        );
        assert_eq!(out.is_empty(), !is_answered);
        is_answered
    }

    /// Neither one message nor a batch is taken, though the lane would, and nothing is left of them.
    fn assert_left(&mut self, engine: &Engine, queue_id: i32) {
        let before = (engine.positions().appended, self.lane.held_count());
        for code in [310, 320] {
            assert!(!self.takes(engine, code, queue_id));
        }
        let after = (engine.positions().appended, self.lane.held_count());
        assert_eq!(after, before);
    }

    fn assert_taken(&mut self, engine: &Engine, queue_id: i32) {
        for code in [310, 320] {
            assert!(self.takes(engine, code, queue_id));
        }
    }
}

fn encoded_batch(items: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut batch = Vec::new();
    for (body, properties) in items {
        let size = 22 + body.len() + properties.len();
        for number in [size, 0, 0, 0, body.len()] {
            batch.extend_from_slice(&(number as i32).to_be_bytes());
        }
        batch.extend_from_slice(body);
        batch.extend_from_slice(&(properties.len() as i16).to_be_bytes());
        batch.extend_from_slice(properties);
    }
    batch
}

fn refusal(engine: &Engine, queue_id: i32) -> StoreError {
    let message = message("Topic", queue_id, b"x", b"");
    engine.append("Topic", &message, NOW_MS).unwrap_err()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "waited in vain until {what}"
        );
        std::thread::yield_now();
    }
}

#[test]
fn while_a_write_hangs_messages_are_left() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(
        disk,
        Settings {
            slow_write_ms: 0, // each write is slow, so the second one is the writer's
            write_busy_ms: 0,
            ..settings(&dir)
        },
    );
    let mut open = Open::new();
    open.assert_taken(&engine, 0);
    engine.write().unwrap();
    faults.set(|plan| {
        plan.writers.clear();
        plan.hold_writes = true;
    });
    open.assert_taken(&engine, 0);
    engine.write().unwrap();
    faults.until_writes(1);
    until("it is busy", || {
        matches!(
            engine.append("Topic", &message("Topic", 0, b"x", b""), NOW_MS),
            Err(StoreError::Busy(_))
        )
    });
    open.assert_left(&engine, 0);
    faults.set(|plan| plan.hold_writes = false);
    until("it is written", || {
        engine.collect();
        let now = engine.positions();
        engine.write().unwrap();
        now.written == now.appended
    });
    open.assert_taken(&engine, 0);
    let now = engine.positions();
    open.lane.release(now.written, now.commit, 0);
    assert_eq!(open.lane.held_count(), 2, "what was taken last waits");
}

#[test]
fn of_a_store_that_takes_no_more_writes_messages_are_left_and_pulls_answered() {
    let dir = Dir::new();
    let (disk, faults) = FaultyDisk::with_faults();
    let engine = open_on(
        disk,
        Settings {
            sync_flush: true,
            ..settings(&dir)
        },
    );
    let mut open = Open::new();
    open.assert_taken(&engine, 0);
    engine.write().unwrap();
    until("it is synced", || {
        engine.collect();
        let now = engine.positions();
        now.commit == now.appended
    });
    faults.set(|plan| plan.sync = Some(("commitlog".to_string(), libc::EIO)));
    open.assert_taken(&engine, 0);
    engine.write().unwrap();
    until("the sync failed", || {
        engine.collect();
        engine.failure().is_some()
    });
    assert!(matches!(refusal(&engine, 0), StoreError::Failed(_)));
    open.assert_left(&engine, 0);
    assert!(open.answers(&engine, 0));
}

#[test]
fn behind_the_reserve_messages_are_left() {
    let dir = Dir::new();
    let engine = common::open(&dir);
    let mut open = Open::new();
    open.assert_taken(&engine, 0);
    let end = engine.positions().appended;
    engine.limit_appends(end, Some("no room".to_string()));
    assert!(matches!(refusal(&engine, 0), StoreError::Failed(_)));
    open.assert_left(&engine, 0);
    engine.limit_appends(0, None);
    open.assert_taken(&engine, 0);
}

/// A disk on which no rebuild gets on.
struct NoRebuild;

impl Disk for NoRebuild {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if std::thread::current().name() == Some("rmqlog-rebuild") {
            return Err(io::Error::other("not yet"));
        }
        RealDisk.open(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
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

#[test]
fn of_a_queue_that_is_rebuilt_messages_and_pulls_are_left() {
    let dir = Dir::new();
    let engine = common::open(&dir);
    fill(&engine, 100);
    engine.close().unwrap();
    fs::remove_file(dir.path("consumequeue/Topic/1/00000000000000000000")).unwrap();
    let in_background = Settings {
        rebuild_in_background: true,
        ..settings(&dir)
    };
    let engine = open_on(Arc::new(NoRebuild), in_background);
    assert!(engine.rebuild_status().has_queues);
    let mut open = Open::new();
    assert!(matches!(refusal(&engine, 1), StoreError::Rebuilding(_)));
    open.assert_left(&engine, 1);
    assert!(!open.answers(&engine, 1));
    // Of a queue nobody knows the log may hold messages.
    open.assert_left(&engine, 7);
    // The others go on.
    open.assert_taken(&engine, 0);
    engine.write().unwrap();
    assert!(open.answers(&engine, 0));
}
