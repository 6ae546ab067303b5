//! The lane itself: judges a request, stores its message, holds its reply, lets it go.

use std::collections::HashMap;
use std::sync::Arc;

use rmqlog::record::{scan_properties, Message};
use rmqlog::Engine;
use rmqwire::frame::{Frame, SerializeType};
use rmqwire::header::Header;

use crate::connections::Connections;
use crate::fields::{binary_send_head, send_head, SendHead};
use crate::gate::{Acknowledged, Gate, Held};
use crate::parked::Parked;
use crate::properties::{ordinary, Ordinary};
use crate::pull::{Outcome, Puller, Pulls};
use crate::reply::{write_refused, write_stored, write_with_code, Stored};
use crate::terms::{Puts, Rendered, Terms, Topic, Topics};

const FLAG_RESPONSE: i32 = 1;
const FLAG_ONEWAY: i32 = 2;
const VALUE_END: u8 = 2;

/// A frame, its header decoded.
#[derive(Clone, Copy)]
pub struct Arrived<'t> {
    pub form: SerializeType,
    pub header: &'t Header<'t>,
    /// Where the header's unescaped texts are.
    pub scratch: &'t str,
    pub body: &'t [u8],
}

/// A request that may take the lane.
pub struct Request<'t> {
    form: SerializeType,
    head: SendHead<'t>,
    body: &'t [u8],
    properties: Ordinary<'t>,
    number: u32,
    topic: Topic,
}

/// Whether a promise ends when the log is written, or when it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    Written,
    Committed,
}

#[derive(Default)]
pub struct Lane {
    /// None while no send may take the lane.
    rendered: Option<Rendered>,
    /// The last there were: what waits is answered by them although the lane is closed.
    closed: Option<Rendered>,
    topics: Topics,
    pub(crate) pulls: Pulls,
    pub(crate) parked: Parked,
    /// Slots of polls for which something is brought into memory, by their serial numbers.
    pub(crate) fetching: HashMap<u64, u32>,
    /// Topics of which arrivals are told, and not only served, and how many want that.
    pub(crate) watched: HashMap<String, u32>,
    /// Parked polls that were looked at, each time that they were.
    pub looked_at: u64,
    /// Version that answers of pulls carry.
    pub(crate) version: i16,
    pub(crate) connections: Connections,
    written: Gate,
    committed: Gate,
    acknowledged: Acknowledged,
    /// Properties as stored; kept for its memory.
    properties: Vec<u8>,
    /// For the names of pullers; kept for its memory.
    name: String,
}

impl Lane {
    /// `version`: what answers of pulls carry.
    #[must_use]
    pub fn new(version: i16) -> Lane {
        Lane {
            version,
            ..Lane::default()
        }
    }

    /// Opens the lane under these terms, or closes it. What waits is not touched.
    pub fn set_terms(&mut self, terms: Option<Terms>) {
        let rendered = terms.and_then(Rendered::of);
        if let Some(before) = std::mem::replace(&mut self.rendered, rendered) {
            self.closed = Some(before);
        }
    }

    pub fn put_topic(&mut self, name: &str, topic: Topic) {
        self.topics.put(name, topic);
    }

    pub fn close_topic(&mut self, name: &str) {
        self.topics.close(name);
    }

    pub fn close_topics(&mut self) {
        self.topics.close_all();
    }

    /// Lets a group pull from a topic by a filter text, or by its own subscription.
    pub fn put_puller(&mut self, topic: &str, group: &str, text: Option<&str>, puller: Puller) {
        self.pulls.put(topic, group, text, puller);
    }

    pub fn close_pullers(&mut self) {
        self.pulls.clear();
    }

    /// Whether this may be a pull for the lane.
    pub fn may_pull(&mut self, arrived: &Arrived<'_>) -> bool {
        self.pulls.may_take(arrived, &mut self.name)
    }

    /// Adds the answer of a pull that finds something to `out`, or says that it may wait: then
    /// [`Lane::park`] keeps it.
    pub fn pull(&mut self, engine: &Engine, arrived: &Arrived<'_>, out: &mut Vec<u8>) -> Outcome {
        self.pulls
            .take(engine, arrived, self.version, &mut self.name, out)
    }

    /// `born_host`: what its messages carry, 4 or 16 address bytes and a 4-byte port.
    pub fn open_connection(&mut self, born_host: &[u8]) -> u32 {
        self.connections.open(born_host)
    }

    pub fn close_connection(&mut self, number: u32) {
        self.parked.drop_connection(number);
        self.connections.close(number);
    }

    /// Sends that wait.
    #[must_use]
    pub fn held_count(&self) -> usize {
        self.written.len() + self.committed.len()
    }

    /// When the turn of the send that waits longest ended; `None` if none waits since a turn's end.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<i64> {
        let oldest = [self.written.oldest_ms(), self.committed.oldest_ms()];
        oldest.into_iter().flatten().min()
    }

    /// The request, if it may take the lane. Changes nothing.
    #[must_use]
    pub fn judge<'t>(&self, arrived: &Arrived<'t>, now_ms: i64) -> Option<Request<'t>> {
        self.rendered.as_ref()?;
        let head = send_head(arrived.header, arrived.scratch)?;
        self.judge_head(arrived.form, head, arrived.body, now_ms)
    }

    fn judge_head<'t>(
        &self,
        form: SerializeType,
        head: SendHead<'t>,
        body: &'t [u8],
        now_ms: i64,
    ) -> Option<Request<'t>> {
        let terms = &self.rendered.as_ref()?.terms;
        if head.flag & FLAG_RESPONSE != 0 || now_ms < terms.accept_from_ms {
            return None;
        }
        let fields = &head.fields;
        let (number, topic) = self.topics.find(fields.topic)?;
        let is_legal = (0..topic.queue_count).contains(&fields.queue_id)
            && fields.sys_flag & terms.refused_sys_flags == 0
            && (1..=terms.body_size_max).contains(&body.len());
        if !is_legal || (fields.is_batch && !topic.may_batch) {
            return None;
        }
        let properties = ordinary(fields.properties)?;
        if properties.unique_key.is_none() && !fields.is_batch {
            return None; // it gets one, which is not done here
        }
        Some(Request {
            form,
            head,
            body,
            properties,
            number,
            topic,
        })
    }

    /// Stores what a binary frame sends, as [`Lane::judge`] and [`Lane::take`] would, without decoding more
    /// of it than a send needs. None: nothing happened, and the frame is to be decoded.
    pub fn send(
        &mut self,
        engine: &Engine,
        connection: u32,
        frame: &Frame<'_>,
        ext_fields_max: usize,
        now_ms: i64,
    ) -> Option<u64> {
        if frame.serialize_type != SerializeType::RocketMq {
            return None;
        }
        self.rendered.as_ref()?;
        let head = binary_send_head(frame.header, ext_fields_max)?;
        let request = self.judge_head(frame.serialize_type, head, frame.body, now_ms)?;
        self.take(engine, connection, &request, now_ms)
    }

    /// Stores the message or messages and holds the reply; answers the size of their records. None:
    /// nothing happened, and the regular lane is to find out why.
    pub fn take(
        &mut self,
        engine: &Engine,
        connection: u32,
        request: &Request<'_>,
        now_ms: i64,
    ) -> Option<u64> {
        let rendered = self.rendered.as_ref()?;
        let (form, head, body) = (request.form, &request.head, request.body);
        let fields = &head.fields;
        let mut message = Message {
            topic: fields.topic.as_bytes(),
            queue_id: fields.queue_id,
            body,
            properties: b"",
            flag: fields.flag,
            sys_flag: fields.sys_flag | request.topic.added_sys_flag,
            born_timestamp_ms: fields.born_timestamp_ms,
            born_host: self.connections.born_host(connection),
            reconsume_times: fields.reconsume_times,
            prepared_transaction_offset: 0,
        };
        let of_batch;
        let of_one;
        let (place, log_offsets) = if fields.is_batch {
            message.body = b"";
            message.flag = 0;
            let stored = engine.append_batch(fields.topic, body, &message, now_ms);
            let (place, log_offsets) = stored.ok()?;
            of_batch = log_offsets;
            (place, &of_batch[..])
        } else {
            let stored = &mut self.properties;
            stored.clear();
            stored.extend_from_slice(fields.properties.as_bytes());
            if stored.last() != Some(&VALUE_END) {
                stored.push(VALUE_END);
            }
            stored.extend_from_slice(rendered.terms.suffix.as_bytes());
            if stored.len() > rendered.terms.properties_size_max {
                return None;
            }
            message.properties = stored;
            let marks = match rendered.is_suffix_unmarked {
                true => request.properties.marks,
                false => scan_properties(stored),
            };
            let stored = engine.append_marked(fields.topic, &message, &marks, now_ms);
            let place = stored.ok()?;
            of_one = [place.log_offset];
            (place, &of_one[..])
        };
        let is_oneway = head.flag & FLAG_ONEWAY != 0;
        let held = Held {
            end: place.end,
            connection,
            topic: request.number,
            opaque: head.opaque,
            form,
            messages: log_offsets.len() as u32,
            bytes: place.end - place.log_offset,
            reply_size: 0,
        };
        let told = Stored {
            opaque: head.opaque,
            queue_id: fields.queue_id,
            queue_offset: place.queue_offset,
            log_offsets,
            unique_key: request.properties.unique_key,
        };
        let gate = if is_oneway || request.properties.is_waived {
            &mut self.written
        } else {
            &mut self.committed
        };
        gate.hold(held, |out| {
            if !is_oneway {
                write_stored(form, rendered, &told, out);
            }
        });
        self.topics.hold(request.number);
        self.connections.hold(connection, held.bytes);
        Some(held.bytes)
    }

    /// Ends a turn: what came in it waits since now.
    pub fn mark(&mut self, now_ms: i64) {
        self.written.mark(now_ms);
        self.committed.mark(now_ms);
    }

    /// The log is written and committed up to here: lets go of what waited for it.
    pub fn release(&mut self, written: u64, commit: u64, now_ms: i64) {
        let (connections, topics) = (&mut self.connections, &mut self.topics);
        let mut go = |held: &Held, reply: &[u8]| {
            topics.answered(held.topic, Some((held.messages, held.bytes)));
            connections.release(held.connection, held.bytes, |out| {
                out.extend_from_slice(reply)
            });
        };
        let acknowledged = &mut self.acknowledged;
        self.written.release(written, now_ms, acknowledged, &mut go);
        self.committed
            .release(commit, now_ms, acknowledged, &mut go);
    }

    /// What waits for a log position behind `position` gets this code and remark.
    pub fn fail_beyond(&mut self, promise: Promise, position: u64, code: i16, remark: &str) {
        let gate = match promise {
            Promise::Written => &mut self.written,
            Promise::Committed => &mut self.committed,
        };
        let rendered = self.rendered.as_ref().or(self.closed.as_ref());
        let (connections, topics) = (&mut self.connections, &mut self.topics);
        gate.fail_beyond(position, |held| {
            topics.answered(held.topic, None);
            connections.release(held.connection, held.bytes, |out| {
                if let Some(rendered) = rendered.filter(|_| held.reply_size > 0) {
                    write_refused(held.form, rendered, held.opaque, code, remark, out);
                }
            });
        });
    }

    /// What has waited for the whole timeout is answered with `code`: it is stored, but not synced.
    pub fn expire(&mut self, now_ms: i64, timeout_ms: i64, code: i16) {
        let (connections, topics) = (&mut self.connections, &mut self.topics);
        let mut go = |held: &Held, reply: &[u8]| {
            topics.answered(held.topic, Some((held.messages, held.bytes)));
            connections.release(held.connection, held.bytes, |out| {
                if !reply.is_empty() {
                    write_with_code(held.form, reply, code, out);
                }
            });
        };
        self.committed.expire(now_ms, timeout_ms, &mut go);
        self.written.expire(now_ms, timeout_ms, &mut go);
    }

    /// See [`Connections::take_ready`].
    pub fn take_ready(&mut self, take: impl FnMut(u32, u32, u64, &[u8])) {
        self.connections.take_ready(take);
    }

    /// The connections' replies, and where they go.
    pub fn connections(&mut self) -> &mut Connections {
        &mut self.connections
    }

    /// How many sends were released after how long, since the last call.
    pub fn take_acknowledged(&mut self) -> Acknowledged {
        std::mem::take(&mut self.acknowledged)
    }

    /// What was stored and answered since the last call, by topic.
    pub fn take_puts(&mut self) -> Vec<(Arc<str>, Puts)> {
        self.topics.take_puts()
    }
}
