//! How another thread wakes the loop: one eventfd, readable while something is to be collected.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A counter the kernel keeps; the loop watches its descriptor.
pub struct Event {
    descriptor: OwnedFd,
}

impl Event {
    pub fn new() -> io::Result<Event> {
        // SAFETY: no pointers; a negative answer is checked before the descriptor is owned.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that nobody else knows.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Event { descriptor })
    }

    pub fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Makes the descriptor readable. A full counter is readable already.
    pub fn announce(&self) {
        let one: u64 = 1;
        // SAFETY: eight readable bytes, an open descriptor.
        unsafe { libc::write(self.descriptor(), (&raw const one).cast(), 8) };
    }

    /// Makes the descriptor quiet until the next announcement.
    pub fn quiet(&self) {
        let mut count: u64 = 0;
        // SAFETY: eight writable bytes, an open descriptor; non-blocking, so an empty counter returns.
        unsafe { libc::read(self.descriptor(), (&raw mut count).cast(), 8) };
    }
}
