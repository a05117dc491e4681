//! Control of a running host: HTTP over a Unix socket in its data folder, `control.sock`.
//!
//! Promise: only the owner of the data folder (and root) gets an answer, nothing that is asked stops a row, and a host
//! without its socket, or with a stale one left by a crash, runs all the same.
//!
//! Why it holds: the socket is made in a folder of the owner alone and moved to its place with mode 0600, and the user
//! behind each connection is asked of the kernel. The server has one thread of its own and passes questions on to the
//! thread that takes plugins through their life (`super::life`); connections, questions and bodies are bounded.
//!
//! | file | what it has |
//! |---|---|
//! | `shapes` | what goes over the wire, and the paths |
//! | `routes` | path -> question -> answer |
//! | `socket` | where the socket is, how it is made |
//! | `server` | the thread, the connections |
//! | `client` | the other end, for the command line |
//! | `capture` | captured rows as a case |

mod capture;
mod client;
mod routes;
mod server;
pub mod shapes;
mod socket;

pub use client::Client;
pub use server::Control;
