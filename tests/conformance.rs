//! Every store of this crate passes every check, and every check is failed by a store that breaks its promise.

// A test may fail loudly, also in the functions that it calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
#![allow(clippy::print_stdout, reason = "how many checks ran is part of the answer")]
#![cfg(feature = "engine")]

use broken::{Broken, Fault};
use futures_executor::block_on;
use posix_s3::store::conformance::{Capability, Outcome, PREFIXES, checks, run_all};
use posix_s3::store::{
    Body, Capabilities, Counted, DynObjectStore, GetOptions, GetOutput, ListPage, ListRequest, MemoryStore, ObjectMeta,
    ObjectStore, Precondition, PutOptions, PutOutput, StoreError, Support,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every check passes under every prefix, and none is skipped.
fn assert_conforms(name: &str, store: &dyn DynObjectStore) {
    let (mut passed, mut problems) = (0, Vec::new());
    for prefix in PREFIXES {
        let outcomes = block_on(run_all(store, prefix));
        assert_eq!(outcomes.len(), checks().len(), "{name}: every check runs");
        for (check, outcome) in outcomes {
            match outcome {
                Outcome::Passed => passed += 1,
                other => problems.push(format!("{check} under {prefix:?} {other}")),
            }
        }
    }
    println!("{name}: {passed} passed, {} did not", problems.len());
    assert!(problems.is_empty(), "{name}:\n{}", problems.join("\n"));
}

#[test]
fn memory_store_conforms() {
    assert_conforms("MemoryStore", &MemoryStore::new());
}

#[test]
fn memory_store_conforms_behind_a_reference() {
    assert_conforms("&MemoryStore", &&MemoryStore::new());
}

#[test]
fn memory_store_conforms_behind_an_arc() {
    let store: Arc<dyn DynObjectStore> = Arc::new(MemoryStore::new());
    assert_conforms("Arc<dyn DynObjectStore>", &store);
    assert_conforms("dyn DynObjectStore", &*store);
}

#[test]
fn counted_store_conforms_and_counts() {
    let store = Counted::new(MemoryStore::new());
    assert_conforms("Counted<MemoryStore>", &store);
    let calls = store.calls();
    for count in [calls.list, calls.head, calls.get, calls.put, calls.copy, calls.delete] {
        assert!(count > 0, "{calls:?}");
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
mod directory {
    use super::*;
    use posix_s3::store::DirectoryStore;

    #[test]
    fn directory_store_conforms() {
        let directory = tempfile::tempdir().unwrap();
        assert_conforms("DirectoryStore", &DirectoryStore::open(directory.path()).unwrap());
    }

    #[test]
    fn directory_store_conforms_through_two_handles() {
        let directory = tempfile::tempdir().unwrap();
        let open = || DirectoryStore::open(directory.path()).unwrap();
        assert_conforms("two handles of one DirectoryStore", &Alternating::new(open(), open()));
    }

    #[test]
    fn directory_store_is_empty_after_the_checks() {
        let directory = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(directory.path()).unwrap();
        block_on(run_all(&store, "a/"));
        assert_eq!(block_on(store.list(&ListRequest::default())).unwrap().objects, []);
        let left = std::fs::read_dir(directory.path().join(".tmp")).unwrap().count();
        assert_eq!(left, 0, "what was staged is gone");
    }
}

/// Two handles of one bucket, used in turns: what one has done the other sees.
#[cfg(all(feature = "local", target_os = "linux"))]
struct Alternating<S> {
    handles: [S; 2],
    calls: std::sync::atomic::AtomicUsize,
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl<S: ObjectStore> Alternating<S> {
    fn new(one: S, other: S) -> Self {
        Self { handles: [one, other], calls: std::sync::atomic::AtomicUsize::new(0) }
    }

    fn next(&self) -> &S {
        &self.handles[self.calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 2]
    }
}

#[cfg(all(feature = "local", target_os = "linux"))]
impl<S: ObjectStore> ObjectStore for Alternating<S> {
    fn capabilities(&self) -> Capabilities {
        self.next().capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.next().list(request).await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        self.next().head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.next().get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.next().put(key, body, options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.next().replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.next().delete(key, precondition).await
    }
}

#[test]
fn names_are_sentences_and_unique() {
    let names: Vec<&str> = checks().iter().map(|check| check.name()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    for check in checks() {
        let name = check.name();
        assert!(name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')), "{name}");
        // A key of 1,024 bytes has to have room for segments of 255 bytes behind it.
        assert!(name.len() <= 80, "{name}");
        assert!(!check.guarantee().is_empty() && !check.guarantee().ends_with('.'), "{name}");
    }
    println!("{} checks", names.len());
}

#[test]
fn checks_leave_everything_else_alone() {
    let store = MemoryStore::new();
    let others = ["a", "p", "p/other", "p/list_is_in_key_order", "q", "conformance"];
    for key in others {
        block_on(store.put(key, Body::empty(), &PutOptions::default())).unwrap();
    }
    block_on(run_all(&store, "p/"));
    let left = block_on(store.list(&ListRequest::default())).unwrap().objects;
    assert_eq!(left.iter().map(|object| object.key.as_str()).collect::<BTreeSet<_>>(), BTreeSet::from(others));
}

#[test]
fn checks_start_afresh_where_others_were_cut_off() {
    let store = MemoryStore::new();
    for check in checks() {
        for tail in ["", "a", "dir/", "zzz"] {
            let key = format!("p/{}/{tail}", check.name());
            block_on(store.put(&key, Body::empty(), &PutOptions::default())).unwrap();
        }
        assert_eq!(block_on(check.run(&store, "p/")), Outcome::Passed, "{}", check.name());
    }
}

#[test]
fn checks_run_side_by_side() {
    let store = MemoryStore::new();
    let checks = checks();
    let all = futures_util::future::join_all(checks.iter().map(|check| check.run(&store, "p/")));
    for (check, outcome) in checks.iter().zip(block_on(all)) {
        assert_eq!(outcome, Outcome::Passed, "{}", check.name());
    }
}

#[test]
fn checks_can_run_on_any_thread() {
    let store: Arc<dyn DynObjectStore> = Arc::new(MemoryStore::new());
    let run = async move { run_all(&*store, "").await.len() };
    assert_eq!(std::thread::spawn(|| block_on(run)).join().unwrap(), checks().len());
}

#[test]
fn what_a_store_is_not_capable_of_is_skipped() {
    let capabilities =
        [Capability::OrderedListing, Capability::Preconditions, Capability::ReplaceMetadata, Capability::Md5ETags];
    for missing in capabilities {
        let mut able = Capabilities::ALL;
        *match missing {
            Capability::OrderedListing => &mut able.ordered_listing,
            Capability::Preconditions => &mut able.preconditions,
            Capability::ReplaceMetadata => &mut able.replace_metadata,
            Capability::Md5ETags => &mut able.md5_etags,
            _ => panic!("a capability without a test: {missing}"),
        } = Support::No;
        let store = Broken::with_capabilities(Fault::lack_of(missing), able);
        let outcomes = block_on(run_all(&store, ""));
        let mut skipped = 0;
        for (check, (name, outcome)) in checks().iter().zip(outcomes) {
            let expected = if check.needs().contains(&missing) {
                skipped += 1;
                Outcome::Skipped(missing)
            } else {
                Outcome::Passed
            };
            assert_eq!(outcome, expected, "{name} without {missing}");
        }
        println!("without {missing}: {skipped} skipped");
        assert!(skipped > 0);
    }
}

/// The names of the checks that a store with this fault fails.
fn failed(fault: Fault) -> BTreeSet<&'static str> {
    let outcomes = block_on(run_all(&Broken::new(fault), fault.prefix()));
    outcomes.into_iter().filter(|(_, outcome)| matches!(outcome, Outcome::Failed(_))).map(|(name, _)| name).collect()
}

#[test]
fn each_fault_is_caught_by_the_checks_that_name_it_and_each_check_catches_one() {
    let names: BTreeSet<&str> = checks().iter().map(|check| check.name()).collect();
    let (mut caught, mut named, mut problems) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (fault, expected) in broken::FAULTS {
        let failed = failed(*fault);
        for name in *expected {
            assert!(names.contains(name), "{fault:?} names {name}, which is no check");
            if !failed.contains(name) {
                problems.push(format!("{fault:?} is not caught by {name}, but by {failed:?}"));
            }
            named.insert(*name);
        }
        caught.extend(failed);
    }
    println!("{} faults, {} checks named, {} checks failed", broken::FAULTS.len(), named.len(), caught.len());
    let idle: Vec<_> = names.difference(&named).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(idle.is_empty(), "checks that no fault names: {idle:#?}");
}

#[test]
fn a_store_without_a_fault_passes() {
    assert_eq!(failed(Fault::Flawless), BTreeSet::new());
}

/// Stores that break one promise each.
mod broken {
    use super::*;
    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http::{HeaderMap, HeaderValue};
    use posix_s3::Timestamp;
    use posix_s3::store::{ETag, ListedObject, Operation, StoreErrorKind};
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, MutexGuard};

    /// What is wrong with a store.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Fault {
        Flawless,
        // Keys.
        FoldsSlashes,
        ResolvesDots,
        LosesTrailingSlash,
        LosesLeadingSlash,
        TrimsKeys,
        DropsControls,
        DropsLineBreaks,
        CutsAtNul,
        DecodesKeys,
        CutsQueries,
        TurnsBackslashes,
        UnescapesKeys,
        DropsWildcards,
        ComposesKeys,
        NarrowsKeys,
        LowersKeys,
        CutsKeys,
        CutsSegments,
        RefusesWideKeys,
        RefusesDeepKeys,
        RefusesReservedNames,
        TakesLongKeys,
        CountsCharacters,
        TakesEmptyKeys,
        // Listings.
        ListsBackwards,
        ListsInUtf16,
        ListsPagesAgain,
        ListsFolders,
        LosesTheLastOfAPage,
        IgnoresMaxKeys,
        MissesNothing,
        EndsPrefixesAtSlashes,
        TakesPrefixesForPatterns,
        LeavesThePrefixOut,
        ListsNoSizes,
        ListsOtherTimes,
        NeedsTheKeyOfAToken,
        TakesTokensOnce,
        TakesAnyToken,
        CountsFromTheStart,
        HasOneCursor,
        // Puts.
        TruncatesBodies,
        ConvertsLineEnds,
        LosesTrailingZeros,
        RefusesEmptyBodies,
        ReadsOnePiece,
        EmptiesDirectories,
        OverwritesInPlace,
        AnswersOldHeads,
        HasAFrozenClock,
        HasAClockThatGoesBack,
        AnswersOtherETags,
        AnswersOtherTimes,
        MakesETagsOfSizes,
        MakesETagsThatAreNoMd5,
        ClobbersOnFailedBodies,
        HidesCauses,
        TakesWrongSizes,
        DeletesOnRefusal,
        DeletesBeforeItPuts,
        KeepsLocksOfDroppedPuts,
        MixesHeadersOfPuts,
        ChangesItsCapabilities,
        // Headers.
        DropsHeaders,
        LowersValues,
        DropsEmptyValues,
        PutsQuestionMarks,
        KeepsTenHeaders,
        KeepsTheLastOfRepeated,
        HasOneContentType,
        AddsMetadata,
        DropsHeadersOfDirectories,
        RefusesOneKb,
        DropsMetadataOver2Kb,
        MergesHeaders,
        RemembersHeaders,
        SkipsTheSameBytes,
        GetsWithoutHeaders,
        // Gets.
        DeniesWhatIsMissing,
        InventsDirectories,
        IgnoresRanges,
        RefusesLongRanges,
        AnswersRangesOfNothing,
        IncludesTheEndOfRanges,
        AnswersTheSizeOfTheRange,
        IgnoresIfMatch,
        RefusesIfMatch,
        ReadsLater,
        LocksWhileItIsRead,
        // Metadata replaced in place.
        RefusesToReplace,
        ReplacesETags,
        EmptiesWhatItReplaces,
        RefusesTheSameHeaders,
        ReplacesWhatIsMissing,
        ReplacesLater,
        ReplacesTheFile,
        ReplacesInTwoSteps,
        ReplacesByReadAndPut,
        // Deletes.
        DeletesNothing,
        RefusesToDeleteNothing,
        DeletesContents,
        DeletesEmptyDirectories,
        DeletesByPattern,
        DeletesInTwoSteps,
        // Preconditions.
        IgnoresPreconditions,
        ChecksBeforeItReads,
        RefusesAbsent,
        RefusesMatch,
        MatchesNothing,
        NeverForgetsKeys,
        FindsContentsPresent,
        EndsVersionsOnReplace,
    }
    use Fault::*;

    /// Each fault, and the checks that are there for it.
    pub(super) const FAULTS: &[(Fault, &[&str])] = &[
        (FoldsSlashes, &["keys_keep_empty_segments", "keys_of_many_segments_are_kept"]),
        (ResolvesDots, &["keys_keep_dot_segments", "list_prefix_is_compared_exactly"]),
        (LosesTrailingSlash, &["a_key_and_the_key_with_a_slash_are_two_objects", "directories_keep_their_headers"]),
        (LosesLeadingSlash, &["keys_keep_leading_slashes", "list_is_in_key_order"]),
        (TrimsKeys, &["keys_keep_spaces_at_the_ends"]),
        (DropsControls, &["keys_keep_control_characters"]),
        (DropsLineBreaks, &["keys_keep_line_breaks"]),
        (CutsAtNul, &["keys_with_nul_are_kept_or_refused"]),
        (DecodesKeys, &["keys_keep_percent_and_plus"]),
        (CutsQueries, &["keys_keep_question_marks_and_hashes"]),
        (TurnsBackslashes, &["keys_keep_backslashes"]),
        (UnescapesKeys, &["keys_keep_quotes_and_markup"]),
        (DropsWildcards, &["keys_keep_wildcards"]),
        (ComposesKeys, &["keys_keep_their_normal_form"]),
        (NarrowsKeys, &["keys_keep_all_of_unicode"]),
        (LowersKeys, &["keys_differ_in_case", "list_prefix_is_compared_exactly"]),
        (CutsKeys, &["keys_of_1024_bytes_are_kept"]),
        (CutsSegments, &["keys_of_long_segments_are_kept"]),
        (RefusesWideKeys, &["keys_of_1024_wide_bytes_are_kept"]),
        (RefusesDeepKeys, &["keys_of_many_segments_are_kept"]),
        (RefusesReservedNames, &["keys_keep_names_that_mean_something_elsewhere"]),
        (TakesLongKeys, &["keys_over_1024_bytes_are_refused", "the_key_limit_counts_bytes"]),
        (CountsCharacters, &["the_key_limit_counts_bytes"]),
        (TakesEmptyKeys, &["an_empty_key_is_refused"]),
        (ListsBackwards, &["list_is_in_key_order", "list_order_goes_on_across_pages"]),
        (ListsInUtf16, &["list_order_is_that_of_utf_8"]),
        (ListsPagesAgain, &["list_shows_each_key_once"]),
        (ListsFolders, &["list_shows_keys_only"]),
        (LosesTheLastOfAPage, &["list_pages_join_to_the_whole"]),
        (IgnoresMaxKeys, &["list_page_is_no_longer_than_asked"]),
        (MissesNothing, &["list_of_nothing_is_empty"]),
        (EndsPrefixesAtSlashes, &["list_prefix_is_text"]),
        (TakesPrefixesForPatterns, &["list_prefix_is_compared_exactly"]),
        (LeavesThePrefixOut, &["list_prefix_finds_the_key_itself"]),
        (ListsNoSizes, &["list_shows_size_and_etag"]),
        (ListsOtherTimes, &["list_and_head_agree_on_last_modified"]),
        (NeedsTheKeyOfAToken, &["list_token_goes_on_after_the_last_key_was_deleted"]),
        (TakesTokensOnce, &["list_token_can_be_used_again"]),
        (TakesAnyToken, &["list_token_of_no_store_is_refused"]),
        (
            CountsFromTheStart,
            &["list_holds_what_was_there_all_along", "list_token_goes_on_after_the_last_key_was_deleted"],
        ),
        (HasOneCursor, &["listings_do_not_disturb_each_other"]),
        (TruncatesBodies, &["put_then_get_answers_the_bytes", "put_reads_a_source_in_pieces"]),
        (ConvertsLineEnds, &["put_takes_bytes_as_they_are"]),
        (LosesTrailingZeros, &["put_takes_runs_of_zeros"]),
        (RefusesEmptyBodies, &["put_takes_an_empty_body", "put_takes_an_empty_source"]),
        (ReadsOnePiece, &["put_reads_a_source_in_pieces"]),
        (EmptiesDirectories, &["put_takes_a_body_for_a_directory"]),
        (OverwritesInPlace, &["put_replaces_the_bytes_as_a_whole"]),
        (AnswersOldHeads, &["put_is_seen_at_once"]),
        (HasAFrozenClock, &["put_moves_last_modified", "replace_metadata_moves_last_modified"]),
        (HasAClockThatGoesBack, &["last_modified_does_not_go_back"]),
        (AnswersOtherETags, &["put_answers_the_etag_that_is_seen"]),
        (
            AnswersOtherTimes,
            &["put_answers_the_last_modified_that_is_seen", "replace_metadata_answers_the_last_modified_that_is_seen"],
        ),
        (MakesETagsOfSizes, &["etag_changes_with_the_bytes"]),
        (MakesETagsThatAreNoMd5, &["etag_is_the_md5_of_the_body"]),
        (
            ClobbersOnFailedBodies,
            &[
                "a_body_that_fails_puts_nothing",
                "a_body_that_fails_leaves_the_old_object",
                "a_body_that_fails_late_leaves_the_old_object",
            ],
        ),
        (HidesCauses, &["a_body_that_fails_is_the_cause_of_the_error"]),
        (
            TakesWrongSizes,
            &["a_source_that_answers_too_few_bytes_puts_nothing", "a_source_that_answers_too_many_bytes_puts_nothing"],
        ),
        (DeletesOnRefusal, &["a_refused_put_leaves_the_old_object"]),
        (DeletesBeforeItPuts, &["a_put_that_is_dropped_leaves_old_or_new"]),
        (KeepsLocksOfDroppedPuts, &["a_put_that_is_dropped_stands_in_no_way"]),
        (MixesHeadersOfPuts, &["puts_side_by_side_leave_one_of_them"]),
        (ChangesItsCapabilities, &["capabilities_do_not_change"]),
        (DropsHeaders, &["put_then_head_shows_size_etag_and_headers", "header_names_ignore_case"]),
        (LowersValues, &["header_values_are_kept_byte_for_byte"]),
        (DropsEmptyValues, &["empty_header_values_are_kept"]),
        (PutsQuestionMarks, &["header_values_beyond_ascii_are_not_falsified"]),
        (KeepsTenHeaders, &["several_user_metadata_are_kept"]),
        (KeepsTheLastOfRepeated, &["repeated_header_names_lose_no_value"]),
        (HasOneContentType, &["content_type_is_kept"]),
        (AddsMetadata, &["no_user_metadata_is_made_up"]),
        (DropsHeadersOfDirectories, &["directories_keep_their_headers"]),
        (RefusesOneKb, &["user_metadata_of_2_kb_is_taken", "replace_metadata_takes_2_kb"]),
        (
            DropsMetadataOver2Kb,
            &[
                "user_metadata_over_2_kb_is_refused",
                "replace_metadata_refuses_more_than_2_kb",
                "a_refused_put_leaves_the_old_object",
            ],
        ),
        (MergesHeaders, &["put_replaces_headers_as_a_whole", "replace_metadata_replaces_headers_as_a_whole"]),
        (
            RemembersHeaders,
            &[
                "put_without_headers_removes_them",
                "replace_metadata_may_remove_all_headers",
                "delete_then_put_is_a_new_object",
            ],
        ),
        (SkipsTheSameBytes, &["put_of_the_same_bytes_replaces_headers"]),
        (GetsWithoutHeaders, &["head_and_get_show_the_same_headers"]),
        (
            DeniesWhatIsMissing,
            &[
                "head_of_a_missing_key_is_not_found",
                "get_of_a_missing_key_is_not_found",
                "get_if_match_of_a_missing_key_is_not_found",
            ],
        ),
        (InventsDirectories, &["what_leads_to_a_key_is_no_object"]),
        (IgnoresRanges, &["get_answers_the_range_asked_for"]),
        (RefusesLongRanges, &["get_cuts_a_range_at_the_end"]),
        (AnswersRangesOfNothing, &["get_refuses_a_range_behind_the_end", "get_refuses_a_range_of_nothing"]),
        (IncludesTheEndOfRanges, &["get_answers_the_range_asked_for", "get_ranges_join_to_the_whole"]),
        (AnswersTheSizeOfTheRange, &["get_of_a_range_shows_the_whole_object"]),
        (IgnoresIfMatch, &["get_if_match_refuses_another_version"]),
        (RefusesIfMatch, &["get_if_match_answers_the_version_named"]),
        (ReadsLater, &["a_get_during_an_overwrite_answers_one_version", "a_get_during_a_delete_answers_one_version"]),
        (LocksWhileItIsRead, &["a_get_that_is_dropped_stands_in_no_way"]),
        (RefusesToReplace, &["replace_metadata_of_a_missing_key_is_not_found"]),
        (ReplacesETags, &["replace_metadata_keeps_bytes_and_etag"]),
        (EmptiesWhatItReplaces, &["replace_metadata_keeps_bytes_and_etag"]),
        (RefusesTheSameHeaders, &["replace_metadata_may_change_nothing"]),
        (
            ReplacesWhatIsMissing,
            &["replace_metadata_of_a_missing_key_is_not_found", "replace_metadata_if_match_refuses_a_missing_key"],
        ),
        (ReplacesLater, &["replace_metadata_is_seen_at_once"]),
        (ReplacesTheFile, &["replace_metadata_of_a_directory_is_its_own"]),
        (ReplacesInTwoSteps, &["replace_metadata_that_is_dropped_leaves_old_or_new"]),
        (ReplacesByReadAndPut, &["replace_metadata_beside_a_put_mixes_nothing"]),
        (DeletesNothing, &["delete_removes_the_object"]),
        (RefusesToDeleteNothing, &["delete_of_a_missing_key_is_no_error"]),
        (DeletesContents, &["delete_of_a_directory_leaves_its_contents"]),
        (DeletesEmptyDirectories, &["delete_of_the_contents_leaves_the_directory"]),
        (DeletesByPattern, &["delete_is_of_one_key"]),
        (DeletesInTwoSteps, &["a_delete_that_is_dropped_leaves_the_object_or_nothing"]),
        (
            IgnoresPreconditions,
            &[
                "put_if_absent_refuses_a_key_that_is_there",
                "put_if_match_refuses_another_version",
                "put_if_match_refuses_a_missing_key",
                "delete_if_match_refuses_another_version",
                "delete_if_match_refuses_a_missing_key",
                "delete_if_absent_deletes_nothing",
                "replace_metadata_if_match_refuses_another_version",
                "replace_metadata_if_absent_is_refused",
            ],
        ),
        (
            ChecksBeforeItReads,
            &[
                "of_two_puts_if_absent_one_happens",
                "of_two_puts_if_match_one_happens",
                "of_a_put_and_a_delete_if_match_one_happens",
            ],
        ),
        (RefusesAbsent, &["put_if_absent_makes_an_object"]),
        (
            RefusesMatch,
            &[
                "put_if_match_replaces_the_version_named",
                "delete_if_match_deletes_the_version_named",
                "replace_metadata_if_match_replaces_the_version_named",
            ],
        ),
        (MatchesNothing, &["put_if_match_refuses_a_missing_key", "delete_if_match_refuses_a_missing_key"]),
        (NeverForgetsKeys, &["put_if_absent_goes_on_after_a_delete"]),
        (FindsContentsPresent, &["put_if_absent_knows_directories_apart"]),
        (EndsVersionsOnReplace, &["replaced_metadata_is_the_same_version"]),
    ];

    impl Fault {
        /// The prefix under which the fault shows.
        pub(super) fn prefix(self) -> &'static str {
            if self == LosesLeadingSlash { "/" } else { "" }
        }

        /// What a store without this capability does when it is asked all the same.
        pub(super) fn lack_of(capability: Capability) -> Self {
            match capability {
                Capability::OrderedListing => ListsBackwards,
                Capability::Preconditions => IgnoresPreconditions,
                Capability::Md5ETags => Flawless,
                _ => RefusesToReplace,
            }
        }

        /// The key under which the store keeps an object.
        fn key(self, key: &str) -> String {
            match self {
                FoldsSlashes => key.split('/').enumerate().fold(String::new(), |folded, (at, segment)| {
                    let slash = if at > 0 && !folded.ends_with('/') { "/" } else { "" };
                    folded + slash + segment
                }),
                ResolvesDots => {
                    let mut segments: Vec<&str> = Vec::new();
                    for segment in key.split('/') {
                        match segment {
                            "." => {}
                            ".." => drop(segments.pop()),
                            _ => segments.push(segment),
                        }
                    }
                    segments.join("/")
                }
                LosesTrailingSlash => key.trim_end_matches('/').into(),
                LosesLeadingSlash => key.trim_start_matches('/').into(),
                TrimsKeys => key.trim_matches(' ').into(),
                DropsControls => key.replace(|c: char| c.is_control() && !"\n\r\0".contains(c), ""),
                DropsLineBreaks => key.replace(['\n', '\r'], ""),
                CutsAtNul => key.split('\0').next().unwrap().into(),
                DecodesKeys => key.replace("%20", " ").replace("%2F", "/"),
                CutsQueries => key.split(['?', '#']).next().unwrap().into(),
                TurnsBackslashes => key.replace('\\', "/"),
                UnescapesKeys => key.replace("&amp;", "&"),
                DropsWildcards => key.replace('*', ""),
                ComposesKeys => key.replace("e\u{301}", "\u{e9}"),
                NarrowsKeys => key.replace(|c: char| c.len_utf8() == 4, "\u{fffd}"),
                LowersKeys => key.to_lowercase(),
                CutsKeys => cut(key, 1000).into(),
                CutsSegments => key.split('/').map(|segment| cut(segment, 255)).collect::<Vec<_>>().join("/"),
                TakesLongKeys => cut(key, 1024).into(),
                CountsCharacters if key.chars().count() <= 1024 => cut(key, 1024).into(),
                TakesEmptyKeys if key.is_empty() => "empty".into(),
                _ => key.into(),
            }
        }

        fn refuses_key(self, key: &str) -> bool {
            match self {
                RefusesWideKeys => key.len() > 512 && !key.is_ascii(),
                RefusesDeepKeys => key.split('/').count() > 100,
                RefusesReservedNames => key.ends_with("/.tmp"),
                _ => false,
            }
        }

        fn body(self, key: &str, old: &[u8], new: Vec<u8>) -> Vec<u8> {
            match self {
                ConvertsLineEnds => String::from_utf8(new)
                    .map_or_else(|error| error.into_bytes(), |text| text.replace("\r\n", "\n").into_bytes()),
                LosesTrailingZeros => {
                    new[..new.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)].to_vec()
                }
                EmptiesDirectories if key.ends_with('/') => Vec::new(),
                OverwritesInPlace if old.len() > new.len() => [&new, &old[new.len()..]].concat(),
                _ => new,
            }
        }

        fn headers(self, key: &str, new: &HeaderMap, old: &HeaderMap) -> HeaderMap {
            let each = |map: &dyn Fn(&HeaderValue) -> Vec<u8>| {
                let map = |(name, value): (_, &HeaderValue)| (name, HeaderValue::from_bytes(&map(value)).unwrap());
                new.iter().map(|(name, value)| map((name.clone(), value))).collect::<HeaderMap>()
            };
            let mut headers = new.clone();
            match self {
                DropsHeaders => headers.clear(),
                LowersValues => return each(&|value| value.as_bytes().to_ascii_lowercase()),
                DropsEmptyValues => {
                    let full = new.iter().filter(|(_, value)| !value.is_empty());
                    return full.map(|(name, value)| (name.clone(), value.clone())).collect();
                }
                PutsQuestionMarks => {
                    let ascii = |byte: &u8| if byte.is_ascii() { *byte } else { b'?' };
                    return each(&|value| value.as_bytes().iter().map(ascii).collect());
                }
                KeepsTenHeaders => {
                    return new.iter().take(10).map(|(name, value)| (name.clone(), value.clone())).collect();
                }
                KeepsTheLastOfRepeated => {
                    headers.clear();
                    for (name, value) in new {
                        headers.insert(name, value.clone());
                    }
                }
                HasOneContentType => {
                    headers.insert("content-type", HeaderValue::from_static("binary/octet-stream"));
                }
                AddsMetadata => {
                    headers.insert("x-amz-meta-added", HeaderValue::from_static("by the store"));
                }
                DropsHeadersOfDirectories if key.ends_with('/') => headers.clear(),
                DropsMetadataOver2Kb if posix_s3::user_metadata_size(new) > 2048 => headers.clear(),
                MergesHeaders => {
                    headers.clone_from(old);
                    for (name, value) in new {
                        headers.insert(name, value.clone());
                    }
                }
                _ => {}
            }
            headers
        }
    }

    fn cut(text: &str, bytes: usize) -> &str {
        &text[..(0..=bytes.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap()]
    }

    fn fail<T>(operation: Operation, key: &str, kind: StoreErrorKind) -> Result<T, StoreError> {
        Err(StoreError::new(operation, key, kind))
    }

    async fn step_aside() {
        let mut waited = false;
        std::future::poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut waited, true) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    /// A store that is right but for one fault.
    pub(super) struct Broken {
        store: Arc<MemoryStore>,
        fault: Fault,
        capabilities: Capabilities,
        kept: Mutex<Kept>,
        being_read: Arc<AtomicBool>,
    }

    /// What the faults have to remember.
    #[derive(Default)]
    struct Kept {
        puts: usize,
        heads: BTreeMap<String, ObjectMeta>,
        headers: BTreeMap<String, HeaderMap>,
        keys: BTreeSet<String>,
        locks: BTreeSet<String>,
        tokens: BTreeSet<String>,
        cursor: Option<String>,
        replaced: BTreeSet<String>,
    }

    impl Broken {
        pub(super) fn new(fault: Fault) -> Self {
            Self::with_capabilities(fault, Capabilities::ALL)
        }

        pub(super) fn with_capabilities(fault: Fault, capabilities: Capabilities) -> Self {
            Self {
                store: Arc::new(MemoryStore::new()),
                fault,
                capabilities,
                kept: Mutex::default(),
                being_read: Arc::new(AtomicBool::new(false)),
            }
        }

        fn kept(&self) -> MutexGuard<'_, Kept> {
            self.kept.lock().unwrap()
        }

        async fn bytes(&self, key: &str) -> Vec<u8> {
            let Ok(output) = self.store.get(key, &GetOptions::default()).await else { return Vec::new() };
            output.body.map(|piece| piece.unwrap().to_vec()).concat().await
        }

        async fn keys(&self, prefix: &str) -> Vec<String> {
            let request = ListRequest { prefix: prefix.into(), ..ListRequest::default() };
            self.store.list(&request).await.unwrap().objects.into_iter().map(|object| object.key).collect()
        }

        async fn headers(&self, key: &str, new: &HeaderMap) -> HeaderMap {
            let old = self.store.head(key).await.map(|meta| meta.headers).unwrap_or_default();
            if self.fault == RemembersHeaders {
                let mut kept = self.kept();
                let remembered = kept.headers.entry(key.into()).or_default();
                if !new.is_empty() {
                    remembered.clone_from(new);
                }
                return remembered.clone();
            }
            self.fault.headers(key, new, &old)
        }

        /// The precondition as the store understands it, or an error.
        async fn precondition(
            &self,
            operation: Operation,
            key: &str,
            precondition: &Precondition,
        ) -> Result<Precondition, StoreError> {
            let exists = self.store.head(key).await.is_ok();
            let refused = || fail(operation, key, StoreErrorKind::PreconditionFailed);
            match (self.fault, precondition) {
                (IgnoresPreconditions, _) => Ok(Precondition::None),
                (RefusesAbsent, Precondition::Absent) | (RefusesMatch, Precondition::Match(_)) => refused(),
                (MatchesNothing, Precondition::Match(_)) if !exists => Ok(Precondition::None),
                (NeverForgetsKeys, Precondition::Absent) if self.kept().keys.contains(key) => refused(),
                (FindsContentsPresent, Precondition::Absent) if !self.keys(key).await.is_empty() => refused(),
                (EndsVersionsOnReplace, Precondition::Match(_)) if self.kept().replaced.contains(key) => refused(),
                (ChecksBeforeItReads, Precondition::Absent) if exists => refused(),
                (ChecksBeforeItReads, Precondition::Absent) => Ok(Precondition::None),
                (ChecksBeforeItReads, Precondition::Match(etag)) => match self.store.head(key).await {
                    Ok(meta) if meta.etag == *etag => Ok(Precondition::None),
                    _ => refused(),
                },
                _ => Ok(precondition.clone()),
            }
        }

        async fn read(&self, key: &str, body: &Body) -> Result<Vec<u8>, StoreError> {
            let unread = |error| {
                let failed = StoreError::new(Operation::Put, key, StoreErrorKind::Body);
                if self.fault == HidesCauses { failed } else { failed.with_source(error) }
            };
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < body.size() {
                let (offset, length) = (bytes.len() as u64, 1 << 20);
                let piece = match body {
                    Body::Source(source) if self.fault == TakesWrongSizes => {
                        let length = (body.size() - offset).min(length);
                        let piece = source.read(offset, usize::try_from(length).unwrap()).await.map_err(unread)?;
                        bytes.extend_from_slice(&piece);
                        return Ok(bytes);
                    }
                    body => body.read(offset, 1 << 20).await.map_err(unread)?,
                };
                bytes.extend_from_slice(&piece);
                if self.fault == ReadsOnePiece {
                    break;
                }
            }
            Ok(bytes)
        }

        /// The time that this store says an object was last modified.
        fn time(&self, time: Timestamp) -> Timestamp {
            match self.fault {
                HasAFrozenClock => Timestamp::EPOCH,
                HasAClockThatGoesBack => Timestamp::from_nanoseconds(-time.nanoseconds()).unwrap(),
                _ => time,
            }
        }

        /// What a change answers about its time: nothing where other faults of a clock are at work.
        fn answered(&self, time: Option<Timestamp>) -> Option<Timestamp> {
            match self.fault {
                AnswersOtherTimes => Some(Timestamp::EPOCH),
                Flawless | ChangesItsCapabilities => time,
                _ => None,
            }
        }

        fn etag(&self, etag: ETag, size: u64) -> ETag {
            match self.fault {
                MakesETagsOfSizes => ETag::new(&format!("\"{size}\"")),
                MakesETagsThatAreNoMd5 => ETag::new(&etag.as_str().chars().rev().collect::<String>()),
                _ => etag,
            }
        }

        async fn put_unlocked(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
            const INVALID: StoreErrorKind = StoreErrorKind::InvalidRequest;
            let refused = |kind| fail(Operation::Put, key, kind);
            let kb = posix_s3::user_metadata_size(&options.headers) > 1024;
            match self.fault {
                _ if self.fault.refuses_key(key) => return refused(INVALID),
                RefusesOneKb if kb => return refused(INVALID),
                RefusesEmptyBodies if body.size() == 0 => return refused(INVALID),
                LocksWhileItIsRead if self.being_read.load(Ordering::Relaxed) => {
                    return refused(StoreErrorKind::Transient);
                }
                DeletesBeforeItPuts => self.store.delete(key, &Precondition::None).await?,
                _ => {}
            }
            let mut options = options.clone();
            options.precondition = self.precondition(Operation::Put, key, &options.precondition).await?;
            options.headers = self.headers(key, &options.headers).await;
            if self.fault == MixesHeadersOfPuts {
                self.kept().headers.insert(key.into(), options.headers.clone());
            }
            let new = match self.read(key, &body).await {
                Err(error) if self.fault == ClobbersOnFailedBodies => {
                    self.store.put(key, Body::empty(), &options).await?;
                    return Err(error);
                }
                other => other?,
            };
            let old = self.bytes(key).await;
            let head = self.store.head(key).await;
            match (self.fault, head) {
                (SkipsTheSameBytes, Ok(head)) if new == old => {
                    return Ok(PutOutput { etag: head.etag, last_modified: Some(head.last_modified) });
                }
                (AnswersOldHeads, Ok(head)) => drop(self.kept().heads.insert(key.into(), head)),
                (MixesHeadersOfPuts, _) => {
                    options.headers = self.kept().headers.remove(key).unwrap_or_default();
                }
                _ => {}
            }
            let new = self.fault.body(key, &old, new);
            let size = new.len() as u64;
            let PutOutput { etag, last_modified } = self.store.put(key, Bytes::from(new).into(), &options).await?;
            let mut kept = self.kept();
            kept.puts += 1;
            kept.keys.insert(key.into());
            kept.replaced.remove(key);
            let etag = if self.fault == AnswersOtherETags { ETag::new("\"other\"") } else { self.etag(etag, size) };
            Ok(PutOutput { etag, last_modified: self.answered(last_modified) })
        }

        fn list_request(&self, request: &ListRequest) -> ListRequest {
            let mut request = request.clone();
            match (self.fault, &request.token) {
                (IgnoresMaxKeys, _) => request.max_keys = None,
                (TakesPrefixesForPatterns, _) => {
                    request.prefix.truncate(request.prefix.find('*').unwrap_or(request.prefix.len()));
                }
                (TakesAnyToken, Some(token)) if !token.starts_with(&request.prefix) => request.token = None,
                (HasOneCursor, Some(_)) => request.token = self.kept().cursor.take(),
                (HasOneCursor, None) => self.kept().cursor = None,
                _ => {}
            }
            request
        }

        async fn list_counting(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
            let skipped = request.token.as_ref().map_or(Ok(0), |token| token.parse::<usize>());
            let Ok(skipped) = skipped else {
                return fail(Operation::List, &request.prefix, StoreErrorKind::InvalidRequest);
            };
            let all = ListRequest { prefix: request.prefix.clone(), ..ListRequest::default() };
            let all = self.store.list(&all).await?.objects;
            let end = skipped + usize::from(request.max_keys.unwrap_or(1000));
            let next = (end < all.len()).then(|| end.to_string());
            let objects = all.into_iter().take(end).skip(skipped).collect();
            Ok(ListPage::new(objects, next))
        }

        async fn change_page(&self, request: &ListRequest, page: &mut ListPage) {
            let objects = &mut page.objects;
            let prefix = &request.prefix;
            match (self.fault, &request.token) {
                (ListsBackwards, _) => objects.reverse(),
                (ListsInUtf16, _) => objects.sort_by_key(|object| object.key.encode_utf16().collect::<Vec<_>>()),
                (ListsPagesAgain, Some(token)) => {
                    if let Ok(ObjectMeta { size, etag, last_modified, .. }) = self.store.head(token).await {
                        objects.insert(0, ListedObject { key: token.clone(), size, etag, last_modified });
                    }
                }
                (ListsFolders, _) => {
                    let folder = |object: &ListedObject| {
                        let slash = prefix.len() + object.key[prefix.len()..].find('/')?;
                        Some(ListedObject { key: object.key[..=slash].into(), ..object.clone() })
                    };
                    let folders: Vec<ListedObject> = objects.iter().filter_map(folder).collect();
                    objects.extend(folders);
                    objects.sort_by(|left, right| left.key.cmp(&right.key));
                    objects.dedup_by(|left, right| left.key == right.key);
                }
                (LosesTheLastOfAPage, _) if page.next.is_some() => drop(objects.pop()),
                (EndsPrefixesAtSlashes, _) => objects.retain(|object| {
                    prefix.ends_with('/') || object.key == *prefix || object.key[prefix.len()..].starts_with('/')
                }),
                (LeavesThePrefixOut, _) => objects.retain(|object| object.key != *prefix),
                (ListsNoSizes, _) => objects.iter_mut().for_each(|object| object.size = 0),
                (ListsOtherTimes, _) => objects.iter_mut().for_each(|object| object.last_modified = Timestamp::EPOCH),
                (MakesETagsOfSizes, _) => {
                    objects.iter_mut().for_each(|object| object.etag = self.etag(object.etag.clone(), object.size));
                }
                (HasOneCursor, _) => self.kept().cursor.clone_from(&page.next),
                _ => {}
            }
        }

        /// A body that is fetched piece by piece, each from whatever the key holds by then.
        fn read_later(&self, key: &str, size: u64) -> GetOutputBody {
            let (store, key) = (self.store.clone(), key.to_owned());
            let pieces = stream::unfold(0, move |start: u64| {
                let (store, key) = (store.clone(), key.clone());
                async move {
                    let options =
                        GetOptions { range: Some(start..size.min(start + (1 << 20))), ..GetOptions::default() };
                    let mut output = store.get(&key, &options).await.ok().filter(|_| start < size)?;
                    let piece = output.body.next().await?;
                    let end = start + piece.as_ref().unwrap().len() as u64;
                    Some((piece, end))
                }
            });
            pieces.boxed()
        }
    }

    type GetOutputBody = stream::BoxStream<'static, Result<Bytes, StoreError>>;

    impl ObjectStore for Broken {
        fn capabilities(&self) -> Capabilities {
            let mut capabilities = self.capabilities;
            if self.fault == ChangesItsCapabilities && self.kept().puts % 2 == 1 {
                capabilities.preconditions = Support::No;
            }
            capabilities
        }

        async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
            match (self.fault, &request.token) {
                (CountsFromTheStart, _) => return self.list_counting(request).await,
                (TakesTokensOnce, Some(token)) if !self.kept().tokens.insert(token.clone()) => {
                    return fail(Operation::List, &request.prefix, StoreErrorKind::InvalidRequest);
                }
                (NeedsTheKeyOfAToken, Some(token)) if self.store.head(token).await.is_err() => {
                    return Ok(ListPage::default());
                }
                _ => {}
            }
            let request = self.list_request(request);
            let mut page = self.store.list(&request).await?;
            if self.fault == MissesNothing && page.objects.is_empty() {
                return fail(Operation::List, &request.prefix, StoreErrorKind::NotFound);
            }
            self.change_page(&request, &mut page).await;
            page.objects.iter_mut().for_each(|object| object.last_modified = self.time(object.last_modified));
            Ok(page)
        }

        async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
            let key = &self.fault.key(key);
            if let Some(old) = self.kept().heads.get(key) {
                return Ok(old.clone());
            }
            let mut meta = match (self.fault, self.store.head(key).await) {
                (DeniesWhatIsMissing, Err(_)) => return fail(Operation::Head, key, StoreErrorKind::Denied),
                (InventsDirectories, Err(error)) => match self.keys(key).await.first() {
                    Some(below) if key.ends_with('/') => self.store.head(below).await?,
                    _ => return Err(error),
                },
                (_, other) => other?,
            };
            meta.etag = self.etag(meta.etag, meta.size);
            meta.last_modified = self.time(meta.last_modified);
            Ok(meta)
        }

        async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
            let key = &self.fault.key(key);
            let size = match (self.fault, self.store.head(key).await) {
                (DeniesWhatIsMissing, Err(_)) => return fail(Operation::Get, key, StoreErrorKind::Denied),
                (_, other) => other?.size,
            };
            let mut options = options.clone();
            match (self.fault, &mut options.range) {
                (IgnoresRanges, range) => *range = None,
                (RefusesLongRanges, Some(range)) if range.end > size => {
                    return fail(Operation::Get, key, StoreErrorKind::InvalidRequest);
                }
                (AnswersRangesOfNothing, Some(range)) if range.start >= size => {
                    let GetOutput { meta, .. } = self.store.get(key, &GetOptions::default()).await?;
                    return Ok(GetOutput { meta, body: stream::empty().boxed() });
                }
                (IncludesTheEndOfRanges, Some(range)) => range.end = range.end.saturating_add(1),
                (RefusesIfMatch, _) if options.if_match.is_some() => {
                    return fail(Operation::Get, key, StoreErrorKind::PreconditionFailed);
                }
                (IgnoresIfMatch, _) => options.if_match = None,
                _ => {}
            }
            let GetOutput { mut meta, mut body } = self.store.get(key, &options).await?;
            meta.etag = self.etag(meta.etag, meta.size);
            meta.last_modified = self.time(meta.last_modified);
            match (self.fault, options.range) {
                (TruncatesBodies, _) => {
                    body = body.map(|piece| piece.map(|piece| piece.slice(..piece.len() - 1))).boxed();
                }
                (GetsWithoutHeaders, _) => meta.headers.clear(),
                (AnswersTheSizeOfTheRange, Some(range)) => meta.size = range.end.min(size) - range.start,
                (ReadsLater, None) => body = self.read_later(key, size),
                (LocksWhileItIsRead, _) => {
                    self.being_read.store(true, Ordering::Relaxed);
                    let read = self.being_read.clone();
                    let end = stream::poll_fn(move |_| {
                        read.store(false, Ordering::Relaxed);
                        std::task::Poll::Ready(None)
                    });
                    body = body.chain(end).boxed();
                }
                _ => {}
            }
            Ok(GetOutput { meta, body })
        }

        async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
            let key = &self.fault.key(key);
            if self.fault == KeepsLocksOfDroppedPuts && !self.kept().locks.insert(key.clone()) {
                return fail(Operation::Put, key, StoreErrorKind::Transient);
            }
            let output = self.put_unlocked(key, body, options).await;
            self.kept().locks.remove(key);
            if self.fault == DeletesOnRefusal && matches!(&output, Err(e) if e.kind() == StoreErrorKind::InvalidRequest)
            {
                self.store.delete(key, &Precondition::None).await?;
            }
            output
        }

        async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
            const OPERATION: Operation = Operation::ReplaceMetadata;
            let key = &self.fault.key(key);
            let mut options = options.clone();
            options.precondition = self.precondition(OPERATION, key, &options.precondition).await?;
            let plain = PutOptions { headers: options.headers.clone(), precondition: Precondition::None };
            let head = self.store.head(key).await;
            match self.fault {
                RefusesToReplace => return fail(OPERATION, key, StoreErrorKind::Unsupported),
                RefusesOneKb if posix_s3::user_metadata_size(&options.headers) > 1024 => {
                    return fail(OPERATION, key, StoreErrorKind::InvalidRequest);
                }
                RefusesTheSameHeaders if head.as_ref().is_ok_and(|head| head.headers == options.headers) => {
                    return fail(OPERATION, key, StoreErrorKind::InvalidRequest);
                }
                ReplacesWhatIsMissing if head.is_err() => return self.store.put(key, Body::empty(), &plain).await,
                EmptiesWhatItReplaces => {
                    let PutOutput { etag, .. } = self.store.replace_metadata(key, &options).await?;
                    self.store.put(key, Body::empty(), &plain).await?;
                    return Ok(PutOutput { etag, last_modified: None });
                }
                ReplacesLater => {
                    let etag = head?.etag;
                    let late = self.kept().headers.insert(key.into(), options.headers.clone());
                    if let Some(headers) = late {
                        self.store.replace_metadata(key, &PutOptions { headers, ..options }).await?;
                    }
                    return Ok(PutOutput { etag, last_modified: None });
                }
                ReplacesTheFile => return self.store.replace_metadata(key.trim_end_matches('/'), &options).await,
                ReplacesInTwoSteps => {
                    self.store.replace_metadata(key, &PutOptions::default()).await?;
                    step_aside().await;
                }
                ReplacesByReadAndPut => {
                    let etag = head?.etag;
                    let bytes = self.bytes(key).await;
                    step_aside().await;
                    self.store.put(key, Bytes::from(bytes).into(), &options).await?;
                    return Ok(PutOutput { etag, last_modified: None });
                }
                _ => {}
            }
            options.headers = self.headers(key, &options.headers).await;
            let PutOutput { etag, last_modified } = self.store.replace_metadata(key, &options).await?;
            self.kept().replaced.insert(key.into());
            let etag = self.etag(etag, self.store.head(key).await?.size);
            let etag = if self.fault == ReplacesETags { ETag::new("\"replaced\"") } else { etag };
            Ok(PutOutput { etag, last_modified: self.answered(last_modified) })
        }

        async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
            const OPERATION: Operation = Operation::Delete;
            let key = &self.fault.key(key);
            let precondition = self.precondition(OPERATION, key, precondition).await?;
            self.kept().heads.remove(key);
            match self.fault {
                DeletesNothing => return Ok(()),
                RefusesToDeleteNothing => drop(self.store.head(key).await?),
                DeletesContents if key.ends_with('/') => self.delete_all(key).await?,
                DeletesByPattern if key.ends_with('*') => self.delete_all(key.trim_end_matches('*')).await?,
                DeletesInTwoSteps => {
                    if self.store.head(key).await.is_ok() {
                        self.store.put(key, Body::empty(), &PutOptions::default()).await?;
                    }
                    step_aside().await;
                }
                _ => {}
            }
            self.store.delete(key, &precondition).await?;
            if self.fault == DeletesEmptyDirectories
                && let Some((parent, _)) = key.trim_end_matches('/').rsplit_once('/')
            {
                let parent = format!("{parent}/");
                if self.keys(&parent).await == [parent.as_str()] {
                    self.store.delete(&parent, &Precondition::None).await?;
                }
            }
            Ok(())
        }
    }

    impl Broken {
        async fn delete_all(&self, prefix: &str) -> Result<(), StoreError> {
            for key in self.keys(prefix).await {
                self.store.delete(&key, &Precondition::None).await?;
            }
            Ok(())
        }
    }
}
