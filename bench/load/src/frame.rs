//! Remoting frames: i32 total, i32 (form << 24 | header length), header, body; headers in both
//! forms. Follows Apache's RemotingCommand, RemotingSerializable and RocketMQSerializable.

use crate::fault::Fault;
use crate::json;

pub const FRAME_MAX: usize = 16 * 1024 * 1024;
/// Flag bit 0: an answer.
pub const ANSWER: i32 = 1;
const VERSION: i16 = 513;
/// Position of `opaque` in a binary frame: lengths 8, code 2, language 1, version 2.
pub const BINARY_OPAQUE_AT: usize = 13;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Binary,
}

impl Form {
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Binary => "binary",
        }
    }
}

/// The length of the first frame in `bytes`, prefix included; None while the prefix is missing.
pub fn frame_size(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let Some(total) = i32_at(bytes, 0) else {
        return Ok(None);
    };
    match usize::try_from(total) {
        Ok(size) if (4..=FRAME_MAX).contains(&size) => Ok(Some(size + 4)),
        _ => Err(Fault::failed(format!(
            "frame of {total} bytes: the stream is broken"
        ))),
    }
}

pub fn i16_at(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub fn i64_at(bytes: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// What this tool reads of a header. Texts are raw: JSON escapes are left in them.
#[derive(Debug)]
pub struct Header<'a> {
    pub form: Form,
    pub code: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: &'a [u8],
    fields: &'a [u8],
}

impl<'a> Header<'a> {
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        let mut found = None;
        match self.form {
            Form::Json => {
                json::members(self.fields, |key, value| {
                    if key == name.as_bytes() {
                        found = Some(value);
                    }
                });
            }
            Form::Binary => {
                let mut rest = self.fields;
                while !rest.is_empty() {
                    let key_size = usize::try_from(i16_at(rest, 0)?).ok()?;
                    let key = rest.get(2..2 + key_size)?;
                    let value_size = usize::try_from(i32_at(rest, 2 + key_size)?).ok()?;
                    let value = rest.get(6 + key_size..6 + key_size + value_size)?;
                    if key == name.as_bytes() {
                        return Some(value);
                    }
                    rest = &rest[6 + key_size + value_size..];
                }
            }
        }
        found
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        json::number(self.field(name)?)
    }

    /// The remark for people, cut to a bearable length.
    pub fn remark_text(&self) -> String {
        String::from_utf8_lossy(self.remark)
            .chars()
            .take(200)
            .collect()
    }
}

/// Header and body of a whole frame.
pub fn decode(frame: &[u8]) -> Result<(Header<'_>, &[u8]), Fault> {
    parts(frame).ok_or_else(|| Fault::failed("a frame with a header that cannot be read"))
}

fn parts(frame: &[u8]) -> Option<(Header<'_>, &[u8])> {
    let mark = i32_at(frame, 4)?;
    let size = usize::try_from(mark & 0x00ff_ffff).ok()?;
    let header = frame.get(8..8 + size)?;
    let body = &frame[8 + size..];
    let header = match mark >> 24 {
        0 => json_header(header)?,
        1 => binary_header(header)?,
        _ => return None,
    };
    Some((header, body))
}

fn json_header(text: &[u8]) -> Option<Header<'_>> {
    let (mut code, mut opaque, mut flag) = (None, None, Some(0));
    let (mut remark, mut fields): (&[u8], &[u8]) = (b"", b"{}");
    json::members(text, |name, value| match name {
        b"code" => code = json::number(value),
        b"opaque" => opaque = json::number(value),
        b"flag" => flag = json::number(value),
        b"remark" if value != b"null" => remark = value,
        b"extFields" if value != b"null" => fields = value,
        _ => (),
    })?;
    Some(Header {
        form: Form::Json,
        code: i32::try_from(code?).ok()?,
        opaque: i32::try_from(opaque?).ok()?,
        flag: i32::try_from(flag?).ok()?,
        remark,
        fields,
    })
}

fn binary_header(bytes: &[u8]) -> Option<Header<'_>> {
    let remark_size = usize::try_from(i32_at(bytes, 13)?).ok()?;
    let remark = bytes.get(17..17 + remark_size)?;
    let fields_size = usize::try_from(i32_at(bytes, 17 + remark_size)?).ok()?;
    let fields = bytes.get(21 + remark_size..21 + remark_size + fields_size)?;
    Some(Header {
        form: Form::Binary,
        code: i32::from(i16_at(bytes, 0)?),
        opaque: i32_at(bytes, 5)?,
        flag: i32_at(bytes, 9)?,
        remark,
        fields,
    })
}

/// Appends a whole frame, as a Java client or server writes it.
pub fn encode(
    out: &mut Vec<u8>,
    form: Form,
    (code, opaque, flag): (i32, i32, i32),
    fields: &[(&str, &[u8])],
    body: &[u8],
) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    match form {
        Form::Json => {
            out.extend_from_slice(format!("{{\"code\":{code},\"extFields\":{{").as_bytes());
            for (index, (name, value)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                json::write_string(out, name.as_bytes());
                out.push(b':');
                json::write_string(out, value);
            }
            let rest = format!(
                "}},\"flag\":{flag},\"language\":\"JAVA\",\"opaque\":{opaque},\
                 \"serializeTypeCurrentRPC\":\"JSON\",\"version\":{VERSION}}}"
            );
            out.extend_from_slice(rest.as_bytes());
        }
        Form::Binary => {
            // Codes over 32767 do not fit this form; none is used here.
            out.extend_from_slice(&(code as i16).to_be_bytes());
            out.push(0);
            out.extend_from_slice(&VERSION.to_be_bytes());
            out.extend_from_slice(&opaque.to_be_bytes());
            out.extend_from_slice(&flag.to_be_bytes());
            out.extend_from_slice(&0i32.to_be_bytes());
            let size: usize = fields.iter().map(|(n, v)| 6 + n.len() + v.len()).sum();
            out.extend_from_slice(&(size as i32).to_be_bytes());
            for (name, value) in fields {
                out.extend_from_slice(&(name.len() as i16).to_be_bytes());
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(&(value.len() as i32).to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
    let header_size = out.len() - start - 8;
    out.extend_from_slice(body);
    let total = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&total.to_be_bytes());
    let mark = (form as i32) << 24 | header_size as i32;
    out[start + 4..start + 8].copy_from_slice(&mark.to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_in_both_forms() {
        for form in [Form::Json, Form::Binary] {
            let mut out = Vec::new();
            let fields: [(&str, &[u8]); 2] = [("topic", b"T"), ("queueOffset", b"-12")];
            encode(&mut out, form, (11, 123, ANSWER), &fields, b"body");
            assert_eq!(frame_size(&out).unwrap(), Some(out.len()));
            let (header, body) = decode(&out).unwrap();
            assert_eq!((header.code, header.opaque, header.flag), (11, 123, 1));
            assert_eq!(header.field("topic"), Some(&b"T"[..]));
            assert_eq!(header.number("queueOffset"), Some(-12));
            assert_eq!(header.field("none"), None);
            assert_eq!(body, b"body");
        }
    }

    #[test]
    fn a_binary_header_is_what_apache_writes() {
        // Captured from RocketMQSerializable, with its version 501 replaced by 513 and no remark.
        let mut out = Vec::new();
        encode(&mut out, Form::Binary, (34, 1, 0), &[("a", b"b")], b"xy");
        let expected = [
            0, 0, 0, 0x23, 1, 0, 0, 0x1d, 0, 0x22, 0, 2, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 8, 0, 1, b'a', 0, 0, 0, 1, b'b', b'x', b'y',
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn cut_headers_and_impossible_lengths_are_refused() {
        for form in [Form::Json, Form::Binary] {
            let mut out = Vec::new();
            encode(&mut out, form, (0, 1, ANSWER), &[("a", b"b")], b"");
            for length in 8..out.len() {
                assert!(decode(&out[..length]).is_err(), "{form:?} {length}");
            }
        }
        assert!(frame_size(&[0, 0, 0]).unwrap().is_none());
        assert!(frame_size(&[0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(frame_size(&[0x7f, 0, 0, 0]).is_err());
    }
}
