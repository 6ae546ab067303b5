//! The JSON header in its plain form: the eight known members, each at most once, fields as text.

use crate::header::{Header, Text, LANGUAGES, LANGUAGE_OTHER};

const EXT_FIELDS_EXPECTED: usize = 16;

/// None for anything else, which the tolerant reader may still accept.
pub(crate) fn decode<'a>(
    header: &'a [u8],
    ext_fields_max: usize,
    scratch: &mut String,
) -> Option<Header<'a>> {
    let text = std::str::from_utf8(header).ok()?;
    let mut reader = Reader {
        text,
        bytes: header,
        at: 0,
        scratch,
    };
    let decoded = reader.document(ext_fields_max)?;
    (reader.peek().is_none()).then_some(decoded)
}

struct Reader<'a, 's> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    scratch: &'s mut String,
}

impl<'a> Reader<'a, '_> {
    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// After a member: true if another follows, false at the object's end.
    fn has_more(&mut self) -> Option<bool> {
        let byte = self.peek()?;
        self.at += 1;
        match byte {
            b',' => Some(true),
            b'}' => Some(false),
            _ => None,
        }
    }

    fn is_empty_object(&mut self) -> Option<bool> {
        self.expect(b'{')?;
        let is_empty = self.peek()? == b'}';
        self.at += usize::from(is_empty);
        Some(is_empty)
    }

    fn document(&mut self, ext_fields_max: usize) -> Option<Header<'a>> {
        let mut header = Header::with_ext_capacity(EXT_FIELDS_EXPECTED);
        if self.is_empty_object()? {
            return Some(header);
        }
        let mut seen = 0u8;
        loop {
            let Text::Plain(name) = self.string()? else {
                return None;
            };
            self.expect(b':')?;
            let bit = match name {
                "code" => {
                    header.code = self.integer()?;
                    1
                }
                "extFields" => {
                    self.ext(&mut header, ext_fields_max)?;
                    2
                }
                "flag" => {
                    header.flag = self.integer()?;
                    4
                }
                "language" => {
                    header.language = self.language()?;
                    8
                }
                "opaque" => {
                    header.opaque = self.integer()?;
                    16
                }
                "remark" => {
                    header.remark = self.string_or_null()?;
                    32
                }
                "serializeTypeCurrentRPC" => {
                    self.string_or_null()?;
                    64
                }
                "version" => {
                    header.version = self.integer()?;
                    128
                }
                _ => return None,
            };
            if seen & bit != 0 {
                return None;
            }
            seen |= bit;
            if !self.has_more()? {
                return Some(header);
            }
        }
    }

    fn ext(&mut self, header: &mut Header<'a>, ext_fields_max: usize) -> Option<()> {
        if self.peek()? == b'n' {
            return self.null();
        }
        if self.is_empty_object()? {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.expect(b':')?;
            self.peek()?;
            let value = self.string()?;
            if header.ext.len() == ext_fields_max {
                return None;
            }
            header.ext.push((name, value));
            if !self.has_more()? {
                return Some(());
            }
        }
    }

    fn language(&mut self) -> Option<usize> {
        self.peek()?;
        let Text::Plain(name) = self.string()? else {
            return None;
        };
        let place = LANGUAGES.iter().position(|&known| known == name);
        Some(place.unwrap_or(LANGUAGE_OTHER))
    }

    fn null(&mut self) -> Option<()> {
        let end = self.at + 4;
        (self.bytes.get(self.at..end)? == b"null").then(|| self.at = end)
    }

    fn string_or_null(&mut self) -> Option<Option<Text<'a>>> {
        if self.peek()? == b'n' {
            return self.null().map(|()| None);
        }
        self.string().map(Some)
    }

    /// `-?(0|[1-9][0-9]*)` within 32 bits, and nothing that would make it another number.
    fn integer(&mut self) -> Option<i32> {
        let is_negative = self.peek()? == b'-';
        self.at += usize::from(is_negative);
        let start = self.at;
        let mut value = 0i64;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            value = value * 10 + i64::from(digit - b'0');
            self.at += 1;
            if self.at - start > 10 {
                return None;
            }
        }
        let digits = self.bytes.get(start..self.at)?;
        if digits.is_empty() || (digits.len() > 1 && digits.first() == Some(&b'0')) {
            return None;
        }
        if !matches!(self.peek()?, b',' | b'}') {
            return None;
        }
        i32::try_from(if is_negative { -value } else { value }).ok()
    }

    fn string(&mut self) -> Option<Text<'a>> {
        self.expect(b'"')?;
        let start = self.at;
        if let Some([b' '..=b'!' | b'#'..=b'[' | b']'..=b'~', b'"']) =
            self.bytes.get(start..start + 2)
        {
            self.at = start + 2; // one letter, as names of fields often are
            return self.text.get(start..=start).map(Text::Plain);
        }
        let end = self.special(start)?;
        if *self.bytes.get(end)? == b'"' {
            self.at = end + 1;
            return self.text.get(start..end).map(Text::Plain);
        }
        self.unescaped(start)
    }

    /// Place of the next quote, backslash or control character.
    fn special(&self, start: usize) -> Option<usize> {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        let mut at = start;
        while let Some(chunk) = self.bytes.get(at..at + 8) {
            let word = u64::from_le_bytes(chunk.try_into().ok()?);
            let quote = word ^ (ONES * b'"' as u64);
            let backslash = word ^ (ONES * b'\\' as u64);
            let found = (quote.wrapping_sub(ONES) & !quote)
                | (backslash.wrapping_sub(ONES) & !backslash)
                | (word.wrapping_sub(ONES * 0x20) & !word);
            let found = found & HIGHS;
            if found != 0 {
                // The lowest mark is exact; a borrow can only add false ones above it.
                return Some(at + (found.trailing_zeros() / 8) as usize);
            }
            at += 8;
        }
        let rest = self.bytes.get(at..)?;
        rest.iter()
            .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)
            .map(|n| at + n)
    }

    fn unescaped(&mut self, start: usize) -> Option<Text<'a>> {
        let scratch_start = self.scratch.len();
        let mut from = start;
        loop {
            let end = self.special(from)?;
            self.scratch.push_str(self.text.get(from..end)?);
            match self.bytes.get(end)? {
                b'"' => {
                    self.at = end + 1;
                    return Some(Text::Unescaped(scratch_start..self.scratch.len()));
                }
                b'\\' => {
                    let (character, size) = self.escape(end + 1)?;
                    self.scratch.push(character);
                    from = end + 1 + size;
                }
                _ => return None,
            }
        }
    }

    /// The character that the escape behind a backslash stands for, and the escape's size.
    fn escape(&self, at: usize) -> Option<(char, usize)> {
        let character = match self.bytes.get(at)? {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                // The separators of properties.
                match self.bytes.get(at + 1..at + 5)? {
                    b"0001" => return Some(('\u{1}', 5)),
                    b"0002" => return Some(('\u{2}', 5)),
                    _ => {}
                }
                let unit = self.hex4(at + 1)?;
                return match unit {
                    0xD800..=0xDBFF => {
                        if self.bytes.get(at + 5..at + 7)? != b"\\u" {
                            return None;
                        }
                        let low = self.hex4(at + 7)?;
                        if !(0xDC00..=0xDFFF).contains(&low) {
                            return None;
                        }
                        let point = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                        Some((char::from_u32(point)?, 11))
                    }
                    _ => Some((char::from_u32(unit)?, 5)),
                };
            }
            _ => return None,
        };
        Some((character, 1))
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.bytes.get(at..at + 4)?;
        digits.iter().try_fold(0, |value, &digit| {
            Some(value << 4 | (digit as char).to_digit(16)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::resolve;

    fn ext(header: &str) -> Option<Vec<(String, String)>> {
        let mut scratch = String::new();
        let decoded = decode(header.as_bytes(), 256, &mut scratch)?;
        let owned = |text: &Text<'_>| resolve(text, &scratch).to_owned();
        Some(
            decoded
                .ext
                .iter()
                .map(|(name, value)| (owned(name), owned(value)))
                .collect(),
        )
    }

    #[test]
    fn a_send_header_decodes() {
        let header = r#"{"code":310,"extFields":{"a":"PG","i":"KEYS\u0001k\u0002中😀\ud83d\ude00"},"flag":0,"language":"GO","opaque":-3,"remark":null,"serializeTypeCurrentRPC":"JSON","version":513}"#;
        let mut scratch = String::new();
        let decoded = decode(header.as_bytes(), 256, &mut scratch);
        assert!(
            decoded.is_some_and(
                |d| (d.code, d.language, d.opaque, d.version) == (310, 9, -3, 513)
                    && d.remark.is_none()
            )
        );
        assert_eq!(
            ext(header),
            Some(vec![
                ("a".into(), "PG".into()),
                ("i".into(), "KEYS\u{1}k\u{2}中😀😀".into())
            ])
        );
    }

    #[test]
    fn what_is_not_plain_is_left_to_others() {
        for header in [
            "",
            "[]",
            "{",
            "{}x",
            r#"{"code":1,"code":2}"#,
            r#"{"code":1.0}"#,
            r#"{"code":01}"#,
            r#"{"code":2147483648}"#,
            r#"{"code":"1"}"#,
            r#"{"other":1}"#,
            r#"{"code":1,}"#,
            r#"{"extFields":{"a":1}}"#,
            r#"{"extFields":{"a":"\ud800"}}"#,
            r#"{'code':1}"#,
            r#"{"extFields":{"a":"\x"}}"#,
            "{\"remark\":\"\t\"}",
            r#"{"language":1}"#,
            r#"{"code":1 2}"#,
            r#"{"code":-}"#,
        ] {
            assert!(ext(header).is_none(), "{header}");
        }
    }

    #[test]
    fn specials_are_found_wherever_they_stand() {
        for special in ['"', '\\', '\u{1f}'] {
            for before in 0..40 {
                let text = format!("{}{special}aé\u{7f}bcdefgh\"", "é".repeat(before));
                let mut scratch = String::new();
                let reader = Reader {
                    text: &text,
                    bytes: text.as_bytes(),
                    at: 0,
                    scratch: &mut scratch,
                };
                assert_eq!(
                    reader.special(0),
                    Some(before * 2),
                    "{special:?} behind {before}"
                );
            }
        }
    }
}
