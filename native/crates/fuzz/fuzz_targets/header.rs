//! Headers of both forms: what decodes is bounded by the input, and its text can be resolved.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rmqwire::frame::SerializeType;
use rmqwire::header::{decode, resolve, LANGUAGES};

fuzz_target!(|data: &[u8]| {
    let mut scratch = String::from("left over");
    for serialize_type in [SerializeType::Json, SerializeType::RocketMq] {
        let Ok(header) = decode(serialize_type, data, 256, &mut scratch) else {
            continue;
        };
        assert!(header.ext.len() <= 256 && header.language < LANGUAGES.len());
        assert!(scratch.len() <= data.len());
        let texts = header.ext.iter().flat_map(|(name, value)| [name, value]);
        let size: usize = texts.map(|text| resolve(text, &scratch).len()).sum();
        assert!(size <= data.len());
    }
});
