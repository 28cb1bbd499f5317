//! [`Environment`]: what the usual AWS variables and files say of S3.

#![allow(clippy::disallowed_methods, reason = "the files of the AWS configuration, where it says that they are")]

use super::credentials::{Credentials, Keys, KeysError};
use super::endpoint::{Addressing, AddressingError, Endpoint, EndpointError};
use super::profiles::{ProfileFile, ProfileFileError, in_table};
use super::region::{Region, RegionError};
use crate::escape::{escape, excerpt};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What the usual AWS variables and files say of S3: the region, where S3 is, how a bucket is addressed, and in whose name.
///
/// They are the sources of the AWS CLI, in its order; the first that says something is taken. An empty variable or setting
/// says nothing.
///
/// | what | sources |
/// |---|---|
/// | [files] | `AWS_CONFIG_FILE`, else `~/.aws/config`; `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`. A file that is not there says nothing. |
/// | profile | `AWS_PROFILE`, else `default`: `[profile NAME]` of `config` and `[NAME]` of `credentials`, of which the second is asked first |
/// | [region] | `AWS_REGION`, `AWS_DEFAULT_REGION`, `region` of the profile, else `us-east-1` |
/// | [endpoint] | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `endpoint_url` of `s3` in the section `[services NAME]` that `services` of the profile names, `endpoint_url` of the profile, else that of AWS for the region. All are passed over when `AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`, or `ignore_configured_endpoint_urls` of the profile, is `true`. |
/// | [addressing] | `addressing_style` of `s3` in the profile: `path`, `virtual` or `auto`. `auto`, which is also the default, is `virtual` with AWS and `path` with an endpoint that was named. |
/// | [credentials] | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; `aws_access_key_id`, `aws_secret_access_key` and `aws_session_token` of the profile |
///
/// Credentials that have to be fetched are not: roles, web identity, SSO, `aws login`, `credential_process`, and those of
/// containers and instances. Where a variable or the profile asks for one of them in a place that the CLI would look at
/// before the keys that are there, [`load`](Self::load) says so and does not take the keys, which may be someone else's.
/// Whoever has such credentials hands them to [`load_with`](Self::load_with), or an `aws_sdk_s3::Client` to the other door.
///
/// No variable asks for unsigned requests (with the CLI it is the option `--no-sign-request`); here it is
/// `load_with(Credentials::Anonymous)`.
///
/// [files]: https://docs.aws.amazon.com/sdkref/latest/guide/file-location.html
/// [region]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-region.html
/// [endpoint]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
/// [addressing]: https://docs.aws.amazon.com/cli/latest/topic/s3-config.html
/// [credentials]: https://docs.aws.amazon.com/sdkref/latest/guide/feature-static-credentials.html
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    region: Region,
    endpoint: Endpoint,
    addressing: Addressing,
    credentials: Credentials,
}

impl Environment {
    /// Reads it from the variables of this process and from the files.
    ///
    /// # Errors
    /// [`EnvironmentError`]: a source that cannot be read or understood, or that there are no credentials.
    pub fn load() -> Result<Self, EnvironmentError> {
        Self::from_sources(Sources::PROCESS, None)
    }

    /// Reads the same but for the credentials, which the caller has.
    ///
    /// # Errors
    /// [`EnvironmentError`]: a source that cannot be read or understood.
    pub fn load_with(credentials: Credentials) -> Result<Self, EnvironmentError> {
        Self::from_sources(Sources::PROCESS, Some(credentials))
    }

    fn from_sources(sources: Sources<'_>, credentials: Option<Credentials>) -> Result<Self, EnvironmentError> {
        let profile = Profile::read(sources)?;
        let region = region(sources, &profile)?;
        let named = endpoint(sources, &profile)?;
        let style = addressing_style(&profile)?;
        let credentials = match credentials {
            Some(credentials) => credentials,
            None => Credentials::Keys(keys(sources, &profile)?),
        };
        let addressing = style.unwrap_or(match named {
            Some(_) => Addressing::Path,
            None => Addressing::VirtualHosted,
        });
        let endpoint = match named {
            Some(endpoint) => endpoint,
            None => {
                refuse_other_endpoints(sources, &profile)?;
                Endpoint::of_region(&region)
                    .map_err(|source| EnvironmentError::Endpoint { setting: "the region".into(), source })?
            }
        };
        Ok(Self { region, endpoint, addressing, credentials })
    }

    /// The region, for signatures.
    #[must_use]
    pub const fn region(&self) -> &Region {
        &self.region
    }

    /// Where S3 is: an endpoint that was named, or AWS's of the region.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where in a request the bucket's name stands.
    #[must_use]
    pub fn addressing(&self, bucket: &str) -> Addressing {
        self.addressing.of_bucket(bucket, &self.endpoint)
    }

    /// In whose name requests are made.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }
}

/// Where variables and files come from, so that tests have theirs.
#[derive(Clone, Copy)]
struct Sources<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    file: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Sources<'_> {
    const PROCESS: Self =
        Self { variable: &|name| std::env::var_os(name), file: &|path| std::fs::read_to_string(path) };

    fn variable(self, name: &'static str) -> Result<Option<String>, EnvironmentError> {
        let Some(value) = (self.variable)(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        value.into_string().map(Some).map_err(|_| EnvironmentError::NotText { variable: name })
    }

    /// The path of a file: what a variable names, else the usual one, if there is a home.
    fn path(self, variable: &str, usual: &str) -> Option<PathBuf> {
        let home = (self.variable)("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let Some(named) = (self.variable)(variable).filter(|path| !path.is_empty()).map(PathBuf::from) else {
            return home.map(|home| home.join(".aws").join(usual));
        };
        match (home, named.strip_prefix("~")) {
            (Some(home), Ok(rest)) => Some(home.join(rest)),
            _ => Some(named),
        }
    }

    /// A file of profiles, and whether it is there.
    fn profiles(self, path: Option<&Path>) -> Result<(ProfileFile, bool), EnvironmentError> {
        let Some(path) = path else { return Ok((ProfileFile::default(), false)) };
        let text = match (self.file)(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((ProfileFile::default(), false)),
            Err(source) => return Err(EnvironmentError::File { path: shown(path), source }),
        };
        let profiles =
            ProfileFile::parse(&text).map_err(|source| EnvironmentError::Profiles { setting: shown(path), source })?;
        Ok((profiles, true))
    }
}

fn shown(path: &Path) -> Box<str> {
    excerpt(path.as_os_str().as_encoded_bytes())
}

/// The profile that is in use, as both files have it.
struct Profile {
    name: String,
    config: ProfileFile,
    credentials: ProfileFile,
    /// Where it was looked for, to be said when nothing was found.
    looked: Box<str>,
}

impl Profile {
    fn read(sources: Sources<'_>) -> Result<Self, EnvironmentError> {
        let named = sources.variable("AWS_PROFILE")?;
        let config_path = sources.path("AWS_CONFIG_FILE", "config");
        let credentials_path = sources.path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        let (config, config_is_there) = sources.profiles(config_path.as_deref())?;
        let (credentials, credentials_are_there) = sources.profiles(credentials_path.as_deref())?;
        let place = |path: Option<PathBuf>, is_there| match (path, is_there) {
            (None, _) => "no file, since HOME is not set".to_owned(),
            (Some(path), true) => shown(&path).into(),
            (Some(path), false) => format!("{} (not there)", shown(&path)),
        };
        let looked = match (credentials_path, config_path) {
            (None, None) => place(None, false),
            (credentials_path, config_path) => {
                format!(
                    "{} and {}",
                    place(credentials_path, credentials_are_there),
                    place(config_path, config_is_there)
                )
            }
        };
        let is_named = named.is_some();
        let name = named.unwrap_or_else(|| "default".to_owned());
        let profile = Self { name, config, credentials, looked: looked.into() };
        if is_named && profile.in_credentials().is_none() && profile.in_config().is_none() {
            let Self { name, looked, .. } = profile;
            return Err(EnvironmentError::NoProfile { profile: excerpt(name.as_bytes()), looked });
        }
        Ok(profile)
    }

    fn in_credentials(&self) -> Option<&HashMap<String, String>> {
        self.credentials.plain(&self.name)
    }

    fn in_config(&self) -> Option<&HashMap<String, String>> {
        self.config.of_kind("profile", &self.name)
    }

    fn get(&self, setting: &str) -> Option<&str> {
        value(self.in_credentials(), setting).or_else(|| value(self.in_config(), setting))
    }

    /// A setting as messages name it.
    fn names(&self, setting: &str) -> Box<str> {
        format!("`{setting}` of profile \"{}\"", escape(self.name.as_bytes())).into()
    }

    /// A setting in the table `s3`.
    fn in_s3(&self, setting: &str) -> Result<Option<&str>, EnvironmentError> {
        let Some(table) = self.get("s3") else { return Ok(None) };
        let found = in_table(table, setting)
            .map_err(|source| EnvironmentError::Profiles { setting: self.names("s3"), source })?;
        Ok(found.filter(|value| !value.is_empty()))
    }
}

fn value<'a>(section: Option<&'a HashMap<String, String>>, setting: &str) -> Option<&'a str> {
    section?.get(setting).map(String::as_str).filter(|value| !value.is_empty())
}

fn region(sources: Sources<'_>, profile: &Profile) -> Result<Region, EnvironmentError> {
    let parse = |setting: Box<str>, text: &str| {
        text.parse::<Region>().map_err(|source| EnvironmentError::Region { setting, source })
    };
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if let Some(text) = sources.variable(name)? {
            return parse(name.into(), &text);
        }
    }
    profile.get("region").map_or_else(|| Ok(Region::default()), |text| parse(profile.names("region"), text))
}

/// The endpoint that was named, if one was.
fn endpoint(sources: Sources<'_>, profile: &Profile) -> Result<Option<Endpoint>, EnvironmentError> {
    if flag(sources, profile, "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "ignore_configured_endpoint_urls")?.is_some() {
        return Ok(None);
    }
    let parse = |setting: Box<str>, text: &str| {
        text.parse::<Endpoint>().map(Some).map_err(|source| EnvironmentError::Endpoint { setting, source })
    };
    for name in ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"] {
        if let Some(text) = sources.variable(name)? {
            return parse(name.into(), &text);
        }
    }
    if let Some(services) = profile.get("services") {
        let section = profile.config.of_kind("services", services).ok_or_else(|| EnvironmentError::NoServices {
            setting: profile.names("services"),
            services: excerpt(services.as_bytes()),
        })?;
        let setting = || -> Box<str> { format!("`s3` of section [services {}]", escape(services.as_bytes())).into() };
        let text = in_table(value(Some(section), "s3").unwrap_or_default(), "endpoint_url")
            .map_err(|source| EnvironmentError::Profiles { setting: setting(), source })?;
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            return parse(setting(), text);
        }
    }
    profile.get("endpoint_url").map_or(Ok(None), |text| parse(profile.names("endpoint_url"), text))
}

/// Refuses what asks for an endpoint of AWS other than the plain one: FIPS, dual stack, acceleration. Passing over it could
/// break a rule that somebody relies on.
fn refuse_other_endpoints(sources: Sources<'_>, profile: &Profile) -> Result<(), EnvironmentError> {
    for (variable, setting) in
        [("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint"), ("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")]
    {
        if let Some(setting) = flag(sources, profile, variable, setting)? {
            return Err(EnvironmentError::OtherEndpoint { setting });
        }
    }
    for name in ["use_accelerate_endpoint", "use_dualstack_endpoint"] {
        let Some(text) = profile.in_s3(name)? else { continue };
        let setting = profile.names(name);
        if parse_flag(&setting, text)? {
            return Err(EnvironmentError::OtherEndpoint { setting });
        }
    }
    Ok(())
}

/// What says `true`, if something does: a variable, else a setting of the profile.
fn flag(
    sources: Sources<'_>,
    profile: &Profile,
    variable: &'static str,
    setting: &str,
) -> Result<Option<Box<str>>, EnvironmentError> {
    let (name, text) = match (sources.variable(variable)?, profile.get(setting)) {
        (Some(text), _) => (variable.into(), text),
        (None, Some(text)) => (profile.names(setting), text.to_owned()),
        (None, None) => return Ok(None),
    };
    Ok(if parse_flag(&name, &text)? { Some(name) } else { None })
}

fn parse_flag(setting: &str, text: &str) -> Result<bool, EnvironmentError> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(EnvironmentError::Flag { setting: setting.into(), found: excerpt(text.as_bytes()) })
    }
}

fn addressing_style(profile: &Profile) -> Result<Option<Addressing>, EnvironmentError> {
    let Some(text) = profile.in_s3("addressing_style")? else { return Ok(None) };
    Addressing::parse_style(text)
        .map_err(|source| EnvironmentError::Addressing { setting: profile.names("addressing_style"), source })
}

/// The keys, from the first place that the AWS CLI would take credentials from.
fn keys(sources: Sources<'_>, profile: &Profile) -> Result<Keys, EnvironmentError> {
    let id = sources.variable("AWS_ACCESS_KEY_ID")?;
    let secret = sources.variable("AWS_SECRET_ACCESS_KEY")?;
    let token = sources.variable("AWS_SESSION_TOKEN")?;
    let texts = Texts { id: id.as_deref(), secret: secret.as_deref(), token: token.as_deref() };
    if let Some(keys) = texts.keys(|part| part.variable.into())? {
        return Ok(keys);
    }
    let elsewhere = |setting: Box<str>, from| Err(EnvironmentError::Elsewhere { setting, from });
    for (setting, from) in [
        ("web_identity_token_file", Elsewhere::WebIdentity),
        ("role_arn", Elsewhere::Role),
        ("sso_account_id", Elsewhere::Sso),
        ("sso_role_name", Elsewhere::Sso),
        ("login_session", Elsewhere::Login),
    ] {
        if profile.get(setting).is_some() {
            return elsewhere(profile.names(setting), from);
        }
    }
    if sources.variable("AWS_WEB_IDENTITY_TOKEN_FILE")?.is_some() {
        return elsewhere("AWS_WEB_IDENTITY_TOKEN_FILE".into(), Elsewhere::WebIdentity);
    }
    // The CLI starts a process only if the file `credentials` has no keys.
    if let Some(keys) = Texts::of(profile.in_credentials()).keys(|part| profile.names(part.setting))? {
        return Ok(keys);
    }
    if profile.get("credential_process").is_some() {
        return elsewhere(profile.names("credential_process"), Elsewhere::Process);
    }
    if let Some(keys) = Texts::of(profile.in_config()).keys(|part| profile.names(part.setting))? {
        return Ok(keys);
    }
    for name in ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
        if sources.variable(name)?.is_some() {
            return elsewhere(name.into(), Elsewhere::Container);
        }
    }
    Err(EnvironmentError::NoCredentials { profile: excerpt(profile.name.as_bytes()), looked: profile.looked.clone() })
}

/// The texts of an access key in one place.
struct Texts<'a> {
    id: Option<&'a str>,
    secret: Option<&'a str>,
    token: Option<&'a str>,
}

/// What a text is called, as variable and as setting.
struct Part {
    variable: &'static str,
    setting: &'static str,
}

impl<'a> Texts<'a> {
    const ID: Part = Part { variable: "AWS_ACCESS_KEY_ID", setting: "aws_access_key_id" };
    const SECRET: Part = Part { variable: "AWS_SECRET_ACCESS_KEY", setting: "aws_secret_access_key" };

    fn of(section: Option<&'a HashMap<String, String>>) -> Self {
        let text = |setting| value(section, setting);
        Self { id: text(Self::ID.setting), secret: text(Self::SECRET.setting), token: text("aws_session_token") }
    }

    /// The keys, if there are any; half of them is a mistake.
    fn keys(self, name: impl Fn(&Part) -> Box<str>) -> Result<Option<Keys>, EnvironmentError> {
        let half = |set, missing| Err(EnvironmentError::HalfKeys { set: name(set), missing: name(missing) });
        match (self.id, self.secret) {
            (Some(id), Some(secret)) => Keys::new(id, secret, self.token)
                .map(Some)
                .map_err(|source| EnvironmentError::Keys { setting: name(&Self::ID), source }),
            (Some(_), None) => half(&Self::ID, &Self::SECRET),
            (None, Some(_)) => half(&Self::SECRET, &Self::ID),
            (None, None) => Ok(None),
        }
    }
}

/// Why the environment does not say how to reach S3.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are names and texts, safe to print")]
pub enum EnvironmentError {
    /// A variable is not UTF-8.
    #[error("{variable} is not text")]
    NotText { variable: &'static str },
    /// A file is there and cannot be read.
    #[error("cannot read {path}")]
    File { path: Box<str>, source: io::Error },
    /// A file of profiles, or a table in one, is not what it should be.
    #[error("cannot understand {setting}")]
    Profiles { setting: Box<str>, source: ProfileFileError },
    /// The profile that `AWS_PROFILE` names is in neither file.
    #[error("there is no profile \"{profile}\", which AWS_PROFILE names: looked in {looked}")]
    NoProfile { profile: Box<str>, looked: Box<str> },
    /// The section that a profile names is not there.
    #[error("there is no section [services {services}], which {setting} names")]
    NoServices { setting: Box<str>, services: Box<str> },
    /// A region is none.
    #[error("cannot use {setting}")]
    Region { setting: Box<str>, source: RegionError },
    /// An endpoint is none.
    #[error("cannot use {setting}")]
    Endpoint { setting: Box<str>, source: EndpointError },
    /// An addressing style is none.
    #[error("cannot use {setting}")]
    Addressing { setting: Box<str>, source: AddressingError },
    /// A flag is neither set nor unset.
    #[error("invalid {setting}: expected `true` or `false`, found \"{found}\"")]
    Flag { setting: Box<str>, found: Box<str> },
    /// FIPS, dual stack or acceleration is asked for.
    #[error("{setting} asks for an endpoint that is not known here: name it in AWS_ENDPOINT_URL_S3")]
    OtherEndpoint { setting: Box<str> },
    /// Keys cannot be what they should be.
    #[error("cannot use the keys of {setting}")]
    Keys { setting: Box<str>, source: KeysError },
    /// Only one of the two texts of a key is there.
    #[error("{set} is set and {missing} is not")]
    HalfKeys { set: Box<str>, missing: Box<str> },
    /// The credentials have to be fetched from elsewhere.
    #[error(
        "{setting} asks for {from}, which are not fetched here: hand in credentials, or a client of the AWS SDK (feature `aws-sdk-s3`)"
    )]
    Elsewhere { setting: Box<str>, from: Elsewhere },
    /// There are none.
    #[error(
        "there are no credentials: looked for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and for profile \"{profile}\" in {looked}"
    )]
    NoCredentials { profile: Box<str>, looked: Box<str> },
}

/// Credentials that have to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Elsewhere {
    /// STS gives them for a role: `role_arn`.
    Role,
    /// STS gives them for a token of another party: `web_identity_token_file`.
    WebIdentity,
    /// IAM Identity Center gives them: `sso_account_id`, `sso_role_name`.
    Sso,
    /// `aws login` gets them: `login_session`.
    Login,
    /// A program prints them: `credential_process`.
    Process,
    /// The service that runs the container gives them.
    Container,
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Role => "the credentials of a role",
            Self::WebIdentity => "credentials by web identity",
            Self::Sso => "credentials of IAM Identity Center (SSO)",
            Self::Login => "credentials of `aws login`",
            Self::Process => "the credentials that a program prints",
            Self::Container => "the credentials of a container",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    /// An environment of its own: variables, and files by path.
    #[derive(Default)]
    struct World(HashMap<&'static str, &'static str>);

    impl World {
        /// With keys, since most tests are not about them.
        fn new() -> Self {
            Self::bare().with("AWS_ACCESS_KEY_ID", "AKID").with("AWS_SECRET_ACCESS_KEY", "hush")
        }

        fn bare() -> Self {
            Self::default().with("HOME", "/home/me")
        }

        fn with(mut self, name: &'static str, text: &'static str) -> Self {
            self.0.insert(name, text);
            self
        }

        fn config(self, text: &'static str) -> Self {
            self.with("/home/me/.aws/config", text)
        }

        fn credentials(self, text: &'static str) -> Self {
            self.with("/home/me/.aws/credentials", text)
        }

        fn load(&self) -> Result<Environment, EnvironmentError> {
            self.load_as(None)
        }

        fn load_as(&self, credentials: Option<Credentials>) -> Result<Environment, EnvironmentError> {
            let variable = |name: &str| self.0.get(name).map(OsString::from);
            let file = |path: &Path| match self.0.get(path.to_str().unwrap()) {
                Some(&"(denied)") => Err(io::ErrorKind::PermissionDenied.into()),
                Some(text) => Ok((*text).to_owned()),
                None => Err(io::ErrorKind::NotFound.into()),
            };
            Environment::from_sources(Sources { variable: &variable, file: &file }, credentials)
        }

        fn region(&self) -> String {
            self.load().unwrap().region().to_string()
        }

        fn endpoint(&self) -> String {
            self.load().unwrap().endpoint().to_string()
        }

        fn keys(&self) -> (String, String, Option<String>) {
            let Credentials::Keys(keys) = self.load().unwrap().credentials().clone() else { panic!("anonymous") };
            let text = str::to_owned;
            (text(keys.access_key_id()), text(keys.secret_access_key()), keys.session_token().map(text))
        }

        /// What is wrong, with its causes.
        fn error(&self) -> String {
            let error = self.load().unwrap_err();
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text += &format!(": {cause}");
                source = cause.source();
            }
            text
        }
    }

    #[test]
    fn messages() {
        let world = World::new;
        let not_text = |name: &str| {
            (name == "AWS_REGION").then(|| {
                use std::os::unix::ffi::OsStringExt;
                OsString::from_vec(vec![0xff])
            })
        };
        let no_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
        let error = Environment::from_sources(Sources { variable: &not_text, file: &no_file }, None).unwrap_err();
        assert_eq!(error.to_string(), "AWS_REGION is not text");
        for (world, message) in [
            (world().config("(denied)"), "cannot read /home/me/.aws/config: permission denied"),
            (
                world().credentials("[default]\naws_secret_access_key hush"),
                "cannot understand /home/me/.aws/credentials: invalid profiles: expected `name = value` in each line of \
                 section [default]",
            ),
            (
                world().config("[default]\ns3 = path"),
                "cannot understand `s3` of profile \"default\": expected nothing behind the `=`, and below it indented lines \
                 `name = value`",
            ),
            (
                world().with("AWS_PROFILE", "work").config("[work]\nregion = eu-west-1"),
                "there is no profile \"work\", which AWS_PROFILE names: looked in /home/me/.aws/credentials (not there) and \
                 /home/me/.aws/config",
            ),
            (
                world().config("[default]\nservices = mine"),
                "there is no section [services mine], which `services` of profile \"default\" names",
            ),
            (
                world().with("AWS_DEFAULT_REGION", "here/"),
                "cannot use AWS_DEFAULT_REGION: invalid region \"here/\": expected 1 to 63 letters, digits and hyphens, no \
                 hyphen at either end, such as `eu-central-1`",
            ),
            (
                world().config("[default]\nendpoint_url = localhost:9000"),
                "cannot use `endpoint_url` of profile \"default\": invalid endpoint \"localhost:9000\": expected `http://` or \
                 `https://` and a host",
            ),
            (
                world().config("[default]\ns3 =\n  addressing_style = dns"),
                "cannot use `addressing_style` of profile \"default\": invalid addressing style \"dns\": expected `path`, \
                 `virtual` or `auto`",
            ),
            (
                world().with("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "1"),
                "invalid AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: expected `true` or `false`, found \"1\"",
            ),
            (
                world().with("AWS_USE_FIPS_ENDPOINT", "true"),
                "AWS_USE_FIPS_ENDPOINT asks for an endpoint that is not known here: name it in AWS_ENDPOINT_URL_S3",
            ),
            (
                world().with("AWS_SECRET_ACCESS_KEY", "hush\n"),
                "cannot use the keys of AWS_ACCESS_KEY_ID: invalid secret access key: expected printable characters, found \
                 byte 0x0a at byte 4",
            ),
            (world().with("AWS_SECRET_ACCESS_KEY", ""), "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not"),
            (
                World::bare().config("[default]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = x"),
                "`role_arn` of profile \"default\" asks for the credentials of a role, which are not fetched here: hand in \
                 credentials, or a client of the AWS SDK (feature `aws-sdk-s3`)",
            ),
            (
                World::bare(),
                "there are no credentials: looked for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and for profile \"default\" \
                 in /home/me/.aws/credentials (not there) and /home/me/.aws/config (not there)",
            ),
            (
                World::default(),
                "there are no credentials: looked for AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and for profile \"default\" \
                 in no file, since HOME is not set",
            ),
        ] {
            assert_eq!(world.error(), message);
        }
    }

    #[test]
    fn what_is_not_said_is_the_usual() {
        let environment = World::new().load().unwrap();
        assert_eq!(environment.region().as_str(), "us-east-1");
        assert_eq!(environment.endpoint().to_string(), "https://s3.us-east-1.amazonaws.com");
        assert_eq!(environment.addressing("my-bucket"), Addressing::VirtualHosted);
        assert_eq!(World::new().with("AWS_REGION", "cn-north-1").endpoint(), "https://s3.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn the_region_comes_from_the_first_that_names_one() {
        let world = World::new().config("[default]\nregion = from-config\n[profile work]\nregion = from-work\n");
        assert_eq!(world.region(), "from-config");
        let world = world.credentials("[default]\nregion = from-credentials\n");
        assert_eq!(world.region(), "from-credentials");
        let world = world.with("AWS_PROFILE", "work");
        assert_eq!(world.region(), "from-work");
        let world = world.with("AWS_DEFAULT_REGION", "from-default");
        assert_eq!(world.region(), "from-default");
        let world = world.with("AWS_REGION", "from-region");
        assert_eq!(world.region(), "from-region");
        assert_eq!(world.with("AWS_REGION", "").region(), "from-default");
    }

    #[test]
    fn the_endpoint_comes_from_the_first_that_names_one() {
        let world = World::new().config("[default]\nendpoint_url = http://config/base/\n");
        assert_eq!(world.endpoint(), "http://config/base");
        let world = world.config(
            "[default]\nendpoint_url = http://config\nservices = mine\n\n\
             [services mine]\nec2 =\n  endpoint_url = http://ec2\ns3 =\n  endpoint_url = http://services\n",
        );
        assert_eq!(world.endpoint(), "http://services");
        let world = world.with("AWS_ENDPOINT_URL", "http://all");
        assert_eq!(world.endpoint(), "http://all");
        let world = world.with("AWS_ENDPOINT_URL_S3", "http://s3");
        assert_eq!(world.endpoint(), "http://s3");
        let world = world.with("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "True");
        assert_eq!(world.endpoint(), "https://s3.us-east-1.amazonaws.com");
        let services = "[default]\nendpoint_url = http://config\nservices = mine\n[services mine]\nec2 =\n  endpoint_url = http://ec2\n";
        assert_eq!(World::new().config(services).endpoint(), "http://config");
        let ignored = "[default]\nendpoint_url = http://config\nignore_configured_endpoint_urls = true\n";
        assert_eq!(World::new().config(ignored).endpoint(), "https://s3.us-east-1.amazonaws.com");
        let asked_again = World::new().config(ignored).with("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "false");
        assert_eq!(asked_again.endpoint(), "http://config");
    }

    #[test]
    fn a_named_endpoint_is_addressed_by_path_unless_a_profile_says_otherwise() {
        let of = |world: &World| world.load().unwrap().addressing("my-bucket");
        let style = |text| World::new().config(text);
        assert_eq!(of(&World::new().with("AWS_ENDPOINT_URL", "http://host")), Addressing::Path);
        let virtual_style = "[default]\ns3 =\n  max_queue_size = 1\n  addressing_style = virtual\n";
        assert_eq!(of(&style(virtual_style).with("AWS_ENDPOINT_URL", "http://host")), Addressing::VirtualHosted);
        assert_eq!(of(&style(virtual_style).with("AWS_ENDPOINT_URL", "http://127.0.0.1")), Addressing::Path);
        assert_eq!(of(&style("[default]\ns3 =\n  addressing_style = path\n")), Addressing::Path);
        let auto = "[default]\ns3 =\n  addressing_style = auto\n";
        assert_eq!(of(&style(auto)), Addressing::VirtualHosted);
        assert_eq!(of(&style(auto).with("AWS_ENDPOINT_URL", "http://host")), Addressing::Path);
    }

    #[test]
    fn keys_come_from_the_first_that_has_some() {
        let keys = |id: &str, secret: &str, token: Option<&str>| (id.into(), secret.into(), token.map(str::to_owned));
        let config = "[default]\naws_access_key_id = A\naws_secret_access_key = a#1\\\nregion = x\n";
        let world = World::bare().config(config);
        assert_eq!(world.keys(), keys("A", "a#1\\", None));
        let credentials = "[default]\nAWS_ACCESS_KEY_ID = B\naws_secret_access_key = b;\"2\naws_session_token = t==\n";
        let world = world.credentials(credentials);
        assert_eq!(world.keys(), keys("B", "b;\"2", Some("t==")));
        let world = world.with("AWS_ACCESS_KEY_ID", "C").with("AWS_SECRET_ACCESS_KEY", "c");
        assert_eq!(world.keys(), keys("C", "c", None));
        let world = world.with("AWS_SESSION_TOKEN", "u");
        assert_eq!(world.keys(), keys("C", "c", Some("u")));
        assert_eq!(format!("{:?}", world.load().unwrap()).matches("\"u\"").count(), 0);
    }

    #[test]
    fn half_a_key_is_a_mistake_wherever_it_is() {
        assert_eq!(
            World::bare().with("AWS_SECRET_ACCESS_KEY", "hush").error(),
            "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not"
        );
        let whole = "[default]\naws_access_key_id = A\naws_secret_access_key = a\n";
        assert_eq!(
            World::bare().config(whole).credentials("[default]\naws_access_key_id = B\n").error(),
            "`aws_access_key_id` of profile \"default\" is set and `aws_secret_access_key` of profile \"default\" is not"
        );
    }

    #[test]
    fn keys_are_not_taken_where_the_cli_would_fetch_others() {
        let keys = "[default]\naws_access_key_id = B\naws_secret_access_key = b\n";
        let elsewhere = |world: World| match world.load().unwrap_err() {
            EnvironmentError::Elsewhere { from, .. } => from,
            other => panic!("{other}"),
        };
        for (config, from) in [
            ("[default]\nrole_arn = r\nsource_profile = default\n", Elsewhere::Role),
            ("[default]\nrole_arn = r\nweb_identity_token_file = f\n", Elsewhere::WebIdentity),
            ("[default]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n", Elsewhere::Sso),
            ("[default]\nlogin_session = s\n", Elsewhere::Login),
        ] {
            assert_eq!(elsewhere(World::bare().config(config).credentials(keys)), from);
            assert!(World::new().config(config).load().is_ok());
        }
        let process =
            "[default]\ncredential_process = \"/opt/a b\" --x\naws_access_key_id = A\naws_secret_access_key = a\n";
        assert_eq!(elsewhere(World::bare().config(process)), Elsewhere::Process);
        assert_eq!(World::bare().config(process).credentials(keys).keys().0, "B");
        let variable = World::bare().credentials(keys).with("AWS_WEB_IDENTITY_TOKEN_FILE", "/token");
        assert_eq!(elsewhere(variable), Elsewhere::WebIdentity);
        let container = || World::bare().with("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/");
        assert_eq!(elsewhere(container()), Elsewhere::Container);
        assert_eq!(container().credentials(keys).keys().0, "B");
    }

    #[test]
    fn whoever_has_credentials_needs_none_in_the_environment() {
        let world = World::bare().config("[default]\nregion = eu-west-1\nrole_arn = r\n");
        let environment = world.load_as(Some(Credentials::Anonymous)).unwrap();
        assert_eq!(environment.credentials(), &Credentials::Anonymous);
        assert_eq!(environment.region().as_str(), "eu-west-1");
    }

    #[test]
    fn files_are_where_variables_say() {
        let world = World::new().config("[default]\nregion = usual\n").with("/etc/aws", "[default]\nregion = named\n");
        assert_eq!(world.region(), "usual");
        let world = world.with("AWS_CONFIG_FILE", "/etc/aws");
        assert_eq!(world.region(), "named");
        let world = world.with("/home/me/mine", "[default]\nregion = at-home\n").with("AWS_CONFIG_FILE", "~/mine");
        assert_eq!(world.region(), "at-home");
        assert_eq!(world.with("AWS_CONFIG_FILE", "/not/there").region(), "us-east-1");
    }
}
