//! The items of a batch send, as they come in one request body.
//!
//! An item is `i32 size | i32 0 | i32 0 | i32 flag | i32 bodyLen | body | i16 propLen | properties`
//! (Apache's `MessageDecoder.encodeMessage`). The first three numbers are not looked at, by Apache nor
//! here; the other lengths must lead exactly to the last byte, or nothing of the batch is taken.

use crate::error::{Result, StoreError};
use crate::record::PROPERTIES_SIZE_MAX;

/// More items than this in one request are refused.
pub const ITEM_COUNT_MAX: usize = 4096;
const ITEM_SIZE_MIN: usize = 22;

/// One item of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: &'a [u8],
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Splits the whole body or says which item is wrong, and in what.
pub fn parse(batch: &[u8], body_size_max: usize) -> Result<Vec<Item<'_>>> {
    let mut items = Vec::new();
    let mut at = 0;
    while at < batch.len() {
        let number = items.len();
        let illegal =
            |what: String| Err(StoreError::Illegal(format!("batch item {number}: {what}")));
        if number == ITEM_COUNT_MAX {
            return illegal(format!("more than {ITEM_COUNT_MAX} items"));
        }
        let rest = &batch[at..];
        if rest.len() < ITEM_SIZE_MIN {
            return illegal(format!(
                "{} bytes left, an item has at least {ITEM_SIZE_MIN}",
                rest.len()
            ));
        }
        let body_size = i32_at(rest, 16);
        if body_size < 0 || body_size as usize > rest.len() - ITEM_SIZE_MIN {
            return illegal(format!(
                "body size {body_size}, at most {} fit",
                rest.len() - ITEM_SIZE_MIN
            ));
        }
        let body_end = 20 + body_size as usize;
        let properties_size = i16::from_be_bytes([rest[body_end], rest[body_end + 1]]);
        let properties_at = body_end + 2;
        if properties_size < 0 || properties_size as usize > rest.len() - properties_at {
            return illegal(format!(
                "properties size {properties_size}, at most {} fit",
                rest.len() - properties_at
            ));
        }
        let end = properties_at + properties_size as usize;
        if body_size as usize > body_size_max {
            return illegal(format!(
                "body of {body_size} bytes, at most {body_size_max}"
            ));
        }
        items.push(Item {
            flag: i32_at(rest, 12),
            body: &rest[20..body_end],
            properties: &rest[properties_at..end],
        });
        at += end;
    }
    if items.is_empty() {
        return Err(StoreError::Illegal("batch without items".to_string()));
    }
    debug_assert!(items
        .iter()
        .all(|item| item.properties.len() <= PROPERTIES_SIZE_MAX));
    Ok(items)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn item(flag: i32, body: &[u8], properties: &[u8]) -> Vec<u8> {
        let mut out = ((22 + body.len() + properties.len()) as i32)
            .to_be_bytes()
            .to_vec();
        out.extend_from_slice(&[0; 8]);
        out.extend_from_slice(&flag.to_be_bytes());
        out.extend_from_slice(&(body.len() as i32).to_be_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(&(properties.len() as i16).to_be_bytes());
        out.extend_from_slice(properties);
        out
    }

    #[test]
    fn items_come_out_as_they_went_in() {
        let batch = [item(7, b"one", b"A\x01b\x02"), item(0, b"", b"")].concat();
        let items = parse(&batch, 100).unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(
            items[0],
            Item {
                flag: 7,
                body: b"one",
                properties: b"A\x01b\x02"
            }
        );
        assert_eq!(
            items[1],
            Item {
                flag: 0,
                body: b"",
                properties: b""
            }
        );
    }

    #[test]
    fn a_lie_in_any_length_is_named_with_its_item() {
        let good = item(0, b"body", b"");
        let mut lying = good.clone();
        lying[19] = 200;
        let text = parse(&[good.clone(), lying].concat(), 100)
            .unwrap_err()
            .to_string();
        assert_eq!(text, "batch item 1: body size 200, at most 4 fit");
        let mut lying = good.clone();
        lying[16] = 0x80;
        assert!(parse(&lying, 100)
            .unwrap_err()
            .to_string()
            .contains("body size -2147483644"));
        let mut lying = good.clone();
        lying[25] = 3;
        assert!(parse(&lying, 100)
            .unwrap_err()
            .to_string()
            .contains("properties size 3"));
        assert!(parse(&good[..10], 100)
            .unwrap_err()
            .to_string()
            .contains("10 bytes left"));
        assert!(parse(&good, 3)
            .unwrap_err()
            .to_string()
            .contains("body of 4 bytes, at most 3"));
        assert!(parse(b"", 100).is_err());
    }

    #[test]
    fn the_item_size_that_apache_ignores_is_ignored() {
        let mut odd = item(0, b"body", b"");
        odd[0..12].fill(0x7F);
        assert_eq!(parse(&odd, 100).unwrap()[0].body, b"body");
    }

    #[test]
    fn more_items_than_the_limit_are_refused() {
        let batch = item(0, b"", b"").repeat(ITEM_COUNT_MAX + 1);
        assert!(parse(&batch, 100)
            .unwrap_err()
            .to_string()
            .contains("more than 4096"));
        assert_eq!(
            parse(&batch[..ITEM_COUNT_MAX * 22], 100).unwrap().len(),
            ITEM_COUNT_MAX
        );
    }

    #[test]
    fn any_single_byte_change_is_refused_or_still_covers_the_whole_body() {
        let batch = [item(1, b"abc", b"K\x01v\x02"), item(2, b"defg", b"")].concat();
        for at in 0..batch.len() {
            for change in [1u8, 0x80, 0xFF] {
                let mut changed = batch.clone();
                changed[at] ^= change;
                if let Ok(items) = parse(&changed, 1000) {
                    let size: usize = items
                        .iter()
                        .map(|i| 22 + i.body.len() + i.properties.len())
                        .sum();
                    assert_eq!(size, batch.len());
                }
            }
        }
    }
}
