//! The start after a failed sync: nothing is believed that the device itself does not give back.
//!
//! The kernel calls the pages of a failed sync clean and shows them all the same. They may vanish at any
//! time, and a sync by the next process would succeed without them. So that process writes what it sees
//! into new files, since some of it was acknowledged (ASYNC_FLUSH); syncs them; drops the kernel's copy;
//! and only then looks at the log, from the device, checksums and all. What cannot be written stops the
//! start, which changes nothing else and leaves the note for the next one.

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{failed, failed_at, Result};
use crate::file_cache::FileCache;
use crate::recover::{survey, Survey};
use crate::settings::Settings;

const BLOCK: u64 = 1 << 18;

/// What is in the directory, as `recover::survey` says it. `had_failed`: a sync of the last process
/// failed, so the log is written again and read back before.
pub fn survey_from_device(
    disk: &Arc<dyn Disk>,
    settings: &Settings,
    cache: &mut FileCache,
    had_failed: bool,
) -> Result<Survey> {
    let seen = survey(disk, settings, cache)?;
    let Some(from) = seen.unsynced_from.filter(|_| had_failed) else {
        return Ok(seen);
    };
    write_again(&**disk, &settings.root, &seen, from)?;
    drop_cache(&seen, from)?;
    *cache = FileCache::default();
    let mut found = survey(disk, settings, cache)?;
    found.notes.push(format!(
        "{}: byte {}: a sync had failed; the log up to {} was written again and read back from \
         the device",
        found.files.path_of(from).display(),
        from - found.files.base_of(from),
        found.end
    ));
    Ok(found)
}

/// Each segment that may hold lost bytes goes into a new file, which takes its place once it is synced:
/// what the device has of it is not touched before. Writing to the old place would not do. ext4 keeps
/// blocks whose first write failed marked as never written, and writing over their cached pages and
/// syncing them succeeds without unmarking them: they read as zeros later.
fn write_again(disk: &dyn Disk, root: &Path, survey: &Survey, from: u64) -> Result<()> {
    let files = &survey.files;
    let own = root.join("pyromq");
    if !disk.exists(&own) {
        disk.create_dir_all(&own)
            .map_err(|error| failed("create", &own, &error))?;
    }
    let copy = own.join("segment-again");
    for base in files.bases_from(from).take_while(|&base| base < survey.end) {
        let path = files.path_of(base);
        let len = files
            .open(base)?
            .len()
            .map_err(|error| failed("read the length of", &path, &error))?;
        if disk.exists(&copy) {
            disk.remove_file(&copy)
                .map_err(|error| failed("remove", &copy, &error))?;
        }
        let file = disk
            .create(&copy)
            .map_err(|error| failed("create", &copy, &error))?;
        file.set_len(len)
            .map_err(|error| failed("set the length of", &copy, &error))?;
        let end = survey.end.min(base + len);
        let mut position = base;
        while position < end {
            let bytes = files.read(position, BLOCK.min(end - position) as usize)?;
            if bytes.is_empty() {
                break; // a short file
            }
            if bytes.iter().any(|&byte| byte != 0) {
                let at = position - base;
                file.write_at(&bytes, at).map_err(|short| {
                    failed_at("write", &copy, at + short.written as u64, &short.source)
                })?;
            }
            position += bytes.len() as u64;
        }
        file.sync_data()
            .map_err(|error| failed("sync", &copy, &error))?;
        disk.rename(&copy, &path)
            .map_err(|error| failed("rename", &copy, &error))?;
    }
    disk.sync_dir(&files.dir)
        .map_err(|error| failed("sync", &files.dir, &error))
}

/// From all of the log that may be in memory only, the segment made ahead included.
fn drop_cache(survey: &Survey, from: u64) -> Result<()> {
    let files = &survey.files;
    for base in files.bases_from(from) {
        let path = files.path_of(base);
        files
            .open(base)?
            .drop_cache()
            .map_err(|error| failed("drop the cache of", &path, &error))?;
    }
    Ok(())
}
