//! The simulated disk behind the store's [`Disk`] trait: every change goes into a log of operations.
//!
//! A process that was killed cannot touch the disk any more: handles it still has answer errors. The
//! flusher's syncs, the writer's writes and all the rebuilder does can be held, so that a run decides when
//! they happen and one seed gives one log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::platter::{Node, Op, Platter};
use crate::disk::{Disk, DiskFile, Entry, Held, ShortWrite};

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Writes to segments stop after this many bytes, with this error number.
    pub write: Option<(usize, i32)>,
    /// Room in segments cannot be reserved.
    pub allocate: Option<i32>,
    /// The flusher's next sync fails with this error number; those after it answer success.
    pub sync: Option<i32>,
}

struct Inner {
    platter: Platter,
    log: Vec<Op>,
    process: u64,
    boot: u64,
    is_locked: bool,
    faults: Faults,
    holds_syncs: bool,
    waiting_syncs: usize,
    holds_writes: bool,
    waiting_writes: usize,
    /// Calls the rebuilder may still make; `None`: any number.
    rebuild_permits: Option<usize>,
    is_rebuilder_waiting: bool,
}

struct Device {
    inner: Mutex<Inner>,
    changed: Condvar,
}

/// One process's view of the disk.
#[derive(Clone)]
pub struct SimDisk {
    device: Arc<Device>,
    process: u64,
}

impl SimDisk {
    /// A disk with this content in the machine's run number `boot`.
    pub fn new(platter: Platter, boot: u64) -> SimDisk {
        SimDisk {
            device: Arc::new(Device {
                inner: Mutex::new(Inner {
                    platter,
                    log: Vec::new(),
                    process: 0,
                    boot,
                    is_locked: false,
                    faults: Faults::default(),
                    holds_syncs: false,
                    waiting_syncs: 0,
                    holds_writes: false,
                    waiting_writes: 0,
                    rebuild_permits: None,
                    is_rebuilder_waiting: false,
                }),
                changed: Condvar::new(),
            }),
            process: 0,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.device
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, as long as this process lives. Every call comes by here, and the rebuilder's may have to
    /// wait.
    fn alive(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.inner();
        if std::thread::current().name() == Some("rmqlog-rebuild") {
            while inner.rebuild_permits == Some(0) && inner.process == self.process {
                inner.is_rebuilder_waiting = true;
                inner = self
                    .device
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            inner.is_rebuilder_waiting = false;
            inner.rebuild_permits = inner.rebuild_permits.map(|left| left.saturating_sub(1));
        }
        if inner.process == self.process {
            Ok(inner)
        } else {
            Err(io::Error::other("this process was killed"))
        }
    }

    /// Ends the process that uses this disk; answers the view of the next one.
    pub fn kill(&self) -> SimDisk {
        let mut inner = self.inner();
        inner.process += 1;
        inner.is_locked = false;
        inner.holds_syncs = false;
        inner.holds_writes = false;
        inner.rebuild_permits = None;
        inner.faults = Faults::default();
        let process = inner.process;
        drop(inner);
        self.device.changed.notify_all();
        SimDisk {
            device: Arc::clone(&self.device),
            process,
        }
    }

    pub fn set_faults(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// From now on the flusher's syncs wait, or no longer.
    pub fn hold_syncs(&self, holds: bool) {
        self.inner().holds_syncs = holds;
        self.device.changed.notify_all();
    }

    /// Waits until the flusher stands in a sync that is held, or cannot come to one.
    pub fn until_sync_waits(&self, mut is_over: impl FnMut() -> bool) {
        let mut inner = self.inner();
        while inner.holds_syncs && inner.waiting_syncs == 0 {
            drop(inner);
            if is_over() {
                return;
            }
            std::thread::yield_now();
            inner = self.inner();
        }
    }

    /// From now on the writer's writes wait, or no longer.
    pub fn hold_writes(&self, holds: bool) {
        self.inner().holds_writes = holds;
        self.device.changed.notify_all();
    }

    /// Whether the writer stands in a write that is held.
    pub fn has_waiting_write(&self) -> bool {
        self.inner().waiting_writes > 0
    }

    /// The rebuilder may call the disk so many times more, then it waits; `None`: as often as it likes.
    pub fn permit_rebuilder(&self, permits: Option<usize>) {
        let mut inner = self.inner();
        inner.rebuild_permits = permits;
        inner.is_rebuilder_waiting = false;
        drop(inner);
        self.device.changed.notify_all();
    }

    /// Whether the rebuilder stands before a call it has no permit for.
    pub fn is_rebuilder_waiting(&self) -> bool {
        self.inner().is_rebuilder_waiting
    }

    /// Operations so far.
    pub fn op_count(&self) -> usize {
        self.inner().log.len()
    }

    /// The disk as it is now.
    pub fn platter(&self) -> Platter {
        self.inner().platter.clone()
    }

    pub fn ops(&self) -> Vec<Op> {
        self.inner().log.clone()
    }
}

impl Inner {
    fn carry_out(&mut self, op: Op) {
        self.platter.apply(&op);
        self.log.push(op);
    }
}

struct SimFile {
    disk: SimDisk,
    file: usize,
    is_segment: bool,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let inner = self.disk.alive()?;
        let content = inner.platter.content(self.file);
        let from = (at as usize).min(content.len());
        let count = buffer.len().min(content.len() - from);
        buffer[..count].copy_from_slice(&content[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), ShortWrite> {
        let stopped = |written: usize, source: io::Error| ShortWrite { written, source };
        let mut inner = self.disk.alive().map_err(|dead| stopped(0, dead))?;
        if std::thread::current().name() == Some("rmqlog-write") {
            inner.waiting_writes += 1;
            while inner.holds_writes && inner.process == self.disk.process {
                inner = self
                    .disk
                    .device
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            inner.waiting_writes -= 1;
            drop(inner);
            inner = self.disk.alive().map_err(|dead| stopped(0, dead))?;
        }
        let mut count = bytes.len();
        let mut errno = None;
        if let Some((left, number)) = inner.faults.write.as_mut().filter(|_| self.is_segment) {
            count = count.min(*left);
            *left -= count;
            errno = (count < bytes.len()).then_some(*number);
        }
        if count > 0 {
            let bytes = bytes[..count].to_vec();
            let file = self.file;
            inner.carry_out(Op::Write { file, at, bytes });
        }
        match errno {
            Some(number) => Err(stopped(count, io::Error::from_raw_os_error(number))),
            None => Ok(()),
        }
    }

    fn write_vectored_at(&self, parts: &[&[u8]], at: u64) -> Result<(), ShortWrite> {
        self.write_at(&parts.concat(), at)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut inner = self.disk.alive()?;
        let is_flusher = std::thread::current().name() == Some("rmqlog-flush");
        if is_flusher {
            inner.waiting_syncs += 1;
            while inner.holds_syncs && inner.process == self.disk.process {
                inner = self
                    .disk
                    .device
                    .changed
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            inner.waiting_syncs -= 1;
            drop(inner);
            inner = self.disk.alive()?;
        }
        let file = self.file;
        if is_flusher {
            if let Some(number) = inner.faults.sync.take() {
                inner.carry_out(Op::SyncFailed { file });
                return Err(io::Error::from_raw_os_error(number));
            }
        }
        inner.carry_out(Op::Sync { file });
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        let file = self.file;
        self.disk.alive()?.carry_out(Op::DropCache { file });
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.file;
        self.disk.alive()?.carry_out(Op::Length { file, len });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.alive()?.platter.content(self.file).len() as u64)
    }

    fn allocate(&self, _at: u64, _len: u64) -> io::Result<()> {
        match self.disk.alive()?.faults.allocate {
            Some(number) if self.is_segment => Err(io::Error::from_raw_os_error(number)),
            _ => Ok(()),
        }
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        let file = self.file;
        self.disk.alive()?.carry_out(Op::Zero { file, at, len });
        Ok(())
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        const BLOCK: usize = 512;
        let inner = self.disk.alive()?;
        let content = inner.platter.content(self.file);
        let from = (at as usize).min(content.len());
        let found = content[from..].iter().position(|&byte| byte != 0);
        Ok(found.map(|place| (((from + place) / BLOCK * BLOCK) as u64).max(at)))
    }
}

struct SimLock {
    disk: SimDisk,
    file: usize,
    is_new: bool,
}

impl Held for SimLock {
    fn write_text(&self, text: &[u8]) -> io::Result<()> {
        let file = self.file;
        let mut inner = self.disk.alive()?;
        inner.carry_out(Op::Length { file, len: 0 });
        let bytes = text.to_vec();
        inner.carry_out(Op::Write { file, at: 0, bytes });
        Ok(())
    }

    fn is_new(&self) -> bool {
        self.is_new
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        if let Ok(mut inner) = self.disk.alive() {
            inner.is_locked = false;
        }
    }
}

impl SimDisk {
    fn handle(&self, path: &Path, file: usize) -> Arc<dyn DiskFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            file,
            is_segment: path
                .components()
                .any(|part| part.as_os_str() == "commitlog"),
        })
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.alive()?.platter.file(path)?;
        Ok(self.handle(path, file))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.alive()?;
        if inner.platter.find(path).is_none() {
            let (dir, name) = inner.platter.place(path)?;
            inner.carry_out(Op::NewFile { dir, name });
        }
        let file = inner.platter.file(path)?;
        drop(inner);
        Ok(self.handle(path, file))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let inner = self.alive()?;
        let platter = &inner.platter;
        let Ok(dir) = platter.dir(dir) else {
            return Ok(Vec::new());
        };
        let entry = |(name, node): (&String, &Node)| Entry {
            name: name.clone(),
            is_dir: matches!(node, Node::Dir(_)),
            len: match node {
                Node::File(file) => platter.content(*file).len() as u64,
                Node::Dir(_) => 0,
            },
        };
        Ok(platter.entries(dir).iter().map(entry).collect())
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner().platter.find(path).is_some()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut missing: Vec<PathBuf> = Vec::new();
        let mut inner = self.alive()?;
        for part in dir.ancestors() {
            if inner.platter.find(part).is_some() {
                break;
            }
            missing.push(part.to_path_buf());
        }
        for path in missing.iter().rev() {
            let (dir, name) = inner.platter.place(path)?;
            inner.carry_out(Op::NewDir { dir, name });
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.alive()?;
        inner.platter.file(path)?;
        let (dir, name) = inner.platter.place(path)?;
        inner.carry_out(Op::Remove { dir, name });
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.alive()?;
        let found = inner.platter.dir(path)?;
        if !inner.platter.entries(found).is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOTEMPTY));
        }
        let (dir, name) = inner.platter.place(path)?;
        inner.carry_out(Op::Remove { dir, name });
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.alive()?;
        let file = inner.platter.file(from)?;
        let (dir, from) = inner.platter.place(from)?;
        let (other, to) = inner.platter.place(to)?;
        if dir != other {
            // A power cut may keep either half: more than a file system with a journal does.
            let link = Op::Link {
                dir: other,
                name: to,
                file,
            };
            inner.carry_out(link);
            inner.carry_out(Op::Remove { dir, name: from });
            return Ok(());
        }
        inner.carry_out(Op::Rename { dir, from, to });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.alive()?;
        let dir = inner.platter.dir(dir)?;
        inner.carry_out(Op::SyncDir { dir });
        Ok(())
    }

    fn boot_id(&self) -> Option<String> {
        Some(format!("run-{}", self.inner().boot))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        let mut inner = self.alive()?;
        if inner.is_locked {
            return Ok(None);
        }
        let is_new = inner.platter.find(path).is_none();
        if is_new {
            let (dir, name) = inner.platter.place(path)?;
            inner.carry_out(Op::NewFile { dir, name });
        }
        inner.is_locked = true;
        let file = inner.platter.file(path)?;
        drop(inner);
        Ok(Some(Box::new(SimLock {
            disk: self.clone(),
            file,
            is_new,
        })))
    }
}
