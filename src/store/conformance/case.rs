//! [`Case`]: a store as one check sees it, and how to say what is expected of it.

use super::super::{
    Body, Capabilities, DynObjectStore, ETag, GetOptions, GetOutput, ListPage, ListRequest, ListedObject, ObjectMeta,
    Precondition, PutOptions, PutOutput, StoreError, StoreErrorKind, Support,
};
use super::source::whole;
use super::{Violation, with_causes};
use crate::escape::escape;
use crate::metadata::USER_METADATA_PREFIX;
use crate::timestamp::Timestamp;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// What a step of a check answers.
pub(super) type Checked<T = ()> = Result<T, Violation>;

/// A store and the part of it that belongs to one check. Calls take the rest of the key behind the check's prefix.
pub(super) struct Case<'a> {
    store: &'a dyn DynObjectStore,
    prefix: String,
}

impl<'a> Case<'a> {
    pub(super) fn new(store: &'a dyn DynObjectStore, prefix: &str, name: &str) -> Self {
        Self { store, prefix: format!("{prefix}{name}/") }
    }

    pub(super) fn store(&self) -> &'a dyn DynObjectStore {
        self.store
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.store.boxed_capabilities()
    }

    /// The whole key.
    pub(super) fn key(&self, tail: &str) -> String {
        format!("{}{tail}", self.prefix)
    }

    /// What makes a whole key of `bytes` bytes: the unit as often as it fits, then `k`.
    pub(super) fn tail_to_fill(&self, unit: &str, bytes: usize) -> String {
        let room = bytes.saturating_sub(self.prefix.len());
        let mut tail = unit.repeat(room.checked_div(unit.len()).unwrap_or(0));
        while tail.len() < room {
            tail.push('k');
        }
        tail
    }

    /// Deletes what lies below the prefix, as far as the store lets it be done. Whether it does is for other checks.
    pub(super) async fn clear(&self) {
        let pages = self.pages("", None).await.unwrap_or_default();
        for object in pages.into_iter().flat_map(|page| page.objects) {
            if object.key.starts_with(&self.prefix) {
                let _ = self.store.boxed_delete(&object.key, &Precondition::None).await;
            }
        }
    }

    /// Puts a text without headers.
    pub(super) async fn put(&self, tail: &str, text: &'static str) -> Result<ETag, StoreError> {
        self.put_with(tail, whole(text), &HeaderMap::new()).await
    }

    pub(super) async fn put_with(&self, tail: &str, body: Body, headers: &HeaderMap) -> Result<ETag, StoreError> {
        let options = PutOptions { headers: headers.clone(), precondition: Precondition::None };
        self.store.boxed_put(&self.key(tail), body, &options).await.map(|output| output.etag)
    }

    pub(super) async fn put_answer(&self, tail: &str, body: Body) -> Result<PutOutput, StoreError> {
        self.store.boxed_put(&self.key(tail), body, &PutOptions::default()).await
    }

    pub(super) async fn replace_answer(&self, tail: &str, headers: &HeaderMap) -> Result<PutOutput, StoreError> {
        let options = PutOptions { headers: headers.clone(), precondition: Precondition::None };
        self.store.boxed_replace_metadata(&self.key(tail), &options).await
    }

    pub(super) async fn put_if(&self, tail: &str, body: Body, precondition: Precondition) -> Result<ETag, StoreError> {
        let options = PutOptions { headers: HeaderMap::new(), precondition };
        self.store.boxed_put(&self.key(tail), body, &options).await.map(|output| output.etag)
    }

    pub(super) async fn head(&self, tail: &str) -> Result<ObjectMeta, StoreError> {
        self.store.boxed_head(&self.key(tail)).await
    }

    pub(super) async fn get(&self, tail: &str, options: &GetOptions) -> Result<GetOutput, StoreError> {
        self.store.boxed_get(&self.key(tail), options).await
    }

    /// Gets an object and reads it to its end.
    pub(super) async fn read(&self, tail: &str, options: &GetOptions) -> Result<(ObjectMeta, Bytes), StoreError> {
        let GetOutput { meta, mut body } = self.get(tail, options).await?;
        let mut bytes = BytesMut::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok((meta, bytes.freeze()))
    }

    pub(super) async fn replace(&self, tail: &str, headers: &HeaderMap) -> Result<ETag, StoreError> {
        self.replace_if(tail, headers, Precondition::None).await
    }

    pub(super) async fn replace_if(
        &self,
        tail: &str,
        headers: &HeaderMap,
        precondition: Precondition,
    ) -> Result<ETag, StoreError> {
        let options = PutOptions { headers: headers.clone(), precondition };
        self.store.boxed_replace_metadata(&self.key(tail), &options).await.map(|output| output.etag)
    }

    pub(super) async fn delete(&self, tail: &str) -> Result<(), StoreError> {
        self.delete_if(tail, Precondition::None).await
    }

    pub(super) async fn delete_if(&self, tail: &str, precondition: Precondition) -> Result<(), StoreError> {
        self.store.boxed_delete(&self.key(tail), &precondition).await
    }

    /// Lists one page of the keys that start with `tail`.
    pub(super) async fn page(
        &self,
        tail: &str,
        token: Option<String>,
        max_keys: Option<u16>,
    ) -> Result<ListPage, StoreError> {
        self.store.boxed_list(&ListRequest { prefix: self.key(tail), token, max_keys }).await
    }

    /// All pages of a listing.
    pub(super) async fn pages(&self, tail: &str, max_keys: Option<u16>) -> Checked<Vec<ListPage>> {
        // More than any check needs, even when a store answers empty pages in between.
        const TOO_MANY: usize = 1000;
        let mut pages = Vec::new();
        let mut token = None;
        while pages.len() < TOO_MANY {
            let page = self.page(tail, token, max_keys).await?;
            let next = page.next.clone();
            pages.push(page);
            if next.is_none() {
                return Ok(pages);
            }
            token = next;
        }
        Err(Violation::new("a last page", format!("{TOO_MANY} pages and a token for the next")))
    }

    /// The objects whose keys start with `tail`, as they are listed in pages of `max_keys`.
    pub(super) async fn objects(&self, tail: &str, max_keys: Option<u16>) -> Checked<Vec<ListedObject>> {
        Ok(self.pages(tail, max_keys).await?.into_iter().flat_map(|page| page.objects).collect())
    }

    /// The keys that start with `tail`, as they are listed, without the check's prefix.
    pub(super) async fn tails(&self, tail: &str, max_keys: Option<u16>) -> Checked<Vec<String>> {
        self.tails_of(&self.objects(tail, max_keys).await?)
    }

    /// The keys of listed objects without the check's prefix.
    pub(super) fn tails_of(&self, objects: &[ListedObject]) -> Checked<Vec<String>> {
        let tail = |object: &ListedObject| match object.key.strip_prefix(&self.prefix) {
            Some(tail) => Ok(tail.to_owned()),
            None => Err(Violation::new(format!("keys that start with {:?}", self.prefix), format!("{:?}", object.key))),
        };
        objects.iter().map(tail).collect()
    }

    /// The listing holds these keys and no others, in whatever order.
    pub(super) async fn expect_keys(&self, expected: &[&str]) -> Checked {
        let found = self.tails("", Some(2)).await?;
        expect_same_keys(expected, &found)
    }

    /// The key holds this body and this content type and user metadata, however one asks.
    pub(super) async fn expect_object(&self, tail: &str, body: &[u8], headers: &HeaderMap) -> Checked {
        let what = |call: &str| format!("{call} of {tail:?} to answer");
        let (meta, bytes) = self.read(tail, &GetOptions::default()).await?;
        expect_bytes(&what("get"), body, &bytes)?;
        expect_same(&format!("{} a size of", what("get")), &(body.len() as u64), &meta.size)?;
        expect_headers(&what("get"), headers, &meta.headers)?;
        let head = self.head(tail).await?;
        expect_same(&format!("{} a size of", what("head")), &(body.len() as u64), &head.size)?;
        expect_same(&format!("{} the ETag of get,", what("head")), &meta.etag, &head.etag)?;
        expect_headers(&what("head"), headers, &head.headers)
    }

    /// The key holds nothing, however one asks.
    pub(super) async fn expect_nothing(&self, tail: &str) -> Checked {
        expect_kind("head of a missing key", self.head(tail).await, StoreErrorKind::NotFound)?;
        let read = self.read(tail, &GetOptions::default()).await;
        expect_kind("get of a missing key", read, StoreErrorKind::NotFound)?;
        let listed = self.tails(tail, None).await?;
        expect(!listed.iter().any(|key| key == tail), "a missing key not to be listed", || format!("{listed:?}"))
    }

    /// The key holds one of these bodies, with the headers that go with it.
    pub(super) async fn expect_one_of(&self, tail: &str, versions: &[(&[u8], &HeaderMap)]) -> Checked {
        let (meta, bytes) = self.read(tail, &GetOptions::default()).await?;
        let is_one = |(body, headers): &(&[u8], &HeaderMap)| {
            *body == bytes && meta.size == bytes.len() as u64 && kept(headers) == kept(&meta.headers)
        };
        expect(versions.iter().any(is_one), "one of the versions that were put, whole", || {
            format!("{} with {:?}", start_of(&bytes), meta.headers)
        })
    }

    /// Each of these keys is an object of its own, in every call.
    pub(super) async fn expect_kept_apart(&self, tails: &[&str]) -> Checked {
        for tail in tails {
            self.put_with(tail, whole(tail.as_bytes().to_vec()), &owner(tail)).await?;
        }
        self.expect_keys(tails).await?;
        for tail in tails {
            self.expect_object(tail, tail.as_bytes(), &owner(tail)).await?;
        }
        if self.capabilities().replace_metadata == Support::Yes {
            self.expect_replaced_apart(tails).await?;
        }
        let mut left = tails;
        while let Some((tail, rest)) = left.split_first() {
            self.delete(tail).await?;
            self.expect_nothing(tail).await?;
            self.expect_keys(rest).await?;
            left = rest;
        }
        Ok(())
    }

    async fn expect_replaced_apart(&self, tails: &[&str]) -> Checked {
        let replaced = |tail: &str| owner(&format!("{tail} replaced"));
        for tail in tails {
            self.replace(tail, &replaced(tail)).await?;
        }
        for tail in tails {
            self.expect_object(tail, tail.as_bytes(), &replaced(tail)).await?;
        }
        self.expect_keys(tails).await
    }

    /// Whether Last-Modified has moved beyond `before`. That it has gone back is a violation, and that it has not moved
    /// some seconds after `since`: HTTP tells the time in whole seconds.
    pub(super) async fn has_moved(&self, tail: &str, before: Timestamp, since: Instant) -> Checked<bool> {
        const LONG_ENOUGH: Duration = Duration::from_secs(3);
        let now = self.head(tail).await?.last_modified;
        let backwards = || format!("{now}, {before} before");
        expect(now >= before, "Last-Modified not to go back", backwards)?;
        expect(now > before || since.elapsed() < LONG_ENOUGH, "Last-Modified to move", backwards)?;
        Ok(now > before)
    }
}

/// User metadata that differs from text to text. It is made of digits, since no text fits a header as it is.
pub(super) fn owner(text: &str) -> HeaderMap {
    let sum = text.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    HeaderMap::from_iter([(crate::metadata::FILE_OWNER.clone(), HeaderValue::from(sum))])
}

/// Headers from a list of names and values.
pub(super) fn headers(list: &[(&str, &[u8])]) -> Checked<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in list {
        let (Ok(header), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) else {
            return Err(Violation::new("a header", format!("{name}: {}", escape(value))));
        };
        headers.append(header, value);
    }
    Ok(headers)
}

/// The user metadata among headers. Values of one name come as one, as HTTP has it, since S3 answers them so.
pub(super) fn kept(headers: &HeaderMap) -> BTreeMap<&str, Vec<u8>> {
    let mut kept = BTreeMap::new();
    for name in headers.keys().filter(|name| name.as_str().starts_with(USER_METADATA_PREFIX)) {
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        kept.insert(name.as_str(), values.join(&b','));
    }
    kept
}

/// The condition holds.
pub(super) fn expect(condition: bool, expected: &str, found: impl FnOnce() -> String) -> Checked {
    if condition { Ok(()) } else { Err(Violation::new(expected, found())) }
}

/// Two values are the same.
pub(super) fn expect_same<T: PartialEq + Debug + ?Sized>(what: &str, expected: &T, found: &T) -> Checked {
    if expected == found { Ok(()) } else { Err(Violation::new(format!("{what} {expected:?}"), format!("{found:?}"))) }
}

/// The keys are the same, in whatever order, each once.
pub(super) fn expect_same_keys(expected: &[&str], found: &[String]) -> Checked {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    let mut found: Vec<&str> = found.iter().map(String::as_str).collect();
    found.sort_unstable();
    expect_same("the keys", &expected, &found)
}

/// The bytes are the same; they may be many.
pub(super) fn expect_bytes(what: &str, expected: &[u8], found: &[u8]) -> Checked {
    if expected == found {
        return Ok(());
    }
    let same = expected.iter().zip(found).take_while(|(expected, found)| expected == found).count();
    let found = format!("{}, which differs from byte {same} on", start_of(found));
    Err(Violation::new(format!("{what} {}", start_of(expected)), found))
}

fn start_of(bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let start = bytes.get(..SHOWN).unwrap_or(bytes);
    format!("{} bytes \"{}{}\"", bytes.len(), escape(start), if start.len() < bytes.len() { "…" } else { "" })
}

/// The same user metadata is there, and the content type when one is expected; a store may have a default for it.
pub(super) fn expect_headers(what: &str, expected: &HeaderMap, found: &HeaderMap) -> Checked {
    let content_type = expected.get(CONTENT_TYPE);
    let same_type = content_type.is_none() || content_type == found.get(CONTENT_TYPE);
    expect(same_type && kept(expected) == kept(found), &format!("{what} {expected:?}"), || format!("{found:?}"))
}

/// The call has failed in this way.
pub(super) fn expect_kind<T>(what: &str, result: Result<T, StoreError>, kind: StoreErrorKind) -> Checked {
    let found = match result {
        Err(error) if error.kind() == kind => return Ok(()),
        Err(error) => with_causes(&error),
        Ok(_) => "no error".into(),
    };
    Err(Violation::new(format!("{what} to fail with {kind:?}"), found))
}
