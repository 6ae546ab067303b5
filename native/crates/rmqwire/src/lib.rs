//! Bytes of the remoting protocol, decoded without copying: frames, both header forms, batches of
//! messages, message records. The fast twin of `pyromq.wire`, held to the same results by tests.
//!
//! Nothing here allocates more than a small multiple of what it was given, and nothing panics on
//! data. Headers outside the plain form (other SDKs' numbers as field values, unknown members,
//! dialect, bad UTF-8) are not judged here: `Unusual` hands them to the tolerant reader in Python.
//!
//! Sources: `NettyDecoder`, `RemotingCommand`, `RocketMQSerializable` and `MessageDecoder` of
//! Apache `RocketMQ` 5.5.0.

pub mod batch;
mod binary;
mod bytes;
pub mod encode;
pub mod frame;
pub mod header;
mod json;
pub mod record;
