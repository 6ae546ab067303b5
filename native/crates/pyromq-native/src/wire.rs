//! Frames, headers, batches and records as Python values, over `rmqwire`.
//!
//! Every function answers only what the plain forms hold; for everything else it answers "not
//! mine" and `pyromq.wire.remoting.native` asks the Python reference, which also words the errors.

use std::sync::{Mutex, MutexGuard};

use pyo3::buffer::PyBuffer;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyInt, PyList, PyString, PyTuple, PyType};
use pyo3::IntoPyObjectExt;
use rmqwire::encode::{write_number, write_sized, write_string};
use rmqwire::frame::{Frame, Limits, Next, SerializeType};
use rmqwire::header::{self, Header, Text};
use rmqwire::{batch, frame, record};

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

const SHAPE_SLOTS: usize = 64;
const SHAPE_FIELDS_MAX: usize = 24;
const SHAPE_NAME_SIZE_MAX: usize = 32;

/// The field names of a header seen before. Headers of one kind come with the same names in the
/// same order; copying a dictionary that has them and filling in values is three times as fast as
/// building one.
struct Shape {
    names: Vec<(String, Py<PyString>)>,
    blank: Py<PyDict>,
}

/// One shape per slot, the newest stays: memory is bounded whatever peers send.
pub(crate) struct Shapes(Vec<Option<Shape>>);

impl Shapes {
    fn dict<'py>(
        &mut self,
        py: Python<'py>,
        decoded: &Header<'_>,
        scratch: &str,
    ) -> PyResult<Bound<'py, PyDict>> {
        let slot = (decoded.code as usize).wrapping_mul(31) ^ decoded.ext.len();
        let Some(place) = self.0.get_mut(slot % SHAPE_SLOTS) else {
            return build_dict(py, decoded, scratch);
        };
        if let Some(shape) = place {
            if shape.fits(decoded) {
                let ext = shape.blank.bind(py).copy()?;
                for ((_, name), (_, value)) in shape.names.iter().zip(&decoded.ext) {
                    ext.set_item(name, PyString::new(py, header::resolve(value, scratch)))?;
                }
                return Ok(ext);
            }
        }
        let ext = build_dict(py, decoded, scratch)?;
        if let Some(shape) = Shape::of(&ext, decoded)? {
            *place = Some(shape);
        }
        Ok(ext)
    }
}

impl Shape {
    fn fits(&self, decoded: &Header<'_>) -> bool {
        self.names.len() == decoded.ext.len()
            && self
                .names
                .iter()
                .zip(&decoded.ext)
                .all(|((known, _), (name, _))| matches!(name, Text::Plain(name) if name == known))
    }

    /// None for names that would not come again or take much memory.
    fn of(ext: &Bound<'_, PyDict>, decoded: &Header<'_>) -> PyResult<Option<Self>> {
        let py = ext.py();
        if ext.len() != decoded.ext.len() || ext.len() > SHAPE_FIELDS_MAX {
            return Ok(None);
        }
        let blank = PyDict::new(py);
        let mut names = Vec::with_capacity(ext.len());
        for (name, _) in &decoded.ext {
            match name {
                Text::Plain(name) if name.len() <= SHAPE_NAME_SIZE_MAX => {
                    let object = PyString::new(py, name);
                    blank.set_item(&object, intern!(py, ""))?;
                    names.push(((*name).to_owned(), object.unbind()));
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(Self {
            names,
            blank: blank.unbind(),
        }))
    }
}

fn build_dict<'py>(
    py: Python<'py>,
    decoded: &Header<'_>,
    scratch: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let ext = PyDict::new(py);
    for (name, value) in &decoded.ext {
        ext.set_item(
            header::resolve(name, scratch),
            header::resolve(value, scratch),
        )?;
    }
    Ok(ext)
}

/// Decodes frames straight into commands.
#[pyclass(frozen)]
pub struct FrameReader {
    command: Py<PyType>,
    languages: Vec<Py<PyAny>>,
    json: Py<PyAny>,
    rocketmq: Py<PyAny>,
    no_body: Py<PyBytes>,
    shapes: Mutex<Shapes>,
}

#[pymethods]
impl FrameReader {
    #[new]
    fn new(
        py: Python<'_>,
        command: Py<PyType>,
        languages: Vec<Py<PyAny>>,
        json: Py<PyAny>,
        rocketmq: Py<PyAny>,
    ) -> PyResult<Self> {
        if languages.len() != header::LANGUAGES.len() {
            let text = format!("{} languages are known here", header::LANGUAGES.len());
            return Err(pyo3::exceptions::PyValueError::new_err(text));
        }
        let slots = std::iter::repeat_with(|| None).take(SHAPE_SLOTS).collect();
        Ok(Self {
            command,
            languages,
            json,
            rocketmq,
            no_body: PyBytes::new(py, b"").unbind(),
            shapes: Mutex::new(Shapes(slots)),
        })
    }

    /// `(commands, end, needed)`: what was decoded from `start` on, where the next frame begins,
    /// and its size: 0 while unknown, −1 if it is not for this reader.
    fn split<'py>(
        &self,
        data: &Bound<'py, PyAny>,
        start: usize,
        frame_size_max: usize,
        header_size_max: usize,
        ext_fields_max: usize,
    ) -> PyResult<(Bound<'py, PyList>, usize, isize)> {
        let py = data.py();
        let limits = Limits {
            frame_size_max,
            header_size_max,
            ext_fields_max,
        };
        let input = Input::of(data)?;
        let bytes = input.as_slice();
        let commands = PyList::empty(py);
        let mut scratch = String::new();
        let mut shapes = self.shapes();
        let mut at = start;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let found = match frame::next(rest, &limits) {
                Next::Whole(found) => found,
                Next::Unfinished { size } => {
                    let needed = size.and_then(|size| isize::try_from(size).ok());
                    return Ok((commands, at, needed.unwrap_or(0)));
                }
                Next::Broken(_) => return Ok((commands, at, -1)),
            };
            let decoded = header::decode(
                found.serialize_type,
                found.header,
                limits.ext_fields_max,
                &mut scratch,
            );
            let Ok(decoded) = decoded else {
                return Ok((commands, at, -1));
            };
            let Some(command) =
                self.command(py, &found, &decoded, &scratch, shapes.as_deref_mut())?
            else {
                return Ok((commands, at, -1));
            };
            commands.append(command)?;
            at += found.size;
        }
    }
}

impl FrameReader {
    /// The shapes, unless another call of the same thread is using them: creating objects may run
    /// finalizers, and one of those might come here again.
    pub(crate) fn shapes(&self) -> Option<MutexGuard<'_, Shapes>> {
        self.shapes.try_lock().ok()
    }

    /// The command of a frame whose header was decoded already.
    pub(crate) fn command<'py>(
        &self,
        py: Python<'py>,
        found: &Frame<'_>,
        decoded: &Header<'_>,
        scratch: &str,
        shapes: Option<&mut Shapes>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let ext = match shapes {
            Some(shapes) => shapes.dict(py, decoded, scratch)?,
            None => build_dict(py, decoded, scratch)?,
        };
        let remark = decoded
            .remark
            .as_ref()
            .map(|remark| PyString::new(py, header::resolve(remark, scratch)));
        let body = if found.body.is_empty() {
            self.no_body.bind(py).clone()
        } else {
            PyBytes::new(py, found.body)
        };
        let Some(language) = self.languages.get(decoded.language) else {
            return Ok(None);
        };
        let serialize_type = match found.serialize_type {
            SerializeType::Json => &self.json,
            SerializeType::RocketMq => &self.rocketmq,
        };
        let members = (
            decoded.code,
            decoded.opaque,
            decoded.flag,
            language.bind(py),
            decoded.version,
            remark,
            ext,
            body,
            serialize_type.bind(py),
        );
        self.command.bind(py).call1(members).map(Some)
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
