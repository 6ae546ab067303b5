//! Send requests written once and patched: one template per queue, of which only opaque, born
//! time, unique key and business key change, so that the generator costs little beside the server.

use std::time::Instant;

use crate::control::{SEND_BATCH_MESSAGE, SEND_MESSAGE_V2};
use crate::drive::OPAQUE_FIRST;
use crate::fault::Fault;
use crate::frame::{self, Form, BINARY_OPAQUE_AT, FRAME_MAX};

/// Stand-ins of the template; lower-case bodies never contain them.
const KEY_MARK: &[u8] = b"~KEY~MARK~";
const UNIQUE_MARK: &[u8] = b"~UNIQ~MARK~~";
const BORN_MARK: &[u8] = b"~BORN~MARK~~~";
/// Begins a body that tells when its message was due: ns since the run's start, in decimal.
const STAMP_MARK: &[u8] = b"~STAMP~MARK~~~~~";
const BATCH_ITEM_FIXED: usize = 22;

pub struct Template {
    bytes: Vec<u8>,
    form: Form,
    opaque_at: usize,
    born_at: usize,
    unique_at: Vec<usize>,
    keys_at: Vec<usize>,
    stamps_at: Vec<usize>,
}

pub struct Shape<'a> {
    pub form: Form,
    pub group: &'a str,
    pub queues: u64,
    pub batch: usize,
    pub body_size: usize,
    pub has_keys: bool,
    /// Bodies begin with the time they are due at (`stamp_of`).
    pub is_stamped: bool,
}

pub const STAMP_SIZE: usize = STAMP_MARK.len();

/// What the body of a stamped message tells: when it was due, in ns since the run's start.
pub fn stamp_of(body: &[u8]) -> Option<u64> {
    let digits = body.get(..STAMP_SIZE)?;
    digits.iter().try_fold(0u64, |sum, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        Some(sum * 10 + u64::from(digit))
    })
}

fn properties(shape: &Shape<'_>, unique_prefix: &str, tag: &str, is_outer: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.push(1);
        out.extend_from_slice(value);
        out.push(2);
    };
    if shape.has_keys && !is_outer {
        add("KEYS", &[b"OrderID", KEY_MARK].concat());
    }
    add(
        "UNIQ_KEY",
        &[unique_prefix.as_bytes(), UNIQUE_MARK].concat(),
    );
    add("WAIT", b"true");
    if shape.has_keys && !is_outer {
        add("TAGS", tag.as_bytes());
    }
    out
}

fn positions(bytes: &[u8], mark: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + mark.len() <= bytes.len() {
        if &bytes[at..at + mark.len()] == mark {
            found.push(at);
            at += mark.len();
        } else {
            at += 1;
        }
    }
    found
}

impl Template {
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub fn new(
        shape: &Shape<'_>,
        topic: &str,
        queue: u64,
        unique_prefix: &str,
    ) -> Result<Self, Fault> {
        let tag = ["TagA", "TagB", "TagC", "TagD"][queue as usize % 4];
        let mut body: Vec<u8> = (0..shape.body_size)
            .map(|n| b'a' + (n % 26) as u8)
            .collect();
        if shape.is_stamped {
            let stamp = body
                .get_mut(..STAMP_SIZE)
                .ok_or_else(|| Fault::BadArgument(format!("a body below {STAMP_SIZE} bytes")))?;
            stamp.copy_from_slice(STAMP_MARK);
        }
        let is_batch = shape.batch > 1;
        let body = if is_batch {
            let inner = properties(shape, unique_prefix, tag, false);
            let mut item = vec![0; 12];
            item[..4].copy_from_slice(
                &((BATCH_ITEM_FIXED + body.len() + inner.len()) as i32).to_be_bytes(),
            );
            item.extend_from_slice(&0i32.to_be_bytes());
            item.extend_from_slice(&(body.len() as i32).to_be_bytes());
            item.extend_from_slice(&body);
            item.extend_from_slice(&(inner.len() as i16).to_be_bytes());
            item.extend_from_slice(&inner);
            item.repeat(shape.batch)
        } else {
            body
        };
        let outer = properties(shape, unique_prefix, tag, is_batch);
        let queue = queue.to_string();
        let fields: [(&str, &[u8]); 13] = [
            ("a", shape.group.as_bytes()),
            ("b", topic.as_bytes()),
            ("c", b"TBW102"),
            ("d", b"4"),
            ("e", queue.as_bytes()),
            ("f", b"0"),
            ("g", BORN_MARK),
            ("h", b"0"),
            ("i", &outer),
            ("j", b"0"),
            ("k", b"false"),
            ("m", if is_batch { b"true" } else { b"false" }),
            ("n", b"broker-a"),
        ];
        let code = if is_batch {
            SEND_BATCH_MESSAGE
        } else {
            SEND_MESSAGE_V2
        };
        let mut bytes = Vec::new();
        frame::encode(
            &mut bytes,
            shape.form,
            (code, OPAQUE_FIRST, 0),
            &fields,
            &body,
        );
        if bytes.len() > FRAME_MAX {
            return Err(Fault::BadArgument(format!(
                "a request of {} bytes",
                bytes.len()
            )));
        }
        let opaque_at = match shape.form {
            Form::Binary => BINARY_OPAQUE_AT,
            Form::Json => {
                let name = b"\"opaque\":";
                positions(&bytes, name)
                    .last()
                    .map_or(0, |at| at + name.len())
            }
        };
        let template = Self {
            form: shape.form,
            opaque_at,
            born_at: positions(&bytes, BORN_MARK).first().copied().unwrap_or(0),
            unique_at: positions(&bytes, UNIQUE_MARK),
            keys_at: positions(&bytes, KEY_MARK),
            stamps_at: positions(&bytes, STAMP_MARK),
            bytes,
        };
        let uniques = shape.batch + usize::from(is_batch);
        let keys = if shape.has_keys { shape.batch } else { 0 };
        let stamps = if shape.is_stamped { shape.batch } else { 0 };
        let found = (
            template.unique_at.len(),
            template.keys_at.len(),
            template.stamps_at.len(),
        );
        if found != (uniques, keys, stamps) {
            return Err(Fault::BadArgument(
                "topic or group contain a mark of the template".into(),
            ));
        }
        Ok(template)
    }

    /// `due_ns`: since the run's start; only told where the shape is stamped.
    pub fn write(&self, out: &mut Vec<u8>, opaque: i32, due_ns: u64, ids: &mut Ids) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        match self.form {
            Form::Binary => {
                frame[self.opaque_at..self.opaque_at + 4].copy_from_slice(&opaque.to_be_bytes());
            }
            Form::Json => write_decimal(
                &mut frame[self.opaque_at..self.opaque_at + 9],
                opaque as u64,
            ),
        }
        ids.refresh();
        frame[self.born_at..self.born_at + BORN_MARK.len()].copy_from_slice(&ids.born);
        for &at in &self.unique_at {
            ids.write_unique(&mut frame[at..at + UNIQUE_MARK.len()]);
        }
        for &at in &self.keys_at {
            ids.key += 1;
            write_decimal(&mut frame[at..at + KEY_MARK.len()], ids.key);
        }
        for &at in &self.stamps_at {
            write_decimal(&mut frame[at..at + STAMP_SIZE], due_ns);
        }
    }
}

/// Fills `digits` with the number, right-aligned with zeros.
fn write_decimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn write_hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Changing parts of a request. A unique key is laid out as Java's: address, process, loader hash
/// (here: when the run began), ms since the start of something, counter.
pub struct Ids {
    started: Instant,
    started_ms: u64,
    now_ms: u64,
    born: [u8; 13],
    time: [u8; 8],
    counter: u64,
    key: u64,
    until_refresh: u32,
}

impl Ids {
    pub fn new(started_ms: u64) -> Self {
        let mut ids = Self {
            started: Instant::now(),
            started_ms,
            now_ms: 0,
            born: [0; 13],
            time: [0; 8],
            counter: 0,
            key: 0,
            until_refresh: 0,
        };
        ids.refresh();
        ids
    }

    /// The time of day, looked at for every 32nd request only.
    fn refresh(&mut self) {
        if self.until_refresh > 0 {
            self.until_refresh -= 1;
            return;
        }
        self.until_refresh = 31;
        let passed = self.started.elapsed().as_millis() as u64;
        if passed != self.now_ms || self.born[0] == 0 {
            self.now_ms = passed;
            write_decimal(&mut self.born, self.started_ms + passed);
        }
    }

    fn write_unique(&mut self, digits: &mut [u8]) {
        // Whenever the 16-bit counter turns over, the time part moves on: no key comes twice.
        if self.counter & 0xffff == 0 {
            write_hex(
                &mut self.time,
                (self.started_ms & 0x0fff_ffff) + (self.counter >> 16),
            );
        }
        digits[..8].copy_from_slice(&self.time);
        write_hex(&mut digits[8..], self.counter & 0xffff);
        self.counter += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::frame::Header;
    use std::collections::HashSet;

    fn shape(form: Form, batch: usize) -> Shape<'static> {
        Shape {
            form,
            group: "G",
            queues: 1,
            batch,
            body_size: 30,
            has_keys: true,
            is_stamped: false,
        }
    }

    fn text(header: &Header<'_>, name: &str) -> String {
        String::from_utf8(header.field(name).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_request_is_what_a_java_producer_sends() {
        for form in [Form::Json, Form::Binary] {
            let template = Template::new(&shape(form, 1), "T", 0, "7F000001000100000002").unwrap();
            let (mut out, mut ids) = (Vec::new(), Ids::new(1_795_222_505_090));
            template.write(&mut out, 123_456_789, 0, &mut ids);
            let (header, body) = frame::decode(&out).unwrap();
            assert_eq!(
                (header.code, header.opaque, header.flag),
                (310, 123_456_789, 0)
            );
            assert_eq!(text(&header, "b"), "T");
            assert_eq!(text(&header, "e"), "0");
            assert_eq!(text(&header, "g"), "1795222505090");
            assert_eq!(text(&header, "m"), "false");
            assert_eq!(header.field("l"), None);
            assert_eq!(body.len(), 30);
            let properties = text(&header, "i")
                .replace("\\u0001", "\x01")
                .replace("\\u0002", "\x02");
            assert_eq!(&properties[..23], "KEYS\x01OrderID0000000001\x02");
            assert!(properties.ends_with("\x02WAIT\x01true\x02TAGS\x01TagA\x02"));
            assert!(!String::from_utf8_lossy(&out).contains("MARK"));
        }
    }

    #[test]
    fn a_batch_has_items_that_fill_its_body() {
        let template =
            Template::new(&shape(Form::Binary, 5), "T", 0, "7F000001000100000002").unwrap();
        let (mut out, mut ids) = (Vec::new(), Ids::new(1_795_222_505_090));
        template.write(&mut out, OPAQUE_FIRST, 0, &mut ids);
        let (header, mut rest) = frame::decode(&out).unwrap();
        assert_eq!((header.code, text(&header, "m").as_str()), (320, "true"));
        let mut items = 0;
        while !rest.is_empty() {
            let size = frame::i32_at(rest, 0).unwrap() as usize;
            assert_eq!(frame::i32_at(rest, 16), Some(30));
            assert_eq!(frame::i16_at(rest, 50), Some((size - 52) as i16));
            rest = &rest[size..];
            items += 1;
        }
        assert_eq!(items, 5);
        assert!(!String::from_utf8_lossy(&out).contains("MARK"));
    }

    #[test]
    fn a_stamped_body_tells_when_it_was_due() {
        let mut stamped = shape(Form::Json, 3);
        stamped.is_stamped = true;
        let template = Template::new(&stamped, "T", 0, "7F000001000100000002").unwrap();
        let (mut out, mut ids) = (Vec::new(), Ids::new(1_795_222_505_090));
        template.write(&mut out, OPAQUE_FIRST, 12_345_678_901, &mut ids);
        let (_, body) = frame::decode(&out).unwrap();
        assert_eq!(stamp_of(&body[20..50]), Some(12_345_678_901));
        assert_eq!(stamp_of(b"000000000000000x"), None);
        assert_eq!(stamp_of(b"0000"), None);
        stamped.body_size = 15;
        assert!(Template::new(&stamped, "T", 0, "7F000001000100000002").is_err());
    }

    #[test]
    fn unique_keys_do_not_come_twice() {
        let mut ids = Ids::new(1_795_222_505_090);
        let mut seen = HashSet::new();
        for _ in 0..200_000 {
            let mut digits = [0; 12];
            ids.write_unique(&mut digits);
            assert!(seen.insert(digits));
        }
    }
}
