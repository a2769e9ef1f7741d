//! A thread for a task whose work may hold it up.

use std::future::Future;
use std::panic::resume_unwind;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};

/// Runs `work` on a thread of its own. What is answered stands for it as a task's handle does:
/// to abort it ends the work at its next await, without waiting for a call that does not return.
/// A runtime with one thread, as tests have, runs it there.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return tokio::spawn(work);
    }
    let (alive, aborted) = oneshot::channel::<()>();
    let thread = spawn_blocking(move || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = aborted => {}
                () = work => {}
            }
        });
    });
    tokio::spawn(async move {
        let _alive = alive;
        if let Err(failed) = thread.await
            && let Ok(panic) = failed.try_into_panic()
        {
            resume_unwind(panic);
        }
    })
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_that_blocks_holds_up_nobody() {
        let (go, wait) = mpsc::sync_channel(1);
        let work = spawn(async move { wait.recv_timeout(LONG).expect("a word") });
        // The only worker is free to run this.
        tokio::spawn(async move { go.send(()).expect("somebody waits") }).await.expect("sent");
        work.await.expect("ended");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn an_abort_drops_the_work_at_its_await() {
        struct Told(Option<oneshot::Sender<()>>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.take().expect("dropped once").send(()).expect("somebody listens");
            }
        }
        let (tell, told) = oneshot::channel();
        let told_when_dropped = Told(Some(tell));
        let work = spawn(async move {
            let _told = told_when_dropped;
            pending::<()>().await;
        });
        work.abort();
        assert!(work.await.expect_err("aborted").is_cancelled());
        tokio::time::timeout(LONG, told).await.expect("in time").expect("dropped");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_panic_is_the_tasks() {
        let work = spawn(async { panic!("as tests do") });
        assert!(work.await.expect_err("panicked").is_panic());
    }
}
