//! Laws of the vocabulary: what is printed parses back, what is refused is refused by a slow specification too.
//!
//! The specifications (`*_spec`) are written in another way than the crate: on text where the crate computes, on the
//! whole value where it scans.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "the helpers of a test may fail like the test itself"
)]

use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::time::SystemTime;

/// At least a thousand cases, more on request (`PROPTEST_CASES`); a case that failed becomes a named test, not a file.
fn cases() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(1000), failure_persistence: None, ..usual }
}

// ---- Slow specifications.

/// Every rule of [`Key`] that the bytes break, read off the key fenced with slashes.
fn key_spec(key: &[u8]) -> Vec<&'static str> {
    let Ok(key) = std::str::from_utf8(key) else { return vec!["not-utf-8"] };
    let fenced = if key.ends_with('/') { format!("/{key}") } else { format!("/{key}/") };
    let slashes: Vec<usize> = fenced.match_indices('/').map(|(at, _)| at).collect();
    let rules = [
        ("empty", key.is_empty()),
        ("key-too-long", key.len() > 1024),
        ("nul", key.contains('\0')),
        ("empty-segment", fenced.contains("//")),
        ("dot-segment", fenced.contains("/./") || fenced.contains("/../")),
        ("segment-too-long", slashes.windows(2).any(|pair| pair[1] - pair[0] > 256)),
    ];
    rules.into_iter().filter(|(_, broken)| *broken).map(|(code, _)| code).collect()
}

/// The value of a text in its printed form, or `None` when it is none.
type Spec = fn(&[u8]) -> Option<String>;

/// The seven digits of a mode, found by looking at its text alone.
fn mode_spec(text: &[u8]) -> Option<String> {
    let text = String::from_utf8(text.to_vec()).ok().filter(|text| !text.is_empty())?;
    let seven = format!("{:0>7}", text.trim_start_matches('0'));
    let is_type = ["000", "001", "002", "004", "006", "010", "012", "014"].contains(&seven.get(..3)?);
    (seven.len() == 7 && seven.chars().all(|digit| ('0'..='7').contains(&digit)) && is_type).then_some(seven)
}

/// An id without its leading zeros, compared with the largest as text.
fn id_spec(text: &[u8]) -> Option<String> {
    let text = String::from_utf8(text.to_vec()).ok().filter(|text| (1..=10).contains(&text.len()))?;
    let digits = text.chars().all(|digit| digit.is_ascii_digit());
    let fits = format!("{text:0>10}").as_str() <= "4294967294";
    (digits && fits).then(|| shortest(&text).into())
}

/// A time in nanoseconds without leading zeros, scaled by writing zeros behind it and compared as text.
fn time_spec(text: &[u8]) -> Option<String> {
    let text = String::from_utf8(text.to_vec()).ok()?;
    let (sign, number) = text.strip_prefix('-').map_or(("", text.as_str()), |number| ("-", number));
    let (number, zeros) = number.strip_suffix("ns").map_or((number, "000000"), |number| (number, ""));
    if number.is_empty() || !number.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = format!("{number}{zeros}");
    let most = if sign.is_empty() { "9223372036854775807999999999" } else { "9223372036854775808000000000" };
    match shortest(&number) {
        "0" => Some("0ns".into()),
        number if (number.len(), number) <= (most.len(), most) => Some(format!("{sign}{number}ns")),
        _ => None,
    }
}

fn shortest(digits: &str) -> &str {
    match digits.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    }
}

/// Whether a target climbs above the root: every beginning of it is shortened until nothing can be taken out.
fn leaves_spec(target: &str, depth: usize) -> bool {
    let mut steps = vec!["above"; depth];
    target.starts_with('/')
        || target.split('/').any(|step| {
            steps.push(step);
            steps.retain(|step| !["", "."].contains(step));
            while let Some(at) = steps.windows(2).position(|pair| pair[0] != ".." && pair[1] == "..") {
                steps.drain(at..at + 2);
            }
            steps.first() == Some(&"..")
        })
}

/// The permission bits that may pass, by service, from the table of editions.
fn bits_spec(profile: &Profile, file_type: FileType) -> u32 {
    let setgid = matches!(profile.service, Service::Fsx2022 | Service::Fsx2026) && profile.attitude == Attitude::Fsx;
    let set_id = if setgid { 0o2000 } else { 0 };
    let sticky = if file_type == FileType::Directory { 0o1000 } else { 0 };
    0o777 | set_id | sticky
}

// ---- What random values are made of.

/// Right values, values with a flaw, and noise.
fn texts(right: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let flawed = (right, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(text, at, byte)| {
        let mut text = text.into_bytes();
        let at = at.index(text.len() + 1);
        text.insert(at, byte);
        text
    });
    prop_oneof![3 => right.prop_map(String::into_bytes), 2 => flawed, 1 => vec(any::<u8>(), 0..12)]
}

const MODES: &str = "0{0,9}(10|4|12|1|2|3|6|14|17|20)?[0-7]{1,4}";
const IDS: &str = "[0-9]{1,10}|429496729[0-9]|0{0,8}[0-9]{1,4}";
const TIMES: &str = "-?[0-9]{1,20}(ns)?|-?0{0,40}922337203685477580[78][0-9]{0,9}(ns)?|-?[0-9]{20,45}ns";

/// Keys of hostile pieces, most of them unfit.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[a-c%\\\\.-]{0,4}",
        1 => select(vec!["", ".", "..", "...", "\0", "\u{202e}", "\u{4e2d}"]).prop_map(String::from),
        1 => (250_usize..260).prop_map(|length| "x".repeat(length)),
        1 => (80_usize..90).prop_map(|length| "\u{4e2d}".repeat(length)),
    ];
    let pieces = vec(piece, 0..8).prop_map(|pieces| pieces.join("/").into_bytes());
    prop_oneof![4 => pieces, 1 => vec(any::<u8>(), 0..8)]
}

/// The path of a key: no trailing slash, everything else that is allowed.
fn path() -> impl Strategy<Value = String> {
    let plain = select(vec!["a", "a-", "a.", "a0", "A", "...", ".a", "%2e", "\\", " ", "\n", "\u{202e}", "e\u{301}"]);
    let name = prop_oneof![
        6 => plain.prop_map(String::from),
        2 => "[^/\\x00]{1,9}".prop_map(|name| if name == "." || name == ".." { "dots".into() } else { name }),
        1 => select(vec!["x".repeat(255), "\u{4e2d}".repeat(85)]),
    ];
    vec(name, 1..6).prop_map(|names| names.join("/")).prop_filter("over 1,023 bytes", |path| path.len() < 1024)
}

fn key() -> impl Strategy<Value = Key> {
    (path(), any::<bool>()).prop_map(|(path, slash)| if slash { path + "/" } else { path }.parse().unwrap())
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![
        any::<i64>(),
        -10_000_000_000_i64..10_000_000_000,
        select(vec![i64::MIN, -1, 0, 1, 9_223_372_036, -9_223_372_037, i64::MAX]),
    ];
    let nanos = prop_oneof![0_u32..1_000_000_000, select(vec![0, 1, 999_999_999])];
    (seconds, nanos).prop_map(|(seconds, nanos)| Timestamp::from_unix(seconds, nanos).unwrap())
}

fn attributes() -> impl Strategy<Value = Attributes> {
    (0_u32..0o10000, 0..u32::MAX, 0..u32::MAX, timestamp(), timestamp()).prop_map(|(bits, uid, gid, atime, mtime)| {
        Attributes {
            permissions: Permissions::from_bits(bits).unwrap(),
            uid: Uid::new(uid).unwrap(),
            gid: Gid::new(gid).unwrap(),
            atime,
            mtime,
        }
    })
}

fn target() -> impl Strategy<Value = SymlinkTarget> {
    let path = vec(select(vec!["a", "..", ".", ""]), 1..7).prop_map(|steps| format!("{}x", steps.join("/")));
    let body = prop_oneof![
        path.prop_map(String::into_bytes),
        vec(1_u8..=255, 1..40),
        "[a%\u{e9}]{1,9}".prop_map(String::into_bytes),
        select(vec![4079_usize, 4080, 4081, 4095]).prop_map(|length| vec![b't'; length]),
    ];
    body.prop_map(|body| SymlinkTarget::parse(&body).unwrap())
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        any::<u64>().prop_map(|size| EntryKind::File { size }),
        Just(EntryKind::Directory),
        target().prop_map(|target| EntryKind::Symlink { target }),
    ];
    (path(), kind, attributes()).prop_map(|(path, kind, attributes)| {
        let slash = if kind == EntryKind::Directory { "/" } else { "" };
        Entry::new(format!("{path}{slash}").parse().unwrap(), kind, attributes).unwrap()
    })
}

fn file_type() -> impl Strategy<Value = FileType> {
    use FileType::*;
    select(vec![File, Directory, Symlink, Fifo, CharacterDevice, BlockDevice, Socket])
}

fn profiles() -> impl Iterator<Item = Profile> {
    let attitudes = [Attitude::Fsx, Attitude::Untrusted];
    Service::ALL.into_iter().flat_map(move |service| attitudes.map(|attitude| Profile::new(service, attitude)))
}

/// Headers that are ours, some left out, then others: in capitals, twice, with values that are distorted or noise.
fn header_pairs() -> impl Strategy<Value = Vec<(String, HeaderValue)>> {
    let right = ["0{0,3}(10|4|12|1)[0-7]{4}|[0-7]{1,4}", IDS, IDS, TIMES, TIMES];
    let right = right.map(|right| prop::option::weighted(0.7, right.prop_map(String::into_bytes)));
    let right = right.prop_map(|values| {
        let names = FILES.into_iter().map(String::from);
        names.zip(values).filter_map(|(name, value)| Some((name, value?))).collect::<Vec<_>>()
    });

    let known = [FILES, ["x-amz-meta-user-agent", "x-amz-missing-meta", "content-type", "x-amz-meta-", "x-amz-meta-a"]];
    let name = prop_oneof![
        8 => select(known.concat()).prop_map(String::from),
        1 => select(known.concat()).prop_map(str::to_uppercase),
        1 => "x-amz-meta-file-[a-z]{1,4}",
    ];
    let distorted = select(vec!["0100644,0100755", "1, 2", "=?UTF-8?B?MDEwMDY0NA==?=", "=??=", "=?", ","]);
    let value = prop_oneof![texts(MODES), texts(IDS), texts(TIMES), distorted.prop_map(|text| text.into())];
    let others = prop_oneof![Just(Vec::new()), vec((name, value), 0..8)];

    (right, others).prop_map(|(right, others)| {
        let pairs = right.into_iter().chain(others);
        pairs.filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(&value).ok()?))).collect()
    })
}

const FILES: [&str; 5] = [
    "x-amz-meta-file-permissions",
    "x-amz-meta-file-owner",
    "x-amz-meta-file-group",
    "x-amz-meta-file-atime",
    "x-amz-meta-file-mtime",
];
const FIELDS: [Field; 5] = [Field::Permissions, Field::Owner, Field::Group, Field::Atime, Field::Mtime];

fn header_map(pairs: &[(String, HeaderValue)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.clone());
    }
    headers
}

// ---- Keys and prefixes.

/// Compares one key with the specification, and the place of the fault with the key before it.
fn check_key(key: &[u8]) {
    let faults = key_spec(key);
    match Key::from_bytes(key) {
        Ok(parsed) => {
            assert!(faults.is_empty(), "{:?} breaks {faults:?}", key.escape_ascii());
            assert_eq!(parsed.as_str().as_bytes(), key);
        }
        Err(error) => {
            let code = error.fault().code();
            assert!(faults.contains(&code), "{:?}: {code}, not {faults:?}", key.escape_ascii());
            let before = &key[..error.at()];
            assert!(match code {
                "nul" => !before.contains(&0) && key[error.at()] == 0,
                "dot-segment" | "empty-segment" | "segment-too-long" =>
                    before.is_empty() || (before.ends_with(b"/") && key_spec(before).is_empty()),
                _ => true,
            });
        }
    }
}

#[test]
fn every_key_of_up_to_eight_bytes_agrees_with_the_specification() {
    fn longer(key: &mut Vec<u8>) {
        check_key(key);
        if key.len() < 8 {
            for byte in *b"a./\0%\\" {
                key.push(byte);
                longer(key);
                key.pop();
            }
        }
    }
    check_key(b"");
    std::thread::scope(|threads| {
        for byte in *b"a./\0%\\" {
            threads.spawn(move || longer(&mut vec![byte]));
        }
    });
}

#[test]
fn keys_of_every_length_around_the_limits_agree_with_the_specification() {
    for total in 1015..1030 {
        for name in [1, 254, 255, 256, 257] {
            let key: String = format!("{}/", "x".repeat(name)).repeat(total).chars().take(total).collect();
            check_key(key.as_bytes());
            check_prefix(&key);
            check_prefix(&format!("{key}/"));
        }
    }
}

fn check_prefix(text: &str) {
    let slashed = if text.is_empty() || text.ends_with('/') { text.to_owned() } else { format!("{text}/") };
    let fits = text.is_empty() || (key_spec(text.as_bytes()).is_empty() && slashed.len() < 1024);
    let Ok(prefix) = Prefix::parse(text) else { return assert!(!fits, "{text:?}") };
    assert!(fits, "{text:?}");
    assert_eq!(prefix.as_str(), slashed);
    assert_eq!(Prefix::parse(&slashed).unwrap(), prefix);
    assert_eq!(Prefix::try_from(String::from(prefix.clone())).unwrap(), prefix);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_key_agrees_with_the_specification(key in any_key()) {
        check_key(&key);
    }

    #[test]
    fn a_key_prints_and_parses_back(key in key()) {
        prop_assert!(key_spec(key.as_str().as_bytes()).is_empty());
        prop_assert_eq!(&Key::parse(key.as_str()).unwrap(), &key);
        prop_assert_eq!(&Key::from_bytes(key.as_str().as_bytes()).unwrap(), &key);
        prop_assert_eq!(&Key::try_from(String::from(key.clone())).unwrap(), &key);
    }

    #[test]
    fn the_parts_of_a_key_make_the_key(key in key()) {
        let names: Vec<&str> = key.segments().collect();
        prop_assert_eq!(names.join("/"), key.path());
        prop_assert_eq!(format!("{}{}", key.path(), if key.is_directory() { "/" } else { "" }), key.as_str());
        prop_assert_eq!(*names.last().unwrap(), key.name());
        prop_assert_eq!(names.len(), key.depth() + 1);
        let above: Vec<Key> = std::iter::successors(key.parent(), Key::parent).collect();
        prop_assert_eq!(above.len(), key.depth());
        for directory in &above {
            prop_assert!(directory.is_directory() && directory.holds(&key) && !key.holds(directory));
            prop_assert_eq!(&Key::parse(directory.as_str()).unwrap(), directory);
        }
    }

    #[test]
    fn keys_order_as_bytes_and_a_subtree_is_contiguous(mut keys in vec(key(), 2..30)) {
        let mut bytes: Vec<Vec<u8>> = keys.iter().map(|key| key.as_str().into()).collect();
        keys.sort();
        bytes.sort();
        prop_assert!(keys.iter().map(|key| key.as_str().as_bytes()).eq(bytes.iter().map(|key| &key[..])));
        keys.dedup();
        for (at, directory) in keys.iter().enumerate().filter(|(_, key)| key.is_directory()) {
            let below = |key: &&Key| key.as_str().starts_with(directory.as_str()) && *key != directory;
            let run = keys[at + 1..].iter().take_while(below).count();
            prop_assert_eq!(keys.iter().filter(below).count(), run);
            prop_assert_eq!(keys.iter().filter(|key| directory.holds(key)).count(), run);
        }
    }

    #[test]
    fn a_prefix_agrees_with_the_specification_of_a_key(text in any_key()) {
        check_prefix(&String::from_utf8_lossy(&text));
    }

    #[test]
    fn a_key_below_a_prefix_is_found_there(prefix in path(), key in key()) {
        for prefix in [Prefix::default(), Prefix::parse(&prefix).unwrap_or_default()] {
            match prefix.object_key(&key) {
                Ok(object) => {
                    prop_assert_eq!(&object, &format!("{}{}", prefix.as_str(), key.as_str()));
                    prop_assert_eq!(prefix.relative(&object), Some(key.as_str()));
                    prop_assert!(object.len() <= 1024);
                }
                Err(error) => {
                    prop_assert_eq!(error.fault(), KeyFault::TooLong);
                    prop_assert!(prefix.as_str().len() + key.as_str().len() > 1024);
                }
            }
        }
    }
}

// ---- Modes, ids, times.

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_mode_agrees_with_the_specification(text in texts(MODES)) {
        let parsed = Mode::parse(&text);
        prop_assert_eq!(parsed.as_ref().ok().map(Mode::to_string), mode_spec(&text));
        match parsed {
            Ok(mode) => {
                prop_assert_eq!(mode.encode().to_vec(), mode.to_string().into_bytes());
                prop_assert_eq!(Mode::parse(&mode.encode()).unwrap(), mode);
            }
            Err(error) => prop_assert!(error.at() <= text.len()),
        }
    }

    #[test]
    fn a_mode_is_its_type_and_its_permissions(file_type in prop::option::of(file_type()), bits in 0_u32..0o10000) {
        let permissions = Permissions::from_bits(bits).unwrap();
        let mode = Mode::new(file_type, permissions);
        prop_assert_eq!((mode.file_type(), mode.permissions()), (file_type, permissions));
        prop_assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
        prop_assert_eq!(FileType::from_mode(mode.bits()), file_type);
        prop_assert_eq!(Permissions::from_mode(mode.bits()), permissions);
    }

    #[test]
    fn an_id_agrees_with_the_specification(text in texts(IDS)) {
        let uid = Uid::parse(&text);
        prop_assert_eq!(uid.as_ref().ok().map(Uid::to_string), id_spec(&text));
        prop_assert_eq!(uid.as_ref().ok().map(|uid| uid.get()), Gid::parse(&text).ok().map(Gid::get));
        match uid {
            Ok(uid) => {
                prop_assert_eq!(uid.to_string().parse::<Uid>().unwrap(), uid);
                prop_assert_eq!(Uid::new(uid.get()), Some(uid));
            }
            Err(error) => prop_assert!(error.at() <= text.len()),
        }
    }

    #[test]
    fn an_id_is_any_number_but_one(id in prop_oneof![any::<u32>(), u32::MAX - 3..=u32::MAX]) {
        prop_assert_eq!(Uid::new(id).map(Uid::get), (id != u32::MAX).then_some(id));
        prop_assert_eq!(Gid::try_from(id).ok().map(u32::from), (id != u32::MAX).then_some(id));
        prop_assert_eq!(id.to_string().parse::<Gid>().ok(), Gid::new(id));
    }

    #[test]
    fn a_time_agrees_with_the_specification(text in texts(TIMES)) {
        let parsed = Timestamp::parse(&text);
        prop_assert_eq!(parsed.as_ref().ok().map(Timestamp::to_string), time_spec(&text));
        match parsed {
            Ok(time) => prop_assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time),
            Err(error) => prop_assert!(error.at() <= text.len()),
        }
    }

    #[test]
    fn a_time_is_its_nanoseconds(time in timestamp(), other in timestamp()) {
        let nanoseconds = i128::from(time.seconds()) * 1_000_000_000 + i128::from(time.subsecond_nanos());
        prop_assert_eq!(time.nanoseconds(), nanoseconds);
        prop_assert_eq!(Timestamp::from_nanoseconds(nanoseconds), Some(time));
        prop_assert_eq!(time.to_string(), format!("{nanoseconds}ns"));
        let mut encoded = b"kept ".to_vec();
        time.encode(&mut encoded);
        prop_assert_eq!(encoded, format!("kept {nanoseconds}ns").into_bytes());
        prop_assert_eq!(time.cmp(&other), time.nanoseconds().cmp(&other.nanoseconds()));
    }

    #[test]
    fn nanoseconds_beyond_the_seconds_of_64_bits_are_no_time(nanoseconds in any::<i128>(), shift in 0..128_u32) {
        let nanoseconds = nanoseconds >> shift;
        let time = Timestamp::from_nanoseconds(nanoseconds);
        prop_assert_eq!(time.map(|time| time.to_string()), time_spec(format!("{nanoseconds}ns").as_bytes()));
    }

    #[cfg(unix)]
    #[test]
    fn every_time_is_a_system_time_and_back(time in timestamp()) {
        let system = SystemTime::try_from(time).unwrap();
        prop_assert_eq!(Timestamp::from(system), time);
        prop_assert_eq!(system >= SystemTime::UNIX_EPOCH, time >= Timestamp::EPOCH);
    }

    #[cfg(feature = "time")]
    #[test]
    fn a_time_of_four_digit_years_is_a_date_and_back(time in timestamp(), hours in -23_i8..=23) {
        let within = (-377_705_116_800..=253_402_300_799).contains(&time.seconds());
        match time::OffsetDateTime::try_from(time) {
            Ok(date) => {
                prop_assert!(within);
                prop_assert_eq!(date.unix_timestamp_nanos(), time.nanoseconds());
                prop_assert_eq!(Timestamp::from(date), time);
                // The zone in which a date is written does not matter.
                let zone = time::UtcOffset::from_hms(hours, 0, 0).unwrap();
                prop_assert_eq!(date.checked_to_offset(zone).map_or(time, Timestamp::from), time);
            }
            Err(_) => prop_assert!(!within),
        }
    }
}

// ---- Links.

#[test]
fn every_short_target_leaves_the_root_as_the_specification_says() {
    let links = ["l", "d/l", "d/d/l", "d/d/d/l", "d/d/d/d/l"].map(|link| Key::parse(link).unwrap());
    let mut targets = vec![String::new()];
    let mut seen = 0;
    for components in 1..=6 {
        let longer = |start: &String| {
            let start = if components == 1 { String::new() } else { format!("{start}/") };
            ["a", "..", ".", ""].map(|step| format!("{start}{step}"))
        };
        targets = targets.iter().flat_map(longer).collect();
        for text in targets.iter().filter(|text| !text.is_empty()) {
            let target = SymlinkTarget::parse(text.as_bytes()).unwrap();
            for (depth, link) in links.iter().enumerate() {
                assert_eq!(target.leaves_root(link), leaves_spec(text, depth), "{text:?} at depth {depth}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, (4 + 16 + 64 + 256 + 1024 + 4096 - 1) * 5);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_target_is_kept_or_refused(body in prop_oneof![vec(any::<u8>(), 0..40), vec(1_u8.., 4090..4100)]) {
        let fits = (1..=4095).contains(&body.len()) && !body.contains(&0);
        match SymlinkTarget::parse(&body) {
            Ok(target) => {
                prop_assert!(fits);
                prop_assert_eq!(target.as_bytes(), &body);
                prop_assert_eq!(target.size(), body.len() as u64);
            }
            Err(error) => {
                prop_assert!(!fits);
                let reason = match error.code() {
                    "empty" => body.is_empty(),
                    "too-long" => body.len() > 4095,
                    _ => body.contains(&0),
                };
                prop_assert!(reason, "{}", error);
            }
        }
    }
}

// ---- Metadata and entries.

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn attributes_encode_and_decode_to_the_same(attributes in attributes(), file_type in file_type()) {
        let headers = attributes.encode(file_type);
        prop_assert_eq!(headers.len(), 5);
        let fields = Fields::from_headers(&headers);
        prop_assert_eq!(Attributes::decode(&fields).unwrap(), (Some(file_type), attributes));
        let counted: usize = headers.iter().map(|(name, value)| name.as_str().len() - 11 + value.len()).sum();
        prop_assert_eq!(user_metadata_size(&headers), counted);
        prop_assert!(counted + "user-agentaws-storage-gateway".len() <= USER_METADATA_LIMIT);
    }

    #[test]
    fn an_entry_encodes_and_decodes_to_itself_normalized(entry in entry(), modified in timestamp()) {
        for profile in profiles() {
            // An access time that is not written has a test of its own.
            let atime = match profile.atime {
                Atime::LeftOut => entry.attributes().mtime,
                _ => entry.attributes().atime,
            };
            let attributes = Attributes { atime, ..*entry.attributes() };
            let entry = Entry::new(entry.key().clone(), entry.kind().clone(), attributes).unwrap();
            let body = match entry.kind() {
                EntryKind::Symlink { target } => target.as_bytes(),
                _ => b"",
            };
            let headers = entry.encode(&profile);
            let fields = Fields::from_headers(&headers);
            let head = ObjectHead { key: entry.key(), fields, size: entry.object_size(), last_modified: modified };
            let decoded = head.decode(&profile, None);
            if let Ok(decoded) = &decoded {
                prop_assert_eq!(&decoded.findings, &[]);
            }
            let made = decoded.and_then(|decoded| decoded.into_entry(entry.key(), body, &profile));
            let leaves = matches!(entry.kind(), EntryKind::Symlink { target } if target.leaves_root(entry.key()));
            if body.len() > profile.link_target_bytes {
                prop_assert_eq!(made.unwrap_err().code(), "too-long");
            } else if leaves && profile.attitude == Attitude::Untrusted {
                prop_assert_eq!(made.unwrap_err().code(), "leaves-root");
            } else {
                prop_assert_eq!(made.unwrap(), entry.normalized(&profile));
            }
        }
    }

    #[test]
    fn an_access_time_that_is_left_out_is_normalized_to_mtime(entry in entry()) {
        let profile = Profile::new(Service::S3Files, Attitude::Fsx);
        let headers = entry.encode(&profile);
        prop_assert!(!headers.contains_key(&FILE_ATIME));
        let fields = Fields::from_headers(&headers);
        let decoded = Attributes::decode_or_default(&fields, &FALLBACK).attributes;
        prop_assert_eq!(*entry.normalized(&profile).attributes(), decoded);
    }

    #[test]
    fn normalizing_twice_changes_nothing(entry in entry()) {
        for profile in profiles() {
            let once = entry.clone().normalized(&profile);
            prop_assert_eq!(&once.clone().normalized(&profile), &once);
            prop_assert_eq!(once.encode(&profile), entry.encode(&profile));
        }
    }

    #[test]
    fn headers_of_any_kind_decode_as_the_specification_says(pairs in header_pairs()) {
        let headers = header_map(&pairs);
        let fields = Fields::from_headers(&headers);
        let decoded = Attributes::decode_or_default(&fields, &FALLBACK);

        // The text of each field where it stands there once, and the value it has by the specification.
        let values = FILES.map(|name| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>());
        let specs: [Spec; 5] = [mode_spec, id_spec, id_spec, time_spec, time_spec];
        let once = |values: &Vec<&[u8]>| if let [one] = values[..] { Some(one.to_vec()) } else { None };
        let sound: Vec<Option<String>> = values.iter().zip(specs).map(|(values, spec)| spec(&once(values)?)).collect();

        let found = decoded.attributes;
        let or = |sound: &Option<String>, otherwise: String| sound.clone().unwrap_or(otherwise);
        prop_assert_eq!(&found.permissions.to_string(), &or(&sound[0], "0000755".into())[3..]);
        prop_assert_eq!(found.uid.to_string(), or(&sound[1], "11".into()));
        prop_assert_eq!(found.gid.to_string(), or(&sound[2], "12".into()));
        let mtime = or(&sound[4], "13000000000ns".into());
        prop_assert_eq!(found.mtime.to_string(), mtime.as_str());
        prop_assert_eq!(found.atime.to_string(), or(&sound[3], mtime));
        prop_assert_eq!(decoded.file_type.is_some(), sound[0].as_ref().is_some_and(|text| &text[..3] != "000"));

        // Origins and damage go together.
        let damaged: Vec<Field> = decoded.damaged.iter().map(InvalidField::field).collect();
        for (at, field) in FIELDS.into_iter().enumerate() {
            let origin = match (field, &sound[at], &sound[4]) {
                (_, Some(_), _) => Origin::Header,
                (Field::Atime, None, Some(_)) => Origin::Mtime,
                (Field::Atime | Field::Mtime, None, _) => Origin::LastModified,
                _ => Origin::Kept,
            };
            prop_assert_eq!(decoded.origins.of(field), origin);
            prop_assert_eq!(damaged.contains(&field), !values[at].is_empty() && sound[at].is_none());
        }
        prop_assert_eq!(decoded.origins.defaulted().count(), sound.iter().filter(|text| text.is_none()).count());
        prop_assert!(decoded.origins.defaulted().is_sorted());
        prop_assert!(damaged.windows(2).all(|pair| pair[0] != pair[1]) && damaged.len() <= 5);
        for error in &decoded.damaged {
            let at = FIELDS.iter().position(|field| *field == error.field()).unwrap();
            let pieces: Vec<&[u8]> = values[at][0].split(|&byte| byte == b',').map(<[u8]>::trim_ascii).collect();
            let joined = pieces.len() > 1 && pieces.iter().all(|piece| specs[at](piece).is_some());
            let merged = values[at].len() > 1 || joined;
            let word = values[at][0].starts_with(b"=?") && values[at][0].ends_with(b"?=");
            let code = error.fault().code();
            prop_assert_eq!(code == "repeated-header", merged);
            prop_assert_eq!(code == "encoded-word", word && !merged);
        }

        // The strict form agrees with the lax one.
        let strict = Attributes::decode(&fields).ok();
        let complete = sound.iter().all(Option::is_some).then_some((decoded.file_type, found));
        prop_assert_eq!(strict, complete);
    }

    #[test]
    fn a_map_of_an_sdk_decodes_as_the_headers_do(pairs in header_pairs()) {
        let headers = header_map(&pairs);
        let stripped = pairs.iter().filter_map(|(name, value)| Some((name.get(11..)?, value.as_bytes())));
        let fields = Fields::from_user_metadata(stripped);
        let decoded = Attributes::decode_or_default(&fields, &FALLBACK);
        prop_assert_eq!(decoded, Attributes::decode_or_default(&Fields::from_headers(&headers), &FALLBACK));
    }

    #[test]
    fn an_object_of_any_kind_is_an_entry_or_refused(
        key in key(), pairs in header_pairs(), size in prop_oneof![Just(0), 4079_u64..4098, any::<u64>()],
        body in prop_oneof![
            vec(any::<u8>(), 0..9),
            target().prop_map(|target| target.as_bytes().into()),
            select(vec![4080, 4081]).prop_map(|length| vec![b't'; length]),
        ],
        current in prop::option::of((attributes(), any::<bool>())), modified in timestamp(),
    ) {
        let headers = header_map(&pairs);
        let head = ObjectHead { key: &key, fields: Fields::from_headers(&headers), size, last_modified: modified };
        let lax = Attributes::decode_or_default(&head.fields, &FALLBACK);
        for profile in profiles() {
            let strict = profile.attitude == Attitude::Untrusted;
            let most = if profile.service == Service::S3Files { 4080 } else { 4095 };
            let file_type = match (key.is_directory(), lax.file_type) {
                (true, _) => FileType::Directory,
                (false, digits) => digits.unwrap_or(FileType::File),
            };
            let special = !["file", "directory", "symlink"].contains(&file_type.name());
            let is_link = file_type == FileType::Symlink;
            let rules = [
                ("unsupported-file-type", special),
                ("directory-without-slash", file_type == FileType::Directory && !key.is_directory()),
                (lax.damaged.first().map_or("", |error| error.fault().code()), strict && !lax.damaged.is_empty()),
                ("metadata-withheld", strict && head.fields.missing() > 0),
                ("too-long", is_link && size > most),
            ];
            let standing = current.map(|(attributes, is_link)| {
                let kind = match (key.is_directory(), is_link) {
                    (true, _) => EntryKind::Directory,
                    (_, true) => EntryKind::Symlink { target: SymlinkTarget::parse(b"t").unwrap() },
                    _ => EntryKind::File { size: 0 },
                };
                Entry::new(key.clone(), kind, attributes).unwrap()
            });
            let decoded = match head.decode(&profile, standing.as_ref()) {
                Ok(decoded) => decoded,
                Err(refusal) => {
                    prop_assert!(rules.contains(&(refusal.code(), true)), "{}, not {:?}", refusal, rules);
                    continue;
                }
            };
            prop_assert!(rules.iter().all(|(_, broken)| !broken), "{:?}", rules);
            prop_assert_eq!((decoded.file_type, decoded.size), (file_type, size));
            let permissions = decoded.attributes.permissions.bits();
            prop_assert_eq!(permissions & !bits_spec(&profile, file_type), 0);
            // Only an entry of the same type lends what the object lacks.
            let lender = standing.as_ref().filter(|standing| standing.file_type() == file_type).map(Entry::attributes);
            if decoded.origins.uid != Origin::Header {
                let origin = if lender.is_some() { Origin::Kept } else { Origin::Default };
                prop_assert_eq!(decoded.origins.uid, origin);
                prop_assert_eq!(decoded.attributes.uid, lender.map_or(profile.defaults.uid, |lender| lender.uid));
            }
            let damaged = decoded.findings.iter().filter(|finding| matches!(finding, Finding::Damaged { .. })).count();
            prop_assert_eq!(damaged, lax.damaged.len());

            let body_spec = (1..=most).contains(&(body.len() as u64)) && !body.contains(&0);
            let leaves = SymlinkTarget::parse(&body).is_ok_and(|target| target.leaves_root(&key));
            let attributes = decoded.attributes;
            match decoded.into_entry(&key, &body, &profile) {
                Ok(entry) => {
                    prop_assert!(!is_link || (body_spec && !(strict && leaves)));
                    prop_assert_eq!(entry.file_type(), file_type);
                    prop_assert_eq!(entry.object_size(), match file_type {
                        FileType::Directory => 0,
                        FileType::Symlink => body.len() as u64,
                        _ => size,
                    });
                    let rebuilt = Entry::new(key.clone(), entry.kind().clone(), attributes);
                    prop_assert_eq!(rebuilt.unwrap(), entry);
                }
                Err(_) => prop_assert!(is_link && (!body_spec || (strict && leaves))),
            }
        }
    }
}

const FALLBACK: Fallback = Fallback {
    permissions: Permissions::from_mode(0o755),
    uid: Uid::new(11).unwrap(),
    gid: Gid::new(12).unwrap(),
    modified: Timestamp::from_unix(13, 0).unwrap(),
    origin: Origin::Kept,
};

#[test]
fn no_dropped_bit_survives_whatever_the_service() {
    let types = [("f", FileType::File, "010"), ("d/", FileType::Directory, "004"), ("l", FileType::Symlink, "012")];
    for profile in profiles() {
        for (key, file_type, digits) in types {
            let key = Key::parse(key).unwrap();
            let allowed = bits_spec(&profile, file_type);
            for bits in 0..0o10000_u32 {
                let attributes = Attributes { permissions: Permissions::from_bits(bits).unwrap(), ..CURRENT };
                let kind = match file_type {
                    FileType::Directory => EntryKind::Directory,
                    FileType::Symlink => EntryKind::Symlink { target: SymlinkTarget::parse(b"t").unwrap() },
                    _ => EntryKind::File { size: 1 },
                };
                let entry = Entry::new(key.clone(), kind, attributes).unwrap();
                let written = entry.encode(&profile);
                assert_eq!(written[&FILE_PERMISSIONS], format!("{digits}{:04o}", bits & allowed));

                // A stranger's header with every bit, then no header over a file that has every bit.
                let mut headers = HeaderMap::new();
                headers.insert(&FILE_PERMISSIONS, format!("{digits}{bits:04o}").parse().unwrap());
                let decoded = head(&key, &headers).decode(&profile, None).unwrap();
                assert_eq!(decoded.attributes.permissions.bits(), bits & allowed);
                let dropped = decoded.findings.iter().any(|finding| finding.code() == "bits-dropped");
                assert_eq!(dropped, bits & !allowed != 0);

                let kept = head(&key, &HeaderMap::new()).decode(&profile, Some(&entry)).unwrap();
                if kept.file_type == file_type {
                    assert_eq!(kept.attributes.permissions.bits(), bits & allowed);
                } else {
                    // The permissions of a link are not those of the file that takes its place.
                    assert_eq!(kept.attributes.permissions, profile.defaults.file);
                }
            }
        }
    }
}

fn head<'a>(key: &'a Key, headers: &'a HeaderMap) -> ObjectHead<'a> {
    ObjectHead { key, fields: Fields::from_headers(headers), size: 1, last_modified: Timestamp::EPOCH }
}

const CURRENT: Attributes = Attributes {
    permissions: Permissions::from_mode(0),
    uid: Uid::ROOT,
    gid: Gid::ROOT,
    atime: Timestamp::EPOCH,
    mtime: Timestamp::EPOCH,
};

// ---- Text that is shown.

/// Reads escaped text back, as a person would.
fn unescaped(mut text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((plain, escape)) = text.split_once('\\') {
        let (kind, behind) = escape.split_at(1);
        bytes.extend(plain.bytes());
        text = behind;
        match kind {
            "n" => bytes.push(b'\n'),
            "r" => bytes.push(b'\r'),
            "t" => bytes.push(b'\t'),
            "x" => {
                bytes.push(u8::from_str_radix(&behind[..2], 16).unwrap());
                text = &behind[2..];
            }
            "u" => {
                let (number, behind) = behind[1..].split_once('}').unwrap();
                let character = char::from_u32(u32::from_str_radix(number, 16).unwrap()).unwrap();
                bytes.extend(character.to_string().bytes());
                text = behind;
            }
            quoted => bytes.extend(quoted.bytes()),
        }
    }
    bytes.extend(text.bytes());
    bytes
}

/// Controls, and what Unicode lists as bidirectional controls, line and paragraph separators, and byte order mark.
fn acts(character: char) -> bool {
    character.is_control()
        || "\u{61c}\u{200e}\u{200f}\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}"
            .contains(character)
        || "\u{2028}\u{2029}\u{200b}\u{200c}\u{200d}\u{2060}\u{feff}\u{ad}".contains(character)
}

fn check_shown(bytes: &[u8]) {
    let shown = escape(bytes).to_string();
    assert!(!shown.contains(acts), "{shown:?}");
    // Six characters for a byte at most (`\u{1b}`), and the count of the rest.
    assert!(shown.len() <= 512 * 6 + 40);
    if bytes.len() <= 512 {
        assert_eq!(unescaped(&shown), bytes);
    } else {
        let (start, count) = shown.rsplit_once("… (").unwrap();
        let left_out: usize = count.strip_suffix(" bytes more)").unwrap().parse().unwrap();
        assert_eq!(unescaped(start), bytes[..bytes.len() - left_out]);
        assert!((509..=512).contains(&(bytes.len() - left_out)));
    }
}

#[test]
fn every_character_is_shown_safely_and_reads_back() {
    for character in '\0'..=char::MAX {
        check_shown(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn bytes_of_any_kind_are_shown_safely(
        bytes in prop_oneof![
            vec(any::<u8>(), 0..600),
            "[\\x00-\\x1f\\\\\"a\u{7f}-\u{9f}\u{200b}-\u{2069}\u{1f600}]{0,300}".prop_map(String::into_bytes),
        ],
    ) {
        check_shown(&bytes);
    }

    #[test]
    fn errors_show_what_they_quote_safely(bytes in vec(any::<u8>(), 0..40)) {
        let shown = [
            Key::from_bytes(&bytes).map_or_else(|error| error.to_string(), |key| key.to_string()),
            Mode::parse(&bytes).map_or_else(|error| error.to_string(), |mode| mode.to_string()),
            Uid::parse(&bytes).map_or_else(|error| error.to_string(), |uid| uid.to_string()),
            Timestamp::parse(&bytes).map_or_else(|error| error.to_string(), |time| time.to_string()),
            SymlinkTarget::parse(&bytes).map_or_else(|error| error.to_string(), |target| format!("{target:?}")),
        ];
        prop_assert!(!shown.concat().contains(acts), "{:?}", shown);
    }
}

// ---- Text forms for whoever stores them.

#[cfg(feature = "serde")]
mod text_forms {
    use super::*;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use serde_json::{Value, from_str, from_value, json, to_string, to_value};

    fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
        let text = to_string(value).unwrap();
        assert_eq!(&from_str::<T>(&text).unwrap(), value, "{text}");
        assert_eq!(&from_value::<T>(to_value(value).unwrap()).unwrap(), value, "{text}");
    }

    fn read<T: DeserializeOwned>(text: &str) -> Option<T> {
        from_value(Value::from(text)).ok()
    }

    #[test]
    fn an_entry_in_json() {
        let entry = Entry::new("a/b".parse().unwrap(), EntryKind::File { size: 3 }, CURRENT).unwrap();
        let text = json!({
            "key": "a/b", "kind": {"file": {"size": 3}},
            "permissions": "0000", "uid": 0, "gid": 0, "atime": "0ns", "mtime": "0ns",
        });
        assert_eq!(to_value(&entry).unwrap(), text);
        let mut directory = text;
        directory["kind"] = json!("directory");
        assert!(from_value::<Entry>(directory.clone()).is_err());
        directory["key"] = json!("a/b/");
        assert_eq!(from_value::<Entry>(directory).unwrap().kind(), &EntryKind::Directory);
    }

    #[test]
    fn every_choice_reads_back() {
        Service::ALL.iter().for_each(reads_back);
        [Attitude::Fsx, Attitude::Untrusted].iter().for_each(reads_back);
        FIELDS.iter().for_each(reads_back);
        use Origin::*;
        [Header, Default, Kept, LastModified, Mtime].iter().for_each(reads_back);
        reads_back(&Origins { permissions: Header, uid: Default, gid: Kept, atime: Mtime, mtime: LastModified });
    }

    #[test]
    fn every_permission_reads_back() {
        for bits in 0..0o10000 {
            let permissions = Permissions::from_bits(bits).unwrap();
            assert_eq!(to_value(permissions).unwrap(), json!(format!("{bits:04o}")));
            reads_back(&permissions);
        }
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn an_entry_and_its_parts_read_back(entry in entry()) {
            reads_back(&entry);
            reads_back(entry.key());
            reads_back(entry.kind());
            reads_back(&entry.file_type());
            reads_back(entry.attributes());
            reads_back(&entry.attributes().uid);
            reads_back(&entry.attributes().gid);
            reads_back(&entry.attributes().mtime);
            reads_back(&Prefix::parse(entry.key().as_str()).unwrap_or_default());
        }

        #[test]
        fn a_mode_reads_back(file_type in prop::option::of(file_type()), bits in 0_u32..0o10000) {
            reads_back(&Mode::new(file_type, Permissions::from_bits(bits).unwrap()));
        }

        #[test]
        fn a_target_reads_back_and_is_legible(target in target()) {
            reads_back(&target);
            if let Ok(text) = std::str::from_utf8(target.as_bytes()) {
                prop_assert_eq!(to_value(&target).unwrap(), json!(text.replace('%', "%25")));
            }
        }

        #[test]
        fn the_text_of_a_target_is_percent_and_two_digits(text in "[a%0-9a-fA-F\u{e9}+ ]{0,12}") {
            let pieces: Vec<&str> = text.split('%').collect();
            let hex = |piece: &&str| piece.len() >= 2 && piece.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
            let sound = pieces[1..].iter().all(|piece| hex(piece) && !piece.starts_with("00")) && !text.is_empty();
            let target = read::<SymlinkTarget>(&text);
            prop_assert_eq!(target.is_some(), sound);
            if let Some(target) = target {
                prop_assert_eq!(target.as_bytes().len(), text.len() - 2 * (pieces.len() - 1));
            }
        }

        #[test]
        fn texts_are_refused_as_the_parsers_refuse_them(
            key in any_key(), mode in texts(MODES), time in texts(TIMES),
        ) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let key = text(&key);
            prop_assert_eq!(read::<Key>(&key).is_some(), key_spec(key.as_bytes()).is_empty());
            prop_assert_eq!(read::<Prefix>(&key), Prefix::parse(&key).ok());
            let (mode, time) = (text(&mode), text(&time));
            let seven = mode_spec(mode.as_bytes());
            prop_assert_eq!(read::<Mode>(&mode).map(|mode| mode.to_string()), seven.clone());
            let permissions = seven.filter(|seven| seven.starts_with("000")).map(|seven| seven[3..].to_string());
            prop_assert_eq!(read::<Permissions>(&mode).map(|mode| mode.to_string()), permissions);
            prop_assert_eq!(read::<Timestamp>(&time).map(|time| time.to_string()), time_spec(time.as_bytes()));
        }

        #[test]
        fn an_id_is_a_number(id in prop_oneof![any::<u64>(), u64::from(u32::MAX) - 3..u64::from(u32::MAX) + 3]) {
            let uid = from_value::<Uid>(id.into()).ok();
            prop_assert_eq!(uid.map(|uid| u64::from(uid.get())), (id < u64::from(u32::MAX)).then_some(id));
        }
    }
}

// ---- The shape of the types.

#[test]
fn every_public_type_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<(Key, Prefix, InvalidKey, KeyFault)>();
    check::<(Mode, FileType, Permissions, InvalidMode, ModeFault)>();
    check::<(Uid, Gid, InvalidId, IdFault)>();
    check::<(Timestamp, InvalidTimestamp, TimestampFault, OutOfRange)>();
    check::<(SymlinkTarget, InvalidTarget)>();
    check::<(Attributes, Fields<'_>, Fallback, DecodedAttributes, Origin, Origins, Field)>();
    check::<(InvalidField, FieldFault, InvalidMetadata, Distorted)>();
    check::<(Entry, EntryKind, KindMismatch, ObjectHead<'_>, DecodedHead, Finding, Refusal)>();
    check::<(Profile, Service, Attitude, Defaults, SetId, Clash, Damage, LinkTargets, Atime, ContentTypes)>();
    check::<Escaped<'_>>();
}

#[test]
fn codes_are_kebab_case_and_name_one_reason() {
    fn check(codes: &[&str]) {
        for (at, code) in codes.iter().enumerate() {
            let words = code.split('-').all(|word| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            });
            assert!(words, "{code}");
            assert!(!codes[..at].contains(code), "{code} twice");
        }
    }
    let damaged = |name: &'static str, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        Attributes::decode_or_default(&Fields::from_headers(&headers), &FALLBACK).damaged.remove(0)
    };
    let field = || damaged(FILES[0], "rw");

    // `.` and `..` are one reason, and so are too many digits and too large a number.
    let keys = [KeyFault::Empty, KeyFault::TooLong, KeyFault::NotUtf8, KeyFault::EmptySegment, KeyFault::Dot];
    check(&[keys.map(KeyFault::code).as_slice(), &[KeyFault::SegmentTooLong.code(), KeyFault::Nul.code()]].concat());
    assert_eq!(KeyFault::Dot.code(), KeyFault::DotDot.code());
    check(
        &[ModeFault::Empty, ModeFault::NotOctal(b'8'), ModeFault::TooLarge, ModeFault::UnknownType(3)]
            .map(ModeFault::code),
    );
    check(&[IdFault::Empty, IdFault::NotDecimal(b'-'), IdFault::OutOfRange].map(IdFault::code));
    assert_eq!(IdFault::TooManyDigits.code(), IdFault::OutOfRange.code());
    check(
        &[TimestampFault::Empty, TimestampFault::NotDecimal(b's'), TimestampFault::OutOfRange]
            .map(TimestampFault::code),
    );
    let target =
        [InvalidTarget::Empty, InvalidTarget::TooLong { bytes: 4096, most: 4095 }, InvalidTarget::Nul { at: 0 }];
    check(&target.each_ref().map(InvalidTarget::code));

    // A fault of a field has the code of its cause, and the two distortions have codes of their own.
    let fields = [(0, "8"), (1, "x"), (3, "x"), (0, "1,2"), (0, "=?a?=")];
    check(&fields.map(|(at, value)| damaged(FILES[at], value).fault().code()));
    let findings = [
        Finding::Damaged { error: field(), used: Origin::Default },
        Finding::BitsDropped { found: Permissions::from_mode(1), applied: Permissions::from_mode(0) },
        Finding::TypeIgnored { digits: FileType::File },
        Finding::BodyIgnored { bytes: 1 },
        Finding::MetadataWithheld { values: 1 },
        Finding::UnitSlip { field: Field::Mtime, unit: "seconds" },
    ];
    check(&findings.each_ref().map(Finding::code));
    let [_, _, nul] = target;
    let refusals = [
        Refusal::UnsupportedType { file_type: FileType::Fifo },
        Refusal::DirectoryWithoutSlash,
        Refusal::Damaged(field()),
        Refusal::MetadataWithheld { values: 1 },
        Refusal::Target(nul),
        Refusal::TargetLeavesRoot { target: SymlinkTarget::parse(b"/").unwrap() },
    ];
    check(&refusals.each_ref().map(Refusal::code));
    check(&Service::ALL.map(Service::name));
}
