//! The dance in which a person grants a token: the authorization code grant with PKCE (RFC 6749 §4.1, RFC 7636).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::record::Record;
use super::renew::{granted, token_request};
use crate::egress::Client;

/// How long the token endpoint may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What an application is to its provider.
#[derive(Clone)]
pub struct Application {
    /// Where the person grants.
    pub authorize_url: Url,
    /// Where the code is exchanged.
    pub token_url: Url,
    /// The application's id.
    pub client_id: String,
    /// Its secret; empty for a public client.
    pub client_secret: String,
    /// What is asked for.
    pub scope: String,
}

/// One grant under way.
pub struct Grant {
    verifier: String,
    state: String,
    redirect: String,
}

impl Grant {
    /// Begins a grant that comes back to this address.
    pub fn new(redirect: impl Into<String>) -> Self {
        let random = || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        Self { verifier: random(), state: random(), redirect: redirect.into() }
    }

    /// Where the person goes.
    pub fn url(&self, application: &Application) -> Url {
        let mut url = application.authorize_url.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &application.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("state", &self.state)
            .append_pair("code_challenge", &challenge(&self.verifier))
            .append_pair("code_challenge_method", "S256");
        if !application.scope.is_empty() {
            url.query_pairs_mut().append_pair("scope", &application.scope);
        }
        url
    }

    /// The code in the query with which the person came back.
    ///
    /// # Errors
    /// If it answers no grant of ours, or the provider refused.
    pub fn code(&self, query: &str) -> Result<String, String> {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let get = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        if get("state") != Some(self.state.as_str()) {
            return Err("the answer is not to this login: its state differs. Start it again".to_owned());
        }
        if let Some(error) = get("error") {
            return Err(match get("error_description") {
                Some(why) => format!("the provider refused: {error}: {why}"),
                None => format!("the provider refused: {error}"),
            });
        }
        get("code")
            .filter(|code| !code.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| "there is no code in the answer".to_owned())
    }

    /// Exchanges the code for tokens and puts them into the record.
    ///
    /// # Errors
    /// What the token endpoint says.
    pub async fn redeem(
        &self,
        client: &Client,
        application: &Application,
        code: String,
        record: &mut Record,
    ) -> Result<(), String> {
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", self.redirect.clone()),
            ("client_id", application.client_id.clone()),
            ("code_verifier", self.verifier.clone()),
        ];
        if !application.client_secret.is_empty() {
            form.push(("client_secret", application.client_secret.clone()));
        }
        let request = token_request(application.token_url.clone(), &form);
        let answer = client.send(request, PATIENCE).await;
        let answer = answer.map_err(|error| format!("the token endpoint cannot be asked: {error}"))?;
        let tokens = granted(&answer).map_err(|error| format!("the token endpoint says: {error}"))?;
        let end = chrono::Utc::now().timestamp_millis() + tokens.lives_s * 1_000;
        record.set_tokens(&tokens.access, tokens.refresh.as_deref(), end);
        Ok(())
    }
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn only_the_answer_to_this_grant_is_taken() {
        let grant = Grant::new("http://127.0.0.1:1/callback");
        assert!(grant.verifier.len() >= 43 && grant.verifier != grant.state);
        let state = &grant.state;
        assert_eq!(grant.code(&format!("code=a%20b&state={state}")).unwrap(), "a b");
        assert!(grant.code("code=a&state=other").unwrap_err().contains("state"));
        assert!(grant.code("code=a").is_err());
        let refused = grant.code(&format!("error=access_denied&state={state}")).unwrap_err();
        assert!(refused.contains("access_denied"));
        assert!(grant.code(&format!("state={state}")).is_err());
    }
}
