//! Tools from an OpenAPI document: its operations, called over HTTP by our one way out.

pub(crate) mod auth;
mod document;
mod files;
mod operations;
mod request;

use std::time::Duration;

use async_trait::async_trait;
use http::header::ACCEPT;
use http::{HeaderValue, Method};
use tokio::time::Instant;
use url::Url;

use self::auth::Credentials;
use self::document::Document;
use self::operations::Operation;
use super::{About, AllowList, OpenToolbox, ToolAnswer, ToolSpec, Used};
use crate::context::Call;
use crate::egress::{EgressError, Request, Response};

/// The document is there within this time.
const FETCHING: Duration = Duration::from_secs(25);

/// The operations of a document, for one talk.
pub struct OpenApiTools {
    about: About,
    server: Url,
    operations: Vec<Operation>,
    tools: Vec<ToolSpec>,
    credentials: Credentials,
    timeout: Duration,
}

impl OpenApiTools {
    /// Fetches a document and reads its operations.
    ///
    /// # Errors
    /// What is wrong with it, for the author.
    pub async fn open(
        call: Call<'_>,
        url: &Url,
        allow: &AllowList,
        timeout: Duration,
    ) -> Result<Self, String> {
        let mut request = Request::new(Method::GET, url.clone());
        let accept = HeaderValue::from_static("application/json, application/yaml, text/yaml, */*");
        request.headers.insert(ACCEPT, accept);
        let response = send(call, request, FETCHING, true).await?;
        if !response.status.is_success() {
            return Err(format!("the document cannot be fetched: HTTP {}", response.status.as_u16()));
        }
        let document = Document::read(&response.body, &response.url)?;
        let (operations, names) = operations::of(&document, |name| allow.allows(name))?;
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Some(unknown) = allow.unknown(&known) {
            return Err(format!(
                "the document has no operation {unknown:?}; its operations are: {}",
                names.join(", ")
            ));
        }
        let about = About { name: document.title().to_owned(), description: document.description() };
        let credentials = Credentials::of(call, &document).await?;
        let tools = operations.iter().map(|operation| operation.spec.clone()).collect();
        Ok(Self { about, server: document.server, operations, tools, credentials, timeout })
    }
}

#[async_trait]
impl OpenToolbox for OpenApiTools {
    fn about(&self) -> About {
        self.about.clone()
    }

    fn tools(&self) -> &[ToolSpec] {
        &self.tools
    }

    async fn call(&self, call: Call<'_>, used: Used<'_>) -> ToolAnswer {
        let Some(operation) = self.operations.iter().find(|operation| operation.spec.name == used.name)
        else {
            return ToolAnswer::failure(format!("there is no operation {:?}", used.name));
        };
        let files = files::of(call, operation, used.arguments).await;
        let built =
            files.and_then(|files| request::build(&self.server, operation, used, &files, &self.credentials));
        let request = match built {
            Ok(request) => request,
            Err(message) => return ToolAnswer::failure(message),
        };
        match send(call, request, self.timeout, !self.credentials.any()).await {
            Ok(response) => request::answer(&response, &operation.method),
            Err(message) => ToolAnswer::failure(message),
        }
    }

    async fn close(&self) {}
}

/// Sends within the run's time, as long as the run goes on. What carries credentials follows no redirect.
async fn send(call: Call<'_>, request: Request, within: Duration, follow: bool) -> Result<Response, String> {
    let left = call.context.deadline().saturating_duration_since(Instant::now());
    let within = within.min(left);
    let http = call.context.http();
    let cancelled = call.context.cancelled();
    let sent = async {
        match follow {
            true => http.send(request, within).await,
            false => http.send_once(request, within).await,
        }
    };
    let sent: Result<Response, EgressError> = tokio::select! {
        () = cancelled.cancelled() => return Err("Agent killed".to_owned()),
        sent = sent => sent,
    };
    sent.map_err(|error| error.to_string())
}
