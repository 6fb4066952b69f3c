//! Tools of servers that speak the Model Context Protocol, through the official SDK: over HTTP by our one way out,
//! over the older HTTP with events where a server knows nothing newer, or over the pipes of a program that the
//! operator listed.

mod cache;
mod http;
mod session;
mod sse;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use url::Url;

use self::cache::{Key, Listed};
use self::session::{Called, Connected, connect};
use super::{About, AllowList, OpenToolbox, ToolAnswer, ToolSpec, Used};
use crate::context::Call;
use crate::context::commands::ListedCommand;
use crate::oauth::Connection;

/// Where a server is.
#[derive(Clone, Debug)]
pub enum Server {
    /// At an address.
    Http {
        /// The address.
        url: Url,
        /// What every request carries.
        headers: HeaderMap,
    },
    /// A program of this machine.
    Command {
        /// The operator's name for it.
        name: String,
        /// How it is started.
        command: ListedCommand,
    },
}

/// The tools of a server, for one talk.
pub struct McpTools {
    server: Server,
    key: Key,
    listed: Arc<Listed>,
    allowed: Vec<ToolSpec>,
    timeout: Duration,
    /// The connection: made when it is needed first, and again after it broke.
    connected: Mutex<Option<Arc<Connected>>>,
}

impl McpTools {
    /// Finds out a server's tools, as it said a short while ago or says now.
    ///
    /// # Errors
    /// Why the server cannot be asked, or which tool is allowed and not there.
    pub async fn open(
        call: Call<'_>,
        server: Server,
        allow: &AllowList,
        timeout: Duration,
    ) -> Result<Self, String> {
        let key = Key::of(call, &server);
        let (listed, connected) = match key.get() {
            Some(listed) => (listed, None),
            None => {
                let connected = Arc::new(connect(call, &server, &key, timeout).await?);
                match connected.list().await {
                    Ok(listed) => {
                        let listed = Arc::new(listed);
                        key.put(listed.clone());
                        (listed, Some(connected))
                    }
                    Err(message) => {
                        connected.close().await;
                        return Err(message);
                    }
                }
            }
        };
        let names: Vec<&str> = listed.tools.iter().map(|tool| tool.server_name.as_str()).collect();
        if let Some(unknown) = allow.unknown(&names) {
            let message = format!("the server has no tool {unknown:?}; its tools are: {}", names.join(", "));
            if let Some(connected) = connected {
                connected.close().await;
            }
            return Err(message);
        }
        let allowed = listed.tools.iter().filter(|tool| allow.allows(&tool.server_name));
        let allowed = allowed.map(|tool| tool.spec.clone()).collect();
        Ok(Self { server, key, listed, allowed, timeout, connected: Mutex::new(connected) })
    }

    async fn connected(&self, call: Call<'_>) -> Result<Arc<Connected>, String> {
        let mut connected = self.connected.lock().await;
        if let Some(connected) = connected.as_ref().filter(|connected| connected.is_open()) {
            return Ok(connected.clone());
        }
        let made = Arc::new(connect(call, &self.server, &self.key, self.timeout).await?);
        *connected = Some(made.clone());
        Ok(made)
    }

    /// Has a refused token renewed, and ends the connection that carries it; false where there is no other token.
    async fn renewed(&self, call: Call<'_>, refused: &SecretString) -> Result<bool, String> {
        let Some(connection) = Connection::of_settings(call) else { return Ok(false) };
        if connection.after_refusal(refused.expose_secret()).await?.is_none() {
            return Ok(false);
        }
        self.close().await;
        Ok(true)
    }
}

#[async_trait]
impl OpenToolbox for McpTools {
    fn about(&self) -> About {
        self.listed.about.clone()
    }

    fn tools(&self) -> &[ToolSpec] {
        &self.allowed
    }

    async fn call(&self, call: Call<'_>, used: Used<'_>) -> ToolAnswer {
        let found = self.listed.tools.iter().find(|tool| tool.spec.name == used.name);
        let Some(tool) = found.filter(|_| self.allowed.iter().any(|tool| tool.name == used.name)) else {
            return ToolAnswer::failure(format!("there is no tool {:?}", used.name));
        };
        let called = async || {
            let connected = self.connected(call).await?;
            Ok::<_, String>(connected.call(&tool.server_name, used.arguments, self.timeout).await)
        };
        let called = match called().await {
            // The tool did not run: it is called again, with another token.
            Ok(Called::Unauthorized(token, answer)) => match self.renewed(call, &token).await {
                Ok(true) => called().await,
                Ok(false) => Ok(Called::Answered(answer)),
                Err(message) => Err(message),
            },
            called => called,
        };
        match called {
            Ok(Called::Answered(answer) | Called::Unauthorized(_, answer)) => answer,
            Err(message) => ToolAnswer::failure(message),
        }
    }

    async fn close(&self) {
        if let Some(connected) = self.connected.lock().await.take() {
            connected.close().await;
        }
    }
}
