//! The thread that computes: it takes what has arrived, makes one batch of it, and answers.

use crate::Model;
use crate::answer::Failure;
use crate::metrics::Metrics;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::{mpsc, oneshot};

/// Work for the model.
enum Job<M: Model> {
    Predict { input: M::Input, top: usize, reply: oneshot::Sender<M::Output> },
    Explain { input: M::Input, reply: oneshot::Sender<(M::Output, Option<Vec<u8>>)> },
}

/// Where jobs are handed in. The thread ends when the last one is gone.
pub struct Queue<M: Model> {
    jobs: mpsc::Sender<Job<M>>,
}

impl<M: Model> Queue<M> {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        model: Arc<M>,
        metrics: Arc<Metrics>,
        waiting: usize,
        batch: usize,
    ) -> std::io::Result<Queue<M>> {
        let (jobs, inbox) = mpsc::channel(waiting);
        std::thread::Builder::new()
            .name("model".into())
            .spawn(move || work(&*model, &metrics, inbox, batch))?;
        Ok(Queue { jobs })
    }

    /// The answer about one input.
    pub async fn predict(&self, input: M::Input, top: usize) -> Result<M::Output, Failure> {
        let (reply, answer) = oneshot::channel();
        self.hand_in(Job::Predict { input, top, reply })?;
        answer.await.map_err(|_| Failure::Model)
    }

    /// The answer about one input, and a picture of what it rests on.
    pub async fn explain(&self, input: M::Input) -> Result<(M::Output, Option<Vec<u8>>), Failure> {
        let (reply, answer) = oneshot::channel();
        self.hand_in(Job::Explain { input, reply })?;
        answer.await.map_err(|_| Failure::Model)
    }

    fn hand_in(&self, job: Job<M>) -> Result<(), Failure> {
        self.jobs.try_send(job).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Failure::Busy,
            mpsc::error::TrySendError::Closed(_) => Failure::Model,
        })
    }
}

fn work<M: Model>(model: &M, metrics: &Metrics, mut inbox: mpsc::Receiver<Job<M>>, batch: usize) {
    let mut next = inbox.blocking_recv();
    while let Some(first) = next.take() {
        let (mut inputs, mut wanted) = (Vec::new(), Vec::new());
        let mut job = Some(first);
        // What is here already, and no more: waiting for others would cost those who are here.
        while let Some(j) = job.take() {
            match j {
                // Whoever has gone away needs no answer.
                Job::Predict { reply, .. } if reply.is_closed() => {}
                Job::Predict { input, top, reply } => {
                    inputs.push(input);
                    wanted.push((top, reply));
                }
                Job::Explain { input, reply } => {
                    let explained = catch_unwind(AssertUnwindSafe(|| {
                        let answer = model.predict(std::slice::from_ref(&input), usize::MAX).pop();
                        answer.map(|a| (a, model.explain(&input)))
                    }));
                    if let Ok(Some(answer)) = explained {
                        let _ = reply.send(answer);
                    }
                }
            }
            if inputs.len() < batch {
                job = inbox.try_recv().ok();
            }
        }
        answer(model, metrics, &inputs, wanted);
        next = inbox.blocking_recv();
    }
}

fn answer<M: Model>(
    model: &M,
    metrics: &Metrics,
    inputs: &[M::Input],
    wanted: Vec<(usize, oneshot::Sender<M::Output>)>,
) {
    let Some(top) = wanted.iter().map(|w| w.0).max() else { return };
    metrics.batches.fetch_add(1, Relaxed);
    metrics.items.fetch_add(inputs.len() as u64, Relaxed);
    let same = wanted.iter().all(|w| w.0 == top);
    let predict = |inputs: &[M::Input], top| {
        let answers = catch_unwind(AssertUnwindSafe(|| model.predict(inputs, top)));
        answers.ok().filter(|a| a.len() == inputs.len())
    };
    if let Some(answers) = same.then(|| predict(inputs, top)).flatten() {
        for ((_, reply), answer) in wanted.into_iter().zip(answers) {
            let _ = reply.send(answer);
        }
        return;
    }
    // They want different numbers of classes, or one of them is more than the model can take: each by itself, so that the others
    // are answered. A reply that is dropped is a failure of the model to its client.
    for (i, (top, reply)) in wanted.into_iter().enumerate() {
        if let Some(answer) = predict(&inputs[i..=i], top).and_then(|mut a| a.pop()) {
            let _ = reply.send(answer);
        }
    }
}
