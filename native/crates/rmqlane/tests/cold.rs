//! Pulls of what is not in memory: they wait for the device, and nobody else does.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../rmqlog/tests/common/mod.rs"]
mod common;
mod polls;

use std::path::PathBuf;
use std::sync::Arc;

use common::cold_disk::{await_news, ColdDisk};
use common::*;
use polls::{Became, Polls};
use rmqlane::{Poll, Pulled, Woken};
use rmqlog::{Engine, Settings};

const COUNT: i64 = 40;
const COMMIT_OFFSET: i32 = 1;
const SUSPEND: i32 = 2;

/// A store with messages of which nothing is in memory, and comes there only when it is waited for.
fn cold_store(dir: &Dir) -> (ColdDisk, Engine) {
    cold_store_of(settings(dir), COUNT, 0)
}

/// The same with so many messages of another topic before each one.
fn cold_store_of(settings: Settings, count: i64, others: i64) -> (ColdDisk, Engine) {
    let engine = try_open(settings.clone()).unwrap();
    for number in 0..count {
        for _ in 0..others {
            append(&engine, "Other", 0, b"another's");
        }
        append(&engine, "Topic", 0, format!("body {number}").as_bytes());
        engine.write().unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    let disk = ColdDisk::default();
    let engine = open_on(Arc::new(disk.clone()), settings);
    disk.forget();
    disk.be_lazy();
    engine.take_arrivals();
    (disk, engine)
}

/// What happens to the polls until one of them is done.
fn woken(polls: &mut Polls, engine: &Engine) -> Woken {
    loop {
        await_news(engine);
        let woken = polls.wake(engine);
        if !woken.answered.is_empty() || !woken.given_back.is_empty() {
            return woken;
        }
    }
}

fn only_given_back(told: &Woken) -> &Poll {
    match &told.given_back[..] {
        [poll] => poll,
        _ => panic!("one is given back: {told:?}"),
    }
}

#[test]
fn a_pull_waits_for_the_device_and_is_answered_like_any_other() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    let waiting = Pulled {
        pair: 3,
        queue_id: 0,
        next_offset: 5,
        commit_offset: 1,
        max_offset: COUNT,
        message_count: 0,
        size: 0,
    };
    let became = polls.pull(&engine, 0, 5, COMMIT_OFFSET);
    assert_eq!(became, Became::Waiting(waiting));
    let told = woken(&mut polls, &engine);
    let [(connection, pulled)] = told.answered[..] else {
        panic!("one is answered: {told:?}");
    };
    assert_eq!(connection, polls.connection);
    assert_eq!((pulled.next_offset, pulled.message_count), (37, 32));
    assert_eq!(pulled.commit_offset, -1, "that was told when it came");
    assert!(told.arrivals.is_empty() && polls.lane.poll_count() == 0);
    assert_eq!(disk.waits(), Vec::<PathBuf>::new());
    let became = polls.pull(&engine, 0, 5, 0);
    assert_eq!(became, Became::Answered(polls.replies()));
}

#[test]
fn many_pulls_wait_at_the_same_time() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    disk.hold();
    for offset in 0..COUNT {
        assert!(polls.waits(&engine, 0, offset, 0));
    }
    disk.let_go();
    let mut answered = Vec::new();
    while answered.len() < COUNT as usize {
        let woken = woken(&mut polls, &engine);
        assert!(woken.given_back.is_empty(), "{woken:?}");
        answered.extend(woken.answered);
    }
    let mut firsts: Vec<i64> = answered
        .iter()
        .map(|(_, pulled)| pulled.next_offset - pulled.message_count as i64)
        .collect();
    firsts.sort_unstable();
    assert_eq!(firsts, (0..COUNT).collect::<Vec<_>>());
    assert_eq!(disk.waits(), Vec::<PathBuf>::new());
}

#[test]
fn what_a_device_cannot_give_is_left_to_the_verb() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    disk.break_below(&dir.path("commitlog"));
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, 5, 0));
    polls.lane.begin_waits(100);
    let told = woken(&mut polls, &engine);
    let poll = only_given_back(&told);
    assert_eq!((poll.queue_offset, &*poll.frame), (5, &b"frame"[..]));
    assert_eq!(poll.deadline_ms, 0, "it does not wait any more");
    assert_eq!(disk.fetch_count(), 4 + 1, "its queue's files, once the log");
    assert!(polls.replies().is_empty());
    assert_eq!(disk.waits(), Vec::<PathBuf>::new());
}

#[test]
fn a_pull_of_messages_that_lie_far_apart_is_answered_all_the_same() {
    let dir = Dir::new();
    let settings = Settings {
        segment_size: 8 << 20,
        consume_queue_file_size: 20 * 100_000,
        ..settings(&dir)
    };
    // Each lies behind more than one block of checksums.
    let (disk, engine) = cold_store_of(settings, 32, 400);
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, 0, 0));
    let told = woken(&mut polls, &engine);
    assert_eq!((told.answered.len(), told.given_back.len()), (1, 0));
    assert_eq!(told.answered[0].1.message_count, 32);
    assert_eq!(disk.waits(), Vec::<PathBuf>::new());
}

#[test]
fn where_the_queue_begins_is_not_waited_for() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    assert!(engine.remove_segment(0).unwrap());
    let mut polls = Polls::new();
    match polls.pull(&engine, 0, 35, COMMIT_OFFSET) {
        Became::Waiting(pulled) => assert_eq!(pulled.max_offset, COUNT),
        became => panic!("it waits: {became:?}"),
    }
    let told = woken(&mut polls, &engine);
    assert_eq!((told.answered.len(), told.given_back.len()), (1, 0));
    assert_eq!(disk.waits(), Vec::<PathBuf>::new());
}

#[test]
fn who_takes_over_a_long_poll_hears_of_the_message_that_was_fetched_for_it() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, COUNT, SUSPEND));
    append(&engine, "Topic", 0, b"next");
    engine.write().unwrap();
    disk.forget();
    let told = polls.wake(&engine);
    assert!(told.answered.is_empty() && told.given_back.is_empty());
    polls.lane.close_pullers();
    let told = woken(&mut polls, &engine);
    assert_eq!((told.answered.len(), told.given_back.len()), (0, 1));
    assert_eq!(told.arrivals, [("Topic".into(), 0, COUNT + 1)]);
}

#[test]
fn a_long_poll_that_went_on_meanwhile_waits_on() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    disk.hold();
    let mut polls = Polls::new();
    polls.lane.close_pullers();
    polls.allow(Some(vec![1]));
    assert!(polls.waits(&engine, 0, COUNT, SUSPEND));
    assert!(engine.remove_segment(0).unwrap()); // now the queue is looked at for where it begins
    for _ in 0..2 {
        append(&engine, "Topic", 0, b"not wanted");
        polls.wake(&engine);
        // Somebody else brings what the first look has missed.
        engine.plan_read("Topic", 0, COUNT, 1, 1, None).unwrap();
    }
    disk.let_go();
    await_news(&engine);
    let told = polls.wake(&engine);
    assert!(told.answered.is_empty() && told.given_back.is_empty());
    assert_eq!(polls.lane.poll_count(), 1);
}

#[test]
fn a_pull_that_wants_nothing_of_much_looks_at_no_more_than_its_verb() {
    let dir = Dir::new();
    let settings = Settings {
        segment_size: 8 << 20,
        consume_queue_file_size: 20 * 100_000,
        ..settings(&dir)
    };
    let (disk, engine) = cold_store_of(settings, 3000, 0);
    engine
        .plan_read("Topic", 0, 1000, 1, 1, Some(&[1]))
        .unwrap();
    engine
        .plan_read("Topic", 0, 1800, 1, 1, Some(&[1]))
        .unwrap();
    let waits = disk.waits();
    let mut polls = Polls::new();
    polls.lane.close_pullers();
    polls.allow(Some(vec![1]));
    assert!(polls.waits(&engine, 0, 5, 0));
    let told = woken(&mut polls, &engine);
    let poll = only_given_back(&told);
    assert_eq!((poll.queue_offset, poll.deadline_ms), (5, 0));
    assert_eq!(disk.waits(), waits);
}

#[test]
fn a_pull_that_wants_nothing_of_what_is_there_does_not_wait_on() {
    let dir = Dir::new();
    let (_, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    polls.lane.close_pullers();
    polls.allow(Some(vec![1]));
    assert!(polls.waits(&engine, 0, 5, 0));
    polls.lane.begin_waits(100);
    let told = woken(&mut polls, &engine);
    let poll = only_given_back(&told);
    assert_eq!((poll.queue_offset, poll.deadline_ms), (5, 0));
}

#[test]
fn who_may_not_pull_any_more_is_judged_again() {
    let dir = Dir::new();
    let (_, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, 5, 0));
    polls.lane.close_pullers();
    let told = woken(&mut polls, &engine);
    assert_eq!((told.answered.len(), told.given_back.len()), (0, 1));
}

#[test]
fn nobody_is_answered_who_is_gone() {
    let dir = Dir::new();
    let (_, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, 5, 0));
    polls.lane.close_connection(polls.connection);
    polls.connection = polls.lane.open_connection(&HOST);
    assert!(polls.waits(&engine, 0, 6, 0), "in the place of the other");
    let told = woken(&mut polls, &engine);
    assert_eq!(told.answered.len(), 1);
    assert_eq!(told.answered[0].1.message_count, 32);
    assert_eq!(told.answered[0].1.next_offset, 38);
}

#[test]
fn who_waits_too_long_goes_on_by_his_verb() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    disk.hold();
    assert!(polls.waits(&engine, 0, 5, 0));
    polls.lane.begin_waits(0);
    let before = polls.lane.end_waits(&engine, 19_999);
    assert!(before.given_back.is_empty());
    let told = polls.lane.end_waits(&engine, 20_000);
    assert_eq!((told.answered.len(), told.given_back.len()), (0, 1));
    assert_eq!(polls.lane.poll_count(), 0);
    assert_eq!(disk.waits(), Vec::<PathBuf>::new(), "that is the verb's");
    disk.let_go();
    await_news(&engine);
    let told = polls.wake(&engine);
    assert!(told.answered.is_empty() && told.given_back.is_empty());
}

#[test]
fn without_room_nobody_waits() {
    let dir = Dir::new();
    let (_, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    polls.lane.limit_polls(1, 1);
    assert!(polls.waits(&engine, 0, 5, 0));
    assert_eq!(polls.pull(&engine, 0, 6, 0), Became::Left);
    assert_eq!(polls.lane.poll_count(), 1);
}

#[test]
fn many_long_answers_of_one_connection_all_come_from_the_lane() {
    let dir = Dir::new();
    let settings = Settings {
        segment_size: 8 << 20,
        ..settings(&dir)
    };
    let engine = try_open(settings.clone()).unwrap();
    for _ in 0..8 {
        append(&engine, "Topic", 0, &vec![7; 300_000]);
    }
    engine.write().unwrap();
    engine.close().unwrap();
    drop(engine);
    let disk = ColdDisk::default();
    let engine = open_on(Arc::new(disk.clone()), settings);
    disk.forget();
    disk.be_lazy();
    disk.hold();
    let mut polls = Polls::new();
    for _ in 0..4 {
        assert!(polls.waits(&engine, 0, 5, 0));
    }
    disk.let_go();
    let mut count = 0;
    while count < 4 {
        let told = woken(&mut polls, &engine);
        assert!(told.given_back.is_empty());
        count += told.answered.len();
    }
    assert!(polls.replies().len() > 3_600_000);
    assert_eq!(disk.waits(), Vec::<PathBuf>::new());
}

#[test]
fn a_connection_waits_for_so_many_bytes_at_once() {
    let dir = Dir::new();
    let (disk, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    disk.hold();
    for _ in 0..64 {
        assert!(polls.waits(&engine, 0, 5, 0)); // a mebibyte each, at most
    }
    assert_eq!(polls.pull(&engine, 0, 5, 0), Became::Left);
    assert!(polls.waits(&engine, 0, COUNT, SUSPEND), "for a message");
    let first = polls.connection;
    polls.connection = polls.lane.open_connection(&HOST);
    assert!(polls.waits(&engine, 0, 5, 0));
    polls.lane.close_connection(first);
    polls.connection = polls.lane.open_connection(&HOST);
    assert!(polls.waits(&engine, 0, 5, 0));
    disk.let_go();
}
