//! The canonical workloads: where each starts, and what it does.

use crate::boundary::world::{Told, Way, World, exporting, importing, told};
use crate::boundary::{Edge, Plan, run};
use crate::mutation::{Mutation, attributes, directory, link};
use posix_s3::Profile;
use posix_s3::engine::{
    DataOptions, Fetch, Jobs, Outcome, ReleaseOptions, Report, RunError, Silent, export_since, import_since, release,
    restore,
};
use posix_s3::plan::OnConflict;
use posix_s3::tree::{MemoryTree, Tree, UnseenUsers};
use std::collections::BTreeSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    FirstExport,
    /// Content, metadata alone, names that are new and gone, types that change.
    ExportOfChanges,
    FirstImport,
    /// With deletes and conflicts.
    ImportOfChanges,
    /// The same, and both versions of what is in conflict are kept.
    ImportThatKeepsBoth,
    /// Metadata first, as placeholders.
    ImportOnDemand,
    Release,
    Restore,
    /// Of changes in a tree in which the data of files is in the store alone.
    ExportBesidePlaceholders,
}

pub(crate) const ALL: [Work; 9] = [
    Work::FirstExport,
    Work::ExportOfChanges,
    Work::FirstImport,
    Work::ImportOfChanges,
    Work::ImportThatKeepsBoth,
    Work::ImportOnDemand,
    Work::Release,
    Work::Restore,
    Work::ExportBesidePlaceholders,
];

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The error, with its causes.
    pub(crate) error: Option<String>,
    pub(crate) told: BTreeSet<Told>,
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn ended(result: Result<Report, RunError>) -> Ended {
    match result {
        Ok(report) => Ended { error: None, told: told(&report) },
        Err(error) => Ended { error: Some(chain(&error)), told: told(error.report()) },
    }
}

fn fill(tree: &MemoryTree) {
    tree.insert(directory("b")).unwrap();
    tree.insert(directory("e")).unwrap();
    tree.insert(link("link", "b/a")).unwrap();
    for name in ["a", "b/a", "b/b", "b/gone", "c", "f"] {
        tree.insert_file(name.parse().unwrap(), format!("file {name}"), attributes(0o644, 9)).unwrap();
    }
}

fn filled() -> World {
    let world = World::new();
    fill(&world.tree);
    world
}

fn agreed() -> World {
    let ran = filled().run(Way::Export, 1, Plan::Nothing);
    ran.result.unwrap();
    ran.world
}

fn change(world: &mut World, mutations: &[Mutation]) {
    for (number, mutation) in mutations.iter().enumerate() {
        assert!(mutation.apply(world, number as u8 + 1), "{mutation:?}");
    }
}

fn change_tree(world: &mut World) {
    use Mutation::{Append, Chmod, Chown, Create, Link, Mkdir, Rename, Retarget, Rmdir, Unlink, Utimens, Write};
    let mutations = [
        Write("a"),
        Chmod("b/a"),
        Utimens("b"),
        Append("b/b"),
        Unlink("b/gone"),
        Rename("c", "b/c"),
        Link("f", "g"),
        Chown("f"),
        Retarget("link"),
        Rmdir("e"),
        Create("e"),
        Mkdir("h"),
        Create("h/i"),
    ];
    change(world, &mutations);
}

fn change_bucket(world: &mut World) {
    use Mutation::{RemoteDelete, RemoteMetadata, RemotePut};
    let mutations = [
        RemotePut("a"),
        RemoteMetadata("b/a"),
        RemotePut("b"),
        RemoteDelete("b/gone"),
        RemotePut("new/file"),
        RemoteMetadata("link"),
        RemoteDelete("e"),
        RemotePut("c"),
    ];
    change(world, &mutations);
}

impl Work {
    pub(crate) const fn way(self) -> Way {
        match self {
            Self::FirstExport | Self::ExportOfChanges | Self::ExportBesidePlaceholders => Way::Export,
            _ => Way::Import,
        }
    }

    /// Where it starts.
    pub(crate) fn start(self) -> World {
        match self {
            Self::FirstExport => filled(),
            Self::ExportOfChanges => {
                let mut world = agreed().copy();
                change_tree(&mut world);
                world
            }
            Self::FirstImport | Self::ImportOnDemand => {
                World { tree: World::new().tree, state: Default::default(), ..agreed() }
            }
            Self::ImportOfChanges | Self::ImportThatKeepsBoth => {
                let mut world = agreed().copy();
                change_bucket(&mut world);
                // One in conflict, one that has changed here alone, one that is gone here.
                change(&mut world, &[Mutation::Append("c"), Mutation::Write("b/b"), Mutation::Unlink("f")]);
                world
            }
            Self::Release => agreed(),
            Self::ExportBesidePlaceholders => {
                use Mutation::{Append, Chmod, Create, Replace, Unlink};
                let mut world = Self::Restore.start().copy();
                change(&mut world, &[Create("new"), Replace("c"), Unlink("f"), Chmod("b/a"), Append("a")]);
                world
            }
            Self::Restore => {
                let ran = Self::Release.run(&agreed(), 1, Plan::Nothing);
                assert!(ran.0.error.is_none(), "{:?}", ran.0);
                ran.1
            }
        }
    }

    pub(crate) fn run(
        self,
        start: &World,
        jobs: usize,
        plan: Plan,
    ) -> (Ended, World, std::sync::Arc<crate::boundary::Boundary>) {
        let ran = start.copy().work(self.way(), jobs > 1, plan, |edge| self.ends(&edge, jobs));
        (ran.result, ran.world, ran.boundary)
    }

    fn ends(self, edge: &Edge, jobs: usize) -> Ended {
        let data = DataOptions::new(Profile::fsx()).with_bucket("bucket").with_jobs(Jobs::new(jobs).unwrap());
        match self {
            Self::FirstExport | Self::ExportOfChanges | Self::ExportBesidePlaceholders => {
                ended(run(export_since(edge, edge, edge, &exporting(jobs), &Silent)))
            }
            Self::FirstImport | Self::ImportOfChanges => {
                ended(run(import_since(edge, edge, edge, &importing(jobs), &Silent)))
            }
            Self::ImportThatKeepsBoth => {
                let options = importing(jobs).with_on_conflict(OnConflict::KeepBoth);
                ended(run(import_since(edge, edge, edge, &options, &Silent)))
            }
            Self::ImportOnDemand => {
                let options = importing(jobs).with_data(Fetch::OnDemand);
                ended(run(import_since(edge, edge, edge, &options, &Silent)))
            }
            Self::Release => {
                let options = ReleaseOptions::new(data).with_unseen_users(UnseenUsers::Accept);
                let (report, error) = match run(release(edge, edge, edge, &options, edge.now(), &Silent)) {
                    Ok(report) => (report, None),
                    Err(error) => (*error.report, Some(chain(&error.kind))),
                };
                let kept = |kept: &posix_s3::engine::Kept| {
                    (kept.key.to_string(), Outcome::Failed, format!("{:?}: {}", kept.cause, kept.detail))
                };
                Ended { error, told: report.reasons.iter().map(kept).collect() }
            }
            Self::Restore => ended(run(restore(edge, edge, Some(edge), &data, &Silent))),
        }
    }
}
