//! What one start has shown the next one shows again: where queues begin and end, too, when the records at
//! their ends are lost.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;

use common::stored::*;
use common::*;

/// Opens the store again and again, stopped in both ways: nothing may look different.
fn assert_stays(dir: &Dir, before: &View) {
    for _ in 0..2 {
        let engine = open(dir);
        assert!(view(&engine) == *before, "killed");
        kill(engine);
    }
    open(dir).close().unwrap();
    assert!(view(&open(dir)) == *before, "closed");
}

/// Gives the killed store the queue files the running one comes to: a power cut may leave these of
/// records it tears.
fn with_queue_files_of(killed: &Dir, running: &Dir) {
    copy_tree(&running.path("consumequeue"), &killed.path("consumequeue"));
}

#[test]
fn a_place_of_a_lost_last_message_is_kept_by_every_start() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 20);
    kill(engine);
    change(&dir, stored[1].log.start + 90, |bytes| bytes[0] ^= 1);
    let engine = open(&dir); // notes the hole
    engine.close().unwrap();
    let engine = open(&dir);
    let lost = append(&engine, "Topic", 0, b"lost");
    engine.write().unwrap();
    let killed = dir.copy();
    engine.close().unwrap();
    with_queue_files_of(&killed, &dir);
    change(&killed, lost.log_offset + 90, |bytes| bytes[0] ^= 1);
    fs::remove_dir_all(killed.path("consumequeue/Other")).unwrap();
    let engine = open(&killed);
    let max = engine.queue_range("Topic", 0).1;
    assert_eq!(max, lost.queue_offset + 1);
    let before = view(&engine);
    kill(engine);
    assert_stays(&killed, &before);
    // Where only the note still knows of the place, the next note does not forget it.
    fs::remove_dir_all(killed.path("consumequeue")).unwrap();
    let engine = open(&killed);
    engine.drop_topic("Other").unwrap();
    kill(engine);
    drop(fs::remove_dir_all(killed.path("consumequeue")));
    let engine = open(&killed);
    assert_eq!(append(&engine, "Topic", 0, b"next").queue_offset, max);
}

#[test]
fn a_queue_begins_at_its_first_record_at_every_start() {
    let dir = Dir::new();
    let engine = open(&dir);
    let lost = append(&engine, "Topic", 0, b"lost");
    for number in 0..3 {
        append(&engine, "Other", 0, format!("{number}").as_bytes());
    }
    engine.write().unwrap();
    let killed = dir.copy();
    engine.close().unwrap();
    with_queue_files_of(&killed, &dir);
    change(&killed, lost.log_offset + 90, |bytes| bytes[0] ^= 1);
    let engine = open(&killed);
    assert_eq!(engine.queue_range("Topic", 0), (1, 1));
    append(&engine, "Topic", 0, b"next");
    engine.write().unwrap();
    assert_eq!(engine.queue_range("Topic", 0), (1, 2));
    let before = view(&engine);
    kill(engine);
    assert_stays(&killed, &before);
}

#[test]
fn places_of_a_dropped_topic_are_not_kept_because_of_other_losses() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 20);
    let early = dir.copy(); // nothing of queues is safe yet
    engine.close().unwrap();
    let files = Dir::new();
    copy_tree(&dir.path("consumequeue/Topic"), &files.0);
    let engine = open(&early);
    engine.drop_topic("Topic").unwrap();
    kill(engine);
    copy_tree(&files.0, &early.path("consumequeue/Topic"));
    change(&early, stored[0].log.start + 90, |bytes| bytes[0] ^= 1);
    let engine = open(&early);
    assert_eq!(engine.damage().0, 1);
    assert_eq!(engine.queue_ids("Topic"), [] as [i32; 0]);
    let before = view(&engine);
    kill(engine);
    assert_stays(&early, &before);
}

#[test]
fn a_record_that_lacks_a_sector_is_not_believed_later_either() {
    let dir = Dir::new();
    let engine = open(&dir);
    append(&engine, "Other", 0, b"before");
    let text = format!("KEYS\x01{}\x02TAGS\x01TagA\x02", "k".repeat(1500));
    let torn = message("Topic", 0, b"torn", text.as_bytes());
    let torn = engine.append("Topic", &torn, 1_700_000_000_000).unwrap();
    append(&engine, "Topic", 0, b"behind");
    engine.write().unwrap();
    kill(engine);
    // A sector within the properties, where no checksum looks, never reached the disk.
    let sector = torn.end / 512 * 512 - 512;
    assert!(torn.log_offset < sector - 512);
    change(&dir, sector, |bytes| bytes[..512].fill(0));
    let engine = open(&dir);
    assert_eq!(engine.damage().0, 1);
    assert_eq!(engine.queue_range("Topic", 0), (1, 2));
    let before = view(&engine);
    engine.close().unwrap();
    // Now a sync vouches for everything; what was not believed stays so.
    kill(open(&dir));
    fs::remove_dir_all(dir.path("consumequeue")).unwrap();
    assert_stays(&dir, &before);
}

#[test]
fn what_a_write_that_stopped_left_is_not_believed_with_a_good_record_further_on() {
    let dir = Dir::new();
    let engine = open(&dir);
    append(&engine, "Other", 0, b"before");
    let torn = append(&engine, "Topic", 0, b"torn");
    let lost = append(&engine, "Topic", 1, b"lost");
    append(&engine, "Other", 0, b"behind");
    engine.write().unwrap();
    kill(engine);
    // The first write stopped within the properties; of the second one, further on, some sectors came.
    let zeros = (lost.end - torn.end + 10) as usize;
    change(&dir, torn.end - 10, |bytes| bytes[..zeros].fill(0));
    let engine = open(&dir);
    assert_eq!(engine.queue_ids("Topic"), [] as [i32; 0]);
    assert_eq!(engine.queue_range("Other", 0), (0, 2));
    let before = view(&engine);
    kill(engine);
    assert_stays(&dir, &before);
}
