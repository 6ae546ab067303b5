//! A disk that fails on order.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use rmqlog::disk::{Disk, DiskFile, Entry, Held, RealDisk, ShortWrite};

/// What the disk is to do wrong from now on.
#[derive(Default)]
pub struct Plan {
    /// Writes to files whose path contains this fail with `errno` after `bytes` more bytes.
    pub write: Option<(String, usize, i32)>,
    pub allocate: Option<i32>,
    /// There is no room for reserving more than this at once.
    pub allocate_max: Option<u64>,
    /// The next sync of a path containing this fails, once.
    pub sync: Option<(String, i32)>,
    /// Of the files whose path contains this only so many can still be removed, then errors come.
    pub remove: Option<(String, usize, i32)>,
    /// Syncs of segments wait while this is set.
    pub hold_syncs: bool,
    /// Of a file whose path contains this the device never took the bytes from here to there: zeros
    /// are what is read once the kernel's copy is dropped.
    pub never_taken: Option<(String, u64, u64)>,
    /// Writes to segments wait while this is set.
    pub hold_writes: bool,
    /// The threads that wrote to segments, in order; those that wait are in it.
    pub writers: Vec<String>,
    /// Paths of all data syncs, in order.
    pub synced: Vec<PathBuf>,
    /// Of a file whose path contains this the device cannot read the bytes from here to there.
    pub unreadable: Option<(String, u64, u64)>,
    /// Reads of segments so far.
    pub log_reads: usize,
}

#[derive(Default)]
pub struct Faults {
    plan: Mutex<Plan>,
    changed: Condvar,
}

impl Faults {
    pub fn set(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
        self.changed.notify_all();
    }

    /// Waits until so many writes to segments have begun.
    pub fn until_writes(&self, count: usize) {
        let plan = self.plan.lock().unwrap();
        let limit = std::time::Duration::from_secs(20);
        let (_plan, waited) = self
            .changed
            .wait_timeout_while(plan, limit, |plan| plan.writers.len() < count)
            .unwrap();
        assert!(!waited.timed_out(), "waited in vain for write {count}");
    }

    pub fn writers(&self) -> Vec<String> {
        self.plan.lock().unwrap().writers.clone()
    }

    pub fn log_reads(&self) -> usize {
        self.plan.lock().unwrap().log_reads
    }

    pub fn log_syncs(&self) -> usize {
        let plan = self.plan.lock().unwrap();
        plan.synced
            .iter()
            .filter(|path| path.to_str().unwrap().contains("commitlog"))
            .count()
    }
}

pub struct FaultyDisk {
    pub faults: Arc<Faults>,
}

impl FaultyDisk {
    pub fn with_faults() -> (Arc<dyn Disk>, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        (
            Arc::new(FaultyDisk {
                faults: Arc::clone(&faults),
            }),
            faults,
        )
    }

    fn wrap(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile {
            path: path.to_path_buf(),
            file,
            faults: Arc::clone(&self.faults),
        })
    }
}

struct FaultyFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let path = self.path.to_str().unwrap();
        let mut plan = self.faults.plan.lock().unwrap();
        plan.log_reads += usize::from(path.contains("commitlog"));
        if let Some((part, from, to)) = &plan.unreadable {
            if path.contains(part.as_str()) && at < *to && *from < at + buffer.len() as u64 {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
        }
        drop(plan);
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), ShortWrite> {
        let mut plan = self.faults.plan.lock().unwrap();
        if self.path.to_str().unwrap().contains("commitlog") {
            let name = std::thread::current().name().unwrap_or("").to_string();
            plan.writers.push(name);
            self.faults.changed.notify_all();
            while plan.hold_writes {
                plan = self.faults.changed.wait(plan).unwrap();
            }
        }
        if let Some((path, left, errno)) = &mut plan.write {
            if self.path.to_str().unwrap().contains(path.as_str()) {
                let count = bytes.len().min(*left);
                *left -= count;
                self.file.write_at(&bytes[..count], at)?;
                if count < bytes.len() {
                    let source = io::Error::from_raw_os_error(*errno);
                    return Err(ShortWrite {
                        written: count,
                        source,
                    });
                }
                return Ok(());
            }
        }
        drop(plan);
        self.file.write_at(bytes, at)
    }

    fn write_vectored_at(&self, parts: &[&[u8]], at: u64) -> Result<(), ShortWrite> {
        self.write_at(&parts.concat(), at)
    }

    fn sync_data(&self) -> io::Result<()> {
        let path = self.path.to_str().unwrap();
        let mut plan = self.faults.plan.lock().unwrap();
        while plan.hold_syncs && path.contains("commitlog") {
            plan = self.faults.changed.wait(plan).unwrap();
        }
        plan.synced.push(self.path.clone());
        if let Some((victim, errno)) = &plan.sync {
            if path.contains(victim.as_str()) {
                let errno = *errno;
                plan.sync = None;
                return Err(io::Error::from_raw_os_error(errno));
            }
        }
        drop(plan);
        self.file.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        let plan = self.faults.plan.lock().unwrap();
        if let Some((victim, from, to)) = &plan.never_taken {
            if self.path.to_str().unwrap().contains(victim.as_str()) {
                let zeros = vec![0; (to - from) as usize];
                self.file
                    .write_at(&zeros, *from)
                    .map_err(|short| short.source)?;
            }
        }
        drop(plan);
        self.file.drop_cache()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        let plan = self.faults.plan.lock().unwrap();
        let is_too_much = plan.allocate_max.is_some_and(|most| len > most);
        match plan.allocate.or(is_too_much.then_some(libc::ENOSPC)) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => self.file.allocate(at, len),
        }
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.file.zero(at, len)
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.file.next_data(at)
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(path, RealDisk.open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(path, RealDisk.create(path)?))
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
        let mut plan = self.faults.plan.lock().unwrap();
        if let Some((victim, left, errno)) = &mut plan.remove {
            if path.to_str().unwrap().contains(victim.as_str()) {
                if *left == 0 {
                    return Err(io::Error::from_raw_os_error(*errno));
                }
                *left -= 1;
            }
        }
        drop(plan);
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

/// Syncs that wait, see [`Faults::hold_syncs`].
pub struct HeldSyncs(Arc<Faults>);

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.0.set(|plan| plan.hold_syncs = false);
    }
}

impl Faults {
    /// Syncs of segments wait until the answer is dropped: also by a test that fails, whose store would
    /// otherwise wait for them for ever.
    pub fn hold_syncs(self: &Arc<Self>) -> HeldSyncs {
        self.set(|plan| plan.hold_syncs = true);
        HeldSyncs(Arc::clone(self))
    }
}
