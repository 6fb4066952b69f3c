//! The chain: each record holds the digest of the one before it.

use prost::Message;
use sre_proto::security::v1::AuditRecord;

/// The digest of a record: BLAKE3 over its protobuf encoding with `digest` left empty. It covers writer,
/// sequence and the digest before, so a record can be neither changed, nor moved, nor left out.
pub fn digest(record: &AuditRecord) -> [u8; 32] {
    let bare = AuditRecord { digest: Vec::new().into(), ..record.clone() };
    *blake3::hash(&bare.encode_to_vec()).as_bytes()
}

/// Gives a record its place in a writer's chain. Returns its digest, for the next one.
pub fn chained(record: &mut AuditRecord, writer: &str, sequence: i64, previous: &[u8]) -> [u8; 32] {
    writer.clone_into(&mut record.writer);
    record.sequence = sequence;
    record.previous_digest = previous.to_vec().into();
    let digest = digest(record);
    record.digest = digest.to_vec().into();
    digest
}
