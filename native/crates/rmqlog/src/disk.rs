//! The only door to the file system.
//!
//! [`Disk`] names what the store needs from one, no more. The real one is here; a simulated one with a
//! volatile cache and cut points is to take its place in crash tests. Positions are explicit (pread,
//! pwrite): a file has no cursor, so several threads may use one descriptor.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A write that stopped before its end.
#[derive(Debug)]
pub struct ShortWrite {
    /// Bytes that did arrive.
    pub written: usize,
    pub source: io::Error,
}

/// One open file.
pub trait DiskFile: Send + Sync {
    /// Reads until `buffer` is full or the file ends; answers how many bytes came.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// The same without waiting for the device: `None` if some of it is not in memory.
    fn read_cached_at(&self, buffer: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.read_at(buffer, at).map(Some)
    }
    /// Asks for the range to be brought into memory, without waiting for it; nothing else is brought there on
    /// its own from then on. What goes wrong shows when the bytes are read.
    fn read_ahead(&self, at: u64, len: u64) {
        let _ = (at, len);
    }
    /// Writes all of `bytes`.
    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), ShortWrite>;
    /// Writes the parts one behind the other with as few calls as possible.
    fn write_vectored_at(&self, parts: &[&[u8]], at: u64) -> Result<(), ShortWrite>;
    /// Makes the bytes survive a power cut (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Forgets what the kernel keeps of the file and need not write any more: reads come from the
    /// device afterwards. What is not synced stays.
    fn drop_cache(&self) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Reserves disk space for the range without changing length or content.
    fn allocate(&self, at: u64, len: u64) -> io::Result<()>;
    /// Makes the range read as zeros.
    fn zero(&self, at: u64, len: u64) -> io::Result<()>;
    /// Where the next stored byte at or behind `at` may be; `None` if only holes follow.
    fn next_data(&self, at: u64) -> io::Result<Option<u64>>;
}

/// What a directory holds under one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub is_dir: bool,
    pub len: u64,
}

/// An exclusive hold on a file; dropping it lets go.
pub trait Held: Send + Sync {
    /// Makes `text` the content of the held file. Only the holder's own descriptor may do this:
    /// closing any other one of this process would end a POSIX lock.
    fn write_text(&self, text: &[u8]) -> io::Result<()>;
    /// Whether taking the hold created the file.
    fn is_new(&self) -> bool;
}

/// A file system as the store sees it.
pub trait Disk: Send + Sync {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing, empty if it is new.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Entries sorted by name; empty if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    fn exists(&self, path: &Path) -> bool;
    /// When the file was last written, in ms since 1970; `None` where that is not known.
    fn modified_ms(&self, path: &Path) -> io::Result<Option<i64>> {
        let _ = path;
        Ok(None)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory that is empty.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes creations, removals and renames in `dir` survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names the machine's run: as long as it is the same, written bytes are there even if nobody
    /// synced them. `None` if that cannot be known.
    fn boot_id(&self) -> Option<String>;
    /// Takes the record lock Java's `FileChannel.tryLock(0, 1, false)` takes; `None` if it is taken.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>>;
}

/// The machine's file system.
#[derive(Debug, Default)]
pub struct RealDisk;

/// The same, of which nothing can be changed: files are opened for reading, so that a store may lie on
/// a file system or belong to a user that lets nobody write.
#[derive(Debug, Default)]
pub struct ReadOnlyDisk;

fn read_only<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::EROFS))
}

impl Disk for ReadOnlyDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        read_only()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        RealDisk.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        RealDisk.exists(path)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<Option<i64>> {
        RealDisk.modified_ms(path)
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove_file(&self, _path: &Path) -> io::Result<()> {
        read_only()
    }

    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        read_only()
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        read_only()
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        read_only()
    }

    fn boot_id(&self) -> Option<String> {
        RealDisk.boot_id()
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        read_only()
    }
}

struct RealFile {
    file: File,
}

impl RealFile {
    fn open(path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(create)
            .truncate(false)
            .open(path)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn fallocate(&self, mode: libc::c_int, at: u64, len: u64) -> io::Result<()> {
        loop {
            // SAFETY: the descriptor is open for as long as `self.file` lives; no memory is passed.
            let answer = unsafe {
                libc::fallocate(
                    self.file.as_raw_fd(),
                    mode,
                    at as libc::off_t,
                    len as libc::off_t,
                )
            };
            if answer == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    /// Zeros by writing, for file systems that cannot punch holes; leaves zero blocks alone.
    fn write_zeros(&self, at: u64, len: u64) -> io::Result<()> {
        const BLOCK: usize = 1 << 16;
        let zeros = vec![0u8; BLOCK];
        let mut found = vec![0u8; BLOCK];
        let mut done = 0;
        while done < len {
            let want = BLOCK.min((len - done) as usize);
            let got = self.read_at(&mut found[..want], at + done)?;
            if found[..got].iter().any(|&byte| byte != 0) {
                self.write_at(&zeros[..got], at + done)
                    .map_err(|short| short.source)?;
            }
            if got < want {
                return Ok(());
            }
            done += want as u64;
        }
        Ok(())
    }
}

fn is_unsupported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP) | Some(libc::ENOSYS)
    )
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match self.file.read_at(&mut buffer[done..], at + done as u64) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn read_cached_at(&self, buffer: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let part = libc::iovec {
                iov_base: rest.as_mut_ptr().cast(),
                iov_len: rest.len(),
            };
            // SAFETY: the vector points into a slice borrowed for this call, of which the kernel fills
            // at most its length.
            let answer = unsafe {
                libc::preadv2(
                    self.file.as_raw_fd(),
                    &raw const part,
                    1,
                    (at + done as u64) as libc::off_t,
                    libc::RWF_NOWAIT,
                )
            };
            match usize::try_from(answer) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(_) => {
                    let error = io::Error::last_os_error();
                    match error.raw_os_error() {
                        Some(libc::EAGAIN) => return Ok(None),
                        Some(libc::EINTR) => {}
                        // Not every file system can.
                        Some(libc::EOPNOTSUPP | libc::ENOSYS) => {
                            return self.read_at(buffer, at).map(Some);
                        }
                        _ => return Err(error),
                    }
                }
            }
        }
        Ok(Some(done))
    }

    fn read_ahead(&self, at: u64, len: u64) {
        for advice in [libc::POSIX_FADV_RANDOM, libc::POSIX_FADV_WILLNEED] {
            // SAFETY: the descriptor is open for as long as `self.file` lives; no memory is passed.
            unsafe {
                libc::posix_fadvise(
                    self.file.as_raw_fd(),
                    at as libc::off_t,
                    len as libc::off_t,
                    advice,
                )
            };
        }
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), ShortWrite> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write_at(&bytes[written..], at + written as u64) {
                Ok(0) => {
                    let source = io::Error::from(io::ErrorKind::WriteZero);
                    return Err(ShortWrite { written, source });
                }
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ShortWrite { written, source }),
            }
        }
        Ok(())
    }

    fn write_vectored_at(&self, parts: &[&[u8]], at: u64) -> Result<(), ShortWrite> {
        const PARTS_MAX: usize = 1024; // the kernel's UIO_MAXIOV
        let mut place = at;
        for group in parts.chunks(PARTS_MAX) {
            let size: usize = group.iter().map(|part| part.len()).sum();
            let vectors: Vec<libc::iovec> = group
                .iter()
                .map(|part| libc::iovec {
                    iov_base: part.as_ptr() as *mut libc::c_void,
                    iov_len: part.len(),
                })
                .collect();
            // SAFETY: each vector points into a slice borrowed for this call; the kernel only reads.
            let answer = unsafe {
                libc::pwritev(
                    self.file.as_raw_fd(),
                    vectors.as_ptr(),
                    vectors.len() as libc::c_int,
                    place as libc::off_t,
                )
            };
            let mut done = usize::try_from(answer).unwrap_or(0);
            // What one call left over, if anything, goes part by part.
            let mut part_start = 0;
            for part in group {
                let part_end = part_start + part.len();
                if done < part_end {
                    let from = done.saturating_sub(part_start);
                    self.write_at(&part[from..], place + (part_start + from) as u64)
                        .map_err(|short| ShortWrite {
                            written: (place - at) as usize + part_start + from + short.written,
                            source: short.source,
                        })?;
                    done = part_end;
                }
                part_start = part_end;
            }
            place += size as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn drop_cache(&self) -> io::Result<()> {
        // SAFETY: the descriptor is open for as long as `self.file` lives; no memory is passed.
        let answer =
            unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if answer == 0 {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(answer))
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        match self.fallocate(libc::FALLOC_FL_KEEP_SIZE, at, len) {
            Err(error) if is_unsupported(&error) => Ok(()),
            answer => answer,
        }
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        match self.fallocate(mode, at, len) {
            Err(error) if is_unsupported(&error) => self.write_zeros(at, len),
            answer => answer,
        }
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        // SAFETY: the descriptor is open; the cursor it moves is used by nobody.
        let answer =
            unsafe { libc::lseek(self.file.as_raw_fd(), at as libc::off_t, libc::SEEK_DATA) };
        if answer >= 0 {
            return Ok(Some(answer as u64));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENXIO) => Ok(None),
            Some(libc::EINVAL) => Ok(Some(at)), // cannot tell: everything may be data
            _ => Err(error),
        }
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealFile::open(path, false)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealFile::open(path, true)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue; // nothing of ours or Apache's has such a name
            };
            let about = match fs::metadata(entry.path()) {
                Ok(about) => about,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            found.push(Entry {
                name,
                is_dir: about.is_dir(),
                len: about.len(),
            });
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn modified_ms(&self, path: &Path) -> io::Result<Option<i64>> {
        let about = fs::metadata(path)?;
        Ok(Some(about.mtime() * 1000 + about.mtime_nsec() / 1_000_000))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn boot_id(&self) -> Option<String> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(text.trim().to_string())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        RealLock::take(path)
    }
}

/// Directories this process holds, by device and inode. POSIX record locks belong to the process: a
/// second lock by the same one would succeed, and closing its file would end the first.
static HELD_HERE: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

struct RealLock {
    file: Option<File>,
    is_new: bool,
    directory: (u64, u64),
}

impl RealLock {
    fn take(path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        let parent: PathBuf = path
            .parent()
            .map_or_else(|| PathBuf::from("."), Path::to_path_buf);
        let about = fs::metadata(&parent)?;
        let directory = (about.dev(), about.ino());
        let mut held = HELD_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains(&directory) {
            return Ok(None);
        }
        let is_new = !path.exists();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        // SAFETY: all-zero is a valid `flock` structure; the fields that matter are set below.
        let mut request: libc::flock = unsafe { std::mem::zeroed() };
        request.l_type = libc::F_WRLCK as libc::c_short;
        request.l_whence = libc::SEEK_SET as libc::c_short;
        request.l_start = 0;
        request.l_len = 1;
        // SAFETY: the descriptor is open and `request` outlives the call.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &request) };
        if answer == -1 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::EAGAIN) | Some(libc::EACCES) => Ok(None),
                _ => Err(error),
            };
        }
        held.push(directory);
        Ok(Some(Box::new(RealLock {
            file: Some(file),
            is_new,
            directory,
        })))
    }
}

impl Held for RealLock {
    fn write_text(&self, text: &[u8]) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.set_len(text.len() as u64)?;
        file.write_all_at(text, 0)
    }

    fn is_new(&self) -> bool {
        self.is_new
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        let mut held = HELD_HERE.lock().unwrap_or_else(PoisonError::into_inner);
        self.file = None; // before the directory is free again: closing ends every lock on it
        held.retain(|&other| other != self.directory);
    }
}
