//! Directed tests of what a dropped topic leaves behind.

use super::directed::*;
use super::disk::SimDisk;
use super::history::{read_all, TOPICS};
use super::platter::{Keeps, Platter};
use super::workload::{go_on, open, open_early, settings};
use crate::disk::Disk as _;
use crate::queue_unit::Unit;
use crate::rebuild_note::note_path;

#[test]
fn a_dropped_topic_does_not_come_back() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    for number in 0..3 {
        store(&engine, number, 20);
    }
    engine.drop_topic(TOPIC).unwrap();
    let left = after_power_cut(&disk.ops(), Keeps::Nothing, 0);
    let after_kill = disk.kill();
    for disk in [after_kill, left] {
        let again = open(&disk, true).unwrap();
        assert_eq!(again.queue_ids(TOPIC), [] as [i32; 0]);
        disk.kill();
    }
}

/// The note of an unfinished rebuild has the places of a topic that is then dropped, and begins a new life
/// before the rebuild is done: killed anywhere behind, the process leaves nothing that brings them back.
#[test]
fn places_of_a_topic_dropped_during_a_rebuild_do_not_come_back() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    store_in(&engine, TOPICS[2], 0);
    let lost_to = engine.positions().commit;
    for number in 0..7 {
        store(&engine, number, 300);
        store_in(&engine, TOPICS[1], number);
    }
    persist_round(&engine, true);
    drop(engine);
    let disk = disk.kill();
    for topic in [TOPIC, TOPICS[1]] {
        let queue = settings(true)
            .root
            .join("consumequeue")
            .join(topic)
            .join("0");
        disk.remove_file(&queue.join("00000000000000000000"))
            .unwrap();
    }
    // With a hole in the log, places that are noted are kept, whether a record shows them or not.
    let log = settings(true).root.join("commitlog/00000000000000000000");
    let file = disk.open(&log).unwrap();
    file.zero(4, lost_to - 4).unwrap();
    file.sync_data().unwrap();
    let start = disk.platter();
    let disk = SimDisk::new(start.clone(), 0);
    let engine = open_early(&disk, true).unwrap();
    go_on(&disk, &engine, 0).unwrap();
    engine.drop_topic(TOPIC).unwrap();
    let dropped_at = disk.op_count();
    while engine.rebuild_status().has_queues {
        assert!(!go_on(&disk, &engine, 1).unwrap());
    }
    store(&engine, 0, 20); // the queues are whole, and their note is there still
    persist_round(&engine, true);
    assert!(disk.exists(&note_path(&settings(true).root)));
    let ops = disk.kill().ops();
    drop(engine);
    let mut platter = start;
    for (number, op) in ops.iter().enumerate() {
        platter.apply(op);
        if number + 1 < dropped_at {
            continue;
        }
        let mut left = SimDisk::new(platter.clone(), 0);
        for start in 0..2 {
            let again = open(&left, true).unwrap();
            let (min, max) = again.queue_range(TOPIC, 0);
            assert!(
                min == 0 && max <= 1,
                "operation {number}, start {start}: {min} to {max}"
            );
            assert_eq!(again.queue_range(TOPICS[1], 0), (0, 7));
            left = left.kill();
        }
    }
}

/// A power cut brings back a dropped topic's file, of which only a place without a message is believed: it
/// must not stand for the first message of the topic's new life.
#[test]
fn a_place_without_a_message_does_not_come_back_with_a_dropped_topic() {
    let disk = SimDisk::new(Platter::default(), 0);
    let engine = open(&disk, true).unwrap();
    store_in(&engine, TOPICS[1], 0);
    store(&engine, 0, 20);
    persist_round(&engine, true);
    engine.drop_topic(TOPIC).unwrap();
    for number in 0..3 {
        store(&engine, number, 20);
    }
    let disk = disk.kill();
    drop(engine);
    let queue = settings(true)
        .root
        .join("consumequeue")
        .join(TOPIC)
        .join("0");
    disk.create_dir_all(&queue).unwrap();
    let file = disk.create(&queue.join("00000000000000000000")).unwrap();
    file.set_len(settings(true).consume_queue_file_size)
        .unwrap();
    file.write_at(&Unit::BLANK.encode(), 0).unwrap();
    file.sync_data().unwrap();
    for start in 0..2 {
        let engine = open(&disk, true).unwrap();
        assert_eq!(engine.queue_range(TOPIC, 0), (0, 3), "start {start}");
        let view = read_all(&engine).unwrap();
        assert_eq!(view[&(0, 0)].records.len(), 3, "start {start}");
        engine.close().unwrap();
    }
}
