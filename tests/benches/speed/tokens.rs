//! What a presented token costs: from the cache, which every call but the first takes, and verified anew.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use sre_identity::ca::{Authority, DEFAULT_LIFETIME, LOCAL_NAMES};
use sre_identity::token::issuer;
use sre_identity::{
    Claims, PatternTable, Peer, Principal, Purpose, Signer, Svid, TokenVerifier, TrustDomain,
};
use sre_proto::security::v1::{KeySet, PublicKey};

use super::seconds;

const SERVICE: &str = "sre.io.v1.Nkv";
/// Tokens that a service sees in a while: more than the processor's own caches hold.
const TOKENS: usize = 1_000;

/// Measures, and prints.
pub fn measure() {
    println!("\n## Token verification, one core\n");
    let domain = TrustDomain::new("sre.local").unwrap();
    let signer = Signer::generate().unwrap();
    let presenter = peer(&domain);
    let tokens: Vec<String> = (0..TOKENS).map(|number| token(&domain, &signer, number)).collect();
    let verifier = || {
        let verifier = TokenVerifier::new(&domain);
        let key = PublicKey {
            key_id: signer.key_id().to_owned(),
            ed25519: signer.public_key().to_vec().into(),
            expire_time: None,
        };
        let keys = KeySet { version: 1, issuer: issuer(&domain), keys: vec![key], ..KeySet::default() };
        verifier.update(&keys).unwrap();
        verifier
    };
    let warm = verifier();
    let check = |verifier: &TokenVerifier, token: &str| {
        black_box(verifier.verify(black_box(token), &presenter, "io").unwrap());
    };
    tokens.iter().for_each(|token| check(&warm, token));
    let mut figures = Vec::new();
    for _ in 0..5 {
        let one = per_call(|_| check(&warm, &tokens[0]));
        let many = per_call(|number| check(&warm, &tokens[number % TOKENS]));
        let mut cold = verifier();
        let anew = per_call(|number| {
            if number % TOKENS == 0 {
                cold = verifier();
            }
            check(&cold, &tokens[number % TOKENS]);
        });
        figures.push((one, many, anew));
    }
    let median = |of: fn(&(f64, f64, f64)) -> f64| {
        let mut all: Vec<f64> = figures.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    println!("| | ns a call (median of 5) |");
    println!("|---|---|");
    println!("| from the cache, one token | {:.0} |", median(|figure| figure.0));
    println!("| from the cache, {TOKENS} tokens in turn | {:.0} |", median(|figure| figure.1));
    println!("| verified anew | {:.0} |", median(|figure| figure.2));
}

fn per_call(mut call: impl FnMut(usize)) -> f64 {
    let (started, mut calls) = (Instant::now(), 0);
    let time = seconds() / 5;
    while started.elapsed() < time {
        // The clock is asked once in a while: it costs as much as what is measured.
        for _ in 0..1_000 {
            call(calls);
            calls += 1;
        }
    }
    started.elapsed().as_nanos() as f64 / calls as f64
}

fn peer(domain: &TrustDomain) -> Peer {
    let authority = Authority::create(domain).unwrap();
    let principal: Principal = "service/engine".parse().unwrap();
    let issued = authority.issue(&principal, &LOCAL_NAMES, DEFAULT_LIFETIME).unwrap();
    let patterns = PatternTable::new(domain.clone());
    Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns).unwrap().peer()
}

fn token(domain: &TrustDomain, signer: &Signer, number: usize) -> String {
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() as i64;
    let subject = format!("spiffe://{domain}/agent/a{number}");
    let scope = vec![format!("{SERVICE}:read"), format!("{SERVICE}:write")];
    let claims = Claims {
        iss: issuer(domain),
        sub: subject.clone(),
        act: format!("spiffe://{domain}/service/engine"),
        via: Vec::new(),
        root: subject,
        aud: vec!["io".to_owned()],
        scope: scope.clone(),
        ceil: scope,
        jti: uuid::Uuid::now_v7().to_string(),
        iat: now,
        exp: now + 300,
        purpose: Purpose::Run,
        agent: Some(format!("teams/default/agents/a{number}")),
        team: Some("default".to_owned()),
        txn: uuid::Uuid::now_v7().to_string(),
        runs: Vec::new(),
    };
    signer.sign(&claims).unwrap()
}
