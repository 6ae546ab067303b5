//! Segment files of the commit log and the thread that makes the next one ahead of time.
//!
//! A segment has its full length from the start (Apache refuses any other) and is on disk, name
//! included, before the first byte goes in. Making one takes two syncs, so it happens off the caller's
//! thread, long before it is needed. A device that fails at it is not asked a second time: like a failed
//! sync of messages, a failed sync of a new segment may succeed when repeated although nothing is there.
//! Where the syncs are slow and a segment is not there in time, the caller is told so after a while, the
//! next time at once, until the disk is quick again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    if !mutant!("skip_segment_dir_sync") {
        disk.sync_dir(dir)?;
    }
    if let Some(parent) = dir.parent() {
        disk.sync_dir(parent)?; // a killed process may have made the directory and no more
    }
    Ok(file)
}

/// The longest wait for a segment.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// A segment made within this time says that the disk is quick.
const QUICK: Duration = Duration::from_secs(1);

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
    /// Somebody waited in vain, and no segment was made quickly since.
    is_slow: AtomicBool,
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
            is_slow: AtomicBool::new(false),
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

    /// Hands out the segment at `base`, waiting for it if it is not ready yet. On a slow disk that ends
    /// with [`io::ErrorKind::TimedOut`]; it is made all the same.
    pub fn take(&self, base: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.order(base);
        let began = Instant::now();
        let is_slow = self.desk.is_slow.load(Ordering::Relaxed);
        let limit = if is_slow { Duration::ZERO } else { WAIT_MAX };
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
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                self.desk.is_slow.store(true, Ordering::Relaxed);
                return Err(io::ErrorKind::TimedOut.into());
            }
            (order, _) = self
                .desk
                .changed
                .wait_timeout(order, left)
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
                let began = Instant::now();
                let made = make(disk, dir, base, size);
                if began.elapsed() < QUICK {
                    desk.is_slow.store(false, Ordering::Relaxed);
                }
                if let Err(error) = &made {
                    if is_lost(error) && !mutant!("segment_asked_again") {
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
