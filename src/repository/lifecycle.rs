//! [`Lifecycle`]: the state of a link, what leads from one to the next, and what each allows.

use super::error::{ApiError, ErrorCode};
use crate::escape;
use crate::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// The state of a link: `DataRepositoryLifecycle` of the API.
///
/// It is not the state of the file system, which has the same name and stands elsewhere in the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Lifecycle {
    /// The link is being made, and the repository cannot be used yet.
    Creating,
    /// It can be used.
    Available,
    /// A change of its configuration is under way, and it may not be available meanwhile.
    Updating,
    /// Nothing is imported or exported by itself until the configuration is corrected.
    Misconfigured,
    /// It is being deleted.
    Deleting,
    /// It is beyond repair.
    Failed,
}

impl Lifecycle {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Creating, Self::Available, Self::Updating, Self::Misconfigured, Self::Deleting, Self::Failed];

    /// The name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Creating => "CREATING",
            Self::Available => "AVAILABLE",
            Self::Updating => "UPDATING",
            Self::Misconfigured => "MISCONFIGURED",
            Self::Deleting => "DELETING",
            Self::Failed => "FAILED",
        }
    }

    /// The state after something has happened. For every state and every happening, this is the whole table.
    ///
    /// | | Built | Broken | Corrected | Update | Lost | Delete |
    /// |---|---|---|---|---|---|---|
    /// | CREATING | AVAILABLE | MISCONFIGURED | – | – | FAILED | DELETING |
    /// | AVAILABLE | – | MISCONFIGURED | AVAILABLE | UPDATING | FAILED | DELETING |
    /// | UPDATING | AVAILABLE | MISCONFIGURED | – | – | FAILED | DELETING |
    /// | MISCONFIGURED | – | MISCONFIGURED | AVAILABLE | UPDATING | FAILED | DELETING |
    /// | DELETING | – | – | – | – | – | DELETING |
    /// | FAILED | – | – | – | – | FAILED | DELETING |
    ///
    /// # Errors
    /// [`IllegalTransition`] for a dash: the state stays.
    pub const fn after(self, happening: Happening) -> Result<Self, IllegalTransition> {
        Ok(match (self, happening) {
            (Self::Creating | Self::Updating, Happening::Built)
            | (Self::Available | Self::Misconfigured, Happening::Corrected) => Self::Available,
            (Self::Creating | Self::Available | Self::Updating | Self::Misconfigured, Happening::Broken) => {
                Self::Misconfigured
            }
            (Self::Available | Self::Misconfigured, Happening::Update) => Self::Updating,
            (
                Self::Creating | Self::Available | Self::Updating | Self::Misconfigured | Self::Failed,
                Happening::Lost,
            ) => Self::Failed,
            (_, Happening::Delete) => Self::Deleting,
            (from, happening) => return Err(IllegalTransition { from, happening }),
        })
    }

    /// Whether a link in this state does something.
    ///
    /// | | import, export, release | restore | automatic import, automatic export | update | delete |
    /// |---|---|---|---|---|---|
    /// | CREATING | – | – | – | – | yes |
    /// | AVAILABLE | yes | yes | yes | yes | yes |
    /// | UPDATING | – | yes | – | – | yes |
    /// | MISCONFIGURED | yes | yes | – | yes | yes |
    /// | DELETING | – | – | – | – | yes |
    /// | FAILED | – | – | – | – | yes |
    ///
    /// A deletion that was begun is gone on with. What is asked for by hand while the link is misconfigured is tried, and
    /// what the store refuses fails one by one.
    #[must_use]
    pub const fn allows(self, action: Action) -> bool {
        match action {
            Action::Import | Action::Export | Action::Release => matches!(self, Self::Available | Self::Misconfigured),
            Action::Restore => matches!(self, Self::Available | Self::Misconfigured | Self::Updating),
            Action::AutomaticImport | Action::AutomaticExport => matches!(self, Self::Available),
            Action::Update => matches!(self, Self::Available | Self::Misconfigured),
            Action::Delete => true,
        }
    }
}

impl fmt::Display for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What happens to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happening {
    /// It was made, or a change of its configuration was carried out.
    Built,
    /// The store does not let it do what it is for, or events were missed.
    Broken,
    /// A check has passed.
    Corrected,
    /// A change of its configuration was asked for.
    Update,
    /// What it links is not there any more, or it could not be made at all.
    Lost,
    /// Its deletion was asked for.
    Delete,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Built, Self::Broken, Self::Corrected, Self::Update, Self::Lost, Self::Delete];

    const fn words(self) -> &'static str {
        match self {
            Self::Built => "being built",
            Self::Broken => "being misconfigured",
            Self::Corrected => "being corrected",
            Self::Update => "an update",
            Self::Lost => "being lost",
            Self::Delete => "a deletion",
        }
    }
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Something that does not happen to a link in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a link that is {from} does not take {happening}")]
pub struct IllegalTransition {
    /// The state.
    pub from: Lifecycle,
    /// What was to happen.
    pub happening: Happening,
}

/// What is asked of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// An import that somebody asked for.
    Import,
    /// An export that somebody asked for.
    Export,
    /// Applying events of the bucket.
    AutomaticImport,
    /// Sending changes of the file system as they come.
    AutomaticExport,
    /// Giving back the space of files that are exported.
    Release,
    /// Fetching the data of a file.
    Restore,
    /// Changing the configuration.
    Update,
    /// Deleting the link.
    Delete,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Import,
        Self::Export,
        Self::AutomaticImport,
        Self::AutomaticExport,
        Self::Release,
        Self::Restore,
        Self::Update,
        Self::Delete,
    ];

    /// The name in messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Export => "export",
            Self::AutomaticImport => "automatic import",
            Self::AutomaticExport => "automatic export",
            Self::Release => "release",
            Self::Restore => "restore",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a link is misconfigured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Misconfiguration {
    /// There is no such bucket.
    NoSuchBucket,
    /// Objects cannot be read, written or asked about.
    AccessDenied,
    /// The bucket is in another region.
    WrongRegion,
    /// The bucket cannot be listed.
    ListingDenied,
    /// Events were waiting for longer than [`LinkState::BACKLOG`] and were dropped.
    Backlog,
    /// Events were lost, or stand for changes that the bucket does not tell of.
    EventsMissed,
}

impl Misconfiguration {
    /// Whether a check that passes is enough. What was missed does not come back: that takes an update of the link, and an
    /// import.
    #[must_use]
    pub const fn heals_by_itself(self) -> bool {
        !matches!(self, Self::Backlog | Self::EventsMissed)
    }
}

/// Why a link is misconfigured or failed: `FailureDetails` of the API.
///
/// - The message has 1 to 256 characters and can be printed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct FailureDetails {
    /// The message, in one line.
    pub message: Box<str>,
}

impl FailureDetails {
    /// The most characters of a message: 256.
    pub const MAX: usize = 256;

    /// From whatever is to be said: what cannot be printed is escaped, and what is too long is cut.
    #[must_use]
    pub fn new(message: impl fmt::Display) -> Self {
        let mut text = String::new();
        for character in message.to_string().chars().take(Self::MAX.saturating_add(1)) {
            match character {
                // Messages of errors quote what they show, escaped already.
                '"' | '\\' => text.push(character),
                _ => text.push_str(&escape(character.encode_utf8(&mut [0; 4]).as_bytes()).to_string()),
            }
        }
        let message = match text.char_indices().nth(Self::MAX) {
            None if text.is_empty() => "unknown".into(),
            None => text.into(),
            Some(_) => text.chars().take(Self::MAX.saturating_sub(1)).chain(['…']).collect::<String>().into(),
        };
        Self { message }
    }
}

/// The state of a link, and since when and why it is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkState {
    lifecycle: Lifecycle,
    /// When it came into this state.
    since: Timestamp,
    /// When it was last looked at whether it is as it should be.
    checked: Timestamp,
    misconfiguration: Option<Misconfiguration>,
    failure: Option<FailureDetails>,
}

impl LinkState {
    /// How long a link that is not available waits between two checks, in seconds: 15 minutes.
    pub const RECHECK: i64 = 15 * 60;
    /// How long events may wait before they are dropped, in seconds: 14 days.
    pub const BACKLOG: i64 = 14 * 24 * 60 * 60;

    /// That of a link that is about to be made.
    #[must_use]
    pub const fn creating(now: Timestamp) -> Self {
        Self { lifecycle: Lifecycle::Creating, since: now, checked: now, misconfiguration: None, failure: None }
    }

    /// The state.
    #[must_use]
    pub const fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Since when.
    #[must_use]
    pub const fn since(&self) -> Timestamp {
        self.since
    }

    /// Why it is misconfigured.
    #[must_use]
    pub const fn misconfiguration(&self) -> Option<Misconfiguration> {
        self.misconfiguration
    }

    /// Why it is misconfigured or failed, in words; nothing in another state.
    #[must_use]
    pub const fn failure(&self) -> Option<&FailureDetails> {
        self.failure.as_ref()
    }

    /// Whether it is time to look whether what was wrong is still wrong, or to go on with what was begun.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        let waited = i128::from(now.seconds()).saturating_sub(i128::from(self.checked.seconds()));
        let waits = matches!(self.lifecycle, Lifecycle::Misconfigured | Lifecycle::Creating | Lifecycle::Updating);
        waits && waited >= i128::from(Self::RECHECK)
    }

    /// It was looked at, and nothing was found out.
    pub const fn tried(&mut self, now: Timestamp) {
        self.checked = now;
    }

    /// Whether it does something now.
    ///
    /// # Errors
    /// [`NotAllowed`], which says why not.
    pub fn permit(&self, action: Action) -> Result<(), NotAllowed> {
        if self.lifecycle.allows(action) {
            return Ok(());
        }
        Err(NotAllowed { action, lifecycle: self.lifecycle, failure: self.failure.clone() })
    }

    /// It was made, or updated.
    ///
    /// # Errors
    /// [`IllegalTransition`]; the state then stays, as with all of these.
    pub fn built(&mut self, now: Timestamp) -> Result<(), IllegalTransition> {
        self.go(Happening::Built, now, None, None)
    }

    /// Something is wrong. A cause that a check can remove does not take the place of one that it cannot.
    ///
    /// # Errors
    /// [`IllegalTransition`].
    pub fn broken(
        &mut self,
        cause: Misconfiguration,
        why: impl fmt::Display,
        now: Timestamp,
    ) -> Result<(), IllegalTransition> {
        if self.lifecycle == Lifecycle::Misconfigured
            && self.misconfiguration.is_some_and(|before| !before.heals_by_itself())
            && cause.heals_by_itself()
        {
            self.checked = now;
            return Ok(());
        }
        self.go(Happening::Broken, now, Some(cause), Some(FailureDetails::new(why)))
    }

    /// A check has passed. What only an update repairs stays.
    ///
    /// # Errors
    /// [`IllegalTransition`].
    pub fn corrected(&mut self, now: Timestamp) -> Result<(), IllegalTransition> {
        if self.misconfiguration.is_some_and(|cause| !cause.heals_by_itself()) {
            self.checked = now;
            return Ok(());
        }
        self.go(Happening::Corrected, now, None, None)
    }

    /// An update begins.
    ///
    /// # Errors
    /// [`IllegalTransition`].
    pub fn update(&mut self, now: Timestamp) -> Result<(), IllegalTransition> {
        self.go(Happening::Update, now, None, None)
    }

    /// It is beyond repair.
    ///
    /// # Errors
    /// [`IllegalTransition`].
    pub fn lost(&mut self, why: impl fmt::Display, now: Timestamp) -> Result<(), IllegalTransition> {
        self.go(Happening::Lost, now, None, Some(FailureDetails::new(why)))
    }

    /// A deletion begins.
    ///
    /// # Errors
    /// [`IllegalTransition`].
    pub fn delete(&mut self, now: Timestamp) -> Result<(), IllegalTransition> {
        self.go(Happening::Delete, now, None, None)
    }

    fn go(
        &mut self,
        happening: Happening,
        now: Timestamp,
        misconfiguration: Option<Misconfiguration>,
        failure: Option<FailureDetails>,
    ) -> Result<(), IllegalTransition> {
        let lifecycle = self.lifecycle.after(happening)?;
        let since = if lifecycle == self.lifecycle { self.since } else { now };
        *self = Self { lifecycle, since, checked: now, misconfiguration, failure };
        Ok(())
    }
}

/// Something that a link does not do in its state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no {action} while the link is {lifecycle}{}", reason(.failure.as_ref()))]
pub struct NotAllowed {
    /// What was asked for.
    pub action: Action,
    /// The state.
    pub lifecycle: Lifecycle,
    /// Why it is in it.
    pub failure: Option<FailureDetails>,
}

impl NotAllowed {
    /// The error that the API answers with.
    #[must_use]
    pub fn to_api(&self) -> ApiError {
        ApiError::new(ErrorCode::BadRequest, self)
    }
}

fn reason(failure: Option<&FailureDetails>) -> String {
    failure.map(|failure| format!(": {}", failure.message)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        match Timestamp::from_unix(seconds, 0) {
            Some(time) => time,
            None => Timestamp::EPOCH,
        }
    }

    #[test]
    fn the_table_of_transitions_is_total() {
        let table: Vec<String> = Lifecycle::ALL
            .iter()
            .map(|from| {
                let row = Happening::ALL.map(|happening| from.after(happening).map_or("-", Lifecycle::name));
                format!("{from}: {}", row.join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "CREATING: AVAILABLE MISCONFIGURED - - FAILED DELETING",
                "AVAILABLE: - MISCONFIGURED AVAILABLE UPDATING FAILED DELETING",
                "UPDATING: AVAILABLE MISCONFIGURED - - FAILED DELETING",
                "MISCONFIGURED: - MISCONFIGURED AVAILABLE UPDATING FAILED DELETING",
                "DELETING: - - - - - DELETING",
                "FAILED: - - - - FAILED DELETING",
            ]
        );
    }

    #[test]
    fn what_each_state_allows() {
        let table: Vec<String> = Lifecycle::ALL
            .iter()
            .map(|state| {
                let row = Action::ALL.map(|action| if state.allows(action) { 'y' } else { '-' });
                format!("{state}: {}", row.iter().collect::<String>())
            })
            .collect();
        assert_eq!(
            table,
            [
                "CREATING: -------y",
                "AVAILABLE: yyyyyyyy",
                "UPDATING: -----y-y",
                "MISCONFIGURED: yy--yyyy",
                "DELETING: -------y",
                "FAILED: -------y",
            ]
        );
    }

    #[test]
    fn a_misconfigured_link_heals_when_a_check_passes() {
        let mut state = LinkState::creating(at(0));
        state.built(at(1)).unwrap();
        state.broken(Misconfiguration::AccessDenied, "403", at(2)).unwrap();
        assert_eq!(state.failure().unwrap().message.as_ref(), "403");
        let refused = state.permit(Action::AutomaticImport).unwrap_err();
        assert_eq!(refused.to_string(), "no automatic import while the link is MISCONFIGURED: 403");
        assert!(!state.is_due(at(2 + LinkState::RECHECK - 1)) && state.is_due(at(2 + LinkState::RECHECK)));
        state.corrected(at(2000)).unwrap();
        assert_eq!((state.lifecycle(), state.failure(), state.since()), (Lifecycle::Available, None, at(2000)));
    }

    #[test]
    fn what_was_missed_takes_an_update() {
        let mut state = LinkState::creating(at(0));
        state.built(at(1)).unwrap();
        state.broken(Misconfiguration::Backlog, "events of 15 days ago", at(2)).unwrap();
        state.corrected(at(3)).unwrap();
        assert_eq!(state.lifecycle(), Lifecycle::Misconfigured);
        state.broken(Misconfiguration::AccessDenied, "403", at(4)).unwrap();
        assert_eq!(state.misconfiguration(), Some(Misconfiguration::Backlog));
        state.update(at(5)).unwrap();
        state.built(at(6)).unwrap();
        assert_eq!((state.lifecycle(), state.misconfiguration()), (Lifecycle::Available, None));
    }

    #[test]
    fn an_illegal_transition_leaves_the_state() {
        let mut state = LinkState::creating(at(0));
        assert_eq!(state.update(at(1)).unwrap_err().to_string(), "a link that is CREATING does not take an update");
        assert_eq!(state, LinkState::creating(at(0)));
    }

    #[test]
    fn messages_fit_the_api() {
        assert_eq!(FailureDetails::new("").message.as_ref(), "unknown");
        assert_eq!(FailureDetails::new("é".repeat(256)).message.chars().count(), 256);
        let long = FailureDetails::new("x".repeat(300)).message;
        assert!(long.chars().count() == 256 && long.ends_with('…'));
        assert_eq!(FailureDetails::new("a\nb").message.as_ref(), "a\\nb");
        assert_eq!(FailureDetails::new(r#"key "a\nb""#).message.as_ref(), r#"key "a\nb""#);
        assert_eq!(FailureDetails::new("\u{1f980}".repeat(300)).message.chars().count(), 256);
    }
}
