//! [`ContentTypes`]: the `Content-Type` of an exported object.

use crate::key::Key;
use crate::mode::FileType;
use http::HeaderValue;
use std::fmt;
use std::sync::Arc;

/// What S3 itself stores for an object without a type; for files of unknown extension and for links.
const UNKNOWN: HeaderValue = HeaderValue::from_static("binary/octet-stream");
/// The usual type of a directory's object; s3fs and others know a directory by it.
const DIRECTORY: HeaderValue = HeaderValue::from_static("application/x-directory");

/// How the `Content-Type` of an exported object is chosen.
///
/// - A file: by the extension of its name, as `mime_guess` knows it; else `binary/octet-stream`.
/// - A directory: `application/x-directory`.
/// - A link: `binary/octet-stream`, whatever its name; the body is a path.
///
/// The services do not document what they write for directories and links. An import never looks at the type.
///
/// ```
/// use posix_s3::{ContentTypes, FileType, Key};
///
/// let types = ContentTypes::default();
/// assert_eq!(types.of(&Key::parse("a/notes.txt")?, FileType::File), "text/plain");
///
/// let own = ContentTypes::with_override(|key, _| key.name().ends_with(".txt").then(|| http::HeaderValue::from_static("text/x-own")));
/// assert_eq!(own.of(&Key::parse("a/notes.txt")?, FileType::File), "text/x-own");
/// assert_eq!(own.of(&Key::parse("a/photo.png")?, FileType::File), "image/png");
/// # Ok::<(), posix_s3::InvalidKey>(())
/// ```
#[derive(Clone, Default)]
pub struct ContentTypes {
    choose: Option<Arc<Choose>>,
}

type Choose = dyn Fn(&Key, FileType) -> Option<HeaderValue> + Send + Sync;

impl ContentTypes {
    /// Asks `choose` first; where it answers `None`, the usual choice stands.
    pub fn with_override(choose: impl Fn(&Key, FileType) -> Option<HeaderValue> + Send + Sync + 'static) -> Self {
        Self { choose: Some(Arc::new(choose)) }
    }

    /// The type for a key.
    #[must_use]
    pub fn of(&self, key: &Key, file_type: FileType) -> HeaderValue {
        if let Some(chosen) = self.choose.as_ref().and_then(|choose| choose(key, file_type)) {
            return chosen;
        }
        match file_type {
            FileType::Directory => DIRECTORY,
            FileType::File => by_extension(key.name()).unwrap_or(UNKNOWN),
            _ => UNKNOWN,
        }
    }
}

fn by_extension(name: &str) -> Option<HeaderValue> {
    let guess = mime_guess::from_path(name).first_raw()?;
    Some(HeaderValue::from_static(guess))
}

impl fmt::Debug for ContentTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.choose.is_some() { "ContentTypes(override)" } else { "ContentTypes(by extension)" })
    }
}
