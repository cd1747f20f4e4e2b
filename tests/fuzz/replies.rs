use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    runtime::Runtime,
};
use tokio_util::task::AbortOnDropHandle;
use warmd::cache::{Claim, Claimed, Entry, Error, Presence, Server, Store, Tick, Written};

use crate::driver::{Target, alone, fuzz, kind_of, seeds};

const WORDS: &[&str] = &[
    "+OK\r\n",
    "$-1\r\n",
    "*-1\r\n",
    ":1\r\n",
    ":-1\r\n",
    ":-2\r\n",
    ":60000\r\n",
    ":9223372036854775807\r\n",
    "_\r\n",
    "-ERR no\r\n",
    "-OOM out of memory\r\n",
    "-LOADING x\r\n",
    "-MOVED 1 a:1\r\n",
    "-NOAUTH x\r\n",
    "-\r\n",
    "$0\r\n\r\n",
    "$3\r\nabc\r\n",
    "$-5\r\n",
    "$4611686018427387904\r\n",
    "*0\r\n",
    "*3\r\n",
    "*1000000000\r\n",
    "%1\r\n",
    "%-1\r\n",
    "~2\r\n",
    "|1\r\n",
    ">2\r\n",
    ">0\r\n",
    ",1.5\r\n",
    ",inf\r\n",
    "#t\r\n",
    "!5\r\nERR x\r\n",
    "=7\r\ntxt:abc\r\n",
    "=3\r\nabc\r\n",
    "(123456789012345678901234567890\r\n",
    "\r\n",
    "\r",
    "\n",
    "*1\r\n*1\r\n",
    "invalidate",
    "+QUEUED\r\n",
];

/// What a call may take: the connection is lost, and what may be sent again is, three times, a moment later each. A
/// busy machine takes longer for one of them, and not each time for all calls of an input.
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(20);
const ALL_CALLS: Duration = Duration::from_secs(25);

fn server(port: u16) -> Server {
    Server {
        url: SecretString::from(format!("redis://127.0.0.1:{port}")),
        certificates: None,
        response_timeout: RESPONSE_TIMEOUT,
    }
}

/// A server that answers every request with the same bytes.
struct Fake {
    port: u16,
    _accepting: AbortOnDropHandle<()>,
}

impl Fake {
    async fn new(answer: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer: Arc<[u8]> = answer.into();
        let accepting = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let mut request = vec![0; 1 << 16];
                    while client.read(&mut request).await.is_ok_and(|length| length > 0) {
                        // One of the many servers that hang up in the middle.
                        if client.write_all(&answer).await.is_err() || answer.len().is_multiple_of(16) {
                            break;
                        }
                    }
                });
            }
        });
        Self { port, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

#[test]
fn whatever_redis_answers_is_an_answer_or_an_error() {
    let runtime = Runtime::new().unwrap();
    let target = Target {
        name: "whatever_redis_answers_is_an_answer_or_an_error",
        seeds: seeds(include_str!("seeds/replies")).into_iter().map(with_line_ends).collect(),
        words: WORDS,
        slow: ALL_CALLS,
        lanes: 24,
    };
    fuzz(target, move |input| {
        runtime.block_on(async {
            let fake = Fake::new(input).await;
            let server = server(fake.port);
            let store = in_time(Store::connect(&server)).await?;
            let store = match store {
                Ok(store) => store,
                Err(error) => return Ok(kind_of(&error.message)),
            };
            let keys = ["a", "b", "c"].map(str::to_owned);
            let entries = [true, false, true].map(|only_absent| Entry {
                key: "k".to_owned(),
                value: b"1".as_slice().into(),
                ttl: Duration::from_secs(1),
                only_absent,
            });
            let claim = Claim {
                prefix: "p:",
                job: "j",
                instance: "i",
                tick: Some(Tick { at: Utc::now(), again: false }),
                length: Duration::from_secs(2),
            };
            let mut told = String::new();
            let presence: Result<Vec<Presence>, Error> = in_time(store.presence(&keys)).await?;
            match presence {
                Ok(presence) if presence.len() != 3 => return Err(format!("{presence:?} of three keys")),
                Ok(presence) => told.push_str(&format!("{:?}", presence.map_kinds())),
                Err(error) => told.push_str(&kind_of(&error.message)),
            }
            match in_time(store.write(&entries)).await? {
                Ok(written) if written.len() != 3 => return Err(format!("{written:?} of three entries")),
                Ok(written) => {
                    let stored = written.iter().filter(|written| **written == Written::Stored).count();
                    let said = input.windows(5).filter(|window| *window == b"+OK\r\n").count();
                    if stored > said {
                        return Err(format!("{written:?}, and the server said OK {said} times"));
                    }
                    told.push_str(&format!(" stored {stored}"));
                }
                Err(error) => told.push_str(&kind_of(&error.message)),
            }
            if input.len().is_multiple_of(4) {
                match in_time(store.claim(claim)).await? {
                    Ok(Claimed::Granted(_)) => return Err("a lease that nobody gave".to_owned()),
                    Ok(Claimed::Held(_)) => told.push_str(" held"),
                    Ok(Claimed::Done) => told.push_str(" done"),
                    Err(error) => told.push_str(&kind_of(&error.message)),
                }
                let _ = in_time(store.get("k")).await?;
                let _ = in_time(store.ticks("p:", "j")).await?;
            }
            Ok(told)
        })
    });
}

trait Kinds {
    fn map_kinds(&self) -> Vec<&'static str>;
}

impl Kinds for Vec<Presence> {
    fn map_kinds(&self) -> Vec<&'static str> {
        let kind = |presence: &Presence| match presence {
            Presence::Missing => "missing",
            Presence::Expires(_) => "expires",
            Presence::Persistent => "persistent",
        };
        self.iter().map(kind).collect()
    }
}

async fn in_time<T>(call: impl Future<Output = T>) -> Result<T, String> {
    let began = Instant::now();
    let done = tokio::time::timeout(PATIENCE, call).await;
    done.map_err(|_| format!("no answer and no error after {:?}", began.elapsed()))
}

/// Seeds are written with the line ends of text.
fn with_line_ends(seed: Vec<u8>) -> Vec<u8> {
    let mut text = String::from_utf8(seed).unwrap().replace('\n', "\r\n");
    text.push_str("\r\n");
    text.into_bytes()
}

/// A connection goes on reading what was asked for, also when nobody waits for it any more.
#[test]
fn an_answer_without_end_ends_with_the_time_that_an_answer_has() {
    let _turn = alone();
    Runtime::new().unwrap().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = server(listener.local_addr().unwrap().port());
        let serving = async {
            let (mut client, _) = listener.accept().await?;
            let mut request = [0; 1 << 10];
            let _ = client.read(&mut request).await?;
            client.write_all(b"$4000000000000\r\n").await?;
            // A slow server is enough to see it.
            while client.write_all(&[b'x'; 1 << 10]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok::<(), std::io::Error>(())
        };
        let asking = async {
            let store = Store::connect(&server).await.unwrap();
            in_time(store.presence(&["a".to_owned()])).await.unwrap().unwrap_err();
            // The store lives on.
            store
        };
        let both = async { tokio::join!(serving, asking) };
        let (ended, _store) = in_time(both).await.expect("the connection is closed");
        ended.unwrap();
    });
}
