//! Files of a [`SimTree`] that somebody has open: an export, or a user.

use super::{Settled, SimTree, found};
use crate::sim::disk::{Disk, Done};
use crate::sim::inodes::Ino;
use crate::sim::sys::{Stat, Sys, failed};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use posix_s3::tree::{Data, Found, OpenFile, Residence, TreeError, TreeErrorKind};
use posix_s3::{FileType, Key};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;

impl SimTree {
    pub(super) fn open_file(&self, key: &Key) -> Result<Arc<dyn OpenFile>, TreeError> {
        const ATTEMPT: &str = "opening";
        let path = key.as_str().as_bytes();
        let changed = || TreeError::new(ATTEMPT, path, TreeErrorKind::Changed);
        let error = |error| failed(ATTEMPT, path, error);
        let (parent, name) = self.parent(ATTEMPT, key)?;
        let ino = match self.sys.open_file(parent, name) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::LOOP) => {
                return Err(changed().with_source(error));
            }
            other => other.map_err(error)?,
        };
        if self.sys.look(ino).map_err(error)?.inode.file_type() != FileType::File {
            return Err(changed());
        }
        let held = Held::new(&self.sys, ino, false);
        let look = self.settled_look(ino).map_err(error)?;
        let found = found(key.path(), &look, None).ok_or_else(changed)?;
        let residence = self.residence(&look).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => TreeError::new(ATTEMPT, path, TreeErrorKind::Mark).with_source(error),
            _ => failed(ATTEMPT, path, error),
        })?;
        Ok(Arc::new(SimFile { held, found, residence }))
    }

    fn settled_look(&self, ino: Ino) -> io::Result<Stat> {
        const GRAIN: i128 = 1_000_000_000;
        let settled = self.run().settled;
        if let Settled::At(time) = settled {
            let look = self.sys.look(ino)?;
            if time.nanoseconds() - look.inode.meta.ctime.nanoseconds() > GRAIN {
                return Ok(look);
            }
        }
        if matches!(settled, Settled::AtFirst) {
            self.run().settled = Settled::Never;
            if self.run().trusts {
                let now = self.sys.disk().time;
                match self.sys.call(Disk::sync) {
                    Ok(()) => self.run().settled = Settled::At(now),
                    Err(_) => self.run().trusts = false,
                }
            }
        }
        let _ = self.sys.call(|disk| disk.fdatasync(ino));
        self.sys.look(ino)
    }
}

/// A file that somebody has open.
pub(crate) struct Held {
    sys: Sys,
    pub(crate) ino: Ino,
    writes: bool,
}

impl Held {
    pub(super) fn new(sys: &Sys, ino: Ino, writes: bool) -> Self {
        let mut disk = sys.disk();
        let (readers, writers) = disk.open.entry(ino).or_default();
        *if writes { writers } else { readers } += 1;
        Self { sys: sys.clone(), ino, writes }
    }

    /// Writes to it, whatever name it has by now.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Done {
        self.sys.disk().write(self.ino, offset, bytes)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut disk = self.sys.disk();
        let Some(users) = disk.open.get_mut(&self.ino) else { return };
        *if self.writes { &mut users.1 } else { &mut users.0 } -= 1;
        if *users == (0, 0) {
            disk.open.remove(&self.ino);
            disk.forget(self.ino);
        }
    }
}

struct SimFile {
    held: Held,
    found: Found,
    residence: Residence,
}

impl SimFile {
    fn answer<T: Send + 'static>(&self, answer: io::Result<T>) -> BoxFuture<'_, Result<T, TreeError>> {
        let has_stopped = self.held.sys.disk().stopped.is_some();
        let answer = answer.map_err(|error| failed("reading", self.found.entry.key().as_str().as_bytes(), error));
        Box::pin(async move {
            if has_stopped {
                std::future::pending::<()>().await;
            }
            answer
        })
    }
}

impl OpenFile for SimFile {
    fn found(&self) -> &Found {
        &self.found
    }

    fn residence(&self) -> &Residence {
        &self.residence
    }

    fn data(&self) -> BoxFuture<'_, Result<Data, TreeError>> {
        self.answer(self.held.sys.call(|disk| disk.has_data(self.held.ino)).map(data))
    }

    fn again(&self) -> BoxFuture<'_, Result<Found, TreeError>> {
        let look = self.held.sys.look(self.held.ino);
        self.answer(look.map(|look| found(self.found.entry.key().path(), &look, None).unwrap()))
    }

    fn read(&self, offset: u64, length: usize) -> BoxFuture<'_, Result<Bytes, TreeError>> {
        self.answer(self.held.sys.call(|disk| disk.read(self.held.ino, offset, length)).map(Bytes::from))
    }
}

pub(super) fn data(is_some: bool) -> Data {
    if is_some { Data::Some } else { Data::None }
}
