//! Headers, batches and records as Python values and back, over `rmqwire`; frames are in `frames`.
//!
//! Every function answers only what the plain forms hold; for everything else it answers "not
//! mine" and `pyromq.wire.remoting.native` asks the Python reference, which also words the errors.

use pyo3::buffer::PyBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple, PyType};
use pyo3::IntoPyObjectExt;
use rmqwire::encode::{write_number, write_sized, write_string};
use rmqwire::{batch, header, record};

/// What the caller handed over, kept alive and readable for one call.
pub(crate) enum Input<'py> {
    Bytes(Bound<'py, PyBytes>),
    Buffer(PyBuffer<u8>),
}

impl<'py> Input<'py> {
    pub(crate) fn of(data: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = data.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.clone()));
        }
        let buffer = PyBuffer::get(data)?;
        if !buffer.is_c_contiguous() {
            let text = "the buffer must be contiguous";
            return Err(pyo3::exceptions::PyBufferError::new_err(text));
        }
        Ok(Self::Buffer(buffer))
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            // SAFETY: the export pins the memory, so pointer and length stay valid while `self`
            // lives. The only writer of these buffers is the thread that reads the socket into
            // them, and that thread is in this call, holding the GIL.
            Self::Buffer(buffer) => unsafe {
                if buffer.len_bytes() == 0 {
                    return &[];
                }
                std::slice::from_raw_parts(buffer.buf_ptr().cast::<u8>(), buffer.len_bytes())
            },
        }
    }
}

/// Prefix and header of a command's frame; None if the reference must judge it.
#[pyfunction]
pub fn encode_head<'py>(command: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = command.py();
    let serialize_type: i32 = command.getattr(intern!(py, "serialize_type"))?.extract()?;
    let language: usize = command.getattr(intern!(py, "language"))?.extract()?;
    let ext = command.getattr(intern!(py, "ext"))?;
    let remark = command.getattr(intern!(py, "remark"))?;
    let body = command.getattr(intern!(py, "body"))?;
    let number = |name: &Bound<'py, PyString>| command.getattr(name)?.extract::<i32>();
    let head = Head {
        code: number(intern!(py, "code"))?,
        language,
        version: number(intern!(py, "version"))?,
        opaque: number(intern!(py, "opaque"))?,
        flag: number(intern!(py, "flag"))?,
        ext: ext.cast::<PyDict>()?,
        remark: if remark.is_none() {
            None
        } else {
            Some(remark.cast::<PyString>()?.to_str()?)
        },
    };
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(&[0; PREFIX_SIZE]);
    let is_written = match serialize_type {
        0 => head.write_json(&mut out)?,
        1 => head.write_binary(&mut out)?,
        _ => None,
    };
    let header_size = out.len() - PREFIX_SIZE;
    let length = i32::try_from(4 + header_size + body.len()?).ok();
    let (Some(()), Some(length), true) = (is_written, length, header_size < 1 << 24) else {
        return Ok(None);
    };
    let word = serialize_type << 24 | header_size as i32;
    if let Some(prefix) = out.first_chunk_mut::<PREFIX_SIZE>() {
        prefix[..4].copy_from_slice(&length.to_be_bytes());
        prefix[4..].copy_from_slice(&word.to_be_bytes());
    }
    Ok(Some(PyBytes::new(py, &out)))
}

const PREFIX_SIZE: usize = 8;

/// A header to be written.
struct Head<'a, 'py> {
    code: i32,
    language: usize,
    version: i32,
    opaque: i32,
    flag: i32,
    ext: &'a Bound<'py, PyDict>,
    remark: Option<&'a str>,
}

impl Head<'_, '_> {
    fn write_json(&self, out: &mut Vec<u8>) -> PyResult<Option<()>> {
        let Some(language) = header::LANGUAGES.get(self.language) else {
            return Ok(None);
        };
        out.extend_from_slice(b"{\"code\":");
        write_number(out, self.code.into());
        if !self.ext.is_empty() {
            let mut between = &b",\"extFields\":{"[..];
            for (name, value) in self.ext.iter() {
                out.extend_from_slice(between);
                between = b",";
                write_string(out, name.cast::<PyString>()?.to_str()?);
                out.push(b':');
                write_string(out, value.cast::<PyString>()?.to_str()?);
            }
            out.push(b'}');
        }
        out.extend_from_slice(b",\"flag\":");
        write_number(out, self.flag.into());
        out.extend_from_slice(b",\"language\":\"");
        out.extend_from_slice(language.as_bytes());
        out.extend_from_slice(b"\",\"opaque\":");
        write_number(out, self.opaque.into());
        if let Some(remark) = self.remark {
            out.extend_from_slice(b",\"remark\":");
            write_string(out, remark);
        }
        out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
        write_number(out, self.version.into());
        out.push(b'}');
        Ok(Some(()))
    }

    fn write_binary(&self, out: &mut Vec<u8>) -> PyResult<Option<()>> {
        let (Ok(code), Ok(language), Ok(version)) = (
            i16::try_from(self.code),
            i8::try_from(self.language),
            i16::try_from(self.version),
        ) else {
            return Ok(None);
        };
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&language.to_be_bytes());
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&self.opaque.to_be_bytes());
        out.extend_from_slice(&self.flag.to_be_bytes());
        let Some(()) = write_sized(out, self.remark.unwrap_or_default()) else {
            return Ok(None);
        };
        let ext_at = out.len();
        out.extend_from_slice(&[0; 4]);
        for (name, value) in self.ext.iter() {
            let name = name.cast::<PyString>()?.to_str()?;
            let Ok(name_size) = i16::try_from(name.len()) else {
                return Ok(None);
            };
            out.extend_from_slice(&name_size.to_be_bytes());
            out.extend_from_slice(name.as_bytes());
            let Some(()) = write_sized(out, value.cast::<PyString>()?.to_str()?) else {
                return Ok(None);
            };
        }
        let Ok(ext_size) = i32::try_from(out.len() - ext_at - 4) else {
            return Ok(None);
        };
        if let Some(place) = out.get_mut(ext_at..ext_at + 4) {
            place.copy_from_slice(&ext_size.to_be_bytes());
        }
        Ok(Some(()))
    }
}

/// Writes typed headers of one type as text fields.
#[pyclass(frozen)]
pub struct FieldWriter {
    fields: Vec<(Py<PyString>, Py<PyString>)>,
    true_text: Py<PyString>,
    false_text: Py<PyString>,
}

#[pymethods]
impl FieldWriter {
    /// `fields`: name on the wire and attribute, in the order to be written.
    #[new]
    fn new(py: Python<'_>, fields: Vec<(String, String)>) -> Self {
        let interned = |text: &str| PyString::intern(py, text).unbind();
        Self {
            fields: fields
                .iter()
                .map(|(name, attribute)| (interned(name), interned(attribute)))
                .collect(),
            true_text: interned("true"),
            false_text: interned("false"),
        }
    }

    /// The fields that are not None; None instead of a dictionary if the reference must judge.
    fn write<'py>(&self, header: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let py = header.py();
        let ext = PyDict::new(py);
        for (name, attribute) in &self.fields {
            let value = header.getattr(attribute.bind(py))?;
            if value.is_none() {
                continue;
            }
            let name = name.bind(py);
            if let Ok(text) = value.cast::<PyString>() {
                ext.set_item(name, text)?;
            } else if let Ok(truth) = value.cast::<PyBool>() {
                let text = if truth.is_true() {
                    &self.true_text
                } else {
                    &self.false_text
                };
                ext.set_item(name, text.bind(py))?;
            } else if let Ok(number) = value.cast_exact::<PyInt>() {
                let Ok(number) = number.extract::<i64>() else {
                    return Ok(None);
                };
                let mut digits = Vec::with_capacity(20);
                write_number(&mut digits, number);
                ext.set_item(name, std::str::from_utf8(&digits).unwrap_or_default())?;
            } else {
                return Ok(None);
            }
        }
        Ok(Some(ext))
    }
}

/// All messages of a batch body as `item_type(flag, body, properties)`; None if it is not whole.
#[pyfunction]
pub fn decode_batch<'py>(
    data: &Bound<'py, PyAny>,
    item_type: &Bound<'py, PyType>,
    count_max: usize,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let py = data.py();
    let input = Input::of(data)?;
    let Some(found) = batch::items(input.as_slice(), count_max) else {
        return Ok(None);
    };
    let items = PyList::empty(py);
    for item in found {
        let body = PyBytes::new(py, item.body);
        let properties = PyBytes::new(py, item.properties);
        items.append(item_type.call1((item.flag, body, properties))?)?;
    }
    Ok(Some(items))
}

/// Records one after another as `record_type(…)`, its members in the order of `wire.record.Record`;
/// None if they do not fill `data` exactly.
#[pyfunction]
pub fn decode_records<'py>(
    data: &Bound<'py, PyAny>,
    record_type: &Bound<'py, PyType>,
) -> PyResult<Option<Bound<'py, PyList>>> {
    let py = data.py();
    let input = Input::of(data)?;
    let bytes = input.as_slice();
    let records = PyList::empty(py);
    let mut at = 0;
    while at < bytes.len() {
        let Some((found, end)) = record::record_at(bytes, at) else {
            return Ok(None);
        };
        let Ok(topic) = std::str::from_utf8(found.topic) else {
            return Ok(None);
        };
        let members = [
            topic.into_bound_py_any(py)?,
            PyBytes::new(py, found.body).into_any(),
            found.queue_id.into_bound_py_any(py)?,
            found.flag.into_bound_py_any(py)?,
            found.queue_offset.into_bound_py_any(py)?,
            found.log_offset.into_bound_py_any(py)?,
            found.sys_flag.into_bound_py_any(py)?,
            found.born_timestamp_ms.into_bound_py_any(py)?,
            PyBytes::new(py, found.born_host).into_any(),
            found.store_timestamp_ms.into_bound_py_any(py)?,
            PyBytes::new(py, found.store_host).into_any(),
            found.reconsume_times.into_bound_py_any(py)?,
            found.prepared_transaction_offset.into_bound_py_any(py)?,
            PyBytes::new(py, found.properties).into_any(),
            found.body_crc.into_bound_py_any(py)?,
        ];
        records.append(record_type.call1(PyTuple::new(py, members)?)?)?;
        at = end;
    }
    Ok(Some(records))
}
