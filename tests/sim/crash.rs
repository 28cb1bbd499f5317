//! What was done and may not be on the disk yet, and what a crash leaves of it.
//!
//! An [`Effect`] is there whole or not at all: a rename, a change of attributes, a page. What was done to one name or one
//! inode is not reordered, nor does a name come without what was done to its inode before; ext4, XFS and Btrfs keep more
//! order than that. Pages and sizes come independently of all that, unless the file was synced.

use super::inodes::{Content, Ino, Inode, Inodes, Kind, Meta, PAGE, ROOT};
use posix_s3::Timestamp;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// How much of what is pending survives a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survives {
    Nothing,
    Everything,
    /// So many of them, from the first on.
    Prefix(usize),
    /// All but this one, and what cannot be without it.
    AllBut(usize),
    /// Some, by a seed; of pages also parts.
    Some(u64),
}

/// What survives a crash of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    /// Of names and attributes.
    pub(crate) metadata: Survives,
    /// Of pages and sizes of files.
    pub(crate) data: Survives,
}

impl Crash {
    /// Only this process ends; the machine goes on.
    pub(crate) const PROCESS: Self = Self { metadata: Survives::Everything, data: Survives::Everything };
    /// What was not synced is gone.
    pub(crate) const NOTHING: Self = Self { metadata: Survives::Nothing, data: Survives::Nothing };
}

#[derive(Clone, Debug)]
pub(crate) enum Effect {
    Metadata(Change),
    Page(Ino, u64, Arc<[u8]>),
    Size(Ino, u64),
}

/// A change of names and attributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// What names stand for from then on.
    pub(crate) names: Vec<NameChange>,
    /// A new inode.
    pub(crate) born: Option<(Ino, Arc<Inode>)>,
    /// What else it is about.
    pub(crate) inodes: Vec<Ino>,
    /// Attributes from then on.
    pub(crate) metas: Vec<(Ino, Meta)>,
    /// A directory that was removed.
    pub(crate) removed: Option<Ino>,
}

#[derive(Clone, Debug)]
pub(crate) struct NameChange {
    pub(crate) directory: Ino,
    pub(crate) key: Arc<[u8]>,
    /// How it is spelled, and what it stands for.
    pub(crate) entry: Option<(Arc<[u8]>, Ino)>,
    /// When.
    pub(crate) time: Timestamp,
}

impl Change {
    fn touches(&self) -> impl Iterator<Item = Ino> {
        let named = self.names.iter().filter_map(|name| name.entry.as_ref().map(|(_, ino)| *ino));
        self.inodes.iter().copied().chain(named).chain(self.metas.iter().map(|(ino, _)| *ino))
    }
}

/// Marks what the effects that are marked cannot be without.
pub(crate) fn close(pending: &[Effect], marked: &mut [bool]) {
    let (mut names, mut inodes) = (HashSet::new(), HashSet::new());
    // All names in them, and how they themselves got theirs.
    let (mut within, mut named) = (HashSet::new(), HashSet::new());
    for (effect, marked) in pending.iter().zip(marked).rev() {
        let Effect::Metadata(change) = effect else { continue };
        *marked = *marked
            || change.touches().any(|ino| inodes.contains(&ino))
            || change.names.iter().any(|name| {
                names.contains(&(name.directory, name.key.clone()))
                    || within.contains(&name.directory)
                    || name.entry.as_ref().is_some_and(|(_, ino)| named.contains(ino))
            });
        if *marked {
            inodes.extend(change.touches());
            within.extend(change.removed.into_iter().chain(change.metas.iter().map(|(ino, _)| *ino)));
            for name in &change.names {
                names.insert((name.directory, name.key.clone()));
                named.insert(name.directory);
            }
        }
    }
}

/// Brings an effect to the disk.
pub(crate) fn apply(inodes: &mut Inodes, effect: Effect) {
    match effect {
        Effect::Metadata(change) => {
            if let Some((ino, inode)) = change.born {
                inodes.insert(ino, inode);
            }
            for NameChange { directory, key, entry, time } in change.names {
                let Some(inode) = inodes.get_mut(&directory).map(Arc::make_mut) else { continue };
                if let Kind::Directory(names) = &mut inode.kind {
                    match entry {
                        Some(entry) => names.insert(key, entry),
                        None => names.remove(&key),
                    };
                }
                (inode.meta.mtime, inode.meta.ctime) = (time, time);
            }
            for (ino, meta) in change.metas {
                if let Some(inode) = inodes.get_mut(&ino) {
                    Arc::make_mut(inode).meta = meta;
                }
            }
        }
        Effect::Page(ino, at, page) => {
            if let Some(content) = content(inodes, ino) {
                content.pages.insert(at, page);
            }
        }
        Effect::Size(ino, size) => {
            if let Some(content) = content(inodes, ino) {
                // A page may be there before the size that makes it seen.
                if size < content.size {
                    content.cut(size);
                }
                content.size = size;
            }
        }
    }
}

fn content(inodes: &mut Inodes, ino: Ino) -> Option<&mut Content> {
    match &mut Arc::make_mut(inodes.get_mut(&ino)?).kind {
        Kind::File(content) => Some(content),
        _ => None,
    }
}

/// What is there after a crash.
pub(crate) fn survivors(durable: &Inodes, pending: &[Effect], crash: Crash) -> Inodes {
    let mut inodes = durable.clone();
    let mut marked = vec![false; pending.len()];
    let is_metadata = |effect: &Effect| matches!(effect, Effect::Metadata(_));
    let mut torn = None;
    for (survives, metadata) in [(crash.metadata, true), (crash.data, false)] {
        let places = (0..pending.len()).filter(|&place| is_metadata(&pending[place]) == metadata);
        match survives {
            Survives::Nothing => {}
            Survives::Everything => places.for_each(|place| marked[place] = true),
            Survives::Prefix(many) => places.take(many).for_each(|place| marked[place] = true),
            Survives::AllBut(one) => {
                let places: Vec<usize> = places.collect();
                let Some(&lost) = places.get(one % places.len().max(1)) else { continue };
                places.iter().for_each(|&place| marked[place] = place != lost);
                if metadata {
                    without(pending, &mut marked, lost);
                }
            }
            Survives::Some(seed) => {
                let mut random = Random(seed);
                places.for_each(|place| marked[place] = random.below(2) == 0);
                if metadata {
                    close(pending, &mut marked);
                } else {
                    torn = Some(random);
                }
            }
        }
    }
    for (effect, _) in pending.iter().zip(&marked).filter(|(_, marked)| **marked) {
        let mut effect = effect.clone();
        if let (Effect::Page(ino, at, page), Some(random)) = (&mut effect, &mut torn)
            && random.below(4) == 0
        {
            *page = tear(&inodes, *ino, *at, page, random);
        }
        apply(&mut inodes, effect);
    }
    settle(inodes)
}

/// Unmarks what cannot be without an effect that is lost.
fn without(pending: &[Effect], marked: &mut [bool], lost: usize) {
    for place in lost..pending.len() {
        if !marked[place] || !matches!(pending[place], Effect::Metadata(_)) {
            continue;
        }
        let mut needed = vec![false; place + 1];
        needed[place] = true;
        close(&pending[..=place], &mut needed);
        marked[place] = !needed[lost];
    }
}

/// A page of which some sectors are old.
fn tear(inodes: &Inodes, ino: Ino, at: u64, page: &Arc<[u8]>, random: &mut Random) -> Arc<[u8]> {
    const SECTOR: usize = 512;
    let old = match inodes.get(&ino).map(|inode| &inode.kind) {
        Some(Kind::File(content)) => content.pages.get(&at).cloned().unwrap_or_default(),
        _ => Arc::default(),
    };
    let mut torn = vec![0; PAGE];
    for start in (0..PAGE).step_by(SECTOR) {
        let from = if random.below(2) == 0 { &old } else { page };
        let sector = from.get(start..(start + SECTOR).min(from.len())).unwrap_or_default();
        torn[start..start + sector.len()].copy_from_slice(sector);
    }
    torn.into()
}

/// As a file system is found when it is mounted again: what has no name is gone.
fn settle(mut inodes: Inodes) -> Inodes {
    let mut links: BTreeMap<Ino, (u64, Ino)> = BTreeMap::from([(ROOT, (2, ROOT))]);
    let mut waiting = vec![ROOT];
    while let Some(directory) = waiting.pop() {
        let Some(Kind::Directory(names)) = inodes.get(&directory).map(|inode| &inode.kind) else { continue };
        for (_, ino) in names.values() {
            assert!(inodes.contains_key(ino), "a name stands for nothing after a crash");
            if inodes.get(ino).is_some_and(|inode| inode.is_directory()) {
                assert!(links.insert(*ino, (2, directory)).is_none(), "a directory has two names after a crash");
                links.get_mut(&directory).unwrap().0 += 1;
                waiting.push(*ino);
            } else {
                links.entry(*ino).or_insert((0, directory)).0 += 1;
            }
        }
    }
    inodes.retain(|ino, _| links.contains_key(ino));
    for (ino, inode) in &mut inodes {
        let (links, around) = links[ino];
        let inode = Arc::make_mut(inode);
        (inode.links, inode.around) = (links, around);
        if let Kind::File(content) = &mut inode.kind {
            content.cut(content.size);
        }
    }
    inodes
}

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}
