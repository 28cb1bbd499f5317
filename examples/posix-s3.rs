//! The crate at work: a directory to a bucket and back, from the command line.
//!
//! ```sh
//! cargo run --example posix-s3 -- export DIR dir:BUCKET
//! cargo run --example posix-s3 -- import dir:BUCKET DIR
//! cargo run --example posix-s3 -- audit dir:BUCKET
//! cargo run --features s3 --example posix-s3 -- export DIR s3://BUCKET/PREFIX
//! ```
//!
//! Where S3 is, and who asks, is said by the usual AWS variables and profiles; with `POSIX_S3_NO_SIGN_REQUEST` set, nobody
//! in particular asks, which public buckets allow.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its user")]

#[path = "posix-s3/link.rs"]
mod link;
#[path = "posix-s3/place.rs"]
mod place;

use clap::{Args, Parser, Subcommand, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use place::{Place, Purpose};
use posix_s3::engine::{
    Access, Audit, Clock, DataOptions, ExportOptions, Fetch, FileState, ImportOptions, Jobs, KeptCause, Outcome,
    Planned, Problem, Progress, ReleaseMode, ReleaseOptions, ReleaseReport, Remark, Report, RepositoryOptions,
    RunError, Selection, StateStore, SystemClock, Verdict, audit, export, export_since, import, import_since,
    plan_export, plan_import, release, restore,
};
use posix_s3::plan::{Brake, Deletes, OnConflict};
use posix_s3::repository::AutoImportPolicyType;
use posix_s3::store::MemoryStore;
use posix_s3::tree::{LocalTree, MemoryTree, UnseenUsers};
use posix_s3::{Key, Prefix, Profile};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Keeps POSIX trees in S3, in the schema of FSx for Lustre, DataSync, File Gateway and S3 Files.
///
/// A STORE is `dir:PATH` (a bucket in a directory), `s3://BUCKET/PREFIX`, or `memory:` (a bucket that is gone at the end).
///
/// S3 is found by the usual AWS variables and profiles, AWS_CA_BUNDLE included; with POSIX_S3_NO_SIGN_REQUEST=1 requests are
/// not signed, which public buckets allow.
#[derive(Parser)]
#[command(name = "posix-s3", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sends a directory to a store.
    Export {
        /// The directory.
        dir: PathBuf,
        /// `dir:PATH`, `s3://BUCKET/PREFIX` or `memory:`.
        store: String,
        #[command(flatten)]
        run: Run,
        #[command(flatten)]
        options: Options,
    },
    /// Fetches a store into a directory, which is made if it is not there.
    Import {
        /// `dir:PATH`, `s3://BUCKET/PREFIX` or `memory:`.
        store: String,
        /// The directory.
        dir: PathBuf,
        /// Fetches no data: files are placeholders of the right size with their attributes, until `restore` fetches what they
        /// hold. Whoever reads one before that reads zeros.
        #[arg(long)]
        metadata_only: bool,
        #[command(flatten)]
        run: Run,
        #[command(flatten)]
        options: Options,
    },
    /// Fetches the data of placeholders, and of what was released.
    Restore {
        /// `dir:PATH` or `s3://BUCKET/PREFIX`.
        store: String,
        /// The directory.
        dir: PathBuf,
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        options: Options,
    },
    /// Gives back the space of files that the store holds exactly as they are, and of nothing else. They become placeholders.
    Release {
        /// The directory.
        dir: PathBuf,
        /// `dir:PATH` or `s3://BUCKET/PREFIX`.
        store: String,
        /// Only files that were neither read nor changed for more than so many days; 0 for any.
        #[arg(long, value_name = "DAYS", default_value_t = 0)]
        older_than: u64,
        /// Says what would be released, and releases nothing.
        #[arg(long)]
        dry_run: bool,
        /// Releases although processes of other users run here, of which only the superuser can tell what they have open. What
        /// they write to a file while it is released may be lost.
        #[arg(long)]
        accept_unseen_users: bool,
        #[command(flatten)]
        files: Files,
        #[command(flatten)]
        options: Options,
    },
    /// Says what an import would refuse, default or repair, and why.
    Audit {
        /// `dir:PATH`, `s3://BUCKET/PREFIX` or `memory:`.
        store: String,
        #[command(flatten)]
        options: Options,
    },
    /// Says what an export would do and why, an entry a line, and does nothing.
    Plan {
        /// The directory.
        dir: PathBuf,
        /// `dir:PATH`, `s3://BUCKET/PREFIX` or `memory:`.
        store: String,
        #[command(flatten)]
        run: Run,
        #[command(flatten)]
        options: Options,
    },
    /// Takes over what has happened in the bucket, as S3 tells it: notifications as they are, or as SNS, SQS or EventBridge
    /// wrap them, one after the other. The directory then holds what an import would bring.
    Watch {
        /// `dir:PATH` or `s3://BUCKET/PREFIX`.
        store: String,
        /// The directory, which is made if it is not there.
        dir: PathBuf,
        /// The file with the messages; `-` for standard input.
        #[arg(default_value = "-")]
        events: PathBuf,
        /// The state of the link.
        #[arg(long, value_name = "FILE")]
        state: PathBuf,
        /// What is taken over.
        #[arg(long, value_enum, default_value_t = Policy::NewChangedDeleted)]
        policy: Policy,
        /// The bucket that the events name; that of the store by default.
        #[arg(long, value_name = "NAME")]
        bucket: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Prints the link as `aws fsx describe-file-systems` does: its lifecycle, and why if it is not available. The exit status
    /// is 1 then.
    Status {
        /// `dir:PATH`, `s3://BUCKET/PREFIX` or `memory:`.
        store: String,
        /// The state of the link; without one, the link that would be made.
        #[arg(long, value_name = "FILE")]
        state: Option<PathBuf>,
        #[command(flatten)]
        options: Options,
    },
}

#[derive(Args)]
struct Options {
    /// Whether the bucket is trusted as FSx does, or strangers write to it.
    #[arg(long, value_enum, default_value_t = Attitude::Fsx)]
    profile: Attitude,
    /// The part of the bucket that is meant, such as `data/in/`; the whole of it by default.
    #[arg(long, default_value = "")]
    prefix: Prefix,
    /// How many entries are worked on at once; 128 with S3, 256 for an import from there, 16 with a directory.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// How many threads look at the directory; as many as there are processors by default.
    #[arg(long, value_name = "N")]
    lookers: Option<usize>,
    /// Prints one JSON object to standard output, and nothing else.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Run {
    /// The file in which is kept what both sides last agreed on. With it, only what has changed since goes over; without
    /// it, an export sends everything and an import compares with the directory alone. For S3, FILE.uploads and FILE.store lie
    /// beside it.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Deletes on the other side what is gone from this one since both agreed; at most 1,000 entries or 20 percent, unless
    /// --delete=all. Needs --state.
    #[arg(long, value_name = "all", num_args = 0..=1, require_equals = true, default_missing_value = "some", requires = "state")]
    delete: Option<Delete>,
    /// Says what would be done, and does nothing.
    #[arg(long)]
    dry_run: bool,
    /// What happens to what has changed on both sides; `fail` by default. Needs --state.
    #[arg(long, value_enum, value_name = "POLICY", requires = "state")]
    conflict: Option<Conflict>,
    /// Only this file or directory; may be given more than once.
    #[arg(long, value_name = "PATH", value_parser = path_in_tree)]
    path: Vec<Key>,
    /// Only files and links that match this glob; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,
    /// Nothing that matches this glob; may be given more than once.
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
}

/// Which changes of the bucket are taken over.
#[derive(Clone, Copy, ValueEnum)]
enum Policy {
    /// New objects.
    New,
    /// New objects, and changes of old ones.
    NewChanged,
    /// New objects, changes of old ones, and deletions.
    NewChangedDeleted,
}

impl From<Policy> for AutoImportPolicyType {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::New => Self::New,
            Policy::NewChanged => Self::NewChanged,
            Policy::NewChangedDeleted => Self::NewChangedDeleted,
        }
    }
}

/// Which files of a link.
#[derive(Args)]
struct Files {
    /// The state of the link; see `export`.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Only this file or directory; may be given more than once.
    #[arg(long, value_name = "PATH", value_parser = path_in_tree)]
    path: Vec<Key>,
}

impl Files {
    fn data_options(&self, store: &Place, options: &Options) -> Result<DataOptions, Failure> {
        let selection = self.path.iter().cloned().fold(Selection::all(), Selection::with_path);
        Ok(DataOptions::new(options.profile())
            .with_prefix(store.prefix(&options.prefix)?)
            .with_jobs(options.jobs(store, FAR)?)
            .with_selection(selection)
            .with_bucket(&store.name()?))
    }
}

/// A path from the directory on, as a shell completes it: `./` in front says nothing.
fn path_in_tree(text: &str) -> Result<Key, <Key as std::str::FromStr>::Err> {
    let mut path = text;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    Key::parse(path)
}

#[derive(Clone, Copy, ValueEnum)]
enum Delete {
    Some,
    All,
}

/// What happens to what has changed on both sides.
#[derive(Clone, Copy, ValueEnum)]
enum Conflict {
    /// Both sides keep what they have.
    Fail,
    /// The directory wins.
    Local,
    /// The store wins.
    Store,
    /// The later mtime wins.
    Newest,
    /// The file gets another name beside the object's (import).
    KeepBoth,
}

impl Run {
    fn deletes(&self) -> Deletes {
        match self.delete {
            None => Deletes::Never,
            Some(Delete::Some) => Deletes::Apply(Brake::default()),
            Some(Delete::All) => Deletes::Apply(Brake::RELEASED),
        }
    }

    const fn on_conflict(&self) -> OnConflict {
        match self.conflict {
            None | Some(Conflict::Fail) => OnConflict::Fail,
            Some(Conflict::Local) => OnConflict::Local,
            Some(Conflict::Store) => OnConflict::Store,
            Some(Conflict::Newest) => OnConflict::Newest,
            Some(Conflict::KeepBoth) => OnConflict::KeepBoth,
        }
    }

    fn selection(&self) -> Result<Selection, Failure> {
        let mut selection = self.path.iter().cloned().fold(Selection::all(), Selection::with_path);
        for pattern in &self.include {
            selection = selection.with_include(pattern).map_err(|error| Failure::from_error("--include", &error))?;
        }
        for pattern in &self.exclude {
            selection = selection.with_exclude(pattern).map_err(|error| Failure::from_error("--exclude", &error))?;
        }
        Ok(selection)
    }

    fn open_state(&self, store: &Place, dir: &Path) -> Result<Option<FileState>, Failure> {
        self.state.as_ref().map(|path| open_state(path, store, dir)).transpose()
    }
}

/// Opens the state, which is not in the directory that it is about: each run would change it.
fn open_state(path: &Path, store: &Place, dir: &Path) -> Result<FileState, Failure> {
    if matches!(store, Place::Memory) {
        return Err(Failure::of("--state", "a bucket in memory is gone at the end, and nothing is agreed on with it"));
    }
    let failed = |error| Failure::from_error("--state", &error);
    if real_path(path).map_err(failed)?.starts_with(real_path(dir).map_err(failed)?) {
        let wrong = format!("{} lies in {}, and would be part of it", path.display(), dir.display());
        return Err(Failure::of("--state", wrong));
    }
    FileState::open(path).map_err(|error| Failure::from_error("--state", &error))
}

#[derive(Clone, Copy, ValueEnum)]
enum Attitude {
    Fsx,
    Untrusted,
}

impl Options {
    fn profile(&self) -> Profile {
        match self.profile {
            Attitude::Fsx => Profile::fsx(),
            Attitude::Untrusted => Profile::untrusted(),
        }
    }

    fn lookers(&self) -> Result<Jobs, Failure> {
        let processors = || std::thread::available_parallelism().map_or(Jobs::ONE, Jobs::from);
        match self.lookers {
            None => Ok(processors()),
            Some(lookers) => Jobs::new(lookers).ok_or_else(|| Failure::of("--lookers", "expected 1 or more, found 0")),
        }
    }

    /// How many entries are under way at once; `far` is how many where the store is not on this machine.
    fn jobs(&self, store: &Place, far: usize) -> Result<Jobs, Failure> {
        let jobs = self.jobs.unwrap_or(match store {
            Place::S3(_) => far,
            Place::Memory | Place::Directory(_) => Jobs::default().get(),
        });
        Jobs::new(jobs).ok_or_else(|| Failure::of("--jobs", "expected 1 or more, found 0"))
    }
}

/// How many entries are under way at once where most of them wait for the network.
const FAR: usize = 128;
/// And where half of them wait for the disk.
const FAR_AND_TO_DISK: usize = 256;

/// A run that could not be made: what it was about, and what is wrong.
struct Failure(String);

impl Failure {
    fn of(what: impl Display, wrong: impl Display) -> Self {
        Self(format!("{what}: {wrong}"))
    }

    fn from_error(what: impl Display, error: &dyn Error) -> Self {
        let mut text = format!("{what}: {error}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self(text)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            let asked_for_help = !usage.use_stderr();
            let _ = usage.print();
            return ExitCode::from(if asked_for_help { 0 } else { 2 });
        }
    };
    match run(&arguments.command) {
        Ok(complete) => ExitCode::from(u8::from(!complete)),
        Err(Failure(text)) => {
            eprintln!("posix-s3: {text}");
            ExitCode::from(2)
        }
    }
}

/// Says whether everything was done.
fn run(command: &Command) -> Result<bool, Failure> {
    match command {
        Command::Export { dir, store, run, options } if run.dry_run => run_plan_export(dir, store, run, options),
        Command::Plan { dir, store, run, options } => run_plan_export(dir, store, run, options),
        Command::Export { dir, store, run, options } => run_export(dir, store, run, options),
        Command::Import { store, dir, metadata_only, run, options } => {
            run_import(store, dir, if *metadata_only { Fetch::OnDemand } else { Fetch::Now }, run, options)
        }
        Command::Restore { store, dir, files, options } => run_restore(store, dir, files, options),
        Command::Release { dir, store, older_than, dry_run, accept_unseen_users, files, options } => {
            let mode = if *dry_run { ReleaseMode::Foresee } else { ReleaseMode::Release };
            let unseen = if *accept_unseen_users { UnseenUsers::Accept } else { UnseenUsers::Refuse };
            run_release(dir, store, files, options, |data| {
                ReleaseOptions::new(data).with_minimum_days(*older_than).with_mode(mode).with_unseen_users(unseen)
            })
        }
        Command::Audit { store, options } => run_audit(store, options),
        Command::Watch { store, dir, events, state, policy, bucket, options } => {
            run_watch(store, dir, events, state, *policy, bucket.as_deref(), options)
        }
        Command::Status { store, state, options } => link::status(store, state.as_deref(), options),
    }
}

fn export_options(store: &Place, run: &Run, options: &Options) -> Result<ExportOptions, Failure> {
    Ok(ExportOptions::new(options.profile())
        .with_prefix(store.prefix(&options.prefix)?)
        .with_jobs(options.jobs(store, FAR)?)
        .with_lookers(options.lookers()?)
        .with_selection(run.selection()?)
        .with_deletes(run.deletes())
        .with_on_conflict(run.on_conflict())
        .with_bucket(&store.name()?))
}

fn run_export(dir: &Path, store: &str, run: &Run, options: &Options) -> Result<bool, Failure> {
    let tree = open_tree(dir)?;
    let store = Place::parse(store)?;
    let export_options = export_options(&store, run, options)?;
    let state = run.open_state(&store, dir)?;
    check_apart(&store, dir)?;
    let store = store.open(Purpose::Write(run.state.as_deref()), &export_options.prefix)?;
    let bar = Bar::new(options.json);
    let report = async_io::block_on(async {
        match &state {
            Some(state) => export_since(&tree, &store, state, &export_options, &bar).await,
            None => export(&tree, &store, &export_options, &bar).await,
        }
    });
    show(report, &bar, options.json)
}

fn run_plan_export(dir: &Path, store: &str, run: &Run, options: &Options) -> Result<bool, Failure> {
    let tree = open_tree(dir)?;
    let store = Place::parse(store)?;
    let export_options = export_options(&store, run, options)?;
    let state = run.open_state(&store, dir)?;
    check_apart(&store, dir)?;
    let store = match &store {
        // A bucket that is not there yet is an empty one.
        Place::Directory(path) if path.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) => {
            Arc::new(MemoryStore::new())
        }
        _ => store.open(Purpose::Plan, &export_options.prefix)?,
    };
    let (bar, mut plan) = (Bar::new(options.json), Plan::new(options.json));
    let state = state.as_ref().map(|state| state as &dyn StateStore);
    let each = |planned| plan.add(planned, &bar);
    let report = async_io::block_on(plan_export(&tree, &store, state, &export_options, each));
    plan.show(report, &bar)
}

fn run_import(store: &str, dir: &Path, data: Fetch, run: &Run, options: &Options) -> Result<bool, Failure> {
    let store = Place::parse(store)?;
    let import_options = ImportOptions::new(options.profile())
        .with_data(data)
        .with_prefix(store.prefix(&options.prefix)?)
        .with_jobs(options.jobs(&store, FAR_AND_TO_DISK)?)
        .with_selection(run.selection()?)
        .with_deletes(run.deletes())
        .with_on_conflict(run.on_conflict())
        .with_bucket(&store.name()?);
    let state = run.open_state(&store, dir)?;
    check_apart(&store, dir)?;
    let store = store.open(Purpose::Read, &import_options.prefix)?;
    let bar = Bar::new(options.json);
    if run.dry_run {
        let mut plan = Plan::new(options.json);
        let state = state.as_ref().map(|state| state as &dyn StateStore);
        let each = |planned| plan.add(planned, &bar);
        let report = if dir.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // A directory that is not there yet is an empty one.
            async_io::block_on(plan_import(&store, &MemoryTree::new(), state, &import_options, each))
        } else {
            async_io::block_on(plan_import(&store, &open_tree(dir)?, state, &import_options, each))
        };
        return plan.show(report, &bar);
    }
    std::fs::create_dir_all(dir).map_err(|error| Failure::from_error(dir.display(), &error))?;
    let tree = open_tree(dir)?;
    let report = async_io::block_on(async {
        match &state {
            Some(state) => import_since(&store, &tree, state, &import_options, &bar).await,
            None => import(&store, &tree, &import_options, &bar).await,
        }
    });
    show(report, &bar, options.json)
}

fn run_restore(store: &str, dir: &Path, files: &Files, options: &Options) -> Result<bool, Failure> {
    let place = Place::parse(store)?;
    let data_options = files.data_options(&place, options)?;
    let state = open_state(&files.state, &place, dir)?;
    let opened = place.open(Purpose::Read, &data_options.prefix)?;
    let (tree, bar) = (open_tree(dir)?, Bar::new(options.json));
    let report = async_io::block_on(restore(&tree, &opened, Some(&state), &data_options, &bar));
    show(report, &bar, options.json)
}

fn run_release(
    dir: &Path,
    store: &str,
    files: &Files,
    options: &Options,
    release_options: impl FnOnce(DataOptions) -> ReleaseOptions,
) -> Result<bool, Failure> {
    let place = Place::parse(store)?;
    let data_options = files.data_options(&place, options)?;
    let state = open_state(&files.state, &place, dir)?;
    let opened = place.open(Purpose::Read, &data_options.prefix)?;
    let (tree, bar) = (open_tree(dir)?, Bar::new(options.json));
    let release_options = release_options(data_options);
    let mode = release_options.mode;
    let released = release(&tree, &opened, &state, &release_options, SystemClock.now(), &bar);
    let released = async_io::block_on(released).map_err(|error| Failure::from_error("stopped", &error))?;
    bar.bar.finish_and_clear();
    if options.json {
        print_json(&released)?;
    } else {
        // Directories and links have nothing to give back.
        let files = released.reasons.iter().filter(|kept| kept.cause != KeptCause::NotAFile);
        files.for_each(|kept| eprintln!("{kept}"));
        let ReleaseReport { released, already, kept, bytes, .. } = released;
        let would = if mode == ReleaseMode::Foresee { "would be " } else { "" };
        println!(
            "{released} {would}released, {already} were before, {kept} stay; {} {would}given back",
            HumanBytes(bytes)
        );
    }
    Ok(true)
}

fn run_watch(
    store: &str,
    dir: &Path,
    events: &Path,
    state: &Path,
    policy: Policy,
    bucket: Option<&str>,
    options: &Options,
) -> Result<bool, Failure> {
    let place = Place::parse(store)?;
    let state = open_state(state, &place, dir)?;
    check_apart(&place, dir)?;
    let prefix = place.prefix(&options.prefix)?;
    let opened = place.open(Purpose::Read, &prefix)?;
    let mut repository = RepositoryOptions::new(options.profile(), &place.name()?).with_access(Access::ReadOnly);
    repository.import = repository.import.with_jobs(options.jobs(&place, FAR_AND_TO_DISK)?);
    std::fs::create_dir_all(dir).map_err(|error| Failure::from_error(dir.display(), &error))?;
    let link = link::open(&place, dir, state, policy.into(), options, repository, opened)?;
    let linked = link.linked();
    let bucket = bucket.unwrap_or_else(|| linked.import_path().bucket());
    if events == Path::new("-") {
        return link::watch(&link, bucket, std::io::stdin(), options.json);
    }
    let file = std::fs::File::open(events).map_err(|error| Failure::from_error(events.display(), &error))?;
    link::watch(&link, bucket, file, options.json)
}

fn open_tree(dir: &Path) -> Result<LocalTree, Failure> {
    LocalTree::open(dir).map_err(|error| Failure::from_error(dir.display(), &error))
}

/// Refuses a bucket that is in the directory or around it: one that holds itself would grow with every run.
fn check_apart(store: &Place, dir: &Path) -> Result<(), Failure> {
    if let Place::Directory(bucket) = store {
        let store = format!("dir:{}", bucket.display());
        let failed = |error| Failure::from_error(&store, &error);
        let (bucket, dir) = (real_path(bucket).map_err(failed)?, real_path(dir).map_err(failed)?);
        if bucket.starts_with(&dir) || dir.starts_with(&bucket) {
            return Err(Failure::of(&store, format!("the bucket and {} lie in one another", dir.display())));
        }
    }
    Ok(())
}

/// A path without links, also where its end is not there yet.
fn real_path(path: &Path) -> std::io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(&path);
    let rest = path.strip_prefix(there).unwrap_or(Path::new(""));
    // By its names alone, so that the same path is the same text whether it is there or not.
    Ok(there.canonicalize()?.join(rest).components().collect())
}

fn show(report: Result<Report, RunError>, bar: &Bar, json: bool) -> Result<bool, Failure> {
    bar.bar.finish_and_clear();
    let (report, failure) = match &report {
        Ok(report) => (report, None),
        Err(error) => (error.report(), Some(Failure::from_error("stopped", error))),
    };
    if json {
        print_json(report)?;
    } else {
        print_problems(&report.problems, report.problems_omitted);
        print_summary(report);
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(report.is_complete()),
    }
}

/// What would be done: a line each as it is found out, or one JSON object in the end.
struct Plan {
    json: bool,
    steps: Vec<Planned>,
}

impl Plan {
    const fn new(json: bool) -> Self {
        Self { json, steps: Vec::new() }
    }

    fn add(&mut self, planned: Planned, bar: &Bar) {
        if self.json {
            self.steps.push(planned);
        } else {
            bar.bar.suspend(|| println!("{planned}"));
        }
    }

    fn show(self, report: Result<Report, RunError>, bar: &Bar) -> Result<bool, Failure> {
        match report {
            Ok(report) if self.json => {
                bar.bar.finish_and_clear();
                print_json(&serde_json::json!({ "plan": self.steps, "report": report }))?;
                Ok(report.is_complete())
            }
            report => show(report, bar, self.json),
        }
    }
}

fn print_json_line(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::from_error("--json", &error))?;
    println!("{text}");
    Ok(())
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::from_error("--json", &error))?;
    println!("{text}");
    Ok(())
}

/// How many lines of one kind are shown before the rest is counted.
const SHOWN: usize = 20;

fn print_problems(problems: &[Problem], omitted: u64) {
    let mut by_outcome: BTreeMap<Outcome, Vec<&Problem>> = BTreeMap::new();
    for problem in problems {
        by_outcome.entry(problem.outcome).or_default().push(problem);
    }
    for (outcome, problems) in by_outcome {
        for problem in problems.iter().take(SHOWN) {
            eprintln!("{outcome}: {}: {}", problem.key, problem.reason);
        }
        if problems.len() > SHOWN {
            eprintln!("{outcome}: … and {} more; --json lists all", problems.len().saturating_sub(SHOWN));
        }
    }
    if omitted > 0 {
        eprintln!("… and {omitted} problems more than a report lists");
    }
}

fn print_summary(report: &Report) {
    let calls = report.store_calls;
    let mut table = new_table();
    for (name, number) in [
        ("entries", report.entries),
        ("unchanged", report.unchanged),
        ("written", report.written),
        ("metadata only", report.metadata_only),
        ("skipped", report.skipped),
        ("failed", report.failed),
        ("conflicts", report.conflicts),
        ("deleted", report.deleted),
        ("gone, kept", report.gone),
    ] {
        table.add_row([name.to_owned(), number.to_string()]);
    }
    table.add_row(["bytes".to_owned(), HumanBytes(report.bytes).to_string()]);
    let calls = [
        ("list", calls.list),
        ("head", calls.head),
        ("get", calls.get),
        ("put", calls.put),
        ("copy", calls.copy),
        ("delete", calls.delete),
    ];
    let calls = calls.into_iter().filter(|(_, count)| *count > 0);
    let calls: Vec<String> = calls.map(|(name, count)| format!("{count} {name}")).collect();
    table.add_row(["store calls".to_owned(), calls.join(", ")]);
    align_numbers(&mut table);
    println!("{table}");
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table
}

fn align_numbers(table: &mut Table) {
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn run_audit(store: &str, options: &Options) -> Result<bool, Failure> {
    let store = Place::parse(store)?;
    let prefix = store.prefix(&options.prefix)?;
    let store = store.open(Purpose::Read, &prefix)?;
    let profile = options.profile();
    let mut remarks = Vec::new();
    let mut shown: BTreeMap<Verdict, usize> = BTreeMap::new();
    let remark = |remark: Remark| {
        if options.json {
            remarks.push(remark);
            return;
        }
        let shown = shown.entry(remark.verdict).or_default();
        if *shown < SHOWN {
            println!("{:9} {}: {}", remark.verdict, remark.key, remark.reason);
        }
        *shown = shown.saturating_add(1);
    };
    let audit = async_io::block_on(audit(&store, &prefix, &profile, remark))
        .map_err(|error| Failure::from_error("audit", &error))?;
    if options.json {
        print_json(&serde_json::json!({ "audit": audit, "remarks": remarks }))?;
    } else {
        for (verdict, count) in shown.into_iter().filter(|(_, count)| *count > SHOWN) {
            println!("{verdict:9} … and {} more; --json lists all", count.saturating_sub(SHOWN));
        }
        print_audit(&audit);
    }
    Ok(audit.failed == 0)
}

fn print_audit(audit: &Audit) {
    let mut table = new_table();
    for (name, number) in [
        ("objects", audit.objects),
        ("files", audit.files),
        ("directories", audit.directories),
        ("links", audit.symlinks),
        ("implied directories", audit.implied),
        ("refused", audit.refused),
        ("defaulted", audit.defaulted),
        ("repaired", audit.repaired),
        ("failed", audit.failed),
    ] {
        table.add_row([name.to_owned(), number.to_string()]);
    }
    align_numbers(&mut table);
    println!("{table}");
}

/// A progress bar on a terminal; nothing elsewhere.
struct Bar {
    bar: ProgressBar,
}

impl Bar {
    fn new(quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} entries in {elapsed} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }
}

impl Progress for Bar {
    fn unchanged(&self, count: u64) {
        self.bar.inc(count);
    }

    fn ended(&self, key: &str, _: Outcome) {
        self.bar.inc(1);
        if !self.bar.is_hidden() {
            self.bar.set_message(key.to_owned());
        }
    }
}
