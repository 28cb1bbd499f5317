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

use super::listing::{Listing, ROOT, shadowed};
use super::report::{Direction, Ended, Jobs, Outcome, Progress, Recorder, Report, RunError, RunErrorKind};
use super::spool::{Deferred, Spool};
use super::turns::Turns;
use crate::entry::{Chain, DecodedHead, Entry, EntryKind, ObjectHead, Refusal};
use crate::escape::escape;
use crate::key::{Key, Prefix};
use crate::metadata::{Attributes, Fields};
use crate::mode::FileType;
use crate::plan::{Claim, Existing, ImportStep, compare};
use crate::profile::Profile;
use crate::status::Status;
use crate::store::{Counted, GetOptions, GetOutput, ListedObject, ObjectMeta, ObjectStore, StoreError, StoreErrorKind};
use crate::timestamp::Timestamp;
use crate::tree::{Applied, Found, Present, Standing, Tree, TreeError, TreeErrorKind, TreeOp};
use bytes::Bytes;
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
    let mut recorder = Recorder::new(Direction::Import, progress);
    let stopped = match tree.begin().await {
        Ok(()) => run.all(&mut recorder).await,
        Err(error) => Err(RunErrorKind::Tree(error)),
    };
    let finished = tree.finish().await;
    let report = recorder.finish(store.calls());
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

/// A claim, and for a directory's object its head. Heads are asked for side by side; what they decide is decided in order.
enum Headed {
    Claim(Claim<ListedObject>),
    Directory { key: Key, object: ListedObject, head: Result<ObjectMeta, StoreError> },
}

/// A claim after the part of it that must be done in order.
enum Prepared {
    Done(Done),
    FileOrLink { key: Key, object: ListedObject, around: Vec<Entry> },
}

/// What is left of a claim when its work is done.
#[derive(Default)]
struct Done {
    deferred: Vec<Deferred>,
    ended: Option<Ended>,
}

impl From<Ended> for Done {
    fn from(ended: Ended) -> Self {
        Self { deferred: Vec::new(), ended: Some(ended) }
    }
}

/// What is known of the directories around the current key.
#[derive(Default)]
struct Around {
    /// Those that are not there and have no object, or none that is accepted, outermost first. They are made, with their
    /// defaults, for the first object below them that is accepted.
    missing: Vec<Entry>,
    /// One that could not be looked at, or whose head could not be read: nothing can be put below it, since nobody knows
    /// what its permissions are or have to be.
    unknown: Option<Key>,
}

impl Around {
    /// Lets go of the directories that do not hold a key.
    fn move_to(&mut self, key: &Key) {
        self.missing.retain(|directory| directory.key().holds(key));
        self.unknown = self.unknown.take().filter(|directory| directory.holds(key));
    }
}

impl<S: ObjectStore + ?Sized, T: Tree> Import<'_, S, T> {
    async fn all(&self, recorder: &mut Recorder<'_>) -> Result<(), RunErrorKind> {
        let listing = Listing::new(self.store, &self.options.prefix, self.options.profile.clash)?;
        // The stream is boxed, so that the compiler can tell that the whole may go to another thread.
        let claims = stream::unfold(Some(listing), |listing| async {
            let mut listing = listing?;
            match listing.next().await {
                Ok(Some(claim)) => Some((Ok(claim), Some(listing))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let turns = &Turns::<Around>::new();
        let done = claims.zip(stream::iter(0..)).map(|(claim, number)| async move {
            let headed = self.head(claim?).await;
            let mut around = turns.take(number).await;
            let prepared = self.prepare(headed, &mut around).await;
            turns.give(around);
            Ok(self.work(prepared).await)
        });
        let mut done: BoxStream<'_, Result<Done, RunErrorKind>> = done.buffered(self.options.jobs.get()).boxed();

        let (mut links, mut directories) = (Spool::new(), Spool::new());
        let mut listed = Ok(());
        while let Some(done) = done.next().await {
            match done {
                Ok(Done { deferred, ended }) => {
                    for deferred in deferred {
                        if deferred.entry.key().is_directory() { &mut directories } else { &mut links }
                            .push(&deferred)?;
                    }
                    ended.into_iter().for_each(|ended| recorder.end(ended));
                }
                // What was made by now is finished all the same: nothing stays locked to the caller.
                Err(error) => listed = Err(error),
            }
        }
        let mut position = 0;
        while let Some(deferred) = links.next(&mut position)? {
            recorder.end(self.link(deferred).await);
        }
        while let Some(deferred) = directories.pop()? {
            self.directory_attributes(deferred, recorder).await;
        }
        listed
    }

    async fn head(&self, claim: Claim<ListedObject>) -> Headed {
        match claim {
            Claim::Object { key, object } if key.is_directory() => {
                let head = self.store.head(&object.key).await;
                Headed::Directory { key, object, head }
            }
            claim => Headed::Claim(claim),
        }
    }

    /// What has to be done in the order of the listing: directories stand before anything in them is begun.
    async fn prepare(&self, headed: Headed, around: &mut Around) -> Prepared {
        match headed {
            Headed::Directory { key, object, head } => {
                around.move_to(&key);
                Prepared::Done(self.directory(key, &object, head, around).await)
            }
            Headed::Claim(Claim::Object { key, object }) => {
                around.move_to(&key);
                match &around.unknown {
                    Some(directory) => Prepared::Done(below_unknown(&key, directory).into()),
                    None => Prepared::FileOrLink { key, object, around: around.missing.clone() },
                }
            }
            Headed::Claim(Claim::ImpliedDirectory { key, first }) => {
                around.move_to(&key);
                if around.unknown.is_none() {
                    match self.standing_directory(&key).await {
                        Ok(Some(_)) => {}
                        Ok(None) => around.missing.extend(self.default_directory(&key, first.last_modified)),
                        // What is wrong with the path is said of each entry below.
                        Err(error) if is_final(&error) => {}
                        Err(_) => around.unknown = Some(key),
                    }
                }
                Prepared::Done(Done::default())
            }
            Headed::Claim(Claim::Root) => {
                Prepared::Done(Ended::new(&self.options.prefix, Outcome::Skipped).because(ROOT).into())
            }
            Headed::Claim(Claim::Refused { key, error }) => {
                Prepared::Done(Ended::new(escape(key.as_bytes()), Outcome::Skipped).because(error).into())
            }
            Headed::Claim(Claim::Shadowed { key, by }) => {
                Prepared::Done(Ended::new(&key, Outcome::Skipped).because(shadowed(&by)).into())
            }
        }
    }

    /// The directory that stands at a path, if one does.
    async fn standing_directory(&self, key: &Key) -> Result<Option<Found>, TreeError> {
        match self.tree.lookup(key).await? {
            Present::Entry(found) if *found.entry.kind() == EntryKind::Directory => Ok(Some(found)),
            Present::Nothing => Ok(None),
            Present::Entry(_) | Present::Other => {
                Err(TreeError::new("making", key.as_str().as_bytes(), TreeErrorKind::Conflict))
            }
        }
    }

    /// Makes a directory with its attributes; they are set once more at the end, when its times are left alone.
    ///
    /// Answers nothing when one has turned up there.
    async fn make_directory(&self, entry: &Entry) -> Result<Option<Status>, TreeError> {
        let op = TreeOp::CreateDirectory { key: entry.key().clone(), attributes: Some(*entry.attributes()) };
        Ok(self.tree.apply(&op).await?.made)
    }

    /// Makes the missing directories around an object that is accepted; until then nothing shows of it.
    async fn make_around(&self, missing: &[Entry]) -> Result<Vec<Deferred>, TreeError> {
        let mut deferred = Vec::new();
        // Others may have made them by now. The deepest that stands tells of all above it.
        let mut first = missing.len();
        while let Some(entry) = first.checked_sub(1).and_then(|above| missing.get(above)) {
            if self.standing_directory(entry.key()).await?.is_some() {
                break;
            }
            first = first.saturating_sub(1);
        }
        for entry in missing.iter().skip(first) {
            if let Some(made) = self.make_directory(entry).await? {
                deferred.push(Deferred { entry: entry.clone(), outcome: None, reasons: Vec::new(), inode: made.inode });
            }
        }
        Ok(deferred)
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
            Prepared::FileOrLink { key, object, around } => {
                self.file_or_link(&key, &object, &around).await.unwrap_or_else(Done::from)
            }
        }
    }

    /// Decides about a directory by its head, and makes it if it is not there.
    async fn directory(
        &self,
        key: Key,
        object: &ListedObject,
        head: Result<ObjectMeta, StoreError>,
        around: &mut Around,
    ) -> Done {
        if let Some(directory) = &around.unknown {
            return below_unknown(&key, directory).into();
        }
        let before = match self.standing_directory(&key).await {
            Ok(before) => before,
            Err(error) => {
                let ended = tree_failure(&key, &error);
                around.unknown = (!is_final(&error)).then_some(key);
                return ended.into();
            }
        };
        let profile = &self.options.profile;
        let read = match &head {
            Ok(meta) => decode(&key, meta, profile, before.as_ref().map(|found| &found.entry))
                .and_then(|head| {
                    let reasons = reasons_of(&head);
                    Ok((head.into_entry(&key, b"", profile)?, reasons))
                })
                .map_err(|refusal| refused(&key, &refusal)),
            Err(error) => Err(store_failure(&key, error)),
        };
        let (entry, reasons) = match read {
            Ok(read) => read,
            Err(ended) => {
                let may_succeed_later = head.is_err() && ended.outcome == Outcome::Failed;
                if before.is_none() && may_succeed_later {
                    around.unknown = Some(key);
                } else if before.is_none() {
                    around.missing.extend(self.default_directory(&key, object.last_modified));
                }
                return ended.into();
            }
        };
        match before {
            Some(found) => self.standing(entry, reasons, found).into(),
            None => self
                .new_directory(entry, reasons, &around.missing)
                .await
                .unwrap_or_else(|error| Done::from(tree_failure(&key, &error))),
        }
    }

    async fn new_directory(&self, entry: Entry, reasons: Vec<Box<str>>, missing: &[Entry]) -> Result<Done, TreeError> {
        let mut deferred = self.make_around(missing).await?;
        let Some(made) = self.make_directory(&entry).await? else {
            return Err(TreeError::new("making", entry.key().as_str().as_bytes(), TreeErrorKind::Conflict));
        };
        deferred.push(Deferred { entry, outcome: Some(Outcome::Written), reasons, inode: made.inode });
        Ok(Done { deferred, ended: None })
    }

    /// A directory that stands there already.
    fn standing(&self, entry: Entry, reasons: Vec<Box<str>>, found: Found) -> Deferred {
        let (now, inode) = (found.entry.attributes(), found.fingerprint.inode);
        let (wanted, keep) = (entry.attributes(), self.options.existing == Existing::Keep);
        let differs = (now.permissions, now.uid, now.gid) != (wanted.permissions, wanted.uid, wanted.gid);
        match compare(FileType::Directory, 0, wanted, Some(&found.entry)) {
            // What is kept keeps its times too, whatever is put into it.
            _ if keep && differs => {
                Deferred { entry: found.entry, outcome: Some(Outcome::Conflict), reasons: vec![KEPT.into()], inode }
            }
            _ if keep => Deferred { entry: found.entry, outcome: Some(Outcome::Unchanged), reasons, inode },
            ImportStep::Nothing => Deferred { entry, outcome: Some(Outcome::Unchanged), reasons, inode },
            _ => Deferred { entry, outcome: Some(Outcome::MetadataOnly), reasons, inode },
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
                    return Ok(Ended { reasons: reasons_of(&head), ..ended }.into());
                }
                ImportStep::SetAttributes if self.options.existing == Existing::Replace => {
                    if let Some(ended) = self.attributes(key, &head, &present).await? {
                        return Ok(ended.into());
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
    async fn attributes(&self, key: &Key, head: &DecodedHead, present: &Present) -> Result<Option<Ended>, Ended> {
        let Present::Entry(Found { fingerprint: found, .. }) = *present else { return Ok(None) };
        if head.file_type != FileType::File {
            return Ok(None);
        }
        let reasons = reasons_of(head);
        let entry = head.clone().into_entry(key, b"", &self.options.profile).map_err(|error| refused(key, &error))?;
        match self.tree.apply(&TreeOp::SetAttributes { entry, found }).await {
            Ok(applied) => {
                Ok(Some(with_shortfalls(Ended { reasons, ..Ended::new(key, Outcome::MetadataOnly) }, &applied)))
            }
            // Also when something else stands there by now: the object replaces that, and touches nothing of it.
            Err(error) if matches!(error.kind(), TreeErrorKind::NeedsNewInode | TreeErrorKind::Changed) => Ok(None),
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
            let target = link_body(&mut body, meta.size).await.map_err(|error| store_failure(key, &error))?;
            if target.len() as u64 != meta.size {
                let reason = format!("expected a body of {} bytes, found another length", meta.size);
                return Err(Ended::new(key, Outcome::Failed).because(reason));
            }
            let entry = head.into_entry(key, &target, profile).map_err(|refusal| refused(key, &refusal))?;
            let mut deferred = self.make_around(around).await.map_err(|error| tree_failure(key, &error))?;
            deferred.push(Deferred { entry, outcome: Some(Outcome::Written), reasons, inode: 0 });
            return Ok(Done { deferred, ended: None });
        }
        let entry = head.into_entry(key, b"", profile).map_err(|refusal| refused(key, &refusal))?;
        let deferred = self.make_around(around).await.map_err(|error| tree_failure(key, &error))?;
        let body = body.map(|piece| {
            let piece = piece?;
            self.progress.bytes(piece.len() as u64);
            Ok(piece)
        });
        let ended = match self.tree.write_file(&entry, body.boxed(), standing).await {
            Ok(applied) => {
                let ended = Ended { reasons, bytes: meta.size, ..Ended::new(key, Outcome::Written) };
                with_shortfalls(ended, &applied)
            }
            Err(error) => tree_failure(key, &error),
        };
        Ok(Done { deferred, ended: Some(ended) })
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
    async fn directory_attributes(&self, deferred: Deferred, recorder: &mut Recorder<'_>) {
        let Deferred { entry, outcome, reasons, inode } = deferred;
        let key = entry.key().clone();
        match (self.finish_directory(entry, outcome, inode).await, outcome) {
            (Ok((applied, outcome)), Some(_)) => {
                let ended = Ended { reasons, ..Ended::new(&key, outcome) };
                recorder.end(with_shortfalls(ended, &applied));
            }
            // It is no entry, but what could not be applied is said.
            (Ok((applied, outcome)), None) => {
                applied.shortfalls.iter().for_each(|shortfall| recorder.remark(&key, outcome, shortfall));
            }
            (Err(error), _) => {
                let failure = tree_failure(&key, &error);
                let reasons = reasons.into_iter().chain(failure.reasons).collect();
                recorder.end(Ended { reasons, ..Ended::new(&key, failure.outcome) });
            }
        }
    }

    /// Answers what was applied, and how the directory has ended.
    async fn finish_directory(
        &self,
        entry: Entry,
        outcome: Option<Outcome>,
        inode: u64,
    ) -> Result<(Applied, Outcome), TreeError> {
        let changed = || TreeError::new("finishing", entry.key().as_str().as_bytes(), TreeErrorKind::Changed);
        let found = match self.standing_directory(entry.key()).await? {
            Some(found) if found.fingerprint.inode == inode => found,
            _ => return Err(changed()),
        };
        let now = found.entry.attributes();
        let mut entry = entry.clone();
        let mut outcome = outcome.unwrap_or(Outcome::Written);
        if matches!(outcome, Outcome::Unchanged | Outcome::Conflict) {
            // One that agreed before, or is kept, is touched if what was put into it has moved its times. What somebody
            // else has done to it meanwhile is kept or, where the object rules, undone and said to be so.
            if self.options.existing == Existing::Keep {
                let Attributes { atime, mtime, .. } = *entry.attributes();
                let key = entry.key().clone();
                let times_only = Attributes { atime, mtime, ..*now };
                entry = Entry::new(key, EntryKind::Directory, times_only).map_err(|_| changed())?;
            }
            let wanted = entry.attributes();
            if compare(FileType::Directory, 0, wanted, Some(&found.entry)) == ImportStep::Nothing {
                return Ok((Applied::default(), outcome));
            }
            if (now.permissions, now.uid, now.gid) != (wanted.permissions, wanted.uid, wanted.gid) {
                outcome = Outcome::MetadataOnly;
            }
        }
        let applied = self.tree.apply(&TreeOp::SetAttributes { entry, found: found.fingerprint }).await?;
        Ok((applied, outcome))
    }
}

/// Whether a lookup has told what is there, if only that it is in the way; else another try may tell more.
fn is_final(error: &TreeError) -> bool {
    matches!(error.kind(), TreeErrorKind::Conflict | TreeErrorKind::MountPoint | TreeErrorKind::Reserved)
}

fn below_unknown(key: &Key, directory: &Key) -> Ended {
    let reason = format!("nothing can be put into \"{directory}\", which or whose object could not be read");
    Ended::new(key, Outcome::Failed).because(reason)
}

impl From<Deferred> for Done {
    fn from(deferred: Deferred) -> Self {
        Self { deferred: vec![deferred], ended: None }
    }
}

/// Why an entry that differs was left alone.
const KEPT: &str = "something that differs stands there and is kept";

pub(super) fn decode(
    key: &Key,
    meta: &ObjectMeta,
    profile: &Profile,
    current: Option<&Entry>,
) -> Result<DecodedHead, Refusal> {
    let fields = Fields::from_headers(&meta.headers);
    ObjectHead { key, fields, size: meta.size, last_modified: meta.last_modified }.decode(profile, current)
}

/// Reads the body of a link. Decoding has refused what is longer than a target; what is longer than was said is read no
/// further.
pub(super) async fn link_body(
    body: &mut BoxStream<'_, Result<Bytes, StoreError>>,
    size: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut target = Vec::new();
    while let Some(piece) = body.next().await {
        target.extend_from_slice(&piece?);
        if target.len() as u64 > size {
            break;
        }
    }
    Ok(target)
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
