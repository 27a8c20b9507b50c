//! Client and server together, as a fleet calls them: bytes in, bytes out.

mod faults;
mod fleet;
mod moments;
mod setup;
