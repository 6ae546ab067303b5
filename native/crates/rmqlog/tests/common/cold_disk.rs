//! A disk of which nothing is in memory until somebody has read or written it, or the store's own thread has
//! brought it there.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rmqlog::disk::{Disk, DiskFile, Entry, Held, RealDisk, ShortWrite};

const PAGE: u64 = 64;

#[derive(Default)]
struct Memory {
    pages: HashMap<PathBuf, HashSet<u64>>,
    /// Files that cannot be read any more.
    broken: Vec<PathBuf>,
    /// Reads that had to wait for the device, by others than the store's own thread.
    waits: Vec<PathBuf>,
    /// Reads of what was not in memory by that thread.
    fetches: usize,
    /// Nothing that is asked for comes before somebody waits for it.
    is_lazy: bool,
    /// The store's own thread gets nothing yet.
    is_held: bool,
    /// Who makes the file of a queue waits.
    holds_queues: bool,
    /// One does.
    is_making: bool,
}

#[derive(Clone, Default)]
pub struct ColdDisk {
    memory: Arc<Mutex<Memory>>,
    let_go: Arc<Condvar>,
}

impl ColdDisk {
    /// Nothing is in memory any more.
    pub fn forget(&self) {
        let mut memory = self.memory.lock().unwrap();
        memory.pages.clear();
        memory.waits.clear();
        memory.fetches = 0;
    }

    /// Nothing comes into memory only because it was asked for.
    pub fn be_lazy(&self) {
        self.memory.lock().unwrap().is_lazy = true;
    }

    /// The store's own thread gets nothing until it is let go.
    pub fn hold(&self) {
        self.memory.lock().unwrap().is_held = true;
    }

    pub fn let_go(&self) {
        self.memory.lock().unwrap().is_held = false;
        self.let_go.notify_all();
    }

    /// Who makes a file of a queue does not go on before he is let go.
    pub fn hold_queues(&self) {
        self.memory.lock().unwrap().holds_queues = true;
    }

    pub fn let_queues_go(&self) {
        self.memory.lock().unwrap().holds_queues = false;
        self.let_go.notify_all();
    }

    /// Until a file of a queue is to be made.
    pub fn until_making(&self) {
        let memory = self.memory.lock().unwrap();
        let limit = std::time::Duration::from_secs(10);
        let waited = self
            .let_go
            .wait_timeout_while(memory, limit, |memory| !memory.is_making);
        assert!(!waited.unwrap().1.timed_out(), "no file of a queue is made");
    }

    /// Files below here cannot be read any more.
    pub fn break_below(&self, path: &Path) {
        self.memory.lock().unwrap().broken.push(path.to_path_buf());
    }

    /// Which files a reader has waited for.
    pub fn waits(&self) -> Vec<PathBuf> {
        self.memory.lock().unwrap().waits.clone()
    }

    /// How often the store's thread has waited.
    pub fn fetch_count(&self) -> usize {
        self.memory.lock().unwrap().fetches
    }

    fn file(&self, path: &Path, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(ColdFile {
            disk: self.clone(),
            path: path.to_path_buf(),
            inner,
        })
    }
}

struct ColdFile {
    disk: ColdDisk,
    path: PathBuf,
    inner: Arc<dyn DiskFile>,
}

fn pages(at: u64, len: u64) -> std::ops::Range<u64> {
    at / PAGE..(at + len).div_ceil(PAGE)
}

impl ColdFile {
    fn is_in_memory(&self, at: u64, len: u64) -> bool {
        let memory = self.disk.memory.lock().unwrap();
        let known = memory.pages.get(&self.path);
        pages(at, len).all(|page| known.is_some_and(|known| known.contains(&page)))
    }

    fn keep(&self, at: u64, len: u64) {
        let mut memory = self.disk.memory.lock().unwrap();
        let known = memory.pages.entry(self.path.clone()).or_default();
        known.extend(pages(at, len));
    }
}

impl DiskFile for ColdFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let len = buffer.len() as u64;
        let is_own = std::thread::current().name() == Some("rmqlog-fetch");
        if !self.is_in_memory(at, len) {
            let mut memory = self.disk.memory.lock().unwrap();
            if is_own {
                // Not for ever: a test that fails has to end.
                let long = Duration::from_secs(10);
                let held = |memory: &mut Memory| memory.is_held;
                let waited = self.disk.let_go.wait_timeout_while(memory, long, held);
                memory = waited.unwrap().0;
            }
            match is_own {
                true => memory.fetches += 1,
                false => memory.waits.push(self.path.clone()),
            }
            if memory.broken.iter().any(|path| self.path.starts_with(path)) {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
        }
        let got = self.inner.read_at(buffer, at)?;
        self.keep(at, len);
        Ok(got)
    }

    fn read_cached_at(&self, buffer: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let there = self.inner.len()?.saturating_sub(at);
        match self.is_in_memory(at, there.min(buffer.len() as u64)) {
            true => self.inner.read_at(buffer, at).map(Some),
            false => Ok(None),
        }
    }

    fn read_ahead(&self, at: u64, len: u64) {
        let memory = self.disk.memory.lock().unwrap();
        let may_come =
            !memory.is_lazy && !memory.broken.iter().any(|path| self.path.starts_with(path));
        drop(memory);
        if may_come {
            self.keep(at, len);
        }
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), ShortWrite> {
        self.keep(at, bytes.len() as u64);
        self.inner.write_at(bytes, at)
    }

    fn write_vectored_at(&self, parts: &[&[u8]], at: u64) -> Result<(), ShortWrite> {
        self.write_at(&parts.concat(), at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(at, len)
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.inner.zero(at, len)
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.inner.next_data(at)
    }
}

impl Disk for ColdDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(path, RealDisk.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let made = RealDisk.create(path)?;
        if path
            .components()
            .any(|part| part.as_os_str() == "consumequeue")
        {
            let mut memory = self.memory.lock().unwrap();
            memory.is_making = true;
            self.let_go.notify_all();
            // Not for ever: a test that fails has to end.
            let long = Duration::from_secs(20);
            let held = |memory: &mut Memory| memory.holds_queues;
            drop(self.let_go.wait_timeout_while(memory, long, held).unwrap());
        }
        Ok(self.file(path, made))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir_all(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn boot_id(&self) -> Option<String> {
        RealDisk.boot_id()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        RealDisk.lock(path)
    }
}

/// Waits until the store's own thread says that something came.
pub fn await_news(engine: &rmqlog::Engine) {
    let mut wanted = libc::pollfd {
        fd: engine.descriptor(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid structure, which outlives the call.
    let count = unsafe { libc::poll(&raw mut wanted, 1, 10_000) };
    assert_eq!(count, 1, "nothing came");
    engine.collect();
}
