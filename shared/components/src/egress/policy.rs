//! Which addresses may be connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// The configured exceptions; everything public is allowed, everything else is not.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<AllowRule>,
    /// Each list narrows what may be reached to what it names.
    only: Vec<Vec<AllowRule>>,
}

/// One exception: `host`, `host:port`, `ip:port`, `[ip]:port`, or a network `10.0.0.0/8`, with or without
/// a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    target: Target,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Host(String),
    Net(IpNet),
}

/// An entry of `[egress] allow` that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "egress rule `{0}` cannot be read: write host, host:port, ip:port, [ipv6]:port or a network such as 10.0.0.0/8:443"
)]
pub struct AllowError(String);

impl FromStr for AllowRule {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let error = || AllowError(text.to_owned());
        let text = text.trim();
        if let Some(target) = net(text) {
            return Ok(Self { target, port: None });
        }
        let (target, port) = match text.rsplit_once(':') {
            Some((target, port)) => (target, Some(port.parse().map_err(|_| error())?)),
            None => (text, None),
        };
        let bare = target.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(target);
        if let Some(target) = net(bare) {
            return Ok(Self { target, port });
        }
        let is_name = !bare.is_empty()
            && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
        if !is_name {
            return Err(error());
        }
        Ok(Self { target: Target::Host(normal(bare)), port })
    }
}

fn rules<S: AsRef<str>>(texts: &[S]) -> Result<Vec<AllowRule>, AllowError> {
    texts.iter().map(|rule| rule.as_ref().parse()).collect()
}

fn net(text: &str) -> Option<Target> {
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    net.ok().map(Target::Net)
}

/// Lower case, without the dot of a fully qualified name.
fn normal(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

impl Policy {
    /// Reads the entries of `[egress] allow`.
    ///
    /// # Errors
    /// [`AllowError`] names the first entry that cannot be read.
    pub fn new<S: AsRef<str>>(allow: &[S]) -> Result<Self, AllowError> {
        Ok(Self { rules: rules(allow)?, only: Vec::new() })
    }

    /// The same with more exceptions, and narrowed to what `only` names where that is given.
    ///
    /// # Errors
    /// [`AllowError`] names the first entry that cannot be read.
    pub fn with<S: AsRef<str>>(&self, allow: &[S], only: Option<&[S]>) -> Result<Self, AllowError> {
        let mut policy = self.clone();
        policy.rules.extend(rules(allow)?);
        if let Some(only) = only {
            policy.only.push(rules(only)?);
        }
        Ok(policy)
    }

    /// Whether a connection to `address`, found under `host`, may be made.
    pub fn permits(&self, host: &str, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        let covered = |rules: &[AllowRule]| rules.iter().any(|rule| rule.covers(host, address, port));
        (is_public(address) || covered(&self.rules)) && self.only.iter().all(|only| covered(only))
    }

    /// The ports that some rule names, each once; `None` stands for rules without a port.
    pub(super) fn ports(&self) -> Vec<u16> {
        let all = self.rules.iter().chain(self.only.iter().flatten());
        let mut ports: Vec<u16> = all.filter_map(|rule| rule.port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

impl AllowRule {
    fn covers(&self, host: &str, address: IpAddr, port: u16) -> bool {
        if self.port.is_some_and(|only| only != port) {
            return false;
        }
        match &self.target {
            Target::Host(name) => *name == normal(host),
            Target::Net(net) => net.contains(&address),
        }
    }
}

/// Whether an address belongs to the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let inner = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || a == 0
        // Carrier-grade NAT.
        || (a == 100 && (64..128).contains(&b))
        // Protocol assignments, 6to4 relays, benchmarks.
        || (a == 192 && b == 0 && c == 0)
        || (a == 192 && b == 88 && c == 99)
        || (a == 198 && (b == 18 || b == 19))
        // Reserved.
        || a >= 240;
    !inner
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(v4) = embedded_v4(address) {
        return is_public_v4(v4);
    }
    let segments = address.segments();
    // Only 2000::/3 is handed out, and parts of it are for documentation and tunnels.
    (segments[0] & 0xe000) == 0x2000
        && !(segments[0] == 0x2001 && segments[1] == 0x0db8)
        && !(segments[0] == 0x2001 && segments[1] < 0x0200)
        && !(segments[0] == 0x3fff && segments[1] < 0x1000)
}

/// The IPv4 address that a mapped, compatible, NAT64 or 6to4 address leads to.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match s {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(allow: &[&str], host: &str, address: &str, port: u16) -> bool {
        Policy::new(allow).unwrap().permits(host, address.parse().unwrap(), port)
    }

    #[test]
    fn inner_addresses_are_refused() {
        for inner in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "fec0::1",
        ] {
            assert!(!permits(&[], "h", inner, 80), "{inner}");
        }
        for public in ["1.1.1.1", "93.184.216.34", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(permits(&[], "h", public, 80), "{public}");
        }
    }

    #[test]
    fn rules_name_hosts_addresses_networks_and_ports() {
        assert!(permits(&["127.0.0.1:18099"], "127.0.0.1", "127.0.0.1", 18099));
        assert!(permits(&["127.0.0.1:18099"], "h", "::ffff:127.0.0.1", 18099));
        assert!(!permits(&["127.0.0.1:18099"], "127.0.0.1", "127.0.0.1", 22));
        assert!(permits(&["Inner.example.:80"], "inner.EXAMPLE", "10.0.0.9", 80));
        assert!(!permits(&["inner.example:80"], "other.example", "10.0.0.9", 80));
        assert!(permits(&["10.0.0.0/8"], "h", "10.9.9.9", 1));
        assert!(permits(&["10.0.0.0/8:443"], "h", "10.9.9.9", 443));
        assert!(!permits(&["10.0.0.0/8:443"], "h", "10.9.9.9", 80));
        assert!(permits(&["[::1]:80", "fd00::/8"], "h", "::1", 80));
        assert!(permits(&["fd00::/8"], "h", "fd01::1", 80));
    }

    #[test]
    fn unreadable_rules_are_named() {
        for bad in ["", "a b", "h:99999", "http://h/", "10.0.0.0/99"] {
            assert!(Policy::new(&[bad]).unwrap_err().to_string().contains(&format!("`{bad}`")), "{bad}");
        }
    }
}
