//! [`Inode`]: what a file system keeps of a file, directory or link.

use posix_s3::tree::Fingerprint;
use posix_s3::{Attributes, FileType, Gid, Permissions, Status, Timestamp, Uid};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The number of an inode.
pub(crate) type Ino = u64;

/// The root's, as on ext4.
pub(crate) const ROOT: Ino = 2;

/// Of a page, in bytes.
pub(crate) const PAGE: usize = 4096;

/// Every inode by its number. One that is not written to is shared between copies.
pub(crate) type Inodes = BTreeMap<Ino, Arc<Inode>>;

/// The names in a directory by what they are compared by, each as it is spelled.
pub(crate) type Names = BTreeMap<Arc<[u8]>, (Arc<[u8]>, Ino)>;

#[derive(Clone, Debug)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    pub(crate) meta: Meta,
    /// Of a directory, two and one for each directory in it.
    pub(crate) links: u64,
    /// The directory around a directory.
    pub(crate) around: Ino,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    File(Content),
    Directory(Names),
    Symlink(Arc<[u8]>),
    Fifo,
}

/// What is not content.
#[derive(Clone, Debug)]
pub(crate) struct Meta {
    pub(crate) permissions: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) atime: Timestamp,
    pub(crate) mtime: Timestamp,
    pub(crate) ctime: Timestamp,
    /// It has an access-control list.
    pub(crate) access_list: bool,
    /// What is made in it gets one.
    pub(crate) default_list: bool,
    pub(crate) xattrs: Arc<BTreeMap<String, Vec<u8>>>,
}

/// The bytes of a file. What has no page is a hole; what a page does not have is zeros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) pages: BTreeMap<u64, Arc<[u8]>>,
}

impl Content {
    /// Reads as many bytes as there are, at most so many.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = offset.saturating_add(length as u64).min(self.size);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        for (&at, page) in self.pages.range(offset / PAGE as u64..) {
            let start = at * PAGE as u64;
            if start >= end {
                break;
            }
            let (from, to) = (start.max(offset), (start + page.len() as u64).min(end));
            if from < to {
                let place = |at: u64, since: u64| (at - since) as usize;
                bytes[place(from, offset)..place(to, offset)]
                    .copy_from_slice(&page[place(from, start)..place(to, start)]);
            }
        }
        bytes
    }

    /// Gives it another length. What is cut off is gone.
    pub(crate) fn set_size(&mut self, size: u64) {
        if size < self.size {
            self.cut(size);
        }
        self.size = size;
    }

    /// Drops what is behind a length.
    pub(crate) fn cut(&mut self, size: u64) {
        let (last, rest) = (size / PAGE as u64, (size % PAGE as u64) as usize);
        self.pages.split_off(&(last + u64::from(rest > 0)));
        if let Some(page) = self.pages.get_mut(&last).filter(|page| page.len() > rest) {
            *page = page[..rest].into();
        }
    }
}

impl Inode {
    pub(crate) fn file_type(&self) -> FileType {
        match self.kind {
            Kind::File(_) => FileType::File,
            Kind::Directory(_) => FileType::Directory,
            Kind::Symlink(_) => FileType::Symlink,
            Kind::Fifo => FileType::Fifo,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.size,
            Kind::Symlink(target) => target.len() as u64,
            Kind::Directory(_) | Kind::Fifo => 0,
        }
    }

    pub(crate) fn attributes(&self) -> Attributes {
        Attributes {
            permissions: Permissions::from_mode(self.meta.permissions),
            uid: Uid::new(self.meta.uid).unwrap(),
            gid: Gid::new(self.meta.gid).unwrap(),
            atime: self.meta.atime,
            mtime: self.meta.mtime,
        }
    }

    pub(crate) fn fingerprint(&self, inode: Ino) -> Fingerprint {
        Fingerprint { inode, ctime: self.meta.ctime, links: self.links }
    }

    /// What a look tells; `None` of what has no object.
    pub(crate) fn status(&self, inode: Ino) -> Option<Status> {
        (self.file_type() != FileType::Fifo).then(|| Status {
            file_type: self.file_type(),
            size: self.size(),
            attributes: self.attributes(),
            inode,
            ctime: self.meta.ctime,
            links: self.links,
        })
    }
}
