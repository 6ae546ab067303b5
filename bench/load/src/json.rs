//! Just enough JSON to read remoting headers: a walk over the members of one object.

/// Calls `each` with the name and the raw value of every member of the object that starts `text`
/// (a string value comes without its quotes and with its escapes). None if it is not an object.
pub fn members<'a>(text: &'a [u8], mut each: impl FnMut(&'a [u8], &'a [u8])) -> Option<()> {
    let mut at = blank(text, 0);
    if *text.get(at)? != b'{' {
        return None;
    }
    at = blank(text, at + 1);
    if *text.get(at)? == b'}' {
        return Some(());
    }
    loop {
        let name_end = string_end(text, at)?;
        let name = &text[at + 1..name_end - 1];
        at = blank(text, name_end);
        if *text.get(at)? != b':' {
            return None;
        }
        at = blank(text, at + 1);
        let end = value_end(text, at)?;
        let value = match text[at] {
            b'"' => &text[at + 1..end - 1],
            _ => &text[at..end],
        };
        each(name, value);
        at = blank(text, end);
        match *text.get(at)? {
            b',' => at = blank(text, at + 1),
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

pub fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn blank(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}

/// The position after the string that starts at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let mut at = at + 1;
    loop {
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'"' => string_end(text, at),
        b'{' | b'[' => {
            let (mut at, mut depth) = (at, 0usize);
            loop {
                match *text.get(at)? {
                    b'"' => at = string_end(text, at)?,
                    b'{' | b'[' => {
                        depth += 1;
                        at += 1;
                    }
                    b'}' | b']' => {
                        depth -= 1;
                        at += 1;
                        if depth == 0 {
                            return Some(at);
                        }
                    }
                    _ => at += 1,
                }
            }
        }
        _ => {
            let length = text[at..].iter().position(|byte| {
                matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')
            })?;
            (length > 0).then_some(at + length)
        }
    }
}

/// Appends `text` as a JSON string, control characters as \u00XX like Java's writer.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn members_of_a_header_are_walked_whatever_their_order() {
        let text = br#" { "opaque" : 7 ,"extFields":{"a":"}\"]","b":[1,{"c":2}]}, "code":-1,"remark":"x\"y"}"#;
        let mut seen = Vec::new();
        members(text, |name, value| {
            seen.push((name.to_vec(), value.to_vec()))
        })
        .unwrap();
        let names: Vec<&[u8]> = seen.iter().map(|(name, _)| name.as_slice()).collect();
        assert_eq!(names, [&b"opaque"[..], b"extFields", b"code", b"remark"]);
        assert_eq!(seen[0].1, b"7");
        assert_eq!(number(&seen[2].1), Some(-1));
        assert_eq!(seen[3].1, br#"x\"y"#);
    }

    #[test]
    fn cut_or_crooked_text_is_refused_at_every_length() {
        let text = br#"{"code":0,"extFields":{"queueId":"3"},"opaque":12}"#;
        for length in 0..text.len() {
            assert!(members(&text[..length], |_, _| ()).is_none(), "{length}");
        }
        for text in [
            &b"[]"[..],
            b"{1:2}",
            b"{\"a\" 1}",
            b"{\"a\":,}",
            b"{\"a\":1 2}",
        ] {
            assert!(members(text, |_, _| ()).is_none());
        }
        assert!(members(b"{}", |_, _| ()).is_some());
    }

    #[test]
    fn separators_of_properties_are_escaped() {
        let mut out = Vec::new();
        write_string(&mut out, b"a\x01\"b\"\\\x1f");
        assert_eq!(out, br#""a\u0001\"b\"\\\u001f""#);
    }
}
