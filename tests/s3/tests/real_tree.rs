//! Real directories through a bucket on S3 and back, by both doors: the hostile tree of the crate's own tests and what this
//! system has installed, compared by a judge that shares no code with the crate.
//!
//! The server is the one in process, or the one that the environment names, as for the conformance run.

#[path = "../../hostile_tree/mod.rs"]
mod hostile_tree;

use hostile_tree::{Extent, Ids, LEFT_OUT, assert_same, is_root, make_awkward_tree, make_foreign_owners, make_losses};
use posix_s3::engine::{ExportOptions, ImportOptions, Outcome, Report, Silent, export, import};
use posix_s3::store::s3::S3Options;
use posix_s3::store::{DynObjectStore, ListRequest, Precondition};
use posix_s3::tree::LocalTree;
use posix_s3::{Prefix, Profile};
use posix_s3_s3_tests::door::{Door, Place};
use posix_s3_s3_tests::server::Server;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Runtime;

/// A name that a server does not take, of which an export says so.
struct Known {
    server: &'static str,
    name: &'static str,
    why: &'static str,
}

const KNOWN: &[Known] =
    &[Known { server: "moto", name: "line\nbreak", why: "a line feed in a key is answered with 404" }];

/// How long a prefix is.
const PREFIX: usize = 64;

/// A bucket behind a door, and a prefix that nobody else uses.
struct World {
    runtime: Runtime,
    door: Door,
    place: Place,
    prefix: Prefix,
    server: Option<Server>,
}

impl World {
    fn new(door: Door, name: &str) -> Self {
        let (place, server) = Place::from_environment().map_or_else(
            || {
                let server = Server::new();
                (Place::of(&server), Some(server))
            },
            |place| (place, None),
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let prefix = format!("{:-<width$}/", format!("{name}-{door}-{now}"), width = PREFIX - 1).parse().unwrap();
        Self { runtime: Runtime::new().unwrap(), door, place, prefix, server }
    }

    /// A store that knows nothing of what was done before.
    fn open(&self) -> Arc<dyn DynObjectStore> {
        let options = S3Options::default().with_probe_prefix(self.prefix.as_str());
        self.runtime.block_on(self.door.open(&self.place, options)).unwrap()
    }

    fn export(&self, source: &Path) -> Report {
        let (tree, store) = (LocalTree::open(source).unwrap(), self.open());
        let options = ExportOptions::new(Profile::fsx()).with_prefix(self.prefix.clone());
        self.runtime.block_on(export(&tree, &*store, &options, &Silent)).unwrap()
    }

    /// Into what is an empty directory; an import of the same again has nothing to do.
    fn import(&self, target: &Path) -> Report {
        fs::create_dir(target).unwrap();
        let (tree, store) = (LocalTree::open(target).unwrap(), self.open());
        let options = ImportOptions::new(Profile::fsx()).with_prefix(self.prefix.clone());
        let imported = self.runtime.block_on(import(&*store, &tree, &options, &Silent)).unwrap();
        let again = self.runtime.block_on(import(&*store, &tree, &options, &Silent)).unwrap();
        let counts = (again.unchanged, again.written, again.metadata_only, again.store_calls.get);
        assert_eq!(counts, (imported.written, 0, 0, 0), "{:?}", again.problems);
        imported
    }

    /// There and back.
    fn round_trip(&self, source: &Path, target: &Path) -> (Report, Report) {
        let begun = Instant::now();
        let exported = self.export(source);
        let between = Instant::now();
        let imported = self.import(target);
        println!(
            "{}, {}: {} entries, {} bytes; exported in {:.1?}, imported and compared again in {:.1?}",
            self.place.server,
            self.door,
            exported.entries,
            exported.bytes,
            between - begun,
            between.elapsed(),
        );
        (exported, imported)
    }
}

impl Drop for World {
    /// A server that lives longer has its bucket back.
    fn drop(&mut self) {
        if self.server.is_some() || std::thread::panicking() {
            return;
        }
        let store = self.open();
        let request = ListRequest { prefix: self.prefix.as_str().to_owned(), ..ListRequest::default() };
        self.runtime.block_on(async {
            loop {
                let page = store.boxed_list(&request).await.unwrap();
                for object in &page.objects {
                    store.boxed_delete(&object.key, &Precondition::None).await.unwrap();
                }
                if page.objects.is_empty() {
                    break;
                }
            }
        });
    }
}

fn on_both_doors(test: impl Fn(Door)) {
    Door::ALL.into_iter().for_each(test);
}

#[test]
fn an_awkward_tree_comes_back_as_it_was() {
    let work = tempfile::tempdir().unwrap();
    on_both_doors(|door| {
        let (source, target) = (work.path().join(format!("from {door}")), work.path().join(format!("to {door}")));
        fs::create_dir(&source).unwrap();
        make_awkward_tree(&source, Extent { prefix: PREFIX, sparse: 1 << 27 });
        if is_root() {
            make_foreign_owners(&source);
        } else {
            println!("an ordinary user makes no files of other owners: that part is left out");
        }
        let world = World::new(door, "awkward");
        let (exported, imported) = world.round_trip(&source, &target);
        let known: Vec<_> = KNOWN.iter().filter(|known| known.server == world.place.server).collect();
        let failed: Vec<&str> = exported.problems.iter().map(|problem| &*problem.key).collect();
        let expected: Vec<String> = known.iter().map(|known| known.name.escape_default().to_string()).collect();
        assert_eq!((failed, imported.problems), (expected.iter().map(|key| &**key).collect(), vec![]));
        for known in known {
            println!("    known: {}", known.why);
            fs::remove_file(source.join(known.name)).unwrap();
        }
        assert_eq!((exported.written, imported.written), (exported.entries - exported.failed, exported.written));
        assert_same(&source, &target, Ids::Compared);
        // Holes come back as holes.
        assert!(fs::metadata(target.join("sparse")).unwrap().blocks() < 8192);
    });
}

#[test]
fn the_documented_losses_are_these_and_no_others() {
    let work = tempfile::tempdir().unwrap();
    let (source, expected) = (work.path().join("source"), work.path().join("expected"));
    let _socket = make_losses(&source, &expected);
    on_both_doors(|door| {
        let world = World::new(door, "losses");
        let target = work.path().join(door.to_string());
        let (exported, imported) = world.round_trip(&source, &target);
        assert_same(&expected, &target, Ids::Compared);
        let left_out: Vec<(&str, &str)> =
            exported.problems.iter().map(|problem| (&*problem.key, &*problem.reason)).collect();
        assert_eq!(left_out, LEFT_OUT);
        assert!(exported.problems.iter().all(|problem| problem.outcome == Outcome::Skipped));
        assert_eq!(imported.problems, []);
        let inode = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
        assert_ne!(inode("one name"), inode("other name"));
    });
}

/// What nobody has made for a test: the documentation and headers of what is installed.
#[test]
fn what_is_installed_comes_back_as_it_was() {
    let installed = ["/usr/share/doc", "/usr/include"].map(PathBuf::from);
    let Some(source) = installed.into_iter().find(|path| fs::read_dir(path).is_ok_and(|names| names.count() > 20))
    else {
        println!("left out: neither /usr/share/doc nor /usr/include has anything to speak of");
        return;
    };
    let work = tempfile::tempdir().unwrap();
    on_both_doors(|door| {
        let world = World::new(door, "installed");
        let target = work.path().join(door.to_string());
        let (exported, imported) = world.round_trip(&source, &target);
        assert_eq!((exported.problems, imported.problems), (vec![], vec![]));
        assert_eq!((exported.written, imported.written), (exported.entries, exported.entries));
        assert_same(&source, &target, if is_root() { Ids::Compared } else { Ids::Ignored });
        let diff = Command::new("diff").args(["-r", "--no-dereference"]).args([&source, &target]).output().unwrap();
        let said = String::from_utf8_lossy(&diff.stdout);
        assert!(diff.status.success() && said.is_empty(), "{}: {said}", source.display());
    });
}
