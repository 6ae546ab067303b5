//! Batch bodies: items fill the body exactly, in order, or nothing is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rmqwire::batch::items;

fuzz_target!(|data: &[u8]| {
    let Some(found) = items(data, 4096) else {
        return;
    };
    assert!((1..=4096).contains(&found.len()));
    let size: usize = found
        .iter()
        .map(|item| 22 + item.body.len() + item.properties.len())
        .sum();
    assert_eq!(size, data.len());
});
