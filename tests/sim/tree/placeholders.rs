//! Placeholders of a [`SimTree`], and the marks by which they are known.

use super::open::data;
use super::{Replaced, SimTree, as_it_stands, set_attributes};
use crate::sim::exchange::{Exchange, Exchanged, users};
use crate::sim::inodes::{Ino, Inode, Kind, Meta, PAGE, ROOT};
use crate::sim::staging::Staged;
use crate::sim::sys::{Stat, failed};
use posix_s3::tree::{Applied, Residence, SourceError, Standing, TreeError, TreeErrorKind};
use posix_s3::{Attributes, Entry, EntryKind, FileType, Released, Status, TRUSTED_ATTRIBUTE, USER_ATTRIBUTE};
use rustix::io::Errno;
use std::io;

impl SimTree {
    /// Gives a staged file what was set on a placeholder.
    pub(super) fn keep_extras(&self, replaced: &Replaced, staged: Ino) -> io::Result<bool> {
        let Replaced::Placeholder { file: Some(file), .. } = replaced else { return Ok(false) };
        let meta = self.sys.look(*file)?.inode.meta.clone();
        let extras = extras(&meta);
        for name in &extras {
            self.sys.call(|disk| match meta.xattrs.get(name) {
                Some(value) => disk.set_xattr(staged, name, value),
                None => disk.set_access_list(staged, meta.permissions),
            })?;
        }
        Ok(!extras.is_empty())
    }

    fn hollow(
        &self,
        attempt: &'static str,
        entry: &Entry,
        released: &Released,
        replaced: &Replaced,
    ) -> Result<(Staged, Applied), TreeError> {
        let path = entry.key().as_str().as_bytes();
        let error = |error| failed(attempt, path, error);
        let unsupported = |why: io::Error| TreeError::new(attempt, path, TreeErrorKind::Unsupported).with_source(why);
        if *entry.kind() != (EntryKind::File { size: released.size }) {
            return Err(TreeError::new(attempt, path, TreeErrorKind::Conflict));
        }
        self.mark_root().map_err(unsupported)?;
        let (staged, file) = self.staging()?.file().map_err(error)?;
        self.sys.call(|disk| disk.truncate(file, released.size)).map_err(error)?;
        let Attributes { atime, mtime, .. } = *entry.attributes();
        self.sys.call(|disk| disk.set_times(file, atime, mtime)).map_err(error)?;
        let mtime = self.sys.look(file).map_err(error)?.inode.meta.mtime;
        self.mark(file, &Released { mtime, ..released.clone() }.encode()).map_err(unsupported)?;
        let mut applied = set_attributes(&self.sys, file, entry.attributes()).map_err(error)?;
        if self.keep_extras(replaced, file).map_err(error)? {
            applied = set_attributes(&self.sys, file, entry.attributes()).map_err(error)?;
        }
        self.sys.call(|disk| disk.has_data(file)).map_err(unsupported)?;
        self.sys.call(|disk| disk.fsync(file)).map_err(error)?;
        Ok((staged, applied))
    }

    pub(super) fn place(&self, entry: &Entry, released: &Released, standing: Standing) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "placing";
        let (parent, _) = self.parent_made(ATTEMPT, entry.key())?;
        let replaced = self.replaced(ATTEMPT, entry, parent, standing)?;
        let (staged, applied) = self.hollow(ATTEMPT, entry, released, &replaced)?;
        self.publish(ATTEMPT, entry.key(), staged, parent, standing, &replaced, applied)
    }

    pub(super) fn release(&self, entry: &Entry, released: &Released, found: &Status) -> Result<Applied, TreeError> {
        const ATTEMPT: &str = "releasing";
        let key = entry.key();
        let path = key.as_str().as_bytes();
        let error = |error| failed(ATTEMPT, path, error);
        let kind = |kind| TreeError::new(ATTEMPT, path, kind);
        if found.file_type != FileType::File || found.links > 1 {
            return Err(kind(TreeErrorKind::Conflict));
        }
        let (parent, before) = self.still(ATTEMPT, key, found)?;
        let file = self.sys.open_file(parent, key.name().as_bytes()).map_err(error)?;
        if let Some(extra) = extras(&self.sys.look(file).map_err(error)?.inode.meta).first() {
            let why = format!("it has the extended attribute \"{extra}\", which would be lost");
            return Err(kind(TreeErrorKind::Unsupported).with_source(why));
        }
        if users(&self.sys, Some(file)).0 {
            return Err(kind(TreeErrorKind::InUse));
        }
        let (staged, applied) = self.hollow(ATTEMPT, entry, released, &Replaced::Any)?;
        let mut exchanged = match Exchanged::begin(staged, parent, key, found).map_err(error)? {
            Exchange::Done(exchanged) => exchanged,
            Exchange::Changed => return Err(kind(TreeErrorKind::Changed)),
            Exchange::Unsupported(_, why) => return Err(kind(TreeErrorKind::Unsupported).with_source(why)),
        };
        self.run().unsynced = true;
        match exchanged.users() {
            Ok((true, _)) => return Err(undone(kind(TreeErrorKind::InUse), exchanged.undo())),
            Ok(_) if exchanged.holds(found) => exchanged.let_go(),
            Ok(_) => return Err(undone(kind(TreeErrorKind::Changed), exchanged.undo())),
            Err(why) => return Err(undone(error(why), exchanged.undo())),
        }
        let applied = Applied { around: exchanged.around, ..applied };
        let Some(made) = &exchanged.made else { return Ok(applied) };
        Ok(Applied { freed: disk_bytes(&before.inode), ..as_it_stands(applied, made) })
    }

    pub(super) fn is_marked(&self, ino: Ino) -> io::Result<bool> {
        let is_set = |name| Ok::<_, io::Error>(self.sys.call(|disk| disk.xattr(ino, name))?.is_some());
        Ok(is_set(TRUSTED_ATTRIBUTE)? || is_set(USER_ATTRIBUTE)?)
    }

    fn mark(&self, ino: Ino, value: &[u8]) -> io::Result<()> {
        self.sys.call(|disk| disk.set_xattr(ino, TRUSTED_ATTRIBUTE, value))?;
        match self.sys.call(|disk| disk.set_xattr(ino, USER_ATTRIBUTE, value)) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::PERM) => Err(error),
            _ => Ok(()),
        }
    }

    fn mark_root(&self) -> io::Result<()> {
        if self.run().marked_root {
            return Ok(());
        }
        if !self.is_marked(ROOT)? {
            self.mark(ROOT, b"placeholders")?;
        }
        self.sys.call(|disk| disk.fsync(ROOT))?;
        self.run().marked_root = true;
        Ok(())
    }

    pub(super) fn residence(&self, stat: &Stat) -> io::Result<Residence> {
        const LONGEST: usize = 4096;
        let invalid = |why: SourceError| io::Error::new(io::ErrorKind::InvalidData, why);
        let Some(value) = self.sys.call(|disk| disk.xattr(stat.ino, TRUSTED_ATTRIBUTE))? else {
            let by_user = self.sys.call(|disk| disk.xattr(stat.ino, USER_ATTRIBUTE))?.is_some();
            return if by_user { Err(invalid("it was marked by a user".into())) } else { Ok(Residence::Here) };
        };
        if value.len() > LONGEST {
            return Err(invalid("it is too long".into()));
        }
        let released = Released::decode(&value).map_err(|error| invalid(error.into()))?;
        let status = stat.status().ok_or_else(|| invalid("it is no file".into()))?;
        let data = data(self.sys.call(|disk| disk.has_data(stat.ino))?);
        Ok(Residence::of(released, &status, data))
    }
}

/// What a new inode would not have.
fn extras(meta: &Meta) -> Vec<String> {
    let ours = [TRUSTED_ATTRIBUTE, USER_ATTRIBUTE];
    let xattrs = meta.xattrs.keys().filter(|name| !ours.contains(&name.as_str())).cloned();
    xattrs.chain(meta.access_list.then(|| "system.posix_acl_access".to_owned())).collect()
}

fn disk_bytes(inode: &Inode) -> u64 {
    match &inode.kind {
        Kind::File(content) => content.pages.len() as u64 * PAGE as u64,
        _ => 0,
    }
}

pub(super) fn undone(error: TreeError, undone: io::Result<Option<String>>) -> TreeError {
    match undone {
        Ok(None) => error,
        Ok(Some(beside)) => error.with_source(format!("what it was is in \"{beside}\"")),
        Err(why) => error.with_source(format!("what it was is in the staging directory: {why}")),
    }
}
