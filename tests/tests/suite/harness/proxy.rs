//! A TCP proxy in front of one address that misbehaves on command.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// What the proxy does with connections, old and new.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Passes everything on.
    None,
    /// Passes everything on, late and not faster than this.
    Slow {
        /// What each piece of data waits, in each direction.
        delay: Duration,
        /// And how much of it passes in a second.
        bytes_per_second: u32,
    },
    /// Lets everybody connect, takes what they send, and never says a word: the machine behind is gone, and nobody
    /// told. A connection that was in this state never works again.
    HalfOpen,
    /// Nobody listens, and the connections there were have ended in order.
    Refuse,
    /// Every connection is reset, a new one as soon as it is made.
    Reset,
}

/// How much passes at once; small, so that a slow proxy is slow for small messages too.
const PIECE: usize = 16 * 1024;

type Open = Arc<Mutex<Vec<oneshot::Sender<()>>>>;

/// The proxy; it ends when it is dropped.
pub struct Proxy {
    address: String,
    fault: watch::Sender<Fault>,
    open: Open,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Listens on a free port of loopback, without a fault.
    pub async fn start(target: &str) -> Self {
        let (listener, address) = below_ephemeral();
        let (fault, open) = (watch::Sender::new(Fault::None), Open::default());
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, target.to_owned(), fault.subscribe(), Arc::clone(&open)));
        Self { address, fault, open, _serving: serving }
    }

    /// Where to connect to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes what it does, at once and for open connections too.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Cuts the connection that is open for the longest time; says whether there was one.
    pub fn cut(&self) -> bool {
        let mut open = self.open.lock().unwrap();
        while !open.is_empty() {
            if open.remove(0).send(()).is_ok() {
                return true;
            }
        }
        false
    }
}

/// A port that the system does not hand out by itself: while nobody listens on it, nobody else gets it.
fn below_ephemeral() -> (TcpListener, String) {
    let first = uuid::Uuid::now_v7().as_u128() % 10_000;
    let ports = (0..1000).map(|step| 10_000 + ((first + step * 7) % 10_000) as u16);
    ports
        .filter_map(|port| listen(port).ok())
        .next()
        .map(|listener| {
            let address = listener.local_addr().unwrap().to_string();
            (listener, address)
        })
        .expect("no free port")
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Connections that just ended do not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(([127, 0, 0, 1], port).into())?;
    socket.listen(1024)
}

async fn serve(first: TcpListener, target: String, mut fault: watch::Receiver<Fault>, open: Open) {
    let port = first.local_addr().unwrap().port();
    let mut listener = Some(first);
    let mut connections = JoinSet::new();
    loop {
        match (*fault.borrow_and_update() == Fault::Refuse, listener.is_some()) {
            (true, true) => listener = None,
            (false, false) => listener = Some(listen(port).expect("the port was taken meanwhile")),
            _ => {}
        }
        let Some(listening) = &listener else {
            if fault.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            changed = fault.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            accepted = listening.accept() => {
                let (client, _) = accepted.unwrap();
                let (cut, told) = oneshot::channel();
                let connection = connection(client, target.clone(), fault.clone());
                let mut open = open.lock().unwrap();
                open.retain(|connection| !connection.is_closed());
                open.push(cut);
                connections.spawn(async move {
                    tokio::select! {
                        () = connection => {}
                        _ = told => {}
                    }
                });
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, from its first fault to its last.
async fn connection(client: TcpStream, target: String, mut fault: watch::Receiver<Fault>) {
    let now = *fault.borrow_and_update();
    let server = match now {
        Fault::Reset => return reset(client),
        Fault::Refuse => return,
        Fault::HalfOpen => None,
        // Nobody there: the client sees its connection end.
        Fault::None | Fault::Slow { .. } => match TcpStream::connect(target).await {
            Ok(server) => Some(server),
            Err(_) => return,
        },
    };
    let Some(server) = server else { return swallow(client, None).await };
    for end in [&client, &server] {
        end.set_nodelay(true).unwrap();
    }
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let fate = {
        let there = pump(&mut from_client, &mut to_server, fault.clone());
        let back = pump(&mut from_server, &mut to_client, fault.clone());
        tokio::select! {
            _ = async { tokio::join!(there, back) } => return,
            fate = broken(&mut fault) => fate,
        }
    };
    let client = from_client.reunite(to_client).unwrap();
    let server = from_server.reunite(to_server).unwrap();
    match fate {
        Fault::HalfOpen => swallow(client, Some(server)).await,
        Fault::Reset => {
            reset(client);
            reset(server);
        }
        Fault::Refuse | Fault::None | Fault::Slow { .. } => {}
    }
}

/// Waits for a fault that no connection survives.
async fn broken(fault: &mut watch::Receiver<Fault>) -> Fault {
    let dead = |fault: &Fault| matches!(fault, Fault::HalfOpen | Fault::Reset | Fault::Refuse);
    fault.wait_for(dead).await.map_or(Fault::Refuse, |fault| *fault)
}

/// One direction, until its end.
async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, fault: watch::Receiver<Fault>) {
    let mut piece = vec![0; PIECE];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        let now = *fault.borrow();
        match now {
            Fault::None => {}
            Fault::Slow { delay, bytes_per_second } => {
                let took = Duration::from_secs_f64(length as f64 / f64::from(bytes_per_second.max(1)));
                tokio::time::sleep(delay + took).await;
            }
            // The connection's end is decided elsewhere; nothing passes any more.
            Fault::HalfOpen | Fault::Refuse | Fault::Reset => std::future::pending().await,
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Takes what the client sends until it goes. The server keeps what it has, and hears nothing of it.
async fn swallow(mut client: TcpStream, server: Option<TcpStream>) {
    let mut piece = vec![0; PIECE];
    while matches!(client.read(&mut piece).await, Ok(1..)) {}
    drop(server);
}

fn reset(stream: TcpStream) {
    // Closing then sends RST, whatever is under way.
    let _ = stream.set_zero_linger();
}

/// The proxy itself, against an echo.
mod tests {
    use super::*;

    async fn echo() -> (String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        (address, serving)
    }

    async fn say(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"hello");
        Ok(())
    }

    async fn silent(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(Duration::from_millis(200), say(stream)).await.is_err()
    }

    #[tokio::test]
    async fn each_fault_is_what_it_says_and_ends() {
        let (address, _serving) = echo().await;
        let proxy = Proxy::start(&address).await;
        let connect = async || TcpStream::connect(proxy.address()).await;
        let mut old = connect().await.unwrap();
        say(&mut old).await.unwrap();

        proxy.set(Fault::HalfOpen);
        assert!(silent(&mut old).await);
        let mut new = connect().await.unwrap();
        assert!(silent(&mut new).await);
        proxy.set(Fault::None);
        assert!(silent(&mut old).await && silent(&mut new).await, "what was half open stays so");
        let mut old = connect().await.unwrap();
        say(&mut old).await.unwrap();

        proxy.set(Fault::Slow { delay: Duration::from_millis(400), bytes_per_second: 1000 });
        assert!(silent(&mut old).await);
        proxy.set(Fault::None);
        let mut old = connect().await.unwrap();
        say(&mut old).await.unwrap();

        proxy.set(Fault::Reset);
        assert!(say(&mut old).await.is_err());
        let mut new = connect().await.unwrap();
        assert!(say(&mut new).await.is_err());

        proxy.set(Fault::Refuse);
        super::super::eventually("nobody listens", Duration::from_secs(5), async || {
            let failed = connect().await.err()?;
            (failed.kind() == io::ErrorKind::ConnectionRefused).then_some(())
        })
        .await;
        proxy.set(Fault::None);
        let mut back = super::super::eventually("it listens again", Duration::from_secs(5), async || {
            connect().await.ok()
        })
        .await;
        say(&mut back).await.unwrap();
        // The oldest first: those that were half open are there still.
        while proxy.cut() {}
        assert!(say(&mut back).await.is_err());
    }
}
