//! Streams of frames: progress, bounds, and the same answer however much of the stream is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rmqwire::frame::{next, Limits, Next};
use rmqwire::header;

const LIMITS: Limits = Limits {
    frame_size_max: 1 << 24,
    header_size_max: 1 << 16,
    ext_fields_max: 256,
};

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let mut scratch = String::new();
    loop {
        match next(rest, &LIMITS) {
            Next::Whole(frame) => {
                assert!(frame.size >= 8 && frame.size <= rest.len());
                assert_eq!(8 + frame.header.len() + frame.body.len(), frame.size);
                assert!(frame.header.len() <= LIMITS.header_size_max);
                let cut = &rest[..frame.size - 1];
                assert!(matches!(next(cut, &LIMITS), Next::Unfinished { .. }));
                let _ = header::decode(
                    frame.serialize_type,
                    frame.header,
                    LIMITS.ext_fields_max,
                    &mut scratch,
                );
                rest = &rest[frame.size..];
            }
            Next::Unfinished { size } => {
                assert!(size.is_none_or(|size| size > rest.len() && size <= LIMITS.frame_size_max));
                break;
            }
            Next::Broken(violation) => {
                assert!(!violation.to_string().is_empty());
                break;
            }
        }
    }
});
