//! [`Credentials`]: in whose name requests are made.

use crate::escape::found_byte;
use aws_credential_types::Credentials as SignerCredentials;
use std::fmt;
use thiserror::Error;

/// In whose name requests are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// In nobody's: requests are not signed, and reach what a bucket shows to everybody.
    Anonymous,
    /// In that of whoever holds these keys.
    Keys(Keys),
}

/// An access key: its id, its secret, and the session token of keys that are lent for a time.
///
/// - The id and the token are fit to stand in a header.
/// - No text has a blank or a line break at its ends, which would only show as a signature that does not match.
/// - The secret and the token are never printed, and are wiped from memory in the end.
///
/// ```
/// use posix_s3::store::s3::Keys;
///
/// let keys = Keys::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None)?;
/// assert!(!format!("{keys:?}").contains("wJalr"));
/// assert!(Keys::new("AKIAIOSFODNN7EXAMPLE\n", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None).is_err());
/// # Ok::<(), posix_s3::store::s3::KeysError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Keys(SignerCredentials);

impl Keys {
    /// Takes the id and the secret of an access key, and the session token if there is one.
    ///
    /// # Errors
    /// [`KeysError`], for a text that cannot be what it should be.
    pub fn new(access_key_id: &str, secret_access_key: &str, session_token: Option<&str>) -> Result<Self, KeysError> {
        check(KeyPart::AccessKeyId, access_key_id)?;
        check(KeyPart::SecretAccessKey, secret_access_key)?;
        if let Some(token) = session_token {
            check(KeyPart::SessionToken, token)?;
        }
        let token = session_token.map(str::to_owned);
        Ok(Self(SignerCredentials::new(access_key_id, secret_access_key, token, None, "posix-s3")))
    }

    /// The id, which is no secret.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        self.0.access_key_id()
    }

    /// The secret.
    #[must_use]
    pub fn secret_access_key(&self) -> &str {
        self.0.secret_access_key()
    }

    /// The session token, as secret as the secret.
    #[must_use]
    pub fn session_token(&self) -> Option<&str> {
        self.0.session_token()
    }

    /// The same as the signer takes it.
    #[allow(dead_code, reason = "for the door that signs")]
    pub(super) const fn as_signer(&self) -> &SignerCredentials {
        &self.0
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("access_key_id", &self.access_key_id()).finish_non_exhaustive()
    }
}

/// Refuses a text that would end in a signature that does not match, or in a header that cannot be sent.
fn check(part: KeyPart, text: &str) -> Result<(), KeysError> {
    let is_fit = |byte: u8| match part {
        // The id stands before a `/` in the header, and a `,` ends it.
        KeyPart::AccessKeyId => byte.is_ascii_graphic() && byte != b'/' && byte != b',',
        KeyPart::SessionToken => byte.is_ascii_graphic(),
        // Only ever fed to a hash: other servers take what they like.
        KeyPart::SecretAccessKey => !byte.is_ascii_control(),
    };
    if text.is_empty() {
        return Err(KeysError::Empty { part });
    }
    if let Some((at, byte)) = text.bytes().enumerate().find(|(_, byte)| !is_fit(*byte)) {
        // The one byte that is shown belongs to no secret.
        return Err(KeysError::Byte { part, found: found_byte(byte).into(), at });
    }
    if text.trim() != text {
        return Err(KeysError::Blank { part });
    }
    Ok(())
}

/// The texts of an access key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the text of its name")]
pub enum KeyPart {
    AccessKeyId,
    SecretAccessKey,
    SessionToken,
}

impl fmt::Display for KeyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AccessKeyId => "access key id",
            Self::SecretAccessKey => "secret access key",
            Self::SessionToken => "session token",
        })
    }
}

/// A text that cannot be part of an access key. None of it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the text and the place")]
pub enum KeysError {
    /// It is empty.
    #[error("invalid {part}: expected some characters, found none")]
    Empty { part: KeyPart },
    /// A byte in it cannot be.
    #[error("invalid {part}: expected printable characters, found {found} at byte {at}")]
    Byte { part: KeyPart, found: Box<str>, at: usize },
    /// It begins or ends with a blank.
    #[error("invalid {part}: expected no blank at its ends")]
    Blank { part: KeyPart },
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "AKIAIOSFODNN7EXAMPLE";

    #[test]
    fn messages() {
        let message = |id, secret, token| Keys::new(id, secret, token).unwrap_err().to_string();
        assert_eq!(message("", "secret", None), "invalid access key id: expected some characters, found none");
        assert_eq!(
            message(ID, "secret\n", None),
            "invalid secret access key: expected printable characters, found byte 0x0a at byte 6"
        );
        assert_eq!(message(ID, " secret", None), "invalid secret access key: expected no blank at its ends");
        assert_eq!(
            message(ID, "secret", Some("tok en")),
            "invalid session token: expected printable characters, found byte 0x20 at byte 3"
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let keys = Credentials::Keys(Keys::new(ID, "hush", Some("quiet")).unwrap());
        assert_eq!(format!("{keys:?}"), r#"Keys(Keys { access_key_id: "AKIAIOSFODNN7EXAMPLE", .. })"#);
    }

    #[test]
    fn a_secret_of_another_server_may_hold_anything_printable() {
        let keys = Keys::new("GK1", r##"a b#c;d"e'f\g\ü"##, None).unwrap();
        assert_eq!(keys.secret_access_key(), r##"a b#c;d"e'f\g\ü"##);
    }
}
