//! [`Listing`]: the keys of a bucket, or of parts of it, as claims, page after page, each beside what is recorded of it.

use super::agreed::same_time;
use super::report::RunErrorKind;
use super::selection::{Selection, in_path};
use super::session::{Reader, Session, StateError};
use super::spool::Spool;
use crate::budget::{Budget, Spent};
use crate::escape::escape;
use crate::key::{InvalidKey, Key, Prefix};
use crate::plan::{Claim, Claims, Disorder};
use crate::profile::Profile;
use crate::snapshot::{Age, Record, Remote};
use crate::store::{ListRequest, ListedObject, ObjectStore, Support};
use std::collections::VecDeque;
use std::vec;

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
    pub(super) use_for: Use,
}

/// What an object was listed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// To be imported.
    Import,
    /// To tell what becomes of others.
    Context,
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
    /// A key that is not UTF-8.
    Unreadable {
        key: Box<[u8]>,
        error: InvalidKey,
    },
    /// A recorded file or link is not listed any more, and its path is now that of a directory.
    Replaced(Record),
}

impl Item {
    /// Whether it is of an object that is recorded, as it is recorded. There are no more of them than records.
    fn is_as_recorded(&self) -> bool {
        match self {
            Self::Claim(
                Claim::Object { object, .. }
                | Claim::Shadowed { object, .. }
                | Claim::ImpliedDirectory { first: object, .. },
            ) => object.seems_as_recorded() || object.may_be_as_recorded(),
            Self::Replaced(_) => true,
            Self::Claim(_) | Self::Unreadable { .. } => false,
        }
    }
}

/// Whether a key that is not UTF-8 lies below a directory that a selection leaves out.
fn is_left_out(selection: &Selection, key: &[u8]) -> bool {
    let text = key.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let directory = text.rfind('/').and_then(|slash| text.get(..=slash));
    directory.is_some_and(|directory| selection.leaves_out(directory))
}

/// A part of what is below a prefix.
#[derive(Clone, Debug)]
pub(super) enum Stretch {
    /// All keys that start with this text, which ends in a slash or is empty.
    Below(Box<str>),
    /// This key alone.
    Key(Box<str>),
    /// This key alone, which was looked at already.
    Looked(Box<str>, Option<ListedObject>),
    /// This key alone, which only tells what becomes of others.
    Context(Box<str>, ListedObject),
}

impl Stretch {
    /// Those of a selection: of each path what stands there, and what is below it. Never its neighbours, of which there may
    /// be millions that start with the same text.
    pub(super) fn of(selection: &Selection) -> Vec<Self> {
        let paths = selection.paths();
        if paths.is_empty() {
            return vec![Self::Below("".into())];
        }
        let here = paths.iter().map(|path| Self::Key((*path).into()));
        here.chain(paths.iter().map(|path| Self::Below(format!("{path}/").into()))).collect()
    }

    /// The first text that a key of it can have.
    pub(super) const fn start(&self) -> &str {
        match self {
            Self::Below(start) | Self::Key(start) | Self::Looked(start, _) | Self::Context(start, _) => start,
        }
    }
}

/// The pages of the listing of what starts with a text.
pub(super) struct Pages<'s, S: ?Sized> {
    store: &'s S,
    prefix: &'s Prefix,
    request: ListRequest,
    /// The last key that was not UTF-8.
    unreadable: Option<Box<[u8]>>,
    empty: u32,
    ended: bool,
}

/// A page of a listing, with keys behind the prefix.
pub(super) struct Page {
    pub(super) objects: Vec<(String, ListedObject)>,
    /// Keys that are not UTF-8.
    pub(super) unreadable: Vec<Box<[u8]>>,
}

#[cfg(feature = "repository")]
impl Page {
    pub(super) const fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.unreadable.is_empty()
    }
}

impl<'s, S: ObjectStore + ?Sized> Pages<'s, S> {
    pub(super) fn new(store: &'s S, prefix: &'s Prefix, start: &str, max_keys: Option<u16>) -> Self {
        let request =
            ListRequest { prefix: format!("{prefix}{start}", prefix = prefix.as_str()), max_keys, token: None };
        Self { store, prefix, request, unreadable: None, empty: 0, ended: false }
    }

    /// The next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, RunErrorKind> {
        if self.ended {
            return Ok(None);
        }
        let page = self.store.list(&self.request).await?;
        let is_empty = page.objects.is_empty() && page.unreadable.is_empty();
        self.empty = if is_empty { self.empty.saturating_add(1) } else { 0 };
        if self.empty > EMPTY_PAGES {
            return Err(RunErrorKind::Endless { pages: self.empty });
        }
        let mut objects = Vec::with_capacity(page.objects.len());
        for object in page.objects {
            let is_asked_for = object.key.starts_with(&self.request.prefix);
            match self.prefix.relative(&object.key).filter(|_| is_asked_for).map(str::to_owned) {
                Some(key) => objects.push((key, object)),
                None => return Err(RunErrorKind::Foreign { key: escape(object.key.as_bytes()).to_string().into() }),
            }
        }
        let mut unreadable = Vec::with_capacity(page.unreadable.len());
        for key in page.unreadable {
            unreadable.push(self.pass_unreadable(key)?);
        }
        self.ended = page.next.is_none();
        self.request.token = page.next;
        Ok(Some(Page { objects, unreadable }))
    }

    /// A key that is not UTF-8 without the prefix. Such keys come in order too, so that a listing of them has an end.
    fn pass_unreadable(&mut self, key: Box<[u8]>) -> Result<Box<[u8]>, RunErrorKind> {
        let relative = key.strip_prefix(self.prefix.as_str().as_bytes());
        let Some(relative) = relative.filter(|_| key.starts_with(self.request.prefix.as_bytes())) else {
            return Err(RunErrorKind::Foreign { key: escape(&key).to_string().into() });
        };
        if let Some(last) = self.unreadable.as_deref().filter(|last| *last >= &*key) {
            return Err(Disorder::new(last, &key).into());
        }
        let relative = relative.into();
        self.unreadable = Some(key);
        Ok(relative)
    }

    /// The rest is listed in pages as long as the store likes.
    pub(super) const fn in_long_pages(&mut self) {
        self.request.max_keys = None;
    }
}

/// The object of a key as a listing shows it. It takes one request, whatever starts with the same text.
pub(super) async fn look<S: ObjectStore + ?Sized>(
    store: &S,
    prefix: &Prefix,
    key: &str,
) -> Result<Option<ListedObject>, RunErrorKind> {
    let mut pages = Pages::new(store, prefix, key, Some(1));
    while let Some(page) = pages.next().await? {
        // The key itself is the first of those that start with it.
        if let Some((first, object)) = page.objects.into_iter().next() {
            return Ok((first == key).then_some(object));
        }
    }
    Ok(None)
}

/// The claims of stretches of what is below a prefix, in the order of [`Claims`].
pub(super) struct Listing<'s, S: ?Sized> {
    store: &'s S,
    selection: &'s Selection,
    prefix: &'s Prefix,
    /// The stretches that are still to come.
    stretches: VecDeque<Stretch>,
    /// The stretch at hand.
    pages: Option<(Box<str>, Pages<'s, S>)>,
    /// What is left of the page at hand. One key may claim hundreds of directories, so they are taken one by one.
    page: vec::IntoIter<(String, ListedObject)>,
    claims: Option<Claims<Listed>>,
    budget: Budget,
    /// How many entries were handed out.
    entries: u64,
    ready: VecDeque<Item>,
    recorded: Option<Recorded>,
    /// What is recorded of objects and was not listed.
    absent: Spool<Record>,
}

/// The records, beside which a listing goes on.
struct Recorded {
    reader: Reader,
    /// The first record that is not before where the listing stands; before it has begun, nothing.
    next: Option<Record>,
    has_begun: bool,
    /// Files and links that were not listed and whose paths may still turn out to be directories, each a prefix of the
    /// next.
    pending: Vec<Record>,
}

impl<'s, S: ObjectStore + ?Sized> Listing<'s, S> {
    /// Stretches may come in any order, and none overlaps another. What is beyond the budget of the profile is an error.
    pub(super) fn new(
        store: &'s S,
        session: Option<&'s Session<'s>>,
        mut stretches: Vec<Stretch>,
        selection: &'s Selection,
        prefix: &'s Prefix,
        profile: &Profile,
    ) -> Result<Self, RunErrorKind> {
        if store.capabilities().ordered_listing == Support::No {
            return Err(RunErrorKind::Unordered);
        }
        stretches.sort_by(|one, other| one.start().cmp(other.start()));
        let reader = session.map(Session::reader).transpose()?.flatten();
        Ok(Self {
            store,
            selection,
            prefix,
            stretches: stretches.into(),
            pages: None,
            page: Vec::new().into_iter(),
            claims: Some(Claims::new(profile.clash).with_depth(profile.budget.depth)),
            budget: profile.budget,
            entries: 0,
            ready: VecDeque::new(),
            recorded: reader.map(|reader| Recorded { reader, next: None, has_begun: false, pending: Vec::new() }),
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
                if !item.is_as_recorded() {
                    self.take_entry()?;
                }
                return Ok(Some(item));
            }
            if let Some((key, object)) = self.page.next() {
                if !self.selection.leaves_out(&key) {
                    let record = self.record_of(&key)?;
                    self.claim(&key, Listed { object, record, use_for: Use::Import })?;
                    self.take_ready();
                } else {
                    self.take_entry()?;
                }
                continue;
            }
            match &mut self.pages {
                Some((start, pages)) => match pages.next().await? {
                    Some(page) => {
                        // Before the objects of the page: what they lead to may depend on it.
                        for key in page.unreadable {
                            if is_left_out(self.selection, &key) {
                                self.take_entry()?;
                                continue;
                            }
                            // Invariant: a store answers here what is no text.
                            if let Err(error) = Key::from_bytes(&key) {
                                self.ready.push_back(Item::Unreadable { key, error });
                            }
                        }
                        self.page = page.objects.into_iter();
                    }
                    None => {
                        let start = std::mem::take(start);
                        self.end_records(&start)?;
                        self.pages = None;
                    }
                },
                None => match self.stretches.pop_front() {
                    Some(stretch) => self.begin(stretch).await?,
                    None => match self.claims.take() {
                        Some(claims) => {
                            self.ready.extend(claims.finish().into_iter().map(Item::Claim));
                            self.end_pending()?;
                        }
                        None => return Ok(None),
                    },
                },
            }
            self.take_ready();
        }
    }

    /// Takes a name from the budget.
    fn take_entry(&mut self) -> Result<(), RunErrorKind> {
        let most = self.budget.entries;
        if self.entries >= most {
            return Err(RunErrorKind::Budget(Spent::Entries { most }));
        }
        self.entries = self.entries.saturating_add(1);
        Ok(())
    }

    fn take_ready(&mut self) {
        if let Some(claims) = &mut self.claims {
            self.ready.extend(claims.ready().into_iter().map(Item::Claim));
        }
    }

    /// Begins with a stretch. One of a single key is done with that.
    async fn begin(&mut self, stretch: Stretch) -> Result<(), RunErrorKind> {
        let (key, object) = match stretch {
            Stretch::Below(start) => {
                self.seek(&start)?;
                let pages = Pages::new(self.store, self.prefix, &start, None);
                self.pages = Some((start, pages));
                return Ok(());
            }
            stretch if self.selection.leaves_out(stretch.start()) => return Ok(()),
            Stretch::Key(key) => {
                let object = look(self.store, self.prefix, &key).await?;
                (key, object)
            }
            Stretch::Looked(key, object) => (key, object),
            Stretch::Context(key, object) => {
                return self.claim(&key, Listed { object, record: None, use_for: Use::Context });
            }
        };
        self.seek(&key)?;
        match object {
            Some(object) => {
                let record = self.record_of(&key)?;
                self.claim(&key, Listed { object, record, use_for: Use::Import })
            }
            None if self.next_record() == Some(&*key) => self.pass_record(),
            None => Ok(()),
        }
    }

    fn claim(&mut self, key: &str, listed: Listed) -> Result<(), RunErrorKind> {
        match &mut self.claims {
            Some(claims) => Ok(claims.next(key, listed)?),
            None => Ok(()),
        }
    }

    /// The key of the record at hand.
    fn next_record(&self) -> Option<&str> {
        self.recorded.as_ref()?.next.as_ref().map(|record| record.key.as_str())
    }

    /// Goes to the first record that is not before a key. Nothing is said of those that are passed over.
    fn seek(&mut self, key: &str) -> Result<(), RunErrorKind> {
        let Some(recorded) = &mut self.recorded else { return Ok(()) };
        // Stretches come in order: behind the last record there is none.
        let is_there = recorded.next.as_ref().is_none_or(|next| next.key.as_str() >= key);
        if !(recorded.has_begun && is_there) {
            recorded.reader.seek(key).map_err(StateError::from)?;
            recorded.next = recorded.reader.next().map_err(StateError::from)?;
            recorded.has_begun = true;
        }
        Ok(())
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
        if record.remote.is_none() || self.selection.leaves_out(record.key.as_str()) {
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

    /// Everything recorded that is still to come in a stretch was not listed.
    fn end_records(&mut self, start: &str) -> Result<(), RunErrorKind> {
        while self.next_record().is_some_and(|next| next.starts_with(start)) {
            self.pass_record()?;
        }
        Ok(())
    }

    /// No key is to come that could take the path of a file.
    fn end_pending(&mut self) -> Result<(), RunErrorKind> {
        let Some(recorded) = &mut self.recorded else { return Ok(()) };
        for file in recorded.pending.drain(..) {
            self.absent.push(&file)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etag::ETag;
    use crate::store::{
        Body, Capabilities, GetOptions, GetOutput, ListPage, ObjectMeta, Operation, Precondition, PutOptions,
        PutOutput, StoreError, StoreErrorKind,
    };
    use crate::timestamp::Timestamp;
    use futures_executor::block_on;
    use std::sync::atomic::{AtomicU32, Ordering};

    const TIME: Timestamp = Timestamp::EPOCH;

    fn listed(record: Option<Remote>) -> Listed {
        let object = ListedObject { key: "a".to_owned(), size: 3, last_modified: TIME, etag: ETag::new("\"e\"") };
        let record = record.map(|remote| Record { key: "a".parse().unwrap(), local: None, remote: Some(remote) });
        Listed { object, record, use_for: Use::Import }
    }

    fn remote() -> Remote {
        Remote { etag: ETag::new("\"e\""), size: 3, last_modified: Some(TIME), xxh3: None, age: Age::Settled }
    }

    #[test]
    fn an_object_is_as_recorded_if_bytes_and_time_are_and_for_sure_if_the_time_is_settled() {
        let later = Timestamp::from_unix(1, 0).unwrap();
        for (remote, sure, seems, may_be) in [
            (remote(), true, true, false),
            (Remote { age: Age::Racy, ..remote() }, false, true, false),
            (Remote { last_modified: Some(later), ..remote() }, false, false, false),
            (Remote { size: 4, ..remote() }, false, false, false),
            (Remote { etag: ETag::new("\"f\""), ..remote() }, false, false, false),
            (Remote { last_modified: None, ..remote() }, false, false, true),
            (Remote { last_modified: None, age: Age::Racy, ..remote() }, false, false, true),
            (Remote { last_modified: None, size: 4, ..remote() }, false, false, false),
            (Remote { last_modified: None, etag: ETag::new("\"f\""), ..remote() }, false, false, false),
        ] {
            let listed = listed(Some(remote));
            let told = (listed.is_as_recorded(), listed.seems_as_recorded(), listed.may_be_as_recorded());
            assert_eq!(told, (sure, seems, may_be), "{listed:?}");
            // What costs nothing of a budget is what there is a record of.
            let item = Item::Claim(Claim::Object { key: "a".parse().unwrap(), object: listed });
            assert_eq!(item.is_as_recorded(), seems || may_be);
        }
        let new = listed(None);
        assert!(!new.is_as_recorded() && !new.seems_as_recorded() && !new.may_be_as_recorded());
        let error = Key::from_bytes(b"\xff").unwrap_err();
        assert!(!Item::Unreadable { key: b"\xff"[..].into(), error }.is_as_recorded());
    }

    #[test]
    fn a_key_that_is_not_utf_8_is_left_out_with_its_directory() {
        let selection = Selection::all().with_exclude("c").unwrap();
        for (key, left_out) in [
            (&b"c/\xff"[..], true),
            (b"a/c/d/\xff", true),
            (b"a/b/\xff", false),
            (b"a/b/x\xff/c/", false),
            (b"\xff/c/", false),
            (b"c\xff", false),
        ] {
            assert_eq!(is_left_out(&selection, key), left_out, "{}", escape(key));
        }
    }

    /// A bucket of which the pages are made up, by their numbers from one on.
    struct Pagewise<F>(F, AtomicU32);

    impl<F: Fn(u32) -> ListPage + Send + Sync> ObjectStore for Pagewise<F> {
        fn capabilities(&self) -> Capabilities {
            Capabilities::ALL
        }

        async fn list(&self, _: &ListRequest) -> Result<ListPage, StoreError> {
            Ok((self.0)(self.1.fetch_add(1, Ordering::Relaxed).saturating_add(1)))
        }

        async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
            Err(StoreError::new(Operation::Head, key, StoreErrorKind::NotFound))
        }

        async fn get(&self, key: &str, _: &GetOptions) -> Result<GetOutput, StoreError> {
            Err(StoreError::new(Operation::Get, key, StoreErrorKind::NotFound))
        }

        async fn put(&self, key: &str, _: Body, _: &PutOptions) -> Result<PutOutput, StoreError> {
            Err(StoreError::new(Operation::Put, key, StoreErrorKind::Denied))
        }

        async fn replace_metadata(&self, key: &str, _: &PutOptions) -> Result<PutOutput, StoreError> {
            Err(StoreError::new(Operation::Put, key, StoreErrorKind::Denied))
        }

        async fn delete(&self, key: &str, _: &Precondition) -> Result<(), StoreError> {
            Err(StoreError::new(Operation::Delete, key, StoreErrorKind::Denied))
        }
    }

    #[test]
    fn a_listing_may_answer_a_thousand_empty_pages_in_a_row_and_no_more() {
        // A key after so many pages without, again and again.
        let sparse = |empty: u32| {
            let page = move |number: u32| {
                let mut page = ListPage::new(Vec::new(), Some(number.to_string()));
                if number.is_multiple_of(empty + 1) {
                    page.unreadable.push([&number.to_be_bytes()[..], b"\xff"].concat().into());
                }
                page
            };
            Pagewise(page, AtomicU32::new(0))
        };
        let (prefix, enough, too_sparse) = (Prefix::default(), sparse(1_000), sparse(1_001));
        let mut pages = Pages::new(&enough, &prefix, "", None);
        for asked in 1..=3_003 {
            let page = block_on(pages.next()).unwrap().unwrap();
            assert_eq!(page.unreadable.len(), usize::from(asked % 1_001 == 0), "{asked}");
        }
        let mut pages = Pages::new(&too_sparse, &prefix, "", None);
        for _ in 0..1_000 {
            block_on(pages.next()).unwrap().unwrap();
        }
        let Err(ended) = block_on(pages.next()) else { panic!("it goes on") };
        assert!(matches!(ended, RunErrorKind::Endless { pages: 1_001 }), "{ended}");
    }

    #[test]
    fn keys_are_handed_out_as_they_are_listed_and_what_is_left_out_is_not_asked_for() {
        let page = |number: u32| {
            let object = ListedObject { key: format!("k{number:03}"), ..listed(None).object };
            ListPage::new(vec![object], (number < 100).then(|| number.to_string()))
        };
        let store = Pagewise(page, AtomicU32::new(0));
        let (prefix, profile, all) = (Prefix::default(), Profile::fsx(), Selection::all());
        let mut listing =
            Listing::new(&store, None, Stretch::of(&all), &all, &prefix, &profile).unwrap_or_else(|_| panic!());
        for number in 1..=100 {
            assert!(matches!(block_on(listing.next()), Ok(Some(Item::Claim(Claim::Object { .. })))), "{number}");
            assert!(store.1.load(Ordering::Relaxed) <= number + 2);
        }
        assert!(matches!(block_on(listing.next()), Ok(None)));
        let left_out = Selection::all().with_path("k101".parse().unwrap()).with_exclude("k101*").unwrap();
        let asked = store.1.swap(100, Ordering::Relaxed);
        let mut stretches = Stretch::of(&left_out);
        stretches.retain(|stretch| matches!(stretch, Stretch::Key(_)));
        let mut listing =
            Listing::new(&store, None, stretches, &left_out, &prefix, &profile).unwrap_or_else(|_| panic!());
        assert!(matches!(block_on(listing.next()), Ok(None)));
        assert_eq!((asked, store.1.load(Ordering::Relaxed)), (100, 100));
    }

    #[cfg(feature = "repository")]
    #[test]
    fn a_page_is_empty_without_keys_of_either_kind() {
        let page = |objects: &[&str], unreadable: &[&[u8]]| Page {
            objects: objects.iter().map(|key| ((*key).to_owned(), listed(None).object)).collect(),
            unreadable: unreadable.iter().map(|key| Box::from(*key)).collect(),
        };
        assert!(page(&[], &[]).is_empty());
        assert!(!page(&["a"], &[]).is_empty() && !page(&[], &[b"\xff"]).is_empty());
    }

    #[test]
    fn what_is_shadowed_says_by_what() {
        assert_eq!(shadowed(&"a/".parse().unwrap()), "\"a/\" has the path");
    }
}
