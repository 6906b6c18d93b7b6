//! [`Server`]: connections, their limits, and the end.

use crate::Model;
use crate::batch::Queue;
use crate::metrics::Metrics;
use crate::routes::{App, router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};

/// Limits of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a request's body; more is answered with 413. Default 16 MiB.
    pub max_body: usize,
    /// Time of a request, sending included; more is answered with 408. Default 30 seconds.
    pub timeout: Duration,
    /// Time that the head of a request may take, and that a connection may wait for the next one; then it is closed. Default 15 seconds.
    pub idle: Duration,
    /// Most inputs computed together. Default 32.
    pub batch: usize,
    /// Most inputs that wait; more are answered with 503. Default 512.
    pub queue: usize,
    /// Most connections at a time; more wait to be accepted. Default 1024.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_body: 16 << 20,
            timeout: Duration::from_secs(30),
            idle: Duration::from_secs(15),
            batch: 32,
            queue: 512,
            connections: 1024,
        }
    }
}

/// Ends a [`Server`] from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    /// Lets no one in any more; requests that are being answered have up to two seconds.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// A server that has its address and is not running yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
    stop: Stop,
}

impl Server {
    /// Takes an address such as `127.0.0.1:8080`; port 0 is any free one.
    ///
    /// # Errors
    /// If the address makes no sense, is taken, or is not allowed.
    pub fn bind(address: impl ToSocketAddrs, options: Options) -> io::Result<Server> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address, options, stop: Stop::default() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// To end it from another thread.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until [`Stop::stop`].
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn run(self, model: impl Model) -> io::Result<()> {
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads.min(4))
            .max_blocking_threads(threads * 2)
            .enable_all()
            .build()?;
        let (model, metrics) = (Arc::new(model), Arc::new(Metrics::new()));
        let queue =
            Queue::start(model.clone(), metrics.clone(), self.options.queue, self.options.batch)?;
        let about = model.about();
        let app = Arc::new(App { model, queue, metrics, options: self.options.clone(), about });
        runtime.block_on(self.accept(app))?;
        runtime.shutdown_timeout(Duration::from_secs(1));
        Ok(())
    }

    async fn accept<M: Model>(self, app: Arc<App<M>>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let free = Arc::new(Semaphore::new(self.options.connections));
        let closing = Arc::new(Notify::new());
        let metrics = app.metrics.clone();
        let service = router(app);
        let stop = self.stop.0.notified();
        tokio::pin!(stop);
        loop {
            let permit = free.clone().acquire_owned();
            let (permit, accepted) = tokio::select! {
                () = &mut stop => break,
                both = async { (permit.await, listener.accept().await) } => both,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(e) if transient(&e) => continue,
                // Out of file descriptors, most likely: some will be closed.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(service.clone());
            let (idle, closing, metrics) = (self.options.idle, closing.clone(), metrics.clone());
            tokio::spawn(async move {
                metrics.connections.fetch_add(1, Relaxed);
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(64 << 10);
                let connection = http.serve_connection(TokioIo::new(stream), service);
                tokio::pin!(connection);
                let closed = closing.notified();
                // A client that breaks off or speaks nonsense ends its own connection and nothing else.
                tokio::select! {
                    _ = &mut connection => {}
                    () = closed => {
                        connection.as_mut().graceful_shutdown();
                        let _ = connection.await;
                    }
                }
                metrics.connections.fetch_sub(1, Relaxed);
                drop(permit);
            });
        }
        closing.notify_waiters();
        let all = self.options.connections as u32;
        let _ = tokio::time::timeout(Duration::from_secs(2), free.acquire_many(all)).await;
        Ok(())
    }
}

fn transient(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
