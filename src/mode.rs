//! [`Mode`], [`FileType`] and [`Permissions`]: `st_mode` as octal text.

use crate::escape::{excerpt, found_byte};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// The type of a file, the upper digits of `st_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "kebab-case"))]
pub enum FileType {
    /// A regular file, `S_IFREG`, `0o100000`.
    File,
    /// A directory, `S_IFDIR`, `0o040000`.
    Directory,
    /// A symbolic link, `S_IFLNK`, `0o120000`.
    Symlink,
    /// A named pipe, `S_IFIFO`, `0o010000`. Never stored, never made.
    Fifo,
    /// A character device, `S_IFCHR`, `0o020000`. Never stored, never made.
    CharacterDevice,
    /// A block device, `S_IFBLK`, `0o060000`. Never stored, never made.
    BlockDevice,
    /// A socket, `S_IFSOCK`, `0o140000`. Never stored, never made.
    Socket,
}

impl FileType {
    /// The mask of the type in `st_mode`, `S_IFMT`.
    pub const MASK: u32 = 0o170_000;

    /// The bits in `st_mode`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharacterDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::File => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The type in an `st_mode`, or `None` for bits that are no type.
    #[must_use]
    pub const fn from_mode(st_mode: u32) -> Option<Self> {
        match st_mode & Self::MASK {
            0o010_000 => Some(Self::Fifo),
            0o020_000 => Some(Self::CharacterDevice),
            0o040_000 => Some(Self::Directory),
            0o060_000 => Some(Self::BlockDevice),
            0o100_000 => Some(Self::File),
            0o120_000 => Some(Self::Symlink),
            0o140_000 => Some(Self::Socket),
            _ => None,
        }
    }

    /// The name in vectors and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::CharacterDevice => "character device",
            Self::BlockDevice => "block device",
            Self::Socket => "socket",
        }
    }
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The lower twelve bits of `st_mode`: permissions, set-id bits and the sticky bit.
///
/// - The value is at most `0o7777`.
/// - The text form is four octal digits: `0644`.
///
/// ```
/// use posix_s3::Permissions;
///
/// assert_eq!(Permissions::from_bits(0o644).unwrap().to_string(), "0644");
/// assert!(Permissions::from_bits(0o100644).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permissions(u16);

impl Permissions {
    /// The set-user-ID bit.
    pub const SET_UID: u32 = 0o4000;
    /// The set-group-ID bit.
    pub const SET_GID: u32 = 0o2000;
    /// The sticky bit.
    pub const STICKY: u32 = 0o1000;

    /// Takes bits up to `0o7777`, or answers `None`.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits > 0o7777 { None } else { Some(Self::from_mode(bits)) }
    }

    /// The permission part of an `st_mode`.
    #[must_use]
    pub const fn from_mode(st_mode: u32) -> Self {
        Self((st_mode & 0o7777) as u16)
    }

    /// The bits, at most `0o7777`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0 as u32
    }

    /// These permissions without the bits of `mask`.
    #[must_use]
    pub const fn without(self, mask: u32) -> Self {
        Self::from_mode(self.bits() & !mask)
    }

    /// Whether any bit of `mask` is set.
    #[must_use]
    pub const fn has(self, mask: u32) -> bool {
        self.bits() & mask != 0
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permissions({self})")
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Octal for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Octal::fmt(&self.0, f)
    }
}

/// The value of `x-amz-meta-file-permissions`: the type digits, where given, and the permissions.
///
/// - The type, where present, is one of the seven that POSIX knows.
/// - The text form is always seven octal digits, as AWS writes it: `0100644`; without a type `0000644`.
///
/// Reading takes 1 or more ASCII octal digits up to `0177777`, leading zeros allowed, no sign and no spaces.
/// Source: FSx for Lustre user guide, "POSIX metadata support" (consistent with `st_mode` of stat(2)); the range of
/// spellings is what other writers were seen to store.
///
/// ```
/// use posix_s3::{FileType, Mode};
///
/// let mode: Mode = "100755".parse()?;
/// assert_eq!(mode.file_type(), Some(FileType::File));
/// assert_eq!(mode.permissions().bits(), 0o755);
/// assert_eq!(mode.to_string(), "0100755");
///
/// let refused = "0100888".parse::<Mode>().unwrap_err();
/// assert_eq!(refused.to_string(), "invalid permissions \"0100888\": expected an octal digit, found `8` at byte 4");
/// # Ok::<(), posix_s3::InvalidMode>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode {
    file_type: Option<FileType>,
    permissions: Permissions,
}

impl Mode {
    /// A mode from its parts.
    #[must_use]
    pub const fn new(file_type: Option<FileType>, permissions: Permissions) -> Self {
        Self { file_type, permissions }
    }

    /// Reads the text of a header.
    ///
    /// # Errors
    /// [`InvalidMode`] with what was expected, what was found and where.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidMode> {
        let fault = |fault, at| InvalidMode { text: excerpt(text), fault, at };
        if text.is_empty() {
            return Err(fault(ModeFault::Empty, 0));
        }
        let mut st_mode: u32 = 0;
        for (at, &byte) in text.iter().enumerate() {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            if digit > 7 {
                return Err(fault(ModeFault::NotOctal(byte), at));
            }
            // Invariant: st_mode <= 0o177777 before, so nothing saturates.
            st_mode = st_mode.saturating_mul(8).saturating_add(digit);
            if st_mode > 0o177_777 {
                return Err(fault(ModeFault::TooLarge, at));
            }
        }
        let permissions = Permissions::from_mode(st_mode);
        if st_mode & FileType::MASK == 0 {
            return Ok(Self { file_type: None, permissions });
        }
        match FileType::from_mode(st_mode) {
            Some(file_type) => Ok(Self { file_type: Some(file_type), permissions }),
            None => Err(fault(ModeFault::UnknownType(st_mode >> 12), 0)),
        }
    }

    /// The type digits, or `None` when the text had none.
    #[must_use]
    pub const fn file_type(self) -> Option<FileType> {
        self.file_type
    }

    /// The permission digits.
    #[must_use]
    pub const fn permissions(self) -> Permissions {
        self.permissions
    }

    /// The value as `st_mode`.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self.file_type {
            Some(file_type) => file_type.bits() | self.permissions.bits(),
            None => self.permissions.bits(),
        }
    }

    /// The seven digits of the header value.
    #[must_use]
    pub fn encode(self) -> [u8; 7] {
        let mut rest = self.bits();
        let mut text = [b'0'; 7];
        for digit in text.iter_mut().rev() {
            // The masked value is below 8, so the addition stays within the ASCII digits.
            *digit = b'0'.saturating_add((rest & 7).to_le_bytes()[0]);
            rest >>= 3;
        }
        text
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:07o}", self.bits())
    }
}

impl fmt::Octal for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Octal::fmt(&self.bits(), f)
    }
}

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        Self::parse(text.as_bytes())
    }
}

/// A `file-permissions` value that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("invalid permissions \"{text}\": {fault} at byte {at}")]
pub struct InvalidMode {
    text: Box<str>,
    fault: ModeFault,
    at: usize,
}

impl InvalidMode {
    /// Why the text is refused.
    #[must_use]
    pub const fn fault(&self) -> ModeFault {
        self.fault
    }

    /// The byte at which the fault stands, from 0.
    #[must_use]
    pub const fn at(&self) -> usize {
        self.at
    }
}

/// Why a `file-permissions` value is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum ModeFault {
    /// There is no text.
    #[error("expected octal digits, found nothing")]
    Empty,
    /// A byte is no octal digit.
    #[error("expected an octal digit, found {}", found_byte(*.0))]
    NotOctal(u8),
    /// The value exceeds `0177777`; `100000644` is the type and the mask written one after the other.
    #[error("expected at most 0177777, found more")]
    TooLarge,
    /// The type digits name no type.
    #[error("expected the digits of a file type, found {:#o}", .0)]
    UnknownType(u32),
}

impl ModeFault {
    /// The name of the reason in vectors.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotOctal(_) => "not-octal",
            Self::TooLarge => "too-large",
            Self::UnknownType(_) => "unknown-file-type",
        }
    }
}

#[cfg(feature = "serde")]
mod text {
    use super::{Mode, Permissions};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    impl Serialize for Permissions {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Permissions {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let mode: Mode = text.parse().map_err(de::Error::custom)?;
            if mode.file_type().is_some() {
                return Err(de::Error::custom(format_args!("invalid permissions {text:?}: expected at most 7777")));
            }
            Ok(mode.permissions())
        }
    }

    impl Serialize for Mode {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Mode {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_prints_and_parses_back() {
        for st_mode in 0..=0o177_777_u32 {
            match format!("{st_mode:o}").parse::<Mode>() {
                Ok(mode) => {
                    assert_eq!(mode.bits(), st_mode);
                    assert_eq!(mode.to_string().as_bytes(), mode.encode());
                    assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
                }
                Err(error) => {
                    assert_eq!(error.fault(), ModeFault::UnknownType(st_mode >> 12));
                    assert_eq!(FileType::from_mode(st_mode), None);
                }
            }
        }
    }

    #[test]
    fn the_seven_types_of_posix_have_their_digits_and_names() {
        let types = [
            (FileType::Fifo, 0o010_000, "fifo"),
            (FileType::CharacterDevice, 0o020_000, "character device"),
            (FileType::Directory, 0o040_000, "directory"),
            (FileType::BlockDevice, 0o060_000, "block device"),
            (FileType::File, 0o100_000, "file"),
            (FileType::Symlink, 0o120_000, "symlink"),
            (FileType::Socket, 0o140_000, "socket"),
        ];
        for (file_type, bits, name) in types {
            assert_eq!((file_type.bits(), file_type.name(), file_type.to_string().as_str()), (bits, name, name));
            assert_eq!(FileType::from_mode(bits | 0o7777), Some(file_type));
            let mode = Mode::new(Some(file_type), Permissions::from_mode(0o7777));
            assert_eq!((mode.file_type(), mode.bits()), (Some(file_type), bits | 0o7777));
            assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
        }
        let known = (0..16).filter(|&digits| FileType::from_mode(digits << 12).is_some());
        assert_eq!(known.count(), types.len());
    }

    #[test]
    fn permissions_are_the_lower_twelve_bits_and_no_others() {
        assert_eq!(Permissions::from_bits(0o7777).map(Permissions::bits), Some(0o7777));
        assert_eq!(Permissions::from_bits(0o10000), None);
        let permissions = Permissions::from_mode(0o104_755);
        assert_eq!((permissions.bits(), permissions.to_string().as_str()), (0o4755, "4755"));
        assert_eq!(
            (format!("{permissions:?}").as_str(), format!("{permissions:o}").as_str()),
            ("Permissions(4755)", "4755")
        );
        assert_eq!(permissions.without(Permissions::SET_UID | 0o022).bits(), 0o755);
        assert!(permissions.has(Permissions::SET_UID) && permissions.has(Permissions::SET_UID | Permissions::SET_GID));
        assert!(!permissions.has(Permissions::SET_GID | Permissions::STICKY));
        assert_eq!(Permissions::from_mode(0o7).to_string(), "0007");
    }

    #[test]
    fn a_mode_without_a_type_is_its_permissions() {
        let mode: Mode = "755".parse().unwrap();
        assert_eq!((mode.file_type(), mode.permissions().bits(), mode.bits()), (None, 0o755, 0o755));
        assert_eq!((mode.to_string().as_str(), format!("{mode:o}").as_str()), ("0000755", "755"));
        assert_eq!(&mode.encode(), b"0000755");
    }

    #[test]
    fn a_fault_says_where_it_stands_and_has_its_code() {
        let refused = |text: &str| {
            let refused = text.parse::<Mode>().unwrap_err();
            (refused.at(), refused.fault().code())
        };
        assert_eq!(refused(""), (0, "empty"));
        assert_eq!(refused("0100888"), (4, "not-octal"));
        assert_eq!(refused("/"), (0, "not-octal"));
        assert_eq!(refused("100000644"), (6, "too-large"));
        assert_eq!(refused("0030000"), (0, "unknown-file-type"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn the_text_forms_are_octal_and_permissions_have_no_type() {
        let mode: Mode = "0100644".parse().unwrap();
        assert_eq!(serde_json::to_string(&mode).unwrap(), "\"0100644\"");
        assert_eq!(serde_json::from_str::<Mode>("\"100644\"").unwrap(), mode);
        assert_eq!(serde_json::to_string(&mode.permissions()).unwrap(), "\"0644\"");
        assert_eq!(serde_json::from_str::<Permissions>("\"644\"").unwrap(), mode.permissions());
        assert!(serde_json::from_str::<Permissions>("\"0100644\"").is_err());
    }

    #[test]
    fn leading_zeros_do_not_matter() {
        assert_eq!("00000000000100644".parse::<Mode>().unwrap().bits(), 0o100_644);
    }

    #[test]
    fn type_and_mask_written_one_after_the_other_are_too_large() {
        assert_eq!("100000644".parse::<Mode>().unwrap_err().fault(), ModeFault::TooLarge);
    }

    #[test]
    fn messages() {
        let message = |text: &str| text.parse::<Mode>().unwrap_err().to_string();
        assert_eq!(message(""), "invalid permissions \"\": expected octal digits, found nothing at byte 0");
        assert_eq!(message("+644"), "invalid permissions \"+644\": expected an octal digit, found `+` at byte 0");
        assert_eq!(
            message("64\u{661}"),
            "invalid permissions \"64\u{661}\": expected an octal digit, found byte 0xd9 at byte 2"
        );
        assert_eq!(message("200000"), "invalid permissions \"200000\": expected at most 0177777, found more at byte 5");
        assert_eq!(
            message("33206"),
            "invalid permissions \"33206\": expected the digits of a file type, found 0o3 at byte 0"
        );
    }
}
