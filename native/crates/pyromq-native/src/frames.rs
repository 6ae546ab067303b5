//! Frames as commands, decoded straight into Python objects.

use std::sync::{Mutex, MutexGuard};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyType};
use rmqwire::frame::{self, Frame, Limits, Next, SerializeType};
use rmqwire::header::{self, Header, Text};

use crate::sends::{self, Names};
use crate::wire::Input;

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
    /// What sends become, if not commands with their fields as text.
    send_type: Option<Py<PyType>>,
    names: Mutex<Names>,
}

#[pymethods]
impl FrameReader {
    #[new]
    #[pyo3(signature = (command, languages, json, rocketmq, send_type=None))]
    fn new(
        py: Python<'_>,
        command: Py<PyType>,
        languages: Vec<Py<PyAny>>,
        json: Py<PyAny>,
        rocketmq: Py<PyAny>,
        send_type: Option<Py<PyType>>,
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
            send_type,
            names: Mutex::new(Names::new()),
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
        let mut names = self.names.try_lock().ok();
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
            let command = match self.send(py, &found, &decoded, &scratch, names.as_deref_mut())? {
                Some(command) => Some(command),
                None => self.command(py, &found, &decoded, &scratch, shapes.as_deref_mut())?,
            };
            let Some(command) = command else {
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
        let body = self.body(py, found);
        self.make(py, found, decoded, scratch, ext, body, None)
    }

    /// The command of a send with its request typed; None for every other frame, and if this reader
    /// makes no such ones.
    fn send<'py>(
        &self,
        py: Python<'py>,
        found: &Frame<'_>,
        decoded: &Header<'_>,
        scratch: &str,
        names: Option<&mut Names>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let (Some(send_type), Some(names), true) =
            (&self.send_type, names, sends::is_send(decoded))
        else {
            return Ok(None);
        };
        let body = self.body(py, found);
        let Some(request) = sends::request(py, send_type, decoded, scratch, &body, names)? else {
            return Ok(None);
        };
        let ext = PyDict::new(py);
        self.make(py, found, decoded, scratch, ext, body, Some(request))
    }

    fn body<'py>(&self, py: Python<'py>, found: &Frame<'_>) -> Bound<'py, PyBytes> {
        if found.body.is_empty() {
            self.no_body.bind(py).clone()
        } else {
            PyBytes::new(py, found.body)
        }
    }

    #[expect(clippy::too_many_arguments)]
    fn make<'py>(
        &self,
        py: Python<'py>,
        found: &Frame<'_>,
        decoded: &Header<'_>,
        scratch: &str,
        ext: Bound<'py, PyDict>,
        body: Bound<'py, PyBytes>,
        request: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let remark = decoded
            .remark
            .as_ref()
            .map(|remark| PyString::new(py, header::resolve(remark, scratch)));
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
            request,
        );
        self.command.bind(py).call1(members).map(Some)
    }
}
