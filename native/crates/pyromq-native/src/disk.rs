//! The disk an engine is given: the machine's, or with the feature `failpoints` the same with points.

#[cfg(feature = "failpoints")]
pub use rmqlog::failpoints::{disk, enter, Phase};

/// The machine's file system.
#[cfg(not(feature = "failpoints"))]
pub fn disk() -> std::sync::Arc<dyn rmqlog::disk::Disk> {
    std::sync::Arc::new(rmqlog::disk::RealDisk)
}
