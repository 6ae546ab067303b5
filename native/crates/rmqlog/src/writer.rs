//! The writer: the thread that puts turns into the files while the disk is slow, so that the caller's
//! thread goes on. One turn at a time: what is appended meanwhile is the next one.
//!
//! Whether a turn was written is taken from here by the caller's thread ([`Writer::take`]), which then
//! does what it does after a write of its own. The thread is started by the first turn it gets.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::commit_log::{Pen, Turn, WriteFailed, Written};
use crate::error::{failed, StoreError};
use crate::event::Event;

/// How the write of a turn ended.
pub struct Outcome {
    pub pen: Pen,
    pub turn: Turn,
    pub result: Result<Written, WriteFailed>,
    pub took: Duration,
    pub ended: Instant,
}

/// Writes a turn, here and now. This is the one place where turns go into files.
pub fn put(mut pen: Pen, turn: Turn) -> Outcome {
    let began = Instant::now();
    let result = pen.write(&turn);
    let ended = Instant::now();
    Outcome {
        pen,
        turn,
        result,
        took: ended.duration_since(began),
        ended,
    }
}

enum Work {
    Nothing,
    Ordered(Pen, Turn),
    Writing,
    Done(Box<Outcome>),
    Stopped,
}

struct Desk {
    work: Mutex<Work>,
    changed: Condvar,
    event: Arc<Event>,
}

impl Desk {
    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread "rmqlog-write", if there is one, and what it has to do.
pub struct Writer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    /// Since when it has had a turn that was not taken back from it.
    since: Option<Instant>,
}

impl Writer {
    /// `event` tells of turns that were written, or not.
    pub fn new(event: Arc<Event>) -> Writer {
        Writer {
            desk: Arc::new(Desk {
                work: Mutex::new(Work::Nothing),
                changed: Condvar::new(),
                event,
            }),
            thread: None,
            since: None,
        }
    }

    /// Starts the thread, if there is none.
    pub fn start(&mut self) -> Result<(), StoreError> {
        if self.thread.is_none() {
            let desk = Arc::clone(&self.desk);
            let started = std::thread::Builder::new()
                .name("rmqlog-write".to_string())
                .spawn(move || serve(&desk));
            let thread =
                started.map_err(|error| failed("start the writer", Path::new("rmqlog"), &error))?;
            self.thread = Some(thread);
        }
        Ok(())
    }

    /// Has the turn written by the thread, which was started.
    pub fn hand_over(&mut self, pen: Pen, turn: Turn) {
        *self.desk.work() = Work::Ordered(pen, turn);
        self.desk.changed.notify_all();
        self.since = Some(Instant::now());
    }

    /// How long the turn that is being written has taken so far.
    pub fn busy_for(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }

    /// How the turn ended, once it has.
    pub fn take(&mut self) -> Option<Outcome> {
        self.since?;
        let mut work = self.desk.work();
        if !matches!(*work, Work::Done(_)) {
            return None;
        }
        self.since = None;
        match std::mem::replace(&mut *work, Work::Nothing) {
            Work::Done(outcome) => Some(*outcome),
            _ => None,
        }
    }

    /// Waits until no turn is being written; the outcome is still to be taken.
    pub fn wait(&self) {
        let mut work = self.desk.work();
        while matches!(*work, Work::Ordered(..) | Work::Writing) {
            work = self
                .desk
                .changed
                .wait(work)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the thread, after the turn it may have.
    pub fn stop(&mut self) {
        self.wait();
        let Some(thread) = self.thread.take() else {
            return;
        };
        *self.desk.work() = Work::Stopped;
        self.desk.changed.notify_all();
        drop(thread.join());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;

fn serve(desk: &Desk) {
    let mut work = desk.work();
    loop {
        match std::mem::replace(&mut *work, Work::Writing) {
            Work::Ordered(pen, turn) => {
                drop(work);
                let outcome = put(pen, turn);
                work = desk.work();
                *work = Work::Done(Box::new(outcome));
                desk.changed.notify_all();
                desk.event.announce();
            }
            Work::Stopped => {
                *work = Work::Stopped;
                return;
            }
            other => {
                *work = other;
                work = desk
                    .changed
                    .wait(work)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
