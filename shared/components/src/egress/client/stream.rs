//! Answers that come piece by piece, for protocols that keep one open: events of an MCP server.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Client, EgressError, Request, from_reqwest};

/// An answer whose body is yet to come.
pub struct Streamed {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, in pieces. Whoever reads it bounds it.
    pub body: BoxStream<'static, Result<Bytes, EgressError>>,
}

impl Client {
    /// Sends a request and gives its answer as soon as it begins, within `within`; the body may come for `lasting`.
    /// Redirects are not followed: whoever speaks such a protocol names the server itself.
    ///
    /// # Errors
    /// [`EgressError`], in the words of the reference's client.
    pub async fn open(
        &self,
        request: Request,
        within: Duration,
        lasting: Duration,
    ) -> Result<Streamed, EgressError> {
        let (host, port) = self.target(&request.url)?;
        let client = self.inner.named.get(&port).unwrap_or(&self.inner.other);
        let mut builder = client
            .request(request.method.clone(), request.url.clone())
            .headers(request.headers.clone())
            // Pieces cannot be told from a bomb: none is compressed.
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .timeout(lasting);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let timeout = EgressError::Timeout { millis: within.as_millis() };
        let sent = tokio::time::timeout(within, builder.send()).await.map_err(|_| timeout)?;
        let response = match sent {
            Ok(response) => response,
            Err(error) => return Err(self.explain(&error, &host, port).await),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let millis = lasting.as_millis();
        let pieces = response.bytes_stream();
        let body = pieces.map(move |piece| piece.map_err(|error| from_reqwest(&error, &host, port, millis)));
        Ok(Streamed { status, headers, body: body.boxed() })
    }
}
