//! Runs with a state do what the model says, with the calls that it says, and running again does nothing.

#![cfg(all(feature = "local", target_os = "linux"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test"
)]

mod histories;
mod model;
mod once_failed;

use futures_executor::block_on;
use histories::*;
use model::bridge;
use model::since::{Options, Policy};
use model::{Kind, Node, Object, Rules, Tree, generate};
use posix_s3::engine::{MemoryState, StateStore, export_since, import_since};
use posix_s3::plan::Step;
use posix_s3::store::{Capabilities, MemoryStore, ObjectStore, Precondition, PutOptions, Support};
use proptest::prelude::*;
use proptest::sample::select;
use std::collections::BTreeSet;
use std::time::Duration;

proptest! {
    #![proptest_config(generate::cases(400))]

    #[test]
    fn exports_make_the_calls_of_the_model(history in undisturbed()) {
        let mut world = in_a_world(World::in_memory(Capabilities::ALL), &history);
        let options = Options { policy: Policy::Local, deletes: Some((u64::MAX, 100)), ..Options::default() };
        world.export(&options);
        world.assert_exported();
        world.export(&options);
        world.assert_quiet(&options);
    }

    #[test]
    fn exports_among_strangers_make_the_calls_of_the_model(history in exports_among_strangers()) {
        in_a_world(World::in_memory(Capabilities::ALL), &history);
    }

    #[test]
    fn runs_of_both_directions_among_strangers_are_those_of_the_model(history in histories()) {
        in_a_world(World::in_memory(Capabilities::ALL), &history);
    }

    #[test]
    fn runs_are_those_of_the_model_where_everything_happens_in_one_moment(history in histories()) {
        in_a_world(World::racy(), &history);
    }

    #[test]
    fn runs_are_those_of_the_model_where_the_store_can_do_less(history in histories(), able in abilities()) {
        in_a_world(World::in_memory(able), &history);
    }

    #[test]
    fn runs_are_those_of_the_model_where_the_store_tells_seconds(
        history in histories(), able in abilities(), times in select(vec![Times::Seconds, Times::SecondsOfHeads]),
    ) {
        // The clock of the tree must not run ahead of the store's: what is settled is told by it.
        let world = World::new(InMemory::racy(), MemoryStore::new(), Box::new(MemoryState::new()), able);
        in_a_world(world.with_times(times), &history);
    }

    #[test]
    fn both_sides_come_to_hold_the_same(history in histories()) {
        let mut world = in_a_world(World::in_memory(Capabilities::ALL), &history);
        assert_converges(&mut world);
    }
}

proptest! {
    #![proptest_config(generate::cases(60))]

    #[test]
    fn runs_of_a_real_directory_and_a_bucket_in_one_are_those_of_the_model(history in histories()) {
        // Whoever cannot give files away sees other owners than the model.
        if bridge::is_superuser() {
            in_a_world(World::on_disk(), &history);
        }
    }
}

// ------------------------------------------------------------------------------------------ single mutations

/// What one mutation takes.
#[derive(Clone, Copy, Default)]
struct Takes {
    put: &'static [&'static str],
    copy: &'static [&'static str],
    gone: &'static [&'static str],
    /// What is replaced besides where the mtime of a directory moves with its names.
    parents: &'static [&'static str],
}

fn write(path: &str, content: &str) -> Mutation {
    Mutation::Write(path.to_owned(), content.as_bytes().to_vec())
}

fn mkdir(path: &str) -> Mutation {
    Mutation::Mkdir(path.to_owned())
}

/// A tree with something of each kind, exported.
fn exported<P: Place, S: ObjectStore>(world: &mut World<P, S>) {
    for mutation in [
        mkdir("d"),
        write("d/f", "hello"),
        write("d/g", "hello"),
        mkdir("d/s"),
        mkdir("d/empty"),
        write("d/s/x", "deep"),
        write("f", "world"),
        write("f-", "beside"),
        write("f0", "beside"),
        Mutation::Symlink("l".to_owned(), "d/f".to_owned()),
    ] {
        world.change(&mutation);
    }
    world.export(&Options::default());
    world.assert_exported();
    world.export(&Options::default());
    world.assert_quiet(&Options::default());
}

/// Does one thing after an export, and sees to it that the next one makes these calls and no other.
fn mutate<P: Place, S: ObjectStore>(world: &mut World<P, S>, mutations: &[Mutation], takes: Takes, deletes: bool) {
    if P::IS_DISK {
        // The clock of the file system moves in ticks of up to ten milliseconds.
        std::thread::sleep(Duration::from_millis(20));
    }
    mutations.iter().for_each(|mutation| world.change(mutation));
    let options = Options { deletes: deletes.then_some((u64::MAX, 100)), ..Options::default() };
    let planned = world.plan(&options);
    let calls = world.export(&options).calls;

    let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<String>>();
    let mut copy = set(takes.copy);
    copy.extend(set(takes.parents).into_iter().filter(|_| P::IS_DISK));
    assert_eq!(calls.put, set(takes.put), "put");
    assert_eq!(calls.copy, copy, "copied");
    assert_eq!(calls.delete, if deletes { set(takes.gone) } else { BTreeSet::new() }, "deleted");
    assert_eq!(calls.get, BTreeSet::new());

    let of = |step: Step| planned.iter().filter(|(_, other)| **other == step).map(|(key, _)| key.clone()).collect();
    assert_eq!(calls.put, of(Step::Put), "planned to put");
    assert_eq!(calls.copy, of(Step::ReplaceMetadata), "planned to copy");
    assert_eq!(calls.delete, of(Step::Delete), "planned to delete");
    assert_eq!(if deletes { BTreeSet::new() } else { set(takes.gone) }, of(Step::Nothing), "planned to leave");
    if deletes || takes.gone.is_empty() {
        world.assert_exported();
    }
    world.export(&options);
    world.assert_quiet(&options);
    assert_eq!(world.plan(&options).into_values().filter(|step| *step != Step::Nothing).count(), 0);
}

fn single(mutations: &[Mutation], takes: Takes) {
    for deletes in [false, true] {
        let mut world = World::in_memory(Capabilities::ALL);
        exported(&mut world);
        mutate(&mut world, mutations, takes, deletes);
        let mut world = World::racy();
        exported(&mut world);
        mutate(&mut world, mutations, takes, deletes);
        let mut world = World::on_disk();
        exported(&mut world);
        mutate(&mut world, mutations, takes, deletes);
    }
}

#[test]
fn a_write_of_the_same_size_puts_the_file() {
    single(&[write("d/f", "HELLO")], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn an_append_puts_the_file() {
    let append = Mutation::Append("d/f".to_owned(), b"!".to_vec());
    single(&[append], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn a_truncation_puts_the_file() {
    single(&[Mutation::Truncate("d/f".to_owned(), 2)], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn a_write_with_the_mtime_put_back_puts_the_file() {
    let write = Mutation::WriteBack("d/f".to_owned(), b"HELLO".to_vec());
    single(&[write], Takes { put: &["d/f"], ..Takes::default() });
}

#[test]
fn an_atomic_save_puts_the_file() {
    let save = Mutation::Save("d/f".to_owned(), b"HELLO".to_vec());
    single(&[save], Takes { put: &["d/f"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_touch_replaces_the_headers() {
    single(&[Mutation::Touch("d/f".to_owned())], Takes { copy: &["d/f"], ..Takes::default() });
}

#[test]
fn another_mtime_of_a_file_or_directory_replaces_the_headers() {
    let utimes = |path: &str| Mutation::Utimes(path.to_owned(), -1);
    single(&[utimes("d/f"), utimes("d/s")], Takes { copy: &["d/f", "d/s/"], ..Takes::default() });
}

#[test]
fn a_change_of_permissions_replaces_the_headers() {
    let chmod = |path: &str, mode| Mutation::Chmod(path.to_owned(), mode);
    single(&[chmod("d/f", 0o600), chmod("d", 0o700)], Takes { copy: &["d/", "d/f"], ..Takes::default() });
}

#[test]
fn a_bit_that_is_not_stored_is_no_change() {
    single(&[Mutation::Chmod("d/f".to_owned(), 0o4644)], Takes::default());
}

#[test]
fn a_change_of_owner_replaces_the_headers() {
    if bridge::is_superuser() {
        let chown = |path: &str| Mutation::Chown(path.to_owned(), 7, 8);
        single(&[chown("d/f"), chown("l"), chown("d/s")], Takes { copy: &["d/f", "d/s/", "l"], ..Takes::default() });
    }
}

#[test]
fn a_renamed_file_is_put_and_its_old_key_is_gone() {
    let rename = Mutation::Rename("d/f".to_owned(), "d/s/f".to_owned());
    single(&[rename], Takes { put: &["d/s/f"], gone: &["d/f"], parents: &["d/", "d/s/"], ..Takes::default() });
}

#[test]
fn a_file_renamed_onto_another_is_put_there() {
    let rename = Mutation::Rename("f".to_owned(), "d/g".to_owned());
    single(&[rename], Takes { put: &["d/g"], gone: &["f"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn everything_in_a_renamed_directory_is_put() {
    let put = &["d-/", "d-/empty/", "d-/f", "d-/g", "d-/s/", "d-/s/x"];
    let gone = &["d/", "d/empty/", "d/f", "d/g", "d/s/", "d/s/x"];
    single(&[Mutation::Rename("d".to_owned(), "d-".to_owned())], Takes { put, gone, ..Takes::default() });
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    let takes = Takes { put: &["d/f/", "d/f/x"], gone: &["d/f"], parents: &["d/"], ..Takes::default() };
    let there = [Mutation::BecomeDirectory("d/f".to_owned(), "x".to_owned())];
    single(&there, takes);
    let back = Takes { put: &["d/f"], gone: &["d/f/", "d/f/x"], parents: &["d/"], ..Takes::default() };
    let mut world = World::in_memory(Capabilities::ALL);
    exported(&mut world);
    mutate(&mut world, &there, takes, true);
    mutate(&mut world, &[Mutation::BecomeFile("d/f".to_owned())], back, true);
    let mut world = World::on_disk();
    exported(&mut world);
    mutate(&mut world, &there, takes, true);
    mutate(&mut world, &[Mutation::BecomeFile("d/f".to_owned())], back, true);
}

#[test]
fn what_was_in_a_directory_that_is_a_file_now_is_gone() {
    let gone = &["d/", "d/empty/", "d/f", "d/g", "d/s/", "d/s/x"];
    single(&[Mutation::BecomeFile("d".to_owned())], Takes { put: &["d"], gone, ..Takes::default() });
}

#[test]
fn what_was_in_a_directory_that_is_a_link_now_is_gone() {
    let gone = &["d/", "d/empty/", "d/f", "d/g", "d/s/", "d/s/x"];
    let relinked = [Mutation::Remove("d".to_owned()), Mutation::Symlink("d".to_owned(), ".".to_owned())];
    single(&relinked, Takes { put: &["d"], gone, ..Takes::default() });
}

#[test]
fn a_hard_link_is_put_and_the_file_is_left_alone() {
    let link = Mutation::Link("d/f".to_owned(), "d/h".to_owned());
    single(&[link], Takes { put: &["d/h"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_write_to_a_file_of_two_names_puts_both() {
    let link = Mutation::Link("d/f".to_owned(), "d/h".to_owned());
    single(&[link, write("d/h", "HELLO")], Takes { put: &["d/f", "d/h"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_removed_file_is_gone() {
    let takes = Takes { gone: &["d/f", "l"], parents: &["d/"], ..Takes::default() };
    single(&[Mutation::Remove("d/f".to_owned()), Mutation::Remove("l".to_owned())], takes);
}

#[test]
fn a_new_directory_is_put() {
    single(&[mkdir("d/new")], Takes { put: &["d/new/"], parents: &["d/"], ..Takes::default() });
}

#[test]
fn a_removed_directory_is_gone() {
    let takes = Takes { gone: &["d/empty/"], parents: &["d/"], ..Takes::default() };
    single(&[Mutation::Remove("d/empty".to_owned())], takes);
}

#[test]
fn a_link_to_somewhere_else_is_put() {
    // The first target is as long as the one before.
    for target in ["d/g", "elsewhere"] {
        single(&[Mutation::Symlink("l".to_owned(), target.to_owned())], Takes { put: &["l"], ..Takes::default() });
    }
}

#[test]
fn a_file_becomes_a_link_under_one_key() {
    let relinked = [Mutation::Remove("f".to_owned()), Mutation::Symlink("f".to_owned(), "world".to_owned())];
    single(&relinked, Takes { put: &["f"], ..Takes::default() });
}

// ------------------------------------------------------------------------------------------------ round trips

/// Objects as somebody without metadata, somebody with it and an export would have put them.
fn filled<P: Place, S: ObjectStore>(world: &World<P, S>) {
    let tree = Tree::from([
        ("d".to_owned(), node(Kind::Directory)),
        ("d/f".to_owned(), node(Kind::File(b"hello".to_vec()))),
        ("d/l".to_owned(), node(Kind::Link(b"f".to_vec()))),
    ]);
    let mut bucket = model::export(&tree, "", &Rules::FSX);
    bucket.insert("d/plain".to_owned(), Object { headers: [].into(), body: b"plain".to_vec(), last_modified: 0 });
    for (key, object) in &bucket {
        bridge::put(&world.store, &format!("{PREFIX}{key}"), object);
    }
}

fn node(kind: Kind) -> Node {
    let mode = if kind == Kind::Directory { 0o750 } else { 0o640 };
    Node { kind, mode, uid: 0, gid: 0, atime: seconds(1), mtime: seconds(1_500_000_000) }
}

/// Asks the bucket for nothing but what tells that there is nothing to do.
fn assert_no_change(calls: &Calls) {
    let Calls { put, copy, delete, get, .. } = calls;
    assert!(put.is_empty() && copy.is_empty() && delete.is_empty() && get.is_empty(), "{calls:?}");
}

fn round_trip<P: Place, S: ObjectStore>(mut here: World<P, S>, place: P, state: Box<dyn StateStore>) {
    exported(&mut here);
    // The same bucket seen from another place, which has a record of its own.
    let held = observe(&here.store);
    let mut there = World { place, store: here.store, state, record: None, directories: here.directories };
    let run = there.import(&Options::default());
    assert_eq!(run.report.written, held.len() as u64);
    assert_no_change(&there.export(&Options::default()).calls);
    assert_no_change(&there.import(&Options::default()).calls);
    assert_eq!(observe(&there.store), held);
}

#[test]
fn what_an_import_has_brought_to_another_tree_is_not_exported_from_there() {
    round_trip(World::in_memory(Capabilities::ALL), InMemory::new(), Box::new(MemoryState::new()));
    if bridge::is_superuser() {
        let other = OnDisk::new();
        let state = other.state();
        round_trip(World::on_disk(), other, Box::new(state));
    }
}

fn import_then_export<P: Place, S: ObjectStore>(mut world: World<P, S>) {
    filled(&world);
    world.import(&Options::default());
    assert_no_change(&world.export(&Options::default()).calls);
    assert_no_change(&world.import(&Options::default()).calls);
}

#[test]
fn what_an_import_has_made_is_not_exported_again() {
    import_then_export(World::in_memory(Capabilities::ALL));
    import_then_export(World::racy());
    if bridge::is_superuser() {
        import_then_export(World::on_disk());
    }
}

fn metadata_alone<P: Place, S: ObjectStore>(mut world: World<P, S>) {
    filled(&world);
    world.import(&Options::default());
    for (index, headers) in observe(&world.store).into_values().map(|version| version.object.headers).enumerate() {
        let mut headers = headers;
        headers.insert("x-amz-meta-file-group".to_owned(), "9".to_owned());
        // A link is made anew.
        if headers.get("x-amz-meta-file-permissions").is_none_or(|mode| !mode.starts_with("012")) {
            let options = PutOptions {
                headers: bridge::header_map(&Object { headers, body: Vec::new(), last_modified: 0 }),
                ..PutOptions::default()
            };
            let key = observe(&world.store).into_keys().nth(index).unwrap();
            block_on(world.store.inner.replace_metadata(&format!("{PREFIX}{key}"), &options)).unwrap();
        }
    }
    let run = world.import(&Options::default());
    assert_eq!((run.report.metadata_only, run.report.entries), (3, 4));
    assert_eq!(run.calls.get, BTreeSet::new());
    assert_no_change(&world.export(&Options::default()).calls);
}

#[test]
fn metadata_that_was_replaced_in_the_bucket_is_imported_without_the_bytes() {
    metadata_alone(World::in_memory(Capabilities::ALL));
    metadata_alone(World::in_memory(Capabilities::ALL.with_md5_etags(Support::No)));
    if bridge::is_superuser() {
        metadata_alone(World::on_disk());
    }
}

// -------------------------------------------------------------------------------------- cases that once failed

fn in_memory(history: &[Action]) -> World<InMemory, MemoryStore> {
    in_a_world(World::in_memory(Capabilities::ALL), history)
}

fn put(key: &str, mode: &str) -> Action {
    let headers = [("x-amz-meta-file-permissions".to_owned(), mode.to_owned())];
    Action::Stranger(Stranger::Put(key.to_owned(), b"x".to_vec(), headers.into()))
}

fn deleting() -> Options {
    Options { deletes: Some((u64::MAX, 100)), ..Options::default() }
}

#[test]
fn a_directory_that_gets_a_link_does_not_lose_its_attributes_with_its_object() {
    let world = in_memory(&[Action::Mutate(mkdir("b")), Action::Export(Options::default())]);
    block_on(world.store.delete("p/b/", &Precondition::None)).unwrap();
    let world = in_a_world(world, &[put("b/a", "0120777"), Action::Import(deleting())]);
    assert_eq!((world.place.see()["b"].mode, world.place.see()["b"].uid), (0o755, 500));
}

#[test]
fn a_directory_in_which_a_file_takes_a_directorys_place_stays() {
    let world =
        in_memory(&[Action::Mutate(mkdir("b")), Action::Mutate(mkdir("b/b")), Action::Export(Options::default())]);
    block_on(world.store.delete("p/b/", &Precondition::None)).unwrap();
    block_on(world.store.delete("p/b/b/", &Precondition::None)).unwrap();
    let world = in_a_world(world, &[put("b/b", "0100644"), Action::Import(deleting())]);
    assert_eq!((world.place.see()["b"].mode, world.place.see()["b"].uid), (0o755, 500));
    assert_eq!(content_of(&world.place.see(), "b/b"), b"x");
}

#[test]
fn the_headers_of_a_directorys_object_with_a_body_are_replaced_more_than_once() {
    let chmod = |mode| Action::Mutate(Mutation::Chmod("a".to_owned(), mode));
    let mut world = in_memory(&[
        put("a/", "0040755"),
        Action::Import(Options::default()),
        chmod(0o700),
        Action::Export(Options::default()),
        chmod(0o711),
        Action::Export(Options::default()),
    ]);
    assert_no_change(&world.import(&Options::default()).calls);
    assert_eq!(world.place.see()["a"].mode, 0o711);
}

#[test]
fn a_directory_that_became_a_file_here_is_no_conflict_of_an_import() {
    let mut world = in_memory(&[
        Action::Mutate(mkdir("a")),
        Action::Mutate(mkdir("a/b")),
        Action::Export(Options::default()),
        Action::Mutate(Mutation::BecomeFile("a".to_owned())),
    ]);
    let report = world.import(&Options::default()).report;
    assert_eq!((report.unchanged, report.conflicts), (2, 0));
}
