//! [`states`]: what a disk may hold after a power loss.

use super::disk::{Disk, Effect, History, Number};
use std::collections::HashSet;

/// A number like chance, the same for the same seed.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }
}

/// One of the things that a power loss may leave.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    /// At which moment the power failed.
    pub(crate) moment: usize,
    /// Which of the effects are there.
    pub(crate) there: Vec<bool>,
    /// Of which only so many quarters are.
    pub(crate) torn: Option<(usize, usize)>,
    pub(crate) how: String,
    /// Whether names and attributes are there in the order in which they were made, as on a file system with a journal.
    pub(crate) in_order: bool,
}

/// Everything that is tried at one moment: what is on the disk for sure, and of the rest nothing, all, each beginning with
/// its last write whole and torn, each beginning without the bytes that nobody has waited for, all but one, and `random` of
/// all the other choices.
pub(crate) fn at(history: &History, moment: usize, random: usize, chance: &mut Chance) -> Vec<Left> {
    let effects = &history.effects;
    let pending: Vec<usize> =
        (0..effects.len()).filter(|at| effects[*at].since <= moment && effects[*at].durable > moment).collect();
    let sure: Vec<bool> = effects.iter().map(|done| done.durable <= moment).collect();
    let mut lefts = Vec::new();
    let mut push = |how: String, chosen: &dyn Fn(usize) -> bool, torn: Option<(usize, usize)>| {
        let mut there = sure.clone();
        for at in pending.iter().copied().filter(|at| chosen(*at)) {
            there[at] = true;
        }
        close(history, &mut there, moment);
        let in_order = is_in_order(history, &there, moment);
        lefts.push(Left { moment, there, torn, how, in_order });
    };
    let is_data = |at: usize| effects[at].effect.is_data();
    let writes = |at: usize| matches!(effects[at].effect, Effect::Write { .. });
    push("nothing".into(), &|_| false, None);
    for end in &pending {
        push(format!("up to {end}"), &|at| at <= *end, None);
        push(format!("up to {end} without bytes"), &|at| at <= *end && !is_data(at), None);
        if writes(*end) {
            for part in 1..4 {
                push(format!("up to {part}/4 of {end}"), &|at| at <= *end, Some((*end, part)));
            }
        }
        // On a file system with a journal, the bytes that nobody has waited for are for themselves.
        if is_data(*end) {
            for upto in pending.iter().filter(|upto| *upto > end) {
                push(format!("up to {upto} but {end}"), &|at| at <= *upto && at != *end, None);
            }
        }
        push(format!("all but {end}"), &|at| at != *end, None);
        push(format!("only {end}"), &|at| at == *end, None);
    }
    for _ in 0..if pending.len() > 2 { random } else { 0 } {
        let chosen: HashSet<usize> = pending.iter().copied().filter(|_| chance.below(2) == 0).collect();
        let torn = pending.iter().copied().filter(|at| writes(*at) && chosen.contains(at)).max();
        let part = usize::try_from(chance.below(4)).unwrap() + 1;
        let torn = torn.filter(|_| part < 4).map(|at| (at, part));
        push(format!("{chosen:?}"), &|at| chosen.contains(&at), torn);
    }
    lefts
}

/// The attributes of an inode lie together: one that is on the disk brings those set before it along.
fn close(history: &History, there: &mut [bool], moment: usize) {
    let attributes = |effect: &Effect| -> Option<Number> {
        match effect {
            Effect::Mode { inode, .. } | Effect::Owner { inode, .. } | Effect::Mtime { inode, .. } => Some(*inode),
            _ => None,
        }
    };
    let mut kept = HashSet::new();
    for at in (0..there.len()).rev().filter(|at| history.effects[*at].since <= moment) {
        let Some(inode) = attributes(&history.effects[at].effect) else { continue };
        if there[at] {
            kept.insert(inode);
        } else if kept.contains(&inode) {
            there[at] = true;
        }
    }
}

fn is_in_order(history: &History, there: &[bool], moment: usize) -> bool {
    let mut lost = HashSet::new();
    let done = history.effects.iter().zip(there).filter(|(done, _)| done.since <= moment && !done.effect.is_data());
    // Each file system for itself.
    done.into_iter().all(|(done, there)| {
        if !there {
            lost.insert(done.root);
        }
        !there || !lost.contains(&done.root)
    })
}

impl Left {
    pub(crate) fn disk(&self, start: &Disk, history: &History) -> Disk {
        start.with(history, |at| self.there[at], self.torn)
    }
}
