//! [`HsmState`]: whether a file has a copy in the store, whether the copy is current, and whether its data is here as well.

use crate::escape::excerpt;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The flags of a file whose data may be in the store alone, with the values and the words of Lustre.
///
/// - Never dirty without a copy, never released while dirty, and released or lost only when archived: a mix to which Lustre
///   answers `EINVAL` cannot be built. (<https://doc.lustre.org/lustre_manual.xhtml>, "File States")
///
/// ```
/// use posix_s3::HsmState;
///
/// let imported = HsmState::new(HsmState::EXISTS | HsmState::ARCHIVED | HsmState::RELEASED)?;
/// assert_eq!(imported.bits(), 0x0d);
/// assert_eq!(imported.restored()?.bits(), 0x09);
/// assert!(HsmState::new(HsmState::RELEASED | HsmState::EXISTS).is_err()); // nothing would hold its data
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HsmState(u32);

/// What a file is used for at the moment in which it is to be released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InUse {
    /// Nobody has it open.
    No,
    /// Somebody has it open.
    Yes,
}

/// Who asks for flags to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// The superuser, who may set any.
    Root,
    /// Anybody else, who may set [`NO_RELEASE`](HsmState::NO_RELEASE), [`NO_ARCHIVE`](HsmState::NO_ARCHIVE) and
    /// [`DIRTY`](HsmState::DIRTY).
    Other,
}

/// The words of the flags, in the order in which `lfs hsm_state` prints them.
const WORDS: [(u32, &str); 7] = [
    (HsmState::RELEASED, "released"),
    (HsmState::EXISTS, "exists"),
    (HsmState::DIRTY, "dirty"),
    (HsmState::ARCHIVED, "archived"),
    (HsmState::NO_RELEASE, "never_release"),
    (HsmState::NO_ARCHIVE, "never_archive"),
    (HsmState::LOST, "lost_from_hsm"),
];

impl HsmState {
    /// There is a copy in the store, current or not.
    pub const EXISTS: u32 = 0x01;
    /// The file has changed since the copy was made.
    pub const DIRTY: u32 = 0x02;
    /// The data is in the store alone.
    pub const RELEASED: u32 = 0x04;
    /// The copy in the store is whole.
    pub const ARCHIVED: u32 = 0x08;
    /// It is not to be released.
    pub const NO_RELEASE: u32 = 0x10;
    /// It is not to be archived.
    pub const NO_ARCHIVE: u32 = 0x20;
    /// The copy in the store is gone.
    pub const LOST: u32 = 0x40;

    const KNOWN: u32 = 0x7f;
    const BY_ANYBODY: u32 = Self::NO_RELEASE | Self::NO_ARCHIVE | Self::DIRTY;

    /// Takes flags.
    ///
    /// # Errors
    /// [`IllegalHsmState`] for a mix that no file can be in, and for a flag that is none of the seven.
    pub const fn new(bits: u32) -> Result<Self, IllegalHsmState> {
        let reason = if bits & !Self::KNOWN != 0 {
            HsmFault::Unknown
        } else if bits & Self::DIRTY != 0 && bits & Self::EXISTS == 0 {
            HsmFault::DirtyWithoutCopy
        } else if bits & Self::RELEASED != 0 && bits & Self::DIRTY != 0 {
            HsmFault::ReleasedAndDirty
        } else if bits & Self::RELEASED != 0 && bits & Self::ARCHIVED == 0 {
            HsmFault::ReleasedWithoutCopy
        } else if bits & Self::LOST != 0 && bits & Self::ARCHIVED == 0 {
            HsmFault::LostWithoutCopy
        } else {
            return Ok(Self(bits));
        };
        Err(IllegalHsmState { bits, reason })
    }

    /// A file that was never archived.
    pub const NONE: Self = Self(0);
    /// A file that is here and, as it is, in the store: `0x09`.
    pub const SYNCED: Self = Self(Self::EXISTS | Self::ARCHIVED);
    /// A file that has changed since it was archived: `0x0b`.
    pub const CHANGED: Self = Self(Self::EXISTS | Self::ARCHIVED | Self::DIRTY);
    /// A file that is in the store alone: `0x0d`.
    pub const ON_DEMAND: Self = Self(Self::EXISTS | Self::ARCHIVED | Self::RELEASED);

    /// The flags as a number.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of some flags are set.
    #[must_use]
    pub const fn has(self, flags: u32) -> bool {
        self.0 & flags == flags
    }

    /// Sets and clears flags, as `lfs hsm_set` and `lfs hsm_clear` do.
    ///
    /// # Errors
    /// [`HsmRefusal::NotPermitted`] for a flag that only root may set; [`HsmRefusal::Illegal`] when the mix is none.
    pub fn with(self, set: u32, clear: u32, caller: Caller) -> Result<Self, HsmRefusal> {
        if caller == Caller::Other && (set | clear) & !Self::BY_ANYBODY != 0 {
            return Err(self.refused("setting flags that only root may set"));
        }
        Ok(Self::new(self.0 & !clear | set)?)
    }

    /// Whether archiving would send anything: what is not archived, or has changed since.
    #[must_use]
    pub const fn needs_archive(self) -> bool {
        !self.has(Self::ARCHIVED) || self.has(Self::DIRTY)
    }

    /// The state after its data was copied to the store; the same when the copy is current.
    ///
    /// # Errors
    /// [`HsmRefusal::NotPermitted`] for a file that is not to be archived.
    pub fn archived(self) -> Result<Self, HsmRefusal> {
        if self.has(Self::NO_ARCHIVE) {
            return Err(self.refused("archiving"));
        }
        if !self.needs_archive() {
            return Ok(self);
        }
        Ok(Self(self.0 & !(Self::DIRTY | Self::LOST) | Self::EXISTS | Self::ARCHIVED))
    }

    /// The state after its data was given back; the same for a file that is released.
    ///
    /// # Errors
    /// [`HsmRefusal::NotPermitted`] unless it is archived and neither dirty, lost nor never to be released;
    /// [`HsmRefusal::Busy`] for one that is open.
    pub fn released(self, in_use: InUse) -> Result<Self, HsmRefusal> {
        if self.has(Self::RELEASED) {
            return Ok(self);
        }
        if !self.has(Self::ARCHIVED) || self.0 & (Self::DIRTY | Self::LOST | Self::NO_RELEASE) != 0 {
            return Err(self.refused("releasing"));
        }
        match in_use {
            InUse::Yes => Err(HsmRefusal::Busy),
            InUse::No => Ok(Self(self.0 | Self::RELEASED)),
        }
    }

    /// The state after its data was fetched; the same for a file whose data is here.
    ///
    /// # Errors
    /// [`HsmRefusal::NotPermitted`] for one that is lost.
    pub fn restored(self) -> Result<Self, HsmRefusal> {
        if !self.has(Self::RELEASED) {
            return Ok(self);
        }
        if self.has(Self::LOST) {
            return Err(self.refused("restoring"));
        }
        Ok(Self(self.0 & !Self::RELEASED))
    }

    /// The state after its copy was removed from the store.
    ///
    /// # Errors
    /// [`HsmRefusal::NotPermitted`] for a file whose data is there alone.
    pub fn removed(self) -> Result<Self, HsmRefusal> {
        if self.has(Self::RELEASED) {
            return Err(self.refused("removing the copy of"));
        }
        Ok(Self(self.0 & (Self::NO_RELEASE | Self::NO_ARCHIVE)))
    }

    /// The state after the file was written to. Without a copy nothing is out of date.
    ///
    /// # Errors
    /// [`HsmRefusal::NotPermitted`] for a released file, which has to be restored first.
    pub fn written(self) -> Result<Self, HsmRefusal> {
        if self.has(Self::RELEASED) {
            return Err(self.refused("writing"));
        }
        Ok(if self.has(Self::EXISTS) { Self(self.0 | Self::DIRTY) } else { self })
    }

    /// The state after its copy turned out to be gone.
    ///
    /// # Errors
    /// [`HsmRefusal::Illegal`] for a file that was never archived.
    pub fn lost(self) -> Result<Self, HsmRefusal> {
        Ok(Self::new(self.0 | Self::LOST)?)
    }

    /// The state after what was being done about it was cancelled, which is always accepted: what it is.
    #[must_use]
    pub const fn cancelled(self) -> Self {
        self
    }

    const fn refused(self, attempt: &'static str) -> HsmRefusal {
        HsmRefusal::NotPermitted { attempt, state: self }
    }
}

/// The words without the number: `exists archived`; nothing for no flag.
impl fmt::Display for HsmState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (_, word)) in WORDS.iter().filter(|(flag, _)| self.has(*flag)).enumerate() {
            f.write_str(if place == 0 { "" } else { " " })?;
            f.write_str(word)?;
        }
        Ok(())
    }
}

/// A mix of flags that no file can be in: `EINVAL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("illegal state {bits:#04x}: {reason}")]
pub struct IllegalHsmState {
    bits: u32,
    reason: HsmFault,
}

impl IllegalHsmState {
    /// What is wrong with it.
    #[must_use]
    pub const fn reason(&self) -> HsmFault {
        self.reason
    }
}

/// What is wrong with a mix of flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum HsmFault {
    /// A flag that is none.
    #[error("expected flags up to 0x7f")]
    Unknown,
    /// Dirty without exists.
    #[error("dirty without a copy to be newer than")]
    DirtyWithoutCopy,
    /// Released and dirty.
    #[error("released and dirty at once")]
    ReleasedAndDirty,
    /// Released without archived.
    #[error("released without being archived")]
    ReleasedWithoutCopy,
    /// Lost without archived.
    #[error("lost without being archived")]
    LostWithoutCopy,
}

/// Why something is not done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HsmRefusal {
    /// Its state would be none: `EINVAL`.
    #[error("the state would be none")]
    Illegal(#[from] IllegalHsmState),
    /// Its state does not permit it: `EPERM`.
    #[error("{attempt} is not permitted in the state \"{state}\"")]
    NotPermitted {
        /// What was asked for.
        attempt: &'static str,
        /// In which state it is.
        state: HsmState,
    },
    /// Somebody has it open: `EBUSY`.
    #[error("the file is open")]
    Busy,
}

/// A state as `lfs hsm_state` prints it behind the path: flags, words, and the number of the archive.
///
/// ```
/// use posix_s3::{HsmState, HsmStatus};
///
/// let status: HsmStatus = "(0x00000009) exists archived, archive_id:1".parse()?;
/// assert_eq!(status, HsmStatus { state: HsmState::SYNCED, archive_id: 1 });
/// assert_eq!(status.to_string(), "(0x00000009) exists archived, archive_id:1");
/// # Ok::<(), posix_s3::InvalidHsmStatus>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct HsmStatus {
    /// The flags.
    pub state: HsmState,
    /// Which archive has the copy; 0 for none.
    pub archive_id: u32,
}

impl HsmStatus {
    /// Parses a whole line, `PATH: (0x…) …`, as the path and the state. The path may hold anything, also what looks like a
    /// state.
    ///
    /// # Errors
    /// [`InvalidHsmStatus`].
    pub fn parse_line(line: &str) -> Result<(&str, Self), InvalidHsmStatus> {
        let invalid = || InvalidHsmStatus { found: excerpt(line.as_bytes()) };
        let at = line.rfind(": (0x").ok_or_else(invalid)?;
        let (path, rest) = line.split_at_checked(at).ok_or_else(invalid)?;
        Ok((path, rest.strip_prefix(": ").unwrap_or(rest).parse()?))
    }
}

impl fmt::Display for HsmStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:#010x})", self.state.0)?;
        if self.state != HsmState::NONE {
            write!(f, " {}", self.state)?;
        }
        if self.archive_id == 0 { Ok(()) } else { write!(f, ", archive_id:{}", self.archive_id) }
    }
}

/// Text that is no state as `lfs hsm_state` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a state such as `(0x00000009) exists archived, archive_id:1`, found \"{found}\"")]
pub struct InvalidHsmStatus {
    /// Safe to print.
    found: Box<str>,
}

impl FromStr for HsmStatus {
    type Err = InvalidHsmStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidHsmStatus { found: excerpt(text.as_bytes()) };
        let number = text.strip_prefix("(0x").and_then(|rest| rest.split_once(')')).ok_or_else(invalid)?.0;
        let archive = text.rsplit_once(", archive_id:").map_or("0", |(_, number)| number);
        let bits = u32::from_str_radix(number, 16).map_err(|_| invalid())?;
        let state = HsmState::new(bits).map_err(|_| invalid())?;
        let status = Self { state, archive_id: archive.parse().map_err(|_| invalid())? };
        // One spelling only, so that the words say what the number says.
        if status.to_string() == text { Ok(status) } else { Err(invalid()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legal() -> impl Iterator<Item = HsmState> {
        (0..=HsmState::KNOWN).filter_map(|bits| HsmState::new(bits).ok())
    }

    #[test]
    fn what_lustre_refuses_cannot_be_built() {
        let reason = |bits| HsmState::new(bits).unwrap_err().reason();
        assert_eq!(reason(0x02), HsmFault::DirtyWithoutCopy);
        assert_eq!(reason(0x0f), HsmFault::ReleasedAndDirty);
        assert_eq!(reason(0x05), HsmFault::ReleasedWithoutCopy);
        assert_eq!(reason(0x41), HsmFault::LostWithoutCopy);
        assert_eq!(reason(0x80), HsmFault::Unknown);
        assert_eq!(HsmState::new(0x0f).unwrap_err().to_string(), "illegal state 0x0f: released and dirty at once");
    }

    #[test]
    fn no_operation_leads_out_of_the_legal_mixes() {
        for state in legal() {
            let after = [
                state.archived(),
                state.released(InUse::No),
                state.restored(),
                state.removed(),
                state.written(),
                state.lost(),
                Ok(state.cancelled()),
            ];
            for after in after.into_iter().flatten() {
                assert_eq!(HsmState::new(after.bits()), Ok(after), "{state} -> {after}");
            }
        }
    }

    #[test]
    fn only_what_is_archived_and_current_is_released() {
        for state in legal().filter(|state| !state.has(HsmState::RELEASED)) {
            let permitted = state.has(HsmState::ARCHIVED)
                && [HsmState::DIRTY, HsmState::LOST, HsmState::NO_RELEASE].iter().all(|flag| !state.has(*flag));
            assert_eq!(state.released(InUse::No).is_ok(), permitted, "{state}");
            assert!(state.released(InUse::Yes).is_err());
        }
        assert_eq!(HsmState::SYNCED.released(InUse::Yes), Err(HsmRefusal::Busy));
        assert_eq!(HsmState::ON_DEMAND.released(InUse::Yes), Ok(HsmState::ON_DEMAND));
        assert_eq!(
            HsmState::CHANGED.released(InUse::No).unwrap_err().to_string(),
            "releasing is not permitted in the state \"exists dirty archived\""
        );
    }

    #[test]
    fn the_only_copy_is_not_removed() {
        assert!(HsmState::ON_DEMAND.removed().is_err());
        assert_eq!(HsmState::SYNCED.removed(), Ok(HsmState::NONE));
        assert!(HsmState::ON_DEMAND.lost().unwrap().restored().is_err());
        assert!(HsmState::ON_DEMAND.written().is_err());
    }

    #[test]
    fn others_than_root_set_three_flags() {
        let set = |flag| HsmState::SYNCED.with(flag, 0, Caller::Other);
        assert!(set(HsmState::NO_RELEASE).is_ok() && set(HsmState::NO_ARCHIVE).is_ok() && set(HsmState::DIRTY).is_ok());
        assert!(set(HsmState::LOST).is_err() && HsmState::SYNCED.with(HsmState::LOST, 0, Caller::Root).is_ok());
        assert!(HsmState::SYNCED.with(0, HsmState::EXISTS, Caller::Other).is_err());
    }

    #[test]
    fn every_state_is_printed_and_read_back() {
        for state in legal() {
            for archive_id in [0, 1, u32::MAX] {
                let status = HsmStatus { state, archive_id };
                assert_eq!(status.to_string().parse(), Ok(status));
                let line = format!("/mnt/a: (0x00000009) b: {status}");
                assert_eq!(HsmStatus::parse_line(&line), Ok(("/mnt/a: (0x00000009) b", status)));
            }
        }
        let shown = HsmStatus { state: HsmState::ON_DEMAND, archive_id: 1 }.to_string();
        assert_eq!(shown, "(0x0000000d) released exists archived, archive_id:1");
        for text in [
            "",
            "(0x9) exists archived",
            "(0x00000009) exists",
            "(0x0000000f) released",
            "(0x00000009) exists archived, archive_id:-1",
        ] {
            assert!(text.parse::<HsmStatus>().is_err(), "{text}");
        }
    }
}
