//! Which changes go over by themselves.

use serde::de::{DeserializeOwned, IntoDeserializer, value};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A kind of change, as the automatic policies name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventType {
    /// Something was made that was not there.
    New,
    /// Data or metadata of something that was there has changed.
    Changed,
    /// Something was deleted.
    Deleted,
}

/// A set of kinds of change. In documents it is a list of at most three, each once, in the order of [`EventType`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<EventType>", into = "Vec<EventType>")]
pub struct EventTypes {
    new: bool,
    changed: bool,
    deleted: bool,
}

impl EventTypes {
    /// No change.
    pub const NONE: Self = Self { new: false, changed: false, deleted: false };
    /// Every change.
    pub const ALL: Self = Self { new: true, changed: true, deleted: true };

    /// The same with this kind.
    #[must_use]
    pub const fn with(mut self, event: EventType) -> Self {
        match event {
            EventType::New => self.new = true,
            EventType::Changed => self.changed = true,
            EventType::Deleted => self.deleted = true,
        }
        self
    }

    /// Whether a kind of change is among them.
    #[must_use]
    pub const fn contains(self, event: EventType) -> bool {
        match event {
            EventType::New => self.new,
            EventType::Changed => self.changed,
            EventType::Deleted => self.deleted,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        !(self.new || self.changed || self.deleted)
    }
}

impl From<Vec<EventType>> for EventTypes {
    fn from(events: Vec<EventType>) -> Self {
        events.into_iter().fold(Self::NONE, Self::with)
    }
}

impl From<EventTypes> for Vec<EventType> {
    fn from(events: EventTypes) -> Self {
        let all = [EventType::New, EventType::Changed, EventType::Deleted];
        all.into_iter().filter(|event| events.contains(*event)).collect()
    }
}

/// What a link made with its file system imports by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AutoImportPolicyType {
    /// Nothing; what the API takes when nothing is said.
    #[default]
    None,
    /// New objects.
    New,
    /// New objects, and changes of old ones.
    NewChanged,
    /// New objects, changes of old ones, and deletions.
    NewChangedDeleted,
}

impl AutoImportPolicyType {
    /// The kinds of change it stands for.
    ///
    /// ```
    /// use posix_s3::repository::{AutoImportPolicyType, EventType};
    ///
    /// assert!(AutoImportPolicyType::NewChanged.events().contains(EventType::Changed));
    /// assert!(!AutoImportPolicyType::NewChanged.events().contains(EventType::Deleted));
    /// ```
    #[must_use]
    pub const fn events(self) -> EventTypes {
        EventTypes {
            new: !matches!(self, Self::None),
            changed: matches!(self, Self::NewChanged | Self::NewChangedDeleted),
            deleted: matches!(self, Self::NewChangedDeleted),
        }
    }
}

/// A value of an enumeration of the API, or one that a later version of the API has added, as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum Open<T> {
    /// One that this version knows.
    Known(T),
    /// One that it does not; it is written back as it is.
    Other(Box<str>),
}

impl<T> From<T> for Open<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Open<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<str>::deserialize(deserializer)?;
        let known: Result<T, value::Error> = T::deserialize(text.as_ref().into_deserializer());
        Ok(known.map_or(Self::Other(text), Self::Known))
    }
}

impl<T: Copy> Open<T> {
    /// The value, if this version knows it.
    #[must_use]
    pub const fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Other(_) => None,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Open<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value) => value.fmt(f),
            Self::Other(text) => crate::escape(text.as_bytes()).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_a_set_of_events() {
        assert!(AutoImportPolicyType::None.events().is_empty());
        assert_eq!(AutoImportPolicyType::New.events(), EventTypes::NONE.with(EventType::New));
        assert_eq!(AutoImportPolicyType::NewChangedDeleted.events(), EventTypes::ALL);
    }

    #[test]
    fn events_are_listed_once_and_in_order() {
        let events: EventTypes = serde_json::from_str(r#"["DELETED","NEW","NEW"]"#).unwrap();
        assert_eq!(serde_json::to_string(&events).unwrap(), r#"["NEW","DELETED"]"#);
    }

    #[test]
    fn a_value_of_a_later_version_is_kept() {
        let policy: Open<AutoImportPolicyType> = serde_json::from_str(r#""NEW_AND_SHINY""#).unwrap();
        assert_eq!(policy.known(), None);
        let policy_now: Open<AutoImportPolicyType> = serde_json::from_str(r#""NEW""#).unwrap();
        assert_eq!(policy_now, AutoImportPolicyType::New.into());
        let error = serde_json::from_str::<Open<AutoImportPolicyType>>("5").unwrap_err();
        assert_eq!(error.to_string(), "invalid type: integer `5`, expected a string at line 1 column 1");
        assert_eq!(serde_json::to_string(&policy).unwrap(), r#""NEW_AND_SHINY""#);
    }
}
