//! [`Selection`]: which part of a tree a run is about.

use crate::key::Key;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use std::collections::BTreeSet;
use thiserror::Error;

/// The part of a tree that a run is about: some paths, and patterns for what is in them. Everything by default.
///
/// What is not selected is neither looked at nor reported, and nothing of it is deleted.
///
/// - A path selects a file or link, or a directory with all that is in it, as the paths of an export task of FSx do. The
///   directories around it are not selected.
/// - A pattern is a glob: `*` and `?` stand for anything but a slash, `**` for any number of directories, `[…]` for a choice,
///   `{a,b}` for either. Without a slash in it, it is about names anywhere; with one, about whole paths from the root; one
///   that ends in a slash is about directories alone.
/// - What matches an exclude pattern is left out, a directory with all that is in it. If there are include patterns, only
///   files and links that match one of them are selected; directories are not asked.
///
/// ```
/// use posix_s3::{Key, engine::Selection};
///
/// let selection = Selection::all().with_exclude("*.tmp")?.with_exclude("build/")?.with_path(Key::parse("src")?);
/// assert!(selection.excludes("src/a.tmp"));
/// assert!(selection.excludes("src/build/")); // the directory, and so all that is in it
/// assert!(!selection.excludes("src/build"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Without trailing slashes.
    paths: BTreeSet<Box<str>>,
    include: Patterns,
    exclude: Patterns,
}

/// A pattern that is no glob.
#[derive(Clone, Debug, Error)]
#[error("invalid pattern \"{pattern}\"", pattern = crate::escape::escape(.pattern.as_bytes()))]
pub struct InvalidPattern {
    pattern: Box<str>,
    #[source]
    source: globset::Error,
}

#[derive(Clone, Debug, Default)]
struct Patterns {
    globs: Vec<Glob>,
    set: GlobSet,
}

impl Patterns {
    fn push(&mut self, pattern: &str) -> Result<(), InvalidPattern> {
        let invalid = |source| InvalidPattern { pattern: pattern.into(), source };
        let inner = pattern.strip_suffix('/').unwrap_or(pattern);
        let whole = match inner.strip_prefix('/') {
            Some(from_root) => format!("{from_root}{}", if inner == pattern { "" } else { "/" }),
            None if inner.contains('/') => pattern.to_owned(),
            None => format!("**/{pattern}"),
        };
        self.globs.push(GlobBuilder::new(&whole).literal_separator(true).build().map_err(invalid)?);
        let mut builder = GlobSetBuilder::new();
        self.globs.iter().for_each(|glob| {
            builder.add(glob.clone());
        });
        self.set = builder.build().map_err(invalid)?;
        Ok(())
    }

    /// Whether a key matches, a directory also without its slash.
    fn matches(&self, key: &str) -> bool {
        self.set.is_match(key) || key.strip_suffix('/').is_some_and(|path| self.set.is_match(path))
    }
}

impl Selection {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Also this file, link or directory, if there were paths before; else this alone.
    #[must_use]
    pub fn with_path(mut self, path: Key) -> Self {
        self.paths.insert(path.path().into());
        self
    }

    /// Only files and links that match this or another include pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn with_include(mut self, pattern: &str) -> Result<Self, InvalidPattern> {
        self.include.push(pattern)?;
        Ok(self)
    }

    /// Nothing that matches this pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`].
    pub fn with_exclude(mut self, pattern: &str) -> Result<Self, InvalidPattern> {
        self.exclude.push(pattern)?;
        Ok(self)
    }

    /// This path in the place of those before; the patterns stay.
    #[cfg(feature = "repository")]
    pub(super) fn of_path(mut self, path: &Key) -> Self {
        self.paths = BTreeSet::from([path.path().into()]);
        self
    }

    /// Whether the patterns leave a key out. That what is around it is left out has to be asked of that.
    #[must_use]
    pub fn excludes(&self, key: &str) -> bool {
        if self.has_no_patterns() {
            return false;
        }
        let not_included = !self.include.globs.is_empty() && !key.ends_with('/') && !self.include.matches(key);
        not_included || self.exclude.matches(key)
    }

    /// Whether a run is about a key.
    pub(super) fn selects(&self, key: &str) -> bool {
        self.holds(key) && !self.leaves_out(key)
    }

    /// Whether the patterns leave a key out, or a directory around it.
    #[must_use]
    pub fn leaves_out(&self, key: &str) -> bool {
        if self.has_no_patterns() {
            return false;
        }
        let around = key.match_indices('/').filter_map(|(slash, _)| key.get(..=slash));
        self.excludes(key) || around.filter(|directory| directory.len() < key.len()).any(|above| self.excludes(above))
    }

    /// Whether a key is in one of the paths.
    #[must_use]
    pub fn holds(&self, key: &str) -> bool {
        self.paths.is_empty() || self.paths.contains(key) || self.is_within(key)
    }

    /// Whether a key is below one of the paths, or is one as a directory.
    fn is_within(&self, key: &str) -> bool {
        key.match_indices('/').filter_map(|(slash, _)| key.get(..slash)).any(|path| self.paths.contains(path))
    }

    /// Whether nothing is left out by patterns.
    #[must_use]
    pub fn has_no_patterns(&self) -> bool {
        self.include.globs.is_empty() && self.exclude.globs.is_empty()
    }

    /// The paths without trailing slashes in the order of their keys, none within another; empty for the whole tree.
    pub(super) fn paths(&self) -> Vec<&str> {
        self.paths.iter().map(|path| &**path).filter(|path| !self.is_within(path)).collect()
    }
}

/// Whether a key is a path or below it.
pub(super) fn in_path(path: &str, key: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluding(pattern: &str) -> Selection {
        Selection::all().with_exclude(pattern).unwrap()
    }

    #[test]
    fn a_pattern_without_a_slash_is_about_names() {
        let selection = excluding("*.tmp");
        assert!(selection.excludes("a.tmp") && selection.excludes("d/e/a.tmp") && selection.excludes("d/a.tmp/"));
        assert!(!selection.excludes("a.tmp.gz") && !selection.excludes("d/a.tmp/b"));
        assert!(selection.leaves_out("d/a.tmp/b"));
    }

    #[test]
    fn a_pattern_with_a_slash_is_about_paths_from_the_root() {
        let selection = excluding("d/*.tmp");
        assert!(selection.excludes("d/a.tmp"));
        assert!(!selection.excludes("a.tmp") && !selection.excludes("e/d/a.tmp") && !selection.excludes("d/e/a.tmp"));
        assert!(excluding("/a").excludes("a") && !excluding("/a").excludes("d/a"));
        assert!(excluding("d/**").excludes("d/e/a"));
    }

    #[test]
    fn a_pattern_that_ends_in_a_slash_is_about_directories() {
        for pattern in ["build/", "/build/", "**/build/"] {
            assert!(excluding(pattern).excludes("build/"), "{pattern}");
            assert!(!excluding(pattern).excludes("build"), "{pattern}");
        }
        assert!(excluding("build/").excludes("d/build/") && !excluding("/build/").excludes("d/build/"));
    }

    #[test]
    fn include_patterns_choose_files_and_keep_directories() {
        let selection = Selection::all().with_include("*.rs").unwrap().with_exclude("target/").unwrap();
        assert!(!selection.excludes("src/") && !selection.excludes("src/lib.rs"));
        assert!(selection.excludes("src/lib.c") && selection.excludes("target/"));
        assert!(selection.leaves_out("target/a.rs"));
    }

    #[test]
    fn paths_within_others_are_no_paths_of_their_own() {
        let key = |key: &str| Key::parse(key).unwrap();
        let selection =
            Selection::all().with_path(key("b/c")).with_path(key("b/")).with_path(key("b-")).with_path(key("a"));
        assert_eq!(selection.paths(), ["a", "b", "b-"]);
        assert!(selection.holds("b/") && selection.holds("b/c/d") && selection.holds("a"));
        assert!(!selection.holds("b.") && !selection.holds("ab"));
    }

    #[test]
    fn a_hundred_thousand_paths_are_no_trouble() {
        let key = |at: u32| Key::parse(&format!("d{}/f{at}", at % 7)).unwrap();
        let selection = (0..100_000).fold(Selection::all(), |selection, at| selection.with_path(key(at)));
        assert_eq!(selection.paths().len(), 100_000);
        assert!((0..100_000).all(|at| selection.holds(key(at).as_str())) && !selection.holds("d1/f0"));
    }

    #[test]
    fn a_pattern_that_is_none_says_so() {
        let error = Selection::all().with_exclude("[a").unwrap_err();
        assert_eq!(error.to_string(), "invalid pattern \"[a\"");
    }
}
