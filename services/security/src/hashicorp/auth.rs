//! Logging in, and renewing what was obtained.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::Client;
use super::settings::Login;
use crate::vault::connectors::SecretStoreError;

/// After a renewal failed while the token still lives.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// A token and its time.
pub(super) struct Token {
    pub(super) secret: SecretString,
    /// When it is renewed; never where it has no end.
    renew_at: Option<Instant>,
    ends: Option<Instant>,
    is_renewable: bool,
}

impl Token {
    fn new(secret: SecretString, lease: Duration, is_renewable: bool) -> Self {
        let now = Instant::now();
        let has_end = !lease.is_zero();
        Self {
            secret,
            renew_at: has_end.then(|| now + lease * 2 / 3),
            ends: has_end.then(|| now + lease),
            is_renewable,
        }
    }

    fn is_due(&self) -> bool {
        self.renew_at.is_some_and(|at| at <= Instant::now())
    }

    fn has_ended(&self) -> bool {
        self.ends.is_some_and(|end| end <= Instant::now())
    }

    /// How long nothing has to be done.
    pub(super) fn until_renewal(&self) -> Duration {
        let wait = self.renew_at.map(|at| at.saturating_duration_since(Instant::now()));
        wait.unwrap_or(Duration::MAX)
    }
}

impl Client {
    /// A token that holds: renewed, or obtained, once for all who ask meanwhile.
    pub(super) async fn token(&self) -> Result<Arc<Token>, SecretStoreError> {
        if let Some(token) = self.current().filter(|token| !token.is_due()) {
            return Ok(token);
        }
        let _turn = self.turn.lock().await;
        let current = self.current();
        if let Some(token) = current.clone().filter(|token| !token.is_due()) {
            return Ok(token);
        }
        match self.renewed_or_new(current.as_deref()).await {
            Ok(token) => Ok(self.keep(token)),
            Err(error) => match current.filter(|token| !token.has_ended()) {
                Some(token) => {
                    tracing::warn!(%error, "the token of the vault's backend is not renewed yet");
                    let later = Token {
                        secret: token.secret.clone(),
                        renew_at: Some(Instant::now() + TRY_AGAIN),
                        ends: token.ends,
                        is_renewable: token.is_renewable,
                    };
                    Ok(self.keep(later))
                }
                None => Err(error),
            },
        }
    }

    fn current(&self) -> Option<Arc<Token>> {
        self.token.read().clone()
    }

    fn keep(&self, token: Token) -> Arc<Token> {
        let token = Arc::new(token);
        *self.token.write() = Some(Arc::clone(&token));
        token
    }

    /// Forgets a token that was not taken, unless another one is there already.
    pub(super) fn forget(&self, token: &Arc<Token>) {
        let mut current = self.token.write();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, token)) {
            *current = None;
        }
    }

    async fn renewed_or_new(&self, current: Option<&Token>) -> Result<Token, SecretStoreError> {
        if let Some(token) = current.filter(|token| token.is_renewable && !token.has_ended()) {
            let (path, nothing) = (["auth", "token", "renew-self"], json!({}));
            let renew = self.send(Method::POST, &path, &[], Some(&nothing), Some(token));
            match renew.await.and_then(|answer| of_login(answer.as_ref())) {
                // A renewal at the end of its longest life gives little or nothing: a login gives more.
                Ok(renewed) if renewed.until_renewal() > Duration::from_secs(1) => return Ok(renewed),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "a token is not renewed, logging in again"),
            }
        }
        self.log_in().await
    }

    async fn log_in(&self) -> Result<Token, SecretStoreError> {
        let (mount, body) = match &self.login {
            Login::Token(setting) => {
                let secret = setting.reveal().await.map_err(refused)?;
                return self.looked_up(secret).await;
            }
            Login::AppRole(role) => {
                let secret = role.secret_id.reveal().await.map_err(refused)?;
                (&role.mount, json!({ "role_id": role.role_id, "secret_id": secret.expose_secret() }))
            }
            Login::Kubernetes(account) => {
                let jwt = tokio::fs::read_to_string(&account.jwt_file).await;
                let jwt = jwt.map_err(|error| refused(format!("{}: {error}", account.jwt_file.display())))?;
                (&account.mount, json!({ "role": account.role, "jwt": jwt.trim() }))
            }
        };
        let mut path = vec!["auth"];
        path.extend(mount.split('/'));
        path.push("login");
        match self.send(Method::POST, &path, &[], Some(&body), None).await {
            // A wrong role or secret is a wrong request to the server.
            Err(SecretStoreError::Damaged(text)) => Err(refused(text)),
            other => of_login(other?.as_ref()),
        }
    }

    /// How long a token lives that somebody else made.
    async fn looked_up(&self, secret: SecretString) -> Result<Token, SecretStoreError> {
        let token = Token::new(secret.clone(), Duration::ZERO, false);
        let path = ["auth", "token", "lookup-self"];
        let answer = self.send(Method::GET, &path, &[], None, Some(&token)).await?;
        let data = answer.as_ref().and_then(|answer| answer.get("data"));
        let data = data.ok_or_else(|| refused("the token is not known"))?;
        Ok(Token::new(secret, seconds(data, "ttl"), flag(data)))
    }
}

fn of_login(answer: Option<&Value>) -> Result<Token, SecretStoreError> {
    let auth = answer.and_then(|answer| answer.get("auth"));
    let auth = auth.ok_or_else(|| refused("the login method is not there: see the setting mount"))?;
    let secret = auth.get("client_token").and_then(Value::as_str);
    let secret = secret.ok_or_else(|| refused("the login gave no token"))?;
    Ok(Token::new(secret.into(), seconds(auth, "lease_duration"), flag(auth)))
}

fn seconds(of: &Value, field: &str) -> Duration {
    Duration::from_secs(of.get(field).and_then(Value::as_u64).unwrap_or_default())
}

fn flag(of: &Value) -> bool {
    of.get("renewable").and_then(Value::as_bool).unwrap_or_default()
}

fn refused(cause: impl std::fmt::Display) -> SecretStoreError {
    SecretStoreError::Refused(format!("logging in: {cause}"))
}
