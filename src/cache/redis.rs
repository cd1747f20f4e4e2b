//! Redis through one multiplexed connection that mends itself.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use redis::{
    Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError, RedisResult, Value,
    aio::{ConnectionManager, ConnectionManagerConfig},
};
use secrecy::ExposeSecret as _;

use super::{Entry, Error, Presence, Server, Written, lookups::Tally};
use crate::tls;

/// A Redis server; clones share the connection, on which several pipelines may be under way.
#[derive(Clone)]
pub struct RedisStore {
    link: Arc<Link>,
    lookups: Arc<Tally>,
    address: String,
}

/// The connection, and what another is made of.
struct Link {
    /// Numbered, because it is replaced when the server did not answer in time.
    connection: Mutex<(u64, ConnectionManager)>,
    client: Client,
    config: ConnectionManagerConfig,
}

impl RedisStore {
    pub(super) async fn connect(server: &Server) -> Result<Self, Error> {
        let (client, address, config) = client(server)?;
        let asked = client.get_connection_info().addr().clone();
        match ConnectionManager::new_with_config(client.clone(), config.clone()).await {
            Ok(connection) => Ok(Self::new(connection, client, config, address)),
            Err(error) => {
                let mut told = describe(&address, &error);
                told.message.push_str(suspicion(&asked, &error));
                Err(told)
            }
        }
    }

    /// Connects when it is first needed.
    pub(super) fn lazy(server: &Server) -> Result<Self, Error> {
        let (client, address, config) = client(server)?;
        match ConnectionManager::new_lazy_with_config(client.clone(), config.clone()) {
            Ok(connection) => Ok(Self::new(connection, client, config, address)),
            Err(error) => Err(describe(&address, &error)),
        }
    }

    fn new(connection: ConnectionManager, client: Client, config: ConnectionManagerConfig, address: String) -> Self {
        let link = Arc::new(Link { connection: Mutex::new((0, connection)), client, config });
        Self { link, lookups: Arc::default(), address }
    }

    /// The server, without whatever is secret.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn count_with(&mut self, other: &Self) {
        if self.address == other.address {
            self.lookups = Arc::clone(&other.lookups);
        }
    }

    /// Replaces a connection on which an answer is overdue. It would be read on, and an answer may have no end.
    fn give_up(&self, number: u64) {
        let mut current = self.link.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 == number
            && let Ok(next) =
                ConnectionManager::new_lazy_with_config(self.link.client.clone(), self.link.config.clone())
        {
            *current = (number + 1, next);
        }
    }

    pub(super) async fn presence(&self, keys: &[String]) -> Result<Vec<Presence>, Error> {
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            pipeline.cmd("PTTL").arg(key);
        }
        // Without this the reply would be the first error without its words.
        pipeline.ignore_errors();
        let asked = self.lookups().ask(keys.len());
        let lives: Vec<RedisResult<i64>> = self.send(&pipeline).await?;
        let life = |life: RedisResult<i64>| life.map(presence).map_err(|error| self.described(&error));
        let presence: Vec<Presence> = lives.into_iter().map(life).collect::<Result<_, _>>()?;
        asked.found(presence.iter().map(|presence| *presence != Presence::Missing));
        Ok(presence)
    }

    /// What is looked up: the keys of jobs, and warmd's own.
    pub(super) fn lookups(&self) -> &Tally {
        &self.lookups
    }

    pub(super) async fn write(&self, entries: &[Entry]) -> Result<Vec<Written>, Error> {
        let mut pipeline = Pipeline::with_capacity(entries.len());
        for entry in entries {
            let life = u64::try_from(entry.ttl.as_millis()).unwrap_or(u64::MAX).max(1);
            // With room for all of it, the value is copied once.
            let mut command = Cmd::with_capacity(6, entry.key.len() + entry.value.len() + 32);
            command.arg("SET").arg(&entry.key).arg(entry.value.as_ref()).arg("PX").arg(life);
            if entry.only_absent {
                command.arg("NX");
            }
            pipeline.add_command(command);
        }
        // A refused command must not hide what became of the others.
        pipeline.ignore_errors();
        let replies: Vec<RedisResult<Value>> = self.send(&pipeline).await?;
        let written = |reply| match reply {
            Ok(Value::Nil) => Ok(Written::Existed),
            Ok(Value::Okay) => Ok(Written::Stored),
            // Not a server that speaks the protocol as it is; whatever it did is not known to be that.
            Ok(_) => Ok(Written::Refused("the answer to SET is neither OK nor nil".to_owned())),
            // The server is loading, or has become a replica: that is not about this key.
            Err(error) if is_transient(&error) => Err(self.described(&error)),
            Err(error) if error.code() == Some("OOM") => Ok(Written::NoRoom(words(&error))),
            Err(error) => Ok(Written::Refused(words(&error))),
        };
        replies.into_iter().map(written).collect()
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<(Vec<u8>, Presence)>, Error> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("GET").arg(key).cmd("PTTL").arg(key);
        let asked = self.lookups().ask(2);
        let (value, life): (Option<Vec<u8>>, i64) = self.send(&pipeline).await?;
        asked.found([value.is_some(), presence(life) != Presence::Missing].into_iter());
        Ok(value.map(|value| (value, presence(life))))
    }

    /// An error in words.
    pub(super) fn described(&self, error: &RedisError) -> Error {
        describe(&self.address, error)
    }

    /// Sends a pipeline. After a break the first call always fails, so that one is tried again; every command that we
    /// send may be sent twice.
    pub(super) async fn send<T: redis::FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, Error> {
        self.send_within(pipeline, None).await
    }

    /// The same for who has less patience with an answer than the settings.
    pub(super) async fn send_within<T: redis::FromRedisValue>(
        &self,
        pipeline: &Pipeline,
        patience: Option<Duration>,
    ) -> Result<T, Error> {
        let attempt = || {
            let (number, mut connection) = self.link.connection.lock().unwrap_or_else(PoisonError::into_inner).clone();
            async move {
                let answer = pipeline.query_async(&mut connection);
                let answer = match patience {
                    None => answer.await,
                    Some(patience) => tokio::time::timeout(patience, answer)
                        .await
                        .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())),
                };
                if answer.as_ref().is_err_and(RedisError::is_timeout) {
                    self.give_up(number);
                }
                answer
            }
        };
        attempt
            .retry(
                ExponentialBuilder::default().with_min_delay(Duration::from_millis(50)).with_max_times(3).with_jitter(),
            )
            .when(|error: &RedisError| is_transient(error) && !error.is_timeout())
            .await
            .map_err(|error| self.described(&error))
    }
}

/// Whether there can be a client for it.
pub(super) fn check(server: &Server) -> Result<(), Error> {
    client(server).map(|_| ())
}

fn client(server: &Server) -> Result<(Client, String, ConnectionManagerConfig), Error> {
    let permanent = |message: String| Error { transient: false, message };
    // The library's own message may quote the URL, and with it the password.
    let unreadable = |_| permanent("no URL of a Redis; write for example redis://localhost:6379/0".to_owned());
    let info = server.url.expose_secret().into_connection_info().map_err(unreadable)?;
    let address = info.addr().to_string();
    if matches!(info.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err(permanent(format!(
            "Redis at {address}: #insecure is not supported; name the authority that signed the server's certificate"
        )));
    }
    // Not the client library's name: a user who may do only what is needed may not tell it, and the server would log
    // each attempt.
    let session = info.redis_settings().clone().set_skip_set_lib_name();
    let info = info.set_redis_settings(session);
    let client = match &server.certificates {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    };
    let client = client.map_err(|error| describe(&address, &error))?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(5)))
        .set_response_timeout(Some(server.response_timeout))
        // One retry per call: waiting longer is the caller's decision, who can say what it waits for.
        .set_number_of_retries(1)
        .set_max_delay(Duration::from_millis(200));
    Ok((client, address, config))
}

/// What the scheme of the URL may have to do with it. A server without TLS takes the beginning of a handshake for that of
/// a command and waits for its end; one with TLS ends a conversation that does not begin with a handshake.
fn suspicion(asked: &ConnectionAddr, error: &RedisError) -> &'static str {
    match asked {
        ConnectionAddr::TcpTls { .. } if error.is_timeout() => "; rediss:// is for servers with TLS, is this one?",
        ConnectionAddr::Tcp(..) if error.is_connection_dropped() && !error.is_connection_refusal() => {
            "; a server with TLS wants rediss://, is this one?"
        }
        _ => "",
    }
}

fn presence(milliseconds: i64) -> Presence {
    match u64::try_from(milliseconds) {
        Ok(left) => Presence::Expires(Duration::from_millis(left)),
        Err(_) if milliseconds == -1 => Presence::Persistent,
        Err(_) => Presence::Missing,
    }
}

fn is_transient(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Io => true,
        ErrorKind::Server(_) => {
            matches!(error.code(), Some("LOADING" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "BUSY" | "READONLY"))
        }
        _ => false,
    }
}

/// The server's words, on one line.
fn words(error: &RedisError) -> String {
    if let Some(words) = tls::failure(error) {
        return words;
    }
    if error.kind() == ErrorKind::AuthenticationFailed {
        // The library keeps the server's own words to itself.
        return "the server refuses the user or the password of the URL".to_owned();
    }
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

fn describe(address: &str, error: &RedisError) -> Error {
    Error { transient: is_transient(error), message: format!("Redis at {address}: {}", words(error)) }
}
