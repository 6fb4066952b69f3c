//! HTTP with server-sent events as protocol revision 2024-11-05 had it: one stream of events, whose first says where
//! messages are posted. The SDK no longer speaks it; servers still do.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use rmcp::RoleClient;
use rmcp::model::ClientJsonRpcMessage;
use rmcp::service::RxJsonRpcMessage;
use rmcp::transport::Transport;
use url::Url;

use super::http::{Events, LARGEST_BYTES, events};
use crate::egress::{Client, EgressError, Request};

/// Why the older transport cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum OlderError {
    #[error(transparent)]
    Egress(#[from] EgressError),
    #[error("HTTP {0}")]
    Status(u16),
    #[error("the server's first event does not say where messages are posted")]
    NoEndpoint,
    #[error("the server names another host for messages: {0}")]
    OtherHost(String),
    #[error("a message cannot be written: {0}")]
    Message(#[from] serde_json::Error),
}

/// The older transport.
pub(super) struct Older {
    client: Client,
    endpoint: Url,
    headers: HeaderMap,
    within: Duration,
    events: Option<Events>,
    waiting: VecDeque<RxJsonRpcMessage<RoleClient>>,
}

impl Older {
    /// Opens the stream and waits for its first event.
    pub async fn open(
        client: Client,
        url: &Url,
        headers: HeaderMap,
        within: Duration,
        lasting: Duration,
    ) -> Result<Self, OlderError> {
        let mut request = Request::new(Method::GET, url.clone());
        request.headers = headers.clone();
        request.headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let answer = client.open(request, within, lasting).await?;
        if !answer.status.is_success() {
            return Err(OlderError::Status(answer.status.as_u16()));
        }
        let mut events = events(answer.body, LARGEST_BYTES);
        let first = tokio::time::timeout(within, endpoint(&mut events)).await;
        let named = first.map_err(|_| OlderError::NoEndpoint)?.ok_or(OlderError::NoEndpoint)?;
        let endpoint = url.join(&named).map_err(|_| OlderError::NoEndpoint)?;
        // Else a server could have the agent's credentials sent elsewhere.
        if endpoint.origin() != url.origin() {
            return Err(OlderError::OtherHost(endpoint.host_str().unwrap_or_default().to_owned()));
        }
        Ok(Self { client, endpoint, headers, within, events: Some(events), waiting: VecDeque::new() })
    }
}

async fn endpoint(events: &mut Events) -> Option<String> {
    while let Some(Ok(event)) = events.next().await {
        if event.event.as_deref() == Some("endpoint") {
            return event.data.map(|data| data.trim().to_owned());
        }
    }
    None
}

impl Transport<RoleClient> for Older {
    type Error = OlderError;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), OlderError>> + Send + 'static {
        let (client, within) = (self.client.clone(), self.within);
        let mut request = Request::new(Method::POST, self.endpoint.clone());
        request.headers = self.headers.clone();
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        async move {
            request.body = Some(serde_json::to_vec(&message)?.into());
            let answer = client.open(request, within, within).await?;
            match answer.status.is_success() {
                true => Ok(()),
                false => Err(OlderError::Status(answer.status.as_u16())),
            }
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleClient>> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            let event = self.events.as_mut()?.next().await?.ok()?;
            let Some(data) =
                event.data.filter(|_| event.event.as_deref().is_none_or(|name| name == "message"))
            else {
                continue;
            };
            match serde_json::from_str(&data) {
                Ok(message) => self.waiting.push_back(message),
                Err(error) => tracing::debug!(%error, "an event of an MCP server is no message"),
            }
        }
    }

    async fn close(&mut self) -> Result<(), OlderError> {
        self.events = None;
        Ok(())
    }
}

/// Headers of a kind that the SDK wants for its own transport.
pub(super) fn as_map(headers: &HeaderMap) -> std::collections::HashMap<http::HeaderName, HeaderValue> {
    headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A server's address as the SDK wants it.
pub(super) fn as_text(url: &Url) -> Arc<str> {
    url.as_str().into()
}
