//! What the services of this role share: the store, the key ring, and memberships kept for moments.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::future::Cache;
use sre_identity::{Candidate, TrustDomain};
use sre_proto::security::v1::AuditRecord;
use sre_proto::security::v1::revocation::Target;
use sre_store::sql::Connection;
use sre_store::sql::Database;

use crate::account::{self, Principal};
use crate::api_keys::{self, ApiKey};
use crate::audit::checkpoint::{self, End};
use crate::audit::verify::{Report, Verification};
use crate::audit::{self, Tip, seal};
use crate::error::Error;
use crate::identity::key_ring::KeyRing;
use crate::identity::revocations::Revocation;
use crate::identity::{credentials, revocations, signing_keys};
use crate::managed_vault::ManagedVault;
use crate::moment::Moment;
use crate::vault::keks::Keks;

/// Changes made here are seen at once; this bounds the race between a look-up and a change.
const KEEP_PRINCIPALS: Duration = Duration::from_secs(2);
/// Changes of other replicas are looked at so often at most.
const FOLLOW_EVERY: Duration = Duration::from_millis(50);
const MAX_PRINCIPALS: u64 = 50_000;

/// Clones share everything.
#[derive(Clone)]
pub struct State(Arc<Inner>);

struct Inner {
    store: Database,
    keks: Keks,
    trust_domain: TrustDomain,
    ring: KeyRing,
    /// Held from the read to the update, so that an older read never follows a newer one.
    refreshing: tokio::sync::Mutex<()>,
    principals: Cache<Candidate, Arc<Principal>>,
    /// Where secrets of agents are: set once it is open.
    managed: OnceLock<ManagedVault>,
}

impl State {
    /// Over an open store. Makes the first signing key where there is none.
    pub async fn open(store: Database, keks: Keks, trust_domain: TrustDomain) -> Result<Self, Error> {
        let principals = Cache::builder().max_capacity(MAX_PRINCIPALS).time_to_live(KEEP_PRINCIPALS).build();
        let ring = KeyRing::new(&trust_domain);
        let state = Self(Arc::new(Inner {
            store,
            keks,
            trust_domain,
            ring,
            refreshing: tokio::sync::Mutex::default(),
            principals,
            managed: OnceLock::new(),
        }));
        let keks = state.0.keks.clone();
        let first = state.read(move |conn| Ok(signing_keys::signing(conn, &keks)?.is_none())).await?;
        if first {
            state.rotate_key(|_| Ok(())).await?;
        }
        state.refresh(Moment::now()).await?;
        let (ring, keks) = (state.0.ring.clone(), state.0.keks.clone());
        state
            .write(move |tx| {
                if let Some(key) = signing_keys::signing(tx, &keks)?
                    && seal::is_due(tx)?
                {
                    signing_keys::attest_all(tx, &key)?;
                    seal::begin(tx, &ring, Moment::now())?;
                }
                Ok(())
            })
            .await?;
        Ok(state)
    }

    /// The deployment's trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.trust_domain
    }

    /// What seals this role's secrets.
    pub fn keks(&self) -> &Keks {
        &self.0.keks
    }

    /// Sets what is emptied of an agent's secrets when the agent goes; once, at start.
    pub fn attach_managed(&self, managed: ManagedVault) {
        let _ = self.0.managed.set(managed);
    }

    /// Wraps the signing key with the vault key that seals now; gives how many were wrapped anew.
    pub async fn reseal(&self) -> Result<u64, Error> {
        let keks = self.0.keks.clone();
        self.write(move |tx| signing_keys::reseal(tx, &keks)).await
    }

    /// The keys in use.
    pub fn ring(&self) -> &KeyRing {
        &self.0.ring
    }

    /// Reads one snapshot.
    pub async fn read<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        self.0.store.try_read(work).await
    }

    /// Writes in one transaction, durable when it returns.
    pub async fn write<T, F>(&self, work: F) -> Result<T, Error>
    where
        F: FnOnce(&Connection<'_>) -> Result<T, Error> + Send + 'static,
        T: Send + 'static,
    {
        self.0.store.try_write(work).await
    }

    /// A principal's teams; none where it is unknown, which is not kept.
    pub async fn resolve(&self, candidate: &Candidate) -> Result<Option<Arc<Principal>>, Error> {
        if let Some(known) = self.0.principals.get(candidate).await {
            return Ok(Some(known));
        }
        let who = candidate.clone();
        let Some(found) = self.read(move |conn| account::resolve(conn, &who)).await? else { return Ok(None) };
        let found = Arc::new(found);
        self.0.principals.insert(candidate.clone(), Arc::clone(&found)).await;
        Ok(Some(found))
    }

    /// Forgets a principal whose memberships changed.
    pub async fn forget(&self, candidate: &Candidate) {
        self.0.principals.invalidate(candidate).await;
    }

    /// Forgets all principals: something changed that many of them share.
    pub fn forget_all(&self) {
        self.0.principals.invalidate_all();
    }

    /// Removes an agent with all that lets it act: memberships, API keys, tokens, grants. Its secrets go first:
    /// where that fails the agent is still there, and the call can be repeated.
    pub async fn end_agent<F>(&self, agent: Candidate, record: F) -> Result<(), Error>
    where
        F: FnOnce(&Connection<'_>) -> Result<(), Error> + Send + 'static,
    {
        if let (Some(managed), Some(known)) = (self.0.managed.get(), self.resolve(&agent).await?) {
            managed.forget_agent(&known.home_team, agent.id()).await?;
        }
        let (who, now) = (agent.clone(), Moment::now());
        let id = agent.principal().map(|principal| principal.in_domain(&self.0.trust_domain).to_string());
        let gone = self
            .write(move |tx| {
                let gone = account::unregister_agent(tx, &who)?;
                let mut revoked = Vec::new();
                for key in api_keys::revoke_all(tx, &who, now)? {
                    revoked.extend(credentials::revocations_of_key(tx, &key, now)?);
                }
                if let Some(id) = id.filter(|_| gone) {
                    revoked.push(Revocation::new(Target::Subject(id.clone()), now));
                    revoked.push(Revocation::new(Target::RootCaller(id), now));
                }
                revocations::insert(tx, &revoked)?;
                record(tx)?;
                Ok(gone)
            })
            .await?;
        self.forget(&agent).await;
        if gone { self.refresh(now).await } else { Ok(()) }
    }

    /// Removes a member of a team, and revokes the tokens of runs that it started there: they were given for a
    /// membership that is no more. Resume grants need no revocation, the rights behind them are looked at again.
    pub async fn remove_member<F>(&self, team: String, who: Candidate, record: F) -> Result<(), Error>
    where
        F: FnOnce(&Connection<'_>) -> Result<(), Error> + Send + 'static,
    {
        let now = Moment::now();
        let root = who.principal().map(|principal| principal.in_domain(&self.0.trust_domain).to_string());
        self.write(move |tx| {
            account::members::remove(tx, &team, &who)?;
            let root = root.unwrap_or_default();
            revocations::insert(tx, &credentials::revocations_of_root(tx, &root, &team, now)?)?;
            record(tx)
        })
        .await?;
        self.refresh(now).await
    }

    /// Revokes an API key together with the live tokens that began with it.
    pub async fn revoke_key<F>(&self, principal: Candidate, id: String, record: F) -> Result<ApiKey, Error>
    where
        F: FnOnce(&Connection<'_>) -> Result<(), Error> + Send + 'static,
    {
        let now = Moment::now();
        let key = self
            .write(move |tx| {
                let (key, was_live) = api_keys::revoke(tx, &principal, &id, now)?;
                if was_live {
                    revocations::insert(tx, &credentials::revocations_of_key(tx, &id, now)?)?;
                }
                record(tx)?;
                Ok(key)
            })
            .await?;
        self.refresh(now).await?;
        Ok(key)
    }

    /// Publishes revocations; gives the version of the key set that carries them.
    pub async fn revoke<F>(&self, revoked: Vec<Revocation>, record: F) -> Result<i64, Error>
    where
        F: FnOnce(&Connection<'_>) -> Result<(), Error> + Send + 'static,
    {
        let version = self
            .write(move |tx| {
                let version = revocations::insert(tx, &revoked)?;
                record(tx)?;
                Ok(version)
            })
            .await?;
        self.refresh(Moment::now()).await?;
        Ok(version)
    }

    /// Makes a new signing key; gives its id.
    pub async fn rotate_key<F>(&self, record: F) -> Result<String, Error>
    where
        F: FnOnce(&Connection<'_>) -> Result<(), Error> + Send + 'static,
    {
        let (keks, now) = (self.0.keks.clone(), Moment::now());
        let id = self
            .write(move |tx| {
                let id = signing_keys::rotate(tx, &keks, now)?;
                record(tx)?;
                Ok(id)
            })
            .await?;
        self.refresh(now).await?;
        Ok(id)
    }

    /// Brings keys and revocations in memory up to the store.
    pub async fn refresh(&self, now: Moment) -> Result<(), Error> {
        let _refreshing = self.0.refreshing.lock().await;
        let (keks, known) = (self.0.keks.clone(), self.0.ring.known());
        let fresh = self.read(move |conn| KeyRing::load(conn, &keks, now, known)).await?;
        self.0.ring.update(fresh, now)
    }

    /// Follows what other replicas change: keys and revocations, and memberships. It ends where there is none.
    pub async fn follow(self) {
        let mut others = self.0.store.watch_others();
        while others.changed().await.is_ok() {
            self.forget_all();
            if let Err(error) = self.refresh(Moment::now()).await {
                tracing::warn!(%error, "the key ring is read again with the next change, or in a moment");
            }
            // Others' audit records are changes too, and come all the time.
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }

    /// Appends a batch of audit records, and signs a checkpoint where one is due.
    pub async fn append_audit(&self, records: Vec<AuditRecord>) -> Result<Tip, Error> {
        let ring = self.0.ring.clone();
        self.write(move |tx| {
            let tip = audit::append(tx, &records)?;
            let writer = records.first().map(|record| record.writer.clone()).unwrap_or_default();
            if checkpoint::is_due(tx, &writer, tip.sequence)? {
                let end = End { writer, sequence: tip.sequence, digest: tip.digest };
                checkpoint::sign(tx, &ring, vec![end], Moment::now())?;
            }
            Ok(tip)
        })
        .await
    }

    /// Signs the ends of all chains that have grown.
    pub async fn sign_checkpoints(&self, now: Moment) -> Result<(), Error> {
        if self.read(checkpoint::pending).await?.is_empty() {
            return Ok(());
        }
        let ring = self.0.ring.clone();
        self.write(move |tx| {
            let ends = checkpoint::pending(tx)?;
            if ends.is_empty() { Ok(()) } else { checkpoint::sign(tx, &ring, ends, now) }
        })
        .await
    }

    /// Begins to verify the audit log.
    pub async fn verify_audit(&self, witnesses: Vec<checkpoint::Checkpoint>) -> Result<Verification, Error> {
        let keks = self.0.keks.clone();
        self.read(move |conn| Verification::begin(conn, keks, witnesses)).await
    }

    /// Verifies a part of the audit log, in a snapshot of its own.
    pub async fn verify_more(&self, mut so_far: Verification) -> Result<(Verification, Report), Error> {
        self.read(move |conn| {
            let report = so_far.step(conn)?;
            Ok((so_far, report))
        })
        .await
    }

    /// Forgets what has ended, a batch at a time.
    pub async fn prune(&self, now: Moment) -> Result<(), Error> {
        loop {
            let gone =
                self.write(move |tx| Ok(credentials::prune(tx, now)? + revocations::prune(tx, now)?)).await?;
            if gone == 0 {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::testing::state;
    use super::*;

    /// The end of a writer's chain, as its checkpoint says, if the signature holds.
    async fn checkpointed(state: &State) -> Option<i64> {
        state
            .read(|conn| {
                let page = crate::page::Page { size: 1, after: None };
                let Some(newest) = checkpoint::list(conn, true, &page)?.0.pop() else { return Ok(None) };
                let key: Vec<u8> = conn.query_row(
                    "select public_key from signing_key where key_id = ?1",
                    [&newest.key_id],
                    |row| row.get(0),
                )?;
                assert!(signing_keys::verifies(&key, &newest.message(), &newest.signature));
                Ok(Some(newest.end.sequence))
            })
            .await
            .unwrap()
    }

    fn chain(count: i64) -> Vec<AuditRecord> {
        let mut previous = [0; 32];
        let next = |sequence| {
            let mut record = AuditRecord { sequence, writer: "io/1".into(), ..AuditRecord::default() };
            record.previous_digest = Bytes::copy_from_slice(&previous);
            previous = sre_service::audit::digest(&record);
            record.digest = Bytes::copy_from_slice(&previous);
            record
        };
        (1..=count).map(next).collect()
    }

    #[tokio::test]
    async fn checkpoints_are_signed_when_due_and_verify_after_a_rotation() {
        let (_dir, state) = state().await;
        let records = chain(1002);
        state.append_audit(records[..999].to_vec()).await.unwrap();
        assert_eq!(checkpointed(&state).await, None);
        state.append_audit(records[999..1001].to_vec()).await.unwrap();
        assert_eq!(checkpointed(&state).await, Some(1001));
        state.append_audit(records[1001..].to_vec()).await.unwrap();
        state.sign_checkpoints(Moment::now()).await.unwrap();
        assert_eq!(checkpointed(&state).await, Some(1002));
        state.rotate_key(|_| Ok(())).await.unwrap();
        assert_eq!(checkpointed(&state).await, Some(1002));
    }

    #[tokio::test]
    async fn changes_at_the_same_time_end_with_the_newest_key_set() {
        let (_dir, state) = state().await;
        let revoke = |n: i32| {
            let id = format!("spiffe://sre.local/agent/a{n}");
            state.revoke(vec![Revocation::new(Target::Subject(id), Moment::now())], |_| Ok(()))
        };
        for done in futures::future::join_all((0..20).map(revoke)).await {
            done.unwrap();
        }
        let set = state.ring().published(0).unwrap();
        assert_eq!(set.revocations.len(), 20);
        assert_eq!(set.version, state.read(revocations::version).await.unwrap());
    }

    #[tokio::test]
    async fn a_store_is_opened_again_with_the_same_keys() {
        let dir = tempfile::tempdir().unwrap();
        let keks = Keks::in_memory().unwrap();
        let open = || async {
            let options =
                sre_store::OpenOptions::new(dir.path().join("s.db"), "store.dir", crate::schema::MIGRATIONS);
            let trust_domain = TrustDomain::new("sre.local").unwrap();
            State::open(Database::from(sre_store::Store::open(options).unwrap()), keks.clone(), trust_domain)
                .await
                .unwrap()
        };
        let first = open().await;
        let before = first.ring().published(0).unwrap();
        first.0.store.close().await.unwrap();
        drop(first);
        assert_eq!(open().await.ring().published(0).unwrap(), before);
    }
}

#[cfg(test)]
impl State {
    /// Closes the store, as the end of the process does.
    pub async fn close(self) {
        self.0.store.close().await.unwrap();
    }
}

#[cfg(test)]
pub mod testing {
    //! A state over a store in a fresh folder.

    use sre_store::OpenOptions;

    use super::*;

    /// Folder and state.
    pub async fn state() -> (tempfile::TempDir, State) {
        let dir = tempfile::tempdir().unwrap();
        let options =
            OpenOptions::new(dir.path().join("security.db"), "store.dir", crate::schema::MIGRATIONS);
        let store = Database::from(sre_store::Store::open(options).unwrap());
        let trust_domain = TrustDomain::new("sre.local").unwrap();
        let state = State::open(store, Keks::in_memory().unwrap(), trust_domain).await.unwrap();
        (dir, state)
    }
}
