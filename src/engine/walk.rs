//! [`walk`]: everything in a tree, in key order.

use super::scan::{Directories, Scan, ScanError, Sight};
use super::selection::Selection;
use crate::entry::{Entry, EntryKind};
use crate::key::Key;
use crate::mode::FileType;
use crate::status::Status;
use crate::tree::{Fingerprint, Found, Present, SkipReason, Tree, TreeError, TreeErrorKind, Walked};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::sync::LazyLock;

/// Walks everything below the root in key order.
///
/// - Each name ends in exactly one [`Walked`]. The root itself is not an entry.
/// - What cannot be read is said to be so, and the walk goes on.
/// - Memory grows with the depth and the widest directory, not with the number of entries.
///
/// ```
/// use futures_util::StreamExt;
/// use posix_s3::{engine, tree::MemoryTree};
///
/// let tree = MemoryTree::new();
/// assert!(futures_executor::block_on(engine::walk(&tree).next()).is_none());
/// ```
pub fn walk<T: Tree>(tree: &T) -> BoxStream<'_, Walked> {
    static ALL: LazyLock<Selection> = LazyLock::new(Selection::all);
    // It is a scan beside no record, in which everything is new.
    let sights = Scan::new(tree, None, &ALL, Directories::Read, 1).sights();
    sights.filter_map(move |sight| walked(tree, sight)).boxed()
}

async fn walked<T: Tree>(tree: &T, sight: Result<Sight, ScanError>) -> Option<Walked> {
    Some(match sight {
        Ok(Sight::Present { key, status, .. }) => match found(tree, &key, &status).await {
            Ok(Some(found)) => Walked::Found(found),
            Ok(None) => Walked::Skipped { path: key.as_str().as_bytes().into(), reason: SkipReason::Vanished },
            Err(error) => Walked::Failed { path: key.as_str().as_bytes().into(), error },
        },
        Ok(Sight::Skipped { path, reason, .. }) => Walked::Skipped { path, reason },
        Ok(Sight::Failed { path, error, .. }) => Walked::Failed { path, error },
        Err(ScanError::Root(error)) => Walked::Failed { path: Box::default(), error },
        // Nothing is recorded, so nothing is unchanged or gone, and no record fails.
        Ok(Sight::Unchanged(_) | Sight::Gone(_)) | Err(ScanError::State(_)) => return None,
    })
}

/// What was looked at, as an entry; a link's target is read for it.
async fn found<T: Tree>(tree: &T, key: &Key, status: &Status) -> Result<Option<Found>, TreeError> {
    let changed = || TreeError::new("walking", key.as_str().as_bytes(), TreeErrorKind::Changed);
    let kind = match status.file_type {
        FileType::File => EntryKind::File { size: status.size },
        FileType::Directory => EntryKind::Directory,
        _ => {
            return match tree.lookup(key).await? {
                Present::Entry(found) => Ok(Some(found).filter(|found| !found.entry.key().is_directory())),
                Present::Nothing => Ok(None),
                Present::Other => Err(changed()),
            };
        }
    };
    let Status { attributes, inode, ctime, links, .. } = *status;
    let entry = Entry::new(key.clone(), kind, attributes).map_err(|error| changed().with_source(error))?;
    Ok(Some(Found { entry, fingerprint: Fingerprint { inode, ctime, links } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Attributes;
    use crate::mode::Permissions;
    use crate::owner::{Gid, Uid};
    use crate::timestamp::Timestamp;
    use crate::tree::MemoryTree;
    use futures_executor::block_on;

    #[test]
    fn a_file_or_directory_is_told_as_it_was_looked_at_and_only_a_link_is_looked_at_again() {
        let attributes = Attributes {
            permissions: Permissions::from_mode(0o640),
            uid: Uid::new(1).unwrap(),
            gid: Gid::new(2).unwrap(),
            atime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
        };
        let status =
            |file_type, size| Status { file_type, size, attributes, inode: 3, ctime: Timestamp::EPOCH, links: 1 };
        // By now there is nothing any more.
        let tree = MemoryTree::new();
        let found = |key: &str, status| block_on(super::found(&tree, &key.parse().unwrap(), &status)).unwrap();
        for (key, status, kind) in [
            ("f", status(FileType::File, 7), EntryKind::File { size: 7 }),
            ("d/", status(FileType::Directory, 0), EntryKind::Directory),
        ] {
            let found = found(key, status).unwrap();
            assert_eq!((found.entry.kind(), found.status()), (&kind, status));
        }
        assert!(found("l", status(FileType::Symlink, 1)).is_none());
    }
}
