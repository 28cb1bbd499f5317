//! [`Listing`]: a bucket's keys as claims, page after page, each beside what is recorded of it.

use super::agreed::same_time;
use super::report::RunErrorKind;
use super::selection::{Selection, in_path};
use super::session::{Reader, Session, StateError};
use super::spool::Spool;
use crate::escape::escape;
use crate::key::{Key, Prefix};
use crate::plan::{Claim, Claims};
use crate::profile::Clash;
use crate::snapshot::{Age, Record, Remote};
use crate::store::{ListRequest, ListedObject, ObjectStore, Support};
use std::collections::VecDeque;

/// How many empty pages in a row a listing may answer.
const EMPTY_PAGES: u32 = 1000;

/// Why the object of the prefix is left out.
pub(super) const ROOT: &str = "the object of the prefix itself is the root, whose attributes are not imported";

/// Why a key is left out that another one shadows.
pub(super) fn shadowed(by: &Key) -> String {
    format!("\"{by}\" has the path")
}

/// An object as it was listed, and what is recorded of its key.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) object: ListedObject,
    pub(super) record: Option<Record>,
}

impl Listed {
    /// Whether the object is the one that is recorded, for sure.
    pub(super) fn is_as_recorded(&self) -> bool {
        let settled = self.record.as_ref().and_then(|record| record.remote.as_ref());
        settled.is_some_and(|remote| remote.age == Age::Settled) && self.seems_as_recorded()
    }

    /// Whether nothing tells that the object is another than the one that is recorded. Its bytes are the same; its metadata
    /// may have changed in the second that Last-Modified shows.
    pub(super) fn seems_as_recorded(&self) -> bool {
        let Some(remote) = self.record.as_ref().and_then(|record| record.remote.as_ref()) else { return false };
        let same_time = remote.last_modified.is_some_and(|time| same_time(time, self.object.last_modified));
        same_time && self.has_bytes_of(remote)
    }

    /// Whether nothing but its time is missing to tell that the object is the one that is recorded: the answer to a put has
    /// none.
    pub(super) fn may_be_as_recorded(&self) -> bool {
        let remote = self.record.as_ref().and_then(|record| record.remote.as_ref());
        remote.is_some_and(|remote| remote.last_modified.is_none() && self.has_bytes_of(remote))
    }

    fn has_bytes_of(&self, remote: &Remote) -> bool {
        (&remote.etag, remote.size) == (&self.object.etag, self.object.size)
    }
}

/// What a listing comes upon.
#[derive(Debug)]
pub(super) enum Item {
    Claim(Claim<Listed>),
    /// A recorded file or link is not listed any more, and its path is now that of a directory.
    Replaced(Record),
}

/// The claims of what is selected below a prefix, in the order of [`Claims`].
pub(super) struct Listing<'s, S: ?Sized> {
    store: &'s S,
    session: Option<&'s Session<'s>>,
    selection: &'s Selection,
    prefix: Prefix,
    clash: Clash,
    /// The paths that are still to come; `None` for the whole.
    paths: VecDeque<Option<Box<str>>>,
    path: Option<Box<str>>,
    request: ListRequest,
    claims: Option<Claims<Listed>>,
    ready: VecDeque<Item>,
    empty_pages: u32,
    recorded: Option<Recorded>,
    /// What is recorded of objects and was not listed.
    absent: Spool<Record>,
}

/// The records, beside which a listing goes on.
struct Recorded {
    reader: Reader,
    next: Option<Record>,
    /// Files and links that were not listed and whose paths may still turn out to be directories, each a prefix of the
    /// next.
    pending: Vec<Record>,
}

impl<'s, S: ObjectStore + ?Sized> Listing<'s, S> {
    pub(super) fn new(
        store: &'s S,
        session: Option<&'s Session<'s>>,
        selection: &'s Selection,
        prefix: &Prefix,
        clash: Clash,
    ) -> Result<Self, RunErrorKind> {
        if store.capabilities().ordered_listing == Support::No {
            return Err(RunErrorKind::Unordered);
        }
        let paths: Vec<Option<Box<str>>> = selection.paths().into_iter().map(|path| Some(path.into())).collect();
        Ok(Self {
            store,
            session,
            selection,
            prefix: prefix.clone(),
            clash,
            paths: if paths.is_empty() { VecDeque::from([None]) } else { paths.into() },
            path: None,
            request: ListRequest::default(),
            claims: None,
            ready: VecDeque::new(),
            empty_pages: 0,
            recorded: None,
            absent: Spool::new(),
        })
    }

    /// What is recorded of objects that were not listed. It says something once the listing has come to its end.
    pub(super) fn into_absent(self) -> Spool<Record> {
        self.absent
    }

    /// The next item, or `None` at the end. After an error there is nothing more.
    pub(super) async fn next(&mut self) -> Result<Option<Item>, RunErrorKind> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            if self.claims.is_none() && !self.begin()? {
                return Ok(None);
            }
            let Some(mut claims) = self.claims.take() else { return Ok(None) };
            let page = self.store.list(&self.request).await?;
            self.empty_pages = if page.objects.is_empty() { self.empty_pages.saturating_add(1) } else { 0 };
            if self.empty_pages > EMPTY_PAGES {
                return Err(RunErrorKind::Endless { pages: self.empty_pages });
            }
            for object in page.objects {
                let relative =
                    self.prefix.relative(&object.key).filter(|_| object.key.starts_with(&self.request.prefix));
                let Some(key) = relative.map(str::to_owned) else {
                    return Err(RunErrorKind::Foreign { key: escape(object.key.as_bytes()).to_string().into() });
                };
                if self.is_meant(&key) {
                    let record = self.record_of(&key)?;
                    claims.next(&key, Listed { object, record })?;
                }
            }
            self.ready.extend(claims.ready().into_iter().map(Item::Claim));
            match page.next {
                Some(token) => {
                    self.request.token = Some(token);
                    self.claims = Some(claims);
                }
                None => {
                    self.ready.extend(claims.finish().into_iter().map(Item::Claim));
                    self.end_records()?;
                }
            }
        }
    }

    /// Begins with the next of the paths; `false` when there is none.
    fn begin(&mut self) -> Result<bool, RunErrorKind> {
        let Some(path) = self.paths.pop_front() else { return Ok(false) };
        let prefix = format!("{}{}", self.prefix.as_str(), path.as_deref().unwrap_or_default());
        self.request = ListRequest { prefix, ..ListRequest::default() };
        self.claims = Some(Claims::new(self.clash));
        if let Some(mut reader) = self.session.map(Session::reader).transpose()?.flatten() {
            reader.seek(path.as_deref().unwrap_or_default()).map_err(StateError::from)?;
            let next = reader.next().map_err(StateError::from)?;
            self.recorded = Some(Recorded { reader, next, pending: Vec::new() });
        }
        self.path = path;
        Ok(true)
    }

    /// Whether a key is one of those that the run is about.
    fn is_meant(&self, key: &str) -> bool {
        self.path.as_deref().is_none_or(|path| in_path(path, key)) && !self.selection.leaves_out(key)
    }

    /// Goes on to a listed key in the records: what is passed over was not listed.
    fn record_of(&mut self, key: &str) -> Result<Option<Record>, RunErrorKind> {
        loop {
            let Some(recorded) = &mut self.recorded else { return Ok(None) };
            let Some(next) = &recorded.next else { break };
            match next.key.as_str().cmp(key) {
                std::cmp::Ordering::Less => self.pass_record()?,
                std::cmp::Ordering::Equal => {
                    let following = recorded.reader.next().map_err(StateError::from)?;
                    let record = std::mem::replace(&mut recorded.next, following);
                    self.pass(key)?;
                    self.take_path(key);
                    return Ok(record);
                }
                std::cmp::Ordering::Greater => break,
            }
        }
        self.pass(key)?;
        self.take_path(key);
        Ok(None)
    }

    /// Takes the next record as that of an object that was not listed.
    fn pass_record(&mut self) -> Result<(), RunErrorKind> {
        let Some(recorded) = &mut self.recorded else { return Ok(()) };
        let following = recorded.reader.next().map_err(StateError::from)?;
        let Some(record) = std::mem::replace(&mut recorded.next, following) else { return Ok(()) };
        // A name of the tree without an object is no business of an import.
        if record.remote.is_none() || !self.is_meant(record.key.as_str()) {
            return Ok(());
        }
        self.pass(record.key.as_str())?;
        match &mut self.recorded {
            Some(recorded) if !record.key.is_directory() => recorded.pending.push(record),
            _ => self.absent.push(&record)?,
        }
        Ok(())
    }

    /// Lets go of the files that were not listed and whose paths no later key can take.
    fn pass(&mut self, key: &str) -> Result<(), RunErrorKind> {
        let Some(recorded) = &mut self.recorded else { return Ok(()) };
        while recorded.pending.last().is_some_and(|file| !key.starts_with(file.key.as_str())) {
            if let Some(file) = recorded.pending.pop() {
                self.absent.push(&file)?;
            }
        }
        Ok(())
    }

    /// Says of which files that were not listed a listed key takes the path.
    fn take_path(&mut self, key: &str) {
        let Some(recorded) = &mut self.recorded else { return };
        let lies_below = |file: &Record| key.len() > file.key.as_str().len() && in_path(file.key.as_str(), key);
        if Key::parse(key).is_ok() {
            while let Some(at) = recorded.pending.iter().rposition(lies_below) {
                self.ready.push_back(Item::Replaced(recorded.pending.remove(at)));
            }
        }
    }

    /// Everything recorded that is still to come was not listed.
    fn end_records(&mut self) -> Result<(), RunErrorKind> {
        while self.recorded.as_ref().is_some_and(|recorded| {
            let next = recorded.next.as_ref().map(|record| record.key.as_str());
            let end = self.path.as_deref();
            next.is_some_and(|next| end.is_none_or(|path| next < path || next.starts_with(path)))
        }) {
            self.pass_record()?;
        }
        if let Some(recorded) = self.recorded.take() {
            for file in recorded.pending {
                self.absent.push(&file)?;
            }
        }
        Ok(())
    }
}
