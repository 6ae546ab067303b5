//! The part of the run that rebuilds: files that are gone at a start, and the rebuilder's thread, which goes
//! on by so many calls to the disk at a time and waits in between, so that sends, drops, cuts and kills fall
//! between any two of them.

use std::sync::Arc;

use super::super::disk::SimDisk;
use super::super::history::{QUEUE_COUNT, TOPICS};
use super::{settings, until, World};
use crate::disk::Disk as _;
use crate::engine::Engine;
use crate::rebuilder::Rebuilder;

/// A store that is open; what must be rebuilt is not yet, and the rebuilder waits before its next step.
pub fn open_early(disk: &SimDisk, sync_flush: bool) -> Result<Engine, String> {
    disk.permit_rebuilder(Some(0));
    let engine = Engine::open(Arc::new(disk.clone()), settings(sync_flush));
    let engine = engine.map_err(|error| format!("does not open: {error}"))?;
    until_rebuilder_waits(disk, &engine)?;
    engine.state().log.settle();
    Ok(engine)
}

/// A store that is open and whole.
pub fn open(disk: &SimDisk, sync_flush: bool) -> Result<Engine, String> {
    let engine = open_early(disk, sync_flush)?;
    disk.permit_rebuilder(None);
    until("all is rebuilt", || has_no_rebuilder(&engine))?;
    engine.state().queues.take_arrivals();
    let status = engine.rebuild_status();
    if status.has_queues || status.has_index {
        return Err(format!("the rebuilder ended early: {status:?}"));
    }
    Ok(engine)
}

fn has_no_rebuilder(engine: &Engine) -> bool {
    engine.ask_rebuilder(Rebuilder::has_ended) != Some(false)
}

/// Until the rebuilder has used its permits, or has come to its end. It is not left within a step that
/// all others would wait for.
fn until_rebuilder_waits(disk: &SimDisk, engine: &Engine) -> Result<(), String> {
    loop {
        until("the rebuilder waits", || {
            disk.is_rebuilder_waiting() || has_no_rebuilder(engine)
        })?;
        if has_no_rebuilder(engine) || engine.is_state_unlocked() {
            return Ok(());
        }
        disk.permit_rebuilder(Some(1));
    }
}

/// Lets the rebuilder make so many calls to the disk, and more until it holds nothing that others would
/// wait for. Answers whether it has come to its end.
pub fn go_on(disk: &SimDisk, engine: &Engine, calls: usize) -> Result<bool, String> {
    disk.permit_rebuilder(Some(calls));
    until_rebuilder_waits(disk, engine)?;
    while !engine.is_unlocked() {
        disk.permit_rebuilder(Some(1));
        until_rebuilder_waits(disk, engine)?;
    }
    Ok(has_no_rebuilder(engine))
}

impl World {
    pub fn is_rebuilding(&self) -> Result<bool, String> {
        Ok(!has_no_rebuilder(self.engine()?))
    }

    /// Lets the rebuilder make so many calls to the disk, if there is one.
    pub fn rebuild(&mut self, calls: usize) -> Result<(), String> {
        if self.is_rebuilding()? {
            self.disk.permit_rebuilder(Some(calls));
            until_rebuilder_waits(&self.disk, self.engine()?)?;
        }
        Ok(())
    }

    /// Until the rebuilder holds nothing that the caller's thread or the persister would wait for.
    pub fn rebuild_to_unlocked(&mut self) -> Result<(), String> {
        while !self.engine()?.is_unlocked() {
            self.rebuild(1)?;
        }
        Ok(())
    }

    /// Files of a queue or of the index are gone at a start, which our notes speak of.
    pub fn lose_files(&mut self) -> Result<(), String> {
        self.release()?;
        if self.engine()?.failure().is_some() {
            return Ok(());
        }
        self.persist(true)?;
        self.disk = self.disk.kill();
        self.engine = None;
        let root = settings(self.sync_flush).root;
        let told = |error: std::io::Error| format!("removes a file: {error}");
        let topic = TOPICS[self.random.below(TOPICS.len())];
        let id = self.random.below(QUEUE_COUNT as usize).to_string();
        let is_index = self.random.happens(25);
        let dir = if is_index {
            root.join("index")
        } else {
            root.join("consumequeue").join(topic).join(id)
        };
        let files = self.disk.list(&dir).map_err(told)?;
        if !files.is_empty() {
            // Which files the index had before its newest nobody notes.
            let last = files.len() - 1;
            let gone = &files[if is_index {
                last
            } else {
                self.random.below(last + 1)
            }]
            .name;
            self.disk.remove_file(&dir.join(gone)).map_err(told)?;
            self.disk.sync_dir(&dir).map_err(told)?;
        }
        self.start()
    }
}
