//! What a simulated disk holds: for every file and directory what programs see (the kernel's memory) and
//! what the device has, with the changes in between in their order.
//!
//! A power cut keeps for each 512-byte sector of a file some version of it, from the one last synced to
//! the newest, each sector by itself: writes are torn and reordered. Each file's length is kept or lost by
//! itself; of a directory's changes the first few are kept, in their order, as a journal does.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

pub const SECTOR_SIZE: usize = 512;
const PAGE_SIZE: usize = 4096;

/// Numbers that one seed makes the same again (splitmix64).
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `bound` - 1; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn happens(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What a directory holds under a name: the number of a file or of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    File(usize),
    Dir(usize),
}

/// One change of the disk. Numbers of new files and directories count up, so that a log of operations
/// gives the same disk wherever it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Write {
        file: usize,
        at: u64,
        bytes: Vec<u8>,
    },
    Length {
        file: usize,
        len: u64,
    },
    Zero {
        file: usize,
        at: u64,
        len: u64,
    },
    Sync {
        file: usize,
    },
    /// The device refused: what it should have taken is called clean and will never reach it.
    SyncFailed {
        file: usize,
    },
    /// What programs see is what the device has, with the changes it is still to get.
    DropCache {
        file: usize,
    },
    NewFile {
        dir: usize,
        name: String,
    },
    NewDir {
        dir: usize,
        name: String,
    },
    /// A name for a file that has another one in another directory.
    Link {
        dir: usize,
        name: String,
        file: usize,
    },
    Remove {
        dir: usize,
        name: String,
    },
    Rename {
        dir: usize,
        from: String,
        to: String,
    },
    SyncDir {
        dir: usize,
    },
}

#[derive(Clone, Default)]
struct FileState {
    seen: Vec<u8>,
    synced: Vec<u8>,
    /// Changes since the last sync.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Bytes(usize, Vec<u8>),
    Length(usize),
    Zero(usize, usize),
}

impl Change {
    /// Carries out as much of the change as concerns the sectors `may` names; not the length.
    fn apply(&self, content: &mut [u8], may: impl Fn(usize) -> bool) {
        let (from, to) = match self {
            Change::Bytes(at, bytes) => (*at, at + bytes.len()),
            Change::Length(len) => (*len, content.len()),
            Change::Zero(at, len) => (*at, at + len),
        };
        let mut at = from;
        while at < to.min(content.len()) {
            let end = ((at / SECTOR_SIZE + 1) * SECTOR_SIZE).min(to.min(content.len()));
            if may(at / SECTOR_SIZE) {
                match self {
                    Change::Bytes(start, bytes) => {
                        content[at..end].copy_from_slice(&bytes[at - start..end - start]);
                    }
                    _ => content[at..end].fill(0),
                }
            }
            at = end;
        }
    }

    fn len_after(&self, before: usize) -> usize {
        match self {
            Change::Bytes(at, bytes) => before.max(at + bytes.len()),
            Change::Length(len) => *len,
            Change::Zero(..) => before,
        }
    }
}

/// How much of what nobody synced a power cut keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeps {
    Nothing,
    Everything,
    /// Each sector, length and entry by itself, in this many of 100 cases; else an older version.
    Some(usize),
}

impl FileState {
    fn change(&mut self, change: Change) {
        let len = change.len_after(self.seen.len());
        if len > self.seen.len() {
            self.seen.resize(len, 0);
        }
        change.apply(&mut self.seen, |_| true);
        self.seen.truncate(len);
        self.pending.push(change);
    }

    /// The device takes whole pages, as programs see them.
    fn sync(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        self.synced.resize(self.seen.len(), 0);
        for change in std::mem::take(&mut self.pending) {
            let (from, to) = match change {
                Change::Bytes(at, bytes) => (at, at + bytes.len()),
                Change::Length(len) => (len, self.seen.len()),
                Change::Zero(at, len) => (at, at + len),
            };
            let from = from / PAGE_SIZE * PAGE_SIZE;
            let to = (to.div_ceil(PAGE_SIZE) * PAGE_SIZE).min(self.seen.len());
            if from < to {
                self.synced[from..to].copy_from_slice(&self.seen[from..to]);
            }
        }
    }

    fn after_power_cut(&self, keeps: Keeps, random: &mut Random) -> Vec<u8> {
        let count = self.pending.len();
        let mut lens = vec![self.synced.len()];
        for change in &self.pending {
            let before = lens.last().copied().unwrap_or(0);
            lens.push(change.len_after(before));
        }
        let longest = lens.iter().copied().max().unwrap_or(0);
        let mut content = self.synced.clone();
        content.resize(longest, 0);
        let mut version = |of: usize| match keeps {
            Keeps::Nothing => 0,
            Keeps::Everything => of,
            Keeps::Some(percent) if random.happens(percent) => of,
            Keeps::Some(_) if random.happens(60) => 0,
            Keeps::Some(_) => random.below(of + 1),
        };
        let versions: Vec<usize> = (0..longest.div_ceil(SECTOR_SIZE))
            .map(|_| version(count))
            .collect();
        for (number, change) in self.pending.iter().enumerate() {
            change.apply(&mut content, |sector| number < versions[sector]);
        }
        content.truncate(lens[version(count)]);
        content
    }
}

#[derive(Clone, Default)]
struct DirState {
    seen: BTreeMap<String, Node>,
    synced: BTreeMap<String, Node>,
    pending: Vec<Entries>,
}

#[derive(Clone)]
enum Entries {
    Put(String, Node),
    Gone(String),
    Moved(String, String, Node),
}

impl Entries {
    fn apply(&self, entries: &mut BTreeMap<String, Node>) {
        match self {
            Entries::Put(name, node) => {
                entries.insert(name.clone(), *node);
            }
            Entries::Gone(name) => {
                entries.remove(name);
            }
            Entries::Moved(from, to, node) => {
                if entries.get(from) == Some(node) {
                    entries.remove(from);
                }
                entries.insert(to.clone(), *node);
            }
        }
    }
}

impl DirState {
    fn change(&mut self, change: Entries) {
        change.apply(&mut self.seen);
        self.pending.push(change);
    }

    fn after_power_cut(&self, keeps: Keeps, random: &mut Random) -> BTreeMap<String, Node> {
        let mut entries = self.synced.clone();
        let count = match keeps {
            Keeps::Nothing => 0,
            Keeps::Everything => self.pending.len(),
            Keeps::Some(percent) if random.happens(percent) => self.pending.len(),
            Keeps::Some(_) => random.below(self.pending.len() + 1),
        };
        for change in &self.pending[..count] {
            change.apply(&mut entries);
        }
        entries
    }
}

/// All files and directories. Number 0 is the root directory.
#[derive(Clone)]
pub struct Platter {
    files: Vec<FileState>,
    dirs: Vec<DirState>,
}

impl Default for Platter {
    fn default() -> Platter {
        Platter {
            files: Vec::new(),
            dirs: vec![DirState::default()],
        }
    }
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{}", path.display()))
}

impl Platter {
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { file, at, bytes } => {
                self.files[*file].change(Change::Bytes(*at as usize, bytes.clone()));
            }
            Op::Length { file, len } => self.files[*file].change(Change::Length(*len as usize)),
            Op::Zero { file, at, len } => {
                self.files[*file].change(Change::Zero(*at as usize, *len as usize));
            }
            Op::Sync { file } => self.files[*file].sync(),
            Op::SyncFailed { file } => {
                let file = &mut self.files[*file];
                // Lengths are in the file system's journal, which works on.
                file.pending
                    .retain(|change| matches!(change, Change::Length(_)));
            }
            Op::DropCache { file } => {
                let file = &mut self.files[*file];
                file.seen.clone_from(&file.synced);
                for change in std::mem::take(&mut file.pending) {
                    file.change(change);
                }
            }
            Op::NewFile { dir, name } => {
                let node = Node::File(self.files.len());
                self.files.push(FileState::default());
                self.dirs[*dir].change(Entries::Put(name.clone(), node));
            }
            Op::NewDir { dir, name } => {
                let node = Node::Dir(self.dirs.len());
                self.dirs.push(DirState::default());
                self.dirs[*dir].change(Entries::Put(name.clone(), node));
            }
            Op::Link { dir, name, file } => {
                self.dirs[*dir].change(Entries::Put(name.clone(), Node::File(*file)));
            }
            Op::Remove { dir, name } => self.dirs[*dir].change(Entries::Gone(name.clone())),
            Op::Rename { dir, from, to } => {
                if let Some(&node) = self.dirs[*dir].seen.get(from) {
                    let moved = Entries::Moved(from.clone(), to.clone(), node);
                    self.dirs[*dir].change(moved);
                }
            }
            Op::SyncDir { dir } => {
                let dir = &mut self.dirs[*dir];
                dir.synced = dir.seen.clone();
                dir.pending.clear();
            }
        }
    }

    /// Whether anything would be lost if the power failed now.
    pub fn has_unsynced(&self) -> bool {
        self.files.iter().any(|file| !file.pending.is_empty())
            || self.dirs.iter().any(|dir| !dir.pending.is_empty())
    }

    /// The disk as the next start of the machine finds it.
    pub fn after_power_cut(&self, keeps: Keeps, random: &mut Random) -> Platter {
        let files = self.files.iter().map(|file| {
            let content = file.after_power_cut(keeps, random);
            FileState {
                seen: content.clone(),
                synced: content,
                pending: Vec::new(),
            }
        });
        let files = files.collect();
        let dirs = self.dirs.iter().map(|dir| {
            let entries = dir.after_power_cut(keeps, random);
            DirState {
                seen: entries.clone(),
                synced: entries,
                pending: Vec::new(),
            }
        });
        Platter {
            files,
            dirs: dirs.collect(),
        }
    }

    pub fn find(&self, path: &Path) -> Option<Node> {
        let mut node = Node::Dir(0);
        for part in path.components() {
            let Component::Normal(name) = part else {
                continue;
            };
            let Node::Dir(dir) = node else { return None };
            node = *self.dirs[dir].seen.get(name.to_str()?)?;
        }
        Some(node)
    }

    pub fn dir(&self, path: &Path) -> io::Result<usize> {
        match self.find(path) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(missing(path)),
        }
    }

    pub fn file(&self, path: &Path) -> io::Result<usize> {
        match self.find(path) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(missing(path)),
        }
    }

    /// The directory a path lies in, and its name there.
    pub fn place(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().and_then(|name| name.to_str());
        let (Some(parent), Some(name)) = (path.parent(), name) else {
            return Err(missing(path));
        };
        Ok((self.dir(parent)?, name.to_string()))
    }

    pub fn entries(&self, dir: usize) -> &BTreeMap<String, Node> {
        &self.dirs[dir].seen
    }

    pub fn content(&self, file: usize) -> &[u8] {
        &self.files[file].seen
    }
}
