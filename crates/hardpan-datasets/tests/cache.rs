//! Data sets from a server on this machine, from files, and from the cache.

use hardpan_datasets::{
    Cache, DATA_SETS, DatasetError, PUBLISHED, Progress, Published, Sum, Weights, find,
    find_weights,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A server of one file that knows `Range`, and breaks off after so many bytes the first time.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn serve(file: &str, content: Vec<u8>, break_after: Option<usize>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/{file}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    std::thread::spawn(move || {
        let mut break_after = break_after;
        for stream in listener.incoming() {
            let Ok(stream) = stream else { break };
            let _ = answer(stream, &content, break_after.take(), &seen);
        }
    });
    Server { url, asked }
}

fn answer(
    mut stream: TcpStream,
    content: &[u8],
    break_after: Option<usize>,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut range = String::new();
    for line in BufReader::new(&stream).lines() {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(r) = line.to_lowercase().strip_prefix("range: bytes=") {
            range = r.trim_end_matches('-').to_owned();
        }
    }
    seen.lock().unwrap().push(range.clone());
    let start: usize = range.parse().unwrap_or(0);
    if start >= content.len() {
        let n = content.len();
        return write!(
            stream,
            "HTTP/1.1 416 No\r\nContent-Range: bytes */{n}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let body = &content[start..];
    let head = match range.is_empty() {
        true => "HTTP/1.1 200 OK\r\n".to_owned(),
        false => format!(
            "HTTP/1.1 206 Part\r\nContent-Range: bytes {start}-{}/{}\r\n",
            content.len() - 1,
            content.len()
        ),
    };
    write!(stream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    let n = break_after.unwrap_or(body.len()).min(body.len());
    stream.write_all(&body[..n])?;
    stream.flush()?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let _ = stream.read(&mut [0; 16]);
    Ok(())
}

fn tgz(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // By hand, since the library refuses names that lead out.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn noise(n: usize) -> Vec<u8> {
    let mut state = 1u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(n)
    .collect()
}

fn quiet(_: Progress) {}

#[test]
fn download_unpack_and_use_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let server = serve("toys.tgz", tgz(&[("toys/a.txt", b"A"), ("toys/b/c.txt", b"C")]), None);
    let mut last = None;
    let folder = cache.get(&server.url, &mut |p| last = Some(p)).unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("b/c.txt")).unwrap(), "C");
    let last = last.unwrap();
    assert_eq!(Some(last.received), last.total);
    // Offline from here on, and nobody is asked again.
    let again = cache.clone().offline(true).get(&server.url, &mut quiet).unwrap();
    assert_eq!((again, server.asked.lock().unwrap().len()), (folder, 1));
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let content = tgz(&[("big/data.bin", &noise(300_000))]);
    let server = serve("big.tgz", content, Some(100_000));
    let folder = Cache::at(dir.path()).get(&server.url, &mut quiet).unwrap();
    assert_eq!(std::fs::read(folder.join("data.bin")).unwrap(), noise(300_000));
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.len(), 2);
    let resumed: usize = asked[1].parse().unwrap();
    assert!(resumed > 0 && resumed <= 100_000, "{asked:?}");
    assert!(!dir.path().join("archives/big.tgz.part").exists());
}

#[test]
fn a_part_that_is_whole_already_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let content = tgz(&[("set/x", b"x")]);
    std::fs::create_dir_all(dir.path().join("archives")).unwrap();
    std::fs::write(dir.path().join("archives/set.tgz.part"), &content).unwrap();
    let server = serve("set.tgz", content, None);
    let folder = Cache::at(dir.path()).get(&server.url, &mut quiet).unwrap();
    assert_eq!(std::fs::read(folder.join("x")).unwrap(), b"x");
}

#[test]
fn archives_cannot_write_outside() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache"));
    for name in ["../evil", "a/../../evil", "/tmp/hardpan-evil"] {
        let path = dir.path().join("evil.tgz");
        std::fs::write(&path, tgz(&[("ok", b"1"), (name, b"2")])).unwrap();
        let e = cache.get(path.to_str().unwrap(), &mut quiet).unwrap_err();
        assert!(matches!(e, DatasetError::Unsafe { .. }), "{name}: {e}");
    }
    assert!(!dir.path().join("evil").exists() && !Path::new("/tmp/hardpan-evil").exists());
    // Nothing of it is left.
    let left = std::fs::read_dir(dir.path().join("cache/local")).unwrap().count();
    assert_eq!(left, 0);
}

#[test]
fn a_cut_archive_is_an_error_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let mut content = tgz(&[("set/data", &noise(50_000))]);
    content.truncate(20_000);
    let server = serve("set.tgz", content, None);
    let e = cache.get(&server.url, &mut quiet).unwrap_err();
    assert!(matches!(e, DatasetError::Archive { .. }), "{e}");
    assert!(!dir.path().join("set").exists() && !dir.path().join("archives/set.tgz").exists());
}

#[test]
fn another_file_of_the_same_name_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let first = serve("set.tgz", tgz(&[("set/x", b"1")]), None);
    cache.get(&first.url, &mut quiet).unwrap();
    // The user clears the cache but for the record; the server has something else now.
    std::fs::remove_dir_all(dir.path().join("set")).unwrap();
    std::fs::remove_file(dir.path().join("archives/set.tgz")).unwrap();
    let second = serve("set.tgz", tgz(&[("set/x", b"2")]), None);
    let e = cache.get(&second.url, &mut quiet).unwrap_err();
    assert!(matches!(e, DatasetError::Checksum { .. }), "{e}");
    assert!(e.to_string().contains("earlier download"), "{e}");
}

#[test]
fn local_folders_archives_and_addresses() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path().join("cache")).offline(true);
    let folder = dir.path().join("mine");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(cache.get(folder.to_str().unwrap(), &mut quiet).unwrap(), folder);
    let archive = dir.path().join("set.tgz");
    std::fs::write(&archive, tgz(&[("set/x", b"1")])).unwrap();
    let unpacked = cache.get(&format!("file://{}", archive.display()), &mut quiet).unwrap();
    assert_eq!(std::fs::read(unpacked.join("x")).unwrap(), b"1");
}

#[test]
fn what_cannot_be_had_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path()).offline(true);
    let e = cache.get("imagenet_te", &mut quiet).unwrap_err();
    assert!(e.to_string().contains("did you mean") && e.to_string().contains("imagenette2"), "{e}");
    let e = cache.get("camvid_tiny", &mut quiet).unwrap_err();
    assert!(matches!(e, DatasetError::Offline { .. }), "{e}");
    // A port that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/set.tgz");
    let e = Cache::at(dir.path()).get(&url, &mut quiet).unwrap_err();
    assert!(matches!(e, DatasetError::Download { .. }), "{e}");
    let server = serve("other.tgz", Vec::new(), None);
    let e = Cache::at(dir.path()).get(&server.url, &mut quiet).unwrap_err();
    assert!(e.to_string().contains("416"), "{e}");
}

#[test]
fn the_registry_is_sound() {
    let names: std::collections::HashSet<&str> = DATA_SETS.iter().map(|s| s.name).collect();
    assert_eq!(names.len(), DATA_SETS.len(), "no name twice");
    for set in DATA_SETS {
        assert_eq!(find(set.name), Some(set));
        assert!(!set.urls.is_empty() || !set.installed.is_empty(), "{} cannot be had", set.name);
        assert!(set.urls.iter().all(|u| u.starts_with("https://")), "{}", set.name);
        assert_eq!(set.published.is_some(), !set.urls.is_empty(), "{} is verified", set.name);
        if let Some(Published { bytes, sum }) = set.published {
            let (sum, digits) = match sum {
                Sum::Sha256(sum) => (sum, 64),
                Sum::Start(sum) => (sum, 32),
            };
            assert!(bytes > 1000 && sum.len() == digits, "{}", set.name);
            assert!(sum.bytes().all(|b| b.is_ascii_hexdigit()), "{}", set.name);
        }
    }
    assert_eq!(find("Imagenette_160").unwrap().name, "imagenette2-160");
    assert_eq!(find("CIFAR").unwrap().name, "cifar10");
}

#[test]
fn weights_are_downloaded_once_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("weights");
    let server = serve("abc.pth", b"abc".to_vec(), None);
    let url: &'static str = Box::leak(server.url.clone().into_boxed_str());
    let good = Weights { url, sha256_start: "ba7816bf", ..PUBLISHED[0] };
    for _ in 0..2 {
        let file = good.get(&folder, &mut quiet).unwrap();
        assert_eq!(file, folder.join("efficientnet_lite0.pth"));
        assert_eq!(std::fs::read(file).unwrap(), b"abc");
    }
    assert_eq!(server.asked.lock().unwrap().len(), 1);

    let other = Weights { name: "other", sha256_start: "00000000", ..good };
    let e = other.get(&folder, &mut quiet).unwrap_err();
    assert!(matches!(e, DatasetError::Checksum { .. }), "{e}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing of it is left");
}

#[test]
fn published_weights_have_their_sum_in_their_name() {
    for w in PUBLISHED {
        assert!(w.url.starts_with("https://") && w.url.contains(w.sha256_start), "{}", w.name);
        assert!(w.sha256_start.len() == 8 && w.megabytes > 1.0 && w.top1 > 50.0, "{}", w.name);
        assert_eq!(find_weights(&w.name.to_uppercase().replace('_', "-")), Some(w));
    }
}
