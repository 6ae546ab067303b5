//! `rmqload pull`: reads all queues of a topic from their first to their next offset.
//!
//! Every place owns a stretch of one queue and walks through it, so many pulls can be in flight and
//! each record is still checked: once, in order, nothing left out. As a push consumer does, each
//! connection sends a heartbeat with the subscription first; or the expression goes with each pull.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::args::{spec, Args, Spec};
use crate::control::{Control, HEART_BEAT, PULL_MESSAGE};
use crate::drive::{self, Load, Place, Plan, Verdict};
use crate::fault::Fault;
use crate::frame::{self, Form, Header};
use crate::record::{self, Crc32, Expected};
use crate::report::Report;

pub const SPECS: &[Spec] = &[
    spec("queues", "N", "8", "queues of the topic"),
    spec("max", "N", "32", "messages per pull"),
    spec(
        "passes",
        "N",
        "1",
        "read everything so often; with --seconds until they are over",
    ),
    spec(
        "subscription",
        "",
        "",
        "expression in each pull instead of a heartbeat before",
    ),
    spec("check-crc", "", "", "check the CRC of bodies too"),
];

/// Bits of the request's sysFlag.
const SUSPEND: &[u8] = b"2";
const SUBSCRIPTION: &[u8] = b"4";

/// A stretch of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stretch {
    queue: u64,
    from: i64,
    until: i64,
}

/// Where a place is on its way through its stretches.
struct Cursor {
    stretches: Vec<Stretch>,
    current: usize,
    at: i64,
    passes_left: u64,
    asked: i64,
}

impl Cursor {
    fn stretch(&self) -> Stretch {
        self.stretches[self.current]
    }

    /// To the next stretch or pass where one is at its end; false when all is read.
    fn advance(&mut self) -> bool {
        if self.at < self.stretch().until {
            return true;
        }
        self.current += 1;
        if self.current == self.stretches.len() {
            self.current = 0;
            self.passes_left -= 1;
        }
        self.at = self.stretch().from;
        self.passes_left > 0
    }
}

struct Pull<'a> {
    form: Form,
    topic: &'a str,
    group: &'a str,
    version: String,
    max: i64,
    with_subscription: bool,
    crc: Option<Crc32>,
    depth: usize,
    /// By connection × depth + slot; None: this place has nothing to read.
    cursors: Vec<Option<Cursor>>,
}

impl Load for Pull<'_> {
    fn greet(&mut self, connection: usize, control: &mut Control) -> Result<(), Fault> {
        if self.with_subscription {
            return Ok(());
        }
        heartbeat(control, connection, self.group, self.topic, &self.version)
    }

    fn request(&mut self, place: Place, _: u64, opaque: i32, out: &mut Vec<u8>) -> bool {
        let Some(cursor) = &mut self.cursors[place.connection * self.depth + place.slot] else {
            return false;
        };
        if !cursor.advance() {
            self.cursors[place.connection * self.depth + place.slot] = None;
            return false;
        }
        let stretch = cursor.stretch();
        cursor.asked = (stretch.until - cursor.at).min(self.max);
        let wanted = Wanted {
            form: self.form,
            topic: self.topic,
            group: self.group,
            version: &self.version,
            queue: stretch.queue,
            offset: cursor.at,
            max: cursor.asked,
            with_subscription: self.with_subscription,
        };
        write_pull(&wanted, opaque, out);
        true
    }

    fn answer(&mut self, place: Place, header: &Header<'_>, body: &[u8]) -> Verdict {
        let place = place.connection * self.depth + place.slot;
        let Some(cursor) = &mut self.cursors[place] else {
            return Verdict::Wrong("an answer for a place without a cursor".into());
        };
        let expected = Expected {
            topic: self.topic.as_bytes(),
            queue: cursor.stretch().queue as i32,
            first_offset: cursor.at,
            crc: self.crc.as_ref(),
        };
        let judged = record::check(body, &expected).and_then(|count| {
            let next = header.number("nextBeginOffset");
            if count == 0 || count as i64 > cursor.asked {
                return Err(format!("{count} records, asked for {}", cursor.asked));
            }
            if next != Some(cursor.at + count as i64) {
                return Err(format!("{count} records from {}, next {next:?}", cursor.at));
            }
            Ok(count)
        });
        match judged {
            Ok(count) => {
                cursor.at += count as i64;
                Verdict::Good(count)
            }
            Err(what) => {
                self.cursors[place] = None;
                Verdict::Wrong(what)
            }
        }
    }

    fn refused(&mut self, place: Place) {
        self.cursors[place.connection * self.depth + place.slot] = None;
    }
}

/// One pull: what a request says.
pub struct Wanted<'a> {
    pub form: Form,
    pub topic: &'a str,
    pub group: &'a str,
    /// Of the subscription, as the heartbeat told it.
    pub version: &'a str,
    pub queue: u64,
    pub offset: i64,
    pub max: i64,
    /// The expression goes with the request: no heartbeat was sent.
    pub with_subscription: bool,
}

pub fn write_pull(wanted: &Wanted<'_>, opaque: i32, out: &mut Vec<u8>) {
    let (queue, offset) = (wanted.queue.to_string(), wanted.offset.to_string());
    let max = wanted.max.to_string();
    let flag = if wanted.with_subscription {
        SUBSCRIPTION
    } else {
        SUSPEND
    };
    let fields: [(&str, &[u8]); 13] = [
        ("queueId", queue.as_bytes()),
        ("maxMsgBytes", b"262144"),
        ("maxMsgNums", max.as_bytes()),
        ("sysFlag", flag),
        ("suspendTimeoutMillis", b"15000"),
        ("commitOffset", b"0"),
        ("bname", b"broker-a"),
        ("topic", wanted.topic.as_bytes()),
        ("queueOffset", offset.as_bytes()),
        ("expressionType", b"TAG"),
        ("subVersion", wanted.version.as_bytes()),
        ("consumerGroup", wanted.group.as_bytes()),
        ("subscription", b"*"),
    ];
    let fields = if wanted.with_subscription {
        &fields[..]
    } else {
        &fields[..12]
    };
    frame::encode(out, wanted.form, (PULL_MESSAGE, opaque, 0), fields, b"");
}

/// Announces the subscription to everything in a topic, as a push consumer does.
pub fn heartbeat(
    control: &mut Control,
    connection: usize,
    group: &str,
    topic: &str,
    version: &str,
) -> Result<(), Fault> {
    let client = format!("127.0.0.1@{}#{connection}", std::process::id());
    let body = format!(
        "{{\"clientID\":\"{client}\",\"consumerDataSet\":[{{\
         \"consumeFromWhere\":\"CONSUME_FROM_FIRST_OFFSET\",\
         \"consumeType\":\"CONSUME_PASSIVELY\",\"groupName\":\"{}\",\
         \"messageModel\":\"CLUSTERING\",\"subscriptionDataSet\":[{{\
         \"classFilterMode\":false,\"codeSet\":[],\"expressionType\":\"TAG\",\
         \"subString\":\"*\",\"subVersion\":{},\"tagsSet\":[],\"topic\":\"{}\"}}],\
         \"unitMode\":false}}],\"heartbeatFingerprint\":0,\"producerDataSet\":[],\
         \"withoutSub\":false}}",
        group, version, topic
    );
    control.ask(HEART_BEAT, &[], body.as_bytes(), |_| Some(()))
}

/// Cuts the queues into stretches of whole pulls, about one for each place.
fn cut(queues: &[(i64, i64)], places: usize, max: i64) -> Vec<Stretch> {
    let total: i64 = queues.iter().map(|(min, next)| next - min).sum();
    let size = (total / places as i64 / max + 1) * max;
    let mut stretches = Vec::new();
    for (queue, &(min, next)) in queues.iter().enumerate() {
        let mut from = min;
        while from < next {
            let until = (from + size).min(next);
            stretches.push(Stretch {
                queue: queue as u64,
                from,
                until,
            });
            from = until;
        }
    }
    stretches
}

pub fn run(args: &Args, plan: &Plan, topic: &str, group: &str) -> Result<bool, Fault> {
    let queues = args.number("queues", 1..=1024)?;
    let max = args.number("max", 1..=1024)? as i64;
    let passes = if plan.duration.is_some() {
        u64::MAX
    } else {
        args.number("passes", 1..=1000)?
    };
    let mut control = Control::connect(plan.address, plan.form, plan.patience)?;
    let offsets = (0..queues)
        .map(|queue| control.offsets(topic, queue))
        .collect::<Result<Vec<_>, _>>()?;
    let total: i64 = offsets.iter().map(|(min, next)| next - min).sum();
    if total <= 0 {
        return Err(Fault::failed(format!(
            "topic {topic} has no messages to pull"
        )));
    }
    let places = plan.connections * plan.depth;
    let stretches = cut(&offsets, places, max);
    let mut cursors: Vec<Option<Cursor>> = (0..places).map(|_| None).collect();
    for (index, stretch) in stretches.iter().enumerate() {
        let turn = index % places;
        // Consecutive stretches go to different connections.
        let place = turn % plan.connections * plan.depth + turn / plan.connections;
        let cursor = cursors[place].get_or_insert_with(|| Cursor {
            stretches: Vec::new(),
            current: 0,
            at: stretch.from,
            passes_left: passes,
            asked: 0,
        });
        cursor.stretches.push(*stretch);
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut load = Pull {
        form: plan.form,
        topic,
        group,
        version: now.as_millis().to_string(),
        max,
        with_subscription: args.is_set("subscription"),
        crc: args.is_set("check-crc").then(Crc32::new),
        depth: plan.depth,
        cursors,
    };
    let measured = drive::drive(plan, &mut load)?;

    let mut report = Report::new("pull");
    report.plan(plan);
    report.whole("queues", queues);
    report.whole("max", max as u64);
    report.whole("stretches", stretches.len() as u64);
    let mut is_right = report.measured(&measured);
    if plan.duration.is_none() {
        report.whole("expected", total as u64 * passes);
        is_right &= measured.messages_ever == total as u64 * passes;
    }
    report.truth("ok", is_right);
    println!("{}", report.finish());
    Ok(is_right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_cover_every_offset_once() {
        for places in [1, 4, 5, 8, 32, 100] {
            let queues = [(0, 1000), (7, 7), (100, 133), (5, 4000)];
            let stretches = cut(&queues, places, 32);
            assert!(stretches.len() <= places + queues.len());
            for (queue, &(min, next)) in queues.iter().enumerate() {
                let mut at = min;
                for stretch in stretches.iter().filter(|one| one.queue == queue as u64) {
                    assert_eq!(stretch.from, at);
                    assert!(stretch.until > at);
                    at = stretch.until;
                }
                assert_eq!(at, next);
            }
        }
    }

    #[test]
    fn a_cursor_walks_its_stretches_as_often_as_told() {
        let stretch = |from, until| Stretch {
            queue: 0,
            from,
            until,
        };
        let mut cursor = Cursor {
            stretches: vec![stretch(0, 2), stretch(5, 6)],
            current: 0,
            at: 0,
            passes_left: 2,
            asked: 0,
        };
        let mut seen = Vec::new();
        while cursor.advance() {
            seen.push(cursor.at);
            cursor.at += 1;
        }
        assert_eq!(seen, [0, 1, 5, 0, 1, 5]);
    }
}
