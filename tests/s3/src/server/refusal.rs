//! [`Refusal`]: an error as S3 answers it.

use super::xml::escape;
use http::{HeaderValue, StatusCode, header};
use s3s::Body;

/// An error of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    code: String,
    message: String,
    headers: Vec<(&'static str, &'static str)>,
}

impl Refusal {
    /// An error of this status, code and message.
    #[must_use]
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), headers: Vec::new() }
    }

    /// The same, with a header such as `Retry-After`.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    pub(super) fn no_such_upload() -> Self {
        let message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been \
            aborted or completed.";
        Self::new(404, "NoSuchUpload", message)
    }

    pub(super) fn precondition_failed() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold";
        Self::new(412, "PreconditionFailed", message)
    }

    pub(super) fn not_implemented(what: &str) -> Self {
        let message = format!("A header or query you provided implies functionality that is not implemented: {what}");
        Self::new(501, "NotImplemented", message)
    }

    pub(super) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(super) fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    pub(super) fn malformed_xml() -> Self {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        Self::new(400, "MalformedXML", message)
    }

    /// For one key of several.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn into_answer(self) -> http::Response<Body> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message>\
             <RequestId>4442587FB7D0A2F9</RequestId><HostId>host</HostId></Error>",
            escape(&self.code),
            escape(&self.message)
        );
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Such an answer has no body.
        let body = if status == StatusCode::NOT_MODIFIED { Body::empty() } else { Body::from(body) };
        let mut answer = http::Response::new(body);
        *answer.status_mut() = status;
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        answer.headers_mut().insert("x-amz-request-id", HeaderValue::from_static("4442587FB7D0A2F9"));
        for (name, value) in self.headers {
            answer.headers_mut().append(name, HeaderValue::from_static(value));
        }
        answer
    }
}
