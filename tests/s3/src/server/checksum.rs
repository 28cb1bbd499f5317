//! [`Checksum`]: the `x-amz-checksum-…` of an object or a part.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};

/// The ways to compute one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "S3 documents them")]
pub enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// As S3 writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The header of requests and answers.
    #[must_use]
    pub fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element of documents.
    pub(super) fn element(self) -> String {
        format!("Checksum{}", self.name())
    }

    pub(super) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32 => Crc32::checksum(bytes).to_vec(),
            Self::Crc32c => Crc32c::checksum(bytes).to_vec(),
            Self::Crc64Nvme => Crc64Nvme::checksum(bytes).to_vec(),
            Self::Sha1 => Sha1::checksum(bytes).to_vec(),
            Self::Sha256 => Sha256::checksum(bytes).to_vec(),
        }
    }
}

/// What a checksum of an object in parts is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The whole object.
    Object,
    /// The checksums of its parts.
    Parts,
}

impl Of {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Object => "FULL_OBJECT",
            Self::Parts => "COMPOSITE",
        }
    }
}

/// A checksum as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// How it was computed.
    pub algorithm: Algorithm,
    /// In base64; with `-N` for one of N parts.
    pub value: String,
    /// Of what.
    pub of: Of,
}

impl Checksum {
    pub(super) fn new(algorithm: Algorithm, bytes: &[u8]) -> Self {
        Self { algorithm, value: STANDARD.encode(algorithm.digest(bytes)), of: Of::Object }
    }

    /// Of the checksums of parts.
    pub(super) fn of_parts<'a>(algorithm: Algorithm, parts: impl Iterator<Item = &'a [u8]>) -> Self {
        let (mut digests, mut count) = (Vec::new(), 0);
        for part in parts {
            digests.extend(algorithm.digest(part));
            count += 1;
        }
        let value = format!("{}-{count}", STANDARD.encode(algorithm.digest(&digests)));
        Self { algorithm, value, of: Of::Parts }
    }
}
