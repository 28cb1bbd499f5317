//! A disk for the state of a link: what is written is not on it yet, and what is removed may come back.

use posix_s3::engine::Part;

pub(crate) const PARTS: [Part; 5] = [Part::Snapshot, Part::Previous, Part::Next, Part::Journal, Part::Link];

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    /// How many of them are on the disk.
    synced: usize,
    /// What it is to be called when some are.
    unnamed: Option<Part>,
}

type Names = [Option<usize>; 5];

/// Files, their names, and how much of either is on the disk.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    files: Vec<File>,
    names: Names,
    synced_names: Names,
}

/// The parts that a crash has left.
pub(crate) type Left = [Option<Vec<u8>>; 5];

fn at(part: Part) -> usize {
    PARTS.iter().position(|one| *one == part).unwrap()
}

impl Disk {
    pub(crate) fn of(left: &Left) -> Self {
        let mut disk = Self::default();
        for (at, bytes) in left.iter().enumerate() {
            if let Some(bytes) = bytes {
                disk.names[at] = Some(disk.files.len());
                disk.files.push(File { bytes: bytes.clone(), synced: bytes.len(), unnamed: None });
            }
        }
        disk.synced_names = disk.names;
        disk
    }

    pub(crate) fn bytes(&self, part: Part) -> Option<&[u8]> {
        Some(&self.files[self.names[at(part)]?].bytes)
    }

    pub(crate) fn create(&mut self, part: Part) -> usize {
        self.files.push(File { unnamed: Some(part), ..File::default() });
        self.files.len() - 1
    }

    pub(crate) fn write(&mut self, file: usize, piece: &[u8]) {
        self.files[file].bytes.extend_from_slice(piece);
    }

    pub(crate) fn sync(&mut self, file: usize) {
        self.files[file].synced = self.files[file].bytes.len();
        if let Some(part) = self.files[file].unnamed.take() {
            self.names[at(part)] = Some(file);
        }
        self.synced_names = self.names;
    }

    pub(crate) fn remove(&mut self, part: Part) {
        self.names[at(part)] = None;
    }

    /// Whether there was something to publish.
    pub(crate) fn publish(&mut self) -> bool {
        let next = self.names[at(Part::Next)].take();
        if next.is_some() {
            self.names[at(Part::Previous)] = self.names[at(Part::Snapshot)];
            self.names[at(Part::Snapshot)] = next;
            self.synced_names = self.names;
        }
        next.is_some()
    }

    /// All that was written: what a killed process leaves.
    pub(crate) fn written(&self) -> Left {
        self.names.map(|file| file.map(|file| self.files[file].bytes.clone()))
    }

    /// What was brought to the disk and no more: what a power cut leaves at the least.
    pub(crate) fn synced(&self) -> Left {
        self.synced_names.map(|file| file.map(|file| self.files[file].bytes[..self.files[file].synced].to_vec()))
    }

    /// How many bytes of the journal are written and not on the disk: a tail that can be torn at any of them.
    pub(crate) fn tail(&self) -> usize {
        self.names[at(Part::Journal)].map_or(0, |file| self.files[file].bytes.len() - self.files[file].synced)
    }

    /// All that was written but for so many bytes at the end of the journal.
    pub(crate) fn torn(&self, missing: usize) -> Left {
        let mut left = self.written();
        if let Some(journal) = &mut left[at(Part::Journal)] {
            journal.truncate(journal.len().saturating_sub(missing));
        }
        left
    }
}
