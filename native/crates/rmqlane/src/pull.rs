//! Pulls that find something: read from the queue into the answer, without a Python object.
//!
//! Who may pull what, and by which filter, Python says beforehand, for each topic, group and filter
//! text ([`Pulls`]). A pull that finds nothing new and may wait becomes a [`Poll`]; whatever else finds
//! nothing, or comes by damage, is left to its verb.

use std::collections::HashMap;
use std::sync::Arc;

use rmqlog::ahead::Missing;
use rmqlog::hurry::Now;
use rmqlog::read::{ReadPlan, ReadStatus};
use rmqlog::Engine;
use rmqwire::header::{resolve, Header};

use crate::fields::{i32_of, integer};
use crate::lane::Arrived;
use crate::parked::Poll;
use crate::reply::{write_pulled, PullAnswer};

pub const PULL: i32 = 11;

/// How long a pull waits for the device: not quite as long as clients wait for an answer (Apache's
/// consumerTimeoutMillisWhenSuspend). Its verb goes on then.
const DEVICE_WAIT_MS: i64 = 20_000;

const COMMIT_OFFSET: i32 = 1;
const SUSPEND: i32 = 2;
const SUBSCRIPTION: i32 = 4;

/// A group that may pull from a topic by one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Puller {
    /// What Python calls the pair of topic and group.
    pub pair: u32,
    /// Queue ids below this one may be read.
    pub queue_count: i32,
    /// Tag hashes that are wanted; None: everything is.
    pub tags: Option<Vec<i32>>,
    /// Pulls that know a newer subscription are not for the lane.
    pub sub_version: i64,
    pub message_count_max: usize,
    pub body_size_max: usize,
    pub topic_sys_flag: i32,
    pub group_sys_flag: i32,
    /// A long poll waits at least and at most so long, whatever it asks for.
    pub hold_min_ms: i64,
    pub hold_max_ms: i64,
}

/// A puller with its names.
#[derive(Debug)]
pub struct Known {
    pub topic: Arc<str>,
    pub group: Arc<str>,
    pub puller: Puller,
    /// Whether it still holds: see [`Pulls::is_current`].
    era: u64,
}

/// What Python must know of a pull that was answered, or that waits now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    pub pair: u32,
    pub queue_id: i32,
    pub next_offset: i64,
    /// To be kept as the group's; negative: none.
    pub commit_offset: i64,
    pub max_offset: i64,
    /// None in an answer without messages, and where there is no answer yet.
    pub message_count: usize,
    pub size: usize,
}

/// A pull that waits, for [`Lane::park`](crate::Lane::park).
pub struct Waiting {
    pub(crate) poll: Poll,
    /// What it waits for, if not for news.
    pub(crate) missing: Option<Missing>,
}

/// What became of a pull.
pub enum Outcome {
    /// Its answer was added.
    Answered(Pulled),
    /// There is nothing new yet, and it may wait; or there is something, which it waits for as it is not in
    /// memory.
    Waits(Pulled, Waiting),
    /// Nothing happened: its verb is to answer it.
    Left,
}

/// The pullers by topic, group and filter text.
#[derive(Default)]
pub struct Pulls {
    pullers: HashMap<String, Arc<Known>>,
    /// Counts how often everything that was said became void.
    era: u64,
}

/// Topic and group are names that exist, so they hold no separator. A filter text is behind `=`; the
/// group's own subscription is meant where there is none.
fn key(out: &mut String, topic: &str, group: &str, text: Option<&str>) {
    out.clear();
    out.push_str(topic);
    out.push('\0');
    out.push_str(group);
    out.push('\0');
    if let Some(text) = text {
        out.push('=');
        out.push_str(text);
    }
}

/// A pull's header in its plain form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PullFields<'t> {
    group: &'t str,
    topic: &'t str,
    text: &'t str,
    queue_id: i32,
    queue_offset: i64,
    message_count_max: i32,
    sys_flag: i32,
    commit_offset: i64,
    sub_version: i64,
    body_size_max: i32,
    timeout_ms: i64,
}

const REQUIRED: u32 = 0x3F;

fn pull_fields<'t>(header: &'t Header<'_>, scratch: &'t str) -> Option<PullFields<'t>> {
    let mut fields = PullFields {
        group: "",
        topic: "",
        text: "",
        queue_id: 0,
        queue_offset: 0,
        message_count_max: 0,
        sys_flag: 0,
        commit_offset: 0,
        sub_version: 0,
        body_size_max: 0,
        timeout_ms: 0,
    };
    let mut seen = 0u32;
    for (name, value) in &header.ext {
        let value = resolve(value, scratch);
        let place = match resolve(name, scratch) {
            "consumerGroup" => {
                fields.group = value;
                0
            }
            "topic" => {
                fields.topic = value;
                1
            }
            "queueId" => {
                fields.queue_id = i32_of(value)?;
                2
            }
            "queueOffset" => {
                fields.queue_offset = integer(value)?;
                3
            }
            "maxMsgNums" => {
                fields.message_count_max = i32_of(value)?;
                4
            }
            "sysFlag" => {
                fields.sys_flag = i32_of(value)?;
                5
            }
            "commitOffset" => {
                fields.commit_offset = integer(value)?;
                6
            }
            "subVersion" => {
                fields.sub_version = integer(value)?;
                7
            }
            "maxMsgBytes" => {
                fields.body_size_max = i32_of(value)?;
                8
            }
            "subscription" => {
                fields.text = value;
                9
            }
            "expressionType" if value == "TAG" => 10,
            "suspendTimeoutMillis" => {
                fields.timeout_ms = integer(value)?;
                11
            }
            "requestSource" => {
                i32_of(value)?;
                12
            }
            "expressionType" => return None,
            _ => continue, // nobody reads it
        };
        if seen & (1 << place) != 0 {
            return None;
        }
        seen |= 1 << place;
    }
    (seen & REQUIRED == REQUIRED).then_some(fields)
}

impl Pulls {
    pub fn put(&mut self, topic: &str, group: &str, text: Option<&str>, puller: Puller) {
        let mut name = String::new();
        key(&mut name, topic, group, text);
        let known = Known {
            topic: Arc::from(topic),
            group: Arc::from(group),
            puller,
            era: self.era,
        };
        self.pullers.insert(name, Arc::new(known));
    }

    /// Nothing that was said holds any more.
    pub fn clear(&mut self) {
        self.pullers.clear();
        self.era += 1;
    }

    /// Whether what was known of a puller still holds.
    #[must_use]
    pub fn is_current(&self, known: &Known) -> bool {
        known.era == self.era
    }

    /// Whether this may be a pull for the lane; what it finds nobody knows yet.
    pub fn may_take(&self, arrived: &Arrived<'_>, scratch: &mut String) -> bool {
        self.find(arrived, scratch).is_some()
    }

    fn find<'t>(
        &self,
        arrived: &Arrived<'t>,
        scratch: &mut String,
    ) -> Option<(PullFields<'t>, &Arc<Known>)> {
        if arrived.header.code != PULL || arrived.header.flag != 0 {
            return None;
        }
        let fields = pull_fields(arrived.header, arrived.scratch)?;
        if fields.sys_flag & !(COMMIT_OFFSET | SUSPEND | SUBSCRIPTION) != 0 {
            return None;
        }
        let has_text = fields.sys_flag & SUBSCRIPTION != 0;
        key(
            scratch,
            fields.topic,
            fields.group,
            has_text.then_some(fields.text),
        );
        let known = self.pullers.get(scratch.as_str())?;
        let is_legal = (0..known.puller.queue_count).contains(&fields.queue_id)
            && (has_text || fields.sub_version <= known.puller.sub_version);
        is_legal.then_some((fields, known))
    }

    /// Adds the answer of a pull that finds something to `out`.
    pub fn take(
        &self,
        engine: &Engine,
        arrived: &Arrived<'_>,
        version: i16,
        scratch: &mut String,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let Some((fields, known)) = self.find(arrived, scratch) else {
            return Outcome::Left;
        };
        let puller = &known.puller;
        let count = usize::try_from(fields.message_count_max).unwrap_or(0);
        let mut size_max = puller.body_size_max;
        if fields.body_size_max > 0 {
            size_max = size_max.min(fields.body_size_max as usize);
        }
        let mut poll = Poll {
            connection: 0,
            opaque: arrived.header.opaque,
            form: arrived.form,
            known: Arc::clone(known),
            queue_id: fields.queue_id,
            first_offset: fields.queue_offset,
            queue_offset: fields.queue_offset,
            message_count_max: count.min(puller.message_count_max).max(1),
            body_size_max: size_max,
            deadline_ms: fields
                .timeout_ms
                .clamp(puller.hold_min_ms, puller.hold_max_ms),
            frame: Box::default(),
            awaits_device: false,
            fetch_count: 0,
        };
        let commit_offset = match fields.sys_flag & COMMIT_OFFSET {
            0 => -1,
            _ => fields.commit_offset,
        };
        let missing = match poll.look(engine) {
            Some(Now::Here(plan)) => {
                let mut pulled = Pulled::of(&poll, &plan);
                pulled.commit_offset = commit_offset;
                if plan.status != ReadStatus::Found {
                    if fields.sys_flag & SUSPEND != 0 && is_nothing_new(&plan, poll.queue_offset) {
                        let missing = None;
                        return Outcome::Waits(pulled, Waiting { poll, missing });
                    }
                    return Outcome::Left;
                }
                match poll.write_found(engine, &plan, version, out) {
                    Some(Now::Here(())) => return Outcome::Answered(pulled),
                    Some(Now::Missing(missing)) => missing,
                    None => return Outcome::Left,
                }
            }
            Some(Now::Missing(missing)) => missing,
            None => return Outcome::Left,
        };
        let pulled = Pulled {
            pair: puller.pair,
            queue_id: poll.queue_id,
            next_offset: poll.queue_offset,
            commit_offset,
            max_offset: engine.queue_end_now(fields.topic, poll.queue_id),
            message_count: 0,
            size: 0,
        };
        poll.awaits_device = true;
        poll.deadline_ms = DEVICE_WAIT_MS;
        let missing = Some(missing);
        Outcome::Waits(pulled, Waiting { poll, missing })
    }
}

/// Whether a read from `offset` says that nothing is there yet; on an empty queue any other offset
/// than 0 says that the queue is not what it was.
#[must_use]
pub fn is_nothing_new(plan: &ReadPlan, offset: i64) -> bool {
    match plan.status {
        ReadStatus::OffsetOverflowOne => true,
        ReadStatus::NoMessageInQueue => offset == 0,
        _ => false,
    }
}

impl Pulled {
    /// What a read for the poll has found; nothing is to be committed.
    #[must_use]
    pub fn of(poll: &Poll, plan: &ReadPlan) -> Pulled {
        Pulled {
            pair: poll.known.puller.pair,
            queue_id: poll.queue_id,
            next_offset: plan.next_offset,
            commit_offset: -1,
            max_offset: plan.max_offset,
            message_count: plan.records.len(),
            size: plan.size,
        }
    }
}

impl Poll {
    /// A read of what it wants, as far as that is in memory, if nobody else has to look at what was found.
    #[must_use]
    pub fn look(&self, engine: &Engine) -> Option<Now<ReadPlan>> {
        let plan = engine.plan_read_now(
            &self.known.topic,
            self.queue_id,
            self.queue_offset,
            self.message_count_max,
            self.body_size_max,
            self.known.puller.tags.as_deref(),
        );
        plan.ok()
            .filter(|found| !matches!(found, Now::Here(plan) if plan.has_news))
    }

    /// Adds the answer with the messages of the plan, if all of them are in memory and none is damaged; else
    /// nothing happened.
    #[must_use]
    pub fn write_found(
        &self,
        engine: &Engine,
        plan: &ReadPlan,
        version: i16,
        out: &mut Vec<u8>,
    ) -> Option<Now<()>> {
        let start = out.len();
        let answer = self.answer(plan, 0, "FOUND", plan.size, version);
        write_pulled(self.form, &answer, out);
        let body_at = out.len();
        out.resize(body_at + plan.size, 0);
        let copied = match engine.copy_now(plan, &mut out[body_at..]).ok() {
            Some(Now::Here(damaged)) => damaged.is_empty().then_some(Now::Here(())),
            Some(Now::Missing(missing)) => Some(Now::Missing(missing)),
            None => None,
        };
        if !matches!(copied, Some(Now::Here(()))) {
            out.truncate(start);
        }
        copied
    }

    /// Adds an answer without messages.
    pub fn write_missed(
        &self,
        plan: &ReadPlan,
        code: i16,
        remark: &str,
        version: i16,
        out: &mut Vec<u8>,
    ) {
        write_pulled(self.form, &self.answer(plan, code, remark, 0, version), out);
    }

    fn answer<'t>(
        &self,
        plan: &ReadPlan,
        code: i16,
        remark: &'t str,
        size: usize,
        version: i16,
    ) -> PullAnswer<'t> {
        PullAnswer {
            code,
            remark,
            opaque: self.opaque,
            version,
            next_offset: plan.next_offset,
            min_offset: plan.min_offset,
            max_offset: plan.max_offset,
            topic_sys_flag: self.known.puller.topic_sys_flag,
            group_sys_flag: self.known.puller.group_sys_flag,
            size,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rmqwire::frame::SerializeType;
    use rmqwire::header::decode;

    const PLAIN: &str = r#""consumerGroup":"CG","topic":"T","queueId":"1","queueOffset":"7","maxMsgNums":"32","sysFlag":"3","commitOffset":"5","suspendTimeoutMillis":"15000","subVersion":"9","expressionType":"TAG","bname":"b""#;

    fn puller() -> Puller {
        Puller {
            pair: 0,
            queue_count: 2,
            tags: None,
            sub_version: 9,
            message_count_max: 32,
            body_size_max: 1000,
            topic_sys_flag: 0,
            group_sys_flag: 0,
            hold_min_ms: 0,
            hold_max_ms: 600_000,
        }
    }

    /// A group that may pull all of a topic.
    pub(crate) fn known(topic: &str, group: &str) -> Known {
        Known {
            topic: Arc::from(topic),
            group: Arc::from(group),
            puller: puller(),
            era: 0,
        }
    }

    fn may_take(fields: &str, flag: i32) -> bool {
        let mut pulls = Pulls::default();
        pulls.put("T", "CG", None, puller());
        pulls.put("T", "CG", Some("A || B"), puller());
        let header = format!(r#"{{"code":11,"extFields":{{{fields}}},"flag":{flag},"opaque":1}}"#);
        let mut scratch = String::new();
        let decoded = decode(SerializeType::Json, header.as_bytes(), 256, &mut scratch).unwrap();
        let arrived = Arrived {
            form: SerializeType::Json,
            header: &decoded,
            scratch: &scratch,
            body: b"",
        };
        pulls.may_take(&arrived, &mut String::new())
    }

    #[test]
    fn known_pullers_may_pull() {
        assert!(may_take(PLAIN, 0));
        let own = PLAIN.replace(
            r#""sysFlag":"3""#,
            r#""sysFlag":"7","subscription":"A || B""#,
        );
        assert!(may_take(&own, 0));
        assert!(may_take(
            &own.replace(r#""subVersion":"9""#, r#""subVersion":"10""#),
            0
        ));
    }

    #[test]
    fn other_pulls_are_left() {
        assert!(!may_take(PLAIN, 1));
        assert!(!may_take(PLAIN, 2));
        for (from, to) in [
            (r#""topic":"T""#, r#""topic":"U""#),
            (r#""consumerGroup":"CG""#, r#""consumerGroup":"DG""#),
            (r#""queueId":"1""#, r#""queueId":"2""#),
            (r#""queueId":"1""#, r#""queueId":"-1""#),
            (r#""queueOffset":"7""#, r#""queueOffset":"+7""#),
            (r#""queueOffset":"7","#, ""),
            (r#""subVersion":"9""#, r#""subVersion":"10""#),
            (r#""expressionType":"TAG""#, r#""expressionType":"SQL92""#),
            (r#""sysFlag":"3""#, r#""sysFlag":"11""#),
            (r#""sysFlag":"3""#, r#""sysFlag":"19""#),
            (r#""sysFlag":"3""#, r#""sysFlag":"7","subscription":"A""#),
            (r#""sysFlag":"3""#, r#""sysFlag":"7""#),
            (r#""topic":"T""#, r#""topic":"T","topic":"T""#),
        ] {
            let fields = PLAIN.replace(from, to);
            assert_ne!(fields, PLAIN);
            assert!(!may_take(&fields, 0), "{to}");
        }
    }
}
