//! The proxy does what its schedule says, and nothing else.

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use posix_s3_s3_tests::client::{client, config};
use posix_s3_s3_tests::proxy::{Answer, Fault, Proxy, first_tries, seeded};
use posix_s3_s3_tests::server::{ACCESS_KEY, BUCKET, Operation, REGION, SECRET_KEY, Server};
use std::time::{Duration, Instant};

fn behind(fault: Fault) -> (Server, Proxy, Client) {
    let server = Server::new();
    let proxy = Proxy::new(&server.endpoint(), move |_| fault);
    let client = client(&proxy.endpoint());
    (server, proxy, client)
}

async fn put(client: &Client, key: &str, body: &'static str) -> Result<(), u16> {
    let put = client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(body.as_bytes()));
    put.send().await.map(drop).map_err(|error| error.raw_response().map_or(0, |answer| answer.status().as_u16()))
}

async fn get(client: &Client, key: &str) -> Option<Vec<u8>> {
    let got = client.get_object().bucket(BUCKET).key(key).send().await.ok()?;
    Some(got.body.collect().await.ok()?.to_vec())
}

#[tokio::test]
async fn without_a_fault_everything_passes_as_it_is() {
    let (server, proxy, client) = behind(Fault::None);
    for key in ["a//../b", " +%2F\u{e9}", "nl\nx", "k?q=1#f"] {
        put(&client, key, "body").await.unwrap();
        assert_eq!(get(&client, key).await.unwrap(), b"body");
        client.head_object().bucket(BUCKET).key(key).send().await.unwrap();
        client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    }
    let large = vec![7; 3 << 20];
    client.put_object().bucket(BUCKET).key("large").body(large.clone().into()).send().await.unwrap();
    assert!(get(&client, "large").await.unwrap() == large);
    assert_eq!((server.requests().total(), proxy.log().len(), proxy.faults()), (18, 18, 0));
    let (request, _) = proxy.log().swap_remove(0);
    assert_eq!((request.number, request.tries, request.operation), (0, 0, Operation::PutObject));
    assert!(request.path.starts_with(&format!("/{BUCKET}/a//../b")), "{request:?}");
}

#[tokio::test]
async fn what_is_reset_before_never_happens() {
    for fault in [Fault::ResetEarly, Fault::ResetBefore] {
        let (server, proxy, client) = behind(fault);
        assert_eq!(put(&client, "a", "x").await, Err(0));
        assert_eq!((server.requests().total(), proxy.faults()), (0, 1));
    }
}

#[tokio::test]
async fn what_is_reset_after_has_happened() {
    let (server, _proxy, client) = behind(Fault::ResetAfter);
    assert_eq!(put(&client, "a", "x").await, Err(0));
    assert_eq!(server.keys(), ["a"]);
}

#[tokio::test]
async fn cut_replies_break_off() {
    let (server, _proxy, client) = behind(Fault::CutReply);
    assert_eq!(put(&client, "a", "0123456789").await, Err(0));
    assert_eq!(server.keys(), ["a"]);
    let got = client.get_object().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!(got.content_length(), Some(10));
    assert!(got.body.collect().await.is_err());
    assert!(client.list_objects_v2().bucket(BUCKET).send().await.is_err());
}

#[tokio::test]
async fn requests_happen_twice() {
    let (server, _proxy, client) = behind(Fault::Twice);
    put(&client, "a", "x").await.unwrap();
    assert_eq!(server.requests().of(Operation::PutObject), 2);
    let create = client.put_object().bucket(BUCKET).key("b").if_none_match("*").send().await;
    assert_eq!(create.unwrap_err().code(), Some("PreconditionFailed"));
    assert_eq!(server.keys(), ["a", "b"]);
}

#[tokio::test]
async fn answers_of_its_own() {
    let (server, proxy, client) = behind(Fault::Answer(Answer::SLOW_DOWN.with_retry_after(3)));
    let error = client.list_objects_v2().bucket(BUCKET).send().await.unwrap_err();
    assert_eq!(error.code(), Some("SlowDown"));
    assert_eq!(error.raw_response().unwrap().headers().get("retry-after"), Some("3"));
    assert_eq!(put(&client, "a", "x").await, Err(503));
    assert!(client.head_object().bucket(BUCKET).key("a").send().await.is_err());
    assert_eq!(server.requests().total(), 0);
    proxy.set_schedule(|_| Fault::AnswerAfter(Answer::INTERNAL_ERROR));
    assert_eq!(put(&client, "a", "x").await, Err(500));
    assert_eq!(server.keys(), ["a"]);
    proxy.set_schedule(|_| Fault::None);
    assert_eq!(get(&client, "a").await.unwrap(), b"x");
}

#[tokio::test]
async fn slow_ones_take_their_time() {
    let (_server, proxy, client) = behind(Fault::Latency(Duration::from_millis(150)));
    let start = Instant::now();
    put(&client, "a", "0123456789").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(150));
    proxy.set_schedule(|_| Fault::Drip { piece: 3, pause: Duration::from_millis(50) });
    let start = Instant::now();
    assert_eq!(get(&client, "a").await.unwrap(), b"0123456789");
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn damage_is_on_the_way_only() {
    let (server, proxy, client) = behind(Fault::CorruptRequest);
    assert_eq!(put(&client, "a", "0123456789").await, Err(400));
    assert!(server.keys().is_empty());
    proxy.set_schedule(|_| Fault::None);
    put(&client, "a", "0123456789").await.unwrap();
    proxy.set_schedule(|_| Fault::Corrupt);
    assert_eq!(get(&client, "a").await, None, "the checksum tells");
    assert_eq!(server.object("a").unwrap().body, "0123456789");
}

#[tokio::test]
async fn first_tries_fail_and_the_next_ones_pass() {
    let server = Server::new();
    let schedule = first_tries(2, Fault::ResetAfter, |request| request.operation == Operation::PutObject);
    let proxy = Proxy::new(&server.endpoint(), schedule);
    let retry = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(1));
    let config = config(&proxy.endpoint(), REGION, ACCESS_KEY, SECRET_KEY).retry_config(retry);
    let client = Client::from_conf(config.build());
    for key in ["a", "b"] {
        put(&client, key, "x").await.unwrap();
        assert_eq!(get(&client, key).await.unwrap(), b"x");
    }
    assert_eq!((proxy.log().len(), proxy.faults()), (8, 4));
}

#[tokio::test]
async fn the_same_seed_is_the_same_fault() {
    let outcomes = |seed| async move {
        let server = Server::new();
        let faults = vec![Fault::ResetBefore, Fault::ResetAfter, Fault::Answer(Answer::INTERNAL_ERROR)];
        let proxy = Proxy::new(&server.endpoint(), seeded(seed, 4, faults));
        let client = client(&proxy.endpoint());
        for number in 0..60 {
            let _ = put(&client, &format!("key-{number}"), "x").await;
        }
        let faults: Vec<Fault> = proxy.log().into_iter().map(|(_, fault)| fault).collect();
        (faults, server.keys())
    };
    let first = outcomes(1).await;
    assert_eq!(first, outcomes(1).await);
    assert_ne!(first, outcomes(2).await);
    let count = first.0.iter().filter(|fault| **fault != Fault::None).count();
    assert!((5..=30).contains(&count), "{count} of 60");
}
