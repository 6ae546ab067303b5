//! Faults at exactly one persistence step of a real process; only in builds with the feature `failpoints`.
//!
//! Whatever the store makes durable goes through [`Disk`], so the points hang on that door and the rest of
//! the crate knows nothing of them: [`FailDisk`] names each step by the phase of the process, the kind of
//! file and the operation (`run.log.sync`), and each step has a point `before` and `after` it; a write also
//! one `within`, when the first half of its bytes is in the file. Steps that exist are listed in [`STEPS`];
//! one that is not is written to the trail as `unlisted`, which fails the tests: no step without a point.
//!
//! Three variables of the environment, read once:
//! - `RMQLOG_FAILPOINTS`: `NAME=HIT:ACTION`, several joined by `;`. The action happens when the point is
//!   reached for the HIT-th time (`3+`: from the third time on). Actions: `kill` (SIGKILL to this process
//!   by itself), `EIO` and `ENOSPC` (the step reports that error), `delay-MS`.
//! - `RMQLOG_FAILPOINTS_GATE`: a path. Hits count from when there is a file.
//! - `RMQLOG_FAILPOINTS_TRAIL`: a file that gets a line per point reached for the first time, and a line
//!   `hit NAME ACTION` before each action.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::disk::{Disk, DiskFile, Entry, Held, RealDisk, ShortWrite};
pub use crate::failpoint_steps::STEPS;

pub const RULES_VARIABLE: &str = "RMQLOG_FAILPOINTS";
pub const GATE_VARIABLE: &str = "RMQLOG_FAILPOINTS_GATE";
pub const TRAIL_VARIABLE: &str = "RMQLOG_FAILPOINTS_TRAIL";

/// Where in its life a store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Until it is open.
    Start,
    Run,
    /// From the clean stop on.
    Stop,
}

impl Phase {
    fn name(number: u8) -> &'static str {
        match number {
            0 => "start",
            1 => "run",
            _ => "stop",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Fail(i32),
    Delay(Duration),
}

#[derive(Debug, PartialEq, Eq)]
struct Rule {
    name: String,
    hit: u64,
    is_lasting: bool,
    action: Action,
}

impl Rule {
    fn parse(text: &str) -> Option<Rule> {
        let (name, rest) = text.split_once('=')?;
        let (hit, action) = rest.split_once(':')?;
        let action = match action {
            "kill" => Action::Kill,
            "EIO" => Action::Fail(libc::EIO),
            "ENOSPC" => Action::Fail(libc::ENOSPC),
            other => Action::Delay(Duration::from_millis(
                other.strip_prefix("delay-")?.parse().ok()?,
            )),
        };
        let number = hit.strip_suffix('+');
        Some(Rule {
            name: name.to_string(),
            hit: number.unwrap_or(hit).parse().ok()?,
            is_lasting: number.is_some(),
            action,
        })
    }
}

/// All points of the process.
struct Points {
    rules: Vec<Rule>,
    gate: Option<PathBuf>,
    trail: Option<File>,
    phase: AtomicU8,
    counts: Mutex<HashMap<String, u64>>,
}

static POINTS: OnceLock<Points> = OnceLock::new();

fn points() -> &'static Points {
    POINTS.get_or_init(|| {
        let text = std::env::var(RULES_VARIABLE).unwrap_or_default();
        let words = text.split(';').filter(|word| !word.is_empty());
        let rules = words.filter_map(|word| {
            let rule = Rule::parse(word);
            assert!(rule.is_some(), "{RULES_VARIABLE}: not a rule: {word}");
            rule
        });
        let trail = std::env::var_os(TRAIL_VARIABLE)
            .and_then(|path| OpenOptions::new().append(true).create(true).open(path).ok());
        Points {
            rules: rules.collect(),
            gate: std::env::var_os(GATE_VARIABLE).map(PathBuf::from),
            trail,
            phase: AtomicU8::new(Phase::Start as u8),
            counts: Mutex::new(HashMap::new()),
        }
    })
}

/// From here on steps belong to that phase.
pub fn enter(phase: Phase) {
    points().phase.store(phase as u8, Ordering::SeqCst);
}

impl Points {
    fn note(&self, line: &str) {
        if let Some(mut trail) = self.trail.as_ref() {
            // One call: several threads, and Python, write to the same file.
            drop(trail.write_all(format!("{line}\n").as_bytes()));
        }
    }

    /// The engine's own threads run from the start on and end in the clean stop; what they do is the same
    /// all the time.
    fn phase_here(&self) -> u8 {
        let thread = std::thread::current();
        match thread.name() {
            Some(name) if name.starts_with("rmqlog-") => Phase::Run as u8,
            _ => self.phase.load(Ordering::SeqCst),
        }
    }

    /// Counts the point as reached and does what is asked for there. An error is the step's to report.
    fn reach(&self, step: &str, place: &str) -> io::Result<()> {
        let phase = Phase::name(self.phase_here());
        let name = format!("{phase}.{step}.{place}");
        let is_open = self.gate.as_ref().is_none_or(|gate| gate.exists());
        let (is_first, count) = {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = !counts.contains_key(&name);
            let count = counts.entry(name.clone()).or_insert(0);
            *count += u64::from(is_open);
            (is_first, *count)
        };
        if is_first {
            let is_listed = STEPS.contains(&&name[..name.len() - place.len() - 1]);
            self.note(&format!(
                "{}{name}",
                if is_listed { "" } else { "unlisted " }
            ));
        }
        let is_asked = |rule: &&Rule| {
            let is_now = count == rule.hit || rule.is_lasting && count > rule.hit;
            rule.name == name && is_open && is_now
        };
        let Some(rule) = self.rules.iter().find(is_asked) else {
            return Ok(());
        };
        self.note(&format!("hit {name} {:?}", rule.action));
        match rule.action {
            Action::Kill => die(),
            Action::Fail(number) => Err(io::Error::from_raw_os_error(number)),
            Action::Delay(time) => {
                std::thread::sleep(time);
                Ok(())
            }
        }
    }

    /// A step that happens whole or not at all.
    fn step<T>(&self, step: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.reach(step, "before")?;
        let answer = act()?;
        self.reach(step, "after")?;
        Ok(answer)
    }
}

/// As if by kill -9: nothing of this process runs any more.
fn die() -> ! {
    // SAFETY: plain system calls without memory.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    loop {
        std::thread::park();
    }
}

/// What a file or a directory is for the store, told by its path alone.
fn kind_of(path: &Path) -> String {
    let name = |up: usize| {
        let part = path.ancestors().nth(up).and_then(Path::file_name);
        part.and_then(OsStr::to_str).unwrap_or_default()
    };
    if (0..4).any(|up| name(up) == "consumequeue") {
        return "queue".to_string();
    }
    for up in 0..2 {
        match name(up) {
            "commitlog" => return "log".to_string(),
            "index" => return "index".to_string(),
            "abort" | "checkpoint" | "lock" => return name(up).to_string(),
            _ => {}
        }
    }
    for up in 0..3 {
        if name(up) == "pyromq" {
            let own = if up == 0 { "own" } else { name(up - 1) };
            let own = own.strip_suffix(".new").unwrap_or(own);
            return own.replace(['-', '.'], "_");
        }
    }
    "root".to_string()
}

/// A disk with a point before and after each step.
pub struct FailDisk<D> {
    inner: D,
}

/// The machine's file system, with points.
pub fn disk() -> Arc<dyn Disk> {
    Arc::new(FailDisk { inner: RealDisk })
}

impl<D: Disk> FailDisk<D> {
    fn step<T>(
        &self,
        path: &Path,
        operation: &str,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        points().step(&format!("{}.{operation}", kind_of(path)), act)
    }
}

struct FailFile {
    inner: Arc<dyn DiskFile>,
    kind: String,
}

impl FailFile {
    fn around(inner: Arc<dyn DiskFile>, path: &Path) -> Arc<dyn DiskFile> {
        let kind = kind_of(path);
        Arc::new(FailFile { inner, kind })
    }

    fn step(&self, operation: &str, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        points().step(&format!("{}.{operation}", self.kind), act)
    }

    fn write(&self, parts: &[&[u8]], at: u64) -> Result<(), ShortWrite> {
        let size: usize = parts.iter().map(|part| part.len()).sum();
        let step = format!("{}.write", self.kind);
        let reach = |place: &str, written: usize| {
            points()
                .reach(&step, place)
                .map_err(|source| ShortWrite { written, source })
        };
        reach("before", 0)?;
        let half: Vec<u8> = parts.concat().into_iter().take(size / 2).collect();
        self.inner.write_at(&half, at)?;
        reach("within", half.len())?;
        self.inner.write_vectored_at(parts, at)?;
        reach("after", size)
    }
}

impl DiskFile for FailFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, at)
    }

    fn read_cached_at(&self, buffer: &mut [u8], at: u64) -> io::Result<Option<usize>> {
        self.inner.read_cached_at(buffer, at)
    }

    fn read_ahead(&self, at: u64, len: u64) {
        self.inner.read_ahead(at, len);
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<(), ShortWrite> {
        self.write(&[bytes], at)
    }

    fn write_vectored_at(&self, parts: &[&[u8]], at: u64) -> Result<(), ShortWrite> {
        self.write(parts, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.step("sync", || self.inner.sync_data())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.step("resize", || self.inner.set_len(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn allocate(&self, at: u64, len: u64) -> io::Result<()> {
        self.step("allocate", || self.inner.allocate(at, len))
    }

    fn zero(&self, at: u64, len: u64) -> io::Result<()> {
        self.step("zero", || self.inner.zero(at, len))
    }

    fn next_data(&self, at: u64) -> io::Result<Option<u64>> {
        self.inner.next_data(at)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}

struct FailHeld {
    inner: Box<dyn Held>,
    kind: String,
}

impl Held for FailHeld {
    fn write_text(&self, text: &[u8]) -> io::Result<()> {
        points().step(&format!("{}.text", self.kind), || {
            self.inner.write_text(text)
        })
    }

    fn is_new(&self) -> bool {
        self.inner.is_new()
    }
}

impl<D: Disk> Disk for FailDisk<D> {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(FailFile::around(self.inner.open(path)?, path))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = if self.inner.exists(path) {
            self.inner.create(path)?
        } else {
            self.step(path, "create", || self.inner.create(path))?
        };
        Ok(FailFile::around(file, path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<Option<i64>> {
        self.inner.modified_ms(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.step(dir, "create_dir", || self.inner.create_dir_all(dir))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.step(path, "remove", || self.inner.remove_file(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(dir, "remove_dir", || self.inner.remove_dir(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(to, "rename", || self.inner.rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(dir, "sync_dir", || self.inner.sync_dir(dir))
    }

    fn boot_id(&self) -> Option<String> {
        self.inner.boot_id()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        let held = self.step(path, "create", || self.inner.lock(path))?;
        let kind = kind_of(path);
        Ok(held.map(|inner| -> Box<dyn Held> { Box::new(FailHeld { inner, kind }) }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rule_names_point_hit_and_action() {
        let rule = Rule::parse("run.log.sync.before=3:EIO").unwrap();
        assert_eq!((rule.hit, rule.is_lasting), (3, false));
        assert_eq!(rule.action, Action::Fail(libc::EIO));
        assert!(Rule::parse("a=2+:kill").unwrap().is_lasting);
        let delay = Action::Delay(Duration::from_millis(50));
        assert_eq!(Rule::parse("a=1:delay-50").unwrap().action, delay);
        for wrong in ["a", "a=1", "a=x:kill", "a=1:sleep", "a=1:delay-x"] {
            assert_eq!(Rule::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_path_tells_what_a_file_is() {
        let kinds = [
            ("/s/commitlog/00000000000000000000", "log"),
            ("/s/commitlog", "log"),
            ("/s/consumequeue/index/0/00000000000000000000", "queue"),
            ("/s/index/20260101000000000", "index"),
            ("/s/checkpoint", "checkpoint"),
            ("/s/pyromq/dispatch", "dispatch"),
            ("/s/pyromq/queues.new", "queues"),
            ("/s/pyromq/sync-failed", "sync_failed"),
            ("/s/pyromq", "own"),
            ("/s/pyromq/more/0", "more"),
            ("/s", "root"),
        ];
        for (path, kind) in kinds {
            assert_eq!(kind_of(Path::new(path)), kind, "{path}");
        }
    }
}
