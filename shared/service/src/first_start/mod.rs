//! Identities on disk: made at first start where a deployment brings none, renewed and reloaded while it
//! runs.
//!
//! The vault key is not made here but by the security service, which knows whether a vault exists that an
//! older key sealed.

pub mod authority;
mod mounted;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use sre_identity::ca::{Authority, LOCAL_NAMES, write_private};
use sre_identity::spiffe::PatternRule;
use sre_identity::{Kind, PatternTable, Principal, Svid, SvidSource, TrustDomain, TrustRoots};

use crate::config::{Config, Profile};
use crate::role::Role;

/// The user that a fresh suite has.
pub const DEV_USER: &str = "dev";

/// Where the identities of a suite are.
#[derive(Debug, Clone)]
pub struct Identities {
    folder: PathBuf,
    bundle: PathBuf,
    config: Arc<Config>,
}

impl Identities {
    /// As the configuration says.
    pub fn new(config: &Arc<Config>) -> Self {
        let folder = config.in_data_dir(&config.certs.dir);
        let mounted = || config.certs.mounted.as_ref().map(|folder| folder.join(mounted::BUNDLE));
        let bundle = config.certs.bundle.clone().or_else(mounted).unwrap_or_else(|| folder.join("ca.pem"));
        Self { folder, bundle, config: Arc::clone(config) }
    }

    /// The folder of the authority's own files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of the certificates to trust.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// Certificate and key of a principal: `<kind>/<name>.pem` and `.key`, or what the configuration names
    /// for a role.
    pub fn files(&self, principal: &Principal) -> (PathBuf, PathBuf) {
        let role = principal.name().parse::<Role>().ok().filter(|_| principal.kind() == Kind::Service);
        if let Some(own) = role.and_then(|role| self.config.certs.roles.get(&role)) {
            return (own.cert.clone(), own.key.clone());
        }
        let folder = self.folder.join(principal.kind().as_str());
        (folder.join(format!("{}.pem", principal.name())), folder.join(format!("{}.key", principal.name())))
    }

    /// The files of a principal's identity as they are now: all three of one generation, where they are mounted.
    fn place(&self, principal: &Principal) -> Place {
        let role = principal.name().parse::<Role>().ok().filter(|_| principal.kind() == Kind::Service);
        if let (Some(role), Some(folder)) = (role, &self.config.certs.mounted)
            && !self.config.certs.roles.contains_key(&role)
        {
            let mut place = mounted::place(folder, role);
            if let Some(bundle) = &self.config.certs.bundle {
                place.bundle.clone_from(bundle);
            }
            return place;
        }
        let (cert, key) = self.files(principal);
        Place { cert, key, bundle: self.bundle.clone() }
    }

    /// The table of identities that the configuration describes.
    pub fn patterns(&self) -> anyhow::Result<PatternTable> {
        patterns(&self.config)
    }

    /// Makes what a first start needs: the authority, a certificate for each of these roles, and, where the
    /// edge is among them, `user/dev`'s. In the production profile nothing is made up.
    pub fn prepare(&self, roles: &[Role]) -> anyhow::Result<()> {
        if self.config.profile == Profile::Production {
            return Ok(());
        }
        let _lock = self.lock()?;
        let Some(authority) = self.authority()? else { return Ok(()) };
        for role in roles {
            self.renew_when_half_over(&authority, &Principal::service(role.name())?)?;
        }
        if roles.contains(&Role::Edge) {
            self.issue(&authority, &Principal::new(Kind::User, DEV_USER)?)?;
        }
        Ok(())
    }

    /// The identity of a role, from its files.
    pub fn load(&self, role: Role) -> anyhow::Result<Arc<SvidSource>> {
        let principal = Principal::service(role.name())?;
        self.source(&principal)
    }

    /// The identity of any principal, from its files: for clients.
    pub fn source(&self, principal: &Principal) -> anyhow::Result<Arc<SvidSource>> {
        let patterns = self.patterns()?;
        let (svid, roots) = self.read(principal, &patterns)?;
        SvidSource::new(svid, roots, patterns).with_context(|| format!("the identity of {principal}"))
    }

    /// Issues a certificate into its files, by the authority of this folder.
    pub fn issue_to_files(&self, principal: &Principal) -> anyhow::Result<(PathBuf, PathBuf)> {
        let _lock = self.lock()?;
        let authority = self.authority()?.with_context(|| {
            format!("{} holds no authority's key: certificates come from elsewhere", self.folder.display())
        })?;
        self.issue(&authority, principal)?;
        Ok(self.files(principal))
    }

    fn read(&self, principal: &Principal, patterns: &PatternTable) -> anyhow::Result<(Svid, TrustRoots)> {
        let place = self.place(principal);
        let missing = || match &self.config.certs.mounted {
            Some(folder) => format!("{principal} has no usable certificate in {}", folder.display()),
            None => format!("{principal} has no usable certificate: run `sre certs issue {principal}`"),
        };
        let svid = Svid::load(&place.cert, &place.key, patterns).with_context(missing)?;
        let roots = TrustRoots::load(&place.bundle)?;
        Ok((svid, roots))
    }

    /// The authority of the folder, made when the folder has none; none where certificates come from
    /// elsewhere (a bundle without a key).
    fn authority(&self) -> anyhow::Result<Option<Authority>> {
        let domain = TrustDomain::new(&self.config.trust_domain)?;
        if Authority::exists(&self.folder) {
            return Ok(Some(Authority::load(&self.folder, &domain)?));
        }
        let is_elsewhere = self.config.certs.bundle.is_some() || self.config.certs.mounted.is_some();
        if self.bundle.exists() || is_elsewhere || self.config.is_production() {
            return Ok(None);
        }
        let authority = Authority::create(&domain)?;
        authority.save(&self.folder)?;
        tracing::info!(folder = %self.folder.display(), "made a certificate authority");
        Ok(Some(authority))
    }

    fn renew_when_half_over(&self, authority: &Authority, principal: &Principal) -> anyhow::Result<bool> {
        let half = Duration::from_secs(self.config.certs.lifetime_seconds) / 2;
        let is_fresh = self
            .read(principal, &self.patterns()?)
            .is_ok_and(|(svid, _)| svid.not_after() > SystemTime::now() + half);
        if is_fresh || self.is_configured(principal) {
            return Ok(false);
        }
        self.issue(authority, principal)?;
        Ok(true)
    }

    fn is_configured(&self, principal: &Principal) -> bool {
        let configured =
            |role| self.config.certs.mounted.is_some() || self.config.certs.roles.contains_key(&role);
        principal.kind() == Kind::Service && principal.name().parse::<Role>().is_ok_and(configured)
    }

    fn issue(&self, authority: &Authority, principal: &Principal) -> anyhow::Result<()> {
        let extra = self.config.certs.dns_names.iter().map(String::as_str);
        let names: Vec<&str> = LOCAL_NAMES.into_iter().chain(extra).collect();
        let lifetime = Duration::from_secs(self.config.certs.lifetime_seconds);
        let issued = authority.issue(principal, &names, lifetime)?;
        let (cert, key) = self.files(principal);
        if let Some(folder) = cert.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        // A reader between the two sees a pair that does not fit, and reads again.
        write_private(&key, &issued.key_pem)?;
        let fresh = cert.with_extension("pem.new");
        std::fs::write(&fresh, &issued.cert_pem).with_context(|| fresh.display().to_string())?;
        std::fs::rename(&fresh, &cert).with_context(|| cert.display().to_string())
    }

    /// Processes of a split suite start at the same time.
    fn lock(&self) -> anyhow::Result<std::fs::File> {
        std::fs::create_dir_all(&self.folder).with_context(|| self.folder.display().to_string())?;
        let file = std::fs::File::create(self.folder.join("lock"))?;
        file.lock()?;
        Ok(file)
    }

    /// Renews certificates made here at half of their life, and takes over changed files, until the process
    /// ends.
    pub(crate) async fn keep_fresh(self, sources: Vec<(Role, Arc<SvidSource>)>, look: Arc<Look>) {
        let interval = Duration::from_millis(self.config.certs.reload_interval_ms.max(10));
        let mut known = self.clone().blocking(&sources, |this, sources| this.stamps(sources)).await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = look.wanted.notified() => {}
            }
            let before = known.clone();
            known = self.clone().blocking(&sources, move |this, sources| this.look(sources, before)).await;
            look.done.notify_waiters();
        }
    }

    async fn blocking<T, F>(self, sources: &[(Role, Arc<SvidSource>)], work: F) -> T
    where
        T: Default + Send + 'static,
        F: FnOnce(&Self, &[(Role, Arc<SvidSource>)]) -> T + Send + 'static,
    {
        let sources = sources.to_vec();
        tokio::task::spawn_blocking(move || work(&self, &sources)).await.unwrap_or_default()
    }

    fn look(&self, sources: &[(Role, Arc<SvidSource>)], mut known: Stamps) -> Stamps {
        if let Err(error) = self.renew(sources) {
            tracing::warn!(error = format!("{error:#}"), "certificates cannot be renewed");
        }
        known.resize(sources.len(), None);
        for ((known, stamp), (role, source)) in known.iter_mut().zip(self.stamps(sources)).zip(sources) {
            if *known == stamp {
                continue;
            }
            match self.reload(*role, source) {
                Ok(()) => {
                    tracing::info!(%role, "certificate reloaded");
                    *known = stamp;
                }
                // The old identity stays; a half-written pair is whole at the next look.
                Err(error) => tracing::warn!(%role, error = format!("{error:#}"), "certificate not reloaded"),
            }
        }
        known
    }

    fn renew(&self, sources: &[(Role, Arc<SvidSource>)]) -> anyhow::Result<()> {
        if self.config.is_production() || !Authority::exists(&self.folder) {
            return Ok(());
        }
        let half = Duration::from_secs(self.config.certs.lifetime_seconds) / 2;
        let soon = SystemTime::now() + half;
        if sources.iter().all(|(_, source)| source.svid().not_after() > soon) {
            return Ok(());
        }
        let _lock = self.lock()?;
        let Some(authority) = self.authority()? else { return Ok(()) };
        for (role, _) in sources {
            self.renew_when_half_over(&authority, &Principal::service(role.name())?)?;
        }
        Ok(())
    }

    fn reload(&self, role: Role, source: &SvidSource) -> anyhow::Result<()> {
        let (svid, roots) = self.read(&Principal::service(role.name())?, source.patterns())?;
        Ok(source.replace(svid, roots)?)
    }

    /// What the files hold, by digest: times and sizes can be the same after a change.
    fn stamps(&self, sources: &[(Role, Arc<SvidSource>)]) -> Stamps {
        let stamp = |(role, _): &(Role, Arc<SvidSource>)| {
            let place = self.place(&Principal::service(role.name()).ok()?);
            let mut hasher = blake3::Hasher::new();
            for path in [&place.cert, &place.key, &place.bundle] {
                let bytes = std::fs::read(path).ok()?;
                hasher.update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
            }
            Some(*hasher.finalize().as_bytes())
        };
        sources.iter().map(stamp).collect()
    }
}

/// Asks for a look at the files, and tells when one was taken.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) wanted: tokio::sync::Notify,
    pub(crate) done: tokio::sync::Notify,
}

type Stamps = Vec<Option<[u8; 32]>>;

/// The files of one identity.
struct Place {
    cert: PathBuf,
    key: PathBuf,
    bundle: PathBuf,
}

/// The table of identities that the configuration describes.
pub(crate) fn patterns(config: &Config) -> anyhow::Result<PatternTable> {
    let domain = TrustDomain::new(&config.trust_domain)?;
    let rule = |entry: &crate::config::PatternEntry| PatternRule {
        path: entry.path.clone(),
        dns: entry.dns.clone(),
        service: entry.service.clone(),
    };
    let rules: Vec<PatternRule> = config.certs.patterns.iter().map(rule).collect();
    PatternTable::with_rules(domain, &rules).context("certs.patterns")
}
