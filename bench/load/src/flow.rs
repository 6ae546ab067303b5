//! `rmqload flow`: messages sent by the clock and consumed at once, as by a push consumer.
//!
//! Each body tells when its message was due; the latency from there to the moment a long poll has
//! brought it is what a user feels. Every queue has one long poll at the server, on a connection of
//! its own, and goes on where the last answer ended. Every record is checked: in order, none
//! missing, and in the end as many as were confirmed.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::args::{spec, Args, Spec};
use crate::control::Control;
use crate::drive::{self, Load, Place, Plan, Verdict};
use crate::fault::Fault;
use crate::frame::Header;
use crate::histogram::Histogram;
use crate::pull::{heartbeat, write_pull, Wanted};
use crate::record::{self, Expected};
use crate::report::Report;
use crate::send::unique_prefix;
use crate::template::{stamp_of, Ids, Shape, Template};

pub const SPECS: &[Spec] = &[
    spec("body", "BYTES", "128", "body size, at least 16"),
    spec("queues", "N", "8", "queues of the topic, sent to in turn"),
    spec("max", "N", "32", "messages per pull"),
    spec("no-create", "", "", "use the topic as it is"),
];

/// The server has nothing yet, or asks to be asked again.
const PULL_NOT_FOUND: i32 = 19;
const PULL_RETRY_IMMEDIATELY: i32 = 20;

struct Flow<'a> {
    plan: &'a Plan,
    topic: &'a str,
    group: &'a str,
    version: String,
    max: i64,
    templates: Vec<Template>,
    next_template: usize,
    ids: Ids,
    /// Of each queue: what the next record must be.
    next_offsets: Vec<i64>,
    confirmed: u64,
    received: u64,
    started: Instant,
    counted_from_ns: u64,
    end_to_end: Histogram,
}

impl Load for Flow<'_> {
    fn greet(&mut self, connection: usize, control: &mut Control) -> Result<(), Fault> {
        if connection < self.plan.connections {
            return Ok(());
        }
        heartbeat(control, connection, self.group, self.topic, &self.version)
    }

    fn request(&mut self, place: Place, due_ns: u64, opaque: i32, out: &mut Vec<u8>) -> bool {
        if self.is_parked(place) {
            let wanted = Wanted {
                form: self.plan.form,
                topic: self.topic,
                group: self.group,
                version: &self.version,
                queue: place.slot as u64,
                offset: self.next_offsets[place.slot],
                max: self.max,
                with_subscription: false,
            };
            write_pull(&wanted, opaque, out);
            return true;
        }
        self.templates[self.next_template].write(out, opaque, due_ns, &mut self.ids);
        self.next_template = (self.next_template + 1) % self.templates.len();
        true
    }

    fn answer(&mut self, place: Place, header: &Header<'_>, body: &[u8]) -> Verdict {
        if !self.is_parked(place) {
            self.confirmed += 1;
            return Verdict::Good(1);
        }
        if header.code != 0 {
            return Verdict::Good(0);
        }
        let expected = Expected {
            topic: self.topic.as_bytes(),
            queue: place.slot as i32,
            first_offset: self.next_offsets[place.slot],
            crc: None,
        };
        let now_ns = self.started.elapsed().as_nanos() as u64;
        let mut unstamped = 0;
        let judged = record::check_each(body, &expected, |body| match stamp_of(body) {
            Some(due_ns) if due_ns >= self.counted_from_ns => {
                self.end_to_end.add(now_ns.saturating_sub(due_ns));
            }
            Some(_) => (),
            None => unstamped += 1,
        });
        match judged {
            Ok(count) if unstamped == 0 => {
                self.next_offsets[place.slot] += count as i64;
                self.received += count;
                Verdict::Good(0)
            }
            Ok(_) => Verdict::Wrong(format!("{unstamped} bodies that tell no time")),
            Err(what) => Verdict::Wrong(what),
        }
    }

    fn refused(&mut self, _place: Place) {}

    fn accepts(&self, place: Place, code: i32) -> bool {
        self.is_parked(place) && matches!(code, PULL_NOT_FOUND | PULL_RETRY_IMMEDIATELY)
    }

    fn is_parked(&self, place: Place) -> bool {
        place.connection >= self.plan.connections
    }

    fn started(&mut self, at: Instant) {
        self.started = at;
    }

    fn awaits(&self) -> bool {
        self.received < self.confirmed
    }

    fn warmed_up(&mut self, now_ns: u64) {
        self.counted_from_ns = now_ns;
        self.end_to_end = Histogram::new();
    }
}

pub fn run(args: &Args, plan: Plan, topic: &str, group: &str) -> Result<bool, Fault> {
    if plan.rate.is_none() || plan.duration.is_none() {
        return Err(Fault::BadArgument("--rate and --seconds are needed".into()));
    }
    let queues = args.number("queues", 1..=1024)?;
    let plan = Plan {
        parked: (1, queues as usize),
        ..plan
    };
    let shape = Shape {
        form: plan.form,
        group,
        queues,
        batch: 1,
        body_size: args.number("body", 1..=1 << 20)? as usize,
        has_keys: true,
        is_stamped: true,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let prefix = unique_prefix(now);
    let templates = (0..queues)
        .map(|queue| Template::new(&shape, topic, queue, &prefix))
        .collect::<Result<Vec<_>, _>>()?;
    let mut control = Control::connect(plan.address, plan.form, plan.patience)?;
    if !args.is_set("no-create") {
        control.create_topic(topic, queues)?;
    }
    let next_offsets = (0..queues)
        .map(|queue| control.next_offset(topic, &queue.to_string()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut load = Flow {
        plan: &plan,
        topic,
        group,
        version: now.as_millis().to_string(),
        max: args.number("max", 1..=1024)? as i64,
        templates,
        next_template: 0,
        ids: Ids::new(now.as_millis() as u64),
        next_offsets,
        confirmed: 0,
        received: 0,
        started: Instant::now(),
        counted_from_ns: 0,
        end_to_end: Histogram::new(),
    };
    let measured = drive::drive(&plan, &mut load)?;

    let mut report = Report::new("flow");
    report.plan(&plan);
    report.whole("rate", plan.rate.unwrap_or(0));
    report.whole("body", shape.body_size as u64);
    report.whole("queues", queues);
    let mut is_right = report.measured(&measured);
    report.latency("end_to_end_us", &load.end_to_end);
    report.whole("confirmed", load.confirmed);
    report.whole("received", load.received);
    is_right &= load.confirmed == load.received;
    report.truth("ok", is_right);
    println!("{}", report.finish());
    Ok(is_right)
}
