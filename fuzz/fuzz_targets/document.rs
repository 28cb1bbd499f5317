//! Law: an answer of the API that is read is written with everything that stood in it, but for members that were null, and
//! with nothing else; what was written reads as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use posix_s3::repository::describe::{
    DescribeDataRepositoryAssociationsResponse, DescribeDataRepositoryTasksResponse, DescribeFileSystemsResponse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

fn kept(before: &Value, after: &Value) -> bool {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            before.iter().all(|(name, value)| match after.get(name) {
                Some(after) => kept(value, after),
                None => value.is_null(),
            }) && after.keys().all(|name| before.contains_key(name))
        }
        (Value::Array(before), Value::Array(after)) => {
            before.len() == after.len() && before.iter().zip(after).all(|(before, after)| kept(before, after))
        }
        (before, after) => before == after,
    }
}

fn law<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &[u8]) {
    let document: T = match serde_json::from_slice(text) {
        Ok(document) => document,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let value = serde_json::to_value(&document).unwrap();
    let before: Value = serde_json::from_slice(text).unwrap();
    // An object, not the list of its members that serde takes for one as well.
    if before.is_object() {
        assert!(kept(&before, &value), "{before} became {value}");
    }
    let written = serde_json::to_string(&document).unwrap();
    assert_eq!(serde_json::from_str::<T>(&written).unwrap(), document);
}

fuzz_target!(|text: &[u8]| {
    law::<DescribeFileSystemsResponse>(text);
    law::<DescribeDataRepositoryAssociationsResponse>(text);
    law::<DescribeDataRepositoryTasksResponse>(text);
});
