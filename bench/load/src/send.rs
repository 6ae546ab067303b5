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
    spec("queues", "N", "8", "queues of the topic, sent to in turn"),
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

const STORED_WAIT_MAX: f64 = 600.0;

struct Send {
    templates: Vec<Template>,
    next: usize,
    ids: Ids,
    batch: u64,
    requests_left: u64,
    /// Messages by the queue that the answers named.
    confirmed: Vec<i64>,
}

impl Load for Send {
    fn greet(&mut self, _connection: usize, _control: &mut Control) -> Result<(), Fault> {
        Ok(())
    }

    fn request(&mut self, _place: Place, opaque: i32, out: &mut Vec<u8>) -> bool {
        if self.requests_left == 0 {
            return false;
        }
        self.requests_left -= 1;
        self.templates[self.next].write(out, opaque, &mut self.ids);
        self.next = (self.next + 1) % self.templates.len();
        true
    }

    fn answer(&mut self, _place: Place, header: &Header<'_>, _body: &[u8]) -> Verdict {
        // The offsets are compared at the end; here the queue tells an answer to a send.
        let queue = header.number("queueId");
        match queue.and_then(|queue| self.confirmed.get_mut(usize::try_from(queue).ok()?)) {
            Some(confirmed) => {
                *confirmed += self.batch as i64;
                Verdict::Good(self.batch)
            }
            None => Verdict::Wrong(format!("a send answered with queueId {queue:?}")),
        }
    }

    fn refused(&mut self, _place: Place) {}
}

pub fn run(args: &Args, plan: &Plan, topic: &str, group: &str) -> Result<bool, Fault> {
    let shape = Shape {
        form: plan.form,
        topic,
        group,
        queues: args.number("queues", 1..=1024)?,
        batch: args.number("batch", 1..=4096)? as usize,
        body_size: args.number("body", 1..=4 << 20)? as usize,
        has_keys: !args.is_set("no-keys"),
    };
    let count = args.optional_number("count", 1..=1_000_000_000)?;
    let stored_wait = Duration::from_secs_f64(args.seconds("stored-wait", STORED_WAIT_MAX)?);
    let limit_bytes = args.number("limit-mib", 1..=65_536)? << 20;
    if count.is_none() && plan.duration.is_none() {
        return Err(Fault::BadArgument("--count or --seconds is needed".into()));
    }
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let unique_prefix = format!(
        "7F000001{:04X}{:08X}",
        std::process::id() & 0xffff,
        started.subsec_nanos() ^ (started.as_secs() as u32).rotate_left(16)
    );
    let templates = (0..shape.queues)
        .map(|queue| Template::new(&shape, queue, &unique_prefix))
        .collect::<Result<Vec<_>, _>>()?;
    let request_size = templates[0].size() as u64;
    let by_limit = (limit_bytes / request_size).max(1);
    let by_count = count.map_or(u64::MAX, |count| count.div_ceil(shape.batch as u64));

    let mut control = Control::connect(plan.address, plan.form, plan.patience)?;
    if !args.is_set("no-create") {
        control.create_topic(topic, shape.queues)?;
    }
    let has_stored_check = !args.is_set("no-stored-check");
    let before = if has_stored_check {
        next_offsets(&mut control, &shape)?
    } else {
        Vec::new()
    };
    let mut load = Send {
        templates,
        next: 0,
        ids: Ids::new(started.as_millis() as u64),
        batch: shape.batch as u64,
        requests_left: by_limit.min(by_count),
        confirmed: vec![0; shape.queues as usize],
    };
    let mut measured = drive::drive(plan, &mut load)?;
    if measured.stopped_by == "count" && by_limit < by_count {
        measured.stopped_by = "bytes";
    }

    let mut report = Report::new("send");
    report.plan(plan);
    report.whole("batch", shape.batch as u64);
    report.whole("body", shape.body_size as u64);
    report.whole("queues", shape.queues);
    report.whole("request_bytes", request_size);
    let mut is_right = report.measured(&measured);
    if has_stored_check {
        let growth = |now: Vec<i64>| -> Vec<i64> {
            now.iter()
                .zip(&before)
                .map(|(now, before)| now - before)
                .collect()
        };
        let confirmed: i64 = load.confirmed.iter().sum();
        let waits_until = Instant::now() + stored_wait;
        let mut stored = growth(next_offsets(&mut control, &shape)?);
        while stored.iter().sum::<i64>() < confirmed && Instant::now() < waits_until {
            std::thread::sleep(Duration::from_millis(5));
            stored = growth(next_offsets(&mut control, &shape)?);
        }
        report.whole("confirmed", confirmed as u64);
        report.whole("stored", stored.iter().sum::<i64>().max(0) as u64);
        // What was refused or not answered may have been stored all the same; it is wrong anyway.
        if stored != load.confirmed {
            is_right = false;
            report.text(
                "unequal_queues",
                &format!("confirmed {:?}, stored {stored:?}", load.confirmed),
            );
        }
    }
    report.truth("ok", is_right);
    println!("{}", report.finish());
    Ok(is_right)
}

fn next_offsets(control: &mut Control, shape: &Shape<'_>) -> Result<Vec<i64>, Fault> {
    (0..shape.queues)
        .map(|queue| Ok(control.offsets(shape.topic, queue)?.1))
        .collect()
}
