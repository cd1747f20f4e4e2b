//! Accepts connections, and sees to it that none of them costs much.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{App, LAST_WORDS, Shared, router};
use crate::settings::Listen;

/// Connections at once. A scraper, a probe and some people need a handful; the rest waits in the system's queue.
const CONNECTIONS: usize = 64;

/// A request line with its headers, which from a browser with cookies are a few kilobytes.
const HEADER_BYTES: usize = 16 << 10;

/// A client that has not sent the head of a request by then, also one that keeps its connection for the next, is let go; so
/// is one whose body takes as long again.
pub(super) const ARRIVAL: Duration = Duration::from_secs(5);

/// No connection lives longer: who reads its answer slowly, or never, must not keep one of the few places.
const LIFE: Duration = Duration::from_secs(60);

/// The system may be out of descriptors, and asking it again at once would only be work.
const PAUSE: Duration = Duration::from_millis(100);

/// An address that is bound.
pub struct Socket {
    asked: Listen,
    listener: Listener,
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why an address cannot be listened on, or settings cannot be followed.
#[derive(Debug)]
pub struct Refused {
    /// In words.
    pub message: String,
    /// It may be otherwise in a moment: the address is in use, or not there yet.
    pub passing: bool,
}

impl Socket {
    /// Binds an address.
    pub async fn bind(listen: &Listen) -> Result<Self, Refused> {
        let bound = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Listener::Tcp),
            Listen::Unix(path) => bind_unix(path).await.map(Listener::Unix),
        };
        match bound {
            Ok(listener) => Ok(Self { asked: listen.clone(), listener }),
            Err(error) => {
                let in_use = error.kind() == io::ErrorKind::AddrInUse;
                let why = match in_use {
                    true => "another program listens there already; is another warmd running?".to_owned(),
                    false => error.to_string(),
                };
                let passing = in_use || error.kind() == io::ErrorKind::AddrNotAvailable;
                Err(Refused { message: format!("`http.listen`: cannot listen on {listen}: {why}"), passing })
            }
        }
    }

    /// The address as the settings have it.
    pub(super) fn asked(&self) -> &Listen {
        &self.asked
    }

    /// Where clients go: port 0 has become another.
    pub(super) fn bound(&self) -> String {
        match &self.listener {
            Listener::Tcp(listener) => {
                let address = listener.local_addr();
                address.map_or_else(|_| self.asked.to_string(), |address| format!("http://{address}"))
            }
            Listener::Unix(_) => self.asked.to_string(),
        }
    }
}

/// A socket that a killed process has left is replaced; one on which somebody answers is not, nor is any other file.
async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::other("there is a file of this name, and it is no socket"));
        }
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => return Err(io::ErrorKind::AddrInUse.into()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return Err(error),
        },
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // Whatever the umask: the service's own group may connect, and nobody else.
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Listen::Unix(path) = &self.asked {
            let _ = fs::remove_file(path);
        }
    }
}

/// Serves until it is told to stop.
pub(super) async fn listen(socket: Socket, shared: Arc<Shared>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            // Never closed.
            let place = Arc::clone(&places).acquire_owned().await.ok();
            let accepted = match &socket.listener {
                Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
                Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
            };
            (place, accepted)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        match accepted {
            Ok(accepted) => {
                _ = connections.spawn(async move {
                    match accepted {
                        Accepted::Tcp(stream) => {
                            let local = stream.local_addr().ok().as_ref().map(SocketAddr::ip);
                            serve(stream, App { shared, local }, stop).await;
                        }
                        Accepted::Unix(stream) => serve(stream, App { shared, local: None }, stop).await,
                    }
                    drop(place);
                })
            }
            Err(error) => {
                tracing::warn!("a connection over HTTP could not be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // No further client gets in while the last ones are answered.
    drop(socket);
    connections.close();
    let _ = tokio::time::timeout(LAST_WORDS * 2, connections.wait()).await;
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    Unix(UnixStream),
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, app: App, stop: CancellationToken) {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(ARRIVAL).max_buf_size(HEADER_BYTES).max_headers(100);
    let service = TowerToHyperService::new(router(App { local: app.local.map(|ip: IpAddr| ip.to_canonical()), ..app }));
    let connection = protocol.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { tokio::time::timeout(LIFE, stop.cancelled()).await.unwrap_or_default() } => {
            connection.as_mut().graceful_shutdown();
            // The answer that is under way may end.
            tokio::time::timeout(LAST_WORDS, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection over HTTP ended: {error}");
    }
}
