//! Reads that wait for no device, for those who have others to serve meanwhile.

use crate::ahead::Missing;
use crate::engine::Engine;
use crate::error::Result;
pub use crate::fetch::Fetched;
use crate::read::ReadPlan;
use crate::state::State;

/// What a read in a hurry comes to.
pub enum Now<T> {
    Here(T),
    /// Nothing has happened; the same read may find more once this is in memory.
    Missing(Missing),
}

impl State {
    fn in_a_hurry<T>(&mut self, read: impl FnOnce(&mut State) -> Result<T>) -> Result<Now<T>> {
        self.set_hurried(true);
        let found = read(self);
        self.set_hurried(false);
        let missing = self.cache.ahead.take_missing();
        let no_crcs = self.log.crcs().ahead().take_missing();
        let missing = missing.or(no_crcs.filter(|_| !mutant!("cold_checksum_not_awaited")));
        match missing {
            Some(missing) => Ok(Now::Missing(missing)),
            None => found.map(Now::Here),
        }
    }

    fn set_hurried(&mut self, is_hurried: bool) {
        self.cache.ahead.is_hurried = is_hurried;
        self.log.crcs().ahead().is_hurried = is_hurried;
    }
}

impl Engine {
    /// [`Engine::plan_read`] of what is in memory.
    pub fn plan_read_now(
        &self,
        topic: &str,
        queue_id: i32,
        queue_offset: i64,
        count_max: usize,
        size_max: usize,
        tags: Option<&[i32]>,
    ) -> Result<Now<ReadPlan>> {
        let mut state = self.current()?;
        state.in_a_hurry(|state| {
            state.plan_wanted(topic, queue_id, queue_offset, count_max, size_max, tags)
        })
    }

    /// [`Engine::copy`] of what is in memory.
    pub fn copy_now(&self, plan: &ReadPlan, out: &mut [u8]) -> Result<Now<Vec<usize>>> {
        self.state().in_a_hurry(|state| state.copy(plan, out))
    }

    /// One past the queue's newest message, as far as it is known without a read; 0 for a queue that has none.
    #[must_use]
    pub fn queue_end_now(&self, topic: &str, queue_id: i32) -> i64 {
        let state = self.state();
        let number = state.queues.find(topic, queue_id);
        number.map_or(0, |number| state.queues.queue(number).count)
    }

    /// Has what is missing brought into memory, which [`Engine::take_fetched`] tells by the ticket, after the
    /// loop was woken. False: nobody can do that.
    #[must_use]
    pub fn fetch(&self, missing: Missing, ticket: u64) -> bool {
        self.fetches().fetch(missing, ticket)
    }

    /// Tickets of what was brought into memory since the last call, or cannot be. It may be gone again.
    #[must_use]
    pub fn take_fetched(&self) -> Vec<Fetched> {
        self.fetches().take_done()
    }
}
