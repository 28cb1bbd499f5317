//! Random trees and buckets: names, values and bodies from small alphabets, in which each is a trap.

use super::{Bucket, Kind, Node, Object, Tree};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::BTreeMap;

/// What the tree is going to stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Memory: everything that the types can hold.
    Memory,
    /// A Linux file system, used by the superuser: times from 1901 to 2446, link targets that any file system takes.
    Disk,
    /// The same, used by somebody who must still be able to read what was made.
    OwnDisk,
}

/// How many cases a property is tried on; `PROPTEST_CASES` overrides it.
pub fn cases(cases: u32) -> ProptestConfig {
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { ProptestConfig::default().cases } else { cases };
    // A case that failed once becomes a short named test, not a file of seeds.
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::default() }
}

/// Names that a tree can have.
pub fn names() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => select(vec!["a", "a-", "a.", "a0", "b"]).prop_map(str::to_owned),
        4 => select(vec![
            ".a", "..a", "...", "a b", " ", "a\u{1}", "\n", "a\r", "\t", "%2e", "%2e%2e", "\u{e9}", "e\u{301}", "\u{1f600}",
            "-rf", "a\\", "a@", "a+", "a~", "*", "\u{7f}", "\u{ff0e}\u{ff0e}", "\u{202e}", "\u{10ffff}", "\"",
        ])
        .prop_map(str::to_owned),
        1 => select(vec!["n".repeat(255), "\u{e9}".repeat(127), "a".repeat(81)]),
    ]
}

/// What keys are made of besides names: nothing that can be one.
fn non_names() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["", ".", "..", "a\0", "\0"]).prop_map(str::to_owned),
        Just("n".repeat(256)),
        Just("\u{e9}".repeat(128)),
    ]
}

pub fn prefixes() -> impl Strategy<Value = String> {
    select(vec!["", "p/", "p/a-/"]).prop_map(str::to_owned)
}

/// 1901-12-13 and 2446-05-10: what ext4 can hold.
const DISK_TIMES: std::ops::RangeInclusive<i128> = -2_147_483_648_000_000_000..=15_032_385_535_000_000_000;

fn times(place: Place) -> BoxedStrategy<i128> {
    let near = prop_oneof![
        3 => select(vec![
            0, 1, -1, 999_999_999, 1_000_000_000, -1_000_000_000, -1_000_000_001, 1_595_002_920_123_456_789,
            4_294_967_296_000_000_000, *DISK_TIMES.start(), *DISK_TIMES.end(),
        ]),
        1 => DISK_TIMES,
    ];
    if place != Place::Memory {
        return near.boxed();
    }
    let far = select(vec![
        i128::from(i64::MAX) * 1_000_000_000 + 999_999_999,
        i128::from(i64::MIN) * 1_000_000_000,
        i128::from(i64::MAX) + 1,
        i128::from(i64::MIN) - 1,
    ]);
    prop_oneof![6 => near, 1 => far].boxed()
}

fn modes(place: Place) -> impl Strategy<Value = u32> {
    let modes = prop_oneof![
        select(vec![0, 0o644, 0o755, 0o700, 0o600, 0o1777, 0o2755, 0o4755, 0o6755, 0o7777, 0o1644]),
        0..=0o7777_u32,
    ];
    modes.prop_map(move |mode| if place == Place::OwnDisk { mode | 0o700 } else { mode })
}

fn ids() -> impl Strategy<Value = u32> {
    prop_oneof![4 => select(vec![0, 1, 500, 65_534, 4_294_967_294]), 1 => 0..u32::MAX]
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        vec(any::<u8>(), 0..20),
        select(vec![b"hello".to_vec(), b"world".to_vec(), vec![0; 5], vec![0; 4096], b"a\n".to_vec()]),
    ]
}

fn targets(place: Place) -> impl Strategy<Value = Vec<u8>> {
    let longest = if place == Place::Memory { 4095 } else { 1000 };
    let odd: Vec<Vec<u8>> = vec![b"\xff\xfe".to_vec(), vec![b'x'; longest], b" a ".to_vec(), b"a\n".to_vec()];
    prop_oneof![
        select(vec!["a", "../a", "..", "/", "/etc/passwd", "../../../x", "b/../../x", "a//b/", ".", "%2e%2e"])
            .prop_map(|target| target.as_bytes().to_vec()),
        select(odd),
        vec(1..=255_u8, 1..20),
    ]
}

fn nodes(place: Place) -> impl Strategy<Value = Node> {
    let kinds = prop_oneof![
        3 => contents().prop_map(Kind::File),
        2 => Just(Kind::Directory),
        2 => targets(place).prop_map(Kind::Link),
    ];
    (kinds, modes(place), ids(), ids(), times(place), times(place))
        .prop_map(|(kind, mode, uid, gid, atime, mtime)| Node { kind, mode, uid, gid, atime, mtime })
}

/// Trees to depth 4.
pub fn trees(place: Place) -> impl Strategy<Value = Tree> {
    vec((vec(names(), 1..=4), nodes(place)), 0..12).prop_map(|nodes| {
        let mut tree = Tree::new();
        for (names, node) in nodes {
            grow(&mut tree, &names, node);
        }
        tree
    })
}

/// Adds a node and the directories around it, unless something is in the way.
fn grow(tree: &mut Tree, names: &[String], node: Node) {
    let path = names.join("/");
    let above = (1..names.len()).map(|depth| names[..depth].join("/"));
    let above: Vec<String> = above.collect();
    let blocked = above.iter().any(|path| tree.get(path).is_some_and(|node| node.kind != Kind::Directory));
    if blocked || tree.contains_key(&path) {
        return;
    }
    for directory in above {
        tree.entry(directory).or_insert_with(|| Node { kind: Kind::Directory, ..node.clone() });
    }
    tree.insert(path, node);
}

/// Keys below a prefix, most of them fit to be paths, many of them in each other's way.
fn keys() -> impl Strategy<Value = String> {
    let segments = prop_oneof![9 => names(), 1 => non_names()];
    (vec(segments, 1..=4), any::<bool>())
        .prop_map(|(segments, directory)| segments.join("/") + if directory { "/" } else { "" })
}

fn permissions() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(vec!["0100644", "0100755", "100600", "644", "0", "0000000", "00000000000100640", "0040755", "0041777"]),
        4 => select(vec!["0120777", "120777", "0120000"]),
        2 => select(vec!["0104755", "0102755", "0101644", "0107777", "0046755", "0047777", "7777", "0040700", "700"]),
        2 => select(vec!["0010644", "0020644", "0060644", "0140644"]),
        2 => select(vec![
            "", "rw-r--r--", "+644", "-644", "0x1ff", "0o644", " 644", "644 ", "0100888", "200000", "0170000", "0030644",
            "100000644", "33188", "0100644ns", "\u{ff16}\u{ff14}\u{ff14}", "0100644, 0100644", "0100644,0100600",
            "=?UTF-8?B?MDY0NA==?=", "777777777777777777777777777777777777777777777777",
        ]),
    ]
    .prop_map(str::to_owned)
}

fn owners() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec!["0", "1", "500", "65534", "4294967294", "00500", "0000000007"]),
        1 => select(vec![
            "", "-1", "+5", "4294967295", "4294967296", "18446744073709551616", "00000000007", "root", "0x10", "5 ", " 5",
            "5.0", "\u{665}", "500, 500", "500,0", "=?UTF-8?Q?500?=", "5ns",
        ]),
    ]
    .prop_map(str::to_owned)
}

fn moments(place: Place) -> impl Strategy<Value = String> {
    let near = select(vec![
        "0ns",
        "1ns",
        "-1ns",
        "-0",
        "0",
        "5",
        "-1",
        "00000000000000000000000000000000000000000000000007ns",
        "1595002920000000000ns",
        "1595002920123456789ns",
        "1595002920000",
        "-1000000001ns",
        "15032385535000000000ns",
        "-2147483648000000000ns",
    ]);
    let far = select(vec![
        "1595002920000000000",
        "9223372036854775807999999999ns",
        "-9223372036854775808000000000ns",
        "9223372036854775807999",
    ]);
    let damaged = select(vec![
        "",
        "-",
        "ns",
        "-ns",
        "--1",
        "+1",
        "1.5",
        "1e9",
        "15NS",
        "15n",
        "15s",
        "1 ns",
        " 1ns",
        "1ns ",
        "1,2ns",
        "0x5",
        "9223372036854775808000000000ns",
        "-9223372036854775808000000001ns",
        "9223372036854775808000",
        "1234567890123456789012345678901234567890",
        "1ns, 1ns",
        "2020-07-17T16:22:00Z",
        "=?UTF-8?B?NW5z?=",
    ]);
    let sound = if place == Place::Memory { prop_oneof![4 => near, 1 => far].boxed() } else { near.boxed() };
    prop_oneof![4 => sound, 1 => damaged].prop_map(str::to_owned)
}

pub fn headers(place: Place) -> impl Strategy<Value = BTreeMap<String, String>> {
    use proptest::option::weighted;
    let five = (
        weighted(0.9, permissions()),
        weighted(0.8, owners()),
        weighted(0.8, owners()),
        weighted(0.7, moments(place)),
        weighted(0.8, moments(place)),
    );
    let others = (
        weighted(0.3, select(vec!["aws-fsx-lustre", "mallory\ttab"])),
        weighted(0.05, select(vec!["1", "0", "x"])),
        weighted(0.1, Just("0100644")),
    );
    (five, others).prop_map(|((permissions, owner, group, atime, mtime), (agent, missing, other))| {
        let named = [
            ("x-amz-meta-file-permissions", permissions),
            ("x-amz-meta-file-owner", owner),
            ("x-amz-meta-file-group", group),
            ("x-amz-meta-file-atime", atime),
            ("x-amz-meta-file-mtime", mtime),
            ("x-amz-meta-user-agent", agent.map(str::to_owned)),
            ("x-amz-missing-meta", missing.map(str::to_owned)),
            ("x-amz-meta-mode", other.map(str::to_owned)),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    })
}

pub fn bodies(place: Place) -> impl Strategy<Value = Vec<u8>> {
    let longest = if place == Place::Memory { 4095 } else { 1000 };
    prop_oneof![
        3 => targets(place),
        1 => contents(),
        1 => select(vec![b"a\0b".to_vec(), vec![b'x'; longest], vec![b'x'; 4096], b"/".repeat(999), b"../".repeat(300)]),
    ]
}

pub fn objects(place: Place) -> impl Strategy<Value = Object> {
    let modified = select(vec![0, 1, -1, 1_700_000_000_000_000_000, 1_700_000_000_500_000_000, 1_000_000_000]);
    (headers(place), bodies(place), modified).prop_map(|(headers, body, last_modified)| Object {
        headers,
        body,
        last_modified,
    })
}

/// Buckets that anyone may have written to, also beside the prefix.
pub fn buckets(place: Place, prefix: &str) -> impl Strategy<Value = Bucket> + use<> {
    let prefix = prefix.to_owned();
    let beside = select(vec!["", "other", "p", "p0", "p/", "p/a"]);
    let inside = (keys(), objects(place)).prop_map(move |(key, object)| (format!("{prefix}{key}"), object));
    let beside = (beside, objects(place)).prop_map(|(key, object)| (key.to_owned(), object));
    vec(prop_oneof![12 => inside, 1 => beside], 0..14)
        .prop_map(|objects| objects.into_iter().filter(|(key, _)| (1..=1024).contains(&key.len())).collect())
}

/// What somebody else does to a bucket.
#[derive(Clone, Debug)]
pub enum Change {
    Put(String, Object),
    ReplaceMetadata(Index, BTreeMap<String, String>),
    RemoveHeader(Index, Index),
    ReplaceBody(Index, Vec<u8>),
    Delete(Index),
}

pub fn changes(place: Place) -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (keys(), objects(place)).prop_map(|(key, object)| Change::Put(key, object)),
        (any::<Index>(), headers(place)).prop_map(|(at, headers)| Change::ReplaceMetadata(at, headers)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, header)| Change::RemoveHeader(at, header)),
        (any::<Index>(), bodies(place)).prop_map(|(at, body)| Change::ReplaceBody(at, body)),
        any::<Index>().prop_map(Change::Delete),
    ];
    vec(change, 0..8)
}

/// Carries out a change; each moves Last-Modified of what it touches.
pub fn change(bucket: &mut Bucket, prefix: &str, change: Change, now: i128) {
    let at = |index: Index, bucket: &Bucket| -> Option<String> {
        (!bucket.is_empty()).then(|| bucket.keys().nth(index.index(bucket.len())).cloned())?
    };
    match change {
        Change::Put(key, object) => {
            let key = format!("{prefix}{key}");
            if (1..=1024).contains(&key.len()) {
                bucket.insert(key, Object { last_modified: now, ..object });
            }
        }
        Change::Delete(index) => {
            if let Some(key) = at(index, bucket) {
                bucket.remove(&key);
            }
        }
        Change::ReplaceMetadata(index, headers) => {
            if let Some(object) = at(index, bucket).and_then(|key| bucket.get_mut(&key)) {
                (object.headers, object.last_modified) = (headers, now);
            }
        }
        Change::RemoveHeader(index, header) => {
            if let Some(object) = at(index, bucket).and_then(|key| bucket.get_mut(&key)) {
                let name = (!object.headers.is_empty())
                    .then(|| object.headers.keys().nth(header.index(object.headers.len())).cloned());
                if let Some(name) = name.flatten() {
                    object.headers.remove(&name);
                }
                object.last_modified = now;
            }
        }
        Change::ReplaceBody(index, body) => {
            if let Some(object) = at(index, bucket).and_then(|key| bucket.get_mut(&key)) {
                (object.body, object.last_modified) = (body, now);
            }
        }
    }
}
