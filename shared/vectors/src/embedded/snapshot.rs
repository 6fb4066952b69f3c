//! The file of a graph: a header, the numbers of its slots, the graph, and a digest over all of it. It is written
//! beside its place and moved there when it is on the disk, so a reader finds a whole one or none.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use crate::backend::BackendError;
use crate::model::Collection;

/// Format and version.
const MAGIC: &[u8; 16] = b"sre vector graph";
const VERSION: u32 = 1;
const DIGEST: usize = 32;

/// What a file holds.
pub struct Snapshot {
    /// The numbers of the slots that the graph covers, rising.
    pub seqs: Vec<i64>,
    /// The graph.
    pub graph: Vec<u8>,
}

/// Writes a file.
pub fn write(path: &Path, collection: &Collection, seqs: &[i64], graph: &[u8]) -> Result<(), BackendError> {
    let numbers: Vec<u8> = seqs.iter().flat_map(|seq| seq.to_le_bytes()).collect();
    let parts = [header(collection, seqs.len(), graph.len()), numbers];
    let mut hasher = blake3::Hasher::new();
    parts.iter().for_each(|part| {
        hasher.update(part);
    });
    hasher.update(graph);
    let beside = path.with_extension("new");
    let written = || -> std::io::Result<()> {
        let mut file = File::create(&beside)?;
        for part in &parts {
            file.write_all(part)?;
        }
        file.write_all(graph)?;
        file.write_all(hasher.finalize().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        match path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    written().map_err(|error| BackendError::Failed(format!("writing {}: {error}", path.display())))
}

/// Reads a file; none where there is none, or where it is damaged or of something else.
pub fn read(path: &Path, collection: &Collection) -> Option<Snapshot> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    let found = parse(&bytes, collection);
    if found.is_none() {
        tracing::warn!(path = %path.display(), "the graph of a collection is damaged: it is built again");
    }
    found
}

fn parse(bytes: &[u8], collection: &Collection) -> Option<Snapshot> {
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    if blake3::hash(content).as_bytes() != digest {
        return None;
    }
    let header_length = header(collection, 0, 0).len();
    let (found, rest) = content.split_at_checked(header_length)?;
    let counts = found.get(header_length - 16..)?;
    let (counts, _) = counts.as_chunks::<8>();
    let [slots, graph_length] = counts else { return None };
    let slots = usize::try_from(u64::from_le_bytes(*slots)).ok()?;
    let graph_length = usize::try_from(u64::from_le_bytes(*graph_length)).ok()?;
    if found != header(collection, slots, graph_length) {
        return None;
    }
    let (numbers, graph) = rest.split_at_checked(slots.checked_mul(8)?)?;
    let seqs: Vec<i64> = numbers.as_chunks::<8>().0.iter().map(|seq| i64::from_le_bytes(*seq)).collect();
    let whole = graph.len() == graph_length && seqs.is_sorted();
    whole.then(|| Snapshot { seqs, graph: graph.to_vec() })
}

fn header(collection: &Collection, slots: usize, graph_length: usize) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend(collection.id.0.to_be_bytes());
    header.extend((collection.dimension as u64).to_le_bytes());
    header.extend(format!("{:<9}", collection.metric.name()).bytes());
    header.extend((slots as u64).to_le_bytes());
    header.extend((graph_length as u64).to_le_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Metric;
    use crate::model::CollectionId;

    #[test]
    fn a_damaged_file_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.graph");
        let collection = Collection { id: CollectionId(7), dimension: 3, metric: Metric::Cosine };
        write(&path, &collection, &[1, 5, 9], b"graph").unwrap();
        let found = read(&path, &collection).unwrap();
        assert_eq!((found.seqs.as_slice(), found.graph.as_slice()), (&[1, 5, 9][..], &b"graph"[..]));
        for other in [
            Collection { id: CollectionId(8), ..collection },
            Collection { dimension: 4, ..collection },
            Collection { metric: Metric::Dot, ..collection },
        ] {
            assert!(read(&path, &other).is_none());
        }
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(read(&path, &collection).is_none(), "byte {place}");
            std::fs::write(&path, &whole[..place]).unwrap();
            assert!(read(&path, &collection).is_none(), "cut at {place}");
        }
        assert!(read(&folder.path().join("absent"), &collection).is_none());
    }
}
