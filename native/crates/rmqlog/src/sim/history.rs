//! What was sent to a store and what was promised about it, by position in the disk's operation log.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::Engine;
use crate::record::{self, Found};

pub const TOPICS: [&str; 3] = ["Alpha", "Beta", "Gamma"];
pub const QUEUE_COUNT: i32 = 2;

/// One message somebody tried to store.
#[derive(Debug, Clone)]
pub struct Attempt {
    pub topic: usize,
    pub queue_id: i32,
    pub queue_offset: i64,
    pub log_offset: u64,
    pub end: u64,
    pub key: String,
    pub body: Vec<u8>,
    /// Operations before its turn was written.
    pub op: usize,
    /// Operations after the write was refused, if it was: from there on it must not appear.
    pub refused: Option<usize>,
}

impl Attempt {
    pub fn properties(key: &str) -> Vec<u8> {
        format!("KEYS\x01{key}\x02TAGS\x01Tag\x02").into_bytes()
    }
}

/// What was promised from this operation on.
#[derive(Debug, Clone, Copy)]
struct Mark {
    op: usize,
    commit: u64,
    flushed: u64,
}

#[derive(Debug, Clone)]
struct Drop {
    topic: usize,
    log_to: u64,
    begun: usize,
    /// When the caller was told that it is done.
    done: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub struct History {
    pub attempts: Vec<Attempt>,
    marks: Vec<Mark>,
    drops: Vec<Drop>,
    /// Places of a queue whose records an earlier power cut tore, with whole ones behind them.
    torn: BTreeMap<(usize, i32), Vec<i64>>,
}

/// A record as a consumer got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub queue_offset: i64,
    pub log_offset: u64,
    pub store_timestamp_ms: i64,
    pub properties: Vec<u8>,
    pub body: Vec<u8>,
}

/// One queue as a consumer sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenQueue {
    pub min: i64,
    pub max: i64,
    pub records: Vec<Seen>,
}

pub type View = BTreeMap<(usize, i32), SeenQueue>;

/// Reads every queue from its beginning to its end.
pub fn read_all(engine: &Engine) -> Result<View, String> {
    let mut view = View::new();
    for (number, topic) in TOPICS.iter().enumerate() {
        for id in engine.queue_ids(topic) {
            let queue = read_queue(engine, topic, id)?;
            view.insert((number, id), queue);
        }
    }
    Ok(view)
}

fn read_queue(engine: &Engine, topic: &str, id: i32) -> Result<SeenQueue, String> {
    let (min, max) = engine.queue_range(topic, id);
    let mut queue = SeenQueue {
        min,
        max,
        records: Vec::new(),
    };
    let mut at = min;
    while at < max {
        let plan = engine
            .plan_read(topic, id, at, 32, 1 << 20, None)
            .map_err(|error| format!("{topic}/{id} from {at}: {error}"))?;
        if plan.next_offset <= at {
            return Err(format!(
                "{topic}/{id} from {at}: the read does not come on ({:?})",
                plan.status
            ));
        }
        let mut bytes = vec![0; plan.size];
        let damaged = engine
            .copy(&plan, &mut bytes)
            .map_err(|error| format!("{topic}/{id} from {at}: {error}"))?;
        if !damaged.is_empty() {
            return Err(format!("{topic}/{id} from {at}: a read met damage"));
        }
        let mut rest = &bytes[..];
        for planned in &plan.records {
            let log_offset = planned.log_offset;
            let (own, others) = rest.split_at(planned.size as usize);
            rest = others;
            let Found::Record(found) = record::parse(own, log_offset, u64::MAX, true) else {
                return Err(format!("{topic}/{id}: wrong bytes from {log_offset}"));
            };
            if found.topic != topic.as_bytes() || found.queue_id != id {
                return Err(format!("{topic}/{id}: shows a record of another queue"));
            }
            queue.records.push(Seen {
                queue_offset: found.queue_offset,
                log_offset,
                store_timestamp_ms: found.store_timestamp_ms,
                properties: found.properties.to_vec(),
                body: found.body.to_vec(),
            });
        }
        at = plan.next_offset;
    }
    Ok(queue)
}

/// Places before the queue's end that have no record.
fn missing(queue: &SeenQueue) -> impl Iterator<Item = i64> + '_ {
    let there: BTreeSet<i64> = queue.records.iter().map(|seen| seen.queue_offset).collect();
    (0..queue.max).filter(move |place| !there.contains(place))
}

impl History {
    pub fn promise(&mut self, op: usize, commit: u64, flushed: u64) {
        self.marks.push(Mark {
            op,
            commit,
            flushed,
        });
    }

    pub fn begin_drop(&mut self, op: usize, topic: usize, log_to: u64) {
        self.drops.push(Drop {
            topic,
            log_to,
            begun: op,
            done: None,
        });
    }

    pub fn end_drop(&mut self, op: usize) {
        if let Some(last) = self.drops.last_mut() {
            last.done = Some(op);
        }
    }

    /// What was appended behind `end` is gone, and places there are given again: to no dropped life.
    pub fn end_drops_at(&mut self, end: u64) {
        for gone in &mut self.drops {
            gone.log_to = gone.log_to.min(end);
        }
    }

    /// Up to which log position everything must be there if the process or the power ends after `op`
    /// operations.
    pub fn promised(&self, op: usize, is_power_cut: bool) -> u64 {
        let last = self.marks.iter().rfind(|mark| mark.op <= op);
        last.map_or(0, |mark| {
            if is_power_cut {
                mark.flushed.min(mark.commit)
            } else {
                mark.commit
            }
        })
    }

    fn is_dropping(&self, attempt: &Attempt, op: usize) -> bool {
        self.drops.iter().any(|gone| {
            gone.topic == attempt.topic && gone.begun <= op && attempt.log_offset < gone.log_to
        })
    }

    fn is_dropped(&self, topic: usize, log_offset: u64, op: usize) -> bool {
        self.drops.iter().any(|gone| {
            gone.topic == topic
                && gone.done.is_some_and(|done| done <= op)
                && log_offset < gone.log_to
        })
    }

    /// What must be readable after the end at `op`.
    pub fn required(&self, op: usize, is_power_cut: bool) -> Vec<&Attempt> {
        let promised = self.promised(op, is_power_cut);
        let all = self.attempts.iter();
        all.filter(|attempt| {
            attempt.op <= op
                && attempt.refused.is_none()
                && attempt.end <= promised
                && !self.is_dropping(attempt, op)
        })
        .collect()
    }

    fn may_appear(&self, key: (usize, i32), seen: &Seen, op: usize, is_power_cut: bool) -> bool {
        self.attempts.iter().any(|attempt| {
            attempt.log_offset == seen.log_offset
                && (attempt.topic, attempt.queue_id) == key
                && attempt.queue_offset == seen.queue_offset
                && attempt.body == seen.body
                && Attempt::properties(&attempt.key) == seen.properties
                && attempt.op <= op
                && (is_power_cut || attempt.refused.is_none_or(|refused| op < refused))
        })
    }

    /// K1 to K4 of a store that was opened after the end at `op`.
    pub fn check(&self, view: &View, op: usize, is_power_cut: bool) -> Result<(), String> {
        for (&key, queue) in view {
            let name = format!("{}/{}", TOPICS[key.0], key.1);
            let mut last: Option<&Seen> = None;
            for seen in &queue.records {
                let at = seen.queue_offset;
                if !self.may_appear(key, seen, op, is_power_cut) {
                    return Err(format!("{name}: offset {at} shows what nobody sent there"));
                }
                if self.is_dropped(key.0, seen.log_offset, op) {
                    return Err(format!("{name}: offset {at} is of a dropped topic's life"));
                }
                if let Some(last) = last {
                    if last.queue_offset >= at || last.log_offset >= seen.log_offset {
                        return Err(format!("{name}: offset {at} out of order"));
                    }
                    if last.store_timestamp_ms > seen.store_timestamp_ms {
                        return Err(format!("{name}: the store time goes back at {at}"));
                    }
                }
                if !(queue.min..queue.max).contains(&at) {
                    return Err(format!("{name}: offset {at} is outside the queue's range"));
                }
                last = Some(seen);
            }
            let torn = self.torn.get(&key).map_or(&[][..], Vec::as_slice);
            let lost = missing(queue).find(|place| !torn.contains(place));
            if !is_power_cut && lost.is_some() {
                return Err(format!(
                    "{name}: {} records in {} to {}, {lost:?} is not there",
                    queue.records.len(),
                    queue.min,
                    queue.max
                ));
            }
        }
        for attempt in self.required(op, is_power_cut) {
            let key = (attempt.topic, attempt.queue_id);
            let found = view.get(&key).is_some_and(|queue| {
                queue.records.iter().any(|seen| {
                    seen.queue_offset == attempt.queue_offset && seen.body == attempt.body
                })
            });
            if !found {
                return Err(format!(
                    "{}/{}: acknowledged offset {} (log {}..{}) is lost",
                    TOPICS[attempt.topic],
                    attempt.queue_id,
                    attempt.queue_offset,
                    attempt.log_offset,
                    attempt.end
                ));
            }
        }
        Ok(())
    }

    /// The history to go on with on what a power cut left: what is readable now stays for ever.
    pub fn after_power_cut(&self, view: &View, op: usize, end: u64) -> History {
        let is_seen = |attempt: &&Attempt| {
            view.get(&(attempt.topic, attempt.queue_id))
                .is_some_and(|queue| queue.records.iter().any(|seen| seen.body == attempt.body))
        };
        let attempts = self.attempts.iter().filter(is_seen).map(|attempt| Attempt {
            op: 0,
            refused: None,
            ..attempt.clone()
        });
        let attempts: Vec<Attempt> = attempts.collect();
        let drops = self.drops.iter().filter(|gone| gone.begun <= op);
        let drops = drops.filter(|gone| {
            !attempts
                .iter()
                .any(|kept| kept.topic == gone.topic && kept.log_offset < gone.log_to)
        });
        let drops = drops.map(|gone| Drop {
            begun: 0,
            done: Some(0),
            log_to: gone.log_to.min(end),
            ..*gone
        });
        let drops = drops.collect();
        let torn = view
            .iter()
            .map(|(&key, queue)| (key, missing(queue).collect()));
        History {
            attempts,
            drops,
            torn: torn.collect(),
            marks: vec![Mark {
                op: 0,
                commit: end,
                flushed: end,
            }],
        }
    }
}
