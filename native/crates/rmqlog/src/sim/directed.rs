//! Short runs on the simulated disk, each for one way to break a promise; no seed decides whether it is
//! met.

use std::time::{Duration, Instant};

use super::disk::{Faults, SimDisk};
use super::flush;
use super::history::{read_all, Attempt, TOPICS};
use super::platter::{Keeps, Op, Platter, Random};
use super::workload::{go_on, message, open, open_early, settings};
use crate::checkpoint::Checkpoint;
use crate::disk::Disk as _;
use crate::engine::Engine;
use crate::marker::QueuesFile;
use crate::persist::{persist, write_crcs};

pub(super) const TOPIC: &str = TOPICS[0];

/// What the machine's next run finds on a disk that began empty, if the power fails after `ops`.
pub(super) fn after_power_cut(ops: &[Op], keeps: Keeps, random: u64) -> SimDisk {
    let mut platter = Platter::default();
    for op in ops {
        platter.apply(op);
    }
    SimDisk::new(platter.after_power_cut(keeps, &mut Random(random)), 1)
}

/// Writes a message with the key `k<number>`; answers its end in the log.
pub(super) fn write(engine: &Engine, number: usize, size: usize) -> u64 {
    let text = Attempt::properties(&format!("k{number}"));
    let body = vec![b'x'; size];
    let message = message(TOPIC, 0, &body, &text);
    let time = 1_700_000_000_000 + number as i64;
    let end = engine.append(TOPIC, &message, time).unwrap().end;
    engine.write().unwrap();
    engine.state().log.settle();
    end
}

/// As `write`, and waits until it is committed.
pub(super) fn store(engine: &Engine, number: usize, size: usize) {
    let end = write(engine, number, size);
    until_committed(engine, end);
}

pub(super) fn until_committed(engine: &Engine, end: u64) {
    while engine.positions().commit < end {
        assert_eq!(engine.failure(), None);
        std::thread::yield_now();
    }
}

/// Stores a message in another topic's queue 0.
pub(super) fn store_in(engine: &Engine, topic: &str, number: usize) {
    let time = 1_700_000_000_000 + number as i64;
    let place = engine.append(topic, &message(topic, 0, b"other", b""), time);
    engine.write().unwrap();
    engine.state().log.settle();
    until_committed(engine, place.unwrap().end);
}

pub(super) fn assert_found(engine: &Engine, numbers: std::ops::Range<usize>, what: &str) {
    for number in numbers {
        let key = format!("k{number}");
        let (records, _, _) = engine.query_key(TOPIC, &key, 64, 0, i64::MAX).unwrap();
        assert_eq!(records.len(), 1, "{what}: {key}");
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_acknowledged() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    for number in 0..8 {
        store(&engine, number, 900); // two segments
        let left = after_power_cut(&disk.ops(), Keeps::Nothing, 0);
        let again = open(&left, true).unwrap();
        assert_eq!(again.queue_range(TOPIC, 0), (0, number as i64 + 1));
        assert_found(&again, 0..number + 1, "after the cut");
        left.kill();
    }
    disk.kill();
}

/// The kernel shows what the device never took; what the next process makes of it must be true.
#[test]
fn what_a_start_shows_after_a_failed_sync_outlives_a_power_cut() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    store(&engine, 0, 20);
    disk.set_faults(Faults {
        sync: Some(libc::EIO),
        ..Faults::default()
    });
    let end = write(&engine, 1, 20);
    while engine.failure().is_none() && engine.positions().flushed < end {
        std::thread::yield_now();
    }
    assert!(engine.failure().is_some());
    let disk = disk.kill();
    let engine = open(&disk, true).unwrap();
    let shown = engine.queue_range(TOPIC, 0);
    assert!(shown.1 >= 1);
    let left = after_power_cut(&disk.ops(), Keeps::Nothing, 0);
    let again = open(&left, true).unwrap();
    assert_eq!(again.queue_range(TOPIC, 0), shown);
    left.kill();
    disk.kill();
}

/// A round of the persister, in which a sync is due or not.
pub(super) fn persist_round(engine: &Engine, is_due: bool) {
    let mut progress = engine.shared().progress();
    let now = Instant::now();
    let long_ago = now.checked_sub(Duration::from_secs(60)).unwrap_or(now);
    progress.synced_at = if is_due { long_ago } else { now };
    persist(engine.shared(), &mut progress, false).unwrap();
}

/// Power cuts of a young store, whose queues and index were written and never synced: parts of the index
/// are there, no start may believe them, and what is built in their place must reach the disk.
#[test]
fn a_torn_index_is_not_believed_and_the_new_one_stays() {
    const COUNT: usize = 40; // three index files
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    for number in 0..COUNT {
        store(&engine, number, 20);
        if number % 5 == 0 {
            persist_round(&engine, false);
        }
    }
    persist_round(&engine, false);
    let ops = disk.ops();
    disk.kill();
    for random in 0..20 {
        let left = after_power_cut(&ops, Keeps::Some(50), random);
        let again = open(&left, true).unwrap();
        assert_found(&again, 0..COUNT, &format!("cut {random}"));
        store(&again, COUNT, 20);
        again.close().unwrap();
        let left = left.kill();
        let again = open(&left, true).unwrap();
        assert_found(&again, 0..COUNT + 1, &format!("cut {random}, closed"));
        left.kill();
    }
}

/// Every place in a round of the persister where the power could fail.
#[test]
fn a_sync_of_queues_and_index_vouches_for_nothing_too_early() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    for number in 0..4 {
        store(&engine, number, 20);
    }
    persist_round(&engine, true);
    for number in 4..11 {
        store(&engine, number, 20);
        persist_round(&engine, false);
    }
    store(&engine, 11, 20);
    let before = disk.op_count();
    persist_round(&engine, true);
    let ops = disk.ops();
    disk.kill();
    assert!(ops.len() > before);
    for end in before..=ops.len() {
        for (random, keeps) in [
            Keeps::Nothing,
            Keeps::Some(20),
            Keeps::Some(50),
            Keeps::Some(80),
        ]
        .into_iter()
        .enumerate()
        {
            let left = after_power_cut(&ops[..end], keeps, random as u64);
            let again = open(&left, true).unwrap();
            assert_eq!(again.queue_range(TOPIC, 0), (0, 12), "operation {end}");
            assert_found(&again, 0..12, &format!("operation {end}, {keeps:?}"));
            left.kill();
        }
    }
}

/// Every place in a rebuild of all queues where the process could end or the power fail. Nothing but the
/// note of the rebuild tells the next start that queue files are not whole.
#[test]
fn a_rebuild_that_was_cut_off_is_not_believed() {
    const LONG: &str = TOPICS[1];
    const COUNT: usize = 40; // four queue files
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    for number in 0..COUNT {
        store_in(&engine, LONG, number);
    }
    // The newest record is of the queue that is written first: by it no start can tell.
    store(&engine, COUNT, 20);
    engine.close().unwrap();
    let disk = disk.kill();
    let root = settings(true).root;
    for topic in [TOPIC, LONG] {
        let topic = root.join("consumequeue").join(topic);
        let queue = topic.join("0");
        for entry in disk.list(&queue).unwrap() {
            disk.remove_file(&queue.join(entry.name)).unwrap();
        }
        for dir in [&queue, &topic] {
            disk.remove_dir(dir).unwrap();
            disk.sync_dir(dir.parent().unwrap()).unwrap();
        }
    }
    disk.remove_file(&root.join("pyromq/queues")).unwrap();
    disk.sync_dir(&root.join("pyromq")).unwrap();
    let before = disk.op_count();
    let engine = open(&disk, true).unwrap();
    assert_eq!(engine.queue_range(LONG, 0), (0, COUNT as i64));
    let ops = disk.ops();
    disk.kill();
    let mut killed = Platter::default();
    for op in &ops[..before] {
        killed.apply(op);
    }
    for end in before..=ops.len() {
        let mut left = vec![SimDisk::new(killed.clone(), 0)];
        for (random, keeps) in [Keeps::Nothing, Keeps::Some(50), Keeps::Some(80)]
            .into_iter()
            .enumerate()
        {
            left.push(after_power_cut(&ops[..end], keeps, (end + random) as u64));
        }
        for (number, disk) in left.into_iter().enumerate() {
            let again = open(&disk, true).unwrap();
            let what = format!("operation {end}, disk {number}");
            assert_eq!(again.queue_range(LONG, 0), (0, COUNT as i64), "{what}");
            for offset in 0..COUNT as i64 {
                let (plan, _) = again.read(LONG, 0, offset, 1, 1 << 20).unwrap();
                assert_eq!(plan.records.len(), 1, "{what}: message {offset}");
            }
            disk.kill();
        }
        if let Some(op) = ops.get(end) {
            killed.apply(op);
        }
    }
}

/// A note of queues speaks of a message that a power cut took: its place is free, however often the store
/// starts.
#[test]
fn a_queue_whose_only_message_was_never_synced_is_shown_by_no_start() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, false).unwrap();
    let other = message(TOPICS[1], 0, b"other", b"");
    engine.append(TOPICS[1], &other, 1_700_000_000_000).unwrap();
    engine.write().unwrap();
    persist_round(&engine, true); // waits for the log
    flush(&engine);
    write(&engine, 0, 20);
    assert!(engine.positions().commit > engine.positions().flushed);
    persist_round(&engine, false); // notes the queues as they are now
    let note = QueuesFile::read(&disk, &settings(false).root).unwrap();
    assert!(note.is_some_and(|note| note.queues.iter().any(|queue| queue.topic == TOPIC)));
    let mut disk = after_power_cut(&disk.kill().ops(), Keeps::Nothing, 0);
    drop(engine);
    // As if the message had come between the round's writes and its note.
    let units = settings(false).root.join("consumequeue").join(TOPIC);
    let units = units.join("0/00000000000000000000");
    disk.remove_file(&units).unwrap();
    for start in 0..3 {
        let engine = open(&disk, false).unwrap();
        assert_eq!(engine.queue_range(TOPIC, 0), (0, 0), "start {start}");
        assert_eq!(engine.queue_ids(TOPIC), [] as [i32; 0], "start {start}");
        let other = message(TOPICS[2], 0, b"other", b"");
        engine.append(TOPICS[2], &other, 1_700_000_000_000).unwrap();
        engine.write().unwrap();
        engine.close().unwrap();
        disk = disk.kill();
    }
}

/// A record at the log's end that only its whole checksum tells from a good one: a start that takes it
/// away and is ended by a power cut, wherever that is, leaves nothing the next one would believe.
#[test]
fn a_torn_record_is_not_believed_once_its_start_was_interrupted() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    store(&engine, 0, 20);
    persist_round(&engine, true);
    let first = engine.positions().commit;
    let torn = write(&engine, 1, 20);
    let end = write(&engine, 2, 20);
    while engine.positions().commit < end {
        std::thread::yield_now();
    }
    assert!(write_crcs(engine.shared()));
    let disk = disk.kill();
    drop(engine);
    let log = settings(true).root.join("commitlog/00000000000000000000");
    let file = disk.open(&log).unwrap();
    // The first of the two is gone, and of the second what no other rule tells from a good one.
    file.zero(first, torn - first).unwrap();
    file.zero(end - 4, 2).unwrap();
    file.sync_data().unwrap();
    let damaged = disk
        .platter()
        .after_power_cut(Keeps::Everything, &mut Random(0));

    let begun = SimDisk::new(damaged.clone(), 1);
    open(&begun, true).unwrap();
    let start = begun.ops();
    begun.kill();
    for count in 0..=start.len() {
        let mut platter = damaged.clone();
        start[..count].iter().for_each(|op| platter.apply(op));
        for keeps in [Keeps::Nothing, Keeps::Some(50), Keeps::Everything] {
            let left = platter.after_power_cut(keeps, &mut Random(count as u64));
            let left = SimDisk::new(left, 2);
            let again = open(&left, true).unwrap();
            let (records, _, _) = again.query_key(TOPIC, "k2", 64, 0, i64::MAX).unwrap();
            assert!(records.is_empty(), "{count} operations, {keeps:?}");
            left.kill();
        }
    }
}

/// Apache's broker, coming after a kill, removes index files that end behind the checkpoint's index time
/// and dispatches again from the segment that holds the checkpoint's queue position: that must not be
/// behind the first entry of what it removed.
#[test]
fn a_checkpoint_lets_apache_look_from_where_the_index_is_not_complete() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    let path = settings(true).root.join("checkpoint");
    let check = |engine: &Engine, disk: &SimDisk| {
        let checkpoint = Checkpoint::read(disk, &path).unwrap().unwrap();
        let (time, begin) = engine.state().index.unsealed_begin().unwrap();
        assert!(begin < engine.positions().commit);
        assert!(
            checkpoint.queues_log_offset <= begin as i64,
            "{checkpoint:?}"
        );
        assert!(checkpoint.queues_timestamp_ms < time, "{checkpoint:?}");
    };
    for count in [3, 20, 40, 60] {
        let from = engine.queue_range(TOPIC, 0).1 as usize;
        for number in from..count {
            store(&engine, number, 300);
        }
        persist_round(&engine, true);
        check(&engine, &disk);
    }
    // A clean stop calls the newest file complete; the next start adds to it.
    engine.close().unwrap();
    let disk = disk.kill();
    let engine = open(&disk, true).unwrap();
    check(&engine, &disk);
    disk.kill();
}

/// A rebuild that was asked for by one queue comes by messages of another, which no note speaks of, and the
/// persister writes a part of its units. Killed there, the process leaves nothing that tells the next one
/// of the other part, but for the note of the rebuild.
#[test]
fn a_queue_that_a_rebuild_found_is_whole_after_a_kill_at_any_step() {
    const FOUND: &str = TOPICS[1];
    const COUNT: usize = 120; // several segments
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    for number in 0..COUNT {
        store_in(&engine, FOUND, number);
    }
    for number in 0..20 {
        store(&engine, number, 300); // segments of its own: a start looks at the last one
    }
    store_in(&engine, TOPICS[2], COUNT);
    persist_round(&engine, true);
    drop(engine);
    let disk = disk.kill();
    let root = settings(true).root;
    for topic in [TOPIC, FOUND] {
        let topic = root.join("consumequeue").join(topic);
        let queue = topic.join("0");
        for entry in disk.list(&queue).unwrap() {
            disk.remove_file(&queue.join(entry.name)).unwrap();
        }
        disk.remove_dir(&queue).unwrap();
        disk.remove_dir(&topic).unwrap();
    }
    let mut note = QueuesFile::read(&disk, &root).unwrap().unwrap();
    note.queues.retain(|queue| queue.topic != FOUND);
    note.write(&disk, &root).unwrap();
    let damaged = disk.platter();

    let (mut calls, mut seen) = (0, 0);
    let mut has_ended = false;
    while !has_ended {
        calls += 1;
        let disk = SimDisk::new(damaged.clone(), 0);
        let engine = open_early(&disk, true).unwrap();
        has_ended = go_on(&disk, &engine, calls).unwrap();
        persist_round(&engine, false);
        seen += usize::from(!has_ended && engine.state().queues.find(FOUND, 0).is_some());
        let left = disk.kill();
        drop(engine);
        let again = open(&left, true).unwrap();
        for (topic, count) in [(TOPIC, 20), (FOUND, COUNT as i64)] {
            let range = again.queue_range(topic, 0);
            assert_eq!(range, (0, count), "{topic} after {calls} calls");
        }
        left.kill();
    }
    assert!(calls > 5 && seen > 1, "{calls} {seen}");
}

/// A full disk refuses a turn whose first record is written whole; another takes its place. A power cut that
/// keeps some sectors of each must not leave a record of both, which may end in the other's properties.
#[test]
fn no_record_is_made_of_a_refused_one_and_the_one_in_its_place() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    store(&engine, 0, 230);
    let begin = engine.positions().commit;
    let mut sent = vec![Attempt::properties("k0")];
    let mut append = |number: usize, size: usize| {
        let text = Attempt::properties(&format!("k{number}"));
        let body = vec![b'a' + number as u8; size];
        let place = engine.append(TOPIC, &message(TOPIC, 0, &body, &text), 1_700_000_000_001);
        sent.push(text);
        place.unwrap().end
    };
    let end = append(1, 512 - begin as usize - 100);
    assert!(
        begin < 512 && end > 512 && end < 530,
        "it spans two sectors: {begin} to {end}"
    );
    append(2, 300);
    disk.set_faults(Faults {
        write: Some(((end - begin) as usize + 10, libc::ENOSPC)),
        ..Faults::default()
    });
    assert!(engine.write().is_err());
    disk.set_faults(Faults::default());
    disk.hold_syncs(true);
    append(3, 900);
    engine.write().unwrap();
    let ops = disk.ops();
    disk.kill();
    for random in 0..300 {
        let left = after_power_cut(&ops, Keeps::Some(50), random);
        let engine = open(&left, true).unwrap();
        for queue in read_all(&engine).unwrap().values() {
            for seen in &queue.records {
                assert!(sent.contains(&seen.properties), "{random}: {seen:?}");
            }
        }
        left.kill();
    }
}
