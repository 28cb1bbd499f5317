//! [`Deletes`]: whether anything is deleted, and how much at most.

use thiserror::Error;

/// What happens on one side to what is gone from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Deletes {
    /// It stays. What is gone is counted and stays recorded, so that a later run may delete it.
    #[default]
    Never,
    /// It is deleted: only what the link owns, what was seen to be gone in this run and at a second look, and what is
    /// still the version that is recorded.
    Apply(Brake),
}

/// How much a run may delete without being asked to: a larger share at once is more likely a mistake than a wish.
///
/// A run that would go beyond deletes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Brake {
    /// So many are always permitted.
    pub count: u64,
    /// So many percent, 0 to 100, of what the link owns are permitted even if they are more.
    pub percent: u8,
}

impl Default for Brake {
    /// 1,000 deletes, or 20 percent of what the link owns.
    fn default() -> Self {
        Self { count: 1000, percent: 20 }
    }
}

/// More would be deleted than is permitted, so nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[error("{deletes} of {owned} would be deleted, more than {count} and more than {percent} percent; nothing was", count = .brake.count, percent = .brake.percent)]
pub struct Braked {
    /// How many would have been deleted.
    pub deletes: u64,
    /// How many the link owns.
    pub owned: u64,
    /// What is permitted.
    pub brake: Brake,
}

impl Brake {
    /// Permits everything: whoever says so has been asked.
    pub const RELEASED: Self = Self { count: u64::MAX, percent: 100 };

    /// Whether so many of so many may be deleted.
    ///
    /// # Errors
    /// [`Braked`] when they are more than either limit permits.
    ///
    /// ```
    /// use posix_s3::plan::Brake;
    ///
    /// assert!(Brake::default().check(1_000, 1_000).is_ok());
    /// assert!(Brake::default().check(2_000, 10_000).is_ok());
    /// assert!(Brake::default().check(2_001, 10_000).is_err());
    /// ```
    pub fn check(self, deletes: u64, owned: u64) -> Result<(), Braked> {
        let share = u128::from(owned).saturating_mul(self.percent.into());
        let within = deletes <= self.count || u128::from(deletes).saturating_mul(100) <= share;
        if within { Ok(()) } else { Err(Braked { deletes, owned, brake: self }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_limit_permits() {
        let brake = Brake { count: 2, percent: 10 };
        assert!(brake.check(2, 2).is_ok());
        assert!(brake.check(3, 30).is_ok());
        let braked = brake.check(3, 29).unwrap_err();
        assert_eq!(braked.to_string(), "3 of 29 would be deleted, more than 2 and more than 10 percent; nothing was");
        assert!(Brake::RELEASED.check(u64::MAX, u64::MAX).is_ok());
    }
}
