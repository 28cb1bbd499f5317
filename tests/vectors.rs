//! Every vector in `tests/vectors` is read, obeys the schema and passes.

// A test may fail loudly, also in the functions that it calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

#[path = "vectors/runner.rs"]
mod runner;

use runner::{Judged, Outcome, Reasons, Subject, judge_file};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

fn read(name: &str) -> Value {
    let text = fs::read(directory().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every file of vectors by its name. Whatever else is there has to be known.
fn files() -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.as_str() {
            "README.md" | "runner.rs" | "schema.json" => {}
            _ => {
                assert!(name.ends_with(".json"), "tests/vectors/{name} is read by nothing");
                files.insert(name.clone(), read(&name));
            }
        }
    }
    files
}

fn vectors(file: &Value) -> &Vec<Value> {
    file["vectors"].as_array().unwrap()
}

#[test]
fn every_vector_passes() {
    let mut problems = Vec::new();
    for (name, file) in files() {
        let judged = judge_file(&file, Reasons::Compared).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(judged.len(), vectors(&file).len(), "{name}");
        problems.extend(judged.iter().filter(|vector| vector.problem.is_some()).map(|vector| vector.to_json()));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn every_subject_has_its_file() {
    let names: Vec<String> = files().into_keys().collect();
    let mut subjects = Subject::ALL.map(|subject| format!("{}.json", subject.name()));
    subjects.sort();
    assert_eq!(names, subjects);
    for (name, file) in files() {
        assert_eq!(Some(file["subject"].as_str().unwrap()), name.strip_suffix(".json"));
    }
}

#[test]
fn every_id_is_unique_and_every_vector_shows_something_of_its_own() {
    let (mut ids, mut inputs) = (BTreeSet::new(), BTreeSet::new());
    for (name, file) in files() {
        let mut shows = BTreeSet::new();
        for vector in vectors(&file) {
            assert!(ids.insert(vector["id"].to_string()), "{name}: {} stands twice", vector["id"]);
            assert!(shows.insert(vector["shows"].to_string()), "{name}: {} stands twice", vector["shows"]);
            let input = format!("{name} {}", vector["input"]);
            assert!(inputs.insert(input), "{name}: the input of {} stands twice", vector["id"]);
        }
    }
    assert!(ids.len() >= 250, "{} vectors", ids.len());
}

#[test]
fn every_vector_says_all_there_is_to_say() {
    for (name, file) in files() {
        for (vector, judged) in vectors(&file).iter().zip(judge_file(&file, Reasons::Compared).unwrap()) {
            let id = &judged.id;
            assert!(["documented", "observed", "chosen"].map(Value::from).contains(&vector["basis"]), "{name}: {id}");
            assert_eq!(vector["result"] != "accept", vector["reason"].is_string(), "{name}: the reason of {id}");
            assert_eq!(vector["result"] != "reject", vector["output"].is_object(), "{name}: the output of {id}");
            if let Outcome::Accept(output) = &judged.outcome {
                let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
                assert_eq!(fields(&vector["output"]), fields(output), "{name}: the output of {id}");
            }
        }
    }
}

#[test]
fn every_reason_is_in_the_glossary_and_every_one_there_has_a_vector() {
    let listed = read("schema.json")["$defs"]["reason"]["examples"].as_array().unwrap().clone();
    let listed: BTreeSet<String> = listed.iter().map(|code| code.as_str().unwrap().to_owned()).collect();
    let reason = |vector: &Value| vector["reason"].as_str().map(str::to_owned);
    let used: BTreeSet<String> = files().values().flat_map(vectors).filter_map(reason).collect();
    assert_eq!(used, listed);

    let readme = fs::read_to_string(directory().join("README.md")).unwrap();
    let rows = readme.split_once("## Reasons").expect("the README has a glossary").1.lines();
    let code = |row: &str| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    assert_eq!(rows.filter_map(code).collect::<BTreeSet<_>>(), used);
}

#[test]
fn every_file_obeys_the_schema() {
    let schema = Schema { root: read("schema.json") };
    for (name, file) in files() {
        schema.check(&file).unwrap_or_else(|problem| panic!("{name}{problem}"));
    }
}

// What the runner has to see; a runner that passes everything would make the rest of this file worthless.

fn judge(subject: &str, vector: Value, reasons: Reasons) -> Judged {
    judge_file(&json!({"version": 1, "subject": subject, "vectors": [vector]}), reasons).unwrap().remove(0)
}

fn problem(subject: &str, vector: Value) -> Option<String> {
    judge(subject, vector, Reasons::Compared).problem
}

#[test]
fn another_output_fails() {
    let vector = |ns| json!({"id": "x", "input": {"value": "5ns"}, "result": "accept", "output": {"ns": ns}});
    assert_eq!(problem("time", vector("5")), None);
    assert_eq!(problem("time", vector("6")).unwrap(), "expected `ns` to be \"6\", found \"5\"");
}

#[test]
fn another_result_fails() {
    let vector = |value, result| json!({"id": "x", "input": {"value": value}, "result": result});
    assert_eq!(problem("id", vector("5", "reject")).unwrap(), "expected a refusal, found an output");
    assert_eq!(problem("id", vector("", "accept")).unwrap(), "expected an output, found the refusal `empty`");
    assert_eq!(problem("id", vector("5", "either")), None);
    assert_eq!(problem("id", vector("", "either")), None);
}

#[test]
fn an_output_of_either_is_compared_when_there_is_one() {
    let vector = json!({"id": "x", "input": {"value": "5"}, "result": "either", "output": {"id": 6}});
    assert!(problem("id", vector).is_some());
}

#[test]
fn the_reason_is_compared_only_on_demand() {
    let vector = json!({"id": "x", "input": {"key": ".."}, "result": "reject", "reason": "climbs"});
    let expected = "expected the reason `climbs`, found `dot-segment`";
    assert_eq!(judge("key", vector.clone(), Reasons::Compared).problem.unwrap(), expected);
    assert_eq!(judge("key", vector, Reasons::PassedOver).problem, None);
}

#[test]
fn fields_of_the_output_may_be_left_out_but_not_added() {
    let vector = |output| json!({"id": "x", "input": {"key": "d/"}, "result": "accept", "output": output});
    assert_eq!(problem("key", vector(json!({"directory": true}))), None);
    assert!(problem("key", vector(json!({"directory": true, "depth": 0}))).unwrap().contains("no such output"));
}

#[test]
fn an_input_that_nothing_reads_fails() {
    let unread = |subject, input| {
        let judged = judge(subject, json!({"id": "x", "input": input, "result": "either"}), Reasons::Compared);
        assert!(matches!(judged.outcome, Outcome::Unread));
        judged.problem.unwrap()
    };
    assert_eq!(unread("id", json!({"value": "5", "radix": 8})), "`id` has no input `radix`");
    assert_eq!(unread("id", json!({})), "expected an input `value`");
    assert_eq!(unread("id", json!({"value": 5})), "expected a text as `value`");
    assert_eq!(unread("key", json!({"key": "a", "key_hex": "61"})), "expected `key` or `key_hex`, found both");
    for hex in ["6", "6g", "+6", "é"] {
        assert_eq!(unread("key", json!({"key_hex": hex})), "expected pairs of hexadecimal digits as `key_hex`");
    }
    assert_eq!(unread("key", json!({"key": "a", "profile": "posix"})), "expected the name of a service as `profile`");
}

#[test]
fn headers_are_compared_whole_but_for_the_content_type() {
    let vector = |headers| {
        let input = json!({"path": "f", "file_type": "file", "mode": "0644", "uid": "5", "gid": 6, "atime_ns": 7,
            "mtime_ns": "8", "profile": "s3-files"});
        json!({"id": "x", "input": input, "result": "accept", "output": {"key": "f", "headers": headers}})
    };
    let mut headers = json!({"X-Amz-Meta-File-Permissions": "0100644", "x-amz-meta-file-owner": "5",
        "x-amz-meta-file-group": "6", "x-amz-meta-file-mtime": "8ns", "x-amz-meta-user-agent": "aws-s3-files"});
    assert_eq!(problem("encode", vector(headers.clone())), None);
    headers["content-type"] = json!("text/html");
    assert!(problem("encode", vector(headers.clone())).is_some());
    headers["content-type"] = json!("binary/octet-stream");
    assert_eq!(problem("encode", vector(headers.clone())), None);
    headers["x-amz-meta-file-atime"] = json!("7ns");
    assert!(problem("encode", vector(headers)).is_some());
}

#[test]
fn an_announced_body_that_is_not_stated_leaves_the_target_open() {
    let vector = |size| {
        let input = json!({"key": "l", "headers": {"x-amz-meta-file-permissions": "0120777"}, "size": size});
        json!({"id": "x", "input": input, "result": "accept", "output": {"file_type": "symlink"}})
    };
    assert_eq!(problem("object", vector(9)), None);
    assert_eq!(problem("object", vector(0)).unwrap(), "expected an output, found the refusal `empty`");
}

#[test]
fn the_profile_of_the_file_stands_in_for_that_of_the_vector() {
    let vector = |id, input| json!({"id": id, "input": input, "result": "accept", "output": {"permissions": "2755"}});
    let judged = judge_file(
        &json!({"version": 1, "subject": "permissions", "profile": "fsx-2022", "vectors": [
            vector("x", json!({"key": "f", "value": "2755"})),
            vector("y", json!({"key": "f", "value": "2755", "profile": "fsx-2020"}))]}),
        Reasons::Compared,
    );
    let passed: Vec<bool> = judged.unwrap().iter().map(|vector| vector.problem.is_none()).collect();
    assert_eq!(passed, [true, false]);
}

#[test]
fn what_is_no_vector_file_is_told_from_a_vector_that_fails() {
    let problem = |file: Value| judge_file(&file, Reasons::Compared).err().unwrap();
    assert_eq!(problem(json!([])), "expected an object");
    assert_eq!(problem(json!({"subject": "id", "vectors": []})), "expected `version` 1");
    assert_eq!(
        problem(json!({"version": 1, "subject": "acl", "vectors": []})),
        "expected one of the eight subjects, found `acl`"
    );
    assert_eq!(problem(json!({"version": 1, "subject": "id"})), "expected a list as `vectors`");
    assert_eq!(
        problem(json!({"version": 1, "subject": "id", "vectors": [{"id": "x", "result": "accept"}]})),
        "vector 0, counted from 0: expected an object as `input`"
    );
}

/// As much of JSON Schema as `schema.json` uses. A keyword that is not known here fails the test.
struct Schema {
    root: Value,
}

impl Schema {
    fn check(&self, value: &Value) -> Result<(), String> {
        self.obeys(&self.root, value)
    }

    fn obeys(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let Some(keywords) = schema.as_object() else {
            return if schema == &json!(true) { Ok(()) } else { Err(": expected nothing here".to_owned()) };
        };
        for (keyword, rule) in keywords {
            let obeyed = match keyword.as_str() {
                "$schema" | "$defs" | "title" | "description" | "examples" => Ok(true),
                "$ref" => {
                    let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                    self.obeys(self.root.pointer(pointer).unwrap(), value).map(|()| true)
                }
                "type" => Ok(is_of_type(rule.as_str().unwrap(), value)),
                "const" => Ok(rule == value),
                "enum" => Ok(rule.as_array().unwrap().contains(value)),
                "pattern" => Ok(value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text))),
                "minLength" => {
                    Ok(value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()))
                }
                "minItems" => Ok(value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap())),
                "uniqueItems" => Ok(value
                    .as_array()
                    .is_none_or(|items| items.iter().enumerate().all(|(index, item)| !items[..index].contains(item)))),
                "minimum" => Ok(value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap())),
                "maximum" => Ok(value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap())),
                "required" => {
                    let names = rule.as_array().unwrap();
                    Ok(value
                        .as_object()
                        .is_none_or(|fields| names.iter().all(|name| fields.contains_key(name.as_str().unwrap()))))
                }
                "properties" => self.fields_obey(rule, value).map(|()| true),
                "additionalProperties" => {
                    let known =
                        |name: &String| keywords.get("properties").is_some_and(|known| known.get(name).is_some());
                    let others = value.as_object().into_iter().flatten().filter(|(name, _)| !known(name));
                    for (name, value) in others {
                        self.obeys(rule, value).map_err(|problem| format!("/{name}{problem}"))?;
                    }
                    Ok(true)
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.obeys(rule, item).map_err(|problem| format!("/{index}{problem}"))?;
                    }
                    Ok(true)
                }
                "allOf" => {
                    for rule in rule.as_array().unwrap() {
                        self.obeys(rule, value)?;
                    }
                    Ok(true)
                }
                "oneOf" => {
                    let rules = rule.as_array().unwrap();
                    Ok(rules.iter().filter(|rule| self.obeys(rule, value).is_ok()).count() == 1)
                }
                "if" => {
                    let branch = if self.obeys(rule, value).is_ok() { "then" } else { "else" };
                    keywords.get(branch).map_or(Ok(()), |rule| self.obeys(rule, value)).map(|()| true)
                }
                "then" | "else" => Ok(keywords.contains_key("if")),
                _ => panic!("schema.json uses `{keyword}`, which this check does not know"),
            };
            if !obeyed? {
                return Err(format!(": expected `{keyword}` {rule}, found {value}"));
            }
        }
        Ok(())
    }

    fn fields_obey(&self, rules: &Value, value: &Value) -> Result<(), String> {
        for (name, rule) in rules.as_object().unwrap() {
            if let Some(value) = value.get(name) {
                self.obeys(rule, value).map_err(|problem| format!("/{name}{problem}"))?;
            }
        }
        Ok(())
    }
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => panic!("schema.json uses the type `{name}`, which this check does not know"),
    }
}

/// Whole-text patterns of single characters and classes, each once, `?`, `*`, `+` or `{n}`; no part begins with what
/// the part before it may repeat, so the longest run is always the right one.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pattern = pattern.strip_prefix('^').and_then(|pattern| pattern.strip_suffix('$')).expect("a whole pattern");
    let mut text = text;
    while let Some(first) = pattern.chars().next() {
        let (class, rest) = match pattern.strip_prefix('[') {
            Some(class) => class.split_once(']').unwrap(),
            None => pattern.split_at(first.len_utf8()),
        };
        let (least, most, rest) = if let Some(rest) = rest.strip_prefix('?') {
            (0, 1, rest)
        } else if let Some(rest) = rest.strip_prefix('*') {
            (0, usize::MAX, rest)
        } else if let Some(rest) = rest.strip_prefix('+') {
            (1, usize::MAX, rest)
        } else if let Some((count, rest)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            let count = count.parse().unwrap();
            (count, count, rest)
        } else {
            (1, 1, rest)
        };
        pattern = rest;
        let run = text.chars().take(most).take_while(|character| is_in(class, *character)).count();
        if run < least {
            return false;
        }
        text = text.char_indices().nth(run).map_or("", |(at, _)| &text[at..]);
    }
    text.is_empty()
}

fn is_in(class: &str, character: char) -> bool {
    let class: Vec<char> = class.chars().collect();
    let in_range = class.windows(3).any(|part| part[1] == '-' && (part[0]..=part[2]).contains(&character));
    let alone = class.len() == 1 && class[0] == character;
    in_range || alone
}

#[test]
fn the_check_of_the_schema_sees_what_is_wrong() {
    let schema = Schema { root: read("schema.json") };
    let vector = json!({"id": "x", "shows": "x", "input": {"key": "f", "value": "0644"}, "result": "accept",
        "output": {"permissions": "0644"}, "basis": "chosen"});
    let check = |change: &dyn Fn(&mut Value)| {
        let mut file = json!({"version": 1, "subject": "permissions", "vectors": [vector]});
        change(&mut file);
        schema.check(&file)
    };
    check(&|_| {}).unwrap();
    check(&|file| file["profile"] = json!("s3-files")).unwrap();
    let wrong: [&dyn Fn(&mut Value); 12] = [
        &|file| file["version"] = json!(2),
        &|file| file["subject"] = json!("acl"),
        &|file| file["subject"] = json!("time"),
        &|file| file["note"] = json!("x"),
        &|file| file["profile"] = json!("posix"),
        &|file| file["vectors"][0]["basis"] = json!("guessed"),
        &|file| file["vectors"][0]["note"] = json!("x"),
        &|file| file["vectors"][0]["reason"] = json!("empty"),
        &|file| file["vectors"][0]["result"] = json!("reject"),
        &|file| file["vectors"][0]["input"]["radix"] = json!(8),
        &|file| file["vectors"][0]["output"]["permissions"] = json!("00644"),
        &|file| file["vectors"][0]["shows"] = json!(""),
    ];
    for (index, change) in wrong.iter().enumerate() {
        assert!(check(change).is_err(), "change {index}, counted from 0");
    }
}

#[test]
fn patterns_match_whole_texts() {
    for (pattern, text, expected) in [
        ("^-?[0-9]+$", "-12", true),
        ("^-?[0-9]+$", "-", false),
        ("^-?[0-9]+$", "1-", false),
        ("^[0-7]{4}$", "0644", true),
        ("^[0-7]{4}$", "00644", false),
        ("^[0-9a-f]*$", "", true),
        ("^[0-9a-f]*$", "0F", false),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}
