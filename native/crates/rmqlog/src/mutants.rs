//! Bugs planted on purpose, to see that the tests notice them (docs/explanation/simulated-disk.md).
//!
//! The macro `mutant` says whether the bug of that name is switched on. Only a build with the feature
//! `mutants` has any, and nothing but `tools/mutants.py` makes one. There the environment variable
//! `RMQLOG_MUTANT` names the one bug that is on; without it there is none.

macro_rules! mutant {
    ($name:literal) => {
        $crate::mutants::is_on($name)
    };
}

#[cfg(feature = "mutants")]
pub fn is_on(name: &str) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| std::env::var("RMQLOG_MUTANT").ok());
    chosen.as_deref() == Some(name)
}

/// No bugs in this build: the compiler removes them and their names.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_on(_name: &str) -> bool {
    false
}
