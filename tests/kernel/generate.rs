//! Sequences of [`Call`]s from a tiny hostile alphabet, so that they meet.

use super::call::{Call, Stands, Version};
use crate::sim::crash::Random;
use crate::sim::edit::Edit;
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, SymlinkTarget, Timestamp, Uid};

/// What a sequence is drawn with.
pub(crate) struct Draw {
    random: Random,
    /// Placeholders too, for which every process is looked into.
    pub(crate) placeholders: bool,
    /// Paths at which something may be.
    used: Vec<Vec<u8>>,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let placeholders = random.below(100) == 0;
        Self { random, placeholders, used: Vec::new() }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end)
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    /// Some calls, of which the first are likely to make what the others meet.
    pub(crate) fn sequence(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        let edit = |edit| Call::Edit(edit);
        if !self.one_in(4) {
            calls.push(edit(Edit::Mkdir { path: b"d".into(), permissions: self.pick(&[0o755, 0o2775, 0o700]) }));
        }
        if self.one_in(6) {
            let path = self.pick(&[&b"."[..], b"d"]).to_vec();
            calls.push(edit(Edit::DefaultList { path, on: true }));
        }
        if self.one_in(12) {
            let path = self.pick(&[&b"."[..], b"d"]).to_vec();
            calls.push(edit(Edit::Chown { path, uid: None, gid: Some(7) }));
        }
        if self.one_in(2) {
            let path = self.pick(&[&b"a"[..], b"d/a", b"b"]).to_vec();
            calls.push(edit(Edit::Create { path: path.clone(), permissions: self.permissions() }));
            calls.push(edit(Edit::Write { path, at: 0, bytes: b"hello".into() }));
        }
        if self.one_in(3) {
            let path = self.pick(&[&b"a"[..], b"d/a", b"b"]).to_vec();
            calls.push(edit(Edit::Symlink { path, target: self.target() }));
        }
        for call in &calls {
            if let Call::Edit(Edit::Mkdir { path, .. } | Edit::Create { path, .. } | Edit::Symlink { path, .. }) = call
            {
                self.used.push(path.clone());
            }
        }
        let many = 4 + self.below(9);
        calls.extend((0..many).map(|_| if self.one_in(3) { Call::Edit(self.edit()) } else { self.call() }));
        calls
    }

    fn name(&mut self) -> Vec<u8> {
        let name = match self.below(40) {
            0..16 => "a",
            16..24 => "b",
            24..32 => "d",
            32..34 => "A",
            34 => "a-",
            35 => "\u{e9}",
            36 => return vec![b'n'; 255],
            37 => ".posix-s3-staging-x",
            38 => "...",
            _ => "c",
        };
        name.into()
    }

    /// A path that was drawn before, mostly; or anything below it.
    fn used(&mut self) -> Option<Vec<u8>> {
        if self.used.is_empty() || self.one_in(3) {
            return None;
        }
        let place = self.below(self.used.len());
        let mut path = self.used[place].clone();
        if self.one_in(6) {
            path.push(b'/');
            path.extend(self.name());
        }
        Some(path)
    }

    /// A path as a user may write it, or the root.
    fn path_or_root(&mut self) -> Vec<u8> {
        if self.one_in(12) { b".".into() } else { self.path() }
    }

    /// A path as a user may write it.
    fn path(&mut self) -> Vec<u8> {
        if let Some(path) = self.used() {
            return path;
        }
        let mut path = Vec::new();
        for _ in 0..=self.pick(&[0, 0, 0, 1, 1, 2]) {
            let name = match self.below(60) {
                0 => vec![b'n'; 256],
                1 => vec![0xff],
                _ => self.name(),
            };
            path.extend(name);
            path.push(b'/');
        }
        path.pop();
        self.used.push(path.clone());
        if self.one_in(20) {
            path.push(b'/');
        }
        path
    }

    /// A key without a slash at its end.
    fn key(&mut self) -> Key {
        if let Some(key) = self.used().and_then(|path| Key::from_bytes(&path).ok()) {
            return key;
        }
        let mut path = Vec::new();
        for _ in 0..=self.pick(&[0, 0, 0, 1, 1, 2]) {
            let name = if self.one_in(4) { b"d".to_vec() } else { self.name() };
            path.push(String::from_utf8(name).unwrap());
        }
        let path = path.join("/");
        self.used.push(path.clone().into_bytes());
        Key::parse(&path).unwrap()
    }

    fn slashed(key: &Key) -> Key {
        Key::parse(&format!("{}/", key.path())).unwrap()
    }

    fn any_key(&mut self) -> Key {
        let key = self.key();
        if self.one_in(4) { Self::slashed(&key) } else { key }
    }

    fn permissions(&mut self) -> u32 {
        let any = self.below(0o10000) as u32;
        self.pick(&[0o644, 0o755, 0, 0o4755, 0o2755, 0o2745, 0o6777, 0o1777, any])
    }

    fn id(&mut self) -> u32 {
        self.pick(&[0, 0, 7, 1000, 65534, u32::MAX - 1])
    }

    fn time(&mut self) -> Timestamp {
        if self.placeholders && !self.one_in(8) {
            // So that what is fetched is what was released.
            return Timestamp::from_unix(1_000_000_000, 123_456_789).unwrap();
        }
        let (seconds, nanos) = self.pick(&[
            (1_000_000_000, 123_456_789),
            (0, 0),
            (-1, 999_999_999),
            (-2_147_483_648, 5),
            (-2_147_483_649, 999_999_999),
            (15_032_385_535, 999_999_999),
            (15_032_385_536, 0),
            (i64::MIN, 1),
            (i64::MAX, 999_999_999),
        ]);
        Timestamp::from_unix(seconds, nanos).unwrap()
    }

    fn attributes(&mut self) -> Attributes {
        Attributes {
            permissions: Permissions::from_mode(self.permissions()),
            uid: Uid::new(self.id()).unwrap(),
            gid: Gid::new(self.id()).unwrap(),
            atime: self.time(),
            mtime: self.time(),
        }
    }

    fn target(&mut self) -> Vec<u8> {
        match self.below(12) {
            0..3 => b"a".into(),
            3..5 => b"d".into(),
            5 => b"../d/a".into(),
            6 => b"/d".into(),
            7 => b"..".into(),
            8 => b"b/".into(),
            9 => b"d/../d/./a".into(),
            10 => vec![b't'; 4095],
            _ => b"nowhere".into(),
        }
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.pick(&[0, 1, 5, 5, 4096, 5000]);
        let byte = self.pick(&[0, b'x', b'y']);
        vec![byte; length]
    }

    fn edit(&mut self) -> Edit {
        let path = self.path();
        match self.below(40) {
            0..3 => Edit::Create { path, permissions: self.permissions() },
            3..7 => Edit::Mkdir { path, permissions: self.permissions() },
            7 => Edit::Mkfifo { path, permissions: 0o600 },
            8..11 => {
                let target = match self.below(20) {
                    0 => Vec::new(),
                    1 => vec![b't'; 4096],
                    _ => self.target(),
                };
                Edit::Symlink { path, target }
            }
            11..14 => Edit::Write { path, at: self.pick(&[0, 1, 4095, 4096, 9000]), bytes: self.bytes() },
            14 => Edit::Append { path, bytes: self.bytes() },
            15..17 => Edit::Truncate { path, size: self.pick(&[0, 1, 5, 4096, 5000, 1 << 20]) },
            17..20 => Edit::Chmod { path: self.path_or_root(), permissions: self.permissions() },
            20..23 => {
                let (uid, gid) = (self.id(), self.id());
                let path = self.path_or_root();
                Edit::Chown { path, uid: (!self.one_in(3)).then_some(uid), gid: (!self.one_in(3)).then_some(gid) }
            }
            23..26 => Edit::Utimens { path: self.path_or_root(), atime: self.time(), mtime: self.time() },
            26..30 => Edit::Rename { path, to: self.path() },
            30 => Edit::Exchange { path, to: self.path() },
            31..34 => Edit::Link { path, to: self.path() },
            34..36 => Edit::Unlink { path },
            36..38 => Edit::Rmdir { path },
            38 => Edit::DefaultList { path: self.path_or_root(), on: !self.one_in(3) },
            _ => Edit::SetXattr { path, name: "user.mine".into(), value: b"x".into() },
        }
    }

    fn version(&mut self) -> Version {
        if self.placeholders && !self.one_in(6) {
            return Version::Now;
        }
        match self.below(8) {
            0 => Version::Wrong,
            1 | 2 => Version::Seen(self.below(16)),
            _ => Version::Now,
        }
    }

    fn standing(&mut self) -> Stands {
        match self.below(4) {
            0 => Stands::Nothing,
            1 | 2 => Stands::Replaceable,
            _ => Stands::Version(self.version()),
        }
    }

    fn file(&mut self, size: u64) -> Entry {
        let key = self.key();
        Entry::new(key, EntryKind::File { size }, self.attributes()).unwrap()
    }

    fn call(&mut self) -> Call {
        let from = if self.placeholders && self.one_in(2) { 40 } else { 0 };
        match from + self.below(if from > 0 { 8 } else { 40 }) {
            0..3 => Call::Lookup(self.any_key()),
            3..5 => Call::List((!self.one_in(3)).then(|| self.any_key())),
            5..8 => {
                let mut keys: Vec<Key> = (0..1 + self.below(4)).map(|_| self.any_key()).collect();
                keys.sort();
                keys.dedup();
                Call::Look(keys)
            }
            8..11 => Call::Open(self.any_key(), self.pick(&[0, 3, 5000]), self.pick(&[0, 5, 10_000])),
            11..18 => {
                let body: Vec<Vec<u8>> = (0..self.below(4)).map(|_| self.bytes()).collect();
                let length: u64 = body.iter().map(|piece| piece.len() as u64).sum();
                let size = if self.one_in(12) { length + 1 - self.below(2) as u64 * 2 % (length + 2) } else { length };
                Call::Write { entry: self.file(size), body, fails: self.one_in(16), standing: self.standing() }
            }
            18..22 => {
                let attributes = self.attributes();
                let key = self.any_key();
                Call::CreateDirectory { key, attributes: self.one_in(2).then_some(attributes) }
            }
            22..25 => {
                let target = SymlinkTarget::parse(&self.target()).unwrap();
                let (key, attributes) = (self.key(), self.attributes());
                let entry = Entry::new(key, EntryKind::Symlink { target }, attributes).unwrap();
                Call::CreateSymlink { entry, standing: self.standing() }
            }
            25..29 => {
                let (key, attributes) = (self.key(), self.attributes());
                let (key, kind) = match self.below(8) {
                    0..4 => (key, EntryKind::File { size: 5 }),
                    4 => (key, EntryKind::Symlink { target: SymlinkTarget::parse(b"x").unwrap() }),
                    _ => (Self::slashed(&key), EntryKind::Directory),
                };
                Call::SetAttributes { entry: Entry::new(key, kind, attributes).unwrap(), found: self.version() }
            }
            29..31 => {
                Call::SetTimes { key: self.any_key(), atime: self.time(), mtime: self.time(), found: self.version() }
            }
            31..34 => Call::Remove { key: self.any_key(), found: self.version() },
            34..37 => {
                let key = self.key();
                let around = key.parent().map_or(String::new(), |around| around.as_str().to_owned());
                let name = String::from_utf8(self.name()).unwrap();
                let to = if self.one_in(8) { self.key() } else { Key::parse(&(around + &name)).unwrap() };
                Call::Rename { key, to, found: self.version() }
            }
            37 => Call::Begin,
            38 => Call::Sync,
            39 => Call::Finish,
            40..44 => Call::Place { entry: self.file(5), standing: self.standing() },
            44 | 45 => Call::Release { key: self.key(), found: self.version() },
            46 => Call::Open(self.key(), 0, 10),
            _ => {
                let body = vec![b"hello".to_vec()];
                Call::Write { entry: self.file(5), body, fails: false, standing: Stands::Version(Version::Now) }
            }
        }
    }
}
