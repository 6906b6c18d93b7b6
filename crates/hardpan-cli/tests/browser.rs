//! The page of `hardpan serve` in a real browser: needs `chromedriver` and Chromium, and says so where they are not.

mod support;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Running, done, hardpan, png, serve, squares};

/// A browser, spoken to by the WebDriver protocol.
struct Browser {
    address: String,
    session: String,
    _driver: Running,
}

impl Browser {
    /// `None` if there is none on this machine.
    fn open(profile: &Path) -> Option<Browser> {
        let driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = Running(driver.ok()?);
        let mut lines = BufReader::new(driver.0.stdout.take()?).lines();
        let port = lines.find_map(|line| {
            let line = line.ok()?;
            let port = line.split_once("successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        })?;
        let mut browser = Browser {
            address: format!("127.0.0.1:{port}"),
            session: String::new(),
            _driver: driver,
        };
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.display()),
        ];
        let options =
            json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}});
        let opened = browser.ask("POST", "/session", &options);
        browser.session = opened["value"]["sessionId"].as_str()?.to_owned();
        Some(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        // The driver leaves the connection open: the head says how long the answer is.
        let (mut reader, mut length) = (BufReader::new(stream), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim().to_lowercase();
            if let Some(n) = line.strip_prefix("content-length:") {
                length = n.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        let answer = self.ask("POST", &format!("/session/{}/{path}", self.session), body);
        assert!(answer["value"]["error"].is_null(), "{path}: {answer}");
        answer["value"].clone()
    }

    /// What an expression is in the page.
    fn value(&self, script: &str) -> Value {
        self.command("execute/sync", &json!({"script": format!("return {script}"), "args": []}))
    }

    /// Waits for it to become true.
    #[track_caller]
    fn wait_for(&self, script: &str) {
        let start = Instant::now();
        while self.value(script) != json!(true) {
            let page = || self.value("document.body.innerText");
            assert!(start.elapsed() < Duration::from_secs(60), "{script} of\n{}", page());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Chooses a file as a user does.
    fn choose(&self, id: &str, file: &Path) {
        let by = json!({"using": "css selector", "value": format!("#{id}")});
        let element = self.command("element", &by);
        let element = element.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        let text = json!({"text": file.display().to_string()});
        self.command(&format!("element/{element}/value"), &text);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
    }
}

#[test]
fn a_picture_is_sent_and_classes_and_a_heat_map_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let Some(browser) = Browser::open(&at.join("profile")) else {
        eprintln!("skipped: there is no chromedriver with a Chromium on this machine");
        return;
    };
    for (class, name) in ["dark", "light"].iter().enumerate() {
        std::fs::create_dir_all(at.join("data").join(name)).unwrap();
        for i in 0..10 {
            let pixels: Vec<u8> =
                (0..1200).map(|k| (class * 130 + (k * 31 + i * 17) % 90) as u8).collect();
            let file = at.join(format!("data/{name}/{i}.png"));
            png(&file, ::png::ColorType::Rgb, 20, &pixels);
        }
    }
    let train = ["train", "data", "--arch", "cnn", "--epochs", "4", "--bs", "8", "--lr", "0.02"];
    done(&hardpan(at, &train));
    let (_serving, address) = serve(at, "model.hardpan");
    browser.command("url", &json!({"url": format!("http://{address}/")}));
    browser.wait_for(
        "document.getElementById('about').textContent.includes('2 classes: dark, light')",
    );
    for name in ["dark", "light"] {
        browser.choose("file", &at.join(format!("data/{name}/3.png")));
        // The likeliest comes first, and the answer is laid over the picture.
        let first = "document.querySelector('#answer .row span')?.textContent";
        browser.wait_for(&format!("{first} === '{name}'"));
        browser.wait_for(
            "!document.getElementById('heat').hidden && document.getElementById('heat').naturalWidth === 24",
        );
        let sum = browser.value(
            "[...document.querySelectorAll('#answer .row span:last-child')].map(s => parseFloat(s.textContent)).reduce((a, b) => a + b)",
        );
        assert!((sum.as_f64().unwrap() - 100.0).abs() < 0.2, "{sum}");
    }
    // What is no picture is said, and the page goes on.
    std::fs::write(at.join("no.png"), "no picture").unwrap();
    browser.choose("file", &at.join("no.png"));
    browser.wait_for("document.getElementById('answer').className === 'bad'");
    let said = browser.value("document.getElementById('answer').textContent");
    assert!(said.as_str().unwrap().contains("not an image"), "{said}");
    browser.choose("file", &at.join("data/dark/1.png"));
    browser.wait_for("document.querySelectorAll('#answer .row').length === 2");
}

#[test]
fn a_mask_is_seen_over_its_picture_in_the_colours_of_the_legend() {
    let dir = squares(16);
    let at = dir.path();
    let Some(browser) = Browser::open(&at.join("profile")) else {
        eprintln!("no chromedriver here: the page is not tested");
        return;
    };
    let args = ["train", "street", "--task", "segment", "--arch", "resnet9_tiny", "--bs", "2"];
    done(&hardpan(at, &[&args[..], &["--epochs", "5", "--lr", "0.005"]].concat()));
    done(&hardpan(at, &["predict", "model.hardpan", "street/images/03.png", "--masks", "m"]));
    let mut reader =
        ::png::Decoder::new(BufReader::new(std::fs::File::open(at.join("m/03.png")).unwrap()))
            .read_info()
            .unwrap();
    let mut mask = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut mask).unwrap();
    let cars = mask.iter().filter(|&&p| p == 1).count();
    assert!(cars > 10 && cars < 246, "both classes are there: {cars}");

    let (_serving, address) = serve(at, "model.hardpan");
    browser.command("url", &json!({"url": format!("http://{address}/")}));
    browser
        .wait_for("document.getElementById('about').textContent.includes('2 classes: road, car')");
    browser.choose("file", &at.join("street/images/03.png"));
    browser.wait_for("document.querySelectorAll('#answer .row').length === 2");
    browser.wait_for("!document.getElementById('mask').hidden");
    // The legend has a colour for each class, and as many pixels have it as the mask of `predict` has of the class.
    let colour = browser.value(
        "[...document.querySelectorAll('#answer .row')].find(r => r.textContent.startsWith('car')).querySelector('i.colour').style.backgroundColor",
    );
    let pixels = format!(
        "(() => {{ const c = document.getElementById('mask'); const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; \
         let n = 0; for (let i = 0; i < d.length; i += 4) n += `rgb(${{d[i]}}, ${{d[i + 1]}}, ${{d[i + 2]}})` === {colour}; return [c.width, c.height, n]; }})()"
    );
    assert_eq!(browser.value(&pixels), json!([16, 16, cars]), "{colour}");
    browser.command(
        "execute/sync",
        &json!({"script": "document.getElementById('showmask').click()", "args": []}),
    );
    browser.wait_for("document.getElementById('mask').hidden");
}
