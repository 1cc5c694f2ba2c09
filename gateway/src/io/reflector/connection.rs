//! A connection to the reflector: what was read of it, and what waits for it.

use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::time::Instant;

use mio::net::TcpStream;
use quartet_proto::reflector::Framing;

/// What waits at most for a connection that does not take it: two seconds of speech. What comes then is lost, as on a full link.
const MAX_WAITING: usize = 32 * 1024;

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// Whose place it takes.
    pub(super) source: IpAddr,
    pub(super) framing: Framing,
    waiting: Vec<u8>,
    /// When it is closed, unless something happens.
    pub(super) deadline: Instant,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, source: IpAddr, deadline: Instant) -> Self {
        Self {
            stream,
            source,
            framing: Framing::of_server(),
            waiting: Vec::new(),
            deadline,
        }
    }

    /// Reads a piece into the framing; false if there is nothing now.
    ///
    /// # Errors
    /// It is over, also at its end.
    pub(super) fn read(&mut self, room: &mut [u8]) -> io::Result<bool> {
        match self.stream.read(room) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.framing.push(&room[..length]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a packet, now or later, or nothing of it.
    pub(super) fn write(&mut self, packet: &[u8]) {
        let Ok(length) = u32::try_from(packet.len()) else {
            return;
        };
        if self.waiting.len() + 4 + packet.len() <= MAX_WAITING {
            self.waiting.extend_from_slice(&length.to_le_bytes());
            self.waiting.extend_from_slice(packet);
            // What is wrong with it is read from it.
            let _ = self.flush();
        }
    }

    /// Sends what waits, as far as it is taken.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => _ = self.waiting.drain(..length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
