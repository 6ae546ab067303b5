//! What can go wrong, by whose fault it is.

use std::fmt;
use std::io;
use std::path::Path;

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// The disk's fault while running; what waited for it was not stored.
    Failed(String),
    /// The disk's slowness: too much waits for it, this was not taken.
    Busy(String),
    /// The message's fault: over a limit or not what it claims to be.
    Illegal(String),
    /// Files that contradict themselves; nothing was changed.
    Damaged(String),
    /// Another process, or this one, has the directory open.
    Occupied(String),
    /// A queue that is not whole yet: it is being made from the log. Asked again later it will be.
    Rebuilding(String),
}

pub type Result<T> = std::result::Result<T, StoreError>;

impl fmt::Display for StoreError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Failed(text)
            | StoreError::Busy(text)
            | StoreError::Illegal(text)
            | StoreError::Damaged(text)
            | StoreError::Occupied(text)
            | StoreError::Rebuilding(text) => out.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}

/// `verb` on `path` at byte `at` ended with `source`; the text names file, offset and errno.
pub fn failed_at(verb: &str, path: &Path, at: u64, source: &io::Error) -> StoreError {
    StoreError::Failed(format!("{}: {verb} at byte {at}: {source}", path.display()))
}

/// `verb` on `path` as a whole ended with `source`.
pub fn failed(verb: &str, path: &Path, source: &io::Error) -> StoreError {
    StoreError::Failed(format!("{}: {verb}: {source}", path.display()))
}

/// Whether the disk is full: the one failure that goes away by itself.
pub fn is_full(source: &io::Error) -> bool {
    matches!(
        source.raw_os_error(),
        Some(libc::ENOSPC) | Some(libc::EDQUOT)
    )
}

/// Whether the device lost something: what was to be on it may not be, and asking again may hide that.
pub fn is_lost(source: &io::Error) -> bool {
    source.raw_os_error() == Some(libc::EIO)
}
