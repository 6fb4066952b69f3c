//! The authority of an embedded suite, replaced step by step: for a time both are trusted, so that no call is
//! dropped.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use sre_identity::ca::{Authority, write_private};
use sre_identity::{Kind, Principal, TrustDomain};

use super::{DEV_USER, Identities};
use crate::role::Role;

/// The folder of an authority that is trusted and does not issue yet.
const NEXT: &str = "next";
/// The key of an authority.
const KEY: &str = "ca.key";

/// A step; each needs the one before to have reached every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Makes the next authority, trusted beside the present one.
    Stage,
    /// The next one issues, and everybody gets a certificate of it.
    Activate,
    /// The one before is not trusted any more.
    Retire,
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "stage" => Ok(Self::Stage),
            "activate" => Ok(Self::Activate),
            "retire" => Ok(Self::Retire),
            other => bail!("{other:?} is no step: use stage, activate or retire"),
        }
    }
}

impl Identities {
    /// New certificates for every role and `user/dev`, of the authority of this folder.
    pub fn renew_all(&self) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        self.issue_all(&self.own_authority()?)
    }

    /// Takes one step of the rotation of the authority.
    pub fn rotate_authority(&self, step: Step) -> anyhow::Result<()> {
        let _lock = self.lock()?;
        let domain = TrustDomain::new(&self.config.trust_domain)?;
        let (present, next) = (self.own_authority()?, self.folder.join(NEXT));
        match step {
            Step::Stage => {
                if next.exists() {
                    bail!("an authority is staged already, in {}: activate it", next.display());
                }
                let made = Authority::create(&domain)?;
                made.save(&next)?;
                // The first one issues.
                self.write_bundle(&[first(present.certificate_pem()), made.certificate_pem()])
            }
            Step::Activate => {
                let made = Authority::load(&next, &domain)
                    .context("no authority is staged: run `sre certs rotate-authority stage` first")?;
                // Its key, and then the bundle that names it first; nobody reads the key without the lock.
                let key = next.join(KEY);
                let text = std::fs::read_to_string(&key).with_context(|| key.display().to_string())?;
                write_private(&self.folder.join(KEY), &text)?;
                self.write_bundle(&[made.certificate_pem(), first(present.certificate_pem())])?;
                self.issue_all(&made)?;
                std::fs::remove_dir_all(&next).with_context(|| next.display().to_string())
            }
            Step::Retire => {
                if next.exists() {
                    bail!("the staged authority does not issue yet: activate it first");
                }
                self.write_bundle(&[first(present.certificate_pem())])
            }
        }
    }

    fn own_authority(&self) -> anyhow::Result<Authority> {
        self.authority()?.with_context(|| {
            format!("{} holds no authority's key: certificates come from elsewhere", self.folder.display())
        })
    }

    fn issue_all(&self, authority: &Authority) -> anyhow::Result<()> {
        for role in Role::ALL {
            let principal = Principal::service(role.name())?;
            if !self.is_configured(&principal) {
                self.issue(authority, &principal)?;
            }
        }
        self.issue(authority, &Principal::new(Kind::User, DEV_USER)?)
    }

    fn write_bundle(&self, certificates: &[&str]) -> anyhow::Result<()> {
        let bundle: &PathBuf = &self.bundle;
        let fresh = bundle.with_extension("pem.new");
        std::fs::write(&fresh, certificates.concat()).with_context(|| fresh.display().to_string())?;
        std::fs::rename(&fresh, bundle).with_context(|| bundle.display().to_string())
    }
}

/// The first certificate of a bundle, the one that issues: an authority that was loaded holds its whole file.
fn first(bundle: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----\n";
    bundle.find(END).and_then(|at| bundle.get(..at + END.len())).unwrap_or(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_steps_go_in_order_and_everybody_is_trusted_all_the_time() {
        let dir = tempfile::tempdir().unwrap();
        let identities = Identities::new(&Config::in_dir(dir.path()).shared());
        identities.prepare(&Role::ALL).unwrap();
        let (old, other) = (identities.load(Role::Io).unwrap(), identities.load(Role::Llm).unwrap());
        let certificates = || std::fs::read_to_string(identities.bundle()).unwrap().matches("BEGIN").count();
        assert!(identities.rotate_authority(Step::Activate).is_err(), "nothing is staged");

        identities.rotate_authority(Step::Stage).unwrap();
        assert!(identities.rotate_authority(Step::Stage).is_err());
        assert!(identities.rotate_authority(Step::Retire).is_err());
        assert_eq!(certificates(), 2);
        let staged = identities.load(Role::Io).unwrap();
        assert_eq!(staged.fingerprint(), old.fingerprint(), "leaves stay");

        identities.rotate_authority(Step::Activate).unwrap();
        assert_eq!(certificates(), 2);
        let active = identities.load(Role::Io).unwrap();
        assert_ne!(active.fingerprint(), old.fingerprint());
        // A process that has not looked yet trusts the new leaf, and its own is trusted by those that have.
        staged.replace(active.svid(), staged.roots()).unwrap();
        other.replace(other.svid(), active.roots()).unwrap();

        identities.rotate_authority(Step::Retire).unwrap();
        assert_eq!(certificates(), 1);
        let last = identities.load(Role::Io).unwrap();
        assert!(other.replace(other.svid(), last.roots()).is_err(), "the old leaf is not trusted any more");
        // What is issued from now on is of the new one.
        identities.renew_all().unwrap();
        identities.load(Role::Io).unwrap();
    }
}
