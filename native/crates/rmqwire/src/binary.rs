//! The ROCKETMQ header: fixed numbers, then remark and fields with their lengths.

use crate::bytes::Cursor;
use crate::header::{Header, Text, LANGUAGES, LANGUAGE_OTHER};

const EXT_FIELDS_EXPECTED: usize = 16;

/// None for anything but a well-formed header without empty names or values.
pub(crate) fn decode(header: &[u8], ext_fields_max: usize) -> Option<Header<'_>> {
    let mut cursor = Cursor::new(header, 0);
    let mut decoded = Header::with_ext_capacity(EXT_FIELDS_EXPECTED);
    decoded.code = cursor.i16()?.into();
    let language = cursor.i8()?;
    decoded.language = match usize::try_from(language) {
        Ok(number) if number < LANGUAGES.len() => number,
        _ => LANGUAGE_OTHER,
    };
    decoded.version = cursor.i16()?.into();
    decoded.opaque = cursor.i32()?;
    decoded.flag = cursor.i32()?;
    let remark_size = cursor.i32()?;
    let remark = text(cursor.take(remark_size)?)?;
    decoded.remark = (!remark.is_empty()).then_some(Text::Plain(remark));
    let ext_size = cursor.i32()?;
    let ext_end = cursor.at().checked_add(usize::try_from(ext_size).ok()?)?;
    if ext_end != header.len() {
        return None;
    }
    while !cursor.is_at_end() {
        let name_size = cursor.i16()?;
        let name = text(cursor.take(name_size.into())?)?;
        let value_size = cursor.i32()?;
        let value = text(cursor.take(value_size)?)?;
        if name.is_empty() || value.is_empty() || decoded.ext.len() == ext_fields_max {
            return None;
        }
        decoded.ext.push((Text::Plain(name), Text::Plain(value)));
    }
    Some(decoded)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_vector_decodes() {
        // code 34, JAVA, version 501, opaque 1, remark "hi", {a: b}
        let header = [
            0x00, 0x22, 0x00, 0x01, 0xf5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i', 0, 0, 0,
            8, 0, 1, b'a', 0, 0, 0, 1, b'b',
        ];
        let decoded = decode(&header, 256);
        assert!(
            decoded.is_some_and(|d| (d.code, d.version, d.opaque) == (34, 501, 1)
                && d.remark == Some(Text::Plain("hi"))
                && d.ext == [(Text::Plain("a"), Text::Plain("b"))])
        );
        for end in 0..header.len() {
            assert!(decode(&header[..end], 256).is_none(), "cut at {end}");
        }
    }
}
