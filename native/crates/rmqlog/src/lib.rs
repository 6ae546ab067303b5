//! Durable bytes in Apache RocketMQ's file formats: commit log, consume queues, index, checkpoint.
//!
//! Knows bytes, offsets, tag hashes, checksums and files; not groups, acks, delays or transactions.
//! No PyO3 here. Every file access goes through [`disk::Disk`]; files are read and written by
//! position, never mapped, so that a full or dying disk is an error code and not a signal.
//!
//! Threads. One thread, the caller's, appends, writes and reads. Three small ones belong to the
//! store: the flusher syncs the log, the segment maker creates the next segment ahead of time, the
//! persister writes buffered queue units and index entries. They share [`engine::Engine`]'s state
//! behind one mutex that nobody holds while waiting for a disk, except the caller in its own write. A
//! fourth, the writer, is there from the first slow write on, and does the caller's writes while the disk
//! is slow. A fifth, from the first read in a hurry on that found something missing, brings that into memory.

#[cfg(test)]
extern crate self as rmqlog; // the faulty disk of the integration tests knows it by this name

#[macro_use]
mod mutants;

pub mod ahead;
pub mod batch;
pub mod byte_queue;
pub mod check;
mod check_index;
mod check_queues;
pub mod check_store;
pub mod checkpoint;
pub mod commit_log;
pub mod consume_queue;
pub mod crc_check;
pub mod crc_file;
pub mod crc_log;
mod crc_pen;
pub mod damage;
pub mod disk;
mod dispatch;
mod doubted;
mod drop_topic;
pub mod engine;
pub mod error;
pub mod event;
#[cfg(feature = "failpoints")]
mod failpoint_steps;
#[cfg(feature = "failpoints")]
pub mod failpoints;
#[cfg(test)]
#[path = "../tests/common/faults.rs"]
mod faults;
mod fetch;
pub mod file_cache;
pub mod flush;
mod found_queues;
pub mod hurry;
pub mod index;
pub mod index_format;
mod index_rebuild;
mod log_check;
pub mod marker;
mod open;
mod pace;
pub mod persist;
pub mod queue_unit;
pub mod read;
pub mod rebuild;
mod rebuild_note;
pub mod rebuilder;
pub mod record;
mod record_crcs;
mod recover;
mod remembered;
pub mod remove;
mod reread;
pub mod scan;
pub mod segment;
pub mod settings;
#[cfg(test)]
mod sim;
pub mod state;
mod unsynced;
mod window;
mod writer;

pub use engine::{Appended, Engine, Positions};
pub use error::StoreError;
pub use settings::Settings;
