//! A network between warmd and a server, in which things go wrong.

use std::{io, net::TcpListener, path::PathBuf, thread, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream, tcp::OwnedWriteHalf},
    sync::{oneshot, watch},
};

/// What becomes of the server's answers.
#[derive(Debug, Clone, Copy)]
pub enum Network {
    Sound,
    /// Each piece comes this much later.
    Slow(Duration),
    /// After so many bytes of an answer the connection is reset.
    Cuts(usize),
    /// Bytes that no server sends come in their place.
    Garbles,
    /// Connections that were there before bring nothing any more, and nobody is told; new ones are sound.
    Forgets,
}

/// Where the server is.
#[derive(Debug, Clone)]
pub enum Upstream {
    Socket(PathBuf),
    Port(u16),
}

/// Listens on a port of its own; ends with this value.
pub struct Proxy {
    pub port: u16,
    network: watch::Sender<Network>,
    _alive: oneshot::Sender<()>,
}

impl Proxy {
    pub fn before(upstream: Upstream) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, seen) = watch::channel(Network::Sound);
        let (alive, end) = oneshot::channel();
        // Tests wait for processes without giving their own runtime a turn.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(listener, upstream, seen) => {}
                    _ = end => {}
                }
            });
        });
        Self { port, network, _alive: alive }
    }

    pub fn becomes(&self, network: Network) {
        self.network.send_replace(network);
    }
}

async fn serve(listener: TcpListener, upstream: Upstream, network: watch::Receiver<Network>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(client, upstream.clone(), network.clone()));
    }
}

async fn connect(client: TcpStream, upstream: Upstream, network: watch::Receiver<Network>) -> io::Result<()> {
    client.set_nodelay(true)?;
    match upstream {
        Upstream::Socket(path) => {
            let (from, to) = UnixStream::connect(path).await?.into_split();
            converse(client, from, to, network).await
        }
        Upstream::Port(port) => {
            let server = TcpStream::connect(("127.0.0.1", port)).await?;
            server.set_nodelay(true)?;
            let (from, to) = server.into_split();
            converse(client, from, to, network).await
        }
    }
}

async fn converse(
    client: TcpStream,
    from_server: impl AsyncRead + Unpin,
    mut to_server: impl tokio::io::AsyncWrite + Unpin,
    network: watch::Receiver<Network>,
) -> io::Result<()> {
    let (mut from_client, to_client) = client.into_split();
    let asks = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    tokio::select! {
        result = answer(from_server, to_client, network) => result,
        result = asks => result,
    }
}

async fn answer(
    mut from_server: impl AsyncRead + Unpin,
    mut to_client: OwnedWriteHalf,
    network: watch::Receiver<Network>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let is_new = matches!(*network.borrow(), Network::Forgets);
    loop {
        let length = from_server.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        let network = *network.borrow();
        match network {
            Network::Sound => to_client.write_all(&buffer[..length]).await?,
            Network::Slow(delay) => {
                tokio::time::sleep(delay).await;
                to_client.write_all(&buffer[..length]).await?;
            }
            Network::Cuts(after) => {
                to_client.write_all(&buffer[..length.min(after)]).await?;
                // Closed so, the connection is reset and does not just end.
                to_client.as_ref().set_zero_linger()?;
                return Ok(());
            }
            Network::Forgets if is_new => to_client.write_all(&buffer[..length]).await?,
            Network::Forgets => {}
            Network::Garbles => to_client.write_all(&garbage()).await?,
        }
    }
}

/// To none of the protocols the beginning of anything, and long enough that none waits for the rest.
fn garbage() -> Vec<u8> {
    [b"\x7f\x00\x00\x00\x04".as_slice(), &b"<html>nobody here speaks that protocol</html>\r\n".repeat(5)].concat()
}
