//! [`SimStore`]: a bucket that is late, stale, deaf or forgetful, as its knobs say.

use super::chance::Chance;
use super::schedule::Schedule;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;
use http::HeaderMap;
use md5::{Digest, Md5};
use posix_s3::Timestamp;
use posix_s3::store::{
    Body, Capabilities, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, ObjectMeta, ObjectStore,
    Operation, Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, Support,
};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};

/// What becomes of preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conditions {
    Honoured,
    /// Not, and the store says so.
    None,
    /// Not, and the store says that they are.
    Ignored,
    /// They are compared first and acted upon later, and others come in between.
    Broken,
}

/// What an ETag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ETags {
    Md5,
    /// Every other one is that of an upload in parts.
    Multipart,
    /// A number of its own for each version; a copy gets another one.
    Opaque,
    Weak,
    /// A head shows another one than a get.
    Unstable,
}

/// How a store behaves.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    pub(crate) page: usize,
    /// Listings, and reads, are of the bucket so many changes ago.
    pub(crate) stale_lists: usize,
    pub(crate) stale_reads: usize,
    /// In percent of the calls: applied late, twice, with the reply lost, not at all.
    pub(crate) late: usize,
    pub(crate) doubled: usize,
    pub(crate) lost: usize,
    pub(crate) passing: usize,
    /// How often so many calls in a row are throttled.
    pub(crate) throttled: usize,
    /// A body that ends too early.
    pub(crate) cut: usize,
    pub(crate) conditions: Conditions,
    pub(crate) etags: ETags,
    pub(crate) checksums: Support,
    pub(crate) copies: Support,
    /// A range is ignored: what comes is not what was asked for.
    pub(crate) ranges: Support,
    pub(crate) years_off: i64,
    pub(crate) whole_seconds: bool,
    pub(crate) tells_put_times: bool,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            page: 1000,
            stale_lists: 0,
            stale_reads: 0,
            late: 0,
            doubled: 0,
            lost: 0,
            passing: 0,
            throttled: 0,
            cut: 0,
            conditions: Conditions::Honoured,
            etags: ETags::Md5,
            checksums: Support::Yes,
            copies: Support::Yes,
            ranges: Support::Yes,
            years_off: 0,
            whole_seconds: false,
            tells_put_times: true,
        }
    }
}

impl Knobs {
    /// Each one on or off, as chance has it.
    pub(crate) fn by_chance(chance: &mut Chance) -> Self {
        let mut knobs = Self::default();
        let mut often = |percent: usize, often: usize| if chance.percent(percent) { often } else { 0 };
        knobs.stale_lists = often(20, 3);
        knobs.stale_reads = often(6, 2);
        knobs.late = often(30, 6);
        knobs.doubled = often(20, 6);
        knobs.lost = often(35, 8);
        knobs.passing = often(35, 6);
        knobs.throttled = often(20, 3);
        knobs.cut = often(20, 10);
        knobs.page = *chance.pick(&[1, 2, 3, 7, 1000, 1000]);
        knobs.conditions = *chance.pick(&[
            Conditions::Honoured,
            Conditions::Honoured,
            Conditions::Honoured,
            Conditions::Honoured,
            Conditions::Honoured,
            Conditions::None,
            Conditions::None,
            Conditions::Ignored,
            Conditions::Broken,
        ]);
        knobs.etags = *chance.pick(&[
            ETags::Md5,
            ETags::Md5,
            ETags::Md5,
            ETags::Multipart,
            ETags::Opaque,
            ETags::Opaque,
            ETags::Weak,
        ]);
        if chance.percent(4) {
            knobs.etags = ETags::Unstable;
        }
        let support = |no| if no { Support::No } else { Support::Yes };
        knobs.checksums = support(chance.percent(20));
        knobs.copies = support(chance.percent(25));
        knobs.ranges = support(chance.percent(20));
        knobs.years_off = *chance.pick(&[0, 0, 0, 5, -5, 90]);
        knobs.whole_seconds = chance.percent(40);
        knobs.tells_put_times = !chance.percent(50);
        knobs
    }

    /// Whether the store is what the trait and its capabilities say.
    pub(crate) fn keeps_its_word(&self) -> bool {
        self.stale_reads == 0
            && !matches!(self.conditions, Conditions::Ignored | Conditions::Broken)
            && self.etags != ETags::Unstable
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        let support = |yes| if yes { Support::Yes } else { Support::No };
        Capabilities::ALL
            .with_preconditions(support(self.conditions != Conditions::None))
            .with_md5_etags(support(matches!(self.etags, ETags::Md5 | ETags::Multipart)))
            .with_checksums(self.checksums)
            .with_replace_metadata(self.copies)
    }
}

/// Who changes a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// An engine of this number.
    Engine(usize),
    Stranger,
}

#[derive(Debug)]
pub(crate) struct Version {
    pub(crate) writer: Writer,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) etag: ETag,
    pub(crate) modified: Timestamp,
}

/// A change that a bucket has seen.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) writer: Writer,
    pub(crate) operation: Operation,
    pub(crate) key: String,
    pub(crate) condition: Precondition,
    pub(crate) before: Option<Arc<Version>>,
    pub(crate) after: Option<Arc<Version>>,
    /// Whoever asked for it does not wait any more, and has asked something else about this key since or been told that it
    /// has happened.
    pub(crate) is_overtaken: bool,
    /// What the engine was shown last of this key before it asked, if anything.
    pub(crate) shown: Option<Option<Arc<Version>>>,
    /// The run in which it was asked for.
    pub(crate) run: u64,
}

#[derive(Clone)]
struct Request {
    writer: Writer,
    operation: Operation,
    key: String,
    body: Bytes,
    options: PutOptions,
    sent: u64,
    run: u64,
    shown: Option<Option<Arc<Version>>>,
    /// It has arrived before.
    again: bool,
}

/// The bucket itself, which several clients share.
pub(crate) struct Bucket {
    pub(crate) knobs: Knobs,
    inner: Mutex<Inner>,
}

struct Inner {
    objects: BTreeMap<String, Arc<Version>>,
    /// What was before each change.
    past: Vec<(String, Option<Arc<Version>>)>,
    events: Vec<Event>,
    late: Vec<Request>,
    chance: Chance,
    /// Milliseconds.
    clock: i128,
    made: u64,
    calls: u64,
    /// When an engine last asked anything about a key.
    asked: HashMap<(usize, String), u64>,
    shown: HashMap<(usize, String), Option<Arc<Version>>>,
    /// What was asked about last.
    last: Option<String>,
    /// The key that a request is on its way to change.
    sending: Option<String>,
    is_calm: bool,
    throttles: usize,
    faults: u64,
    reads: u64,
}

/// What befalls a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Refused(StoreErrorKind),
    LostReply,
    Late,
    Doubled,
}

impl Bucket {
    pub(crate) fn new(knobs: Knobs, chance: Chance) -> Self {
        let clock = (1_700_000_000 + i128::from(knobs.years_off) * 31_557_600) * 1000;
        let inner = Inner {
            objects: BTreeMap::new(),
            past: Vec::new(),
            events: Vec::new(),
            late: Vec::new(),
            chance,
            clock,
            made: 0,
            calls: 0,
            asked: HashMap::new(),
            shown: HashMap::new(),
            last: None,
            sending: None,
            is_calm: false,
            throttles: 0,
            faults: 0,
            reads: 0,
        };
        Self { knobs, inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// From now on nothing fails, and nothing is stale.
    pub(crate) fn calm_down(&self) {
        self.inner().is_calm = true;
    }

    pub(crate) fn objects(&self) -> BTreeMap<String, Arc<Version>> {
        self.inner().objects.clone()
    }

    /// The key about which an engine has asked last.
    pub(crate) fn last_asked(&self) -> Option<String> {
        let inner = self.inner();
        inner.last.clone().filter(|key| inner.objects.contains_key(key))
    }

    /// The key that a request has set out to change since the last time.
    pub(crate) fn take_sending(&self) -> Option<String> {
        self.inner().sending.take()
    }

    pub(crate) fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut self.inner().events)
    }

    pub(crate) fn faults(&self) -> u64 {
        self.inner().faults
    }

    pub(crate) fn late(&self) -> usize {
        self.inner().late.len()
    }

    /// One of the requests that are late arrives.
    pub(crate) fn let_arrive(&self, at: usize) {
        let mut inner = self.inner();
        let request = inner.late.remove(at);
        let _ = inner.apply(&self.knobs, request, false);
    }

    /// One of the requests that are late never arrives.
    pub(crate) fn forget_late(&self) {
        self.inner().late.pop();
    }

    /// A stranger changes it, as he likes.
    pub(crate) fn change(&self, operation: Operation, key: &str, body: Bytes, headers: HeaderMap) {
        let options = PutOptions { headers, precondition: Precondition::None };
        let key = key.to_owned();
        let (sent, run) = (u64::MAX, 0);
        let request =
            Request { writer: Writer::Stranger, operation, key, body, options, sent, run, shown: None, again: false };
        let _ = self.inner().apply(&self.knobs, request, false);
    }

    /// Time goes by.
    pub(crate) fn wait(&self, milliseconds: i128) {
        self.inner().clock += milliseconds;
    }
}

impl Inner {
    fn fault(&mut self, knobs: &Knobs, changes: bool) -> Fault {
        if self.is_calm {
            return Fault::None;
        }
        let fault = self.draw(knobs, changes);
        self.faults += u64::from(fault != Fault::None);
        fault
    }

    fn draw(&mut self, knobs: &Knobs, changes: bool) -> Fault {
        if self.throttles > 0 {
            self.throttles -= 1;
            return Fault::Refused(StoreErrorKind::Throttled);
        }
        if self.chance.percent(knobs.throttled) {
            self.throttles = self.chance.below(4);
            return Fault::Refused(StoreErrorKind::Throttled);
        }
        if self.chance.percent(knobs.passing) {
            // An error in an answer of 200 is told as any other: `InternalError` is Transient, what cannot be read Corrupt.
            let kinds = [StoreErrorKind::Transient, StoreErrorKind::Transient, StoreErrorKind::Corrupt];
            return Fault::Refused(*self.chance.pick(&kinds));
        }
        if changes && self.chance.percent(knobs.lost) {
            return Fault::LostReply;
        }
        if changes && self.chance.percent(knobs.late) {
            return Fault::Late;
        }
        if changes && self.chance.percent(knobs.doubled) {
            return Fault::Doubled;
        }
        Fault::None
    }

    fn now(&mut self, after: Option<&Arc<Version>>) -> Timestamp {
        let wait = *self.chance.pick(&[0, 1, 7, 300, 2500]);
        self.clock += wait;
        let now = Timestamp::from_nanoseconds(self.clock * 1_000_000 + 1).unwrap();
        let next = |time: Timestamp| Timestamp::from_nanoseconds(time.nanoseconds() + 1).unwrap();
        after.map_or(now, |before| now.max(next(before.modified)))
    }

    fn etag(&mut self, knobs: &Knobs, body: &Bytes) -> ETag {
        self.made += 1;
        let md5 = ETag::from_md5(Md5::digest(body).into());
        match knobs.etags {
            ETags::Md5 | ETags::Unstable => md5,
            ETags::Multipart if body.len().is_multiple_of(2) => md5,
            ETags::Multipart => ETag::new(&format!("\"{}-2\"", md5.as_str().trim_matches('"'))),
            ETags::Opaque => ETag::new(&format!("\"version {}\"", self.made)),
            ETags::Weak => ETag::new(&format!("W/{}", md5.as_str())),
        }
    }

    fn holds(&self, key: &str, condition: &Precondition) -> bool {
        match (condition, self.objects.get(key)) {
            (Precondition::None, _) | (Precondition::Absent, None) => true,
            (Precondition::Match(wanted), Some(version)) => *wanted == version.etag,
            _ => false,
        }
    }

    /// A request arrives. `checked` says that its condition was seen to hold.
    fn apply(&mut self, knobs: &Knobs, request: Request, checked: bool) -> Result<PutOutput, StoreErrorKind> {
        let Request { writer, operation, key, body, options, sent, run, shown, again } = request;
        let minds = matches!(knobs.conditions, Conditions::Honoured | Conditions::Broken) && !checked;
        if minds && !self.holds(&key, &options.precondition) {
            return Err(StoreErrorKind::PreconditionFailed);
        }
        let before = self.objects.get(&key).cloned();
        let after = match (operation, &before) {
            (Operation::Delete, None) => {
                return Ok(PutOutput { etag: ETag::new(""), last_modified: None });
            }
            (Operation::Delete, Some(_)) => None,
            (Operation::ReplaceMetadata, None) => return Err(StoreErrorKind::NotFound),
            (Operation::ReplaceMetadata, Some(before)) => {
                let etag = match knobs.etags {
                    ETags::Opaque => self.etag(knobs, &before.body),
                    _ => before.etag.clone(),
                };
                let (body, headers) = (before.body.clone(), options.headers);
                let modified = self.now(Some(before));
                Some(Arc::new(Version { writer, body, headers, etag, modified }))
            }
            _ => {
                let etag = self.etag(knobs, &body);
                let modified = self.now(before.as_ref());
                Some(Arc::new(Version { writer, body, headers: options.headers, etag, modified }))
            }
        };
        match &after {
            Some(version) => _ = self.objects.insert(key.clone(), Arc::clone(version)),
            None => _ = self.objects.remove(&key),
        }
        self.past.push((key.clone(), before.clone()));
        let is_overtaken = match writer {
            Writer::Engine(number) => {
                again || self.asked.get(&(number, key.clone())).is_some_and(|asked| *asked > sent)
            }
            Writer::Stranger => false,
        };
        let output = PutOutput {
            etag: after.as_ref().map_or_else(|| ETag::new(""), |after| after.etag.clone()),
            last_modified: after.as_ref().filter(|_| knobs.tells_put_times).map(|after| shown_time(knobs, after)),
        };
        let condition = options.precondition;
        self.events.push(Event { writer, operation, key, condition, before, after, is_overtaken, shown, run });
        Ok(output)
    }

    /// The bucket so many changes ago.
    fn view(&mut self, stale: usize) -> BTreeMap<String, Arc<Version>> {
        let mut objects = self.objects.clone();
        if self.is_calm || stale == 0 || self.chance.percent(50) {
            return objects;
        }
        let stale = self.chance.below(stale + 1);
        self.faults += u64::from(stale > 0);
        for (key, before) in self.past.iter().rev().take(stale) {
            match before {
                Some(version) => _ = objects.insert(key.clone(), Arc::clone(version)),
                None => _ = objects.remove(key),
            }
        }
        objects
    }
}

fn shown_time(knobs: &Knobs, version: &Version) -> Timestamp {
    if knobs.whole_seconds { Timestamp::from_unix(version.modified.seconds(), 0).unwrap() } else { version.modified }
}

fn shown_meta(knobs: &Knobs, version: &Version) -> ObjectMeta {
    ObjectMeta {
        size: version.body.len() as u64,
        etag: version.etag.clone(),
        last_modified: shown_time(knobs, version),
        headers: version.headers.clone(),
    }
}

/// A client of a bucket.
pub(crate) struct SimStore {
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) schedule: Arc<Schedule>,
    pub(crate) number: usize,
    pub(crate) run: u64,
}

/// A request on its way. If nobody waits for it any more, it may still arrive.
struct OnTheWay {
    bucket: Arc<Bucket>,
    request: Option<Request>,
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else { return };
        if std::thread::panicking() {
            return;
        }
        let mut inner = self.bucket.inner();
        if inner.chance.percent(60) {
            inner.late.push(request);
        }
    }
}

impl SimStore {
    fn asks(&self, key: &str) {
        let mut inner = self.bucket.inner();
        inner.calls += 1;
        let calls = inner.calls;
        inner.asked.insert((self.number, key.to_owned()), calls);
        inner.last = Some(key.to_owned());
    }

    fn shows(&self, inner: &mut Inner, key: &str, version: Option<&Arc<Version>>) {
        inner.shown.insert((self.number, key.to_owned()), version.cloned());
    }

    async fn read<T>(
        &self,
        operation: Operation,
        key: &str,
        answer: impl FnOnce(&mut Inner) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        self.asks(key);
        self.schedule.turn().await;
        let answer = {
            let mut inner = self.bucket.inner();
            match inner.fault(&self.bucket.knobs, false) {
                Fault::Refused(kind) => Err(kind),
                _ => answer(&mut inner),
            }
        };
        self.schedule.turn().await;
        answer.map_err(|kind| StoreError::new(operation, key, kind))
    }

    async fn send(
        &self,
        operation: Operation,
        key: &str,
        body: Bytes,
        options: &PutOptions,
    ) -> Result<PutOutput, StoreError> {
        let knobs = &self.bucket.knobs;
        self.asks(key);
        let request = {
            let inner = self.bucket.inner();
            let shown = inner.shown.get(&(self.number, key.to_owned())).cloned();
            let (writer, sent) = (Writer::Engine(self.number), inner.calls);
            let (key, options) = (key.to_owned(), options.clone());
            Request { writer, operation, key, body, options, sent, run: self.run, shown, again: false }
        };
        self.bucket.inner().sending = Some(key.to_owned());
        let mut on_the_way = OnTheWay { bucket: Arc::clone(&self.bucket), request: Some(request.clone()) };
        self.schedule.turn().await;
        let fault = self.bucket.inner().fault(knobs, true);
        let mut checked = false;
        if knobs.conditions == Conditions::Broken && fault == Fault::None {
            checked = self.bucket.inner().holds(key, &request.options.precondition);
            self.schedule.turn().await;
        }
        on_the_way.request = None;
        let answer = {
            let mut inner = self.bucket.inner();
            match fault {
                Fault::Refused(kind) => Err(kind),
                Fault::Late => {
                    inner.late.push(request);
                    Err(StoreErrorKind::Transient)
                }
                Fault::LostReply => {
                    let _ = inner.apply(knobs, request, false);
                    Err(StoreErrorKind::Transient)
                }
                Fault::Doubled => {
                    let first = inner.apply(knobs, request.clone(), false);
                    inner.late.push(Request { again: true, ..request });
                    first
                }
                Fault::None => inner.apply(knobs, request, checked),
            }
        };
        self.schedule.turn().await;
        answer.map_err(|kind| StoreError::new(operation, key, kind))
    }
}

impl ObjectStore for SimStore {
    fn capabilities(&self) -> Capabilities {
        self.bucket.knobs.capabilities()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let knobs = &self.bucket.knobs;
        self.read(Operation::List, &request.prefix, |inner| {
            let objects = inner.view(knobs.stale_lists);
            let start = match &request.token {
                None => Bound::Included(request.prefix.as_str()),
                Some(token) => Bound::Excluded(token.as_str()),
            };
            let size = knobs.page.min(usize::from(request.max_keys.unwrap_or(1000)));
            let mut found = objects
                .range::<str, _>((start, Bound::Unbounded))
                .take_while(|(key, _)| key.starts_with(&request.prefix))
                .map(|(key, version)| ListedObject {
                    key: key.clone(),
                    size: version.body.len() as u64,
                    etag: version.etag.clone(),
                    last_modified: shown_time(knobs, version),
                });
            let page: Vec<ListedObject> = found.by_ref().take(size).collect();
            let next = found.next().and_then(|_| page.last().map(|last| last.key.clone()));
            Ok(ListPage::new(page, next))
        })
        .await
    }

    async fn head(&self, key: &str) -> Result<ObjectMeta, StoreError> {
        let knobs = &self.bucket.knobs;
        self.read(Operation::Head, key, |inner| {
            let version = inner.view(knobs.stale_reads).get(key).cloned();
            self.shows(inner, key, version.as_ref());
            let version = version.ok_or(StoreErrorKind::NotFound)?;
            let mut meta = shown_meta(knobs, &version);
            if knobs.etags == ETags::Unstable {
                meta.etag = ETag::new(&format!("{}-head", meta.etag.as_str()));
            }
            Ok(meta)
        })
        .await
    }

    async fn get(&self, key: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        let knobs = &self.bucket.knobs;
        let (meta, bytes, is_cut) = self
            .read(Operation::Get, key, |inner| {
                inner.reads += 1;
                let version = inner.view(knobs.stale_reads).get(key).cloned().ok_or(StoreErrorKind::NotFound)?;
                if options.if_match.as_ref().is_some_and(|wanted| *wanted != version.etag) {
                    return Err(StoreErrorKind::PreconditionFailed);
                }
                let mut bytes = version.body.clone();
                if let Some(range) = &options.range {
                    if range.start >= bytes.len() as u64 || range.start >= range.end {
                        return Err(StoreErrorKind::InvalidRequest);
                    }
                    // Whoever asks a server for a range and gets everything says that the answer is damaged.
                    if knobs.ranges == Support::No {
                        return Err(StoreErrorKind::Corrupt);
                    }
                    bytes = bytes.slice(range.start as usize..bytes.len().min(range.end as usize));
                }
                let is_cut = !inner.is_calm && inner.chance.percent(knobs.cut);
                inner.faults += u64::from(is_cut);
                Ok((shown_meta(knobs, &version), bytes, is_cut))
            })
            .await?;
        let half = bytes.len() / 2;
        let mut pieces = vec![Ok(bytes.slice(..half)), Ok(bytes.slice(half..))];
        if is_cut {
            pieces[1] = Err(StoreError::new(Operation::Get, key, StoreErrorKind::Corrupt));
        }
        let schedule = Arc::clone(&self.schedule);
        let body = stream::iter(pieces).then(move |piece| {
            let turn = schedule.turn();
            async move {
                turn.await;
                piece
            }
        });
        Ok(GetOutput { meta, body: body.boxed() })
    }

    async fn put(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutput, StoreError> {
        let unread = |error| StoreError::new(Operation::Put, key, StoreErrorKind::Body).with_source(error);
        let mut whole = Vec::new();
        while (whole.len() as u64) < body.size() {
            whole.extend_from_slice(&body.read(whole.len() as u64, 1 << 20).await.map_err(unread)?);
        }
        self.send(Operation::Put, key, whole.into(), options).await
    }

    async fn replace_metadata(&self, key: &str, options: &PutOptions) -> Result<PutOutput, StoreError> {
        assert_eq!(self.bucket.knobs.copies, Support::Yes, "{key}: the store says that it cannot");
        self.send(Operation::ReplaceMetadata, key, Bytes::new(), options).await
    }

    async fn delete(&self, key: &str, precondition: &Precondition) -> Result<(), StoreError> {
        let options = PutOptions { precondition: precondition.clone(), ..PutOptions::default() };
        self.send(Operation::Delete, key, Bytes::new(), &options).await.map(drop)
    }
}
