//! Checks that every store has to pass: what [`ObjectStore`](super::ObjectStore) promises, one named check a promise.
//!
//! Whoever implements a store runs them on it, and on every wrapper around it, under each of the [`PREFIXES`]:
//!
//! ```
//! use posix_s3::store::MemoryStore;
//! use posix_s3::store::conformance::{Outcome, PREFIXES, run_all};
//!
//! let store = MemoryStore::new();
//! for prefix in PREFIXES {
//!     for (name, outcome) in futures_executor::block_on(run_all(&store, prefix)) {
//!         assert_eq!(outcome, Outcome::Passed, "{name}");
//!     }
//! }
//! ```
//!
//! or one at a time, to find out which promise a store breaks:
//!
//! ```
//! use posix_s3::store::MemoryStore;
//! use posix_s3::store::conformance::{Outcome, checks};
//!
//! let check = checks().into_iter().find(|check| check.name() == "list_is_in_key_order").unwrap();
//! assert_eq!(check.guarantee(), "keys come in the byte order of the whole key");
//! let outcome = futures_executor::block_on(check.run(&MemoryStore::new(), "conformance/"));
//! assert_eq!(outcome, Outcome::Passed);
//! ```
//!
//! - A check touches nothing but the keys that start with the prefix, its own name and a slash. It deletes them before
//!   it starts and after it has ended; what the store does not delete stays there.
//! - A check never panics and needs no runtime; it runs on whichever one polls it. Those that wait for Last-Modified to
//!   move make the same change again until the clock of the store has gone on, for a few seconds at most.
//! - Checks share nothing, so that they may run side by side.
//! - What a store says it cannot do ([`Capabilities`]) is skipped, and reported as skipped.

// The checks are grouped by what they are about; each group opens with its table.
mod case;
mod condition;
mod delete;
mod get;
mod header;
mod key;
mod list;
mod put;
mod replace;
mod source;

use super::{Capabilities, DynObjectStore, StoreError, Support};
use case::{Case, Checked};
use futures_util::future::BoxFuture;
use std::error::Error as StdError;
use std::fmt;
use thiserror::Error;

/// Prefixes to run the checks under. What a key begins with is part of what a store may get wrong, and only the prefix
/// can put a slash or dots there.
pub const PREFIXES: [&str; 4] = ["", "/", "../", "%2F//\u{e9} +/"];

/// Every check, grouped by what it is about.
#[must_use]
pub fn checks() -> Vec<Check> {
    [key::CHECKS, list::CHECKS, put::CHECKS, header::CHECKS, get::CHECKS, replace::CHECKS, delete::CHECKS]
        .into_iter()
        .chain([condition::CHECKS])
        .flatten()
        .copied()
        .collect()
}

/// Runs every check, one after the other, and answers what came of each by its name.
///
/// The prefix may be empty; it should be short, since keys of 1,024 bytes have to fit behind it.
pub async fn run_all(store: &dyn DynObjectStore, prefix: &str) -> Vec<(&'static str, Outcome)> {
    let mut outcomes = Vec::new();
    for check in checks() {
        outcomes.push((check.name, check.run(store, prefix).await));
    }
    outcomes
}

/// One promise of a store and how to find out whether it is kept.
#[derive(Clone, Copy)]
pub struct Check {
    name: &'static str,
    guarantee: &'static str,
    needs: &'static [Capability],
    run: for<'a> fn(&'a Case<'a>) -> BoxFuture<'a, Checked>,
}

impl Check {
    /// The name, which is a sentence: `list_is_in_key_order`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a store promises, in words.
    #[must_use]
    pub const fn guarantee(&self) -> &'static str {
        self.guarantee
    }

    /// What a store has to be capable of for the promise to be its own.
    #[must_use]
    pub const fn needs(&self) -> &'static [Capability] {
        self.needs
    }

    /// Checks a store, below the prefix and the name of the check.
    pub async fn run(&self, store: &dyn DynObjectStore, prefix: &str) -> Outcome {
        let capabilities = store.boxed_capabilities();
        if let Some(missing) = self.needs.iter().find(|needed| needed.of(capabilities) == Support::No) {
            return Outcome::Skipped(*missing);
        }
        let case = Case::new(store, prefix, self.name);
        case.clear().await;
        let checked = (self.run)(&case).await;
        case.clear().await;
        match checked {
            Ok(()) => Outcome::Passed,
            Err(violation) => Outcome::Failed(violation),
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// A line of a table of checks. It is a macro so that a check and its name cannot differ.
macro_rules! check {
    ($check:ident, [$($needs:ident),*], $guarantee:literal) => {
        $crate::store::conformance::Check {
            name: stringify!($check),
            guarantee: $guarantee,
            needs: &[$($crate::store::conformance::Capability::$needs),*],
            run: |case| Box::pin($check(case)),
        }
    };
}
use check;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store does what it promises.
    Passed,
    /// It does not.
    Failed(Violation),
    /// It does not promise it.
    Skipped(Capability),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Failed(violation) => write!(f, "failed: {violation}"),
            Self::Skipped(capability) => write!(f, "skipped: the store is not capable of {capability}"),
        }
    }
}

/// What a store may be capable of or not, a field of [`Capabilities`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// [`Capabilities::ordered_listing`].
    OrderedListing,
    /// [`Capabilities::preconditions`].
    Preconditions,
    /// [`Capabilities::replace_metadata`].
    ReplaceMetadata,
    /// [`Capabilities::md5_etags`].
    Md5ETags,
}

impl Capability {
    /// Whether `capabilities` has it.
    #[must_use]
    pub const fn of(self, capabilities: Capabilities) -> Support {
        match self {
            Self::OrderedListing => capabilities.ordered_listing,
            Self::Preconditions => capabilities.preconditions,
            Self::ReplaceMetadata => capabilities.replace_metadata,
            Self::Md5ETags => capabilities.md5_etags,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OrderedListing => "ordered listings",
            Self::Preconditions => "preconditions",
            Self::ReplaceMetadata => "replacing metadata in place",
            Self::Md5ETags => "ETags that are the MD5 of the body",
        })
    }
}

/// A promise that a store does not keep.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected {expected}, found {found}")]
pub struct Violation {
    expected: String,
    found: String,
}

impl Violation {
    fn new(expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { expected: expected.into(), found: found.into() }
    }

    /// What the store promises.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What it did.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }
}

/// A call that a check takes for granted has failed.
impl From<StoreError> for Violation {
    fn from(error: StoreError) -> Self {
        Self::new("no error", with_causes(&error))
    }
}

/// An error and its causes on one line; a violation is kept longer than the error.
fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<String> = causes.map(|error| format!("\"{error}\"")).collect();
    texts.join(" because ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Operation, StoreErrorKind};

    #[test]
    fn messages() {
        let violation = Violation::new("1 object", "2 objects");
        assert_eq!(violation.to_string(), "expected 1 object, found 2 objects");
        assert_eq!(Outcome::Failed(violation).to_string(), "failed: expected 1 object, found 2 objects");
        assert_eq!(
            Outcome::Skipped(Capability::Preconditions).to_string(),
            "skipped: the store is not capable of preconditions"
        );
        let error = StoreError::new(Operation::Put, "a", StoreErrorKind::Body).with_source("the disk is gone");
        assert_eq!(
            Violation::from(error).found(),
            "\"put of \"a\" failed: the body could not be read\" because \"the disk is gone\""
        );
    }
}
