//! One thread, one epoll, and on every connection places for one request each.
//!
//! Closed loop: a place is asked again as soon as its answer has come, so the load is what the
//! server can take; latency is from the moment a request is queued for sending to the moment its
//! answer is parsed. With a rate (`pace.rs`): requests fall due by the clock, whether answers have
//! come or not, and latency begins when they were due: a stall of the server is not left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::control::Control;
use crate::fault::Fault;
use crate::frame::{self, Form, Header, ANSWER};
use crate::histogram::Histogram;
use crate::pace::Pace;
use crate::system::{self, Poll, Timer};

/// Opaques have nine digits, so that a request of a given kind has one length.
pub const OPAQUE_FIRST: i32 = 100_000_000;
const OPAQUE_COUNT: u32 = 800_000_000;
const WAIT_MS: i32 = 50;
/// The timer's number among those of connections.
const TICK: usize = usize::MAX;

/// One of the requests that may be in flight.
#[derive(Clone, Copy)]
pub struct Place {
    pub connection: usize,
    pub slot: usize,
}

pub enum Verdict {
    /// As it must be, for so many messages.
    Good(u64),
    /// Code 0, yet not what was asked for.
    Wrong(String),
}

/// What is asked, and whether the answer is right.
pub trait Load {
    /// Before the measurement, on a connection of the load.
    fn greet(&mut self, connection: usize, control: &mut Control) -> Result<(), Fault>;
    /// Appends the next request of a place; false when it has none. `asked_ns`: since the start.
    fn request(&mut self, place: Place, asked_ns: u64, opaque: i32, out: &mut Vec<u8>) -> bool;
    /// Judges an answer with code 0.
    fn answer(&mut self, place: Place, header: &Header<'_>, body: &[u8]) -> Verdict;
    /// An answer with another code.
    fn refused(&mut self, place: Place);
    /// Whether a code other than 0 is a good answer here: its content is judged then.
    fn accepts(&self, _place: Place, _code: i32) -> bool {
        false
    }
    /// Requests of these places wait at the server for something to happen: they are always asked
    /// again at once, their latency means nothing, and nobody waits for them at the end.
    fn is_parked(&self, _place: Place) -> bool {
        false
    }
    /// Requests are counted in time from here on.
    fn started(&mut self, _at: Instant) {}
    /// Whether something is still expected on parked places although all else is answered.
    fn awaits(&self) -> bool {
        false
    }
    /// Counting begins, so long after the start.
    fn warmed_up(&mut self, _now_ns: u64) {}
}

pub struct Plan {
    pub address: SocketAddr,
    pub form: Form,
    pub connections: usize,
    pub depth: usize,
    /// Further connections, for parked requests, and how many each.
    pub parked: (usize, usize),
    /// Not counted, for servers that grow faster.
    pub warm_up: Duration,
    /// None: until the load has nothing more to ask.
    pub duration: Option<Duration>,
    /// Requests per second; None: as many as the server takes.
    pub rate: Option<u64>,
    /// The longest time without any answer.
    pub patience: Duration,
    pub server_pids: Vec<i32>,
}

/// Everything counted since the warm-up.
pub struct Tally {
    pub messages: u64,
    pub requests: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub latency: Histogram,
    /// By code: how often, and the first remark.
    pub errors: BTreeMap<i32, (u64, String)>,
    /// Right code, wrong content: how often, and the first finding.
    pub wrong: (u64, String),
    /// Answers to nothing that was asked, or asked twice.
    pub unasked: u64,
    /// Requests of the server on our connections.
    pub server_requests: u64,
}

impl Tally {
    fn new() -> Self {
        Self {
            messages: 0,
            requests: 0,
            bytes_sent: 0,
            bytes_received: 0,
            latency: Histogram::new(),
            errors: BTreeMap::new(),
            wrong: (0, String::new()),
            unasked: 0,
            server_requests: 0,
        }
    }
}

pub struct Measured {
    pub tally: Tally,
    /// Confirmed in all, warm-up included.
    pub messages_ever: u64,
    pub elapsed: Duration,
    pub server_cpu: Option<Duration>,
    pub client_cpu: Duration,
    pub stopped_by: &'static str,
    /// Requests that were due and found no free place before the end.
    pub unsent: u64,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    opaque: i32,
    asked_ns: u64,
}

struct Lane {
    connection: Connection,
    slots: Vec<Slot>,
    /// Slots answered in this chunk: asked again after it.
    answered: Vec<usize>,
    next_round: u32,
}

struct Drive<'a, L> {
    load: &'a mut L,
    tally: Tally,
    started: Instant,
    in_flight: usize,
    messages_ever: u64,
    may_ask: bool,
    pace: Option<Pace>,
}

pub fn drive<L: Load>(plan: &Plan, load: &mut L) -> Result<Measured, Fault> {
    let mut poll = Poll::new()?;
    let mut lanes = open(plan, load, &poll)?;
    let started = Instant::now();
    load.started(started);
    let mut drive = Drive {
        load,
        tally: Tally::new(),
        started,
        in_flight: 0,
        messages_ever: 0,
        may_ask: true,
        pace: plan.rate.map(|rate| Pace::new(rate, plan.connections)),
    };
    let timer = Timer::new()?;
    if let Some(pace) = &drive.pace {
        timer.every(pace.tick())?;
        poll.add(timer.fd(), TICK, system::READABLE)?;
    }
    let mut window = started;
    let mut cpu_before = (system::cpu_of(&plan.server_pids)?, system::own_cpu());
    for (index, lane) in lanes.iter_mut().enumerate() {
        lane.answered.extend(0..lane.slots.len());
        drive.ask(index, lane);
        lane.connection.flush(&poll)?;
    }
    drive.ask_due(&mut lanes, &poll)?;
    let mut last_answer = started;
    let mut is_warm = plan.warm_up.is_zero();
    let mut stopped_by = "count";
    let mut ready = Vec::new();
    while drive.in_flight > 0 || drive.will_ask(&lanes) || drive.load.awaits() {
        poll.wait(WAIT_MS, &mut ready)?;
        let before = drive.in_flight;
        let requests_before = drive.tally.requests;
        for &(index, events) in &ready {
            if index == TICK {
                timer.take()?;
                continue;
            }
            let lane = &mut lanes[index];
            if events & !system::WRITABLE != 0 {
                if !lane.connection.fill()? {
                    return Err(Fault::failed("the server closed a connection"));
                }
                drive.take_answers(index, lane)?;
                drive.ask(index, lane);
            }
            lane.connection.flush(&poll)?;
        }
        drive.ask_due(&mut lanes, &poll)?;
        let now = Instant::now();
        if drive.tally.requests != requests_before || drive.in_flight != before {
            last_answer = now;
        } else if now - last_answer > plan.patience {
            stopped_by = "stall";
            break;
        }
        if !is_warm && now - started >= plan.warm_up {
            is_warm = true;
            window = now;
            drive.tally = Tally::new();
            let now_ns = drive.now_ns();
            drive.load.warmed_up(now_ns);
            if let Some(pace) = &mut drive.pace {
                pace.forget_unsent();
            }
            cpu_before = (system::cpu_of(&plan.server_pids)?, system::own_cpu());
        }
        if drive.may_ask
            && plan
                .duration
                .is_some_and(|most| now - started >= plan.warm_up + most)
        {
            drive.may_ask = false;
            stopped_by = "seconds";
        }
    }
    let server_cpu = system::cpu_of(&plan.server_pids)? - cpu_before.0;
    Ok(Measured {
        elapsed: last_answer.saturating_duration_since(window),
        server_cpu: (!plan.server_pids.is_empty()).then_some(server_cpu),
        client_cpu: system::own_cpu() - cpu_before.1,
        tally: drive.tally,
        messages_ever: drive.messages_ever,
        stopped_by,
        unsent: drive.pace.as_ref().map_or(0, Pace::unsent),
    })
}

fn open<L: Load>(plan: &Plan, load: &mut L, poll: &Poll) -> Result<Vec<Lane>, Fault> {
    let (parked, parked_depth) = plan.parked;
    let count = plan.connections + parked;
    system::allow_open_files(count as u64 + 32)?;
    (0..count)
        .map(|index| {
            let depth = if index < plan.connections {
                plan.depth
            } else {
                parked_depth
            };
            let mut control = Control::connect(plan.address, plan.form, plan.patience)?;
            load.greet(index, &mut control)?;
            Ok(Lane {
                connection: Connection::new(control.into_stream(), index, poll)?,
                slots: vec![Slot::default(); depth],
                answered: Vec::with_capacity(depth),
                next_round: 0,
            })
        })
        .collect()
}

impl<L: Load> Drive<'_, L> {
    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Asks again at every place that has its answer, unless requests come by the clock.
    fn ask(&mut self, index: usize, lane: &mut Lane) {
        let asked_ns = self.now_ns();
        let is_paced = self.pace.is_some();
        let mut answered = std::mem::take(&mut lane.answered);
        answered.retain(|&slot| {
            let place = Place {
                connection: index,
                slot,
            };
            if self.load.is_parked(place) || (self.may_ask && !is_paced) {
                self.ask_at(place, lane, asked_ns);
                return false;
            }
            is_paced
        });
        lane.answered = answered;
    }

    /// Whether there are places for what falls due: one that had nothing more to ask is none.
    fn will_ask(&self, lanes: &[Lane]) -> bool {
        let has_place = || lanes.iter().any(|lane| !lane.answered.is_empty());
        self.pace.is_some() && self.may_ask && has_place()
    }

    /// What has fallen due goes to free places, one connection after the other.
    fn ask_due(&mut self, lanes: &mut [Lane], poll: &Poll) -> Result<(), Fault> {
        let Some(mut pace) = self.pace.take() else {
            return Ok(());
        };
        if self.may_ask {
            pace.advance(self.now_ns());
            let mut full = 0;
            while full < lanes.len() {
                let Some((index, due_ns)) = pace.next() else {
                    break;
                };
                let lane = &mut lanes[index];
                // Places of parked requests are never free.
                if let Some(slot) = lane.answered.pop() {
                    pace.took();
                    full = 0;
                    let place = Place {
                        connection: index,
                        slot,
                    };
                    self.ask_at(place, lane, due_ns);
                } else {
                    full += 1;
                }
            }
            for lane in lanes.iter_mut() {
                lane.connection.flush(poll)?;
            }
        }
        self.pace = Some(pace);
        Ok(())
    }

    fn ask_at(&mut self, place: Place, lane: &mut Lane, asked_ns: u64) {
        let depth = lane.slots.len() as u32;
        let opaque = OPAQUE_FIRST + (lane.next_round * depth) as i32 + place.slot as i32;
        let out = &mut lane.connection.output;
        let before = out.len();
        if self.load.request(place, asked_ns, opaque, out) {
            self.tally.bytes_sent += (out.len() - before) as u64;
            lane.slots[place.slot] = Slot { opaque, asked_ns };
            self.in_flight += usize::from(!self.load.is_parked(place));
        }
        lane.next_round = (lane.next_round + 1) % (OPAQUE_COUNT / depth);
    }

    fn take_answers(&mut self, index: usize, lane: &mut Lane) -> Result<(), Fault> {
        let now = self.now_ns();
        let (slots, answered) = (&mut lane.slots, &mut lane.answered);
        lane.connection.frames(|bytes, _| {
            let (header, body) = frame::decode(bytes)?;
            self.tally.bytes_received += bytes.len() as u64;
            if header.flag & ANSWER == 0 {
                self.tally.server_requests += 1;
                return Ok(());
            }
            let number = header.opaque.wrapping_sub(OPAQUE_FIRST) as u32 as usize;
            let slot = number % slots.len();
            if header.opaque == 0 || slots[slot].opaque != header.opaque {
                self.tally.unasked += 1;
                return Ok(());
            }
            let place = Place {
                connection: index,
                slot,
            };
            if !self.load.is_parked(place) {
                let asked_ns = slots[slot].asked_ns;
                self.tally.latency.add(now.saturating_sub(asked_ns));
                self.in_flight -= 1;
            }
            slots[slot].opaque = 0;
            answered.push(slot);
            self.judge(place, &header, body);
            Ok(())
        })
    }

    fn judge(&mut self, place: Place, header: &Header<'_>, body: &[u8]) {
        self.tally.requests += 1;
        if header.code != 0 && !self.load.accepts(place, header.code) {
            self.load.refused(place);
            let error = self.tally.errors.entry(header.code);
            error.or_insert_with(|| (0, header.remark_text())).0 += 1;
            return;
        }
        match self.load.answer(place, header, body) {
            Verdict::Good(messages) => {
                self.tally.messages += messages;
                self.messages_ever += messages;
            }
            Verdict::Wrong(what) => {
                if self.tally.wrong.0 == 0 {
                    self.tally.wrong.1 = what;
                }
                self.tally.wrong.0 += 1;
            }
        }
    }
}
