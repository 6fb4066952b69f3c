#![no_main]

use sre_identity::acl::legacy::{Algorithm, LegacyAcl, export};
use sre_identity::{Acl, Candidate};

// Access lists as texts, ours and the reference's: refused, or read as what they mean when written again. The tests of
// `sre-identity` hold the same.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    if let Ok(acl) = Acl::from_text(&text) {
        assert_eq!(Acl::from_text(&acl.to_text()).ok(), Some(acl));
    }
    let Ok(parsed) = LegacyAcl::parse(&text) else { return };
    let Ok(imported) = parsed.import(&[]) else { return };
    let known: Vec<Candidate> = imported.acl.entries().map(|(who, _)| who.clone()).collect();
    for algorithm in [Algorithm::Xxh3, Algorithm::Plain] {
        let again = LegacyAcl::parse(&export(&imported.acl, algorithm)).and_then(|read| read.import(&known));
        assert_eq!(again.map(|again| again.acl), Ok(imported.acl.clone()));
    }
});
