//! The fields of a send's header, read only in their plain form.
//!
//! Names and types are those of `pyromq.wire.remoting.headers.send`. Numbers with a plus, leading
//! zeros or a fraction, a field that comes twice or is missing: all that is Python's to judge.

use rmqwire::frame::SerializeType;
use rmqwire::header::{resolve, Header};

/// Codes of requests that may take the lane.
pub const SEND: i32 = 10;
pub const SEND_V2: i32 = 310;
pub const SEND_BATCH: i32 = 320;

/// What a send asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendFields<'t> {
    pub topic: &'t str,
    pub queue_id: i32,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub flag: i32,
    pub properties: &'t str,
    pub reconsume_times: i32,
    pub is_batch: bool,
}

/// What the lane reads of a send's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendHead<'t> {
    pub opaque: i32,
    pub flag: i32,
    pub fields: SendFields<'t>,
}

/// Whether a frame's header may be a send's, by its first bytes: false is certain.
#[must_use]
pub fn may_be_send(form: SerializeType, header: &[u8]) -> bool {
    let code = match form {
        SerializeType::RocketMq => header
            .first_chunk::<2>()
            .map(|code| i32::from(i16::from_be_bytes(*code))),
        SerializeType::Json => header.strip_prefix(b"{\"code\":").and_then(|rest| {
            let size = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            short(&rest[..size])
        }),
    };
    code.is_none_or(|code| matches!(code, SEND | SEND_V2 | SEND_BATCH))
}

/// `a` to `h`: without one of them there is no send.
const REQUIRED: u32 = 0xFF;
/// Bytes of a binary header before its fields: code, language, version, opaque, flag, and the sizes of
/// remark and fields.
const BINARY_SIZE: usize = 21;

/// None for a header that is no send's, or not a plain one.
#[must_use]
pub fn send_head<'t>(header: &'t Header<'_>, scratch: &'t str) -> Option<SendHead<'t>> {
    let letter_of = match header.code {
        SEND => letter_of_long_name,
        SEND_V2 | SEND_BATCH => letter_of_short_name,
        _ => return None,
    };
    let mut reading = Reading::new(header.code);
    for (name, value) in &header.ext {
        let Some(letter) = letter_of(resolve(name, scratch)) else {
            continue; // nobody reads it
        };
        let value = resolve(value, scratch);
        reading.take(letter, value.as_bytes())?;
        match letter {
            b'b' => reading.fields.topic = value,
            b'i' => reading.fields.properties = value,
            _ => {}
        }
    }
    Some(SendHead {
        opaque: header.opaque,
        flag: header.flag,
        fields: reading.done()?,
    })
}

/// The same of a binary header as it came, for which there need be no [`Header`] then. None also for one
/// that only differs from what clients of Apache's send: its [`Header`] is to be looked at.
#[must_use]
pub fn binary_send_head(header: &[u8], ext_fields_max: usize) -> Option<SendHead<'_>> {
    let (fixed, mut rest) = header.split_first_chunk::<BINARY_SIZE>()?;
    let i32_at =
        |at: usize| i32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let code = i32::from(i16::from_be_bytes([fixed[0], fixed[1]]));
    let has_remark = i32_at(13) != 0;
    if ![SEND_V2, SEND_BATCH].contains(&code) || has_remark {
        return None;
    }
    if usize::try_from(i32_at(17)) != Ok(rest.len()) {
        return None;
    }
    let mut reading = Reading::new(code);
    let mut count = 0;
    while !rest.is_empty() {
        let [0, 1, letter @ b'a'..=b'n', s0, s1, s2, s3, behind @ ..] = rest else {
            return None;
        };
        let size = i32::from_be_bytes([*s0, *s1, *s2, *s3]);
        let (value, behind) = behind.split_at_checked(usize::try_from(size).ok()?)?;
        count += 1;
        if value.is_empty() || count > ext_fields_max {
            return None;
        }
        reading.take(*letter, value)?;
        match letter {
            b'b' => reading.fields.topic = str::from_utf8(value).ok()?,
            b'i' => reading.fields.properties = str::from_utf8(value).ok()?,
            _ if value.is_ascii() => {}
            _ => return None, // it may be no text at all
        }
        rest = behind;
    }
    Some(SendHead {
        opaque: i32_at(5),
        flag: i32_at(9),
        fields: reading.done()?,
    })
}

/// Fields as they come.
struct Reading<'t> {
    fields: SendFields<'t>,
    /// A bit for each letter.
    seen: u32,
}

impl<'t> Reading<'t> {
    fn new(code: i32) -> Reading<'t> {
        Reading {
            fields: SendFields {
                topic: "",
                queue_id: 0,
                sys_flag: 0,
                born_timestamp_ms: 0,
                flag: 0,
                properties: "",
                reconsume_times: 0,
                is_batch: code == SEND_BATCH,
            },
            seen: 0,
        }
    }

    /// Takes the field of this letter, `a` to `n`, unless it is a text. None if it is not a plain one.
    #[inline]
    fn take(&mut self, letter: u8, value: &[u8]) -> Option<()> {
        let bit = 1 << (letter - b'a');
        if self.seen & bit != 0 {
            return None;
        }
        self.seen |= bit;
        let fields = &mut self.fields;
        match letter {
            b'd' | b'l' => {
                short(value)?;
            }
            b'e' => fields.queue_id = short(value)?,
            b'f' => fields.sys_flag = short(value)?,
            b'g' => fields.born_timestamp_ms = long(value)?,
            b'h' => fields.flag = short(value)?,
            b'j' => fields.reconsume_times = short(value)?,
            b'k' if boolean(value)? => return None, // unit mode
            b'm' => fields.is_batch |= boolean(value)?,
            _ => {}
        }
        Some(())
    }

    fn done(self) -> Option<SendFields<'t>> {
        (self.seen & REQUIRED == REQUIRED).then_some(self.fields)
    }
}

fn letter_of_short_name(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [letter @ b'a'..=b'n'] => Some(*letter),
        _ => None,
    }
}

fn letter_of_long_name(name: &str) -> Option<u8> {
    Some(match name {
        "producerGroup" => b'a',
        "topic" => b'b',
        "defaultTopic" => b'c',
        "defaultTopicQueueNums" => b'd',
        "queueId" => b'e',
        "sysFlag" => b'f',
        "bornTimestamp" => b'g',
        "flag" => b'h',
        "properties" => b'i',
        "reconsumeTimes" => b'j',
        "unitMode" => b'k',
        "maxReconsumeTimes" => b'l',
        "batch" => b'm',
        _ => return None,
    })
}

fn boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

pub(crate) fn i32_of(text: &str) -> Option<i32> {
    short(text.as_bytes())
}

pub(crate) fn integer(text: &str) -> Option<i64> {
    long(text.as_bytes())
}

fn short(text: &[u8]) -> Option<i32> {
    i32::try_from(long(text)?).ok()
}

/// `-?(0|[1-9][0-9]{0,17})`: nothing that could be read in another way.
fn long(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty()
        || digits.len() > 18
        || (digits[0] == b'0' && (digits.len() > 1 || is_negative))
    {
        return None;
    }
    let mut value = 0i64;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(if is_negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rmqwire::header::decode;

    const PLAIN: &str = r#""a":"PG","b":"T","c":"TBW102","d":"4","e":"2","f":"0","g":"1795222505090","h":"7","i":"TAGS\u0001x\u0002","j":"0","k":"false","m":"false","n":"broker-a""#;

    #[test]
    fn what_is_no_send_is_told_by_its_first_bytes() {
        let may = |form, header: &[u8]| may_be_send(form, header);
        for code in [SEND, SEND_V2, SEND_BATCH, 11, 34, 3100] {
            let is_send = matches!(code, SEND | SEND_V2 | SEND_BATCH);
            let json = format!("{{\"code\":{code},\"flag\":0}}");
            assert_eq!(may(SerializeType::Json, json.as_bytes()), is_send, "{code}");
            let binary = (code as i16).to_be_bytes();
            assert_eq!(may(SerializeType::RocketMq, &binary), is_send, "{code}");
        }
        for odd in [
            "",
            "{",
            "{\"flag\":0,\"code\":310}",
            "{\"code\": 310}",
            "{\"code\":",
        ] {
            assert!(may(SerializeType::Json, odd.as_bytes()), "{odd}");
        }
        assert!(may(SerializeType::RocketMq, b"\x01"));
    }

    fn with_fields<R>(
        code: i32,
        fields: &str,
        look: impl FnOnce(Option<SendFields<'_>>) -> R,
    ) -> R {
        let header = format!(r#"{{"code":{code},"extFields":{{{fields}}},"opaque":1}}"#);
        let mut scratch = String::new();
        let decoded = decode(SerializeType::Json, header.as_bytes(), 256, &mut scratch).unwrap();
        look(send_head(&decoded, &scratch).map(|head| head.fields))
    }

    fn binary(code: i16, remark: &str, fields: &[(&str, &[u8])]) -> Vec<u8> {
        let mut ext = Vec::new();
        for (name, value) in fields {
            ext.extend_from_slice(&(name.len() as u16).to_be_bytes());
            ext.extend_from_slice(name.as_bytes());
            ext.extend_from_slice(&(value.len() as u32).to_be_bytes());
            ext.extend_from_slice(value);
        }
        let mut out = code.to_be_bytes().to_vec();
        out.extend_from_slice(&[0, 1, 0xF5]);
        out.extend_from_slice(&(-9i32).to_be_bytes());
        out.extend_from_slice(&2i32.to_be_bytes());
        out.extend_from_slice(&(remark.len() as u32).to_be_bytes());
        out.extend_from_slice(remark.as_bytes());
        out.extend_from_slice(&(ext.len() as u32).to_be_bytes());
        out.extend_from_slice(&ext);
        out
    }

    /// What the quick reader says, which the thorough one must say, too.
    fn quick(header: &[u8], fields_max: usize) -> Option<SendHead<'_>> {
        let found = binary_send_head(header, fields_max);
        let mut scratch = String::new();
        let decoded = decode(SerializeType::RocketMq, header, fields_max, &mut scratch);
        if let Some(found) = found {
            assert_eq!(send_head(&decoded.unwrap(), &scratch), Some(found));
        }
        found
    }

    const SENT: [(&str, &[u8]); 13] = [
        ("a", b"PG"),
        ("b", "T\u{e9}".as_bytes()),
        ("c", b"TBW102"),
        ("d", b"4"),
        ("e", b"2"),
        ("f", b"0"),
        ("g", b"1795222505090"),
        ("h", b"7"),
        ("i", "TAGS\u{1}x\u{f6}\u{2}".as_bytes()),
        ("j", b"0"),
        ("k", b"false"),
        ("m", b"false"),
        ("n", b"broker-a"),
    ];

    #[test]
    fn a_binary_send_is_read_as_it_came() {
        for code in [310, 320] {
            let header = binary(code, "", &SENT);
            let head = quick(&header, 13).unwrap();
            assert_eq!((head.opaque, head.flag), (-9, 2));
            assert_eq!((head.fields.topic, head.fields.flag), ("T\u{e9}", 7));
            assert_eq!(head.fields.is_batch, code == 320);
            assert_eq!(quick(&header, 12), None);
        }
        assert_eq!(quick(&binary(10, "", &SENT), 256), None);
        assert_eq!(quick(&binary(310, "why", &SENT), 256), None);
    }

    #[test]
    fn whatever_else_a_binary_header_is_both_readers_agree_on_it() {
        let whole = binary(310, "", &SENT);
        for end in 0..whole.len() {
            assert_eq!(quick(&whole[..end], 256), None, "cut at {end}");
        }
        let mut read = 0;
        for at in 0..whole.len() {
            for value in [0, 1, 2, b'0', b'a', b'o', 0x7F, 0x80, 0xFF] {
                let mut other = whole.clone();
                other[at] = value;
                read += usize::from(quick(&other, 256).is_some());
            }
        }
        assert!(read > 100, "{read}");
        for at in 0..SENT.len() {
            for (name, value) in [
                ("b", &b"U"[..]),
                ("e", b""),
                ("e", b"\xC3"),
                ("x", b"1"),
                ("aa", b"1"),
            ] {
                let mut fields = SENT.to_vec();
                fields[at] = (name, value);
                quick(&binary(310, "", &fields), 256);
                fields.remove(at);
                quick(&binary(310, "", &fields), 256);
            }
        }
    }

    #[test]
    fn a_java_send_is_plain() {
        with_fields(310, PLAIN, |fields| {
            let fields = fields.unwrap();
            assert_eq!((fields.topic, fields.queue_id, fields.flag), ("T", 2, 7));
            assert_eq!(fields.properties, "TAGS\u{1}x\u{2}");
            assert!(!fields.is_batch);
        });
        with_fields(320, PLAIN, |fields| assert!(fields.unwrap().is_batch));
        with_fields(36, PLAIN, |fields| assert_eq!(fields, None));
    }

    #[test]
    fn long_names_are_those_of_code_10() {
        let long = r#""producerGroup":"PG","topic":"T","defaultTopic":"TBW102","defaultTopicQueueNums":"4","queueId":"1","sysFlag":"0","bornTimestamp":"5","flag":"0","batch":"true""#;
        with_fields(10, long, |fields| assert!(fields.unwrap().is_batch));
        with_fields(310, long, |fields| assert_eq!(fields, None));
        with_fields(10, PLAIN, |fields| assert_eq!(fields, None));
    }

    #[test]
    fn what_is_not_plain_is_left() {
        for (from, to) in [
            (r#""e":"2""#, r#""e":"+2""#),
            (r#""e":"2""#, r#""e":"02""#),
            (r#""e":"2""#, r#""e":"2.0""#),
            (r#""e":"2""#, r#""e":"-0""#),
            (r#""e":"2""#, r#""e":"2147483648""#),
            (r#""e":"2""#, r#""e":"""#),
            (r#""e":"2""#, r#""e":"2","e":"3""#),
            (r#""e":"2","#, ""),
            (r#""d":"4""#, r#""d":"many""#),
            (r#""g":"1795222505090""#, r#""g":"9223372036854775807""#),
            (r#""k":"false""#, r#""k":"true""#),
            (r#""k":"false""#, r#""k":"TRUE""#),
            (r#""m":"false""#, r#""m":"yes""#),
        ] {
            let fields = PLAIN.replace(from, to);
            assert_ne!(fields, PLAIN);
            with_fields(310, &fields, |found| assert_eq!(found, None, "{to}"));
        }
    }
}
