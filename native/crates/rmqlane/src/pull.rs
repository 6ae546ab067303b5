//! Pulls that find something: read from the queue into the answer, without a Python object.
//!
//! Who may pull what, and by which filter, Python says beforehand, for each topic, group and filter
//! text ([`Pulls`]). A pull that finds nothing, or comes by damage, is left to its verb.

use std::collections::HashMap;

use rmqlog::read::ReadStatus;
use rmqlog::Engine;
use rmqwire::header::{resolve, Header};

use crate::fields::{i32_of, integer};
use crate::lane::Arrived;
use crate::reply::{write_found, Found};

pub const PULL: i32 = 11;

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
}

/// What Python must know of a pull that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    pub pair: u32,
    pub queue_id: i32,
    pub next_offset: i64,
    /// To be kept as the group's; negative: none.
    pub commit_offset: i64,
    pub max_offset: i64,
    pub message_count: usize,
    pub size: usize,
}

/// The pullers by topic, group and filter text.
#[derive(Default)]
pub struct Pulls {
    pullers: HashMap<String, Puller>,
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
                integer(value)?;
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
        self.pullers.insert(name, puller);
    }

    pub fn clear(&mut self) {
        self.pullers.clear();
    }

    /// Whether this may be a pull for the lane; what it finds nobody knows yet.
    pub fn may_take(&self, arrived: &Arrived<'_>, scratch: &mut String) -> bool {
        self.find(arrived, scratch).is_some()
    }

    fn find<'t>(
        &self,
        arrived: &Arrived<'t>,
        scratch: &mut String,
    ) -> Option<(PullFields<'t>, &Puller)> {
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
        let puller = self.pullers.get(scratch.as_str())?;
        let is_legal = (0..puller.queue_count).contains(&fields.queue_id)
            && (has_text || fields.sub_version <= puller.sub_version);
        is_legal.then_some((fields, puller))
    }

    /// Adds the answer of a pull that finds something to `out`. None: nothing happened.
    pub fn take(
        &self,
        engine: &Engine,
        arrived: &Arrived<'_>,
        version: i16,
        scratch: &mut String,
        out: &mut Vec<u8>,
    ) -> Option<Pulled> {
        let (fields, puller) = self.find(arrived, scratch)?;
        let count = usize::try_from(fields.message_count_max).unwrap_or(0);
        let mut size_max = puller.body_size_max;
        if fields.body_size_max > 0 {
            size_max = size_max.min(fields.body_size_max as usize);
        }
        let plan = engine
            .plan_read(
                fields.topic,
                fields.queue_id,
                fields.queue_offset,
                count.min(puller.message_count_max).max(1),
                size_max,
                puller.tags.as_deref(),
            )
            .ok()?;
        if plan.status != ReadStatus::Found || plan.has_news {
            return None;
        }
        let start = out.len();
        let found = Found {
            opaque: arrived.header.opaque,
            version,
            next_offset: plan.next_offset,
            min_offset: plan.min_offset,
            max_offset: plan.max_offset,
            topic_sys_flag: puller.topic_sys_flag,
            group_sys_flag: puller.group_sys_flag,
            size: plan.size,
        };
        write_found(arrived.form, &found, out);
        let body_at = out.len();
        out.resize(body_at + plan.size, 0);
        let copied = engine.copy(&plan, &mut out[body_at..]);
        if !copied.is_ok_and(|damaged| damaged.is_empty()) {
            out.truncate(start);
            return None;
        }
        let is_committing = fields.sys_flag & COMMIT_OFFSET != 0;
        Some(Pulled {
            pair: puller.pair,
            queue_id: fields.queue_id,
            next_offset: plan.next_offset,
            commit_offset: if is_committing {
                fields.commit_offset
            } else {
                -1
            },
            max_offset: plan.max_offset,
            message_count: plan.records.len(),
            size: plan.size,
        })
    }
}

#[cfg(test)]
mod tests {
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
