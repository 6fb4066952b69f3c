use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

use sre_identity::ca::Authority;
use sre_proto::error::reason;
use sre_proto::types::v1::Reason;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::fake::{FakeApi, Step};
use super::*;
use crate::bootstrap::{RoleStart, Running, run};
use crate::link::Link;

fn config(folder: &std::path::Path, api: &FakeApi) -> Config {
    let mut config = Config::in_dir(folder);
    config.certs.workload_api = Some(api.endpoint());
    config.deadlines.drain_ms = 2_000;
    // Handshakes all the time: each of them meets the certificates of its moment.
    config.deadlines.connection_age_ms = 40;
    config
}

/// A role as `sre serve` starts it, with identities from the API.
async fn serve(config: Config) -> Running {
    let empty = RoleStart::new(Role::Compute, |_| async { Ok(tonic::service::Routes::default()) });
    run(vec![empty], config).await.unwrap()
}

async fn health(link: &Link) -> Result<(), tonic::Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(link.clone()).check(request).await.map(drop)
}

async fn eventually(mut is_so: impl FnMut() -> bool) {
    let so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), so).await.expect("it never came");
}

#[tokio::test]
async fn a_role_gets_the_identity_that_is_its_own_and_says_which_it_misses() {
    let api = FakeApi::start(&["service/io", "service/compute", "user/dev"]);
    let folder = tempfile::tempdir().unwrap();
    let shared = config(folder.path(), &api).shared();
    let workload = Workload::connect(&api.endpoint(), &shared).await.unwrap();
    let identities = workload.identities(&[Role::Compute, Role::Io]).unwrap();
    let names: Vec<String> = identities.iter().map(|(_, one)| one.peer().principal().to_string()).collect();
    assert_eq!(names, ["service/compute", "service/io"]);
    let missing = workload.identities(&[Role::Edge]).unwrap_err().to_string();
    assert!(missing.contains("service/edge") && missing.contains("service/io"), "{missing}");
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_waited_for_and_then_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::in_dir(folder.path());
    config.deadlines.start_ms = 600;
    let endpoint = format!("unix://{}", folder.path().join("absent.sock").display());
    let error = Workload::connect(&endpoint, &config.shared()).await.err().unwrap();
    assert!(error.to_string().contains("absent.sock"), "{error:#}");
}

#[tokio::test]
async fn authorities_of_other_trust_domains_are_not_believed() {
    let api = FakeApi::start(&["service/compute", "user/dev"]);
    let foreign = Authority::create(&sre_identity::TrustDomain::new("sre.local").unwrap()).unwrap();
    api.federate("elsewhere.example", &foreign);
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &api);
    let running = serve(config.clone()).await;
    let mut outside = Config::clone(&config);
    outside.endpoints.0.insert(Role::Compute, vec![running.endpoints()["compute"].to_string()]);
    // The foreign authority names a principal of ours. It vouches for nobody.
    let issued = foreign.issue(&"user/dev".parse().unwrap(), &[], Duration::from_secs(3600)).unwrap();
    let patterns = first_start::patterns(&outside.clone().shared()).unwrap();
    let svid = Svid::from_pem(&issued.cert_pem, &issued.key_pem, &patterns).unwrap();
    let source = SvidSource::new(svid, foreign.roots().unwrap(), patterns).unwrap();
    let refused = health(&Link::client(outside.shared(), &source, Role::Compute)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::Unavailable, Some(Reason::RoleUnavailable)));
    running.shutdown().await;
}

#[tokio::test]
async fn an_identity_that_is_withdrawn_is_used_until_it_ends() {
    let api = FakeApi::start(&["service/compute"]);
    let folder = tempfile::tempdir().unwrap();
    let running = serve(config(folder.path(), &api)).await;
    let identity = running.host(Role::Compute).unwrap().identity().clone();
    let (before, mut other) = (identity.fingerprint(), api.asked());
    api.entitle(&["service/io"]);
    other.changed().await.unwrap();
    assert_eq!(identity.fingerprint(), before);
    assert!(identity.svid().not_after() > SystemTime::now());
    api.entitle(&["service/compute"]);
    eventually(|| identity.fingerprint() != before).await;
    running.shutdown().await;
}

/// Leaves and authorities change again and again while calls run, each over a new connection: none fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_drops_no_call() {
    let api = FakeApi::start(&["service/compute", "user/dev"]);
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &api);
    let running = serve(config.clone()).await;
    let server = running.host(Role::Compute).unwrap().identity().clone();

    // The client follows the API like every workload.
    let mut outside = Config::clone(&config);
    outside.endpoints.0.insert(Role::Compute, vec![running.endpoints()["compute"].to_string()]);
    let outside = outside.shared();
    let workload = Workload::connect(&api.endpoint(), &outside).await.unwrap();
    let source = workload.source_of("user/dev");
    let following = crate::task::spawn("following", workload.follow_one(source.clone(), "user/dev"));
    let link = Link::client(Arc::clone(&outside), &source, Role::Compute);

    let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (link, stop, calls) = (link.clone(), Arc::clone(&stop), Arc::clone(&calls));
            crate::task::spawn("caller", async move {
                while !stop.load(Ordering::Acquire) {
                    health(&link).await?;
                    calls.fetch_add(1, Ordering::AcqRel);
                }
                Ok::<(), tonic::Status>(())
            })
        })
        .collect();
    // A step is over when both sides took it over and calls were made under it.
    let settled = async |done: &dyn Fn() -> bool| {
        eventually(done).await;
        let seen = calls.load(Ordering::Acquire);
        eventually(|| calls.load(Ordering::Acquire) > seen + 50).await;
    };
    for _ in 0..3 {
        let leaves = [server.fingerprint(), source.fingerprint()];
        api.renew();
        settled(&|| server.fingerprint() != leaves[0] && source.fingerprint() != leaves[1]).await;
        for step in [Step::Trust, Step::Issue, Step::Retire] {
            let leaves = [server.fingerprint(), source.fingerprint()];
            api.rotate(step);
            settled(&|| server.fingerprint() != leaves[0] && source.fingerprint() != leaves[1]).await;
        }
    }
    stop.store(true, Ordering::Release);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert!(calls.load(Ordering::Acquire) > 600);
    following.abort();
    running.shutdown().await;
}

impl Workload {
    /// The identity of a client.
    fn source_of(&self, principal: &str) -> Arc<SvidSource> {
        let (svid, roots) = self.client(principal).unwrap();
        SvidSource::new(svid, roots, self.patterns.clone()).unwrap()
    }

    fn client(&self, principal: &str) -> anyhow::Result<(Svid, TrustRoots)> {
        let context = self.source.x509_context()?;
        let bundle = context.bundle_set().get(&self.trust_domain).context("a bundle")?;
        let roots = TrustRoots::from_der(bundle.authorities().iter().map(|one| one.as_bytes()))?;
        let found = context.svids().iter().find_map(|one| {
            let chain = one.cert_chain().iter().map(|one| one.as_bytes().to_vec());
            let svid = Svid::from_der(chain, one.private_key().as_bytes(), &self.patterns).ok()?;
            (svid.peer().principal().to_string() == principal).then_some(svid)
        });
        Ok((found.context("an svid")?, roots))
    }

    async fn follow_one(self, source: Arc<SvidSource>, principal: &'static str) {
        let mut updates = self.source.updated();
        while updates.changed().await.is_ok() {
            let (svid, roots) = self.client(principal).unwrap();
            source.replace(svid, roots).unwrap();
        }
    }
}
