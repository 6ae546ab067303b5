//! The start after a failed sync: nothing is believed that the device itself does not give back.
//!
//! The kernel calls the pages of a failed sync clean and shows them all the same. They may vanish at any
//! time, and a sync by the next process would succeed without them. So that process writes once again
//! what it sees, since some of it was acknowledged (ASYNC_FLUSH) and all of it may have been; syncs it;
//! drops the kernel's copy; and only then looks at the log, from the device, checksums and all. What
//! cannot be written stops the start, which changes nothing else and leaves the note for the next one.

use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{failed, failed_at, Result};
use crate::file_cache::FileCache;
use crate::open::sync_log;
use crate::recover::{survey, Survey};
use crate::settings::Settings;

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
    write_again(&seen, from)?;
    sync_log(&seen)?;
    drop_cache(&seen, from)?;
    *cache = FileCache::default();
    let mut found = survey(disk, settings, cache)?;
    found.notes.push(format!(
        "{}: byte {}: a sync had failed; the log from here to {} was written again and read back from \
         the device",
        found.files.path_of(from).display(),
        from - found.files.base_of(from),
        found.end
    ));
    Ok(found)
}

fn write_again(survey: &Survey, from: u64) -> Result<()> {
    const BLOCK: u64 = 1 << 20;
    let files = &survey.files;
    for base in files.bases_from(from).take_while(|&base| base < survey.end) {
        let file = files.open(base)?;
        let end = survey.end.min(base + files.segment_size);
        let mut position = base;
        while position < end {
            let bytes = files.read(position, BLOCK.min(end - position) as usize)?;
            if bytes.is_empty() {
                break; // a short file
            }
            let at = position - base;
            file.write_at(&bytes, at).map_err(|short| {
                let at = at + short.written as u64;
                failed_at("write again", &files.path_of(base), at, &short.source)
            })?;
            position += bytes.len() as u64;
        }
    }
    Ok(())
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
