//! A socket that does not block, with the bytes not yet parsed and not yet sent.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};

use crate::fault::Fault;
use crate::frame;
use crate::system::{Poll, READABLE, WRITABLE};

const INPUT_SIZE: usize = 256 * 1024;

pub struct Connection {
    stream: TcpStream,
    token: usize,
    input: Vec<u8>,
    start: usize,
    end: usize,
    pub output: Vec<u8>,
    written: usize,
    waits_to_write: bool,
}

impl Connection {
    /// Takes over a connected socket and watches it under `token`.
    pub fn new(stream: TcpStream, token: usize, poll: &Poll) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        poll.add(stream.as_raw_fd(), token, READABLE)?;
        Ok(Self {
            stream,
            token,
            // Zeroed pages cost nothing until they are used.
            input: vec![0; INPUT_SIZE],
            start: 0,
            end: 0,
            output: Vec::new(),
            written: 0,
            waits_to_write: false,
        })
    }

    fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// One read. False when the peer has closed.
    pub fn fill(&mut self) -> Result<bool, Fault> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if let Some(size) = frame::frame_size(&self.input[self.start..self.end])? {
            // Room for the whole frame, at the cost of moving its first part.
            if self.start + size > self.input.len() {
                self.compact();
                if size > self.input.len() {
                    self.input.resize(size, 0);
                }
            }
        } else if self.input.len() - self.start < 8 {
            self.compact();
        }
        match self.stream.read(&mut self.input[self.end..]) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.end += count;
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(true)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn compact(&mut self) {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
    }

    /// Where the next whole frame lies in the input; it counts as taken.
    fn take(&mut self) -> Result<Option<(usize, usize)>, Fault> {
        let held = &self.input[self.start..self.end];
        match frame::frame_size(held)? {
            Some(size) if size <= held.len() => {
                let at = self.start;
                self.start += size;
                Ok(Some((at, at + size)))
            }
            _ => Ok(None),
        }
    }

    /// Hands every whole frame received so far to `each`, together with the output.
    pub fn frames(
        &mut self,
        mut each: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some((start, end)) = self.take()? {
            each(&self.input[start..end], &mut self.output)?;
        }
        Ok(())
    }

    /// Sends what the socket takes now; the rest goes when it is writable again.
    pub fn flush(&mut self, poll: &Poll) -> Result<(), Fault> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let is_done = self.written == self.output.len();
        if is_done {
            self.output.clear();
            self.written = 0;
        }
        if is_done == self.waits_to_write {
            self.waits_to_write = !is_done;
            let interest = if is_done {
                READABLE
            } else {
                READABLE | WRITABLE
            };
            poll.change(self.fd(), self.token, interest)?;
        }
        Ok(())
    }
}
