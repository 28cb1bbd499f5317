//! The answers to the describing requests: what was asked for, filtered, a page at a time.

use super::describe::{
    DataRepositoryAssociation, DataRepositoryTask, DescribeDataRepositoryAssociationsRequest,
    DescribeDataRepositoryAssociationsResponse, DescribeDataRepositoryTasksRequest,
    DescribeDataRepositoryTasksResponse, DescribeFileSystemsRequest, DescribeFileSystemsResponse, FileSystem, Filter,
};
use super::error::{ApiError, ErrorCode};
use crate::escape::escape;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::collections::BTreeSet;
use std::fmt;

/// The most ids of a request.
const IDS: usize = 50;
/// The most file systems, and the most tasks, of a page.
const PAGE: i64 = 50;

/// The answer to `DescribeFileSystems`, of all the file systems that there are: in the order of their ids, at most 50 a page.
///
/// # Errors
/// `FileSystemNotFound` for an id that there is not; `BadRequest` for a request that is out of bounds.
pub fn describe_file_systems(
    all: &[FileSystem],
    request: &DescribeFileSystemsRequest,
) -> Result<DescribeFileSystemsResponse, ApiError> {
    let question = Question {
        ids: request.file_system_ids.as_deref(),
        not_found: ErrorCode::FileSystemNotFound,
        max_results: request.max_results,
        most: i32::MAX.into(),
        next_token: request.next_token.as_deref(),
    };
    let id = |one: &FileSystem| one.file_system_id.clone().unwrap_or_default();
    let (page, next_token) = question.answer(all, id, |_| true)?;
    Ok(DescribeFileSystemsResponse { file_systems: Some(page), next_token, ..Default::default() })
}

/// The answer to `DescribeDataRepositoryAssociations`, of all the associations that there are: in the order of their ids, at
/// most 25 a page.
///
/// Filters are `file-system-id`, `file-cache-id` and `data-repository-type` (`S3` or `NFS`). An association goes through when
/// each filter has a value that is its own.
///
/// # Errors
/// `DataRepositoryAssociationNotFound` for an id that there is not; `BadRequest` for a request that is out of bounds, or for
/// a filter that there is not.
pub fn describe_data_repository_associations(
    all: &[DataRepositoryAssociation],
    request: &DescribeDataRepositoryAssociationsRequest,
) -> Result<DescribeDataRepositoryAssociationsResponse, ApiError> {
    let question = Question {
        ids: request.association_ids.as_deref(),
        not_found: ErrorCode::DataRepositoryAssociationNotFound,
        max_results: request.max_results,
        most: 25,
        next_token: request.next_token.as_deref(),
    };
    let filters = request.filters.as_deref().unwrap_or_default();
    check_filters(filters, 10, &["file-system-id", "file-cache-id", "data-repository-type"])?;
    let goes_through = |one: &DataRepositoryAssociation| {
        filters.iter().all(|filter| match filter.name.as_deref() {
            Some("file-system-id") => lets_through(filter, one.file_system_id.as_deref()),
            Some("file-cache-id") => lets_through(filter, one.file_cache_id.as_deref()),
            _ => lets_through(filter, Some(if one.nfs.is_some() { "NFS" } else { "S3" })),
        })
    };
    let id = |one: &DataRepositoryAssociation| one.association_id.clone().unwrap_or_default();
    let (page, next_token) = question.answer(all, id, goes_through)?;
    Ok(DescribeDataRepositoryAssociationsResponse { associations: Some(page), next_token, ..Default::default() })
}

/// The answer to `DescribeDataRepositoryTasks`, of all the tasks that there are: in the order of their ids, at most 50 a page.
///
/// Filters are `file-system-id`, `file-cache-id`, `task-lifecycle` and `data-repository-association-id`; for the last,
/// `is_about` says whether a task is about an association, which its document does not tell.
///
/// # Errors
/// `DataRepositoryTaskNotFound` for an id that there is not; `BadRequest` for a request that is out of bounds, or for a
/// filter that there is not.
pub fn describe_data_repository_tasks(
    all: &[DataRepositoryTask],
    request: &DescribeDataRepositoryTasksRequest,
    is_about: impl Fn(&DataRepositoryTask, &str) -> bool,
) -> Result<DescribeDataRepositoryTasksResponse, ApiError> {
    let question = Question {
        ids: request.task_ids.as_deref(),
        not_found: ErrorCode::DataRepositoryTaskNotFound,
        max_results: request.max_results,
        most: i32::MAX.into(),
        next_token: request.next_token.as_deref(),
    };
    let filters = request.filters.as_deref().unwrap_or_default();
    let names = ["file-system-id", "file-cache-id", "task-lifecycle", "data-repository-association-id"];
    check_filters(filters, 3, &names)?;
    let goes_through = |one: &DataRepositoryTask| {
        filters.iter().all(|filter| match filter.name.as_deref() {
            Some("file-system-id") => lets_through(filter, one.file_system_id.as_deref()),
            Some("file-cache-id") => lets_through(filter, one.file_cache_id.as_deref()),
            Some("task-lifecycle") => lets_through(filter, Some(&one.lifecycle)),
            _ => filter.values.iter().flatten().any(|value| is_about(one, value)),
        })
    };
    let (page, next_token) = question.answer(all, |one| one.task_id.clone(), goes_through)?;
    Ok(DescribeDataRepositoryTasksResponse { data_repository_tasks: Some(page), next_token, ..Default::default() })
}

/// What the three requests have in common.
struct Question<'a> {
    ids: Option<&'a [String]>,
    not_found: ErrorCode,
    max_results: Option<i64>,
    /// The most that may be asked for at once.
    most: i64,
    next_token: Option<&'a str>,
}

impl Question<'_> {
    fn answer<T: Clone>(
        &self,
        all: &[T],
        id: impl Fn(&T) -> String,
        goes_through: impl Fn(&T) -> bool,
    ) -> Result<(Vec<T>, Option<String>), ApiError> {
        let size = match self.max_results {
            None => PAGE.min(self.most),
            Some(found) if (1..=self.most).contains(&found) => found.min(PAGE),
            Some(found) => return Err(bad(format_args!("MaxResults: expected 1 to {}, found {found}", self.most))),
        };
        let after = self.next_token.map(read_token).transpose()?;
        let mut sorted: Vec<(String, &T)> = all.iter().map(|one| (id(one), one)).collect();
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        if let Some(wanted) = self.ids.filter(|ids| !ids.is_empty()) {
            if wanted.len() > IDS {
                return Err(bad(format_args!("expected at most {IDS} ids, found {}", wanted.len())));
            }
            let wanted: BTreeSet<&str> = wanted.iter().map(String::as_str).collect();
            let is_there = |id: &str| sorted.binary_search_by(|(one, _)| one.as_str().cmp(id)).is_ok();
            if let Some(missing) = wanted.iter().find(|id| !is_there(id)) {
                let message = format_args!("there is no {}", escape(missing.as_bytes())).to_string();
                return Err(ApiError::new(self.not_found.clone(), message));
            }
            sorted.retain(|(id, _)| wanted.contains(id.as_str()));
        }
        // The last id of the page before, not its place: what comes and goes between two pages moves nothing.
        sorted.retain(|(id, one)| after.as_ref().is_none_or(|after| id > after) && goes_through(one));
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = sorted.len() > size;
        sorted.truncate(size);
        let next_token = sorted.last().filter(|_| more).map(|(id, _)| BASE64_STANDARD.encode(id));
        Ok((sorted.into_iter().map(|(_, one)| one.clone()).collect(), next_token))
    }
}

fn read_token(token: &str) -> Result<String, ApiError> {
    let id = BASE64_STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    id.filter(|id| !id.is_empty()).ok_or_else(|| {
        bad(format_args!("NextToken: expected that of an earlier answer, found \"{}\"", escape(token.as_bytes())))
    })
}

fn check_filters(filters: &[Filter], most: usize, names: &[&str]) -> Result<(), ApiError> {
    if filters.len() > most {
        return Err(bad(format_args!("Filters: expected at most {most}, found {}", filters.len())));
    }
    for filter in filters {
        let name = filter.name.as_deref().unwrap_or_default();
        if !names.contains(&name) {
            let expected = names.join(", ");
            return Err(bad(format_args!(
                "Filters: expected one of {expected}, found \"{}\"",
                escape(name.as_bytes())
            )));
        }
        let values = filter.values.as_ref().map_or(0, Vec::len);
        if values > 20 {
            return Err(bad(format_args!("Filters: expected at most 20 values of {name}, found {values}")));
        }
    }
    Ok(())
}

fn lets_through(filter: &Filter, found: Option<&str>) -> bool {
    filter.values.iter().flatten().any(|value| Some(value.as_str()) == found)
}

fn bad(message: impl fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn associations(count: usize) -> Vec<DataRepositoryAssociation> {
        let one = |number: usize| DataRepositoryAssociation {
            association_id: Some(format!("dra-{number:017x}")),
            file_system_id: Some(format!("fs-{}", number % 2)),
            nfs: (number == 0).then(|| serde_json::json!({"Version": "NFS3"})),
            ..Default::default()
        };
        // Not in their order.
        (0..count).rev().map(one).collect()
    }

    fn ask(
        all: &[DataRepositoryAssociation],
        request: &str,
    ) -> Result<DescribeDataRepositoryAssociationsResponse, ApiError> {
        describe_data_repository_associations(all, &serde_json::from_str(request).unwrap())
    }

    fn ids(answer: &DescribeDataRepositoryAssociationsResponse) -> Vec<&str> {
        answer.associations.iter().flatten().filter_map(|one| one.association_id.as_deref()).collect()
    }

    #[test]
    fn pages_follow_one_another_to_the_end() {
        let all = associations(60);
        let (mut seen, mut token, mut sizes) = (Vec::new(), None, Vec::new());
        loop {
            let request = DescribeDataRepositoryAssociationsRequest { next_token: token, ..Default::default() };
            let answer = describe_data_repository_associations(&all, &request).unwrap();
            let page = answer.associations.unwrap();
            sizes.push(page.len());
            seen.extend(page);
            token = answer.next_token;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(sizes, [25, 25, 10]);
        let mut sorted = all;
        sorted.reverse();
        assert_eq!(seen, sorted);
    }

    #[test]
    fn a_page_goes_on_where_the_last_ended_though_its_last_is_gone() {
        let mut all = associations(4);
        let first = ask(&all, r#"{"MaxResults":2}"#).unwrap();
        assert_eq!(ids(&first), ["dra-00000000000000000", "dra-00000000000000001"]);
        let token = first.next_token.unwrap();
        all.retain(|one| one.association_id.as_deref() != Some("dra-00000000000000001"));
        let second = ask(&all, &format!(r#"{{"MaxResults":2,"NextToken":"{token}"}}"#)).unwrap();
        assert_eq!(second.next_token, None);
        assert_eq!(ids(&second), ["dra-00000000000000002", "dra-00000000000000003"]);
    }

    #[test]
    fn filters_and_ids_choose() {
        let all = associations(4);
        let count = |request: &str| ask(&all, request).map(|answer| answer.associations.unwrap().len());
        assert_eq!(count(r#"{"Filters":[{"Name":"file-system-id","Values":["fs-0"]}]}"#), Ok(2));
        assert_eq!(count(r#"{"Filters":[{"Name":"file-system-id","Values":["fs-0","fs-1"]}]}"#), Ok(4));
        let both = r#"{"Filters":[{"Name":"file-system-id","Values":["fs-0"]},{"Name":"data-repository-type","Values":["S3"]}]}"#;
        assert_eq!(count(both), Ok(1));
        assert_eq!(count(r#"{"Filters":[{"Name":"file-cache-id","Values":["fc-1"]}]}"#), Ok(0));
        assert_eq!(count(r#"{"AssociationIds":["dra-00000000000000002","dra-00000000000000002"]}"#), Ok(1));
        assert_eq!(count(r#"{"AssociationIds":[]}"#), Ok(4));
        let error = count(r#"{"AssociationIds":["dra-0000000000000000f"]}"#).unwrap_err();
        assert_eq!(error.to_string(), "DataRepositoryAssociationNotFound: there is no dra-0000000000000000f");
    }

    #[test]
    fn what_is_out_of_bounds_is_a_bad_request() {
        let refusals = [
            (r#"{"MaxResults":0}"#.to_owned(), "MaxResults: expected 1 to 25, found 0"),
            (r#"{"MaxResults":26}"#.to_owned(), "MaxResults: expected 1 to 25, found 26"),
            (r#"{"NextToken":"*"}"#.to_owned(), r#"NextToken: expected that of an earlier answer, found "*""#),
            (
                r#"{"Filters":[{"Name":"colour","Values":[]}]}"#.to_owned(),
                r#"Filters: expected one of file-system-id, file-cache-id, data-repository-type, found "colour""#,
            ),
            (format!(r#"{{"AssociationIds":{:?}}}"#, vec!["dra-"; 51]), "expected at most 50 ids, found 51"),
            (
                format!(r#"{{"Filters":[{{"Name":"file-system-id","Values":{:?}}}]}}"#, vec!["fs-"; 21]),
                "Filters: expected at most 20 values of file-system-id, found 21",
            ),
        ];
        for (request, message) in refusals {
            let error = ask(&[], &request).unwrap_err();
            assert_eq!((error.code(), error.message()), (&ErrorCode::BadRequest, message));
        }
    }

    #[test]
    fn tasks_and_file_systems_are_answered_alike() {
        let task = |id: &str, lifecycle: &str| DataRepositoryTask {
            task_id: id.into(),
            lifecycle: lifecycle.into(),
            ..Default::default()
        };
        let all = [task("task-2", "FAILED"), task("task-1", "PENDING")];
        let ask = |request: &str| {
            let request = serde_json::from_str(request).unwrap();
            let answer =
                describe_data_repository_tasks(&all, &request, |task, id| task.task_id == "task-1" && id == "dra-1")?;
            Ok::<_, ApiError>(
                answer.data_repository_tasks.unwrap().into_iter().map(|task| task.task_id).collect::<Vec<_>>(),
            )
        };
        assert_eq!(ask("{}").unwrap(), ["task-1", "task-2"]);
        assert_eq!(ask(r#"{"Filters":[{"Name":"task-lifecycle","Values":["FAILED"]}]}"#).unwrap(), ["task-2"]);
        let about = r#"{"Filters":[{"Name":"data-repository-association-id","Values":["dra-0","dra-1"]}]}"#;
        assert_eq!(ask(about).unwrap(), ["task-1"]);
        assert_eq!(ask(r#"{"TaskIds":["task-3"]}"#).unwrap_err().code().name(), "DataRepositoryTaskNotFound");

        let all = [FileSystem { file_system_id: Some("fs-1".into()), ..Default::default() }];
        let ask = |request: &str| describe_file_systems(&all, &serde_json::from_str(request).unwrap());
        assert_eq!(ask(r#"{"MaxResults":2147483647}"#).unwrap().file_systems.unwrap(), all);
        assert_eq!(ask(r#"{"FileSystemIds":["fs-2"]}"#).unwrap_err().code().name(), "FileSystemNotFound");
    }
}
