//! [`StandIn`]: a real tree that tells what the tree would that it was made after.
//!
//! A state tells inodes by their numbers and ctimes, and nobody can make a directory in which those are given. So a number
//! stands for the one that it was made after, and the ctime of an inode as long as nothing has changed it.

use super::seen::Stands;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use posix_s3::tree::{
    Applied, Around, Data, Fingerprint, Found, LocalTree, Look, NameList, OpenFile, Place, Present, Residence,
    SourceError, Standing, Tree, TreeError, TreeOp, Visit,
};
use posix_s3::{Entry, Key, KeyList, Status, Timestamp};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

pub(crate) struct StandIn {
    tree: LocalTree,
    root: PathBuf,
    identity: [u8; 16],
    stands: Arc<Map>,
    /// What it was told to change.
    pub(crate) said: Mutex<Vec<String>>,
}

struct Map {
    told: HashMap<u64, Stands>,
    real: HashMap<u64, u64>,
}

/// Beyond every number that a file system has told: what is made later is no inode of before.
const LATER: u64 = 1 << 48;

fn time((seconds, nanoseconds): (i64, i64)) -> Timestamp {
    Timestamp::from_unix(seconds, u32::try_from(nanoseconds).unwrap()).unwrap()
}

impl Map {
    fn told(&self, inode: u64, ctime: Timestamp) -> (u64, Timestamp) {
        match self.told.get(&inode) {
            Some(stands) if time(stands.real_ctime) == ctime => (stands.told, time(stands.ctime)),
            Some(stands) => (stands.told, ctime),
            None => (inode + LATER, ctime),
        }
    }

    fn real(&self, told: u64, ctime: Timestamp) -> (u64, Timestamp) {
        let Some(inode) = self.real.get(&told) else { return (told.saturating_sub(LATER), ctime) };
        let stands = &self.told[inode];
        if time(stands.ctime) == ctime { (*inode, time(stands.real_ctime)) } else { (*inode, ctime) }
    }

    fn tell(&self, status: &Status) -> Status {
        let (inode, ctime) = self.told(status.inode, status.ctime);
        Status { inode, ctime, ..*status }
    }

    fn untell(&self, status: &Status) -> Status {
        let (inode, ctime) = self.real(status.inode, status.ctime);
        Status { inode, ctime, ..*status }
    }

    fn tell_found(&self, mut found: Found) -> Found {
        let (inode, ctime) = self.told(found.fingerprint.inode, found.fingerprint.ctime);
        found.fingerprint = Fingerprint { inode, ctime, ..found.fingerprint };
        found
    }

    fn untell_fingerprint(&self, found: &Fingerprint) -> Fingerprint {
        let (inode, ctime) = self.real(found.inode, found.ctime);
        Fingerprint { inode, ctime, ..*found }
    }

    fn untell_standing(&self, standing: Standing) -> Standing {
        match standing {
            Standing::Version(status) => Standing::Version(self.untell(&status)),
            other => other,
        }
    }
}

impl StandIn {
    pub(crate) fn new(root: &Path, identity: [u8; 16], told: HashMap<u64, Stands>) -> Self {
        let real = told.iter().map(|(real, stands)| (stands.told, *real)).collect();
        let stands = Arc::new(Map { told, real });
        let (tree, root) = (LocalTree::open(root).unwrap(), root.to_owned());
        Self { tree, root, identity, stands, said: Mutex::default() }
    }

    fn changes(&self, what: &str, key: &Key) {
        self.said.lock().unwrap().push(format!("{what} {key}"));
    }

    fn tell_applied(&self, key: &Key, applied: Applied) -> Applied {
        let parent = key.path().rsplit_once('/').map_or("", |(parent, _)| parent);
        let around = applied.around.map(|Around { before, after }| {
            let inode = fs::metadata(self.root.join(parent)).unwrap().ino();
            Around { before: self.stands.told(inode, before).1, after: self.stands.told(inode, after).1 }
        });
        Applied { made: applied.made.map(|made| self.stands.tell(&made)), around, ..applied }
    }
}

struct StandInVisit<V> {
    visitor: V,
    stands: Arc<Map>,
}

impl<V: Visit> Visit for StandInVisit<V> {
    fn visit(&mut self, at: usize, look: Look) {
        let look = match look {
            Look::Found(status) => Look::Found(self.stands.tell(&status)),
            other => other,
        };
        self.visitor.visit(at, look);
    }
}

struct StandInFile {
    file: Arc<dyn OpenFile>,
    found: Found,
    stands: Arc<Map>,
}

impl OpenFile for StandInFile {
    fn found(&self) -> &Found {
        &self.found
    }

    fn residence(&self) -> &Residence {
        self.file.residence()
    }

    fn data(&self) -> BoxFuture<'_, Result<Data, TreeError>> {
        self.file.data()
    }

    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>> {
        Box::pin(async { Ok(self.stands.tell_found(self.file.again().await?)) })
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>> {
        self.file.read(offset, length)
    }
}

impl Tree for StandIn {
    async fn list(&self, directory: Option<&Key>) -> Result<NameList, TreeError> {
        let names = self.tree.list(directory).await?;
        let told = names.directory().map(|inode| self.stands.told(inode, Timestamp::EPOCH).0);
        Ok(told.map_or(names.clone(), |told| names.of_directory(told)))
    }

    async fn look<V: Visit>(&self, keys: Arc<KeyList>, place: Place, visitor: V) -> V {
        let visitor = StandInVisit { visitor, stands: Arc::clone(&self.stands) };
        self.tree.look(keys, place, visitor).await.visitor
    }

    fn now(&self) -> Timestamp {
        self.tree.now()
    }

    fn identity(&self) -> Result<[u8; 16], TreeError> {
        Ok(self.identity)
    }

    fn keeps_directory_times(&self) -> bool {
        self.tree.keeps_directory_times()
    }

    fn may_have_placeholders(&self) -> Result<bool, TreeError> {
        self.tree.may_have_placeholders()
    }

    async fn lookup(&self, key: &Key) -> Result<Present, TreeError> {
        Ok(match self.tree.lookup(key).await? {
            Present::Entry(found) => Present::Entry(self.stands.tell_found(found)),
            other => other,
        })
    }

    async fn open(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        let file = self.tree.open(key).await?;
        let found = self.stands.tell_found(file.found().clone());
        Ok(Arc::new(StandInFile { file, found, stands: Arc::clone(&self.stands) }))
    }

    async fn write_file(
        &self,
        entry: &Entry,
        body: BoxStream<'_, Result<Bytes, SourceError>>,
        standing: Standing,
    ) -> Result<Applied, TreeError> {
        self.changes("write", entry.key());
        let applied = self.tree.write_file(entry, body, self.stands.untell_standing(standing)).await?;
        Ok(self.tell_applied(entry.key(), applied))
    }

    async fn apply(&self, op: &TreeOp) -> Result<Applied, TreeError> {
        let mut op = op.clone();
        let key = match &mut op {
            TreeOp::CreateDirectory { key, .. } => key.clone(),
            TreeOp::CreateSymlink { entry, standing } | TreeOp::CreatePlaceholder { entry, standing, .. } => {
                *standing = self.stands.untell_standing(*standing);
                entry.key().clone()
            }
            TreeOp::Release { entry, found, .. } => {
                *found = self.stands.untell(found);
                entry.key().clone()
            }
            TreeOp::SetAttributes { entry, found } => {
                *found = self.stands.untell_fingerprint(found);
                entry.key().clone()
            }
            TreeOp::SetTimes { key, found, .. } => {
                *found = self.stands.untell_fingerprint(found);
                key.clone()
            }
            TreeOp::Remove { key, found } | TreeOp::Rename { key, found, .. } => {
                *found = self.stands.untell(found);
                key.clone()
            }
            other => panic!("there is no stand-in for {other:?}"),
        };
        let what = format!("{op:?}");
        self.changes(what.split(' ').next().unwrap_or_default(), &key);
        let applied = self.tree.apply(&op).await?;
        Ok(self.tell_applied(&key, applied))
    }

    async fn begin(&self) -> Result<(), TreeError> {
        self.tree.begin().await
    }

    async fn sync(&self) -> Result<(), TreeError> {
        self.tree.sync().await
    }

    async fn finish(&self) -> Result<(), TreeError> {
        self.tree.finish().await
    }
}
