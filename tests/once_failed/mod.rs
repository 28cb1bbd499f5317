//! Cases of runs with a state that once failed, each by its name.

use super::*;
use posix_s3::engine::{ExportOptions, Silent};
use posix_s3::plan::{Brake, Deletes};
use posix_s3::store::{
    Body, GetOptions, GetOutput, ListPage, ListRequest, ObjectMeta, Operation, PutOutput, StoreError, StoreErrorKind,
};
use posix_s3::tree::MemoryTree;
use posix_s3::{Attributes, Entry, EntryKind, Gid, Key, Permissions, Profile, Timestamp, Uid};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[test]
fn a_directory_made_on_both_sides_with_other_permissions_is_a_conflict() {
    let private = Action::Mutate(Mutation::Chmod("private".to_owned(), 0o700));
    let recorder = Recorder::default();
    let world = in_memory(&[Action::Mutate(mkdir("private")), private, put("private/", "0040777")]);
    let (held, options) = (world.place.see(), world.import_options(&Options::default()));
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    let report = block_on(import).unwrap();
    assert_eq!(world.place.see(), held, "what the user has set stays");
    assert_eq!(report.conflicts, 1);
}

#[test]
fn a_directory_that_an_import_has_implied_is_not_exported() {
    let world = in_memory(&[put("a/x", "0100644"), Action::Import(Options::default())]);
    let (options, recorder) = (world.export_options(&Options::default()), Recorder::default());
    let export = export_since(world.place.tree(), &world.store, &*world.state, &options, &recorder);
    let report = block_on(export).unwrap();
    assert_eq!(report.store_calls.put, 0);
}

#[test]
fn a_removed_directory_whose_object_has_changed_is_made_again_where_what_is_there_wins() {
    for policy in [Policy::Newest, Policy::KeepBoth] {
        let remove = Action::Mutate(Mutation::Remove("a".to_owned()));
        let world = in_memory(&[Action::Mutate(mkdir("a")), Action::Export(Options::default()), remove]);
        let world = in_a_world(world, &[put("a/", "0040700")]);
        let options = world.import_options(&Options { policy, ..Options::default() });
        let recorder = Recorder::default();
        let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
        let report = block_on(import).unwrap();
        assert_eq!((report.written, report.conflicts), (1, 0), "{policy:?}");
    }
}

#[test]
fn a_file_that_makes_way_for_a_directory_is_counted_as_deleted() {
    let world = in_memory(&[Action::Mutate(write("a", "x")), Action::Export(Options::default())]);
    block_on(world.store.delete("p/a", &Precondition::None)).unwrap();
    let world = in_a_world(world, &[put("a/x", "0100644")]);
    let options = world.import_options(&Options::default());
    let recorder = Recorder::default();
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    let report = block_on(import).unwrap();
    assert_eq!((report.written, report.deleted), (1, 1));
}

#[test]
fn a_change_that_won_and_was_undone_is_exported_over_the_object_all_the_same() {
    let chmod = |mode| Action::Mutate(Mutation::Chmod("a".to_owned(), mode));
    let world = in_memory(&[Action::Mutate(write("a", "x")), Action::Export(Options::default()), chmod(0o600)]);
    let mut headers = observe(&world.store).remove("a").unwrap().object.headers;
    headers.insert("x-amz-meta-file-permissions".to_owned(), "0100755".to_owned());
    let strange = PutOptions {
        headers: bridge::header_map(&Object { headers, body: Vec::new(), last_modified: 0 }),
        ..PutOptions::default()
    };
    block_on(world.store.inner.replace_metadata("p/a", &strange)).unwrap();
    let tree_wins = Options { policy: Policy::Local, ..Options::default() };
    let world = in_a_world(world, &[Action::Import(tree_wins), chmod(0o644), Action::Export(Options::default())]);
    world.assert_exported();
}

#[test]
fn a_file_with_a_set_id_bit_and_its_own_export_are_no_conflict() {
    let world = in_memory(&[Action::Mutate(write("a", "x")), Action::Mutate(Mutation::Chmod("a".to_owned(), 0o4755))]);
    let same = model::export(&world.place.see(), "", &Rules::FSX);
    bridge::put(&world.store, "p/a", &same["a"]);
    let options = world.import_options(&Options::default());
    let recorder = Recorder::default();
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    let report = block_on(import).unwrap();
    assert_eq!((report.unchanged, report.conflicts), (1, 0));
}

#[test]
fn a_file_keeps_its_name_when_the_object_that_wants_it_cannot_be_had() {
    let headers = [("x-amz-meta-file-permissions".to_owned(), "0120777".to_owned())];
    let world = in_memory(&[
        Action::Mutate(write("a", "")),
        Action::Stranger(Stranger::Put("a".to_owned(), Vec::new(), headers.into())),
    ]);
    let both = Options { policy: Policy::KeepBoth, ..Options::default() };
    let (options, before) = (world.import_options(&both), world.place.see());
    let recorder = Recorder::default();
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    assert_eq!(block_on(import).unwrap().failed, 1);
    assert_eq!(world.place.see(), before);
}

/// As of S3: nobody says when a put was, and a head or listing says it in seconds.
fn in_seconds(history: &[Action]) -> World<InMemory, MemoryStore> {
    in_a_world(World::in_memory(Capabilities::ALL).with_times(Times::Seconds), history)
}

#[test]
fn an_edit_after_an_export_is_no_conflict_of_an_import_where_a_put_is_not_dated() {
    let edits = [
        Mutation::Chmod("a".to_owned(), 0o600),
        write("a", "y"),
        Mutation::Remove("a".to_owned()),
        Mutation::BecomeDirectory("a".to_owned(), "b".to_owned()),
    ];
    for edit in edits {
        let mut world = in_seconds(&[Action::Mutate(write("a", "x")), Action::Export(Options::default())]);
        world.change(&edit);
        let report = world.import(&Options::default()).report;
        assert_eq!((report.unchanged, report.conflicts), (1, 0), "{edit:?}");
    }
}

#[test]
fn a_removed_or_changed_directory_is_no_conflict_of_an_import_where_a_put_is_not_dated() {
    let edits = [
        Mutation::Chmod("a".to_owned(), 0o700),
        Mutation::Remove("a".to_owned()),
        Mutation::BecomeFile("a".to_owned()),
    ];
    for edit in edits {
        let made = [Action::Mutate(mkdir("a")), Action::Mutate(write("a/b", "x")), Action::Export(Options::default())];
        let mut world = in_seconds(&made);
        world.change(&edit);
        let report = world.import(&Options::default()).report;
        assert_eq!((report.unchanged, report.conflicts), (2, 0), "{edit:?}");
    }
}

#[test]
fn headers_that_a_stranger_has_replaced_are_seen_by_an_export_where_a_put_is_not_dated() {
    let mut world = in_seconds(&[Action::Mutate(write("a", "x")), Action::Export(Options::default())]);
    let mut object = observe(&world.store).remove("a").unwrap().object;
    object.headers.insert("x-amz-meta-file-owner".to_owned(), "7".to_owned());
    let options = PutOptions { headers: bridge::header_map(&object), ..PutOptions::default() };
    block_on(world.store.inner.replace_metadata("p/a", &options)).unwrap();
    world.change(&Mutation::Chmod("a".to_owned(), 0o600));
    assert_eq!(world.export(&Options::default()).report.conflicts, 1);
}

#[test]
fn a_time_with_a_fraction_in_a_listing_alone_is_no_change() {
    let chmod = |mode| Action::Mutate(Mutation::Chmod("a".to_owned(), mode));
    let world = World::in_memory(Capabilities::ALL).with_times(Times::SecondsOfHeads);
    let export = || Action::Export(Options::default());
    let history = [Action::Mutate(write("a", "x")), export(), chmod(0o600), export(), chmod(0o640), export()];
    let mut world = in_a_world(world, &history);
    world.assert_exported();
    world.change(&Mutation::Chmod("a".to_owned(), 0o644));
    let report = world.import(&Options::default()).report;
    assert_eq!((report.unchanged, report.conflicts), (1, 0));
}

/// As of servers that list fractions of a second and head none: a stranger replaces the headers in the second of the export
/// that replaced them last.
fn replaced_within_a_second(path: &str, edit: &Mutation, permissions: &str) -> World<InMemory, MemoryStore> {
    let world = World::new(InMemory::racy(), MemoryStore::new(), Box::new(MemoryState::new()), Capabilities::ALL);
    let mut world = world.with_times(Times::SecondsOfHeads);
    world.change(edit);
    world.export(&Options::default());
    world.change(&Mutation::Utimes(path.to_owned(), -1));
    world.export(&Options::default());
    let (key, version) = observe(&world.store).pop_first().unwrap();
    let mut object = version.object;
    object.headers.insert("x-amz-meta-file-permissions".to_owned(), permissions.to_owned());
    let options = PutOptions { headers: bridge::header_map(&object), ..PutOptions::default() };
    block_on(world.store.inner.replace_metadata(&format!("{PREFIX}{key}"), &options)).unwrap();
    world
}

#[test]
fn headers_replaced_in_the_second_of_an_export_and_an_edit_are_a_conflict_where_a_listing_tells() {
    let mut world = replaced_within_a_second("a", &write("a", ""), "0100644");
    world.change(&write("a", ""));
    let report = world.import(&Options::default()).report;
    assert_eq!((report.unchanged, report.conflicts), (0, 1));

    let mut world = replaced_within_a_second("a", &mkdir("a"), "0040711");
    world.change(&Mutation::Chmod("a".to_owned(), 0o700));
    let report = world.import(&Options::default()).report;
    assert_eq!((report.unchanged, report.conflicts), (0, 1));
}

#[test]
fn headers_replaced_in_the_second_of_an_export_are_imported_where_a_listing_tells() {
    for (made, permissions) in [(write("a", "x"), "0100600"), (mkdir("a"), "0040700")] {
        let mut world = replaced_within_a_second("a", &made, permissions);
        let report = world.import(&Options::default()).report;
        assert_eq!((report.metadata_only, report.conflicts), (1, 0), "{made:?}");
    }
}

#[test]
fn both_names_of_a_file_are_replaced_in_one_import() {
    for _ in 0..20 {
        let history = [
            Action::Mutate(write("a", "one")),
            Action::Mutate(Mutation::Link("a".to_owned(), "b".to_owned())),
            Action::Export(Options::default()),
            put("a", "0100644"),
            put("b", "0100644"),
        ];
        let world = in_a_world(World::on_disk(), &history);
        let options = world.import_options(&Options::default());
        let recorder = Recorder::default();
        let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
        let report = block_on(import).unwrap();
        assert_eq!((report.written, report.conflicts), (2, 0));
    }
}

/// Gives an object the headers of a stranger, who leaves its bytes alone.
fn replace_headers(world: &World<InMemory, MemoryStore>, key: &str, permissions: &str) {
    let mut object = observe(&world.store).remove(key).unwrap().object;
    object.headers.insert("x-amz-meta-file-permissions".to_owned(), permissions.to_owned());
    let options = PutOptions { headers: bridge::header_map(&object), ..PutOptions::default() };
    block_on(world.store.inner.replace_metadata(&format!("{PREFIX}{key}"), &options)).unwrap();
}

#[test]
fn a_conflict_over_a_deleted_file_stays_one_in_every_export_where_a_put_is_not_dated() {
    let mut world = in_seconds(&[Action::Mutate(write("a", "x")), Action::Export(Options::default())]);
    world.change(&Mutation::Remove("a".to_owned()));
    replace_headers(&world, "a", "0100600");
    for _ in 0..3 {
        let report = world.export(&deleting()).report;
        assert_eq!((report.conflicts, report.deleted), (1, 0));
    }
}

#[test]
fn a_link_whose_object_has_other_permissions_than_links_have_is_fetched_once_where_times_have_seconds() {
    let world = World::on_disk().with_times(Times::Seconds);
    let world = in_a_world(world, &[put("a", "0120644"), Action::Import(Options::default())]);
    let options = world.import_options(&Options::default());
    for _ in 0..2 {
        let recorder = Recorder::default();
        let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
        let report = block_on(import).unwrap();
        assert_eq!((report.unchanged, report.written, report.bytes), (1, 0, 0));
    }
}

/// A bucket whose listings are as old as the bucket is, while they are stale; that shows no object of a directory, while
/// it is deaf; and that does not say when it has put something. A file that is to be put may vanish, and the put with it.
#[derive(Default)]
struct Stale {
    inner: MemoryStore,
    is_stale: AtomicBool,
    is_deaf: AtomicBool,
    vanishing: Mutex<Option<(Arc<MemoryTree>, Key)>>,
}

impl ObjectStore for Stale {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let page = self.inner.list(request).await?;
        Ok(if self.is_stale.load(Ordering::Relaxed) { ListPage::default() } else { page })
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        if self.is_deaf.load(Ordering::Relaxed) && key.ends_with('/') {
            return Err(StoreError::new(Operation::Head, key, StoreErrorKind::Corrupt));
        }
        self.inner.head(key).await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.inner.get(key, options).await
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        if let Some((tree, key)) = self.vanishing.lock().unwrap().take() {
            tree.remove(&key);
            return Err(StoreError::new(Operation::Put, key.as_str(), StoreErrorKind::Corrupt));
        }
        let output = self.inner.put(key, body, options).await?;
        Ok(PutOutput { last_modified: None, ..output })
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        self.inner.replace_metadata(key, options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        self.inner.delete(key, precondition).await
    }
}

#[test]
fn a_file_that_comes_back_with_its_directory_when_the_disk_goes_back_is_exported() {
    let (store, state, tree) = (Stale::default(), MemoryState::new(), MemoryTree::with_tick(Duration::from_secs(10)));
    let [directory, file] = ["d/", "d/f"].map(|key| Key::parse(key).unwrap());
    let time = Timestamp::EPOCH;
    let permissions = Permissions::from_mode(0o700);
    let attributes = Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time };
    tree.insert(Entry::new(directory.clone(), EntryKind::Directory, attributes).unwrap()).unwrap();
    tree.insert_file(file.clone(), "x", attributes).unwrap();
    let deletes = Deletes::Apply(Brake { count: u64::MAX, percent: 100 });
    let options = ExportOptions::new(Profile::fsx()).with_bucket("bucket").with_deletes(deletes);
    let exports = |tree: &MemoryTree| block_on(export_since(tree, &store, &state, &options, &Silent)).unwrap();
    exports(&tree);
    let before = tree.copy();
    tree.remove(&directory);
    store.is_deaf.store(true, Ordering::Relaxed);
    let report = exports(&tree);
    assert_eq!((report.deleted, report.failed), (1, 1), "the object of the directory could not be looked at");
    store.is_deaf.store(false, Ordering::Relaxed);
    exports(&before);
    assert!(block_on(store.head(file.as_str())).is_ok());
}

#[test]
fn a_file_that_vanishes_while_a_put_of_it_fails_leaves_an_object_that_is_deleted() {
    let (store, state, tree) = (Stale::default(), MemoryState::new(), Arc::new(MemoryTree::new()));
    tree.set_tick(Duration::from_secs(10));
    let key = Key::parse("f").unwrap();
    let time = Timestamp::EPOCH;
    let permissions = Permissions::from_mode(0o600);
    let attributes = Attributes { permissions, uid: Uid::ROOT, gid: Gid::ROOT, atime: time, mtime: time };
    tree.insert_file(key.clone(), "x", attributes).unwrap();
    let deletes = Deletes::Apply(Brake { count: u64::MAX, percent: 100 });
    let options = ExportOptions::new(Profile::fsx()).with_bucket("bucket").with_deletes(deletes);
    let exports = || block_on(export_since(&*tree, &store, &state, &options, &Silent)).unwrap();
    exports();
    tree.set_content(&key, "other").unwrap();
    *store.vanishing.lock().unwrap() = Some((Arc::clone(&tree), key.clone()));
    assert_eq!(exports().failed, 1);
    assert_eq!(exports().deleted, 1);
    assert!(block_on(store.head(key.as_str())).is_err());
}

#[test]
fn an_import_of_a_stale_listing_forgets_nothing_that_is_gone_here_and_still_there() {
    let state = Box::new(MemoryState::new());
    let mut world = World::new(InMemory::new(), Stale::default(), state, Capabilities::ALL);
    world.change(&write("a", "x"));
    world.change(&write("b", "y"));
    world.export(&deleting());
    world.change(&Mutation::Remove("a".to_owned()));
    world.store.inner.is_stale.store(true, Ordering::Relaxed);
    let (options, recorder) = (world.import_options(&deleting()), Recorder::default());
    let import = import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder);
    let report = block_on(import).unwrap();
    assert_eq!((report.skipped, report.deleted), (2, 0), "what was not listed is in the bucket");
    world.store.inner.is_stale.store(false, Ordering::Relaxed);
    let (options, recorder) = (world.export_options(&deleting()), Recorder::default());
    let export = export_since(world.place.tree(), &world.store, &*world.state, &options, &recorder);
    assert_eq!(block_on(export).unwrap().deleted, 1, "what is gone here is deleted there");
}

#[test]
fn a_file_that_took_the_place_of_a_directory_here_does_not_give_way_to_what_is_left_of_that() {
    let made = [Action::Mutate(mkdir("a")), Action::Export(Options::default())];
    let world = in_memory(&made);
    world.change(&Mutation::BecomeFile("a".to_owned()));
    // Nothing is deleted in the bucket, so both are there.
    let (kept, recorder) = (world.export_options(&Options::default()), Recorder::default());
    block_on(export_since(world.place.tree(), &world.store, &*world.state, &kept, &recorder)).unwrap();
    assert_eq!(observe(&world.store).len(), 2);
    let (options, recorder) = (world.import_options(&Options::default()), Recorder::default());
    let report = block_on(import_since(&world.store, world.place.tree(), &*world.state, &options, &recorder)).unwrap();
    assert_eq!(report.deleted, 0);
    assert_eq!(content_of(&world.place.see(), "a"), b"one");
}
