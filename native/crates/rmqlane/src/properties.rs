//! One walk over a message's properties text: is it ordinary, and what of it does a send need?
//!
//! The rules are those of `pyromq.domain.properties` (`may_be_special`, `unique_key_of`) and of a
//! send's WAIT; where a text is odd in any way the answer is None, and Python looks at it.

const NAME_END: u8 = 1;
const VALUE_END: u8 = 2;

/// What a send needs of ordinary properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ordinary<'t> {
    pub unique_key: Option<&'t str>,
    /// The sender does not want to wait for the sync.
    pub is_waived: bool,
}

/// None for text that may hold a property of special meaning, or that is written unusually.
#[must_use]
pub fn ordinary(text: &str) -> Option<Ordinary<'_>> {
    let bytes = text.as_bytes();
    let mut found = Ordinary::default();
    let mut has_wait = false;
    let mut from = 0;
    while let Some(at) = find(bytes, from, NAME_END) {
        from = at + 1;
        let name = &bytes[..at];
        if is_special(name) {
            return None;
        }
        if name.ends_with(b"UNIQ_KEY") && found.unique_key.is_none() {
            found.unique_key = Some(value(text, at, 8)?);
        } else if name.ends_with(b"WAIT") {
            if has_wait {
                return None;
            }
            has_wait = true;
            found.is_waived = match value(text, at, 4)? {
                "true" => false,
                "false" => true,
                _ => return None,
            };
        }
    }
    // Begins the names of all timers. Anywhere in the text, as Python asks it.
    (!text.contains("TIMER_DEL")).then_some(found)
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

/// The value behind the separator at `at`; None unless the name of `name_size` bytes before it is a
/// whole one, and the value is neither empty nor cut off.
fn value(text: &str, at: usize, name_size: usize) -> Option<&str> {
    let bytes = text.as_bytes();
    let start = at.checked_sub(name_size)?;
    if start > 0 && bytes[start - 1] != VALUE_END {
        return None;
    }
    let end = find(bytes, at + 1, VALUE_END)?;
    text.get(at + 1..end).filter(|value| !value.is_empty())
}

/// Place of the next `wanted` byte from `from` on; eight bytes a step.
fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let pattern = ONES * u64::from(wanted);
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk) ^ pattern;
        let found = word.wrapping_sub(ONES) & !word & HIGHS;
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter()
        .position(|&byte| byte == wanted)
        .map(|more| at + more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_java_message_is_ordinary() {
        let text = "KEYS\x01key-7\x02UNIQ_KEY\x017F000001\x02WAIT\x01true\x02TAGS\x01TagA\x02";
        let found = ordinary(text);
        let expected = Ordinary {
            unique_key: Some("7F000001"),
            is_waived: false,
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

    #[test]
    fn bytes_are_found_at_every_place() {
        for size in 0..40 {
            for place in 0..size {
                let mut bytes = vec![b'\x81'; size];
                bytes[place] = 1;
                assert_eq!(find(&bytes, 0, 1), Some(place));
                assert_eq!(find(&bytes, place + 1, 1), None);
            }
        }
    }
}
