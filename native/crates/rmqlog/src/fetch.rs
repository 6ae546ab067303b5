//! The thread that waits for the device so that readers need not: it brings ranges of files into memory.
//!
//! What is wanted soon is only asked for; what somebody waits for is read, and its ticket handed out when it
//! is there. All that was ordered is asked for first, so that the device has it together, and waited for then.
//! A range that cannot be read is done as well, and its ticket says so: whoever wanted it reads it himself then,
//! and is told why.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::ahead::Missing;
use crate::disk::DiskFile;
use crate::event::Event;

/// Bytes read at once into memory that nobody looks at.
const BLOCK: usize = 64 << 10;

/// A part of a file.
pub struct Range {
    file: Arc<dyn DiskFile>,
    from: u64,
    to: u64,
}

impl Range {
    pub fn new(file: &Arc<dyn DiskFile>, from: u64, to: u64) -> Range {
        Range {
            file: Arc::clone(file),
            from,
            to,
        }
    }
}

struct Order {
    range: Range,
    /// What of it is waited for, from its beginning on, and by whom.
    waiting: Option<(u64, u64)>,
}

/// What became of somebody's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    pub ticket: u64,
    /// It could not be read: the next try will hardly do better.
    pub has_failed: bool,
}

#[derive(Default)]
struct Desk {
    orders: VecDeque<Order>,
    /// Tickets of what is in memory now, or cannot be read.
    done: Vec<Fetched>,
    /// Started with the first order: most stores never need it.
    thread: Option<JoinHandle<()>>,
    is_stopping: bool,
}

/// Orders for the thread "rmqlog-fetch", and what it has done.
pub struct Fetches {
    desk: Mutex<Desk>,
    changed: Condvar,
    event: Arc<Event>,
}

impl Fetches {
    /// `event` tells that something is done.
    pub fn new(event: Arc<Event>) -> Arc<Fetches> {
        Arc::new(Fetches {
            desk: Mutex::default(),
            changed: Condvar::new(),
            event,
        })
    }

    fn hold(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a range brought into memory that is wanted soon.
    pub fn bring(self: &Arc<Self>, range: Range) {
        self.order(Order {
            range,
            waiting: None,
        });
    }

    /// The same for somebody who waits for it, and takes his ticket when it is there. False: there is no
    /// thread for it.
    #[must_use]
    pub fn fetch(self: &Arc<Self>, missing: Missing, ticket: u64) -> bool {
        let Missing { wanted, until } = missing;
        let waiting = Some((wanted.to, ticket));
        let range = Range {
            to: until.max(wanted.to),
            ..wanted
        };
        self.order(Order { range, waiting })
    }

    fn order(self: &Arc<Self>, order: Order) -> bool {
        let mut desk = self.hold();
        if desk.is_stopping {
            return false;
        }
        if desk.thread.is_none() {
            let own = Arc::clone(self);
            let started = std::thread::Builder::new()
                .name("rmqlog-fetch".to_string())
                .spawn(move || own.serve());
            desk.thread = started.ok();
        }
        if desk.thread.is_none() {
            return false;
        }
        desk.orders.push_back(order);
        self.changed.notify_one();
        true
    }

    /// Tickets of what came since the last call.
    pub fn take_done(&self) -> Vec<Fetched> {
        std::mem::take(&mut self.hold().done)
    }

    /// Ends the thread, after what it is just reading.
    pub fn stop(&self) {
        let mut desk = self.hold();
        desk.is_stopping = true;
        let thread = desk.thread.take();
        drop(desk);
        self.changed.notify_one();
        if let Some(thread) = thread {
            drop(thread.join()); // a panic there has nothing more to tell here
        }
    }

    fn serve(&self) {
        let mut buffer = vec![0u8; BLOCK];
        loop {
            let mut desk = self.hold();
            while desk.orders.is_empty() && !desk.is_stopping {
                desk = self
                    .changed
                    .wait(desk)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if desk.is_stopping {
                return;
            }
            let orders = std::mem::take(&mut desk.orders);
            drop(desk);
            for Order { range, .. } in &orders {
                range.file.read_ahead(range.from, range.to - range.from);
            }
            for Order { range, waiting } in &orders {
                let Some((to, ticket)) = *waiting else {
                    continue;
                };
                let has_failed = read(&*range.file, range.from, to, &mut buffer).is_err();
                let mut desk = self.hold();
                desk.done.push(Fetched { ticket, has_failed });
                if desk.is_stopping {
                    return;
                }
                drop(desk);
                self.event.announce();
            }
        }
    }
}

/// Waits until the range is in memory, as far as the file goes.
fn read(file: &dyn DiskFile, from: u64, to: u64, buffer: &mut [u8]) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let size = buffer.len().min((to - at) as usize);
        let got = file.read_at(&mut buffer[..size], at)?;
        if got < size {
            break;
        }
        at += got as u64;
    }
    Ok(())
}
