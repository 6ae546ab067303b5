//! What the lane takes of a chunk: sends and pulls from its frames, one after the other.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use rmqlane::fields::may_be_send;
use rmqlane::pull::PULL;
use rmqlane::pulled::PulledRows;
use rmqlane::{Arrived, Outcome};
use rmqwire::frame::{self, Next};
use rmqwire::header;

use crate::lane::{send, ExpressLane, Inside};
use crate::polls::{rows_of, PullsDone};
use crate::wire::Input;

/// What stands behind the last frame that was dealt with; else it is a frame's size, 0 if unknown.
const NOT_PLAIN: isize = -1;
const NO_ROOM: isize = -2;
const GO_ON: isize = -3;
/// The request of a pull that waits here has no more bytes; they are kept with it.
const PARKED_SIZE_MAX: usize = 2048;
/// A buffer for answers that grew larger is given back after its call.
const OUT_KEPT: usize = 1 << 20;

/// Commands for the regular lane, where the next frame begins, what stands there, sends taken, bytes
/// of the connection's records that wait, answers of pulls that somebody must write, the pulls with
/// those that wait now.
pub(crate) type Fed<'py> = (
    Option<Bound<'py, PyList>>,
    usize,
    isize,
    usize,
    u64,
    Option<Bound<'py, PyBytes>>,
    Option<Vec<PullsDone>>,
);

impl ExpressLane {
    /// The time that holds for everything taken in this turn; the first who asks has the turn ended.
    pub(crate) fn turn_ms(&self, py: Python<'_>) -> PyResult<i64> {
        if let Some(now_ms) = self.inside().turn_ms {
            return Ok(now_ms);
        }
        let now_ms = self.begin_turn.call0(py)?.extract(py)?;
        self.inside().turn_ms = Some(now_ms);
        Ok(now_ms)
    }

    /// Takes sends from the beginning of `bytes`, until something else comes or `room` of the connection
    /// wait; how many bytes they had, and whether records of more than `size_max` bytes wait now.
    pub(crate) fn take_sends(
        &self,
        number: u32,
        bytes: &[u8],
        now_ms: i64,
        room: usize,
        size_max: u64,
    ) -> (usize, bool) {
        let engine = self.engine.get().engine();
        let mut inside = self.inside();
        let lane = &mut inside.lane;
        let room = room.saturating_sub(lane.poll_count_of(number));
        let mut scratch = String::new();
        let mut at = 0;
        while let Next::Whole(found) = frame::next(&bytes[at..], &self.limits) {
            let (count, size) = lane.connections().held(number);
            if count >= room || size > size_max {
                break;
            }
            let fields_max = self.limits.ext_fields_max;
            if lane
                .send(engine, number, &found, fields_max, now_ms)
                .is_some()
            {
                at += found.size;
                continue;
            }
            let decoded =
                header::decode(found.serialize_type, found.header, fields_max, &mut scratch);
            let Ok(decoded) = decoded else {
                break;
            };
            let arrived = Arrived {
                form: found.serialize_type,
                header: &decoded,
                scratch: &scratch,
                body: found.body,
            };
            let Some(request) = lane.judge(&arrived, now_ms) else {
                break;
            };
            if lane.take(engine, number, &request, now_ms).is_none() {
                break;
            }
            at += found.size;
        }
        (at, lane.connections().held(number).1 > size_max)
    }

    /// Whether `bytes` may begin with a send: false is certain.
    pub(crate) fn may_begin_with_send(&self, bytes: &[u8]) -> bool {
        match frame::next(bytes, &self.limits) {
            Next::Whole(found) => may_be_send(found.serialize_type, found.header),
            _ => false,
        }
    }

    /// Tells a connection that enough bytes of it are under way.
    pub(crate) fn tell_too_much(&self, py: Python<'_>, number: u32) -> PyResult<()> {
        let (peer, size) = {
            let mut inside = self.inside();
            let peer = inside.peers.get(number as usize);
            let peer = peer.and_then(|peer| peer.as_ref().map(|peer| peer.clone_ref(py)));
            (peer, inside.lane.connections().held(number).1)
        };
        if let Some(peer) = peer {
            peer.call_method1(py, "took", (size,))?;
        }
        Ok(())
    }

    /// Writes the answers of a call's pulls to their socket; what somebody else must write is answered.
    fn answer_now<'py>(&self, py: Python<'py>, number: u32) -> Option<Bound<'py, PyBytes>> {
        let mut inside = self.inside();
        let Inside { lane, out, .. } = &mut *inside;
        if out.is_empty() {
            return None;
        }
        let count = lane.connections().write_now(number, out, send);
        let rest = (count < out.len()).then(|| PyBytes::new(py, &out[count..]));
        out.clear();
        out.shrink_to(OUT_KEPT);
        rest
    }

    /// Deals with whole frames from `start` on, in their order, until one is not for the lane; then
    /// collects commands until one is.
    pub(crate) fn feed_chunk<'py>(
        &self,
        number: u32,
        data: &Bound<'py, PyAny>,
        start: usize,
        now_ms: i64,
        room: usize,
        unsent_room: usize,
    ) -> PyResult<Fed<'py>> {
        let py = data.py();
        let input = Input::of(data)?;
        let bytes = input.as_slice();
        let engine = self.engine.get().engine();
        let reader = self.reader.get();
        let mut commands: Option<Bound<'py, PyList>> = None;
        let mut scratch = String::new();
        let mut taken = 0;
        let (held, mut size) = self.inside().lane.connections().held(number);
        let room = room.saturating_sub(held + self.inside().lane.poll_count_of(number));
        let mut pulled = PulledRows::default();
        let mut parked = 0;
        self.inside().out.clear();
        let mut at = start;
        let end = loop {
            let found = match frame::next(bytes.get(at..).unwrap_or_default(), &self.limits) {
                Next::Whole(found) => found,
                Next::Unfinished { size } => {
                    break size
                        .and_then(|size| isize::try_from(size).ok())
                        .unwrap_or(0);
                }
                Next::Broken(_) => break NOT_PLAIN,
            };
            let fields_max = self.limits.ext_fields_max;
            if commands.is_none() && taken + parked < room {
                let lane = &mut self.inside().lane;
                if let Some(bytes) = lane.send(engine, number, &found, fields_max, now_ms) {
                    taken += 1;
                    size += bytes;
                    at += found.size;
                    continue;
                }
            }
            let decoded =
                header::decode(found.serialize_type, found.header, fields_max, &mut scratch);
            let Ok(decoded) = decoded else {
                break NOT_PLAIN;
            };
            let arrived = Arrived {
                form: found.serialize_type,
                header: &decoded,
                scratch: &scratch,
                body: found.body,
            };
            if decoded.code == PULL {
                let mut inside = self.inside();
                if inside.out.len() > unsent_room {
                    break NO_ROOM;
                }
                let Inside { lane, out, .. } = &mut *inside;
                if commands.is_some() {
                    if lane.may_pull(&arrived) {
                        break GO_ON;
                    }
                } else {
                    match lane.pull(engine, &arrived, out) {
                        Outcome::Answered(answered) => {
                            pulled.add(&answered);
                            at += found.size;
                            continue;
                        }
                        Outcome::Waits(waits, waiting) => {
                            let frame = &bytes[at..at + found.size];
                            if frame.len() <= PARKED_SIZE_MAX
                                && taken + parked < room
                                && lane.park(engine, number, waiting, frame)
                            {
                                parked += 1;
                                pulled.add_waiting(&waits);
                                at += found.size;
                                continue;
                            }
                        }
                        Outcome::Left => (),
                    }
                }
            } else if taken + parked < room {
                let mut inside = self.inside();
                if let Some(request) = inside.lane.judge(&arrived, now_ms) {
                    if commands.is_some() {
                        break GO_ON; // they come first
                    }
                    let stored = inside.lane.take(engine, number, &request, now_ms);
                    if let Some(bytes) = stored {
                        taken += 1;
                        size += bytes;
                        at += found.size;
                        continue;
                    }
                }
            }
            let mut shapes = reader.shapes();
            let command = reader.command(py, &found, &decoded, &scratch, shapes.as_deref_mut())?;
            drop(shapes);
            let Some(command) = command else {
                break NOT_PLAIN;
            };
            match &commands {
                Some(commands) => commands.append(command)?,
                None => commands = Some(PyList::new(py, [command])?),
            }
            at += found.size;
        };
        if pulled.is_empty() {
            return Ok((commands, at, end, taken, size, None, None));
        }
        let answers = self.answer_now(py, number);
        let pulled = Some(rows_of(pulled));
        Ok((commands, at, end, taken, size, answers, pulled))
    }
}
