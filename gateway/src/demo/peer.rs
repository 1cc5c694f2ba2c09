//! A peer of the demo from outside: what it is told to do, what happens to it, and its media.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::mpsc;

use super::line::Line;

/// What a peer is told.
#[derive(Debug)]
pub(super) enum Order {
    Dial(String),
    Answer,
    /// It is heard before it takes the call.
    Early,
    HangUp,
    Leave,
    Vanish,
}

/// The task's ends of the ways that a [`Peer`] has.
pub(super) struct Ends<E> {
    pub(super) orders: mpsc::UnboundedReceiver<Order>,
    pub(super) events: mpsc::UnboundedSender<E>,
    pub(super) line: Arc<Line>,
}

/// A peer, which a task of its own drives; it says goodbye when dropped. `E` is what happens to it.
#[derive(Debug)]
pub struct Peer<E> {
    orders: mpsc::UnboundedSender<Order>,
    events: mpsc::UnboundedReceiver<E>,
    line: Arc<Line>,
}

impl<E: Debug> Peer<E> {
    pub(super) fn new(line: Line) -> (Self, Ends<E>) {
        let (order_in, orders) = mpsc::unbounded_channel();
        let (event_in, events) = mpsc::unbounded_channel();
        let line = Arc::new(line);
        let ends = Ends {
            orders,
            events: event_in,
            line: Arc::clone(&line),
        };
        let peer = Self {
            orders: order_in,
            events,
            line,
        };
        (peer, ends)
    }

    pub(super) fn order(&self, order: Order) {
        self.orders.send(order).ok();
    }

    /// Calls a number or a user. What has happened before, and was heard, is none of this call, and is forgotten.
    pub fn dial(&mut self, to: &str) {
        while self.events.try_recv().is_ok() {}
        self.line.forget();
        self.order(Order::Dial(to.to_owned()));
    }

    /// Ends the call.
    pub fn hang_up(&self) {
        self.order(Order::HangUp);
    }

    /// It is unplugged: media stops, and nobody says a word, not even goodbye.
    pub fn vanish(self) {
        self.order(Order::Vanish);
    }

    /// Its media.
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Whether its task has ended, so that nothing will happen any more.
    pub fn is_gone(&self) -> bool {
        self.events.is_closed() && self.events.is_empty()
    }

    /// The next thing that happens, none if nothing does in time.
    pub async fn next(&mut self, limit: Duration) -> Option<E> {
        tokio::time::timeout(limit, self.events.recv()).await.ok().flatten()
    }

    /// Waits for what `pick` takes; what comes before it is passed over.
    ///
    /// # Errors
    /// If it does not come in time.
    pub async fn wait_for<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut pick: impl FnMut(&E) -> Option<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + limit;
        let mut seen = Vec::new();
        while let Some(event) = self.next(end.saturating_duration_since(Instant::now())).await {
            if let Some(found) = pick(&event) {
                return Ok(found);
            }
            seen.push(event);
        }
        bail!("waited {limit:?} in vain for {what}; there was {seen:?}")
    }
}

impl<E> Drop for Peer<E> {
    fn drop(&mut self) {
        self.orders.send(Order::Leave).ok();
    }
}
