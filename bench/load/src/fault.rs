//! Why the tool ends early: each kind has its exit code.

use std::fmt;
use std::io;

/// Exit codes: 1 answers were wrong (decided by the report), 2 bad arguments, 3 the run failed.
#[derive(Debug)]
pub enum Fault {
    BadArgument(String),
    Failed(String),
}

impl Fault {
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadArgument(_) => 2,
            Self::Failed(_) => 3,
        }
    }

    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadArgument(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
