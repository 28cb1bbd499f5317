//! [`SimState`]: the files of a state, of which a power loss leaves what was brought to the disk, and perhaps more.

use super::chance::Chance;
use super::schedule::Schedule;
use posix_s3::engine::{Part, StateRead, StateStore, StateWrite, Syncer};
use std::collections::HashMap;
use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex, MutexGuard};

/// The disk on which a state is.
pub(crate) struct Disk {
    inner: Mutex<Inner>,
}

struct Inner {
    /// What a process sees.
    names: HashMap<Part, Arc<Mutex<File>>>,
    /// What is left of the names after a power loss.
    durable: HashMap<Part, Arc<Mutex<File>>>,
    /// Names that were removed and may come back.
    removed: Vec<(Part, Arc<Mutex<File>>)>,
    chance: Chance,
    /// In percent of the calls.
    failing: usize,
    is_calm: bool,
    faults: u64,
}

#[derive(Default)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
}

impl Disk {
    pub(crate) fn new(failing: usize, chance: Chance) -> Self {
        let (names, durable, removed) = (HashMap::new(), HashMap::new(), Vec::new());
        let inner = Inner { names, durable, removed, chance, failing, is_calm: false, faults: 0 };
        Self { inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(crate) fn calm_down(&self) {
        self.inner().is_calm = true;
    }

    pub(crate) fn faults(&self) -> u64 {
        self.inner().faults
    }

    pub(crate) fn bytes(&self, part: Part) -> Option<Vec<u8>> {
        self.inner().names.get(&part).map(|file| file.lock().unwrap().bytes.clone())
    }

    /// The power fails. Of each file what was synced is left, and chance has it how much more, perhaps with rubbish behind it.
    pub(crate) fn lose_power(&self) {
        let inner = &mut *self.inner();
        let mut left = HashMap::new();
        for (part, file) in inner.removed.drain(..) {
            // The removal of a name need not have come to the disk.
            if inner.chance.percent(50) {
                inner.durable.entry(part).or_insert(file);
            }
        }
        let mut parts: Vec<(Part, Arc<Mutex<File>>)> = inner.durable.drain().collect();
        parts.sort_by_key(|(part, _)| format!("{part:?}"));
        for (part, file) in parts {
            let file = file.lock().unwrap();
            let more = inner.chance.below(file.bytes.len() - file.synced + 1);
            let mut bytes = file.bytes[..file.synced + more].to_vec();
            if inner.chance.percent(30) && bytes.len() < file.bytes.len() {
                bytes.resize(file.bytes.len(), *inner.chance.pick(&[0, 0xff]));
            }
            let synced = bytes.len();
            left.insert(part, Arc::new(Mutex::new(File { bytes, synced })));
        }
        inner.durable = left.clone();
        inner.names = left;
    }
}

impl Inner {
    fn call(&mut self) -> io::Result<()> {
        if !self.is_calm && self.failing > 0 && self.chance.below(1000) < self.failing {
            self.faults += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// A state on a disk.
pub(crate) struct SimState {
    pub(crate) disk: Arc<Disk>,
    pub(crate) schedule: Arc<Schedule>,
}

impl StateStore for SimState {
    fn open(&self, part: Part) -> io::Result<Option<Box<dyn StateRead>>> {
        self.disk.inner().call()?;
        Ok(self.disk.bytes(part).map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn StateRead>))
    }

    fn create(&self, part: Part) -> io::Result<Box<dyn StateWrite>> {
        let mut inner = self.disk.inner();
        inner.call()?;
        let file = Arc::default();
        // The new name may come to the disk before anything that is in it.
        if part == Part::Next || inner.chance.percent(30) {
            inner.names.insert(part, Arc::clone(&file));
        }
        let (disk, schedule) = (Arc::clone(&self.disk), Arc::clone(&self.schedule));
        Ok(Box::new(SimWrite { disk, schedule, part, file }))
    }

    fn remove(&self, part: Part) -> io::Result<()> {
        let mut inner = self.disk.inner();
        inner.call()?;
        inner.names.remove(&part);
        if let Some(file) = inner.durable.remove(&part) {
            inner.removed.retain(|(other, _)| *other != part);
            inner.removed.push((part, file));
        }
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        let inner = &mut *self.disk.inner();
        inner.call()?;
        let next = inner.names.remove(&Part::Next).ok_or(io::ErrorKind::NotFound)?;
        inner.durable.remove(&Part::Next);
        for names in [&mut inner.names, &mut inner.durable] {
            if let Some(snapshot) = names.insert(Part::Snapshot, Arc::clone(&next)) {
                names.insert(Part::Previous, snapshot);
            }
        }
        Ok(())
    }
}

struct SimWrite {
    disk: Arc<Disk>,
    schedule: Arc<Schedule>,
    part: Part,
    file: Arc<Mutex<File>>,
}

impl Write for SimWrite {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let called = self.disk.inner().call();
        let piece = if called.is_ok() { piece } else { &piece[..piece.len() / 2] };
        self.file.lock().unwrap().bytes.extend_from_slice(piece);
        called.map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StateWrite for SimWrite {
    fn syncer(&self) -> Syncer {
        let (disk, schedule, part, file) =
            (Arc::clone(&self.disk), Arc::clone(&self.schedule), self.part, Arc::clone(&self.file));
        Arc::new(move || {
            let (disk, schedule, file) = (Arc::clone(&disk), Arc::clone(&schedule), Arc::clone(&file));
            Box::pin(async move {
                let written = file.lock().unwrap().bytes.len();
                schedule.turn().await;
                {
                    let mut inner = disk.inner();
                    inner.call()?;
                    let synced = &mut file.lock().unwrap().synced;
                    *synced = written.max(*synced);
                    inner.names.insert(part, Arc::clone(&file));
                    inner.durable.insert(part, Arc::clone(&file));
                    inner.removed.retain(|(other, _)| *other != part);
                }
                schedule.turn().await;
                Ok(())
            })
        })
    }
}
