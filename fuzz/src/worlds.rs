//! Trees and buckets of the model, chosen by the bytes of a fuzzer: from small alphabets in which each word is a trap, and
//! now and then anything at all.

use crate::choices::Choices;
use crate::model::generate::Place;
use crate::model::{Bucket, Clash, Kind, Node, Object, Rules, Tree};
use http::HeaderValue;
use std::collections::BTreeMap;

/// The rules of one of the profiles.
pub fn rules(choices: &mut Choices<'_>) -> Rules {
    let first_and_untrusted = Rules { clash: Clash::FirstWins, ..Rules::UNTRUSTED };
    choices.of(&[Rules::FSX, Rules::UNTRUSTED, Rules::FIRST_WINS, Rules::FSX_2022, first_and_untrusted])
}

/// Where in the bucket.
pub fn prefix(choices: &mut Choices<'_>) -> &'static str {
    choices.of(&["", "", "p/", "p/a-/"])
}

/// What a tree can have as a name.
const NAMES: [&str; 32] = [
    "a",
    "a-",
    "a.",
    "a0",
    "b",
    "a",
    "b",
    "a-",
    ".a",
    "..a",
    "...",
    "a b",
    " ",
    "a\u{1}",
    "\n",
    "a\r",
    "\t",
    "%2e",
    "%2e%2e",
    "\u{e9}",
    "e\u{301}",
    "\u{1f600}",
    "-rf",
    "a\\",
    "a@",
    "a+",
    "~",
    "*",
    "\u{7f}",
    "\u{ff0e}\u{ff0e}",
    "\u{202e}",
    "\"",
];

fn name(choices: &mut Choices<'_>) -> String {
    match choices.byte() {
        at @ 0..=239 => NAMES[usize::from(at) % NAMES.len()].to_owned(),
        240..=243 => "n".repeat(255),
        244..=247 => "\u{e9}".repeat(127),
        _ => {
            let text = choices.text(12);
            let is_name = !["", ".", ".."].contains(&text.as_str()) && !text.contains(['/', '\0']);
            if is_name { text } else { "a".to_owned() }
        }
    }
}

/// What a key has between its slashes, which need not be a name.
fn segment(choices: &mut Choices<'_>) -> String {
    match choices.byte() {
        0..=199 => name(choices),
        200..=230 => choices.of(&["", ".", "..", "a\0", "\0"]).to_owned(),
        231..=235 => "n".repeat(256),
        236..=240 => "\u{e9}".repeat(128),
        _ => choices.text(12),
    }
}

fn key(choices: &mut Choices<'_>) -> String {
    let shape = choices.byte();
    let depth = if shape == 255 { 60 } else { usize::from(shape % 4) + 1 };
    let segments: Vec<String> = (0..depth).map(|_| segment(choices)).collect();
    segments.join("/") + if shape & 0x40 == 0 { "" } else { "/" }
}

const PERMISSIONS: [&str; 40] = [
    "0100644",
    "0120777",
    "0040755",
    "0100755",
    "100600",
    "644",
    "0",
    "0000000",
    "00000000000100640",
    "0041777",
    "120777",
    "0120000",
    "0104755",
    "0102755",
    "0101644",
    "0107777",
    "0046755",
    "0047777",
    "7777",
    "0040700",
    "0010644",
    "0020644",
    "0060644",
    "0140644",
    "",
    "rw-r--r--",
    "+644",
    "0x1ff",
    " 644",
    "644 ",
    "0100888",
    "200000",
    "0170000",
    "0030644",
    "37777777777",
    "33188",
    "0100644ns",
    "\u{ff16}\u{ff14}\u{ff14}",
    "0100644, 0100644",
    "0100644,0100600",
];
const OWNERS: [&str; 24] = [
    "0",
    "1",
    "500",
    "65534",
    "4294967294",
    "00500",
    "0000000007",
    "",
    "-1",
    "+5",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "00000000007",
    "root",
    "0x10",
    "5 ",
    " 5",
    "5.0",
    "\u{665}",
    "500, 500",
    "500,0",
    "=?UTF-8?Q?500?=",
    "5ns",
];
const TIMES: [&str; 24] = [
    "1595002920123456789ns",
    "0ns",
    "1ns",
    "-1ns",
    "-0",
    "0",
    "5",
    "-1",
    "00000000000000000000000000000000000007ns",
    "1595002920000",
    "-1000000001ns",
    "15032385535000000000ns",
    "-2147483648000000000ns",
    "",
    "-",
    "ns",
    "--1",
    "1.5",
    "15NS",
    "1 ns",
    " 1ns",
    "1,2ns",
    "1ns, 1ns",
    "9223372036854775808000000000ns",
];
/// Times that no disk keeps.
const FAR: [&str; 4] = [
    "9223372036854775807999999999ns",
    "-9223372036854775808000000000ns",
    "9223372036854775807999",
    "1595002920000000000",
];

fn value(choices: &mut Choices<'_>, all: &[&str], raw: u8) -> Option<String> {
    match choices.byte() {
        0..=29 => None,
        at @ 30..=229 => Some(all[usize::from(at) % all.len()].to_owned()),
        _ => {
            let text = choices.text(raw);
            HeaderValue::from_bytes(text.as_bytes()).is_ok().then_some(text)
        }
    }
}

fn headers(choices: &mut Choices<'_>, place: Place) -> BTreeMap<String, String> {
    // Ten digits are milliseconds of 1970, and so one of the times that a disk keeps.
    let raw = if place == Place::Memory { 40 } else { 10 };
    let times: Vec<&str> = TIMES.iter().chain(FAR.iter().filter(|_| place == Place::Memory)).copied().collect();
    let mut headers = BTreeMap::new();
    let mut put = |name: &str, value: Option<String>| {
        headers.extend(value.map(|value| (format!("x-amz-{name}"), value)));
    };
    put("meta-file-permissions", value(choices, &PERMISSIONS, 40));
    put("meta-file-owner", value(choices, &OWNERS, 40));
    put("meta-file-group", value(choices, &OWNERS, 40));
    put("meta-file-atime", value(choices, &times, raw));
    put("meta-file-mtime", value(choices, &times, raw));
    if choices.one_in(8) {
        put("missing-meta", value(choices, &["1", "0", "x"], 3));
        put("meta-user-agent", value(choices, &["aws-fsx-lustre", "mallory\ttab"], 20));
        put("meta-mode", value(choices, &["0100644"], 3));
    }
    headers
}

const TARGETS: [&str; 12] =
    ["a", "../a", "..", "/", "/etc/passwd", "../../../x", "b/../../x", "a//b/", ".", "%2e%2e", " a ", "a\n"];

fn target(choices: &mut Choices<'_>, longest: usize) -> Vec<u8> {
    match choices.byte() {
        at @ 0..=199 => TARGETS[usize::from(at) % TARGETS.len()].into(),
        200..=209 => vec![b'x'; longest],
        _ => {
            let bytes = choices.bytes(30);
            if bytes.is_empty() || bytes.contains(&0) { b"\xff\xfe".to_vec() } else { bytes.to_vec() }
        }
    }
}

fn content(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.byte() {
        0..=99 => Vec::new(),
        100..=119 => b"hello".to_vec(),
        120..=139 => vec![0; 5],
        140..=149 => vec![0; 4096],
        _ => choices.bytes(30).to_vec(),
    }
}

/// The longest target that any file system takes.
const fn longest(place: Place) -> usize {
    match place {
        Place::Memory => 4095,
        Place::Disk | Place::OwnDisk => 1000,
    }
}

fn body(choices: &mut Choices<'_>, place: Place) -> Vec<u8> {
    match choices.byte() {
        0..=119 => target(choices, longest(place)),
        120..=229 => content(choices),
        230..=235 => b"a\0b".to_vec(),
        236..=240 => vec![b'x'; 4096],
        241..=245 => b"../".repeat(300),
        _ => b"/".repeat(999),
    }
}

/// Buckets that anyone may have written to, also beside the prefix.
pub fn bucket(choices: &mut Choices<'_>, prefix: &str, place: Place) -> Bucket {
    let mut bucket = Bucket::new();
    while !choices.is_over() && bucket.len() < 24 {
        let key = match choices.byte() {
            250.. => choices.of(&["other", "p", "p0", "p/", "p/a"]).to_owned(),
            _ => format!("{prefix}{}", key(choices)),
        };
        let (headers, body) = (headers(choices, place), body(choices, place));
        let last_modified = choices.of(&[1_700_000_000_000_000_000, 0, 1, -1, 1_700_000_000_500_000_000]);
        if (1..=1024).contains(&key.len()) {
            bucket.insert(key, Object { headers, body, last_modified });
        }
    }
    bucket
}

/// Anything that the types can hold: a moment of a disk, or in memory any at all.
fn time(choices: &mut Choices<'_>, place: Place) -> i128 {
    const NEAR: [i128; 10] = [
        1_595_002_920_123_456_789,
        0,
        1,
        -1,
        999_999_999,
        -1_000_000_001,
        4_294_967_296_000_000_000,
        -2_147_483_648_000_000_000,
        15_032_385_535_000_000_000,
        1_000_000_000,
    ];
    const FAR: [i128; 4] = [
        i64::MAX as i128 * 1_000_000_000 + 999_999_999,
        i64::MIN as i128 * 1_000_000_000,
        i64::MAX as i128 + 1,
        i64::MIN as i128 - 1,
    ];
    match choices.byte() {
        at @ 0..=179 => NEAR[usize::from(at) % NEAR.len()],
        at @ 180..=209 if place == Place::Memory => FAR[usize::from(at) % FAR.len()],
        _ => i128::from(choices.number() % 15_000_000_000_000_000_000),
    }
}

fn node(choices: &mut Choices<'_>, place: Place) -> Node {
    const MODES: [u32; 12] = [0o644, 0o755, 0, 0o700, 0o600, 0o1777, 0o2755, 0o4755, 0o6755, 0o7777, 0o1644, 0o777];
    const IDS: [u32; 6] = [0, 1, 500, 65_534, 4_294_967_294, 1000];
    let kind = match choices.byte() % 7 {
        0..3 => Kind::File(content(choices)),
        3..5 => Kind::Directory,
        _ => Kind::Link(target(choices, longest(place))),
    };
    let mode = choices.of(&MODES) ^ u32::from(choices.byte() & 7);
    let (uid, gid) = (choices.of(&IDS), choices.of(&IDS));
    Node { kind, mode, uid, gid, atime: time(choices, place), mtime: time(choices, place) }
}

/// Trees to depth 4, of so many nodes at most, and now and then deeper than a key.
pub fn tree(choices: &mut Choices<'_>, most: usize, place: Place) -> Tree {
    let mut tree = Tree::new();
    for _ in 0..most {
        if choices.is_over() {
            break;
        }
        let shape = choices.byte();
        let depth = if shape == 255 { 300 } else { usize::from(shape % 4) + 1 };
        let names: Vec<String> = (0..depth).map(|_| name(choices)).collect();
        let node = node(choices, place);
        grow(&mut tree, &names, node);
    }
    tree
}

/// Adds a node and the directories around it, unless something is in the way or it would be no key.
fn grow(tree: &mut Tree, names: &[String], node: Node) {
    let path = names.join("/");
    let above: Vec<String> = (1..names.len()).map(|depth| names[..depth].join("/")).collect();
    let blocked = above.iter().any(|path| tree.get(path).is_some_and(|node| node.kind != Kind::Directory));
    if blocked || path.len() >= 1024 || tree.contains_key(&path) {
        return;
    }
    for directory in above {
        tree.entry(directory).or_insert_with(|| Node { kind: Kind::Directory, ..node.clone() });
    }
    tree.insert(path, node);
}
