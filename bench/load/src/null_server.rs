//! `rmqload null-server`: answers every request at once and stores nothing.
//!
//! Against it the generator shows its own ceiling; a server that comes near it is not measured but
//! the generator is. It pretends that each queue of any topic holds `--messages` messages.

use std::io::Write;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use crate::args::{spec, Args, Spec};
use crate::connection::Connection;
use crate::control::{
    GET_MAX_OFFSET, GET_MIN_OFFSET, PULL_MESSAGE, SEND_BATCH_MESSAGE, SEND_MESSAGE_V2,
};
use crate::fault::Fault;
use crate::frame::{self, Header, ANSWER};
use crate::record;
use crate::system::{self, Poll, READABLE};

pub const SPECS: &[Spec] = &[
    spec(
        "addr",
        "IP:PORT",
        "127.0.0.1:0",
        "where to listen; port 0 takes a free one",
    ),
    spec("seconds", "S", "60", "leave after so many seconds"),
    spec(
        "messages",
        "N",
        "100000",
        "messages that each queue seems to hold",
    ),
    spec("body", "BYTES", "128", "body size of pulled messages"),
    spec("topic", "NAME", "LoadTest", "topic of pulled messages"),
    spec("connections", "N", "1024", "most connections"),
    spec("cpu", "N", "", "stay on this core"),
];

const CONNECTIONS_MAX: usize = 10_000;
const PULL_MAX: i64 = 1024;
const LISTENER: usize = CONNECTIONS_MAX;
const WAIT_MS: i32 = 100;

struct Answers {
    messages: i64,
    record: Vec<u8>,
    scratch: Vec<u8>,
}

impl Answers {
    fn write(&mut self, request: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        let (header, _) = frame::decode(request)?;
        let reply = (0, header.opaque, ANSWER);
        match header.code {
            SEND_MESSAGE_V2 | SEND_BATCH_MESSAGE => {
                let fields: [(&str, &[u8]); 6] = [
                    ("queueId", header.field("e").unwrap_or(b"0")),
                    ("transactionId", b"7F0000010001000000020000000000000001"),
                    ("msgId", b"7F00000100002A9F0000000000000000"),
                    ("TRACE_ON", b"true"),
                    ("MSG_REGION", b"DefaultRegion"),
                    ("queueOffset", b"0"),
                ];
                frame::encode(out, header.form, reply, &fields, b"");
            }
            PULL_MESSAGE => self.write_pull(&header, out),
            GET_MIN_OFFSET => frame::encode(out, header.form, reply, &[("offset", b"0")], b""),
            GET_MAX_OFFSET => {
                let max = self.messages.to_string();
                frame::encode(out, header.form, reply, &[("offset", max.as_bytes())], b"");
            }
            _ => frame::encode(out, header.form, reply, &[], b""),
        }
        Ok(())
    }

    fn write_pull(&mut self, header: &Header<'_>, out: &mut Vec<u8>) {
        let queue = header.number("queueId").unwrap_or(0) as i32;
        let offset = header
            .number("queueOffset")
            .unwrap_or(0)
            .clamp(0, self.messages);
        let wanted = header.number("maxMsgNums").unwrap_or(1).clamp(1, PULL_MAX);
        let until = (offset + wanted).min(self.messages);
        self.scratch.clear();
        for at in offset..until {
            let start = self.scratch.len();
            self.scratch.extend_from_slice(&self.record);
            let record = &mut self.scratch[start..];
            let place = record::QUEUE_ID_AT;
            record[place..place + 4].copy_from_slice(&queue.to_be_bytes());
            let place = record::QUEUE_OFFSET_AT;
            record[place..place + 8].copy_from_slice(&at.to_be_bytes());
        }
        let code = if until > offset { 0 } else { 19 };
        let (next, max) = (until.to_string(), self.messages.to_string());
        let fields: [(&str, &[u8]); 4] = [
            ("suggestWhichBrokerId", b"0"),
            ("nextBeginOffset", next.as_bytes()),
            ("minOffset", b"0"),
            ("maxOffset", max.as_bytes()),
        ];
        frame::encode(
            out,
            header.form,
            (code, header.opaque, ANSWER),
            &fields,
            &self.scratch,
        );
    }
}

pub fn run(args: &Args) -> Result<bool, Fault> {
    let address = args.loopback("addr")?;
    let seconds = args.seconds("seconds", 3600.0)?;
    let body = vec![b'a'; args.number("body", 1..=64 << 10)? as usize];
    let topic = args.text("topic").unwrap_or("").as_bytes();
    if let Some(cpu) = args.optional_number("cpu", 0..=1023)? {
        system::pin(cpu as usize)?;
    }
    let properties =
        b"KEYS\x01OrderID0000000001\x02UNIQ_KEY\x017F0000010001000000020000000000000001\
        \x02CLUSTER\x01DefaultCluster\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\
        \x02WAIT\x01true\x02TAGS\x01TagA\x02";
    let mut answers = Answers {
        messages: args.number("messages", 1..=1_000_000_000)? as i64,
        record: record::build(topic, &body, properties),
        scratch: Vec::new(),
    };
    system::allow_open_files(args.number("connections", 1..=CONNECTIONS_MAX as u64)? + 32)?;
    let listener = TcpListener::bind(address)
        .map_err(|error| Fault::failed(format!("cannot listen on {address}: {error}")))?;
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(listener.as_raw_fd(), LISTENER, READABLE)?;
    println!("READY {}", listener.local_addr()?);
    std::io::stdout().flush()?;

    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut ready = Vec::new();
    let ends = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < ends {
        poll.wait(WAIT_MS, &mut ready)?;
        for &(token, _) in &ready {
            if token == LISTENER {
                accept(&listener, &mut connections, &poll)?;
            } else if serve(&mut connections[token], &mut answers, &poll).is_err() {
                // Its peer is gone or talks nonsense: only this connection ends.
                connections[token] = None;
            }
        }
    }
    Ok(true)
}

fn accept(
    listener: &TcpListener,
    connections: &mut Vec<Option<Connection>>,
    poll: &Poll,
) -> Result<(), Fault> {
    while let Ok((stream, _)) = listener.accept() {
        let free = connections.iter().position(Option::is_none);
        let token = free.unwrap_or(connections.len());
        if token >= CONNECTIONS_MAX {
            continue;
        }
        let connection = Some(Connection::new(stream, token, poll)?);
        match free {
            Some(token) => connections[token] = connection,
            None => connections.push(connection),
        }
    }
    Ok(())
}

fn serve(place: &mut Option<Connection>, answers: &mut Answers, poll: &Poll) -> Result<(), Fault> {
    let Some(connection) = place else {
        return Ok(());
    };
    if !connection.fill()? {
        return Err(Fault::failed("closed"));
    }
    connection.frames(|request, out| answers.write(request, out))?;
    connection.flush(poll)
}
