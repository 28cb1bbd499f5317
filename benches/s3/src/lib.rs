//! What the server and the bare client have in common: HTTP/1.1 on a socket, and texts.

pub mod text;
pub mod wire;
