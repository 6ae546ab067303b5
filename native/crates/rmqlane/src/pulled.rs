//! What Python must know of the pulls of one call, gathered.

use crate::pull::Pulled;

/// Places among which a queue is looked for: a call may hold some thousand pulls.
const NEAR_MAX: usize = 64;

/// Pulls of one topic by one group, in their order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PulledRow {
    /// What Python calls topic and group.
    pub pair: u32,
    pub request_count: u64,
    pub message_count: u64,
    pub size: u64,
    /// Queue, and the next offset of its last pull; a queue may be there again, the last one counts.
    pub places: Vec<(i32, i64)>,
    /// Queue, offset to be kept as the group's, and the queue's end.
    pub commits: Vec<(i32, i64, i64)>,
}

#[derive(Debug, Default)]
pub struct PulledRows {
    rows: Vec<PulledRow>,
}

impl PulledRows {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows, in the order of their first pulls.
    pub fn into_rows(self) -> impl Iterator<Item = PulledRow> {
        self.rows.into_iter()
    }

    /// A pull that was answered.
    pub fn add(&mut self, pulled: &Pulled) {
        let row = self.note(pulled);
        row.request_count += 1;
        row.message_count += pulled.message_count as u64;
        row.size += pulled.size as u64;
    }

    /// A pull that waits.
    pub fn add_waiting(&mut self, pulled: &Pulled) {
        self.note(pulled);
    }

    fn note(&mut self, pulled: &Pulled) -> &mut PulledRow {
        let near = self.rows.iter().rev().take(NEAR_MAX);
        let found = near
            .map(|row| row.pair)
            .position(|pair| pair == pulled.pair);
        let place = match found {
            Some(behind) => self.rows.len() - 1 - behind,
            None => {
                self.rows.push(PulledRow {
                    pair: pulled.pair,
                    ..PulledRow::default()
                });
                self.rows.len() - 1
            }
        };
        let row = &mut self.rows[place];
        let mut near = row.places.iter_mut().rev().take(NEAR_MAX);
        match near.find(|(queue_id, _)| *queue_id == pulled.queue_id) {
            Some((_, next_offset)) => *next_offset = pulled.next_offset,
            None => row.places.push((pulled.queue_id, pulled.next_offset)),
        }
        if pulled.commit_offset >= 0 {
            let commit = (pulled.queue_id, pulled.commit_offset, pulled.max_offset);
            row.commits.push(commit);
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulled(pair: u32, queue_id: i32, next_offset: i64, commit_offset: i64) -> Pulled {
        Pulled {
            pair,
            queue_id,
            next_offset,
            commit_offset,
            max_offset: 100,
            message_count: 3,
            size: 500,
        }
    }

    #[test]
    fn pulls_of_a_pair_are_one_row_and_the_last_place_in_a_queue_counts() {
        let mut rows = PulledRows::default();
        assert!(rows.is_empty());
        for (pair, queue_id, next_offset, commit_offset) in [
            (4, 0, 10, -1),
            (4, 1, 20, 15),
            (2, 0, 30, 0),
            (4, 0, 5, 4),
            (4, 0, 7, 4),
        ] {
            rows.add(&pulled(pair, queue_id, next_offset, commit_offset));
        }
        assert!(!rows.is_empty());
        let expected = [
            PulledRow {
                pair: 4,
                request_count: 4,
                message_count: 12,
                size: 2000,
                places: vec![(0, 7), (1, 20)],
                commits: vec![(1, 15, 100), (0, 4, 100), (0, 4, 100)],
            },
            PulledRow {
                pair: 2,
                request_count: 1,
                message_count: 3,
                size: 500,
                places: vec![(0, 30)],
                commits: vec![(0, 0, 100)],
            },
        ];
        assert!(rows.into_rows().eq(expected));
    }

    #[test]
    fn of_very_many_queues_the_last_place_comes_last() {
        let mut rows = PulledRows::default();
        for round in 0..2 {
            for queue_id in 0..200 {
                rows.add(&pulled(0, queue_id, round * 1000 + i64::from(queue_id), -1));
            }
        }
        let mut places = std::collections::HashMap::new();
        places.extend(rows.into_rows().flat_map(|row| row.places));
        assert!((0..200).all(|queue_id| places[&queue_id] == 1000 + i64::from(queue_id)));
    }
}
