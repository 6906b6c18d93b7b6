//! What the tests of the binary share.
#![allow(dead_code)]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// Runs the binary in a folder.
pub fn hardpan(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hardpan")).current_dir(dir).args(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The lines of `--json`.
pub fn objects(o: &Output) -> Vec<Value> {
    text(&o.stdout).lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[track_caller]
pub fn done(o: &Output) {
    assert_eq!(o.status.code(), Some(0), "{}\n{}", text(&o.stdout), text(&o.stderr));
}

/// Writes pixels of 8 bits a channel.
pub fn png(path: &Path, color: png::ColorType, side: usize, bytes: &[u8]) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, side as u32, side as u32);
    encoder.set_color(color);
    encoder.write_header().unwrap().write_image_data(bytes).unwrap();
}

const SIDE: usize = 16;

/// `street/images` with a bright square in noise, `street/masks` with 1 where it is; void (255) at the edges.
pub fn squares(n: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let street = dir.path().join("street");
    for folder in ["images", "masks"] {
        std::fs::create_dir_all(street.join(folder)).unwrap();
    }
    let mut state = 7u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 57) as usize
    };
    for i in 0..n {
        let (left, top) = (1 + noise() % 7, 1 + noise() % 7);
        let inside =
            |x: usize, y: usize| (left..left + 8).contains(&x) && (top..top + 8).contains(&y);
        let (mut pixels, mut mask) = (Vec::new(), Vec::new());
        for (x, y) in (0..SIDE * SIDE).map(|k| (k % SIDE, k / SIDE)) {
            let light = if inside(x, y) { 120 } else { 0 };
            pixels.extend((0..3).map(|_| (noise() + light) as u8));
            mask.push(if x == 0 { 255 } else { u8::from(inside(x, y)) });
        }
        png(&street.join(format!("images/{i:02}.png")), ::png::ColorType::Rgb, SIDE, &pixels);
        png(&street.join(format!("masks/{i:02}.png")), ::png::ColorType::Grayscale, SIDE, &mask);
    }
    std::fs::write(street.join("codes.txt"), "road\ncar\n").unwrap();
    dir
}

/// What a server answers to a picture: status and body. `accept` is the kind of answer that is asked for.
pub fn post(address: &str, path: &str, accept: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: {accept}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let status = text(&answer[9..12]).parse().unwrap();
    (status, answer.split_off(end + 4))
}

/// A program that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `hardpan serve` on a free port, with its address.
pub fn serve(dir: &Path, model: &str) -> (Running, String) {
    let child = Command::new(env!("CARGO_BIN_EXE_hardpan"))
        .current_dir(dir)
        .args(["serve", model, "--addr", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    (running, listening["address"].as_str().unwrap().to_owned())
}
