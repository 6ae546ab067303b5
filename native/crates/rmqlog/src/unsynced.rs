//! Files of queues and index that were written and are not synced yet.

use std::collections::btree_map::{BTreeMap, Entry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::{failed, Result};
use crate::persist::FILES_BETWEEN;

/// Descriptors held of files that wait for their sync. Of more only the names are kept: ten thousand topics
/// have more files than a process may have open.
const HELD_MAX: usize = 256;
/// Files written since the last sync.
#[derive(Default)]
pub struct Unsynced {
    /// None: to be opened for its sync.
    files: BTreeMap<PathBuf, Option<Arc<dyn DiskFile>>>,
    held: usize,
}

impl Unsynced {
    pub fn add(&mut self, path: &Path, file: &Arc<dyn DiskFile>) {
        match self.files.entry(path.to_path_buf()) {
            Entry::Vacant(place) => {
                let may_hold = self.held < HELD_MAX;
                self.held += usize::from(may_hold);
                place.insert(may_hold.then(|| Arc::clone(file)));
            }
            Entry::Occupied(mut place) => {
                // Opened again, or another file of that name: the one there is at the sync counts.
                let is_other = |known: &Arc<dyn DiskFile>| !Arc::ptr_eq(known, file);
                if place.get().as_ref().is_some_and(is_other) {
                    self.held -= 1;
                    place.insert(None);
                }
            }
        }
    }

    /// `between`: what else is to be done now and then, as this may take long.
    pub fn sync(&self, disk: &dyn Disk, mut between: impl FnMut()) -> Result<()> {
        for (number, (path, held)) in self.files.iter().enumerate() {
            if number % FILES_BETWEEN == FILES_BETWEEN - 1 {
                between();
            }
            let synced = match held {
                Some(file) => file.sync_data(),
                // A lost page is told to who opens the file later, too, as long as nobody was told.
                None => match disk.open(path).and_then(|file| file.sync_data()) {
                    // A dropped topic has taken its files away.
                    Err(error) if is_gone(&error) => Ok(()),
                    answer => answer,
                },
            };
            synced.map_err(|error| failed("sync", path, &error))?;
        }
        Ok(())
    }

    /// Nothing of it is to be synced any more.
    pub fn clear(&mut self) {
        *self = Unsynced::default();
    }
}

/// Whether the file or directory was not there.
pub fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn of_many_files_only_the_names_are_kept_and_all_are_synced() {
        let dir = std::env::temp_dir().join(format!("rmqlog-unsynced-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut unsynced = Unsynced::default();
        for number in 0..HELD_MAX + 40 {
            let path = dir.join(format!("{number:04}"));
            unsynced.add(&path, &RealDisk.create(&path).unwrap());
        }
        let held = || unsynced.files.values().flatten().count();
        assert_eq!((unsynced.files.len(), held()), (HELD_MAX + 40, HELD_MAX));
        assert_eq!(unsynced.held, HELD_MAX);
        // One that is only a name and gone was dropped; one that cannot be opened fails the sync.
        let last = dir.join(format!("{:04}", HELD_MAX + 39));
        std::fs::remove_file(&last).unwrap();
        assert!(unsynced.sync(&RealDisk, || ()).is_ok());
        std::fs::create_dir(&last).unwrap();
        assert!(unsynced.sync(&RealDisk, || ()).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_that_was_opened_again_is_synced_by_its_name() {
        let path = std::env::temp_dir().join(format!("rmqlog-again-{}", std::process::id()));
        let mut unsynced = Unsynced::default();
        let first = RealDisk.create(&path).unwrap();
        unsynced.add(&path, &first);
        unsynced.add(&path, &first);
        assert_eq!(unsynced.held, 1);
        unsynced.add(&path, &RealDisk.create(&path).unwrap());
        assert_eq!((unsynced.files.len(), unsynced.held), (1, 0));
        assert!(unsynced.files[&path].is_none());
        std::fs::remove_file(&path).unwrap();
    }
}
