//! The tables of the documentation, held to the tests.

use crate::named::tests_in;

const PAGE: &str = include_str!("../../src/docs/reliability.md");

/// Every file in which a test of the tables may be.
const TESTS: [&str; 15] = [
    include_str!("advisories.rs"),
    include_str!("answers.rs"),
    include_str!("attributes.rs"),
    include_str!("keys.rs"),
    include_str!("links.rs"),
    include_str!("listing.rs"),
    include_str!("mounts.rs"),
    include_str!("names.rs"),
    include_str!("roots.rs"),
    include_str!("../s3_http.rs"),
    include_str!("../s3_http/streams.rs"),
    include_str!("../../src/store/s3/wire.rs"),
    include_str!("../../src/store/s3/http/agent.rs"),
    include_str!("../../src/store/s3/http/bucket.rs"),
    include_str!("../../src/store/s3/http/xml.rs"),
];

/// What the research behind the threat model names.
const ADVISORIES: [&str; 48] = [
    "CVE-2026-54572",
    "CVE-2026-88016",
    "GHSA-945v-v9p3-v5xw",
    "GHSA-7p4m-qxvv-g567",
    "GHSA-8v25-v8p6-qf7v",
    "GHSA-8mxv-9xhp-86h4",
    "CVE-2024-52522",
    "CVE-2024-12084",
    "CVE-2024-12085",
    "CVE-2024-12086",
    "CVE-2024-12087",
    "CVE-2024-12088",
    "CVE-2024-12747",
    "CVE-2021-32061",
    "CVE-2026-15717",
    "CVE-2018-20990",
    "CVE-2021-38511",
    "CVE-2025-62518",
    "GHSA-3wgq-wrwc-vqmv",
    "CVE-2024-51756",
    "GHSA-hp8f-xmx4-4qrg",
    "CVE-2026-39822",
    "RUSTSEC-2026-0269",
    "RUSTSEC-2026-0194",
    "RUSTSEC-2026-0195",
    "CVE-2018-1002200",
    "CVE-2025-4517",
    "CVE-2025-4330",
    "CVE-2025-4138",
    "CVE-2024-12718",
    "CVE-2026-23745",
    "CVE-2026-23950",
    "CVE-2021-21300",
    "CVE-2026-44471",
    "minizip-ng#1039",
    "juicefs#7401",
    "s5cmd#872",
    "tar-rs#442",
    "tar-rs#441",
    "rustic_core#571",
    "aws-cli#10579",
    "mountpoint-s3#725",
    "duplicacy#691",
    "minio-go#2305",
    "minio-go#1704",
    "arrow-rs-object-store#609",
    "rclone, gid from uid",
    "rsync 3.5.0, CWE-117",
];

fn names_in(row: &str) -> Vec<&str> {
    row.split('`')
        .filter(|part| {
            part.starts_with(|first: char| first.is_ascii_lowercase())
                && part.contains('_')
                && !part.contains([' ', '(', '/'])
        })
        .collect()
}

fn assert_is_a_test(name: &str) {
    assert!(TESTS.iter().any(|file| tests_in(file).contains(name)), "there is no test {name}");
}

#[test]
fn every_row_of_the_threat_model_names_a_test_with_its_number() {
    for number in 1..=38 {
        let start = format!("| A{number:02} |");
        let row = PAGE.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{start}"));
        let names = names_in(row);
        assert!(names.iter().any(|name| name.starts_with(&format!("a{number:02}_"))), "{row}");
        names.into_iter().for_each(assert_is_a_test);
    }
}

#[test]
fn every_advisory_names_a_test() {
    for advisory in ADVISORIES {
        let start = format!("| {advisory} |");
        let row = PAGE.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{start}"));
        let names = names_in(row);
        assert!(!names.is_empty(), "{row}");
        names.into_iter().for_each(assert_is_a_test);
    }
}

#[test]
fn every_test_with_a_number_is_in_the_table() {
    for file in TESTS {
        for name in tests_in(file) {
            let digits = name.get(1..3).is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
            if name.starts_with('a') && digits && name.as_bytes().get(3) == Some(&b'_') {
                let row = PAGE.lines().find(|row| row.starts_with(&format!("| A{} |", &name[1..3]))).unwrap();
                assert!(row.contains(&format!("`{name}`")), "{name} is not in its row");
            }
        }
    }
}
