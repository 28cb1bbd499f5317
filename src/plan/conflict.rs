//! [`OnConflict`]: what happens to what has changed on both sides.

/// What happens to a key that has changed on both sides since they last agreed, or that both sides made.
///
/// Where both sides hold the same by now there is no conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnConflict {
    /// Both sides keep what they have, and the report names the conflict.
    #[default]
    Fail,
    /// The tree wins: an export overwrites the object, an import leaves the file alone.
    Local,
    /// The bucket wins, as in FSx: an export leaves the object alone, an import replaces the file.
    Store,
    /// The side with the later mtime wins, of an object its `file-mtime`, else its Last-Modified; the tree when they are
    /// equal. What is there wins over what is gone.
    Newest,
    /// The file gets another name, `NAME.local-MTIME`, beside the object's, which takes the old one; of a directory, only
    /// the attributes are in conflict, and the tree's are kept. An export leaves both alone and names the conflict: it is
    /// for an import to solve.
    KeepBoth,
}
