//! `rmqlane::Lane` as a Python class, between the frames of a connection and the engine.
//!
//! Keeps the GIL throughout: a call is short, and giving the GIL up costs more than most of them. The
//! lane's lock is never held while Python objects with references are made, as that may run
//! finalizers, and one of those might come here again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use rmqlane::lane::Promise;
use rmqlane::{Lane, Puller, Puts, Terms, Topic, Woken};
use rmqwire::frame::Limits;

use crate::engine::{translate, LogEngine};
use crate::feed::Fed;
use crate::frames::FrameReader;
use crate::polls::{GivenBack, PollsWoken, PullsDone};

/// How a turn ended in which only the lane had something to do. Something waits for its sync.
const UNSETTLED: u8 = 1;
/// Not at all: somebody in Python is needed for what follows from the write.
const UNENDED: u8 = 2;
/// Polls were answered of which Python is to be told.
const WOKEN: u8 = 4;

pub(crate) struct Inside {
    pub(crate) lane: Lane,
    /// The connections' Python objects, by number.
    pub(crate) peers: Vec<Option<Py<PyAny>>>,
    /// Answers of one call; kept for its memory.
    pub(crate) out: Vec<u8>,
    /// When this turn began, if something was taken in it.
    pub(crate) turn_ms: Option<i64>,
    /// What polls were woken by in turns that ended natively, until Python asks.
    pub(crate) woken: Woken,
}

/// One broker's express lane.
#[pyclass(frozen)]
pub struct ExpressLane {
    pub(crate) engine: Py<LogEngine>,
    pub(crate) reader: Py<FrameReader>,
    /// Has the turn ended soon, and tells the time.
    pub(crate) begin_turn: Py<PyAny>,
    pub(crate) limits: Limits,
    inside: Mutex<Inside>,
}

pub(crate) type Released<'py> = (Py<PyAny>, u32, u64, Bound<'py, PyBytes>);
type Rest<'py> = (Py<PyAny>, Bound<'py, PyBytes>);
type Put<'py> = (Bound<'py, PyString>, u64, u64, u64);
type Counts<'py> = (Vec<(u64, i64)>, Vec<Put<'py>>);
type Happened<'py> = (Vec<Released<'py>>, Vec<(u64, i64)>, Vec<Put<'py>>);

impl ExpressLane {
    pub(crate) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl ExpressLane {
    #[new]
    fn new(
        engine: Py<LogEngine>,
        reader: Py<FrameReader>,
        begin_turn: Py<PyAny>,
        frame_size_max: usize,
        header_size_max: usize,
        ext_fields_max: usize,
        version: i16,
    ) -> Self {
        let inside = Inside {
            lane: Lane::new(version),
            peers: Vec::new(),
            out: Vec::new(),
            turn_ms: None,
            woken: Woken::default(),
        };
        Self {
            engine,
            reader,
            begin_turn,
            limits: Limits {
                frame_size_max,
                header_size_max,
                ext_fields_max,
            },
            inside: Mutex::new(inside),
        }
    }

    /// What it refers to, for the collector: a broker that nobody needs any more refers back to it.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.engine)?;
        visit.call(&self.reader)?;
        visit.call(&self.begin_turn)?;
        if let Ok(inside) = self.inside.try_lock() {
            for peer in inside.peers.iter().flatten() {
                visit.call(peer)?;
            }
        }
        Ok(())
    }

    #[pyo3(signature = (
        *, accept_from_ms, body_size_max, properties_size_max, refused_sys_flags, suffix, marks,
        id_prefix, version
    ))]
    #[expect(clippy::too_many_arguments)]
    fn open(
        &self,
        accept_from_ms: i64,
        body_size_max: usize,
        properties_size_max: usize,
        refused_sys_flags: i32,
        suffix: String,
        marks: Vec<(String, String)>,
        id_prefix: String,
        version: i16,
    ) {
        let terms = Terms {
            accept_from_ms,
            body_size_max,
            properties_size_max,
            refused_sys_flags,
            suffix,
            marks,
            id_prefix,
            version,
        };
        self.inside().lane.set_terms(Some(terms));
    }

    fn close(&self) {
        self.inside().lane.set_terms(None);
    }

    fn put_topic(&self, name: &str, queue_count: i32, added_sys_flag: i32, may_batch: bool) {
        let topic = Topic {
            queue_count,
            added_sys_flag,
            may_batch,
        };
        self.inside().lane.put_topic(name, topic);
    }

    fn close_topic(&self, name: &str) {
        self.inside().lane.close_topic(name);
    }

    fn close_topics(&self) {
        self.inside().lane.close_topics();
    }

    #[pyo3(signature = (
        topic, group, text, *, pair, queue_count, tag_hashes, sub_version, message_count_max,
        body_size_max, topic_sys_flag, group_sys_flag, hold_min_ms, hold_max_ms
    ))]
    #[expect(clippy::too_many_arguments)]
    fn put_puller(
        &self,
        topic: &str,
        group: &str,
        text: Option<&str>,
        pair: u32,
        queue_count: i32,
        tag_hashes: Option<Vec<i32>>,
        sub_version: i64,
        message_count_max: usize,
        body_size_max: usize,
        topic_sys_flag: i32,
        group_sys_flag: i32,
        hold_min_ms: i64,
        hold_max_ms: i64,
    ) -> PyResult<()> {
        if hold_min_ms > hold_max_ms {
            let text = format!("a poll waits at least {hold_min_ms} ms, at most {hold_max_ms} ms");
            return Err(PyValueError::new_err(text));
        }
        let puller = Puller {
            pair,
            queue_count,
            tags: tag_hashes,
            sub_version,
            message_count_max,
            body_size_max,
            topic_sys_flag,
            group_sys_flag,
            hold_min_ms,
            hold_max_ms,
        };
        self.inside().lane.put_puller(topic, group, text, puller);
        Ok(())
    }

    fn close_pullers(&self) {
        self.inside().lane.close_pullers();
    }

    fn connect(&self, peer: Py<PyAny>, born_host: &[u8]) -> PyResult<u32> {
        if born_host.len() != 8 && born_host.len() != 20 {
            return Err(PyValueError::new_err("a host has 8 or 20 bytes"));
        }
        let mut inside = self.inside();
        let number = inside.lane.open_connection(born_host);
        let place = number as usize;
        if place >= inside.peers.len() {
            inside.peers.resize_with(place + 1, || None);
        }
        inside.peers[place] = Some(peer);
        Ok(number)
    }

    fn disconnect(&self, number: u32) {
        let mut inside = self.inside();
        let peer = inside.peers.get_mut(number as usize).and_then(Option::take);
        if peer.is_some() {
            inside.lane.close_connection(number);
        }
        drop(inside);
        drop(peer);
    }

    /// Sends of a connection that wait, and the bytes of their records.
    fn held(&self, number: u32) -> (usize, u64) {
        self.inside().lane.connections().held(number)
    }

    #[pyo3(signature = (number, socket))]
    fn set_direct(&self, number: u32, socket: Option<i32>) {
        self.inside().lane.connections().set_direct(number, socket);
    }

    fn take_out<'py>(&self, py: Python<'py>, number: u32) -> Option<Bound<'py, PyBytes>> {
        let mut inside = self.inside();
        let connections = inside.lane.connections();
        connections.take_out(number, |out| PyBytes::new(py, out))
    }

    /// Replies that go straight to their sockets; what a socket did not take is answered.
    fn write_direct<'py>(&self, py: Python<'py>) -> Option<Vec<Rest<'py>>> {
        let mut inside = self.inside();
        let Inside { lane, peers, .. } = &mut *inside;
        let mut left = Vec::new();
        lane.connections().write_direct(send, |number, rest| {
            if let Some(Some(peer)) = peers.get(number as usize) {
                left.push((peer.clone_ref(py), PyBytes::new(py, rest)));
            }
        });
        (!left.is_empty()).then_some(left)
    }

    /// See [`ExpressLane::feed_chunk`].
    fn feed<'py>(
        &self,
        number: u32,
        data: &Bound<'py, PyAny>,
        start: usize,
        now_ms: i64,
        room: usize,
        unsent_room: usize,
    ) -> PyResult<Fed<'py>> {
        self.feed_chunk(number, data, start, now_ms, room, unsent_room)
    }

    fn held_count(&self) -> usize {
        self.inside().lane.held_count()
    }

    fn oldest_ms(&self) -> Option<i64> {
        self.inside().lane.oldest_ms()
    }

    /// Sends that a connection has got onto the lane.
    fn taken(&self, number: u32) -> u64 {
        self.inside().lane.connections().taken(number)
    }

    /// Sends that all have got onto the lane since the start.
    fn taken_by_all(&self) -> u64 {
        self.inside().lane.connections().taken_by_all()
    }

    fn mark(&self, monotonic_ms: i64) {
        let mut inside = self.inside();
        inside.turn_ms = None;
        inside.lane.mark(monotonic_ms);
    }

    fn release<'py>(
        &self,
        py: Python<'py>,
        written: u64,
        commit: u64,
        monotonic_ms: i64,
    ) -> Option<Happened<'py>> {
        let mut inside = self.inside();
        inside.lane.release(written, commit, monotonic_ms);
        inside.happened(py)
    }

    /// Writes the log, lets go of what it covers and writes the replies to their sockets, if that is
    /// all there is to do. What is counted is kept for [`ExpressLane::release`].
    fn end_turn(&self, py: Python<'_>, monotonic_ms: i64) -> PyResult<u8> {
        self.mark(monotonic_ms);
        let ended = self.engine.get().engine().end_turn();
        let (positions, is_well) = ended.map_err(|error| translate(py, error))?;
        if !is_well {
            return Ok(UNENDED);
        }
        let mut inside = self.inside();
        let lane = &mut inside.lane;
        lane.release(positions.written, positions.commit, monotonic_ms);
        let mut ended = if positions.commit == positions.appended {
            0
        } else {
            UNSETTLED
        };
        let woken = lane.wake(self.engine.get().engine(), monotonic_ms);
        let are_all_direct = lane.connections().are_all_direct();
        inside.woken.add(woken);
        if !inside.woken.answered.is_empty() {
            ended |= WOKEN;
        }
        if !are_all_direct || inside.woken.concerns_others() {
            return Ok(ended | UNENDED);
        }
        let lane = &mut inside.lane;
        lane.take_ready(|_, _, _, _| ());
        drop(inside);
        for (peer, rest) in self.write_direct(py).into_iter().flatten() {
            peer.call_method1(py, "write", (rest,))?;
        }
        Ok(ended)
    }

    /// What was counted since it was asked last, as [`ExpressLane::release`] tells it.
    fn take_counts<'py>(&self, py: Python<'py>) -> Counts<'py> {
        self.inside().counts(py)
    }

    fn fail_written_beyond(&self, position: u64, code: i16, remark: &str) {
        let mut inside = self.inside();
        let promise = Promise::Written;
        inside.lane.fail_beyond(promise, position, code, remark);
    }

    fn fail_committed_beyond(&self, position: u64, code: i16, remark: &str) {
        let mut inside = self.inside();
        let promise = Promise::Committed;
        inside.lane.fail_beyond(promise, position, code, remark);
    }

    fn expire<'py>(
        &self,
        py: Python<'py>,
        monotonic_ms: i64,
        timeout_ms: i64,
        code: i16,
    ) -> Option<Happened<'py>> {
        let mut inside = self.inside();
        inside.lane.expire(monotonic_ms, timeout_ms, code);
        inside.happened(py)
    }

    // Long polls: what each of these does is in `polls.rs`.

    fn poll_count(&self) -> usize {
        self.inside().lane.poll_count()
    }

    fn poll_count_of(&self, number: u32) -> usize {
        self.inside().lane.poll_count_of(number)
    }

    fn looked_at_count(&self) -> u64 {
        self.inside().lane.looked_at
    }

    fn limit_polls(&self, room: usize, connection_room: usize) {
        self.inside().lane.limit_polls(room, connection_room);
    }

    fn limit_polls_of(&self, number: u32, room: usize) {
        self.inside().lane.limit_polls_of(number, Some(room));
    }

    fn watch(&self, topic: &str, is_watched: bool) {
        self.inside().lane.watch(topic, is_watched);
    }

    fn begin_waits(&self, monotonic_ms: i64) {
        self.inside().lane.begin_waits(monotonic_ms);
    }

    fn wake<'py>(&self, py: Python<'py>, monotonic_ms: i64) -> PyResult<Option<PollsWoken<'py>>> {
        self.wake_polls(py, monotonic_ms)
    }

    fn take_woken(&self) -> Vec<PullsDone> {
        self.take_woken_rows()
    }

    fn end_waits<'py>(
        &self,
        py: Python<'py>,
        monotonic_ms: i64,
    ) -> PyResult<Option<PollsWoken<'py>>> {
        self.end_polls(py, monotonic_ms)
    }

    fn refuse_polls(&self, code: i16, remark: &str) {
        self.inside().lane.refuse_polls(code, remark);
    }

    fn take_polls_of_topic<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
    ) -> PyResult<Vec<GivenBack<'py>>> {
        self.give_back(py, |lane| lane.take_polls_of_topic(topic))
    }

    fn take_polls_of_groups<'py>(
        &self,
        py: Python<'py>,
        groups: Vec<String>,
    ) -> PyResult<Vec<GivenBack<'py>>> {
        self.give_back(py, |lane| lane.take_polls_of_groups(&groups))
    }
}

/// Writes to a socket, without waiting; how many bytes went. What failed is left to who writes next.
pub(crate) fn send(socket: i32, bytes: &[u8]) -> usize {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length are those of a slice that outlives the call.
    let count = unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(count).unwrap_or(0)
}

impl Inside {
    /// Replies, waits and puts since the last call. What is made here cannot run finalizers; the lists
    /// and tuples around it are made after the lock is given back.
    fn happened<'py>(&mut self, py: Python<'py>) -> Option<Happened<'py>> {
        let replies = self.ready(py);
        let (acknowledged, puts) = self.counts(py);
        let is_nothing = replies.is_empty() && acknowledged.is_empty() && puts.is_empty();
        (!is_nothing).then_some((replies, acknowledged, puts))
    }

    /// Replies since the last call that somebody in Python has to take.
    pub(crate) fn ready<'py>(&mut self, py: Python<'py>) -> Vec<Released<'py>> {
        let Inside { lane, peers, .. } = self;
        let mut replies = Vec::new();
        lane.take_ready(|number, count, size, out| {
            if let Some(Some(peer)) = peers.get(number as usize) {
                replies.push((peer.clone_ref(py), count, size, PyBytes::new(py, out)));
            }
        });
        replies
    }

    fn counts<'py>(&mut self, py: Python<'py>) -> Counts<'py> {
        let acknowledged = self.lane.take_acknowledged();
        let put = |(topic, puts): (Arc<str>, Puts)| {
            let topic = PyString::new(py, &topic);
            (topic, puts.messages, puts.bytes, puts.requests)
        };
        let puts = self.lane.take_puts().into_iter().map(put).collect();
        (acknowledged, puts)
    }
}
