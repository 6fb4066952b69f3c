//! The SDK's HTTP, by our one way out: what the egress policy refuses, no MCP server reaches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    AuthRequiredError, HttpStatusError, SseError, StreamableHttpClient, StreamableHttpError,
    StreamableHttpPostResponse, StreamableHttpResponseLimits,
};
use sse_stream::{Sse, SseStream};

use crate::egress::{Client, EgressError, Request, Streamed};

const EVENTS: &str = "text/event-stream";
const JSON: &str = "application/json";
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// What a failure's text may take.
const FAILURE_BYTES: usize = 4 << 10;
/// An answer in one piece, or one event.
pub(super) const LARGEST_BYTES: usize = 4 << 20;

type Failure = StreamableHttpError<EgressError>;

/// Calls of one server.
#[derive(Clone)]
pub(super) struct Calls {
    pub client: Client,
    /// How long an answer may take to begin.
    pub within: Duration,
    /// How long it may come.
    pub lasting: Duration,
}

/// What a request carries beside its message.
struct Carried {
    session: Option<Arc<str>>,
    token: Option<String>,
    headers: HashMap<HeaderName, HeaderValue>,
}

impl Calls {
    fn request(&self, method: Method, uri: &str, carried: Carried) -> Result<Request, Failure> {
        let url = uri.parse().map_err(|_| Failure::Client(EgressError::InvalidUrl))?;
        let mut request = Request::new(method, url);
        request.headers.extend(carried.headers);
        let value = |text: &str| {
            HeaderValue::from_str(text).map_err(|_| Failure::Client(EgressError::Header(SESSION.to_string())))
        };
        if let Some(session) = carried.session {
            request.headers.insert(SESSION, value(&session)?);
        }
        if let Some(token) = carried.token {
            request.headers.insert(AUTHORIZATION, value(&format!("Bearer {token}"))?);
        }
        Ok(request)
    }

    async fn send(&self, request: Request) -> Result<Streamed, Failure> {
        self.client.open(request, self.within, self.lasting).await.map_err(Failure::Client)
    }

    async fn post(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        carried: Carried,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let has_session = carried.session.is_some();
        let mut request = self.request(Method::POST, &uri, carried)?;
        request.headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        request.body = Some(serde_json::to_vec(&message)?.into());
        let answer = self.send(request).await?;
        if matches!(answer.status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if answer.status == StatusCode::NOT_FOUND && has_session {
            return Err(Failure::SessionExpired);
        }
        let session = answer.headers.get(SESSION).and_then(|id| id.to_str().ok()).map(str::to_owned);
        if !answer.status.is_success() {
            return refused(&message, has_session, answer).await;
        }
        if is(&answer.headers, EVENTS) {
            let events = events(answer.body, limits.max_sse_event_size.min(LARGEST_BYTES));
            return Ok(StreamableHttpPostResponse::Sse(events, session));
        }
        if !expects_answer(&message) {
            // Some servers answer a notification with an empty 200.
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if !is(&answer.headers, JSON) {
            return Err(Failure::UnexpectedContentType(content_type(&answer.headers)));
        }
        let body = read(answer.body, limits.max_json_response_size.min(LARGEST_BYTES)).await?;
        Ok(StreamableHttpPostResponse::Json(serde_json::from_slice(&body)?, session))
    }

    async fn listen(&self, uri: Arc<str>, carried: Carried, last: Option<String>) -> Result<Events, Failure> {
        let mut request = self.request(Method::GET, &uri, carried)?;
        request.headers.insert(ACCEPT, HeaderValue::from_static(EVENTS));
        if let Some(last) = last.and_then(|last| HeaderValue::from_str(&last).ok()) {
            request.headers.insert(LAST_EVENT, last);
        }
        let answer = self.send(request).await?;
        match answer.status {
            // The stream is optional; servers say so in more than one way.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_FOUND => Err(Failure::ServerDoesNotSupportSse),
            status if !status.is_success() => Err(of_status(&answer)),
            _ if !is(&answer.headers, EVENTS) => {
                Err(Failure::UnexpectedContentType(content_type(&answer.headers)))
            }
            _ => Ok(events(answer.body, LARGEST_BYTES)),
        }
    }
}

/// Events as they come.
pub(super) type Events = BoxStream<'static, Result<Sse, SseError>>;

impl StreamableHttpClient for Calls {
    type Error = EgressError;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let carried = Carried { session, token, headers };
        self.post(uri, message, carried, StreamableHttpResponseLimits::default()).await
    }

    async fn post_message_with_response_limits(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session: Option<Arc<str>>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
        limits: StreamableHttpResponseLimits,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        self.post(uri, message, Carried { session, token, headers }, limits).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session: Arc<str>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failure> {
        let carried = Carried { session: Some(session), token, headers };
        let request = self.request(Method::DELETE, &uri, carried)?;
        let answer = self.send(request).await?;
        match answer.status {
            StatusCode::METHOD_NOT_ALLOWED => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(of_status(&answer)),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session: Option<Arc<str>>,
        last_event: Option<String>,
        token: Option<String>,
        headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, Failure> {
        self.listen(uri, Carried { session, token, headers }, last_event).await
    }
}

fn expects_answer(message: &ClientJsonRpcMessage) -> bool {
    matches!(message, ClientJsonRpcMessage::Request(_))
}

/// A refusal: the protocol's own error where the server sent one.
async fn refused(
    message: &ClientJsonRpcMessage,
    has_session: bool,
    answer: Streamed,
) -> Result<StreamableHttpPostResponse, Failure> {
    let (status, headers) = (answer.status, answer.headers.clone());
    let unauthorised = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if unauthorised || status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(of_status(&answer));
    }
    let body = read_some(answer.body).await;
    if is(&headers, JSON)
        && let Ok(error @ ServerJsonRpcMessage::Error(_)) = serde_json::from_slice(&body)
        && !is_discovery(message)
    {
        return Ok(StreamableHttpPostResponse::Json(error, None));
    }
    if let ClientJsonRpcMessage::Request(request) = message
        && is_discovery(message)
        && !has_session
    {
        // An older server does not know the question: the handshake it does know follows.
        let said = match serde_json::from_slice(&body) {
            Ok(ServerJsonRpcMessage::Error(said)) => said.error,
            _ => ErrorData::invalid_request(format!("HTTP {}", status.as_u16()), None),
        };
        let error = ServerJsonRpcMessage::error(said, Some(request.id.clone()));
        return Ok(StreamableHttpPostResponse::Json(error, None));
    }
    Err(Failure::HttpStatus(HttpStatusError::new(status.as_u16(), None)))
}

fn is_discovery(message: &ClientJsonRpcMessage) -> bool {
    matches!(message, ClientJsonRpcMessage::Request(request)
        if matches!(request.request, ClientRequest::DiscoverRequest(_)))
}

fn of_status(answer: &Streamed) -> Failure {
    let text = |name: HeaderName| answer.headers.get(name).and_then(|value| value.to_str().ok());
    match (answer.status, text(WWW_AUTHENTICATE)) {
        (StatusCode::UNAUTHORIZED, Some(challenge)) => {
            Failure::AuthRequired(AuthRequiredError::new(challenge.to_owned()))
        }
        (status, _) => {
            let retry_after = text(RETRY_AFTER).map(str::to_owned);
            Failure::HttpStatus(HttpStatusError::new(status.as_u16(), retry_after))
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    Some(headers.get(CONTENT_TYPE)?.to_str().ok()?.to_owned())
}

fn is(headers: &HeaderMap, wanted: &str) -> bool {
    let found = content_type(headers).unwrap_or_default();
    found.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted)
}

async fn read(
    mut body: BoxStream<'static, Result<Bytes, EgressError>>,
    max_size: usize,
) -> Result<Bytes, Failure> {
    let mut whole = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(Failure::Client)?;
        if whole.len() + piece.len() > max_size {
            return Err(Failure::ResponseBodyTooLarge { max_size });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// The beginning of a failure's text.
async fn read_some(mut body: BoxStream<'static, Result<Bytes, EgressError>>) -> Bytes {
    let mut some = BytesMut::new();
    while some.len() < FAILURE_BYTES
        && let Some(Ok(piece)) = body.next().await
    {
        let room = FAILURE_BYTES - some.len();
        some.extend_from_slice(&piece[..piece.len().min(room)]);
    }
    some.freeze()
}

/// The events of a body, none of which is larger than this.
pub(super) fn events(body: BoxStream<'static, Result<Bytes, EgressError>>, largest: usize) -> Events {
    SseStream::from_bytes_stream(bounded(body, largest)).boxed()
}

/// Ends a body in which more bytes than this come without the blank line that ends an event.
fn bounded(
    body: BoxStream<'static, Result<Bytes, EgressError>>,
    largest: usize,
) -> impl Stream<Item = Result<Bytes, EgressError>> {
    let mut since_blank = 0usize;
    let mut line_is_empty = true;
    body.map(move |piece| {
        let piece = piece?;
        for byte in &piece {
            since_blank += 1;
            match byte {
                b'\n' if line_is_empty => since_blank = 0,
                b'\n' => line_is_empty = true,
                b'\r' => {}
                _ => line_is_empty = false,
            }
            if since_blank > largest {
                return Err(EgressError::TooLarge { limit_bytes: largest });
            }
        }
        Ok(piece)
    })
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;
    use futures::stream;

    use super::*;

    fn body(pieces: &[&'static str]) -> BoxStream<'static, Result<Bytes, EgressError>> {
        stream::iter(pieces.to_vec()).map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).boxed()
    }

    #[tokio::test]
    async fn one_event_is_bounded_and_many_are_not() {
        let many = body(&["data: 12345\n\n", "data: 12345\r\n\r\n", "data: 12345\n\n"]);
        let events: Vec<Sse> = events(many, 16).try_collect().await.unwrap();
        assert_eq!(events.len(), 3);
        let one = body(&["data: 1234567890", "data: 1234567890\n\n"]);
        assert!(super::events(one, 16).try_collect::<Vec<Sse>>().await.is_err());
    }

    #[tokio::test]
    async fn an_answer_in_one_piece_is_bounded() {
        assert_eq!(read(body(&["123", "45"]), 5).await.unwrap(), "12345");
        assert!(matches!(read(body(&["123", "456"]), 5).await, Err(Failure::ResponseBodyTooLarge { .. })));
        assert_eq!(read_some(body(&["abc"])).await, "abc");
    }
}
