//! Bodies that are handed out in pieces.

use super::*;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use posix_s3::store::GetOutput;
use std::sync::Mutex;

const MIB: usize = 1 << 20;

/// Bytes of which no two MiB are alike.
fn content(size: usize) -> Vec<u8> {
    let words = (0..size.div_ceil(8) as u64).map(|at| (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    bytes.truncate(size);
    bytes
}

/// What is asked for of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    range: Option<(usize, usize)>,
    if_match: Option<String>,
}

impl Asked {
    fn of(heard: &Heard<'_>) -> Self {
        let field =
            |name: &str| heard.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
        let range = field("range").map(|range| {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            (first.parse().unwrap(), last.parse::<usize>().unwrap() + 1)
        });
        Self { range, if_match: field("if-match") }
    }

    /// The head of the answer, and where the body starts and ends.
    fn answered(&self, size: usize, headers: &str) -> (String, usize, usize) {
        let (start, end) = self.range.unwrap_or((0, size));
        let (end, length) = (end.min(size), end.min(size) - start);
        let status = match self.range {
            Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {start}-{}/{size}", end - 1),
            None => "200 OK".to_owned(),
        };
        (format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n"), start, end)
    }
}

/// A server of one object. What becomes of each request a function says: how many bytes of the body are sent, before the
/// connection is closed if they are not all.
struct Object {
    server: Server,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// How many bytes of bodies were sent.
    sent: Arc<AtomicUsize>,
}

impl Object {
    fn new(content: Vec<u8>, headers: String, most: impl Fn(usize) -> usize + Send + Sync + 'static) -> Self {
        let (asked, sent) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::<AtomicUsize>::default());
        let (kept, counted) = (Arc::clone(&asked), Arc::clone(&sent));
        let server = Server::new(move |heard| {
            let asked = Asked::of(heard);
            let (head, start, end) = asked.answered(content.len(), &headers);
            kept.lock().unwrap().push(asked);
            let cut = end.min(start.saturating_add(most(heard.before)));
            heard.say(head);
            for piece in content[start..cut].chunks(64 << 10) {
                if !heard.say(piece) {
                    return Next::Close;
                }
                counted.fetch_add(piece.len(), Ordering::SeqCst);
            }
            if cut < end { Next::Close } else { Next::Keep }
        });
        Self { server, asked, sent }
    }

    fn whole(size: usize) -> Self {
        Self::new(content(size), META.to_owned(), |_| usize::MAX)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }
}

const AT_ONCE: RetryPolicy = RetryPolicy::new(5, Duration::ZERO, Duration::ZERO);

fn expecting(size: usize) -> GetOptions {
    GetOptions { expected_size: Some(size as u64), ..GetOptions::default() }
}

/// What was read, and the error behind it.
async fn drain(output: GetOutput) -> (Vec<u8>, Option<StoreError>) {
    let (mut bytes, mut body) = (Vec::new(), output.body);
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(error) => {
                assert!(body.next().await.is_none(), "there is nothing behind an error");
                return (bytes, Some(error));
            }
        }
    }
    (bytes, None)
}

async fn read(store: &S3Store<HttpCalls>, size: usize) -> (Vec<u8>, Option<StoreError>) {
    drain(store.get("a", &expecting(size)).await.unwrap()).await
}

/// Reads to the end, and keeps nothing.
async fn pass(output: GetOutput) -> u64 {
    output.body.try_fold(0, |sum, piece| async move { Ok(sum + piece.len() as u64) }).await.unwrap()
}

#[test]
fn a_body_that_breaks_off_is_gone_on_with_where_it_was() {
    let size = 10 * MIB + 7;
    // In the middle of a piece, after nothing at all, and short of the last byte.
    let cuts = [3 * MIB + 1, 0, 5 * MIB, size - (8 * MIB + 1) - 1];
    on_both(async || {
        let object = Object::new(content(size), META.into(), move |before| *cuts.get(before).unwrap_or(&usize::MAX));
        let (bytes, error) = read(&object.server.store(AT_ONCE), size).await;
        assert!(error.is_none(), "{error:?}");
        assert!(bytes == content(size), "{} bytes", bytes.len());
        assert_eq!(object.sent(), size, "no byte is fetched twice");
        let (mut at, mut asked) = (0, vec![Asked { range: None, if_match: None }]);
        for cut in cuts {
            at += cut;
            asked.push(Asked { range: Some((at, size)), if_match: Some("\"e\"".into()) });
        }
        assert_eq!(object.asked(), asked);
    });
}

#[test]
fn a_body_that_breaks_off_is_an_error_where_nothing_is_tried_again() {
    let object = Object::new(content(4 * MIB), META.into(), |_| 2 * MIB);
    let (bytes, error) = async_io::block_on(read(&object.server.store(RetryPolicy::NEVER), 4 * MIB));
    assert_eq!(error.unwrap().kind(), Kind::Transient);
    assert!(bytes.len() <= 2 * MIB && content(4 * MIB).starts_with(&bytes));
    assert_eq!(object.server.requests(), 1);
}

#[test]
fn a_body_that_does_not_get_on_is_given_up_and_one_that_does_is_not() {
    // One byte each time, and then a mebibyte and a bit, in more requests than there are tries.
    let object = Object::new(content(30 * MIB), META.into(), |before| if before == 0 { 2 * MIB } else { 1 });
    let (bytes, error) = async_io::block_on(read(&object.server.store(AT_ONCE), 30 * MIB));
    assert_eq!((error.unwrap().kind(), object.server.requests()), (Kind::Transient, 1 + 4));
    assert_eq!(bytes.len(), 2 * MIB + 4);
    let object = Object::new(content(12 * MIB), META.into(), |_| MIB + 1);
    let (bytes, error) = async_io::block_on(read(&object.server.store(AT_ONCE), 12 * MIB));
    assert!(error.is_none() && bytes == content(12 * MIB), "{error:?}");
    assert_eq!(object.server.requests(), 12);
}

#[test]
fn a31_what_is_gone_on_with_is_of_the_same_version() {
    let replaced = [
        answer("412 Precondition Failed", "", "<Error><Code>PreconditionFailed</Code></Error>"),
        answer("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>"),
        // One that takes no notice of the condition.
        String::new(),
    ];
    for said in replaced {
        let old = content(4 * MIB);
        let server = Server::new(move |heard| {
            let asked = Asked::of(heard);
            if heard.before == 0 {
                heard.say(asked.answered(4 * MIB, META).0);
                heard.say(&old[..2 * MIB]);
                return Next::Close;
            }
            assert_eq!(asked.if_match.as_deref(), Some("\"e\""));
            if said.is_empty() {
                let (head, start, end) = asked.answered(4 * MIB, &META.replace("\"e\"", "\"f\""));
                heard.say(head);
                heard.say(vec![b'x'; end - start]);
            } else {
                heard.say(&said);
            }
            Next::Keep
        });
        let (bytes, error) = async_io::block_on(read(&server.store(AT_ONCE), 4 * MIB));
        assert_eq!(error.unwrap().kind(), Kind::Transient);
        assert!(bytes.len() == 2 * MIB && content(4 * MIB).starts_with(&bytes), "no mix");
        assert_eq!(server.requests(), 2, "another version is not asked for again");
    }
}

#[test]
fn a32_a_body_in_pieces_is_not_handed_out_whole_if_its_checksum_is_another() {
    for size in [MIB + 1, 4 * MIB + 5] {
        let right = content(size);
        let sum = checksum(&right).unwrap();
        let headers = format!("{META}x-amz-checksum-sha256: {sum}\r\n");
        for bit in [None, Some(0), Some(size * 4), Some(size * 8 - 1)] {
            let mut body = right.clone();
            if let Some(bit) = bit {
                body[bit / 8] ^= 1 << (bit % 8);
            }
            let object = Object::new(body, headers.clone(), |before| if before == 0 { MIB } else { usize::MAX });
            let (bytes, error) = async_io::block_on(read(&object.server.store(AT_ONCE), size));
            match bit {
                None => assert!(error.is_none() && bytes == right, "{error:?}"),
                Some(_) => {
                    assert_eq!(error.unwrap().kind(), Kind::Corrupt, "{bit:?}");
                    assert!(bytes.len() < size, "the last piece is kept back");
                }
            }
        }
    }
}

#[test]
fn a_body_that_is_longer_than_announced_is_an_error() {
    let server = Server::new(|heard| {
        let range = format!("Content-Range: bytes 0-{}/{}\r\n", 9 * MIB - 1, 9 * MIB);
        heard.say(format!("HTTP/1.1 206 OK\r\nTransfer-Encoding: chunked\r\n{META}{range}\r\n"));
        for _ in 0..10 {
            heard.say(format!("{MIB:x}\r\n"));
            heard.say(vec![0; MIB]);
            heard.say("\r\n");
        }
        heard.say("0\r\n\r\n");
        Next::Keep
    });
    let options = GetOptions { range: Some(0..9 * MIB as u64), ..GetOptions::default() };
    let (bytes, error) =
        async_io::block_on(async { drain(server.store(RetryPolicy::NEVER).get("a", &options).await.unwrap()).await });
    assert_eq!(error.unwrap().kind(), Kind::Corrupt);
    assert!(bytes.len() <= 9 * MIB);
}

#[test]
fn a_connection_is_used_again_once_a_body_was_read_to_its_end() {
    let object = Object::whole(3 * MIB);
    let both = on_both(async || {
        let store = object.server.store(RetryPolicy::NEVER);
        for _ in 0..3 {
            assert!(read(&store, 3 * MIB).await.0 == content(3 * MIB));
        }
        let before = object.server.connections();
        for _ in 0..2 {
            // The first piece, and the whole without looking whether there is more.
            let mut half = store.get("a", &expecting(3 * MIB)).await.unwrap();
            half.body.next().await.unwrap().unwrap();
        }
        (before, object.server.connections())
    });
    // One for the first three reads and the first half; a new one for each that was left.
    assert_eq!(both, [(1, 2), (3, 4)]);
}

#[test]
fn a_range_within_a_large_object_ends_with_its_connection_in_good_order() {
    let object = Object::whole(33 * MIB);
    async_io::block_on(async {
        let store = object.server.store(RetryPolicy::NEVER);
        for _ in 0..3 {
            let options = GetOptions { range: Some(5..20 << 20), ..GetOptions::default() };
            let (bytes, error) = drain(store.get("a", &options).await.unwrap()).await;
            assert!(error.is_none() && bytes == content(20 * MIB)[5..]);
        }
    });
    assert_eq!((object.server.requests(), object.server.connections()), (3, 1));
}

/// How much memory so many readers take at most who read at once an object of this size.
fn memory_of(readers: usize, size: usize, options: S3Options) -> u64 {
    let object = Object::whole(size);
    let store = S3Store::with_capabilities(object.server.calls(), options, Capabilities::ALL);
    let measured = allocation_counter::measure(|| {
        async_io::block_on(async {
            let mut all: FuturesUnordered<_> =
                (0..readers).map(|_| async { pass(store.get("a", &expecting(size)).await.unwrap()).await }).collect();
            while let Some(read) = all.next().await {
                assert_eq!(read, size as u64);
            }
        });
    });
    measured.bytes_max
}

#[test]
fn many_readers_take_little_memory() {
    let most = memory_of(64, 16 * MIB, S3Options::default());
    assert!(most < 64 << 20, "{most}");
}

#[test]
fn many_readers_of_many_parts_take_no_more_than_is_allowed() {
    let memory = 16 << 20;
    let most = memory_of(16, 40 * MIB, S3Options::default().with_memory(memory));
    assert!(most < memory + (24 << 20), "{most}");
}

#[test]
fn readers_that_stall_hold_up_nobody() {
    for size in [16 * MIB, 40 * MIB] {
        let object = Object::whole(size);
        let options = S3Options::default().with_requests(2).with_memory(8 << 20);
        let store = S3Store::with_capabilities(object.server.calls(), options, Capabilities::ALL);
        async_io::block_on(async {
            let all = pin!(async {
                let mut stalled = Vec::new();
                for _ in 0..10 {
                    let mut output = store.get("a", &expecting(size)).await.unwrap();
                    output.body.next().await.unwrap().unwrap();
                    stalled.push(output);
                }
                assert_eq!(pass(store.get("a", &expecting(size)).await.unwrap()).await, size as u64);
                store.head("a").await.unwrap();
                let small = GetOptions { range: Some(0..9), ..GetOptions::default() };
                assert_eq!(pass(store.get("a", &small).await.unwrap()).await, 9);
                stalled
            });
            let late = pin!(async_io::Timer::after(Duration::from_secs(30)));
            let Either::Left((stalled, _)) = select(all, late).await else { panic!("they wait for who reads nothing") };
            // And they go on.
            for output in stalled {
                assert!(pass(output).await < size as u64);
            }
        });
    }
}

#[test]
fn a_store_that_throttles_is_heard_in_the_middle_of_a_body() {
    let busy = answer("503 Slow Down", "", "<Error><Code>SlowDown</Code></Error>");
    let whole = content(4 * MIB);
    let server = Server::new(move |heard| {
        let asked = Asked::of(heard);
        let (head, start, end) = asked.answered(whole.len(), META);
        match heard.before {
            0 => {
                heard.say(head);
                heard.say(&whole[..MIB + 9]);
                Next::Close
            }
            1 | 2 => {
                heard.say(&busy);
                Next::Keep
            }
            _ => {
                heard.say(head);
                heard.say(&whole[start..end]);
                Next::Keep
            }
        }
    });
    let (bytes, error) = async_io::block_on(read(&server.store(AT_ONCE), 4 * MIB));
    assert!(error.is_none() && bytes == content(4 * MIB), "{error:?}");
    assert_eq!(server.requests(), 4);
}
