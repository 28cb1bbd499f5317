//! Law: any list of headers decodes; each field comes from its own header or is said not to; a field is damaged only
//! if its header is there; what was decoded encodes and decodes to the same; the strict form agrees with the lax one.
//!
//! Input: lines `name:value`, see `headers`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::{Attributes, Fallback, Field, Fields, FileType, Gid, Origin, Permissions, Timestamp, Uid};

const FIELDS: [Field; 5] = [Field::Permissions, Field::Owner, Field::Group, Field::Atime, Field::Mtime];

fuzz_target!(|lines: &[u8]| {
    let headers = posix_s3_fuzz::headers(lines);
    let fields = Fields::from_headers(&headers);
    let fallback = Fallback {
        permissions: Permissions::from_mode(0o751),
        uid: Uid::new(11).unwrap(),
        gid: Gid::new(12).unwrap(),
        modified: Timestamp::from_unix(13, 14).unwrap(),
        origin: Origin::Default,
    };
    let decoded = Attributes::decode_or_default(&fields, &fallback);

    for field in FIELDS {
        let values = headers.get_all(field.header()).iter().count();
        let own = decoded.origins.of(field) == Origin::Header;
        let damaged = decoded.damaged.iter().filter(|error| error.field() == field).count();
        assert_eq!(usize::from(own) + damaged, values.min(1), "{field}");
        assert!(!own || values == 1, "{field}");
    }
    for error in &decoded.damaged {
        assert!(!error.to_string().is_empty() && !error.fault().code().is_empty());
    }
    let found = decoded.attributes;
    if decoded.origins.atime == Origin::Mtime {
        assert_eq!(found.atime, found.mtime);
    }
    if decoded.origins.mtime == Origin::LastModified {
        assert_eq!(found.mtime, fallback.modified);
    }

    let complete = decoded.origins.defaulted().count() == 0;
    assert_eq!(Attributes::decode(&fields).ok(), complete.then_some((decoded.file_type, found)));

    let file_type = decoded.file_type.unwrap_or(FileType::File);
    let written = found.encode(file_type);
    assert_eq!(Attributes::decode(&Fields::from_headers(&written)).unwrap(), (Some(file_type), found));
    posix_s3_fuzz::reads_back(&found);

    let pairs =
        headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("x-amz-meta-")?, value.as_bytes())));
    let stripped = Fields::from_user_metadata(pairs);
    assert_eq!(Attributes::decode_or_default(&stripped, &fallback), decoded);
});
