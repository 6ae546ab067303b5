//! Requests before and after the measurement: one at a time, blocking, each within a time limit.

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::fault::Fault;
use crate::frame::{self, Form, Header, ANSWER};

pub const PULL_MESSAGE: i32 = 11;
pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
pub const GET_MAX_OFFSET: i32 = 30;
pub const GET_MIN_OFFSET: i32 = 31;
pub const HEART_BEAT: i32 = 34;
pub const SEND_MESSAGE_V2: i32 = 310;
pub const SEND_BATCH_MESSAGE: i32 = 320;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Control {
    stream: TcpStream,
    form: Form,
    opaque: i32,
}

impl Control {
    pub fn connect(address: SocketAddr, form: Form, timeout: Duration) -> Result<Self, Fault> {
        let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)
            .map_err(|error| Fault::failed(format!("cannot connect to {address}: {error}")))?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self {
            stream,
            form,
            opaque: 0,
        })
    }

    /// The connection itself, once the greetings are over.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Asks, and gives what `read` takes from an answer with code 0.
    pub fn ask<T>(
        &mut self,
        code: i32,
        fields: &[(&str, &[u8])],
        body: &[u8],
        read: impl FnOnce(&Header<'_>) -> Option<T>,
    ) -> Result<T, Fault> {
        self.opaque += 1;
        let mut out = Vec::new();
        frame::encode(&mut out, self.form, (code, self.opaque, 0), fields, body);
        let late = |error: Error| match error.kind() {
            // What a socket says when its time limit has passed.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                Fault::failed(format!("request {code}: no answer in time"))
            }
            _ => Fault::failed(format!("request {code}: {error}")),
        };
        self.stream.write_all(&out).map_err(late)?;
        loop {
            let mut bytes = vec![0; 4];
            self.stream.read_exact(&mut bytes).map_err(late)?;
            let size = frame::frame_size(&bytes)?.unwrap_or(4);
            bytes.resize(size, 0);
            self.stream.read_exact(&mut bytes[4..]).map_err(late)?;
            let (header, _) = frame::decode(&bytes)?;
            // Requests of the broker (consumer ids changed) may come in between.
            if header.flag & ANSWER == 0 || header.opaque != self.opaque {
                continue;
            }
            if header.code != 0 {
                let remark = header.remark_text();
                return Err(Fault::failed(format!(
                    "request {code} was answered with code {}: {remark}",
                    header.code
                )));
            }
            return read(&header)
                .ok_or_else(|| Fault::failed(format!("request {code}: a field is missing")));
        }
    }

    pub fn create_topic(&mut self, topic: &str, queues: u64) -> Result<(), Fault> {
        let queues = queues.to_string();
        let fields: [(&str, &[u8]); 8] = [
            ("topic", topic.as_bytes()),
            ("defaultTopic", b"TBW102"),
            ("readQueueNums", queues.as_bytes()),
            ("writeQueueNums", queues.as_bytes()),
            ("perm", b"6"),
            ("topicFilterType", b"SINGLE_TAG"),
            ("topicSysFlag", b"0"),
            ("order", b"false"),
        ];
        self.ask(UPDATE_AND_CREATE_TOPIC, &fields, b"", |_| Some(()))
    }

    /// First and next offset of a queue.
    pub fn offsets(&mut self, topic: &str, queue: u64) -> Result<(i64, i64), Fault> {
        let queue = queue.to_string();
        let fields: [(&str, &[u8]); 2] =
            [("topic", topic.as_bytes()), ("queueId", queue.as_bytes())];
        let min = self.ask(GET_MIN_OFFSET, &fields, b"", |header| {
            header.number("offset")
        })?;
        Ok((min, self.next_offset(topic, &queue)?))
    }

    /// The offset that the queue's next message gets.
    pub fn next_offset(&mut self, topic: &str, queue: &str) -> Result<i64, Fault> {
        let fields: [(&str, &[u8]); 2] =
            [("topic", topic.as_bytes()), ("queueId", queue.as_bytes())];
        self.ask(GET_MAX_OFFSET, &fields, b"", |header| {
            header.number("offset")
        })
    }
}
