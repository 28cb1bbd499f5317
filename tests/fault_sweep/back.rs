//! What comes back while a run goes on that is to delete the other side of it.

use crate::boundary::world::{Told, Way, World, told};
use crate::boundary::{Call, Failing, Fault, Plan};
use crate::mutation::{Mutation, attributes, directory};
use posix_s3::engine::Outcome;
use posix_s3::store::StoreErrorKind;

const NAME: &str = "b/a";

/// Both sides agree on a file, which is gone from one of them.
fn start(way: Way) -> World {
    let world = World::new();
    world.tree.insert(directory("b")).unwrap();
    for name in [NAME, "b/b"] {
        world.tree.insert_file(name.parse().unwrap(), format!("file {name}"), attributes(0o644, 9)).unwrap();
    }
    let ran = world.run(Way::Export, 1, Plan::Nothing);
    ran.result.unwrap();
    let mut world = ran.world.copy();
    let gone = match way {
        Way::Export => Mutation::Unlink(NAME),
        Way::Import => Mutation::RemoteDelete(NAME),
    };
    assert!(gone.apply(&mut world, 1));
    world
}

/// A run in which it comes back right before the call of this number. What it is then is another version. If a call is to
/// fail, that is the one.
fn run(way: Way, start: &World, back: u64, fault: Option<(Call, Fault)>) -> (World, Vec<(Call, String)>, bool, bool) {
    let start = start.copy();
    let comes_back = move |boundary: &crate::boundary::Boundary| match way {
        Way::Export => {
            boundary.tree.insert_file(NAME.parse().unwrap(), "back", attributes(0o600, 99)).unwrap();
        }
        Way::Import => assert!(Mutation::put_into(&boundary.store, NAME, 2)),
    };
    let failing = fault.map(|(call, fault)| Failing { number: 0, call, fault, for_good: true });
    let ran =
        start.run(way, 1, Plan::Meanwhile { at: back, change: Some(Box::new(comes_back)), failing, calls: Vec::new() });
    let report = ran.result.unwrap();
    let is_told = told(&report).iter().any(|(key, outcome, _): &Told| {
        key == NAME && matches!(outcome, Outcome::Skipped | Outcome::Failed | Outcome::Conflict)
    });
    let (calls, is_back) = ran.boundary.seen();
    (ran.world, calls, is_back, is_told)
}

/// The number of the last such call before the one that deletes, in a run that nothing happens to.
fn last_look(way: Way, start: &World) -> (u64, u64) {
    let (.., calls, _, _) = run(way, start, u64::MAX, None);
    let (look, delete) = match way {
        Way::Export => (Call::Tree("look"), Call::Store("delete")),
        Way::Import => (Call::Store("head"), Call::Tree("remove")),
    };
    let deletes = calls.iter().position(|(call, key)| *call == delete && key == NAME).unwrap();
    let looks = calls[..deletes].iter().rposition(|(call, key)| *call == look && key == NAME).unwrap();
    (looks as u64, deletes as u64)
}

/// What is back before the last look at it is not deleted, nor is what that look fails for.
pub(crate) fn sweep(way: Way) -> u64 {
    let start = start(way);
    let (look, delete) = last_look(way, &start);
    let mut runs = 0;
    let faults: Vec<_> = match way {
        Way::Export => vec![None],
        Way::Import => {
            [StoreErrorKind::Denied, StoreErrorKind::Transient, StoreErrorKind::Throttled, StoreErrorKind::Other]
                .into_iter()
                .map(|kind| Some((Call::Store("head"), Fault::Store(kind))))
                .chain([None])
                .collect()
        }
    };
    for fault in faults {
        for back in 0..=delete {
            let what = format!("{way:?}, {fault:?}, back before call {back}, looked at by call {look}");
            let (world, calls, is_back, is_told) = run(way, &start, back, fault);
            runs += 1;
            assert!(is_back, "{what}");
            let deletes = calls
                .iter()
                .filter(|(call, key)| key == NAME && [Call::Store("delete"), Call::Tree("remove")].contains(call));
            let deletes = deletes.count();
            if back <= look || fault.is_some() {
                assert_eq!(deletes, 0, "{what}: deleted all the same");
            }
            // What came too late to be seen is on one side alone until the next run.
            let next = world.run(way, 1, Plan::Nothing);
            let next_told = told(&next.result.unwrap());
            let ends = [next.world.bucket().iter().any(|(key, _)| key == NAME), {
                next.world.tree.entries().iter().any(|(entry, _)| entry.key().as_str() == NAME)
            }];
            assert_eq!(ends, [true, true], "{what}: {is_told}, then {next_told:?}");
            let last = next.world.run(way, 1, Plan::Nothing);
            last.result.unwrap();
            assert_eq!(last.boundary.effects(), 0, "{what}: not at rest");
        }
    }
    runs
}
