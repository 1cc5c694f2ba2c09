//! The only place of sockets and threads.
