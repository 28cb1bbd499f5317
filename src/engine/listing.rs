//! [`Listing`]: a bucket's keys as claims, page after page.

use super::report::RunErrorKind;
use crate::escape::escape;
use crate::key::{Key, Prefix};
use crate::plan::{Claim, Claims};
use crate::profile::Clash;
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

/// The claims of everything below a prefix, in the order of [`Claims`].
pub(super) struct Listing<'s, S: ?Sized> {
    store: &'s S,
    prefix: Prefix,
    request: ListRequest,
    claims: Option<Claims<ListedObject>>,
    ready: VecDeque<Claim<ListedObject>>,
    empty_pages: u32,
}

impl<'s, S: ObjectStore + ?Sized> Listing<'s, S> {
    pub(super) fn new(store: &'s S, prefix: &Prefix, clash: Clash) -> Result<Self, RunErrorKind> {
        if store.capabilities().ordered_listing == Support::No {
            return Err(RunErrorKind::Unordered);
        }
        Ok(Self {
            store,
            prefix: prefix.clone(),
            request: ListRequest { prefix: prefix.as_str().to_owned(), ..ListRequest::default() },
            claims: Some(Claims::new(clash)),
            ready: VecDeque::new(),
            empty_pages: 0,
        })
    }

    /// The next claim, or `None` at the end. After an error there is nothing more.
    pub(super) async fn next(&mut self) -> Result<Option<Claim<ListedObject>>, RunErrorKind> {
        loop {
            if let Some(claim) = self.ready.pop_front() {
                return Ok(Some(claim));
            }
            let Some(mut claims) = self.claims.take() else { return Ok(None) };
            let page = self.store.list(&self.request).await?;
            self.empty_pages = if page.objects.is_empty() { self.empty_pages.saturating_add(1) } else { 0 };
            if self.empty_pages > EMPTY_PAGES {
                return Err(RunErrorKind::Endless { pages: self.empty_pages });
            }
            for object in page.objects {
                let Some(key) = self.prefix.relative(&object.key).map(str::to_owned) else {
                    return Err(RunErrorKind::Foreign { key: escape(object.key.as_bytes()).to_string().into() });
                };
                claims.next(&key, object)?;
            }
            self.ready.extend(claims.ready());
            match page.next {
                Some(token) => {
                    self.request.token = Some(token);
                    self.claims = Some(claims);
                }
                None => self.ready.extend(claims.finish()),
            }
        }
    }
}
