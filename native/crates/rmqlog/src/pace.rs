//! Whether the disk takes writes quickly: while it does, the caller's thread writes by itself, because
//! giving a turn to another thread costs more than writing it.
//!
//! The first slow write ends that. It comes back only after a while of quick writes, and that while grows
//! if it turns out to have been too short: a disk that stalls now and then must not stall the caller each
//! time.

use std::time::{Duration, Instant};

/// Without a slow write for so long, and with so many quick ones, the disk is called quick again.
const CALM_MIN: Duration = Duration::from_secs(10);
const QUICK_COUNT: u32 = 16;
/// The longest such while; who is quick for longer begins with the shortest again.
const CALM_MAX: Duration = Duration::from_secs(600);

/// What the writes so far say about the disk.
#[derive(Debug)]
pub struct Pace {
    /// A write that takes this long is slow.
    slow: Duration,
    is_slow: bool,
    calm: Duration,
    last_slow: Option<Instant>,
    quick_since: Option<Instant>,
    quick_count: u32,
    #[cfg(test)]
    is_fixed: bool,
}

impl Pace {
    /// A disk nothing is known of: quick.
    pub fn new(slow: Duration) -> Pace {
        Pace {
            slow,
            is_slow: false,
            calm: CALM_MIN,
            last_slow: None,
            quick_since: None,
            quick_count: 0,
            #[cfg(test)]
            is_fixed: false,
        }
    }

    /// A disk that is slow whatever its writes say.
    #[cfg(test)]
    pub fn always_slow() -> Pace {
        Pace {
            is_slow: true,
            is_fixed: true,
            ..Pace::new(Duration::ZERO)
        }
    }

    pub fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// A write took so long and ended at `now`.
    pub fn wrote(&mut self, took: Duration, now: Instant) {
        #[cfg(test)]
        if self.is_fixed {
            return;
        }
        if took >= self.slow {
            if !self.is_slow {
                let was_short = self
                    .quick_since
                    .is_some_and(|since| now.duration_since(since) < CALM_MAX);
                self.calm = if was_short {
                    (self.calm * 2).min(CALM_MAX)
                } else {
                    CALM_MIN
                };
                self.is_slow = true;
            }
            self.last_slow = Some(now);
            self.quick_count = 0;
        } else if self.is_slow {
            self.quick_count += 1;
            let is_calm = self
                .last_slow
                .is_none_or(|last| now.duration_since(last) >= self.calm);
            if is_calm && self.quick_count >= QUICK_COUNT {
                self.is_slow = false;
                self.quick_since = Some(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SLOW: Duration = Duration::from_millis(10);
    const QUICK: Duration = Duration::from_micros(30);

    /// Quick writes, one each second from `from` to before `to`; answers when the disk was called quick.
    fn quick_again(pace: &mut Pace, start: Instant, from: u64, to: u64) -> Option<u64> {
        (from..to).find(|&second| {
            pace.wrote(QUICK, start + Duration::from_secs(second));
            !pace.is_slow()
        })
    }

    #[test]
    fn the_first_slow_write_is_enough() {
        let start = Instant::now();
        let mut pace = Pace::new(SLOW);
        pace.wrote(SLOW - Duration::from_micros(1), start);
        assert!(!pace.is_slow());
        pace.wrote(SLOW, start);
        assert!(pace.is_slow());
    }

    #[test]
    fn quick_writes_count_only_together_with_time() {
        let start = Instant::now();
        let mut pace = Pace::new(SLOW);
        pace.wrote(SLOW, start);
        for _ in 0..1000 {
            pace.wrote(QUICK, start + CALM_MIN - Duration::from_millis(1));
        }
        assert!(pace.is_slow(), "so many, but in no time");
        pace.wrote(SLOW, start + CALM_MIN);
        let late = start + CALM_MIN * 3;
        for _ in 1..QUICK_COUNT {
            pace.wrote(QUICK, late);
        }
        assert!(pace.is_slow(), "long ago, but too few");
        pace.wrote(QUICK, late);
        assert!(!pace.is_slow());
    }

    #[test]
    fn a_disk_that_stalls_again_and_again_is_trusted_later_each_time() {
        let start = Instant::now();
        let mut pace = Pace::new(SLOW);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.wrote(SLOW, start + Duration::from_secs(now));
            let quick = quick_again(&mut pace, start, now + 1, now + 2000).unwrap();
            waits.push(quick - now);
            now = quick + 5;
        }
        assert_eq!(waits, [16, 20, 40, 80, 160, 320, 600, 600, 600]);
        now += CALM_MAX.as_secs();
        pace.wrote(SLOW, start + Duration::from_secs(now));
        let quick = quick_again(&mut pace, start, now + 1, now + 2000).unwrap();
        assert_eq!(quick - now, 16, "it was quick for long: begin anew");
    }
}
