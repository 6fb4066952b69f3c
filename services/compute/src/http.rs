//! What code may reach of the network: hosts that are named for the call, within the deployment's egress policy.
//! The request is made here; the sandbox has no network.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sre_components::egress::{Client, Gate, Limits, Lists, Request, Table};
use sre_proto::error::invalid_argument;
use sre_sandbox::protocol::{HttpAnswer, HttpAsk};
use sre_service::config::{Config, EgressOf};
use tonic::Status;
use url::Url;

/// The most hosts of a call.
const MOST_HOSTS: usize = 50;
/// The largest body of an answer, in bytes.
pub const ANSWER_BYTES: usize = 1 << 20;

/// Headers that belong to the connection, not to who asks.
const CONNECTION_HEADERS: [&str; 8] = [
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "proxy-authorization",
];

/// The ways out of the code of each agent, as the configuration says.
pub(crate) fn gate(config: &Config) -> anyhow::Result<Gate> {
    let egress = &config.egress;
    let lists = |(name, of): (&String, &EgressOf)| {
        (name.clone(), Lists { allow: of.allow.clone(), only: of.only.clone() })
    };
    let table = Table {
        allow: egress.allow.clone(),
        teams: egress.teams.iter().map(lists).collect(),
        agents: egress.agents.iter().map(lists).collect(),
    };
    let limits = Limits {
        connect: egress.connect_timeout(),
        total: egress.total_timeout(),
        response_bytes: ANSWER_BYTES.min(egress.max_response_bytes),
        expansion: egress.max_expansion,
    };
    Gate::new(&table, limits).context("[egress]")
}

/// The hosts that one call may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts(Vec<Host>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    /// Any host below this one.
    below: bool,
    name: String,
    port: Option<u16>,
}

impl Hosts {
    /// Reads a list as it is given: `api.example.com`, `*.example.com`, each with a port where it is not the
    /// scheme's own.
    pub fn parse(field: &'static str, list: &[String]) -> Result<Self, Status> {
        if list.len() > MOST_HOSTS {
            return Err(invalid_argument(field, format!("{} hosts: {MOST_HOSTS} are the most", list.len())));
        }
        let wrong = |text: &str| {
            let message =
                format!("{text:?} is no host: write api.example.com, *.example.com or api.example.com:8443");
            invalid_argument(field, message)
        };
        let parse = |text: &String| {
            let (rest, below) = text.strip_prefix("*.").map_or((text.as_str(), false), |rest| (rest, true));
            // As addresses have them: brackets around a colon, other alphabets as ASCII.
            let url = Url::parse(&format!("sre://{rest}/")).map_err(|_| wrong(text))?;
            let plain = url.username().is_empty() && url.path() == "/" && url.query().is_none();
            let http = Url::parse(&format!("http://{rest}/")).map_err(|_| wrong(text))?;
            match http.host_str() {
                Some(name) if plain && !name.contains('*') => {
                    Ok(Host { below, name: name.trim_end_matches('.').to_owned(), port: url.port() })
                }
                _ => Err(wrong(text)),
            }
        };
        list.iter().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn allow(&self, url: &Url) -> bool {
        let Some(name) = url.host_str().map(|name| name.trim_end_matches('.')) else { return false };
        self.0.iter().any(|host| {
            let named = match name.strip_suffix(&host.name) {
                Some("") => !host.below,
                Some(rest) => host.below && rest.ends_with('.'),
                None => false,
            };
            let port =
                host.port.map_or(url.port().is_none(), |port| url.port_or_known_default() == Some(port));
            named && port
        })
    }
}

/// Makes a request of code, if it may.
pub async fn send(client: &Client, hosts: &Hosts, ask: HttpAsk, within: Duration) -> HttpAnswer {
    match try_send(client, hosts, ask, within).await {
        Ok(answer) => answer,
        Err(why) => HttpAnswer::Failed(why),
    }
}

async fn try_send(
    client: &Client,
    hosts: &Hosts,
    ask: HttpAsk,
    within: Duration,
) -> Result<HttpAnswer, String> {
    let url = Url::parse(&ask.url).map_err(|error| format!("{:?} is no address: {error}", ask.url))?;
    if !hosts.allow(&url) {
        let host = url.host_str().unwrap_or_default();
        return Err(format!("{host} is not among the hosts that this code may reach"));
    }
    let method: Method = ask.method.parse().map_err(|_| format!("{:?} is no method", ask.method))?;
    let mut request = Request::new(method, url);
    request.headers = headers(&ask.headers)?;
    request.body = ask.body.map(Bytes::from);
    let response = client.send_once(request, within).await.map_err(|error| error.to_string())?;
    let named = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    Ok(HttpAnswer::Answered {
        status: response.status.as_u16(),
        headers: response.headers.iter().map(named).collect(),
        body: String::from_utf8_lossy(&response.body).into_owned(),
        url: response.url.to_string(),
    })
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let wrong = || format!("{name:?} is no header that a request can carry");
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        if CONNECTION_HEADERS.contains(&name.as_str()) {
            continue;
        }
        let value = HeaderValue::try_from(value).map_err(|_| wrong())?;
        headers.try_append(name, value).map_err(|_| "too many headers".to_owned())?;
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(hosts: &[&str], url: &str) -> bool {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        Hosts::parse("http_hosts", &hosts).unwrap().allow(&Url::parse(url).unwrap())
    }

    #[test]
    fn a_host_is_what_is_named_and_no_more() {
        assert!(allowed(&["api.example.com"], "https://api.example.com/x"));
        assert!(allowed(&["API.example.com"], "http://api.EXAMPLE.com./x"));
        assert!(!allowed(&["api.example.com"], "https://api.example.com:8443/"));
        assert!(!allowed(&["api.example.com"], "https://api.example.com.evil.org/"));
        assert!(!allowed(&["api.example.com"], "https://api.example.com@evil.org/"));
        assert!(!allowed(&["example.com"], "https://api.example.com/"));
        assert!(allowed(&["*.example.com"], "https://a.b.example.com/"));
        assert!(!allowed(&["*.example.com"], "https://example.com/"));
        assert!(!allowed(&["*.example.com"], "https://notexample.com/"));
        assert!(allowed(&["127.0.0.1:8080", "[::1]:81"], "http://127.0.0.1:8080/"));
        assert!(allowed(&["127.0.0.1:8080", "[::1]:81"], "http://[::1]:81/"));
        assert!(allowed(&["h:80"], "http://h/") && allowed(&["h:443"], "https://h/"));
        assert!(!allowed(&[], "http://h/"));
    }

    #[test]
    fn what_is_no_host_is_named() {
        for bad in ["", "*", "a/b", "http://h", "u@h", "h:99999", "h?x", "a b"] {
            assert!(Hosts::parse("http_hosts", &[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn headers_of_the_connection_are_left_out() {
        let given = [("Host", "evil"), ("X-A", "1"), ("x-a", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        let headers = headers(&given).unwrap();
        assert_eq!(headers.get_all("x-a").iter().count(), 2);
        assert!(!headers.contains_key("host"));
    }
}
