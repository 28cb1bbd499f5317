//! The runner of the vectors: what this crate makes of an input, and whether that is what the vector says.
//!
//! Pure functions over [`Value`]; the test and the example read the files. The form is described in `README.md`.

use http::{HeaderMap, HeaderName, HeaderValue};
use posix_s3::{
    Attitude, Attributes, Damage, Entry, EntryKind, Field, Fields, FileType, Gid, InvalidField, Key, Mode, ObjectHead,
    Profile, Refusal, Service, SymlinkTarget, Timestamp, Uid,
};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// Whether the reason of a refusal has to be the stated one. Files from elsewhere have words of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reasons {
    Compared,
    PassedOver,
}

/// What became of one vector.
pub(crate) struct Judged {
    pub(crate) id: String,
    pub(crate) outcome: Outcome,
    /// Why the vector does not pass; a vector without a problem passes.
    pub(crate) problem: Option<String>,
}

/// What this crate makes of an input.
pub(crate) enum Outcome {
    /// It is taken, with this output.
    Accept(Value),
    /// It is refused, with this reason.
    Reject(String),
    /// It is no input of its subject.
    Unread,
}

impl Judged {
    /// The vector as one line of a report.
    pub(crate) fn to_json(&self) -> Value {
        let mut line = match &self.outcome {
            Outcome::Accept(output) => json!({"id": self.id, "result": "accept", "output": output}),
            Outcome::Reject(reason) => json!({"id": self.id, "result": "reject", "reason": reason}),
            Outcome::Unread => json!({"id": self.id, "result": "unread"}),
        };
        if let Value::Object(fields) = &mut line {
            fields.insert("pass".to_owned(), self.problem.is_none().into());
            if let Some(problem) = &self.problem {
                fields.insert("problem".to_owned(), problem.as_str().into());
            }
        }
        line
    }
}

/// Judges every vector of a file, in its order.
///
/// # Errors
/// What keeps the value from being a vector file.
pub(crate) fn judge_file(file: &Value, reasons: Reasons) -> Result<Vec<Judged>, String> {
    let file = file.as_object().ok_or("expected an object")?;
    if file.get("version") != Some(&json!(1)) {
        return Err("expected `version` 1".to_owned());
    }
    let name = file.get("subject").and_then(Value::as_str).ok_or("expected a text as `subject`")?;
    let subject = Subject::ALL.into_iter().find(|subject| subject.name() == name);
    let subject = subject.ok_or_else(|| format!("expected one of the eight subjects, found `{name}`"))?;
    let vectors = file.get("vectors").and_then(Value::as_array).ok_or("expected a list as `vectors`")?;
    let numbered = vectors.iter().enumerate();
    numbered
        .map(|(index, vector)| {
            Vector::read(vector)
                .map(|vector| vector.judge(subject, file, reasons))
                .map_err(|problem| format!("vector {index}, counted from 0: {problem}"))
        })
        .collect()
}

struct Vector<'a> {
    id: &'a str,
    input: &'a Map<String, Value>,
    result: Expected,
    output: Option<&'a Value>,
    reason: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Accept,
    Reject,
    Either,
}

impl<'a> Vector<'a> {
    fn read(vector: &'a Value) -> Result<Self, String> {
        let vector = vector.as_object().ok_or("expected an object")?;
        let result = match vector.get("result").and_then(Value::as_str) {
            Some("accept") => Expected::Accept,
            Some("reject") => Expected::Reject,
            Some("either") => Expected::Either,
            _ => return Err("expected `accept`, `reject` or `either` as `result`".to_owned()),
        };
        Ok(Self {
            id: vector.get("id").and_then(Value::as_str).ok_or("expected a text as `id`")?,
            input: vector.get("input").and_then(Value::as_object).ok_or("expected an object as `input`")?,
            result,
            output: vector.get("output"),
            reason: vector.get("reason").and_then(Value::as_str),
        })
    }

    fn judge(&self, subject: Subject, file: &Map<String, Value>, reasons: Reasons) -> Judged {
        let decided = Input::read(subject, file, self.input).and_then(|input| subject.decide(&input));
        let (outcome, problem) = match decided {
            Ok(output) => {
                let problem = match (self.result, self.output) {
                    (Expected::Reject, _) => Some("expected a refusal, found an output".to_owned()),
                    (_, Some(expected)) => difference(expected, &output),
                    (_, None) => None,
                };
                (Outcome::Accept(output), problem)
            }
            Err(Fault::Refused(found)) => {
                let problem = match (self.result, self.reason) {
                    (Expected::Accept, _) => Some(format!("expected an output, found the refusal `{found}`")),
                    (_, Some(expected)) if reasons == Reasons::Compared && expected != found => {
                        Some(format!("expected the reason `{expected}`, found `{found}`"))
                    }
                    _ => None,
                };
                (Outcome::Reject(found.to_owned()), problem)
            }
            Err(Fault::Unread(problem)) => (Outcome::Unread, Some(problem)),
        };
        Judged { id: self.id.to_owned(), outcome, problem }
    }
}

/// The first stated field of the output that is not as found.
fn difference(expected: &Value, found: &Value) -> Option<String> {
    let Some(expected) = expected.as_object() else { return Some("expected an object as `output`".to_owned()) };
    expected.iter().find_map(|(name, expected)| match found.get(name) {
        None => Some(format!("expected `{name}` to be {expected}, found no such output")),
        Some(found) if same(name, expected, found) => None,
        Some(found) => Some(format!("expected `{name}` to be {expected}, found {found}")),
    })
}

fn same(name: &str, expected: &Value, found: &Value) -> bool {
    match (name, expected, found) {
        ("headers", Value::Object(expected), Value::Object(found)) => same_headers(expected, found),
        ("defaulted", Value::Array(expected), Value::Array(found)) => {
            expected.len() == found.len() && found.iter().all(|name| expected.contains(name))
        }
        (_, Value::String(expected), Value::String(found)) if name.ends_with("_hex") => {
            expected.eq_ignore_ascii_case(found)
        }
        // A number may be written as text and the other way round.
        (_, Value::Number(number), Value::String(text)) | (_, Value::String(text), Value::Number(number)) => {
            number.to_string() == *text
        }
        _ => expected == found,
    }
}

/// Headers are compared whole; `content-type` alone may be left out.
fn same_headers(expected: &Map<String, Value>, found: &Map<String, Value>) -> bool {
    let mut found = found.clone();
    let expected: Map<String, Value> =
        expected.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    if !expected.contains_key("content-type") {
        found.remove("content-type");
    }
    expected == found
}

/// Why an input has no output.
enum Fault {
    /// The crate refuses it, with this code.
    Refused(&'static str),
    /// It is no input of the subject; the vector is at fault.
    Unread(String),
}

fn unread(problem: impl Into<String>) -> Fault {
    Fault::Unread(problem.into())
}

impl From<posix_s3::InvalidKey> for Fault {
    fn from(error: posix_s3::InvalidKey) -> Self {
        Self::Refused(error.fault().code())
    }
}

impl From<posix_s3::InvalidMode> for Fault {
    fn from(error: posix_s3::InvalidMode) -> Self {
        Self::Refused(error.fault().code())
    }
}

impl From<posix_s3::InvalidTarget> for Fault {
    fn from(error: posix_s3::InvalidTarget) -> Self {
        Self::Refused(error.code())
    }
}

impl From<InvalidField> for Fault {
    fn from(error: InvalidField) -> Self {
        Self::Refused(error.fault().code())
    }
}

impl From<Refusal> for Fault {
    fn from(error: Refusal) -> Self {
        Self::Refused(error.code())
    }
}

/// The `input` of a vector and the profile that it names.
struct Input<'a> {
    fields: &'a Map<String, Value>,
    profile: Profile,
}

impl<'a> Input<'a> {
    fn read(subject: Subject, file: &Map<String, Value>, fields: &'a Map<String, Value>) -> Result<Self, Fault> {
        let known = |name: &str| subject.inputs().contains(&name) || name == "profile" || name == "attitude";
        if let Some(name) = fields.keys().find(|name| !known(name)) {
            return Err(unread(format!("`{}` has no input `{name}`", subject.name())));
        }
        let stated = |name| fields.get(name).or_else(|| file.get(name));
        let service = match stated("profile") {
            None => Some(Service::Fsx2020),
            Some(name) => Service::ALL.into_iter().find(|service| name == service.name()),
        };
        let attitude = match stated("attitude").map(|name| name.as_str()) {
            None | Some(Some("fsx")) => Some(Attitude::Fsx),
            Some(Some("untrusted")) => Some(Attitude::Untrusted),
            Some(_) => None,
        };
        let profile = Profile::new(
            service.ok_or_else(|| unread("expected the name of a service as `profile`"))?,
            attitude.ok_or_else(|| unread("expected `fsx` or `untrusted` as `attitude`"))?,
        );
        Ok(Self { fields, profile })
    }

    fn get(&self, name: &str) -> Result<&'a Value, Fault> {
        self.fields.get(name).ok_or_else(|| unread(format!("expected an input `{name}`")))
    }

    fn text(&self, name: &str) -> Result<&'a str, Fault> {
        self.get(name)?.as_str().ok_or_else(|| unread(format!("expected a text as `{name}`")))
    }

    fn key(&self) -> Result<Key, Fault> {
        Ok(Key::parse(self.text("key")?)?)
    }

    /// The bytes of a text of hexadecimal digits, two for each.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, Fault> {
        let byte = |pair: &[u8]| match pair {
            [_, _] if pair.iter().all(u8::is_ascii_hexdigit) => {
                std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
            }
            _ => None,
        };
        let bytes: Option<Vec<u8>> = self.text(name)?.as_bytes().chunks(2).map(byte).collect();
        bytes.ok_or_else(|| unread(format!("expected pairs of hexadecimal digits as `{name}`")))
    }

    fn bytes_if_stated(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.fields.contains_key(name).then(|| self.bytes(name)).transpose()
    }

    /// A whole number, as a number or as decimal text.
    fn integer(&self, name: &str) -> Result<i128, Fault> {
        let integer = match self.get(name)? {
            Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        integer.ok_or_else(|| unread(format!("expected a whole number as `{name}`")))
    }

    fn id(&self, name: &str) -> Result<u32, Fault> {
        u32::try_from(self.integer(name)?).map_err(|_| Fault::Refused("out-of-range"))
    }

    fn time(&self, name: &str) -> Result<Timestamp, Fault> {
        Timestamp::from_nanoseconds(self.integer(name)?).ok_or(Fault::Refused("out-of-range"))
    }

    /// A map of names to texts, or to lists of texts for headers that stand there several times.
    fn headers(&self, name: &str) -> Result<HeaderMap, Fault> {
        let mut headers = HeaderMap::new();
        let Some(stated) = self.fields.get(name) else { return Ok(headers) };
        let stated = stated.as_object().ok_or_else(|| unread(format!("expected an object as `{name}`")))?;
        for (name, values) in stated {
            let not_a_header = || unread(format!("expected a header that HTTP can carry as `{name}`"));
            let header_name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| not_a_header())?;
            for value in values.as_array().map_or(std::slice::from_ref(values), Vec::as_slice) {
                let value = value.as_str().ok_or_else(not_a_header)?;
                let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| not_a_header())?;
                headers.append(header_name.clone(), value);
            }
        }
        Ok(headers)
    }
}

/// What a file of vectors is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Key,
    Permissions,
    Id,
    Time,
    Symlink,
    Object,
    Encode,
    Order,
}

impl Subject {
    pub(crate) const ALL: [Self; 8] =
        [Self::Key, Self::Permissions, Self::Id, Self::Time, Self::Symlink, Self::Object, Self::Encode, Self::Order];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Permissions => "permissions",
            Self::Id => "id",
            Self::Time => "time",
            Self::Symlink => "symlink",
            Self::Object => "object",
            Self::Encode => "encode",
            Self::Order => "order",
        }
    }

    /// The fields of an input, besides `profile` and `attitude`.
    const fn inputs(self) -> &'static [&'static str] {
        match self {
            Self::Key => &["key", "key_hex"],
            Self::Permissions => &["key", "value"],
            Self::Id | Self::Time => &["value"],
            Self::Symlink => &["key", "body_hex"],
            Self::Object => &["key", "headers", "size", "last_modified_ns", "body_hex"],
            Self::Encode => &["path", "file_type", "mode", "uid", "gid", "atime_ns", "mtime_ns", "target_hex"],
            Self::Order => &["keys"],
        }
    }

    fn decide(self, input: &Input<'_>) -> Result<Value, Fault> {
        match self {
            Self::Key => key(input),
            Self::Permissions => permissions(input),
            Self::Id => id(input),
            Self::Time => time(input),
            Self::Symlink => symlink(input),
            Self::Object => object(input),
            Self::Encode => encode(input),
            Self::Order => order(input),
        }
    }
}

fn key(input: &Input<'_>) -> Result<Value, Fault> {
    let key = match input.bytes_if_stated("key_hex")? {
        Some(_) if input.fields.contains_key("key") => return Err(unread("expected `key` or `key_hex`, found both")),
        Some(bytes) => Key::from_bytes(&bytes)?,
        None => input.key()?,
    };
    Ok(json!({"path": key.path(), "directory": key.is_directory()}))
}

fn permissions(input: &Input<'_>) -> Result<Value, Fault> {
    let key = input.key()?;
    let fields = Fields::from_user_metadata([("file-permissions", input.text("value")?)]);
    let head = ObjectHead { key: &key, fields, size: 0, last_modified: Timestamp::EPOCH };
    let mut profile = input.profile.clone();
    profile.damage = Damage::Refuse;
    let decoded = head.decode(&profile, None)?;
    Ok(json!({
        "file_type": decoded.file_type.name(),
        "permissions": decoded.attributes.permissions.to_string(),
    }))
}

fn id(input: &Input<'_>) -> Result<Value, Fault> {
    let value = input.text("value")?;
    let fields = Fields::from_user_metadata([("file-owner", value), ("file-group", value)]);
    let uid = fields.uid().map(|id| id.map(Uid::get)).map_err(Fault::from);
    let gid = fields.gid().map(|id| id.map(Gid::get)).map_err(Fault::from);
    agreed(uid, gid).map(|id| json!({"id": id}))
}

fn time(input: &Input<'_>) -> Result<Value, Fault> {
    let value = input.text("value")?;
    let fields = Fields::from_user_metadata([("file-atime", value), ("file-mtime", value)]);
    let read = |field| fields.time(field).map_err(Fault::from);
    let time = agreed(read(Field::Atime), read(Field::Mtime))?;
    Ok(json!({"ns": time.map(|time| time.nanoseconds().to_string())}))
}

/// Two fields that read alike have to answer alike.
fn agreed<T: PartialEq>(one: Result<T, Fault>, other: Result<T, Fault>) -> Result<T, Fault> {
    match (one, other) {
        (Ok(one), Ok(other)) if one == other => Ok(one),
        (Err(Fault::Refused(one)), Err(Fault::Refused(other))) if one == other => Err(Fault::Refused(one)),
        _ => Err(unread("two fields that read alike answer differently")),
    }
}

fn symlink(input: &Input<'_>) -> Result<Value, Fault> {
    let key = Key::parse(if input.fields.contains_key("key") { input.text("key")? } else { "link" })?;
    let body = input.bytes("body_hex")?;
    let head = ObjectHead {
        key: &key,
        fields: Fields::from_user_metadata([("file-permissions", "0120777")]),
        size: body.len() as u64,
        last_modified: Timestamp::EPOCH,
    };
    let entry = head.decode(&input.profile, None)?.into_entry(&key, &body, &input.profile)?;
    match entry.kind() {
        EntryKind::Symlink { target } => Ok(json!({"target_hex": hex(target.as_bytes())})),
        _ => Err(unread("expected a key that can be a link")),
    }
}

fn object(input: &Input<'_>) -> Result<Value, Fault> {
    let key = input.key()?;
    let headers = input.headers("headers")?;
    let body = input.bytes_if_stated("body_hex")?;
    let size = match &body {
        Some(body) if !input.fields.contains_key("size") => body.len() as u64,
        None if !input.fields.contains_key("size") => 0,
        _ => u64::try_from(input.integer("size")?).map_err(|_| unread("expected a size of 64 bits"))?,
    };
    let stored = input.fields.contains_key("last_modified_ns");
    let last_modified = if stored { input.time("last_modified_ns")? } else { Timestamp::EPOCH };
    let head = ObjectHead { key: &key, fields: Fields::from_headers(&headers), size, last_modified };
    let decoded = head.decode(&input.profile, None)?;

    let mut output = json!({
        "path": key.path(),
        "file_type": decoded.file_type.name(),
        "permissions": decoded.attributes.permissions.to_string(),
        "uid": decoded.attributes.uid.get(),
        "gid": decoded.attributes.gid.get(),
        "atime_ns": decoded.attributes.atime.nanoseconds().to_string(),
        "mtime_ns": decoded.attributes.mtime.nanoseconds().to_string(),
        "defaulted": decoded.origins.defaulted().collect::<Vec<_>>(),
    });
    // A body that is announced and not stated leaves the target open; the rest of the object is judged all the same.
    if body.is_some() || size == 0 {
        let entry = decoded.into_entry(&key, &body.unwrap_or_default(), &input.profile)?;
        if let (EntryKind::Symlink { target }, Value::Object(output)) = (entry.kind(), &mut output) {
            output.insert("target_hex".to_owned(), hex(target.as_bytes()).into());
        }
    }
    Ok(output)
}

fn encode(input: &Input<'_>) -> Result<Value, Fault> {
    let mut key = input.text("path")?.to_owned();
    let target = input.bytes_if_stated("target_hex")?;
    let (file_type, kind) = match (input.text("file_type")?, target) {
        ("file", None) => (FileType::File, EntryKind::File { size: 0 }),
        ("directory", None) => (FileType::Directory, EntryKind::Directory),
        ("symlink", Some(target)) => (FileType::Symlink, EntryKind::Symlink { target: SymlinkTarget::parse(&target)? }),
        ("fifo" | "character device" | "block device" | "socket", None) => {
            return Err(Fault::Refused("unsupported-file-type"));
        }
        _ => return Err(unread("expected a `file_type`, and a `target_hex` exactly with a symlink")),
    };
    // The root has no name to put a slash behind.
    if kind == EntryKind::Directory && !key.is_empty() && !key.ends_with('/') {
        key.push('/');
    }
    let key = Key::parse(&key)?;
    let mode = mode(input)?;
    if mode.file_type().is_some_and(|digits| digits != file_type) {
        return Err(Fault::Refused("kind-mismatch"));
    }
    let attributes = Attributes {
        permissions: mode.permissions(),
        uid: Uid::new(input.id("uid")?).ok_or(Fault::Refused("out-of-range"))?,
        gid: Gid::new(input.id("gid")?).ok_or(Fault::Refused("out-of-range"))?,
        atime: input.time("atime_ns")?,
        mtime: input.time("mtime_ns")?,
    };
    let entry = Entry::new(key, kind, attributes).map_err(|_| Fault::Refused("kind-mismatch"))?;
    let headers = entry.encode(&input.profile);
    let text = |value: &HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()));
    let headers: Map<String, Value> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Ok(json!({"key": entry.key().as_str(), "headers": headers}))
}

/// `st_mode` as octal text, or as a number.
fn mode(input: &Input<'_>) -> Result<Mode, Fault> {
    match input.get("mode")? {
        Value::String(text) => Ok(Mode::parse(text.as_bytes())?),
        Value::Number(number) => {
            let number = number.as_u64().ok_or_else(|| unread("expected a whole number as `mode`"))?;
            Ok(Mode::parse(format!("{number:o}").as_bytes())?)
        }
        _ => Err(unread("expected a text or a number as `mode`")),
    }
}

fn order(input: &Input<'_>) -> Result<Value, Fault> {
    let keys = input.get("keys")?.as_array().ok_or_else(|| unread("expected a list as `keys`"))?;
    let keys: Option<Vec<&str>> = keys.iter().map(Value::as_str).collect();
    let mut keys = keys.ok_or_else(|| unread("expected texts as `keys`"))?;
    keys.sort_unstable_by_key(|key| key.as_bytes());
    let parsed: Result<Vec<Key>, _> = keys.iter().map(|key| Key::parse(key)).collect();
    match parsed {
        Ok(parsed) if !parsed.is_sorted() => Err(unread("`Key` orders them otherwise than their bytes")),
        _ => Ok(json!({"keys": keys})),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
