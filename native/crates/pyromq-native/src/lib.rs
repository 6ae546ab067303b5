//! What Python may see of the Rust engine: thin classes over `rmqlog`,
//! `rmqlane` and `rmqwire`.
use pyo3::prelude::*;

mod check;
mod disk;
mod engine;
mod feed;
mod frames;
mod lane;
mod polls;
mod sends;
mod socket;
mod wire;

/// The Cargo profile this module was built with: `release` or `debug`.
#[pyfunction]
fn build_profile() -> &'static str {
    if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    }
}

/// Steps of the engine that have failpoints; this build is for tests only.
#[cfg(feature = "failpoints")]
#[pyfunction]
fn failpoint_steps() -> Vec<&'static str> {
    rmqlog::failpoints::STEPS.to_vec()
}

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::build_profile;
    #[pymodule_export]
    use super::check::{
        clear_log_tail, note_newest_index, remake_record_crcs, StoreCheck, StoreRebuild,
        StoreRecords,
    };
    #[pymodule_export]
    use super::engine::LogEngine;
    #[cfg(feature = "failpoints")]
    #[pymodule_export]
    use super::failpoint_steps;
    #[pymodule_export]
    use super::frames::FrameReader;
    #[pymodule_export]
    use super::lane::ExpressLane;
    #[pymodule_export]
    use super::sends::SendAnswers;
    #[pymodule_export]
    use super::socket::SocketReader;
    #[pymodule_export]
    use super::wire::{decode_batch, decode_records, encode_head, FieldWriter};
}
