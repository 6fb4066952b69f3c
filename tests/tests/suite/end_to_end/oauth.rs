//! `sre oauth`: a person grants an agent access to their account at a real provider (`SRE_TEST_OIDC` names it,
//! `tests/stages/oidc.sh` starts one). The agent's calls have its tokens, which stand in clear nowhere.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use sre_proto::security::v1::{GetManagedSecretRequest, SetManagedSecretRequest};
use sre_service::testing::backend;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::agents::{component, document, endpoint, output};
use crate::harness::clients::{Client, json as parsed};
use crate::harness::forms::Forms;
use crate::harness::http_server::HttpServer;
use crate::harness::process::{say, sre};
use crate::harness::{Mode, Options, Suite, in_both_modes};

in_both_modes!(oauth);

const AGENT: &str = "teams/default/agents/granted";
const CONNECTION: &str = "teams/default/agents/granted/managedSecrets/account";
/// What the provider knows the application by.
const SECRET: &str = "a secret of the app";
/// What the run gets. It may be stored, so it is found where tokens must not be: the search works.
const TEXT: &str = "control-text-of-the-oauth-test";

/// Asks the provider who granted access, and shows its token to a server that repeats it.
fn granted(provider: &str, server: &HttpServer) -> Value {
    let call = |id: &str, method: &str, url: &str, body: Value| {
        let data = json!({
            "method": method, "url": url, "headers": "", "contentType": "application/json",
            "body": body.to_string(), "proxy": "", "oauth_con_id": "account",
        });
        component(id, "APICall", data, &["text"], &["Response", "Headers"])
    };
    document(
        "granted",
        json!({}),
        &[
            endpoint("ask", "POST", &[("text", "Text")]),
            call("me", "GET", &format!("{provider}/me"), json!({})),
            call("show", "POST", &server.url("/echo"), json!({ "text": "{{text}}" })),
            output("answer", &["who", "shown"]),
        ],
        &[
            "ask.text > me.text",
            "ask.text > show.text",
            "me.Response > answer.who",
            "show.Response > answer.shown",
        ],
    )
}

async fn oauth(mode: Mode) {
    let Some(provider) = backend("SRE_TEST_OIDC") else { return };
    let server = HttpServer::start().await;
    let at = provider.strip_prefix("http://").unwrap();
    let options = Options::default()
        .set("egress.allow", format!("[\"{}\", \"{at}\"]", server.address()))
        .set("telemetry.level", "debug");
    let suite = Suite::start("oauth", mode, options).await;
    let folder = suite.folder().to_owned();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, SECRET).unwrap();
    let file = secret.path().to_str().unwrap();
    say(&folder, &["vault", "put", "app-secret", "--file", file]).await.ok();
    let dev = suite.client("user/dev");
    dev.put(AGENT, &granted(&provider, &server)).await.unwrap();

    login(&suite, &provider).await;
    let status = say(&folder, &["oauth", "status", "granted", "account", "--json"]).await.ok().json();
    assert_eq!(status["tokens"], true, "{status}");
    let mut secrets = vec![SECRET.to_owned()];
    secrets.extend(uses_its_token(&dev, &server).await);
    expire(&dev).await;
    secrets.extend(uses_its_token(&dev, &server).await);
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 5, "the renewal changes both tokens");

    say(&folder, &["oauth", "forget", "granted", "account"]).await.ok();
    let status = say(&folder, &["oauth", "status", "granted", "account", "--json"]).await.ok().json();
    assert_eq!(status["tokens"], false, "{status}");
    let failed = dev.answer(AGENT, "ask", &json!({ "text": TEXT })).await.unwrap();
    assert!(failed.to_string().contains("OAuth tokens"), "{failed}");
    suite.stop().await;

    assert!(!Forms::of(TEXT).found_under(&folder).is_empty(), "the search is blind");
    for (number, secret) in secrets.iter().enumerate() {
        let leaks = Forms::of(secret).found_under(&folder);
        assert!(leaks.is_empty(), "secret {number} was written:\n{}", leaks.join("\n"));
    }
}

/// `sre oauth login`, and the person whom it sends to the provider.
async fn login(suite: &Suite, provider: &str) {
    let words = [
        "oauth",
        "login",
        "granted",
        "account",
        "--client-id",
        "app",
        "--client-secret-key",
        "app-secret",
        "--scope",
        "openid offline_access",
        "--patience",
        "60",
    ];
    let mut command = sre(suite.folder());
    command.args(words);
    command.args([
        "--authorize-url",
        &format!("{provider}/auth"),
        "--token-url",
        &format!("{provider}/token"),
    ]);
    let mut command = tokio::process::Command::from(command);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = async {
        let mut all = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Ok(url) = line.trim().parse::<reqwest::Url>() {
                return url;
            }
            all.push_str(&line);
        }
        panic!("no address was told: {all}");
    };
    let url = tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    person(url).await;
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.unwrap().unwrap();
    let mut rest = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        rest.push_str(&line);
    }
    assert!(ended.success(), "{rest}");
}

/// A browser that keeps cookies and goes where it is sent, back to the application in the end.
async fn person(start: reqwest::Url) {
    let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let (mut url, mut cookies) = (start, BTreeMap::new());
    for _ in 0..10 {
        let jar: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = browser.get(url.clone()).header("cookie", jar.join("; "));
        let answer = request.timeout(Duration::from_secs(20)).send().await.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            cookies.insert(name.to_owned(), value.to_owned());
        }
        match answer.headers().get("location") {
            Some(to) => url = url.join(to.to_str().unwrap()).unwrap(),
            None => return assert!(url.path() == "/callback" && answer.status().is_success(), "{answer:?}"),
        }
    }
    panic!("the provider redirects for ever");
}

/// Calls with the token: who calls gets what the server repeated, who watches does not. Gives both tokens.
async fn uses_its_token(dev: &Client, server: &HttpServer) -> [String; 2] {
    let run = dev.run(AGENT, "ask", &json!({ "text": TEXT })).await.unwrap();
    let answer = parsed(&run.legacy_json);
    assert_eq!(answer["who"]["sub"], "alice", "{answer}");
    let seen = server.seen("/echo");
    let bearer = seen.last().unwrap().header("authorization");
    let token = bearer.strip_prefix("Bearer ").unwrap().to_owned();
    assert_eq!(answer["shown"]["headers"]["authorization"], bearer, "{answer}");
    let record = record(dev).await;
    assert_eq!(record["auth_data"]["primary"], token.as_str());
    let refresh = record["auth_data"]["secondary"].as_str().unwrap().to_owned();
    assert!(record["auth_settings"]["clientSecret"] == "{{KEY(app-secret)}}", "{}", record["auth_settings"]);

    let watched = format!("{:?}", dev.watch(&run.run).await.unwrap());
    let read = format!("{:?}", dev.get_run(&run.run).await.unwrap());
    for secret in [token.as_str(), refresh.as_str(), SECRET] {
        Forms::of(secret).assert_absent("the run's events", watched.as_bytes());
        Forms::of(secret).assert_absent("the run", read.as_bytes());
    }
    [token, refresh]
}

async fn record(dev: &Client) -> Value {
    let request = GetManagedSecretRequest { name: CONNECTION.into(), ..Default::default() };
    parsed(&dev.managed_vault().get_managed_secret(request).await.unwrap().into_inner().value)
}

/// The token is over, so that it is renewed.
async fn expire(dev: &Client) {
    let mut record = record(dev).await;
    record["auth_data"]["expires_in"] = json!("1000");
    let value = record.to_string().into();
    let request = SetManagedSecretRequest { name: CONNECTION.into(), value, ..Default::default() };
    dev.managed_vault().set_managed_secret(request).await.unwrap();
}
