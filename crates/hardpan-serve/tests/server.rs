//! A server with a toy model, and clients of every kind: well-behaved, wrong, slow, and gone.

use hardpan_serve::{About, Model, Options, Server, Stop};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

/// Adds up the bytes. The byte 255 cannot be read, 254 breaks the model, 253 takes a while.
#[derive(Default)]
struct Sum {
    largest_batch: Arc<AtomicUsize>,
}

impl Model for Sum {
    type Input = Vec<u8>;
    type Output = Value;

    fn about(&self) -> About {
        About { name: "sum".into(), classes: vec!["even".into(), "odd".into()], ..About::default() }
    }

    fn read(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        if bytes.contains(&255) { Err("not a picture".into()) } else { Ok(bytes.to_vec()) }
    }

    fn predict(&self, inputs: &[Vec<u8>], top: usize) -> Vec<Value> {
        self.largest_batch.fetch_max(inputs.len(), SeqCst);
        assert!(!inputs.iter().flatten().any(|&b| b == 254), "cannot add this up");
        if inputs.iter().flatten().any(|&b| b == 253) {
            std::thread::sleep(Duration::from_millis(200));
        }
        let sum = |i: &Vec<u8>| i.iter().map(|&b| u64::from(b)).sum::<u64>();
        inputs.iter().map(|i| json!({"class": sum(i).to_string(), "top": top})).collect()
    }

    fn explain(&self, input: &Vec<u8>) -> Option<Vec<u8>> {
        (input.len() > 1).then(|| input.clone())
    }

    /// Even sums have one.
    fn picture(&self, answer: &Value) -> Option<Vec<u8>> {
        let sum = answer["class"].as_str()?;
        sum.ends_with(['0', '2', '4', '6', '8']).then(|| format!("PNG {sum}").into_bytes())
    }
}

struct Running {
    address: SocketAddr,
    stop: Stop,
    thread: Option<JoinHandle<std::io::Result<()>>>,
    largest_batch: Arc<AtomicUsize>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.stop();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

fn start(options: Options) -> Running {
    let server = Server::bind("127.0.0.1:0", options).unwrap();
    let (address, stop) = (server.address(), server.stopper());
    let model = Sum::default();
    let largest_batch = model.largest_batch.clone();
    let thread = Some(std::thread::spawn(move || server.run(model)));
    Running { address, stop, thread, largest_batch }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Status and body.
    fn request(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        self.request_accepting("*/*", method, path, kind, body)
    }

    fn request_accepting(
        &self,
        accept: &str,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> (u16, String) {
        let mut stream = self.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: {accept}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The server may answer and close before all is sent.
        let _ = stream.write_all(body);
        answer(stream)
    }

    fn post(&self, path: &str, body: &[u8]) -> (u16, Value) {
        let (status, text) = self.request("POST", path, "image/png", body);
        (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}")))
    }

    fn works(&self) {
        assert_eq!(self.post("/predict", &[1, 2]), (200, json!({"class": "3", "top": 5})));
    }
}

fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, b)| b);
    (status, body.to_owned())
}

#[test]
fn the_api() {
    let s = start(Options::default());
    s.works();
    assert_eq!(s.post("/predict?top=2", &[9]), (200, json!({"class": "9", "top": 2})));
    let (status, page) = s.request("GET", "/", "", b"");
    assert!(status == 200 && page.contains("<!doctype html>"), "{page}");
    let get = |path: &str| -> Value {
        let (status, body) = s.request("GET", path, "", b"");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    };
    assert_eq!(get("/health"), json!({"status": "ok"}));
    assert_eq!(
        (&get("/info")["name"], &get("/info")["classes"][1]),
        (&json!("sum"), &json!("odd"))
    );
    assert!(get("/openapi.json")["paths"]["/predict"]["post"].is_object());
    assert_eq!(
        s.post("/explain", &[1, 2]),
        (
            200,
            json!({"prediction": {"class": "3", "top": usize::MAX}, "heat_map": "data:image/png;base64,AQI="})
        )
    );
    assert_eq!(s.post("/explain", &[1]).1["heat_map"], Value::Null);
    let (_, metrics) = s.request("GET", "/metrics", "", b"");
    assert!(metrics.contains("hardpan_requests_total{status=\"200\"} "), "{metrics}");
    assert!(metrics.contains("\nhardpan_items_total 2\n"), "{metrics}");
}

#[test]
fn json_and_forms() {
    let s = start(Options::default());
    let post = |kind: &str, body: &str| {
        let (status, text) = s.request("POST", "/predict", kind, body.as_bytes());
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let json = "application/json";
    assert_eq!(post(json, r#"{"image": "AQID"}"#).1["class"], "6");
    assert_eq!(post(json, r#"{"image": "data:image/png;base64,AQID"}"#).1["class"], "6");
    let several = post(json, r#"{"images": ["AQID", "/w==", "BQ=="]}"#);
    assert_eq!(
        several,
        (
            200,
            json!({"predictions": [{"class": "6", "top": 5}, {"error": "not a picture"}, {"class": "5", "top": 5}]})
        )
    );
    let form = "--b\r\ncontent-disposition: form-data; name=\"f\"; filename=\"a.png\"\r\n\r\n\x01\x02\r\n--b\r\ncontent-disposition: form-data; name=\"g\"\r\n\r\n\x05\r\n--b--\r\n";
    let several = post("multipart/form-data; boundary=b", form);
    assert_eq!(several.1["predictions"][0]["class"], "3");
    assert_eq!(several.1["predictions"][1]["class"], "5");
    for (kind, body) in [
        (json, "{"),
        (json, r#"{"image": "!"}"#),
        (json, r#"{"picture": "AQID"}"#),
        (json, r#"{"images": []}"#),
        ("multipart/form-data", form),
        ("multipart/form-data; boundary=b", "--b\r\nnonsense"),
    ] {
        let (status, answer) = post(kind, body);
        assert!(status == 400 && answer["error"].is_string(), "{body}: {status} {answer}");
    }
}

#[test]
fn the_answer_is_a_picture_for_those_who_take_nothing_else() {
    let s = start(Options::default());
    let ask = |accept: &str, kind: &str, body: &[u8]| {
        s.request_accepting(accept, "POST", "/predict", kind, body)
    };
    assert_eq!(ask("image/png", "", &[1, 3]), (200, "PNG 4".into()));
    assert_eq!(ask("IMAGE/PNG;q=0.9, image/jpeg", "", &[1, 3]), (200, "PNG 4".into()));
    for accept in ["image/png, */*;q=0.1", "application/json, image/png", "image/jpeg"] {
        assert!(ask(accept, "", &[1, 3]).1.starts_with("{\"class\":\"4\""), "{accept}");
    }
    let (status, said) = ask("image/png", "", &[1, 2]);
    assert!(status == 406 && said.contains("no pictures"), "{status} {said}");
    let (status, said) = ask("image/png", "application/json", br#"{"images": ["AQM="]}"#);
    assert!(status == 400 && said.contains("send one"), "{status} {said}");
}

#[test]
fn what_is_wrong_is_said_and_the_others_are_served() {
    let s = start(Options { max_body: 1000, ..Options::default() });
    assert_eq!(s.post("/predict", &[255]), (400, json!({"error": "not a picture"})));
    assert_eq!(s.post("/predict", &[]).0, 400);
    assert_eq!(s.post("/predict?top=many", &[1]).0, 400);
    assert_eq!(s.post("/predict", &[1; 1001]).0, 413);
    assert_eq!(s.post("/predict", &[254]).0, 500);
    assert_eq!(s.post("/nothing", &[1]).0, 404);
    assert_eq!(s.request("GET", "/predict", "", b"").0, 405);
    // A body of unknown length that goes on and on.
    let mut endless = s.connect();
    endless
        .write_all(b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n")
        .unwrap();
    for _ in 0..20 {
        let _ = endless.write_all(b"64\r\n");
        let _ = endless.write_all(&[1; 100]);
        let _ = endless.write_all(b"\r\n");
    }
    assert_eq!(answer(endless).0, 413);
    let form =
        [b"--b\r\ncontent-disposition: form-data; name=\"f\"\r\n\r\n".as_slice(), &[1; 2000]]
            .concat();
    assert_eq!(s.request("POST", "/predict", "multipart/form-data; boundary=b", &form).0, 413);
    // Nonsense, half a request, a client that leaves before its answer.
    for bytes in [b"\x16\x03\x01nonsense\r\n\r\n".as_slice(), b"POST /predict HTTP/1.1\r\ncont"] {
        s.connect().write_all(bytes).unwrap();
    }
    for _ in 0..50 {
        let mut gone = s.connect();
        gone.write_all(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n\xfd")
            .unwrap();
    }
    s.works();
}

#[test]
fn slow_clients_do_not_hold_others_up() {
    let s = start(Options {
        timeout: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        ..Options::default()
    });
    let mut slow_body = s.connect();
    slow_body
        .write_all(b"POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10\r\n\r\n1")
        .unwrap();
    let mut slow_head = s.connect();
    slow_head.write_all(b"POST /pre").unwrap();
    s.works();
    assert_eq!(answer(slow_body).0, 408);
    // Closed without an answer, or with one that says why.
    assert!([0, 408].contains(&answer(slow_head).0));
    s.works();
}

#[test]
fn requests_that_wait_together_are_computed_together_and_a_full_queue_says_so() {
    let s = start(Options { queue: 8, batch: 4, ..Options::default() });
    let barrier = Barrier::new(9);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let first = scope.spawn(|| s.post("/predict", &[253]).0);
        std::thread::sleep(Duration::from_millis(50));
        let others: Vec<_> = (0..9u8)
            .map(|i| {
                let (s, barrier) = (&s, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let (status, answer) = s.post("/predict", &[i]);
                    if status == 200 {
                        assert_eq!(answer["class"], i.to_string());
                    }
                    status
                })
            })
            .collect();
        std::iter::once(first).chain(others).map(|h| h.join().unwrap()).collect()
    });
    let (ok, busy) = (
        statuses.iter().filter(|&&s| s == 200).count(),
        statuses.iter().filter(|&&s| s == 503).count(),
    );
    // One is computed, eight wait, one is too many, unless threads were slow to come.
    assert!(ok >= 9 && ok + busy == 10, "{statuses:?}");
    let largest = s.largest_batch.load(SeqCst);
    assert!((2..=4).contains(&largest), "{largest}");
}
