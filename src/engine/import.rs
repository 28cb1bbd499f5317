//! [`import`]: from a bucket to a tree.
//!
//! The order, and why:
//!
//! 1. Directories and files. A directory with an object is open to the caller alone, so that its final mode cannot keep
//!    out what is below; one without is made, with its attributes, for the first object below it that is accepted.
//! 2. Links, once every directory and file is there: no key can then pass through one.
//! 3. The attributes of directories, deepest first, since everything before changes their times.
//!
//! What has to wait for 2 and 3 waits in a [`Spool`], so that memory does not grow with it.

use super::listing::Listing;
use super::report::{Direction, Ended, Jobs, Outcome, Progress, Report, RunError, RunErrorKind};
use super::spool::{Deferred, Spool};
use crate::entry::{Chain, DecodedHead, Entry, EntryKind, ObjectHead, Refusal};
use crate::escape::escape;
use crate::key::{Key, Prefix};
use crate::metadata::{Attributes, Fields};
use crate::mode::FileType;
use crate::plan::{Claim, Existing, ImportStep, compare};
use crate::profile::Profile;
use crate::store::{Counted, GetOptions, GetOutput, ListedObject, ObjectMeta, ObjectStore, StoreError, StoreErrorKind};
use crate::timestamp::Timestamp;
use crate::tree::{Applied, Present, Shortfall, Standing, Tree, TreeError, TreeErrorKind, TreeOp};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use std::error::Error as StdError;

/// How an import is done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportOptions {
    /// The rules of the mapping.
    pub profile: Profile,
    /// Where in the bucket; the whole of it by default.
    pub prefix: Prefix,
    /// How many entries at once.
    pub jobs: Jobs,
    /// What happens to files that are there and differ.
    pub existing: Existing,
}

impl ImportOptions {
    /// From the whole bucket, by the rules of a profile; objects replace files that differ.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { profile, prefix: Prefix::default(), jobs: Jobs::default(), existing: Existing::default() }
    }

    /// From below a prefix.
    #[must_use]
    pub fn with_prefix(mut self, prefix: Prefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// So many entries at once.
    #[must_use]
    pub const fn with_jobs(mut self, jobs: Jobs) -> Self {
        self.jobs = jobs;
        self
    }

    /// What happens to files that are there and differ.
    #[must_use]
    pub const fn with_existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }
}

/// Imports everything below a prefix: every object becomes a file, directory or link.
///
/// - A file that shows its object already, by kind, size, mtime, permissions and owner, is not fetched again.
/// - Names appear whole, with their attributes; nothing outside the tree is touched.
/// - Nothing is deleted.
/// - An object that is refused or fails is one problem of the report, and the run goes on.
///
/// # Errors
/// [`RunError`] when the bucket cannot be listed to the end or its listing cannot be trusted, and when the tree cannot be
/// brought to the disk. What was imported by then is complete.
///
/// ```
/// use posix_s3::engine::{ImportOptions, Silent, import};
/// use posix_s3::{Profile, store::MemoryStore, tree::MemoryTree};
///
/// let (bucket, tree) = (MemoryStore::new(), MemoryTree::new());
/// let options = ImportOptions::new(Profile::untrusted());
/// let report = futures_executor::block_on(import(&bucket, &tree, &options, &Silent))?;
/// assert_eq!(report.entries, 0);
/// # Ok::<(), posix_s3::engine::RunError>(())
/// ```
pub async fn import<S: ObjectStore + ?Sized, T: Tree>(
    store: &S,
    tree: &T,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Report, RunError> {
    let store = &Counted::new(store);
    let run = &Import { store, tree, options, progress };
    let mut report = Report::new(Direction::Import);
    let stopped = run.all(&mut report).await;
    let finished = tree.finish().await;
    report.finish(store.calls());
    match stopped.and(finished.map_err(RunErrorKind::Tree)) {
        Ok(()) => Ok(report),
        Err(kind) => Err(RunError::new(kind, report)),
    }
}

struct Import<'r, S: ?Sized, T> {
    store: &'r Counted<&'r S>,
    tree: &'r T,
    options: &'r ImportOptions,
    progress: &'r dyn Progress,
}

/// A claim after the part of it that must be done in order. `around` are directories without an object that are not
/// there, outermost first: they are made if the object is accepted.
enum Prepared {
    Done(Done),
    /// A directory; `before` is what was there.
    Directory {
        key: Key,
        object: ListedObject,
        before: Option<Entry>,
        around: Vec<Entry>,
    },
    FileOrLink {
        key: Key,
        object: ListedObject,
        around: Vec<Entry>,
    },
}

/// What is left of a claim when its work is done.
enum Done {
    Nothing,
    Ended(Ended),
    Deferred(Deferred),
}

impl<S: ObjectStore + ?Sized, T: Tree> Import<'_, S, T> {
    async fn all(&self, report: &mut Report) -> Result<(), RunErrorKind> {
        let listing = Listing::new(self.store, &self.options.prefix, self.options.profile.clash)?;
        // Directories around the current key that have no object and are not there, outermost first.
        let around: Vec<Entry> = Vec::new();
        let prepared = stream::unfold(Some((listing, around)), |state| async {
            let (mut listing, mut around) = state?;
            match listing.next().await {
                Ok(Some(claim)) => {
                    let prepared = self.prepare(claim, &mut around).await;
                    Some((Ok(prepared), Some((listing, around))))
                }
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let done = prepared.map(|prepared| async {
            match prepared {
                Ok(prepared) => Ok(self.work(prepared).await),
                Err(error) => Err(error),
            }
        });
        // Boxed, so that the compiler can tell that the whole may go to another thread.
        let mut done: BoxStream<'_, Result<Done, RunErrorKind>> = done.buffered(self.options.jobs.get()).boxed();
        let (mut links, mut directories) = (Spool::new(), Spool::new());
        let mut listed = Ok(());
        while let Some(done) = done.next().await {
            match done {
                Ok(Done::Nothing) => {}
                Ok(Done::Ended(ended)) => report.end(ended, self.progress),
                Ok(Done::Deferred(deferred)) if deferred.entry.key().is_directory() => directories.push(&deferred)?,
                Ok(Done::Deferred(deferred)) => links.push(&deferred)?,
                // What was made by now is finished all the same: nothing stays locked to the caller.
                Err(error) => listed = Err(error),
            }
        }
        let mut position = 0;
        while let Some(deferred) = links.next(&mut position)? {
            report.end(self.link(deferred).await, self.progress);
        }
        while let Some(deferred) = directories.pop()? {
            if let Some(ended) = self.directory_attributes(deferred).await {
                report.end(ended, self.progress);
            }
        }
        listed
    }

    /// What has to be done in the order of the listing: looking at what stands there before anything below is begun.
    async fn prepare(&self, claim: Claim<ListedObject>, around: &mut Vec<Entry>) -> Prepared {
        if let Claim::Object { key, .. } | Claim::ImpliedDirectory { key, .. } = &claim {
            around.retain(|directory| directory.key().holds(key));
        }
        let done = |ended| Prepared::Done(Done::Ended(ended));
        match claim {
            Claim::Root => done(
                Ended::new(&self.options.prefix, Outcome::Skipped)
                    .because("the object of the prefix itself is the root, whose attributes are not imported"),
            ),
            Claim::Refused { key, error } => done(Ended::new(escape(key.as_bytes()), Outcome::Skipped).because(error)),
            Claim::Shadowed { key, by } => {
                let reason = format!("\"{by}\" has the path");
                done(Ended::new(&key, Outcome::Skipped).because(reason))
            }
            Claim::ImpliedDirectory { key, first } => {
                let Some(entry) = self.default_directory(&key, first.last_modified) else {
                    return Prepared::Done(Done::Nothing);
                };
                match self.standing_directory(&key).await {
                    Ok(None) => {
                        around.push(entry.clone());
                        Prepared::Done(Done::Deferred(Deferred {
                            entry,
                            outcome: None,
                            reasons: Vec::new(),
                            unless_empty: true,
                        }))
                    }
                    // What is wrong with the directory is said of each entry in it.
                    Ok(Some(_)) | Err(_) => Prepared::Done(Done::Nothing),
                }
            }
            Claim::Object { key, object } if key.is_directory() => match self.standing_directory(&key).await {
                Ok(before) => Prepared::Directory { key, object, before, around: around.clone() },
                Err(error) => done(tree_failure(&key, &error)),
            },
            Claim::Object { key, object } => Prepared::FileOrLink { key, object, around: around.clone() },
        }
    }

    /// The directory that stands at a path, if one does.
    async fn standing_directory(&self, key: &Key) -> Result<Option<Entry>, TreeError> {
        match self.tree.lookup(key).await? {
            Present::Entry(found) if *found.entry.kind() == EntryKind::Directory => Ok(Some(found.entry)),
            Present::Nothing => Ok(None),
            Present::Entry(_) | Present::Other => {
                Err(TreeError::new("making", key.as_str().as_bytes(), TreeErrorKind::Conflict))
            }
        }
    }

    /// Makes the directories around an object that is accepted; until then nothing shows of it.
    async fn make_around(&self, around: &[Entry]) -> Result<(), TreeError> {
        for entry in around {
            let attributes = Some(*entry.attributes());
            self.tree.apply(&TreeOp::CreateDirectory { key: entry.key().clone(), attributes }).await?;
        }
        Ok(())
    }

    fn default_directory(&self, key: &Key, modified: Timestamp) -> Option<Entry> {
        let defaults = &self.options.profile.defaults;
        let attributes = Attributes {
            permissions: self.options.profile.permissions(FileType::Directory, defaults.directory),
            uid: defaults.uid,
            gid: defaults.gid,
            atime: modified,
            mtime: modified,
        };
        Entry::new(key.clone(), EntryKind::Directory, attributes).ok()
    }

    async fn work(&self, prepared: Prepared) -> Done {
        match prepared {
            Prepared::Done(done) => done,
            Prepared::Directory { key, object, before, around } => self.directory(key, &object, before, &around).await,
            Prepared::FileOrLink { key, object, around } => match self.file_or_link(&key, &object, &around).await {
                Ok(done) => done,
                Err(ended) => Done::Ended(ended),
            },
        }
    }

    async fn directory(&self, key: Key, object: &ListedObject, before: Option<Entry>, around: &[Entry]) -> Done {
        let read = match self.store.head(&object.key).await {
            Ok(meta) => decode(&key, &meta, &self.options.profile, before.as_ref())
                .and_then(|head| {
                    let reasons = reasons_of(&head);
                    Ok((head.into_entry(&key, b"", &self.options.profile)?, reasons))
                })
                .map_err(|refusal| refused(&key, &refusal)),
            Err(error) => Err(store_failure(&key, &error)),
        };
        let deferred = |entry, outcome, reasons, unless_empty| {
            Done::Deferred(Deferred { entry, outcome: Some(outcome), reasons, unless_empty })
        };
        match (read, before) {
            (Ok((entry, reasons)), before) => {
                if before.is_none() {
                    let made = match self.make_around(around).await {
                        Ok(()) => {
                            self.tree.apply(&TreeOp::CreateDirectory { key: key.clone(), attributes: None }).await
                        }
                        Err(error) => Err(error),
                    };
                    if let Err(error) = made {
                        return Done::Ended(tree_failure(&key, &error));
                    }
                }
                let step = compare(FileType::Directory, 0, entry.attributes(), before.as_ref());
                match (step, before) {
                    (ImportStep::Nothing, _) => deferred(entry, Outcome::Unchanged, reasons, false),
                    (_, Some(before)) if self.options.existing == Existing::Keep => {
                        // What is put into it must not change its times either.
                        deferred(before, Outcome::Conflict, vec![KEPT.into()], false)
                    }
                    (ImportStep::SetAttributes, _) => deferred(entry, Outcome::MetadataOnly, reasons, false),
                    (ImportStep::Write, _) => deferred(entry, Outcome::Written, reasons, false),
                }
            }
            (Err(ended), Some(_)) => Done::Ended(ended),
            // It stays only for what is in it.
            (Err(ended), None) => match self.default_directory(&key, object.last_modified) {
                Some(entry) => deferred(entry, ended.outcome, ended.reasons, true),
                None => Done::Ended(ended),
            },
        }
    }

    async fn file_or_link(&self, key: &Key, object: &ListedObject, around: &[Entry]) -> Result<Done, Ended> {
        let present = self.tree.lookup(key).await.map_err(|error| tree_failure(key, &error))?;
        let current = present.entry();
        if current.is_some_and(|current| *current.kind() == EntryKind::Directory) {
            return Err(Ended::new(key, Outcome::Conflict).because("a directory stands there"));
        }
        if current.is_some_and(|current| current.object_size() == object.size) {
            // The bytes may be there already: the head tells.
            let meta = self.store.head(&object.key).await.map_err(|error| store_failure(key, &error))?;
            let head = decode(key, &meta, &self.options.profile, current).map_err(|refusal| refused(key, &refusal))?;
            let step = compare(head.file_type, meta.size, &head.attributes, current);
            match step {
                ImportStep::Nothing => {
                    let ended = Ended::new(key, Outcome::Unchanged);
                    return Ok(Done::Ended(Ended { reasons: reasons_of(&head), ..ended }));
                }
                ImportStep::SetAttributes if self.options.existing == Existing::Replace => {
                    if let Some(ended) = self.attributes(key, &head).await? {
                        return Ok(Done::Ended(ended));
                    }
                }
                ImportStep::SetAttributes | ImportStep::Write => {}
            }
        }
        let standing = match present {
            Present::Nothing => Standing::Nothing,
            Present::Entry(_) | Present::Other if self.options.existing == Existing::Keep => {
                return Err(Ended::new(key, Outcome::Conflict).because(KEPT));
            }
            Present::Entry(_) | Present::Other => Standing::Replaceable,
        };
        self.fetch(key, object, current, standing, around).await
    }

    /// Sets the attributes of a file whose bytes are right; `None` when that takes a new inode.
    async fn attributes(&self, key: &Key, head: &DecodedHead) -> Result<Option<Ended>, Ended> {
        if head.file_type != FileType::File {
            return Ok(None);
        }
        let reasons = reasons_of(head);
        let entry = head.clone().into_entry(key, b"", &self.options.profile).map_err(|error| refused(key, &error))?;
        match self.tree.apply(&TreeOp::SetAttributes { entry }).await {
            Ok(applied) => {
                Ok(Some(with_shortfalls(Ended { reasons, ..Ended::new(key, Outcome::MetadataOnly) }, &applied)))
            }
            Err(error) if error.kind() == TreeErrorKind::NeedsNewInode => Ok(None),
            Err(error) => Err(tree_failure(key, &error)),
        }
    }

    /// Fetches an object. Head and bytes are of one version, since one answer brings both.
    async fn fetch(
        &self,
        key: &Key,
        object: &ListedObject,
        current: Option<&Entry>,
        standing: Standing,
        around: &[Entry],
    ) -> Result<Done, Ended> {
        let GetOutput { meta, mut body } =
            self.store.get(&object.key, &GetOptions::default()).await.map_err(|error| store_failure(key, &error))?;
        let profile = &self.options.profile;
        let head = decode(key, &meta, profile, current).map_err(|refusal| refused(key, &refusal))?;
        let reasons = reasons_of(&head);
        if head.file_type == FileType::Symlink {
            // Decoding has refused what is longer than a target; the body may still be longer than it was said to be.
            let mut target = Vec::new();
            while let Some(piece) = body.next().await {
                target.extend_from_slice(&piece.map_err(|error| store_failure(key, &error))?);
                if target.len() as u64 > meta.size {
                    break;
                }
            }
            if target.len() as u64 != meta.size {
                let reason = format!("expected a body of {} bytes, found another length", meta.size);
                return Err(Ended::new(key, Outcome::Failed).because(reason));
            }
            let entry = head.into_entry(key, &target, profile).map_err(|refusal| refused(key, &refusal))?;
            self.make_around(around).await.map_err(|error| tree_failure(key, &error))?;
            return Ok(Done::Deferred(Deferred {
                entry,
                outcome: Some(Outcome::Written),
                reasons,
                unless_empty: false,
            }));
        }
        let entry = head.into_entry(key, b"", profile).map_err(|refusal| refused(key, &refusal))?;
        self.make_around(around).await.map_err(|error| tree_failure(key, &error))?;
        let body = body.map(|piece| {
            let piece = piece?;
            self.progress.bytes(piece.len() as u64);
            Ok(piece)
        });
        match self.tree.write_file(&entry, body.boxed(), standing).await {
            Ok(applied) => {
                let ended = Ended { reasons, bytes: meta.size, ..Ended::new(key, Outcome::Written) };
                Ok(Done::Ended(with_shortfalls(ended, &applied)))
            }
            Err(error) => Err(tree_failure(key, &error)),
        }
    }

    /// Puts a link into place.
    async fn link(&self, deferred: Deferred) -> Ended {
        let Deferred { entry, reasons, .. } = deferred;
        let key = entry.key().clone();
        let standing = match self.tree.lookup(&key).await {
            Ok(Present::Nothing) => Standing::Nothing,
            Ok(Present::Entry(found)) if *found.entry.kind() == EntryKind::Directory => {
                return Ended::new(&key, Outcome::Conflict).because("a directory stands there");
            }
            Ok(Present::Entry(_) | Present::Other) if self.options.existing == Existing::Keep => {
                return Ended::new(&key, Outcome::Conflict).because(KEPT);
            }
            Ok(Present::Entry(_) | Present::Other) => Standing::Replaceable,
            Err(error) => return tree_failure(&key, &error),
        };
        let bytes = entry.object_size();
        match self.tree.apply(&TreeOp::CreateSymlink { entry, standing }).await {
            Ok(applied) => with_shortfalls(Ended { reasons, bytes, ..Ended::new(&key, Outcome::Written) }, &applied),
            Err(error) => tree_failure(&key, &error),
        }
    }

    /// Gives a directory its attributes, when everything below it is done.
    async fn directory_attributes(&self, deferred: Deferred) -> Option<Ended> {
        let Deferred { entry, outcome, reasons, unless_empty } = deferred;
        let key = entry.key().clone();
        let ended = outcome.map(|outcome| Ended { reasons, ..Ended::new(&key, outcome) });
        match self.finish_directory(entry, outcome, unless_empty).await {
            Ok(applied) => ended.map(|ended| with_shortfalls(ended, &applied)),
            Err(error) => {
                let failure = tree_failure(&key, &error);
                let mut reasons = ended.map(|ended| ended.reasons).unwrap_or_default();
                reasons.extend(failure.reasons);
                Some(Ended { reasons, ..Ended::new(&key, failure.outcome) })
            }
        }
    }

    async fn finish_directory(
        &self,
        entry: Entry,
        outcome: Option<Outcome>,
        unless_empty: bool,
    ) -> Result<Applied, TreeError> {
        if unless_empty {
            if self.tree.lookup(entry.key()).await? == Present::Nothing {
                return Ok(Applied::default());
            }
            let removal = TreeOp::RemoveEmptyDirectory { key: entry.key().clone() };
            if self.tree.apply(&removal).await?.shortfalls != [Shortfall::NotEmpty] {
                return Ok(Applied::default());
            }
        }
        // One that was in agreement before is touched only if something in it moved its times. One that was made has
        // never had all its attributes.
        if matches!(outcome, Some(Outcome::Unchanged | Outcome::Conflict)) {
            let present = self.tree.lookup(entry.key()).await?;
            if compare(FileType::Directory, 0, entry.attributes(), present.entry()) == ImportStep::Nothing {
                return Ok(Applied::default());
            }
        }
        self.tree.apply(&TreeOp::SetAttributes { entry }).await
    }
}

/// Why an entry that differs was left alone.
const KEPT: &str = "something that differs stands there and is kept";

fn decode(key: &Key, meta: &ObjectMeta, profile: &Profile, current: Option<&Entry>) -> Result<DecodedHead, Refusal> {
    let fields = Fields::from_headers(&meta.headers);
    ObjectHead { key, fields, size: meta.size, last_modified: meta.last_modified }.decode(profile, current)
}

fn reasons_of(head: &DecodedHead) -> Vec<Box<str>> {
    head.findings.iter().map(|finding| finding.to_string().into()).collect()
}

fn with_shortfalls(mut ended: Ended, applied: &Applied) -> Ended {
    ended.reasons.extend(applied.shortfalls.iter().map(|shortfall| shortfall.to_string().into()));
    ended
}

fn refused(key: &Key, refusal: &Refusal) -> Ended {
    Ended::new(key, Outcome::Failed).because(Chain(refusal))
}

fn store_failure(key: &Key, error: &StoreError) -> Ended {
    match error.kind() {
        StoreErrorKind::NotFound => Ended::new(key, Outcome::Skipped).because("it vanished before it was read"),
        _ => Ended::new(key, Outcome::Failed).because(Chain(error)),
    }
}

fn tree_failure(key: &Key, error: &TreeError) -> Ended {
    let outcome = match error.kind() {
        TreeErrorKind::Conflict => Outcome::Conflict,
        TreeErrorKind::Reserved => Outcome::Skipped,
        _ => Outcome::Failed,
    };
    let error: &dyn StdError = error;
    Ended::new(key, outcome).because(Chain(error))
}
