//! What is uploaded: the source as it is, and a handler that calls its `main`, as a zip archive made in memory.

use sre_sandbox::contract::Outline;

/// Follows the source, which parses by itself.
const EXPORT: &str = "\n;export { main as $sre$main };\n";
/// Days and seconds of no date: the same source is the same archive.
const DATE: [u8; 4] = [0, 0, 0x21, 0];

/// The archive of a source.
pub(super) fn bundle(source: &str, outline: &Outline) -> serde_json::Result<Vec<u8>> {
    let code = format!("{source}{EXPORT}");
    let handler = handler(&outline.parameters)?;
    Ok(zip(&[("code.mjs", code.as_bytes()), ("index.mjs", handler.as_bytes())]))
}

/// Binds the event's members to the parameters by name, like the sandbox. Only names are written into it.
fn handler(parameters: &[String]) -> serde_json::Result<String> {
    let names = serde_json::to_string(parameters)?;
    Ok(format!(
        "import {{ $sre$main as main }} from './code.mjs';\n\
         const names = {names};\n\
         export const handler = async (event) => {{\n\
         \x20 const has = (name) => Object.prototype.hasOwnProperty.call(event, name);\n\
         \x20 const given = names.map((name) => (name === '[object]' ? event : has(name) ? event[name] : undefined));\n\
         \x20 const began = Date.now();\n\
         \x20 const result = await main(...given);\n\
         \x20 return {{ result, executionTime: Date.now() - began }};\n\
         }};\n"
    ))
}

/// A zip archive without compression.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    let short = |value: usize| u16::try_from(value).unwrap_or(u16::MAX).to_le_bytes();
    for (name, content) in files {
        let offset = archive.len();
        // Version 2.0, no flags, stored.
        let mut head = vec![20, 0, 0, 0, 0, 0];
        head.extend(DATE);
        head.extend(checksum(content).to_le_bytes());
        head.extend(number(content.len()));
        head.extend(number(content.len()));
        head.extend(short(name.len()));
        head.extend([0, 0]);
        archive.extend(*b"PK\x03\x04");
        archive.extend(&head);
        archive.extend(name.as_bytes());
        archive.extend(*content);
        // Made on Unix, so that the mode of the file counts: 0644.
        directory.extend(*b"PK\x01\x02\x14\x03");
        directory.extend(&head);
        directory.extend([0; 6]);
        directory.extend((0o100_644_u32 << 16).to_le_bytes());
        directory.extend(number(offset));
        directory.extend(name.as_bytes());
    }
    let (start, length) = (archive.len(), directory.len());
    archive.extend(directory);
    archive.extend(*b"PK\x05\x06\0\0\0\0");
    archive.extend(short(files.len()));
    archive.extend(short(files.len()));
    archive.extend(number(length));
    archive.extend(number(start));
    archive.extend([0, 0]);
    archive
}

/// CRC-32 as zip has it.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
    }

    /// Python reads it, Node runs it: both are there wherever the tests run.
    #[test]
    fn others_read_and_run_it() {
        let outline = Outline { parameters: vec!["b".to_owned(), "a".to_owned()], dependencies: Vec::new() };
        let source = "const main = async (b, a) => [a, b, typeof toString]; // ";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.zip");
        std::fs::write(&path, bundle(source, &outline).unwrap()).unwrap();
        let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
             z.extractall(sys.argv[2])";
        let read =
            Command::new("python3").args(["-c", script]).arg(&path).arg(folder.path()).status().unwrap();
        assert!(read.success());
        let call = "import('./index.mjs').then((m) => m.handler({a: {k: \"it's\"}, b: 2}))\
             .then((r) => console.log(JSON.stringify(r.result)))";
        let ran = Command::new("node").args(["-e", call]).current_dir(folder.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "[{\"k\":\"it's\"},2,\"function\"]");
    }
}
