//! The header's members, whichever form they came in.

use crate::frame::SerializeType;
use crate::{binary, json};
use std::ops::Range;

/// A header that only the tolerant reader can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusual;

/// A piece of text: a part of the header, or of the reader's scratch space if it had escapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    Plain(&'a str),
    Unescaped(Range<usize>),
}

/// Number that stands for a language Apache does not know (`LanguageCode.OTHER`).
pub const LANGUAGE_OTHER: usize = 7;

/// Language names; the place is the number in the binary form.
pub const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP",
    "OMS", "RUST", "NODE_JS",
];

/// One decoded header. Fields are in the order of the wire; of equal names the last counts.
#[derive(Debug)]
pub struct Header<'a> {
    pub code: i32,
    /// Place in `LANGUAGES`.
    pub language: usize,
    pub version: i32,
    pub opaque: i32,
    pub flag: i32,
    pub remark: Option<Text<'a>>,
    pub ext: Vec<(Text<'a>, Text<'a>)>,
}

impl Header<'_> {
    pub(crate) fn with_ext_capacity(capacity: usize) -> Self {
        Self {
            code: 0,
            language: 0,
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: Vec::with_capacity(capacity),
        }
    }
}

/// Decodes a header of the plain form; `scratch` takes unescaped text and is cleared first.
///
/// # Errors
/// `Unusual` for everything else, broken or not.
pub fn decode<'a>(
    serialize_type: SerializeType,
    header: &'a [u8],
    ext_fields_max: usize,
    scratch: &mut String,
) -> Result<Header<'a>, Unusual> {
    scratch.clear();
    match serialize_type {
        SerializeType::Json => json::decode(header, ext_fields_max, scratch),
        SerializeType::RocketMq => binary::decode(header, ext_fields_max),
    }
    .ok_or(Unusual)
}

/// The text itself.
#[must_use]
pub fn resolve<'t>(text: &Text<'t>, scratch: &'t str) -> &'t str {
    match text {
        Text::Plain(plain) => plain,
        Text::Unescaped(range) => scratch.get(range.clone()).unwrap_or_default(),
    }
}
