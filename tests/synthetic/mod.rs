//! Buckets of any size that nobody keeps, and a tree that takes everything and keeps nothing: what grows with their number
//! is the engine's.

#![allow(dead_code, unreachable_pub, reason = "each user takes what it needs")]

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::store::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, ObjectMeta, ObjectStore,
    Operation, Precondition, PutOptions, PutOutput, SourceError, StoreError, StoreErrorKind,
};
use posix_s3::tree::{
    Applied, Fingerprint, Found, Look, NameList, OpenFile, Place, Present, Standing, Tree, TreeError, TreeErrorKind,
    TreeOp, Visit,
};
use posix_s3::{Attributes, Entry, EntryKind, FileType, Gid, Key, KeyList, Permissions, Status, Timestamp, Uid};
use std::sync::{Arc, Mutex};

/// How the keys of a bucket lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Files in one directory.
    Flat,
    /// Directories beside each other, each with its object and nine files.
    Wide,
    /// Files in one directory that is 500 deep.
    Deep,
    /// Each file in 480 directories of its own, of which none has an object. It stands for as many keys.
    Apart,
    /// Links in one directory.
    Links,
    /// Keys that are no paths.
    Refused,
    /// Each key is the one before and a letter, as long as that is a name: any of them may turn out to be a directory.
    Prefixes,
}

/// How many directories each file of [`Shape::Apart`] has.
pub const APART: u64 = 480;

impl Shape {
    pub const ALL: [Self; 7] =
        [Self::Flat, Self::Wide, Self::Deep, Self::Apart, Self::Links, Self::Refused, Self::Prefixes];

    pub fn name(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::Wide => "wide",
            Self::Deep => "deep",
            Self::Apart => "apart",
            Self::Links => "links",
            Self::Refused => "refused",
            Self::Prefixes => "prefixes",
        }
    }

    /// The key at a place; they come in order.
    fn key(self, at: u64) -> String {
        match self {
            Self::Flat | Self::Links => format!("{at:08}"),
            Self::Wide if at.is_multiple_of(10) => format!("{:08}/", at / 10),
            Self::Wide => format!("{:08}/{}", at / 10, at % 10),
            Self::Deep => format!("{}{at:08}", "d/".repeat(500)),
            Self::Apart => format!("{at:08}/{}f", "d/".repeat(479)),
            Self::Refused => format!("{at:08}//x"),
            Self::Prefixes => {
                let length = usize::try_from(at % 240).unwrap();
                format!("{:08}{}", at / 240, "a".repeat(length))
            }
        }
    }
}

/// A bucket whose objects are made up when they are asked for.
pub struct Bucket {
    shape: Shape,
    count: u64,
    per_page: u64,
}

impl Bucket {
    pub fn new(shape: Shape, count: u64) -> Self {
        Self { shape, count, per_page: 1000 }
    }

    /// The same in pages of another length.
    pub fn in_pages(self, per_page: u64) -> Self {
        Self { per_page, ..self }
    }

    fn size(&self, key: &str) -> u64 {
        u64::from(!key.ends_with('/'))
    }

    fn meta(&self, key: &str) -> ObjectMeta {
        let permissions = match self.shape {
            _ if key.ends_with('/') => "0040755",
            Shape::Links => "0120777",
            _ => "0100644",
        };
        let headers = [
            ("x-amz-meta-file-permissions", permissions),
            ("x-amz-meta-file-owner", "0"),
            ("x-amz-meta-file-group", "0"),
            ("x-amz-meta-file-atime", "1595002920000000001ns"),
            ("x-amz-meta-file-mtime", "1595002920000000002ns"),
        ];
        let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        let headers: HeaderMap = headers.into_iter().map(pair).collect();
        ObjectMeta { size: self.size(key), etag: etag(), last_modified: Timestamp::EPOCH, headers }
    }
}

fn etag() -> ETag {
    ETag::new("\"9dd4e461268c8034f5c8564e155c67a6\"")
}

fn unasked(operation: Operation, key: &str) -> StoreError {
    StoreError::new(operation, key, StoreErrorKind::Unsupported)
}

impl ObjectStore for Bucket {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let start: u64 = request.token.as_deref().unwrap_or("0").parse().unwrap();
        let end = (start + self.per_page).min(self.count);
        let object = |at| {
            let key = self.shape.key(at);
            ListedObject { size: self.size(&key), key, etag: etag(), last_modified: Timestamp::EPOCH }
        };
        let next = (end < self.count).then(|| end.to_string());
        Ok(ListPage::new((start..end).map(object).collect(), next))
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        Ok(self.meta(key))
    }

    async fn get(&self, key: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
        let body = stream::iter([Ok(Bytes::from_static(b"x"))]).boxed();
        Ok(GetOutput { meta: self.meta(key), body })
    }

    async fn put(&self, key: &str, _: Body, _: &PutOptions) -> Result<PutOutput, StoreError> {
        Err(unasked(Operation::Put, key))
    }

    async fn replace_metadata(&self, key: &str, _: &PutOptions) -> Result<PutOutput, StoreError> {
        Err(unasked(Operation::ReplaceMetadata, key))
    }

    async fn delete(&self, key: &str, _: &Precondition) -> Result<(), StoreError> {
        Err(unasked(Operation::Delete, key))
    }
}

/// A tree that takes everything and keeps nothing of it. Directories are made in key order, so that the last of them tells
/// of which it has to say that they are there; and that is all that it knows.
#[derive(Default)]
pub struct Nowhere {
    made: Mutex<Option<Key>>,
}

fn attributes() -> Attributes {
    Attributes {
        permissions: Permissions::from_mode(0o755),
        uid: Uid::ROOT,
        gid: Gid::ROOT,
        atime: Timestamp::EPOCH,
        mtime: Timestamp::EPOCH,
    }
}

const ONLY: Fingerprint = Fingerprint { inode: 1, ctime: Timestamp::EPOCH, links: 1 };

fn made(file_type: FileType, size: u64) -> Applied {
    let Fingerprint { inode, ctime, links } = ONLY;
    let status = Status { file_type, size, attributes: attributes(), inode, ctime, links };
    Applied { made: Some(status), ..Applied::default() }
}

impl Tree for Nowhere {
    async fn list(&self, _: Option<&Key>) -> Result<NameList, TreeError> {
        Ok(NameList::default())
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, _: Place, mut visitor: V) -> V {
        (0..keys.len()).for_each(|at| visitor.visit(at, Look::Nothing));
        visitor
    }

    fn now(&self) -> Timestamp {
        Timestamp::EPOCH
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        Ok([1; 16])
    }

    fn keeps_directory_times(&self) -> bool {
        false
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        Ok(false)
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        let is_made = key.is_directory() && self.made.lock().unwrap().as_ref().is_some_and(|last| last >= key);
        Ok(match Entry::new(key.clone(), EntryKind::Directory, attributes()) {
            Ok(entry) if is_made => Present::Entry(Found { entry, fingerprint: ONLY }),
            _ => Present::Nothing,
        })
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        Err(TreeError::new("opening", key.as_str().as_bytes(), TreeErrorKind::NotFound))
    }

    async fn write_file(
        &self,
        entry: &Entry,
        mut body: BoxStream<'_, Result<Bytes, SourceError>>,
        _: Standing,
    ) -> Result<Applied, TreeError> {
        while let Some(piece) = body.next().await {
            piece.map_err(|error| {
                TreeError::new("writing", entry.key().as_str().as_bytes(), TreeErrorKind::Body).with_source(error)
            })?;
        }
        Ok(made(FileType::File, entry.object_size()))
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        Ok(match op {
            TreeOp::CreateDirectory { key, .. } => {
                *self.made.lock().unwrap() = Some(key.clone());
                made(FileType::Directory, 0)
            }
            TreeOp::CreateSymlink { entry, .. } => made(FileType::Symlink, entry.object_size()),
            TreeOp::CreatePlaceholder { entry, .. } => made(FileType::File, entry.object_size()),
            TreeOp::SetAttributes { .. } => made(FileType::Directory, 0),
            _ => Applied::default(),
        })
    }

    async fn begin(&self) -> Result<(), TreeError> {
        Ok(())
    }

    async fn sync(&self) -> Result<(), TreeError> {
        Ok(())
    }

    async fn finish(&self) -> Result<(), TreeError> {
        Ok(())
    }
}
