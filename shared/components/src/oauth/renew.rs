//! Getting another token: by the refresh token, or by the application's own credentials (RFC 6749 §6, §4.4).

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use tokio::time::Instant;
use url::Url;

use super::record::{Kind, Record};
use super::{Connection, REAUTHENTICATE, lock};
use crate::egress::{Request, Response};
use crate::outbound;

/// A token that ends so soon is renewed first: clocks differ, and calls take time.
const SKEW_MS: i64 = 30_000;
/// How long a token is taken to live whose server does not say.
const USUAL_LIFE_S: i64 = 3_600;
/// How long a token endpoint may take. Shorter than the lock is held.
const PATIENCE: Duration = Duration::from_secs(20);
const FAILED: &str = "Failed to refresh access token";
/// How often the record is written back where the vault cannot be reached.
const WRITES: u32 = 3;

/// What has to be done before the token is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    None,
    /// Another one.
    Renew,
    /// A person has to grant one again.
    Login,
}

pub(super) fn need(record: &Record, now_ms: i64) -> Need {
    let expires = record.expires_ms();
    let fresh = expires.is_some_and(|end| now_ms + SKEW_MS < end);
    if fresh && !record.primary().is_empty() {
        return Need::None;
    }
    match record.kind() {
        Kind::OAuth1 => Need::None,
        Kind::ClientCredentials => Need::Renew,
        Kind::OAuth2 if !record.secondary().is_empty() => Need::Renew,
        Kind::OAuth2 if expires.is_none() => Need::None,
        Kind::OAuth2 => Need::Login,
    }
}

impl Connection<'_> {
    /// The token after a renewal, by whomever: one that is not `refused` and not about to end.
    pub(super) async fn renewed(&self, refused: Option<&str>) -> Result<String, String> {
        let held = lock::acquire(self.call.context, &self.key).await.map_err(|error| error.message)?;
        let renewed = self.renew(refused).await;
        held.release().await;
        renewed
    }

    async fn renew(&self, refused: Option<&str>) -> Result<String, String> {
        let (mut record, version) = self.read().await?;
        let now = chrono::Utc::now().timestamp_millis();
        // Somebody else did it while this one waited.
        let is_refused = refused.is_some_and(|refused| refused == record.primary());
        if !is_refused && need(&record, now) == Need::None {
            return Ok(record.primary().to_owned());
        }
        let form = self.form(&record).await?;
        let granted = self.ask(&record, form).await?;
        record.set_tokens(&granted.access, granted.refresh.as_deref(), now + granted.lives_s * 1_000);
        self.keep(&granted.access);
        granted.refresh.as_deref().iter().for_each(|refresh| self.keep(refresh));
        self.write(&record, version).await?;
        Ok(granted.access)
    }

    async fn form(&self, record: &Record) -> Result<Vec<(&'static str, String)>, String> {
        let setting = async |name| self.setting(record, name).await.map_err(|error| error.message);
        let (id, secret) = (setting("clientID").await?, setting("clientSecret").await?);
        self.keep(&secret);
        let missing = || format!("{FAILED}: Missing client_id, client_secret OR token_url");
        if record.kind() == Kind::ClientCredentials {
            if id.is_empty() || secret.is_empty() || record.setting("tokenURL").is_empty() {
                return Err(missing());
            }
            let mut form = vec![
                ("grant_type", "client_credentials".to_owned()),
                ("client_id", id),
                ("client_secret", secret),
            ];
            let scope = setting("scope").await?;
            if !scope.is_empty() {
                form.push(("scope", scope));
            }
            return Ok(form);
        }
        if record.secondary().is_empty() {
            return Err(REAUTHENTICATE.to_owned());
        }
        if id.is_empty() || record.setting("tokenURL").is_empty() {
            return Err(missing());
        }
        let mut form = vec![
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", record.secondary().to_owned()),
            ("client_id", id),
        ];
        // A public client, which proved itself by PKCE, has none.
        if !secret.is_empty() {
            form.push(("client_secret", secret));
        }
        Ok(form)
    }

    async fn ask(&self, record: &Record, form: Vec<(&'static str, String)>) -> Result<Granted, String> {
        let url = self.setting(record, "tokenURL").await.map_err(|error| error.message)?;
        let url = Url::parse(&url).map_err(|_| format!("{FAILED}: the token URL is none"))?;
        let left = self.call.context.deadline().saturating_duration_since(Instant::now());
        // A cancelled run does not break this off: the server may have used the refresh token up by then.
        let sent = self.call.context.http().send(token_request(url, &form), left.min(PATIENCE)).await;
        let answer = sent.map_err(|error| format!("{FAILED}: {error}"))?;
        granted(&answer).map_err(|error| format!("{FAILED}. {error}"))
    }

    /// Writes the record back. Without this a refresh token that changed is lost, so it is tried again.
    async fn write(&self, record: &Record, version: i64) -> Result<(), String> {
        let vault = self.call.context.managed();
        let mut attempt = 1;
        loop {
            match vault.replace(&self.key, version, record.to_bytes(), None).await {
                Ok(true) => return Ok(()),
                // Somebody logged in again meanwhile: theirs counts from now on, ours is good for this call.
                Ok(false) => return Ok(()),
                Err(error) if attempt == WRITES => return Err(error.message),
                Err(_) => tokio::time::sleep(Duration::from_millis(200) * attempt).await,
            }
            attempt += 1;
        }
    }
}

/// A request of a token endpoint.
pub(super) fn token_request(url: Url, form: &[(&'static str, String)]) -> Request {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let mut request = Request::new(Method::POST, url)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
        .header(ACCEPT, HeaderValue::from_static("application/json"));
    request.headers.insert(http::header::USER_AGENT, outbound::user_agent());
    request.body = Some(Bytes::from(body));
    request
}

/// What a token endpoint granted.
pub(super) struct Granted {
    pub access: String,
    pub refresh: Option<String>,
    pub lives_s: i64,
}

/// Reads the answer of a token endpoint. An error names what it says, never what was sent.
pub(super) fn granted(answer: &Response) -> Result<Granted, String> {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |name: &str| json.get(name).and_then(serde_json::Value::as_str);
    if !answer.status.is_success() || text("error").is_some() {
        let error: String = text("error").unwrap_or_default().chars().take(100).collect();
        let status = answer.status.as_u16();
        return Err(if error.is_empty() {
            format!("status code {status}")
        } else {
            format!("{error} ({status})")
        });
    }
    let access = text("access_token").filter(|token| !token.is_empty());
    let lives = json.get("expires_in");
    let lives = lives.and_then(|lives| lives.as_f64().or_else(|| lives.as_str()?.trim().parse().ok()));
    Ok(Granted {
        access: access.ok_or("the answer has no access_token")?.to_owned(),
        refresh: text("refresh_token").filter(|token| !token.is_empty()).map(str::to_owned),
        lives_s: lives
            .filter(|lives| lives.is_finite() && *lives > 0.0)
            .map_or(USUAL_LIFE_S, |lives| lives as i64),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need_of(json: &str) -> Need {
        need(&Record::parse(json.as_bytes()).unwrap(), 1_000_000)
    }

    #[test]
    fn d20_what_has_to_be_done_follows_from_end_refresh_token_and_service() {
        for (record, expected) in [
            (r#"{"primary":"a"}"#, Need::None),
            (r#"{"primary":"a","expires_in":"2000000"}"#, Need::None),
            (r#"{"primary":"a","expires_in":"1000001"}"#, Need::Login),
            (r#"{"primary":"a","expires_in":"900000"}"#, Need::Login),
            (r#"{"primary":"a","secondary":"r","expires_in":"2000000"}"#, Need::None),
            // Within the skew.
            (r#"{"primary":"a","secondary":"r","expires_in":"1020000"}"#, Need::Renew),
            (r#"{"primary":"a","secondary":"r","expires_in":"NaN"}"#, Need::Renew),
            (r#"{"service":"oauth2_client_credentials"}"#, Need::Renew),
            (r#"{"service":"oauth2_client_credentials","primary":"a"}"#, Need::Renew),
            (r#"{"service":"oauth2_client_credentials","primary":"a","expires_in":"2000000"}"#, Need::None),
            (r#"{"type":"oauth","primary":"a","secondary":"s","expires_in":"1"}"#, Need::None),
        ] {
            assert_eq!(need_of(record), expected, "{record}");
        }
    }

    #[test]
    fn answers_of_token_endpoints_are_read() {
        let answer = |status: u16, body: &'static str| Response {
            status: http::StatusCode::from_u16(status).unwrap(),
            headers: http::HeaderMap::new(),
            body: body.into(),
            url: "http://h/".parse().unwrap(),
        };
        let full =
            granted(&answer(200, r#"{"access_token":"a","refresh_token":"r","expires_in":"60"}"#)).unwrap();
        assert_eq!((full.access.as_str(), full.refresh.as_deref(), full.lives_s), ("a", Some("r"), 60));
        let bare = granted(&answer(200, r#"{"access_token":"a"}"#)).unwrap();
        assert_eq!((bare.refresh, bare.lives_s), (None, USUAL_LIFE_S));
        for (status, body, error) in [
            (400, r#"{"error":"invalid_grant"}"#, "invalid_grant (400)"),
            (500, "<html>", "status code 500"),
            (200, "{}", "the answer has no access_token"),
        ] {
            assert_eq!(granted(&answer(status, body)).err().as_deref(), Some(error));
        }
    }
}
