//! What has befallen others on the same ground, each as it would come to an import. The table is in `docs::reliability`.

use crate::hostile::{Hooked, Liar, Surrounded, bucket, ended, import_into, object, stat_of};
use crate::model::bridge::{self, memory_store, read_disk};
use crate::model::{Bucket, Kind, Rules};
use futures_executor::block_on;
use posix_s3::engine::{ExportOptions, ImportOptions, Jobs, MemoryState, Outcome, Silent, export, import_since};
use posix_s3::store::{GetOptions, MemoryStore, ObjectStore, Operation};
use posix_s3::tree::LocalTree;
use posix_s3::{Key, Profile};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// A file of the bucket.
fn file(content: &[u8]) -> crate::model::Object {
    object("0100644", content)
}

fn link(target: &str) -> crate::model::Object {
    object("0120777", target.as_bytes())
}

/// Imports by every policy, into a fresh root each; nothing outside may change.
fn nothing_gets_out(objects: &Bucket) {
    for rules in [Rules::FSX, Rules::UNTRUSTED, Rules::FIRST_WINS] {
        let place = Surrounded::new();
        let before = place.outside();
        let tree = LocalTree::open(place.root()).unwrap();
        for _ in 0..2 {
            bridge::import(&memory_store(objects), &tree, "", &rules);
            assert_eq!(place.outside(), before, "{rules:?}");
        }
    }
}

/// Imports keys that climb, by themselves and below a prefix; every one of them is refused.
fn keys_are_refused(keys: &[&str]) {
    let objects: Bucket = keys.iter().map(|key| ((*key).to_owned(), file(b"planted"))).collect();
    let place = Surrounded::new();
    let run = import_into(&place, &objects);
    assert!(run.ended.iter().all(|(_, outcome)| *outcome == Outcome::Skipped), "{:?}", run.ended);
    assert_eq!((run.ended.len(), fs::read_dir(place.root()).unwrap().count()), (keys.len(), 0));
    let below: Bucket = objects.into_iter().map(|(key, object)| (format!("p/{key}"), object)).collect();
    let before = place.outside();
    let run = bridge::import(&memory_store(&below), &LocalTree::open(place.root()).unwrap(), "p", &Rules::UNTRUSTED);
    assert!(run.ended.iter().all(|(_, outcome)| *outcome == Outcome::Skipped), "{:?}", run.ended);
    assert_eq!((place.outside(), fs::read_dir(place.root()).unwrap().count()), (before, 0));
}

#[test]
fn cve_2026_54572_a_link_and_a_key_that_goes_on_through_it() {
    // CVE-2026-54572: the link is planted by one object, the next is written through it.
    let bucket = bucket([("a", object("0120777", b"../a")), ("a/b", object("0100644", b"planted"))]);
    let place = Surrounded::new();
    let run = import_into(&place, &bucket);
    assert_eq!((ended(&run, "a"), ended(&run, "a/b")), (Outcome::Skipped, Outcome::Written));
    assert!(fs::symlink_metadata(place.root().join("a")).unwrap().is_dir());
    assert_eq!(fs::read(place.root().join("a/b")).unwrap(), b"planted");

    // FSx parity: the link is made, and nothing goes through it.
    let place = Surrounded::new();
    let before = place.outside();
    let local = LocalTree::open(place.root()).unwrap();
    for _ in 0..2 {
        let run = bridge::import(&memory_store(&bucket), &local, "", &Rules::FIRST_WINS);
        assert_eq!(ended(&run, "a/b"), Outcome::Skipped);
    }
    assert_eq!(fs::read_link(place.root().join("a")).unwrap(), Path::new("../a"));
    assert_eq!(place.outside(), before);
}

#[test]
fn cve_2026_88016_a_link_that_stands_where_a_directory_is_to_be_is_not_followed() {
    // CVE-2026-88016: the attributes of `ln/` end up on what the link points to, since a trailing slash voids no-follow.
    let place = Surrounded::new();
    symlink("../b", place.root().join("ln")).unwrap();
    symlink(place.0.path().join("a"), place.root().join("absolute")).unwrap();
    let link = stat_of(&fs::symlink_metadata(place.root().join("ln")).unwrap());
    let directory = object("0040777", b"");
    let run = import_into(&place, &bucket([("ln/", directory.clone()), ("absolute/", directory)]));
    assert_eq!((ended(&run, "ln/"), ended(&run, "absolute/")), (Outcome::Conflict, Outcome::Conflict));
    assert_eq!(stat_of(&fs::symlink_metadata(place.root().join("ln")).unwrap()), link);
}

#[test]
fn ghsa_945v_v9p3_v5xw_set_id_bits_are_not_restored_by_default() {
    for profile in [Profile::fsx(), Profile::untrusted()] {
        let place = Surrounded::new();
        let objects =
            bucket([("sh", object("0104755", b"#!")), ("g", object("0102755", b"#!")), ("d/", object("0043777", b""))]);
        let report = block_on(posix_s3::engine::import(
            &memory_store(&objects),
            &LocalTree::open(place.root()).unwrap(),
            &ImportOptions::new(profile),
            &Silent,
        ));
        assert_eq!(report.unwrap().written, 3);
        assert!(read_disk(&place.root()).values().all(|node| node.mode & 0o6000 == 0));
    }
}

#[test]
fn ghsa_7p4m_qxvv_g567_full_width_dots_stay_full_width() {
    let key = "\u{ff0e}\u{ff0e}/\u{ff0e}\u{ff0e}/victim";
    let place = Surrounded::new();
    let run = import_into(&place, &[(key.to_owned(), file(b"planted"))].into());
    assert_eq!(ended(&run, key), Outcome::Written);
    assert_eq!(fs::read(place.root().join(key)).unwrap(), b"planted");
}

#[test]
fn ghsa_8v25_v8p6_qf7v_dots_in_a_key_lead_nowhere() {
    keys_are_refused(&["../victim", "a/../../victim", "x/../../../etc/passwd", "..", "./../victim"]);
}

#[test]
fn cve_2021_32061_a_bucket_that_is_made_to_be_dumped_writes_nothing_outside() {
    keys_are_refused(&["../../../../../../tmp/planted", "a/../../b/planted", "/etc/cron.d/planted"]);
}

#[test]
fn s5cmd_872_a_copy_of_everything_writes_nothing_outside() {
    keys_are_refused(&["../planted", "dir/../../planted", "//planted", "/planted"]);
}

#[test]
fn juicefs_7401_a_sync_writes_nothing_outside() {
    keys_are_refused(&["a/b/../../../planted", "../root/../planted", "a/.."]);
}

#[test]
fn aws_cli_10579_a_key_that_is_two_dots_and_nothing_else() {
    keys_are_refused(&["..", "../", "a/..", "a/../"]);
}

#[test]
fn cve_2026_15717_a_name_of_a_file_in_a_repository_is_no_path_of_another_system() {
    keys_are_refused(&["/absolute/planted", "snapshots/../../planted"]);
    // What leads elsewhere on another system is a name here.
    let place = Surrounded::new();
    let names = ["..\\..\\planted", "C:\\planted", "\\\\host\\share\\planted", "C:planted"];
    let run = import_into(&place, &names.map(|name| (name.to_owned(), file(b"x"))).into());
    assert_eq!(run.report.written, 4);
    assert!(names.iter().all(|name| place.root().join(name).exists()));
}

#[test]
fn cve_2018_1002200_zip_slip() {
    keys_are_refused(&["../../tmp/evil.txt", "good/../../evil.txt"]);
    let place = Surrounded::new();
    let run = import_into(&place, &bucket([("..\\..\\evil.txt", file(b"x")), ("good.txt", file(b"x"))]));
    assert_eq!(run.report.written, 2);
}

#[test]
fn cve_2024_52522_attributes_of_a_link_are_not_those_of_its_target() {
    let place = Surrounded::new();
    let mut owned = link("../victim");
    for (name, value) in [("file-owner", "1234"), ("file-group", "1234"), ("file-permissions", "0120777")] {
        owned.headers.insert(format!("x-amz-meta-{name}"), value.to_owned());
    }
    let run = import_into(&place, &bucket([("link", owned)]));
    assert_eq!(ended(&run, "link"), Outcome::Written);
    let stat = fs::symlink_metadata(place.root().join("link")).unwrap();
    assert!(stat.is_symlink() && (!bridge::is_superuser() || (stat.uid(), stat.gid()) == (1234, 1234)));
}

#[test]
fn cve_2024_12086_a_bucket_learns_nothing_of_what_is_outside() {
    // What differs from its object is fetched; nothing is read to be compared, and nothing goes back to the bucket.
    let place = Surrounded::new();
    symlink("../victim", place.root().join("a")).unwrap();
    symlink("../a", place.root().join("d")).unwrap();
    let size = fs::metadata(place.0.path().join("victim")).unwrap().len();
    let store = memory_store(&bucket([("a", file(&vec![b'?'; size as usize])), ("d/x", file(b"the sentinel a/x"))]));
    let asked = std::sync::Mutex::new(Vec::new());
    let hook = |operation, key: &str| asked.lock().unwrap().push((operation, key.to_owned()));
    let run = bridge::import(&Hooked { store, hook }, &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
    assert_eq!((ended(&run, "a"), ended(&run, "d/x")), (Outcome::Written, Outcome::Conflict));
    let asked = asked.into_inner().unwrap();
    assert!(asked.iter().all(|(operation, _)| matches!(operation, Operation::List | Operation::Head | Operation::Get)));
}

#[test]
fn cve_2024_12087_a_directory_that_comes_once_more_as_a_link_is_no_way_out() {
    // In one listing, and from one run to the next.
    nothing_gets_out(&bucket([("d", link("../a")), ("d/", object("0040755", b"")), ("d/x", file(b"planted"))]));
    let place = Surrounded::new();
    let before = place.outside();
    let (store, state, tree) = (MemoryStore::new(), MemoryState::new(), LocalTree::open(place.root()).unwrap());
    let options = ImportOptions::new(Profile::fsx()).with_bucket("b");
    let steps: [&[(&str, crate::model::Object)]; 3] =
        [&[("d/", object("0040755", b"")), ("d/y", file(b"y"))], &[("d", link("../a"))], &[("d/x", file(b"planted"))]];
    for step in steps {
        step.iter().for_each(|(key, object)| bridge::put(&store, key, object));
        block_on(import_since(&store, &tree, &state, &options, &Silent)).unwrap();
    }
    assert_eq!((place.outside(), fs::read(place.root().join("d/x")).unwrap()), (before, b"planted".to_vec()));
}

#[test]
fn cve_2024_12088_two_links_that_stay_inside_and_lead_out_together_are_not_gone_through() {
    let objects =
        bucket([("d/up", link("..")), ("x", link("d/up/../a")), ("x/planted", file(b"p")), ("y", link("d/up/../a"))]);
    nothing_gets_out(&objects);
    // The second leaves by no text of its own; whoever follows it by hand may, an import does not.
    let place = Surrounded::new();
    import_into(&place, &bucket([("d/up", link("..")), ("y", link("d/up/../a"))]));
    for key in ["y/planted", "d/up/planted", "d/up/../a/planted"] {
        let run = import_into(&place, &[(key.to_owned(), file(b"planted"))].into());
        assert!(matches!(run.ended[0].1, Outcome::Conflict | Outcome::Skipped), "{key}");
    }
}

#[test]
fn cve_2024_12747_a_file_that_becomes_a_link_while_it_is_read_is_not_followed() {
    // An export as root would put what the link points to into the bucket.
    let place = Surrounded::new();
    for name in ["a", "b", "c"] {
        fs::write(place.root().join(name), "plain").unwrap();
    }
    let root = place.root();
    let hook = move |operation, key: &str| {
        if operation == Operation::Put && key == "a" {
            for name in ["b", "c"] {
                fs::remove_file(root.join(name)).unwrap();
                symlink("../victim", root.join(name)).unwrap();
            }
        }
    };
    let store = Hooked { store: MemoryStore::new(), hook };
    let options = ExportOptions::new(Profile::fsx()).with_jobs(Jobs::ONE);
    block_on(export(&LocalTree::open(place.root()).unwrap(), &store, &options, &Silent)).unwrap();
    for (_, object) in bridge::bucket_of(&store.store) {
        assert!(
            !object.body.windows(8).any(|window| window == b"sentinel"),
            "{:?}",
            String::from_utf8_lossy(&object.body)
        );
    }
    assert!(block_on(store.store.get("a", &GetOptions::default())).is_ok());
}

#[test]
fn cve_2024_12084_and_12085_there_is_no_unchecked_memory() {
    let manifest = include_str!("../../Cargo.toml");
    assert!(manifest.contains("\nunsafe_code = \"forbid\"\n"));
}

#[test]
fn cve_2018_20990_a_hard_link_that_is_written_to() {
    let place = Surrounded::new();
    fs::hard_link(place.0.path().join("victim"), place.root().join("a")).unwrap();
    let victim = fs::read(place.0.path().join("victim")).unwrap();
    let run = bridge::import(
        &memory_store(&bucket([("a", file(b"planted"))])),
        &LocalTree::open(place.root()).unwrap(),
        "",
        &Rules::FSX,
    );
    assert_eq!(run.report.written, 1);
    assert_eq!(fs::read(place.0.path().join("victim")).unwrap(), victim);
    assert_eq!(fs::read(place.root().join("a")).unwrap(), b"planted");
}

#[test]
fn cve_2021_38511_a_directory_that_is_made_through_a_link() {
    nothing_gets_out(&bucket([
        ("a", link("../a")),
        ("a/made/", object("0040755", b"")),
        ("a/made/too/", object("0040755", b"")),
    ]));
    let place = Surrounded::new();
    symlink("../a", place.root().join("a")).unwrap();
    let run = import_into(&place, &bucket([("a/made/", object("0040755", b"")), ("a/implied/x", file(b"x"))]));
    assert_eq!(run.report.conflicts, 2);
}

#[test]
fn ghsa_3wgq_wrwc_vqmv_a_parent_that_was_found_good_is_found_good_by_its_descriptor() {
    // `d` is seen, made and written to, then swapped; what follows must not rely on what was seen.
    let place = Surrounded::new();
    let before = place.outside();
    let objects: Bucket = (0..6).map(|at| (format!("d/f{at}"), file(b"x"))).collect();
    for at in 0..6 {
        let root = place.root();
        let hook = move |operation, key: &str| {
            if operation == Operation::Get && key == format!("d/f{at}") {
                fs::rename(root.join("d"), root.join("was")).unwrap();
                symlink("../a", root.join("d")).unwrap();
            }
        };
        let store = Hooked { store: memory_store(&objects), hook };
        let options = bridge::import_options("", &Rules::FSX).with_jobs(Jobs::ONE);
        let tree = LocalTree::open(place.root()).unwrap();
        // Where it comes too early there is nothing to swap yet.
        fs::create_dir_all(place.root().join("d")).unwrap();
        block_on(posix_s3::engine::import(&store, &tree, &options, &Silent)).unwrap();
        assert_eq!(place.outside(), before, "{at}");
        fs::remove_file(place.root().join("d")).unwrap();
        fs::remove_dir_all(place.root().join("was")).unwrap();
    }
}

#[test]
fn cve_2026_44471_a_prefix_that_was_checked_as_text_may_be_a_link_by_now() {
    // From one run of an open tree to the next.
    let place = Surrounded::new();
    let tree = LocalTree::open(place.root()).unwrap();
    bridge::import(&memory_store(&bucket([("d/e/f", file(b"x"))])), &tree, "", &Rules::FSX);
    fs::rename(place.root().join("d/e"), place.root().join("d/was")).unwrap();
    symlink("../../a", place.root().join("d/e")).unwrap();
    let before = place.outside();
    let run = bridge::import(
        &memory_store(&bucket([("d/e/x", file(b"planted")), ("d/e/", object("0040777", b""))])),
        &tree,
        "",
        &Rules::FSX,
    );
    assert_eq!(
        (ended(&run, "d/e/x"), ended(&run, "d/e/"), place.outside()),
        (Outcome::Conflict, Outcome::Conflict, before)
    );
}

#[test]
fn cve_2024_51756_names_of_devices_of_another_system_are_names() {
    let place = Surrounded::new();
    let names = ["COM1", "COM\u{b9}", "LPT\u{b2}", "NUL", "NUL.txt", "CONIN$", "a:stream"];
    let run = import_into(&place, &names.map(|name| (name.to_owned(), file(b"x"))).into());
    assert_eq!(run.report.written, names.len() as u64);
    assert!(names.iter().all(|name| fs::read(place.root().join(name)).unwrap() == b"x"));
}

/// A directory object whose name is that of a link to a directory outside: what ends in a slash is followed by the kernel.
fn a_slash_at_the_end_follows_nothing(target: impl Fn(&Surrounded) -> std::path::PathBuf, key: &str) {
    let place = Surrounded::new();
    fs::create_dir_all(place.root().join(key).parent().unwrap()).unwrap();
    symlink(target(&place), place.root().join(key.trim_end_matches('/'))).unwrap();
    let stat = stat_of(&fs::symlink_metadata(place.root().join(key.trim_end_matches('/'))).unwrap());
    let run =
        import_into(&place, &[(key.to_owned(), object("0040777", b"")), (format!("{key}x"), file(b"planted"))].into());
    assert!(run.ended.iter().all(|(_, outcome)| *outcome == Outcome::Conflict), "{:?}", run.ended);
    assert_eq!(stat_of(&fs::symlink_metadata(place.root().join(key.trim_end_matches('/'))).unwrap()), stat);
}

#[test]
fn cve_2026_39822_a_link_with_a_slash_behind_it_is_not_followed() {
    a_slash_at_the_end_follows_nothing(|_| "../b".into(), "ln/");
}

#[test]
fn ghsa_hp8f_xmx4_4qrg_a_link_with_a_slash_behind_it_is_not_opened() {
    a_slash_at_the_end_follows_nothing(|place| place.0.path().join("b"), "d/e/ln/");
}

#[test]
fn rustsec_2026_0269_a_link_with_a_slash_behind_it_is_not_made_a_directory() {
    a_slash_at_the_end_follows_nothing(|_| "../new".into(), "ln/");
}

#[test]
fn cve_2025_4517_a_target_that_is_too_long_to_be_resolved_is_judged_all_the_same() {
    // The path of the link and its target are each short enough, and together longer than any that is resolved.
    let directory = "d/".repeat(400);
    let climb = "../".repeat(401);
    let long = format!("{}{climb}a", "n".repeat(247) + "/");
    let objects: Bucket = [
        (format!("{directory}l"), link(&climb)),
        (format!("{directory}m"), link(&format!("{}{}a", "./".repeat(1000), climb))),
        ("l".to_owned(), link(&long)),
    ]
    .into();
    let place = Surrounded::new();
    let before = place.outside();
    let run = bridge::import(&memory_store(&objects), &LocalTree::open(place.root()).unwrap(), "", &Rules::UNTRUSTED);
    assert!(run.ended.iter().all(|(_, outcome)| *outcome == Outcome::Failed), "{:?}", run.report.problems);
    assert_eq!(place.outside(), before);
    nothing_gets_out(&objects);
}

#[test]
fn cve_2025_4330_a_link_through_a_link_is_judged_by_its_text_and_not_gone_through() {
    nothing_gets_out(&bucket([
        ("inside/up", link("..")),
        ("out", link("inside/up/../a")),
        ("out/x", file(b"planted")),
        ("out2", link("out/../a")),
    ]));
}

#[test]
fn cve_2025_4138_a_target_outside_of_the_root_is_refused() {
    let place = Surrounded::new();
    let objects =
        bucket([("abs", link("/etc/passwd")), ("up", link("../victim")), ("around", link("d/../../root/../victim"))]);
    let tree = LocalTree::open(place.root()).unwrap();
    let run = bridge::import(&memory_store(&objects), &tree, "", &Rules::UNTRUSTED);
    assert_eq!((run.report.failed, fs::read_dir(place.root()).unwrap().count()), (3, 0));
}

#[test]
fn cve_2024_12718_modes_and_times_do_not_reach_what_is_outside() {
    nothing_gets_out(&bucket([
        ("l", link("../victim")),
        ("l/", object("0040777", b"")),
        ("m", link("../b")),
        ("m/n/", object("0040777", b"")),
        ("../victim", object("0100777", b"")),
    ]));
}

#[test]
fn cve_2026_23745_targets_are_not_written_through_whatever_they_are() {
    for target in ["/etc/passwd", "../../../../etc/passwd", "../victim", "c:/x", "//host/x"] {
        nothing_gets_out(&bucket([("l", link(target)), ("l/x", file(b"planted"))]));
        let place = Surrounded::new();
        symlink("../victim", place.root().join("l")).unwrap();
        let run = import_into(&place, &bucket([("l", file(b"planted"))]));
        assert_eq!(ended(&run, "l"), Outcome::Written);
        assert!(fs::symlink_metadata(place.root().join("l")).unwrap().is_file());
    }
}

#[test]
fn cve_2026_23950_names_that_are_equal_to_unicode_are_two_names() {
    let place = Surrounded::new();
    let names = ["stra\u{df}e", "strasse", "\u{e9}", "e\u{301}", "\u{fb00}", "ff", "A", "a", "\u{130}", "i\u{307}"];
    let mut objects: Bucket = names.map(|name| (name.to_owned(), file(name.as_bytes()))).into();
    // One of each pair as a link that the other would be written through.
    for name in ["strasse", "e\u{301}", "a"] {
        objects.insert(name.to_owned(), link("../victim"));
    }
    let run = import_into(&place, &objects);
    assert_eq!(run.report.written, names.len() as u64);
    let made = read_disk(&place.root());
    assert!(objects.iter().all(|(name, object)| match &made[name].kind {
        Kind::File(content) | Kind::Link(content) => *content == object.body,
        Kind::Directory => false,
    }));
}

#[test]
fn cve_2021_21300_a_link_and_a_directory_that_differ_in_case_alone() {
    let objects = bucket([("A", link("../a")), ("a/post-checkout", file(b"planted")), ("a/", object("0040755", b""))]);
    nothing_gets_out(&objects);
    let place = Surrounded::new();
    let run = import_into(&place, &objects);
    assert_eq!(run.report.written, 3);
    assert!(fs::symlink_metadata(place.root().join("a")).unwrap().is_dir());
}

#[test]
fn minizip_ng_1039_a_target_that_is_cut_before_it_is_checked() {
    // Harmless for as long as any buffer, and then it climbs.
    for length in [255, 256, 1023, 1024, 4089, 4095] {
        let mut target = "./".repeat(length);
        target.truncate(length - 9);
        let target = format!("{target}/../../x");
        let place = Surrounded::new();
        let tree = LocalTree::open(place.root()).unwrap();
        let run = bridge::import(&memory_store(&bucket([("d/l", link(&target))])), &tree, "", &Rules::UNTRUSTED);
        assert_eq!(ended(&run, "d/l"), Outcome::Failed, "{length}");
    }
}

#[test]
fn tar_rs_442_a_directory_and_a_link_of_one_name_change_no_mode_outside() {
    nothing_gets_out(&bucket([("b", link("../b")), ("b/", object("0040777", b""))]));
    let place = Surrounded::new();
    let import = |objects: &Bucket| import_into(&place, objects);
    import(&bucket([("b", link("../b"))]));
    import(&bucket([("b/", object("0040777", b""))]));
    let mode = fs::metadata(place.0.path().join("b")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o700);
}

#[test]
fn tar_rs_441_a_size_that_is_told_twice_is_that_of_the_body_or_none() {
    let place = Surrounded::new();
    for (announced, sent) in [(3, &b"0123456789"[..]), (100, b"0123456789"), (0, b"0123456789")] {
        let liar = Liar::with_body(&bucket([("a", file(b"0123456789"))]), announced, sent);
        let run = bridge::import(&liar, &LocalTree::open(place.root()).unwrap(), "", &Rules::FSX);
        assert_eq!(run.report.failed, 1, "{announced}");
    }
    assert_eq!(fs::read_dir(place.root()).unwrap().count(), 0);
}

#[test]
fn rustic_core_571_one_name_as_a_link_and_as_a_directory() {
    let objects = bucket([("n", link("elsewhere")), ("n/", object("0040755", b"")), ("n/x", file(b"x"))]);
    let place = Surrounded::new();
    let run = import_into(&place, &objects);
    assert_eq!(
        (ended(&run, "n"), ended(&run, "n/"), ended(&run, "n/x")),
        (Outcome::Skipped, Outcome::Written, Outcome::Written)
    );
    assert_eq!(fs::read(place.root().join("n/x")).unwrap(), b"x");
}

#[test]
fn mountpoint_s3_725_a_file_and_a_directory_of_one_name() {
    let place = Surrounded::new();
    let run =
        import_into(&place, &bucket([("out", file(b"x")), ("out/", object("0040755", b"")), ("out/y", file(b"y"))]));
    assert_eq!(
        (ended(&run, "out"), ended(&run, "out/"), ended(&run, "out/y")),
        (Outcome::Skipped, Outcome::Written, Outcome::Written)
    );
}

#[test]
fn duplicacy_691_a_file_that_was_replaced_by_a_link_to_a_sensitive_one() {
    let place = Surrounded::new();
    let objects = bucket([("config", file(b"from the bucket"))]);
    import_into(&place, &objects);
    fs::remove_file(place.root().join("config")).unwrap();
    symlink("../victim", place.root().join("config")).unwrap();
    let run = import_into(&place, &objects);
    assert_eq!(ended(&run, "config"), Outcome::Written);
    assert!(fs::symlink_metadata(place.root().join("config")).unwrap().is_file());
    // A key that is one: it does not matter how it is spelled.
    assert!(Key::parse("config/").is_ok() && Path::new("config").components().count() == 1);
}
