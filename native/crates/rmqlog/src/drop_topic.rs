//! Dropping a topic, and what the note of queues says of it.

use std::path::Path;

use crate::disk::Disk;
use crate::error::{Result, StoreError};
use crate::marker::{DroppedTopic, KnownQueue, QueuesFile};
use crate::queue_unit::topic_problem;
use crate::rebuild_note::note_dropped;
use crate::state::State;

impl State {
    pub fn drop_topic(&mut self, topic: &str, disk: &dyn Disk, root: &Path) -> Result<()> {
        if let Some(problem) = topic_problem(topic) {
            return Err(StoreError::Illegal(problem));
        }
        let numbers = self.queues.drop_topic(topic);
        if numbers.is_empty() && !self.queues.is_partial {
            return Ok(());
        }
        self.ongoing.floors.retain(|floor| floor.topic != topic);
        self.drop_count += 1;
        self.dropped.retain(|gone| gone.topic != topic);
        let log_to = self.log.appended();
        self.dropped.push(DroppedTopic {
            topic: topic.to_string(),
            log_to,
        });
        // First the note, then the files: whatever a crash leaves of them is not brought back.
        if !mutant!("drop_not_noted") {
            self.queues_file().write(disk, root)?;
        }
        if self.ongoing.is_any() && !mutant!("drop_not_in_rebuild_note") {
            note_dropped(disk, root, topic)?;
        }
        for number in numbers {
            self.queues.remove_files(&mut self.cache, number)?;
        }
        Ok(())
    }

    pub fn queues_file(&self) -> QueuesFile {
        let known = |(topic, id, count): (&str, i32, i64)| KnownQueue {
            topic: topic.to_string(),
            id,
            count,
        };
        let mut file = QueuesFile {
            queues: self.queues.all().into_iter().map(known).collect(),
            dropped: self.dropped.clone(),
        };
        file.raise(&self.ongoing.floors);
        file
    }

    pub fn dropped(&self) -> &[DroppedTopic] {
        &self.dropped
    }
}
