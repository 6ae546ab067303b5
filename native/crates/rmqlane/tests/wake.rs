//! Long polls over a real store: who is answered, who is given back, and who is not looked at.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../rmqlog/tests/common/mod.rs"]
mod common;

use std::fs;

use common::*;
use rmqlane::pull::PULL;
use rmqlane::{Arrived, Lane, Outcome, Puller, Woken};
use rmqlog::Engine;
use rmqwire::frame::SerializeType;
use rmqwire::header;

struct Polls {
    lane: Lane,
    connection: u32,
}

impl Polls {
    /// A lane on which CG may pull from "Topic".
    fn new() -> Polls {
        let mut lane = Lane::new(1);
        lane.limit_polls(1000, 1000);
        let connection = lane.open_connection(&HOST);
        let mut polls = Polls { lane, connection };
        polls.allow();
        polls
    }

    fn allow(&mut self) {
        let puller = Puller {
            pair: 3,
            queue_count: 8,
            tags: None,
            sub_version: 0,
            message_count_max: 32,
            body_size_max: 1 << 20,
            topic_sys_flag: 0,
            group_sys_flag: 0,
            hold_min_ms: 0,
            hold_max_ms: 1000,
        };
        self.lane.put_puller("Topic", "CG", None, puller);
    }

    /// Whether a pull waits now.
    fn waits(&mut self, engine: &Engine, queue_id: i32, offset: i64, sys_flag: i32) -> bool {
        let header = format!(
            r#"{{"code":{PULL},"extFields":{{"consumerGroup":"CG","topic":"Topic","queueId":"{queue_id}","queueOffset":"{offset}","maxMsgNums":"32","sysFlag":"{sys_flag}","suspendTimeoutMillis":"5000"}},"flag":0,"opaque":7}}"#
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
        let mut out = Vec::new();
        match self.lane.pull(engine, &arrived, &mut out) {
            Outcome::Waits(pulled, poll) => {
                assert_eq!((pulled.pair, pulled.next_offset), (3, offset));
                self.lane.park(self.connection, poll, b"frame")
            }
            _ => false,
        }
    }

    fn wake(&mut self, engine: &Engine) -> Woken {
        engine.write().unwrap();
        self.lane.wake(engine, 0)
    }

    fn replies(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.lane
            .take_ready(|_, _, _, out| all.extend_from_slice(out));
        all
    }
}

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
    polls.allow();
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
