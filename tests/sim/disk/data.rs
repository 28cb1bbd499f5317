//! What files hold, and what of everything is brought to the disk.

use super::{Call, Disk, Done};
use crate::sim::crash::{self, Effect, close};
use crate::sim::inodes::{Content, Ino, Kind, PAGE};
use rustix::io::Errno;
use std::sync::Arc;

impl Disk {
    fn content(&mut self, ino: Ino) -> Done<&mut Content> {
        match &mut self.inode_mut(ino).kind {
            Kind::File(content) => Ok(content),
            Kind::Directory(_) => Err(Errno::ISDIR),
            _ => Err(Errno::NXIO),
        }
    }

    /// Writes bytes. Measured: root's writes leave set-id bits as they are.
    pub(crate) fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> Done {
        self.step(Call::Grow)?;
        let content = self.content(ino)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset + bytes.len() as u64;
        let mut changed = Vec::new();
        for at in offset / PAGE as u64..end.div_ceil(PAGE as u64) {
            let start = at * PAGE as u64;
            let (from, to) = (offset.max(start), end.min(start + PAGE as u64));
            let mut page = content.pages.get(&at).map(|page| page.to_vec()).unwrap_or_default();
            page.resize(page.len().max((to - start) as usize), 0);
            page[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&bytes[(from - offset) as usize..(to - offset) as usize]);
            let page: Arc<[u8]> = page.into();
            content.pages.insert(at, Arc::clone(&page));
            changed.push((at, page));
        }
        let grown = end > content.size;
        content.size = content.size.max(end);
        self.pending.extend(changed.into_iter().map(|(at, page)| Effect::Page(ino, at, page)));
        if grown {
            self.pending.push(Effect::Size(ino, end));
        }
        let time = self.next_time();
        self.set_meta(ino, |meta| meta.mtime = time);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, ino: Ino, size: u64) -> Done {
        self.step(Call::Grow)?;
        self.content(ino)?.set_size(size);
        self.pending.push(Effect::Size(ino, size));
        let time = self.next_time();
        self.set_meta(ino, |meta| meta.mtime = time);
        Ok(())
    }

    /// Brings an inode to the disk, and of a directory the names in it.
    pub(crate) fn fsync(&mut self, ino: Ino) -> Done {
        self.bring(|effect| match effect {
            Effect::Page(of, ..) | Effect::Size(of, _) => *of == ino,
            Effect::Metadata(change) => {
                change.metas.iter().any(|(of, _)| *of == ino)
                    || change.names.iter().any(|name| name.directory == ino)
                    || change.born.as_ref().is_some_and(|(born, _)| *born == ino)
            }
        })
    }

    /// Brings the content of a file to the disk.
    pub(crate) fn fdatasync(&mut self, ino: Ino) -> Done {
        self.bring(|effect| match effect {
            Effect::Page(of, ..) | Effect::Size(of, _) => *of == ino,
            Effect::Metadata(change) => change.born.as_ref().is_some_and(|(born, _)| *born == ino),
        })
    }

    /// Brings everything to the disk.
    pub(crate) fn sync(&mut self) -> Done {
        self.bring(|_| true)
    }

    fn bring(&mut self, is_meant: impl Fn(&Effect) -> bool) -> Done {
        let mut marked: Vec<bool> = self.pending.iter().map(is_meant).collect();
        if let Err(errno) = self.step(Call::Sync) {
            if self.options.drops_pages {
                // The pages are as good as written from here on, and are not.
                let mut marked = marked.into_iter();
                self.pending.retain(|effect| !(marked.next().unwrap() && matches!(effect, Effect::Page(..))));
            }
            return Err(errno);
        }
        if self.options.has_journal && marked.contains(&true) {
            let metadata = self.pending.iter().map(|effect| matches!(effect, Effect::Metadata(_)));
            marked.iter_mut().zip(metadata).for_each(|(marked, metadata)| *marked |= metadata);
        }
        close(&self.pending, &mut marked);
        let pending = std::mem::take(&mut self.pending);
        for (effect, marked) in pending.into_iter().zip(marked) {
            if marked {
                crash::apply(&mut self.durable, effect);
            } else {
                self.pending.push(effect);
            }
        }
        if self.pending.is_empty() {
            // What has no name any more.
            let inodes = &self.inodes;
            self.durable.retain(|ino, _| inodes.contains_key(ino));
        }
        Ok(())
    }
}
