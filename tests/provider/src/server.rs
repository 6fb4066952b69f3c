//! The server itself: one listener, one handler that reads paths from their end, so that any base address does.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::oauth::Issuer;
use crate::routes;
use crate::state::State;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct FakeProvider {
    address: SocketAddr,
    state: State,
    _server: JoinSet<()>,
}

impl FakeProvider {
    /// Starts a server on a free port of this machine.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_on("127.0.0.1:0").await
    }

    /// Starts a server on an address.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start_on(address: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = State::new(Issuer::new(&format!("http://{address}")));
        let router = Router::new().fallback(routes::handle).with_state(state.clone());
        let service = router.into_make_service_with_connect_info::<Connection>();
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends with the set alone.
            let _ended = axum::serve(listener, service).await;
        });
        Ok(Self { address, state, _server: server })
    }

    /// What the server knows.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The server's address, without a path.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An address below it: `url("/groq/openai/v1")`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A service account of the fake cloud, as the JSON that clouds hand out.
    ///
    /// # Errors
    /// If its key cannot be made.
    pub fn service_account(&self) -> anyhow::Result<String> {
        self.state.issuer.service_account()
    }

    /// Waits until the server knows of so many requests.
    pub async fn requested(&self, count: usize) -> bool {
        self.state.wait_for(Duration::from_secs(10), |state| state.requests().len() >= count).await
    }
}

/// A connection, so that a scenario can reset it.
#[derive(Debug, Clone)]
pub struct Connection(Option<Arc<OwnedFd>>);

impl Connection {
    /// From now on, closing the connection tells the client that it was reset.
    pub(crate) fn reset_at_close(&self) {
        if let Some(socket) = &self.0 {
            // Where that cannot be set, the body is cut off all the same.
            let _ = socket2::SockRef::from(socket.as_ref()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Connected<IncomingStream<'_, TcpListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        use std::os::fd::AsFd as _;
        Self(stream.io().as_fd().try_clone_to_owned().ok().map(Arc::new))
    }
}
