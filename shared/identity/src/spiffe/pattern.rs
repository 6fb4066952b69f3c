//! Which identity a certificate's names stand for.
//!
//! The default shape comes first. After it come the configured rules, in order; each is an exact text with at
//! most one placeholder, `{service}`, and yields a service, so that a mesh's certificates can carry the suite's
//! services and nothing else. There is no placeholder for a namespace: whoever may create service accounts in
//! any namespace could otherwise be any service.

use serde::{Deserialize, Serialize};

use super::{Kind, Principal, SpiffeId, TrustDomain, is_service_name};

/// The placeholder.
const SERVICE: &str = "{service}";

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Neither or both of `path` and `dns`.
    #[error("identity rule {0}: give exactly one of `path` and `dns`")]
    Subject(usize),
    /// No way to know the service.
    #[error("identity rule {0}: give `service`, or write {{service}} in the pattern, not both")]
    Service(usize),
    /// The name is no service name.
    #[error("identity rule {rule}: invalid service name {name:?}: use a-z, 0-9 and hyphens, a letter first")]
    Name {
        /// Which rule, from 0 on.
        rule: usize,
        /// The name.
        name: String,
    },
    /// The pattern's text cannot match.
    #[error("identity rule {rule}: {problem}")]
    Text {
        /// Which rule, from 0 on.
        rule: usize,
        /// What is wrong.
        problem: &'static str,
    },
}

/// One configured rule. Exactly one of `path` (of a SPIFFE id in the trust domain) and `dns` (the one DNS name of
/// a certificate without URI name).
///
/// ```
/// use sre_identity::spiffe::{PatternRule, PatternTable, TrustDomain};
/// // Istio with one service account per role; Linkerd with the same accounts.
/// let rules = [
///     PatternRule { path: Some("/ns/sre/sa/sre-{service}".into()), dns: None, service: None },
///     PatternRule {
///         path: None,
///         dns: Some("sre-{service}.sre.serviceaccount.identity.linkerd.cluster.local".into()),
///         service: None,
///     },
/// ];
/// let table = PatternTable::with_rules(TrustDomain::new("cluster.local")?, &rules)?;
/// let id = table.identify_uri("spiffe://cluster.local/ns/sre/sa/sre-io").unwrap();
/// assert_eq!(id.as_str(), "spiffe://cluster.local/service/io");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PatternRule {
    /// The path of a SPIFFE id in the trust domain, for example `/ns/sre/sa/sre-{service}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A DNS name, for example `sre-{service}.sre.serviceaccount.identity.linkerd.cluster.local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<String>,
    /// The service, where the pattern has no `{service}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

#[derive(Debug, Clone)]
enum Subject {
    Path,
    Dns,
}

#[derive(Debug, Clone)]
struct Rule {
    subject: Subject,
    prefix: String,
    suffix: String,
    /// None: what stands between prefix and suffix.
    service: Option<Principal>,
}

impl Rule {
    fn service(&self, text: &str) -> Option<Principal> {
        if let Some(service) = &self.service {
            return (text == self.prefix).then(|| service.clone());
        }
        let name = text.strip_prefix(self.prefix.as_str())?.strip_suffix(self.suffix.as_str())?;
        // A service name has neither slash nor dot, so it cannot reach over a segment.
        Principal::service(name).ok()
    }
}

/// The ordered table of shapes; the same on every listener and link.
#[derive(Debug, Clone)]
pub struct PatternTable {
    trust_domain: TrustDomain,
    rules: Vec<Rule>,
}

impl PatternTable {
    /// The default shape alone.
    pub fn new(trust_domain: TrustDomain) -> Self {
        Self { trust_domain, rules: Vec::new() }
    }

    /// The default shape, then the rules in their order.
    pub fn with_rules(trust_domain: TrustDomain, rules: &[PatternRule]) -> Result<Self, PatternError> {
        let rules = rules.iter().enumerate().map(|(n, rule)| compile(n, rule)).collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, rules })
    }

    /// The trust domain that every identity must be of.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Whether certificates without a URI name may be known by a DNS name.
    pub fn has_dns_rules(&self) -> bool {
        self.rules.iter().any(|rule| matches!(rule.subject, Subject::Dns))
    }

    /// The identity that a URI name stands for; none for foreign trust domains and unknown shapes.
    pub fn identify_uri(&self, uri: &str) -> Option<SpiffeId> {
        if let Ok(id) = uri.parse::<SpiffeId>() {
            return (id.trust_domain() == &self.trust_domain).then_some(id);
        }
        let rest = uri.strip_prefix("spiffe://")?.strip_prefix(self.trust_domain.as_str())?;
        if !rest.starts_with('/') {
            return None;
        }
        self.service_of(rest, |subject| matches!(subject, Subject::Path))
    }

    /// The identity that a DNS name stands for.
    pub fn identify_dns(&self, name: &str) -> Option<SpiffeId> {
        self.service_of(name, |subject| matches!(subject, Subject::Dns))
    }

    fn service_of(&self, text: &str, fits: impl Fn(&Subject) -> bool) -> Option<SpiffeId> {
        let service =
            self.rules.iter().filter(|rule| fits(&rule.subject)).find_map(|rule| rule.service(text))?;
        debug_assert_eq!(service.kind(), Kind::Service);
        Some(service.in_domain(&self.trust_domain))
    }
}

fn compile(n: usize, rule: &PatternRule) -> Result<Rule, PatternError> {
    let text_error = |problem| PatternError::Text { rule: n, problem };
    let (subject, text) = match (&rule.path, &rule.dns) {
        (Some(path), None) => (Subject::Path, path),
        (None, Some(dns)) => (Subject::Dns, dns),
        _ => return Err(PatternError::Subject(n)),
    };
    if matches!(subject, Subject::Path) && !text.starts_with('/') {
        return Err(text_error("`path` starts with a slash; the trust domain is the deployment's"));
    }
    let (prefix, suffix, named) = match text.split_once(SERVICE) {
        Some((prefix, suffix)) => (prefix, suffix, true),
        None => (text.as_str(), "", false),
    };
    if prefix.contains(['{', '}']) || suffix.contains(['{', '}']) {
        return Err(text_error("the only placeholder is {service}, once"));
    }
    let service = match (&rule.service, named) {
        (Some(name), false) if is_service_name(name) => {
            Some(Principal::service(name).map_err(|_| PatternError::Service(n))?)
        }
        (Some(name), false) => return Err(PatternError::Name { rule: n, name: name.clone() }),
        (None, true) => None,
        _ => return Err(PatternError::Service(n)),
    };
    Ok(Rule { subject, prefix: prefix.to_owned(), suffix: suffix.to_owned(), service })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(path: Option<&str>, dns: Option<&str>, service: Option<&str>) -> PatternRule {
        PatternRule {
            path: path.map(str::to_owned),
            dns: dns.map(str::to_owned),
            service: service.map(str::to_owned),
        }
    }

    fn table() -> PatternTable {
        PatternTable::with_rules(
            TrustDomain::new("cluster.local").unwrap(),
            &[
                rule(Some("/ns/sre/sa/sre-{service}"), None, None),
                rule(Some("/ns/sre/sa/model-runner"), None, Some("llm")),
                rule(None, Some("sre-{service}.sre.serviceaccount.identity.linkerd.cluster.local"), None),
            ],
        )
        .unwrap()
    }

    #[test]
    fn every_shape_gives_the_canonical_identity() {
        let table = table();
        for (uri, expected) in [
            ("spiffe://cluster.local/user/alice", "spiffe://cluster.local/user/alice"),
            ("spiffe://cluster.local/ns/sre/sa/sre-io", "spiffe://cluster.local/service/io"),
            ("spiffe://cluster.local/ns/sre/sa/model-runner", "spiffe://cluster.local/service/llm"),
        ] {
            assert_eq!(table.identify_uri(uri).unwrap().as_str(), expected);
        }
        let dns = table.identify_dns("sre-io.sre.serviceaccount.identity.linkerd.cluster.local").unwrap();
        assert_eq!(dns.as_str(), "spiffe://cluster.local/service/io");
    }

    #[test]
    fn nothing_else_has_an_identity() {
        let table = table();
        for uri in [
            "spiffe://other.local/user/alice",
            "spiffe://other.local/ns/sre/sa/sre-io",
            "spiffe://cluster.local.evil/ns/sre/sa/sre-io",
            "spiffe://cluster.local/ns/other/sa/sre-io",
            "spiffe://cluster.local/ns/sre/sa/sre-io/x",
            "spiffe://cluster.local/ns/sre/sa/sre-",
            "spiffe://cluster.local/ns/sre/sa/sre-user/alice",
            "spiffe://cluster.local/ns/sre/sa/model-runner-2",
            "sre-io.sre.serviceaccount.identity.linkerd.cluster.local",
        ] {
            assert!(table.identify_uri(uri).is_none(), "{uri}");
        }
        for dns in
            ["sre-io.sre.example", "sre-a.b.sre.serviceaccount.identity.linkerd.cluster.local", "localhost"]
        {
            assert!(table.identify_dns(dns).is_none(), "{dns}");
        }
        assert!(
            PatternTable::new(TrustDomain::new("cluster.local").unwrap()).identify_dns("localhost").is_none()
        );
    }

    #[test]
    fn a_rule_yields_services_only() {
        // Whatever the account is called, the principal is a service of that name or nothing.
        let id = table().identify_uri("spiffe://cluster.local/ns/sre/sa/sre-alice").unwrap();
        assert_eq!(id.principal().kind(), Kind::Service);
        assert!(table().identify_uri("spiffe://cluster.local/ns/sre/sa/sre-Alice").is_none());
    }

    #[test]
    fn bad_rules_are_refused() {
        for bad in [
            rule(None, None, Some("io")),
            rule(Some("/a"), Some("b"), Some("io")),
            rule(Some("/a"), None, None),
            rule(Some("/{service}"), None, Some("io")),
            rule(Some("/a"), None, Some("IO")),
            rule(Some("a"), None, Some("io")),
            rule(Some("/ns/{ns}/sa/{service}"), None, None),
            rule(Some("/{service}/{service}"), None, None),
        ] {
            let domain = TrustDomain::new("cluster.local").unwrap();
            assert!(PatternTable::with_rules(domain, std::slice::from_ref(&bad)).is_err(), "{bad:?}");
        }
    }
}
