//! Law: under every service and attitude an object is an entry or refused; an entry encodes to an object that decodes
//! to the same entry, normalized, without a finding; no set-id bit that the profile drops is ever applied or written.
//!
//! Input: the key, a line with the size (that of the body if it is no number), headers as `headers` reads them, an
//! empty line, the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::{
    Attitude, Attributes, Entry, EntryKind, FILE_PERMISSIONS, Fields, FileType, Gid, Key, ObjectHead, Permissions,
    Profile, Refusal, Service, Timestamp, Uid,
};
use posix_s3_fuzz::split_once;

/// The permission bits that may pass, from the table of editions; strangers give no privilege.
fn allowed(profile: &Profile, file_type: FileType) -> u32 {
    let setgid = matches!(profile.service, Service::Fsx2022 | Service::Fsx2026) && profile.attitude == Attitude::Fsx;
    let set_id = if setgid { 0o2000 } else { 0 };
    let sticky = if file_type == FileType::Directory { 0o1000 } else { 0 };
    0o777 | set_id | sticky
}

fn import(
    object: (&Key, &Fields<'_>, u64, &[u8]),
    profile: &Profile,
    current: Option<&Entry>,
) -> Result<(Entry, usize), Refusal> {
    let (key, &fields, size, body) = object;
    let last_modified = Timestamp::from_unix(1_595_002_920, 0).unwrap();
    let decoded = ObjectHead { key, fields, size, last_modified }.decode(profile, current)?;
    for finding in &decoded.findings {
        assert!(!finding.to_string().is_empty() && !finding.code().is_empty());
    }
    let findings = decoded.findings.len();
    Ok((decoded.into_entry(key, body, profile)?, findings))
}

fuzz_target!(|input: &[u8]| {
    let Some((key, rest)) = split_once(input, b'\n') else { return };
    let Some((size, rest)) = split_once(rest, b'\n') else { return };
    let Ok(key) = Key::from_bytes(key) else { return };
    let cut = rest.windows(2).position(|pair| pair == b"\n\n");
    let (lines, body) = cut.map_or((rest, &b""[..]), |at| (&rest[..at], &rest[at + 2..]));
    let size = std::str::from_utf8(size).ok().and_then(|size| size.parse().ok()).unwrap_or(body.len() as u64);
    let headers = posix_s3_fuzz::headers(lines);
    let fields = Fields::from_headers(&headers);
    let every_bit = Attributes {
        permissions: Permissions::from_mode(0o7777),
        uid: Uid::NOBODY,
        gid: Gid::NOBODY,
        atime: Timestamp::EPOCH,
        mtime: Timestamp::EPOCH,
    };
    let kind = if key.is_directory() { EntryKind::Directory } else { EntryKind::File { size: 1 } };
    let every_bit = Entry::new(key.clone(), kind, every_bit).unwrap();

    for service in Service::ALL {
        for (attitude, current) in [
            (Attitude::Fsx, None),
            (Attitude::Fsx, Some(&every_bit)),
            (Attitude::Untrusted, None),
            (Attitude::Untrusted, Some(&every_bit)),
        ] {
            let profile = Profile::new(service, attitude);
            let entry = match import((&key, &fields, size, body), &profile, current) {
                Ok((entry, _)) => entry,
                Err(refusal) => {
                    assert!(!refusal.to_string().is_empty() && !refusal.code().is_empty());
                    continue;
                }
            };
            let dropped = !allowed(&profile, entry.file_type());
            assert_eq!(entry.attributes().permissions.bits() & dropped, 0);
            assert_eq!(entry.key().is_directory(), entry.file_type() == FileType::Directory);
            if let EntryKind::Symlink { target } = entry.kind() {
                assert_eq!(target.as_bytes(), body);
                assert!(attitude == Attitude::Fsx || !target.leaves_root(&key));
            }
            if attitude == Attitude::Fsx && current.is_none() {
                posix_s3_fuzz::reads_back(&entry);
            }

            let written = entry.encode(&profile);
            let mode = u32::from_str_radix(written[&FILE_PERMISSIONS].to_str().unwrap(), 8).unwrap();
            assert_eq!(mode & 0o7777 & dropped, 0);
            let expected = entry.clone().normalized(&profile);
            assert_eq!(expected.encode(&profile), written);
            let object = (&key, &Fields::from_headers(&written), entry.object_size(), body);
            assert_eq!(import(object, &profile, None).unwrap(), (expected, 0));
        }
    }
});
