//! The state of a file whose data may be in the store alone: [`HsmState`] and what `lfs hsm_state` prints of it.
//!
//! It belongs to the vocabulary, since the engine speaks of it without this room as well.

pub use crate::hsm::{Caller, HsmFault, HsmRefusal, HsmState, HsmStatus, IllegalHsmState, InUse, InvalidHsmStatus};
