//! A client that is not of the crate, to look at a server from outside.

use crate::server::{ACCESS_KEY, REGION, SECRET_KEY};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Credentials, Region};

/// The client of AWS for this endpoint, with the right secret. It tries nothing twice.
#[must_use]
pub fn client(endpoint: &str) -> Client {
    Client::from_conf(config(endpoint, REGION, ACCESS_KEY, SECRET_KEY).build())
}

/// Its configuration, to change something about it.
#[must_use]
pub fn config(endpoint: &str, region: &str, access_key: &str, secret_key: &str) -> Builder {
    aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .force_path_style(true)
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .retry_config(RetryConfig::disabled())
}
