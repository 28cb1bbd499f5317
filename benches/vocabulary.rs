//! The vocabulary against the naive form beside it, as ratios from batches that alternate in one run.
//!
//! `cargo bench --bench vocabulary --no-default-features`; README.md says how to read the tables and holds figures.
//! Without the `--bench` that Cargo passes, each form runs once: enough to see that it still works.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a program that measures: it prints, and its inputs are its own"
)]

use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How many different inputs a batch goes through, so that no branch is learned by heart.
const INPUTS: u32 = 64;

fn main() {
    let race = match std::env::args().any(|argument| argument == "--bench") {
        true => Race { rounds: 25, batch: Duration::from_millis(4) },
        false => Race { rounds: 1, batch: Duration::ZERO },
    };
    headers(race);
    keys(race);
}

// ---- The race.

#[derive(Clone, Copy)]
struct Race {
    rounds: usize,
    /// How long one form runs at a time.
    batch: Duration,
}

/// Nanoseconds for one input, by round.
struct Times(Vec<f64>);

impl Race {
    /// Lets the forms take turns; each goes through all inputs when called, and each round starts with another one.
    fn run<const N: usize>(self, mut forms: [&mut dyn FnMut(); N]) -> [Times; N] {
        let passes = forms.each_mut().map(|form| self.passes(form));
        let mut times = [(); N].map(|()| Times(Vec::new()));
        for round in 0..self.rounds {
            for turn in 0..N {
                let at = (round + turn) % N;
                let spent = time(passes[at], forms[at]);
                times[at].0.push(spent.as_secs_f64() * 1e9 / f64::from(passes[at]) / f64::from(INPUTS));
            }
        }
        times
    }

    /// How many passes fill a batch; finding out warms the form up.
    fn passes(self, form: &mut dyn FnMut()) -> u32 {
        let mut passes = 1;
        while time(passes, form) < self.batch {
            passes *= 2;
        }
        passes
    }
}

fn time(passes: u32, form: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..passes {
        form();
    }
    start.elapsed()
}

impl Times {
    /// The median, for a column of nanoseconds.
    fn median(&self) -> String {
        format!("{:.1}", median(&self.0))
    }

    fn less(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours - theirs).collect())
    }

    /// The median of the ratios of each round, and their range.
    fn over(&self, other: &Self) -> String {
        let mut ratios: Vec<f64> = self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect();
        ratios.sort_by(f64::total_cmp);
        format!("**{:.2}** ({:.2}..{:.2})", median(&ratios), ratios[0], ratios[ratios.len() - 1])
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A form as a call that goes through all inputs.
fn each<'a, T, R>(inputs: &'a [T], form: impl Fn(&'a T) -> R + 'a) -> impl FnMut() + 'a {
    move || {
        for input in inputs {
            black_box(form(black_box(input)));
        }
    }
}

// ---- Headers and their texts.

fn headers(race: Race) {
    println!("| headers and their texts | ours, ns | naive, ns | ours / naive (range) |\n|---|---:|---:|---|");
    let row = |name: &str, ours: &mut dyn FnMut(), naive: &mut dyn FnMut()| {
        let [ours, naive] = race.run([ours, naive]);
        println!("| {name} | {} | {} | {} |", ours.median(), naive.median(), ours.over(&naive));
    };

    let files: Vec<File> = (0..INPUTS).map(File::example).collect();
    let answers: Vec<HeaderMap> = files.iter().map(answer).collect();
    for (file, answer) in files.iter().zip(&answers) {
        let (file_type, attributes) = Attributes::decode(&Fields::from_headers(answer)).unwrap();
        assert_eq!((file_type, attributes), (Some(FileType::File), *file.entry.attributes()));
        assert_eq!(decode_naively(answer).unwrap(), (file.mode, file.uid, file.gid, file.atime, file.mtime));
        assert_eq!(encode_six(file), encode_six_naively(file));
        assert_eq!(file.entry.encode(&file.profile), encode_all_naively(file));
    }
    row(
        "decode six headers out of 14",
        &mut each(&answers, |headers| Attributes::decode(&Fields::from_headers(headers))),
        &mut each(&answers, decode_naively),
    );
    row("encode six headers", &mut each(&files, encode_six), &mut each(&files, encode_six_naively));
    row(
        "encode them and `Content-Type`",
        &mut each(&files, |file| file.entry.encode(&file.profile)),
        &mut each(&files, encode_all_naively),
    );

    let times: Vec<String> = files.iter().map(|file| format!("{}ns", file.mtime)).collect();
    let modes: Vec<String> = files.iter().map(|file| format!("{:07o}", file.mode)).collect();
    let ids: Vec<String> = files.iter().map(|file| file.uid.to_string()).collect();
    row(
        "parse a time",
        &mut each(&times, |text| Timestamp::parse(text.as_bytes())),
        &mut each(&times, |text| std::str::from_utf8(text.as_bytes()).ok()?.strip_suffix("ns")?.parse::<i64>().ok()),
    );
    row(
        "parse a mode",
        &mut each(&modes, |text| Mode::parse(text.as_bytes())),
        &mut each(&modes, |text| u32::from_str_radix(std::str::from_utf8(text.as_bytes()).ok()?, 8).ok()),
    );
    row(
        "parse an id",
        &mut each(&ids, |text| Uid::parse(text.as_bytes())),
        &mut each(&ids, |text| std::str::from_utf8(text.as_bytes()).ok()?.parse::<u32>().ok()),
    );
    println!();
}

struct File {
    entry: Entry,
    profile: Profile,
    mode: u32,
    uid: u32,
    gid: u32,
    atime: i64,
    mtime: i64,
}

impl File {
    fn example(at: u32) -> Self {
        let (uid, gid) = (1000 + at % 7, 1000 + at % 5);
        let mtime = 1_595_002_920_000_000_000 + i64::from(at) * 86_399_999_999_937;
        let atime = mtime + 1_234_567_891;
        let mode = if at.is_multiple_of(3) { 0o100_755 } else { 0o100_644 };
        let attributes = Attributes {
            permissions: Permissions::from_mode(mode),
            uid: Uid::new(uid).unwrap(),
            gid: Gid::new(gid).unwrap(),
            atime: Timestamp::from_nanoseconds(atime.into()).unwrap(),
            mtime: Timestamp::from_nanoseconds(mtime.into()).unwrap(),
        };
        let key = format!("projects/run-{at:04}/sample.csv").parse().unwrap();
        let entry = Entry::new(key, EntryKind::File { size: 1 }, attributes).unwrap();
        Self { entry, profile: Profile::fsx(), mode, uid, gid, atime, mtime }
    }
}

/// The headers of an answer of S3: the six of the schema and eight others.
fn answer(file: &File) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-amz-id-2", "8Y0k1dW3l6aQ1l2oVb0r6mGkq9ZcR7cQm9h3"),
        ("x-amz-request-id", "0A49CE4060975EAC"),
        ("date", "Fri, 17 Jul 2020 16:22:00 GMT"),
        ("last-modified", "Fri, 17 Jul 2020 16:22:00 GMT"),
        ("etag", "\"d41d8cd98f00b204e9800998ecf8427e\""),
        ("accept-ranges", "bytes"),
        ("content-length", "1048576"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.extend(file.entry.encode(&file.profile));
    assert_eq!(headers.len(), 14);
    headers
}

fn decode_naively(headers: &HeaderMap) -> Option<(u32, u32, u32, i64, i64)> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    Some((
        u32::from_str_radix(text("x-amz-meta-file-permissions")?, 8).ok()?,
        text("x-amz-meta-file-owner")?.parse().ok()?,
        text("x-amz-meta-file-group")?.parse().ok()?,
        text("x-amz-meta-file-atime")?.strip_suffix("ns")?.parse().ok()?,
        text("x-amz-meta-file-mtime")?.strip_suffix("ns")?.parse().ok()?,
    ))
}

fn encode_six(file: &File) -> HeaderMap {
    let mut headers = file.entry.attributes().encode(FileType::File);
    headers.insert(USER_AGENT.clone(), file.profile.user_agent.clone());
    headers
}

fn encode_six_naively(file: &File) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-amz-meta-file-permissions", format!("{:07o}", file.mode)),
        ("x-amz-meta-file-owner", format!("{}", file.uid)),
        ("x-amz-meta-file-group", format!("{}", file.gid)),
        ("x-amz-meta-file-atime", format!("{}ns", file.atime)),
        ("x-amz-meta-file-mtime", format!("{}ns", file.mtime)),
        ("x-amz-meta-user-agent", "aws-fsx-lustre".to_owned()),
    ] {
        headers.insert(black_box(name).parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

fn encode_all_naively(file: &File) -> HeaderMap {
    let mut headers = encode_six_naively(file);
    let content_type = mime_guess::from_path(file.entry.key().as_str()).first_or_octet_stream().to_string();
    headers.insert(black_box("content-type").parse::<HeaderName>().unwrap(), content_type.parse().unwrap());
    headers
}

// ---- Keys.

fn keys(race: Race) {
    let mut from_bytes = vec!["| key from bytes | bytes | ours, ns | naive, ns | ours / naive (range) |".to_owned()];
    from_bytes.push("|---|---:|---:|---:|---|".to_owned());
    let mut from_text = vec![
        "| key from text | ours, ns | `Box<str>`, ns | ours / `Box<str>` (range) | check, ns | copy, ns | check / copy |"
            .to_owned(),
    ];
    from_text.push("|---|---:|---:|---|---:|---:|---|".to_owned());
    let directories = |at: u32, length: usize| -> String {
        let names = (0..64).map(|depth| format!("directory-{:05}/", at * 97 + depth * 31));
        names.collect::<String>().chars().take(length - 1).chain(['x']).collect()
    };
    let examples: [(&str, &dyn Fn(u32) -> String); 10] = [
        ("short", &|at| format!("projects/run-{at:04}/sample-{at:07}.csv")),
        ("middle", &|at| directories(at, 100)),
        ("long", &|at| directories(at, 1000)),
        ("names of 255 bytes", &|at| [255, 255, 255, 232].map(|length| format!("{at:0length$}")).join("/")),
        ("hidden names", &|at| format!("home/.config/.cache/run-{at:04}/.lock-a")),
        ("names like `..a`", &|at| format!("home/..config/.../run-{at:04}/..lock-a")),
        ("not ASCII, short", &|at| format!("データ/実験-{at:04}/結果.csv")),
        ("not ASCII, middle", &|at| format!("データ/実験-{at:04}/{}/結果.csv", "温度の記録".repeat(4))),
        ("refused: `..`", &|at| format!("projects/run-{at:04}/../../../etc/pass")),
        ("refused: name of 256 bytes", &|at| format!("projects/{at:0256}")),
    ];
    for (name, example) in examples {
        let texts: Vec<String> = (0..INPUTS).map(example).collect();
        for text in &texts {
            let naive = parse_naively(text.as_bytes());
            assert_eq!(Key::from_bytes(text.as_bytes()).ok().map(|key| key.as_str().into()), naive.ok());
        }
        let [ours, naive] = race.run([
            &mut each(&texts, |text| Key::from_bytes(text.as_bytes())),
            &mut each(&texts, |text| parse_naively(text.as_bytes())),
        ]);
        let (bytes, ratio) = (texts[0].len(), ours.over(&naive));
        from_bytes.push(format!("| {name} | {bytes} | {} | {} | {ratio} |", ours.median(), naive.median()));
        if Key::parse(&texts[0]).is_err() {
            continue;
        }

        // The check without the allocation: the text goes in and comes out, and its memory with it; less what the
        // same way costs without a check.
        let (mut owned, mut handed) = (texts.clone(), texts.clone());
        let mut checked = || {
            for slot in &mut owned {
                *slot = Key::try_from(black_box(std::mem::take(slot))).unwrap().into();
            }
        };
        let mut unchecked = || {
            for slot in &mut handed {
                *slot = black_box(black_box(std::mem::take(slot)).into_boxed_str()).into();
            }
        };
        let mut buffer = [0_u8; Key::MAX_BYTES];
        let mut copy = || {
            for text in &texts {
                let text = black_box(text);
                black_box(&mut buffer)[..text.len()].copy_from_slice(text.as_bytes());
            }
        };
        let [ours, boxed, checked, unchecked, copy] = race.run([
            &mut each(&texts, |text| Key::parse(text)),
            &mut each(&texts, |text| Box::<str>::from(text.as_str())),
            &mut checked,
            &mut unchecked,
            &mut copy,
        ]);
        let check = checked.less(&unchecked);
        let whole = format!("{} | {} | {}", ours.median(), boxed.median(), ours.over(&boxed));
        let alone = format!("{} | {} | {}", check.median(), copy.median(), check.over(&copy));
        from_text.push(format!("| {name} | {whole} | {alone} |"));
    }
    println!("{}\n\n{}", from_bytes.join("\n"), from_text.join("\n"));
}

fn parse_naively(key: &[u8]) -> Result<Box<str>, String> {
    let text = std::str::from_utf8(key).map_err(|error| format!("invalid key {key:?}: {error}"))?;
    if text.is_empty() || text.len() > 1024 {
        return Err(format!("invalid key {text:?}: {} bytes", text.len()));
    }
    for name in text.strip_suffix('/').unwrap_or(text).split('/') {
        if name.is_empty() || name == "." || name == ".." || name.len() > 255 || name.contains('\0') {
            return Err(format!("invalid key {text:?}: {name:?}"));
        }
    }
    Ok(text.into())
}
