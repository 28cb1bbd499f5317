//! Owner, permissions, times and extended attributes of an inode.

use super::{Call, Disk, Done};
use crate::sim::crash::{Change, Effect};
use crate::sim::inodes::{Ino, Kind, Meta};
use posix_s3::Timestamp;
use rustix::io::Errno;
use std::sync::Arc;

impl Disk {
    pub(super) fn set_meta(&mut self, ino: Ino, set: impl FnOnce(&mut Meta)) {
        let time = self.tick();
        set(&mut self.inode_mut(ino).meta);
        let meta = self.stamp(ino, time);
        self.pending.push(Effect::Metadata(Change { metas: vec![meta], ..Change::default() }));
    }

    pub(crate) fn chmod(&mut self, ino: Ino, permissions: u32) -> Done {
        self.step(Call::Change)?;
        self.set_meta(ino, |meta| meta.permissions = permissions & 0o7777);
        Ok(())
    }

    /// Measured: of a file root's chown clears set-user-ID, and set-group-ID where the group may execute, also with the same
    /// ids or none; of a directory nothing.
    pub(crate) fn chown(&mut self, ino: Ino, uid: Option<u32>, gid: Option<u32>) -> Done {
        self.step(Call::Change)?;
        let is_directory = self.inode(ino).is_directory();
        self.set_meta(ino, |meta| {
            (meta.uid, meta.gid) = (uid.unwrap_or(meta.uid), gid.unwrap_or(meta.gid));
            if !is_directory {
                meta.permissions &= !0o4000;
                if meta.permissions & 0o2010 == 0o2010 {
                    meta.permissions &= !0o2000;
                }
            }
        });
        Ok(())
    }

    pub(crate) fn set_times(&mut self, ino: Ino, atime: Timestamp, mtime: Timestamp) -> Done {
        self.step(Call::Change)?;
        let (atime, mtime) = (self.kept(atime), self.kept(mtime));
        self.set_meta(ino, |meta| (meta.atime, meta.mtime) = (atime, mtime));
        Ok(())
    }

    /// A time as the file system keeps it. Measured: at both ends there are no nanoseconds.
    fn kept(&self, time: Timestamp) -> Timestamp {
        let (first, last) = self.options.seconds;
        let seconds = time.seconds().clamp(first, last);
        let nanos = if seconds == first || seconds == last { 0 } else { time.subsecond_nanos() };
        Timestamp::from_unix(seconds, nanos).unwrap()
    }

    pub(crate) fn set_xattr(&mut self, ino: Ino, name: &str, value: &[u8]) -> Done {
        self.step(Call::Grow)?;
        if name.starts_with("user.") && matches!(self.inode(ino).kind, Kind::Fifo | Kind::Symlink(_)) {
            return Err(Errno::PERM);
        }
        self.set_meta(ino, |meta| drop(Arc::make_mut(&mut meta.xattrs).insert(name.to_owned(), value.to_vec())));
        Ok(())
    }

    /// Sets or removes a directory's default list.
    pub(crate) fn set_default_list(&mut self, ino: Ino, on: bool) -> Done {
        self.step(Call::Grow)?;
        if self.inode(ino).meta.default_list || on {
            self.set_meta(ino, |meta| meta.default_list = on);
        }
        Ok(())
    }

    /// Gives a file an access-control list, which says this for owner, group and others.
    pub(crate) fn set_access_list(&mut self, ino: Ino, permissions: u32) -> Done {
        self.step(Call::Grow)?;
        self.set_meta(ino, |meta| {
            meta.access_list = true;
            meta.permissions = meta.permissions & !0o777 | permissions & 0o777;
        });
        Ok(())
    }

    /// Removes both lists.
    pub(crate) fn remove_lists(&mut self, ino: Ino) -> Done {
        self.step(Call::Change)?;
        let meta = &self.inode(ino).meta;
        if meta.access_list || meta.default_list {
            self.set_meta(ino, |meta| (meta.access_list, meta.default_list) = (false, false));
        }
        Ok(())
    }
}
