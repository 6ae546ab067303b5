//! The fields of a send's header, read only in their plain form.
//!
//! Names and types are those of `pyromq.wire.remoting.headers.send`. Numbers with a plus, leading
//! zeros or a fraction, a field that comes twice or is missing: all that is Python's to judge.

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

/// `a` to `h`: without one of them there is no send.
const REQUIRED: u32 = 0xFF;

/// None for a header that is no send's, or not a plain one.
#[must_use]
pub fn send_fields<'t>(header: &'t Header<'_>, scratch: &'t str) -> Option<SendFields<'t>> {
    let letter_of = match header.code {
        SEND => letter_of_long_name,
        SEND_V2 | SEND_BATCH => letter_of_short_name,
        _ => return None,
    };
    let mut fields = SendFields {
        topic: "",
        queue_id: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        flag: 0,
        properties: "",
        reconsume_times: 0,
        is_batch: header.code == SEND_BATCH,
    };
    let mut seen = 0u32;
    for (name, value) in &header.ext {
        let Some(letter) = letter_of(resolve(name, scratch)) else {
            continue; // nobody reads it
        };
        let bit = 1 << (letter - b'a');
        if seen & bit != 0 {
            return None;
        }
        seen |= bit;
        let value = resolve(value, scratch);
        match letter {
            b'b' => fields.topic = value,
            b'd' | b'l' => {
                i32_of(value)?;
            }
            b'e' => fields.queue_id = i32_of(value)?,
            b'f' => fields.sys_flag = i32_of(value)?,
            b'g' => fields.born_timestamp_ms = integer(value)?,
            b'h' => fields.flag = i32_of(value)?,
            b'i' => fields.properties = value,
            b'j' => fields.reconsume_times = i32_of(value)?,
            b'k' if boolean(value)? => return None, // unit mode
            b'm' => fields.is_batch |= boolean(value)?,
            _ => {}
        }
    }
    (seen & REQUIRED == REQUIRED).then_some(fields)
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

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

pub(crate) fn i32_of(text: &str) -> Option<i32> {
    i32::try_from(integer(text)?).ok()
}

/// `-?(0|[1-9][0-9]{0,17})`: nothing that could be read in another way.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.as_bytes() {
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
    use rmqwire::frame::SerializeType;
    use rmqwire::header::decode;

    const PLAIN: &str = r#""a":"PG","b":"T","c":"TBW102","d":"4","e":"2","f":"0","g":"1795222505090","h":"7","i":"TAGS\u0001x\u0002","j":"0","k":"false","m":"false","n":"broker-a""#;

    fn with_fields<R>(
        code: i32,
        fields: &str,
        look: impl FnOnce(Option<SendFields<'_>>) -> R,
    ) -> R {
        let header = format!(r#"{{"code":{code},"extFields":{{{fields}}},"opaque":1}}"#);
        let mut scratch = String::new();
        let decoded = decode(SerializeType::Json, header.as_bytes(), 256, &mut scratch).unwrap();
        look(send_fields(&decoded, &scratch))
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
