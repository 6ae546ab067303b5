//! What the store must know to open; mirrors `pyromq.store.engine.StoreSettings`.

use std::path::PathBuf;

/// Half of what the loop may be late.
pub const SLOW_WRITE_MS: u64 = 10;

/// Sizes are bytes unless the name says count.
#[derive(Debug, Clone)]
pub struct Settings {
    pub root: PathBuf,
    /// 4 or 16 address bytes and a 4-byte port, written into each record.
    pub store_host: Vec<u8>,
    pub sync_flush: bool,
    pub segment_size: u64,
    pub consume_queue_file_size: u64,
    pub index_slot_count: u32,
    pub index_entry_count: u32,
    pub index_enabled: bool,
    pub flush_interval_ms: u64,
    pub flush_interval_consume_queue_ms: u64,
    pub message_size_max: usize,
    pub reserve_ahead: u64,
    pub delay_levels_ms: Vec<i64>,
    /// A write that has been with the disk for longer keeps new messages out.
    pub write_busy_ms: u64,
    /// After a write that takes this long the disk is called slow, and a thread of its own does the writes.
    pub slow_write_ms: u64,
    /// Queues and index that must be made anew from the log are made by a thread of their own, and the
    /// store opens before that; else they are whole when it is open.
    pub rebuild_in_background: bool,
}

impl Settings {
    /// Apache's defaults under `root`, with a loopback store host.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Settings {
            root: root.into(),
            store_host: vec![127, 0, 0, 1, 0, 0, 0x2a, 0x9f],
            sync_flush: true,
            segment_size: 1 << 30,
            consume_queue_file_size: 300_000 * 20,
            index_slot_count: 5_000_000,
            index_entry_count: 20_000_000,
            index_enabled: true,
            flush_interval_ms: 500,
            flush_interval_consume_queue_ms: 1000,
            message_size_max: 4 << 20,
            reserve_ahead: 32 << 20,
            delay_levels_ms: Vec::new(),
            write_busy_ms: 1000,
            slow_write_ms: SLOW_WRITE_MS,
            rebuild_in_background: false,
        }
    }

    /// Says what is wrong with a value no store could work with.
    pub fn problem(&self) -> Option<String> {
        let host = self.store_host.len();
        if host != 8 && host != 20 {
            return Some(format!("store host has {host} bytes, not 8 or 20"));
        }
        if self.segment_size < 1024 || self.segment_size > i32::MAX as u64 {
            return Some(format!(
                "segment size {} is outside 1024 to 2147483647",
                self.segment_size
            ));
        }
        let queue_file = self.consume_queue_file_size;
        if queue_file == 0 || !queue_file.is_multiple_of(20) || queue_file > i32::MAX as u64 {
            return Some(format!(
                "consume queue file size {queue_file} is not a multiple of 20 up to 2147483647"
            ));
        }
        if self.index_slot_count == 0 || self.index_slot_count > i32::MAX as u32 {
            return Some(format!(
                "index slot count {} is out of range",
                self.index_slot_count
            ));
        }
        if self.index_entry_count < 2 || self.index_entry_count > i32::MAX as u32 {
            return Some(format!(
                "index entry count {} is out of range",
                self.index_entry_count
            ));
        }
        None
    }
}
