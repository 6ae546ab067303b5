//! The body of a batch send: messages one after another, without a count.

use crate::bytes::Cursor;

/// One message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    pub flag: i32,
    pub body: &'a [u8],
    pub properties: &'a [u8],
}

/// The message at `at` and where the next one begins; size, magic and CRC are not looked at.
#[must_use]
pub fn item_at(data: &[u8], at: usize) -> Option<(Item<'_>, usize)> {
    let mut cursor = Cursor::new(data, at.checked_add(12)?);
    let flag = cursor.i32()?;
    let body_size = cursor.i32()?;
    let body = cursor.take(body_size)?;
    let properties_size = cursor.i16()?;
    let properties = cursor.take(properties_size.into())?;
    Some((
        Item {
            flag,
            body,
            properties,
        },
        cursor.at(),
    ))
}

/// All messages; None if one does not fit, there are none, or more than `count_max`.
#[must_use]
pub fn items(data: &[u8], count_max: usize) -> Option<Vec<Item<'_>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < data.len() {
        if found.len() == count_max {
            return None;
        }
        let (item, end) = item_at(data, at)?;
        found.push(item);
        at = end;
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_ends_exactly_at_its_last_byte() {
        let mut one = vec![0, 0, 0, 27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2];
        one.extend_from_slice(b"Hi\x00\x03abc");
        let two = [one.clone(), one.clone()].concat();
        let item = Item {
            flag: 5,
            body: b"Hi",
            properties: b"abc",
        };
        assert_eq!(items(&two, 2), Some(vec![item, item]));
        assert_eq!(items(&two, 1), None);
        assert_eq!(items(&[], 9), None);
        for end in 1..two.len() {
            assert_eq!(
                items(&two[..end], 9).is_some(),
                end == one.len(),
                "cut at {end}"
            );
        }
    }
}
