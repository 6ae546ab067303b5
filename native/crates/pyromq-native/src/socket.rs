//! Reading from one connection's socket: what is the express lane's goes there without a stop in Python.

use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyByteArray;

use crate::lane::ExpressLane;

/// The connection on the lane.
struct OnLane {
    lane: Py<ExpressLane>,
    number: u32,
    /// Sends of it that may wait; 0: its chunks are not for the lane now.
    room: usize,
    /// Bytes of records of it that may wait.
    size_max: u64,
}

struct Inside {
    owner: Option<Py<PyAny>>,
    lane: Option<OnLane>,
}

/// The receiving end of a connection. Called when its socket is readable, it reads one chunk.
#[pyclass(frozen)]
pub struct SocketReader {
    socket: RawFd,
    buffer: Py<PyByteArray>,
    inside: Mutex<Inside>,
}

impl SocketReader {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owner(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let inside = self.inside();
        inside.owner.as_ref().map(|owner| owner.clone_ref(py))
    }

    fn receive(&self, py: Python<'_>) -> std::io::Result<usize> {
        let buffer = self.buffer.bind(py);
        // SAFETY: nobody else touches the buffer meanwhile, as this thread has the GIL; the pointer and
        // the length are those of the slice.
        let count = unsafe {
            let bytes = buffer.as_bytes_mut();
            let flags = libc::MSG_DONTWAIT;
            libc::recv(self.socket, bytes.as_mut_ptr().cast(), bytes.len(), flags)
        };
        usize::try_from(count).map_err(|_| std::io::Error::last_os_error())
    }

    /// Gives the lane what is its own of the first `size` bytes; how many those were.
    fn give_lane(&self, py: Python<'_>, size: usize) -> PyResult<usize> {
        let (lane, number, room, size_max) = match &self.inside().lane {
            Some(on) if on.room > 0 => (on.lane.clone_ref(py), on.number, on.room, on.size_max),
            _ => return Ok(0),
        };
        let lane = lane.get();
        let buffer = self.buffer.bind(py);
        // SAFETY: no Python code runs while the slice lives, and this thread has the GIL.
        if !lane.may_begin_with_send(unsafe { &buffer.as_bytes()[..size] }) {
            return Ok(0);
        }
        let now_ms = lane.turn_ms(py)?;
        // SAFETY: as above.
        let (taken, is_too_much) = unsafe {
            let bytes = &buffer.as_bytes()[..size];
            lane.take_sends(number, bytes, now_ms, room, size_max)
        };
        if is_too_much {
            lane.tell_too_much(py, number)?;
        }
        Ok(taken)
    }
}

#[pymethods]
impl SocketReader {
    #[new]
    fn new(socket: RawFd, buffer: Py<PyByteArray>, owner: Py<PyAny>) -> Self {
        let inside = Inside {
            owner: Some(owner),
            lane: None,
        };
        Self {
            socket,
            buffer,
            inside: Mutex::new(inside),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(inside) = self.inside.try_lock() {
            visit.call(&inside.owner)?;
            if let Some(on) = &inside.lane {
                visit.call(&on.lane)?;
            }
        }
        visit.call(&self.buffer)
    }

    /// Reads a chunk. What the lane does not take of it, the end and errors are the owner's.
    fn ready(&self, py: Python<'_>) -> PyResult<()> {
        let Some(owner) = self.owner(py) else {
            return Ok(());
        };
        match self.receive(py) {
            Ok(0) => {
                owner.call_method0(py, intern!(py, "ended"))?;
            }
            Ok(size) => {
                let taken = self.give_lane(py, size)?;
                if taken < size {
                    owner.call_method1(py, intern!(py, "received"), (taken, size))?;
                }
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::EINTR) => (),
                number => {
                    owner.call_method1(py, intern!(py, "failed"), (number,))?;
                }
            },
        }
        Ok(())
    }

    fn set_lane(&self, lane: Py<ExpressLane>, number: u32, size_max: u64) {
        self.inside().lane = Some(OnLane {
            lane,
            number,
            room: 0,
            size_max,
        });
    }

    fn set_room(&self, room: usize) {
        if let Some(on) = &mut self.inside().lane {
            on.room = room;
        }
    }

    /// Lets go of owner and lane: nothing is read any more.
    fn close(&self) {
        let (owner, lane) = {
            let mut inside = self.inside();
            (inside.owner.take(), inside.lane.take())
        };
        drop((owner, lane));
    }
}
