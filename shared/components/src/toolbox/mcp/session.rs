//! A connection with a server, from the handshake to its end.

use std::error::Error;
use std::process::Stdio;
use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::AUTHORIZATION;
use rmcp::model::{CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, NotificationContext, Peer, RunningService, ServiceError,
    serve_client_with_lifecycle,
};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};
use rmcp::{ClientHandler, RoleClient};
use secrecy::SecretString;
use serde_json::{Map, Value};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::cache::{Key, Listed};
use super::http::{Calls, LARGEST_BYTES};
use super::sse::{Older, as_map, as_text};
use super::{Server, tools};
use crate::context::Call;
use crate::context::commands::ListedCommand;
use crate::egress::EgressError;
use crate::oauth::{Authorization, Connection};
use crate::toolbox::{About, ToolAnswer};

/// A server answers the handshake within this time.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// A stream of events may last so long; one that ends is opened again.
const LASTING: Duration = Duration::from_secs(60 * 60);
/// A program has so long to end by itself.
const ENDING: Duration = Duration::from_secs(2);
/// The longest text that a server says of itself.
const ABOUT: usize = 4_096;

/// What servers know us by (`components.md` §2.25).
fn identity() -> ClientConfig {
    ClientConfig::new(ClientCapabilities::default(), Implementation::new("auto-client", "1.0.0"))
}

/// Current and previous revisions: the newest handshake, and the one before where a server does not know it.
fn lifecycle() -> ClientLifecycleMode {
    ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::V_2025_11_25),
    }
}

/// Hears what a server says by itself.
pub(super) struct Listener {
    key: Key,
}

impl ClientHandler for Listener {
    fn get_info(&self) -> ClientConfig {
        identity()
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.key.forget();
    }
}

/// A connection.
pub(super) struct Connected {
    peer: Peer<RoleClient>,
    service: Mutex<Option<RunningService<RoleClient, Listener>>>,
    child: Mutex<Option<Child>>,
    /// The token of OAuth that its requests carry.
    token: Option<SecretString>,
}

/// What came of a call.
pub(super) enum Called {
    /// An answer, or a failure that stands.
    Answered(ToolAnswer),
    /// The server refused this token, so the tool did not run.
    Unauthorized(SecretString, ToolAnswer),
}

/// Connects, within the run's time.
pub(super) async fn connect(
    call: Call<'_>,
    server: &Server,
    key: &Key,
    timeout: Duration,
) -> Result<Connected, String> {
    let left = call.context.deadline().saturating_duration_since(Instant::now());
    let cancelled = call.context.cancelled();
    let connecting = async {
        match server {
            Server::Http { url, headers } => authorized(call, (url, headers), key, timeout).await,
            Server::Command { name, command } => program(name, command, key).await,
        }
    };
    tokio::select! {
        () = cancelled.cancelled() => Err("Agent killed".to_owned()),
        connected = tokio::time::timeout(HANDSHAKE.min(left), connecting) => {
            connected.unwrap_or_else(|_| Err("the server did not answer the handshake in time".to_owned()))
        }
    }
}

/// Connects with the tokens of the component's connection, where it has one. A token that is refused is renewed once.
async fn authorized(
    call: Call<'_>,
    (url, headers): (&Url, &HeaderMap),
    key: &Key,
    timeout: Duration,
) -> Result<Connected, String> {
    let Some(connection) = Connection::of_settings(call) else {
        return http(call, (url, headers), key, timeout).await.map_err(|refused| refused.message);
    };
    let with = async |authorization: Authorization| {
        let mut headers = headers.clone();
        headers.insert(AUTHORIZATION, authorization.header);
        let connected = http(call, (url, &headers), key, timeout).await?;
        Ok::<_, Refused>(Connected { token: authorization.bearer.map(SecretString::from), ..connected })
    };
    let first = connection.bearer(url).await?;
    let token = first.bearer.clone().unwrap_or_default();
    let refused = match with(first).await {
        Err(refused) if refused.is_unauthorized => refused,
        done => return done.map_err(|refused| refused.message),
    };
    match connection.after_refusal(&token).await? {
        Some(again) => with(again).await.map_err(|refused| refused.message),
        None => Err(refused.message),
    }
}

/// Why there is no connection.
struct Refused {
    message: String,
    is_unauthorized: bool,
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self { message, is_unauthorized: false }
    }
}

async fn http(
    call: Call<'_>,
    (url, headers): (&Url, &HeaderMap),
    key: &Key,
    timeout: Duration,
) -> Result<Connected, Refused> {
    let client = call.context.http().clone();
    let calls = Calls { client: client.clone(), within: timeout.max(HANDSHAKE), lasting: LASTING };
    let config = StreamableHttpClientTransportConfig::with_uri(as_text(url))
        .custom_headers(as_map(headers))
        .max_sse_event_size(LARGEST_BYTES)
        .max_json_response_size(LARGEST_BYTES);
    let transport = StreamableHttpClientTransport::with_client(calls, config);
    let listener = Listener { key: key.clone() };
    let error = match serve_client_with_lifecycle(listener, transport, lifecycle()).await {
        Ok(service) => return Ok(Connected::of(service, None)),
        Err(error) => error,
    };
    if !is_older(&error) {
        let is_unauthorized = cause(&error).is_some_and(wants_credentials);
        return Err(Refused { message: explained(&error), is_unauthorized });
    }
    let older = Older::open(client, url, headers.clone(), HANDSHAKE, LASTING).await;
    let older = older.map_err(|second| format!("{}; as an older server: {second}", explained(&error)))?;
    let listener = Listener { key: key.clone() };
    let service = serve_client_with_lifecycle(listener, older, ClientLifecycleMode::Initialize).await;
    Ok(Connected::of(service.map_err(|error| explained(&error))?, None))
}

async fn program(name: &str, command: &ListedCommand, key: &Key) -> Result<Connected, String> {
    let mut started = Command::new(&command.program);
    started
        .args(&command.arguments)
        .env_clear()
        .envs(["PATH", "HOME", "LANG"].iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child =
        started.spawn().map_err(|error| format!("the command {name:?} cannot be started: {error}"))?;
    let pipes = child.stdout.take().zip(child.stdin.take());
    let pipes = pipes.ok_or_else(|| format!("the command {name:?} has no pipes"))?;
    let listener = Listener { key: key.clone() };
    let service = serve_client_with_lifecycle(listener, pipes, lifecycle()).await;
    service.map(|service| Connected::of(service, Some(child))).map_err(|error| explained(&error))
}

impl Connected {
    fn of(service: RunningService<RoleClient, Listener>, child: Option<Child>) -> Self {
        let peer = service.peer().clone();
        Self { peer, service: Mutex::new(Some(service)), child: Mutex::new(child), token: None }
    }

    /// Whether it can still be used.
    pub fn is_open(&self) -> bool {
        !self.peer.is_transport_closed()
    }

    /// What the server's tools are.
    pub async fn list(&self) -> Result<Listed, String> {
        let listed = tokio::time::timeout(HANDSHAKE, self.peer.list_all_tools()).await;
        let listed = listed.map_err(|_| "the server did not list its tools in time".to_owned())?;
        let tools = tools::specs(&listed.map_err(|error| failed(&error))?)?;
        let info = self.peer.peer_info();
        let said = info.as_ref().and_then(|info| info.instructions.as_deref()).unwrap_or_default();
        let description = said.chars().take(ABOUT).collect();
        Ok(Listed { tools, about: About { name: String::new(), description } })
    }

    /// Calls a tool.
    pub async fn call(&self, name: &str, arguments: &Map<String, Value>, timeout: Duration) -> Called {
        let params = CallToolRequestParams::new(name.to_owned()).with_arguments(arguments.clone());
        Called::Answered(match tokio::time::timeout(timeout, self.peer.call_tool(params)).await {
            Ok(Ok(result)) => tools::answer(&result),
            Ok(Err(error)) => {
                let answer = ToolAnswer::failure(failed(&error));
                match &self.token {
                    Some(token) if is_unauthorized(&error) => {
                        return Called::Unauthorized(token.clone(), answer);
                    }
                    _ => answer,
                }
            }
            Err(_) => ToolAnswer::failure(format!("the tool took longer than {} s", timeout.as_secs())),
        })
    }

    /// Ends it.
    pub async fn close(&self) {
        if let Some(mut service) = self.service.lock().await.take()
            && let Err(error) = service.close_with_timeout(ENDING).await
        {
            tracing::debug!(%error, "a connection with an MCP server did not end in order");
        }
        if let Some(mut child) = self.child.lock().await.take()
            && tokio::time::timeout(ENDING, child.wait()).await.is_err()
            && let Err(error) = child.kill().await
        {
            tracing::debug!(%error, "a program could not be ended");
        }
    }
}

/// What went wrong below the protocol, where that is it.
fn cause(error: &ClientInitializeError) -> Option<&StreamableHttpError<EgressError>> {
    match error {
        ClientInitializeError::TransportError { error, .. } => below(error.error.as_ref()),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => cause(fallback),
        _ => None,
    }
}

fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a StreamableHttpError<EgressError>> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Whether a server may know the older transport only: it answers, and not as one of today.
fn is_older(error: &ClientInitializeError) -> bool {
    match cause(error) {
        Some(StreamableHttpError::HttpStatus(status)) => matches!(status.status, 400 | 404 | 405 | 415 | 501),
        Some(
            StreamableHttpError::UnexpectedContentType(_)
            | StreamableHttpError::SessionExpired
            | StreamableHttpError::Client(EgressError::Broken(_)),
        ) => true,
        _ => false,
    }
}

fn explained(error: &ClientInitializeError) -> String {
    if let Some(cause) = cause(error) {
        return said(cause);
    }
    match error {
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => explained(fallback),
        ClientInitializeError::JsonRpcError(error) => error.message.to_string(),
        ClientInitializeError::ConnectionClosed(_) => {
            "the server ended the connection in the handshake".to_owned()
        }
        other => other.to_string(),
    }
}

fn failed(error: &ServiceError) -> String {
    match error {
        ServiceError::McpError(error) => error.message.to_string(),
        ServiceError::TransportSend(error) => {
            below(error.error.as_ref()).map_or_else(|| error.to_string(), said)
        }
        other => other.to_string(),
    }
}

fn is_unauthorized(error: &ServiceError) -> bool {
    match error {
        ServiceError::TransportSend(error) => below(error.error.as_ref()).is_some_and(wants_credentials),
        _ => false,
    }
}

fn wants_credentials(cause: &StreamableHttpError<EgressError>) -> bool {
    match cause {
        StreamableHttpError::AuthRequired(_) => true,
        StreamableHttpError::HttpStatus(status) => status.status == 401,
        _ => false,
    }
}

fn said(cause: &StreamableHttpError<EgressError>) -> String {
    match cause {
        StreamableHttpError::Client(error) => error.to_string(),
        refused if wants_credentials(refused) => {
            "the server wants credentials (401): set them as headers of the component, or name a connection in \
             `oauth_con_id`"
                .to_owned()
        }
        StreamableHttpError::HttpStatus(status) if status.status == 406 => {
            "the server refused `Accept: application/json, text/event-stream` (406), which every MCP server must take"
                .to_owned()
        }
        StreamableHttpError::HttpStatus(status) => format!("the server answered with HTTP {}", status.status),
        other => other.to_string(),
    }
}
