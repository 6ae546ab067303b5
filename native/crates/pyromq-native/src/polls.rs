//! Long polls of the express lane, towards Python: who was answered, and who is given back.

use pyo3::prelude::*;
use pyo3::types::PyString;
use rmqlane::pulled::{PulledRow, PulledRows};
use rmqlane::{Lane, Poll, Pulled, Woken};
use rmqwire::frame::{self, Next};
use rmqwire::header;

use crate::lane::{ExpressLane, Inside, Released};

/// Pair, pulls, messages, bytes, (queue, next offset) and (queue, offset to commit, queue's end).
pub(crate) type PullsDone = (u32, u64, u64, u64, Vec<(i32, i64)>, Vec<(i32, i64, i64)>);
/// The connection, its request, where it goes on, until when it waits, the most messages and bytes
/// that it wants, and tag hashes.
pub(crate) type GivenBack<'py> = (
    Py<PyAny>,
    Bound<'py, PyAny>,
    i64,
    i64,
    usize,
    usize,
    Option<Vec<i32>>,
);
type Arrived<'py> = (Bound<'py, PyString>, i32, i64);
/// Replies that somebody has to take, polls that were answered, polls that were given back, and
/// arrivals that Python wants to know.
pub(crate) type PollsWoken<'py> = (
    Vec<Released<'py>>,
    Vec<PullsDone>,
    Vec<GivenBack<'py>>,
    Vec<Arrived<'py>>,
);
type Taken = Vec<(Py<PyAny>, Poll)>;

/// The rows as Python gets them.
pub(crate) fn rows_of(rows: PulledRows) -> Vec<PullsDone> {
    let rows = rows.into_rows().map(|row| {
        let PulledRow {
            pair,
            request_count,
            message_count,
            size,
            places,
            commits,
        } = row;
        (pair, request_count, message_count, size, places, commits)
    });
    rows.collect()
}

fn told(answered: &[(u32, Pulled)]) -> Vec<PullsDone> {
    let mut rows = PulledRows::default();
    for (_, pulled) in answered {
        rows.add(pulled);
    }
    rows_of(rows)
}

impl ExpressLane {
    /// Serves who waits for what has arrived; None if nothing of it concerns Python.
    pub(crate) fn wake_polls<'py>(
        &self,
        py: Python<'py>,
        now_ms: i64,
    ) -> PyResult<Option<PollsWoken<'py>>> {
        let engine = self.engine.get().engine();
        let mut inside = self.inside();
        let mut woken = std::mem::take(&mut inside.woken);
        woken.add(inside.lane.wake(engine, now_ms));
        self.told(py, inside, woken)
    }

    /// Serves who has waited long enough.
    pub(crate) fn end_polls<'py>(
        &self,
        py: Python<'py>,
        now_ms: i64,
    ) -> PyResult<Option<PollsWoken<'py>>> {
        let engine = self.engine.get().engine();
        let mut inside = self.inside();
        let woken = inside.lane.end_waits(engine, now_ms);
        self.told(py, inside, woken)
    }

    /// Who was answered in turns that ended natively.
    pub(crate) fn take_woken_rows(&self) -> Vec<PullsDone> {
        let answered = std::mem::take(&mut self.inside().woken.answered);
        told(&answered)
    }

    /// What polls become that `take` takes out.
    pub(crate) fn give_back<'py>(
        &self,
        py: Python<'py>,
        take: impl FnOnce(&mut Lane) -> Vec<Poll>,
    ) -> PyResult<Vec<GivenBack<'py>>> {
        let mut inside = self.inside();
        let polls = take(&mut inside.lane);
        let taken = with_peers(py, &inside, polls);
        drop(inside);
        self.commands(py, taken)
    }

    fn told<'py>(
        &self,
        py: Python<'py>,
        mut inside: std::sync::MutexGuard<'_, Inside>,
        woken: Woken,
    ) -> PyResult<Option<PollsWoken<'py>>> {
        let is_nothing =
            woken.answered.is_empty() && woken.given_back.is_empty() && woken.arrivals.is_empty();
        if is_nothing {
            return Ok(None);
        }
        let replies = inside.ready(py);
        let answered = told(&woken.answered);
        let taken = with_peers(py, &inside, woken.given_back);
        drop(inside);
        let given_back = self.commands(py, taken)?;
        let arrivals = woken
            .arrivals
            .into_iter()
            .map(|(topic, queue_id, end)| (PyString::new(py, &topic), queue_id, end))
            .collect();
        Ok(Some((replies, answered, given_back, arrivals)))
    }

    /// The requests of polls as commands. Makes objects with references: without the lane's lock.
    fn commands<'py>(&self, py: Python<'py>, taken: Taken) -> PyResult<Vec<GivenBack<'py>>> {
        let reader = self.reader.get();
        let mut scratch = String::new();
        let mut commands = Vec::with_capacity(taken.len());
        for (peer, poll) in taken {
            let Next::Whole(found) = frame::next(&poll.frame, &self.limits) else {
                continue; // it was whole when it was parked
            };
            let fields_max = self.limits.ext_fields_max;
            let decoded =
                header::decode(found.serialize_type, found.header, fields_max, &mut scratch);
            let Ok(decoded) = decoded else {
                continue; // it was decoded when it was parked
            };
            let mut shapes = reader.shapes();
            let command = reader.command(py, &found, &decoded, &scratch, shapes.as_deref_mut())?;
            drop(shapes);
            let Some(command) = command else {
                continue; // its language was looked at when it was parked
            };
            commands.push((
                peer,
                command,
                poll.queue_offset,
                poll.deadline_ms,
                poll.message_count_max,
                poll.body_size_max,
                poll.known.puller.tags.clone(),
            ));
        }
        Ok(commands)
    }
}

fn with_peers(py: Python<'_>, inside: &Inside, polls: Vec<Poll>) -> Taken {
    let mut taken = Vec::with_capacity(polls.len());
    for poll in polls {
        if let Some(Some(peer)) = inside.peers.get(poll.connection as usize) {
            taken.push((peer.clone_ref(py), poll));
        }
    }
    taken
}
