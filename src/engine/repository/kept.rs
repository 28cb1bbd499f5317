//! [`LinkDocument`]: what a repository knows of itself, kept so that a restart finds it.

use super::{FirstImport, Linked};
use crate::engine::session::StateError;
use crate::engine::state::{Part, StateStore};
use crate::repository::{LinkState, Tasks};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::sync::Arc;
use thiserror::Error;

/// The version of the document.
const VERSION: u32 = 1;
/// The most bytes of it: 64 MiB. A change that would make it longer is refused; tasks are what makes it long.
const MAX_BYTES: u64 = 64 << 20;

/// What a repository knows of itself, as it is kept in [`Part::Link`]: JSON, for anybody to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkDocument {
    pub(super) version: u32,
    /// What is linked, and how.
    pub(super) linked: Linked,
    /// The state.
    pub(super) state: LinkState,
    /// What is imported before it is available.
    pub(super) first: FirstImport,
    /// The root of the tree, so that another directory in its place is noticed.
    pub(super) root: [u8; 16],
    /// What was asked of it.
    #[serde(default)]
    pub(super) tasks: Tasks,
}

/// The document of a link that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkDocumentError {
    /// It is there already.
    #[error("there is a link already")]
    Exists,
    /// There is none.
    #[error("there is no link")]
    None,
    /// It is none that this version understands.
    #[error("expected a link of version {VERSION}, found version {found}")]
    Version {
        /// What it says.
        found: u32,
    },
    /// It is longer than any that is written, or would be.
    #[error("expected a link of at most {MAX_BYTES} bytes, found more")]
    TooLong,
    /// It is damaged.
    #[error("the document of the link is damaged")]
    Damaged(#[from] serde_json::Error),
    /// It could not be read or written.
    #[error("the document of the link could not be read or written")]
    State(#[from] StateError),
    /// It could not be brought to the disk.
    #[error("the document of the link could not be saved")]
    Save(#[source] Arc<io::Error>),
}

/// What is read first: whatever else there is depends on it.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl LinkDocument {
    pub(super) fn new(linked: Linked, state: LinkState, first: FirstImport, root: [u8; 16]) -> Self {
        Self { version: VERSION, linked, state, first, root, tasks: Tasks::default() }
    }

    pub(super) fn with_tasks(self, tasks: Tasks) -> Self {
        Self { tasks, ..self }
    }

    /// What is linked, and how.
    #[must_use]
    pub const fn linked(&self) -> &Linked {
        &self.linked
    }

    /// The state that it was left in.
    #[must_use]
    pub const fn state(&self) -> &LinkState {
        &self.state
    }

    /// Whether there is one.
    pub(super) fn exists(state: &dyn StateStore) -> Result<bool, LinkDocumentError> {
        Ok(state.open(Part::Link).map_err(StateError::from)?.is_some())
    }

    pub(super) fn load(state: &dyn StateStore) -> Result<Self, LinkDocumentError> {
        Self::read(state.open(Part::Link).map_err(StateError::from)?.ok_or(LinkDocumentError::None)?)
    }

    /// Reads one, such as the file `FILE.link` of a [`FileState`](crate::engine::FileState), which may be in use meanwhile.
    ///
    /// # Errors
    /// When it cannot be read, or is none that this version understands.
    pub fn read(document: impl Read) -> Result<Self, LinkDocumentError> {
        let mut bytes = Vec::new();
        document.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(StateError::from)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(LinkDocumentError::TooLong);
        }
        let Versioned { version } = serde_json::from_slice(&bytes)?;
        if version != VERSION {
            return Err(LinkDocumentError::Version { found: version });
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Begins to put it in the place of the one before; it is on the disk when what this answers has ended. After a crash
    /// there is the one or the other.
    pub(super) fn begin_save(
        &self,
        state: &dyn StateStore,
    ) -> Result<BoxFuture<'static, io::Result<()>>, LinkDocumentError> {
        let bytes = serde_json::to_vec_pretty(self)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(LinkDocumentError::TooLong);
        }
        // Nothing is waited for between these, so that a future that is dropped leaves no half of it.
        let syncer = {
            let mut document = state.create(Part::Link).map_err(StateError::from)?;
            document.write_all(&bytes).map_err(StateError::from)?;
            document.flush().map_err(StateError::from)?;
            document.syncer()
        };
        Ok(syncer())
    }
}
