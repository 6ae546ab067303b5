//! Answers to sends, byte for byte as the regular lane gives them.
//!
//! Members of the JSON form stand in fastjson's order; what a reply says, member by member, is
//! `pyromq.frontends.remoting.messages`.

use rmqwire::encode::{write_number, write_sized, write_string};
use rmqwire::frame::SerializeType;

use crate::terms::Rendered;

const PREFIX_SIZE: usize = 8;
const FLAG_RESPONSE: i32 = 1;
/// Where the code's digit stands in a JSON reply that succeeded.
const JSON_CODE_AT: usize = PREFIX_SIZE + b"{\"code\":".len();

/// What a stored send is told.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    pub opaque: i32,
    pub queue_id: i32,
    pub queue_offset: i64,
    /// Of each message.
    pub log_offsets: &'a [u64],
    pub unique_key: Option<&'a str>,
}

/// Adds the reply to a send that was stored.
pub fn write_stored(
    form: SerializeType,
    rendered: &Rendered,
    stored: &Stored<'_>,
    out: &mut Vec<u8>,
) {
    let start = begin(out);
    match form {
        SerializeType::Json => {
            out.extend_from_slice(b"{\"code\":0,\"extFields\":{\"msgId\":\"");
            write_ids(rendered, stored.log_offsets, out);
            out.extend_from_slice(b"\",\"queueId\":\"");
            write_number(out, stored.queue_id.into());
            out.extend_from_slice(b"\",\"queueOffset\":\"");
            write_number(out, stored.queue_offset);
            out.extend_from_slice(b"\",");
            out.extend_from_slice(&rendered.json_marks);
            if let Some(key) = stored.unique_key {
                out.extend_from_slice(b",\"transactionId\":");
                write_string(out, key);
            }
            out.push(b'}');
            write_json_end(stored.opaque, None, rendered.terms.version, out);
        }
        SerializeType::RocketMq => {
            let ext_at = write_binary_head(0, stored.opaque, "", rendered.terms.version, out);
            let ids_at = begin_field(b"msgId", out);
            write_ids(rendered, stored.log_offsets, out);
            end_field(ids_at, out);
            let number_at = begin_field(b"queueId", out);
            write_number(out, stored.queue_id.into());
            end_field(number_at, out);
            let number_at = begin_field(b"queueOffset", out);
            write_number(out, stored.queue_offset);
            end_field(number_at, out);
            out.extend_from_slice(&rendered.binary_marks);
            if let Some(key) = stored.unique_key {
                let key_at = begin_field(b"transactionId", out);
                out.extend_from_slice(key.as_bytes());
                end_field(key_at, out);
            }
            end_field(ext_at, out);
        }
    }
    end(start, form, 0, out);
}

/// What a pull is told; messages follow as the frame's body.
#[derive(Debug, Clone, Copy)]
pub struct PullAnswer<'a> {
    pub code: i16,
    /// Apache's name of what the read found.
    pub remark: &'a str,
    pub opaque: i32,
    pub version: i16,
    pub next_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub topic_sys_flag: i32,
    pub group_sys_flag: i32,
    /// Bytes of the messages.
    pub size: usize,
}

/// Adds the head of the answer to a pull.
pub fn write_pulled(form: SerializeType, answer: &PullAnswer<'_>, out: &mut Vec<u8>) {
    let fields: [(&str, i64); 6] = [
        ("suggestWhichBrokerId", 0),
        ("nextBeginOffset", answer.next_offset),
        ("minOffset", answer.min_offset),
        ("maxOffset", answer.max_offset),
        ("topicSysFlag", answer.topic_sys_flag.into()),
        ("groupSysFlag", answer.group_sys_flag.into()),
    ];
    let start = begin(out);
    match form {
        SerializeType::Json => {
            out.extend_from_slice(b"{\"code\":");
            write_number(out, answer.code.into());
            out.extend_from_slice(b",\"extFields\":");
            let mut between = b'{';
            for (name, value) in fields {
                out.push(between);
                between = b',';
                out.push(b'"');
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":\"");
                write_number(out, value);
                out.push(b'"');
            }
            out.push(b'}');
            write_json_end(answer.opaque, Some(answer.remark), answer.version, out);
        }
        SerializeType::RocketMq => {
            let ext_at = write_binary_head(
                answer.code,
                answer.opaque,
                answer.remark,
                answer.version,
                out,
            );
            for (name, value) in fields {
                let value_at = begin_field(name.as_bytes(), out);
                write_number(out, value);
                end_field(value_at, out);
            }
            end_field(ext_at, out);
        }
    }
    end(start, form, answer.size, out);
}

/// Adds the answer to a pull that was refused; it has no fields.
pub fn write_refused_pull(
    form: SerializeType,
    opaque: i32,
    code: i16,
    remark: &str,
    version: i16,
    out: &mut Vec<u8>,
) {
    let start = begin(out);
    match form {
        SerializeType::Json => {
            out.extend_from_slice(b"{\"code\":");
            write_number(out, code.into());
            write_json_end(opaque, Some(remark), version, out);
        }
        SerializeType::RocketMq => {
            write_binary_head(code, opaque, remark, version, out);
        }
    }
    end(start, form, 0, out);
}

/// Adds the reply to a send that was refused.
pub fn write_refused(
    form: SerializeType,
    rendered: &Rendered,
    opaque: i32,
    code: i16,
    remark: &str,
    out: &mut Vec<u8>,
) {
    let start = begin(out);
    match form {
        SerializeType::Json => {
            out.extend_from_slice(b"{\"code\":");
            write_number(out, code.into());
            out.extend_from_slice(b",\"extFields\":{");
            out.extend_from_slice(&rendered.json_marks);
            out.push(b'}');
            write_json_end(opaque, Some(remark), rendered.terms.version, out);
        }
        SerializeType::RocketMq => {
            let ext_at = write_binary_head(code, opaque, remark, rendered.terms.version, out);
            out.extend_from_slice(&rendered.binary_marks);
            end_field(ext_at, out);
        }
    }
    end(start, form, 0, out);
}

/// Adds a reply made by [`write_stored`] with another code than success.
pub fn write_with_code(form: SerializeType, reply: &[u8], code: i16, out: &mut Vec<u8>) {
    let start = out.len();
    match form {
        SerializeType::Json => {
            out.extend_from_slice(&reply[..JSON_CODE_AT]);
            write_number(out, code.into());
            out.extend_from_slice(&reply[JSON_CODE_AT + 1..]);
            end(start, form, 0, out);
        }
        SerializeType::RocketMq => {
            out.extend_from_slice(reply);
            let at = start + PREFIX_SIZE;
            out[at..at + 2].copy_from_slice(&code.to_be_bytes());
        }
    }
}

fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_SIZE]);
    start
}

/// Fills in the lengths of a frame whose body is still to come.
fn end(start: usize, form: SerializeType, body_size: usize, out: &mut [u8]) {
    let header_size = (out.len() - start - PREFIX_SIZE) as u32;
    let kind = match form {
        SerializeType::Json => 0,
        SerializeType::RocketMq => 1 << 24,
    };
    out[start..start + 4].copy_from_slice(&(4 + header_size + body_size as u32).to_be_bytes());
    out[start + 4..start + 8].copy_from_slice(&(kind | header_size).to_be_bytes());
}

fn write_json_end(opaque: i32, remark: Option<&str>, version: i16, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
    write_number(out, opaque.into());
    if let Some(remark) = remark {
        out.extend_from_slice(b",\"remark\":");
        write_string(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    write_number(out, version.into());
    out.push(b'}');
}

/// Everything before the fields; answers where their size is to be filled in.
fn write_binary_head(
    code: i16,
    opaque: i32,
    remark: &str,
    version: i16,
    out: &mut Vec<u8>,
) -> usize {
    out.extend_from_slice(&code.to_be_bytes());
    out.push(0); // JAVA
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&opaque.to_be_bytes());
    out.extend_from_slice(&FLAG_RESPONSE.to_be_bytes());
    let _ = write_sized(out, remark); // a remark of ours is short
    out.extend_from_slice(&[0; 4]);
    out.len()
}

fn begin_field(name: &[u8], out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&(name.len() as u16).to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&[0; 4]);
    out.len()
}

/// Fills in the four bytes before `at`: the size of what came behind.
fn end_field(at: usize, out: &mut [u8]) {
    let size = (out.len() - at) as u32;
    out[at - 4..at].copy_from_slice(&size.to_be_bytes());
}

/// The offsetMsgIds, with commas between.
fn write_ids(rendered: &Rendered, log_offsets: &[u64], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for (number, &log_offset) in log_offsets.iter().enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.extend_from_slice(rendered.terms.id_prefix.as_bytes());
        let mut digits = [0u8; 16];
        for (place, digit) in digits.iter_mut().enumerate() {
            *digit = HEX[(log_offset >> (60 - 4 * place) & 0xF) as usize];
        }
        out.extend_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::terms::Terms;
    use rmqwire::frame::{next, Limits, Next};
    use rmqwire::header::{decode, resolve};

    fn rendered() -> Rendered {
        let terms = Terms {
            accept_from_ms: 0,
            body_size_max: 0,
            properties_size_max: 0,
            refused_sys_flags: 0,
            suffix: String::new(),
            marks: vec![
                ("MSG_REGION".into(), "R\"1".into()),
                ("TRACE_ON".into(), "true".into()),
            ],
            id_prefix: "7F00000100002A9F".into(),
            version: 513,
        };
        Rendered::of(terms).unwrap()
    }

    fn read(reply: &[u8]) -> (i32, Option<String>, Vec<(String, String)>) {
        let limits = Limits {
            frame_size_max: 1 << 24,
            header_size_max: 1 << 20,
            ext_fields_max: 16,
        };
        let Next::Whole(frame) = next(reply, &limits) else {
            unreachable!("the reply is a whole frame");
        };
        assert_eq!((frame.size, frame.body.len()), (reply.len(), 0));
        let mut scratch = String::new();
        let header = decode(frame.serialize_type, frame.header, 16, &mut scratch).unwrap();
        assert_eq!((header.opaque, header.flag, header.version), (-7, 1, 513));
        let owned = |text| resolve(text, &scratch).to_owned();
        let ext = header
            .ext
            .iter()
            .map(|(name, value)| (owned(name), owned(value)));
        (
            header.code,
            header.remark.as_ref().map(owned),
            ext.collect(),
        )
    }

    #[test]
    fn every_reply_reads_back_in_both_forms() {
        let stored = Stored {
            opaque: -7,
            queue_id: 3,
            queue_offset: 12,
            log_offsets: &[0xABC, 0xDEF0],
            unique_key: Some("key\"9"),
        };
        for form in [SerializeType::Json, SerializeType::RocketMq] {
            let mut out = vec![1, 2, 3];
            write_stored(form, &rendered(), &stored, &mut out);
            let reply = out.split_off(3);
            let (code, remark, ext) = read(&reply);
            assert_eq!((code, remark), (0, None));
            let ids = "7F00000100002A9F0000000000000ABC,7F00000100002A9F000000000000DEF0";
            let expected = [
                ("msgId", ids),
                ("queueId", "3"),
                ("queueOffset", "12"),
                ("MSG_REGION", "R\"1"),
                ("TRACE_ON", "true"),
                ("transactionId", "key\"9"),
            ];
            assert_eq!(
                ext,
                expected.map(|(name, value)| (name.into(), value.into()))
            );
            let mut late = vec![9];
            write_with_code(form, &reply, 10, &mut late);
            let (code, remark, same) = read(&late[1..]);
            assert_eq!((code, remark, same), (10, None, ext));
            let mut refused = Vec::new();
            write_refused(form, &rendered(), -7, 14, "no\n", &mut refused);
            let (code, remark, ext) = read(&refused);
            assert_eq!((code, remark.as_deref(), ext.len()), (14, Some("no\n"), 2));
        }
    }
}
