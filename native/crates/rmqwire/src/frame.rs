//! `i32 length of what follows │ i32 serialize type << 24 | header length │ header │ body`

use std::fmt;

const LENGTH_SIZE: usize = 4;
const PREFIX_SIZE: usize = 8;
const HEADER_LENGTH_MASK: i32 = 0xFF_FFFF;

/// What one side accepts, in bytes and fields; the numbers are Python's (`frame.FrameLimits`).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub frame_size_max: usize,
    pub header_size_max: usize,
    pub ext_fields_max: usize,
}

/// Form of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SerializeType {
    Json,
    RocketMq,
}

/// Bytes that cannot be a frame. The texts are those of `pyromq.wire.remoting.frame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    LengthTooSmall { length: i32 },
    LengthOverLimit { length: i32, max: usize },
    SerializeTypeUnknown { number: i32 },
    HeaderDoesNotFit { header: i32, length: i32 },
    HeaderOverLimit { header: i32, max: usize },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LengthTooSmall { length } => {
                write!(f, "frame length {length} is below {LENGTH_SIZE}")
            }
            Self::LengthOverLimit { length, max } => {
                write!(f, "frame length {length} is over the limit of {max}")
            }
            Self::SerializeTypeUnknown { number } => {
                write!(f, "serialize type {number} is unknown")
            }
            Self::HeaderDoesNotFit { header, length } => {
                write!(
                    f,
                    "header length {header} does not fit a frame of length {length}"
                )
            }
            Self::HeaderOverLimit { header, max } => {
                write!(f, "header length {header} is over the limit of {max}")
            }
        }
    }
}

/// One whole frame, still undecoded.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub serialize_type: SerializeType,
    pub header: &'a [u8],
    pub body: &'a [u8],
    /// Size in the stream, prefix included.
    pub size: usize,
}

/// What stands at the start of a stream.
#[derive(Debug)]
pub enum Next<'a> {
    Whole(Frame<'a>),
    /// More bytes are needed; the frame's size once it is known.
    Unfinished {
        size: Option<usize>,
    },
    Broken(Violation),
}

fn i32_at(data: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

/// Looks at the start of `data`; every length is judged before it is believed.
#[must_use]
pub fn next<'a>(data: &'a [u8], limits: &Limits) -> Next<'a> {
    let Some(length) = i32_at(data, 0) else {
        return Next::Unfinished { size: None };
    };
    let size = match usize::try_from(length) {
        Ok(size) if size >= LENGTH_SIZE => size + LENGTH_SIZE,
        _ => return Next::Broken(Violation::LengthTooSmall { length }),
    };
    if size > limits.frame_size_max {
        let max = limits.frame_size_max.saturating_sub(LENGTH_SIZE);
        return Next::Broken(Violation::LengthOverLimit { length, max });
    }
    let Some(word) = i32_at(data, LENGTH_SIZE) else {
        return Next::Unfinished { size: Some(size) };
    };
    let serialize_type = match word >> 24 {
        0 => SerializeType::Json,
        1 => SerializeType::RocketMq,
        number => return Next::Broken(Violation::SerializeTypeUnknown { number }),
    };
    let header = word & HEADER_LENGTH_MASK;
    let header_end = PREFIX_SIZE + header.unsigned_abs() as usize;
    if header_end > size {
        return Next::Broken(Violation::HeaderDoesNotFit { header, length });
    }
    if header_end - PREFIX_SIZE > limits.header_size_max {
        let max = limits.header_size_max;
        return Next::Broken(Violation::HeaderOverLimit { header, max });
    }
    match (
        data.get(PREFIX_SIZE..header_end),
        data.get(header_end..size),
    ) {
        (Some(header), Some(body)) => Next::Whole(Frame {
            serialize_type,
            header,
            body,
            size,
        }),
        _ => Next::Unfinished { size: Some(size) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        frame_size_max: 1 << 24,
        header_size_max: 1 << 16,
        ext_fields_max: 256,
    };

    fn broken(data: &[u8]) -> String {
        match next(data, &LIMITS) {
            Next::Broken(violation) => violation.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn lengths_are_judged_as_soon_as_they_are_there() {
        assert_eq!(
            broken(&[0xff, 0xff, 0xff, 0xff]),
            "frame length -1 is below 4"
        );
        assert_eq!(
            broken(&[0x7f, 0xff, 0xff, 0xff]),
            "frame length 2147483647 is over the limit of 16777212"
        );
        assert_eq!(
            broken(&[0, 0, 0, 9, 7, 0, 0, 0]),
            "serialize type 7 is unknown"
        );
        assert_eq!(
            broken(&[0, 0, 0, 9, 0, 0, 0, 6]),
            "header length 6 does not fit a frame of length 9"
        );
        assert_eq!(
            broken(&[0, 2, 0, 9, 0, 1, 0, 1]),
            "header length 65537 is over the limit of 65536"
        );
    }

    #[test]
    fn an_unfinished_frame_tells_its_size() {
        assert!(matches!(
            next(&[0, 0, 0], &LIMITS),
            Next::Unfinished { size: None }
        ));
        assert!(matches!(
            next(&[0, 0, 0, 9, 0], &LIMITS),
            Next::Unfinished { size: Some(13) }
        ));
    }

    #[test]
    fn a_whole_frame_is_taken_apart() {
        let data = [0, 0, 0, 7, 1, 0, 0, 2, b'h', b'h', b'b', b'n'];
        let Next::Whole(frame) = next(&data, &LIMITS) else {
            unreachable!("the frame is whole");
        };
        assert_eq!(frame.serialize_type, SerializeType::RocketMq);
        assert_eq!(
            (frame.header, frame.body, frame.size),
            (&b"hh"[..], &b"b"[..], 11)
        );
    }
}
