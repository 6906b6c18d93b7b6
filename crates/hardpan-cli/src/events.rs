//! What programs are told with `--json`: a contract, so change it with care; adding fields is fine.

use serde::Serialize;
use std::collections::BTreeMap;

/// A line of `train`, and of any command that fails.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A training begins.
    Start {
        task: String,
        arch: String,
        params: usize,
        train_items: usize,
        valid_items: usize,
        classes: Vec<String>,
        device: String,
        threads: usize,
        seed: u64,
    },
    /// An epoch is over. What is not finite is `null`.
    Epoch {
        epoch: usize,
        train_loss: f64,
        valid_loss: f64,
        metrics: BTreeMap<String, f64>,
        lr: f64,
        seconds: f64,
        items_per_second: f64,
    },
    /// The model is saved.
    Done { model: String, best: Best, seconds: f64, peak_memory_bytes: Option<u64> },
    /// Trouble.
    Error { message: String },
}

/// The best epoch by a metric.
#[derive(Debug, Serialize)]
pub struct Best {
    pub epoch: usize,
    pub metric: String,
    pub value: f64,
}

/// A line of `predict`.
#[derive(Debug, Serialize)]
pub struct Prediction {
    pub input: String,
    pub class: String,
    pub probability: f64,
    /// Classes with their probabilities, likeliest first.
    pub top: Vec<(String, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_documented() {
        let json = |e: &Event| serde_json::to_string(e).unwrap();
        assert_eq!(
            json(&Event::Epoch {
                epoch: 0,
                train_loss: f64::NAN,
                valid_loss: 0.25,
                metrics: BTreeMap::from([("accuracy".into(), 0.5)]),
                lr: 0.01,
                seconds: 1.5,
                items_per_second: 40000.0,
            }),
            r#"{"event":"epoch","epoch":0,"train_loss":null,"valid_loss":0.25,"metrics":{"accuracy":0.5},"lr":0.01,"seconds":1.5,"items_per_second":40000.0}"#
        );
        assert_eq!(
            json(&Event::Error { message: "m".into() }),
            r#"{"event":"error","message":"m"}"#
        );
        let best = Best { epoch: 4, metric: "accuracy".into(), value: 0.99 };
        let done = Event::Done {
            model: "model.hardpan".into(),
            best,
            seconds: 2.0,
            peak_memory_bytes: Some(5),
        };
        assert_eq!(
            json(&done),
            r#"{"event":"done","model":"model.hardpan","best":{"epoch":4,"metric":"accuracy","value":0.99},"seconds":2.0,"peak_memory_bytes":5}"#
        );
        let p = Prediction {
            input: "a.png".into(),
            class: "3".into(),
            probability: 0.5,
            top: vec![("3".into(), 0.5)],
        };
        assert_eq!(
            serde_json::to_string(&p).unwrap(),
            r#"{"input":"a.png","class":"3","probability":0.5,"top":[["3",0.5]]}"#
        );
    }
}
