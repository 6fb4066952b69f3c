//! A TCP proxy that cuts connections.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

type Open = Arc<Mutex<Vec<oneshot::Sender<()>>>>;

/// A proxy in front of one address; it ends when it is dropped.
pub struct Cutter {
    address: String,
    open: Open,
    _accepting: JoinSet<()>,
}

impl Cutter {
    /// Listens on a free port of loopback.
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = Open::default();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target.to_owned(), Arc::clone(&open)));
        Self { address, open, _accepting: accepting }
    }

    /// Where to connect to.
    pub fn address(&self) -> &str {
        &self.address
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

async fn accept(listener: TcpListener, target: String, open: Open) {
    let mut connections = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let (cut, told) = oneshot::channel();
        open.lock().unwrap().push(cut);
        let target = target.clone();
        connections.spawn(async move {
            // Nobody there: the client sees its connection end.
            let Ok(mut server) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = told => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
