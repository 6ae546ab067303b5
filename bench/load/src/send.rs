//! `rmqload send`: ordinary (code 310) and batch (code 320) sends with a Java producer's properties.
//!
//! Each answer is checked, and in the end the queues must have grown by what was confirmed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::args::{spec, Args, Spec};
use crate::control::Control;
use crate::drive::{self, Load, Place, Plan, Verdict};
use crate::fault::Fault;
use crate::frame::Header;
use crate::report::Report;
use crate::template::{Ids, Shape, Template};

pub const SPECS: &[Spec] = &[
    spec(
        "batch",
        "N",
        "1",
        "messages per request; over 1 goes with code 320",
    ),
    spec("body", "BYTES", "128", "body size"),
    spec(
        "count",
        "N",
        "",
        "stop after so many messages (whole batches), warm-up included",
    ),
    spec(
        "topics",
        "N",
        "1",
        "so many topics, sent to in turn: NAME-00000, NAME-00001, …",
    ),
    spec("queues", "N", "8", "queues of each topic, sent to in turn"),
    spec(
        "limit-mib",
        "MIB",
        "2048",
        "stop after so much request data, warm-up included",
    ),
    spec("no-keys", "", "", "leave KEYS and TAGS out"),
    spec("no-create", "", "", "use the topic as it is"),
    spec(
        "stored-wait",
        "S",
        "10",
        "how long the consume queues may lag behind the answers",
    ),
    spec(
        "no-stored-check",
        "",
        "",
        "do not compare the queues' offsets with what was confirmed",
    ),
];

/// Each is a request written out.
const TEMPLATES_MAX: u64 = 200_000;
const CHECKED_TOPICS_MAX: usize = 16;
const STORED_WAIT_MAX: f64 = 600.0;

struct Send {
    templates: Vec<Template>,
    next: usize,
    ids: Ids,
    batch: u64,
    queues: usize,
    requests_left: u64,
    depth: usize,
    /// The template last sent at each place.
    asked: Vec<usize>,
    /// Messages by template: confirmed for its queue of its topic.
    confirmed: Vec<i64>,
}

impl Load for Send {
    fn greet(&mut self, _connection: usize, _control: &mut Control) -> Result<(), Fault> {
        Ok(())
    }

    fn request(&mut self, place: Place, due_ns: u64, opaque: i32, out: &mut Vec<u8>) -> bool {
        if self.requests_left == 0 {
            return false;
        }
        self.requests_left -= 1;
        self.templates[self.next].write(out, opaque, due_ns, &mut self.ids);
        self.asked[place.connection * self.depth + place.slot] = self.next;
        self.next = (self.next + 1) % self.templates.len();
        true
    }

    fn answer(&mut self, place: Place, header: &Header<'_>, _body: &[u8]) -> Verdict {
        // The offsets are compared at the end; here the queue tells an answer to a send.
        let template = self.asked[place.connection * self.depth + place.slot];
        match header.number("queueId") {
            Some(queue) if queue == queue_of(template, self.templates.len(), self.queues) => {
                self.confirmed[template] += self.batch as i64;
                Verdict::Good(self.batch)
            }
            queue => Verdict::Wrong(format!("a send answered with queueId {queue:?}")),
        }
    }

    fn refused(&mut self, _place: Place) {}
}

/// Templates are in the order of sending: all topics' first queues, then all topics' second ones.
fn queue_of(template: usize, templates: usize, queues: usize) -> i64 {
    (template / (templates / queues)) as i64
}

/// The names of the topics: one is as it is given, several are numbered.
fn topic_names(topic: &str, count: u64) -> Vec<String> {
    match count {
        1 => vec![topic.to_string()],
        _ => (0..count).map(|n| format!("{topic}-{n:05}")).collect(),
    }
}

pub fn run(args: &Args, plan: &Plan, topic: &str, group: &str) -> Result<bool, Fault> {
    let shape = Shape {
        form: plan.form,
        group,
        queues: args.number("queues", 1..=1024)?,
        batch: args.number("batch", 1..=4096)? as usize,
        body_size: args.number("body", 1..=4 << 20)? as usize,
        has_keys: !args.is_set("no-keys"),
        is_stamped: false,
    };
    let topics = topic_names(topic, args.number("topics", 1..=100_000)?);
    if topics.len() as u64 * shape.queues > TEMPLATES_MAX {
        return Err(Fault::BadArgument(format!(
            "--topics times --queues: more than {TEMPLATES_MAX}"
        )));
    }
    let count = args.optional_number("count", 1..=1_000_000_000)?;
    let stored_wait = Duration::from_secs_f64(args.seconds("stored-wait", STORED_WAIT_MAX)?);
    let limit_bytes = args.number("limit-mib", 1..=65_536)? << 20;
    if count.is_none() && plan.duration.is_none() {
        return Err(Fault::BadArgument("--count or --seconds is needed".into()));
    }
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let unique_prefix = unique_prefix(started);
    let templates = (0..shape.queues)
        .flat_map(|queue| topics.iter().map(move |topic| (topic, queue)))
        .map(|(topic, queue)| Template::new(&shape, topic, queue, &unique_prefix))
        .collect::<Result<Vec<_>, _>>()?;
    let request_size = templates[0].size() as u64;
    let by_limit = (limit_bytes / request_size).max(1);
    let by_count = count.map_or(u64::MAX, |count| count.div_ceil(shape.batch as u64));

    let template_count = templates.len();
    let mut control = Control::connect(plan.address, plan.form, plan.patience)?;
    if !args.is_set("no-create") {
        for topic in &topics {
            control.create_topic(topic, shape.queues)?;
        }
    }
    // Of many topics some are looked at, spread over all.
    let step = topics.len().div_ceil(CHECKED_TOPICS_MAX);
    let checked: Vec<usize> = if args.is_set("no-stored-check") {
        Vec::new()
    } else {
        (0..template_count)
            .filter(|template| (template % topics.len()).is_multiple_of(step))
            .collect()
    };
    let next_offsets = |control: &mut Control| -> Result<Vec<i64>, Fault> {
        let place = |&template: &usize| {
            let queue = queue_of(template, template_count, shape.queues as usize);
            (&topics[template % topics.len()], queue)
        };
        checked
            .iter()
            .map(place)
            .map(|(topic, queue)| control.next_offset(topic, &queue.to_string()))
            .collect()
    };
    let before = next_offsets(&mut control)?;
    let mut load = Send {
        next: 0,
        ids: Ids::new(started.as_millis() as u64),
        batch: shape.batch as u64,
        queues: shape.queues as usize,
        requests_left: by_limit.min(by_count),
        depth: plan.depth,
        asked: vec![0; plan.connections * plan.depth],
        confirmed: vec![0; template_count],
        templates,
    };
    let mut measured = drive::drive(plan, &mut load)?;
    if measured.stopped_by == "count" && by_limit < by_count {
        measured.stopped_by = "bytes";
    }

    let mut report = Report::new("send");
    report.plan(plan);
    report.whole("batch", shape.batch as u64);
    report.whole("body", shape.body_size as u64);
    report.whole("topics", topics.len() as u64);
    report.whole("queues", shape.queues);
    report.whole("request_bytes", request_size);
    let mut is_right = report.measured(&measured);
    if !checked.is_empty() {
        let confirmed: Vec<i64> = checked.iter().map(|&at| load.confirmed[at]).collect();
        let waits_until = Instant::now() + stored_wait;
        let stored = loop {
            let now = next_offsets(&mut control)?;
            let stored: Vec<i64> = now
                .iter()
                .zip(&before)
                .map(|(now, was)| now - was)
                .collect();
            if stored.iter().sum::<i64>() >= confirmed.iter().sum() || Instant::now() > waits_until
            {
                break stored;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        report.whole("confirmed", confirmed.iter().sum::<i64>() as u64);
        report.whole("stored", stored.iter().sum::<i64>().max(0) as u64);
        // What was refused or not answered may have been stored all the same; it is wrong anyway.
        if stored != confirmed {
            is_right = false;
            let unequal: Vec<String> = checked
                .iter()
                .zip(confirmed.iter().zip(&stored))
                .filter(|(_, (confirmed, stored))| confirmed != stored)
                .map(|(&at, (confirmed, stored))| {
                    let queue = queue_of(at, template_count, shape.queues as usize);
                    let topic = &topics[at % topics.len()];
                    format!("{topic}/{queue}: confirmed {confirmed}, stored {stored}")
                })
                .collect();
            let first = unequal[..unequal.len().min(3)].join("; ");
            report.text("unequal_queues", &format!("{}: {first}", unequal.len()));
        }
    }
    report.truth("ok", is_right);
    println!("{}", report.finish());
    Ok(is_right)
}

/// As Java clients make it: address, process and a number of this run.
pub fn unique_prefix(started: Duration) -> String {
    format!(
        "7F000001{:04X}{:08X}",
        std::process::id() & 0xffff,
        started.subsec_nanos() ^ (started.as_secs() as u32).rotate_left(16)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_sent_to_in_turn_and_each_one_s_queues_too() {
        let names = topic_names("T", 3);
        assert_eq!(names, ["T-00000", "T-00001", "T-00002"]);
        assert_eq!(topic_names("T", 1), ["T"]);
        let queues: Vec<i64> = (0..6).map(|template| queue_of(template, 6, 2)).collect();
        assert_eq!(queues, [0, 0, 0, 1, 1, 1]);
    }
}
