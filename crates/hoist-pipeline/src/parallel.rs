//! Several futures at once, in one task: a few at a time, answers in the order in which they were given.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// A future that can stand in a list with others.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs all of `work`, at most `limit` (1 at least) at the same time.
pub async fn all<T>(limit: usize, work: Vec<Boxed<'_, T>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = work.iter().map(|_| None).collect();
    let mut waiting: VecDeque<(usize, Boxed<'_, T>)> = work.into_iter().enumerate().collect();
    let mut running: Vec<(usize, Boxed<'_, T>)> = Vec::new();
    poll_fn(|context| {
        loop {
            while running.len() < limit.max(1) {
                match waiting.pop_front() {
                    Some(next) => running.push(next),
                    None => break,
                }
            }
            let before = running.len();
            running.retain_mut(|(index, future)| match future.as_mut().poll(context) {
                Poll::Ready(value) => {
                    done[*index] = Some(value);
                    false
                }
                Poll::Pending => true,
            });
            if running.is_empty() && waiting.is_empty() {
                return Poll::Ready(());
            }
            // What ended made room, and what takes its place must be polled once to be woken.
            if running.len() == before || waiting.is_empty() {
                return Poll::Pending;
            }
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn answers_keep_their_order_and_no_more_than_the_limit_run() {
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work: Vec<Boxed<'_, usize>> = (0..20)
            .map(|number| {
                let (running, most) = (&running, &most);
                let work: Boxed<'_, usize> = Box::pin(async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    for _ in 0..(20 - number) % 5 {
                        tokio::task::yield_now().await;
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    number
                });
                work
            })
            .collect();
        assert_eq!(all(3, work).await, (0..20).collect::<Vec<_>>());
        assert!((1..=3).contains(&most.into_inner()));
        assert!(all::<()>(0, Vec::new()).await.is_empty());
    }
}
