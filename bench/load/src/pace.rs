//! Requests by the clock: which are due, and at which connection the next one belongs.

use std::time::Duration;

/// The clock is looked at no more often: at high rates several requests fall due together.
const TICK_MIN_NS: u64 = 200_000;
const SECOND_NS: u64 = 1_000_000_000;

pub struct Pace {
    rate: u64,
    connections: usize,
    /// Requests that have fallen due, and that were given out or forgotten, since the start.
    due: u64,
    gone: u64,
    /// Looked at by `next`; it moves on also past connections that are full.
    connection: usize,
}

impl Pace {
    /// `rate`: requests per second, at least 1.
    pub fn new(rate: u64, connections: usize) -> Self {
        Self {
            rate,
            connections,
            due: 0,
            gone: 0,
            connection: 0,
        }
    }

    pub fn tick(&self) -> Duration {
        Duration::from_nanos((SECOND_NS / self.rate).max(TICK_MIN_NS))
    }

    /// So much time has passed since the start.
    pub fn advance(&mut self, now_ns: u64) {
        self.due = (u128::from(now_ns) * u128::from(self.rate) / u128::from(SECOND_NS)) as u64 + 1;
    }

    /// A connection to try, and since when the request is due; None: nothing is due.
    pub fn next(&mut self) -> Option<(usize, u64)> {
        if self.gone == self.due {
            return None;
        }
        let connection = self.connection;
        self.connection = (connection + 1) % self.connections;
        let due_ns = u128::from(self.gone) * u128::from(SECOND_NS) / u128::from(self.rate);
        Some((connection, due_ns as u64))
    }

    /// The request that `next` gave was sent.
    pub fn took(&mut self) {
        self.gone += 1;
    }

    /// Due and not sent.
    pub fn unsent(&self) -> u64 {
        self.due - self.gone
    }

    /// What could not be sent so far is not asked for any more.
    pub fn forget_unsent(&mut self) {
        self.gone = self.due;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pace: &mut Pace) -> Vec<(usize, u64)> {
        let mut all = Vec::new();
        while let Some(one) = pace.next() {
            pace.took();
            all.push(one);
        }
        all
    }

    #[test]
    fn requests_fall_due_by_the_clock_and_go_round() {
        let mut pace = Pace::new(1000, 2);
        pace.advance(0);
        assert_eq!(sent(&mut pace), [(0, 0)]);
        pace.advance(2_999_999);
        assert_eq!(sent(&mut pace), [(1, 1_000_000), (0, 2_000_000)]);
        assert_eq!(sent(&mut pace), []);
        assert_eq!(pace.tick(), Duration::from_millis(1));
        assert_eq!(Pace::new(1_000_000, 1).tick(), Duration::from_micros(200));
    }

    #[test]
    fn what_finds_no_place_stays_due_since_its_time() {
        let mut pace = Pace::new(1000, 2);
        pace.advance(1_000_000);
        assert_eq!(pace.next(), Some((0, 0)));
        assert_eq!(pace.next(), Some((1, 0)));
        assert_eq!(pace.unsent(), 2);
        pace.advance(9_000_000);
        assert_eq!(pace.next(), Some((0, 0)));
        assert_eq!(pace.unsent(), 10);
        pace.forget_unsent();
        assert_eq!(pace.next(), None);
        assert_eq!(pace.unsent(), 0);
    }

    #[test]
    fn an_hour_at_a_high_rate_does_not_overflow() {
        let mut pace = Pace::new(10_000_000, 1);
        pace.advance(3_600 * SECOND_NS);
        assert_eq!(pace.unsent(), 36_000_000_001);
    }
}
