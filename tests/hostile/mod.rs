//! What a stranger may put before an import: objects, a root with sentinels around it, and stores that lie.

#![allow(dead_code, reason = "each test takes what it needs")]

use crate::model::bridge::{self, memory_store, time};
use crate::model::{Bucket, Kind, Node, Object, Rules};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use posix_s3::engine::Outcome;
use posix_s3::store::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, MemoryStore, ObjectMeta,
    ObjectStore, Operation, Precondition, PutOptions, PutOutput, StoreError, Support,
};
use posix_s3::tree::LocalTree;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A root with sentinels around it, where climbing targets lead.
pub(crate) struct Surrounded(pub(crate) tempfile::TempDir);

impl Surrounded {
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for directory in ["root", "a", "b", "a/a"] {
            fs::create_dir(place.path().join(directory)).unwrap();
        }
        for file in ["x", "a-", "a/x", "a/a/a", "a/b", "victim"] {
            fs::write(place.path().join(file), format!("the sentinel {file}")).unwrap();
        }
        symlink("a", place.path().join("link")).unwrap();
        let surrounded = Self(place);
        surrounded.chmod("b", 0o700);
        surrounded.chmod("a/x", 0o4711);
        surrounded
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    pub(crate) fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.0.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Everything about every sentinel but its access time, which this changes itself.
    pub(crate) fn outside(&self) -> Vec<String> {
        let mut outside = Vec::new();
        let mut directories = vec![self.0.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let stat = fs::symlink_metadata(&path).unwrap();
                if path == self.root() {
                    continue;
                }
                let content = if stat.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                outside.push(format!("{path:?} {} {content:?}", stat_of(&stat)));
                if stat.is_dir() {
                    directories.push(path);
                }
            }
        }
        outside.sort();
        outside
    }
}

pub(crate) fn stat_of(stat: &fs::Metadata) -> String {
    let (mtime, ctime) = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
    let (inode, mode, links) = (stat.ino(), stat.mode(), stat.nlink());
    format!("{inode} {mode:o} {links} {}:{} {} {mtime:?} {ctime:?}", stat.uid(), stat.gid(), stat.len())
}

pub(crate) fn object(permissions: &str, body: &[u8]) -> Object {
    let headers = [
        ("x-amz-meta-file-permissions", permissions),
        ("x-amz-meta-file-owner", "0"),
        ("x-amz-meta-file-group", "0"),
        ("x-amz-meta-file-atime", "1595002920000000001ns"),
        ("x-amz-meta-file-mtime", "1595002920000000002ns"),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Object { headers, body: body.to_vec(), last_modified: 1_700_000_000_000_000_000 }
}

pub(crate) fn directory(mtime: i128) -> Node {
    Node { kind: Kind::Directory, mode: 0o750, uid: 7, gid: 8, atime: 9, mtime }
}

pub(crate) fn bucket<const N: usize>(objects: [(&str, Object); N]) -> Bucket {
    objects.map(|(key, object)| (key.to_owned(), object)).into()
}

pub(crate) fn ended(run: &bridge::Run, key: &str) -> Outcome {
    run.ended.iter().find(|(ended, _)| ended == key).unwrap().1
}

/// Imports into a real root and answers how each key ended; what is outside must not have changed.
pub(crate) fn import_into(place: &Surrounded, bucket: &Bucket) -> bridge::Run {
    let before = place.outside();
    let run = bridge::import(&memory_store(bucket), &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    assert_eq!(place.outside(), before);
    run
}

/// A store that answers at most so many keys a page.
pub(crate) struct Paged<S> {
    pub(crate) store: S,
    pub(crate) most: u16,
}

impl<S: ObjectStore> ObjectStore for Paged<S> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.store.list(&ListRequest { max_keys: Some(self.most), ..request.clone() }).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

pub(crate) type Pages = Box<dyn Fn(usize) -> ListPage + Send + Sync>;

/// A store that lists and answers what it is told to, whatever it holds.
pub(crate) struct Liar {
    pub(crate) store: Arc<MemoryStore>,
    /// The page of a call, counted from 0; or the true listing.
    pub(crate) pages: Option<Pages>,
    pub(crate) calls: AtomicUsize,
    /// What is said of the size of every object, and the body that is sent all the same.
    pub(crate) body: Option<(u64, Bytes)>,
    pub(crate) is_ordered: Support,
    pub(crate) was_read: Arc<AtomicBool>,
}

impl Liar {
    pub(crate) fn new(store: impl Into<Arc<MemoryStore>>) -> Self {
        let (store, calls, was_read) = (store.into(), AtomicUsize::new(0), Arc::default());
        Self { store, pages: None, calls, body: None, is_ordered: Support::Yes, was_read }
    }

    /// Answers these pages, one after the other.
    pub(crate) fn with_pages(bucket: &Bucket, pages: &[&[&str]]) -> Self {
        let pages: Vec<Vec<ListedObject>> =
            pages.iter().map(|keys| keys.iter().map(|key| listed(key)).collect()).collect();
        let answer = move |call: usize| {
            let next = (call + 1 < pages.len()).then(|| format!("token {call}"));
            ListPage::new(pages[call].clone(), next)
        };
        Self { pages: Some(Box::new(answer)), ..Self::new(memory_store(bucket)) }
    }

    /// Says of every object that it has this size, and sends this body.
    pub(crate) fn with_body(bucket: &Bucket, announced: u64, sent: &'static [u8]) -> Self {
        Self { body: Some((announced, Bytes::from_static(sent))), ..Self::new(memory_store(bucket)) }
    }

    pub(crate) fn lie(&self, meta: ObjectMeta) -> ObjectMeta {
        match &self.body {
            Some((size, _)) => ObjectMeta { size: *size, ..meta },
            None => meta,
        }
    }
}

pub(crate) fn listed(key: &str) -> ListedObject {
    ListedObject { key: key.to_owned(), size: 1, etag: ETag::new("\"x\""), last_modified: time(0) }
}

impl ObjectStore for Liar {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = self.store.capabilities();
        capabilities.ordered_listing = self.is_ordered;
        capabilities
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        match &self.pages {
            Some(pages) => Ok(pages(self.calls.fetch_add(1, Ordering::Relaxed))),
            None => self.store.list(request).await,
        }
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.store.head(key).await.map(|meta| self.lie(meta))
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        let answer = self.store.get(key, options).await?;
        let Some((_, sent)) = &self.body else { return Ok(answer) };
        let (sent, was_read) = (sent.clone(), Arc::clone(&self.was_read));
        let pieces = stream::iter(sent.into_iter().map(move |byte| {
            was_read.store(true, Ordering::Relaxed);
            Ok(Bytes::copy_from_slice(&[byte]))
        }));
        Ok(GetOutput { meta: self.lie(answer.meta), body: pieces.boxed() })
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.store.delete(key, precondition).await
    }
}

/// A store before whose every call something happens.
pub(crate) struct Hooked<S, H> {
    pub(crate) store: S,
    pub(crate) hook: H,
}

impl<S: ObjectStore, H: Fn(Operation, &str) + Send + Sync> ObjectStore for Hooked<S, H> {
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        (self.hook)(Operation::List, &request.prefix);
        self.store.list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        (self.hook)(Operation::Head, key);
        self.store.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        (self.hook)(Operation::Get, key);
        self.store.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        (self.hook)(Operation::Put, key);
        self.store.put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        (self.hook)(Operation::ReplaceMetadata, key);
        self.store.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        (self.hook)(Operation::Delete, key);
        self.store.delete(key, precondition).await
    }
}
