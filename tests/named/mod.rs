//! Which tests a file has, so that a table that names tests names what is run.

use std::collections::BTreeSet;

/// The names of the functions of a file that `cargo test` runs: those with `#[test]` right above them and no `#[ignore]`, and
/// those that `on_both_doors!` makes tests of. Read line by line, as `cargo fmt` lays it out; what is in a comment is none.
pub(crate) fn tests_in(source: &str) -> BTreeSet<&str> {
    let mut tests = BTreeSet::new();
    let (mut is_test, mut is_ignored, mut is_comment) = (false, false, false);
    // What the attribute lacks that goes on over several lines, and whether a list of names goes on.
    let (mut open, mut is_list) = (0, false);
    for line in source.lines().map(str::trim) {
        if is_comment || line.starts_with("/*") {
            is_comment = !line.contains("*/");
        } else if line.is_empty() || line.starts_with("//") {
        } else if is_list {
            is_list = line != "}";
            tests.extend(Some(line).filter(|line| is_name(line)));
        } else if open > 0 || line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            is_ignored |= line.starts_with("#[ignore") || (line.starts_with("#[cfg_attr(") && line.contains("ignore"));
            open += line.matches('[').count();
            open = open.saturating_sub(line.matches(']').count());
        } else {
            let function = line.trim_start_matches("pub(crate) ").trim_start_matches("async ").strip_prefix("fn ");
            let name = function.and_then(|rest| rest.split(['(', '<']).next());
            tests.extend(name.filter(|name| is_test && !is_ignored && is_name(name)));
            (is_test, is_ignored) = (false, false);
            is_list = line == "on_both_doors! {";
        }
    }
    tests
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[test]
fn a_helper_and_a_test_that_is_left_out_are_no_tests() {
    let source = "
        #[test]
        fn one() {
        #[test]
        // Why.
        #[allow(
            clippy::panic,
            reason = \"[a test]\"
        )]
        fn two(history in histories()) {
        #[tokio::test(flavor = \"multi_thread\")]
        async fn three() {
        on_both_doors! {
            World::new =>
            four
        }
        fn helper() {
        fn four<C: S3Calls>() {
        #[test]
        #[ignore = \"slow\"]
        fn ignored() {
        #[ignore]
        #[test]
        fn ignored_too() {
        #[test]
        #[cfg_attr(feature = \"local\", ignore)]
        fn ignored_here() {
        #[test]
        const NOTHING: () = ();
        fn behind_something_else() {
        // #[test]
        // fn in_a_comment() {
        /*
        #[test]
        fn in_a_long_comment() {
        */
        #[cfg(test)]
        fn for_tests() {
    ";
    assert_eq!(tests_in(source).into_iter().collect::<Vec<_>>(), ["four", "one", "three", "two"]);
}
