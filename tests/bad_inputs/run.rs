//! A case in memory and in a real directory.

use super::cases::{Case, Hearing, Stranger, attitudes, node, nodes_on_disk};
use crate::namespace::{not_run, pass_on};
use futures_executor::block_on;
use posix_s3::engine::{ImportOptions, Report, RunErrorKind, audit, import};
use posix_s3::tree::{LocalTree, MemoryTree, Tree};
use posix_s3::{EntryKind, Prefix, Profile};
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whether owners can be given away and real directories take whatever is asked for; said loudly where it is not so.
pub fn is_superuser(what: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    not_run(&format!("{what}: it needs the superuser"));
    false
}

/// A root, with a directory beside it that nothing may touch.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self::on(&env::temp_dir())
    }

    /// One in a directory.
    pub fn on(directory: &Path) -> Self {
        let place = tempfile::tempdir_in(directory).unwrap();
        for name in ["root", "outside"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        fs::write(place.path().join("outside/sentinel"), "untouched").unwrap();
        Self(place)
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("root")
    }

    /// What is outside, with all its attributes.
    pub fn outside(&self) -> BTreeMap<String, String> {
        let mut outside = nodes_on_disk(&self.0.path().join("outside"));
        // This reads, and so changes, the access time.
        outside.values_mut().for_each(|node| node.truncate(node.rfind(' ').unwrap()));
        let names = fs::read_dir(self.0.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        outside.extend(names.map(|name| (format!("beside {name}"), String::new())));
        outside.insert("content".to_owned(), fs::read_to_string(self.0.path().join("outside/sentinel")).unwrap());
        outside
    }
}

fn options(case: &Case, profile: Profile) -> ImportOptions {
    ImportOptions::new(profile).with_prefix(Prefix::parse(&case.prefix).unwrap())
}

/// What is wrong about every case: where it ran, and what.
pub fn run_all(cases: &[Case]) -> Vec<String> {
    let on_disk = is_superuser("bad keys and headers in a real directory");
    let mut wrong = Vec::new();
    for case in cases.iter().filter(|case| case.elsewhere.is_none()) {
        for (attitude, profile) in attitudes() {
            let mut say = |place: &str, faults: Vec<String>| {
                wrong.extend(faults.into_iter().map(|fault| format!("{} {attitude} {place}: {fault}", case.id)));
            };
            if let Some(why) = &case.stops {
                say("stops", stops(case, profile, why));
                continue;
            }
            say("audit", audited(case, attitude, profile.clone()));
            if case.only.as_deref() != Some("disk") && case.planted.is_empty() {
                say("in memory", in_memory(case, attitude, profile.clone()));
            }
            if case.only.as_deref() != Some("memory") && on_disk {
                say("on disk", in_a_directory(case, attitude, profile));
            }
        }
    }
    wrong
}

fn audited(case: &Case, attitude: &str, profile: Profile) -> Vec<String> {
    let mut remarks = Vec::new();
    let prefix = Prefix::parse(&case.prefix).unwrap();
    let audit = block_on(audit(&Stranger::new(case), &prefix, &profile, |remark| remarks.push(remark))).unwrap();
    let mut wrong = case.judge_audit(attitude, "", &remarks);
    if audit.objects != case.objects.len() as u64 {
        wrong.push(format!("{} objects counted", audit.objects));
    }
    wrong
}

fn in_memory(case: &Case, attitude: &str, profile: Profile) -> Vec<String> {
    let tree = MemoryTree::new();
    let mut wrong = imported(case, attitude, &tree, profile);
    let kinds = tree.entries().into_iter().map(|(entry, _)| {
        let (kind, what) = match entry.kind() {
            EntryKind::File { .. } => ("file", format!("{:04o}", entry.attributes().permissions.bits())),
            EntryKind::Directory => ("directory", format!("{:04o}", entry.attributes().permissions.bits())),
            EntryKind::Symlink { target } => ("link", String::from_utf8(target.as_bytes().to_vec()).unwrap()),
        };
        let attributes = entry.attributes();
        let owner = (attributes.uid.get(), attributes.gid.get());
        let node = node(kind, &what, owner, attributes.mtime.nanoseconds(), attributes.atime.nanoseconds());
        (entry.key().path().to_owned(), node)
    });
    wrong.extend(case.judge_tree(attitude, &kinds.collect()));
    wrong
}

fn in_a_directory(case: &Case, attitude: &str, profile: Profile) -> Vec<String> {
    let place = Place::new();
    case.plant(&place.root());
    let before = place.outside();
    let mut wrong = imported(case, attitude, &LocalTree::open(place.root()).unwrap(), profile);
    wrong.extend(case.judge_tree(attitude, &nodes_on_disk(&place.root())));
    if place.outside() != before {
        wrong.push("something outside has changed".to_owned());
    }
    wrong
}

fn imported<T: Tree>(case: &Case, attitude: &str, tree: &T, profile: Profile) -> Vec<String> {
    let (store, hearing) = (Stranger::new(case), Hearing::default());
    let report: Report = block_on(import(&store, tree, &options(case, profile), &hearing)).unwrap();
    let mut wrong = case.judge_ends(attitude, "", &hearing.into_heard());
    if report.entries != case.objects.len() as u64 {
        wrong.push(format!("{} entries of {} objects", report.entries, case.objects.len()));
    }
    let read = store.read.into_inner().unwrap();
    wrong.extend(read.iter().filter(|key| key.ends_with('/')).map(|key| format!("the body of \"{key}\" was read")));
    wrong
}

/// What is wrong about a run that has to stop: nothing may be made or deleted.
fn stops(case: &Case, profile: Profile, why: &str) -> Vec<String> {
    let tree = MemoryTree::new();
    let error = block_on(import(&Stranger::new(case), &tree, &options(case, profile.clone()), &Hearing::default()));
    let error = error.expect_err("a listing that cannot be trusted");
    let prefix = Prefix::parse(&case.prefix).unwrap();
    let audit = block_on(audit(&Stranger::new(case), &prefix, &profile, |_| {})).expect_err("an audit of it");
    let is_why = |kind: &RunErrorKind| match why {
        "foreign" => matches!(kind, RunErrorKind::Foreign { .. }),
        "disorder" => matches!(kind, RunErrorKind::Disorder(_)),
        _ => false,
    };
    if is_why(error.kind()) && is_why(&audit) && error.report().deleted == 0 {
        return Vec::new();
    }
    vec![format!("{:?} and {audit:?}", error.kind())]
}

/// A root that is opened.
pub fn open(root: &Path) -> LocalTree {
    LocalTree::open(root).unwrap()
}

/// Runs a test once more, in a shell with mounts of its own if need be, after what prepares for it. The test
/// finds `BAD_INPUTS_CHILD`.
pub fn in_a_child(test: &str, shell: &[&str], before: &str, place: &Path) {
    let (program, arguments) = shell.split_first().unwrap();
    let script =
        format!("{{ {before}; }} 2>&1 || {{ echo cannot prepare; exit 1; }}\nexec \"$0\" --exact {test} --nocapture");
    let shell = Command::new(program)
        .args(arguments)
        .args(["-c", &script])
        .arg(env::current_exe().unwrap())
        .env("BAD_INPUTS_CHILD", place)
        .current_dir(place)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
    pass_on(&said);
    let is_prepared = !said.contains("cannot prepare");
    assert!(!is_prepared || (shell.status.success() && said.contains("1 passed")), "{said}");
    if !is_prepared {
        not_run(&format!("{test}: {said}"));
    }
}

pub const SHELL: &[&str] = &["sh"];
pub const MOUNTS: &[&str] = &["unshare", "--mount", "sh"];

/// Where the child of a test works, if this is the child.
pub fn child() -> Option<PathBuf> {
    env::var_os("BAD_INPUTS_CHILD").map(Into::into)
}
