//! Certificates as Kubernetes mounts them: `tls.crt`, `tls.key`, `ca.crt`. A new generation is a new folder that the
//! link `..data` is switched to, so that whoever follows the link once gets files that belong together.

use std::path::{Path, PathBuf};

use super::Place;
use crate::role::Role;

/// The authorities' file.
pub(super) const BUNDLE: &str = "ca.crt";
const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";
const DATA: &str = "..data";

/// The files of a role now: in a folder of its own, or in the one that all roles of the process share.
pub(super) fn place(folder: &Path, role: Role) -> Place {
    let own = folder.join(role.name());
    let folder = if own.is_dir() { own } else { folder.to_owned() };
    let folder = generation(&folder);
    Place { cert: folder.join(CERT), key: folder.join(KEY), bundle: folder.join(BUNDLE) }
}

/// The folder that `..data` names at this moment.
fn generation(folder: &Path) -> PathBuf {
    std::fs::read_link(folder.join(DATA)).map_or_else(|_| folder.to_owned(), |named| folder.join(named))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::time::Duration;

    use sre_identity::Principal;
    use sre_identity::ca::Authority;

    use super::*;
    use crate::config::{Config, Profile};
    use crate::first_start::Identities;

    /// A generation as the kubelet writes it: a folder of its own, and then the switch of the link.
    fn swap(mount: &Path, name: &str, authority: &Authority, principal: &str) {
        let issued = authority.issue(&principal.parse().unwrap(), &[], Duration::from_secs(3600)).unwrap();
        let folder = mount.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join(CERT), issued.cert_pem).unwrap();
        std::fs::write(folder.join(KEY), issued.key_pem).unwrap();
        std::fs::write(folder.join(BUNDLE), authority.certificate_pem()).unwrap();
        symlink(name, mount.join("..data_tmp")).unwrap();
        std::fs::rename(mount.join("..data_tmp"), mount.join(DATA)).unwrap();
        for file in [CERT, KEY, BUNDLE] {
            // Made once; they go through the link.
            let _ = symlink(Path::new(DATA).join(file), mount.join(file));
        }
    }

    #[test]
    fn a_new_generation_is_taken_over_whole() {
        let mount = tempfile::tempdir().unwrap();
        let domain = sre_identity::TrustDomain::new("sre.local").unwrap();
        let (one, two) = (Authority::create(&domain).unwrap(), Authority::create(&domain).unwrap());
        let mut config = Config::default();
        config.profile = Profile::Production;
        config.certs.mounted = Some(mount.path().to_owned());
        let identities = Identities::new(&config.shared());
        let io: Principal = "service/io".parse().unwrap();
        assert!(identities.source(&io).unwrap_err().to_string().contains("service/io"));

        swap(mount.path(), "..2026_11_29_1", &one, "service/io");
        let source = identities.load(Role::Io).unwrap();
        let sources = [(Role::Io, Arc::clone(&source))];
        let before = source.fingerprint();
        let known = identities.look(&sources, identities.stamps(&sources));
        assert_eq!(source.fingerprint(), before, "nothing changed");

        // Another authority altogether: certificate, key and bundle only fit together.
        swap(mount.path(), "..2026_11_29_2", &two, "service/io");
        let known = identities.look(&sources, known);
        assert_ne!(source.fingerprint(), before);
        let second = source.fingerprint();
        // Somebody else's certificate is left, and so is one without its key.
        swap(mount.path(), "..2026_11_29_3", &two, "service/llm");
        let known = identities.look(&sources, known);
        std::fs::remove_file(mount.path().join("..2026_11_29_3").join(KEY)).unwrap();
        let known = identities.look(&sources, known);
        assert_eq!(source.fingerprint(), second);
        swap(mount.path(), "..2026_11_29_4", &two, "service/io");
        identities.look(&sources, known);
        assert_ne!(source.fingerprint(), second);
    }

    #[test]
    fn roles_of_one_process_have_folders_of_their_own() {
        let mount = tempfile::tempdir().unwrap();
        std::fs::create_dir(mount.path().join("edge")).unwrap();
        assert_eq!(place(mount.path(), Role::Edge).cert, mount.path().join("edge/tls.crt"));
        assert_eq!(place(mount.path(), Role::Engine).key, mount.path().join("tls.key"));
    }
}
