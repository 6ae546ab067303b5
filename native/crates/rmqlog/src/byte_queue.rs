//! Bytes added at the end and taken from the front, always contiguous.

use std::ops::Range;

/// Memory below this is kept when the queue runs empty.
const KEPT_SIZE: usize = 1024;

/// A growing buffer whose front can be dropped without moving the rest each time.
#[derive(Debug, Default)]
pub struct ByteQueue {
    bytes: Vec<u8>,
    /// Bytes at the front that are dropped already.
    start: usize,
}

impl ByteQueue {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes counted from the front.
    pub fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[self.start + range.start..self.start + range.end]
    }

    /// Drops the first `size` bytes. The rest moves only when at least as much was dropped, so a byte is
    /// moved once on average.
    pub fn drop_front(&mut self, size: usize) {
        self.start = (self.start + size).min(self.bytes.len());
        if self.is_empty() {
            self.clear();
        } else if self.start >= self.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Keeps the first `size` bytes.
    pub fn truncate(&mut self, size: usize) {
        self.bytes.truncate(self.start + size);
        if self.is_empty() {
            self.clear();
        }
    }

    pub fn clear(&mut self) {
        self.start = 0;
        if self.bytes.capacity() > KEPT_SIZE {
            self.bytes = Vec::new();
        } else {
            self.bytes.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn it_does_what_a_deque_does() {
        let (mut queue, mut model) = (ByteQueue::default(), VecDeque::new());
        for step in 0..2000usize {
            match step * 7 % 11 {
                0..=5 => {
                    let part = [step as u8; 7];
                    queue.push(&part);
                    model.extend(part);
                }
                6..=8 => {
                    let size = (step * 13 % 40).min(model.len());
                    queue.drop_front(size);
                    model.drain(..size);
                }
                _ => {
                    let size = model.len() - (step % 5).min(model.len());
                    queue.truncate(size);
                    model.truncate(size);
                }
            }
            assert_eq!(queue.len(), model.len());
            assert_eq!(queue.get(0..queue.len()), model.make_contiguous());
        }
        queue.clear();
        assert!(queue.is_empty());
    }
}
