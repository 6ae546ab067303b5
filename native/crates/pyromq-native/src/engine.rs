//! `rmqlog::Engine` as a Python class. Thin: arguments in, the named tuples of `pyromq.store.engine`
//! out, errors by their class.
//!
//! Appends, writes and reads keep the GIL: they are short, and giving it up costs more than they do.
//! Where writes are not short the store's own thread does them, which has no part in the GIL.
//! Opening and closing may wait for disks and let go of it.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyTuple, PyType};
use rmqlog::read::{Boundary, ReadStatus};
use rmqlog::record::Message;
use rmqlog::{Appended, Engine, Settings, StoreError};

use crate::disk;

static STORE_FAILED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static STORE_BUSY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static MESSAGE_ILLEGAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static STORE_DAMAGED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static OCCUPIED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static STORE_REBUILDING: PyOnceLock<Py<PyType>> = PyOnceLock::new();

pub(crate) fn translate(py: Python<'_>, error: StoreError) -> PyErr {
    let (cell, name, text) = match error {
        StoreError::Failed(text) => (&STORE_FAILED, "StoreFailed", text),
        StoreError::Busy(text) => (&STORE_BUSY, "StoreBusy", text),
        StoreError::Illegal(text) => (&MESSAGE_ILLEGAL, "MessageIllegal", text),
        StoreError::Damaged(text) => (&STORE_DAMAGED, "StoreDamaged", text),
        StoreError::Occupied(text) => (&OCCUPIED, "Occupied", text),
        StoreError::Rebuilding(text) => (&STORE_REBUILDING, "StoreRebuilding", text),
    };
    match cell.import(py, "pyromq.errors", name) {
        Ok(class) => PyErr::from_type(class.clone(), text),
        Err(missing) => missing,
    }
}

/// The classes of `pyromq.store.engine`, looked up once.
struct Names {
    appended: Py<PyAny>,
    arrival: Py<PyAny>,
    damage: Py<PyAny>,
    key_query: Py<PyAny>,
    log_segment: Py<PyAny>,
    positions: Py<PyAny>,
    queue_range: Py<PyAny>,
    queue_read: Py<PyAny>,
    rebuild: Py<PyAny>,
    removals: Py<PyAny>,
    /// By the number of a `ReadStatus` here.
    statuses: Vec<Py<PyAny>>,
    /// `tuple.__new__`: makes a named tuple without running Python code.
    tuple_new: Py<PyAny>,
}

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

const STATUSES: [(ReadStatus, &str); 6] = [
    (ReadStatus::Found, "FOUND"),
    (ReadStatus::NoMatchedMessage, "NO_MATCHED_MESSAGE"),
    (ReadStatus::NoMessageInQueue, "NO_MESSAGE_IN_QUEUE"),
    (ReadStatus::OffsetOverflowOne, "OFFSET_OVERFLOW_ONE"),
    (ReadStatus::OffsetOverflowBadly, "OFFSET_OVERFLOW_BADLY"),
    (ReadStatus::OffsetTooSmall, "OFFSET_TOO_SMALL"),
];

impl Names {
    fn get(py: Python<'_>) -> PyResult<&Names> {
        NAMES.get_or_try_init(py, || {
            let module = py.import("pyromq.store.engine")?;
            let name = |name: &str| -> PyResult<Py<PyAny>> { Ok(module.getattr(name)?.unbind()) };
            let status = module.getattr("ReadStatus")?;
            let statuses: PyResult<Vec<Py<PyAny>>> = STATUSES
                .iter()
                .map(|(_, name)| Ok(status.getattr(*name)?.unbind()))
                .collect();
            Ok(Names {
                appended: name("Appended")?,
                arrival: name("Arrival")?,
                damage: name("Damage")?,
                key_query: name("KeyQuery")?,
                log_segment: name("LogSegment")?,
                positions: name("Positions")?,
                queue_range: name("QueueRange")?,
                queue_read: name("QueueRead")?,
                rebuild: name("Rebuild")?,
                removals: name("Removals")?,
                statuses: statuses?,
                tuple_new: py.get_type::<PyTuple>().getattr("__new__")?.unbind(),
            })
        })
    }

    /// The named tuple `class` with these values.
    fn make<'py, T>(
        &self,
        py: Python<'py>,
        class: &Py<PyAny>,
        values: T,
    ) -> PyResult<Bound<'py, PyAny>>
    where
        T: IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error = PyErr>,
    {
        let values = values.into_pyobject(py)?;
        self.tuple_new.bind(py).call1((class, values))
    }

    fn appended<'py>(&self, py: Python<'py>, place: &Appended) -> PyResult<Bound<'py, PyAny>> {
        let values = (
            place.queue_offset,
            place.log_offset,
            place.end,
            place.store_timestamp_ms,
        );
        self.make(py, &self.appended, values)
    }

    fn status(&self, status: ReadStatus) -> &Py<PyAny> {
        let number = STATUSES.iter().position(|(known, _)| *known == status);
        &self.statuses[number.unwrap_or(0)]
    }
}

/// Bytes of a `bytes` object directly, of any other buffer by its own rules.
enum Octets<'py> {
    Bytes(Bound<'py, PyBytes>),
    Copied(Vec<u8>),
}

impl<'py> Octets<'py> {
    fn take(value: &Bound<'py, PyAny>) -> PyResult<Octets<'py>> {
        if let Ok(bytes) = value.cast::<PyBytes>() {
            return Ok(Octets::Bytes(bytes.clone()));
        }
        Ok(Octets::Copied(
            PyBuffer::<u8>::get(value)?.to_vec(value.py())?,
        ))
    }

    fn get(&self) -> &[u8] {
        match self {
            Octets::Bytes(bytes) => bytes.as_bytes(),
            Octets::Copied(bytes) => bytes,
        }
    }
}

/// One open store.
#[pyclass(frozen, subclass)]
pub struct LogEngine {
    engine: Engine,
}

impl LogEngine {
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Logs what reads found damaged; each place is told once.
    fn tell_damage(&self, py: Python<'_>) -> PyResult<()> {
        for text in self.engine.take_damage_news() {
            py.import("logging")?
                .call_method1("getLogger", ("pyromq.store.native",))?
                .call_method1("error", ("store: %s", text))?;
        }
        Ok(())
    }
}

#[pymethods]
impl LogEngine {
    #[new]
    #[pyo3(signature = (
        *, root, store_host, sync_flush, segment_size, consume_queue_file_size, index_slot_count,
        index_entry_count, index_enabled, flush_interval_ms, flush_interval_consume_queue_ms,
        message_size_max, reserve_ahead, write_busy_ms, slow_write_ms, delay_levels_ms,
        rebuild_in_background
    ))]
    #[expect(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        store_host: Vec<u8>,
        sync_flush: bool,
        segment_size: u64,
        consume_queue_file_size: u64,
        index_slot_count: u32,
        index_entry_count: u32,
        index_enabled: bool,
        flush_interval_ms: u64,
        flush_interval_consume_queue_ms: u64,
        message_size_max: usize,
        reserve_ahead: u64,
        write_busy_ms: u64,
        slow_write_ms: u64,
        delay_levels_ms: Vec<i64>,
        rebuild_in_background: bool,
    ) -> PyResult<LogEngine> {
        let settings = Settings {
            root,
            store_host,
            sync_flush,
            segment_size,
            consume_queue_file_size,
            index_slot_count,
            index_entry_count,
            index_enabled,
            flush_interval_ms,
            flush_interval_consume_queue_ms,
            message_size_max,
            reserve_ahead,
            write_busy_ms,
            slow_write_ms,
            delay_levels_ms,
            rebuild_in_background,
        };
        if let Some(problem) = settings.problem() {
            return Err(PyValueError::new_err(problem));
        }
        let opened = py.detach(|| Engine::open(disk::disk(), settings));
        #[cfg(feature = "failpoints")]
        disk::enter(disk::Phase::Run);
        match opened {
            Ok(engine) => Ok(LogEngine { engine }),
            Err(error) => Err(translate(py, error)),
        }
    }

    #[pyo3(signature = (
        topic, queue_id, body, properties, flag, sys_flag, born_timestamp_ms, born_host,
        reconsume_times, prepared_transaction_offset, now_ms
    ))]
    #[expect(clippy::too_many_arguments)]
    fn append<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        queue_id: i32,
        body: &Bound<'py, PyAny>,
        properties: &[u8],
        flag: i32,
        sys_flag: i32,
        born_timestamp_ms: i64,
        born_host: &[u8],
        reconsume_times: i32,
        prepared_transaction_offset: i64,
        now_ms: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let body = Octets::take(body)?;
        let message = Message {
            topic: topic.as_bytes(),
            queue_id,
            body: body.get(),
            properties,
            flag,
            sys_flag,
            born_timestamp_ms,
            born_host,
            reconsume_times,
            prepared_transaction_offset,
        };
        match self.engine.append(topic, &message, now_ms) {
            Ok(place) => Names::get(py)?.appended(py, &place),
            Err(error) => Err(translate(py, error)),
        }
    }

    #[pyo3(signature = (
        topic, queue_id, batch, *, sys_flag, born_timestamp_ms, born_host, reconsume_times, now_ms
    ))]
    #[expect(clippy::too_many_arguments)]
    fn append_batch<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        queue_id: i32,
        batch: &Bound<'py, PyAny>,
        sys_flag: i32,
        born_timestamp_ms: i64,
        born_host: &[u8],
        reconsume_times: i32,
        now_ms: i64,
    ) -> PyResult<(Bound<'py, PyAny>, Vec<u64>)> {
        let batch = Octets::take(batch)?;
        let message = Message {
            topic: topic.as_bytes(),
            queue_id,
            body: b"",
            properties: b"",
            flag: 0,
            sys_flag,
            born_timestamp_ms,
            born_host,
            reconsume_times,
            prepared_transaction_offset: 0,
        };
        match self
            .engine
            .append_batch(topic, batch.get(), &message, now_ms)
        {
            Ok((place, offsets)) => Ok((Names::get(py)?.appended(py, &place)?, offsets)),
            Err(error) => Err(translate(py, error)),
        }
    }

    fn write(&self, py: Python<'_>) -> PyResult<()> {
        self.engine.write().map_err(|error| translate(py, error))
    }

    fn positions<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let now = self.engine.positions();
        let names = Names::get(py)?;
        names.make(
            py,
            &names.positions,
            (now.appended, now.written, now.flushed, now.commit),
        )
    }

    fn damage<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (count, holes) = self.engine.damage();
        let holes: Vec<(u64, u64)> = holes.iter().map(|hole| (hole.from, hole.to)).collect();
        let names = Names::get(py)?;
        names.make(py, &names.damage, (count, holes))
    }

    fn failure(&self) -> Option<String> {
        self.engine.failure()
    }

    /// Becomes readable when the flusher or the writer has news.
    fn descriptor(&self) -> RawFd {
        self.engine.descriptor()
    }

    fn collect(&self) {
        self.engine.collect();
    }

    fn take_arrivals<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let names = Names::get(py)?;
        let arrivals = self.engine.take_arrivals();
        arrivals
            .iter()
            .map(|(topic, id, max)| names.make(py, &names.arrival, (&**topic, id, max)))
            .collect()
    }

    #[pyo3(signature = (
        topic, queue_id, queue_offset, *, message_count_max, body_size_max, tag_hashes
    ))]
    #[expect(clippy::too_many_arguments)]
    fn read<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        message_count_max: usize,
        body_size_max: usize,
        tag_hashes: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let tags = tag_hashes.map(tags_of).transpose()?;
        let mut plan = self
            .engine
            .plan_read(
                topic,
                queue_id,
                queue_offset,
                message_count_max,
                body_size_max,
                tags.as_deref(),
            )
            .map_err(|error| translate(py, error))?;
        if plan.has_news {
            self.tell_damage(py)?;
        }
        let body = loop {
            let mut damaged = Vec::new();
            let body = PyBytes::new_with(py, plan.size, |out| {
                damaged = self
                    .engine
                    .copy(&plan, out)
                    .map_err(|error| translate(py, error))?;
                Ok(())
            })?;
            if damaged.is_empty() {
                break body;
            }
            plan.pass_over(&damaged);
            self.tell_damage(py)?;
        };
        let names = Names::get(py)?;
        let values = (
            names.status(plan.status),
            plan.next_offset,
            plan.min_offset,
            plan.max_offset,
            plan.records.len(),
            body,
        );
        names.make(py, &names.queue_read, values)
    }

    fn queue_range<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        queue_id: i32,
    ) -> PyResult<Bound<'py, PyAny>> {
        let names = Names::get(py)?;
        let range = self
            .engine
            .whole_queue_range(topic, queue_id)
            .map_err(|error| translate(py, error))?;
        names.make(py, &names.queue_range, range)
    }

    fn queue_ids(&self, topic: &str) -> Vec<i32> {
        self.engine.queue_ids(topic)
    }

    fn record_at<'py>(
        &self,
        py: Python<'py>,
        log_offset: i64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let record = self
            .engine
            .record_at(log_offset)
            .map_err(|error| translate(py, error))?;
        Ok(record.map(|bytes| PyBytes::new(py, &bytes)))
    }

    fn store_time(
        &self,
        py: Python<'_>,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
    ) -> PyResult<i64> {
        let time = self.engine.store_time(topic, queue_id, queue_offset);
        time.map_err(|error| translate(py, error))
    }

    fn offset_by_time(
        &self,
        py: Python<'_>,
        topic: &str,
        queue_id: i32,
        timestamp_ms: i64,
        boundary: &Bound<'_, PyAny>,
    ) -> PyResult<i64> {
        let is_upper = boundary.getattr("name")?.extract::<String>()? == "UPPER";
        let boundary = if is_upper {
            Boundary::Upper
        } else {
            Boundary::Lower
        };
        let offset = self
            .engine
            .offset_by_time(topic, queue_id, timestamp_ms, boundary);
        offset.map_err(|error| translate(py, error))
    }

    #[pyo3(signature = (topic, key, *, count_max, begin_ms, end_ms))]
    fn query_key<'py>(
        &self,
        py: Python<'py>,
        topic: &str,
        key: &str,
        count_max: usize,
        begin_ms: i64,
        end_ms: i64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (records, timestamp_ms, log_offset) = self
            .engine
            .query_key(topic, key, count_max, begin_ms, end_ms)
            .map_err(|error| translate(py, error))?;
        let records: Vec<Bound<'py, PyBytes>> = records
            .iter()
            .map(|record| PyBytes::new(py, record))
            .collect();
        let names = Names::get(py)?;
        names.make(py, &names.key_query, (records, timestamp_ms, log_offset))
    }

    fn drop_topic(&self, py: Python<'_>, topic: &str) -> PyResult<()> {
        self.engine
            .drop_topic(topic)
            .map_err(|error| translate(py, error))
    }

    fn log_min(&self) -> u64 {
        self.engine.log_min()
    }

    fn oldest_segment<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let oldest = self
            .engine
            .oldest_segment()
            .map_err(|error| translate(py, error))?;
        let Some(oldest) = oldest else {
            return Ok(None);
        };
        let names = Names::get(py)?;
        let values = (oldest.log_offset, oldest.end, oldest.modified_ms);
        names.make(py, &names.log_segment, values).map(Some)
    }

    fn remove_segment(&self, py: Python<'_>, log_offset: u64) -> PyResult<bool> {
        self.engine
            .remove_segment(log_offset)
            .map_err(|error| translate(py, error))
    }

    fn remove_derived(&self, pause_ms: u64) {
        self.engine.remove_derived(Duration::from_millis(pause_ms));
    }

    fn removals_left<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let names = Names::get(py)?;
        names.make(py, &names.removals, self.engine.removals_left())
    }

    #[pyo3(signature = (end, reason))]
    fn limit_appends(&self, end: u64, reason: Option<String>) {
        self.engine.limit_appends(end, reason);
    }

    fn rebuild<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let names = Names::get(py)?;
        let status = self.engine.rebuild_status();
        let values = (
            status.done,
            status.size,
            status.queue_count,
            status.has_queues,
            status.has_index,
            status.failure,
        );
        names.make(py, &names.rebuild, values)
    }

    /// What the start found and mended.
    fn notes(&self) -> Vec<String> {
        self.engine.notes().to_vec()
    }

    /// Why queue units or index entries could not be written last time, if so.
    fn persist_failure(&self) -> Option<String> {
        self.engine.persist_failure()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        #[cfg(feature = "failpoints")]
        disk::enter(disk::Phase::Stop);
        py.detach(|| self.engine.close())
            .map_err(|error| translate(py, error))
    }
}

fn tags_of(hashes: &Bound<'_, PyAny>) -> PyResult<Vec<i32>> {
    hashes
        .try_iter()?
        .map(|hash| Ok(hash?.extract::<i64>()? as i32))
        .collect()
}
