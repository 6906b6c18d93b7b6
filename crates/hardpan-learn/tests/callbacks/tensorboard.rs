//! `TensorBoard`.

use super::*;
use hardpan_engine::flush_all;
use hardpan_learn::callback::TensorBoard;

#[test]
fn event_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut learn = classifier(16).callback(TensorBoard::new(dir.path()).histograms());
    learn.fit_one_cycle(2, 0.1).unwrap();
    let file = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(file).unwrap();
    // Walk over the records; what is in them is for TensorBoard's own reader to judge.
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 16 + length;
        records += 1;
    }
    assert_eq!(at, bytes.len());
    // The version; 8 steps of a loss and 5 hyperparameters; 2 epochs of loss, accuracy and 2 distributions.
    assert_eq!(records, 1 + 8 * 6 + 2 * 4);
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        ["brain.Event:2", "train_loss", "lr_0", "mom_0", "valid_loss", "accuracy", "weight"]
            .iter()
            .all(|t| text.contains(t))
    );
    flush_all();
}
