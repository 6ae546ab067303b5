//! `rmqlog`'s walks over a store nobody has open, for `pyromq store`. Each goes on by steps without the
//! GIL, so that Python can show progress and be interrupted between them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use rmqlog::check_store::{self, RecordWalk, Report};
use rmqlog::crc_check;
use rmqlog::disk::{ReadOnlyDisk, RealDisk};
use rmqlog::rebuild::{self, Rebuild};
use rmqlog::Settings;

use crate::engine::translate;

const GONE: &str = "finished already";

type Progress = (u64, u64);

fn with<T, R>(part: &Mutex<Option<T>>, act: impl FnOnce(&mut T) -> R) -> PyResult<R> {
    let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
    let part = part.as_mut().ok_or_else(|| PyValueError::new_err(GONE))?;
    Ok(act(part))
}

fn settings(
    root: PathBuf,
    segment_size: u64,
    consume_queue_file_size: u64,
    index: (u32, u32, bool),
    delay_levels_ms: Vec<i64>,
) -> PyResult<Settings> {
    let settings = Settings {
        segment_size,
        consume_queue_file_size,
        index_slot_count: index.0,
        index_entry_count: index.1,
        index_enabled: index.2,
        delay_levels_ms,
        ..Settings::new(root)
    };
    match settings.problem() {
        Some(problem) => Err(PyValueError::new_err(problem)),
        None => Ok(settings),
    }
}

/// Compares log, queues and index.
#[pyclass(module = "pyromq._native", frozen)]
pub struct StoreCheck {
    part: Mutex<Option<check_store::StoreCheck>>,
}

#[pymethods]
impl StoreCheck {
    #[new]
    #[pyo3(signature = (*, root, segment_size, consume_queue_file_size, index_slot_count,
        index_entry_count, index_enabled, delay_levels_ms))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        segment_size: u64,
        consume_queue_file_size: u64,
        index_slot_count: u32,
        index_entry_count: u32,
        index_enabled: bool,
        delay_levels_ms: Vec<i64>,
    ) -> PyResult<Self> {
        let index = (index_slot_count, index_entry_count, index_enabled);
        let settings = settings(
            root,
            segment_size,
            consume_queue_file_size,
            index,
            delay_levels_ms,
        )?;
        let made = py.detach(|| check_store::StoreCheck::new(Arc::new(ReadOnlyDisk), &settings));
        let part = Mutex::new(Some(made.map_err(|error| translate(py, error))?));
        Ok(StoreCheck { part })
    }

    fn progress(&self) -> PyResult<Progress> {
        with(&self.part, |part| part.progress())
    }

    fn step(&self, py: Python<'_>, size: u64) -> PyResult<bool> {
        let done = py.detach(|| {
            with(&self.part, |part| {
                part.step(size).map(|()| !part.is_at_end())
            })
        })?;
        done.map_err(|error| translate(py, error))
    }

    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let taken = self
            .part
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let part = taken.ok_or_else(|| PyValueError::new_err(GONE))?;
        let report = py
            .detach(|| part.finish())
            .map_err(|error| translate(py, error))?;
        told(py, report)
    }
}

fn told(py: Python<'_>, report: Report) -> PyResult<Bound<'_, PyDict>> {
    let said = PyDict::new(py);
    let findings: Vec<_> = report
        .findings
        .into_iter()
        .map(|about| {
            (
                about.kind,
                about.path,
                about.at,
                about.size,
                about.what,
                about.queue,
                about.count,
            )
        })
        .collect();
    said.set_item("findings", findings)?;
    let regions: Vec<_> = report
        .regions
        .iter()
        .map(|region| (region.from, region.to, region.reason))
        .collect();
    said.set_item("regions", regions)?;
    let lost: Vec<_> = report
        .lost
        .into_iter()
        .map(|lost| {
            (
                lost.topic,
                lost.queue_id,
                lost.queue_offset,
                lost.log_offset,
            )
        })
        .collect();
    said.set_item("lost", lost)?;
    said.set_item("torn_tail", report.torn_tail)?;
    for (name, number) in [
        ("lost_count", report.lost_count),
        ("segment_count", report.segment_count),
        ("segment_size", report.segment_size),
        ("queue_file_size", report.queue_file_size),
        ("log_min", report.log_min),
        ("log_end", report.log_end),
        ("records", report.records),
        ("record_bytes", report.record_bytes),
        ("records_behind", report.records_behind),
        ("bytes_behind", report.bytes_behind),
    ] {
        said.set_item(name, number)?;
    }
    Ok(said)
}

/// The records of a log, as many as can be found.
#[pyclass(module = "pyromq._native", frozen)]
pub struct StoreRecords {
    part: Mutex<Option<RecordWalk>>,
}

#[pymethods]
impl StoreRecords {
    #[new]
    #[pyo3(signature = (*, root, segment_size, topic, from_ms, to_ms))]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        segment_size: u64,
        topic: Option<String>,
        from_ms: i64,
        to_ms: i64,
    ) -> PyResult<Self> {
        let topic = topic.map(String::into_bytes);
        let disk = Arc::new(ReadOnlyDisk);
        let made = RecordWalk::new(disk, &root, segment_size, topic, from_ms, to_ms);
        let part = Mutex::new(Some(made.map_err(|error| translate(py, error))?));
        Ok(StoreRecords { part })
    }

    fn progress(&self) -> PyResult<Progress> {
        with(&self.part, |part| part.progress())
    }

    fn step<'py>(&self, py: Python<'py>, size: u64) -> PyResult<Option<Vec<Bound<'py, PyBytes>>>> {
        let found = py.detach(|| {
            with(&self.part, |part| {
                if part.is_at_end() {
                    return Ok(None);
                }
                part.step(size).map(Some)
            })
        })?;
        let found = found.map_err(|error| translate(py, error))?;
        Ok(found.map(|records| {
            let bytes = records.iter().map(|record| PyBytes::new(py, record));
            bytes.collect()
        }))
    }

    fn skipped(&self) -> PyResult<(u64, u64, u64)> {
        with(&self.part, |part| part.skipped())
    }
}

/// Queues and index made anew from the log.
#[pyclass(module = "pyromq._native", frozen)]
pub struct StoreRebuild {
    part: Mutex<Option<Rebuild>>,
}

#[pymethods]
impl StoreRebuild {
    #[new]
    #[pyo3(signature = (*, root, segment_size, consume_queue_file_size, index_slot_count,
        index_entry_count, delay_levels_ms, out, queues, with_index))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        root: PathBuf,
        segment_size: u64,
        consume_queue_file_size: u64,
        index_slot_count: u32,
        index_entry_count: u32,
        delay_levels_ms: Vec<i64>,
        out: PathBuf,
        queues: Vec<(String, i32)>,
        with_index: bool,
    ) -> PyResult<Self> {
        let index = (index_slot_count, index_entry_count, with_index);
        let size = consume_queue_file_size;
        let settings = settings(root, segment_size, size, index, delay_levels_ms)?;
        let disk = Arc::new(RealDisk);
        let made = Rebuild::new(disk, &settings, out, &queues, size, with_index);
        let part = Mutex::new(Some(made.map_err(|error| translate(py, error))?));
        Ok(StoreRebuild { part })
    }

    fn progress(&self) -> PyResult<Progress> {
        with(&self.part, |part| part.progress())
    }

    fn step(&self, py: Python<'_>, size: u64) -> PyResult<bool> {
        let done = py.detach(|| {
            with(&self.part, |part| {
                part.step(size).map(|()| !part.is_at_end())
            })
        })?;
        done.map_err(|error| translate(py, error))
    }

    fn finish(&self, py: Python<'_>) -> PyResult<(u64, u32)> {
        let done = py.detach(|| with(&self.part, Rebuild::finish))?;
        done.map_err(|error| translate(py, error))
    }
}

/// Makes the log zero from a position on.
#[pyfunction]
pub fn clear_log_tail(
    py: Python<'_>,
    root: PathBuf,
    segment_size: u64,
    log_offset: u64,
) -> PyResult<()> {
    let dir = root.join("commitlog");
    py.detach(|| check_store::clear_tail(&RealDisk, &dir, segment_size, log_offset))
        .map_err(|error| translate(py, error))
}

/// Makes the checksums of all records in a new directory; answers how many there are.
#[pyfunction]
pub fn remake_record_crcs(
    py: Python<'_>,
    root: PathBuf,
    segment_size: u64,
    out: PathBuf,
) -> PyResult<u64> {
    py.detach(|| crc_check::rebuild(Arc::new(RealDisk), &root, segment_size, &out))
        .map_err(|error| translate(py, error))
}

/// Tells our marker which index file is the newest.
#[pyfunction]
pub fn note_newest_index(py: Python<'_>, root: PathBuf, name: u64, count: u32) -> PyResult<()> {
    rebuild::note_index(&RealDisk, &root, (name, count)).map_err(|error| translate(py, error))
}
