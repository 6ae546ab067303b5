//! Damaged logs: what is good is served, what is bad never is, and no place is given twice.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;

use common::stored::*;
use common::*;
use rmqlog::damage::Hole;
use rmqlog::read::Boundary;
use rmqlog::{Engine, StoreError};

/// All of `stored` whose numbers are not in `bad` are served at their places, and nothing else is.
fn assert_served(engine: &Engine, stored: &[Stored], bad: &[usize], what: &str) {
    let mut expected = BTreeMap::new();
    for (number, each) in stored.iter().enumerate() {
        if !bad.contains(&number) {
            let key = (each.topic.to_string(), each.queue_id, each.queue_offset);
            expected.insert(key, each.bytes.clone());
        }
    }
    assert!(served(engine) == expected, "{what}");
}

#[test]
fn a_bad_record_with_valid_ones_behind_it_is_passed_over_and_nothing_is_cut() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 20);
    kill(engine);
    // Size, magic, checksum, physical offset, body.
    for at in [2, 5, 9, 30, 90] {
        let copy = dir.copy();
        change(&copy, stored[1].log.start + at, |bytes| bytes[0] ^= 1);
        let before = fs::read(segment_path(&copy, 0)).unwrap();
        let engine = open(&copy);
        assert_served(&engine, &stored, &[1], &format!("byte {at}"));
        let hole = Hole {
            from: stored[1].log.start,
            to: stored[1].log.end,
        };
        assert_eq!(engine.damage(), (1, vec![hole]));
        let text = format!("00000000000000000000: byte {}: ", hole.from);
        assert!(engine.notes()[0].contains(&text), "{:?}", engine.notes());
        let after = fs::read(segment_path(&copy, 0)).unwrap();
        let end = stored[19].log.end as usize;
        assert_eq!(after[..end], before[..end]);
        // Above what was synced: what comes now stands in a segment of its own.
        assert_eq!(append(&engine, "Topic", 1, b"next").log_offset, SEGMENT);
        engine.write().unwrap();
        let now = view(&engine);
        engine.close().unwrap();
        for _ in 0..2 {
            let engine = open(&copy);
            assert_eq!(view(&engine), now);
            assert_eq!(engine.damage(), (1, vec![hole]));
            kill(engine);
        }
    }
}

#[test]
fn below_what_was_synced_appends_go_on_in_the_same_segment() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 20);
    engine.close().unwrap();
    kill(open(&dir));
    change(&dir, stored[1].log.start + 90, |bytes| bytes[0] ^= 1);
    fs::remove_dir_all(dir.path("consumequeue")).unwrap();
    let engine = open(&dir);
    assert_served(&engine, &stored, &[1], "killed");
    assert_eq!(engine.positions().written, stored[19].log.end);
}

#[test]
fn a_clean_start_does_not_look_but_reads_do() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 20);
    engine.close().unwrap();
    for at in [2, 5, 9, 30, 90] {
        let copy = dir.copy();
        change(&copy, stored[3].log.start + at, |bytes| bytes[0] ^= 1);
        let engine = open(&copy);
        assert_eq!(engine.damage(), (0, vec![]));
        assert_served(&engine, &stored, &[3], &format!("byte {at}"));
        assert_served(&engine, &stored, &[3], "again");
        assert_eq!(engine.damage(), (1, vec![]));
        let news = engine.take_damage_news();
        assert_eq!(news.len(), 1);
        let text = format!("00000000000000000000: byte {}: ", stored[3].log.start);
        assert!(news[0].contains(&text), "{news:?}");
        let log_offset = stored[3].log.start as i64;
        assert_eq!(engine.record_at(log_offset).unwrap(), None);
    }
}

#[test]
fn a_record_of_another_place_is_not_handed_out() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 20);
    engine.close().unwrap();
    // Queue id, queue offset, topic: no checksum covers them, but the queue knows better.
    let topic_at = stored[3].bytes.len() - 2;
    let topic_at = (0..topic_at)
        .rev()
        .find(|&at| stored[3].bytes[at..].starts_with(b"Other"));
    for at in [15, 27, topic_at.unwrap()] {
        let copy = dir.copy();
        change(&copy, stored[3].log.start + at as u64, |bytes| {
            bytes[0] ^= 1
        });
        let engine = open(&copy);
        assert_served(&engine, &stored, &[3], &format!("byte {at}"));
        assert_eq!(engine.damage().0, 1);
    }
}

#[test]
fn searches_by_time_and_key_go_around_damage() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 40);
    engine.close().unwrap();
    let victims: Vec<usize> = (0..40)
        .filter(|&number| stored[number].topic == "Topic" && stored[number].queue_id == 1)
        .skip(2)
        .take(4)
        .collect();
    for &victim in &victims {
        change(&dir, stored[victim].log.start, |bytes| bytes[..8].fill(0));
    }
    let engine = open(&dir);
    let first = &stored[victims[0]];
    let behind = first.queue_offset + 4;
    let time = engine.store_time("Topic", 1, behind).unwrap();
    let found = engine.offset_by_time("Topic", 1, time, Boundary::Lower);
    let (plan, _) = engine.read("Topic", 1, found.unwrap(), 1, 1000).unwrap();
    let first_read = plan.records.first().map(|record| record.queue_offset);
    assert!(first_read == Some(behind) || plan.next_offset <= behind);
    let time = engine.store_time("Topic", 1, first.queue_offset).unwrap();
    assert_eq!(time, -1);
    let mut count = 0;
    for number in 0..5 {
        let key = format!("key{number}");
        for topic in ["Topic", "Other"] {
            let found = engine.query_key(topic, &key, 1000, 0, i64::MAX).unwrap();
            count += found.0.len();
        }
    }
    assert_eq!(count, 36);
}

#[test]
fn a_segment_may_be_missing_or_cut_short() {
    for is_clean in [true, false] {
        for length in [None, Some(0), Some(5), Some(700)] {
            let dir = Dir::new();
            let engine = open(&dir);
            let stored = store(&engine, 90);
            let max = maxima(&engine);
            engine.close().unwrap();
            if !is_clean {
                kill(open(&dir));
            }
            let path = segment_path(&dir, SEGMENT);
            match length {
                None => fs::remove_file(&path).unwrap(),
                Some(length) => fs::OpenOptions::new()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(length)
                    .unwrap(),
            }
            let cut = SEGMENT + length.unwrap_or(0);
            let bad: Vec<usize> = (0..stored.len())
                .filter(|&number| stored[number].log.end > cut)
                .filter(|&number| stored[number].log.start < 2 * SEGMENT)
                .collect();
            assert!(bad.len() > 5 && stored.last().unwrap().log.start > 2 * SEGMENT);
            for lacks_queues in [false, true] {
                let copy = dir.copy();
                if lacks_queues {
                    fs::remove_dir_all(copy.path("consumequeue")).unwrap();
                }
                let what = format!("clean {is_clean} length {length:?} queues {lacks_queues}");
                let engine = open(&copy);
                assert_served(&engine, &stored, &bad, &what);
                assert_eq!(maxima(&engine), max, "{what}");
                if lacks_queues {
                    assert_eq!(engine.damage().1.len(), 1, "{what}");
                }
                if length.is_some() {
                    let size = fs::metadata(segment_path(&copy, SEGMENT)).unwrap().len();
                    assert_eq!(size, SEGMENT, "{what}");
                }
                let shown = view(&engine).queues;
                engine.close().unwrap();
                let engine = open(&copy);
                assert_eq!(view(&engine).queues, shown, "{what}");
            }
        }
    }
}

/// Its only file does not tell a log's segment size: it may have lost zeros at its end.
#[test]
fn the_only_segment_gets_its_length_back() {
    for ends_clean in [true, false] {
        let dir = Dir::new();
        let engine = open(&dir);
        let stored = store(&engine, 20);
        if ends_clean {
            engine.close().unwrap();
        } else {
            kill(engine);
        }
        drop(fs::remove_file(segment_path(&dir, SEGMENT))); // one made ahead
        let path = segment_path(&dir, 0);
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(stored[19].log.end + 100).unwrap();
        assert!(stored[19].log.end > 1024 && stored[19].log.end + 100 < SEGMENT);
        let engine = open(&dir);
        assert_served(&engine, &stored, &[], &format!("clean {ends_clean}"));
        assert_eq!(fs::metadata(&path).unwrap().len(), SEGMENT);
        let more = store(&engine, 90);
        assert!(more[89].log.start > 2 * SEGMENT);
        assert!(segment_path(&dir, 2 * SEGMENT).exists());
        kill(engine);
    }
}

#[test]
fn what_a_sync_vouched_for_is_never_cut_and_its_places_are_not_given_again() {
    for lacks_queues in [false, true] {
        let dir = Dir::new();
        let engine = open(&dir);
        let stored = store(&engine, 30);
        let max = maxima(&engine);
        engine.close().unwrap();
        // The last three records and everything behind them.
        let from = stored[27].log.start;
        let base = from - from % SEGMENT;
        change(&dir, from, |bytes| bytes.fill(0));
        if lacks_queues {
            fs::remove_dir_all(dir.path("consumequeue")).unwrap();
        }
        let mut shown = None;
        for _ in 0..3 {
            let engine = open(&dir);
            assert_served(&engine, &stored, &[27, 28, 29], "the end");
            assert_eq!(maxima(&engine), max);
            let hole = Hole {
                from,
                to: base + SEGMENT,
            };
            assert_eq!(engine.damage().1, [hole]);
            let now = view(&engine);
            assert_eq!(*shown.get_or_insert(now), view(&engine));
            kill(engine);
        }
        let engine = open(&dir);
        let next = append(&engine, "Topic", 1, b"next");
        assert_eq!(next.queue_offset, max[&("Topic".to_string(), 1)]);
        assert_eq!(next.log_offset, base + SEGMENT);
    }
}

#[test]
fn the_newest_segment_may_be_missing() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 70);
    let max = maxima(&engine);
    let end = engine.positions().written;
    engine.close().unwrap();
    let base = end - end % SEGMENT;
    for base in (base..base + 2 * SEGMENT).step_by(SEGMENT as usize) {
        drop(fs::remove_file(segment_path(&dir, base)));
    }
    let bad: Vec<usize> = (0..stored.len())
        .filter(|&number| stored[number].log.start >= base)
        .collect();
    assert!(!bad.is_empty());
    for _ in 0..2 {
        let engine = open(&dir);
        assert_served(&engine, &stored, &bad, "the newest");
        assert_eq!(maxima(&engine), max);
        assert_eq!(engine.positions().written, base + SEGMENT);
        kill(engine);
    }
}

#[test]
fn a_log_of_which_nothing_is_left_is_refused_naming_the_way_out() {
    let dir = Dir::new();
    let engine = open(&dir);
    store(&engine, 30);
    engine.close().unwrap();
    fs::remove_dir_all(dir.path("commitlog")).unwrap();
    let before = tree(&dir.0);
    let Some(StoreError::Damaged(text)) = try_open(settings(&dir)).err() else {
        panic!("opened")
    };
    assert!(text.contains("commitlog: byte 0: no segments"), "{text}");
    assert!(text.contains("`pyromq store repair DIR`"), "{text}");
    assert_eq!(tree(&dir.0), before);
}

#[test]
fn a_restored_segment_fills_its_hole_again() {
    let dir = Dir::new();
    let engine = open(&dir);
    let stored = store(&engine, 90);
    engine.close().unwrap();
    let path = segment_path(&dir, SEGMENT);
    let content = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::remove_dir_all(dir.path("consumequeue")).unwrap();
    let engine = open(&dir);
    assert_eq!(engine.damage().0, 1);
    kill(engine);
    fs::write(&path, content).unwrap();
    drop(fs::remove_dir_all(dir.path("consumequeue")));
    let engine = open(&dir);
    assert_served(&engine, &stored, &[], "restored");
    assert_eq!(engine.damage(), (0, vec![]));
}
