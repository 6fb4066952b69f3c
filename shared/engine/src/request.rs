//! The request a run answers (`agent-execution.md` §10.1).

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::value::{Map, Value};

/// A request in the form the engine reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestData {
    /// Method; an empty one is POST.
    pub method: String,
    /// Path.
    pub path: String,
    /// Headers; names are lower-cased when they become a value.
    pub headers: Map,
    /// Query parameters.
    pub query: Map,
    /// Body; `null` counts as an empty object.
    pub body: Value,
    /// Path parameters.
    pub params: Map,
    /// Uploaded files. Not serialised: whoever journals a request stores them first and names them in the body.
    #[serde(skip)]
    pub files: Vec<UploadedFile>,
    /// Session, for components that keep something per session.
    pub session_id: Option<String>,
}

/// A file of a multipart request.
#[derive(Clone, Debug)]
pub struct UploadedFile {
    /// Form field.
    pub field: Arc<str>,
    /// Name at the client.
    pub name: Arc<str>,
    /// Media type as sent; empty if not.
    pub mimetype: Arc<str>,
    /// The bytes.
    pub data: Bytes,
}

/// A request that no run can start from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body must be a JSON object, got {0}")]
pub struct InvalidRequest(&'static str);

impl RequestData {
    /// A POST with a body: what calling a skill with input is.
    pub fn post(path: impl Into<String>, body: Value) -> Self {
        Self { method: "POST".into(), path: path.into(), body, ..Self::default() }
    }

    /// Refuses bodies that are no object.
    ///
    /// # Errors
    /// [`InvalidRequest`] naming what came.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        match &self.body {
            Value::Null | Value::Object(_) => Ok(()),
            other => Err(InvalidRequest(other.kind())),
        }
    }

    /// Headers with lower-case names; of several spellings the last counts.
    pub(crate) fn lower_headers(&self) -> Map {
        self.headers.iter().map(|(name, value)| (name.to_lowercase().into(), value.clone())).collect()
    }

    /// The body's members.
    pub(crate) fn body_map(&self) -> Map {
        self.body.as_object().cloned().unwrap_or_default()
    }
}
