//! `sre.security.v1.Identity`.

use anyhow::ensure;
use rcgen::{CertificateParams, KeyPair, SanType};
use sre_proto::security::v1::exchange_request::Proof;
use sre_proto::security::v1::*;

use super::super::case::{ADMIN, Case, MEMBER, ROOT, TeamRight};
use super::super::world::World;

pub async fn case(world: &World, method: &str) -> anyhow::Result<Option<Case>> {
    Ok(Some(match method {
        "Exchange" => {
            let request = ExchangeRequest {
                proof: Some(Proof::Peer(AttestedPeer { spiffe_id: format!("spiffe://sre.local/{MEMBER}") })),
                purpose: Purpose::Forward.into(),
                audience: vec!["io".into()],
                scopes: vec!["sre.io.v1.Storage:read".into()],
                ..ExchangeRequest::default()
            };
            // The method is for every service that needs tokens; the fixed table gives this one to the edge alone.
            Case::of(&request).services("edge", "edge").answers(|answer: ExchangeResponse| {
                ensure!(answer.subject.ends_with(MEMBER) && !answer.token.is_empty(), "another subject");
                Ok(())
            })
        }
        "GetKeySet" => {
            Case::of(&GetKeySetRequest::default()).services("edge", "observability").answers(|set: KeySet| {
                ensure!(!set.keys.is_empty(), "{set:?}");
                Ok(())
            })
        }
        "Revoke" => {
            let user = format!("user/{}", world.fresh("revoked"));
            world.member("default", &user, TeamRole::Member).await?;
            let target = revocation::Target::Subject(format!("spiffe://sre.local/{user}"));
            let request = |parent: &str| RevokeRequest {
                parent: parent.into(),
                revocation: Some(Revocation { target: Some(target.clone()), time: None }),
            };
            Case::of(&request("teams/default"))
                .absent(&request("teams/nowhere"))
                .by_team(TeamRight::Admin)
                .stores()
        }
        "RotateKey" => Case::of(&RotateKeyRequest {}).exact(ROOT).weaker(&[ADMIN, MEMBER]).stores(),
        "GetTrustBundle" => Case::of(&GetTrustBundleRequest {}).services("edge", "observability").answers(
            |bundle: TrustBundle| {
                ensure!(bundle.certificates_pem.contains("BEGIN CERTIFICATE"), "{bundle:?}");
                Ok(())
            },
        ),
        "IssueCertificate" => {
            let mut params = CertificateParams::default();
            params.subject_alt_names = vec![SanType::URI("spiffe://sre.local/service/io".try_into()?)];
            let request_pem = params.serialize_request(&KeyPair::generate()?)?.pem()?;
            // For the caller's own identity: nobody else's request is the same.
            Case::of(&IssueCertificateRequest { request_pem }).services("io", "io").answers(
                |answer: IssueCertificateResponse| {
                    ensure!(answer.certificate_pem.contains("BEGIN CERTIFICATE"), "{answer:?}");
                    Ok(())
                },
            )
        }
        _ => return Ok(None),
    }))
}
