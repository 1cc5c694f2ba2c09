//! Where a line's media is: here, or with somebody who has many lines.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::channel;

use tokio::sync::mpsc::UnboundedSender;

use super::{Line, Order};
use crate::demo::hear;
use crate::media::{MediaCommand, MediaEvent};
use crate::plugins::Registry;

/// Where the events of a line go.
pub type Tell = UnboundedSender<MediaEvent>;

impl Line {
    /// Makes a line with its own sockets that hears at [`hear::RATE`], once it is known where its events go.
    pub fn here(registry: &Arc<Registry>) -> impl FnOnce(Tell) -> io::Result<Self> + use<> {
        let registry = Arc::clone(registry);
        move |tell| Self::start(registry, hear::RATE, move |event| drop(tell.send(event)))
    }

    /// Starts one whose media is somewhere else: `commands` gets what the leg wants, on the line's own thread.
    ///
    /// It says and hears nothing itself.
    ///
    /// # Errors
    /// The system's, if it has no thread left.
    pub fn elsewhere(mut commands: impl FnMut(MediaCommand) + Send + 'static) -> io::Result<Self> {
        let (orders, queue) = channel();
        let work = move || {
            while let Ok(order) = queue.recv() {
                match order {
                    Order::Media(command) => commands(command),
                    Order::Say(_) | Order::Key(_) => {}
                    Order::Quit => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("line".into()).spawn(work)?;
        Ok(Self {
            orders,
            heard: Arc::default(),
            thread: Some(thread),
        })
    }
}
