//! What the S3 client is tested with: an exact S3 in memory, and a proxy that injects faults before any server.

pub mod client;
pub mod door;
pub mod proxy;
pub mod server;
pub mod world;
