//! [`Contents`]: the content of what is exported, opened, compared and read as one version.

use super::cause::Cause;
use super::digest::{Algorithm, Running, recorded};
use super::export::SameTimes;
use super::report::{Ended, Outcome};
use crate::entry::{Chain, Entry, EntryKind};
use crate::key::Key;
use crate::mode::FileType;
use crate::plan::{Change, Doubt, MetadataChange, Step, step};
use crate::released::Released;
use crate::snapshot::{BodyDigest, Remote};
use crate::status::Status;
use crate::store::{ObjectMeta, Source, SourceError, StoreError, StoreErrorKind, Support};
use crate::timestamp::Timestamp;
use crate::tree::{Data, Found, OpenFile, Present, Residence, Tree, TreeError, TreeErrorKind};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files up to this size, in bytes, are read before they are sent; larger ones while they are sent.
const BUFFERED: u64 = 1 << 20;
/// Files of up to this size, in bytes, are put in one piece by every client known: 8 MiB.
const IN_PARTS: u64 = 8 << 20;
/// How much of a larger file is read at once to compare it.
const PIECE: usize = 1 << 20;
/// How many bytes of files with several names are kept for their other names.
const LINKED: usize = 16 << 20;

/// Something that is exported, as it was looked at.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) entry: Entry,
    pub(super) status: Status,
    pub(super) content: Content,
    /// Why not all of it may be meant.
    pub(super) doubt: Option<Unmeant>,
}

/// Why the bytes of a file may not be what anybody meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unmeant {
    /// Somebody wrote to a placeholder, and there are zeros.
    Written,
    /// Somebody set the mtime or size of a placeholder and wrote nothing.
    Touched,
    /// It has a size and no data, and no mark: a copy of a placeholder, perhaps.
    Hole,
}

/// What becomes of files whose bytes may not be meant, unless they are what is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dubious {
    /// They are conflicts.
    Refuse,
    /// They are what they are; but a placeholder to which nobody wrote is none.
    Send,
    /// They are what they are: nothing is sent.
    Compare,
}

impl Unmeant {
    fn ended(self, key: &Key) -> Ended {
        let (cause, why) = match self {
            Self::Written => (Cause::Conflict, format!("{WRITTEN}; {SETTLED} what is here")),
            Self::Touched => (Cause::Conflict, WRITTEN.to_owned()),
            Self::Hole => (Cause::Hole, format!("{HOLE}; {SETTLED} zeros")),
        };
        Ended::new(key, Outcome::Conflict).because(cause, why)
    }
}

/// The content of a file. That of a directory or link is in its entry.
pub(super) enum Content {
    /// It was not read, since nothing depends on it.
    None,
    /// All of it, of one version.
    Bytes(Bytes),
    /// It is read while it is sent.
    File(Arc<Stable>),
    /// It is in the store alone.
    Released(Released),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bytes(_) => "Bytes",
            Self::File(_) => "File",
            Self::Released(_) => "Released",
        })
    }
}

/// Why something was not sent.
pub(super) enum Unsent {
    /// It changed while it was read; another try may succeed.
    Changed,
    /// The object is not the one that the request was for.
    Condition(Ended),
    /// Nobody knows whether the request has changed anything.
    Unheard(Ended),
    Ended(Ended),
}

impl Subject {
    /// The body, if it is in memory.
    fn body(&self) -> Option<&[u8]> {
        match (self.entry.kind(), &self.content) {
            (EntryKind::Directory, _) => Some(b""),
            (EntryKind::Symlink { target }, _) => Some(target.as_bytes()),
            (EntryKind::File { .. }, Content::Bytes(bytes)) => Some(bytes),
            (EntryKind::File { .. }, Content::File(_) | Content::None | Content::Released(_)) => None,
        }
    }

    /// The digest to be recorded of the body, as far as it is known without reading anything again.
    pub(super) fn known_digest(&self) -> Option<[u8; 16]> {
        match &self.content {
            Content::File(file) => file.digest(),
            _ => self.body().map(recorded),
        }
    }

    /// Where its content is, if that is in the store alone.
    pub(super) const fn released(&self) -> Option<&Released> {
        match &self.content {
            Content::Released(released) => Some(released),
            _ => None,
        }
    }
}

pub(super) struct Contents<'r, T> {
    tree: &'r T,
    /// Whether the digest of what is sent is to be known, since the store does not tell it.
    digests: Support,
    same_times: SameTimes,
    /// What changed later than this may change again without its times telling.
    fresh_since: Timestamp,
    dubious: Dubious,
    linked: Mutex<Linked>,
}

/// The bytes of files with several names, by inode.
#[derive(Default)]
struct Linked {
    files: HashMap<u64, Kept>,
    /// The inodes, oldest first.
    order: VecDeque<u64>,
    bytes: usize,
}

struct Kept {
    status: Status,
    bytes: Bytes,
    /// How many names of it are still to come, at most.
    names: u64,
}

/// What a kept file costs besides its bytes.
const KEPT: usize = 256;

impl<'r, T: Tree> Contents<'r, T> {
    pub(super) fn new(tree: &'r T, digests: Support, same_times: SameTimes, fresh_since: Timestamp) -> Self {
        Self { tree, digests, same_times, fresh_since, dubious: Dubious::Refuse, linked: Mutex::default() }
    }

    pub(super) fn with_dubious(self, dubious: Dubious) -> Self {
        Self { dubious, ..self }
    }

    /// Opens what a change is about, as far as it takes: compares the content if only that can tell, and reads it if it
    /// is going to be sent.
    ///
    /// `change` compares what is recorded with a status, since a file may be another one by the time it is open;
    /// `remote` is what is recorded of the object.
    pub(super) async fn open(
        &self,
        key: &Key,
        status: Status,
        change: impl Fn(&Status) -> Change,
        metadata: MetadataChange,
        remote: Option<&Remote>,
    ) -> Result<(Subject, Change), Unsent> {
        match status.file_type {
            FileType::Directory => Ok((subject(key, EntryKind::Directory, status)?, change(&status))),
            FileType::Symlink => {
                let found = match self.tree.lookup(key).await {
                    Ok(Present::Entry(found)) if found.entry.file_type() == FileType::Symlink => found,
                    Ok(Present::Nothing) => return Err(vanished(key)),
                    Ok(Present::Entry(_) | Present::Other) => return Err(Unsent::Changed),
                    Err(error) => return Err(unsent(key, &error)),
                };
                let status = found.status();
                let subject = Subject { entry: found.entry, status, content: Content::None, doubt: None };
                let change = self.trusted(change(&status));
                let change = match (change.doubt(), remote.and_then(Remote::body_digest), subject.body()) {
                    (Some(_), Some(recorded), Some(body)) => {
                        change.compared(Algorithm::of(&recorded).digest(body) == recorded)
                    }
                    _ => change,
                };
                Ok((subject, change))
            }
            _ => self.open_file(key, status, change, metadata, remote).await,
        }
    }

    async fn open_file(
        &self,
        key: &Key,
        status: Status,
        change: impl Fn(&Status) -> Change,
        metadata: MetadataChange,
        remote: Option<&Remote>,
    ) -> Result<(Subject, Change), Unsent> {
        let plain = change(&status);
        let seen = self.trusted(plain);
        if step(&seen, metadata) != Step::Put {
            // Times say nothing about whose data another inode stands for.
            let is_here = plain.doubt().is_none() || self.whereabouts(key, &status).await? == (Residence::Here, None);
            if is_here {
                return Ok((subject(key, EntryKind::File { size: status.size }, status)?, seen));
            }
        }
        let mut subject = self.read(key, &status).await?;
        let mut change = change(&subject.status);
        if let Some(released) = subject.released() {
            let same = remote.is_some_and(|remote| released.is_of(key, &remote.etag, remote.size));
            return Ok((subject, change.compared(same)));
        }
        self.check(key, &subject, remote).await?;
        change = self.trusted(change);
        if let (Some(_), Some(recorded)) = (change.doubt(), remote.and_then(Remote::body_digest)) {
            change = change.compared(self.has_digest(&subject, recorded).await?);
        }
        if step(&change, metadata) != Step::Put {
            subject.content = Content::None;
        }
        Ok((subject, change))
    }

    /// Whether the bytes of a subject may be taken for its content.
    async fn check(&self, key: &Key, subject: &Subject, remote: Option<&Remote>) -> Result<(), Unsent> {
        let doubt = match subject.doubt {
            Some(doubt) => doubt,
            None if self.dubious == Dubious::Refuse && self.may_be_copy(key, subject, remote).await? => Unmeant::Hole,
            None => return Ok(()),
        };
        match (self.dubious, doubt) {
            (Dubious::Compare, _) | (Dubious::Send, Unmeant::Written | Unmeant::Hole) => return Ok(()),
            (Dubious::Refuse, _) | (Dubious::Send, Unmeant::Touched) => {}
        }
        // A file that was a hole all along, or was sent as it is before.
        if let Some(recorded) = remote.and_then(Remote::body_digest)
            && self.has_digest(subject, recorded).await?
        {
            return Ok(());
        }
        Err(Unsent::Ended(doubt.ended(key)))
    }

    /// Whether a file may be a copy of a placeholder that has kept no hole, as `cp` makes of those of a few blocks: zeros
    /// alone, as many as what is recorded has bytes.
    async fn may_be_copy(&self, key: &Key, subject: &Subject, remote: Option<&Remote>) -> Result<bool, Unsent> {
        let size = subject.status.size;
        let may_be = size > 0 && remote.is_some_and(|remote| remote.size == size);
        if !may_be || !self.tree.may_have_placeholders().map_err(|error| unsent(key, &error))? {
            return Ok(false);
        }
        match &subject.content {
            Content::Bytes(bytes) => Ok(bytes.iter().all(|byte| *byte == 0)),
            Content::File(file) => file.holds_zeros_alone().await.map_err(|error| unread(key, error)),
            Content::None | Content::Released(_) => Ok(false),
        }
    }

    /// Why the bytes of a file may not be meant; what is written over a placeholder is not read.
    async fn doubt(&self, file: &dyn OpenFile) -> Result<Option<Unmeant>, TreeError> {
        let size = file.found().entry.object_size();
        match file.residence() {
            Residence::Released(_) => Ok(None),
            Residence::Written(_) if size == 0 => Ok(None),
            Residence::Written(_) => {
                Ok(Some(if file.data().await? == Data::None { Unmeant::Touched } else { Unmeant::Written }))
            }
            Residence::Here if size == 0 || !self.tree.may_have_placeholders()? => Ok(None),
            Residence::Here => Ok((file.data().await? == Data::None).then_some(Unmeant::Hole)),
        }
    }

    /// Where the content of a file is that was looked at.
    pub(super) async fn residence(&self, key: &Key, status: &Status) -> Result<Residence, Unsent> {
        Ok(self.whereabouts(key, status).await?.0)
    }

    async fn whereabouts(&self, key: &Key, status: &Status) -> Result<(Residence, Option<Unmeant>), Unsent> {
        // So that a file need not be readable where there are none.
        if !self.tree.may_have_placeholders().map_err(|error| unsent(key, &error))? {
            return Ok((Residence::Here, None));
        }
        let file = self.tree.open(key).await.map_err(|error| unsent(key, &error))?;
        if !file.found().status().is_same_version(status) {
            return Err(Unsent::Changed);
        }
        let doubt = self.doubt(&*file).await.map_err(|error| unsent(key, &error))?;
        Ok((file.residence().clone(), doubt))
    }

    /// Whether the content of a subject is the body of an object, as far as its `ETag` tells; `tells` is whether that is an
    /// MD5.
    pub(super) async fn is_body_of(
        &self,
        subject: &Subject,
        meta: &ObjectMeta,
        tells: Support,
    ) -> Result<bool, Unsent> {
        let key = subject.entry.key();
        let (residence, doubt) = match (&subject.content, subject.status.file_type) {
            (Content::Released(released), _) => (Residence::Released(released.clone()), None),
            (Content::None, FileType::File) => self.whereabouts(key, &subject.status).await?,
            _ => (Residence::Here, subject.doubt),
        };
        let md5 = meta.etag.md5().filter(|_| tells == Support::Yes);
        match (residence, md5) {
            (Residence::Released(released), _) => Ok(released.is_of(key, &meta.etag, meta.size)),
            (_, Some(md5)) => self.has_digest(subject, BodyDigest::Md5(md5)).await,
            (Residence::Here, None) => Ok(doubt.is_none()),
            (Residence::Written(_), None) => Ok(false),
        }
    }

    /// Takes equal times for equal content, if that is wanted.
    fn trusted(&self, change: Change) -> Change {
        match (self.same_times, change.doubt()) {
            (SameTimes::Trust, Some(Doubt::Inode | Doubt::Ctime)) => change.compared(true),
            _ => change,
        }
    }

    /// Opens a file and, if it is small, reads it. What is opened may be another version than was looked at.
    async fn read(&self, key: &Key, status: &Status) -> Result<Subject, Unsent> {
        if let Some(bytes) = self.linked().find(status) {
            let kind = EntryKind::File { size: status.size };
            return Ok(Subject { content: Content::Bytes(bytes), ..subject(key, kind, *status)? });
        }
        let file = self.tree.open(key).await.map_err(|error| unsent(key, &error))?;
        let (entry, status) = (file.found().entry.clone(), file.found().status());
        // Larger ones may be put in parts, and their ETag is no digest then.
        let digests = if status.size > IN_PARTS { Support::Yes } else { self.digests };
        if let Residence::Released(released) = file.residence() {
            let content = Content::Released(released.clone());
            return Ok(Subject { entry, status, content, doubt: None });
        }
        let mut doubt = self.doubt(&*file).await.map_err(|error| unsent(key, &error))?;
        let stable = Stable::new(file, digests);
        if doubt == Some(Unmeant::Written)
            && stable.is_written_throughout().await.map_err(|error| unread(key, error))?
        {
            doubt = None;
        }
        if status.size > BUFFERED {
            return Ok(Subject { entry, status, content: Content::File(Arc::new(stable)), doubt });
        }
        let length = usize::try_from(status.size).unwrap_or(0);
        let bytes = stable.read(0, length).await.map_err(|error| unread(key, error))?;
        if status.links > 1 && status.ctime <= self.fresh_since && doubt.is_none() {
            self.linked().keep(status, &bytes);
        }
        Ok(Subject { entry, status, content: Content::Bytes(bytes), doubt })
    }

    /// What was found, with its content still to be read.
    pub(super) fn subject(&self, found: &Found) -> Subject {
        Subject { entry: found.entry.clone(), status: found.status(), content: Content::None, doubt: None }
    }

    /// Sees to it that the content of a subject is at hand.
    pub(super) async fn ensure(&self, key: &Key, subject: &mut Subject) -> Result<(), Unsent> {
        if subject.status.file_type != FileType::File || !matches!(subject.content, Content::None) {
            return Ok(());
        }
        let read = self.read(key, &subject.status).await?;
        // The headers were made for the version that was looked at.
        if !read.status.is_same_version(&subject.status) {
            return Err(Unsent::Changed);
        }
        self.check(key, &read, None).await?;
        (subject.content, subject.doubt) = (read.content, read.doubt);
        Ok(())
    }

    /// Whether the content, read for it if need be, has a digest.
    async fn has_digest(&self, subject: &Subject, digest: BodyDigest) -> Result<bool, Unsent> {
        let key = subject.entry.key();
        let read;
        let subject = match (&subject.content, subject.status.file_type) {
            (Content::None, FileType::File) => {
                read = self.read(key, &subject.status).await?;
                if !read.status.is_same_version(&subject.status) {
                    return Err(Unsent::Changed);
                }
                &read
            }
            _ => subject,
        };
        let algorithm = Algorithm::of(&digest);
        match &subject.content {
            Content::File(file) => Ok(file.read_digest(algorithm).await.map_err(|error| unread(key, error))? == digest),
            _ => Ok(subject.body().is_some_and(|body| algorithm.digest(body) == digest)),
        }
    }

    fn linked(&self) -> MutexGuard<'_, Linked> {
        // Whatever is in it is whole after every statement.
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Linked {
    /// The bytes of a version of a file that was read under another name.
    fn find(&mut self, status: &Status) -> Option<Bytes> {
        if status.links < 2 {
            return None;
        }
        let kept = self.files.get_mut(&status.inode).filter(|kept| kept.status.is_same_version(status))?;
        kept.names = kept.names.saturating_sub(1);
        let bytes = kept.bytes.clone();
        if kept.names == 0 {
            self.forget(status.inode);
        }
        Some(bytes)
    }

    fn keep(&mut self, status: Status, bytes: &Bytes) {
        self.forget(status.inode);
        self.bytes = self.bytes.saturating_add(bytes.len()).saturating_add(KEPT);
        let names = status.links.saturating_sub(1);
        self.files.insert(status.inode, Kept { status, bytes: bytes.clone(), names });
        self.order.push_back(status.inode);
        while self.bytes > LINKED || self.order.len() > LINKED / KEPT {
            let Some(oldest) = self.order.pop_front() else { return };
            self.forget(oldest);
        }
    }

    fn forget(&mut self, inode: u64) {
        if let Some(kept) = self.files.remove(&inode) {
            self.bytes = self.bytes.saturating_sub(kept.bytes.len()).saturating_sub(KEPT);
        }
    }
}

fn subject(key: &Key, kind: EntryKind, status: Status) -> Result<Subject, Unsent> {
    // Invariant: a scan hands out a directory exactly under a key with a slash.
    let entry = Entry::new(key.clone(), kind, status.attributes)
        .map_err(|error| Unsent::Ended(Ended::new(key, Outcome::Failed).because(Cause::KindMismatch, error)))?;
    Ok(Subject { entry, status, content: Content::None, doubt: None })
}

/// Why nothing is done about a placeholder that is none any more.
pub(super) const WRITTEN: &str = "its data is in the store, and somebody has written to the placeholder here, or has set its mtime or size: \
                                  whether every byte of it is meant cannot be told, so both sides stay as they are";

/// Why nothing is done about a file without data and mark.
const HOLE: &str = "it has a size and no data but zeros, as a copy of a placeholder has whose mark was lost: that it is meant to be zeros \
                    cannot be told, so both sides stay as they are";

/// What settles both.
const SETTLED: &str = "put a whole file in its place, or export it with the tree winning conflicts, which sends";

fn vanished(key: &Key) -> Unsent {
    Unsent::Ended(Ended::new(key, Outcome::Skipped).because(Cause::FileNotFound, "it vanished before it was read"))
}

fn unsent(key: &Key, error: &TreeError) -> Unsent {
    match error.kind() {
        TreeErrorKind::Changed => Unsent::Changed,
        TreeErrorKind::NotFound => vanished(key),
        _ => Unsent::Ended(Ended::new(key, Outcome::Failed).because(error, Chain(error))),
    }
}

fn unread(key: &Key, error: SourceError) -> Unsent {
    match error.downcast::<TreeError>() {
        Ok(error) => unsent(key, &error),
        Err(error) => Unsent::Ended(Ended::new(key, Outcome::Failed).because(Cause::Tree, Chain(&*error))),
    }
}

/// What a store says of a request: of a body that it could not read, the tree's own error is the cause.
pub(super) fn unsent_by_store(key: &Key, error: &StoreError) -> Unsent {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<TreeError>());
    let ended = || Ended::new(key, Outcome::Failed).because(error, Chain(error));
    match (error.kind(), cause) {
        (StoreErrorKind::Body, Some(cause)) => unsent(key, cause),
        (StoreErrorKind::PreconditionFailed, _) => Unsent::Condition(ended()),
        (StoreErrorKind::Transient | StoreErrorKind::Corrupt | StoreErrorKind::Other, _) => Unsent::Unheard(ended()),
        _ => Unsent::Ended(ended()),
    }
}

/// A file that is one version from the first byte to the last, or an error.
///
/// Whoever reads any part also looks at the file again, in whatever order a store reads, so that none has all bytes of a
/// file that changed.
pub(super) struct Stable {
    file: Arc<dyn OpenFile>,
    /// The digest of what was read from the start on without a gap; `None` where nobody needs it.
    digest: Option<Running>,
}

impl Stable {
    fn new(file: Arc<dyn OpenFile>, digests: Support) -> Self {
        let digest = (digests == Support::Yes).then(Running::default);
        Self { file, digest }
    }

    /// The digest of all of it, if it was read in order.
    fn digest(&self) -> Option<[u8; 16]> {
        self.digest.as_ref()?.of(self.size())
    }

    /// Whether every byte was written by somebody: a byte that was not is a zero. One that was may be one, too; then it
    /// cannot be told.
    async fn is_written_throughout(&self) -> Result<bool, SourceError> {
        let mut at = 0;
        while at < self.size() {
            let length = usize::try_from(self.size().saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
            let bytes = self.read(at, length).await?;
            at = at.saturating_add(bytes.len() as u64);
            if bytes.contains(&0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether every byte is a zero. Of nearly every file, the first piece tells.
    async fn holds_zeros_alone(&self) -> Result<bool, SourceError> {
        let mut at = 0;
        while at < self.size() {
            let length = usize::try_from(self.size().saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
            let bytes = self.read(at, length).await?;
            at = at.saturating_add(bytes.len() as u64);
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads all of it.
    async fn read_digest(&self, mut digest: Algorithm) -> Result<BodyDigest, SourceError> {
        let mut at = 0;
        while at < self.size() {
            let length = usize::try_from(self.size().saturating_sub(at)).unwrap_or(PIECE).min(PIECE);
            let bytes = self.read(at, length).await?;
            at = at.saturating_add(bytes.len() as u64);
            digest.update(&bytes);
        }
        Ok(digest.finish())
    }
}

impl Source for Stable {
    fn size(&self) -> u64 {
        self.file.found().entry.object_size()
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, SourceError>> {
        Box::pin(async move {
            let key = self.file.found().entry.key();
            let changed = || TreeError::new("reading", key.as_str().as_bytes(), TreeErrorKind::Changed);
            let bytes = self.file.read(offset, length).await?;
            if bytes.len() != length {
                return Err(changed().into());
            }
            if !self.file.again().await?.is_same_version(self.file.found()) {
                return Err(changed().into());
            }
            if let Some(digest) = &self.digest {
                digest.take(offset, &bytes).await;
            }
            Ok(bytes)
        })
    }
}
