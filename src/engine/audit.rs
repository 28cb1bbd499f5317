//! [`audit`]: what an import would refuse, default or repair, without a tree.

use super::import::{decode, link_body};
use super::listing::{Item, Listing, ROOT, Stretch, shadowed};
use super::report::RunErrorKind;
use super::selection::Selection;
use crate::budget::Budget;
use crate::entry::{Chain, Finding};
use crate::escape::escape;
use crate::key::{Key, Prefix};
use crate::metadata::{Field, Origin};
use crate::mode::FileType;
use crate::plan::Claim;
use crate::profile::Profile;
use crate::store::{GetOptions, ListedObject, ObjectStore, Operation, StoreError, StoreErrorKind};
use crate::tree::SkipReason;
use crate::tree::names::is_reserved;
use std::fmt;

/// What an audit found, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Audit {
    /// How many objects there are.
    pub objects: u64,
    /// How many would become files.
    pub files: u64,
    /// How many would become directories.
    pub directories: u64,
    /// How many would become links.
    pub symlinks: u64,
    /// How many directories have no object and would get the defaults.
    pub implied: u64,
    /// How many would not be imported.
    pub refused: u64,
    /// How many of those imported would take at least one field from elsewhere than their headers.
    pub defaulted: u64,
    /// How many of those imported are odd in some way that the import puts right.
    pub repaired: u64,
    /// How many could not be looked at, or are archived and could not be read.
    pub failed: u64,
}

/// What an audit has to say about an object, if there is anything: all of it at once, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Remark {
    /// The key, safe to print.
    pub key: Box<str>,
    /// What an import would do.
    pub verdict: Verdict,
    /// Why, in words, with the values that are at fault; safe to print. What is more than one thing is joined by `; `.
    pub reason: Box<str>,
}

/// What an import would do with an object that is not plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Verdict {
    /// It would not be imported.
    Refused,
    /// It would be imported with fields from elsewhere than its headers.
    Defaulted,
    /// It would be imported, and something odd about it put right.
    Repaired,
    /// A directory without an object would be made.
    Implied,
    /// It could not be looked at, or is archived, so that an import could not read it.
    Failed,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Refused => "refused",
            Self::Defaulted => "defaulted",
            Self::Repaired => "repaired",
            Self::Implied => "implied",
            Self::Failed => "failed",
        })
    }
}

/// Looks at every object below a prefix as an import would, and says what is not plain about it.
///
/// Nothing is changed. Bodies are read only of links, to see their targets.
///
/// # Errors
/// [`RunErrorKind`] when the bucket cannot be listed to the end, or its listing cannot be trusted.
pub async fn audit<S: ObjectStore + ?Sized>(
    store: &S,
    prefix: &Prefix,
    profile: &Profile,
    mut remark: impl FnMut(Remark),
) -> Result<Audit, RunErrorKind> {
    let mut audit = Audit::default();
    let everything = Selection::all();
    // It takes nothing, so it may look at everything.
    let budget = Budget { entries: u64::MAX, ..profile.budget };
    let unlimited = &Profile { budget, ..profile.clone() };
    let mut listing = Listing::new(store, None, Stretch::of(&everything), &everything, prefix, unlimited)?;
    while let Some(item) = listing.next().await? {
        let claim = match item {
            Item::Claim(claim) => claim,
            Item::Unreadable { key, error } => {
                count(&mut audit.objects);
                count(&mut audit.refused);
                let key = escape(&key).to_string().into();
                remark(Remark { key, verdict: Verdict::Refused, reason: error.to_string().into() });
                continue;
            }
            Item::Replaced(_) => continue,
        };
        if !matches!(claim, Claim::ImpliedDirectory { .. }) {
            count(&mut audit.objects);
        }
        match claim {
            Claim::Object { key, .. } if is_in_staging(&key) => {
                count(&mut audit.refused);
                let reason = SkipReason::Reserved.to_string().into();
                remark(Remark { key: key.to_string().into(), verdict: Verdict::Refused, reason });
            }
            Claim::Object { key, object } => {
                if let Some((verdict, reason)) = judge(store, profile, &key, &object.object, &mut audit).await {
                    remark(Remark { key: key.to_string().into(), verdict, reason });
                }
            }
            // What is in it is refused.
            Claim::ImpliedDirectory { key, .. } if is_in_staging(&key) => {}
            Claim::ImpliedDirectory { key, .. } => {
                count(&mut audit.implied);
                let reason = "it has no object and gets the defaults".into();
                remark(Remark { key: key.to_string().into(), verdict: Verdict::Implied, reason });
            }
            Claim::Refused { key, error } => {
                count(&mut audit.refused);
                let key = escape(key.as_bytes()).to_string().into();
                remark(Remark { key, verdict: Verdict::Refused, reason: error.to_string().into() });
            }
            Claim::Shadowed { key, by, .. } => {
                count(&mut audit.refused);
                let reason = shadowed(&by).into();
                remark(Remark { key: key.to_string().into(), verdict: Verdict::Refused, reason });
            }
            Claim::Root => {
                count(&mut audit.refused);
                remark(Remark { key: prefix.to_string().into(), verdict: Verdict::Refused, reason: ROOT.into() });
            }
        }
    }
    Ok(audit)
}

fn is_in_staging(key: &Key) -> bool {
    key.segments().next().is_some_and(|first| is_reserved(first.as_bytes()))
}

fn count(number: &mut u64) {
    *number = number.saturating_add(1);
}

type Said = (Verdict, Box<str>);

async fn judge<S: ObjectStore + ?Sized>(
    store: &S,
    profile: &Profile,
    key: &Key,
    object: &ListedObject,
    audit: &mut Audit,
) -> Option<Said> {
    let meta = match store.head(&object.key).await {
        Ok(meta) => meta,
        Err(error) => return failed(&error, audit),
    };
    let decoded = match decode(key, &meta, profile, None) {
        Ok(decoded) => decoded,
        Err(refusal) => return refused(&refusal, audit),
    };
    // Of a directory nothing else is needed than its headers.
    if decoded.file_type != FileType::Directory && meta.is_archived() {
        let error = StoreError::new(Operation::Get, &object.key, StoreErrorKind::Archived);
        return failed(&error, audit);
    }
    let mut body = Vec::new();
    if decoded.file_type == FileType::Symlink {
        let read = match store.get(&object.key, &GetOptions::default()).await {
            Ok(mut output) => link_body(&mut output.body, meta.size).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(read) if read.len() as u64 == meta.size => body = read,
            // An import takes no link that is not as long as it was said to be.
            Ok(_) => return failed(&StoreError::new(Operation::Get, &object.key, StoreErrorKind::Corrupt), audit),
            Err(error) => return failed(&error, audit),
        }
    }
    let (file_type, origins, findings) = (decoded.file_type, decoded.origins, decoded.findings.clone());
    if let Err(refusal) = decoded.into_entry(key, &body, profile) {
        return refused(&refusal, audit);
    }
    count(match file_type {
        FileType::Directory => &mut audit.directories,
        FileType::Symlink => &mut audit.symlinks,
        _ => &mut audit.files,
    });
    let verdict = if origins.defaulted().next().is_some() { Verdict::Defaulted } else { Verdict::Repaired };
    if verdict == Verdict::Defaulted {
        count(&mut audit.defaulted);
    }
    if !findings.is_empty() {
        count(&mut audit.repaired);
    }
    // A header that is there and damaged is a finding.
    let is_damaged = |field| {
        findings.iter().any(|finding| matches!(finding, Finding::Damaged { error, .. } if error.field() == field))
    };
    let missing = Field::ALL.into_iter().filter(|field| origins.of(*field) != Origin::Header && !is_damaged(*field));
    let missing: Vec<String> = missing.map(|field| format!("{field} (used {})", origins.of(field))).collect();
    let mut said = Vec::new();
    if !missing.is_empty() {
        said.push(format!("no header {}", missing.join(", ")));
    }
    said.extend(findings.iter().map(ToString::to_string));
    (!said.is_empty()).then(|| (verdict, said.join("; ").into()))
}

fn refused(refusal: &dyn std::error::Error, audit: &mut Audit) -> Option<Said> {
    count(&mut audit.refused);
    Some((Verdict::Refused, Chain(refusal).to_string().into()))
}

fn failed(error: &StoreError, audit: &mut Audit) -> Option<Said> {
    count(&mut audit.failed);
    Some((Verdict::Failed, Chain(error).to_string().into()))
}
