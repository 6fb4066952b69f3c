//! Files: 1 MiB in and out over mTLS beside a plain file copy, both synced, and memory while 1 GiB goes through.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use sre_proto::io::v1::storage_client::StorageClient;
use sre_proto::io::v1::write_file_request::Part;
use sre_proto::io::v1::{ReadFileRequest, WriteFileHeader, WriteFileRequest, read_file_response};
use tonic::transport::Channel;

use super::suite::{Mode, Running};
use super::{echo, memory, seconds};

const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;
/// What a client puts into one message.
const MESSAGE: usize = 256 << 10;

/// Measures and prints.
pub async fn measure() {
    println!("\n## Files (1 MiB, over mTLS to the role `io`, alternating with a plain copy; both synced)\n");
    let listen = vec![("SRE__LISTEN__IO".to_owned(), "127.0.0.1:0".to_owned())];
    let suite = Running::start_with(Mode::AllInOne, &listen).await;
    let address = io(suite.data());
    let channel = echo::connect(address, &suite.certs()).await;
    let content = Bytes::from(vec![0x5a; MIB]);
    let source = suite.data().join("bench-source");
    std::fs::write(&source, &content).unwrap();

    let (mut copies, mut puts, mut gets, mut both) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let end = Instant::now() + seconds() * 2;
    let mut n = 0_u32;
    while Instant::now() < end || n < 20 {
        let folder = suite.data().to_owned();
        let from = source.clone();
        let copied = tokio::task::spawn_blocking(move || copy(&from, &folder)).await.unwrap();
        let name = format!("teams/default/users/dev/files/bench/{}", n % 16);
        let started = Instant::now();
        put(&channel, &name, content.clone(), MIB as u64).await;
        let written = started.elapsed();
        let read = get(&channel, &name).await;
        let all = started.elapsed();
        assert_eq!(read, MIB as u64);
        // The first ones warm up.
        if n >= 5 {
            copies.push(copied);
            puts.push(written);
            gets.push(all - written);
            both.push(all);
        }
        n += 1;
    }
    let copied = median(&mut copies);
    println!("| | median | times a plain copy |\n|---|---|---|");
    println!("| plain copy, fsync | {} | 1 |", super::micros(copied));
    for (what, times) in [("write", &mut puts), ("read", &mut gets), ("write and read", &mut both)] {
        let time = median(times);
        println!("| {what} | {} | {:.2} |", super::micros(time), time.as_secs_f64() / copied.as_secs_f64());
    }
    flat(&suite, &channel).await;
}

/// Memory while one large file goes in and out.
async fn flat(suite: &Running, channel: &Channel) {
    let pid = suite.pid();
    let before = memory::resident_mb(pid);
    let stop = Arc::new(AtomicBool::new(false));
    let watching = Arc::clone(&stop);
    let watch = tokio::task::spawn_blocking(move || {
        let mut most = 0.0_f64;
        while !watching.load(Ordering::Relaxed) {
            most = most.max(memory::resident_mb(pid));
            std::thread::sleep(Duration::from_millis(20));
        }
        most
    });
    let name = "teams/default/users/dev/files/bench/large";
    let piece = Bytes::from(vec![0x5a; MESSAGE]);
    let started = Instant::now();
    put(channel, name, piece, GIB).await;
    let written = started.elapsed();
    let read = get(channel, name).await;
    let all = started.elapsed();
    assert_eq!(read, GIB);
    stop.store(true, Ordering::Relaxed);
    let most = watch.await.unwrap();
    let rate = |time: Duration| 1024.0 / time.as_secs_f64();
    println!(
        "\n- 1 GiB: in at {:.0} MiB/s, out at {:.0} MiB/s; resident {before:.0} MB before, {most:.0} MB at most",
        rate(written),
        rate(all - written)
    );
}

/// Reads a file, writes it under a new name, makes it durable; as a careful program does.
fn copy(from: &Path, folder: &Path) -> Duration {
    let to = folder.join("bench-copy");
    let started = Instant::now();
    let mut content = Vec::new();
    File::open(from).unwrap().read_to_end(&mut content).unwrap();
    let mut file = File::create(&to).unwrap();
    file.write_all(&content).unwrap();
    file.sync_all().unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
    let time = started.elapsed();
    std::fs::remove_file(to).unwrap();
    time
}

/// Writes `size` bytes, `piece` again and again, in messages.
async fn put(channel: &Channel, name: &str, piece: Bytes, size: u64) {
    let header = WriteFileHeader { name: name.to_owned(), ..WriteFileHeader::default() };
    let messages = size.div_ceil(piece.len().min(MESSAGE) as u64);
    let step = piece.len().min(MESSAGE);
    let data = (0..messages).map(move |n| {
        let at = (n as usize * step) % piece.len();
        Part::Data(piece.slice(at..at + step))
    });
    let parts = std::iter::once(Part::Header(header)).chain(data);
    let parts = futures::stream::iter(parts.map(|part| WriteFileRequest { part: Some(part) }));
    let file = StorageClient::new(channel.clone()).write_file(parts).await.unwrap().into_inner();
    assert_eq!(file.size_bytes as u64, size);
}

/// Reads a file to its end; gives how many bytes came.
async fn get(channel: &Channel, name: &str) -> u64 {
    let request = ReadFileRequest { name: name.to_owned(), ..ReadFileRequest::default() };
    let mut parts = StorageClient::new(channel.clone()).read_file(request).await.unwrap().into_inner();
    let mut read = 0;
    while let Some(part) = parts.next().await {
        if let Some(read_file_response::Part::Data(data)) = part.unwrap().part {
            read += data.len() as u64;
        }
    }
    read
}

fn io(data: &Path) -> SocketAddr {
    let text = std::fs::read_to_string(data.join("run/endpoints.toml")).unwrap();
    let addresses: BTreeMap<&str, &str> =
        text.lines().filter_map(|l| l.split_once(" = ")).map(|(k, v)| (k, v.trim_matches('"'))).collect();
    addresses["io"].parse().unwrap()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
