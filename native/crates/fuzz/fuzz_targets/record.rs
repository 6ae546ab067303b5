//! Records: the parts fill the record's own size exactly.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rmqwire::record::record_at;

fuzz_target!(|data: &[u8]| {
    let mut at = 0;
    while let Some((record, end)) = record_at(data, at) {
        let parts = record.born_host.len()
            + record.store_host.len()
            + record.body.len()
            + record.topic.len()
            + record.properties.len();
        assert!(end <= data.len() && (end - at == 75 + parts || end - at == 76 + parts));
        at = end;
    }
});
