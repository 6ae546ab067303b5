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
use rmqlane::{Pulled, Woken};
use rmqlog::Engine;

const COUNT: i64 = 40;
const COMMIT_OFFSET: i32 = 1;

/// A store with messages of which nothing is in memory, and comes there only when it is waited for.
fn cold_store(dir: &Dir) -> (ColdDisk, Engine) {
    let engine = open(dir);
    for number in 0..COUNT {
        append(&engine, "Topic", 0, format!("body {number}").as_bytes());
        engine.write().unwrap();
    }
    engine.close().unwrap();
    drop(engine);
    let disk = ColdDisk::default();
    let engine = open_on(Arc::new(disk.clone()), settings(dir));
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
    for offset in 0..COUNT {
        assert!(polls.waits(&engine, 0, offset, 0));
    }
    let mut answered = Vec::new();
    while answered.len() < COUNT as usize {
        let woken = woken(&mut polls, &engine);
        assert!(woken.given_back.is_empty());
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
    let [poll] = &told.given_back[..] else {
        panic!("one is given back: {told:?}");
    };
    assert_eq!((poll.queue_offset, &*poll.frame), (5, &b"frame"[..]));
    assert_eq!(poll.deadline_ms, 0, "it does not wait any more");
    assert!(polls.replies().is_empty());
    assert_eq!(disk.waits(), Vec::<PathBuf>::new());
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
    let [poll] = &told.given_back[..] else {
        panic!("one is given back: {told:?}");
    };
    assert_eq!((poll.queue_offset, poll.deadline_ms), (COUNT, 0));
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
    let (_, engine) = cold_store(&dir);
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, 5, 0));
    polls.lane.begin_waits(0);
    let before = polls.lane.end_waits(&engine, 29_999);
    assert!(before.given_back.is_empty());
    let told = polls.lane.end_waits(&engine, 30_000);
    assert_eq!((told.answered.len(), told.given_back.len()), (0, 1));
    assert_eq!(polls.lane.poll_count(), 0);
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
