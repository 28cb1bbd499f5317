//! Both doors of the crate to S3, side by side: how long a put and a get of a small object take, and how much of the
//! processor.
//!
//!     cargo run --release --manifest-path benches/s3/Cargo.toml --features doors --bin doors -- 127.0.0.1:9000 [OBJECTS]
//!
//! The server is the one beside this (`--bin server`), with a bucket named `bench`. Each door is on the executor that it is
//! meant for: HTTP requests of the crate's own on `async-io`, the client of the SDK on `tokio` with one thread.

use aws_sdk_s3::config::{BehaviorVersion, Credentials as SdkCredentials, Region};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, HeaderValue};
use posix_s3::store::s3::{
    Addressing, Bucket, Credentials, HttpCalls, Keys, S3Calls, S3Options, S3Store, SdkCalls, Signer,
};
use posix_s3::store::{Body, Capabilities, GetOptions, ObjectStore, PutOptions, StoreError};
use rustix::time::{ClockId, clock_gettime};
use std::error::Error;
use std::time::Instant;

/// How many requests are under way at once.
const AT_ONCE: usize = 64;
const SIZE: usize = 4096;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().ok_or("expected HOST:PORT")?;
    let objects: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let endpoint = format!("http://{address}");
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{objects} objects of {SIZE} bytes, {AT_ONCE} at once; microseconds an object, wall and CPU");
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let own = S3Store::with_capabilities(http(&endpoint)?, S3Options::default(), Capabilities::ALL);
        let sdk = S3Store::with_capabilities(
            SdkCalls::new(client(&endpoint), "bench"),
            S3Options::default(),
            Capabilities::ALL,
        );
        // In turns, each first as often as the other.
        let mut doors = [("http", true), ("sdk", false)];
        if round % 2 == 1 {
            doors.reverse();
        }
        for (name, is_own) in doors {
            let measured = if is_own {
                async_io::block_on(measure(&own, objects))?
            } else {
                tokio.block_on(measure(&sdk, objects))?
            };
            println!(
                "round {round}  {name:5} put {:6.1} {:6.1}   get {:6.1} {:6.1}",
                measured[0], measured[1], measured[2], measured[3]
            );
            all.push((name, measured));
        }
    }
    for door in ["http", "sdk"] {
        let median = |at: usize| {
            let mut values: Vec<f64> =
                all.iter().filter(|(name, _)| *name == door).map(|(_, found)| found[at]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        println!("median   {door:5} put {:6.1} {:6.1}   get {:6.1} {:6.1}", median(0), median(1), median(2), median(3));
    }
    Ok(())
}

/// Wall and CPU of a put, wall and CPU of a get, in microseconds.
async fn measure<C: S3Calls + 'static>(store: &S3Store<C>, objects: usize) -> Result<[f64; 4], StoreError> {
    let body = Bytes::from(vec![7; SIZE]);
    let mut headers = HeaderMap::new();
    for name in
        ["x-amz-meta-file-owner", "x-amz-meta-file-group", "x-amz-meta-file-permissions", "x-amz-meta-file-mtime"]
    {
        headers.insert(name, HeaderValue::from_static("1595002920000000000ns"));
    }
    let options = PutOptions { headers, ..PutOptions::default() };
    let key = |number: usize| format!("d{:03}/f{number:06}", number / 100);
    let start = (Instant::now(), cpu());
    let puts = (0..objects).map(|number| store_put(store, key(number), body.clone(), &options));
    stream::iter(puts).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let middle = (Instant::now(), cpu());
    let gets = (0..objects).map(|number| store_get(store, key(number)));
    stream::iter(gets).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    let end = (Instant::now(), cpu());
    let each = |seconds: f64| seconds * 1e6 / objects as f64;
    Ok([
        each((middle.0 - start.0).as_secs_f64()),
        each(middle.1 - start.1),
        each((end.0 - middle.0).as_secs_f64()),
        each(end.1 - middle.1),
    ])
}

async fn store_put<C: S3Calls + 'static>(
    store: &S3Store<C>,
    key: String,
    body: Bytes,
    options: &PutOptions,
) -> Result<(), StoreError> {
    store.put(&key, Body::Bytes(body), options).await.map(|_| ())
}

async fn store_get<C: S3Calls + 'static>(store: &S3Store<C>, key: String) -> Result<(), StoreError> {
    let mut body = store.get(&key, &GetOptions::default()).await?.body;
    while let Some(piece) = body.next().await {
        piece?;
    }
    Ok(())
}

fn http(endpoint: &str) -> Result<HttpCalls, Box<dyn Error>> {
    let bucket = Bucket::new(&endpoint.parse()?, "bench", Addressing::Path)?;
    let keys = Keys::new("bench", "bench-secret", None)?;
    Ok(HttpCalls::new(bucket, Signer::new(&"us-east-1".parse()?, &Credentials::Keys(keys))))
}

fn client(endpoint: &str) -> aws_sdk_s3::Client {
    let http = aws_smithy_http_client::Builder::new().build_http();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .force_path_style(true)
        .credentials_provider(SdkCredentials::new("bench", "bench-secret", None, None, "bench"))
        .http_client(http)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// The CPU time of this process, in seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
