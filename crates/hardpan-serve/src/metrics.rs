//! Counters for `GET /metrics`, in the text format that Prometheus reads.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Upper ends of the histogram of request times, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 10.0];

/// Statuses that this server gives.
const STATUSES: [u16; 9] = [200, 400, 404, 405, 408, 413, 422, 500, 503];

/// What happened so far.
pub struct Metrics {
    start: Instant,
    requests: [AtomicU64; STATUSES.len()],
    others: AtomicU64,
    times: [AtomicU64; BUCKETS.len()],
    time: AtomicU64,
    count: AtomicU64,
    /// Batches computed.
    pub batches: AtomicU64,
    /// Inputs in them.
    pub items: AtomicU64,
    /// Connections that are open now.
    pub connections: AtomicU64,
}

impl Metrics {
    pub fn new() -> Metrics {
        Metrics {
            start: Instant::now(),
            requests: Default::default(),
            others: AtomicU64::new(0),
            times: Default::default(),
            time: AtomicU64::new(0),
            count: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            items: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// Counts an answered request.
    pub fn answered(&self, status: u16, took: Duration) {
        match STATUSES.iter().position(|&s| s == status) {
            Some(i) => self.requests[i].fetch_add(1, Relaxed),
            None => self.others.fetch_add(1, Relaxed),
        };
        let seconds = took.as_secs_f64();
        if let Some(i) = BUCKETS.iter().position(|&b| seconds <= b) {
            self.times[i].fetch_add(1, Relaxed);
        }
        self.time.fetch_add(took.as_micros() as u64, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// All of it as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, about: &str, lines: &[(String, f64)]| {
            let _ = writeln!(out, "# HELP hardpan_{name} {about}\n# TYPE hardpan_{name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(out, "hardpan_{name}{labels} {value}");
            }
        };
        let load = |a: &AtomicU64| a.load(Relaxed) as f64;
        let status = |s: &str, n: f64| (format!("{{status=\"{s}\"}}"), n);
        let mut lines: Vec<_> = STATUSES
            .iter()
            .zip(&self.requests)
            .map(|(s, n)| status(&s.to_string(), load(n)))
            .collect();
        lines.push(status("other", load(&self.others)));
        family("requests_total", "counter", "Requests answered, by status.", &lines);

        let mut sum = 0.0;
        let mut lines: Vec<_> = BUCKETS
            .iter()
            .zip(&self.times)
            .map(|(b, n)| {
                sum += load(n);
                (format!("_bucket{{le=\"{b}\"}}"), sum)
            })
            .collect();
        lines.push(("_bucket{le=\"+Inf\"}".into(), load(&self.count)));
        lines.push(("_sum".into(), load(&self.time) / 1e6));
        lines.push(("_count".into(), load(&self.count)));
        family("request_seconds", "histogram", "Time from request to answer.", &lines);

        let one = |n: f64| vec![(String::new(), n)];
        family("batches_total", "counter", "Batches computed.", &one(load(&self.batches)));
        family("items_total", "counter", "Inputs answered by the model.", &one(load(&self.items)));
        family("connections", "gauge", "Open connections.", &one(load(&self.connections)));
        let up = self.start.elapsed().as_secs_f64();
        family("uptime_seconds", "gauge", "Time since the start.", &one(up));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_into_all_buckets_that_hold_them() {
        let m = Metrics::new();
        m.answered(200, Duration::from_micros(1500));
        m.answered(200, Duration::from_millis(15));
        m.answered(418, Duration::from_secs(60));
        let text = m.text();
        for line in [
            "hardpan_requests_total{status=\"200\"} 2",
            "hardpan_requests_total{status=\"other\"} 1",
            "hardpan_request_seconds_bucket{le=\"0.001\"} 0",
            "hardpan_request_seconds_bucket{le=\"0.002\"} 1",
            "hardpan_request_seconds_bucket{le=\"10\"} 2",
            "hardpan_request_seconds_bucket{le=\"+Inf\"} 3",
            "hardpan_request_seconds_count 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
