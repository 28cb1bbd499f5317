//! The two files in which AWS's tools keep their profiles, `config` and `credentials`.
//!
//! The [format](https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html) is INI, read as the AWS CLI reads it: a
//! comment is a line of its own, a value goes from the `=` to the end of the line as it is (`#`, `;`, quotes and
//! backslashes are part of it), and indented lines below a name are a table of settings.

use crate::escape::excerpt;
use configparser::ini::{Ini, IniDefault};
use std::collections::HashMap;
use thiserror::Error;

/// What stands before the first section is filed here; a file of AWS's holds nothing there.
const NO_SECTION: &str = "";

/// One of the files, or what it is when it is not there: empty.
#[derive(Debug, Default)]
pub(super) struct ProfileFile {
    sections: HashMap<String, Section>,
}

/// The settings of a section, by name in small letters.
type Section = HashMap<String, String>;

impl ProfileFile {
    pub(super) fn parse(text: &str) -> Result<Self, ProfileFileError> {
        let mut format = IniDefault::default();
        format.case_sensitive = true;
        format.comment_symbols = vec!['#', ';'];
        format.default_section = NO_SECTION.to_owned();
        format.delimiters = vec!['='];
        // A secret may hold a `#`.
        format.enable_inline_comments = false;
        format.multiline = true;
        // Editors of one system put a mark at the start, which belongs to no section.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = Ini::new_from_defaults(format)
            .read(text.to_owned())
            .map_err(|reason| ProfileFileError::Syntax { reason: excerpt(reason.as_bytes()) })?;
        let mut sections = HashMap::new();
        for (name, settings) in parsed {
            if name == NO_SECTION {
                return Err(ProfileFileError::NoSection);
            }
            let section = settings
                .into_iter()
                .map(|(setting, value)| Some((setting.to_ascii_lowercase(), value?)))
                .collect::<Option<Section>>()
                .ok_or_else(|| ProfileFileError::NoValue { section: excerpt(name.as_bytes()) })?;
            sections.insert(name, section);
        }
        Ok(Self { sections })
    }

    /// The section of a profile in the file `credentials`: `[NAME]`.
    pub(super) fn plain(&self, name: &str) -> Option<&Section> {
        self.sections.get(name)
    }

    /// A section in the file `config`: `[KIND NAME]`, such as `[profile work]`; `[default]` needs no kind.
    pub(super) fn of_kind(&self, kind: &str, name: &str) -> Option<&Section> {
        let is_meant = |title: &str| {
            let (found, rest) = title.split_once([' ', '\t']).unwrap_or_default();
            found == kind && unquoted(rest.trim()) == name
        };
        let titled = self.sections.iter().find(|(title, _)| is_meant(title)).map(|(_, section)| section);
        titled.or_else(|| if (kind, name) == ("profile", "default") { self.plain(name) } else { None })
    }
}

/// A name with a blank in it stands in quotes.
fn unquoted(name: &str) -> &str {
    let inner = |quote| name.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\'')).unwrap_or(name)
}

/// A setting of a table: that of `s3 =` when it is followed by indented lines `name = value`.
pub(super) fn in_table<'a>(table: &'a str, name: &str) -> Result<Option<&'a str>, ProfileFileError> {
    let (first, lines) = table.split_once('\n').unwrap_or((table, ""));
    if !first.trim().is_empty() {
        return Err(ProfileFileError::NoTable);
    }
    let mut found = None;
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (setting, value) = line.split_once('=').ok_or(ProfileFileError::NoTable)?;
        if setting.trim().eq_ignore_ascii_case(name) {
            found = Some(value.trim());
        }
    }
    Ok(found)
}

/// A file of profiles that cannot be read. No value is shown, since it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the fields are the texts found, safe to print")]
pub enum ProfileFileError {
    /// It is not in the format; the reason says at which line.
    #[error("invalid profiles: {reason}")]
    Syntax { reason: Box<str> },
    /// A setting stands before the first section, or a section has no name.
    #[error("invalid profiles: expected every setting in a section that has a name")]
    NoSection,
    /// A line is no setting.
    #[error("invalid profiles: expected `name = value` in each line of section [{section}]")]
    NoValue { section: Box<str> },
    /// What should be a table of settings is none.
    #[error("expected nothing behind the `=`, and below it indented lines `name = value`")]
    NoTable,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        ProfileFile::parse(text).unwrap().plain("default").unwrap()["it"].clone()
    }

    #[test]
    fn messages() {
        let message = |text: &str| ProfileFile::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("[default\nregion = x"),
            "invalid profiles: line 1: Found opening bracket for section name but no closing bracket"
        );
        assert_eq!(
            message("region = x\n[default]"),
            "invalid profiles: expected every setting in a section that has a name"
        );
        assert_eq!(
            message("[default]\naws_secret_access_key hush"),
            "invalid profiles: expected `name = value` in each line of section [default]"
        );
        assert_eq!(
            in_table("path", "addressing_style").unwrap_err().to_string(),
            "expected nothing behind the `=`, and below it indented lines `name = value`"
        );
    }

    #[test]
    fn a_value_is_taken_as_it_is() {
        for kept in [
            "ab#c",
            "ab # c",
            "ab ; c",
            "#ab",
            r"a\b\n\",
            "\"a\" 'b'",
            "\"a",
            "a=b==",
            "a:b",
            "${HOME} %(x)s $x",
            "[a]",
            "ü",
        ] {
            assert_eq!(value(&format!("[default]\nit = {kept}\nnext = 1\n")), kept);
            assert_eq!(value(&format!("[default]\r\nit={kept}\t \r\nnext = 1\r\n")), kept);
        }
    }

    #[test]
    fn comments_blank_lines_and_indents_are_no_settings() {
        assert_eq!(value("\u{feff}# a\n; b\n\n[ default ]\n\n# it = 0\n  IT = 1\n"), "1");
        assert_eq!(value("[default]\nit = 1\n[other]\nit = 2\n[default]\nit = 3\n"), "3");
        assert_eq!(value("[default] # a comment\nit ="), "");
    }

    #[test]
    fn indented_lines_are_a_table() {
        let text = "[default]\nit =\n  # a comment\n  addressing_style = path\n\n  Max_Concurrent = 3#4\nregion = x\n";
        let table = value(text);
        assert_eq!(in_table(&table, "addressing_style").unwrap(), Some("path"));
        assert_eq!(in_table(&table, "max_concurrent").unwrap(), Some("3#4"));
        assert_eq!(in_table(&table, "region").unwrap(), None);
        assert_eq!(in_table("", "region").unwrap(), None);
        let text = "[services mine]\r\ns3 = \r\n  endpoint_url = http://a\r\nec2 =\r\n  endpoint_url = http://b\r\n";
        let file = ProfileFile::parse(text).unwrap();
        assert_eq!(
            in_table(&file.of_kind("services", "mine").unwrap()["s3"], "endpoint_url").unwrap(),
            Some("http://a")
        );
    }

    #[test]
    fn a_profile_has_its_kind_in_one_file_and_none_in_the_other() {
        let text =
            "[default]\na=1\n[profile work]\na=2\n[work]\na=3\n[profile \"my work\"]\na=4\n[profile\twide  ]\na=5\n";
        let file = ProfileFile::parse(text).unwrap();
        let of_kind = |name| file.of_kind("profile", name).map(|section| section["a"].as_str());
        assert_eq!(of_kind("default"), Some("1"));
        assert_eq!(of_kind("work"), Some("2"));
        assert_eq!(of_kind("my work"), Some("4"));
        assert_eq!(of_kind("wide"), Some("5"));
        assert_eq!(of_kind("nobody"), None);
        assert_eq!(file.plain("work").unwrap()["a"], "3");
        let file = ProfileFile::parse("[profile default]\na=2\n[default]\na=1\n").unwrap();
        assert_eq!(file.of_kind("profile", "default").unwrap()["a"], "2");
    }
}
