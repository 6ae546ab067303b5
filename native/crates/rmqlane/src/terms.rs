//! What Python allows: the terms for all sends, and the topics that may be sent to.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use rmqlog::record::{scan_properties, Marks};
use rmqwire::encode::{write_sized, write_string};

/// What holds for every send of the lane, as settings are now.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Sends before this time are refused, which is not done here.
    pub accept_from_ms: i64,
    pub body_size_max: usize,
    pub properties_size_max: usize,
    /// A sysFlag with one of these bits is looked at by Python.
    pub refused_sys_flags: i32,
    /// Properties that the broker adds to each message.
    pub suffix: String,
    /// What each reply tells of the broker: name and value.
    pub marks: Vec<(String, String)>,
    /// Beginning of an offsetMsgId; the log offset in 16 hex digits follows.
    pub id_prefix: String,
    /// Version that replies carry.
    pub version: i16,
}

/// `Terms` with the parts of replies that are always the same.
pub struct Rendered {
    pub terms: Terms,
    /// `"name":"value"` of each mark, with commas between.
    pub json_marks: Vec<u8>,
    /// Sized names and values of the marks.
    pub binary_marks: Vec<u8>,
    /// Whether the suffix has nothing that a message's queue unit or keys are made of.
    pub is_suffix_unmarked: bool,
}

impl Rendered {
    /// None for marks that no header can carry.
    #[must_use]
    pub fn of(terms: Terms) -> Option<Rendered> {
        let mut json_marks = Vec::new();
        let mut binary_marks = Vec::new();
        for (name, value) in &terms.marks {
            if !json_marks.is_empty() {
                json_marks.push(b',');
            }
            write_string(&mut json_marks, name);
            json_marks.push(b':');
            write_string(&mut json_marks, value);
            binary_marks.extend_from_slice(&i16::try_from(name.len()).ok()?.to_be_bytes());
            binary_marks.extend_from_slice(name.as_bytes());
            write_sized(&mut binary_marks, value)?;
        }
        let is_suffix_unmarked = scan_properties(terms.suffix.as_bytes()) == Marks::default();
        Some(Rendered {
            terms,
            is_suffix_unmarked,
            json_marks,
            binary_marks,
        })
    }
}

/// A topic with nothing that needs a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    /// Queue ids from 0 up to this one, which is not one.
    pub queue_count: i32,
    /// Bits that its messages' sysFlag gets.
    pub added_sys_flag: i32,
    pub may_batch: bool,
}

/// What was stored and answered, since somebody asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Puts {
    pub messages: u64,
    /// Of their records.
    pub bytes: u64,
    pub requests: u64,
}

struct Slot {
    name: Arc<str>,
    /// None: closed, and kept only for what is still under way.
    topic: Option<Topic>,
    held: u32,
    puts: Puts,
}

/// The open topics by name. A slot outlives its topic until nothing that was sent to it waits.
#[derive(Default)]
pub struct Topics {
    numbers: HashMap<Arc<str>, u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots with puts that nobody has taken yet.
    counted: Vec<u32>,
    /// The slot found last: the next send is often to the same topic.
    recent: Cell<u32>,
}

impl Topics {
    /// Opens the topic, or changes what is said of it.
    pub fn put(&mut self, name: &str, topic: Topic) {
        if let Some(&number) = self.numbers.get(name) {
            self.slots[number as usize].topic = Some(topic);
            return;
        }
        let name: Arc<str> = Arc::from(name);
        let slot = Slot {
            name: Arc::clone(&name),
            topic: Some(topic),
            held: 0,
            puts: Puts::default(),
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.numbers.insert(name, number);
    }

    pub fn close(&mut self, name: &str) {
        if let Some(&number) = self.numbers.get(name) {
            self.slots[number as usize].topic = None;
            self.free_if_done(number);
        }
    }

    pub fn close_all(&mut self) {
        let numbers: Vec<u32> = self.numbers.values().copied().collect();
        for number in numbers {
            self.slots[number as usize].topic = None;
            self.free_if_done(number);
        }
    }

    #[must_use]
    pub fn find(&self, name: &str) -> Option<(u32, Topic)> {
        let recent = self.recent.get();
        let is_it = |slot: &&Slot| *slot.name == *name && slot.topic.is_some();
        let number = match self.slots.get(recent as usize).filter(is_it) {
            Some(_) => recent,
            None => *self.numbers.get(name)?,
        };
        self.recent.set(number);
        let topic = self.slots[number as usize].topic;
        topic.map(|topic| (number, topic))
    }

    pub fn hold(&mut self, number: u32) {
        self.slots[number as usize].held += 1;
    }

    /// A send was answered: with what it stored, or with nothing if it was refused.
    pub fn answered(&mut self, number: u32, stored: Option<(u32, u64)>) {
        let slot = &mut self.slots[number as usize];
        slot.held -= 1;
        if let Some((messages, bytes)) = stored {
            if slot.puts == Puts::default() {
                self.counted.push(number);
            }
            slot.puts.messages += u64::from(messages);
            slot.puts.bytes += bytes;
            slot.puts.requests += 1;
        }
        self.free_if_done(number);
    }

    /// What was stored since the last call, by topic.
    pub fn take_puts(&mut self) -> Vec<(Arc<str>, Puts)> {
        let counted = std::mem::take(&mut self.counted);
        let mut taken = Vec::with_capacity(counted.len());
        for number in counted {
            let slot = &mut self.slots[number as usize];
            taken.push((Arc::clone(&slot.name), std::mem::take(&mut slot.puts)));
            self.free_if_done(number);
        }
        taken
    }

    fn free_if_done(&mut self, number: u32) {
        let slot = &self.slots[number as usize];
        let is_done = slot.topic.is_none() && slot.held == 0 && slot.puts == Puts::default();
        if is_done && self.numbers.remove(&slot.name).is_some() {
            self.free.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: Topic = Topic {
        queue_count: 4,
        added_sys_flag: 0,
        may_batch: true,
    };

    #[test]
    fn a_closed_topic_is_counted_to_the_end_and_then_forgotten() {
        let mut topics = Topics::default();
        topics.put("T", TOPIC);
        let (number, _) = topics.find("T").unwrap_or((9, TOPIC));
        topics.hold(number);
        topics.close("T");
        assert_eq!(topics.find("T"), None);
        topics.answered(number, Some((1, 100)));
        let puts = Puts {
            messages: 1,
            bytes: 100,
            requests: 1,
        };
        assert_eq!(topics.take_puts(), [(Arc::from("T"), puts)]);
        assert_eq!(topics.take_puts(), []);
        topics.put("U", TOPIC);
        assert_eq!(topics.find("U"), Some((number, TOPIC)));
        assert_eq!(topics.slots.len(), 1);
    }

    #[test]
    fn a_topic_that_opens_again_goes_on_counting() {
        let mut topics = Topics::default();
        topics.put("T", TOPIC);
        topics.hold(0);
        topics.close_all();
        let other = Topic {
            queue_count: 8,
            ..TOPIC
        };
        topics.put("T", other);
        assert_eq!(topics.find("T"), Some((0, other)));
        topics.put("V", TOPIC);
        assert_eq!(topics.find("V"), Some((1, TOPIC)));
        topics.close("V");
        assert_eq!(topics.find("V"), None);
        assert_eq!(topics.find("T"), Some((0, other)));
        topics.answered(0, None);
        assert_eq!(topics.take_puts(), []);
        topics.close_all();
        assert_eq!((topics.numbers.len(), topics.free.len()), (0, 2));
    }
}
