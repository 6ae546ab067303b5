//! Long polls over a real store: who is answered, who is given back, and who is not looked at.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../rmqlog/tests/common/mod.rs"]
mod common;
mod polls;

use std::fs;

use common::*;
use polls::Polls;
use rmqlog::Engine;

fn opened(dir: &Dir) -> Engine {
    let engine = open(dir);
    append(&engine, "Topic", 0, b"first");
    engine.write().unwrap();
    engine.take_arrivals();
    engine
}

#[test]
fn what_comes_is_answered_to_all_who_wait_for_it() {
    let dir = Dir::new();
    let engine = opened(&dir);
    let mut polls = Polls::new();
    assert!(!polls.waits(&engine, 0, 0, 2), "there is something");
    assert!(!polls.waits(&engine, 0, 1, 0), "it does not want to wait");
    assert!(!polls.waits(&engine, 0, 2, 2), "it is beyond the end");
    assert!(!polls.waits(&engine, 1, 1, 2), "an empty queue begins at 0");
    for queue_id in [0, 0, 1] {
        assert!(polls.waits(&engine, queue_id, i64::from(queue_id == 0), 2));
    }
    let woken = polls.wake(&engine);
    assert!(woken.answered.is_empty() && woken.given_back.is_empty() && woken.arrivals.is_empty());
    assert_eq!(polls.lane.looked_at, 0);

    append(&engine, "Topic", 0, b"second");
    append(&engine, "Other", 0, b"another's");
    let woken = polls.wake(&engine);
    assert_eq!(woken.answered.len(), 2);
    for (connection, pulled) in &woken.answered {
        assert_eq!(*connection, polls.connection);
        assert_eq!(
            (pulled.pair, pulled.next_offset, pulled.message_count),
            (3, 2, 1)
        );
    }
    assert!(woken.given_back.is_empty());
    assert!(woken.arrivals.is_empty(), "nobody else wants to know");
    assert_eq!((polls.lane.looked_at, polls.lane.poll_count()), (2, 1));
    let replies = polls.replies();
    let bodies = replies.windows(6).filter(|part| part == b"second").count();
    assert_eq!(bodies, 2);
}

#[test]
fn arrivals_are_told_while_somebody_wants_to_know() {
    let dir = Dir::new();
    let engine = opened(&dir);
    let mut polls = Polls::new();
    let told = |polls: &mut Polls| {
        append(&engine, "Topic", 0, b"next");
        let woken = polls.wake(&engine);
        woken.arrivals.len()
    };
    polls.lane.watch("Topic", true);
    polls.lane.watch("Topic", true);
    polls.lane.watch("Topic", false);
    assert_eq!(told(&mut polls), 1);
    polls.lane.watch("Topic", false);
    polls.lane.watch("Topic", false);
    assert_eq!(told(&mut polls), 0);
}

#[test]
fn who_must_be_judged_again_is_given_back_as_he_is() {
    let dir = Dir::new();
    let engine = opened(&dir);
    let mut polls = Polls::new();
    for queue_id in [0, 1] {
        assert!(polls.waits(&engine, queue_id, i64::from(queue_id == 0), 2));
    }
    polls.lane.begin_waits(100);
    polls.lane.close_pullers();
    polls.allow(None);
    assert_eq!(polls.lane.poll_count(), 2, "a change looks at nobody");
    append(&engine, "Topic", 0, b"second");
    let woken = polls.wake(&engine);
    assert!(woken.answered.is_empty() && polls.replies().is_empty());
    let [poll] = &woken.given_back[..] else {
        panic!("one is given back: {woken:?}");
    };
    assert_eq!((poll.queue_offset, poll.deadline_ms), (1, 1100));
    assert_eq!(&*poll.frame, b"frame");
    assert_eq!(woken.arrivals.len(), 1, "it is to be offered what came");
    let woken = polls.lane.end_waits(&engine, 1100);
    assert_eq!((woken.answered.len(), woken.given_back.len()), (0, 1));
}

#[test]
fn a_deadline_is_answered_with_nothing() {
    let dir = Dir::new();
    let engine = opened(&dir);
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, 1, 2) && polls.waits(&engine, 1, 0, 2));
    polls.lane.begin_waits(0);
    assert!(polls.lane.end_waits(&engine, 999).answered.is_empty());
    let woken = polls.lane.end_waits(&engine, 1000);
    let numbers = woken
        .answered
        .iter()
        .map(|(_, pulled)| (pulled.queue_id, pulled.next_offset, pulled.message_count));
    assert_eq!(numbers.collect::<Vec<_>>(), [(0, 1, 0), (1, 0, 0)]);
    let replies = String::from_utf8_lossy(&polls.replies()).into_owned();
    assert!(replies.contains("OFFSET_OVERFLOW_ONE") && replies.contains("NO_MESSAGE_IN_QUEUE"));
}

#[test]
fn damage_is_left_to_the_verb() {
    let dir = Dir::new();
    let engine = opened(&dir);
    let mut polls = Polls::new();
    assert!(polls.waits(&engine, 0, 1, 2));
    append(&engine, "Topic", 0, b"second");
    engine.write().unwrap();
    for file in fs::read_dir(dir.path("commitlog")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(6).position(|part| part == b"second") {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    }
    let woken = polls.wake(&engine);
    assert_eq!((woken.answered.len(), woken.given_back.len()), (0, 1));
    assert!(polls.replies().is_empty(), "no half of an answer is left");
}
