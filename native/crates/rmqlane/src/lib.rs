//! The express lane: ordinary sends and pulls from frame to answer, without a Python object between.
//!
//! No rule lives here. Python decides which topics and groups may take the lane and what is added
//! to messages ([`terms`]); a frame is taken only if it is exactly what those terms speak of.
//! Everything else is left to the regular lane, which can do all that this one does, so "leave it" is
//! always a right answer and "take it" must be certain.
//!
//! A reply is written when its message is appended and let go when the promise is kept ([`gate`]).
//! No PyO3 here.

pub mod connections;
pub mod fields;
pub mod gate;
pub mod lane;
pub mod parked;
pub mod properties;
pub mod pull;
pub mod pulled;
pub mod reply;
pub mod terms;
pub mod wake;

pub use lane::{Arrived, Lane, Request};
pub use parked::Poll;
pub use pull::{Outcome, Pulled, Puller};
pub use terms::{Puts, Terms, Topic};
pub use wake::{Arrival, Woken};
