//! One walk over a message's properties text: is it ordinary, and what of it does a send need?
//!
//! The rules are those of `pyromq.domain.properties` (`may_be_special`, `unique_key_of`) and of a
//! send's WAIT; where a text is odd in any way the answer is None, and Python looks at it.

use rmqlog::record::Marks;

const NAME_END: u8 = 1;
const VALUE_END: u8 = 2;

/// What a send needs of ordinary properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ordinary<'t> {
    pub unique_key: Option<&'t str>,
    /// The sender does not want to wait for the sync.
    pub is_waived: bool,
    /// As `rmqlog::record::scan_properties` finds them.
    pub marks: Marks<'t>,
}

/// None for text that may hold a property of special meaning, or that is written unusually.
#[must_use]
pub fn ordinary(text: &str) -> Option<Ordinary<'_>> {
    let bytes = text.as_bytes();
    let mut found = Ordinary::default();
    let mut has_wait = false;
    let mut start = 0;
    while start < bytes.len() {
        let end = find(bytes, start, bytes.len(), VALUE_END).unwrap_or(bytes.len());
        let mut separator = find(bytes, start, end, NAME_END);
        if let Some(at) = separator {
            take_mark(&bytes[start..end], at - start, &mut found.marks);
        }
        // A value may look like a name, too.
        while let Some(at) = separator {
            let size = at - start;
            let name = &bytes[start..at];
            if is_special(name) {
                return None;
            }
            let value = || value(text, start, size, end);
            if name.ends_with(b"UNIQ_KEY") && found.unique_key.is_none() {
                found.unique_key = Some(value().filter(|_| size == 8)?);
            } else if name.ends_with(b"WAIT") {
                if has_wait {
                    return None;
                }
                has_wait = true;
                found.is_waived = match value().filter(|_| size == 4)? {
                    "true" => false,
                    "false" => true,
                    _ => return None,
                };
            }
            separator = find(bytes, at + 1, end, NAME_END);
        }
        start = end + 1;
    }
    (!has_timer(bytes)).then_some(found)
}

/// Begins the names of all timers. Anywhere in the text, as Python asks it.
fn has_timer(bytes: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = find(bytes, from, bytes.len(), b'_') {
        if bytes[..at].ends_with(b"TIMER") && bytes[at + 1..].starts_with(b"DEL") {
            return true;
        }
        from = at + 1;
    }
    false
}

/// Keeps the pair's value, if it is one of those: the last of a name counts.
fn take_mark<'t>(pair: &'t [u8], name_size: usize, marks: &mut Marks<'t>) {
    let (name, value) = (&pair[..name_size], &pair[name_size + 1..]);
    if value.is_empty() {
        return;
    }
    match name {
        b"TAGS" => marks.tags = value,
        b"KEYS" => marks.keys = value,
        b"UNIQ_KEY" => marks.unique_key = value,
        b"DELAY" => marks.delay_level = value,
        _ => {}
    }
}

/// Whether the name that ends here is one that a send must look at more closely.
fn is_special(name: &[u8]) -> bool {
    match name.last() {
        Some(b'Y') => name.ends_with(b"DELAY"),
        Some(b'G') => name.ends_with(b"TRAN_MSG"),
        Some(b'K') => name.ends_with(b"POP_CK"),
        Some(b'N') => name.ends_with(b"MSG_REGION") || name.ends_with(b"TRACE_ON"),
        Some(b'R') => name.ends_with(b"CLUSTER"),
        Some(b'C') => name.ends_with(b"__LITE_TOPIC"),
        Some(b'_') => name.ends_with(b"_SYS_MSG_PRIORITY_"),
        Some(b'M') => name.ends_with(b"INNER_NUM"),
        _ => false,
    }
}

/// The value of a pair that begins at `start`, behind a name of that size; None if it is empty or cut off.
fn value(text: &str, start: usize, name_size: usize, end: usize) -> Option<&str> {
    let is_cut = end == text.len();
    text.get(start + name_size + 1..end)
        .filter(|value| !value.is_empty() && !is_cut)
}

/// Place of the next `wanted` byte from `from` on and before `to`; eight bytes a step.
fn find(bytes: &[u8], from: usize, to: usize, wanted: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let pattern = ONES * u64::from(wanted);
    let mut at = from;
    while at < to {
        let Some(chunk) = bytes[at..].first_chunk::<8>() else {
            let more = bytes[at..to].iter().position(|&byte| byte == wanted)?;
            return Some(at + more);
        };
        let word = u64::from_le_bytes(*chunk) ^ pattern;
        let found = word.wrapping_sub(ONES) & !word & HIGHS;
        if found != 0 {
            let place = at + (found.trailing_zeros() / 8) as usize;
            return (place < to).then_some(place);
        }
        at += 8;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmqlog::record::scan_properties;

    #[test]
    fn a_java_message_is_ordinary() {
        let text = "KEYS\x01key-7\x02UNIQ_KEY\x017F000001\x02WAIT\x01true\x02TAGS\x01TagA\x02";
        let found = ordinary(text);
        let expected = Ordinary {
            unique_key: Some("7F000001"),
            is_waived: false,
            marks: Marks {
                tags: b"TagA",
                keys: b"key-7",
                unique_key: b"7F000001",
                delay_level: b"",
            },
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn who_does_not_wait_says_so() {
        let waived = |text: &str| ordinary(text).map(|found| found.is_waived);
        assert_eq!(waived("WAIT\x01false\x02"), Some(true));
        assert_eq!(waived("WAIT\x01true\x02"), Some(false));
        assert_eq!(waived("TAGS\x01a\x02"), Some(false));
        assert_eq!(waived(""), Some(false));
    }

    #[test]
    fn special_names_are_left_wherever_they_end() {
        for name in [
            "DELAY",
            "TRAN_MSG",
            "POP_CK",
            "MSG_REGION",
            "TRACE_ON",
            "CLUSTER",
            "__LITE_TOPIC",
            "_SYS_MSG_PRIORITY_",
            "INNER_NUM",
            "TIMER_DELAY_SEC",
            "TIMER_DELAY_MS",
            "TIMER_DELIVER_MS",
        ] {
            for before in ["", "A\x01b\x02", "x", "TAGS\x01"] {
                let text = format!("{before}{name}\x013\x02");
                assert_eq!(ordinary(&text), None, "{text:?}");
            }
        }
        assert_eq!(ordinary("TAGS\x01a TIMER_DEL\x02"), None);
    }

    #[test]
    fn odd_texts_are_left() {
        for text in [
            "UNIQ_KEY\x01cut off",
            "UNIQ_KEY\x01\x02",
            "xUNIQ_KEY\x01a\x02",
            "WAIT\x01TRUE\x02",
            "WAIT\x01\x02",
            "WAIT\x01true",
            "AWAIT\x01true\x02",
            "WAIT\x01false\x02WAIT\x01true\x02",
        ] {
            assert_eq!(ordinary(text), None, "{text:?}");
        }
    }

    #[test]
    fn of_two_unique_keys_the_first_counts() {
        let found = ordinary("UNIQ_KEY\x01a\x02UNIQ_KEY\x01b\x02");
        assert_eq!(found.and_then(|found| found.unique_key), Some("a"));
    }

    /// The same said plainly.
    fn thorough(text: &str) -> Option<Ordinary<'_>> {
        let bytes = text.as_bytes();
        let mut found = Ordinary::default();
        let mut has_wait = false;
        let mut from = 0;
        while let Some(at) = find(bytes, from, bytes.len(), NAME_END) {
            from = at + 1;
            let name = &bytes[..at];
            if is_special(name) {
                return None;
            }
            if name.ends_with(b"UNIQ_KEY") && found.unique_key.is_none() {
                found.unique_key = Some(whole_value(text, at, 8)?);
            } else if name.ends_with(b"WAIT") {
                if has_wait {
                    return None;
                }
                has_wait = true;
                found.is_waived = match whole_value(text, at, 4)? {
                    "true" => false,
                    "false" => true,
                    _ => return None,
                };
            }
        }
        found.marks = scan_properties(bytes);
        (!text.contains("TIMER_DEL")).then_some(found)
    }

    fn whole_value(text: &str, at: usize, name_size: usize) -> Option<&str> {
        let bytes = text.as_bytes();
        let start = at.checked_sub(name_size)?;
        if start > 0 && bytes[start - 1] != VALUE_END {
            return None;
        }
        let end = find(bytes, at + 1, bytes.len(), VALUE_END)?;
        text.get(at + 1..end).filter(|value| !value.is_empty())
    }

    #[test]
    fn one_walk_finds_what_many_find() {
        const PARTS: [&str; 18] = [
            "\x01", "\x01", "\x01", "\x02", "\x02", "\x02", "TAGS", "KEYS", "UNIQ_KEY", "WAIT",
            "true", "false", "a", "x b", "DELAY", "TIMER_", "DEL", "\u{e9}",
        ];
        let mut state = 1u64;
        let mut below = |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % limit as u64) as usize
        };
        let mut ordinary_count = 0;
        for _ in 0..200_000 {
            // The last parts make a text special: they come seldom.
            let mut text = String::new();
            for _ in 0..below(16) {
                let limit = if below(20) == 0 { PARTS.len() } else { 14 };
                text.push_str(PARTS[below(limit)]);
            }
            let found = ordinary(&text);
            assert_eq!(found, thorough(&text), "{text:?}");
            ordinary_count +=
                usize::from(found.is_some_and(|found| found.marks != Marks::default()));
        }
        assert!(ordinary_count > 1000, "{ordinary_count}");
    }

    #[test]
    fn bytes_are_found_at_every_place() {
        for size in 0..40 {
            for place in 0..size {
                let mut bytes = vec![b'\x81'; size];
                bytes[place] = 1;
                assert_eq!(find(&bytes, 0, size, 1), Some(place));
                assert_eq!(find(&bytes, place, place + 1, 1), Some(place));
                assert_eq!(find(&bytes, 0, place, 1), None);
                assert_eq!(find(&bytes, place + 1, size, 1), None);
            }
        }
    }
}
