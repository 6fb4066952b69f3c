//! A small run of `sre authz fuzz` (acceptance 2): random principals and calls against the model.

use sre::authz::{Fuzz, fuzz};

use crate::harness::process;

/// The same calls in each run of the tests; `sre authz fuzz` takes others each time.
const SEED: u64 = 20_261_129;
const PAIRS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_services_agree_with_the_model() {
    let worker = Some(process::binary());
    let report = Box::pin(fuzz(&Fuzz { pairs: PAIRS, seed: SEED, worker }, |_| ())).await.unwrap();
    let told: Vec<String> = report.findings.iter().map(|finding| finding.text.clone()).collect();
    assert_eq!((report.disagreements, report.cross_tenant_reads), (0, 0), "{}", told.join("\n"));
    assert_eq!(report.pairs, PAIRS);
    // A model that refuses everything would agree with services that do.
    assert!(
        report.allowed > PAIRS / 10 && report.denied > PAIRS / 10,
        "{} and {}",
        report.allowed,
        report.denied
    );
}
