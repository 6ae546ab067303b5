//! A lane on which one group may pull, and what becomes of its pulls.
#![allow(dead_code, clippy::unwrap_used)]

use rmqlane::pull::PULL;
use rmqlane::{Arrived, Lane, Outcome, Pulled, Puller, Woken};
use rmqlog::Engine;
use rmqwire::frame::SerializeType;
use rmqwire::header;

use crate::common::HOST;

/// What became of a pull.
#[derive(Debug, PartialEq, Eq)]
pub enum Became {
    Answered(Vec<u8>),
    Waiting(Pulled),
    Left,
}

pub struct Polls {
    pub lane: Lane,
    pub connection: u32,
}

impl Polls {
    /// A lane on which CG may pull from "Topic".
    pub fn new() -> Polls {
        let mut lane = Lane::new(1);
        lane.limit_polls(1000, 1000);
        let connection = lane.open_connection(&HOST);
        let mut polls = Polls { lane, connection };
        polls.allow(None);
        polls
    }

    pub fn allow(&mut self, tags: Option<Vec<i32>>) {
        let puller = Puller {
            pair: 3,
            queue_count: 8,
            tags,
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

    pub fn pull(&mut self, engine: &Engine, queue_id: i32, offset: i64, sys_flag: i32) -> Became {
        let header = format!(
            r#"{{"code":{PULL},"extFields":{{"consumerGroup":"CG","topic":"Topic","queueId":"{queue_id}","queueOffset":"{offset}","maxMsgNums":"32","sysFlag":"{sys_flag}","commitOffset":"1","suspendTimeoutMillis":"5000"}},"flag":0,"opaque":7}}"#
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
            Outcome::Answered(_) => Became::Answered(out),
            Outcome::Waits(pulled, waiting) => {
                assert!(out.is_empty(), "no half of an answer is left");
                match self.lane.park(engine, self.connection, waiting, b"frame") {
                    true => Became::Waiting(pulled),
                    false => Became::Left,
                }
            }
            Outcome::Left => Became::Left,
        }
    }

    /// Whether a pull waits now.
    pub fn waits(&mut self, engine: &Engine, queue_id: i32, offset: i64, sys_flag: i32) -> bool {
        match self.pull(engine, queue_id, offset, sys_flag) {
            Became::Waiting(pulled) => {
                assert_eq!((pulled.pair, pulled.next_offset), (3, offset));
                true
            }
            _ => false,
        }
    }

    pub fn wake(&mut self, engine: &Engine) -> Woken {
        engine.write().unwrap();
        self.lane.wake(engine, 0)
    }

    pub fn replies(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        self.lane
            .take_ready(|_, _, _, out| all.extend_from_slice(out));
        all
    }
}
