//! What is restored and released, and how.

use crate::engine::cancel::Cancel;
#[cfg(doc)]
use crate::engine::export::ExportOptions;
use crate::engine::report::Jobs;
use crate::engine::selection::Selection;
use crate::key::Prefix;
use crate::profile::Profile;
use crate::tree::UnseenUsers;

/// Which files, of which link.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DataOptions {
    /// The rules of the mapping.
    pub profile: Profile,
    /// Where in the bucket; the whole of it by default.
    pub prefix: Prefix,
    /// Where in the bucket imports come from, if that is another part: what was released there is fetched from there.
    pub imports: Option<Prefix>,
    /// How many files at once.
    pub jobs: Jobs,
    /// Which part of the tree.
    pub selection: Selection,
    /// What the bucket is called; see [`ExportOptions::bucket`].
    pub bucket: Box<str>,
    /// Tells the run to come to an end.
    pub cancel: Cancel,
}

impl DataOptions {
    /// All files, of the whole bucket.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            prefix: Prefix::default(),
            imports: None,
            jobs: Jobs::default(),
            selection: Selection::default(),
            bucket: "".into(),
            cancel: Cancel::default(),
        }
    }

    /// Below a prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// Also from below this prefix, from which imports come.
    #[must_use]
    pub fn with_imports(mut self, prefix: Prefix) -> Self {
        self.imports = Some(prefix);
        self
    }

    /// So many files at once.
    #[must_use]
    pub const fn with_jobs(mut self, jobs: Jobs) -> Self {
        self.jobs = jobs;
        self
    }

    /// This part of the tree.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// What the bucket is called.
    #[must_use]
    pub fn with_bucket(mut self, bucket: &str) -> Self {
        self.bucket = bucket.into();
        self
    }

    /// What tells the run to come to an end.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }
}

/// Which files are released.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReleaseOptions {
    /// Of which part of which link.
    pub data: DataOptions,
    /// How many days a file must not have been used for, at least: neither read, nor written, nor changed in any attribute.
    /// Exactly so long ago is not enough; 0 is any age.
    pub minimum_days: u64,
    /// Whether anything is done.
    pub mode: ReleaseMode,
    /// What is done where processes run that may have files open and cannot be looked into.
    pub unseen_users: UnseenUsers,
}

/// Whether a release does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum ReleaseMode {
    /// It gives the data back.
    #[default]
    Release,
    /// It says what it would give back, and does nothing.
    Foresee,
}

impl ReleaseOptions {
    /// Files of any age, where every process can be looked into.
    #[must_use]
    pub const fn new(data: DataOptions) -> Self {
        Self { data, minimum_days: 0, mode: ReleaseMode::Release, unseen_users: UnseenUsers::Refuse }
    }

    /// Only files that were not used for more than so many days.
    #[must_use]
    pub const fn with_minimum_days(mut self, days: u64) -> Self {
        self.minimum_days = days;
        self
    }

    /// Whether anything is done.
    #[must_use]
    pub const fn with_mode(mut self, mode: ReleaseMode) -> Self {
        self.mode = mode;
        self
    }

    /// What is done where processes run that may have files open and cannot be looked into: those of other users, for one
    /// who is not the superuser. Processes of other PID namespaces and other machines are not known of at all.
    #[must_use]
    pub const fn with_unseen_users(mut self, unseen: UnseenUsers) -> Self {
        self.unseen_users = unseen;
        self
    }
}
