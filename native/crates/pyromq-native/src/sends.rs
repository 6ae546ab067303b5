//! Sends as typed requests, and the answers to them, over `rmqlane`'s readers and writers.
//!
//! Read is only what has the plain form; the answer of every other send is "not mine", and Python
//! reads its fields one by one.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};
use pyo3::IntoPyObjectExt;
use rmqlane::fields::{send_head, SEND, SEND_BATCH, SEND_V2};
use rmqlane::properties::ordinary;
use rmqlane::reply::{write_stored, Stored};
use rmqlane::terms::{Rendered, Terms};
use rmqwire::frame::SerializeType;
use rmqwire::header::{resolve, Header};

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;
const NAME_SLOTS: usize = 256;
const NAME_SIZE_MAX: usize = 64;

/// Names that came before (topics, groups) as Python text: the same few come with every message.
/// One name per slot, the newest stays: memory is bounded whatever peers send.
pub(crate) struct Names(Vec<Option<(Box<str>, Py<PyString>)>>);

impl Names {
    pub(crate) fn new() -> Self {
        Self(std::iter::repeat_with(|| None).take(NAME_SLOTS).collect())
    }

    fn text<'py>(&mut self, py: Python<'py>, name: &str) -> Bound<'py, PyString> {
        if name.len() > NAME_SIZE_MAX {
            return PyString::new(py, name);
        }
        let Some(place) = self.0.get_mut(slot_of(name.as_bytes())) else {
            return PyString::new(py, name);
        };
        if let Some((known, text)) = place {
            if **known == *name {
                return text.bind(py).clone();
            }
        }
        let text = PyString::new(py, name);
        *place = Some((name.into(), text.clone().unbind()));
        text
    }
}

/// By the size and the last eight bytes: names of one kind differ at their end.
fn slot_of(name: &[u8]) -> usize {
    let mut word = [0; 8];
    let end = &name[name.len().saturating_sub(8)..];
    word[..end.len()].copy_from_slice(end);
    let mixed = (u64::from_le_bytes(word) ^ name.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as usize
}

/// Fields of a send that only some sends need: `(group, default topic, its queues, resends)`.
struct Further<'t> {
    producer_group: &'t str,
    default_topic: &'t str,
    default_topic_queue_nums: i32,
    max_reconsume_times: Option<i32>,
}

impl<'t> Further<'t> {
    /// Of a header that `send_head` has read: each name stands once, and numbers are numbers.
    fn of(header: &'t Header<'_>, scratch: &'t str) -> Self {
        let names = if header.code == SEND {
            [
                "producerGroup",
                "defaultTopic",
                "defaultTopicQueueNums",
                "maxReconsumeTimes",
            ]
        } else {
            ["a", "c", "d", "l"]
        };
        let mut further = Self {
            producer_group: "",
            default_topic: "",
            default_topic_queue_nums: 0,
            max_reconsume_times: None,
        };
        for (name, value) in &header.ext {
            let name = resolve(name, scratch);
            let Some(place) = names.iter().position(|known| *known == name) else {
                continue;
            };
            let value = resolve(value, scratch);
            match place {
                0 => further.producer_group = value,
                1 => further.default_topic = value,
                2 => further.default_topic_queue_nums = value.parse().unwrap_or_default(),
                _ => further.max_reconsume_times = value.parse().ok(),
            }
        }
        further
    }
}

/// Whether the header is that of a request to store something.
pub(crate) fn is_send(header: &Header<'_>) -> bool {
    matches!(header.code, SEND | SEND_V2 | SEND_BATCH) && header.flag & FLAG_RESPONSE == 0
}

/// The request of a send as `send_type(…)`, its members in the order of `api.SendRequest`; None if
/// the header is no send's, or not a plain one.
pub(crate) fn request<'py>(
    py: Python<'py>,
    send_type: &Py<PyType>,
    header: &Header<'_>,
    scratch: &str,
    body: &Bound<'py, PyBytes>,
    names: &mut Names,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(head) = send_head(header, scratch) else {
        return Ok(None);
    };
    let fields = head.fields;
    let further = Further::of(header, scratch);
    let looked = ordinary(fields.properties);
    let found = looked.unwrap_or_default();
    let members = [
        names.text(py, fields.topic).into_any(),
        names.text(py, further.producer_group).into_any(),
        fields.queue_id.into_bound_py_any(py)?,
        body.clone().into_any(),
        PyString::new(py, fields.properties).into_any(),
        fields.flag.into_bound_py_any(py)?,
        fields.sys_flag.into_bound_py_any(py)?,
        fields.born_timestamp_ms.into_bound_py_any(py)?,
        fields.reconsume_times.into_bound_py_any(py)?,
        further.max_reconsume_times.into_bound_py_any(py)?,
        names.text(py, further.default_topic).into_any(),
        further.default_topic_queue_nums.into_bound_py_any(py)?,
        false.into_bound_py_any(py)?,
        (header.flag & FLAG_ONEWAY != 0).into_bound_py_any(py)?,
        fields.is_batch.into_bound_py_any(py)?,
        looked.is_some().into_bound_py_any(py)?,
        found.unique_key.into_bound_py_any(py)?,
        found.is_waived.into_bound_py_any(py)?,
    ];
    let members = PyTuple::new(py, members)?;
    send_type.bind(py).call1(members).map(Some)
}

/// Writes the answers to sends that were stored.
#[pyclass(frozen)]
pub struct SendAnswers {
    rendered: Rendered,
}

#[pymethods]
impl SendAnswers {
    #[new]
    fn new(id_prefix: String, marks: Vec<(String, String)>, version: i16) -> PyResult<Self> {
        let terms = Terms {
            accept_from_ms: 0,
            body_size_max: 0,
            properties_size_max: 0,
            refused_sys_flags: 0,
            suffix: String::new(),
            marks,
            id_prefix,
            version,
        };
        match Rendered::of(terms) {
            Some(rendered) => Ok(Self { rendered }),
            None => Err(PyValueError::new_err(
                "a mark is more than a header can carry",
            )),
        }
    }

    /// The whole frame.
    #[expect(clippy::too_many_arguments)]
    fn write<'py>(
        &self,
        py: Python<'py>,
        serialize_type: i32,
        opaque: i32,
        queue_id: i32,
        queue_offset: i64,
        log_offset: u64,
        unique_key: &str,
    ) -> Bound<'py, PyBytes> {
        let form = if serialize_type == 0 {
            SerializeType::Json
        } else {
            SerializeType::RocketMq
        };
        let stored = Stored {
            opaque,
            queue_id,
            queue_offset,
            log_offsets: &[log_offset],
            unique_key: (!unique_key.is_empty()).then_some(unique_key),
        };
        let mut out = Vec::with_capacity(512);
        write_stored(form, &self.rendered, &stored, &mut out);
        PyBytes::new(py, &out)
    }
}
