//! Who else is there: somebody who edits the tree, and somebody who writes to the bucket.

use super::chance::Chance;
use super::ground::{Ground, attributes_of};
use super::store::Bucket;
use crate::model::bridge::header_map;
use crate::model::{self, Kind, Node, Rules};
use posix_s3::store::Operation;
use std::time::Duration;

/// What neighbours make of chance: names, and content that was never there before.
pub(crate) struct Maker {
    pub(crate) chance: Chance,
    made: u64,
}

const NAMES: [&str; 7] = ["a", "b", "c", "a-", "d.txt", "e f", "z\u{e9}"];

impl Maker {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { chance, made: 0 }
    }

    /// What it makes is not what the others make.
    pub(crate) fn another(chance: Chance) -> Self {
        Self { chance, made: 500_000 }
    }

    pub(crate) fn path(&mut self) -> String {
        let depth = *self.chance.pick(&[1, 1, 2, 2, 3]);
        let names: Vec<&str> = (0..depth).map(|_| *self.chance.pick(&NAMES)).collect();
        names.join("/")
    }

    /// Most of one size, so that the size does not tell.
    fn content(&mut self) -> Vec<u8> {
        self.made += 1;
        let size = *self.chance.pick(&[0, 12, 12, 12, 12, 13, 300]);
        let mut content = format!("{:09}", self.made).into_bytes();
        content.resize(size, b'.');
        content
    }

    fn time(&mut self) -> i128 {
        self.made += 1;
        let fraction = *self.chance.pick(&[0, 0, 1, 999_999_999]);
        (1_600_000_000 + i128::from(self.made)) * 1_000_000_000 + fraction
    }

    fn mode(&mut self) -> u32 {
        *self.chance.pick(&[0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1777, 0])
    }

    pub(crate) fn node(&mut self, kind: Kind) -> Node {
        let (uid, gid) = (*self.chance.pick(&[0, 500, 501]), *self.chance.pick(&[0, 500]));
        let (atime, mtime) = (self.time(), self.time());
        Node { kind, mode: self.mode(), uid, gid, atime, mtime }
    }

    fn any_node(&mut self) -> Node {
        let kind = match self.chance.below(6) {
            0 => Kind::Directory,
            1 => Kind::Link(format!("../target-{}", self.chance.below(9)).into_bytes()),
            _ => Kind::File(self.content()),
        };
        self.node(kind)
    }

    /// A path that is there, or one that chance makes.
    fn some_path(&mut self, tree: &model::Tree, there: usize) -> String {
        if tree.is_empty() || !self.chance.percent(there) {
            return self.path();
        }
        let at = self.chance.below(tree.len());
        tree.keys().nth(at).unwrap().clone()
    }

    /// Makes the directories around a path, as far as nothing is in the way.
    fn make_around(&mut self, ground: &impl Ground, path: &str) {
        for (slash, _) in path.match_indices('/') {
            if !ground.see().contains_key(&path[..slash]) {
                let node = self.node(Kind::Directory);
                ground.put(&path[..slash], &node);
            }
        }
    }

    /// One edit. Answers the paths that it is about.
    pub(crate) fn edit(&mut self, ground: &impl Ground, busy: Option<String>) -> Vec<String> {
        let tree = ground.see();
        // Often where somebody is at work.
        let path = match busy.filter(|_| self.chance.percent(40)) {
            Some(path) => path,
            None => self.some_path(&tree, 75),
        };
        let mut touched = vec![path.clone()];
        let now = tree.get(&path).cloned();
        match self.chance.below(14) {
            0..=2 => {
                self.make_around(ground, &path);
                let kind = Kind::File(self.content());
                let node = self.node(kind);
                ground.put(&path, &node);
            }
            3 | 4 => _ = ground.write(&path, self.content()),
            5 => {
                // With the mtime put back.
                if let Some(node) = now
                    && ground.write(&path, self.content())
                {
                    ground.set(&path, attributes_of(&node));
                }
            }
            6 => {
                if let Some(node) = now {
                    let other = self.node(node.kind.clone());
                    ground.set(&path, attributes_of(&Node { mtime: node.mtime, ..other }));
                }
            }
            7 => {
                if let Some(node) = now {
                    let mtime = self.time();
                    ground.set(&path, attributes_of(&Node { mtime, ..node }));
                }
            }
            8 | 9 => _ = ground.remove(&path),
            10 => {
                let to = self.path();
                self.make_around(ground, &to);
                ground.rename(&path, &to);
                touched.push(to);
            }
            11 => {
                let to = self.path();
                ground.link(&path, &to);
                touched.push(to);
            }
            12 => {
                // Makes way for something else.
                ground.remove(&path);
                let node = self.any_node();
                self.make_around(ground, &path);
                ground.put(&path, &node);
            }
            _ => {
                self.make_around(ground, &path);
                let node = self.any_node();
                ground.put(&path, &node);
            }
        }
        touched
    }

    /// One change of the bucket below a prefix, or beside it.
    pub(crate) fn interfere(&mut self, bucket: &Bucket, prefix: &str) {
        let objects = bucket.objects();
        let is_there = !objects.is_empty() && self.chance.percent(75);
        // Often where somebody is at work.
        let busy = bucket.last_asked().filter(|_| self.chance.percent(40));
        let is_there = is_there || busy.is_some();
        let mut key = if let Some(key) = busy {
            key
        } else if is_there {
            let at = self.chance.below(objects.len());
            objects.keys().nth(at).unwrap().clone()
        } else {
            format!("{prefix}{}", self.path())
        };
        if self.chance.percent(4) {
            key = format!("{prefix}{}", self.chance.pick(&["a//b", "../a", "a/.", "/a", "b/../c"]));
        }
        if self.chance.percent(4) && !prefix.is_empty() {
            key = format!("beside/{}", self.path());
        }
        match self.chance.below(8) {
            0 | 1 => bucket.change(Operation::Delete, &key, Default::default(), Default::default()),
            2 | 3 if is_there => {
                let mut node = self.any_node();
                if key.ends_with('/') {
                    node.kind = Kind::Directory;
                } else if node.kind == Kind::Directory {
                    node.kind = Kind::File(Vec::new());
                }
                let (_, object) = object_of(&node);
                bucket.change(Operation::ReplaceMetadata, &key, Default::default(), header_map(&object));
            }
            choice => {
                let mut node = self.any_node();
                if key.ends_with('/') && self.chance.percent(80) {
                    node.kind = Kind::Directory;
                }
                let (is_directory, mut object) = object_of(&node);
                if choice == 4 {
                    // Without some of its metadata, or with damage.
                    let names: Vec<String> = object.headers.keys().cloned().collect();
                    for name in names {
                        if self.chance.percent(30) {
                            object.headers.remove(&name);
                        } else if self.chance.percent(10) {
                            object.headers.insert(name, "-1x".to_owned());
                        }
                    }
                }
                let key = match (is_directory, key.ends_with('/')) {
                    (true, false) => format!("{key}/"),
                    (false, true) => key.trim_end_matches('/').to_owned(),
                    _ => key,
                };
                bucket.change(Operation::Put, &key, object.body.clone().into(), header_map(&object));
            }
        }
        if self.chance.percent(30) {
            bucket.wait(2500);
        }
    }

    /// Another object under the key of a file or link, which a request is on its way to change.
    pub(crate) fn pounce(&mut self, bucket: &Bucket, key: &str) {
        let kind = Kind::File(self.content());
        let (_, object) = object_of(&self.node(kind));
        bucket.change(Operation::Put, key, object.body.clone().into(), header_map(&object));
    }

    /// How long it takes until the next change of a tree is seen as one.
    pub(crate) fn tick(&mut self, is_coarse: bool) -> Duration {
        if is_coarse {
            *self.chance.pick(&[Duration::ZERO, Duration::ZERO, Duration::from_millis(1)])
        } else {
            *self.chance.pick(&[Duration::from_nanos(1), Duration::from_millis(1), Duration::from_secs(10)])
        }
    }
}

/// The object of a node, and whether that is a directory's.
fn object_of(node: &Node) -> (bool, model::Object) {
    let tree = model::Tree::from([("x".to_owned(), node.clone())]);
    let (key, object) = model::export(&tree, "", &Rules::FSX).into_iter().next().unwrap();
    (key.ends_with('/'), object)
}
