//! Amazon Bedrock's Converse interface, as of November 2026
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>): one format for models of many
//! makers. Calls are signed, or bear a key.

mod answer;
mod content;
mod frames;
mod media;
mod request;

use async_trait::async_trait;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName};
use secrecy::ExposeSecret as _;
use sre_aws::Signer;
use sre_proto::llm::v1 as pb;

use super::facts::setting;
use super::wire::{Delivery, Exchange, Reading, Wire, WireRequest, broken};
use super::{Call, Usual, address};
use crate::inference::error::InferenceError;
use crate::inference::http;
use crate::models::Resolved;

pub use request::body;

/// The provider's name in model files.
pub const NAME: &str = "Bedrock";

/// Where it is, and the variable of a deployment's key.
pub static USUAL: Usual = Usual { name: NAME, variable: Some("AWS_BEARER_TOKEN_BEDROCK"), address: host };

/// Where a model is where its entry does not say.
const REGION: &str = "us-east-1";

/// What stays itself in a path. A colon does not, neither here nor in what is signed.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Models at Bedrock.
#[derive(Debug, Clone, Copy)]
pub struct Bedrock;

fn region(model: &Resolved) -> Result<&str, InferenceError> {
    let region = setting(model, &["region"]).unwrap_or(REGION);
    let is_region =
        region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if is_region {
        return Ok(region);
    }
    let words = format!("the region {region:?} of {:?} is none: write for example eu-central-1", model.entry);
    Err(InferenceError::invalid("model", words))
}

fn host(model: &Resolved) -> Result<String, InferenceError> {
    Ok(format!("https://bedrock-runtime.{}.amazonaws.com", region(model)?))
}

/// The model's id at the provider: the one of a custom model, where the entry names one.
fn model_id(model: &Resolved) -> &str {
    setting(model, &["customModel", "foundationModel"]).unwrap_or(&model.model_id)
}

/// The headers that say who calls.
async fn credentials(call: &Call, url: &url::Url, body: &[u8]) -> Result<HeaderMap, InferenceError> {
    let field = |name: &str| {
        let field = call.key.as_ref().and_then(|key| key.field(name)).map(|value| value.expose_secret());
        field.filter(|value| !value.is_empty())
    };
    let mut headers = HeaderMap::new();
    if let Some(key) = field("apiKey") {
        headers.insert(AUTHORIZATION, http::secret_header(&format!("Bearer {key}"))?);
        return Ok(headers);
    }
    let (Some(id), Some(secret)) = (field("accessKeyId"), field("secretAccessKey")) else {
        let words = "its credentials are not whole: they need accessKeyId and secretAccessKey, or an apiKey";
        return Err(InferenceError::invalid("model", words));
    };
    let signer = Signer {
        service: "bedrock",
        region: region(&call.model)?.to_owned(),
        access_key_id: id.to_owned(),
        secret_access_key: secret.into(),
        session_token: field("sessionToken").map(Into::into),
    };
    let signed = signer.sign("POST", url, &[("content-type", "application/json")], body).await;
    let signed = signed.map_err(|error| broken(call, format!("the call cannot be signed: {error}")))?;
    for (name, value) in signed {
        let name = HeaderName::try_from(name).map_err(|_| broken(call, "the call cannot be signed"))?;
        headers.insert(name, http::secret_header(&value)?);
    }
    Ok(headers)
}

#[async_trait]
impl Wire for Bedrock {
    async fn request(
        &self,
        _exchange: &Exchange,
        call: &Call,
        delivery: Delivery,
    ) -> Result<WireRequest, InferenceError> {
        let body: bytes::Bytes = body(call)?.to_string().into();
        let id = utf8_percent_encode(model_id(&call.model), PATH);
        let method = match delivery {
            Delivery::Whole => "converse",
            Delivery::Stream => "converse-stream",
        };
        let url = address(call, &format!("model/{id}/{method}"))?;
        let headers = credentials(call, &url, &body).await?;
        Ok(WireRequest { url, headers, body })
    }

    fn whole(&self, call: &Call, body: &[u8]) -> Result<pb::GenerateResponse, InferenceError> {
        let answer = serde_json::from_slice(body)
            .map_err(|error| broken(call, format!("the answer is not of a model: {error}")))?;
        answer::Assembly::of(call).whole(call, answer)
    }

    fn reading(&self, call: &Call) -> Box<dyn Reading> {
        Box::new(frames::Frames::of(call))
    }
}

#[cfg(test)]
mod tests;
