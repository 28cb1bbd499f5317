//! The slow and obvious reference: what an export and an import have to come to, said with maps.
//!
//! It follows section 4 of the design page line by line, shares no code with the crate, and does no I/O. A tree is a map
//! of paths, a bucket is a map of keys. Every choice among possible meanings is marked as a mapping decision.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of the model")]

pub mod bridge;
pub mod generate;
pub mod since;

use std::collections::BTreeMap;

/// A tree: paths without a trailing slash, the root left out.
pub type Tree = BTreeMap<String, Node>;

/// A bucket: whole keys.
pub type Bucket = BTreeMap<String, Object>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Nanoseconds since the epoch, as all times here.
    pub atime: i128,
    pub mtime: i128,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    File(Vec<u8>),
    Directory,
    Link(Vec<u8>),
}

#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub last_modified: i128,
}

/// The choices of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub trust: Trust,
    pub set_id: SetId,
    pub clash: Clash,
    pub default_mode: u32,
    pub default_uid: u32,
    pub default_gid: u32,
    pub user_agent: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Fsx,
    Untrusted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetId {
    BothDropped,
    SetUidDropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    DirectoryWins,
    FirstWins,
}

impl Rules {
    // Mapping decision: what has no metadata belongs to 0:0 and is 0755, file and directory alike.
    pub const FSX: Self = Self {
        trust: Trust::Fsx,
        set_id: SetId::BothDropped,
        clash: Clash::DirectoryWins,
        default_mode: 0o755,
        default_uid: 0,
        default_gid: 0,
        user_agent: "aws-fsx-lustre",
    };
    pub const UNTRUSTED: Self = Self { trust: Trust::Untrusted, ..Self::FSX };
    /// The edition of 2022.
    pub const FSX_2022: Self = Self { set_id: SetId::SetUidDropped, ..Self::FSX };
    /// FSx parity in a clash.
    pub const FIRST_WINS: Self = Self { clash: Clash::FirstWins, ..Self::FSX };
}

/// How a key of a listing ends, with the reason where it is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Unchanged,
    Written,
    MetadataOnly,
    Skipped(&'static str),
    Failed(&'static str),
    Conflict(&'static str),
}

// ---------------------------------------------------------------------------------------------------- export

/// The bucket that an export of a tree makes.
pub fn export(tree: &Tree, prefix: &str, rules: &Rules) -> Bucket {
    let mut bucket = Bucket::new();
    for (path, node) in tree {
        // Mapping decision: a directory is a key that ends in `/`, without a body; the body of a link is its target, verbatim.
        let (key, type_digits, body) = match &node.kind {
            Kind::File(content) => (format!("{prefix}{path}"), 0o100_000, content.clone()),
            Kind::Directory => (format!("{prefix}{path}/"), 0o040_000, Vec::new()),
            Kind::Link(target) => (format!("{prefix}{path}"), 0o120_000, target.clone()),
        };
        // Mapping decision: keys over 1,024 bytes are not exported.
        if key.len() > 1024 {
            continue;
        }
        let st_mode = type_digits | kept_bits(&node.kind, node.mode, rules);
        let headers = [
            // Mapping decision: seven octal digits, decimal ids, nanoseconds with `ns`, all five always.
            ("x-amz-meta-file-permissions", format!("{st_mode:07o}")),
            ("x-amz-meta-file-owner", node.uid.to_string()),
            ("x-amz-meta-file-group", node.gid.to_string()),
            ("x-amz-meta-file-atime", format!("{}ns", node.atime)),
            ("x-amz-meta-file-mtime", format!("{}ns", node.mtime)),
            ("x-amz-meta-user-agent", rules.user_agent.to_owned()),
        ];
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        bucket.insert(key, Object { headers, body, last_modified: 0 });
    }
    bucket
}

/// What is left of a tree after an export and an import into nothing.
pub fn normalise(tree: &Tree, prefix: &str, rules: &Rules) -> Tree {
    let mut left = Tree::new();
    for (path, node) in tree {
        let slash = usize::from(node.kind == Kind::Directory);
        if prefix.len() + path.len() + slash <= 1024 {
            left.insert(path.clone(), Node { mode: kept_bits(&node.kind, node.mode, rules), ..node.clone() });
        }
    }
    left
}

/// The permission bits that are written and applied.
fn kept_bits(kind: &Kind, mode: u32, rules: &Rules) -> u32 {
    // Mapping decision: set-id bits are neither written nor applied; the 2022 edition drops setuid only.
    let without_set_id = match rules.set_id {
        SetId::BothDropped => mode & 0o1777,
        SetId::SetUidDropped => mode & 0o3777,
    };
    // Mapping decision: the sticky bit is kept on directories and dropped elsewhere.
    match kind {
        Kind::Directory => without_set_id,
        Kind::File(_) | Kind::Link(_) => without_set_id & !0o1000,
    }
}

// ---------------------------------------------------------------------------------------------------- import

/// The tree that an import of what is below a prefix leaves behind, and how each key ended.
pub fn import(bucket: &Bucket, prefix: &str, rules: &Rules, existing: &Tree) -> (Tree, Vec<(String, Verdict)>) {
    let listed: BTreeMap<&str, &Object> =
        bucket.iter().filter_map(|(key, object)| Some((key.strip_prefix(prefix)?, object))).collect();
    let valid: Vec<&str> = listed.keys().copied().filter(|key| is_path(key)).collect();
    let mut tree = existing.clone();
    let mut verdicts = Vec::new();
    for (&key, &object) in &listed {
        let verdict = if key.is_empty() {
            // Mapping decision: the object of the prefix is the root, which is not an entry.
            Verdict::Skipped("root")
        } else if !is_path(key) {
            Verdict::Skipped("no path")
        } else if is_shadowed(key, &valid, rules) {
            Verdict::Skipped("shadowed")
        } else {
            import_one(key, object, rules, existing, &mut tree)
        };
        verdicts.push((key.to_owned(), verdict));
    }
    // Mapping decision: a directory without an object of its own that could be imported is there exactly when something
    // is in it. It gets the defaults and the Last-Modified of the first object, by key, at or below it.
    for path in tree.clone().keys() {
        for directory in ancestors(path) {
            let first = valid.iter().find(|key| key.starts_with(&format!("{directory}/")));
            if let (false, Some(first)) = (tree.contains_key(directory), first) {
                let modified = listed[first].last_modified;
                let mode = kept_bits(&Kind::Directory, rules.default_mode, rules);
                let (uid, gid) = (rules.default_uid, rules.default_gid);
                let made = Node { kind: Kind::Directory, mode, uid, gid, atime: modified, mtime: modified };
                tree.insert(directory.to_owned(), made);
            }
        }
    }
    (tree, verdicts)
}

/// Makes one object in the tree. Its key is a path, and no other key has that path.
fn import_one(key: &str, object: &Object, rules: &Rules, existing: &Tree, tree: &mut Tree) -> Verdict {
    let path = key.strip_suffix('/').unwrap_or(key);
    // Mapping decision: nothing is made below what is no directory, and a directory is never replaced by anything else.
    if ancestors(path).any(|above| existing.get(above).is_some_and(|node| node.kind != Kind::Directory)) {
        return Verdict::Conflict("not a directory above");
    }
    let now = existing.get(path);
    if now.is_some_and(|now| (now.kind == Kind::Directory) != key.ends_with('/')) {
        return Verdict::Conflict("something else stands there");
    }
    let read = match read_object(key, object, rules, now) {
        Ok(read) => read,
        Err(reason) => return Verdict::Failed(reason),
    };
    if let Some(now) = now.filter(|now| is_same_type(&now.kind, &read.kind)) {
        let same_owner = (now.uid, now.gid) == (read.uid, read.gid);
        // Mapping decision: the size and mtime of a file or link say whether its bytes are the same; the access time alone
        // is no difference, and neither are the permissions of a link.
        match (&now.kind, &read.kind) {
            (Kind::File(has), Kind::File(body)) if (has.len(), now.mtime) == (body.len(), read.mtime) => {
                if same_owner && now.mode == read.mode {
                    return Verdict::Unchanged;
                }
                tree.insert(path.to_owned(), Node { kind: now.kind.clone(), ..read });
                return Verdict::MetadataOnly;
            }
            (Kind::Link(has), Kind::Link(body)) if (has.len(), now.mtime) == (body.len(), read.mtime) && same_owner => {
                return Verdict::Unchanged;
            }
            (Kind::Directory, Kind::Directory) => {
                if same_owner && now.mode == read.mode && now.mtime == read.mtime {
                    return Verdict::Unchanged;
                }
                tree.insert(path.to_owned(), read);
                return Verdict::MetadataOnly;
            }
            _ => {}
        }
    }
    if let Kind::Link(target) = &read.kind {
        // Mapping decision: 1 to 4,095 bytes, no NUL, not trimmed.
        if target.is_empty() || target.len() > 4095 || target.contains(&0) {
            return Verdict::Failed("no link target");
        }
        // Mapping decision: a target that leaves the root is refused where the bucket is not trusted.
        if rules.trust == Trust::Untrusted && leaves_root(path, target) {
            return Verdict::Failed("the target leaves the root");
        }
    }
    tree.insert(path.to_owned(), read);
    Verdict::Written
}

/// What an object says: its kind with the body, and its attributes.
fn read_object(key: &str, object: &Object, rules: &Rules, now: Option<&Node>) -> Result<Node, &'static str> {
    let mut damaged = Vec::new();
    let mode = read_field(object, "file-permissions", read_mode, &mut damaged);
    let uid = read_field(object, "file-owner", read_id, &mut damaged);
    let gid = read_field(object, "file-group", read_id, &mut damaged);
    let atime = read_field(object, "file-atime", read_time, &mut damaged);
    let mtime = read_field(object, "file-mtime", read_time, &mut damaged);
    let kind = match (key.ends_with('/'), mode.map(|mode| mode & 0o170_000)) {
        // Mapping decision: a trailing slash is a directory whatever the type digits say, and its body is not read.
        (true, _) => Kind::Directory,
        // Mapping decision: without a slash, link digits make a link, file digits or none a file, all others are refused.
        (false, None | Some(0 | 0o100_000)) => Kind::File(object.body.clone()),
        (false, Some(0o120_000)) => Kind::Link(object.body.clone()),
        (false, Some(_)) => return Err("type digits"),
    };
    // Mapping decision: a damaged field falls back as if absent; where the bucket is not trusted, the object is refused. A
    // value that S3 kept back is damage to the object as a whole.
    let kept_back = object.headers.get("x-amz-missing-meta").is_some_and(|count| count != "0");
    if rules.trust == Trust::Untrusted && (!damaged.is_empty() || kept_back) {
        return Err("damaged");
    }
    // Mapping decision: a changed object that lost its metadata keeps the current values of the file, directory or link
    // that it replaces, if that is of its type; everything else gets the defaults.
    let now = now.filter(|now| is_same_type(&now.kind, &kind));
    let mode = mode.unwrap_or(now.map_or(rules.default_mode, |now| now.mode));
    // Mapping decision: mtime from Last-Modified, atime from mtime.
    let mtime = mtime.unwrap_or(object.last_modified);
    Ok(Node {
        mode: kept_bits(&kind, mode & 0o7777, rules),
        uid: uid.unwrap_or(now.map_or(rules.default_uid, |now| now.uid)),
        gid: gid.unwrap_or(now.map_or(rules.default_gid, |now| now.gid)),
        atime: atime.unwrap_or(mtime),
        mtime,
        kind,
    })
}

fn is_same_type(one: &Kind, other: &Kind) -> bool {
    matches!(
        (one, other),
        (Kind::File(_), Kind::File(_)) | (Kind::Directory, Kind::Directory) | (Kind::Link(_), Kind::Link(_))
    )
}

/// The directories around a path, outermost first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(slash, _)| &path[..slash])
}

// ------------------------------------------------------------------------------------------------------ keys

/// Whether a key may become a path.
pub fn is_path(key: &str) -> bool {
    let segments = key.strip_suffix('/').unwrap_or(key).split('/');
    // Mapping decision: empty segments, `.`, `..`, NUL and names over 255 bytes are refused; everything else is a name.
    key.len() <= 1024
        && segments.into_iter().all(|segment| !["", ".", ".."].contains(&segment) && segment.len() <= 255)
        && !key.contains('\0')
}

/// Whether another key has the path of this one.
fn is_shadowed(key: &str, valid: &[&str], rules: &Rules) -> bool {
    match rules.clash {
        // Mapping decision: of `a` and `a/…` the directory wins, also where everything in it is refused by its head.
        Clash::DirectoryWins => !key.ends_with('/') && valid.iter().any(|other| is_below(other, key)),
        // Mapping decision: with FSx parity the first wins, which in key order is always the file.
        Clash::FirstWins => valid.iter().any(|other| !other.ends_with('/') && is_below(key, other)),
    }
}

/// Whether `key` is `file` as a directory, or below it.
fn is_below(key: &str, file: &str) -> bool {
    key.strip_prefix(file).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether a link's target names anything outside the root, read from where the link stands.
fn leaves_root(path: &str, target: &[u8]) -> bool {
    let mut depth = path.matches('/').count();
    for segment in target.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    target.starts_with(b"/")
}

// ---------------------------------------------------------------------------------------------------- fields

/// Reads one field; a damaged one is noted and reads as absent.
fn read_field<T>(
    object: &Object,
    name: &'static str,
    read: fn(&str) -> Option<T>,
    damaged: &mut Vec<&'static str>,
) -> Option<T> {
    let value = read(object.headers.get(&format!("x-amz-meta-{name}"))?);
    if value.is_none() {
        damaged.push(name);
    }
    value
}

/// The number that digits say, or nothing when there are none, others, or too many to matter.
fn read_digits(text: &str, base: u32) -> Option<i128> {
    let mut value = 0;
    for character in text.chars() {
        value = value * i128::from(base) + i128::from(character.to_digit(base)?);
        if value > 1_000_000_000_000_000_000_000_000_000_000 {
            return None;
        }
    }
    (!text.is_empty()).then_some(value)
}

// Mapping decision: octal digits up to 0177777, leading zeros allowed; the type digits, if any, must be a real type.
fn read_mode(text: &str) -> Option<u32> {
    let st_mode = u32::try_from(read_digits(text, 8)?).ok()?;
    let types = [0, 0o010_000, 0o020_000, 0o040_000, 0o060_000, 0o100_000, 0o120_000, 0o140_000];
    (st_mode <= 0o177_777 && types.contains(&(st_mode & 0o170_000))).then_some(st_mode)
}

// Mapping decision: up to ten decimal digits, at most 4294967294, since 4294967295 tells chown to change nothing.
fn read_id(text: &str) -> Option<u32> {
    let id = u32::try_from(read_digits(text, 10)?).ok()?;
    (text.len() <= 10 && id != u32::MAX).then_some(id)
}

// Mapping decision: an optional `-`, digits, an optional `ns`; without it milliseconds. Seconds that do not fit 64 bits are
// refused, not clamped.
fn read_time(text: &str) -> Option<i128> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (digits, unit) = rest.strip_suffix("ns").map_or((rest, 1_000_000), |digits| (digits, 1));
    let time = sign * unit * read_digits(digits, 10)?;
    i64::try_from(time.div_euclid(1_000_000_000)).is_ok().then_some(time)
}

// -------------------------------------------------------------------------------------------------- printing

/// A long body is printed as its length, so that a minimal case can be read.
fn print_bytes(bytes: &[u8]) -> String {
    if bytes.len() <= 64 { format!("{:?}", bytes.escape_ascii().to_string()) } else { format!("{} bytes", bytes.len()) }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(content) => write!(f, "File({})", print_bytes(content)),
            Self::Directory => f.write_str("Directory"),
            Self::Link(target) => write!(f, "Link({})", print_bytes(target)),
        }
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Object({}, {:?}, modified {})", print_bytes(&self.body), self.headers, self.last_modified)
    }
}
