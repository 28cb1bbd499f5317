//! What a store can do, found out by trying.

use super::calls::{Payload, S3Calls};
use super::error::CallError;
use super::options::STORAGE_CLASS;
use super::store::S3Store;
use crate::etag::ETag;
use crate::metadata::FILE_OWNER;
use crate::store::{Capabilities, ListRequest, Operation, Precondition, StoreError, StoreErrorKind, Support};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use md5::{Digest, Md5};

/// What was found out about a store by trying.
///
/// It can be kept, and handed to [`S3Store::with_probed`] later, so that not every run tries it out again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Probed {
    /// What the store can do.
    pub capabilities: Capabilities,
    /// What it does not do as S3 does, in words.
    pub lacks: Vec<Box<str>>,
}

impl Probed {
    /// Nothing was tried, so nothing is promised.
    pub(super) const fn nothing() -> Self {
        let capabilities = Capabilities::NONE;
        Self { capabilities, lacks: Vec::new() }
    }

    fn lack(&mut self, what: &str) {
        self.lacks.push(what.into());
    }
}

/// Asks for a page, which has to be in order.
pub(super) async fn read<C: S3Calls>(store: &S3Store<C>) -> Result<Probed, StoreError> {
    let inner = &store.inner;
    let prefix = &inner.options.probe_prefix;
    let request = ListRequest { prefix: prefix.clone(), ..ListRequest::default() };
    let page = inner.made(|| inner.calls.list(&request)).await.map_err(|error| error.at(Operation::List, prefix))?;
    let mut probed = Probed::nothing();
    let keys = || page.objects.iter().map(|object| object.key.as_str());
    if keys().zip(keys().skip(1)).all(|(before, behind)| before < behind) {
        probed.capabilities = probed.capabilities.with_ordered_listing(Support::Yes);
    } else {
        probed.lack("listings are not in key order");
    }
    Ok(probed)
}

/// Puts a few objects, and looks what becomes of them.
pub(super) async fn write<C: S3Calls>(store: &S3Store<C>, probed: &mut Probed) -> Result<(), StoreError> {
    let inner = &store.inner;
    let root = format!("{}.posix-s3-probe-{:016x}/", inner.options.probe_prefix, fastrand::u64(..));
    let tried = try_out(store, &root, probed).await;
    let mut cleared = Ok(());
    for name in NAMES {
        let key = format!("{root}{name}");
        let deleted = inner.made(|| inner.calls.delete(&key, None)).await;
        if cleared.is_ok() {
            cleared = deleted.map_err(|error| error.at(Operation::Delete, &key));
        }
    }
    tried?;
    cleared
}

/// In key order. What lies between a key and its directory is where orders differ.
const NAMES: [&str; 5] = ["a", "a b+%41", "a-", "a/", "a0"];

async fn try_out<C: S3Calls>(store: &S3Store<C>, root: &str, probed: &mut Probed) -> Result<(), StoreError> {
    let inner = &store.inner;
    let key = format!("{root}{}", NAMES[0]);
    let at = |error: CallError| error.at(Operation::Put, &key);
    let body = Payload::new(Bytes::from_static(b"posix-s3"));
    // The encryption of the options, which a bucket may insist on and on which the ETag depends; not the storage class,
    // which would be one to pay for.
    let with_encryption = |id| {
        let mut headers = owner(id);
        let encryption = inner.options.headers.iter().filter(|(name, _)| **name != STORAGE_CLASS);
        headers.extend(encryption.map(|(name, value)| (name.clone(), value.clone())));
        headers
    };
    let headers = with_encryption(1);
    let (none, absent) = (Precondition::None, Precondition::Absent);
    let mut etag = ETag::new("");
    for name in NAMES {
        let key = format!("{root}{name}");
        let put = inner.made(|| inner.calls.put(&key, &body, &headers, &none)).await;
        etag = put.map_err(|error| error.at(Operation::Put, &key))?.etag;
    }
    let mut capabilities = probed.capabilities.with_md5_etags(Support::Yes);
    if etag != ETag::from_md5(Md5::digest(body.bytes()).into()) {
        capabilities = capabilities.with_md5_etags(Support::No);
        probed.lack("ETags are not the MD5 of the bytes; digests are kept instead");
    }

    let request = ListRequest { prefix: root.to_owned(), ..ListRequest::default() };
    let page = inner.made(|| inner.calls.list(&request)).await.map_err(|error| error.at(Operation::List, root))?;
    let listed = page.objects.iter().map(|object| object.key.strip_prefix(root).unwrap_or_default());
    if !listed.eq(NAMES) {
        capabilities = capabilities.with_ordered_listing(Support::No);
        probed.lack("listings do not have each key, as it was put, in key order");
    }

    let other = with_encryption(2);
    let replaced = inner.made(|| inner.calls.copy_onto_itself(&key, &other, None)).await;
    let head = inner.made(|| inner.calls.head(&key)).await.map_err(|error| error.at(Operation::Head, &key))?;
    let is_replaced = replaced.is_ok()
        && head.headers.get(&FILE_OWNER) == other.get(&FILE_OWNER)
        && head.size == body.bytes().len() as u64;
    if is_replaced {
        capabilities = capabilities.with_replace_metadata(Support::Yes);
    } else {
        probed.lack("metadata is not replaced in place; objects are put again instead");
    }

    // What is put in parts takes the place of the object, which tells whether that can be done at all.
    let in_parts = store.put_in_one_part(&key, &body, &headers, &none).await;
    let has_parts = in_parts.is_ok();
    match in_parts {
        Ok(_) => {}
        // No answer is no lack.
        Err(error) if error.kind().is_retryable() => return Err(at(error)),
        Err(_) => probed.lack("there are no uploads in parts; objects larger than a part cannot be put"),
    }
    let ranged = inner.made(|| inner.calls.get(&key, Some(1..3), None, 2)).await;
    let is_ranged = ranged.is_ok_and(|fetched| fetched.body.whole().map(|bytes| &bytes[..]) == body.bytes().get(1..3));
    if !is_ranged {
        probed.lack("ranges are not honoured; objects larger than four parts cannot be fetched, nor the rest of one that breaks off");
    }
    // Put in one piece it has the ETag of before.
    inner.made(|| inner.calls.put(&key, &body, &headers, &none)).await.map_err(at)?;

    // Each of these has to be refused, except for one. Answers that are lost are asked for again, so that no lack is made
    // up. The delete comes last, since the object is gone where it is not refused.
    let wrong = ETag::from_md5([0x5a; 16]);
    let (matches, matching) = (Precondition::Match(etag.clone()), Precondition::Match(wrong.clone()));
    let mut lacking = Vec::new();
    let mut expect = |is_right: bool, what: &'static str| {
        if !is_right && !lacking.contains(&what) {
            lacking.push(what);
        }
    };
    let absent_put = inner.made(|| inner.calls.put(&key, &body, &headers, &absent)).await;
    expect(is_refused(&absent_put), "If-None-Match on put");
    let wrong_put = inner.made(|| inner.calls.put(&key, &body, &headers, &matching)).await;
    expect(is_refused(&wrong_put), "If-Match on put");
    let right_put = inner.made(|| inner.calls.put(&key, &body, &headers, &matches)).await;
    expect(right_put.is_ok(), "If-Match on put");
    if is_replaced {
        let wrong_copy = inner.made(|| inner.calls.copy_onto_itself(&key, &other, Some(&wrong))).await;
        expect(is_refused(&wrong_copy), "x-amz-copy-source-if-match");
    }
    if has_parts {
        let absent_put = store.put_in_one_part(&key, &body, &headers, &absent).await;
        expect(is_refused(&absent_put), "If-None-Match on what is put in parts");
    }
    let wrong_delete = inner.made(|| inner.calls.delete(&key, Some(&wrong))).await;
    expect(is_refused(&wrong_delete), "If-Match on delete");
    if lacking.is_empty() {
        capabilities = capabilities.with_preconditions(Support::Yes);
    } else {
        let what = lacking.join(", ");
        probed.lack(&format!(
            "preconditions are not honoured ({what}); a change by somebody else at the same moment is not noticed"
        ));
    }

    if refuses_damage(store, &key, &body.damaged(), &headers).await.map_err(at)? {
        capabilities = capabilities.with_checksums(Support::Yes);
    } else {
        probed.lack("checksums are not checked; a body that is damaged on the way is stored");
    }
    probed.capabilities = capabilities;
    Ok(())
}

/// Whether a body is refused that is not what its checksum says. That it is refused is no failure that passes, while other
/// failures may.
async fn refuses_damage<C: S3Calls>(
    store: &S3Store<C>,
    key: &str,
    damaged: &Payload,
    headers: &HeaderMap,
) -> Result<bool, CallError> {
    let inner = &store.inner;
    let mut tries: u32 = 0;
    loop {
        let error = match inner.calls.put(key, damaged, headers, &Precondition::None).await {
            Ok(_) => return Ok(false),
            // A store that keeps the checksum of what it got, and says so, has not checked it either.
            Err(error) if error.kind() == StoreErrorKind::Corrupt => return Ok(false),
            Err(error) => error,
        };
        if error.answer().is_some_and(|answer| (400..500).contains(&answer.status()) && answer.status() != 429) {
            return Ok(true);
        }
        tries = tries.saturating_add(1);
        let Some(wait) = inner.retries.wait(&error, tries, fastrand::f64()) else { return Err(error) };
        inner.calls.sleep(wait).await;
    }
}

fn is_refused<T>(result: &Result<T, CallError>) -> bool {
    matches!(result, Err(error) if error.kind() == StoreErrorKind::PreconditionFailed)
}

fn owner(id: u32) -> HeaderMap {
    HeaderMap::from_iter([(FILE_OWNER.clone(), HeaderValue::from(id))])
}
