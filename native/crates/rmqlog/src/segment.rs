//! Segment files of the commit log and the thread that makes the next one ahead of time.
//!
//! A segment has its full length from the start (Apache refuses any other) and is on disk, name
//! included, before the first byte goes in. Making one takes two syncs, so it happens off the caller's
//! thread, long before it is needed. A device that fails at it is not asked a second time: like a failed
//! sync of messages, a failed sync of a new segment may succeed when repeated although nothing is there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crate::disk::{Disk, DiskFile};
use crate::error::{failed, is_lost};

/// Name of the segment that begins at log position `base`.
pub fn file_name(base: u64) -> String {
    format!("{base:020}")
}

/// The position a file name stands for, if it is one of ours.
pub fn base_of(name: &str) -> Option<u64> {
    if name.len() == 20 && name.bytes().all(|byte| byte.is_ascii_digit()) {
        name.parse().ok()
    } else {
        None
    }
}

/// Creates the segment, or takes the one that is there, at its full length; afterwards it is on disk.
pub fn make(disk: &dyn Disk, dir: &Path, base: u64, size: u64) -> io::Result<Arc<dyn DiskFile>> {
    if !disk.exists(dir) {
        disk.create_dir_all(dir)?;
    }
    let file = disk.create(&dir.join(file_name(base)))?;
    if file.len()? != size {
        file.set_len(size)?;
    }
    file.sync_data()?;
    if !cfg!(mutant = "skip_segment_dir_sync") {
        disk.sync_dir(dir)?;
    }
    if let Some(parent) = dir.parent() {
        disk.sync_dir(parent)?; // a killed process may have made the directory and no more
    }
    Ok(file)
}

enum Order {
    Nothing,
    /// Wanted, or being made.
    Wanted(u64),
    Ready(u64, io::Result<Arc<dyn DiskFile>>),
    Stopped,
}

struct Desk {
    order: Mutex<Order>,
    changed: Condvar,
    /// Why no segment is made any more.
    lost: OnceLock<String>,
}

/// The thread "rmqlog-segments" and what was ordered from it.
pub struct SegmentMaker {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl SegmentMaker {
    pub fn start(disk: Arc<dyn Disk>, dir: PathBuf, size: u64) -> io::Result<SegmentMaker> {
        let desk = Arc::new(Desk {
            order: Mutex::new(Order::Nothing),
            changed: Condvar::new(),
            lost: OnceLock::new(),
        });
        let shared = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("rmqlog-segments".to_string())
            .spawn(move || serve(&shared, &*disk, &dir, size))?;
        Ok(SegmentMaker {
            desk,
            thread: Some(thread),
        })
    }

    /// Why no segment is made any more: the device failed at one.
    pub fn failure(&self) -> Option<&String> {
        self.desk.lost.get()
    }

    /// Asks for the segment at `base`, without waiting. One order at a time: the last one counts.
    pub fn order(&self, base: u64) {
        let mut order = self
            .desk
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match &*order {
            Order::Stopped => return,
            _ if self.failure().is_some() => return,
            Order::Wanted(wanted) if *wanted == base => return,
            Order::Ready(ready, Ok(_)) if *ready == base => return,
            _ => {}
        }
        *order = Order::Wanted(base);
        self.desk.changed.notify_all();
    }

    /// Hands out the segment at `base`, waiting for it if it is not ready yet.
    pub fn take(&self, base: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.order(base);
        let mut order = self
            .desk
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*order {
                Order::Ready(ready, _) if *ready == base => {
                    return match std::mem::replace(&mut *order, Order::Nothing) {
                        Order::Ready(_, made) => made,
                        _ => Err(io::Error::other("segment order lost")),
                    };
                }
                Order::Stopped => return Err(io::Error::other("the store is closing")),
                _ if self.failure().is_some() => {
                    return Err(io::Error::from_raw_os_error(libc::EIO));
                }
                Order::Wanted(wanted) if *wanted == base => {}
                _ => {
                    *order = Order::Wanted(base);
                    self.desk.changed.notify_all();
                }
            }
            order = self
                .desk
                .changed
                .wait(order)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until nothing is being made.
    #[cfg(test)]
    pub fn settle(&self) {
        let mut order = self
            .desk
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while matches!(*order, Order::Wanted(_)) {
            order = self
                .desk
                .changed
                .wait(order)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn stop(&mut self) {
        *self
            .desk
            .order
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Order::Stopped;
        self.desk.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has nothing more to tell here; the file it was making is harmless.
            drop(thread.join());
        }
    }
}

impl Drop for SegmentMaker {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(desk: &Desk, disk: &dyn Disk, dir: &Path, size: u64) {
    let mut order = desk.order.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match *order {
            Order::Stopped => return,
            Order::Wanted(base) => {
                drop(order);
                let made = make(disk, dir, base, size);
                if let Err(error) = &made {
                    if is_lost(error) {
                        let text = failed("create", &dir.join(file_name(base)), error).to_string();
                        desk.lost.get_or_init(|| text);
                    }
                }
                order = desk.order.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(*order, Order::Wanted(wanted) if wanted == base) {
                    *order = Order::Ready(base, made);
                    desk.changed.notify_all();
                }
            }
            _ => {
                order = desk
                    .changed
                    .wait(order)
                    .unwrap_or_else(PoisonError::into_inner)
            }
        }
    }
}
